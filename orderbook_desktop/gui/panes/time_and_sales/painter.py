"""Draws the time-and-sales pane: the places of its columns, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter

from orderbook_desktop.core.tape_rows import Missing, Summed, Sweep, TapeRow
from orderbook_desktop.core.tape_texts import RowTexts
from orderbook_desktop.gui.number_font import NumberMetrics
from orderbook_desktop.gui.panes.glyph_atlas import GlyphAtlas
from orderbook_desktop.gui.panes.hatching import Hatching
from orderbook_desktop.gui.panes.time_and_sales.model import TapeScene
from orderbook_desktop.gui.theme import Theme

PADDING: Final = 7
_GAP: Final = 10
_LARGE_EDGE: Final = 3
_ROW_TINT: Final = 0.1
_RIGHT: Final = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LEFT: Final = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_TIME: Final = "00:00:00.000"
_SHORT_TIME: Final = "00:00:00"
_NOTE: Final = "x00"
_PRICE: Final = "00,000.00"
# The characters that a size has room for, where there is room.
_SIZE: Final = "0" * 10
_NARROW_SIZE: Final = "0" * 7


class Columns(Struct, frozen=True):
    """The right edges of the columns, in logical pixels; `began` is None without its column.

    Where there is little room, times are without milliseconds, and sides one letter.
    """

    time: int
    side: int
    note: int
    began: int | None
    price: int
    size: int
    has_ms: bool
    has_words: bool

    def time_text(self, texts: RowTexts) -> str:
        """Return a row's time as it has room here."""
        return texts.time if self.has_ms else texts.time.partition(".")[0]

    def side_text(self, texts: RowTexts) -> str:
        """Return a row's side as it has room here."""
        return texts.side if self.has_words else texts.side[:1]


class TapePainter:
    """Draws a scene of the pane, in given fonts and colours."""

    def __init__(self, theme: Theme, font: QFont, numbers: NumberMetrics) -> None:
        self._theme = theme
        self._font = font
        self._numbers = numbers
        self._hatching = Hatching(theme)
        self._atlases: dict[int, GlyphAtlas] = {}

    @property
    def least_width(self) -> int:
        """The width below which the columns overlap."""
        return round(self._widths(_SHORT_TIME, "S", None, _PRICE, _NARROW_SIZE)) + 1

    def columns(self, width: int, prices: Sequence[str], began: Sequence[str]) -> Columns:
        """Return the columns of a pane of this width, for `prices` and where sweeps `began`."""
        price = max([_PRICE, *prices], key=self._numbers.width)
        longest = max(["from " + _PRICE, *began], key=self._numbers.width)
        for time, side, range_, size in (
            (_TIME, "Sell", longest, _SIZE),
            (_TIME, "Sell", None, _SIZE),
            (_TIME, "S", None, _SIZE),
            (_SHORT_TIME, "S", None, _SIZE),
            (_SHORT_TIME, "S", None, _NARROW_SIZE),
        ):
            if self._widths(time, side, range_, price, size) <= width:
                break
        return self._placed(width, time, side, range_, size)

    def _widths(self, time: str, side: str, began: str | None, price: str, size: str) -> float:
        texts = [time, side, _NOTE, price, size, *([] if began is None else [began])]
        between = _GAP * (len(texts) - 2) + _GAP / 2
        return sum(map(self._numbers.width, texts)) + between + 2 * PADDING

    def _placed(self, width: int, time: str, side: str, began: str | None, size: str) -> Columns:
        measure = self._numbers.width
        time_end = PADDING + measure(time)
        side_end = time_end + _GAP + measure(side)
        note_end = side_end + _GAP / 2 + measure(_NOTE)
        size_end = width - PADDING
        price_end = size_end - measure(size) - _GAP
        began_end = None
        if began is not None:
            began_end = round(note_end + _GAP + measure(began))
        return Columns(
            *(round(time_end), round(side_end), round(note_end), began_end),
            *(round(price_end), size_end, time == _TIME, side != "S"),
        )

    def paint_header(
        self, painter: QPainter, columns: Columns, area: QRect, assets: tuple[str, str]
    ) -> None:
        """Draw the headings; `assets` are those of price and size."""
        painter.fillRect(area, self._theme.raised)
        painter.fillRect(area.x(), area.bottom(), area.width(), 1, self._theme.line)
        painter.setFont(self._font)
        painter.setPen(self._theme.muted)
        before_price = columns.note if columns.began is None else columns.began
        for left, right, name, asset in (
            (PADDING, columns.time, "Time", ""),
            (columns.time, columns.side, "Side" if columns.has_words else "", ""),
            (before_price + 4, columns.price, "Price", assets[0]),
            (columns.price + 4, columns.size, "Size", assets[1]),
        ):
            full = f"{name}, {asset}" if asset else name
            metrics = painter.fontMetrics()
            text = full if metrics.horizontalAdvance(full) <= right - left else name
            place = QRect(left, area.y(), right - left, area.height())
            painter.drawText(place, _LEFT if left == PADDING else _RIGHT, text)

    def paint(
        self, painter: QPainter, scene: TapeScene, columns: Columns, area: QRect, line: int
    ) -> None:
        """Draw the rows from the top of `area` on, each `line` pixels high."""
        places = [area.y() + line * place for place in range(len(scene.rows))]
        rows = list(zip(scene.rows, places, strict=True))
        for row, top in rows:
            self._ground(painter, scene, row, QRect(area.x(), top, area.width(), line))
        self._columns(painter, scene, columns, rows, line)
        painter.setFont(self._font)
        if scene.end_text:
            painter.setPen(self._theme.muted)
            top = area.y() + line * len(rows)
            box = QRect(PADDING, top, area.width() - 2 * PADDING, 3 * line)
            flags = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(box, flags | Qt.TextFlag.TextWordWrap, scene.end_text)

    def paint_place(self, painter: QPainter, area: QRect, taken: int, text: str) -> None:
        """Draw the strip below rows that stand still; `taken` pixels at its right are taken."""
        painter.fillRect(area, self._theme.raised)
        painter.fillRect(area.x(), area.y(), area.width(), 1, self._theme.line)
        painter.setFont(self._font)
        painter.setPen(self._theme.muted)
        room = area.adjusted(PADDING, 0, -PADDING - taken, 0)
        shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, _LEFT, shown)

    def _ground(self, painter: QPainter, scene: TapeScene, row: TapeRow, place: QRect) -> None:
        theme = self._theme
        if isinstance(row, Missing):
            tile = self._hatching.tile(theme.panel, painter.device().devicePixelRatioF())
            painter.drawTiledPixmap(place, tile)
        elif isinstance(row, Summed):
            painter.fillRect(place, theme.raised)
        elif scene.is_large(row):
            painter.fillRect(place, theme.tint(theme.ask if row.is_sold else theme.bid, _ROW_TINT))
            painter.fillRect(place.x(), place.y(), _LARGE_EDGE, place.height(), theme.caution)
        if row.first_id == scene.marked:
            painter.fillRect(place.x(), place.bottom(), place.width(), 1, theme.text)
            painter.fillRect(place.x(), place.y(), place.width(), 1, theme.text)
        if row.first_id == scene.picked:
            painter.setPen(theme.focus)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(place.adjusted(0, 0, -1, -1))

    def _columns(
        self,
        painter: QPainter,
        scene: TapeScene,
        columns: Columns,
        rows: Sequence[tuple[TapeRow, int]],
        line: int,
    ) -> None:
        theme = self._theme
        texts = [(row, scene.format.texts(row), top) for row, top in rows]
        told = [(one, self._numbers.baseline(top, line)) for row, one, top in texts]
        self._draw(painter, theme.muted, columns.time, [(columns.time_text(t), y) for t, y in told])
        for is_sold, colour in ((False, theme.bid), (True, theme.ask)):
            part = [
                (one, self._numbers.baseline(top, line))
                for row, one, top in texts
                if isinstance(row, Sweep) and row.is_sold is is_sold
            ]
            sides = [(columns.side_text(t), y) for t, y in part]
            self._draw(painter, colour, columns.side, sides)
            self._draw(painter, colour, columns.price, [(t.price, y) for t, y in part])
        self._draw(painter, theme.text, columns.note, [(t.note, y) for t, y in told])
        self._draw(painter, theme.text, columns.size, [(t.quantity, y) for t, y in told])
        if columns.began is not None:
            began = [
                (scene.format.range_text(row), self._numbers.baseline(top, line))
                for row, _, top in texts
            ]
            self._draw(painter, theme.muted, columns.began, began)
        for row, one, top in texts:
            if one.whole:
                self._whole(painter, row, one, columns, QRectF(0, top, columns.size, line))

    def _whole(
        self, painter: QPainter, row: TapeRow, texts: RowTexts, columns: Columns, place: QRectF
    ) -> None:
        """Draw the text of a row that has no columns, between its time and its size."""
        is_missing = isinstance(row, Missing)
        right = columns.size if is_missing else columns.price
        room = QRectF(columns.time + _GAP, place.y(), right - columns.time - _GAP, place.height())
        painter.setFont(self._font)
        painter.setPen(self._theme.caution if is_missing else self._theme.muted)
        metrics = painter.fontMetrics()
        text = metrics.elidedText(texts.whole, Qt.TextElideMode.ElideRight, int(room.width()))
        if is_missing:
            # The text stands on the plain ground, so that the texture does not cross it.
            width = metrics.horizontalAdvance(text)
            painter.fillRect(
                QRectF(room.x() - 4, room.y() + 1, width + 8, room.height() - 2), self._theme.panel
            )
        painter.drawText(room, _LEFT, text)

    def _draw(
        self,
        painter: QPainter,
        colour: QColor,
        right: int,
        texts: Sequence[tuple[str, float]],
    ) -> None:
        shown = [(text, baseline) for text, baseline in texts if text]
        ratio = painter.device().devicePixelRatioF()
        atlas = self._atlases.get(colour.rgb())
        if atlas is None or atlas.ratio != ratio:
            atlas = self._atlases[colour.rgb()] = GlyphAtlas(self._numbers.font, colour, ratio)
        atlas.draw(painter, [text for text, _ in shown], right, [at for _, at in shown])
