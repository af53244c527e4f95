"""Heatmaps made of numbers, and pages that answer with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orderbook_desktop.core.heatmap.cells import NO_ID, NO_PRICE, Columns, Heatmap
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.pages import (
    FactsPart,
    FlowPart,
    HeatmapPart,
    HeatmapRequest,
    HeatmapWish,
    RecordedMarket,
    TradedPart,
)
from orderbook_desktop.core.heatmap.traded import TradedBuilder
from orderbook_desktop.core.replay import Coverage
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.core.units import INT64_MAX, Scale


def recorded(
    market: str, from_ms: int, to_ms: int, *gaps: tuple[int, int], growing: bool = True
) -> Coverage:
    """Return coverage with those gaps."""
    edges = [from_ms, *(edge for gap in gaps for edge in gap), to_ms]
    covers = [
        Cover(market, 0, place, begin, end)
        for place, (begin, end) in enumerate(zip(edges[::2], edges[1::2], strict=True))
    ]
    named = [Gap(begin, end, 1, 2, GapCause.DISCONNECT, "") for begin, end in gaps]
    return Coverage(Timeline(tuple(covers), tuple(named)), is_growing=growing)


def cells_for(
    wish: HeatmapWish,
    coverage: Coverage,
    mid: int,
    known: tuple[int, int] = (0, INT64_MAX),
    tick: int = 1,
) -> Heatmap:
    """Return cells that are larger the farther they are from `mid`, which stands still."""
    bins, steps = wish.bins, wish.steps
    assert steps.rows is not None
    first, count = steps.rows
    prices = (first + np.arange(count)) * steps.step
    starts = bins.starts
    covered = np.zeros(len(bins), np.int64)
    for cover in coverage.timeline.covers:
        ends = np.minimum(np.minimum(starts + bins.bin_ms, bins.to_ms), cover.to_ms)
        covered += np.maximum(0, ends - np.maximum(starts, cover.from_ms))
    row = np.abs(prices - mid) // steps.step * 1_000 + 1
    row[::7] = 0
    values = np.repeat(row[None, :], len(bins), axis=0)
    values[covered == 0] = 0
    inside = (prices >= known[0]) & (prices + steps.step <= known[1])
    values[:, ~inside] = 0
    full = np.full(len(bins), 1)
    columns = Columns(
        starts,
        covered,
        np.where(covered > 0, 5, NO_ID),
        np.where(covered > 0, 9, NO_ID),
        np.where(covered > 0, mid - tick, NO_PRICE),
        np.where(covered > 0, mid + tick, NO_PRICE),
        full * known[0],
        full * known[1],
    )
    return Heatmap(
        wish.market, wish.statistic, Scale(steps.exponent, 5), steps.step, tick, bins.bin_ms,
        bins.to_ms, prices, columns, values, values > 0,
    )  # fmt: skip


class _Request:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class MadePages:
    """Answers at once, or, if it `waits`, when `answer` is called."""

    def __init__(self, coverage: Coverage, grid: PriceGrid, mid: int) -> None:
        self.coverage, self.grid, self.mid = coverage, grid, mid
        self.known = (0, INT64_MAX)
        self.wishes: list[HeatmapWish] = []
        self.flow_wishes: list[HeatmapWish] = []
        self.flow_part = FlowPart()
        self.fact_wishes: list[HeatmapWish] = []
        self.facts_part = FactsPart()
        self.waits = False
        self._waiting: list[tuple[HeatmapWish, Callable[[HeatmapPart], None], _Request]] = []

    def recorded(self, market: str, answered: Callable[[RecordedMarket], None]) -> HeatmapRequest:
        answered(RecordedMarket(market, self.coverage, self.grid))
        return _Request()

    def cells(self, wish: HeatmapWish, answered: Callable[[HeatmapPart], None]) -> HeatmapRequest:
        self.wishes.append(wish)
        request = _Request()
        if self.waits:
            self._waiting.append((wish, answered, request))
        else:
            answered(HeatmapPart(self.cells_of(wish)))
        return request

    def flows(self, wish: HeatmapWish, answered: Callable[[FlowPart], None]) -> HeatmapRequest:
        self.flow_wishes.append(wish)
        answered(self.flow_part)
        return _Request()

    def traded(self, wish: HeatmapWish, answered: Callable[[TradedPart], None]) -> HeatmapRequest:
        answered(TradedPart(TradedBuilder(wish.bins, wish.steps).cells()))
        return _Request()

    def facts(self, wish: HeatmapWish, answered: Callable[[FactsPart], None]) -> HeatmapRequest:
        self.fact_wishes.append(wish)
        answered(self.facts_part)
        return _Request()

    def cells_of(self, wish: HeatmapWish) -> Heatmap:
        return cells_for(wish, self.coverage, self.mid, self.known, self.grid.tick)

    def answer(self, pending: tuple[tuple[int, int], ...] = ()) -> None:
        """Answer what was asked for and not cancelled; with `pending` not wholly."""
        waiting = self._waiting
        if not pending:
            self._waiting = []
        for wish, answered, request in waiting:
            if not request.is_cancelled:
                answered(HeatmapPart(self.cells_of(wish), pending))
