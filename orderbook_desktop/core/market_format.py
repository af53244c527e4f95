"""How the numbers of one market are written, and the price steps that its levels group by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orderbook_desktop.core.levels import Int64Array, Levels
from orderbook_desktop.core.number_text import exact_text, short_text
from orderbook_desktop.core.symbols import SymbolInfo, grouping_steps
from orderbook_desktop.core.units import DEFAULT_EXPONENT, Scale, format_units, places_of


@dataclass(frozen=True, slots=True)
class MarketFormat:
    """How one market's numbers are written.

    `tick` is the finest price step in price units of `scale`; the places are the fraction
    digits that prices and quantities are padded to.
    """

    scale: Scale
    tick: int
    price_places: int
    quantity_places: int

    def price(self, units: int, step: int = 0) -> str:
        """Return a price exactly; a grouping `step` may need fewer places than the tick."""
        places = places_of(step, self.scale.price) if step else self.price_places
        return exact_text(units, self.scale.price, places)

    def half_price(self, twice: int) -> str:
        """Return half of `twice` (price units) exactly."""
        return exact_text(twice * 5, self.scale.price + 1, self.price_places)

    def quantity(self, units: int) -> str:
        """Return a quantity exactly."""
        return exact_text(units, self.scale.quantity, self.quantity_places)

    def short_quantity(self, units: int, widest: int) -> str:
        """Return a quantity in at most about `widest` characters."""
        return short_text(units, self.scale.quantity, self.quantity_places, widest)

    def cost(self, units: int) -> str:
        """Return a price times a quantity exactly."""
        return exact_text(units, self.scale.notional, 2)


def market_format(symbol: SymbolInfo, scale: Scale, bids: Levels, asks: Levels) -> MarketFormat:
    """Return how to write the market's numbers.

    Where the exchange did not tell the tick or step size (or it is finer than the book's
    unit), the greatest common divisor of the values on display stands in.
    """
    tick = _rescaled(symbol.tick_size, scale.price) or _divisor(bids.prices, asks.prices)
    step = _rescaled(symbol.step_size, scale.quantity) or _divisor(bids.quantities, asks.quantities)
    return MarketFormat(scale, tick, places_of(tick, scale.price), places_of(step, scale.quantity))


def book_steps(text: MarketFormat, bids: Levels, asks: Levels) -> list[int]:
    """Return the grouping steps of a book in its own price units, the finest first.

    The largest depends on the best bid, or the best ask where there are no bids.
    """
    price = next((int(one.prices[0]) for one in (bids, asks) if len(one.prices)), 0)
    return grouping_steps(text.tick, price)


def step_text(step: int, exponent: int) -> str:
    """Return a grouping step, in units of 10^-`exponent`, as decimal text: `0.01`, `5`."""
    return format_units(step, exponent, 0)


def _rescaled(units: int, exponent: int) -> int:
    """Return units of 10^-8 at `exponent`, or 0 where that would not be exact."""
    if exponent >= DEFAULT_EXPONENT:
        return int(units * 10 ** (exponent - DEFAULT_EXPONENT))
    quotient, rest = divmod(units, 10 ** (DEFAULT_EXPONENT - exponent))
    return 0 if rest else int(quotient)


def _divisor(first: Int64Array, second: Int64Array) -> int:
    return int(np.gcd(np.gcd.reduce(first, initial=0), np.gcd.reduce(second, initial=0)))
