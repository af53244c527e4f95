"""From a heatmap to pixels: a byte says what a pixel is, and a table which colour that has.

So other cut-offs or colours need a new table, and no data. A gap and what is unknown have bytes of
their own, and no cut-off can turn them into "there is nothing".
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.colours import (
    EMPTY_BYTE,
    FIRST_SIZE,
    GAP_BYTE,
    LAST_SIZE,
    UNKNOWN_BYTE,
)
from orderbook_desktop.core.heatmap.exact import ExactArray, largest
from orderbook_desktop.core.heatmap.spans import BoolArray

Bytes = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint32]

# So many bytes double the quantity.
_AN_OCTAVE: Final = 8
# A quantity's byte depends on the first bits of its float32: the power of two, and 8 bits of what
# follows. So a byte begins at the first of 256 steps of an octave that reaches 2^(1/8), 2^(2/8) ...
_STEP_BITS: Final = 8
_OTHER_BITS: Final = 23 - _STEP_BITS
_STEPS: Final = 1 << _STEP_BITS
_ONE: Final = 127 << _STEP_BITS
_BEGINS: Final = np.ceil(2 ** (np.arange(_AN_OCTAVE) / _AN_OCTAVE) * _STEPS).astype(np.int64)
# The usual cut-offs, as shares of the cells in sight that are not empty.
_LOW_SHARE: Final = 0.25
_HIGH_SHARE: Final = 0.99


def _bytes_of_bits() -> Bytes:
    """Return the byte of each beginning of a float32 that is not negative."""
    bits = np.arange(1 << 16)
    octaves, steps = np.divmod(bits - _ONE, _STEPS)
    places = octaves * _AN_OCTAVE + np.searchsorted(_BEGINS, steps + _STEPS, side="right") - 1
    # Below the base counts as the base: it is not empty.
    found = (places + FIRST_SIZE).clip(FIRST_SIZE, LAST_SIZE).astype(np.uint8)
    found[0] = EMPTY_BYTE
    return found


_BYTES_OF_BITS: Final = _bytes_of_bits()


class Quantiser(Struct, frozen=True):
    """Turns quantities into bytes: `FIRST_SIZE` is `base`, and each 8 bytes more are the double."""

    base: float

    @classmethod
    def of(cls, values: ExactArray) -> Quantiser:
        """Return one whose bytes hold all `values`: the base is 1 unless they are very large."""
        octaves = (LAST_SIZE - FIRST_SIZE) / _AN_OCTAVE
        return cls(max(1.0, largest(values) / 2**octaves))

    def bytes_of(self, values: ExactArray) -> Bytes:
        """Return the bytes of `values`; 0 is `EMPTY_BYTE`."""
        sizes = values if self.base == 1 else np.asarray(values, dtype=np.float64) / self.base
        bits = np.ascontiguousarray(sizes, dtype=np.float32).view(np.uint32)
        found: Bytes = _BYTES_OF_BITS[bits >> _OTHER_BITS]
        return found

    def size_of(self, byte: int) -> float:
        """Return the smallest quantity with that byte."""
        octaves, place = divmod(byte - FIRST_SIZE, _AN_OCTAVE)
        return self.base * 2.0**octaves * int(_BEGINS[place]) / _STEPS


def cell_bytes(heatmap: Heatmap, quantiser: Quantiser) -> Bytes:
    """Return the byte of each cell, `[column, row]`."""
    found = quantiser.bytes_of(heatmap.values)
    # Of a cell with several prices, of which some were named and have no level, nothing is known of
    # the others.
    is_single = heatmap.step == heatmap.tick
    for columns in _partly_beyond(heatmap):
        part = found[columns]
        unknown = _beyond(heatmap, columns) & (part == EMPTY_BYTE)
        if is_single:
            unknown &= ~heatmap.named[columns]
        part[unknown] = UNKNOWN_BYTE
    found[heatmap.gap] = GAP_BYTE
    return found


def usual_cut_offs(cells: Bytes) -> tuple[int, int]:
    """Return the bytes between which colours differ: percentiles 25 and 99 of what is there."""
    counts = np.bincount(cells.ravel(), minlength=LAST_SIZE + 1)
    counts[:FIRST_SIZE] = 0
    sums = counts.cumsum()
    if not sums[-1]:
        return FIRST_SIZE, LAST_SIZE
    low, high = (int(sums.searchsorted(share * sums[-1])) for share in (_LOW_SHARE, _HIGH_SHARE))
    return low, max(high, low + 1)


class Frame(Struct, frozen=True):
    """What a picture shows: times from `from_ms` to `to_ms`, and prices from `low` to `high`.

    Prices have the heatmap's unit. It is `width` by `height` pixels.
    """

    from_ms: int
    to_ms: int
    low: int
    high: int
    width: int
    height: int

    def x(self, time_ms: float) -> float:
        """Return where a time is, from the left."""
        return (time_ms - self.from_ms) * self.width / (self.to_ms - self.from_ms)

    def y(self, price: float) -> float:
        """Return where a price is, from the top."""
        return (self.high - price) * self.height / (self.high - self.low)


def partly_known(heatmap: Heatmap) -> BoolArray:
    """Return the cells of which only some prices are known, and others are not."""
    found = np.zeros(heatmap.values.shape, np.bool_)
    if heatmap.step != heatmap.tick:
        for columns in _partly_beyond(heatmap):
            found[columns] = _beyond(heatmap, columns) & heatmap.named[columns]
        found[heatmap.gap] = False
    return found


def _partly_beyond(heatmap: Heatmap) -> list[slice]:
    """Return the stretches of columns that have cells beyond the prices that are known."""
    if not len(heatmap.prices):
        return []
    known = heatmap.columns
    last = heatmap.prices[-1] + (heatmap.step - heatmap.tick)
    reaches = (known.known_from > heatmap.prices[0]) | (known.known_to < last)
    ends = np.flatnonzero(np.diff(reaches, prepend=False, append=False)).tolist()
    return [slice(begin, end) for begin, end in zip(ends[::2], ends[1::2], strict=True)]


def _beyond(heatmap: Heatmap, columns: slice) -> BoolArray:
    """Return `Heatmap.beyond` of some columns."""
    known = heatmap.columns
    ends = heatmap.prices + (heatmap.step - heatmap.tick)
    below = heatmap.prices < known.known_from[columns, None]
    above: BoolArray = ends > known.known_to[columns, None]
    return below | above
