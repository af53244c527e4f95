"""The parts that charts share: price range, round ticks, the plot's place, and drawn axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct
from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen, QPixmap

from orderbook_desktop.gui.number_font import NumberMetrics
from orderbook_desktop.gui.theme import Theme

_DEAD_BAND: Final = 0.06
# So much of the half span shows a curve, however far the person zooms or pans.
_KEPT_IN_VIEW: Final = 0.2
_TAG_PADDING: Final = 5
# Device pixels beside a text, which letters may reach into.
_MARGIN: Final = 2
# More pictures of labels and lines than are needed within minutes.
_KEPT_PICTURES: Final = 500
_KEPT_LINES: Final = 8


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


class PriceView(Struct):
    """The range of prices in view, in price units: `low` to `high`.

    By itself the range is the automatic one. After a zoom it follows the mid with a dead band, so
    that small moves of the price don't move the picture: the mid stays about where it is on screen.
    `chosen_share` is the half span that the person chose, as a share of the mid; None is the
    automatic range. `panned` is true after the person has moved the range; then it stands still.
    """

    chosen_share: float | None = None
    low: float = 0.0
    high: float = 0.0
    panned: bool = False
    # How far the centre is from the mid, in half spans.
    _offset: float = 0.0

    @property
    def centre(self) -> float:
        """The price in the middle of the range."""
        return (self.low + self.high) / 2

    @property
    def half_span(self) -> float:
        """Half of the range."""
        return (self.high - self.low) / 2

    def follow(self, mid: float, automatic: tuple[float, float]) -> None:
        """Follow the mid to `mid`; `automatic` is the lowest and highest price of that range."""
        if self.chosen_share is None and not self.panned:
            self.low, self.high = automatic
            return
        half = self.half_span
        if self.chosen_share is not None:
            half = max(1.0, self.chosen_share * mid)
        # A range that was never in use yet begins with the mid in its middle.
        centre = self.centre or mid
        wanted = centre if self.panned else mid + self._offset * half
        self._set(centre if abs(wanted - centre) <= _DEAD_BAND * half else wanted, half)

    def zoom(self, factor: float, at: float, mid: float, limits: tuple[float, float]) -> None:
        """Show `factor` times the range, keeping the price `at` where it is on screen.

        `limits` are the least and the greatest half span, in price units.
        """
        if mid <= 0 or self.half_span <= 0:
            return
        half = max(min(self.half_span * factor, limits[1]), limits[0])
        self._set(at + (self.centre - at) * half / self.half_span, half)
        self.chosen_share = half / mid
        self._offset = (self.centre - mid) / half

    def pan(self, share: float) -> None:
        """Move by `share` of the width towards higher prices."""
        self._set(self.centre + share * 2 * self.half_span, self.half_span)
        self.panned = True

    def keep_in_view(self, spans: Sequence[tuple[float, float]], mid: float) -> None:
        """Move as little as needed for a part of one of `spans` of prices to be in view."""
        if not spans or self.half_span <= 0:
            return
        margin = _KEPT_IN_VIEW * self.half_span
        moves = [
            max(0.0, first - (self.high - margin)) + min(0.0, last - (self.low + margin))
            for first, last in spans
        ]
        move = min(moves, key=abs)
        if move:
            self._set(self.centre + move, self.half_span)
            self._offset = (self.centre - mid) / self.half_span

    def reset(self, *, keep_zoom: bool = False) -> None:
        """Follow the mid again, at the automatic range unless `keep_zoom`."""
        self.panned = False
        self._offset = self.low = self.high = 0.0
        if not keep_zoom:
            self.chosen_share = None

    def _set(self, centre: float, half: float) -> None:
        # There are no prices below 0.
        centre = max(centre, half)
        self.low, self.high = centre - half, centre + half


def scale_top(largest: float, before: float) -> float:
    """Return the top of a size axis for values up to `largest`; `before` is the present top.

    The top grows at once, with headroom. It shrinks only when the values need less than 60 % of
    it, so that the scale doesn't change with every event.
    """
    if 0 < 0.6 * before <= largest <= before:
        return before
    return largest * 1.12 if largest > 0 else 1.0


class PlotArea(Struct, frozen=True):
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


class Placed(NamedTuple):
    """A picture, and the place of its upper left corner in logical pixels."""

    at: QPointF
    picture: QPixmap


class TextPictures:
    """Makes pictures of short texts in one font and colour on a plain ground.

    To lay a text out takes Qt many times as long as to copy a picture. The picture is opaque, so
    that its pixels are those of a text that is drawn on the ground.
    """

    def __init__(self, font: QFont, colour: QColor, ground: QColor) -> None:
        self._font, self._colour, self._ground = font, colour, ground
        self._metrics = QFontMetricsF(font)
        self._pictures: dict[tuple[str, float, float, float], QPixmap] = {}

    def placed(self, left: float, baseline: float, text: str, ratio: float) -> Placed:
        """Return `text` at its place: it begins at `left`. `ratio` is the device pixel ratio."""
        x, y = left * ratio, (baseline - self._metrics.ascent()) * ratio
        whole_x, whole_y = math.floor(x), math.floor(y)
        key = text, ratio, x - whole_x, y - whole_y
        picture = self._pictures.get(key)
        if picture is None:
            if len(self._pictures) >= _KEPT_PICTURES:
                self._pictures.clear()
            picture = self._pictures[key] = self._made(*key)
        return Placed(QPointF((whole_x - _MARGIN) / ratio, whole_y / ratio), picture)

    def _made(self, text: str, ratio: float, right: float, down: float) -> QPixmap:
        """Return the picture of `text`, moved by fractions of a device pixel."""
        width = math.ceil(self._metrics.horizontalAdvance(text) * ratio + right) + 2 * _MARGIN
        picture = QPixmap(width, math.ceil(self._metrics.height() * ratio + down))
        picture.setDevicePixelRatio(ratio)
        picture.fill(self._ground)
        with QPainter(picture) as painter:
            painter.setFont(self._font)
            painter.setPen(self._colour)
            at = QPointF((_MARGIN + right) / ratio, down / ratio + self._metrics.ascent())
            painter.drawText(at, text)
        return picture


class AxisPainter:
    """Makes the pictures of a chart's axes in one theme, and draws its frame and crosshair."""

    def __init__(self, theme: Theme, numbers: NumberMetrics) -> None:
        self._theme = theme
        self._numbers = numbers
        self._labels = TextPictures(numbers.font, theme.muted, theme.panel)
        self._grid = QColor(theme.muted)
        self._grid.setAlphaF(0.16)
        self._lines: dict[tuple[int, int, float], QPixmap] = {}
        # The boxes of the labels below the plot, and beside it.
        self._price_labels: list[QRectF] = []
        self._size_labels: list[QRectF] = []

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
        """Return the sizes above 0 to label on an axis `height` pixels high, up to `top`."""
        step = round_step(top, max(1, int(height // (3.2 * self._numbers.height))))
        return ticks_between(step, top, step)

    def price_axis(
        self, area: PlotArea, labels: Mapping[int, str], asset: str, ratio: float
    ) -> Iterator[Placed]:
        """Iterate over the price grid, and the ticks' labels below the plot, beside `asset`."""
        rect = area.rect
        baseline = self._numbers.baseline(rect.bottom() + 1, self.price_axis_height)
        yield self._labels.placed(rect.right() + _TAG_PADDING + 4, baseline, asset, ratio)
        line = self._line(1, rect.height(), ratio)
        self._price_labels = []
        for tick, label in labels.items():
            x, width = round(area.x(tick)), self._numbers.width(label)
            yield Placed(QPointF(x, rect.top()), line)
            left = x - width / 2
            if rect.left() <= left and left + width <= rect.right():
                box = QRectF(left, rect.bottom() + 2, width, self.price_axis_height)
                self._price_labels.append(box)
                yield self._labels.placed(left, baseline, label, ratio)

    def size_axis(
        self, area: PlotArea, labels: Mapping[int, str], asset: str, ratio: float
    ) -> Iterator[Placed]:
        """Iterate over the size grid, and the ticks' labels right of the plot, below `asset`."""
        rect, height = area.rect, self._numbers.height
        left, line = rect.right() + _TAG_PADDING + 4, self._line(rect.width(), 1, ratio)
        yield self._labels.placed(left, self._numbers.baseline(rect.top(), height), asset, ratio)
        self._size_labels = [QRectF(left, rect.top(), self._numbers.width(asset), height)]
        for tick, label in labels.items():
            y = round(area.y(tick))
            yield Placed(QPointF(rect.left(), y), line)
            top = y - height / 2
            if rect.top() + height <= top:
                box = QRectF(left, top, self._numbers.width(label), height)
                self._size_labels.append(box)
                baseline = self._numbers.baseline(top, height)
                yield self._labels.placed(left, baseline, label, ratio)

    def _line(self, width: int, height: int, ratio: float) -> QPixmap:
        """Return a line of the grid.

        A translucent vertical line takes the rasteriser thirty times as long as a picture of it.
        """
        key = width, height, ratio
        if key not in self._lines:
            if len(self._lines) >= _KEPT_LINES:
                self._lines.clear()
            line = QPixmap(max(1, round(width * ratio)), max(1, round(height * ratio)))
            line.setDevicePixelRatio(ratio)
            line.fill(self._grid)
            self._lines[key] = line
        return self._lines[key]

    def draw_frame(self, painter: QPainter, rect: QRect) -> None:
        """Draw the bottom edge and the right edge of the plot."""
        painter.fillRect(rect.left(), rect.bottom() + 1, rect.width() + 1, 1, self._theme.line)
        painter.fillRect(rect.right() + 1, rect.top(), 1, rect.height() + 1, self._theme.line)

    def draw_crosshair(
        self, painter: QPainter, area: PlotArea, at: QPointF, price: str, size: str
    ) -> None:
        """Draw the crosshair's lines and its tags on both axes, in place of labels in their way."""
        rect = area.rect
        painter.setPen(QPen(self._theme.muted, 1, Qt.PenStyle.DashLine))
        painter.drawLine(round(at.x()), rect.top(), round(at.x()), rect.bottom())
        painter.drawLine(rect.left(), round(at.y()), rect.right(), round(at.y()))
        width = self._numbers.width(price) + 2 * _TAG_PADDING
        left = min(max(at.x() - width / 2, rect.left()), rect.right() - width)
        self._tag(painter, left, rect.bottom() + 3, price, self._price_labels)
        height = self._numbers.height + 4
        top = min(max(at.y() - height / 2, rect.top()), rect.bottom() - height)
        self._tag(painter, rect.right() + 4, top, size, self._size_labels)

    def _tag(
        self, painter: QPainter, left: float, top: float, text: str, labels: Sequence[QRectF]
    ) -> None:
        width, height = self._numbers.width(text) + 2 * _TAG_PADDING, self._numbers.height + 4
        box = QRect(round(left), round(top), round(width), round(height))
        # The rest of a label that is covered in part would be read as another number.
        for label in labels:
            if label.intersects(QRectF(box)):
                painter.fillRect(label, self._theme.panel)
        painter.fillRect(box, self._theme.text)
        painter.setPen(self._theme.panel)
        baseline = self._numbers.baseline(box.top(), height)
        painter.drawText(QPointF(left + _TAG_PADDING, baseline), text)
