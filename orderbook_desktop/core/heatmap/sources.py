"""Heatmaps on their way to pixels: their cells as bytes, and where these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.colours import FIRST_SIZE, LAST_SIZE
from orderbook_desktop.core.heatmap.exact import largest
from orderbook_desktop.core.heatmap.picture import Bytes, Quantiser, cell_bytes, partly_known
from orderbook_desktop.core.heatmap.pixel_grid import PixelGrid, Region
from orderbook_desktop.core.heatmap.spans import BoolArray
from orderbook_desktop.core.levels import Int64Array

# Cells are turned into bytes so many columns at a time.
_BLOCK: Final = 64


class Source:
    """The cells of one heatmap, as bytes that are made where they are looked at.

    `pending` are times that have not been read. Prices of views have the unit 10^-`exponent`.
    """

    def __init__(
        self,
        heatmap: Heatmap,
        pending: Sequence[tuple[int, int]] = (),
        exponent: int | None = None,
    ) -> None:
        self.heatmap = heatmap
        self.pending = tuple(pending)
        by = heatmap.scale.price - (heatmap.scale.price if exponent is None else exponent)
        # How many units of the heatmap are one of the view's.
        self._unit = 10.0**by
        self.step = heatmap.step / self._unit
        count, rows = heatmap.values.shape
        self._bytes: Bytes = np.zeros((rows, count), np.uint8)
        self._dotted: BoolArray = np.zeros((rows, count), np.bool_)
        self._is_made: BoolArray = np.zeros(-(-count // _BLOCK), np.bool_)
        self._quantiser: Quantiser | None = None
        self.gap: BoolArray = heatmap.gap
        self._first_row = int(heatmap.prices[0]) // heatmap.step if rows else 0

    @property
    def from_ms(self) -> int:
        """When the first column begins."""
        return int(self.heatmap.times_ms[0])

    @property
    def to_ms(self) -> int:
        """When the last column ends."""
        return self.heatmap.to_ms

    @property
    def smallest(self) -> float:
        """The unit of its quantities, in whole assets."""
        return 10.0**-self.heatmap.scale.quantity

    @property
    def largest(self) -> float:
        """A bound of its quantities, in whole assets; integrals count as means."""
        bound = largest(self.heatmap.values) * self.smallest
        is_sum = self.heatmap.statistic is Statistic.INTEGRAL
        return bound / max(1, int(self.heatmap.covered_ms.max(initial=1))) if is_sum else bound

    def columns(self, times: npt.NDArray[np.float64]) -> Int64Array:
        """Return the column at each time; -1: it has none, or that has not been read."""
        found: Int64Array = ((times - self.from_ms) // self.heatmap.bin_ms).astype(np.int64)
        known = (times >= self.from_ms) & (times < self.to_ms)
        for from_ms, to_ms in self.pending:
            known &= (times < from_ms) | (times >= to_ms)
        found[~known] = -1
        return found

    def ends(self, columns: Int64Array) -> Int64Array:
        """Return when columns are over, in ms."""
        return self.from_ms + (columns + 1) * self.heatmap.bin_ms

    def rows(self, grid: PixelGrid, region: Region) -> tuple[Int64Array, Int64Array]:
        """Return for each row of pixels, from the top, its first row of cells and the one after.

        Both are clipped to those that there are; where there is none they are equal.
        """
        edges = np.arange(region.top, region.bottom - 1, -1) * grid.units
        if self.step >= grid.units:
            centres = (edges[:-1] + edges[1:]) / 2
            first = np.floor(centres / self.step).astype(np.int64) - self._first_row
            after = first + 1
        else:
            bounds = np.floor(edges / self.step + 1e-9).astype(np.int64) - self._first_row
            first, after = bounds[1:], np.maximum(bounds[:-1], bounds[1:] + 1)
        count = len(self._bytes)
        return first.clip(0, count), after.clip(0, count)

    def cells(
        self, columns: Int64Array, low: int, high: int, quantiser: Quantiser
    ) -> tuple[Bytes, BoolArray]:
        """Return bytes, and what is dotted, of rows from `low` to `high` in these columns."""
        self._make(int(columns.min()), int(columns.max()) + 1, quantiser)
        rows = slice(low, high)
        return self._bytes[rows].take(columns, axis=1), self._dotted[rows].take(columns, axis=1)

    def asks(self, rows: Int64Array, columns: Int64Array) -> BoolArray:
        """Return which cells, `[row, column]`, are above the middle between the best prices."""
        bids, offers = self.best(columns)
        both = (bids >= 0) & (offers >= 0)
        edges = np.where(both, (bids + offers) / 2, np.where(bids >= 0, np.inf, -np.inf))
        centres = (rows + self._first_row + 0.5) * self.step
        above: BoolArray = centres[:, None] > edges[None, :]
        return above

    def best(self, columns: Int64Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the best bid and offer of columns, in the view's unit; negative: there is none."""
        held = self.heatmap.columns
        return held.best_bids[columns] / self._unit, held.best_asks[columns] / self._unit

    def _make(self, begin: int, end: int, quantiser: Quantiser) -> None:
        """Turn the cells of columns from `begin` to `end` into bytes, unless they are already."""
        if quantiser != self._quantiser:
            self._quantiser = quantiser
            self._is_made[:] = False
        blocks = slice(begin // _BLOCK, -(-end // _BLOCK))
        wanted = np.flatnonzero(~self._is_made[blocks]) + blocks.start
        if not len(wanted):
            return
        part = slice(int(wanted[0]) * _BLOCK, (int(wanted[-1]) + 1) * _BLOCK)
        shown = _columns_of(self.heatmap, part)
        in_units = Quantiser(quantiser.base / self.smallest)
        self._bytes[:, part] = cell_bytes(shown, in_units).T
        self._dotted[:, part] = partly_known(shown).T
        self._is_made[wanted[0] : wanted[-1] + 1] = True


def _columns_of(heatmap: Heatmap, part: slice) -> Heatmap:
    """Return some columns of a heatmap; integrals become means."""
    shown = heatmap.at(part, heatmap.to_ms)
    if heatmap.statistic is not Statistic.INTEGRAL:
        return shown
    return replace(shown, values=shown.values / np.maximum(shown.covered_ms, 1)[:, None])


def fitting_quantiser(sources: Sequence[Source], before: Quantiser | None) -> Quantiser:
    """Return a quantiser of whole assets for all sources.

    The one `before` stays where it is wide enough: colours would change with it.
    """
    bound = max((source.largest for source in sources), default=0.0)
    if before is not None and before.size_of(LAST_SIZE) >= bound:
        return before
    smallest = min((source.smallest for source in sources), default=1.0)
    # A power of two of headroom, so that the next larger size needs no other one.
    octaves = (LAST_SIZE - FIRST_SIZE) // 8 - 1
    needed = float(2.0 ** np.ceil(np.log2(bound / 2.0**octaves))) if bound else smallest
    return Quantiser(max(smallest, needed))
