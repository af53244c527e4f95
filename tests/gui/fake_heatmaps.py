"""Heatmaps of spans in memory, for panes and pages that are tested without a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orderbook_desktop.core.heatmap.builder import HeatmapBuilder
from orderbook_desktop.core.heatmap.facts import FactsBuilder
from orderbook_desktop.core.heatmap.flows import Flows, FlowTrades, flows_of
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.pages import (
    FactsPart,
    FlowPart,
    HeatmapPart,
    HeatmapWish,
    RecordedMarket,
    TradedPart,
)
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.heatmap.traded import TradedBuilder
from orderbook_desktop.core.replay import Coverage


class FakeRequest:
    """A request that was made; `answer` answers it, unless it was cancelled."""

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def answer(self) -> None:
        if not self.is_cancelled:
            self._answer()


class FakeHeatmaps:
    """A `core.heatmap.pages.HeatmapPages` of `spans`, each with whether it opens a run.

    It answers at once, or when `answer` is called if it `waits`. `wishes` are those for cells.
    """

    def __init__(
        self,
        spans: Sequence[tuple[LevelSpan, bool]] = (),
        coverage: Coverage | None = None,
        grid: PriceGrid | None = None,
    ) -> None:
        self.spans = list(spans)
        self.trades = FlowTrades()
        self.coverage = Coverage() if coverage is None else coverage
        self.grid = grid
        self.waits = False
        self.wishes: list[HeatmapWish] = []
        self.requests: list[FakeRequest] = []

    def recorded(self, market: str, answered: Callable[[RecordedMarket], None]) -> FakeRequest:
        return self._asked(lambda: answered(RecordedMarket(market, self.coverage, self.grid)))

    def cells(self, wish: HeatmapWish, answered: Callable[[HeatmapPart], None]) -> FakeRequest:
        self.wishes.append(wish)
        return self._asked(lambda: answered(self.part_of(wish)))

    def traded(self, wish: HeatmapWish, answered: Callable[[TradedPart], None]) -> FakeRequest:
        return self._asked(lambda: answered(self.traded_of(wish)))

    def traded_of(self, wish: HeatmapWish) -> TradedPart:
        """Return what was traded among the `trades`."""
        trades, builder = self.trades, TradedBuilder(wish.bins, wish.steps)
        builder.take(
            *(trades.times_ms, trades.prices, trades.quantities, trades.sold), trades.scale
        )
        return TradedPart(builder.cells())

    def flows(self, wish: HeatmapWish, answered: Callable[[FlowPart], None]) -> FakeRequest:
        return self._asked(lambda: answered(FlowPart(self.flows_of(wish))))

    def facts(self, wish: HeatmapWish, answered: Callable[[FactsPart], None]) -> FakeRequest:
        builder = FactsBuilder(wish.bins, wish.steps, wish.side)
        for span, opens in self.spans:
            builder.take(span, opens=opens)
        return self._asked(lambda: answered(FactsPart(builder.facts())))

    def flows_of(self, wish: HeatmapWish) -> Flows:
        """Return what flowed among the `trades`."""
        bins = wish.bins
        return flows_of(self.spans, self.trades, bins.from_ms, bins.to_ms, wish.steps, wish.side)

    def part_of(self, wish: HeatmapWish) -> HeatmapPart:
        """Return the whole answer to a wish."""
        builder = HeatmapBuilder(wish.bins, wish.steps, [wish.statistic], wish.side)
        for span, opens in self.spans:
            builder.take(span, opens=opens)
        return HeatmapPart(builder.heatmap(wish.market, wish.statistic))

    def answer(self) -> None:
        """Answer all that was asked for."""
        waiting, self.requests = self.requests, []
        for request in waiting:
            request.answer()

    def _asked(self, answer: Callable[[], None]) -> FakeRequest:
        request = FakeRequest(answer)
        self.requests.append(request)
        if not self.waits:
            self.answer()
        return request
