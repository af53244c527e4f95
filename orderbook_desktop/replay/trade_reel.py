"""The recorded trades around the clock of a replay, and the tape of those that are due.

Trades come in the order of their ids, so none is due before the one before it. In the order of
receipt a repaired trade, which was never received, comes right before the first depth event that is
not earlier.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import Final

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.event_times import NS_A_MS, US_A_MS
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.tape import Tape, TapeArrays
from orderbook_desktop.core.trade_coverage import TradeGap, gaps_between
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.replay.due_times import due_alone
from orderbook_desktop.replay.pieces import Spot
from orderbook_desktop.storage.store.recording_store import RecordingStore

_NS_A_US: Final = 1_000
# So many trades from before the clock are on a new tape; more are kept in memory.
_ON_TAPE: Final = 2_000
_KEPT: Final = 20_000
# What is read at once where the clock goes to.
_IDS_AROUND: Final = 2_500
# A repaired trade is due with a depth event, which comes within so long a time.
_LONG_NS: Final = 120_000_000_000
# Before all times, in ns and in us.
_NEVER: Final = -(1 << 50)


class DueTrades(Struct, frozen=True, eq=False, dict=True):
    """Trades with ids that go on without a hole, and when they are due.

    `before` are the last of `exchange_ns`, `received_ns` and `repaired_us` of those before them.
    """

    trades: DecodedTrades
    before: tuple[int, int, int] = (_NEVER, _NEVER, _NEVER)

    def __len__(self) -> int:
        return len(self.trades)

    @property
    def first_id(self) -> int:
        """The id of the first one."""
        return self.trades.header.first_id

    @property
    def last_id(self) -> int:
        """The id of the last one."""
        return self.first_id + len(self) - 1

    @cached_property
    def times_ns(self) -> Int64Array:
        """When they were traded."""
        return self.trades.arrays.times_us * _NS_A_US

    @cached_property
    def exchange_ns(self) -> Int64Array:
        """When they are due in the order of the exchange's times."""
        return np.maximum.accumulate(np.maximum(self.times_ns, self.before[0]))

    @cached_property
    def received_ns(self) -> Int64Array:
        """When the received ones are due in the order of receipt, as far as they say."""
        arrays = self.trades.arrays
        due = due_alone(self.times_ns, arrays.received_ns, ReplayOrder.RECEIVED)
        due = np.where(arrays.repaired, _NEVER, due)
        return np.maximum.accumulate(np.maximum(due, self.before[1]))

    @cached_property
    def repaired_us(self) -> Int64Array:
        """Up to which time the repaired ones were traded, in us."""
        arrays = self.trades.arrays
        times_us = np.where(arrays.repaired, arrays.times_us, _NEVER)
        return np.maximum.accumulate(np.maximum(times_us, self.before[2]))

    def behind(self, other: DueTrades | None) -> DueTrades:
        """Return them as they are due behind `other`; None: they are the first."""
        if other is None:
            return self
        columns = other.exchange_ns, other.received_ns, other.repaired_us
        return DueTrades(
            self.trades, (int(columns[0][-1]), int(columns[1][-1]), int(columns[2][-1]))
        )

    def count_due(self, at_ns: int, event_us: int, order: ReplayOrder) -> int:
        """Return how many are due at a time, when the latest depth event is of `event_us`."""
        if order is ReplayOrder.EXCHANGE:
            return int(self.exchange_ns.searchsorted(at_ns, side="right"))
        received = int(self.received_ns.searchsorted(at_ns, side="right"))
        return min(received, int(self.repaired_us.searchsorted(event_us, side="right")))

    def last_due(self, order: ReplayOrder) -> int:
        """Return when the last one is due; a repaired one not before it was traded."""
        if order is ReplayOrder.EXCHANGE:
            return int(self.exchange_ns[-1])
        return max(int(self.received_ns[-1]), int(self.repaired_us[-1]) * _NS_A_US)

    def latest_due(self, until_ns: int, order: ReplayOrder) -> int | None:
        """Return when the last one is due that is due by a time; None: none is."""
        due = self.exchange_ns if order is ReplayOrder.EXCHANGE else self.received_ns
        count = int(due.searchsorted(until_ns, side="right"))
        return None if not count or due[count - 1] == _NEVER else int(due[count - 1])

    def on_tape(self, begin: int, end: int) -> TapeArrays:
        """Return some of them as a tape takes them."""
        arrays, chosen = self.trades.arrays, slice(begin, end)
        return TapeArrays(
            *(arrays.ids[chosen], arrays.times_ms[chosen]),
            *(arrays.prices[chosen], arrays.quantities[chosen]),
            *(arrays.sold[chosen], arrays.repaired[chosen]),
            self.trades.scale,
        )


class TradePlace(Struct, frozen=True, eq=False):
    """A trade, and its index in `part`."""

    part: DueTrades
    index: int

    @property
    def trade_id(self) -> int:
        """The id of the trade."""
        return self.part.first_id + self.index

    def received_due(self, order: ReplayOrder) -> int | None:
        """Return when the latest received trade up to this one is due; None: there is none."""
        part = self.part
        due = part.exchange_ns if order is ReplayOrder.EXCHANGE else part.received_ns
        return None if due[self.index] == _NEVER else int(due[self.index])

    def repaired_ns(self, order: ReplayOrder) -> int | None:
        """Return of when the latest repaired trade up to this one is; None: it has no bearing."""
        at_us = int(self.part.repaired_us[self.index])
        if order is ReplayOrder.EXCHANGE or at_us == _NEVER:
            return None
        received_ns = self.received_due(order)
        is_long_ago = received_ns is not None and at_us * _NS_A_US < received_ns - _LONG_NS
        return None if is_long_ago else at_us * _NS_A_US


class TradeReel:
    """The trades of `market` in `store` around the clock. Its methods are not for two tasks.

    All methods that read raise what reading trades raises. Call `refresh` first, and `close` at the
    end.
    """

    def __init__(self, store: RecordingStore, market: str) -> None:
        self._store = store.trades
        self._market = market
        self.gaps: Sequence[TradeGap] = ()
        self.is_recorded = False
        # What is in memory, in the order of ids, and whether nothing is recorded beside it.
        self._parts: list[DueTrades] = []
        self._is_first = self._is_last = False
        self._stream: AsyncGenerator[DecodedTrades, None] | None = None
        self._stream_at = 0
        # The tape and the id of its newest trade.
        self._tape = Tape(market)
        self._shown_id: int | None = None
        self._is_new_tape_due = False

    async def refresh(self) -> None:
        """Learn what is recorded now."""
        runs = await self._store.runs(self._market)
        # Ten thousand gaps take longer than a frame.
        self.gaps = await asyncio.to_thread(gaps_between, runs)
        self.is_recorded = any(run.count for run in runs)

    async def look_on(self) -> None:
        """Read what has come behind the last trade, where that is in memory."""
        while self._is_last and await self._read_after():
            pass

    def give_up(self) -> None:
        """Have no trades any more, until the next `refresh`."""
        self.is_recorded = False

    async def close(self) -> None:
        """Stop reading."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def tape_at(self, spot: Spot, order: ReplayOrder) -> Tape | None:
        """Return the tape as it is at a spot; None if no trades are recorded."""
        if not self.is_recorded:
            return None
        last_id = self._last_due(spot, order)
        if last_id != self._shown_id or self._is_new_tape_due:
            self._show(last_id)
        return self._tape

    def begin_tape(self) -> None:
        """Have the next tape be a new one, as of a clock that went elsewhere."""
        self._is_new_tape_due = True

    def known_until(self, order: ReplayOrder) -> int | None:
        """Return up to which time the trades are in memory; None: to the last that is recorded."""
        if not self.is_recorded or self._is_last or not self._parts:
            return None
        return self._parts[-1].last_due(order)

    def latest_due(self, until_ns: int, order: ReplayOrder) -> int | None:
        """Return when the last trade in memory is due that is due by a time; None: none is."""
        if self.is_recorded:
            for part in reversed(self._parts):
                due_ns = part.latest_due(until_ns, order)
                if due_ns is not None:
                    return due_ns
        return None

    def is_around(self, spot: Spot, order: ReplayOrder) -> bool:
        """Return whether the tape of a spot can be made of what is in memory."""
        return not self.is_recorded or self._has_around(spot, order)

    async def go_to(self, spot: Spot, order: ReplayOrder) -> None:
        """Have the trades around a spot in memory, those that were traded shortly before it too."""
        if self.is_around(spot, order):
            return
        await self._begin_at(spot.at_ns // NS_A_MS)
        while self._parts and not self._has_around(spot, order):
            has_more = await (
                self._read_before() if self._last_due(spot, order) is None else self._read_after()
            )
            if not has_more:
                break

    async def read_on(self, spot: Spot, order: ReplayOrder, until_ns: int) -> bool:
        """Read what is due until a time, or what is before the spot; return whether any came."""
        if not self._parts:
            return False
        known_ns = self.known_until(order)
        if known_ns is not None and known_ns <= until_ns:
            return await self._read_after()
        before = self._count_before(spot, order)
        if before < _ON_TAPE and not self._is_first:
            return await self._read_before()
        while before - len(self._parts[0]) > _KEPT:
            before -= len(self._parts[0])
            del self._parts[0]
            self._is_first = False
        return False

    async def following(self, spot: Spot, order: ReplayOrder) -> TradePlace | None:
        """Return the next trade that is not due at a spot; None if there is none."""
        await self.go_to(spot, order)
        while True:
            count = self._count_before(spot, order)
            for part in self._parts:
                if count < len(part):
                    return TradePlace(part, count)
                count -= len(part)
            if not self._parts or not await self._read_after():
                return None

    async def latest(self, spot: Spot, order: ReplayOrder, back: int) -> TradePlace | None:
        """Return the last trade that is due at a spot, or one that many before it."""
        await self.go_to(spot, order)
        while True:
            index = self._count_before(spot, order) - 1 - back
            if index >= 0:
                for part in self._parts:
                    if index < len(part):
                        return TradePlace(part, index)
                    index -= len(part)
            if not self._parts or not await self._read_before():
                return None

    async def place_of(self, trade_id: int, event_ms: int) -> TradePlace | None:
        """Return the place of a trade that was traded at a time; None if it is gone."""
        for attempt in range(2):
            for part in self._parts:
                if part.first_id <= trade_id <= part.last_id:
                    return TradePlace(part, trade_id - part.first_id)
            if not attempt:
                await self._begin_at(event_ms)
        return None

    def _count_before(self, spot: Spot, order: ReplayOrder) -> int:
        """Return how many trades in memory are due at a spot."""
        event_us = _event_us(spot)
        total = 0
        for part in self._parts:
            if spot.trade_id is not None:
                count = min(max(spot.trade_id + 1 - part.first_id, 0), len(part))
            else:
                count = part.count_due(spot.at_ns, event_us, order)
            total += count
            if count < len(part):
                break
        return total

    def _last_due(self, spot: Spot, order: ReplayOrder) -> int | None:
        """Return the id of the last trade that is due at a spot; None: none in memory is."""
        index = self._count_before(spot, order) - 1
        for part in self._parts:
            if 0 <= index < len(part):
                return part.first_id + index
            index -= len(part)
        return None

    def _has_around(self, spot: Spot, order: ReplayOrder) -> bool:
        """Return whether the last trade that is due is in memory, and the next one."""
        if not self._parts:
            return False
        count, total = self._count_before(spot, order), sum(map(len, self._parts))
        return (count > 0 or self._is_first) and (count < total or self._is_last)

    def _show(self, last_id: int | None) -> None:
        """Bring the tape to the trade `last_id`: on, or back by a new one."""
        shown_id, self._shown_id = self._shown_id, last_id
        is_on = shown_id is not None and last_id is not None and shown_id < last_id
        is_on, self._is_new_tape_due = is_on and not self._is_new_tape_due, False
        if not is_on or not (self._parts and self._parts[0].first_id <= (shown_id or 0) + 1):
            self._tape, shown_id = Tape(self._market), None
        if last_id is None:
            return
        before = sum(len(part) for part in self._parts if part.last_id <= last_id)
        skipped = max(before - _ON_TAPE, 0) if shown_id is None else 0
        for part in self._parts:
            begin = min(skipped, len(part))
            skipped -= begin
            if shown_id is not None:
                begin = max(begin, shown_id + 1 - part.first_id)
            end = min(last_id + 1 - part.first_id, len(part))
            if begin < end:
                self._tell_gaps(part.first_id + begin, part.first_id + end)
                self._tape.take(part.on_tape(begin, end))

    def _tell_gaps(self, first_id: int, end_id: int) -> None:
        """Tell the tape of the gaps before trades of these ids; it holds only so many gaps."""
        begin, end = (bisect_left(self.gaps, one, key=_id_behind) for one in (first_id, end_id))
        for gap in self.gaps[begin:end]:
            self._tape.broken(gap.cause, gap.detail, after_id=gap.after_id)

    async def _begin_at(self, event_ms: int) -> None:
        """Have the trades about a time in memory, and no others."""
        await self.close()
        self._parts, self._is_first, self._is_last = [], False, False
        first_id = await self._store.first_id_at(self._market, event_ms)
        if first_id is None:
            newest = await self._store.newest(self._market, 1)
            first_id = newest[0].trade_id + 1 if newest else 0
        around = self._store.trades(
            self._market, max(first_id - _IDS_AROUND, 0), first_id + _IDS_AROUND
        )
        async with aclosing(around) as found:
            async for trades in found:
                self._append(trades)
        if not self._parts and not await self._read_after():
            self._is_first = True

    async def _read_after(self) -> bool:
        """Read the next trades behind those in memory; return whether there were any."""
        after_id = self._parts[-1].last_id if self._parts else -1
        if self._stream is None or self._stream_at != after_id:
            await self.close()
            self._stream = self._store.trades(self._market, after_id + 1, INT64_MAX)
        trades = await anext(self._stream, None)
        if trades is None:
            await self.close()
            self._is_last = True
            return False
        self._append(trades)
        self._stream_at = self._parts[-1].last_id
        return True

    def _append(self, trades: DecodedTrades) -> None:
        last = self._parts[-1] if self._parts else None
        self._parts.append(DueTrades(trades).behind(last))

    async def _read_before(self) -> bool:
        """Read the trades before those in memory; return whether there were any."""
        first_id = self._parts[0].first_id if self._parts else 0
        found = self._store.trades(self._market, 0, first_id - 1, backwards=True)
        async with aclosing(found) as earlier:
            async for trades in earlier:
                parts, self._parts = self._parts, []
                for part in (trades, *(part.trades for part in parts)):
                    self._append(part)
                # A tape that was made without them is made anew.
                self._is_new_tape_due = True
                return True
        self._is_first = True
        return False


def _id_behind(gap: TradeGap) -> int:
    return gap.before_id


def _event_us(spot: Spot) -> int:
    """Return the exchange's time of the book at a spot, in us; in a gap that of the clock."""
    if spot.in_gap:
        return spot.at_ns // _NS_A_US
    return int(spot.piece.latest_ms[spot.place - spot.piece.first]) * US_A_MS
