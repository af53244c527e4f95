"""Draws the ladder with QPainter: bars first, then each column's texts in one colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QColor, QFont, QPainter

from orderbook_desktop.core.known_depth import AT_LEAST
from orderbook_desktop.core.ladder import Ladder, Side
from orderbook_desktop.core.number_format import MarketFormat, percent_text
from orderbook_desktop.gui.number_font import NumberMetrics
from orderbook_desktop.gui.panes.book_frame import Message
from orderbook_desktop.gui.panes.hatching import Hatching
from orderbook_desktop.gui.panes.ladder.layout import (
    LadderColumns,
    LadderLayout,
    Row,
    Span,
    side_of,
)
from orderbook_desktop.gui.panes.pane import paint_message
from orderbook_desktop.gui.theme import Theme

_PADDING: Final = 7
_RIGHT: Final = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_CENTRE: Final = Qt.AlignmentFlag.AlignCenter


@dataclass(frozen=True, slots=True)
class LadderRow:
    """One visible row: its place, its texts, and the lengths of its bars as shares of 1."""

    row: Row
    span: Span
    price: str
    size: str
    total: str
    size_share: float
    total_share: float
    changed: bool
    # Whether the row is beyond what is known.
    beyond: bool


@dataclass(frozen=True, slots=True)
class LadderScene:
    """Everything that the ladder shows: the visible rows, and the spread row between the sides.

    `spread_lines` are the two lines of text in the spread row.
    """

    rows: tuple[LadderRow, ...]
    spread_lines: tuple[str, str]
    layout: LadderLayout
    columns: LadderColumns


@dataclass(frozen=True, slots=True)
class RowText:
    """How the texts of rows are written.

    `step` is the grouping in price units. `widest` is the greatest number of characters that a
    quantity may have. `changed` are the prices of the rows whose size has just changed.
    """

    format: MarketFormat
    step: int
    widest: int
    changed: Mapping[Side, frozenset[int]]


def build_scene(
    ladder: Ladder, text: RowText, layout: LadderLayout, columns: LadderColumns
) -> LadderScene:
    """Return the scene to draw. Bars are relative to the largest size and total in view."""
    rows = [row for side in Side for row in _rows_of(ladder, side, text, layout)]
    return LadderScene(tuple(rows), spread_lines(ladder, text.format), layout, columns)


def _rows_of(
    ladder: Ladder, side: Side, text: RowText, layout: LadderLayout
) -> Iterator[LadderRow]:
    levels, visible = side_of(ladder, side), layout.visible(side)
    if not visible:
        return
    part = slice(visible.start, visible.stop)
    prices = levels.prices[part].tolist()
    sizes = levels.quantities[part].tolist()
    totals = levels.cumulative[part].tolist()
    largest_size, largest_total = max(sizes), _largest_total(ladder, layout)
    for index, price, size, total in zip(visible, prices, sizes, totals, strict=True):
        row = Row(side, index)
        yield LadderRow(
            row,
            layout.row_span(row),
            text.format.price(price, text.step if index < levels.single else 0),
            _least(levels.is_least_size(index)) + text.format.short_quantity(size, text.widest),
            _least(levels.is_least_total(index)) + text.format.short_quantity(total, text.widest),
            size / largest_size,
            0.0 if levels.is_least_total(index) else total / largest_total,
            price in text.changed[side],
            levels.is_least_total(index),
        )


def _least(is_least: bool) -> str:
    return AT_LEAST if is_least else ""


def _largest_total(ladder: Ladder, layout: LadderLayout) -> int:
    """Return the largest total in view on both sides, so that their bars have one scale."""
    return max(
        1,
        *(
            int(side_of(ladder, side).cumulative[visible.stop - 1])
            for side in Side
            if (visible := layout.visible(side))
        ),
    )


def headings(
    columns: LadderColumns, assets: tuple[str, str], advance: Callable[[str], int]
) -> list[tuple[Span, str]]:
    """Return each column with its heading; headings name the assets if all of them fit.

    `assets` are base and quote; `advance` returns the width of a text.
    """
    base, quote = assets
    named = (
        (columns.bid_total, "Total", base),
        (columns.bid_size, "Bids", base),
        (columns.price, "Price", quote),
        (columns.ask_size, "Asks", base),
        (columns.ask_total, "Total", base),
    )
    full = [(span, f"{name} {asset}") for span, name, asset in named]
    if all(advance(text) <= span.length - 2 * _PADDING for span, text in full):
        return full
    return [(span, name) for span, name, _ in named]


def spread_lines(ladder: Ladder, market: MarketFormat) -> tuple[str, str]:
    """Return the spread row's lines: the mid, and the spread absolute and in percent.

    If a side is empty, the first line names that side.
    """
    if ladder.spread is None or ladder.twice_mid is None:
        return ("no bids" if not len(ladder.bids.prices) else "no asks"), ""
    word = "spread" if ladder.spread >= 0 else "crossed by"
    percent = ladder.spread_percent
    share = "" if percent is None else f"  ({percent_text(abs(percent)).removeprefix('+')})"
    return (
        f"mid {market.half_price(ladder.twice_mid)}",
        f"{word} {market.price(abs(ladder.spread))}{share}",
    )


class LadderPainter:
    """Draws a scene or a message of the ladder, in given fonts and colours."""

    def __init__(self, theme: Theme, font: QFont, numbers: NumberMetrics) -> None:
        self._theme = theme
        self._font = font
        self._bold = QFont(numbers.font)
        self._bold.setWeight(QFont.Weight.DemiBold)
        self._numbers = numbers
        self._side = {Side.BID: theme.bid, Side.ASK: theme.ask}
        self._hatching = Hatching(theme)

    def paint(
        self, painter: QPainter, scene: LadderScene, hovered: Row | None, selected: Row | None
    ) -> None:
        """Draw `scene`, and mark the hovered and the selected row if the scene has them."""
        width = scene.columns.ask_total.end
        self._bars(painter, scene, width)
        self._marks(painter, scene, width, hovered, selected)
        self._texts(painter, scene)
        self._spread_row(painter, scene, width)

    def paint_message(self, painter: QPainter, area: QRect, message: Message) -> None:
        """Draw `message` in the middle of `area`."""
        paint_message(painter, area, message, self._font, self._theme)

    def paint_header(
        self, painter: QPainter, columns: LadderColumns, height: int, assets: tuple[str, str]
    ) -> None:
        """Draw the header row; `assets` are base and quote."""
        painter.fillRect(0, 0, columns.ask_total.end, height, self._theme.raised)
        painter.fillRect(0, height - 1, columns.ask_total.end, 1, self._theme.line)
        painter.setFont(self._font)
        painter.setPen(self._theme.muted)
        for span, text in headings(columns, assets, painter.fontMetrics().horizontalAdvance):
            area = QRect(span.start + _PADDING, 0, span.length - 2 * _PADDING, height)
            painter.drawText(area, _CENTRE if span == columns.price else _RIGHT, text)

    def _bars(self, painter: QPainter, scene: LadderScene, width: int) -> None:
        theme, columns = self._theme, scene.columns
        wing = columns.price.start
        self._unknown(painter, scene, width)
        fills = {side: theme.tint(colour, 0.13) for side, colour in self._side.items()}
        bars = {side: theme.tint(colour, 0.32) for side, colour in self._side.items()}
        fresh = {side: theme.tint(colour, 0.45) for side, colour in self._side.items()}
        for row in scene.rows:
            side, (top, height) = row.row.side, row.span
            total = round(row.total_share * wing)
            size = max(1, round(row.size_share * columns.bid_size.length))
            bar = fresh[side] if row.changed else bars[side]
            if side is Side.BID:
                painter.fillRect(wing - total, top, total, height, fills[side])
                painter.fillRect(wing - size, top + 1, size, height - 2, bar)
            else:
                start = width - wing
                painter.fillRect(start, top, total, height, fills[side])
                painter.fillRect(start, top + 1, size, height - 2, bar)

    def _unknown(self, painter: QPainter, scene: LadderScene, width: int) -> None:
        """Hatch the rows beyond what is known, and mark the edge."""
        tile = self._hatching.tile(self._theme.panel, painter.device().devicePixelRatioF())
        for side in Side:
            spans = [row.span for row in scene.rows if row.row.side is side and row.beyond]
            if not spans:
                continue
            top = min(span.start for span in spans)
            height = max(span.end for span in spans) - top
            painter.drawTiledPixmap(0, top, width, height, tile)
            edge = top if side is Side.BID else top + height - 1
            painter.fillRect(0, edge, width, 1, self._theme.caution)

    def _marks(
        self,
        painter: QPainter,
        scene: LadderScene,
        width: int,
        hovered: Row | None,
        selected: Row | None,
    ) -> None:
        veil = QColor(self._theme.text)
        veil.setAlphaF(0.09)
        for row in scene.rows:
            if row.row == hovered:
                painter.fillRect(0, row.span.start, width, row.span.length, veil)
            if row.row == selected:
                painter.setPen(self._theme.focus)
                painter.drawRect(0, row.span.start, width - 1, row.span.length - 1)

    def _texts(self, painter: QPainter, scene: LadderScene) -> None:
        theme, columns, numbers = self._theme, scene.columns, self._numbers
        centre = columns.price.start + columns.price.length / 2
        painter.setFont(self._bold)
        for side, colour in self._side.items():
            painter.setPen(colour)
            for row in scene.rows:
                if row.row.side is side:
                    left = centre - numbers.width(row.price) / 2
                    painter.drawText(QPointF(left, self._baseline(row.span)), row.price)
        painter.setFont(numbers.font)
        painter.setPen(theme.text)
        for row in scene.rows:
            span = columns.bid_size if row.row.side is Side.BID else columns.ask_size
            self._right(painter, row.size, span, row.span)
        painter.setPen(theme.muted)
        for row in scene.rows:
            span = columns.bid_total if row.row.side is Side.BID else columns.ask_total
            self._right(painter, row.total, span, row.span)

    def _right(self, painter: QPainter, text: str, column: Span, row: Span) -> None:
        left = column.end - _PADDING - self._numbers.width(text)
        painter.drawText(QPointF(left, self._baseline(row)), text)

    def _baseline(self, row: Span) -> float:
        return self._numbers.baseline(row.start, row.length)

    def _spread_row(self, painter: QPainter, scene: LadderScene, width: int) -> None:
        theme, layout = self._theme, scene.layout
        top, height = layout.spread_top, layout.spread
        if top + height <= layout.header or top >= layout.height:
            return
        painter.fillRect(0, top, width, height, theme.raised)
        painter.fillRect(0, top, width, 1, theme.line)
        painter.fillRect(0, top + height - 1, width, 1, theme.line)
        mid, spread = scene.spread_lines
        line = round(self._numbers.height)
        area = QRect(0, top + (height - 2 * line) // 2, width, line)
        painter.setFont(self._bold)
        painter.setPen(theme.text)
        painter.drawText(area if spread else QRect(0, top, width, height), _CENTRE, mid)
        painter.setFont(self._numbers.font)
        painter.setPen(theme.trouble if spread.startswith("crossed") else theme.muted)
        painter.drawText(area.translated(0, line), _CENTRE, spread)
