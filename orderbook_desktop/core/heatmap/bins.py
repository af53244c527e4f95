"""One span of time in bins: the statistics of its columns and rows, and what is known of them.

All sums are those of a row's levels together (both sides, unless one is chosen). With Δ as the
change of quantity that an entry brings to its row:

- `last` is the sum of the Δ until the column ends.
- `integral`, quantity times milliseconds, is Σ Δ·(end of the column - time of the entry), and the
  sum before the column times its width.
- `max` is the largest sum at the end of an event of the column, or the sum before the column if it
  stood there for a millisecond at least. Within an event there is no order, so a level that moves
  inside a row changes nothing.

There is no loop over levels. All numbers are exact (`core.heatmap.exact`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.heatmap.exact import ExactArray
from orderbook_desktop.core.heatmap.spans import AT_START, LevelSpan
from orderbook_desktop.core.levels import Int64Array, least_standing

# Sums of such times and widths do not wrap.
_END_OF_TIME: Final = 1 << 60


class TimeBins(Struct, frozen=True):
    """Columns of `bin_ms` from `from_ms` to `to_ms`; the last one may be shorter."""

    from_ms: int
    to_ms: int
    bin_ms: int

    @classmethod
    def between(cls, from_ms: int, to_ms: int, bin_ms: int) -> TimeBins:
        """Return the columns from one time to another. Raises `ValueError` if there are none."""
        if not 0 <= from_ms < to_ms < _END_OF_TIME:
            raise ValueError(f"to_ms {to_ms} has to come after from_ms {from_ms}")
        if bin_ms < 1:
            raise ValueError(f"a bin of {bin_ms} ms is too short")
        return cls(from_ms, to_ms, min(bin_ms, _END_OF_TIME))

    def __len__(self) -> int:
        return (self.to_ms - self.from_ms + self.bin_ms - 1) // self.bin_ms

    @property
    def starts(self) -> Int64Array:
        """The time at which each column begins."""
        return self.from_ms + self.bin_ms * np.arange(len(self))

    def column_at(self, time_ms: int) -> int:
        """Return the column of a time; that of `to_ms` is the last one."""
        return min((time_ms - self.from_ms) // self.bin_ms, len(self) - 1)


class SpanColumns(Struct, frozen=True, eq=False):
    """The columns of `bins` that a span reaches, from the column `first` on.

    `starts` and `ends` are the part of each column that the span covers. `of_events` is the column
    of each event, counted from `first`. `events_before` is how many events come before each column.
    """

    first: int
    starts: Int64Array
    ends: Int64Array
    of_events: Int64Array
    events_before: Int64Array

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def widths(self) -> Int64Array:
        """How many ms of each column the span covers; 0 where it only ends there."""
        return self.ends - self.starts

    def ids(self, span: LevelSpan) -> tuple[Int64Array, Int64Array]:
        """Return the update ids of the first book and of the last one in each column.

        A book is in a column if it stands there for a millisecond, or comes with an event there.
        """
        ids = np.concatenate(([span.start_id], span.final_ids))
        after = np.append(self.events_before[1:], len(span.final_ids))
        times = np.append(span.event_ms, self.ends[-1] + 1)
        begins_with_event = times[self.events_before] == self.starts
        begins_with_event &= self.events_before < after
        return ids[self.events_before + begins_with_event], ids[after]


def columns_of(span: LevelSpan, bins: TimeBins) -> SpanColumns | None:
    """Return the columns of `span`, which lies within `bins`; None if it is in none of them.

    It is in those of which it covers a millisecond, or has an event.
    """
    latest_ms = max(span.until_ms - 1, int(span.event_ms[-1]) if len(span.event_ms) else 0)
    if latest_ms < span.from_ms:
        return None
    first = bins.column_at(span.from_ms)
    numbers = np.arange(first, bins.column_at(latest_ms) + 1)
    starts = np.maximum(bins.from_ms + bins.bin_ms * numbers, span.from_ms)
    ends = np.minimum(bins.from_ms + bins.bin_ms * (numbers + 1), span.until_ms)
    return SpanColumns(
        first,
        starts,
        ends,
        (span.event_ms - bins.from_ms) // bins.bin_ms - first,
        span.event_ms.searchsorted(starts),
    )


class Entries(Struct, frozen=True, eq=False):
    """The entries of some lanes of a span, by rows.

    Of each entry: `rows` is the index of its row, one of `count`, `events` that of its event
    (`AT_START` for the book at the beginning), `columns` its column, `times` its time in ms, and
    `deltas` by how much it changes the row's quantity.
    """

    count: int
    rows: Int64Array
    events: Int64Array
    columns: Int64Array
    times: Int64Array
    deltas: ExactArray

    def cells(self, columns: SpanColumns) -> Int64Array:
        """Return for each entry the index of its cell, row by row."""
        return self.rows * len(columns) + self.columns


def entries_of(
    span: LevelSpan, columns: SpanColumns, rows: Int64Array, quantities: ExactArray, count: int
) -> Entries:
    """Return the entries of `span` whose lane is in a row; `rows` has that of each lane, or -1.

    `quantities` are those of the span, of a type that holds the sums that are wanted.
    """
    before = np.zeros_like(quantities)
    before[1:] = quantities[:-1]
    before[1:][span.lanes[1:] != span.lanes[:-1]] = 0
    of_entries = rows[span.lanes]
    kept = slice(None) if rows.min(initial=0) >= 0 else (of_entries >= 0).nonzero()[0]
    events = span.events[kept]
    # Index AT_START is that of the last number.
    event_columns, times = np.append(columns.of_events, 0), np.append(span.event_ms, span.from_ms)
    return Entries(
        count,
        of_entries[kept],
        events,
        event_columns[events],
        times[events],
        (quantities - before)[kept],
    )


def last_sums(entries: Entries, columns: SpanColumns) -> ExactArray:
    """Return the quantity of each row, at the end of each column."""
    sums = np.zeros(entries.count * len(columns), dtype=entries.deltas.dtype)
    np.add.at(sums, entries.cells(columns), entries.deltas)
    by_row = sums.reshape(entries.count, len(columns))
    return np.add.accumulate(by_row, axis=1, out=by_row)


def integrals(entries: Entries, columns: SpanColumns, last: ExactArray) -> ExactArray:
    """Return the integral of each row in each column; `last` are the `last_sums`."""
    cells = np.zeros(entries.count * len(columns), dtype=entries.deltas.dtype)
    rest = columns.ends[entries.columns] - entries.times
    np.add.at(cells, entries.cells(columns), entries.deltas * rest)
    by_row = cells.reshape(entries.count, len(columns))
    by_row[:, 1:] += last[:, :-1] * columns.widths[1:]
    return by_row


def maxima(
    entries: Entries, columns: SpanColumns, last: ExactArray, event_ms: Int64Array
) -> ExactArray:
    """Return the largest quantity of each row in each column; `last` are the `last_sums`."""
    width = len(columns)
    at_start = entries.events == AT_START
    first = np.zeros(entries.count, dtype=entries.deltas.dtype)
    np.add.at(first, entries.rows[at_start], entries.deltas[at_start])
    found = np.concatenate((first[:, None], last[:, :-1]), axis=1).ravel()
    changes = (~at_start).nonzero()[0]
    order = changes[_by_row_and_event(entries, changes, len(event_ms))]
    rows, events, cells = (
        values[order] for values in (entries.rows, entries.events, entries.cells(columns))
    )
    # What stood before a column stood in it for no time if the first event, at its very beginning,
    # changed it.
    at = entries.columns[order]
    is_first = (events == columns.events_before[at]) & (event_ms[events] == columns.starts[at])
    found[cells[is_first]] = 0
    if len(order):
        ends, sums = _sums_at_event_ends(rows, events, entries.deltas[order], first)
        cells = cells[ends]
        heads = _heads(cells)
        cells = cells[heads]
        found[cells] = np.maximum(found[cells], np.maximum.reduceat(sums, heads))
    return found.reshape(entries.count, width)


def _by_row_and_event(entries: Entries, changes: Int64Array, event_count: int) -> Int64Array:
    keys = entries.rows[changes] * event_count + entries.events[changes]
    return keys.argsort(kind="stable")


def _heads(values: Int64Array) -> Int64Array:
    """Return where a run of equal values begins; there is at least one value."""
    is_head = np.ones(len(values), dtype=np.bool_)
    is_head[1:] = values[1:] != values[:-1]
    return is_head.nonzero()[0]


def _sums_at_event_ends(
    rows: Int64Array, events: Int64Array, deltas: ExactArray, first: ExactArray
) -> tuple[Int64Array, ExactArray]:
    """Return the last change of each event in each row, and the row's quantity then.

    Changes are in the order of rows, then of events. `first` is the quantity of each row before.
    """
    sums = np.add.accumulate(deltas)
    heads = _heads(rows)
    before = sums[heads] - deltas[heads] - first[rows[heads]]
    sums = sums - np.repeat(before, np.diff(heads, append=len(rows)))
    is_end = np.ones(len(rows), dtype=np.bool_)
    is_end[:-1] = (events[1:] != events[:-1]) | (rows[1:] != rows[:-1])
    ends = is_end.nonzero()[0]
    return ends, sums[ends]


def first_columns(entries: Entries, columns: SpanColumns) -> Int64Array:
    """Return the column in which each row has its first level or change."""
    first = np.full(entries.count, len(columns))
    np.minimum.at(first, entries.rows, entries.columns)
    return first


def best_prices(span: LevelSpan, columns: SpanColumns) -> tuple[Int64Array, Int64Array]:
    """Return the best bid and the best offer at the end of each column, -1 where there is none."""
    count = len(columns)
    # Index AT_START is that of the last number.
    begins = np.append(columns.of_events, 0)[span.events]
    until = np.append(begins[1:], count)
    is_last = np.ones(len(begins), dtype=np.bool_)
    is_last[:-1] = span.lanes[1:] != span.lanes[:-1]
    until[is_last] = count
    standing = (span.quantities > 0) & (until > begins)
    is_ask = span.asks[span.lanes]
    prices = np.append(span.prices, -1)
    bids, offers = (
        prices[least_standing(span.lanes[side], begins[side], until[side], count, len(span.prices))]
        for side in (standing & ~is_ask, standing & is_ask)
    )
    return bids, offers
