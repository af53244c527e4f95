"""A heatmap computed the slow way: Python's integers, book by book, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from orderbook_desktop.core.archive import ChunkSlice, chunk_of
from orderbook_desktop.core.archive.spans import span_of
from orderbook_desktop.core.heatmap.spans import LevelSpan
from tests.core.archive.runs import Run

Levels = dict[tuple[str, int], int]


@dataclass
class Moment:
    """The book (quantities by side and price, units of 10^-8) from a time on."""

    time_ms: int
    update_id: int
    levels: Levels
    named: set[tuple[str, int]] = field(default_factory=set)


@dataclass
class Column:
    """What a column should have: by row, each statistic, and the rows that were named."""

    covered_ms: int = 0
    first_id: int = -1
    last_id: int = -1
    best_bid: int = -1
    best_ask: int = -1
    last: dict[int, int] = field(default_factory=dict)
    max: dict[int, int] = field(default_factory=dict)
    integral: dict[int, int] = field(default_factory=dict)
    named: set[int] = field(default_factory=set)


def moments_of(run: Run, begin: int = 0, from_ms: int | None = None) -> list[Moment]:
    """The books of a run, from the one before the event at `begin` on, which stands at `from_ms`.

    Without a time it stands from that event on.
    """
    times = [event.event_ms for event in run.events]
    time = times[begin] if from_ms is None else from_ms
    found: list[Moment] = []
    named: set[tuple[str, int]] = set()
    for index in range(begin - 1, len(run.events)):
        book = run.reference_after(index)
        levels = {
            (side, _units(price)): _units(quantity)
            for side, pairs in (("b", book.bids), ("a", book.asks))
            for price, quantity in pairs.items()
        }
        named |= set(levels)
        if index >= begin:
            time = max(time, times[index])
            named |= changed_by(run, index)
        update_id = run.start.last_update_id if index < 0 else run.events[index].final_id
        found.append(Moment(time, update_id, levels, set(named)))
    return found


def changed_by(run: Run, index: int) -> set[tuple[str, int]]:
    event = run.events[index]
    return {
        (side, _units(price))
        for side, pairs in (("b", event.bids), ("a", event.asks))
        for price, _ in pairs
    }


def _units(value: object) -> int:
    return round(float(str(value)) * 10**8)


def columns_by_hand(
    moments: Sequence[Moment],
    until_ms: int,
    bins: Iterable[tuple[int, int]],
    step: int,
    sides: str = "ab",
) -> list[Column]:
    """The columns `bins` (begin, end) of books that follow each other until `until_ms`."""
    ends = [moment.time_ms for moment in moments[1:]] + [until_ms]
    columns = []
    for begin, end in bins:
        column = Column()
        for number, (moment, moment_end) in enumerate(zip(moments, ends, strict=True)):
            stands = min(moment_end, end) - max(moment.time_ms, begin)
            # The first book came without an event.
            if stands > 0 or (number and begin <= moment.time_ms < end):
                _take(column, moment, max(stands, 0), step, sides)
        columns.append(column)
    return columns


def _take(column: Column, moment: Moment, stands: int, step: int, sides: str) -> None:
    sums: dict[int, int] = {}
    for (side, price), quantity in moment.levels.items():
        if side in sides:
            sums[price // step] = sums.get(price // step, 0) + quantity
    column.covered_ms += stands
    column.first_id = moment.update_id if column.first_id < 0 else column.first_id
    column.last_id = moment.update_id
    column.best_bid = max((price for side, price in moment.levels if side == "b"), default=-1)
    column.best_ask = min((price for side, price in moment.levels if side == "a"), default=-1)
    column.last = sums
    column.named |= {price // step for side, price in moment.named if side in sides}
    for row, quantity in sums.items():
        column.max[row] = max(column.max.get(row, 0), quantity)
        column.integral[row] = column.integral.get(row, 0) + quantity * stands


def spans_of(
    run: Run, cuts: Sequence[int], from_ms: int, until_ms: int, begin: int = 0
) -> list[LevelSpan]:
    """The run as spans of archived chunks that are cut before these events."""
    spans: list[LevelSpan] = []
    chunk = chunk_of(run.start, run.events)
    inner = sorted({cut for cut in cuts if begin < cut < len(run.events)})
    bounds = [begin, *inner, len(run.events)]
    for first, end in pairwise(bounds):
        is_last = end == len(run.events)
        spans.append(
            span_of(ChunkSlice(chunk, first, end, False), from_ms, until_ms if is_last else 0)
        )
        from_ms = spans[-1].until_ms
    return spans
