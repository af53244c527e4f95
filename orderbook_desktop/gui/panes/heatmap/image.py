"""A heatmap as one image: its pixels, axes, legend, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Final

import numpy as np
from msgspec import Struct
from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QFont, QFontDatabase, QImage, QImageWriter, QPainter

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.colours import FIRST_SIZE
from orderbook_desktop.core.heatmap.cut_offs import ColourChoice, CutOffScale, Shades
from orderbook_desktop.core.heatmap.picture import Pixels, Quantiser
from orderbook_desktop.core.heatmap.pixel_grid import PixelGrid, Region
from orderbook_desktop.core.heatmap.plot import Codes, Kind, Known, Plot, Tables, swatch
from orderbook_desktop.core.heatmap.sources import Source, fitting_quantiser
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.number_format import axis_text
from orderbook_desktop.core.time_text import clock_text, date_text, duration_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.axes import next_round_step, round_step, ticks_between
from orderbook_desktop.gui.theme import DARK

NAMES: Final = {
    Statistic.MAX: "largest size in each cell",
    Statistic.LAST: "size at the end of each column",
    Statistic.INTEGRAL: "mean size in each cell",
}
"""What the legend calls a statistic."""

_TOP, _RIGHT, _BOTTOM, _LEFT = 48, 96, 58, 12
_TEXT_PIXELS: Final = 13
_LEGEND_WIDTH: Final = 180
_LABEL_EVERY: Final = 120
_LINE: Final = 1
_SWATCH: Final = 12, 24
_ROW_EVERY: Final = 44
_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_TIME_STEPS: Final = (
    *(100, 200, 500),
    *(factor * _SECOND for factor in (1, 2, 5, 10, 15, 30)),
    *(factor * _MINUTE for factor in (1, 2, 5, 10, 15, 30)),
    *(factor * _HOUR for factor in (1, 2, 3, 6, 12)),
    *(factor * _DAY for factor in (1, 2, 7, 14, 30, 90, 365)),
)


class Labels(Struct, frozen=True):
    """What is written beside a heatmap: its `title`, its `source`, and the assets' names.

    Times are in `zone`; None: local.
    """

    title: str
    source: str
    base: str
    quote: str
    zone: tzinfo | None = None


class Shown(Struct, frozen=True, eq=False):
    """What a heatmap shows: `view` of `sources`, and `gaps` with their causes, in `shades`."""

    sources: Sequence[Source]
    known: Known
    gaps: Sequence[Gap]
    quantiser: Quantiser
    shades: Shades
    view: View

    @classmethod
    def of(
        cls,
        heatmap: Heatmap,
        prices: tuple[int, int],
        uncovered: Sequence[tuple[int, int]],
        gaps: Sequence[Gap],
        colours: ColourMap,
    ) -> Shown:
        """Return all times of `heatmap`, `prices` in its units, in the usual cut-offs.

        `uncovered` are the times in which the book is not known, and `gaps` say why.
        """
        begin, end = int(heatmap.times_ms[0]), heatmap.to_ms
        source = Source(heatmap)
        quantiser = fitting_quantiser([source], None)
        view = View(begin, end, *prices, heatmap.scale.price)
        known = Known(begin, end, end, tuple(uncovered))
        grid = PixelGrid.of(view, len(heatmap.times_ms), len(heatmap.prices))
        region = Region.of(view, grid, len(heatmap.times_ms), len(heatmap.prices))
        counts = Plot([source], known, quantiser).counts(grid, region)
        places = CutOffScale(counts, quantiser.base).places(ColourChoice())
        return cls([source], known, gaps, quantiser, Shades(colours, *places), view)

    @property
    def statistic(self) -> Statistic:
        """The statistic of the newest cells."""
        return self.sources[-1].heatmap.statistic if self.sources else Statistic.MAX


# Draws what lies over the cells.
Overlay = Callable[[QPainter, QRect], None]


class HeatmapImage:
    """Draws what is `shown` as an image of `size`, width and height in pixels.

    `overlay` draws over the cells. It needs a `QGuiApplication`.
    """

    def __init__(self, shown: Shown, size: tuple[int, int], overlay: Overlay | None = None) -> None:
        self._shown, self._overlay = shown, overlay
        self._width, self._height = size
        self._plot = QRect(_LEFT, _TOP, size[0] - _LEFT - _RIGHT, size[1] - _TOP - _BOTTOM)
        view = shown.view
        self._frame = view.frame(self._plot.width(), self._plot.height())
        self._tables = Tables(*shown.shades.tables)
        lines = (DARK.panel, DARK.bid, DARK.ask, DARK.panel)
        self._palette = self._tables.palette(*(colour.rgb() for colour in lines))
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
        font.setPixelSize(_TEXT_PIXELS)
        self._numbers = NumberMetrics(number_font(font))
        self._title_font = QFont(font)
        self._title_font.setBold(True)

    def draw(self, labels: Labels) -> QImage:
        """Return the image."""
        image = QImage(self._width, self._height, QImage.Format.Format_RGB32)
        image.fill(DARK.panel)
        image.setText("Title", labels.title)
        image.setText("Source", labels.source)
        with QPainter(image) as painter:
            painter.drawImage(self._plot.topLeft(), _image_of(self._palette[self._codes()]))
            if self._overlay is not None:
                painter.save()
                painter.setClipRect(self._plot)
                self._overlay(painter, self._plot)
                painter.restore()
            painter.setFont(self._numbers.font)
            self._draw_times(painter, labels.zone)
            self._draw_prices(painter, labels.quote)
            self._draw_causes(painter)
            self._draw_legend(painter, labels)
            painter.setPen(DARK.muted)
            painter.drawText(QPointF(_LEFT, self._height - 10), labels.source)
        return image

    def _codes(self) -> Codes:
        shown, width, height = self._shown, self._plot.width(), self._plot.height()
        grid = PixelGrid.of(shown.view, width, height)
        region = Region.of(shown.view, grid, width, height)
        has_hues = self._tables.asks is not None
        plot = Plot(shown.sources, shown.known, shown.quantiser, has_hues=has_hues)
        codes = np.empty((height, width), np.uint16)
        plot.paint(codes, grid, region)
        plot.paint_best(codes, grid, region, _LINE)
        return codes

    def _draw_times(self, painter: QPainter, zone: tzinfo | None) -> None:
        frame = self._frame
        finest = (frame.to_ms - frame.from_ms) * _LABEL_EVERY / frame.width
        step = next((one for one in _TIME_STEPS if one >= finest), _TIME_STEPS[-1])
        top = self._plot.bottom() + 1
        for time in ticks_between(frame.from_ms, frame.to_ms, step):
            x = _LEFT + frame.x(time)
            painter.fillRect(QRectF(x, top, 1, 5), DARK.muted)
            text = _time_label(time, step, zone)
            painter.setPen(DARK.text)
            painter.drawText(
                QPointF(x - self._numbers.width(text) / 2, top + 8 + self._numbers.ascent), text
            )

    def _draw_prices(self, painter: QPainter, quote: str) -> None:
        frame, exponent = self._frame, self._shown.view.exponent
        step = round_step(frame.high - frame.low, max(2, self._plot.height() // _ROW_EVERY))
        while (frame.high - frame.low) / step > self._plot.height() / _ROW_EVERY:
            step = next_round_step(step)
        left = self._plot.right() + 1
        for price in ticks_between(frame.low, frame.high, step):
            y = _TOP + frame.y(price)
            painter.fillRect(QRectF(left, y, 5, 1), DARK.muted)
            painter.setPen(DARK.text)
            baseline = self._numbers.baseline(y - self._numbers.height / 2, self._numbers.height)
            painter.drawText(QPointF(left + 9, baseline), axis_text(price, exponent, step))
        painter.setPen(DARK.muted)
        painter.drawText(QPointF(left + 9, self._height - 10), quote)

    def _draw_causes(self, painter: QPainter) -> None:
        """Write the length of each gap into it, and its cause, where they fit."""
        for gap in self._shown.gaps:
            ends = gap.from_ms, min(gap.to_ms, self._shown.known.to_ms)
            left, right = (self._frame.x(time) for time in ends)
            left, right = max(left, 0.0), min(right, float(self._plot.width()))
            short = f"gap, {duration_text(gap.to_ms - gap.from_ms)}"
            for text in (f"{short}: {gap.cause.sentence}", short):
                width = self._numbers.width(text) + 12
                if width <= right - left:
                    box = QRectF(_LEFT + left + 4, _TOP + 6, width, self._numbers.height + 6)
                    painter.fillRect(box, DARK.panel)
                    painter.setPen(DARK.text)
                    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
                    break

    def _draw_legend(self, painter: QPainter, labels: Labels) -> None:
        painter.setPen(DARK.text)
        painter.setFont(self._title_font)
        painter.drawText(QPointF(_LEFT, 20), labels.title)
        painter.setFont(self._numbers.font)
        painter.setPen(DARK.muted)
        name = NAMES[self._shown.statistic]
        painter.drawText(QPointF(_LEFT, 38), f"{name}, {labels.base}")
        right = float(self._width - _LEFT)
        for text, kind in (("not known", Kind.CELLS), ("gap", Kind.GAP)):
            right -= self._numbers.width(text)
            painter.drawText(QPointF(right, 38), text)
            right -= 30
            codes = swatch(kind, *_SWATCH)
            painter.drawImage(QPointF(right, 27), _image_of(self._palette[codes]))
            right -= 14
        low, high = (self._size_text(place) for place in self._places)
        right -= self._numbers.width(high)
        painter.drawText(QPointF(right, 38), high)
        right -= _LEGEND_WIDTH + 6
        self._draw_ramp(painter, QPointF(right, 27))
        painter.drawText(QPointF(right - 6 - self._numbers.width(low), 38), low)

    @property
    def _places(self) -> tuple[float, float]:
        return self._shown.shades.low, self._shown.shades.high

    def _draw_ramp(self, painter: QPainter, at: QPointF) -> None:
        """Draw the colours from one cut-off to the other; of two hues, one above the other."""
        low, high = self._places
        ramp = np.linspace(max(low, FIRST_SIZE), high, _LEGEND_WIDTH).astype(np.uint8)
        bids, asks = self._tables.cells, self._tables.asks
        half = _SWATCH[0] // 2
        rows = [bids[ramp]] * half + [(bids if asks is None else asks)[ramp]] * half
        painter.drawImage(at, _image_of(np.stack(rows)))

    def _size_text(self, place: float) -> str:
        scale = CutOffScale(np.zeros(1, np.int64), self._shown.quantiser.base)
        size = scale.size_at(place)
        return f"{size:,.3g}" if size < 1000 else f"{size:,.0f}"


def image_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of an image whose plot has so many pixels."""
    return width + _LEFT + _RIGHT, height + _TOP + _BOTTOM


def png_of(image: QImage) -> bytes:
    """Return `image` as a PNG file."""
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, QByteArray(b"png")).write(image)
    return bytes(buffer.data().data())


def _image_of(colours: Pixels) -> QImage:
    height, width = colours.shape
    data = np.ascontiguousarray(colours).tobytes()
    return QImage(data, width, height, 4 * width, QImage.Format.Format_RGB32).copy()


def _time_label(time_ms: int, step: int, zone: tzinfo | None) -> str:
    if step >= _DAY:
        return date_text(time_ms, zone)
    text = clock_text(time_ms, zone)
    return text[:5] if step >= _MINUTE else text[:8] if step >= _SECOND else text
