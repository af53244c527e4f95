"""A recording's depth events and trades as one sequence, in the order in which they are replayed.

An event is *due* at a time of the replay (ns since the epoch), by `core.replay.ReplayOrder`. Due
times never go back. Events and trades come in parts of some minutes at most, so that memory stays
bounded however long the recording is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import cached_property
from typing import Final

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive.decoded import ChunkSlice
from orderbook_desktop.core.archive.tokens import BoolArray
from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.event_times import NS_A_MS, US_A_MS
from orderbook_desktop.core.levels import EMPTY, Int64Array
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.replay.due_times import due_alone, due_times
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.system.tasks import one_ahead

UNKNOWN_BOOK: Final = -2
"""In place of an index of an event: the book is not known at that time."""

_NS_A_US: Final = 1_000


class DepthPiece(Struct, frozen=True, eq=False, dict=True):
    """A slice of a chunk, when its events are due, and the exchange's times by which they go.

    Both arrays have one number for each event of the slice. Where times go back, an event has the
    latest earlier time.
    """

    slice: ChunkSlice
    due_ns: Int64Array
    event_ms: Int64Array

    @classmethod
    def of(cls, part: ChunkSlice, order: ReplayOrder, not_before: int) -> DepthPiece:
        """Return the slice `part`, played in `order`, and not before a due time."""
        chosen = slice(part.begin, part.end)
        event_ms, received_ns = (
            column[chosen]
            for column in (part.chunk.numbers.event_ms, part.chunk.numbers.received_ns)
        )
        latest_ms: Int64Array = np.maximum.accumulate(event_ms)
        due_ns = due_times(event_ms * NS_A_MS, received_ns, order, not_before)
        return cls(part, due_ns, latest_ms)

    def __len__(self) -> int:
        return len(self.due_ns)

    @property
    def begins_ms(self) -> int:
        """The exchange's time of the book before the first event, or else of that event."""
        chunk, before = self.slice.chunk, self.slice.begin - 1
        book_ms = chunk.start_event_ms if before < 0 else int(chunk.numbers.event_ms[before])
        return book_ms or (int(self.event_ms[0]) if len(self) else 0)

    @property
    def begin_id(self) -> int:
        """The update id of the book before the first event."""
        chunk, before = self.slice.chunk, self.slice.begin - 1
        return (chunk.header.start_id or 0) if before < 0 else int(chunk.numbers.final_ids[before])

    @cached_property
    def payloads(self) -> list[bytes]:
        """The text of each event of the whole chunk. It takes long: make it in a thread."""
        return self.slice.chunk.payloads()


class TradePiece(Struct, frozen=True, eq=False, dict=True):
    """Trades of one unbroken run, of which those at the indices `chosen` are played."""

    trades: DecodedTrades
    chosen: Int64Array

    @cached_property
    def payloads(self) -> list[bytes]:
        """The text of each of `trades`, as it was stored. It takes long: make it in a thread."""
        return self.trades.payloads()


class ReplayPart(Struct, frozen=True, eq=False):
    """Depth events and trades that follow each other in a replay.

    The arrays have one number for each of them: `due_ns` is when it is due, `is_trade` tells trades
    from depth events, and `at` is its index, in the chunk of `depth` or in the trades of `trades`.
    `books` is the index of the event of that chunk after which the book stands then: -1 for the
    chunk's first book, `UNKNOWN_BOOK` where the book is not known.

    If the part `opens`, a new unbroken run of depth events begins with it, and what was known of
    the book before does not count any more.
    """

    depth: DepthPiece | None
    trades: TradePiece | None
    due_ns: Int64Array
    is_trade: BoolArray
    at: Int64Array
    books: Int64Array
    opens: bool = False

    def __len__(self) -> int:
        return len(self.due_ns)


def gap_before(part: ReplayPart, last_id: int, gaps: Iterable[Gap]) -> Gap | None:
    """Return which of `gaps` lies before `part`, which opens a run, and after `last_id`."""
    if part.depth is None:
        return None
    begin_id = part.depth.begin_id
    between = (gap for gap in gaps if last_id < gap.first_missing and gap.last_missing <= begin_id)
    return next(between, None)


async def replayed(
    place: Database | RecordingStore,
    market: str,
    from_ms: int | None = None,
    to_ms: int | None = None,
    order: ReplayOrder = ReplayOrder.RECEIVED,
) -> AsyncGenerator[ReplayPart]:
    """Iterate over a recording from `from_ms` to before `to_ms` (None: all), as it is to be played.

    These are the exchange's times. The next part is read while the caller works on one. Events that
    belong to no known book are left out. Raises what reading a recording raises; close the
    generator.
    """
    # A run's book may lie in the time while all of its events lie behind it.
    waiting: list[ReplayPart] = []
    async with aclosing(_all_replayed(place, market, from_ms, to_ms, order)) as parts:
        async for part in parts:
            waiting.append(part)
            if len(part):
                for one in waiting:
                    yield one
                waiting.clear()


async def _all_replayed(
    place: Database | RecordingStore,
    market: str,
    from_ms: int | None,
    to_ms: int | None,
    order: ReplayOrder,
) -> AsyncGenerator[ReplayPart]:
    """Iterate over what `replayed` gives, and over an empty part that opens a run at the end."""
    recording, recorded_trades = Recording(place, market), RecordedTrades(place, market)
    merge = _Merge(order)
    async with (
        aclosing(one_ahead(recording.slices(from_ms, to_ms))) as slices,
        aclosing(one_ahead(_trade_pieces(recorded_trades, from_ms, to_ms))) as pieces,
    ):
        merge.take_trades(await anext(pieces, None))
        async for part in slices:
            merge.take_depth(part)
            while merge.has_all_trades_due:
                yield merge.through_trades()
                merge.take_trades(await anext(pieces, None))
            last = merge.through_depth()
            if len(last) or last.opens:
                yield last
        merge.end_depth()
        while merge.has_trades:
            yield merge.through_trades()
            merge.take_trades(await anext(pieces, None))


async def _trade_pieces(
    recorded: RecordedTrades, from_ms: int | None, to_ms: int | None
) -> AsyncGenerator[TradePiece]:
    async with aclosing(recorded.decoded(from_ms, to_ms)) as found:
        async for trades in found:
            times_us = trades.arrays.times_us
            is_chosen: BoolArray = np.ones(len(trades), dtype=np.bool_)
            if from_ms is not None:
                is_chosen &= times_us >= from_ms * US_A_MS
            if to_ms is not None:
                is_chosen &= times_us < to_ms * US_A_MS
            if is_chosen.any():
                yield TradePiece(trades, is_chosen.nonzero()[0])


class _Merge:
    """Merges depth pieces and trade pieces, of each of which it holds one, by due times."""

    def __init__(self, order: ReplayOrder) -> None:
        self._order = order
        self._depth: DepthPiece | None = None
        self._trades: TradePiece | None = None
        # How many events and trades of both pieces were played.
        self._depth_done = self._trades_done = 0
        # When the trades that are left are due; in the order of receipt `INT64_MAX` for repaired
        # ones that the depth piece does not reach, and for those behind them.
        self._trades_due = EMPTY
        self._latest_ns = 0
        # The exchange's latest time in the depth pieces before this one.
        self._latest_ms = 0
        self._opens = self._depth_is_over = False

    @property
    def has_trades(self) -> bool:
        """Whether there are trades left."""
        return self._trades is not None

    @property
    def has_all_trades_due(self) -> bool:
        """Whether all trades of the piece are due by the last event of the depth piece."""
        return self._trades is not None and self._due_count() == len(self._trades_due)

    def take_depth(self, part: ChunkSlice) -> None:
        """Go on with `part`."""
        if self._depth is not None and len(self._depth):
            self._latest_ms = max(self._latest_ms, int(self._depth.event_ms[-1]))
        self._depth = DepthPiece.of(part, self._order, self._latest_ns)
        self._depth_done, self._opens = 0, part.opens
        self._place_trades()

    def end_depth(self) -> None:
        """Note that there are no more depth events."""
        self._depth_is_over = True
        self._place_trades()

    def take_trades(self, piece: TradePiece | None) -> None:
        """Go on with the trades of `piece`; None: there are no more."""
        self._trades, self._trades_done = piece, 0
        self._place_trades()

    def through_trades(self) -> ReplayPart:
        """Return all that is due through the last trade of the piece."""
        # Of a trade and an event that are due at one time, the trade comes first.
        depth_due = EMPTY if self._depth is None else self._depth.due_ns
        end = max(int(depth_due.searchsorted(self._trades_due[-1])), self._depth_done)
        return self._part(end, len(self._trades_due))

    def through_depth(self) -> ReplayPart:
        """Return the rest of the depth piece, with the trades that are due by then."""
        return self._part(0 if self._depth is None else len(self._depth), self._due_count())

    def _due_count(self) -> int:
        """Return how many trades are due by the last event of the depth piece."""
        if self._depth is None or not len(self._depth):
            return 0
        return int(self._trades_due.searchsorted(self._depth.due_ns[-1], side="right"))

    def _place_trades(self) -> None:
        """Find out when the trades that are left are due.

        They are played in the order of their ids, so none is due before the one before it.
        """
        piece = self._trades
        if piece is None:
            self._trades_due = EMPTY
            return
        chosen, arrays = piece.chosen[self._trades_done :], piece.trades.arrays
        times_us = arrays.times_us[chosen]
        due = due_alone(times_us * _NS_A_US, arrays.received_ns[chosen], self._order)
        if self._order is ReplayOrder.RECEIVED and not self._depth_is_over:
            repaired = arrays.repaired[chosen].nonzero()[0]
            due[repaired] = self._of_repaired(times_us[repaired])
        self._trades_due = np.maximum.accumulate(np.maximum(due, self._latest_ns))

    def _of_repaired(self, times_us: Int64Array) -> Int64Array:
        """Return when repaired trades are due: with the first depth event that is not earlier.

        One that was traded while the book was not known is due when it was traded.
        """
        depth = self._depth
        if depth is None or not len(depth):
            return np.full(len(times_us), INT64_MAX)
        events = (depth.event_ms * US_A_MS).searchsorted(times_us)
        due: Int64Array = np.append(depth.due_ns, INT64_MAX)[events]
        if depth.slice.opens:
            due = np.where(times_us < depth.begins_ms * US_A_MS, times_us * _NS_A_US, due)
        # Such an event of an earlier piece was played, but a trade before this one was due later.
        return np.where(times_us <= self._latest_ms * US_A_MS, self._latest_ns, due)

    def _part(self, depth_end: int, trade_count: int) -> ReplayPart:
        """Return the next events, through the index before `depth_end`, and so many trades."""
        depth = self._depth
        depth_due = EMPTY if depth is None else depth.due_ns[self._depth_done : depth_end]
        trades_due = self._trades_due[:trade_count]
        count = len(depth_due) + trade_count
        is_trade: BoolArray = np.zeros(count, dtype=np.bool_)
        is_trade[depth_due.searchsorted(trades_due) + np.arange(trade_count)] = True
        due_ns: Int64Array = np.empty(count, dtype=np.int64)
        due_ns[is_trade], due_ns[~is_trade] = trades_due, depth_due
        at, books = self._indices(is_trade)
        part = ReplayPart(depth, self._trades, due_ns, is_trade, at, books, self._opens)
        self._latest_ns = max(self._latest_ns, int(due_ns[-1]) if count else 0)
        self._depth_done, self._trades_done = depth_end, self._trades_done + trade_count
        self._trades_due = self._trades_due[trade_count:]
        self._opens = False
        return part

    def _indices(self, is_trade: BoolArray) -> tuple[Int64Array, Int64Array]:
        """Return the columns `at` and `books` of the next part."""
        depth, piece = self._depth, self._trades
        before = UNKNOWN_BOOK if depth is None else depth.slice.begin + self._depth_done - 1
        books = (~is_trade).cumsum() + before
        at = books.copy()
        if piece is None or not is_trade.any():
            return at, books
        end = self._trades_done + int(is_trade.sum())
        at[is_trade] = piece.chosen[self._trades_done : end]
        if depth is None:
            books[:] = UNKNOWN_BOOK
        elif depth.slice.opens:
            times_us = piece.trades.arrays.times_us[at[is_trade]]
            is_before = times_us < depth.begins_ms * US_A_MS
            early = is_trade.nonzero()[0][is_before]
            books[early[books[early] == depth.slice.begin - 1]] = UNKNOWN_BOOK
        return at, books
