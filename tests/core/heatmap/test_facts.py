"""The facts of a cell are those of the books, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Side
from orderbook_desktop.core.heatmap.facts import CellFacts, FactsBuilder, Knowledge, Rest
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.units import Scale
from tests.core.archive.runs import Run
from tests.core.heatmap.brute_force import Moment, columns_by_hand, moments_of, spans_of
from tests.core.heatmap.test_builder import T0, TICK, short_runs

SIDES = {Side.BOTH: "ab", Side.BIDS: "b", Side.ASKS: "a"}


def facts_of(
    spans: list[LevelSpan], bins: TimeBins, steps: PriceSteps, side: Side = Side.BOTH
) -> CellFacts:
    builder = FactsBuilder(bins, steps, side)
    for number, span in enumerate(spans):
        builder.take(span, opens=number == 0)
    return builder.facts()


def rest_by_hand(moments: list[Moment], to_ms: int, row: int, step: int, side: str) -> Rest | None:
    """Go through the books: since when has there been a level."""
    rest = None
    for number, moment in enumerate(one for one in moments if one.time_ms < to_ms):
        stands = any(
            of in side and price // step == row for (of, price), size in moment.levels.items()
            if size
        )  # fmt: skip
        if not stands:
            rest = None
        elif rest is None:
            rest = Rest(moment.time_ms, is_bound=number == 0)
    return rest


@given(
    run=short_runs(),
    begin=st.integers(0, 4).map(lambda number: T0 + number * 100),
    row=st.integers(0, 9),
    ticks=st.integers(1, 2),
    side=st.sampled_from(list(Side)),
    data=st.data(),
)
def test_facts_are_those_of_the_books(
    run: Run, begin: int, row: int, ticks: int, side: Side, data: st.DataObject
) -> None:
    from_ms, until_ms = T0 - 30, max(run.events[-1].event_ms, begin) + 40
    cuts = data.draw(st.lists(st.integers(0, len(run.events)), max_size=2).map(sorted))
    spans = [replace(span, horizon=Horizon()) for span in spans_of(run, cuts, from_ms, until_ms)]
    moments = moments_of(run, from_ms=from_ms)
    step, end = ticks * TICK, begin + 100
    steps = PriceSteps(step, rows=(row, 1))
    found = facts_of(spans, TimeBins(begin, end, 100), steps, side)
    (column,) = columns_by_hand(moments, until_ms, [(begin, end)], step, SIDES[side])
    unit = 10 ** (8 - found.scale.quantity)
    sizes = [of.get(row, 0) for of in (column.last, column.max, column.integral)]
    assert [found.last * unit, found.largest * unit, found.integral * unit] == sizes
    assert (found.covered_ms, found.first_id, found.last_id) == (
        column.covered_ms, column.first_id, column.last_id,
    )  # fmt: skip
    assert found.knowledge is (Knowledge.WHOLE if column.covered_ms else Knowledge.GAP)
    assert found.rest == rest_by_hand(moments, end, row, step, SIDES[side])
    assert abs(2 * (found.mean * found.covered_ms - found.integral)) <= found.covered_ms


def span(sizes: list[tuple[int, int]], horizon: Horizon | None) -> LevelSpan:
    """A bid at the fifth tick whose size changes: (ms after T0, size); it was 1 before."""
    numbers = np.arange(len(sizes) + 1)
    return LevelSpan(
        Scale(), TICK, horizon, T0, T0 + 100, 1, numbers[1:],
        np.array([T0 + ms for ms, _ in sizes], np.int64),
        np.array([5 * TICK]), np.zeros(1, np.bool_),
        np.zeros(len(numbers), np.int64), numbers - 1,
        np.array([1, *(size for _, size in sizes)]),
    )  # fmt: skip


CELL = TimeBins(T0, T0 + 100, 100)


def test_what_stands_beyond_the_known_prices_is_a_bound() -> None:
    steps = PriceSteps(2 * TICK, rows=(2, 1))
    known = Horizon(6 * TICK, 9 * TICK)
    found = facts_of([span([(10, 0), (20, 4)], known)], CELL, steps)
    assert found.knowledge is Knowledge.LOWER_BOUND
    assert found.rest == Rest(T0 + 20, is_bound=True)
    one = facts_of([span([(10, 0), (20, 4)], known)], CELL, PriceSteps(TICK, rows=(5, 1)))
    assert one.knowledge is Knowledge.WHOLE
    none = facts_of([span([(10, 0)], known)], CELL, PriceSteps(TICK, rows=(3, 1)))
    assert (none.knowledge, none.rest) == (Knowledge.UNKNOWN, None)


def test_a_later_run_begins_anew_and_later_spans_do_not_count() -> None:
    builder = FactsBuilder(CELL, PriceSteps(TICK, rows=(5, 1)))
    first = replace(span([], Horizon()), until_ms=T0 + 30)
    builder.take(first, opens=True)
    again = replace(span([(60, 3)], Horizon()), from_ms=T0 + 50)
    builder.take(again, opens=True)
    builder.take(replace(span([], Horizon()), from_ms=T0 + 100, until_ms=T0 + 200), opens=False)
    found = builder.facts()
    assert (found.covered_ms, found.last, found.largest) == (80, 3, 3)
    assert found.rest == Rest(T0 + 50, is_bound=True)
    assert found.mean_is_exact is (found.integral % 80 == 0)


def test_facts_are_of_one_cell() -> None:
    for bins, steps in (
        (TimeBins(T0, T0 + 200, 100), PriceSteps(TICK, rows=(5, 1))),
        (CELL, PriceSteps(TICK, rows=(5, 2))),
        (CELL, PriceSteps(TICK)),
    ):
        with pytest.raises(ValueError, match="one cell"):
            FactsBuilder(bins, steps)
