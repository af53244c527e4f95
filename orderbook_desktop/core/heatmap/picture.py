"""From a heatmap to pixels: a byte says what a pixel is, and a table which colour that has.

So other cut-offs or colours need a new table, and no data. A gap and what is unknown have bytes of
their own, and no cut-off can turn them into "there is nothing".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

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
    ColourTable,
    packed_colour,
)
from orderbook_desktop.core.heatmap.exact import ExactArray, largest
from orderbook_desktop.core.heatmap.spans import BoolArray
from orderbook_desktop.core.levels import Int64Array

Bytes = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint32]
_Cell = TypeVar("_Cell", bound=np.generic)

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
# The textures: lines this far apart, and so wide; dots this far apart.
_LINE_EVERY: Final = 8
_LINE_WIDTH: Final = 2
_DOT_EVERY: Final = 5
_LINE_COLOUR: Final = packed_colour(214, 158, 82)
_DOT_COLOUR: Final = packed_colour(128, 138, 150)


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


def placed(cells: npt.NDArray[_Cell], heatmap: Heatmap, frame: Frame) -> npt.NDArray[_Cell]:
    """Return what `cells` `[column, row]` have at each pixel `[y, x]`; high prices are on top."""
    prices = frame.high - (np.arange(frame.height) + 0.5) * (frame.high - frame.low) / frame.height
    rows = (prices // heatmap.step).astype(np.int64) - int(heatmap.prices[0]) // heatmap.step
    rows = rows.clip(0, len(heatmap.prices) - 1)
    return cells[_columns_at(heatmap, frame)[None, :], rows[:, None]]


def framed(
    heatmap: Heatmap, cells: Bytes, frame: Frame, uncovered: Iterable[tuple[int, int]]
) -> Bytes:
    """Return the bytes of the pixels `[y, x]`.

    `uncovered` are the times in which the book is not known, to the millisecond: their pixels are
    those of a gap, also where the rest of the column is known. A gap is a pixel wide at least.
    """
    pixels = placed(cells, heatmap, frame)
    for from_ms, to_ms in uncovered:
        left, right = round(frame.x(from_ms)), round(frame.x(to_ms))
        left = min(max(left, 0), frame.width - 1)
        pixels[:, left : max(right, left + 1)] = GAP_BYTE
    return pixels


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


def _columns_at(heatmap: Heatmap, frame: Frame) -> Int64Array:
    """Return the column at each pixel from the left."""
    centres = np.arange(frame.width) + 0.5
    times = frame.from_ms + centres * (frame.to_ms - frame.from_ms) / frame.width
    columns = ((times - int(heatmap.times_ms[0])) // heatmap.bin_ms).astype(np.int64)
    return columns.clip(0, len(heatmap.times_ms) - 1)


def coloured(pixels: Bytes, table: ColourTable, partly: BoolArray | None = None) -> Pixels:
    """Return the colours of pixels, 0xFFRRGGBB, with the textures of what is not known.

    A gap is hatched with slanted lines, what is unknown is dotted: neither is a colour alone. The
    pixels `partly` known are dotted, too.
    """
    colours = table[pixels]
    height, width = pixels.shape
    y, x = np.ogrid[:height, :width]
    colours[(pixels == GAP_BYTE) & ((x + y) % _LINE_EVERY < _LINE_WIDTH)] = _LINE_COLOUR
    dots = (x % _DOT_EVERY == 0) & ((y + x // _DOT_EVERY % 2 * 2) % _DOT_EVERY == 0)
    is_dotted = pixels == UNKNOWN_BYTE
    if partly is not None:
        is_dotted |= partly & (pixels != GAP_BYTE)
    colours[is_dotted & dots] = _DOT_COLOUR
    return colours


def ask_pixels(heatmap: Heatmap, frame: Frame) -> BoolArray:
    """Return the pixels `[y, x]` above the middle between the best prices: those of asks."""
    columns = heatmap.columns
    bids, asks = columns.best_bids, columns.best_asks
    has_both = (bids >= 0) & (asks >= 0)
    edges = np.where(has_both, (bids + asks) / 2, np.where(bids >= 0, np.inf, -np.inf))
    prices = frame.high - (np.arange(frame.height) + 0.5) * (frame.high - frame.low) / frame.height
    above: BoolArray = prices[:, None] > edges[_columns_at(heatmap, frame)][None, :]
    return above
