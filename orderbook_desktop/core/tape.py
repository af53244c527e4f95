"""The tape: the newest trades of one market as exact numbers, and its last price."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.levels import EMPTY, Int64Array, fitting_exponent, rescaled
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.units import INT64_MAX, Scale, format_units, parse_units

_HELD_AT_MOST: Final = 20_000
_BREAKS_HELD: Final = 1_000
_BoolArray = npt.NDArray[np.bool_]


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


class TapeArrays(Struct, frozen=True, eq=False):
    """Trades in arrays of one length; see `TapeTrade` for what they hold.

    `prices` and `quantities` are in units of `scale`, which need not be the tape's.
    """

    ids: Int64Array
    times_ms: Int64Array
    prices: Int64Array
    quantities: Int64Array
    sold: _BoolArray
    repaired: _BoolArray
    scale: Scale

    def __len__(self) -> int:
        return len(self.ids)


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
        self._add(
            *(trade.trade_id, trade.event_ms, trade.price, trade.quantity),
            *(trade.is_sold, trade.is_repaired),
            is_past=is_past,
        )

    def take(self, trades: TapeArrays, *, is_past: bool = False) -> None:
        """Add `trades` in their order, as `add` does one by one, `is_past` included.

        Those that are newer than all before them, as a recording that is played has them, come at
        once; only the others, and those for which the scale changes, take the time of `add`.
        """
        breaks = (np.diff(trades.ids) <= 0).nonzero()[0] + 1
        begin = 0
        while begin < len(trades):
            end = begin
            newest = self.newest_id
            if newest is None or trades.ids[begin] > newest:
                following = breaks[breaks.searchsorted(begin, side="right") :]
                end = int(following[0]) if len(following) else len(trades)
                end = self._append(trades, begin, end, is_past=is_past)
            if end == begin:
                price = format_units(int(trades.prices[begin]), trades.scale.price)
                quantity = format_units(int(trades.quantities[begin]), trades.scale.quantity)
                self._add(
                    *(int(trades.ids[begin]), int(trades.times_ms[begin]), price, quantity),
                    *(bool(trades.sold[begin]), bool(trades.repaired[begin])),
                    is_past=is_past,
                )
                end = begin + 1
            begin = end

    def _append(self, trades: TapeArrays, begin: int, end: int, *, is_past: bool) -> int:
        """Append trades that are newer than all here, and ascend, as far as the scale holds them.

        Return the index of the first one that it does not hold, or `end`.
        """
        prices, fit = _at_exponent(trades.prices[begin:end], trades.scale.price, self.scale.price)
        quantities, quantities_fit = _at_exponent(
            trades.quantities[begin:end], trades.scale.quantity, self.scale.quantity
        )
        fit &= quantities_fit
        count = len(fit) if fit.all() else int(fit.argmin())
        if not count:
            return begin
        held = self._held_after(count)
        # Of the new ones only those that stay are copied.
        fresh = min(count, held)
        self._trim(held - fresh)
        kept = slice(begin + count - fresh, begin + count)
        flags = trades.sold[kept] | trades.repaired[kept].astype(np.int8) << 1
        for column, values in (
            (self._ids, trades.ids[kept]),
            (self._arrived, trades.ids[kept]),
            (self._times_ms, trades.times_ms[kept]),
            (self._prices, prices[count - fresh : count]),
            (self._quantities, quantities[count - fresh : count]),
        ):
            column.frombytes(values.astype(np.int64).tobytes())
        self._flags.frombytes(flags.astype(np.int8).tobytes())
        self.revision += count
        if not is_past:
            changed = np.diff(prices[:count]).nonzero()[0]
            # The price before the last change, and the one after it.
            for at in (int(changed[-1]) if len(changed) else 0, count - 1):
                self.last = _moved(self.last, int(prices[at]), self.scale.price)
        return begin + count

    def _held_after(self, count: int) -> int:
        """Return how many trades are held after `count` newer ones were added one by one."""
        most = self._limit * 5 // 4
        longer = len(self._ids) + count
        if longer <= most:
            return longer
        return self._limit + (longer - most - 1) % (most + 1 - self._limit)

    def _add(
        self,
        trade_id: int,
        event_ms: int,
        price_text: str,
        quantity_text: str,
        is_sold: bool,
        is_repaired: bool,
        *,
        is_past: bool,
    ) -> None:
        if self._begins_anew(trade_id, event_ms, is_repaired=is_repaired) and not is_past:
            self._forget()
        at = bisect_left(self._ids, trade_id)
        is_known = at < len(self._ids) and self._ids[at] == trade_id
        if is_known or (at == 0 and len(self._ids) >= self._limit):
            return
        try:
            price, quantity = self._units_of(price_text, quantity_text)
        except InexactValue as error:
            self.broken(GapCause.TOO_WIDE, str(error), after_id=trade_id - 1)
            return
        # The older trades may be forgotten now.
        at = min(at, len(self._ids))
        self._ids.insert(at, trade_id)
        self._times_ms.insert(at, event_ms)
        self._prices.insert(at, price)
        self._quantities.insert(at, quantity)
        self._flags.insert(at, is_sold | is_repaired << 1)
        self._arrived.append(trade_id)
        self.revision += 1
        if at == len(self._ids) - 1 and not is_past:
            self.last = _moved(self.last, price, self.scale.price)
        if len(self._ids) > self._limit * 5 // 4:
            self._trim(self._limit)

    def _begins_anew(self, trade_id: int, event_ms: int, *, is_repaired: bool) -> bool:
        """Return whether ids begin anew: with a lower one than all, at a later time than all."""
        if not self._ids or is_repaired or trade_id >= self._ids[0]:
            return False
        return event_ms > max(self._times_ms)

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

    def _trim(self, count: int) -> None:
        """Keep the `count` newest trades."""
        surplus = len(self._ids) - count
        columns = self._ids, self._times_ms, self._prices, self._quantities, self._flags
        for column in (*columns, self._arrived):
            del column[:surplus]

    def _units_of(self, price_text: str, quantity_text: str) -> tuple[int, int]:
        """Return price and quantity; make room for them in the scale where that is needed.

        Raises `InexactValue` where no scale has room.
        """
        scale = self.scale
        try:
            return parse_units(price_text, scale.price), parse_units(quantity_text, scale.quantity)
        except InexactValue:
            self._widen(price_text, quantity_text)
        scale = self.scale
        return parse_units(price_text, scale.price), parse_units(quantity_text, scale.quantity)

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


def _at_exponent(units: Int64Array, exponent: int, wanted: int) -> tuple[Int64Array, _BoolArray]:
    """Return `units` of 10^-`exponent` as those of 10^-`wanted`, and which of them are exact."""
    factor = np.int64(10 ** abs(wanted - exponent))
    if wanted < exponent:
        return units // factor, units % factor == 0
    return units * factor, units <= INT64_MAX // factor
