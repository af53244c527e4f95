"""Price levels as arrays: exact conversion from messages, and merging of changes.

Proof of exactness for the fast path: a plain decimal with at most eight places is m·10^-8
with a whole m. Its double is the nearest one, and for m < 2^52 neighbouring m have
different doubles. So the whole n with `n / 1e8 == double` is m itself. Everything else
(more places, larger values, another exponent) is parsed from text with Python integers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.errors import BugError, InexactValue
from orderbook_desktop.core.units import (
    DEFAULT_EXPONENT,
    INT64_MAX,
    MAX_EXPONENT,
    parse_units,
    split_decimal,
)

Int64Array = npt.NDArray[np.int64]

_UNITS_PER_ONE: Final = 10.0**DEFAULT_EXPONENT
_PROVEN_BELOW: Final = 2.0**52
_BEYOND: Final = np.iinfo(np.int64).max
EMPTY: Final[Int64Array] = np.empty(0, dtype=np.int64)


class Levels(NamedTuple):
    """One side of a book, or a part of it.

    `prices` and `quantities` are int64 arrays of the same length n, in units of the
    market's `Scale`, best price first: bids descending, asks ascending.
    """

    prices: Int64Array
    quantities: Int64Array


def units_from_doubles(values: Iterable[float]) -> Int64Array | None:
    """Return exact units of 10^-8 of plain decimals, or None where unproven."""
    doubles = np.fromiter(values, dtype=np.float64)
    scaled = np.rint(doubles * _UNITS_PER_ONE)
    if len(scaled) and not (
        scaled.max() < _PROVEN_BELOW and np.array_equal(scaled / _UNITS_PER_ONE, doubles)
    ):
        return None
    return scaled.astype(np.int64)


def units_from_texts(values: Iterable[str], exponent: int) -> Int64Array:
    """Return exact units of 10^-`exponent`; raise `InexactValue` where there are none."""
    return np.array([parse_units(value, exponent) for value in values], dtype=np.int64)


def fitting_exponent(texts: list[str], held: Int64Array, current: int) -> int:
    """Return the exponent at which `texts`, and `held` at `current`, are exact in int64.

    Prefers the default exponent, then the one nearest to it. Raises `InexactValue` where
    there is none.
    """
    fewest, most = 0, MAX_EXPONENT
    widest = "0"
    for text in texts:
        whole, fraction = split_decimal(text)
        fewest = max(fewest, len(fraction))
        while most >= fewest and int(whole + fraction.ljust(most, "0")) > INT64_MAX:
            most -= 1
        widest = max(widest, text, key=len)
        if fewest > most:
            raise InexactValue(widest, fewest)
    largest = int(held.max()) if len(held) else 0
    while most > current and largest * 10 ** (most - current) > INT64_MAX:
        most -= 1
    while fewest < current and (held % 10 ** (current - fewest)).any():
        fewest += 1
    if fewest > most:
        raise InexactValue(widest, fewest)
    return min(max(DEFAULT_EXPONENT, fewest), most)


def rescaled(units: Int64Array, by: int) -> Int64Array:
    """Return `units` at an exponent that is greater by `by` (less where `by` is negative)."""
    if by >= 0:
        return units * np.int64(10**by)
    divisor = np.int64(10**-by)
    if (units % divisor).any():
        raise BugError("rescaling a book would lose digits")
    return units // divisor


def merge_levels(
    keys: Int64Array, quantities: Int64Array, changes: Int64Array, new: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Return `keys` and `quantities` after setting the levels `changes` to `new`.

    `keys` is ascending and unique, `changes` unique in any order; a new quantity of 0
    removes its level. The arguments stay as they are: readers may hold them.
    """
    order = changes.argsort()
    changes, new = changes[order], new[order]
    at = keys.searchsorted(changes)
    known = np.append(keys, _BEYOND)[at] == changes
    quantities = quantities.copy()
    known_at = at[known]
    quantities[known_at] = new[known]
    gone = known_at[quantities[known_at] == 0]
    added = (~known & (new != 0)).nonzero()[0]
    if not (len(gone) or len(added)):
        return keys, quantities
    keep = np.ones(len(keys), dtype=np.bool_)
    keep[gone] = False
    added_at = at[added]
    # An added level lands behind what was kept before it and the ones added before it.
    slots = added_at - gone.searchsorted(added_at) + np.arange(len(added))
    old = np.ones(len(keys) - len(gone) + len(added), dtype=np.bool_)
    old[slots] = False
    return (
        _woven(old, keys[keep], slots, changes[added]),
        _woven(old, quantities[keep], slots, new[added]),
    )


def _woven(
    old: npt.NDArray[np.bool_], kept: Int64Array, slots: npt.NDArray[np.intp], added: Int64Array
) -> Int64Array:
    woven = np.empty(len(old), dtype=np.int64)
    woven[old] = kept
    woven[slots] = added
    return woven
