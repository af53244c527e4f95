"""The order book: sorted levels, and changes that are merged when the book is read.

Writers call `load` and `apply`, which only note the message. Readers call `bids`, `asks` and
`best`, which merge all noted messages at once, vectorised. A burst of events between two display
frames therefore costs one merge.

A value that fits no scale makes the book too wide, and unreadable until a scale holds all levels
again. Every read then raises `InexactValue`; `load`, `apply` and `clear` never do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, TextLevels, level_texts
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import (
    EMPTY,
    PROVEN_BELOW,
    Int64Array,
    Levels,
    fitting_exponent,
    merge_levels,
    rescaled,
    units_from_doubles,
)
from orderbook_desktop.core.units import Scale, format_units, parse_units
from orderbook_desktop.core.wide_levels import WideLevels

# A headless recorder may never read: merge after so many changes, to bound memory.
_MERGE_AFTER: Final = 64
_DEFAULT_SCALE: Final = Scale()
# Few of the best levels are removed between two merges.
_LOOK_AT_ONCE: Final = 16


class Crossing(NamedTuple):
    """A best bid that reaches the best ask, as decimal text."""

    bid: str
    ask: str

    def __str__(self) -> str:
        return f"the best bid {self.bid} reaches the best ask {self.ask}"


class BestOffer(NamedTuple):
    """Best bid and ask with their quantities, in units; None where a side is empty."""

    bid_price: int | None
    bid_quantity: int | None
    ask_price: int | None
    ask_quantity: int | None


class BookImage(Struct, frozen=True):
    """A book at one instant. It is cheap to make and never changes.

    `horizon` are the prices within which it is whole, at its `scale`; None where that is not known.
    `received_ns` is when its last message was received (0 if unknown).
    """

    market: str
    last_update_id: int
    event_ms: int
    scale: Scale
    bids: Levels
    asks: Levels
    horizon: Horizon | None = None
    received_ns: int = 0


class Book:
    """The order book of one market.

    `revision` grows with every change, so that a reader can tell whether to look again.
    `last_update_id`, `event_ms` and `received_ns` are those of the last message; `event_ms` is 0
    while no event is known. The arrays that a reader gets are read-only and never change.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.last_update_id = 0
        self.event_ms = 0
        self.received_ns = 0
        # The changes since the last merge, each side by price; the latest quantity wins.
        self._horizon: Horizon | None = None
        self._pending: list[DepthDiff | DepthSnapshot] = []
        self._new_bids: dict[float, float] = {}
        self._new_asks: dict[float, float] = {}
        self._is_plain = True
        # No bid is above the first bound, no ask below the second. Doubles compare like their
        # decimals: the nearest doubles of two decimals are in the same order, or equal.
        self._bid_at_most = -math.inf
        self._ask_at_least = math.inf
        self._empty()

    def load(self, snapshot: DepthSnapshot) -> None:
        """Replace everything by `snapshot`."""
        self._empty()
        self._horizon = snapshot.horizon
        self._note(snapshot)
        self._took(snapshot.last_update_id, snapshot.event_ms, snapshot.received_ns)

    def apply(self, diff: DepthDiff) -> None:
        """Set the levels of `diff`. The caller has checked that it is the next one."""
        self._note(diff)
        self._took(diff.final_id, diff.event_ms, diff.received_ns)
        if len(self._pending) >= _MERGE_AFTER:
            self._merge()

    def widen(self, bids: Levels, asks: Levels, scale: Scale, horizon: Horizon | None) -> None:
        """Take the levels of this very book as `core.widening` has joined them with an answer.

        The update id and the times stay. The caller makes sure that no event came meanwhile.
        """
        self._merge()
        self._set_sides(bids, asks, scale, horizon)
        self.revision += 1

    def hold(self, image: BookImage) -> None:
        """Replace everything by `image`, a book at another moment."""
        self._empty()
        self._set_sides(image.bids, image.asks, image.scale, image.horizon)
        self._took(image.last_update_id, image.event_ms, image.received_ns)

    def clear(self) -> None:
        """Forget everything: the book is no longer known."""
        self._empty()
        self._took(0, 0, 0)

    @property
    def scale(self) -> Scale:
        """What unit the prices and quantities of `bids`, `asks` and `best` are in.

        It starts at 10^-8. It changes by itself, exactly, when a value needs another scale.
        """
        self._merge()
        return self._scale

    @property
    def horizon(self) -> Horizon | None:
        """The prices within which the book is whole, at its `scale`; diffs do not move it.

        None while the book is empty, and where it is not known how deep its snapshot was.
        """
        return None if self._horizon is None else self._horizon.at(self.scale.price)

    def bids(self) -> Levels:
        """Return the bids, highest price first. Raises `InexactValue` (see `core.units`)."""
        self._merge_or_refuse()
        prices = ~self._keys[: self._bid_count]
        prices.setflags(write=False)
        return Levels(prices, self._quantities[: self._bid_count])

    def asks(self) -> Levels:
        """Return the asks, lowest price first. Raises `InexactValue` (see `core.units`)."""
        self._merge_or_refuse()
        return Levels(self._keys[self._bid_count :], self._quantities[self._bid_count :])

    def best(self) -> BestOffer:
        """Return best bid and offer. Raises `InexactValue` (see `core.units`)."""
        bids, asks = self.bids(), self.asks()
        bid = (int(bids.prices[0]), int(bids.quantities[0])) if len(bids.prices) else (None, None)
        ask = (int(asks.prices[0]), int(asks.quantities[0])) if len(asks.prices) else (None, None)
        return BestOffer(*bid, *ask)

    def too_wide(self) -> InexactValue | None:
        """Return the value that no scale holds; None if the book can be read.

        The event that made the book too wide counts, too, if it removes that value itself.
        """
        if self._wide is None and self._is_plain and self._scale == _DEFAULT_SCALE:
            # The default scale holds all values of plain messages.
            return None
        self._merge()
        return self._unreadable

    def crossing(self) -> Crossing | None:
        """Return how the best bid reaches the best ask, or None where it does not.

        Also None while the book can't be read. Few events bring the prices so near that the levels
        have to be compared, and fewer so near that the book has to be merged.
        """
        if self._bid_at_most < self._ask_at_least or self._are_apart():
            return None
        self._merge()
        if self._wide is not None:
            return None
        bids, exponent = self._bid_count, self._scale.price
        bid = ~int(self._keys[0]) if bids else None
        ask = int(self._keys[bids]) if len(self._keys) > bids else None
        # Python divides whole numbers to the nearest double, as it reads their text.
        self._bid_at_most = -math.inf if bid is None else bid / 10**exponent
        self._ask_at_least = math.inf if ask is None else ask / 10**exponent
        if bid is None or ask is None or bid < ask:
            return None
        return Crossing(format_units(bid, exponent, 0), format_units(ask, exponent, 0))

    def _are_apart(self) -> bool:
        """Return whether the best prices are proven to be apart without a merge.

        Doubles tell all prices below `PROVEN_BELOW` from one another (see `core.levels`).
        """
        if self._scale != _DEFAULT_SCALE or not self._is_plain:
            return False
        bid = _best(self._bid_at_most, self._new_bids, self._held_prices(0, self._bid_count), max)
        asks = self._held_prices(self._bid_count, len(self._keys))
        ask = _best(self._ask_at_least, self._new_asks, asks, min)
        if (bid or 0) >= PROVEN_BELOW or (ask or 0) >= PROVEN_BELOW:
            return False
        self._bid_at_most = -math.inf if bid is None else bid
        self._ask_at_least = math.inf if ask is None else ask
        return self._bid_at_most < self._ask_at_least

    def _held_prices(self, begin: int, end: int) -> Iterator[float]:
        """Yield the doubles of the merged levels' prices, best first."""
        for at in range(begin, end, _LOOK_AT_ONCE):
            for key in self._keys[at : min(at + _LOOK_AT_ONCE, end)].tolist():
                # Python divides whole numbers to the nearest double, as it reads their text.
                yield (~key if key < 0 else key) / 10**_DEFAULT_SCALE.price

    def _empty(self) -> None:
        # Both sides in one ascending array, so that one merge serves both. A bid's key is
        # ~price (-price - 1): negative, so bids come first, and best first on both sides.
        self._keys: Int64Array = EMPTY
        self._quantities: Int64Array = EMPTY
        self._bid_count = 0
        self._scale = _DEFAULT_SCALE
        self._wide: WideLevels | None = None
        self._horizon = None
        self._bid_at_most = -math.inf
        self._ask_at_least = math.inf
        self._pending, self._new_bids, self._new_asks = [], {}, {}
        self._is_plain = True

    def _set_sides(self, bids: Levels, asks: Levels, scale: Scale, horizon: Horizon | None) -> None:
        self._hold(
            np.concatenate((~bids.prices, asks.prices)),
            np.concatenate((bids.quantities, asks.quantities)),
        )
        self._bid_count, self._scale, self._horizon = len(bids.prices), scale, horizon
        # The bounds are found anew: a best price may have been beyond the horizon.
        self._bid_at_most, self._ask_at_least = math.inf, -math.inf

    def _note(self, message: DepthDiff | DepthSnapshot) -> None:
        """Take in `message`, and widen the bounds of the best prices by those in it.

        Few events reach beyond the bounds. Only then does it matter which levels are removed, and
        seldom is the best one. Comparing whole pairs, as `max` does here, takes a fifth of the time
        of looking at each quantity.
        """
        bids, asks = message.bids, message.asks
        self._pending.append(message)
        self._is_plain &= message.plain
        self._new_bids.update(bids)
        self._new_asks.update(asks)
        if bids and (best := max(bids))[0] > self._bid_at_most:
            if not best[1]:
                best = max((level for level in bids if level[1]), default=(-math.inf, 0.0))
            self._bid_at_most = max(self._bid_at_most, best[0])
        if asks and (best := min(asks))[0] < self._ask_at_least:
            if not best[1]:
                best = min((level for level in asks if level[1]), default=(math.inf, 0.0))
            self._ask_at_least = min(self._ask_at_least, best[0])

    def _took(self, update_id: int, event_ms: int, received_ns: int) -> None:
        self.last_update_id = update_id
        self.event_ms = event_ms
        self.received_ns = received_ns
        self.revision += 1

    def _merge_or_refuse(self) -> None:
        self._merge()
        if (value := self._unreadable) is not None:
            raise InexactValue(value.text, value.exponent, value.beside)

    @property
    def _unreadable(self) -> InexactValue | None:
        return None if self._wide is None else self._wide.value

    def _merge(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        bids, self._new_bids = self._new_bids, {}
        asks, self._new_asks = self._new_asks, {}
        is_plain, self._is_plain = self._is_plain, True
        if self._wide is not None:
            self._merge_one_by_one(pending)
            return
        if is_plain and self._scale == _DEFAULT_SCALE and self._merge_doubles(bids, asks):
            return
        try:
            self._merge_texts(pending)
        except InexactValue:
            self._merge_one_by_one(pending)

    def _merge_one_by_one(self, pending: list[DepthDiff | DepthSnapshot]) -> None:
        """Merge values that no scale holds all at once: removed levels may make room."""
        for message in pending:
            if self._wide is not None:
                self._wide.apply(*level_texts(message.payload))
                self._take_back()
                continue
            try:
                self._merge_texts([message])
            except InexactValue:
                self._wide = WideLevels(*self._held_texts())
                self._wide.widen(*level_texts(message.payload))
                self._hold(EMPTY, EMPTY)
                self._bid_count, self._scale = 0, _DEFAULT_SCALE

    def _held_texts(self) -> tuple[TextLevels, TextLevels]:
        """Return the merged levels as text, bids and asks."""
        price, quantity = self._scale.price, self._scale.quantity
        levels = [
            (format_units(~key if key < 0 else key, price), format_units(units, quantity))
            for key, units in zip(self._keys.tolist(), self._quantities.tolist(), strict=True)
        ]
        return levels[: self._bid_count], levels[self._bid_count :]

    def _take_back(self) -> None:
        """Make the book readable again if a scale holds all levels."""
        wide = self._wide
        if wide is not None and wide.value is None:
            self._wide = None
            self._scale = wide.scale
            self._set_texts(*wide.texts())

    def _merge_doubles(self, bids: dict[float, float], asks: dict[float, float]) -> bool:
        """Merge by the fast path; return False and change nothing where it is not proven exact."""
        units = units_from_doubles(chain(bids, asks, bids.values(), asks.values()))
        if units is None:
            return False
        count = len(units) // 2
        self._set_levels(units[:count], units[count:], len(bids))
        return True

    def _merge_texts(self, pending: list[DepthDiff | DepthSnapshot]) -> None:
        """Merge by whole-number parsing of the text, at another scale where a value needs it."""
        texts = [level_texts(message.payload) for message in pending]
        bids = list(chain.from_iterable(bids for bids, _ in texts))
        asks = list(chain.from_iterable(asks for _, asks in texts))
        try:
            self._set_texts(bids, asks)
        except InexactValue:
            self._make_room(bids + asks)
            self._set_texts(bids, asks)

    def _set_texts(self, bids: TextLevels, asks: TextLevels) -> None:
        new_bids, new_asks = self._units(bids), self._units(asks)
        self._set_levels(
            np.array([*new_bids, *new_asks], dtype=np.int64),
            np.array([*new_bids.values(), *new_asks.values()], dtype=np.int64),
            len(new_bids),
        )

    def _units(self, texts: TextLevels) -> dict[int, int]:
        price, quantity = self._scale.price, self._scale.quantity
        return {parse_units(p, price): parse_units(q, quantity) for p, q in texts}

    def _set_levels(self, prices: Int64Array, quantities: Int64Array, bid_count: int) -> None:
        prices[:bid_count] = ~prices[:bid_count]
        self._hold(*merge_levels(self._keys, self._quantities, prices, quantities))
        self._bid_count = int(self._keys.searchsorted(0))

    def _make_room(self, texts: TextLevels) -> None:
        """Choose a scale that holds the book and these values, and move the book to it."""
        held = np.where(self._keys < 0, ~self._keys, self._keys)
        scale = self._scale
        price = fitting_exponent([price for price, _ in texts], held, scale.price)
        quantity = fitting_exponent([q for _, q in texts], self._quantities, scale.quantity)
        held = rescaled(held, price - scale.price)
        self._hold(
            np.where(self._keys < 0, ~held, held),
            rescaled(self._quantities, quantity - scale.quantity),
        )
        self._scale = Scale(price, quantity)

    def _hold(self, keys: Int64Array, quantities: Int64Array) -> None:
        """Keep the arrays, and make them read-only: readers hold parts of them."""
        keys.setflags(write=False)
        quantities.setflags(write=False)
        self._keys, self._quantities = keys, quantities


def _best(
    bound: float,
    new: dict[float, float],
    held: Iterator[float],
    better: Callable[[Iterable[float]], float],
) -> float | None:
    """Return the best price of a side, None where it is empty; no price is better than `bound`.

    `held` are the prices of before, best first, and `new` the quantities that came since.
    """
    if new.get(bound):
        return bound
    found = next((price for price in held if new.get(price, 1)), None)
    if found == bound:
        return found
    kept = [price for price, quantity in new.items() if quantity]
    return better(kept if found is None else [found, *kept]) if kept else found
