"""Draws the coverage bar of a replay.

What stands still is one picture, made column by column of pixels, so that thousands of gaps cost no
more than one. Shape tells what a colour tells: what is known is a high bar, a quiet stretch a low
one, and a gap is hatched.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Final, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QFont, QFontMetrics, QImage, QPainter, QPen, QPixmap, QPolygonF

from orderbook_desktop.core.coverage_bar import Columns, CoverageMap, Span
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.time_axis import axis_ticks
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.hatching import Hatching
from orderbook_desktop.gui.theme import Theme, blend

_Value = TypeVar("_Value", bound=np.generic)
MARGIN: Final = 10
_TILE_SHARE: Final = 0.45
_QUIET_FROM: Final = 0.62
# A gap that is narrower than a column is a mark of this share of the height, at least.
_LEAST_MARK: Final = 0.45
_LEAST_WIDTH: Final = 2
# What is known stays in sight beside a gap, however short it is.
_MOST_MARK: Final = 0.72
_FULL: Final = 0.999


class Rows(Struct, frozen=True):
    """The y coordinates of the bar's rows: marks, the book's band, the trades' strip, the axis."""

    marks: int
    band: int
    trades: int
    axis: int
    end: int


class Still(Struct, frozen=True):
    """What the picture of all that stands still shows: `span` of `whole`, `width` pixels wide."""

    span: Span
    whole: Span
    width: int
    ratio: float
    loop: tuple[int | None, int | None]
    zone: tzinfo | None

    @property
    def room(self) -> int:
        """The width of the bar itself."""
        return max(1, self.width - 2 * MARGIN)

    def x_of(self, at_ns: int) -> float | None:
        """Return the x coordinate of a time; None: it is not on screen."""
        share = self.span.share_of(at_ns)
        return MARGIN + share * self.room if self.span.holds(at_ns) else None


class CoveragePainter:
    """Draws a coverage bar in one theme and font."""

    def __init__(self, theme: Theme, font: QFont) -> None:
        self._theme = theme
        self._font = font
        self._metrics = QFontMetrics(font)
        self._numbers = NumberMetrics(number_font(font))
        self._hatching = Hatching(theme)
        unit = self._numbers.height
        marks = 3
        band = marks + round(unit * 0.62)
        trades = band + round(unit * 0.95) + 1
        axis = trades + max(4, round(unit * 0.28)) + 3
        self.rows = Rows(marks, band, trades, axis, axis + round(unit) + 3)

    def picture(self, still: Still, coverage: CoverageMap) -> QPixmap:
        """Return the picture of all that stands still."""
        theme, rows, ratio = self._theme, self.rows, still.ratio
        made = QPixmap(round(still.width * ratio), round(rows.end * ratio))
        made.setDevicePixelRatio(ratio)
        made.fill(theme.window)
        columns = coverage.columns(still.span, max(1, round(still.room * ratio)))
        with QPainter(made) as painter:
            tile = self._hatching.tile(theme.tint(theme.caution, _TILE_SHARE), ratio)
            for top, end, drawn in (
                (rows.band, rows.trades - 1, self._band(columns, ratio)),
                (rows.trades, rows.axis - 3, self._strip(columns, ratio)),
            ):
                painter.drawTiledPixmap(QRect(MARGIN, top, still.room, end - top), tile)
                painter.drawPixmap(MARGIN, top, drawn)
            self._draw_axis(painter, still)
            self._draw_loop(painter, still)
            self._draw_bookmarks(painter, still, coverage)
            if still.span != still.whole:
                self._draw_part(painter, still)
            if coverage.coverage.is_growing and still.span.to_ns == still.whole.to_ns:
                self._draw_growth(painter, still)
        return made

    def draw_clock(self, painter: QPainter, x: float | None, target_x: float | None) -> None:
        """Draw the position, and as a dotted line what is being sought."""
        theme, rows = self._theme, self.rows
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if target_x is not None:
            painter.setPen(QPen(theme.replay, 1.5, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(target_x, rows.band - 2), QPointF(target_x, rows.axis - 1))
        if x is None:
            return
        wide = max(5.0, self._numbers.height * 0.34)
        top = rows.band - 2.0
        painter.setPen(QPen(theme.window, 1))
        painter.setBrush(theme.replay)
        painter.drawPolygon(
            QPolygonF(
                [
                    *(QPointF(x - wide, top - wide), QPointF(x + wide, top - wide)),
                    *(QPointF(x + 1.5, top), QPointF(x + 1.5, rows.axis - 1)),
                    *(QPointF(x - 1.5, rows.axis - 1), QPointF(x - 1.5, top)),
                ]
            )
        )

    def draw_message(
        self, painter: QPainter, message: str, width: int, *, at_left: bool = False
    ) -> None:
        """Draw a sentence at one side, in place of the times."""
        rows = self.rows
        text = self._metrics.elidedText(message, Qt.TextElideMode.ElideRight, width - 40)
        wide = self._metrics.horizontalAdvance(text) + 12
        left = MARGIN if at_left else width - wide - MARGIN
        box = QRectF(left, rows.axis, wide, rows.end - rows.axis)
        painter.fillRect(box, self._theme.raised)
        painter.setFont(self._font)
        painter.setPen(self._theme.text)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def draw_hover(self, painter: QPainter, x: float, text: str, width: int) -> None:
        """Draw the time under the mouse."""
        theme, rows = self._theme, self.rows
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
        painter.fillRect(QRectF(round(x), rows.band, 1, rows.axis - rows.band), theme.text)
        wide = self._numbers.width(text) + 10
        left = max(0.0, min(x - wide / 2, width - wide))
        box = QRectF(left, rows.axis, wide, rows.end - rows.axis)
        painter.fillRect(box, theme.text)
        painter.setFont(self._numbers.font)
        painter.setPen(theme.window)
        painter.drawText(QPointF(left + 5, self._numbers.baseline(box.y(), box.height())), text)

    def _band(self, columns: Columns, ratio: float) -> QPixmap:
        """Return the book's band: see-through where a gap is, so that the hatching shows."""
        theme, rows = self._theme, self.rows
        height = round((rows.trades - 1 - rows.band) * ratio)
        y = np.arange(height)[:, np.newaxis]
        known = blend(theme.focus, theme.panel, 0.5).rgb()
        pixels = np.where(columns.has_cover, known, theme.panel.rgb()) + np.zeros_like(y)
        above = theme.tint(theme.focus, 0.12).rgb()
        pixels[columns.is_quiet & (y < height * _QUIET_FROM)] = above
        marked = np.maximum(columns.missing, _LEAST_MARK) * height
        marked[columns.missing > _FULL] = height
        most = np.where(columns.has_cover, _MOST_MARK * height, height)
        for right in range(_mark_width(ratio)):
            # A gap at the right edge keeps its first column.
            shown = _shifted(columns.has_gap, right), _shifted(marked, right)
            pixels[shown[0] & (y < np.minimum(shown[1], most))] = 0
        return _pixmap_of(pixels, ratio)

    def _strip(self, columns: Columns, ratio: float) -> QPixmap:
        """Return the trades' strip: see-through where trades are missing."""
        theme, rows = self._theme, self.rows
        known = blend(theme.focus, theme.panel, 0.28).rgb()
        is_recorded = columns.has_cover | columns.has_gap
        row = np.where(is_recorded, known, theme.panel.rgb())
        for right in range(_mark_width(ratio)):
            row[_shifted(columns.has_trade_gap, right)] = 0
        height = round((rows.axis - 3 - rows.trades) * ratio)
        return _pixmap_of(np.repeat(row[np.newaxis, :], height, axis=0), ratio)

    def _draw_axis(self, painter: QPainter, still: Still) -> None:
        theme, numbers, rows, span = self._theme, self._numbers, self.rows, still.span
        painter.setFont(numbers.font)
        baseline = numbers.baseline(rows.axis, rows.end - rows.axis)
        most = max(1, int(still.room // (numbers.width("00:00:00.000") * 1.25)))
        free_from = 0.0
        times_ms = span.from_ns // NS_A_MS, span.to_ns // NS_A_MS
        for tick in axis_ticks(*times_ms, most, still.zone):
            x = still.x_of(tick.at_ms * NS_A_MS)
            if x is None:
                continue
            painter.fillRect(QRectF(round(x), rows.axis - 2, 1, 3), theme.muted)
            width = numbers.width(tick.text)
            left = max(2.0, min(x - width / 2, still.width - width - 2))
            if left >= free_from:
                painter.setPen(theme.muted)
                painter.drawText(QPointF(left, baseline), tick.text)
                free_from = left + width + 8

    def _draw_loop(self, painter: QPainter, still: Still) -> None:
        """Draw the loop's ends as letters, and what lies between as a line."""
        theme, rows, (begin_ns, end_ns) = self._theme, self.rows, still.loop
        if begin_ns is not None and end_ns is not None:
            x = still.x_of(max(begin_ns, still.span.from_ns))
            end = still.x_of(min(end_ns, still.span.to_ns))
            if x is not None and end is not None:
                middle = round((rows.marks + rows.band) / 2)
                painter.fillRect(QRectF(x, middle - 1, end - x, 2), theme.text)
        side = rows.band - rows.marks + 1
        letters = QFont(self._font)
        letters.setPixelSize(max(8, side - 1))
        letters.setWeight(QFont.Weight.Bold)
        painter.setFont(letters)
        for at_ns, letter in ((begin_ns, "A"), (end_ns, "B")):
            place = None if at_ns is None else still.x_of(at_ns)
            if place is None:
                continue
            left = place if letter == "A" else place - side
            box = QRectF(left, rows.marks - 2, side, side)
            painter.fillRect(
                QRectF(place - 0.5, rows.marks, 1.5, rows.trades - rows.marks), theme.text
            )
            painter.fillRect(box, theme.text)
            painter.setPen(theme.window)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, letter)

    def _draw_bookmarks(self, painter: QPainter, still: Still, coverage: CoverageMap) -> None:
        """Draw a flag for each bookmark; those of one pixel are one flag."""
        theme, rows = self._theme, self.rows
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.text)
        side = (rows.band - rows.marks) * 0.85
        shares = coverage.marks(still.span)
        for x in sorted({MARGIN + round(share * still.room) for share in shares}):
            painter.fillRect(QRectF(x, rows.marks, 1.5, rows.trades - rows.marks), theme.text)
            flag = (0.0, 0.0), (side, side * 0.4), (0.0, side * 0.8)
            corners = [QPointF(x + right, rows.marks + down) for right, down in flag]
            painter.drawPolygon(QPolygonF(corners))

    def _draw_growth(self, painter: QPainter, still: Still) -> None:
        """Draw dots after the end: the recording goes on."""
        rows = self.rows
        middle = round((rows.band + rows.trades) / 2) - 1
        for right in (2, 5, 8):
            painter.fillRect(still.width - MARGIN + right - 1, middle, 2, 2, self._theme.muted)

    def _draw_part(self, painter: QPainter, still: Still) -> None:
        """Draw at the very top which part of the recording is on screen."""
        painter.fillRect(QRectF(MARGIN, 0, still.room, 1), self._theme.line)
        left = still.whole.share_of(still.span.from_ns) * still.room
        width = max(3.0, still.span.length_ns / still.whole.length_ns * still.room)
        painter.fillRect(QRectF(MARGIN + left, 0, width, 2), self._theme.muted)


def _mark_width(ratio: float) -> int:
    return max(1, round(_LEAST_WIDTH * ratio))


def _shifted(values: NDArray[_Value], right: int) -> NDArray[_Value]:
    """Return `values` so many columns further to the right, with nothing to their left."""
    moved = np.zeros_like(values)
    moved[right:] = values[: len(values) - right]
    return moved


def _pixmap_of(pixels: NDArray[np.int64], ratio: float) -> QPixmap:
    """Return the picture of these colours, as `QColor.rgb()` has them; 0 is see-through."""
    lines = np.ascontiguousarray(pixels, np.uint32)
    height, width = lines.shape
    kind = QImage.Format.Format_ARGB32_Premultiplied
    made = QPixmap.fromImage(QImage(lines.data, width, height, 4 * width, kind))
    made.setDevicePixelRatio(ratio)
    return made
