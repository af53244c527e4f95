"""What was added, traded and pulled in the last seconds of a live market, at each price.

The window slides in parts: each part is computed once, when it is over, and the newest one again
and again. The bounds of parts add up to bounds of the whole; where two parts meet they are a little
wider than those of the whole window would be.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import Final

import numpy as np

from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.flows import (
    CONTEXT_MS,
    Flow,
    Flows,
    FlowTrades,
    PriceFlow,
    flows_of,
)
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.tape import Tape, TapeTrade
from orderbook_desktop.core.units import Scale

_PARTS: Final = 10
_LONGEST_PART_MS: Final = 2_500
# A trade may come so much later than the depth event in which it is.
_SETTLED_MS: Final = 1_000
_AGAIN_MS: Final = 500
_READ_AT_ONCE: Final = 256


class RecentFlows:
    """The flows of the last `window_ms` of a tail and a tape.

    Call `follow` with each frame: it computes two parts at most, each in a few milliseconds.
    Prices are units of 10^-`scale.price`, quantities of 10^-`scale.quantity`.
    """

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms
        self.scale = Scale()
        self._part_ms = min(window_ms // _PARTS, _LONGEST_PART_MS)
        self._parts: dict[int, Flows] = {}
        self._newest: Flows | None = None
        self._tail: DepthTail | None = None
        self._prices: list[int] | None = None
        # By price: flow, change, in how many parts it is known in part, and how many there are.
        self._sums: dict[int, tuple[Flow, int, int, int]] = {}

    @property
    def covered_ms(self) -> int:
        """How much of the window is computed."""
        return sum(one.covered_ms for one in self._known)

    def follow(self, tail: DepthTail, tape: Tape) -> None:
        """Compute what has come, or a part of it."""
        if tail is not self._tail:
            self._tail, self._parts, self._newest, self._sums = tail, {}, None, {}
        settled = (tail.to_ms - _SETTLED_MS) // self._part_ms
        first = (tail.to_ms - self.window_ms) // self._part_ms + 1
        dropped = [number for number in self._parts if number < first]
        missing = [number for number in range(first, settled) if number not in self._parts]
        begin_ms = max(first, settled) * self._part_ms
        newest = self._newest
        has_moved = newest is None or newest.from_ms != begin_ms
        is_old = has_moved or newest is None or tail.to_ms - newest.to_ms >= _AGAIN_MS
        for number in dropped:
            self._count(self._parts.pop(number), -1)
        if is_old:
            if newest is not None:
                self._count(newest, -1)
            self._newest = _computed(tail, tape, begin_ms, tail.to_ms + 1)
            self._count(self._newest, 1)
        # What the newest part no longer has is computed at once.
        if missing and (has_moved or not is_old):
            begin_ms = missing[-1] * self._part_ms
            part = _computed(tail, tape, begin_ms, begin_ms + self._part_ms)
            self._parts[missing[-1]] = part
            self._count(part, 1)

    def between(self, low: int, high: int) -> PriceFlow:
        """Return what flowed from the price `low` to `high`, both included."""
        if self._prices is None:
            self._prices = sorted(self._sums)
        total = PriceFlow(low)
        first, end = bisect_left(self._prices, low), bisect_right(self._prices, high)
        for price in self._prices[first:end]:
            flow, change, in_part, _ = self._sums[price]
            total = total.plus(PriceFlow(price, flow, change, not in_part))
        return total

    @property
    def _known(self) -> list[Flows]:
        newest = [] if self._newest is None else [self._newest]
        return [*self._parts.values(), *newest]

    def _count(self, flows: Flows, sign: int) -> None:
        """Add what flowed in a part, or (-1) take it away."""
        if flows.scale.price > self.scale.price or flows.scale.quantity > self.scale.quantity:
            self.scale = Scale(
                max(self.scale.price, flows.scale.price),
                max(self.scale.quantity, flows.scale.quantity),
            )
            self._sums = {}
            for known in self._known:
                self._count(known, 1)
            return
        self._prices = None
        finer = 10 ** (self.scale.price - flows.scale.price)
        factor = 10 ** (self.scale.quantity - flows.scale.quantity) * sign
        for one in flows.prices:
            price = one.price * finer
            flow, change, in_part, count = self._sums.get(price, (Flow(), 0, 0, 0))
            self._sums[price] = (
                flow.plus(one.flow.times(factor)),
                change + one.change * factor,
                in_part + (not one.is_whole) * sign,
                count + sign,
            )
            if not self._sums[price][3]:
                del self._sums[price]


def _computed(tail: DepthTail, tape: Tape, from_ms: int, to_ms: int) -> Flows:
    spans = tail.spans(from_ms - CONTEXT_MS, to_ms)
    exponent = max((span.scale.price for span, _ in spans), default=0)
    trades = trades_of(tape, from_ms - CONTEXT_MS)
    return flows_of(spans, trades, from_ms, to_ms, PriceSteps(1, max(exponent, tape.scale.price)))


def trades_of(tape: Tape, from_ms: int) -> FlowTrades:
    """Return the trades of a tape from a time on; where ids are missing there are gaps."""
    count = _READ_AT_ONCE
    found = tape.newest(count)
    while len(found) == count and found[0].event_ms >= from_ms:
        count *= 4
        found = tape.newest(count)
    if not found:
        return FlowTrades(gaps=((0, from_ms + (1 << 50)),))
    first = bisect_left(found, from_ms, key=_time_of)
    gaps = [
        (one.event_ms, after.event_ms)
        for one, after in pairwise(found[max(0, first - 1) :])
        if after.trade_id != one.trade_id + 1
    ]
    if first == 0:
        gaps.insert(0, (0, found[0].event_ms))
    found = found[first:]
    return FlowTrades(
        tape.scale,
        np.array([trade.event_ms for trade in found], dtype=np.int64),
        np.array([trade.price for trade in found], dtype=np.int64),
        np.array([trade.quantity for trade in found], dtype=np.int64),
        np.array([trade.is_sold for trade in found], dtype=np.bool_),
        tuple(gaps),
    )


def _time_of(trade: TapeTrade) -> int:
    return trade.event_ms
