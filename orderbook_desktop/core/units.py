"""Exact decimals as integers: a value is a whole number of units of 10^-exponent.

Binance sends prices and quantities as decimal text with eight places, so a scale begins with the
exponent 8. A market whose values need another exponent gets it (`Scale`), and the exponent is
stored with its data. Nothing is rounded: a value that can't be held exactly raises `InexactValue`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orderbook_desktop.core.errors import InexactValue, MalformedMessage

DEFAULT_EXPONENT: Final = 8
MAX_EXPONENT: Final = 18
INT64_MAX: Final = 2**63 - 1

_INT64_DIGITS: Final = len(str(INT64_MAX))


class Scale(Struct, frozen=True):
    """The exponents of one market: prices are units of 10^-price, quantities of 10^-quantity."""

    price: int = DEFAULT_EXPONENT
    quantity: int = DEFAULT_EXPONENT

    @property
    def notional(self) -> int:
        """The exponent of a price times a quantity."""
        return self.price + self.quantity


def split_decimal(text: str) -> tuple[str, str]:
    """Return the integer digits and the fraction digits without trailing zeros.

    Raises `MalformedMessage` for anything but an unsigned plain decimal.
    """
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isdigit() and digits.isascii() and whole and (fraction or not point)):
        raise MalformedMessage("decimal value", f"{text[:40]!r} is not an unsigned decimal")
    return whole, fraction.rstrip("0")


def parse_units(text: str, exponent: int = DEFAULT_EXPONENT) -> int:
    """Return `text` as a whole number of units of 10^-`exponent`.

    Raises `InexactValue` where that would lose digits or leave int64, and
    `MalformedMessage` where `text` is not an unsigned decimal.
    """
    whole, fraction = split_decimal(text)
    if len(fraction) > exponent:
        raise InexactValue(text, exponent)
    digits = whole + fraction.ljust(exponent, "0")
    if len(digits) > _INT64_DIGITS:
        # Python converts no text of thousands of digits, not even of zeros.
        digits = digits.lstrip("0") or "0"
    if len(digits) > _INT64_DIGITS or (units := int(digits)) > INT64_MAX:
        raise InexactValue(text, exponent)
    return units


def format_units(units: int, exponent: int = DEFAULT_EXPONENT, places: int | None = None) -> str:
    """Return decimal text of `units`, exact, with `places` fraction digits (default: `exponent`).

    More digits than `places` are shown where cutting them off would change the value.
    """
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(exponent + 1, "0")
    whole, fraction = (digits[:-exponent], digits[-exponent:]) if exponent else (digits, "")
    wanted = exponent if places is None else places
    shown = fraction.rstrip("0").ljust(wanted, "0")
    return f"{sign}{whole}.{shown}" if shown else f"{sign}{whole}"


def rounded_units(units: int, digits: int) -> int:
    """Return `units` without their last `digits` decimal digits, rounded half up."""
    unit: int = 10**digits
    magnitude = (abs(units) + unit // 2) // unit
    return -magnitude if units < 0 else magnitude


def places_of(units: int, exponent: int = DEFAULT_EXPONENT) -> int:
    """Return how many fraction digits `units` really uses (a tick of 0.01000000 uses two)."""
    if units == 0:
        return 0
    places = exponent
    while places and units % 10 == 0:
        units //= 10
        places -= 1
    return places
