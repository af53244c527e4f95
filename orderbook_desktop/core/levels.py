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
    split_decimal,
)

Int64Array = npt.NDArray[np.int64]

_SHIFTS: Final[Int64Array] = np.array([[0], [21], [42]], dtype=np.int64)
_LIMB_MASK: Final = (1 << 21) - 1
_UNITS_PER_ONE: Final = 10.0**DEFAULT_EXPONENT
PROVEN_BELOW: Final = 2.0**52 / _UNITS_PER_ONE
_EXACT_UNTIL: Final = 2**53
EMPTY: Final[Int64Array] = np.empty(0, dtype=np.int64)


class Levels(NamedTuple):
    """One side of a book, or a part of it.

    `prices` and `quantities` are int64 arrays of the same length n, in units of the market's
    `Scale`, best price first: bids descending, asks ascending. numpy's own sums and products of
    them wrap silently where they leave int64, as happens in a market of many cheap coins. `total`
    and `notional` are Python integers, which never wrap.
    """

    prices: Int64Array
    quantities: Int64Array

    def total(self, count: int | None = None) -> int:
        """Return the exact quantity of the best `count` levels (default: all), in its units."""
        quantities = self.quantities[:count]
        # A sum that leaves int64 has a double far above the half of that.
        if float(quantities.sum(dtype=np.float64)) < INT64_MAX / 2:
            return int(quantities.sum())
        sums: list[int] = _limbs(quantities).sum(axis=1).tolist()
        return sum(part << shift for part, (shift,) in zip(sums, _SHIFTS.tolist(), strict=True))

    def notional(self, count: int | None = None) -> int:
        """Return the exact sum of price times quantity of the best `count` levels (default: all).

        In price units times quantity units: of 10^-`scale.notional`.
        """
        products = _limbs(self.prices[:count]) @ _limbs(self.quantities[:count]).T
        shifts = (_SHIFTS + _SHIFTS.T).ravel().tolist()
        return sum(
            part << shift for part, shift in zip(products.ravel().tolist(), shifts, strict=True)
        )


def _limbs(units: Int64Array) -> Int64Array:
    """Return `units`, none negative, as three rows of digits of 21 bits, the lowest first.

    Two million products of two digits fit int64.
    """
    return units >> _SHIFTS & _LIMB_MASK


def units_from_doubles(values: Iterable[float]) -> Int64Array | None:
    """Return exact units of 10^-8 of plain decimals, or None where unproven."""
    doubles = np.fromiter(values, dtype=np.float64)
    if len(doubles) and not doubles.max() < PROVEN_BELOW:
        return None
    scaled = np.rint(doubles * _UNITS_PER_ONE)
    if not np.array_equal(scaled / _UNITS_PER_ONE, doubles):
        return None
    return scaled.astype(np.int64)


def doubles_of(units: Int64Array, exponent: int) -> npt.NDArray[np.float64]:
    """Return the doubles nearest to `units` of 10^-`exponent`, as their decimal text is read."""
    one = 10**exponent
    doubles: npt.NDArray[np.float64] = (units / one).astype(np.float64)
    for index in (units > _EXACT_UNTIL).nonzero()[0].tolist():
        # Python rounds once, where numpy does so on the way to a double too.
        doubles[index] = int(units[index]) / one
    return doubles


def fitting_exponent(texts: list[str], held: Int64Array, current: int) -> int:
    """Return the exponent at which `texts`, and `held` at `current`, are exact in int64.

    Prefers the default exponent, then the one nearest to it. Raises `InexactValue` where
    there is none.
    """
    fewest, largest, widest = 0, 0, "0"
    for text in texts:
        whole, fraction = split_decimal(text)
        widest = max(widest, text, key=len)
        if len(fraction) > MAX_EXPONENT or len(whole.lstrip("0")) > MAX_EXPONENT + 1:
            raise InexactValue(text, len(fraction))
        fewest = max(fewest, len(fraction))
        largest = max(largest, int(whole.lstrip("0") + fraction.ljust(MAX_EXPONENT, "0")))
    if len(held):
        largest = max(largest, int(held.max()) * 10 ** (MAX_EXPONENT - current))
    while fewest < current and (held % 10 ** (current - fewest)).any():
        fewest += 1
    fitting = [
        exponent
        for exponent in range(fewest, MAX_EXPONENT + 1)
        if largest <= INT64_MAX * 10 ** (MAX_EXPONENT - exponent)
    ]
    if not fitting:
        raise InexactValue(widest, fewest)
    return min(fitting, key=lambda exponent: abs(exponent - DEFAULT_EXPONENT))


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
    removes its level. The arguments are not changed, since readers may hold them.
    """
    order = changes.argsort()
    changes, new = changes[order], new[order]
    if not len(keys):
        return changes[new != 0], new[new != 0]
    at = keys.searchsorted(changes)
    # A change beyond the last key is compared with the last key, and is not equal to it.
    known = keys.take(at, mode="clip") == changes
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
    # An added level comes behind the kept levels before it and the levels added before it.
    slots = added_at - gone.searchsorted(added_at) + np.arange(len(added))
    old = np.ones(len(keys) - len(gone) + len(added), dtype=np.bool_)
    old[slots] = False
    return (
        _woven(old, keys[keep], slots, changes[added]),
        _woven(old, quantities[keep], slots, new[added]),
    )


def least_standing(
    numbers: Int64Array, begins: Int64Array, ends: Int64Array, count: int, none: int
) -> Int64Array:
    """Return at each of `count` moments the least of the `numbers` that stand, or `none`.

    `numbers[i]` stands from the moment `begins[i]` until before `ends[i]`. Each such range is the
    union of two ranges whose length is a power of two. Row r of the table has the least number of
    each range of length 2^r, by its begin. From the longest ranges down, each row is carried into
    the row of half its length.
    """
    exponents = np.frexp((ends - begins).astype(np.float64))[1] - 1
    rows = int(exponents.max(initial=0)) + 1
    table = np.full((rows, count), none, dtype=np.int64)
    np.minimum.at(table, (exponents, begins), numbers)
    np.minimum.at(table, (exponents, ends - (1 << exponents)), numbers)
    for row in range(rows - 1, 0, -1):
        half = 1 << (row - 1)
        below, above = table[row - 1], table[row]
        np.minimum(below, above, out=below)
        np.minimum(below[half:], above[:-half], out=below[half:])
    least: Int64Array = table[0]
    return least


def _woven(
    old: npt.NDArray[np.bool_], kept: Int64Array, slots: npt.NDArray[np.intp], added: Int64Array
) -> Int64Array:
    woven = np.empty(len(old), dtype=np.int64)
    woven[old] = kept
    woven[slots] = added
    return woven
