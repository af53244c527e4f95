"""The cells on screen as one image that is kept between frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace
from PySide6.QtCore import QRect, QRectF
from PySide6.QtGui import QImage, QPainter

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap
from orderbook_desktop.core.heatmap.colours import FIRST_SIZE, ColourTable, colour_table
from orderbook_desktop.core.heatmap.pages import HeatmapPart
from orderbook_desktop.core.heatmap.picture import Pixels, Quantiser
from orderbook_desktop.core.heatmap.pixel_grid import PixelGrid, Region
from orderbook_desktop.core.heatmap.plot import Codes, Known, Plot, Tables
from orderbook_desktop.core.heatmap.sources import Source, fitting_quantiser
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.gui.theme import DARK, Theme

# The image reaches so far beyond what is on screen, as a part of that, and in pixels at least.
_MARGIN: Final = 16
_LEAST_MARGIN: Final = 24
# Answers that lie below the newest one, and are seen where that has nothing yet.
_KEPT: Final = 2
# The width of the lines of the best prices, in logical pixels.
_LINE: Final = 1.4


class Scene:
    """Turns what the pages and the live edge give into an image.

    The image is repainted only where something has changed: a pan moves it.
    """

    def __init__(self, theme: Theme) -> None:
        self._ground = theme.panel
        self._parts: list[Source] = []
        self._tail: list[Source] = []
        self.known = Known()
        self.quantiser: Quantiser | None = None
        self.tables = Tables(colour_table(ColourMap.FIRE, FIRST_SIZE, 255))
        self._grid: PixelGrid | None = None
        self._held: Region | None = None
        self._codes: Codes = np.zeros((0, 0), np.uint16)
        self._spare: Codes = np.zeros((0, 0), np.uint16)
        self._pixels: Pixels = np.zeros((0, 0), np.uint32)
        # Whether all pixels need the colours of their codes.
        self._is_stale = False
        self._image = QImage()
        # From this time on the image is to be painted anew; None: it is as it should be.
        self._dirty_ms: float | None = None
        self._seen: tuple[PixelGrid, Region] | None = None

    @property
    def cells(self) -> Heatmap | None:
        """The newest answer of the pages; None: there is none."""
        return self._parts[-1].heatmap if self._parts else None

    @property
    def has_tail(self) -> bool:
        """Whether the live edge is shown."""
        return bool(self._tail)

    @property
    def sources(self) -> Sequence[Source]:
        """All that is drawn; a later one lies over those before."""
        return [*self._parts, *self._tail]

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme`; the cells stay on their dark ground."""
        self._ground = theme.panel
        self._forget()

    def reset(self) -> None:
        """Another market begins."""
        self._parts, self._tail, self.quantiser = [], [], None
        self.known = Known()
        self._forget()

    def set_part(self, part: HeatmapPart, exponent: int, *, is_first: bool) -> None:
        """Show an answer of the pages; it `is_first` if it is the first one to its wish."""
        if part.heatmap is None or not part.heatmap.values.size:
            return
        source = Source(part.heatmap, part.pending, exponent)
        if not is_first and self._parts:
            self._parts.pop()
        below = [] if part.is_complete else self._parts[-_KEPT:]
        self._parts = [*below, source]
        self._take_quantiser()
        self._forget()

    def set_tail(self, cells: Heatmap, exponent: int, changed_ms: float, *, is_whole: bool) -> None:
        """Show the live edge, which has changed since `changed_ms`.

        `cells` are all of it if they are `is_whole`, else those that lie over all of it.
        """
        if not cells.values.size:
            return
        source = Source(cells, exponent=exponent)
        self._tail = [source] if is_whole else [*self._tail[:1], source]
        self._take_quantiser()
        self._soil(changed_ms)

    def drop_tail(self) -> None:
        """Show no live edge."""
        if self._tail:
            self._tail = []
            self._forget()

    def set_known(self, known: Known) -> None:
        """Show up to which time there is something, and where gaps are."""
        before, self.known = self.known, known
        ends = {"to_ms": before.to_ms, "read_ms": before.read_ms, "gaps": before.gaps}
        same = replace(known, **ends) == before
        if not same or known.gaps[: len(before.gaps)] != before.gaps:
            self._forget()
        elif known != before:
            changed = [min(before.to_ms, known.to_ms, before.read_ms, known.read_ms)]
            changed += [gap[0] for gap in known.gaps[len(before.gaps) :]]
            self._soil(min(changed))

    def set_tables(self, tables: Tables) -> None:
        """Show sizes in these colours."""
        had_hues, self.tables = self.tables.asks is not None, tables
        self._is_stale = True
        if had_hues is (tables.asks is None):
            self._forget()

    def histogram(self) -> Int64Array:
        """Return how many of the cells in sight have each byte."""
        if self._seen is None or self.quantiser is None:
            return np.zeros(256, np.int64)
        return self._plot().counts(*self._seen)

    def draw(self, painter: QPainter, plot: QRect, view: View, ratio: float) -> None:
        """Draw what `view` shows into `plot`, on a device with this pixel ratio."""
        width, height = max(1, round(plot.width() * ratio)), max(1, round(plot.height() * ratio))
        grid = PixelGrid.of(view, width, height)
        region = Region.of(view, grid, width, height)
        self._seen = grid, region
        self._paint(grid, region, ratio)
        held = self._held
        if held is None:
            return
        source = QRectF(region.left - held.left, held.top - region.top, width, height)
        painter.drawImage(QRectF(plot), self._image, source)

    def _paint(self, grid: PixelGrid, region: Region, ratio: float) -> None:
        """Bring the image to where it shows `region`."""
        held, before = self._held, self._codes
        if grid != self._grid:
            held = None
        if held is None or not held.holds(region):
            columns = max(_LEAST_MARGIN, region.width // _MARGIN)
            rows = max(_LEAST_MARGIN, region.height // _MARGIN)
            now = region.widened(columns, rows)
            common = None if held is None else now.common(held)
            self._allot(grid, now, is_new=common is None)
            if held is None or common is None:
                self._dirty_ms = None
                self._paint_region(grid, now, now, ratio)
            else:
                self._codes[_part(now, common)] = before[_part(held, common)]
                for part in _rest(now, common):
                    self._paint_region(grid, now, part, ratio)
            self._is_stale = True
        self._paint_dirty(grid, ratio)
        if self._is_stale:
            self._is_stale = False
            np.take(self._palette(), self._codes, out=self._pixels, mode="clip")

    def _paint_dirty(self, grid: PixelGrid, ratio: float) -> None:
        held, from_ms = self._held, self._dirty_ms
        if held is None or from_ms is None:
            return
        self._dirty_ms = None
        left = max(held.left, grid.column(from_ms) - 1)
        if left < held.right:
            part = Region(left, held.right, held.bottom, held.top)
            self._paint_region(grid, held, part, ratio)
            if not self._is_stale:
                spot = _part(held, part)
                self._pixels[spot] = self._palette()[self._codes[spot]]

    def _allot(self, grid: PixelGrid, held: Region, *, is_new: bool) -> None:
        """Have codes for `held`; if all of it is painted anew, those that there are."""
        self._grid, self._held = grid, held
        size = held.height, held.width
        if is_new and self._codes.shape == size:
            return
        # New memory takes longer than to paint it, so two arrays take turns.
        self._codes, self._spare = self._spare, self._codes
        if self._codes.shape != size:
            self._codes = np.empty(size, np.uint16)
        if self._pixels.shape != size:
            self._pixels = np.empty(size, np.uint32)
            self._image = QImage(
                self._pixels.data, size[1], size[0], 4 * size[1], QImage.Format.Format_RGB32
            )

    def _paint_region(self, grid: PixelGrid, held: Region, part: Region, ratio: float) -> None:
        """Paint the codes of `part` of what is held: the cells, and over them the best prices."""
        plot, spot = self._plot(), self._codes[_part(held, part)]
        plot.paint(spot, grid, part)
        plot.paint_best(spot, grid, part, max(1, round(_LINE * ratio)))

    def _palette(self) -> ColourTable:
        lines = (DARK.bid, DARK.ask, DARK.panel)
        return self.tables.palette(self._ground.rgb(), *(colour.rgb() for colour in lines))

    def _plot(self) -> Plot:
        quantiser = self.quantiser or Quantiser(1.0)
        has_hues = self.tables.asks is not None
        return Plot(self.sources, self.known, quantiser, has_hues=has_hues)

    def _take_quantiser(self) -> None:
        quantiser = fitting_quantiser(self.sources, self.quantiser)
        if quantiser != self.quantiser:
            self.quantiser = quantiser
            self._forget()

    def _forget(self) -> None:
        self._grid = None

    def _soil(self, from_ms: float) -> None:
        dirty = self._dirty_ms
        self._dirty_ms = from_ms if dirty is None else min(dirty, from_ms)


def _part(held: Region, part: Region) -> tuple[slice, slice]:
    """Return where `part` is in the pixels of `held`."""
    return (
        slice(held.top - part.top, held.top - part.bottom),
        slice(part.left - held.left, part.right - held.left),
    )


def _rest(whole: Region, common: Region) -> list[Region]:
    """Return the parts of `whole` that are not in `common`."""
    parts = [
        Region(whole.left, common.left, whole.bottom, whole.top),
        Region(common.right, whole.right, whole.bottom, whole.top),
        Region(common.left, common.right, whole.bottom, common.bottom),
        Region(common.left, common.right, common.top, whole.top),
    ]
    return [part for part in parts if part.width > 0 and part.height > 0]
