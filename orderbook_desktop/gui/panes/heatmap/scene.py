"""The cells on screen as one image that is kept between frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace
from PySide6.QtCore import QPointF, QRect, QRectF
from PySide6.QtGui import QColor, QImage, QPainter, QPen, QPolygonF

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap
from orderbook_desktop.core.heatmap.colours import FIRST_SIZE, colour_table
from orderbook_desktop.core.heatmap.pages import HeatmapPart
from orderbook_desktop.core.heatmap.picture import Pixels, Quantiser
from orderbook_desktop.core.heatmap.pixel_grid import PixelGrid, Region
from orderbook_desktop.core.heatmap.plot import Known, Plot, Tables
from orderbook_desktop.core.heatmap.sources import Source, fitting_quantiser
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.gui.theme import DARK, Theme

# The image reaches so far beyond what is on screen, as a part of that, and in pixels at least.
_MARGIN: Final = 16
_LEAST_MARGIN: Final = 24
# Answers that lie below the newest one, and are seen where that has nothing yet.
_KEPT: Final = 2


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
        self._pixels: Pixels = np.zeros((0, 0), np.uint32)
        self._spare: Pixels = np.zeros((0, 0), np.uint32)
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

    def source_at(self, at_ms: float) -> tuple[Source, int] | None:
        """Return what is drawn at a time, and its column; None: no cells."""
        for source in reversed(self.sources):
            column = int(source.columns(np.array([float(at_ms)]))[0])
            if column >= 0:
                return source, column
        return None

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
        self.tables = tables
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
        held, before = self._held, self._pixels
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
                self._pixels[_part(now, common)] = before[_part(held, common)]
                for part in _rest(now, common):
                    self._paint_region(grid, now, part, ratio)
        if self._dirty_ms is not None and self._held is not None:
            left = max(self._held.left, grid.column(self._dirty_ms) - 1)
            self._dirty_ms = None
            if left < self._held.right:
                of = self._held
                part = Region(left, of.right, of.bottom, of.top)
                self._paint_region(grid, of, part, ratio)

    def _allot(self, grid: PixelGrid, held: Region, *, is_new: bool) -> None:
        """Have pixels for `held`; if all of it is painted anew, those that there are."""
        self._grid, self._held = grid, held
        size = held.height, held.width
        if is_new and self._pixels.shape == size:
            return
        # New memory takes longer than to paint it, so two arrays take turns.
        self._pixels, self._spare = self._spare, self._pixels
        if self._pixels.shape != size:
            self._pixels = np.empty(size, np.uint32)
        self._image = QImage(
            self._pixels.data,
            held.width,
            held.height,
            4 * held.width,
            QImage.Format.Format_RGB32,
        )

    def _paint_region(self, grid: PixelGrid, held: Region, part: Region, ratio: float) -> None:
        """Paint `part` of what is held: the cells, and over them the best prices."""
        plot = self._plot()
        plot.paint(self._pixels[_part(held, part)], grid, part, self.tables)
        with QPainter(self._image) as painter:
            painter.setClipRect(
                QRect(part.left - held.left, held.top - part.top, part.width, part.height)
            )
            painter.translate(-held.left, held.top)
            _draw_best(painter, plot, grid, part, ratio)

    def _plot(self) -> Plot:
        quantiser = self.quantiser or Quantiser(1.0)
        return Plot(self.sources, self.known, quantiser, self._ground.rgb())

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


def _draw_best(painter: QPainter, plot: Plot, grid: PixelGrid, part: Region, ratio: float) -> None:
    """Draw the best bid and offer as lines, which gaps interrupt.

    The painter's origin is column 0 and row 0. A dark rim sets a line off from cells of its colour.
    """
    # A line begins before the part, so that it joins what was painted before.
    wide = Region(part.left - 2, part.right + 2, part.bottom, part.top)
    lines: list[tuple[QPolygonF, QColor]] = []
    for stretch, _, source in plot.stretches(grid, wide):
        if source is None:
            continue
        best = source.best(source.columns(grid.times(stretch.left, stretch.right)))
        of_sides = zip(best, (DARK.bid, DARK.ask), (ratio, -ratio), strict=True)
        for prices, colour, off in of_sides:
            lines += [(line, colour) for line in _lines(prices, stretch.left, grid, off, part)]
    for width in (3.0, 1.4):
        for line, colour in lines:
            painter.setPen(QPen(DARK.panel if width > 2 else colour, width * ratio))
            painter.drawPolyline(line)


def _lines(
    prices: np.ndarray[tuple[int], np.dtype[np.float64]],
    left: int,
    grid: PixelGrid,
    off: float,
    part: Region,
) -> list[QPolygonF]:
    """Return the steps of prices, one for each column of pixels; negative: there is none.

    They lie `off` pixels lower, so that the lines of both sides can be told apart.
    """
    lines = []
    shown = prices >= 0
    # Far outside of the picture a number of pixels may be too large for Qt.
    y = np.rint(-(prices / grid.units)).clip(-part.top - 100, -part.bottom + 100) + off
    changes = np.flatnonzero((np.diff(y, prepend=np.nan) != 0) | (np.diff(shown, prepend=False)))
    points: list[QPointF] = []
    ends = [*changes[1:].tolist(), len(y)]
    for begin, end in zip(changes.tolist(), ends, strict=True):
        if shown[begin]:
            points.append(QPointF(left + begin, y[begin]))
            points.append(QPointF(left + end, y[begin]))
        elif points:
            lines.append(QPolygonF(points))
            points = []
    if points:
        lines.append(QPolygonF(points))
    return lines
