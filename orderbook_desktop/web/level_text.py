"""Thousands of levels as JSON at once: arrays of digits, instead of one number after the other.

In Python one by one, a book of 5,000 levels a side takes longer than a frame of the window.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.levels import Int64Array, Levels
from orderbook_desktop.core.units import Scale

Characters = npt.NDArray[np.uint8]
Shown = npt.NDArray[np.bool_]

# So many digits at a time come from a table.
_WIDTH: Final = 4
_PART: Final = 10**_WIDTH
_ZERO: Final = ord("0")
_TABLE: Final[Characters] = np.frombuffer(
    b"".join(b"%0*d" % (_WIDTH, number) for number in range(_PART)), dtype=np.uint8
).reshape(_PART, _WIDTH)


def json_levels(levels: Levels, scale: Scale, *, trimmed: bool) -> bytes:
    """Return the levels as a JSON array of pairs of exact decimals, `[["60000.01","0.5"],…]`.

    Each is what `format_units` writes: `trimmed` with 0 places, else with all of its scale.
    Neither prices nor quantities may be negative.
    """
    count = len(levels.prices)
    if not count:
        return b"[]"
    parts = (
        _constant(b'["', count),
        *_decimals(levels.prices, scale.price, trimmed=trimmed),
        _constant(b'","', count),
        *_decimals(levels.quantities, scale.quantity, trimmed=trimmed),
        _constant(b'"],', count),
    )
    text = np.concatenate([characters for characters, _ in parts], axis=1)
    shown = np.concatenate([mask for _, mask in parts], axis=1)
    pairs: bytes = text[shown].tobytes()
    return b"[" + pairs[:-1] + b"]"


def _constant(text: bytes, count: int) -> tuple[Characters, Shown]:
    shape = (count, len(text))
    characters = np.frombuffer(text, dtype=np.uint8)
    return np.broadcast_to(characters, shape), np.broadcast_to(np.True_, shape)


def _decimals(
    units: Int64Array, exponent: int, *, trimmed: bool
) -> tuple[tuple[Characters, Shown], ...]:
    """Return the columns of digits before the point, the point, and those behind it."""
    digits = _digits(units, at_least=exponent + 1)
    point = digits.shape[1] - exponent
    counts = digits != _ZERO
    whole = np.logical_or.accumulate(counts[:, :point], axis=1)
    whole[:, -1] = True
    fraction = counts[:, point:]
    if trimmed:
        fraction = np.logical_or.accumulate(fraction[:, ::-1], axis=1)[:, ::-1]
    else:
        fraction = np.ones_like(fraction)
    # Of no columns where there is no fraction at all.
    has_point = fraction[:, :1]
    return (
        (digits[:, :point], whole),
        (np.full(has_point.shape, ord("."), dtype=np.uint8), has_point),
        (digits[:, point:], fraction),
    )


def _digits(units: Int64Array, at_least: int) -> Characters:
    """Return the digits of each number as a row of as many characters as the largest needs."""
    needed = max(at_least, len(str(int(units.max()))))
    parts = np.empty((len(units), -(-needed // _WIDTH)), dtype=np.int64)
    rest = units
    for column in reversed(range(parts.shape[1])):
        above = rest // _PART
        parts[:, column] = rest - above * _PART
        rest = above
    return _TABLE[parts].reshape(len(units), -1)
