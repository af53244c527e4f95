"""A made-up exchange with a deep true book, and what an answer of it tells."""

from __future__ import annotations

import json
import random
from bisect import bisect_left

from tests.core.reference_book import diff_payload, snapshot_payload

TICK = 1_000_000
_TICKS = 400


class DeepExchange:
    """A market whose true book is known at every tick; prices and quantities are units of 10^-8.

    The middle wanders, and most changes are near it, but some are far away.
    """

    def __init__(self, dice: random.Random) -> None:
        self.prices = [TICK * n for n in range(1, _TICKS)]
        self.update_id = 10
        self._dice = dice
        self._middle = _TICKS // 2
        self.bids = {TICK * n: self._size() for n in range(1, self._middle) if dice.random() < 0.6}
        self.asks = {
            TICK * n: self._size() for n in range(self._middle, _TICKS) if dice.random() < 0.6
        }

    def event(self) -> bytes:
        """Change some levels, and return the diff."""
        self._middle += self._dice.choice((-3, -1, 0, 1, 3))
        self._middle = min(max(self._middle, 5), _TICKS - 5)
        bids = {price: 0 for price in self.bids if price >= TICK * self._middle}
        asks = {price: 0 for price in self.asks if price < TICK * self._middle}
        for _ in range(self._dice.randint(0, 6)):
            reach = self._dice.choice((5, 20, _TICKS))
            n = self._middle + self._dice.randint(-reach, reach)
            if 1 <= n < _TICKS:
                side = bids if n < self._middle else asks
                side[TICK * n] = self._dice.choice((0, self._size()))
        first, self.update_id = self.update_id + 1, self.update_id + self._dice.randint(1, 4)
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, size in changes.items():
                side[price] = size
                if not size:
                    del side[price]
        return diff_payload(_texts(bids), _texts(asks), first, self.update_id)

    def answer(self, depth: int) -> bytes:
        """The answer to `GET /api/v3/depth` now, with at most `depth` levels a side."""
        bids, asks = sorted(self.bids, reverse=True)[:depth], sorted(self.asks)[:depth]
        return snapshot_payload(
            _texts({price: self.bids[price] for price in bids}),
            _texts({price: self.asks[price] for price in asks}),
            self.update_id,
        )

    def _size(self) -> int:
        return self._dice.randint(1, 10**10)


class Answer:
    """What one answer to a request for `depth` levels a side lets its reader know."""

    def __init__(self, payload: bytes, depth: int) -> None:
        message = json.loads(payload)
        self._depth = depth
        # Prices from the best one outward, negative for bids.
        self._bids = [-_units(price) for price, _ in message["bids"]]
        self._asks = [_units(price) for price, _ in message["asks"]]

    def tells_of(self, price: int, *, is_ask: bool) -> bool:
        """Whether another quantity at `price` would have made it another answer."""
        side, key = (self._asks, price) if is_ask else (self._bids, -price)
        rank = bisect_left(side, key)
        return side[rank : rank + 1] == [key] or rank < self._depth


def _texts(levels: dict[int, int]) -> list[tuple[str, str]]:
    return [(_text(price), _text(size)) for price, size in levels.items()]


def _text(units: int) -> str:
    return f"{units // 10**8}.{units % 10**8:08d}"


def _units(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * 10**8 + int(fraction.ljust(8, "0"))
