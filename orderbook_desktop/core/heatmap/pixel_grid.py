"""Pixels on absolute grids of time and price.

A pixel is the same stretch of time and prices wherever the view begins. So a pan moves pixels and
changes none, and only what comes into sight is worked out.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.heatmap.view import View


class PixelGrid(Struct, frozen=True):
    """How much time and price a pixel is; pixel k begins at k times that.

    Columns count with time. Rows count upwards with price, so that the uppermost one of a view has
    the highest number.
    """

    ms: float
    units: float

    @classmethod
    def of(cls, view: View, width: int, height: int) -> Self:
        """Return the grid of a view on so many pixels."""
        return cls(view.length_ms / width, view.height / height)

    def column(self, time_ms: float) -> int:
        """Return the first column of what begins at a time."""
        return round(time_ms / self.ms)

    def row(self, price: float) -> int:
        """Return the lowest row of what begins at a price."""
        return round(price / self.units)

    def times(self, left: int, right: int) -> npt.NDArray[np.float64]:
        """Return the middles of columns of pixels, in ms."""
        return (np.arange(left, right, dtype=np.float64) + 0.5) * self.ms

    def columns_between(self, from_ms: float, to_ms: float) -> tuple[int, int]:
        """Return the first column of a time and the one after its last; it has at least one."""
        first = self.column(from_ms)
        return first, max(first + 1, self.column(to_ms))


class Region(Struct, frozen=True):
    """Pixels: the columns from `left` to `right`, the rows from `bottom` to `top`, without these.

    `right` and `top` are outside.
    """

    left: int
    right: int
    bottom: int
    top: int

    @classmethod
    def of(cls, view: View, grid: PixelGrid, width: int, height: int) -> Self:
        """Return the pixels of a view. Its end decides: there is the newest moment."""
        right, top = grid.column(view.to_ms), grid.row(view.high)
        return cls(right - width, right, top - height, top)

    @property
    def width(self) -> int:
        """How many columns it has."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """How many rows it has."""
        return self.top - self.bottom

    def holds(self, other: Region) -> bool:
        """Whether all of another region is in this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )

    def common(self, other: Region) -> Region | None:
        """Return the pixels that are in both; None: there are none."""
        left, right = max(self.left, other.left), min(self.right, other.right)
        bottom, top = max(self.bottom, other.bottom), min(self.top, other.top)
        return Region(left, right, bottom, top) if left < right and bottom < top else None

    def widened(self, by_columns: int, by_rows: int) -> Region:
        """Return the region with so many more pixels on each side."""
        return Region(
            self.left - by_columns,
            self.right + by_columns,
            self.bottom - by_rows,
            self.top + by_rows,
        )
