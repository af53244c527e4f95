"""Numbers as window and page show them: exact where they fit, else rounded."""

from __future__ import annotations

from typing import Final

from orderbook_desktop.core.units import format_units, rounded_units

_SUFFIXES: Final = ((18, "E"), (15, "P"), (12, "T"), (9, "B"), (6, "M"), (3, "K"))
_DIGITS: Final = 5
# From a million on, a suffix reads faster than a row of digits.
_SHORTENED_FROM: Final = 10**6


def with_thousands(decimal: str) -> str:
    """Return decimal text with commas between the thousands of its whole part."""
    sign = "-" if decimal.startswith("-") else ""
    whole, point, fraction = decimal.removeprefix("-").partition(".")
    return f"{sign}{int(whole):,}{point}{fraction}"


def counted(count: int, what: str) -> str:
    """Return `1 event`, `2,000 events`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


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
