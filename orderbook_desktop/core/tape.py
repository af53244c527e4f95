"""The tape: the newest trades of one market as exact numbers, and its last price."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.levels import EMPTY, fitting_exponent, rescaled
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.units import Scale, parse_units

_HELD_AT_MOST: Final = 20_000
_BREAKS_HELD: Final = 1_000


class Direction(Enum):
    """Where the price went when it changed last."""

    NONE = "none"
    UP = "up"
    DOWN = "down"

    # Enum's own hash runs in Python, which takes long in each frame.
    __hash__ = object.__hash__


class TapeTrade(NamedTuple):
    """An aggregated trade; price and quantity are in units of the tape's scale.

    `is_sold` is whether the taker sold. `is_repaired` is whether it was asked for afterwards.
    """

    trade_id: int
    event_ms: int
    price: int
    quantity: int
    is_sold: bool
    is_repaired: bool


class LastPrice(Struct, frozen=True):
    """The price of the newest trade, in units of 10^-`exponent`.

    `direction` is where it went at the last trade with another price than the one before.
    """

    price: int
    exponent: int
    direction: Direction


class Break(Struct, frozen=True):
    """Why the stream of trades lost its continuity."""

    cause: GapCause
    detail: str


class Tape:
    """The newest trades of `market`, in the order of their ids, each id once.

    `limit` is how many it holds at most; a trade takes about fifty bytes. Trades may come in any
    order, as a repair brings the older ones later. Ids go on without a hole, so trades are missing
    wherever two neighbours' ids do not follow one another.

    `scale` are the exponents of the prices and quantities. It changes where a trade needs that, and
    all that is held changes with it. Where the older trades do not fit beside a new one, the tape
    forgets them. `revision` is the number of trades added so far.
    """

    def __init__(self, market: str, limit: int = _HELD_AT_MOST) -> None:
        self.market = market
        self.scale = Scale()
        self.revision = 0
        self.last: LastPrice | None = None
        self._limit = limit
        self._ids, self._times_ms = array("q"), array("q")
        self._prices, self._quantities = array("q"), array("q")
        # Two bits: whether the taker sold, and whether the trade was asked for afterwards.
        self._flags = array("b")
        # The ids in the order in which they came, the latest last.
        self._arrived = array("q")
        self._breaks: dict[int, Break] = {}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def oldest_id(self) -> int | None:
        """The least id that is held."""
        return self._ids[0] if self._ids else None

    @property
    def newest_id(self) -> int | None:
        """The greatest id so far."""
        return self._ids[-1] if self._ids else None

    def add(self, trade: Trade, *, is_past: bool = False) -> None:
        """Add a trade; ignore one that is known, or older than all that the full tape holds.

        One that `is_past`, as a recording of before has it, is not the last trade of the market,
        though it may be the newest here. A trade whose numbers fit into 64 bits at no exponent is
        missing on the tape, and `break_after` says so.
        """
        if self._begins_anew(trade) and not is_past:
            self._forget()
        at = bisect_left(self._ids, trade.trade_id)
        is_known = at < len(self._ids) and self._ids[at] == trade.trade_id
        if is_known or (at == 0 and len(self._ids) >= self._limit):
            return
        try:
            price, quantity = self._units_of(trade)
        except InexactValue as error:
            self.broken(GapCause.TOO_WIDE, str(error), after_id=trade.trade_id - 1)
            return
        # The older trades may be forgotten now.
        at = min(at, len(self._ids))
        self._ids.insert(at, trade.trade_id)
        self._times_ms.insert(at, trade.event_ms)
        self._prices.insert(at, price)
        self._quantities.insert(at, quantity)
        self._flags.insert(at, trade.is_sold | trade.is_repaired << 1)
        self._arrived.append(trade.trade_id)
        self.revision += 1
        if at == len(self._ids) - 1 and not is_past:
            self.last = _moved(self.last, price, self.scale.price)
        if len(self._ids) > self._limit * 5 // 4:
            self._trim()

    def _begins_anew(self, trade: Trade) -> bool:
        """Return whether ids begin anew: with a lower one than all, at a later time than all."""
        if not self._ids or trade.is_repaired or trade.trade_id >= self._ids[0]:
            return False
        return trade.event_ms > max(self._times_ms)

    def broken(self, cause: GapCause, detail: str, *, after_id: int | None = None) -> None:
        """Trades may be missing behind the trade `after_id` (None: the newest) for `cause`."""
        known = self.newest_id if after_id is None else after_id
        if known is not None:
            self._breaks.setdefault(known, Break(cause, detail))
            if len(self._breaks) > _BREAKS_HELD:
                del self._breaks[next(iter(self._breaks))]

    def break_after(self, trade_id: int, before_id: int) -> Break | None:
        """Return why trades are missing between two ids, as far as the tape knows."""
        found = self._breaks.get(trade_id)
        if found is not None:
            return found
        return next((one for id_, one in self._breaks.items() if trade_id < id_ < before_id), None)

    def since(self, trade_id: int, count: int | None = None) -> list[TapeTrade]:
        """Return the trades after an id (-1: all), in order: the first `count` of them."""
        start = bisect_right(self._ids, trade_id)
        end = len(self._ids) if count is None else min(len(self._ids), start + count)
        return self._trades(range(start, end))

    def before(self, trade_id: int, count: int) -> list[TapeTrade]:
        """Return the last `count` trades before an id, in order."""
        end = bisect_left(self._ids, trade_id)
        return self._trades(range(max(0, end - count), end))

    def newest(self, count: int) -> list[TapeTrade]:
        """Return the newest `count` trades, in order."""
        return self._trades(range(max(0, len(self._ids) - count), len(self._ids)))

    def arrivals(self, revision: int) -> list[TapeTrade]:
        """Return the trades that came after that revision, as they came, as far as they are held.

        Unlike `since`, it has the trades that a repair added among older ones. A reader begins with
        `since(-1)` and `revision`, and asks again before `limit` trades have come.
        """
        fresh = min(self.revision - revision, len(self._arrived))
        places = []
        for trade_id in self._arrived[len(self._arrived) - fresh :]:
            at = bisect_left(self._ids, trade_id)
            if at < len(self._ids) and self._ids[at] == trade_id:
                places.append(at)
        return self._trades(places)

    def _trades(self, places: Iterable[int]) -> list[TapeTrade]:
        ids, times_ms, prices = self._ids, self._times_ms, self._prices
        quantities, flags = self._quantities, self._flags
        return [
            TapeTrade(
                *(ids[at], times_ms[at], prices[at], quantities[at]),
                *(bool(flags[at] & 1), bool(flags[at] & 2)),
            )
            for at in places
        ]

    def _trim(self) -> None:
        surplus = len(self._ids) - self._limit
        columns = self._ids, self._times_ms, self._prices, self._quantities, self._flags
        for column in (*columns, self._arrived):
            del column[:surplus]

    def _units_of(self, trade: Trade) -> tuple[int, int]:
        """Return price and quantity; make room for them in the scale where that is needed.

        Raises `InexactValue` where no scale has room.
        """
        try:
            price = parse_units(trade.price, self.scale.price)
            return price, parse_units(trade.quantity, self.scale.quantity)
        except InexactValue:
            self._widen(trade.price, trade.quantity)
        price = parse_units(trade.price, self.scale.price)
        return price, parse_units(trade.quantity, self.scale.quantity)

    def _widen(self, price: str, quantity: str) -> None:
        try:
            self._rescale(price, quantity)
        except InexactValue:
            alone = Scale(
                fitting_exponent([price], EMPTY, self.scale.price),
                fitting_exponent([quantity], EMPTY, self.scale.quantity),
            )
            self.broken(GapCause.TOO_WIDE, "The older trades fit into no scale with this one.")
            self._forget()
            self.scale = alone

    def _rescale(self, price: str, quantity: str) -> None:
        prices = np.array(self._prices, dtype=np.int64)
        quantities = np.array(self._quantities, dtype=np.int64)
        held = self.scale
        fitting = Scale(
            fitting_exponent([price], prices, held.price),
            fitting_exponent([quantity], quantities, held.quantity),
        )
        self._prices = array("q", rescaled(prices, fitting.price - held.price).tolist())
        self._quantities = array(
            "q", rescaled(quantities, fitting.quantity - held.quantity).tolist()
        )
        self.scale = fitting

    def _forget(self) -> None:
        self._ids, self._times_ms = array("q"), array("q")
        self._prices, self._quantities = array("q"), array("q")
        self._flags = array("b")
        self._arrived = array("q")


def tape_of(market: str, trades: Sequence[Trade]) -> Tape:
    """Return a tape of `trades`."""
    tape = Tape(market, limit=len(trades) + 1)
    for trade in trades:
        tape.add(trade)
    return tape


def _moved(last: LastPrice | None, price: int, exponent: int) -> LastPrice:
    """Return the last price after a trade at `price`."""
    if last is None:
        return LastPrice(price, exponent, Direction.NONE)
    by = price * 10**last.exponent - last.price * 10**exponent
    if by == 0:
        return LastPrice(price, exponent, last.direction)
    return LastPrice(price, exponent, Direction.UP if by > 0 else Direction.DOWN)
