"""Draws both cumulative curves with axes, mid line, legend and crosshair."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from PySide6.QtCore import QByteArray, QDataStream, QPoint, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QBrush, QFont, QPainter, QPen, QPolygon

from orderbook_desktop.core.depth_curve import (
    Canvas,
    DepthCurve,
    Outline,
    Reading,
    outline,
    spikes,
    unknown_from,
)
from orderbook_desktop.core.known_depth import AT_LEAST, at_least_text, depth_text
from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.number_format import MarketFormat, axis_text, exact_text, percent_text
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import places_of
from orderbook_desktop.gui.number_font import NumberMetrics
from orderbook_desktop.gui.panes.axes import AxisPainter, Placed, PlotArea, TextPictures
from orderbook_desktop.gui.panes.hatching import Hatching
from orderbook_desktop.gui.theme import Theme

_LINE: Final = 2
_BOX_PADDING: Final = 10
_LEGEND_MARGIN: Final = 6
# So many characters have room.
_TAG_WIDEST: Final = 8
_TOTAL_WIDEST: Final = 9


class DepthScene(Struct, frozen=True):
    """Everything on the chart: the curves, the plot, the mid, and the crosshair if there is one.

    `mid` is in price units, for drawing; `mid_text` is the exact mid in words.
    """

    symbol: SymbolInfo
    format: MarketFormat
    bids: DepthCurve
    asks: DepthCurve
    area: PlotArea
    mid: float
    mid_text: str
    reading: Reading | None

    def curve(self, side: Side) -> DepthCurve:
        """Return one side's curve."""
        return self.bids if side is Side.BID else self.asks

    @property
    def in_quote(self) -> bool:
        """Whether the curves are in the quote asset."""
        return self.bids.in_quote

    @property
    def asset(self) -> str:
        """The asset that the curves are in."""
        return self.symbol.quote if self.in_quote else self.symbol.base


def reading_lines(scene: DepthScene, reading: Reading) -> list[tuple[str, str]]:
    """Return the crosshair's labels and exact values."""
    base, quote, text = scene.symbol.base, scene.symbol.quote, scene.format
    price = reading.point.price
    away = percent_text((price / scene.mid - 1) * 100) if scene.mid else ""
    lines = [("Price", f"{text.price(price)} {quote}"), ("From mid", away)]
    if reading.side is None:
        return [*lines, ("Size", "inside the spread")]
    if reading.level is not None:
        at, quantity = reading.level
        level = text.cost(at * quantity) if scene.in_quote else text.quantity(quantity)
        lines.append((f"Level {text.price(at)}", f"{level} {scene.asset}"))
    sums = [
        ("Size", f"{text.quantity(reading.point.size)} {base}"),
        ("Cost", f"{text.cost(reading.point.cost)} {quote}"),
    ]
    # First what the curve shows, then the same in the other asset.
    (_, shown), (other_name, other) = sums[::-1] if scene.in_quote else sums
    if reading.point.is_least:
        shown = at_least_text(shown, edge_text(scene, reading.side))
        other = f"at least {other}"
    return [*lines, (f"{reading.side.value.capitalize()}s to here", shown), (other_name, other)]


def edge_text(scene: DepthScene, side: Side) -> str | None:
    """Return the text of the last known price of a side; None where it has none."""
    edge = scene.curve(side).depth.edge
    return None if edge is None else scene.format.price(edge)


class DepthPainter:
    """Draws a scene of the depth chart, in given fonts and colours."""

    def __init__(self, theme: Theme, font: QFont, numbers: NumberMetrics) -> None:
        self._theme = theme
        self._font = font
        self._bold = QFont(numbers.font)
        self._bold.setWeight(QFont.Weight.DemiBold)
        self._numbers = numbers
        self._side = {Side.BID: theme.bid, Side.ASK: theme.ask}
        self._hatching = Hatching(theme)
        self.axes = AxisPainter(theme, numbers)
        self._edge_texts = TextPictures(numbers.font, theme.caution, theme.panel)
        # The pictures of the axes, and what they depend on.
        self._axis_pictures: tuple[object, list[Placed]] | None = None

    def paint(self, painter: QPainter, scene: DepthScene, ratio: float) -> None:
        """Draw `scene`; `ratio` is the device pixel ratio."""
        area = scene.area
        painter.setClipRect(area.rect)
        self._unknown(painter, scene, ratio)
        self._curves(painter, scene, ratio)
        painter.setClipping(False)
        self._axes(painter, scene, ratio)
        self._edges(painter, scene, ratio)
        self._mid(painter, scene)
        self._legend(painter, scene)
        if scene.reading is not None and area.low <= scene.reading.point.price <= area.high:
            self._crosshair(painter, scene, scene.reading)

    def _unknown(self, painter: QPainter, scene: DepthScene, ratio: float) -> None:
        """Hatch the prices beyond what is known."""
        for side in Side:
            strip = _unknown_strip(scene, side)
            if strip is not None:
                painter.drawTiledPixmap(strip, self._hatching.tile(self._theme.panel, ratio))

    def _curves(self, painter: QPainter, scene: DepthScene, ratio: float) -> None:
        """Fill the curves in whole device pixels: every step is sharp at any scaling."""
        area, rect = scene.area, scene.area.rect
        width, height = round(rect.width() * ratio), round(rect.height() * ratio)
        canvas = Canvas(area.low, area.high, area.top, width, height)
        painter.save()
        painter.translate(rect.topLeft())
        painter.scale(1 / ratio, 1 / ratio)
        outlines: list[tuple[Side, QPolygon]] = []
        for side, colour in self._side.items():
            curve = scene.curve(side)
            for x, top in spikes(curve, canvas):
                painter.fillRect(x, top, _LINE, height - top, colour)
            found = outline(curve, canvas)
            if found is not None:
                fill = self._theme.tint(colour, 0.26)
                painter.setPen(Qt.PenStyle.NoPen)
                # A curve of lower bounds has the texture, too.
                painter.setBrush(
                    fill if curve.depth.is_proven else QBrush(self._hatching.tile(fill, 1))
                )
                line = _polygon(found)
                area_below = QPolygon(line)
                area_below.append(QPoint(int(found.edges[-1]), height))
                area_below.append(QPoint(int(found.edges[0]), height))
                painter.drawPolygon(area_below)
                outlines.append((side, line))
        for side, line in outlines:
            pen = QPen(self._side[side], 1)
            pen.setCosmetic(True)
            painter.setPen(pen)
            # Thin lines side by side: one thick line takes the rasteriser twenty times as long.
            for shift in range(round(_LINE * ratio)):
                inward = shift if side is Side.ASK else -shift
                painter.drawPolyline(line.translated(inward, shift))
        painter.restore()

    def _axes(self, painter: QPainter, scene: DepthScene, ratio: float) -> None:
        """Draw the axes: in most frames they are those of the frame before."""
        key = scene.area, scene.format, scene.symbol, scene.in_quote, ratio
        if self._axis_pictures is None or self._axis_pictures[0] != key:
            axes, area = self.axes, scene.area
            prices, sizes = self._price_labels(scene), self._size_labels(scene)
            pictures = [
                *axes.price_axis(area, prices, scene.symbol.quote, ratio),
                *axes.size_axis(area, sizes, scene.asset, ratio),
            ]
            self._axis_pictures = key, pictures
        for placed in self._axis_pictures[1]:
            painter.drawPixmap(*placed)
        self.axes.draw_frame(painter, scene.area.rect)

    def _price_labels(self, scene: DepthScene) -> dict[int, str]:
        """Return the prices to label, with their labels."""
        exponent = scene.format.scale.price

        def label(units: int, step: int) -> str:
            return exact_text(units // step * step, exponent, places_of(step, exponent))

        ticks = self.axes.price_ticks(scene.area, scene.format.tick, label)
        return {tick: label(tick, ticks.step) for tick in ticks}

    def _size_labels(self, scene: DepthScene) -> dict[int, str]:
        """Return the sizes, or costs, to label, with their labels."""
        scale = scene.format.scale
        exponent = scale.notional if scene.in_quote else scale.quantity
        ticks = self.axes.size_ticks(scene.area.rect.height(), scene.area.top)
        return {tick: axis_text(tick, exponent, ticks.step) for tick in ticks}

    def _edges(self, painter: QPainter, scene: DepthScene, ratio: float) -> None:
        """Mark the last known price of each side that is in view, and name it."""
        rect, height = scene.area.rect, round(self._numbers.height)
        top = rect.top() + 3 * height + 8
        first = QRect()
        for side in Side:
            edge = scene.curve(side).depth.edge
            if edge is None or not scene.area.low <= edge <= scene.area.high:
                continue
            x = min(max(round(scene.area.x(edge)), rect.left()), rect.right())
            painter.fillRect(x, rect.top(), 1, rect.height(), self._theme.caution)
            text = depth_text(scene.format.price(edge))
            width = round(self._numbers.width(text)) + 2 * _LEGEND_MARGIN
            # On the known side of the edge, where there is room for it.
            left = x + 1 if side is Side.BID else x - width
            left = min(max(left, rect.left()), max(rect.left(), rect.right() - width))
            box = QRect(left, top, width, height)
            if box.intersects(first):
                box.translate(0, height + 2)
            first = box
            painter.fillRect(box, self._theme.panel)
            begin = left + (width - self._numbers.width(text)) / 2
            baseline = self._numbers.baseline(box.top(), height)
            painter.drawPixmap(*self._edge_texts.placed(begin, baseline, text, ratio))

    def _mid(self, painter: QPainter, scene: DepthScene) -> None:
        rect = scene.area.rect
        x = round(scene.area.x(scene.mid))
        if not rect.left() <= x <= rect.right():
            return
        painter.setPen(QPen(self._theme.muted, 1, Qt.PenStyle.DotLine))
        painter.drawLine(x, rect.top() + 24, x, rect.bottom())
        label = scene.mid_text
        width = self._numbers.width(label) + 16
        left = min(max(x - width / 2, rect.left()), rect.right() - width)
        box = QRectF(left, rect.top() + 2, width, self._numbers.height + 4)
        painter.fillRect(box, self._theme.raised)
        painter.setFont(self._bold)
        painter.setPen(self._theme.text)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, label)

    def _legend(self, painter: QPainter, scene: DepthScene) -> None:
        """Name each side in its corner, with the side's total size if there is room."""
        rect, height = scene.area.rect, round(self._numbers.height)
        totals = {side: legend_text(scene, side) for side in Side}
        painter.setFont(self._numbers.font)
        widths = sum(self._numbers.width(text) for text in totals.values())
        roomy = widths + 4 * self._numbers.digit + 4 * _LEGEND_MARGIN <= rect.width()
        for side in Side:
            empty = scene.curve(side).is_empty
            text = totals[side] if roomy or empty else f"{side.value}s".capitalize()
            width = painter.fontMetrics().horizontalAdvance(text) + 2 * _LEGEND_MARGIN
            left = rect.left() + _LEGEND_MARGIN
            if side is Side.ASK:
                left = rect.right() - _LEGEND_MARGIN - width
            box = QRect(left, rect.top() + 2 * height + 2, width, height)
            # Without a background, a curve behind the words would strike them through.
            painter.fillRect(box, self._theme.panel)
            painter.setPen(self._side[side])
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def _crosshair(self, painter: QPainter, scene: DepthScene, reading: Reading) -> None:
        area, point = scene.area, reading.point
        amount = scene.bids.amount(point)
        at = QPointF(area.x(point.price), area.y(min(float(amount), area.top)))
        size = axis_text_of(scene.format, amount, in_quote=scene.in_quote)
        self.axes.draw_crosshair(painter, area, at, scene.format.price(point.price), size)
        if reading.side is not None:
            painter.setBrush(self._side[reading.side])
            painter.setPen(QPen(self._theme.panel, 1.5))
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.drawEllipse(at, 4.5, 4.5)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
        self._box(painter, area.rect, at, reading_lines(scene, reading))

    def _box(
        self, painter: QPainter, rect: QRect, at: QPointF, lines: list[tuple[str, str]]
    ) -> None:
        """Draw the values beside the crosshair, on the side that has room."""
        numbers = self._numbers
        painter.setFont(numbers.font)
        names = max(painter.fontMetrics().horizontalAdvance(name) for name, _ in lines) + 14
        values = max(painter.fontMetrics().horizontalAdvance(value) for _, value in lines)
        line = numbers.height + 4
        width = names + values + 2 * _BOX_PADDING
        height = line * len(lines) + 2 * _BOX_PADDING
        left = at.x() + 14 if at.x() + 14 + width < rect.right() else at.x() - 14 - width
        top = min(max(at.y() - height - 14, rect.top() + 30), rect.bottom() - height - 4)
        box = QRectF(max(left, rect.left() + 4), top, width, height)
        painter.setPen(QPen(self._theme.line, 1))
        painter.setBrush(self._theme.raised)
        painter.drawRect(box)
        for index, (name, value) in enumerate(lines):
            baseline = numbers.baseline(box.top() + _BOX_PADDING + index * line, line)
            painter.setPen(self._theme.muted)
            painter.drawText(QPointF(box.left() + _BOX_PADDING, baseline), name)
            painter.setPen(self._theme.text)
            painter.drawText(QPointF(box.left() + _BOX_PADDING + names, baseline), value)


def axis_text_of(market: MarketFormat, amount: int, *, in_quote: bool) -> str:
    """Return the text of a size, or of a cost, short enough for a tag on the axis."""
    return _short(market, amount, _TAG_WIDEST, in_quote=in_quote)


def _short(market: MarketFormat, amount: int, widest: int, *, in_quote: bool) -> str:
    return market.short_cost(amount, widest) if in_quote else market.short_quantity(amount, widest)


def legend_text(scene: DepthScene, side: Side) -> str:
    """Return the name of a side with its total, which may be a lower bound."""
    curve, name = scene.curve(side), f"{side.value}s"
    if curve.is_empty:
        return f"no {name}"
    total = _short(scene.format, curve.total, _TOTAL_WIDEST, in_quote=scene.in_quote)
    sign = AT_LEAST if curve.is_least(None) else ""
    return f"{name.capitalize()} {sign}{total} {scene.asset}"


def _unknown_strip(scene: DepthScene, side: Side) -> QRect | None:
    """Return the part of the plot that shows prices beyond what is known; None: there is none."""
    other = Side.ASK if side is Side.BID else Side.BID
    price = unknown_from(scene.curve(side), scene.curve(other))
    area, rect = scene.area, scene.area.rect
    if price is None:
        return None
    x = min(max(round(area.x(price)), rect.left()), rect.right() + 1)
    strip = QRect(rect)
    if side is Side.BID:
        strip.setRight(x - 1)
    else:
        strip.setLeft(x)
    return strip if strip.width() > 0 else None


def _polygon(found: Outline) -> QPolygon:
    """Return the steps of an outline as a polygon.

    numpy writes the polygon in Qt's serialised form, and Qt reads it: to make a `QPoint` for
    each corner would take longer than to paint them.
    """
    corners = np.empty((2 * len(found.tops), 2), dtype=">i4")
    corners[0::2, 0], corners[1::2, 0] = found.edges[:-1], found.edges[1:]
    corners[0::2, 1] = corners[1::2, 1] = found.tops
    written = QByteArray(len(corners).to_bytes(4, "big") + corners.tobytes())
    polygon = QPolygon()
    QDataStream(written) >> polygon
    return polygon
