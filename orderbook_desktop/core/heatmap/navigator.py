"""Where a person is in a heatmap: at the newest moment or in the past, and how far zoomed in."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.heatmap.view import View, ViewHistory

USUAL_MS: Final = 5 * 60_000
"""How much time is shown at first."""
# So much of the prices lies on either side of the mid at first, in parts of the mid.
_HALF_PRICES: Final = 250
_LEAST_TICKS: Final = 40
# The mid may go so far from the middle, as a share of the height, before the view follows.
_DEAD_BAND: Final = 0.3
# A part of the recording stays in sight.
_KEPT: Final = 0.1


class Navigator:
    """Moves a view through what is known: times from `from_ms` to `newest_ms`.

    At the newest moment the view follows that, and the price where the person has not moved it.
    There is no other mode: to move away from the newest moment is to look at the past.
    """

    def __init__(self) -> None:
        self.view: View | None = None
        self.is_at_edge = True
        self.follows_price = True
        self.from_ms = 0
        self.newest_ms = 0
        self.tick = 1
        self._mid = 0
        self._history = ViewHistory()

    def begin(self, newest_ms: int, mid: int, tick: int, exponent: int) -> None:
        """Show the newest moment of a market at its usual range of prices."""
        self.newest_ms, self._mid, self.tick = newest_ms, mid, tick
        self.from_ms = newest_ms
        self.is_at_edge = self.follows_price = True
        self._history = ViewHistory()
        half = self._usual_half()
        low = max(0, mid - half)
        begin = max(0, newest_ms - USUAL_MS)
        self.view = View(begin, begin + USUAL_MS, low, low + 2 * half, exponent)

    def follow(self, newest_ms: int, mid: int | None) -> bool:
        """Follow the newest moment and the mid; return whether the view has changed."""
        self.newest_ms = newest_ms
        self._mid = self._mid if mid is None else mid
        view = self.view
        if view is None or not self.is_at_edge:
            return False
        moved = view.moved(newest_ms - view.to_ms, 0)
        if self.follows_price:
            off = self._mid - (moved.low + moved.high) // 2
            if abs(off) > _DEAD_BAND * moved.height:
                moved = moved.moved(0, off)
        self.view = moved
        return moved != view

    def refine(self, exponent: int) -> None:
        """Go over to prices of 10^-`exponent`, if these are finer than those of the view."""
        view = self.view
        if view is None or exponent <= view.exponent:
            return
        factor: int = 10 ** (exponent - view.exponent)
        self._mid, self.tick = self._mid * factor, self.tick * factor
        self._history = ViewHistory()
        low, high = view.low * factor, view.high * factor
        self.view = replace(view, low=low, high=high, exponent=exponent)

    def leave(self) -> None:
        """Remember the present view, which is about to change."""
        if self.view is not None:
            self._history.leave(self.view)

    def back(self) -> None:
        """Return to the view before."""
        self._return(self.view and self._history.back(self.view))

    def forth(self) -> None:
        """Return to the view that was left by going back."""
        self._return(self.view and self._history.forth(self.view))

    def zoom_time(self, factor: float, around_ms: int | None = None) -> None:
        """Show `factor` times as much time; None: around the end."""
        if self.view is not None:
            around = self.view.to_ms if around_ms is None else around_ms
            self._show(self.view.zoomed_in_time(factor, around))

    def zoom_price(self, factor: float, around: int | None = None) -> None:
        """Show `factor` times as many prices; None: around the middle."""
        if self.view is not None:
            middle = (self.view.low + self.view.high) // 2
            at = middle if around is None else around
            self.view = self.view.zoomed_in_price(factor, at, self.tick)
            self.follows_price &= around is None

    def move(self, by_ms: int, by_price: int) -> None:
        """Show later times and higher prices by so much."""
        if self.view is not None:
            if by_price:
                self.follows_price = False
            self._show(self.view.moved(by_ms, by_price))

    def show_times(self, from_ms: int, to_ms: int) -> None:
        """Show these times."""
        if self.view is not None:
            self._show(replace(self.view, from_ms=max(0, from_ms), to_ms=max(to_ms, from_ms + 1)))

    def show_prices(self, low: int, high: int) -> None:
        """Show these prices."""
        if self.view is not None:
            low = max(0, low)
            self.follows_price = False
            self.view = replace(self.view, low=low, high=max(high, low + 4 * self.tick))

    def show_all(self) -> None:
        """Show all times that are known."""
        if self.newest_ms > self.from_ms:
            self.show_times(self.from_ms, self.newest_ms)

    def to_edge(self) -> None:
        """Return to the newest moment and the mid; the zoom stays."""
        if self.view is not None:
            self._show(self.view.moved(self.newest_ms - self.view.to_ms, 0))
            self.centre()

    def centre(self) -> None:
        """Have the mid in the middle, and follow it."""
        if self.view is not None:
            self.follows_price = True
            self.view = self.view.moved(0, self._mid - (self.view.low + self.view.high) // 2)

    def reset(self) -> None:
        """Return to the newest moment at the usual zoom."""
        if self.view is not None:
            half = self._usual_half()
            low = max(0, self._mid - half)
            begin = max(0, self.newest_ms - USUAL_MS)
            self.follows_price = True
            self._show(
                replace(
                    self.view, from_ms=begin, to_ms=begin + USUAL_MS, low=low, high=low + 2 * half
                )
            )

    def _usual_half(self) -> int:
        return max(self._mid // _HALF_PRICES, _LEAST_TICKS * self.tick)

    def _return(self, view: View | None) -> None:
        if view is not None:
            self.follows_price = False
            self._show(view)

    def _show(self, view: View) -> None:
        """Show `view`, moved to where something is known; at its end it follows."""
        late = view.to_ms - self.newest_ms
        self.is_at_edge = late >= 0
        early = round(self.from_ms + _KEPT * view.length_ms) - view.to_ms
        if late > 0:
            view = view.moved(-late, 0)
        elif early > 0:
            view = view.moved(min(early, -late), 0)
        self.view = view
