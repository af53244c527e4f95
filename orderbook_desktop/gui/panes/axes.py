"""The parts that charts share: price range, round ticks, the plot's place, and drawn axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from orderbook_desktop.gui.number_font import NumberMetrics
from orderbook_desktop.gui.theme import Theme

_DEAD_BAND: Final = 0.06
_TAG_PADDING: Final = 5


def round_step(span: float, at_most: int) -> int:
    """Return the finest round step of which at most `at_most` fit in `span`.

    Round is 1, 2 or 5 times a power of ten. A step is a whole number of units, at least 1.
    """
    wanted = max(1.0, span / max(1, at_most))
    power: int = 10 ** math.floor(math.log10(wanted))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted)


def next_round_step(step: int) -> int:
    """Return the step after `step` in 1, 2, 5, 10, 20 and so on."""
    return step * 5 // 2 if str(step)[0] == "2" else step * 2


def ticks_between(low: float, high: float, step: int) -> range:
    """Return the multiples of `step` from `low` to `high`, inclusive."""
    return range(math.ceil(low / step) * step, math.floor(high / step) * step + 1, step)


@dataclass(slots=True)
class PriceView:
    """The range of prices in view, in price units: `centre` ± `half_span`.

    The range follows the mid with a dead band, so that small moves of the price don't move the
    picture. `chosen_share` is the half span that the person chose, as a share of the mid; None is
    the automatic range. `panned` is true after the person has moved the range off the mid.
    """

    chosen_share: float | None = None
    centre: float = 0.0
    half_span: float = 0.0
    panned: bool = False

    @property
    def low(self) -> float:
        """The lowest price in view."""
        return self.centre - self.half_span

    @property
    def high(self) -> float:
        """The highest price in view."""
        return self.centre + self.half_span

    def follow(self, mid: float, natural: float) -> None:
        """Follow the mid to `mid`; the automatic range is `mid` ± about `natural`."""
        if self.chosen_share is not None:
            self.half_span = max(1.0, self.chosen_share * mid)
        elif not natural / 1.6 <= self.half_span <= natural * 1.6:
            self.half_span = max(1.0, natural)
        if not self.panned and abs(mid - self.centre) > _DEAD_BAND * self.half_span:
            self.centre = mid

    def zoom(self, factor: float, mid: float, narrowest: float) -> None:
        """Show `factor` times the range, keeping the mid where it is on screen.

        `narrowest` is the least half span, in price units.
        """
        if mid <= 0 or self.half_span <= 0:
            return
        wanted = min(max(self.half_span * factor, narrowest), mid)
        self.centre = mid + (self.centre - mid) * wanted / self.half_span
        self.half_span = wanted
        self.chosen_share = wanted / mid

    def pan(self, share: float) -> None:
        """Move by `share` of the width towards higher prices."""
        self.centre += share * 2 * self.half_span
        self.panned = True

    def reset(self, *, keep_zoom: bool = False) -> None:
        """Follow the mid again, at the automatic range unless `keep_zoom`."""
        self.panned = False
        self.centre = 0.0
        if not keep_zoom:
            self.chosen_share = None
            self.half_span = 0.0


def scale_top(largest: float, before: float) -> float:
    """Return the top of a size axis for values up to `largest`; `before` is the present top.

    The top grows at once, with headroom. It shrinks only when the values need less than 60 % of
    it, so that the scale doesn't change with every event.
    """
    if 0 < 0.6 * before <= largest <= before:
        return before
    return largest * 1.12 if largest > 0 else 1.0


@dataclass(frozen=True, slots=True)
class PlotArea:
    """The rectangle that a chart draws in, in logical pixels, and the values at its edges."""

    rect: QRect
    low: float
    high: float
    top: float

    def x(self, price: float) -> float:
        """Return the x of a price."""
        return self.rect.left() + (price - self.low) / (self.high - self.low) * self.rect.width()

    def y(self, size: float) -> float:
        """Return the y of a size."""
        return self.rect.top() + self.rect.height() * (1 - size / self.top)

    def price_at(self, x: float) -> float:
        """Return the price at `x`."""
        return self.low + (x - self.rect.left()) / self.rect.width() * (self.high - self.low)


class AxisPainter:
    """Draws grid, labels and crosshair tags of a chart in one theme."""

    def __init__(self, theme: Theme, numbers: NumberMetrics) -> None:
        self._theme = theme
        self._numbers = numbers
        self._grid = QColor(theme.muted)
        self._grid.setAlphaF(0.16)

    @property
    def price_axis_height(self) -> int:
        """The height that the labels below the plot need, in logical pixels."""
        return round(self._numbers.height) + 8

    def size_axis_width(self, labels: Sequence[str]) -> int:
        """Return the width that `labels` beside the plot need, in logical pixels."""
        widest = max((self._numbers.width(label) for label in labels), default=0.0)
        return round(max(widest, 6 * self._numbers.digit)) + 2 * _TAG_PADDING + 4

    def price_ticks(self, area: PlotArea, finest: int, text: Callable[[int, int], str]) -> range:
        """Return the prices to label: as many as fit without touching each other.

        `finest` is the smallest step; `text(price, step)` returns a label of an axis of that step.
        """
        per_pixel = (area.high - area.low) / area.rect.width()
        gap = 8 * self._numbers.digit
        # A tick size need not be round, and labels at its multiples would not be round either.
        step = round_step(max(finest, gap * per_pixel), 1)
        while self._numbers.width(text(math.ceil(area.high), step)) + gap > step / per_pixel:
            step = next_round_step(step)
        return ticks_between(max(area.low, 1), area.high, step)

    def size_ticks(self, height: int, top: float) -> range:
        """Return the sizes to label on an axis `height` pixels high that ends at `top`."""
        step = round_step(top, max(1, int(height // (3.2 * self._numbers.height))))
        return ticks_between(0, top, step)

    def draw_price_axis(
        self, painter: QPainter, area: PlotArea, ticks: range, text: Callable[[int], str]
    ) -> None:
        """Draw the price grid and the labels below the plot."""
        rect = area.rect
        baseline = self._numbers.baseline(rect.bottom() + 1, self.price_axis_height)
        painter.setFont(self._numbers.font)
        for tick in ticks:
            x, label = round(area.x(tick)), text(tick)
            painter.fillRect(x, rect.top(), 1, rect.height(), self._grid)
            left = x - self._numbers.width(label) / 2
            if rect.left() <= left and left + self._numbers.width(label) <= rect.right():
                painter.setPen(self._theme.muted)
                painter.drawText(QPointF(left, baseline), label)

    def draw_size_axis(
        self, painter: QPainter, area: PlotArea, ticks: range, text: Callable[[int], str]
    ) -> None:
        """Draw the size grid and the labels right of the plot."""
        rect = area.rect
        painter.setFont(self._numbers.font)
        for tick in ticks:
            y = round(area.y(tick))
            if tick:
                painter.fillRect(rect.left(), y, rect.width(), 1, self._grid)
            top = y - self._numbers.height / 2
            if rect.top() <= top and tick:
                baseline = self._numbers.baseline(top, self._numbers.height)
                painter.setPen(self._theme.muted)
                painter.drawText(QPointF(rect.right() + _TAG_PADDING + 4, baseline), text(tick))

    def draw_frame(self, painter: QPainter, rect: QRect) -> None:
        """Draw the bottom edge and the right edge of the plot."""
        painter.fillRect(rect.left(), rect.bottom() + 1, rect.width() + 1, 1, self._theme.line)
        painter.fillRect(rect.right() + 1, rect.top(), 1, rect.height() + 1, self._theme.line)

    def draw_crosshair(
        self, painter: QPainter, area: PlotArea, at: QPointF, price: str, size: str
    ) -> None:
        """Draw the crosshair's lines and its tags on both axes."""
        rect = area.rect
        painter.setPen(QPen(self._theme.muted, 1, Qt.PenStyle.DashLine))
        painter.drawLine(round(at.x()), rect.top(), round(at.x()), rect.bottom())
        painter.drawLine(rect.left(), round(at.y()), rect.right(), round(at.y()))
        width = self._numbers.width(price) + 2 * _TAG_PADDING
        left = min(max(at.x() - width / 2, rect.left()), rect.right() - width)
        self._tag(painter, left, rect.bottom() + 3, price)
        height = self._numbers.height + 4
        top = min(max(at.y() - height / 2, rect.top()), rect.bottom() - height)
        self._tag(painter, rect.right() + 4, top, size)

    def _tag(self, painter: QPainter, left: float, top: float, text: str) -> None:
        width, height = self._numbers.width(text) + 2 * _TAG_PADDING, self._numbers.height + 4
        box = QRect(round(left), round(top), round(width), round(height))
        painter.fillRect(box, self._theme.text)
        painter.setPen(self._theme.panel)
        baseline = self._numbers.baseline(box.top(), height)
        painter.drawText(QPointF(left + _TAG_PADDING, baseline), text)
