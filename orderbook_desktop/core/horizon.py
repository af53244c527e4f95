"""Known depth: the prices within which a book is whole, its *horizon*.

The exchange answers with at most so many levels a side. Beyond the last of them a price is unknown
until a diff names it, and then only this price is known. So a diff never moves the horizon, and a
sum that reaches beyond it is a lower bound. Source: Binance Spot API, "How to manage a local order
book correctly".

Where a `Horizon | None` is None, it is not known how deep the book is known: no price is proven to
be inside.
"""

from __future__ import annotations

from typing import Self

from msgspec import Struct

from orderbook_desktop.core.units import (
    DEFAULT_EXPONENT,
    format_units,
    split_decimal,
)


class Horizon(Struct, frozen=True):
    """The lowest known bid price and the highest known ask price; None: that side has no end.

    Both are whole numbers of units of 10^-`exponent`, which is that of the book's prices.
    """

    known_from: int | None = None
    known_to: int | None = None
    exponent: int = DEFAULT_EXPONENT

    @classmethod
    def of_texts(cls, lowest_bid: str | None, highest_ask: str | None) -> Self:
        """Return the horizon with these ends, exact decimals; raises `MalformedMessage`."""
        ends = [None if text is None else split_decimal(text) for text in (lowest_bid, highest_ask)]
        places = max((len(end[1]) for end in ends if end is not None), default=0)
        exponent = max(DEFAULT_EXPONENT, places)
        units = [None if end is None else int(end[0] + end[1].ljust(exponent, "0")) for end in ends]
        return cls(units[0], units[1], exponent)

    def texts(self, places: int | None = None) -> tuple[str | None, str | None]:
        """Return both ends as exact decimals, with at least `places` places (None: all)."""
        first, last = (
            None if end is None else format_units(end, self.exponent, places)
            for end in (self.known_from, self.known_to)
        )
        return first, last

    def at(self, exponent: int) -> Horizon:
        """Return the same for prices in units of 10^-`exponent`.

        An end that is no whole number there is moved inward, so the same prices are inside.
        """
        if exponent == self.exponent:
            return self
        by = exponent - self.exponent
        finer, coarser = 10 ** max(0, by), 10 ** max(0, -by)
        return Horizon(
            None if self.known_from is None else -(-self.known_from * finer // coarser),
            None if self.known_to is None else self.known_to * finer // coarser,
            exponent,
        )

    def within(self, other: Horizon) -> Horizon:
        """Return the prices that are within both horizons."""
        exponent = max(self.exponent, other.exponent)
        ours, theirs = self.at(exponent), other.at(exponent)
        lowest = [end for end in (ours.known_from, theirs.known_from) if end is not None]
        highest = [end for end in (ours.known_to, theirs.known_to) if end is not None]
        return Horizon(max(lowest, default=None), min(highest, default=None), exponent)

    def joined(self, other: Horizon) -> Horizon:
        """Return the outer ends of two horizons of one `exponent`: what either of them knows."""
        lows, highs = (self.known_from, other.known_from), (self.known_to, other.known_to)
        return Horizon(
            None if None in lows else min(low for low in lows if low is not None),
            None if None in highs else max(high for high in highs if high is not None),
            self.exponent,
        )

    def knows(self, price: int, *, is_ask: bool) -> bool:
        """Return whether the quantity at `price`, in units of `exponent`, is known.

        A price without a level is known to have none. Beyond the horizon, where this is false, a
        level of the book is known by itself.
        """
        if is_ask:
            return self.known_to is None or price <= self.known_to
        return self.known_from is None or price >= self.known_from

    def is_lower_bound(self, end: int | None, *, is_ask: bool) -> bool:
        """Return whether a sum from the best price through `end` is only a lower bound.

        This holds for quantities, totals and costs. `end` is None for a sum of the whole side.
        """
        if end is None:
            return (self.known_to if is_ask else self.known_from) is not None
        return not self.knows(end, is_ask=is_ask)


def is_deeper(horizon: Horizon | None, other: Horizon | None) -> bool:
    """Return whether a price is inside `horizon` and not inside `other`."""
    if horizon is None or other is None:
        return horizon is not None
    exponent = max(horizon.exponent, other.exponent)
    known = other.at(exponent)
    return known.joined(horizon.at(exponent)) != known
