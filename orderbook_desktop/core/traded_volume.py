"""What was bought and sold at each price, exactly, by the price steps of a ladder."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from orderbook_desktop.core.tape import Tape, TapeTrade
from orderbook_desktop.core.units import Scale

_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000
# So many expired trades are worth to make room.
_EXPIRED: Final = 10_000


class Period(Struct, frozen=True):
    """Of what time trades count: of the last `minutes`, or of the session, or since the reset.

    A session is a day of the exchange, which begins at 0:00 UTC.
    """

    minutes: int = 0
    is_session: bool = False

    @classmethod
    def of_text(cls, text: str) -> Period:
        """Return the period that `text` names: `session`, a number of minutes, else the reset."""
        if text == "session":
            return cls(is_session=True)
        return cls(minutes=int(text)) if text.isdecimal() and len(text) <= 4 else cls()

    @property
    def text(self) -> str:
        """The text by which it is remembered."""
        return "session" if self.is_session else str(self.minutes) if self.minutes else "reset"

    def from_ms(self, now_ms: int, reset_ms: int) -> int:
        """Return the time from which trades count, at `now_ms`; both since the epoch."""
        if self.is_session:
            return now_ms - now_ms % _DAY_MS
        return now_ms - self.minutes * _MINUTE_MS + 1 if self.minutes else reset_ms


SINCE_RESET: Final = Period()


class Traded(NamedTuple):
    """What takers bought and sold, in quantity units, and what that cost, in price times those."""

    bought: int = 0
    sold: int = 0
    bought_cost: int = 0
    sold_cost: int = 0


class IdRuns:
    """A set of ids that mostly go on without holes, as runs."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, number: int) -> bool:
        """Add an id; return whether it is new."""
        firsts, lasts = self._firsts, self._lasts
        at = bisect_right(firsts, number)
        if at and number <= lasts[at - 1]:
            return False
        joins_before = at > 0 and lasts[at - 1] == number - 1
        joins_after = at < len(firsts) and firsts[at] == number + 1
        if joins_before and joins_after:
            lasts[at - 1] = lasts[at]
            del firsts[at], lasts[at]
        elif joins_before:
            lasts[at - 1] = number
        elif joins_after:
            firsts[at] = number
        else:
            firsts.insert(at, number)
            lasts.insert(at, number)
        return True

    def has_hole_after(self, number: int) -> bool:
        """Return whether ids are missing after `number`, or after the first id if that is later."""
        return len(self._lasts) - bisect_left(self._lasts, number) > 1


class TradedVolume:
    """What was traded at each price from a moment on; each trade counts once.

    Prices and quantities are exact integers of any size, in units of `scale`, which becomes finer
    where a tape's is. Grouped by a step, a price belongs to the row whose group a ladder shows: it
    is rounded down up to the mid, as bids are, and up above it, as asks are. So each trade is in
    one row at each step. With `slides` the moment goes on with time; else it stays.
    """

    def __init__(self, scale: Scale, *, slides: bool) -> None:
        self.scale = scale
        self._slides = slides
        self._ids = IdRuns()
        self._tape: Tape | None = None
        self._taken = 0
        # Bought, sold, and what these cost.
        self._by_price: dict[int, list[int]] = {}
        # The prices of trades, in order.
        self._prices: list[int] = []
        self._step = 1
        self._down: dict[int, list[int]] = {}
        self._up: dict[int, list[int]] = {}
        # Time, id, price and size of each trade, in order; the size of what was sold is negative.
        self._trades: list[tuple[int, int, int, int]] = []
        self._first = 0

    @property
    def has_holes(self) -> bool:
        """Whether trades are missing between those that count."""
        if self._slides and self._first < len(self._trades):
            return self._ids.has_hole_after(self._trades[self._first][1])
        return not self._slides and self._ids.has_hole_after(-1)

    def follow(self, tape: Tape, from_ms: int) -> bool:
        """Count the trades of `tape` from `from_ms` on, and no older ones.

        Return whether all that came since the last call are counted: a tape holds so many only.
        """
        is_whole = True
        if tape is self._tape:
            fresh = tape.arrivals(self._taken)
            is_whole = len(fresh) >= tape.revision - self._taken
        else:
            self._tape, fresh = tape, tape.since(-1)
        self._taken = tape.revision
        self.take(fresh, tape.scale, from_ms)
        self._expire(from_ms)
        return is_whole

    def take(self, trades: Iterable[TapeTrade], scale: Scale, from_ms: int) -> None:
        """Count those of `trades`, in units of `scale`, that are from `from_ms` on, and are new."""
        self.refine(scale)
        finer = 10 ** (self.scale.price - scale.price)
        smaller = 10 ** (self.scale.quantity - scale.quantity)
        for trade in trades:
            if trade.event_ms < from_ms or not self._ids.add(trade.trade_id):
                continue
            price, size = trade.price * finer, trade.quantity * smaller
            size = -size if trade.is_sold else size
            self._count(price, size, 1)
            if self._slides:
                insort(self._trades, (trade.event_ms, trade.trade_id, price, size))

    def refine(self, scale: Scale) -> None:
        """Count in units that are not coarser than those of `scale`."""
        now = self.scale
        wanted = Scale(max(now.price, scale.price), max(now.quantity, scale.quantity))
        if wanted == now:
            return
        finer, smaller = 10 ** (wanted.price - now.price), 10 ** (wanted.quantity - now.quantity)
        factors = smaller, smaller, smaller * finer, smaller * finer
        self._by_price = {
            price * finer: [one * factor for one, factor in zip(sums, factors, strict=True)]
            for price, sums in self._by_price.items()
        }
        self._prices = [price * finer for price in self._prices]
        self._trades = [
            (ms, trade_id, price * finer, size * smaller)
            for ms, trade_id, price, size in self._trades
        ]
        self.scale = wanted
        self._group(self._step * finer)

    def clear(self, low: int | None = None, high: int | None = None) -> None:
        """Forget what was traded above `low` and below `high`; None: there is no such limit."""
        start = 0 if low is None else bisect_right(self._prices, low)
        end = len(self._prices) if high is None else bisect_left(self._prices, high)
        gone = set(self._prices[start:end])
        for price in gone:
            del self._by_price[price]
        self._prices[start:end] = []
        self._trades = [one for one in self._trades[self._first :] if one[2] not in gone]
        self._first = 0
        self._group(self._step)

    def at(self, price: int, step: int, twice_mid: int | None, *, is_ask: bool) -> Traded:
        """Return what was traded in a ladder's row at `price`, of a group of `step`.

        All prices are in units of `scale`. `twice_mid` is twice the mid; None where it has none.
        """
        if step != self._step:
            self._group(step)
        if twice_mid is not None and step > 1:
            middle = twice_mid // 2
            if is_ask and price - step < middle:
                return self._between(middle + 1, price)
            if not is_ask and price + step - 1 > middle:
                return self._between(price, middle)
        return Traded(*(self._up if is_ask else self._down).get(price, ()))

    def at_price(self, price: int) -> Traded:
        """Return what was traded at one price, in units of `scale`."""
        return Traded(*self._by_price.get(price, ()))

    def _between(self, low: int, high: int) -> Traded:
        sums = _nothing()
        for price in self._prices[
            bisect_left(self._prices, low) : bisect_right(self._prices, high)
        ]:
            _add(sums, self._by_price[price])
        return Traded(*sums)

    def _count(self, price: int, size: int, sign: int) -> None:
        """Count a trade, or (-1) count it no longer."""
        quantity = abs(size) * sign
        cost = quantity * price
        change = (0, quantity, 0, cost) if size < 0 else (quantity, 0, cost, 0)
        known = self._by_price.get(price)
        if known is None:
            known = self._by_price[price] = _nothing()
            insort(self._prices, price)
        _add(known, change)
        if not any(known):
            del self._by_price[price], self._prices[bisect_left(self._prices, price)]
        down, up = price // self._step * self._step, -(-price // self._step) * self._step
        _add(self._down.setdefault(down, _nothing()), change)
        _add(self._up.setdefault(up, _nothing()), change)

    def _group(self, step: int) -> None:
        self._step, self._down, self._up = step, {}, {}
        for price, sums in self._by_price.items():
            _add(self._down.setdefault(price // step * step, _nothing()), sums)
            _add(self._up.setdefault(-(-price // step) * step, _nothing()), sums)

    def _expire(self, from_ms: int) -> None:
        trades = self._trades
        while self._first < len(trades) and trades[self._first][0] < from_ms:
            _, _, price, size = trades[self._first]
            self._count(price, size, -1)
            self._first += 1
        if self._first > _EXPIRED:
            del trades[: self._first]
            self._first = 0


def _nothing() -> list[int]:
    return [0, 0, 0, 0]


def _add(sums: list[int], others: Sequence[int]) -> None:
    for place, other in enumerate(others):
        sums[place] += other
