"""Draws the heatmap's axes, what is written into its gaps, and the last price."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter

from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.number_format import axis_text
from orderbook_desktop.core.time_axis import Tick, axis_ticks
from orderbook_desktop.core.time_text import date_text, duration_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.axes import next_round_step, round_step, ticks_between
from orderbook_desktop.gui.theme import DARK, Theme

_PADDING: Final = 6
_TICK: Final = 4
_LEAST_LABEL: Final = 9
# Labels of prices have at least so many times their height for themselves.
_ROWS: Final = 2.6


class Places(Struct, frozen=True):
    """Where the parts of the pane are, in logical pixels."""

    plot: QRect
    times: QRect
    prices: QRect


def x_of(view: View, plot: QRect, time_ms: float) -> float:
    """Return the x of a time."""
    return plot.left() + (time_ms - view.from_ms) / view.length_ms * plot.width()


def y_of(view: View, plot: QRect, price: float) -> float:
    """Return the y of a price, in units of the view."""
    return plot.top() + (view.high - price) / view.height * plot.height()


def time_at(view: View, plot: QRect, x: float) -> int:
    """Return the time at an x, in ms."""
    return view.from_ms + round((x - plot.left()) / plot.width() * view.length_ms)


def price_at(view: View, plot: QRect, y: float) -> int:
    """Return the price at a y, in units of the view."""
    return view.high - round((y - plot.top()) / plot.height() * view.height)


class HeatmapPainter:
    """Draws what stands around the cells, in one theme and font."""

    def __init__(self, theme: Theme, font: QFont) -> None:
        self._theme = theme
        self.numbers = NumberMetrics(number_font(font))

    @property
    def time_axis_height(self) -> int:
        """The height that the times below the plot need."""
        return round(self.numbers.height) + 8

    def price_axis_width(self, view: View | None, tick: int) -> int:
        """Return the width that the prices beside the plot need."""
        widest = 0.0
        if view is not None:
            step = max(tick, 1)
            ends = [view.low // step * step, view.high // step * step]
            widest = max(self.numbers.width(axis_text(end, view.exponent, 1)) for end in ends)
        return round(max(widest, 6 * self.numbers.digit)) + 2 * _PADDING + _TICK

    def draw_axes(
        self, painter: QPainter, places: Places, view: View, tick: int, zone: tzinfo | None
    ) -> None:
        """Draw both axes."""
        painter.setFont(self.numbers.font)
        self._draw_times(painter, places, view, zone)
        self._draw_prices(painter, places, view, tick)

    def draw_price_tag(
        self, painter: QPainter, places: Places, view: View, price: int, text: str, colour: QColor
    ) -> None:
        """Draw a price as a line through the plot, and its tag on the axis."""
        plot = places.plot
        if not view.low <= price <= view.high:
            return
        y = round(y_of(view, plot, price))
        line = QColor(colour)
        line.setAlphaF(0.7)
        for x in range(plot.left(), plot.right(), 6):
            painter.fillRect(x, y, 3, 1, line)
        height = self.numbers.height + 4
        top = min(max(y - height / 2, plot.top()), plot.bottom() + 1 - height)
        box = QRectF(places.prices.left() + 1, top, places.prices.width() - 1, height)
        # The rest of a label that is covered in part would be read as another number.
        reach = self.numbers.height / 2 - 1
        painter.fillRect(box.adjusted(_TICK, -reach, 0, reach), self._theme.panel)
        painter.fillRect(box, colour)
        painter.setPen(self._theme.on_accent)
        painter.setFont(self.numbers.font)
        baseline = self.numbers.baseline(box.top(), height)
        painter.drawText(QPointF(box.left() + _TICK + _PADDING - 1, baseline), text)

    def draw_gaps(
        self, painter: QPainter, places: Places, view: View, gaps: Iterable[Gap], to_ms: int
    ) -> None:
        """Write the cause and the length of each gap into it, where they fit."""
        plot = places.plot
        painter.setFont(self.numbers.font)
        for gap in gaps:
            left = max(float(plot.left()), x_of(view, plot, gap.from_ms))
            right = min(float(plot.right()), x_of(view, plot, min(gap.to_ms, to_ms)))
            room = QRectF(left + 4, plot.top() + 8, right - left - 8, plot.height() - 16)
            for text in gap_texts(gap, to_ms):
                if self._write(painter, room, text):
                    break

    def _write(self, painter: QPainter, room: QRectF, text: str) -> bool:
        """Write `text` at the top of `room`, in lines if need be; return whether it fits."""
        if room.width() < _LEAST_LABEL * self.numbers.digit:
            return False
        inner = room.adjusted(_PADDING, 3, -_PADDING, 0)
        flags = Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignHCenter
        box = painter.boundingRect(inner, flags, text)
        if box.width() > inner.width() or box.height() > inner.height():
            return False
        painter.fillRect(box.adjusted(-_PADDING, -3, _PADDING, 3), DARK.panel)
        painter.setPen(DARK.text)
        painter.drawText(box, flags, text)
        return True

    def _draw_times(
        self, painter: QPainter, places: Places, view: View, zone: tzinfo | None
    ) -> None:
        theme, numbers, area, plot = self._theme, self.numbers, places.times, places.plot
        painter.fillRect(area.left(), area.top(), area.width(), 1, theme.line)
        baseline = numbers.baseline(area.top() + 2, area.height() - 2)
        ticks = self._ticks(view, area.width(), zone)
        free_from = float(area.left())
        day = date_text(view.to_ms, zone)
        if ticks and all(tick.text.count(":") for tick in ticks):
            # Times of day alone do not say of which day.
            painter.setPen(theme.muted)
            painter.drawText(QPointF(area.left() + 4, baseline), day)
            free_from += 4 + numbers.width(day) + 10
        for tick in ticks:
            x = x_of(view, plot, tick.at_ms)
            painter.fillRect(QRectF(round(x), area.top(), 1, _TICK), theme.muted)
            width = numbers.width(tick.text)
            left = min(x - width / 2, area.right() - width)
            if left >= free_from:
                painter.setPen(theme.text)
                painter.drawText(QPointF(left, baseline), tick.text)
                free_from = left + width + 8

    def _ticks(self, view: View, width: int, zone: tzinfo | None) -> list[Tick]:
        """Return as many marks as have room for their texts."""
        ticks: list[Tick] = []
        for longest in ("00:00", "00:00:00", "00:00:00.000"):
            most = max(1, int(width // (self.numbers.width(longest) * 1.4 + 12)))
            ticks = axis_ticks(view.from_ms, view.to_ms, most, zone)
            if max((len(tick.text) for tick in ticks), default=0) <= len(longest):
                break
        return ticks

    def _draw_prices(self, painter: QPainter, places: Places, view: View, tick: int) -> None:
        theme, numbers, area, plot = self._theme, self.numbers, places.prices, places.plot
        painter.fillRect(area.left(), area.top(), 1, area.height(), theme.line)
        most = max(2, int(plot.height() // (_ROWS * numbers.height)))
        step = round_step(view.height, most)
        while step < tick:
            step = next_round_step(step)
        left = area.left() + _TICK + _PADDING
        painter.setPen(theme.text)
        for price in ticks_between(view.low, view.high, step):
            y = y_of(view, plot, price)
            painter.fillRect(QRectF(area.left() + 1, round(y), _TICK, 1), theme.muted)
            top = y - numbers.height / 2
            if plot.top() <= top and top + numbers.height <= plot.bottom() + 1:
                text = axis_text(price, view.exponent, step)
                painter.drawText(QPointF(left, numbers.baseline(top, numbers.height)), text)


def gap_texts(gap: Gap, to_ms: int) -> tuple[str, ...]:
    """Return what is said of a gap, the longest first; how long it is only once it is over."""
    if gap.to_ms > to_ms:
        return f"gap: {gap.cause.sentence}", "gap"
    length = duration_text(gap.to_ms - gap.from_ms)
    return f"gap of {length}: {gap.cause.sentence}", f"gap of {length}", "gap"
