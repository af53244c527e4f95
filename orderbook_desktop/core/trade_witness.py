"""Trades as witnesses of the book: each one changes the book at its price, soon after its time.

A trade takes a quantity from a level, so an event of the book has to name that level. On the real
captures this is the first or the second depth event that is not earlier than the trade. The
exchange does not promise it. A trade next to a gap of the book, or inside one, can't be judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import INT64_MAX, format_units

# Of so many trades that were judged, one may not be held.
_ONE_IN: Final = 1000

_BoolArray = npt.NDArray[np.bool_]


class DepthBlock(Struct, frozen=True, eq=False):
    """Depth events in the order of their ids, without a hole; at least one.

    `first_ids`, `final_ids` and `event_ms` are by event. `changed_at` takes prices in units of
    10^-`exponent`, ascending. It returns where an event changes a level at one of them: the index
    of the price, and the index of the event. A negative price is that of no level.
    """

    first_ids: Int64Array
    final_ids: Int64Array
    event_ms: Int64Array
    exponent: int
    changed_at: Callable[[Int64Array], tuple[Int64Array, Int64Array]]


class TradeBlock(Struct, frozen=True, eq=False):
    """Trades in the order of their ids. `prices` are units of 10^-`exponent`."""

    ids: Int64Array
    times_ms: Int64Array
    prices: Int64Array
    exponent: int


class NotHeld(Struct, frozen=True):
    """A trade at whose price the book did not change; `price` is decimal text."""

    trade_id: int
    price: str
    event_ms: int


class TradesHeld(Struct, frozen=True):
    """How many trades changed the book as they should, how many did not, and the first of these.

    `not_judged` trades lie in gaps of the book, or beside one.
    """

    held: int = 0
    not_held: int = 0
    not_judged: int = 0
    first_not_held: NotHeld | None = None

    @property
    def contradict(self) -> bool:
        """Whether more trades were not held than could be chance: more than 0.1 %."""
        return self.not_held * _ONE_IN > (self.held + self.not_held)


class _Waiting(Struct, frozen=True, eq=False):
    """Trades that wait for depth events; `seen` is whether the first event had no such change."""

    trades: TradeBlock
    seen: _BoolArray

    def only(self, kept: _BoolArray) -> _Waiting:
        trades = self.trades
        columns = (trades.ids[kept], trades.times_ms[kept], trades.prices[kept])
        return _Waiting(TradeBlock(*columns, trades.exponent), self.seen[kept])


class TradeWitness:
    """Holds the trades of one market against its depth events. Both come in order, in blocks.

    Give a block of depth events first, and then, before the next one, at least all the trades up to
    `until_ms`. Events whose ids came before are left out. Where ids are missing between two events,
    a gap ends the judgement of the trades before it. A trade waits for two depth events at most.
    """

    def __init__(self) -> None:
        self._block: DepthBlock | None = None
        # The id that the block begins after, and the last id of all.
        self._after_id = self._last_id = -1
        # The latest time that was passed, or lies before all that is known since the last gap.
        self._passed_ms = 0
        self._until_ms = 0
        self._waiting: list[_Waiting] = []
        self._result = TradesHeld()

    @property
    def until_ms(self) -> int:
        """The time of the last depth event."""
        return self._until_ms

    def take_depth(self, block: DepthBlock) -> None:
        """Take the next depth events."""
        if block.final_ids[-1] <= self._last_id:
            return
        self._judge()
        begin = int(block.final_ids.searchsorted(self._last_id, side="right"))
        if self._last_id < 0 or block.first_ids[begin] > self._last_id + 1:
            self._begin_after_gap(int(block.event_ms[begin]))
        self._block, self._after_id = block, self._last_id
        self._last_id = int(block.final_ids[-1])
        self._until_ms = max(self._passed_ms, int(block.event_ms[begin:].max()))

    def take_trades(self, trades: TradeBlock) -> None:
        """Take the next trades."""
        waiting = _Waiting(trades, np.zeros(len(trades.ids), dtype=np.bool_))
        self._wait(waiting, trades.times_ms > self._passed_ms)

    def finish(self) -> TradesHeld:
        """Return the result, after all depth events and all trades."""
        self._judge()
        self._leave(sum(len(waiting.seen) for waiting in self._waiting))
        self._block, self._waiting = None, []
        return self._result

    def _begin_after_gap(self, first_ms: int) -> None:
        """Leave the trades that changed the book at a gap, or in it.

        It is not known whether a trade before `first_ms` changed the book by that event already, or
        by one in the gap.
        """
        self._passed_ms = max(self._passed_ms, first_ms)
        before, self._waiting = self._waiting, []
        for waiting in before:
            self._wait(waiting, ~waiting.seen & (waiting.trades.times_ms > self._passed_ms))

    def _wait(self, waiting: _Waiting, kept: _BoolArray) -> None:
        """Let those trades wait that are `kept`, and leave the others without a judgement."""
        count = int(np.count_nonzero(kept))
        self._leave(len(kept) - count)
        if count:
            self._waiting.append(waiting.only(kept))

    def _leave(self, count: int) -> None:
        self._result = replace(self._result, not_judged=self._result.not_judged + count)

    def _judge(self) -> None:
        """Hold the trades that wait against the block."""
        block = self._block
        if block is None:
            return
        self._block = None
        begin = int(block.final_ids.searchsorted(self._after_id, side="right"))
        times_ms = np.maximum.accumulate(np.maximum(block.event_ms[begin:], self._passed_ms))
        before, self._waiting = self._waiting, []
        for waiting in before:
            # The first of the two events of each trade; -1 where it was in the block before.
            firsts: Int64Array = times_ms.searchsorted(waiting.trades.times_ms).astype(np.int64)
            firsts[waiting.seen] = -1
            due = firsts < len(times_ms)
            later = waiting.only(~due)
            if len(later.seen):
                self._waiting.append(later)
            if due.any():
                self._judge_due(block, begin, waiting.only(due).trades, firsts[due])
        self._passed_ms = self._until_ms

    def _judge_due(
        self, block: DepthBlock, begin: int, trades: TradeBlock, firsts: Int64Array
    ) -> None:
        count = len(block.event_ms) - begin
        prices, which = np.unique(
            _in_units(trades.prices, trades.exponent, block.exponent), return_inverse=True
        )
        priced, events = block.changed_at(prices)
        changes = priced * count + (events - begin)
        changes = np.sort(changes[events >= begin])
        seconds = firsts + 1
        is_held = (firsts >= 0) & _are_in(changes, which * count + firsts)
        is_held |= (seconds < count) & _are_in(changes, which * count + seconds)
        is_not_held = ~is_held & (seconds < count)
        waits = ~is_held & ~is_not_held
        if waits.any():
            waiting = _Waiting(trades, np.ones(len(firsts), dtype=np.bool_))
            self._waiting.append(waiting.only(waits))
        self._count(int(np.count_nonzero(is_held)), trades, is_not_held.nonzero()[0])

    def _count(self, held: int, trades: TradeBlock, not_held: Int64Array) -> None:
        result, first = self._result, self._result.first_not_held
        if len(not_held):
            at = int(not_held[trades.ids[not_held].argmin()])
            trade_id = int(trades.ids[at])
            if first is None or trade_id < first.trade_id:
                price = format_units(int(trades.prices[at]), trades.exponent)
                first = NotHeld(trade_id, price, int(trades.times_ms[at]))
        self._result = replace(
            result,
            held=result.held + held,
            not_held=result.not_held + len(not_held),
            first_not_held=first,
        )


def _are_in(numbers: Int64Array, wanted: Int64Array) -> _BoolArray:
    """Return which of `wanted` are in `numbers`, which ascend: in a fifth of the time of isin."""
    found: _BoolArray = np.append(numbers, -1)[numbers.searchsorted(wanted)] == wanted
    return found


def _in_units(prices: Int64Array, exponent: int, wanted: int) -> Int64Array:
    """Return prices in units of 10^-`wanted`; -1 where they are no whole number of these."""
    factor = 10 ** abs(wanted - exponent)
    if wanted >= exponent:
        fits = prices <= INT64_MAX // factor
        return np.where(fits, prices, -1) * np.where(fits, factor, 1)
    return np.where(prices % factor == 0, prices // factor, -1)
