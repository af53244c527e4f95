"""One side of a synthetic book: prices in ticks and quantities in lots, best first."""

from __future__ import annotations

from bisect import bisect_left, insort


class RestingSide:
    """Levels in the order of their keys, which are prices of asks, and minus prices of bids."""

    __slots__ = ("keys", "lots")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.lots: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def best(self) -> int:
        """The key of the best level; there always is one."""
        return self.keys[0]

    def append(self, key: int, lots: int) -> None:
        """Add a level behind all others."""
        self.keys.append(key)
        self.lots[key] = lots

    def put(self, key: int, lots: int) -> None:
        """Set the quantity of a level; 0 takes it away."""
        if lots == 0:
            del self.lots[key]
            del self.keys[bisect_left(self.keys, key)]
            return
        if key not in self.lots:
            insort(self.keys, key)
        self.lots[key] = lots

    def copy(self) -> RestingSide:
        """Return the side as it is now."""
        other = RestingSide()
        other.keys, other.lots = self.keys.copy(), self.lots.copy()
        return other
