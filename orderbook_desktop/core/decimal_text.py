"""Numbers as window and browser both write them."""

from __future__ import annotations


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
