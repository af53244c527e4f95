"""A heatmap on screen: what each pixel shows, as a code that a palette turns into a colour.

So other colours need another palette, and no cells: a cut-off is moved without delay. Textures and
lines are codes, too.

The pixels of a gap are those from its
first millisecond to its last, at least one; no bin makes it longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.heatmap.colours import (
    LAST_SIZE,
    UNKNOWN_BYTE,
    ColourTable,
    packed_colour,
)
from orderbook_desktop.core.heatmap.picture import Bytes, Quantiser
from orderbook_desktop.core.heatmap.pixel_grid import PixelGrid, Region
from orderbook_desktop.core.heatmap.sources import Source
from orderbook_desktop.core.heatmap.spans import BoolArray
from orderbook_desktop.core.levels import Int64Array

# Textures have a period of so many pixels in both directions.
_PERIOD: Final = 8
_GAP_WIDTH, _PENDING_WIDTH = 2, 1
_NARROW: Final = 4
_DOT_EVERY: Final = 5
# Far outside of the picture a number of pixels may be too large for an integer.
_FAR: Final = 1 << 20

Codes = npt.NDArray[np.uint16]
"""What pixels show: the byte of a cell, or of one of asks with `ASKS` more, or a `Code`."""
ASKS: Final = LAST_SIZE + 1


class Code(IntEnum):
    """What a pixel shows that is no cell."""

    GAP = 2 * ASKS
    GAP_LINE = GAP + 1
    PENDING = GAP + 2
    PENDING_LINE = GAP + 3
    DOT = GAP + 4
    """In a cell that is not known, or not wholly."""
    OUTSIDE = GAP + 5
    BID = GAP + 6
    """The line of the best bid."""
    ASK = GAP + 7
    RIM = GAP + 8
    """Beside these lines."""


_COLOURS: Final = (
    packed_colour(70, 54, 34),
    packed_colour(214, 158, 82),
    packed_colour(20, 26, 34),
    packed_colour(38, 47, 59),
    packed_colour(128, 138, 150),
)
"""Of the codes from `GAP` to `DOT`."""


class Kind(IntEnum):
    """What a column of pixels shows."""

    CELLS = 0
    GAP = 1
    """The book is not known then."""
    PENDING = 2
    """It has not been read yet."""
    OUTSIDE = 3
    """Nothing was recorded: before the first moment, or after the last."""


Kinds = npt.NDArray[np.uint8]


class Known(Struct, frozen=True):
    """What is known of times: from `from_ms` to `to_ms` there is something, but for `gaps`.

    `gaps` are begins and ends in ms, ascending. In `bare` times nothing was recorded. What is
    recorded was last seen to reach `read_ms`: a column beyond it that has no book has not been
    read. If `to_ms` `is_clock`, that of a replay, nothing is shown of columns that are not over
    then: what is in them may come later.
    """

    from_ms: int = 0
    to_ms: int = 0
    read_ms: int = 0
    gaps: tuple[tuple[int, int], ...] = ()
    bare: tuple[int, int] | None = None
    is_clock: bool = False

    def gap_columns(self, grid: PixelGrid, left: int, right: int) -> list[tuple[int, int]]:
        """Return the columns of each gap that is to be seen from `left` to `right`."""
        found = []
        for from_ms, to_ms in self.gaps:
            first, after = grid.columns_between(from_ms, min(to_ms, self.to_ms))
            if from_ms < self.to_ms and first < right and after > left:
                found.append((max(first, left), min(after, right)))
        return found


class Tables(Struct, frozen=True, eq=False):
    """The colours of bytes; `asks` are those above the middle of the best prices, None: alike."""

    cells: ColourTable
    asks: ColourTable | None = None

    def palette(self, *others: int) -> ColourTable:
        """Return the colour of each code; `others` are those from `Code.OUTSIDE` on."""
        asks = self.cells if self.asks is None else self.asks
        rest = np.array([*_COLOURS, *others], np.uint32)
        return np.concatenate((self.cells, asks, rest))


class Plot:
    """Paints regions of pixels from sources, of which a later one lies over those before.

    If it `has_hues`, asks have codes of their own.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        known: Known,
        quantiser: Quantiser,
        *,
        has_hues: bool = False,
    ) -> None:
        self._sources = sources
        self._known = known
        self._quantiser = quantiser
        self._has_hues = has_hues

    def kinds(self, grid: PixelGrid, left: int, right: int) -> tuple[Kinds, Int64Array]:
        """Return what the columns of pixels show, and from which source (-1: none)."""
        known, times = self._known, grid.times(left, right)
        kinds = np.full(right - left, Kind.PENDING, np.uint8)
        of = np.full(right - left, -1)
        for place, source in enumerate(self._sources):
            columns = source.columns(times)
            has = columns >= 0
            if known.is_clock:
                comes_later = source.ends(columns) > known.to_ms
                kinds[has & comes_later & (of < 0)] = Kind.OUTSIDE
                has &= ~comes_later
            has[has] &= ~source.gap[columns[has]] | (times[has] < known.read_ms)
            of[has] = place
            kinds[has] = np.where(source.gap[columns[has]], Kind.GAP, Kind.CELLS)
        for from_ms, to_ms in [(0, known.from_ms), *([] if known.bare is None else [known.bare])]:
            first, after = grid.column(from_ms), grid.column(to_ms)
            kinds[max(0, first - left) : max(0, after - left)] = Kind.OUTSIDE
        for first, after in known.gap_columns(grid, left, right):
            kinds[first - left : after - left] = Kind.GAP
        kinds[max(0, grid.column(known.to_ms) - left) :] = Kind.OUTSIDE
        return kinds, of

    def stretches(
        self, grid: PixelGrid, region: Region
    ) -> Iterator[tuple[Region, Kind, Source | None]]:
        """Iterate over the parts of `region` from left to right: of cells there is a source."""
        kinds, of = self.kinds(grid, region.left, region.right)
        places = np.where(kinds == Kind.CELLS, of, -1 - kinds.astype(np.int64))
        begins = np.flatnonzero(np.diff(places, prepend=places[0] - 1)).tolist()
        for begin, end in pairwise([*begins, len(places)]):
            place = int(places[begin])
            left = region.left
            part = Region(left + begin, left + end, region.bottom, region.top)
            if place >= 0:
                yield part, Kind.CELLS, self._sources[place]
            else:
                yield part, Kind(-1 - place), None

    def paint(self, out: Codes, grid: PixelGrid, region: Region) -> None:
        """Paint the codes of `region` into `out`, `[y, x]` of its size."""
        for part, kind, source in self.stretches(grid, region):
            spot = out[:, part.left - region.left : part.right - region.left]
            if source is None:
                self._paint_texture(spot, part, kind)
            else:
                self._paint_cells(spot, grid, part, source)

    def paint_best(self, out: Codes, grid: PixelGrid, region: Region, width: int) -> None:
        """Paint the best bid and offer over `region` as lines of that width; gaps interrupt them.

        A dark rim sets a line off from cells of its colour.
        """
        # A line begins before the region, so that it joins what was painted before.
        rim = max(1, width // 2)
        room = width + 2 * rim + 1
        wide = Region(region.left - room, region.right + room, region.bottom, region.top)
        sides = np.full((2, wide.width), -1.0)
        for part, _, source in self.stretches(grid, wide):
            if source is not None:
                spot = slice(part.left - wide.left, part.right - wide.left)
                sides[:, spot] = source.best(source.columns(grid.times(part.left, part.right)))
        # Bids lie lower and asks higher, so that the lines can be told apart.
        lines = [
            _steps(prices / grid.units, wide.top + off, width)
            for prices, off in zip(sides, (width, -width), strict=True)
        ]
        shown = slice(room, room + region.width)
        for tops, ends in lines:
            reach = range(-rim, width + rim)
            _fill(
                out, _least(tops, reach)[shown] - rim, -_least(-ends, reach)[shown] + rim, Code.RIM
            )
        for (tops, ends), code in zip(lines, (Code.BID, Code.ASK), strict=True):
            reach = range(width)
            _fill(out, _least(tops, reach)[shown], -_least(-ends, reach)[shown], code)

    def counts(self, grid: PixelGrid, region: Region) -> Int64Array:
        """Return how many cells of `region` have each byte."""
        counts = np.zeros(LAST_SIZE + 1, np.int64)
        for part, _, source in self.stretches(grid, region):
            if source is not None:
                seen = self._seen(grid, part, source)
                if seen is not None:
                    counts += np.bincount(seen.cells.ravel(), minlength=len(counts))
        return counts

    def _paint_texture(self, out: Codes, part: Region, kind: Kind) -> None:
        if kind is Kind.OUTSIDE:
            out[:] = Code.OUTSIDE
            return
        if kind is Kind.GAP and part.width < _NARROW:
            # Of slanted lines so narrow a gap would show a few pixels only.
            out[:] = Code.GAP_LINE
            return
        lines = _texture(kind)
        x = np.arange(part.left, part.right) % _PERIOD
        y = np.arange(part.top - 1, part.bottom - 1, -1) % _PERIOD
        out[:] = lines[:, x][y]

    def _seen(self, grid: PixelGrid, part: Region, source: Source) -> _Seen | None:
        """Return the cells of `source` in `part`; None: it has none of these prices."""
        first, after = source.rows(grid, part)
        has = np.flatnonzero(after > first)
        if not len(has):
            return None
        top, end = int(has[0]), int(has[-1]) + 1
        low, high = int(first[top:end].min()), int(after[top:end].max())
        columns = source.columns(grid.times(part.left, part.right))
        cells, dotted = source.cells(columns, low, high, self._quantiser)
        rows = first[top:end] - low
        of_rows = np.arange(low, high)
        if source.step < grid.units:
            heads = np.flatnonzero(np.diff(rows, prepend=-1))
            begins = rows[heads][::-1]
            of_rows = of_rows[begins]
            cells = np.maximum.reduceat(cells, begins, axis=0)
            dotted = np.logical_or.reduceat(dotted, begins, axis=0)
            rows = len(begins) - np.cumsum(np.diff(rows, prepend=-1) != 0)
        return _Seen(top, rows, of_rows, columns, cells, dotted)

    def _paint_cells(self, out: Codes, grid: PixelGrid, part: Region, source: Source) -> None:
        seen = self._seen(grid, part, source)
        count = 0 if seen is None else len(seen.rows)
        if count < part.height:
            self._paint_texture(out, part, Kind.PENDING)
        if seen is None:
            return
        codes = seen.cells.astype(np.uint16)
        if self._has_hues:
            codes[source.asks(seen.of_rows, seen.columns)] += ASKS
        spot = out[seen.top : seen.top + count]
        spot[:] = codes[seen.rows]
        self._dot(spot, part, seen)

    @staticmethod
    def _dot(out: Codes, part: Region, seen: _Seen) -> None:
        """Dot the pixels of what is not known, or not wholly."""
        is_dotted = (seen.cells == UNKNOWN_BYTE) | seen.dotted
        if not is_dotted.any():
            return
        for phase in range(2):
            # Dots stand still on the absolute grid.
            y = (part.top - 1 - seen.top - phase * 2) % _DOT_EVERY
            x = (phase * _DOT_EVERY - part.left) % (2 * _DOT_EVERY)
            spots = out[y::_DOT_EVERY, x :: 2 * _DOT_EVERY]
            spots[is_dotted[seen.rows[y::_DOT_EVERY]][:, x :: 2 * _DOT_EVERY]] = Code.DOT


class _Seen(Struct, frozen=True, eq=False):
    """Cells in sight, `[row, column of pixels]`, their rows ascending with price.

    From the row of pixels `top` on, `rows` are those of each row of pixels. `of_rows` are the rows'
    numbers in the source (the lowest one, where a row is of several), `columns` the columns'.
    """

    top: int
    rows: Int64Array
    of_rows: Int64Array
    columns: Int64Array
    cells: Bytes
    dotted: BoolArray


def _steps(heights: npt.NDArray[np.float64], top: int, width: int) -> tuple[Int64Array, Int64Array]:
    """Return the rows of pixels, first and after the last, of a line's steps in each column.

    `heights` count from price 0 in rows, and are negative where there is no line; so is the row
    after the last one then.
    """
    shown = heights >= 0
    y = (top - np.rint(heights)).clip(-_FAR, _FAR).astype(np.int64)
    before = np.where(np.append(False, shown[:-1]), np.append(0, y[:-1]), y)
    tops, ends = np.minimum(before, y), np.maximum(before, y) + width
    return np.where(shown, tops, _FAR), np.where(shown, ends, -_FAR)


def _least(values: Int64Array, reach: range) -> Int64Array:
    """Return for each column the least value of those that are so far to its left."""
    least: Int64Array = np.minimum.reduce([np.roll(values, off) for off in reach])
    return least


def _fill(out: Codes, tops: Int64Array, ends: Int64Array, code: Code) -> None:
    """Fill the rows from `tops` to `ends` of each column."""
    tops, ends = tops.clip(0, len(out)), ends.clip(0, len(out))
    lengths = np.maximum(ends - tops, 0)
    columns = np.repeat(np.arange(out.shape[1]), lengths)
    begins = np.cumsum(lengths) - lengths
    out[np.repeat(tops - begins, lengths) + np.arange(len(columns)), columns] = code


def swatch(kind: Kind, height: int, width: int) -> Codes:
    """Return a little of the texture of `kind`; that of cells is of those that are not known."""
    y, x = np.ogrid[:height, :width]
    if kind is not Kind.CELLS:
        lines: Codes = _texture(kind)[y % _PERIOD, x % _PERIOD]
        return lines
    dots = (x % _DOT_EVERY == 0) & ((y + x // _DOT_EVERY % 2 * 2) % _DOT_EVERY == 0)
    return np.where(dots, np.uint16(Code.DOT), np.uint16(UNKNOWN_BYTE))


def _texture(kind: Kind) -> Codes:
    """Return a tile of slanted lines, `[row of pixels, column of pixels]`; those of a gap rise."""
    y, x = np.ogrid[:_PERIOD, :_PERIOD]
    if kind is Kind.GAP:
        is_line, ground = (x - y) % _PERIOD < _GAP_WIDTH, Code.GAP
    else:
        is_line, ground = (x + y) % _PERIOD < _PENDING_WIDTH, Code.PENDING
    return (ground + is_line).astype(np.uint16)
