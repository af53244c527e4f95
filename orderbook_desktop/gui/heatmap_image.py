"""A heatmap as one image: its pixels, axes, legend, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QFont, QFontDatabase, QImage, QImageWriter, QPainter, QPen

from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.colours import (
    FIRST_SIZE,
    GAP_BYTE,
    UNKNOWN_BYTE,
    ColourTable,
    colour_table,
)
from orderbook_desktop.core.heatmap.picture import (
    Frame,
    Pixels,
    Quantiser,
    ask_pixels,
    cell_bytes,
    coloured,
    framed,
    partly_known,
    placed,
    usual_cut_offs,
)
from orderbook_desktop.core.number_format import axis_text
from orderbook_desktop.core.time_text import clock_text, date_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.axes import next_round_step, round_step, ticks_between
from orderbook_desktop.gui.theme import DARK

NAMES: Final = {
    Statistic.MAX: "largest size in each cell",
    Statistic.LAST: "size at the end of each column",
    Statistic.INTEGRAL: "size times seconds in each cell",
}
"""What the legend calls a statistic."""

_TOP, _RIGHT, _BOTTOM, _LEFT = 48, 96, 58, 12
_TEXT_PIXELS: Final = 13
_LEGEND_WIDTH: Final = 180
_LABEL_EVERY: Final = 120
_LINE, _RIM = 1.6, 4.0
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
    """What is written beside a heatmap: its `title`, its `source`, and the assets' names."""

    title: str
    source: str
    base: str
    quote: str


class HeatmapImage:
    """Draws `heatmap` within `low` to `high` (its price units), `width` by `height` pixels.

    `uncovered` are the times in which the book is not known, and `gaps` say why. It needs a
    `QGuiApplication`.
    """

    def __init__(
        self,
        heatmap: Heatmap,
        prices: tuple[int, int],
        uncovered: Sequence[tuple[int, int]],
        gaps: Sequence[Gap],
        size: tuple[int, int],
        colours: ColourMap,
    ) -> None:
        self._heatmap, self._uncovered, self._gaps = heatmap, uncovered, gaps
        self._width, self._height = size
        self._plot = QRect(_LEFT, _TOP, size[0] - _LEFT - _RIGHT, size[1] - _TOP - _BOTTOM)
        from_ms, to_ms = int(heatmap.times_ms[0]), heatmap.to_ms
        self._frame = Frame(from_ms, to_ms, *prices, self._plot.width(), self._plot.height())
        self._quantiser = Quantiser.of(heatmap.values)
        cells = cell_bytes(heatmap, self._quantiser)
        self._cut_offs = usual_cut_offs(cells)
        self._tables = tuple(
            colour_table(colours, *self._cut_offs, asks=asks) for asks in (False, True)
        )
        self._pixels = framed(heatmap, cells, self._frame, uncovered)
        self._has_hues = colours is ColourMap.TWO_HUES
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
            painter.drawImage(self._plot.topLeft(), _image_of(self._colours()))
            painter.setFont(self._numbers.font)
            self._draw_best(painter)
            self._draw_times(painter)
            self._draw_prices(painter, labels.quote)
            self._draw_causes(painter)
            self._draw_legend(painter, labels)
            painter.setPen(DARK.muted)
            painter.drawText(QPointF(_LEFT, self._height - 10), labels.source)
        return image

    def _colours(self) -> Pixels:
        partly = placed(partly_known(self._heatmap), self._heatmap, self._frame)
        bids, asks = (coloured(self._pixels, table, partly) for table in self._tables)
        if not self._has_hues:
            return bids
        return np.where(ask_pixels(self._heatmap, self._frame), asks, bids)

    def _draw_best(self, painter: QPainter) -> None:
        """Draw the best bid and offer of each column, as lines that gaps interrupt."""
        columns, bin_ms = self._heatmap.columns, self._heatmap.bin_ms
        painter.save()
        painter.setClipRect(self._plot)
        lines = [(columns.best_bids, DARK.bid), (columns.best_asks, DARK.ask)]
        # A dark rim sets a line off from cells of its colour.
        passes = [(prices, DARK.panel, _RIM) for prices, _ in lines]
        for prices, colour, width in [*passes, *((*line, _LINE) for line in lines)]:
            painter.setPen(QPen(colour, width))
            shown = (prices >= 0) & (columns.covered_ms == np.minimum(bin_ms, self._widths()))
            before: QPointF | None = None
            for start, price, is_shown in zip(
                columns.starts_ms.tolist(), prices.tolist(), shown.tolist(), strict=True
            ):
                if not is_shown:
                    before = None
                    continue
                left, right = (self._at(time, price) for time in (start, start + bin_ms))
                if before is not None:
                    painter.drawLine(before, left)
                painter.drawLine(left, right)
                before = right
        painter.restore()

    def _widths(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.diff(self._heatmap.times_ms, append=self._heatmap.to_ms)

    def _at(self, time_ms: int, price: int) -> QPointF:
        return QPointF(_LEFT + self._frame.x(time_ms), _TOP + self._frame.y(price))

    def _draw_times(self, painter: QPainter) -> None:
        frame = self._frame
        finest = (frame.to_ms - frame.from_ms) * _LABEL_EVERY / frame.width
        step = next((one for one in _TIME_STEPS if one >= finest), _TIME_STEPS[-1])
        top = self._plot.bottom() + 1
        for time in ticks_between(frame.from_ms, frame.to_ms, step):
            x = _LEFT + frame.x(time)
            painter.fillRect(QRectF(x, top, 1, 5), DARK.muted)
            text = _time_label(time, step)
            painter.setPen(DARK.text)
            painter.drawText(
                QPointF(x - self._numbers.width(text) / 2, top + 8 + self._numbers.ascent), text
            )

    def _draw_prices(self, painter: QPainter, quote: str) -> None:
        frame, exponent = self._frame, self._heatmap.scale.price
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
        for gap in self._gaps:
            left, right = (self._frame.x(time) for time in (gap.from_ms, gap.to_ms))
            short = f"gap, {(gap.to_ms - gap.from_ms) / _SECOND:,.3f} s"
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
        name = NAMES[self._heatmap.statistic]
        painter.drawText(QPointF(_LEFT, 38), f"{name}, {self._unit(labels.base)}")
        right = float(self._width - _LEFT)
        for text, byte in (("not known", UNKNOWN_BYTE), ("gap", GAP_BYTE)):
            right -= self._numbers.width(text)
            painter.drawText(QPointF(right, 38), text)
            right -= 30
            swatch = coloured(np.full((12, 24), byte, np.uint8), self._tables[0])
            painter.drawImage(QPointF(right, 27), _image_of(swatch))
            right -= 14
        low, high = (self._size_text(byte) for byte in self._cut_offs)
        right -= self._numbers.width(high)
        painter.drawText(QPointF(right, 38), high)
        right -= _LEGEND_WIDTH + 6
        self._draw_ramp(painter, QPointF(right, 27))
        painter.drawText(QPointF(right - 6 - self._numbers.width(low), 38), low)

    def _draw_ramp(self, painter: QPainter, at: QPointF) -> None:
        """Draw the colours from one cut-off to the other; of two hues, one above the other."""
        low, high = self._cut_offs
        ramp = np.linspace(max(low, FIRST_SIZE), high, _LEGEND_WIDTH).astype(np.uint8)
        rows = [self._ramp_row(ramp, table) for table in self._tables]
        count = 6 if self._has_hues else 12
        painter.drawImage(at, _image_of(np.repeat(np.stack(rows), [count, 12 - count], axis=0)))

    @staticmethod
    def _ramp_row(ramp: np.ndarray[tuple[int], np.dtype[np.uint8]], table: ColourTable) -> Pixels:
        return table[ramp]

    def _size_text(self, byte: int) -> str:
        size = self._quantiser.size_of(byte) / 10**self._heatmap.scale.quantity
        if self._heatmap.statistic is Statistic.INTEGRAL:
            size /= _SECOND
        return f"{size:,.3g}" if size < 1000 else f"{size:,.0f}"

    def _unit(self, base: str) -> str:
        return f"{base} x s" if self._heatmap.statistic is Statistic.INTEGRAL else base


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


def _time_label(time_ms: int, step: int) -> str:
    if step >= _DAY:
        return date_text(time_ms)
    text = clock_text(time_ms)
    return text[:5] if step >= _MINUTE else text[:8] if step >= _SECOND else text
