"""Whole numbers that cannot wrap: int64 where that is proven to hold them, else Python's integers.

An array of Python's integers (dtype object) is exact at any size, and slow. Few markets need it: a
quantity is counted in the coarsest decimal unit in which it is whole.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.levels import Int64Array

ExactArray = npt.NDArray[Any]
"""An array of int64, or of Python's integers."""

ROOM: Final = 2.0**62
"""Numbers below this stay in int64, also where a double that bounds them is rounded."""

_HALF_BITS: Final = 32
_HALF: Final = (1 << _HALF_BITS) - 1


def kind_for(bound: float) -> type:
    """Return the type of numbers for values up to `bound`, also where it was rounded."""
    return np.int64 if bound < ROOM else object


def largest(values: ExactArray) -> float:
    """Return a bound of `values`, none of which is negative."""
    return float(values.max(initial=0))


def as_integers(values: ExactArray) -> ExactArray:
    """Return `values` as Python's integers."""
    return values.astype(object)


def compact(values: ExactArray) -> ExactArray:
    """Return `values` in int64 if they fit there."""
    if values.dtype == object and largest(values) < ROOM:
        return values.astype(np.int64)
    return values


def product(values: ExactArray, factor: int) -> ExactArray:
    """Return `values` times `factor`, which is positive."""
    if factor == 1:
        return values
    if values.dtype != object and largest(values) * factor < ROOM:
        return values * np.int64(factor)
    return as_integers(values) * factor


def sums_of_groups(values: ExactArray, begins: Int64Array, axis: int) -> ExactArray:
    """Return the sums of groups of neighbours; group i begins at `begins[i]`, the first at 0."""
    longest = int(np.diff(begins, append=values.shape[axis]).max(initial=1))
    if values.dtype != object and largest(values) * longest >= ROOM:
        values = as_integers(values)
    return np.add.reduceat(values, begins, axis=axis)


def total(values: ExactArray) -> int:
    """Return the sum of all `values`."""
    if largest(values) * values.size >= ROOM:
        values = as_integers(values)
    return int(values.sum())


def halves(values: ExactArray) -> tuple[Int64Array, Int64Array]:
    """Return `values` as pairs: high times 2^32 plus low, and low is below 2^32.

    Of values in int64, the highs, and the lows, of billions of cells can be added up in int64.
    """
    high, low = values >> _HALF_BITS, values & _HALF
    return high.astype(np.int64), low.astype(np.int64)
