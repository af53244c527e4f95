"""What is exactly known of one cell of the heatmap, and since when something has stood there."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps, row_numbers
from orderbook_desktop.core.heatmap.cells import Heatmap, known_range
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.spans import AT_START, LevelSpan
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import Scale


class Knowledge(StrEnum):
    """How much is known of a cell's sizes."""

    WHOLE = "whole"
    LOWER_BOUND = "lower bound"
    """Some of its prices are known, others are not: its sizes are at least so large."""
    UNKNOWN = "unknown"
    GAP = "gap"
    """The book is not known for a millisecond of the column."""


class Rest(Struct, frozen=True):
    """Something has stood at the price without a break since `since_ms`.

    If that `is_bound`, it stood there already then, and may have for longer.
    """

    since_ms: int
    is_bound: bool


class CellFacts(Struct, frozen=True):
    """A column's time from `from_ms` to `to_ms`, at prices from `low`, `step` high.

    `last` is the size at the column's end, `largest` the largest one at any time of it, both in
    units of 10^-`scale.quantity`; `integral` is the sum of size times ms. `first_id` and `last_id`
    are the update ids of the first and the last book. `rest` is that at the column's end; None:
    nothing stands there.
    """

    scale: Scale
    from_ms: int
    to_ms: int
    low: int
    step: int
    knowledge: Knowledge
    covered_ms: int
    first_id: int
    last_id: int
    last: int
    largest: int
    integral: int
    rest: Rest | None = None

    @property
    def mean(self) -> int:
        """The mean size over the covered time, rounded half up to units of `scale`."""
        covered = max(1, self.covered_ms)
        return (2 * self.integral + covered) // (2 * covered)

    @property
    def mean_is_exact(self) -> bool:
        """Whether `mean` is not rounded."""
        return self.mean * self.covered_ms == self.integral


class RestFinder:
    """Finds since when something has stood in one row of prices, from spans in order of time."""

    def __init__(self, steps: PriceSteps, side: Side = Side.BOTH) -> None:
        self.rest: Rest | None = None
        self.until_ms: int | None = None
        self._steps, self._side = steps, side

    def take(self, span: LevelSpan, *, opens: bool) -> None:
        """Add the next span; it begins anew if that `opens` a run, or is the first one."""
        events, counts = self._counts(span)
        if opens or self.until_ms is None:
            stood = len(events) > 0 and events[0] == AT_START and counts[0] > 0
            self.rest = Rest(span.from_ms, is_bound=True) if stood else None
        self.until_ms = span.until_ms
        events, counts = events[events >= 0], counts[events >= 0]
        bare = np.flatnonzero(counts == 0)
        if len(bare):
            self.rest = None
            events = events[bare[-1] + 1 :]
        if self.rest is None and len(events):
            self.rest = Rest(int(span.event_ms[events[0]]), self._is_beyond(span))

    def _counts(self, span: LevelSpan) -> tuple[Int64Array, Int64Array]:
        """Return the events that change the row, and how many of its levels stand from then on."""
        of_lanes = row_numbers(span.prices, span.scale.price, self._steps) == _row(self._steps)
        if self._side is not Side.BOTH:
            of_lanes &= span.asks == (self._side is Side.ASKS)
        chosen = of_lanes[span.lanes]
        lanes, events = span.lanes[chosen], span.events[chosen]
        stands = (span.quantities[chosen] != 0).astype(np.int64)
        changes = stands.copy()
        changes[1:] -= stands[:-1] * (lanes[1:] == lanes[:-1])
        order = events.argsort(kind="stable")
        events, counts = events[order], changes[order].cumsum()
        is_last = np.ones(len(events), np.bool_)
        is_last[:-1] = events[1:] != events[:-1]
        return events[is_last], counts[is_last]

    def _is_beyond(self, span: LevelSpan) -> bool:
        """Whether the row reaches beyond the prices that are known, so that more may stand there.

        What a diff names there may have stood before.
        """
        steps, exponent = self._steps, max(self._steps.exponent, span.scale.price)
        # mypy takes a power of two ints for a float.
        height: int = steps.step * 10 ** (exponent - steps.exponent)
        tick: int = span.tick * 10 ** (exponent - span.scale.price)
        low = _row(steps) * height
        last = low + height - tick
        known_from, known_to = known_range(span.horizon, exponent)
        return low < known_from or last > known_to


class FactsBuilder:
    """Finds the facts of the one cell of `bins` and `steps`, from spans in order of time."""

    def __init__(self, bins: TimeBins, steps: PriceSteps, side: Side = Side.BOTH) -> None:
        if len(bins) != 1 or steps.rows is None or steps.rows[1] != 1:
            raise ValueError("facts are those of one cell")
        self._bins = bins
        self._builder = HeatmapBuilder(bins, steps, list(Statistic), side)
        self._rest = RestFinder(steps, side)

    def take(self, span: LevelSpan, *, opens: bool) -> None:
        """Add a span. If it `opens` a run, what stood before is not known. Raises `WidePrices`."""
        self._builder.take(span, opens=opens)
        if span.from_ms < self._bins.to_ms:
            self._rest.take(span.within(0, self._bins.to_ms), opens=opens)

    def facts(self) -> CellFacts:
        """Return what is known by now. Raises `WidePrices`."""
        last, largest, integral = (
            self._builder.heatmap("", one)
            for one in (Statistic.LAST, Statistic.MAX, Statistic.INTEGRAL)
        )
        columns = last.columns
        return CellFacts(
            last.scale,
            self._bins.from_ms,
            self._bins.to_ms,
            int(last.prices[0]),
            last.step,
            knowledge_of(last, 0, 0),
            int(last.covered_ms[0]),
            int(columns.first_ids[0]),
            int(columns.last_ids[0]),
            int(last.values[0, 0]),
            int(largest.values[0, 0]),
            int(integral.values[0, 0]),
            self._rest.rest,
        )


def knowledge_of(heatmap: Heatmap, column: int, row: int) -> Knowledge:
    """Return how much is known of a cell."""
    columns = heatmap.columns
    if not columns.covered_ms[column]:
        return Knowledge.GAP
    low = int(heatmap.prices[row])
    last = low + heatmap.step - heatmap.tick
    if columns.known_from[column] <= low and last <= columns.known_to[column]:
        return Knowledge.WHOLE
    if not heatmap.named[column, row]:
        return Knowledge.UNKNOWN
    # With a step of one tick a lower bound is the true quantity.
    return Knowledge.WHOLE if heatmap.step == heatmap.tick else Knowledge.LOWER_BOUND


def _row(steps: PriceSteps) -> int:
    """Return the number of the one row."""
    return 0 if steps.rows is None else steps.rows[0]
