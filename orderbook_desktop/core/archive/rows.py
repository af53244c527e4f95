"""Recorded events as rows, one per level: what exports and readers of arrays are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.archive.decoded import ChunkSlice
from orderbook_desktop.core.archive.tokens import BoolArray
from orderbook_desktop.core.checkpoint import BookImage, changes_between
from orderbook_desktop.core.horizon import is_deeper
from orderbook_desktop.core.levels import EMPTY, Int64Array, Levels
from orderbook_desktop.core.units import DEFAULT_EXPONENT, Scale
from orderbook_desktop.core.widening import rescaled_image, united

# A book whose time of receipt is unknown, since an earlier version stored it, counts as received
# just before the event after it.
_BEFORE_FIRST_NS: Final = 1_000

_NS_A_MS = 1_000_000


class LevelRows(Struct, frozen=True, eq=False):
    """Levels in the order in which they have to be set, one row each.

    Seven arrays of one length: of the event, `first_ids` and `final_ids` (its update ids),
    `event_ms` (the exchange's time) and `received_ns` (ours); of the level, `asks` (False:
    a bid), `prices` and `quantities`, int64 in units of `scale`, quantity 0 where the level
    was removed.

    Where `is_snapshot` is true the rows are a whole book, bids before asks, each from the best one
    outward: an unbroken run begins, and all earlier levels are void. The rows have the id and time
    of the book. A book without levels is one row: a removed level.
    """

    market: str
    scale: Scale
    is_snapshot: bool
    first_ids: Int64Array
    final_ids: Int64Array
    event_ms: Int64Array
    received_ns: Int64Array
    asks: BoolArray
    prices: Int64Array
    quantities: Int64Array

    def __len__(self) -> int:
        return len(self.prices)

    def head(self, count: int) -> LevelRows:
        """Return the first `count` rows."""
        return LevelRows(
            self.market,
            self.scale,
            self.is_snapshot,
            self.first_ids[:count],
            self.final_ids[:count],
            self.event_ms[:count],
            self.received_ns[:count],
            self.asks[:count],
            self.prices[:count],
            self.quantities[:count],
        )


class RowStream:
    """Turns the slices of a recording into rows.

    The rows of a book come with the first row after it, or at the end. A book that another book
    follows at once is left out: it shows nothing, and some readers take adjacent books for a
    single book. Call `finish()` after the last slice.
    """

    def __init__(self) -> None:
        self._book: LevelRows | None = None
        self._before: ChunkSlice | None = None

    def take(self, part: ChunkSlice) -> Iterator[LevelRows]:
        """Iterate over the rows of the next slice. Raises `DamagedChunk`."""
        before, self._before = self._before, part
        if part.opens:
            self._book = opening_rows(part)
        elif before is not None and (found := joined_rows(before, part)) is not None:
            yield from self.finish()
            yield found
        rows = event_rows(part)
        if len(rows):
            if self._book is not None and not len(self._book):
                self._book = _empty_book_before(rows)
            yield from self.finish()
            yield rows

    def finish(self) -> Iterator[LevelRows]:
        """Iterate over the last rows."""
        if self._book is not None:
            yield self._book
        self._book = None


def event_rows(part: ChunkSlice) -> LevelRows:
    """Return the levels that the events of `part` change. Raises `DamagedChunk`."""
    changes, numbers = part.chunk.changes, part.chunk.numbers
    begin, end = changes.events.searchsorted((part.begin, part.end)).tolist()
    events = changes.events[begin:end]
    return LevelRows(
        part.chunk.header.market,
        part.chunk.scale,
        is_snapshot=False,
        first_ids=numbers.first_ids[events],
        final_ids=numbers.final_ids[events],
        event_ms=numbers.event_ms[events],
        received_ns=numbers.received_ns[events],
        asks=changes.asks[begin:end],
        prices=changes.prices[begin:end],
        quantities=changes.quantities[begin:end],
    )


def joined_rows(before: ChunkSlice, part: ChunkSlice) -> LevelRows | None:
    """Return the levels that the book of `part` knows besides that of `before`, which it follows.

    None if it knows none: nearly always it is the same book. Else an answer of the exchange was
    joined to it (`core.widening`), or `part` is another recorder's.
    """
    if not is_deeper(part.chunk.horizon, before.chunk.horizon):
        return None
    ends_with, book = before.final_book(), part.start_book()
    if ends_with.last_update_id != book.last_update_id:
        return None
    deeper = united(ends_with, book)
    if deeper.scale != ends_with.scale:
        ends_with = rescaled_image(ends_with, deeper.scale)
    changes = changes_between(ends_with, deeper)
    if not len(changes):
        return None
    return _rows_of(deeper, changes.bids, changes.asks, _times_of(part, book), is_snapshot=False)


def opening_rows(part: ChunkSlice) -> LevelRows:
    """Return the book before the first event of `part`, which belongs to a known book."""
    book = part.start_book()
    return _rows_of(book, book.bids, book.asks, _times_of(part, book), is_snapshot=True)


def _rows_of(
    book: BookImage, bids: Levels, asks: Levels, times: tuple[int, int], *, is_snapshot: bool
) -> LevelRows:
    """Return levels of `book` as rows; `times` are of the event (ms) and of its receipt (ns)."""
    count = len(bids.prices) + len(asks.prices)
    ids = np.full(count, book.last_update_id)
    return LevelRows(
        book.market,
        book.scale,
        is_snapshot=is_snapshot,
        first_ids=ids,
        final_ids=ids,
        event_ms=np.full(count, times[0]),
        received_ns=np.full(count, times[1]),
        asks=np.repeat((False, True), (len(bids.prices), len(asks.prices))),
        prices=np.concatenate((bids.prices, asks.prices)),
        quantities=np.concatenate((bids.quantities, asks.quantities)),
    )


def _empty_book_before(rows: LevelRows) -> LevelRows:
    """Return a book without levels, for `rows` to follow: without a row, earlier levels stay."""
    first = rows.head(1)
    ids = first.first_ids - 1
    return replace(
        first,
        is_snapshot=True,
        first_ids=ids,
        final_ids=ids,
        received_ns=np.maximum(first.received_ns - _BEFORE_FIRST_NS, 0),
        quantities=np.zeros(1, dtype=np.int64),
    )


def _times_of(part: ChunkSlice, book: BookImage) -> tuple[int, int]:
    """Return event time (ms) and time of receipt (ns) of the book that `part` begins with."""
    numbers = part.chunk.numbers
    event_ms = book.event_ms or int(numbers.event_ms[0])
    if book.received_ns:
        return event_ms, book.received_ns
    return event_ms, max(0, int(numbers.received_ns[0]) - _BEFORE_FIRST_NS)


class RowSurvey(Struct):
    """What rows of any kind there are: how many, their ids, and the finest exponents in use.

    `first_id` and `last_id` are the ids of the first row and of the last. `least_delay_ns` is the
    least time from what happened to its receipt; below 0 where our clock was behind the exchange's.
    """

    rows: int = 0
    first_id: int = 0
    last_id: int = 0
    least_delay_ns: int = 0
    price_exponent: int = DEFAULT_EXPONENT
    quantity_exponent: int = DEFAULT_EXPONENT

    @property
    def scale(self) -> Scale:
        """A scale at which every value is whole."""
        return Scale(self.price_exponent, self.quantity_exponent)

    def learn(self, ids: Int64Array, scale: Scale, delays_ns: Int64Array) -> None:
        """Learn from further rows: their ids, and how long after it happened each was received."""
        if not self.rows:
            self.first_id = int(ids[0])
        self.last_id = int(ids[-1])
        self.rows += len(ids)
        self.price_exponent = max(self.price_exponent, scale.price)
        self.quantity_exponent = max(self.quantity_exponent, scale.quantity)
        self.least_delay_ns = min(self.least_delay_ns, int(delays_ns.min(initial=0)))


class Survey(RowSurvey):
    """What rows of levels there are, and of how many `books`; ids are final update ids.

    A whole book does not count for the delay: it has the time of an event beside it.
    """

    books: int = 0

    def take(self, rows: LevelRows) -> None:
        """Learn from `rows`."""
        if len(rows):
            self.books += rows.is_snapshot
            delays = EMPTY if rows.is_snapshot else rows.received_ns - rows.event_ms * _NS_A_MS
            self.learn(rows.final_ids, rows.scale, delays)
