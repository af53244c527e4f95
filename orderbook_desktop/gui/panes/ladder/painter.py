"""Draws the ladder with QPainter: bars first, then each column's texts in one colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPixmap, QPolygonF

from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.tape import Direction
from orderbook_desktop.gui.number_font import NumberMetrics
from orderbook_desktop.gui.panes.book_frame import Message
from orderbook_desktop.gui.panes.glyph_atlas import GlyphAtlas
from orderbook_desktop.gui.panes.hatching import Hatching
from orderbook_desktop.gui.panes.ladder.layout import (
    OPTIONAL_COLUMNS,
    Column,
    Span,
    grows_leftward,
)
from orderbook_desktop.gui.panes.ladder.position import Row
from orderbook_desktop.gui.panes.ladder.scene import PADDING, LadderRow, LadderScene, LastText
from orderbook_desktop.gui.panes.pane import paint_message
from orderbook_desktop.gui.theme import Theme

_RIGHT: Final = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
# Strengths of the bars' colours over the panel.
_TOTAL_TINT: Final = 0.13
_SIZE_TINT: Final = 0.32
_FRESH_TINT: Final = 0.45
_LARGE_EDGE: Final = 3
_SKIP_MARK: Final = 10
_ARROW: Final = 7
_ARROW_GAP: Final = 6


class LadderPainter:
    """Draws a scene or a message of the ladder, in given fonts and colours."""

    def __init__(self, theme: Theme, font: QFont, numbers: NumberMetrics) -> None:
        self._theme = theme
        self._font = font
        self._bold = QFont(numbers.font)
        self._bold.setWeight(QFont.Weight.DemiBold)
        self._numbers = numbers
        self._bold_numbers = NumberMetrics(self._bold)
        self._side = {Side.BID: theme.bid, Side.ASK: theme.ask}
        self._direction = {Direction.UP: theme.bid, Direction.DOWN: theme.ask}
        self._hatching = Hatching(theme)
        self._atlases: dict[tuple[int, int], GlyphAtlas] = {}
        self._triangles: dict[tuple[int, int, int, float], QPixmap] = {}
        self._tints = {
            (side, share): theme.tint(colour, share)
            for side, colour in self._side.items()
            for share in (_TOTAL_TINT, _SIZE_TINT, _FRESH_TINT)
        }

    def price_width(self, text: str) -> int:
        """Return the width of a column for prices as long as `text`, with the arrow beside them."""
        return round(self._bold_numbers.width(text)) + 2 * PADDING + _ARROW + 4

    def paint(
        self, painter: QPainter, scene: LadderScene, hovered: Row | None, picked: int | None
    ) -> None:
        """Draw `scene`; mark the hovered row and the row of the picked price, if it has them."""
        width = max(span.end for span in scene.columns.values())
        self._unknown(painter, scene, width)
        self._bars(painter, scene)
        self._marks(painter, scene, width, hovered, picked)
        self._texts(painter, scene)
        if scene.spread_span is not None:
            self._spread_row(painter, scene, scene.spread_span, width)

    def paint_message(self, painter: QPainter, area: QRect, message: Message) -> None:
        """Draw `message` in the middle of `area`."""
        paint_message(painter, area, message, self._font, self._theme)

    def paint_header(
        self,
        painter: QPainter,
        columns: Mapping[Column, Span],
        texts: Mapping[Column, str],
        area: QRect,
    ) -> None:
        """Draw the headings."""
        painter.fillRect(area, self._theme.raised)
        painter.fillRect(area.x(), area.bottom(), area.width(), 1, self._theme.line)
        painter.setFont(self._font)
        painter.setPen(self._theme.muted)
        for column, span in columns.items():
            cell = QRect(span.start + PADDING, area.y(), span.length - 2 * PADDING, area.height())
            painter.drawText(cell, _RIGHT, texts[column])

    def paint_strip(self, painter: QPainter, area: QRect, taken: int, scene: LadderScene) -> None:
        """Draw last price, mid and spread in one line, where no row between the sides has them.

        `taken` is the width at the right end that something else takes.
        """
        painter.fillRect(area, self._theme.raised)
        painter.fillRect(area.x(), area.bottom(), area.width(), 1, self._theme.line)
        mid, spread = scene.spread_lines
        text = area.adjusted(PADDING, 0, -PADDING - taken, 0)
        if scene.last is not None:
            baseline = self._numbers.baseline(area.y(), area.height())
            self._last_price(painter, scene.last, text.left() + _ARROW + _ARROW_GAP, baseline)
            left = _ARROW + _ARROW_GAP + round(self._bold_numbers.width(scene.last.price))
            text = text.adjusted(left + 2 * PADDING, 0, 0, 0)
        painter.setFont(self._bold)
        painter.setPen(self._theme.text)
        painter.drawText(text, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, mid)
        room = text.width() - self._bold_numbers.width(mid) - 2 * PADDING
        if self._numbers.width(spread) <= room:
            painter.setFont(self._numbers.font)
            painter.setPen(self._spread_colour(spread))
            painter.drawText(text, _RIGHT, spread)

    def _last_price(self, painter: QPainter, last: LastText, left: float, baseline: float) -> None:
        """Draw the last price from the x coordinate `left` on, with its arrow before it.

        The room of the arrow stays where there is none, so that the price never moves.
        """
        colour = self._direction.get(last.direction, self._theme.text)
        painter.setFont(self._bold)
        painter.setPen(colour)
        painter.drawText(QPointF(left, baseline), last.price)
        if last.direction is not Direction.NONE:
            # Its middle is that of the digits.
            middle = baseline - self._numbers.digit_height / 2
            span = Span(round(middle - _ARROW / 2), _ARROW)
            upward = 1 if last.direction is Direction.UP else -1
            arrow = round(left) - _ARROW - _ARROW_GAP
            self._triangle(painter, arrow, span, upward, colour, _ARROW)

    def _unknown(self, painter: QPainter, scene: LadderScene, width: int) -> None:
        """Hatch the rows beyond what is known, and mark the edge."""
        for side in Side:
            spans = [row.span for row in scene.rows if row.beyond is side]
            if not spans:
                continue
            top = min(span.start for span in spans)
            height = max(span.end for span in spans) - top
            tile = self._hatching.tile(self._theme.panel, painter.device().devicePixelRatioF())
            painter.drawTiledPixmap(0, top, width, height, tile)
            edge = top if side is Side.BID else top + height - 1
            painter.fillRect(0, edge, width, 1, self._theme.caution)

    def _bars(self, painter: QPainter, scene: LadderScene) -> None:
        columns = scene.columns
        self._volume_bars(painter, scene)
        for column, tint in ((Column.SIZE, _SIZE_TINT), (Column.TOTAL, _TOTAL_TINT)):
            if column not in columns:
                continue
            span, leftward = columns[column], grows_leftward(columns, column)
            is_size = column is Column.SIZE
            for row in scene.rows:
                side = row.row.side
                if side is None:
                    continue
                share = row.size_share if is_size else row.total_share
                length = max(1, round(share * span.length))
                start = span.end - length if leftward else span.start
                colour = self._tints[side, _FRESH_TINT if is_size and row.change else tint]
                painter.fillRect(start, row.span.start + 1, length, row.span.length - 1, colour)

    def _volume_bars(self, painter: QPainter, scene: LadderScene) -> None:
        for column, side in ((Column.BOUGHT, Side.BID), (Column.SOLD, Side.ASK)):
            if column not in scene.columns:
                continue
            span, leftward = scene.columns[column], grows_leftward(scene.columns, column)
            colour = self._tints[side, _SIZE_TINT]
            for row in scene.rows:
                volume = row.volume
                share = volume.bought_share if side is Side.BID else volume.sold_share
                if share:
                    length = max(1, round(share * span.length))
                    start = span.end - length if leftward else span.start
                    painter.fillRect(start, row.span.start + 1, length, row.span.length - 1, colour)

    def _marks(
        self,
        painter: QPainter,
        scene: LadderScene,
        width: int,
        hovered: Row | None,
        picked: int | None,
    ) -> None:
        theme, columns = self._theme, scene.columns
        price, size = columns[Column.PRICE], columns.get(Column.SIZE)
        veil = QColor(theme.text)
        veil.setAlphaF(0.09)
        for row in scene.rows:
            top, height = row.span
            if row.is_large and size is not None:
                edge = (
                    size.start if grows_leftward(columns, Column.SIZE) else size.end - _LARGE_EDGE
                )
                painter.fillRect(edge, top + 1, _LARGE_EDGE, height - 1, theme.caution)
            if row.skips:
                at = top + height - 1 if row.row.side is Side.ASK else top
                painter.fillRect(price.start, at, _SKIP_MARK, 1, theme.muted)
            if row.move:
                colour = self._side.get(row.row.side or Side.BID, theme.text)
                left = price.start + PADDING
                self._triangle(painter, left, row.span, row.move, colour, _ARROW)
            if row.change and size is not None:
                left = size.start + PADDING
                self._triangle(painter, left, row.span, row.change, theme.text, _ARROW)
            if row.row == hovered:
                painter.fillRect(0, top, width, height, veil)
            if row.row.price == picked:
                painter.setPen(theme.focus)
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRect(0, top, width - 1, height - 1)

    def _texts(self, painter: QPainter, scene: LadderScene) -> None:
        theme, columns = self._theme, scene.columns
        ratio = painter.device().devicePixelRatioF()
        baselines = [self._numbers.baseline(row.span.start, row.span.length) for row in scene.rows]
        rows = list(zip(scene.rows, baselines, strict=True))
        right = columns[Column.PRICE].end - PADDING
        for side in (Side.ASK, Side.BID, None):
            part = [(row.price, baseline) for row, baseline in rows if row.row.side is side]
            font = self._numbers.font if side is None else self._bold
            colour = theme.muted if side is None else self._side[side]
            self._atlas(font, colour, ratio).draw(
                painter, [price for price, _ in part], right, [baseline for _, baseline in part]
            )
        sized = [(row, baseline) for row, baseline in rows if row.size]
        at = [baseline for _, baseline in sized]
        if Column.SIZE in columns:
            texts = [row.size for row, _ in sized]
            right = columns[Column.SIZE].end - PADDING
            self._atlas(self._numbers.font, theme.text, ratio).draw(painter, texts, right, at)
        if Column.TOTAL in columns:
            texts = [row.total for row, _ in sized]
            right = columns[Column.TOTAL].end - PADDING
            self._atlas(self._numbers.font, theme.muted, ratio).draw(painter, texts, right, at)

        for column in OPTIONAL_COLUMNS:
            if column in columns:
                traded = [(_optional_text(row, column), baseline) for row, baseline in rows]
                traded = [(text, baseline) for text, baseline in traded if text]
                right = columns[column].end - PADDING
                self._atlas(self._numbers.font, theme.text, ratio).draw(
                    painter, [text for text, _ in traded], right, [at for _, at in traded]
                )

    def _atlas(self, font: QFont, colour: QColor, ratio: float) -> GlyphAtlas:
        """Return the glyphs for a device of this pixel ratio, made at their first use."""
        key = font.weight().value, colour.rgb()
        atlas = self._atlases.get(key)
        if atlas is None or atlas.ratio != ratio:
            atlas = self._atlases[key] = GlyphAtlas(font, colour, ratio)
        return atlas

    def _spread_row(self, painter: QPainter, scene: LadderScene, span: Span, width: int) -> None:
        """Draw the last price above mid and spread, or mid above spread where no trade is known."""
        theme, (top, height) = self._theme, span
        painter.fillRect(0, top, width, height, theme.raised)
        painter.fillRect(0, top, width, 1, theme.line)
        painter.fillRect(0, top + height - 1, width, 1, theme.line)
        mid, spread = scene.spread_lines
        last, below, line = scene.last, spread, self._numbers.height
        if last is not None:
            both = f"{mid}   {spread}".rstrip()
            below = both if self._numbers.width(both) <= width - 2 * PADDING else spread or mid
        first = top + (height - (2 if below else 1) * line) / 2
        baseline = self._numbers.baseline(first, line)
        if last is not None:
            left = (width - self._bold_numbers.width(last.price)) / 2
            self._last_price(painter, last, left, baseline)
        else:
            painter.setFont(self._bold)
            painter.setPen(theme.text)
            painter.drawText(QPointF((width - self._bold_numbers.width(mid)) / 2, baseline), mid)
        painter.setFont(self._numbers.font)
        painter.setPen(self._spread_colour(spread))
        left = (width - self._numbers.width(below)) / 2
        painter.drawText(QPointF(left, self._numbers.baseline(first + line, line)), below)

    def _spread_colour(self, spread: str) -> QColor:
        return self._theme.trouble if spread.startswith("crossed") else self._theme.muted

    def _triangle(
        self, painter: QPainter, left: int, span: Span, upward: int, colour: QColor, side: int
    ) -> None:
        """Draw a triangle in the middle of a row: upward 1, or downward -1."""
        ratio = painter.device().devicePixelRatioF()
        key = side, upward, colour.rgb(), ratio
        if key not in self._triangles:
            self._triangles[key] = _triangle(side, upward, colour, ratio)
        painter.drawPixmap(left, span.start + (span.length - side) // 2, self._triangles[key])


def _triangle(side: int, upward: int, colour: QColor, ratio: float) -> QPixmap:
    picture = QPixmap(round(side * ratio), round(side * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    base, tip = (side, 0) if upward > 0 else (0, side)
    with QPainter(picture) as painter:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPolygon(
            QPolygonF([QPointF(0, base), QPointF(side, base), QPointF(side / 2, tip)])
        )
    return picture


def _optional_text(row: LadderRow, column: Column) -> str:
    """Return the text of a row in a column that is hidden at first."""
    texts = {
        Column.BOUGHT: row.volume.bought,
        Column.SOLD: row.volume.sold,
        Column.ADDED: row.flow.added,
        Column.PULLED: row.flow.pulled,
    }
    return texts[column]
