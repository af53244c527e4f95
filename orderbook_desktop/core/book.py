"""The order book: sorted levels, and changes that are merged when somebody reads.

Writers call `load` and `apply`, which only note what came; readers call `bids`, `asks` and
`best`, which merge everything noted, vectorised, once. A burst of events between two
display frames therefore costs one merge.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final, NamedTuple

import numpy as np

from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, level_texts
from orderbook_desktop.core.levels import (
    EMPTY,
    Int64Array,
    Levels,
    fitting_exponent,
    merge_levels,
    rescaled,
    units_from_doubles,
    units_from_texts,
)
from orderbook_desktop.core.units import Scale, canonical_decimal

# Nobody may be reading (a headless recorder): merge at times, to bound memory.
_MERGE_AFTER: Final = 256
_DEFAULT_SCALE: Final = Scale()


class BestOffer(NamedTuple):
    """Best bid and ask with their quantities, in units; None where a side is empty."""

    bid_price: int | None
    bid_quantity: int | None
    ask_price: int | None
    ask_quantity: int | None


class Book:
    """The order book of one market.

    `scale` says what unit prices and quantities are in; it starts at 10^-8 and changes by
    itself, exactly, when a value needs it. `revision` grows with every change, so that a
    reader can tell whether to look again. `last_update_id` and `event_ms` are those of the
    last message taken in; `event_ms` is 0 while no event is known.
    """

    def __init__(self) -> None:
        self.scale = Scale()
        self.revision = 0
        self.last_update_id = 0
        self.event_ms = 0
        self._pending: list[DepthDiff | DepthSnapshot] = []
        self._empty()

    def load(self, snapshot: DepthSnapshot) -> None:
        """Replace everything by `snapshot`."""
        self._empty()
        self._pending = [snapshot]
        self._took(snapshot.last_update_id, snapshot.event_ms)

    def apply(self, diff: DepthDiff) -> None:
        """Set the levels of `diff`. The caller has checked that it is the next one."""
        self._pending.append(diff)
        self._took(diff.final_id, diff.event_ms)
        if len(self._pending) >= _MERGE_AFTER:
            self._merge()

    def clear(self) -> None:
        """Forget everything: the book is no longer known."""
        self._empty()
        self._pending = []
        self._took(0, 0)

    def bids(self) -> Levels:
        """Return the bids, highest price first. Raises `InexactValue` (see `core.units`)."""
        self._merge()
        return Levels(~self._keys[: self._bid_count], self._quantities[: self._bid_count])

    def asks(self) -> Levels:
        """Return the asks, lowest price first. Raises `InexactValue` (see `core.units`)."""
        self._merge()
        return Levels(self._keys[self._bid_count :], self._quantities[self._bid_count :])

    def best(self) -> BestOffer:
        """Return best bid and offer."""
        bids, asks = self.bids(), self.asks()
        bid = (int(bids.prices[0]), int(bids.quantities[0])) if len(bids.prices) else (None, None)
        ask = (int(asks.prices[0]), int(asks.quantities[0])) if len(asks.prices) else (None, None)
        return BestOffer(*bid, *ask)

    def _empty(self) -> None:
        # Both sides in one ascending array, so that one merge serves both. A bid's key is
        # ~price (-price - 1): negative, so bids come first, and best first on both sides.
        self._keys: Int64Array = EMPTY
        self._quantities: Int64Array = EMPTY
        self._bid_count = 0
        self.scale = Scale()

    def _took(self, update_id: int, event_ms: int) -> None:
        self.last_update_id = update_id
        self.event_ms = event_ms
        self.revision += 1

    def _merge(self) -> None:
        if not self._pending:
            return
        # If this raises, the changes stay pending: a wrong book is never returned.
        if not (self.scale == _DEFAULT_SCALE and self._merge_doubles(self._pending)):
            self._merge_texts(self._pending)
        self._pending = []

    def _merge_doubles(self, pending: list[DepthDiff | DepthSnapshot]) -> bool:
        """Merge by the proven fast path; return False, having changed nothing, without proof."""
        bids: dict[float, float] = {}
        asks: dict[float, float] = {}
        for message in pending:
            if not message.plain:
                return False
            bids.update(message.bids)
            asks.update(message.asks)
        units = units_from_doubles(chain(bids, asks, bids.values(), asks.values()))
        if units is None:
            return False
        count = len(units) // 2
        self._set_levels(units[:count], units[count:], len(bids))
        return True

    def _merge_texts(self, pending: Iterable[DepthDiff | DepthSnapshot]) -> None:
        """Merge by whole-number parsing of the text, after choosing a scale that holds it."""
        bids: dict[str, str] = {}
        asks: dict[str, str] = {}
        for message in pending:
            new_bids, new_asks = level_texts(message.payload)
            bids.update((canonical_decimal(price), quantity) for price, quantity in new_bids)
            asks.update((canonical_decimal(price), quantity) for price, quantity in new_asks)
        prices, quantities = [*bids, *asks], [*bids.values(), *asks.values()]
        self._make_room(prices, quantities)
        self._set_levels(
            units_from_texts(prices, self.scale.price),
            units_from_texts(quantities, self.scale.quantity),
            len(bids),
        )

    def _set_levels(self, prices: Int64Array, quantities: Int64Array, bid_count: int) -> None:
        prices[:bid_count] = ~prices[:bid_count]
        self._keys, self._quantities = merge_levels(
            self._keys, self._quantities, prices, quantities
        )
        self._bid_count = int(self._keys.searchsorted(0))

    def _make_room(self, prices: list[str], quantities: list[str]) -> None:
        """Choose a scale that holds the book and these values, and move the book to it."""
        held = np.where(self._keys < 0, ~self._keys, self._keys)
        price = fitting_exponent(prices, held, self.scale.price)
        quantity = fitting_exponent(quantities, self._quantities, self.scale.quantity)
        held = rescaled(held, price - self.scale.price)
        self._keys = np.where(self._keys < 0, ~held, held)
        self._quantities = rescaled(self._quantities, quantity - self.scale.quantity)
        self.scale = Scale(price, quantity)
