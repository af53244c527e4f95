"""The part of a heatmap that a person looks at, and the views before and after it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.picture import Frame
from orderbook_desktop.core.units import DEFAULT_EXPONENT

SHORTEST_MS: Final = 2_000
LONGEST_MS: Final = 20 * 366 * 86_400_000
_KEPT: Final = 100


class View(Struct, frozen=True):
    """Times from `from_ms` to `to_ms`, prices from `low` to `high` in units of 10^-`exponent`."""

    from_ms: int
    to_ms: int
    low: int
    high: int
    exponent: int = DEFAULT_EXPONENT

    @property
    def length_ms(self) -> int:
        """How much time it shows."""
        return self.to_ms - self.from_ms

    @property
    def height(self) -> int:
        """How much of the prices it shows."""
        return self.high - self.low

    def frame(self, width: int, height: int) -> Frame:
        """Return where it lies on `width` by `height` pixels."""
        return Frame(self.from_ms, self.to_ms, self.low, self.high, width, height)

    def zoomed_in_time(self, factor: float, around_ms: int) -> View:
        """Return the view of `factor` times the length, with `around_ms` in its place."""
        length = min(max(SHORTEST_MS, round(self.length_ms * factor)), LONGEST_MS)
        share = (around_ms - self.from_ms) / self.length_ms
        begin = max(0, around_ms - round(length * share))
        return replace(self, from_ms=begin, to_ms=begin + length)

    def zoomed_in_price(self, factor: float, around: int, tick: int) -> View:
        """Return the view of `factor` times the prices, four of `tick` at least."""
        height = max(4 * tick, round(self.height * factor))
        share = (around - self.low) / self.height
        low = max(0, around - round(height * share))
        return replace(self, low=low, high=low + height)

    def moved(self, by_ms: int, by_price: int) -> View:
        """Return the view of later times and higher prices by so much."""
        by_ms, by_price = max(by_ms, -self.from_ms), max(by_price, -self.low)
        return replace(
            self,
            from_ms=self.from_ms + by_ms,
            to_ms=self.to_ms + by_ms,
            low=self.low + by_price,
            high=self.high + by_price,
        )


class ViewHistory:
    """The views that a person has had, to go back and forth between them."""

    def __init__(self) -> None:
        self._before: list[View] = []
        self._after: list[View] = []

    def leave(self, view: View) -> None:
        """Keep `view`, which another one follows; what came after it is forgotten."""
        if not self._before or self._before[-1] != view:
            self._before = [*self._before, view][-_KEPT:]
        self._after = []

    def back(self, present: View) -> View | None:
        """Return the view before `present`; None: there is none."""
        if not self._before:
            return None
        self._after.append(present)
        return self._before.pop()

    def forth(self, present: View) -> View | None:
        """Return the view that was left by going back; None: there is none."""
        if not self._after:
            return None
        self._before.append(present)
        return self._after.pop()
