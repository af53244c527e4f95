"""How numbers are written in window and page: exact where they fit, else rounded."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.levels import Int64Array, Levels
from orderbook_desktop.core.symbols import SymbolInfo, grouping_steps
from orderbook_desktop.core.units import (
    DEFAULT_EXPONENT,
    Scale,
    format_units,
    places_of,
    rounded_units,
)

_SUFFIXES: Final = ((18, "E"), (15, "P"), (12, "T"), (9, "B"), (6, "M"), (3, "K"))
_DIGITS: Final = 5
# From a million on, a suffix reads faster than a row of digits.
_SHORTENED_FROM: Final = 10**6
# Columns have units of thousands and more from this power of ten on.
_SCALED_FROM: Final = 5
_COLUMN_DIGITS: Final = 6
_WIDEST_COLUMN: Final = 10


def with_thousands(decimal: str) -> str:
    """Return decimal text with commas between the thousands of its whole part."""
    sign = "-" if decimal.startswith("-") else ""
    whole, point, fraction = decimal.removeprefix("-").partition(".")
    return f"{sign}{int(whole):,}{point}{fraction}"


def percent_text(percent: float) -> str:
    """Return a percentage with its sign and about three significant digits."""
    size = abs(percent)
    places = 2 if size >= 1 else 3 if size >= 0.01 else 5
    return f"{percent:+.{places}f} %"


def exact_text(units: int, exponent: int, places: int | None = 0) -> str:
    """Return `units` of 10^-`exponent` exactly, with thousands and at least `places` places."""
    return with_thousands(format_units(units, exponent, places))


def rounded_text(units: int, exponent: int, places: int) -> str:
    """Return `units` of 10^-`exponent` rounded, half up, to at most `places` places."""
    if places >= exponent:
        return exact_text(units, exponent, places)
    return exact_text(rounded_units(units, exponent - places), places, places)


def short_text(units: int, exponent: int, places: int, widest: int) -> str:
    """Return a quantity in at most about `widest` characters.

    Exact, with `places` places, if that fits. Else places are rounded away; from a
    million on five digits and a suffix remain: `12.346M`, `1.2346B`.
    """
    if abs(units) >= _SHORTENED_FROM * 10**exponent:
        return _suffixed(units, exponent)
    text = exact_text(units, exponent, places)
    if len(text) <= widest:
        return text
    fraction = len(text.partition(".")[2])
    return rounded_text(units, exponent, max(0, fraction - (len(text) - widest)))


class ColumnFormat(Struct, frozen=True):
    """How the numbers of one column are written: in one unit, with the same number of places.

    The numbers are units of 10^-`exponent`, and are shown in units of 10^`power` (6: millions).
    """

    exponent: int
    power: int
    places: int

    def text(self, units: int) -> str:
        """Return a number rounded half up, or `<0.01` where rounding would hide that it is not 0.

        A number with more digits than a column has room for gets a suffix of its own: `93.000B`.
        """
        shift = self.exponent + self.power - self.places
        rounded = rounded_units(units, shift) if shift >= 0 else units * 10**-shift
        if not rounded and units:
            return f"<{format_units(1, self.places)}"
        beyond = len(str(rounded)) - _WIDEST_COLUMN
        if beyond > 0 and units >= _SHORTENED_FROM * 10**self.exponent:
            return _suffixed(units, self.exponent)
        if beyond > 0:
            return rounded_text(units, self.exponent, max(0, self.places - beyond))
        if not self.places:
            return f"{rounded:,}"
        whole, fraction = divmod(rounded, 10**self.places)
        return f"{whole:,}.{fraction:0{self.places}d}"

    def heading(self, name: str, asset: str) -> str:
        """Return the heading, which names the unit: `Total, M ADA`; `asset` may be empty."""
        unit = f"{dict(_SUFFIXES).get(self.power, '')} {asset}".strip()
        return f"{name}, {unit}" if unit else name


def column_format(
    typical: int, exponent: int, places: int, held: ColumnFormat | None = None
) -> ColumnFormat:
    """Return the format of a column whose numbers are about as large as `typical`.

    Both are in units of 10^-`exponent`; `places` are those of exact numbers. Below a hundred
    thousand the unit is one, with six digits at `typical`. Above it the unit leaves two to four
    whole digits. The format `held` so far stays while it would fit half or twice `typical`: a
    column must not change to and fro.
    """
    if held is not None and any(
        held == _fitting(size, exponent, places) for size in (typical, 2 * typical, typical // 2)
    ):
        return held
    return _fitting(typical, exponent, places)


def _fitting(typical: int, exponent: int, places: int) -> ColumnFormat:
    magnitude = _magnitude(typical, exponent)
    if magnitude < _SCALED_FROM:
        return ColumnFormat(exponent, 0, min(places, _COLUMN_DIGITS - 1 - magnitude))
    power = min(3 * ((magnitude - 1) // 3), _SUFFIXES[0][0])
    return ColumnFormat(exponent, power, 2 if magnitude - power == 1 else 1)


def _magnitude(units: int, exponent: int) -> int:
    """Return the power of ten of the first digit: 2 for 123, -1 for 0.1."""
    return len(str(max(1, units))) - 1 - exponent


def axis_text(units: int, exponent: int, step: int) -> str:
    """Return the label of a tick on an axis of this `step`: `250`, `1,100`, `50M`, `0.004`.

    The step chooses the suffix, so that all labels of an axis have the same one.
    """
    for power, suffix in _SUFFIXES:
        if step >= 10 ** (exponent + power):
            return exact_text(units, exponent + power) + suffix
    return exact_text(units, exponent)


def _suffixed(units: int, exponent: int) -> str:
    power, suffix = next(
        (pair for pair in _SUFFIXES if abs(units) >= 10 ** (exponent + pair[0])), _SUFFIXES[-1]
    )
    whole_digits = len(str(abs(units) // 10 ** (exponent + power)))
    return rounded_text(units, exponent + power, max(0, _DIGITS - whole_digits)) + suffix


class MarketFormat(Struct, frozen=True):
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

    def short_cost(self, units: int, widest: int) -> str:
        """Return a price times a quantity in at most about `widest` characters."""
        return short_text(units, self.scale.notional, 2, widest)

    def column(self, typical: int, held: ColumnFormat | None = None) -> ColumnFormat:
        """Return the format of a column of quantities; see `column_format`."""
        places = min(self.quantity_places, self.scale.quantity)
        return column_format(typical, self.scale.quantity, places, held)

    def cost_column(self, typical: int, held: ColumnFormat | None = None) -> ColumnFormat:
        """Return the format of a column of prices times quantities.

        Two places are enough from 1 on, as for money.
        """
        exponent = self.scale.notional
        places = max(2, 3 - _magnitude(typical, exponent))
        return column_format(typical, exponent, min(places, exponent), held)


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
    price = next((int(side.prices[0]) for side in (bids, asks) if len(side.prices)), 0)
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
