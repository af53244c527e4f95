"""The depth ladder's widget: it paints the rows of `core.ladder`, asks above, bids below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, Qt, QTimer
from PySide6.QtGui import (
    QFont,
    QGuiApplication,
    QHelpEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QPushButton, QToolTip, QWidget

from orderbook_desktop.core.known_depth import AT_LEAST, at_least_text
from orderbook_desktop.core.ladder import Ladder, Side, build_ladder
from orderbook_desktop.gui.actions import Action, Command, FocusKeys, Switch
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.book_frame import BookFrame, message_of
from orderbook_desktop.gui.panes.ladder.layout import (
    LadderColumns,
    LadderLayout,
    Row,
    lay_out,
    lay_out_columns,
    side_of,
)
from orderbook_desktop.gui.panes.ladder.painter import (
    LadderPainter,
    LadderScene,
    RowText,
    build_scene,
    spread_lines,
)
from orderbook_desktop.gui.panes.pane import Pane
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme

_RECENTRE: Final = Action(
    "&Recentre the ladder", "bring the ladder back to the spread", ("Ctrl+Home",)
)
_HIGHLIGHT: Final = Action("&Highlight changes", "mark the sizes in the ladder that changed")
_PICK: Final = Action(
    "Ladder: pick a row", "in the ladder: pick the row above or below", ("Up", "Down")
)
_SCROLL: Final = Action(
    "Ladder: scroll", "in the ladder: scroll by a page", ("PgUp", "PgDown"), ("wheel",)
)
_TO_SPREAD: Final = Action(
    "Ladder: back to the spread", "in the ladder: back to the spread", ("Space", "Home")
)
_COPY: Final = Action(
    "Ladder: copy the picked row",
    "in the ladder: copy the picked row, with its exact values",
    ("Ctrl+C", "Ctrl+Ins"),
)
_PICK_NONE: Final = Action("Ladder: pick no row", "in the ladder: pick no row", ("Esc",))

_FRESH_MS: Final = 250
_WHEEL_ROWS: Final = 3
_BOLD_STRETCH: Final = 1.12
_PRICE_MARGIN: Final = 8
_NOTHING_CHANGED: Final = {side: frozenset[int]() for side in Side}


class _Picked(NamedTuple):
    """A row that the person picked. Its price identifies it while other rows come and go."""

    side: Side
    price: int


class DepthLadder(Pane):
    """The ladder of one book, with one row per level or group of levels.

    `preferences` remember whether changed sizes are marked.
    """

    def __init__(
        self, theme: Theme, preferences: Preferences, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, "Order book ladder", parent)
        self._preferences = preferences
        self._frame: BookFrame | None = None
        self._ladder: Ladder | None = None
        self._step = 1
        self._offset = 0
        self._hovered_at: QPoint | None = None
        self._picked: _Picked | None = None
        self._changed = dict(_NOTHING_CHANGED)
        self._wheel_rest = 0
        self.highlights_changes = preferences.highlights_changes
        self._calm = QTimer(self, singleShot=True, interval=_FRESH_MS)
        self._calm.timeout.connect(self._calm_down)
        self._recentre = QPushButton(f"Recentre ({_TO_SPREAD.key_names[0]})", self)
        self._recentre.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._recentre.clicked.connect(self.recentre)
        self._recentre.hide()
        self.setMinimumSize(340, 200)
        self.focus_keys = FocusKeys(
            {
                _PICK: (lambda: self._pick_next(-1), lambda: self._pick_next(1)),
                _SCROLL: (lambda: self._scroll_page(1), lambda: self._scroll_page(-1)),
                _TO_SPREAD: (self.recentre,),
                _COPY: (self.copy_row,),
                _PICK_NONE: (self._pick_none,),
            }
        )
        self._take_fonts()

    def commands(self) -> Sequence[Command | Switch]:
        """Return the ladder's entries for the window's view menu."""
        return (
            Command(_RECENTRE, self.recentre),
            Switch(_HIGHLIGHT, self._highlight_changes, self.highlights_changes),
        )

    def set_frame(self, frame: BookFrame) -> None:
        """Show `frame`. If its market is another than before, centre it with no row picked."""
        if self._frame is None or frame.symbol.market != self._frame.symbol.market:
            self._offset, self._picked = 0, None
            self._ladder = None
        self._frame = frame
        self._rebuild(watch=True)

    def begin_anew(self) -> None:
        """Treat the next frame as that of another market."""
        self._frame = None
        self.update()

    def set_step(self, step: int) -> None:
        """Group by `step` price units of the book's scale."""
        if step != self._step:
            self._step, self._offset, self._picked = step, 0, None
            self._rebuild(watch=False)

    def recentre(self) -> None:
        """Bring the spread back to the middle."""
        self._scroll_to(0)

    def scroll_rows(self, rows: int) -> None:
        """Scroll up by `rows`, towards higher prices; negative: down."""
        self._scroll_to(self._offset + rows)

    @property
    def offset(self) -> int:
        """The number of rows between the spread and the middle (0: centred)."""
        return self._offset

    @property
    def scene(self) -> LadderScene | None:
        """The scene on screen; None while a message is shown."""
        if self._frame is None or self._ladder is None or message_of(self._frame):
            return None
        columns = self._columns()
        widest = int((columns.bid_size.length - 14) // self._numbers.digit) + 1
        text = RowText(self._frame.format, self._step, widest, self._changed)
        return build_scene(self._ladder, text, self._layout(), columns)

    @property
    def picked_row(self) -> Row | None:
        """The row picked by keyboard or mouse, if its price is still in the book."""
        if self._picked is None or self._ladder is None:
            return None
        prices = side_of(self._ladder, self._picked.side).prices
        found = (prices == self._picked.price).nonzero()[0]
        return Row(self._picked.side, int(found[0])) if len(found) else None

    def describe(self, row: Row) -> str:
        """Return the exact values of `row` as text."""
        price, size, total = self._values(row)
        base, quote = self._assets()
        side = "Bid" if row.side is Side.BID else "Ask"
        size, total = f"{size} {base}", f"{total} {base}"
        levels = side_of(self._ladder, row.side) if self._ladder else None
        if levels is not None and self._frame is not None:
            edge = None if levels.edge is None else self._frame.format.price(levels.edge)
            size = f"at least {size}" if levels.is_least_size(row.index) else size
            total = at_least_text(total, edge) if levels.is_least_total(row.index) else total
        return f"{side} {price} {quote}\nSize {size}\nTotal from the spread {total}"

    def summary(self) -> str:
        """Return best bid, best ask and spread in words, for assistive technology."""
        if self._frame is None or self._ladder is None:
            return ""
        message = message_of(self._frame)
        if message is not None:
            return f"{message.title}. {message.detail}"
        best = [
            f"best {side.value} {self._frame.format.price(int(rows.prices[0]), self._step)}"
            for side in Side
            if len((rows := side_of(self._ladder, side)).prices)
        ]
        lines = spread_lines(self._ladder, self._frame.format)
        return ", ".join([*best, " ".join(line for line in lines if line)])

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw everything: a whole repaint costs less than to find out what changed."""
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.fillRect(self.rect(), self._theme.panel)
            layout = self._layout()
            header = QRect(0, layout.header, self.width(), self.height() - layout.header)
            message = message_of(self._frame) if self._frame else None
            scene = self.scene
            if scene is not None:
                painter.setClipRect(header)
                hovered = layout.row_at(self._hovered_at.y()) if self._hovered_at else None
                self._painter.paint(painter, scene, hovered, self.picked_row)
                painter.setClipping(False)
            elif message is not None:
                self._painter.paint_message(painter, header, message)
            self._painter.paint_header(painter, self._columns(), layout.header, self._assets())
            self._paint_focus(painter)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Keep the scroll position within the rows, and the button in its place."""
        super().resizeEvent(event)
        self._scroll_to(self._offset)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Scroll by whole rows, also on touchpads that send fractions of a notch."""
        self._wheel_rest += event.angleDelta().y() * _WHEEL_ROWS
        rows = int(self._wheel_rest / 120)
        self._wheel_rest -= rows * 120
        self.scroll_rows(rows)
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Mark the row under the mouse."""
        self._hovered_at = event.position().toPoint()
        self.update()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Remove the mark from the row."""
        super().leaveEvent(event)
        self._hovered_at = None
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Pick the row under the mouse."""
        row = self._row_at(event.position())
        if row is not None and event.button() == Qt.MouseButton.LeftButton:
            self._pick(row)

    def event(self, event: QEvent) -> bool:
        """Show the exact values of the row under the mouse as its tool tip."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            row = self._row_at(event.pos())
            if row is None:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), self.describe(row), self)
            return True
        return super().event(event)

    def copy_row(self) -> None:
        """Copy the picked row: side, price, size and total, exact, separated by tabs."""
        row = self.picked_row
        if row is not None:
            price, size, total = (text.replace(",", "") for text in self._values(row))
            levels = side_of(self._ladder, row.side) if self._ladder else None
            if levels is not None:
                size = AT_LEAST + size if levels.is_least_size(row.index) else size
                total = AT_LEAST + total if levels.is_least_total(row.index) else total
            QGuiApplication.clipboard().setText(f"{row.side.value}\t{price}\t{size}\t{total}")

    def _highlight_changes(self, wanted: bool) -> None:
        self._preferences.highlights_changes = self.highlights_changes = wanted

    def _rebuild(self, *, watch: bool) -> None:
        if self._frame is None:
            return
        before = self._ladder
        self._ladder = build_ladder(
            self._frame.bids,
            self._frame.asks,
            self._frame.format.scale,
            self._step,
            self._frame.horizon,
        )
        if watch and self.highlights_changes and before is not None:
            self._changed = {side: self._fresh(before, self._ladder, side) for side in Side}
            self._calm.start()
        else:
            self._changed = dict(_NOTHING_CHANGED)
        self._scroll_to(self._offset)

    def _fresh(self, before: Ladder, after: Ladder, side: Side) -> frozenset[int]:
        """Return the prices of the visible rows whose size changed."""
        old, new = side_of(before, side), side_of(after, side)
        if not len(old.prices):
            return frozenset()
        view = self._layout().visible(side)
        known = slice(0, view.stop + 50)
        sizes = dict(zip(old.prices[known].tolist(), old.quantities[known].tolist(), strict=True))
        shown = slice(view.start, view.stop)
        rows = zip(new.prices[shown].tolist(), new.quantities[shown].tolist(), strict=True)
        return frozenset(price for price, size in rows if sizes.get(price) != size)

    def _calm_down(self) -> None:
        self._changed = dict(_NOTHING_CHANGED)
        self.update()

    def _layout(self) -> LadderLayout:
        asks = len(self._ladder.asks.prices) if self._ladder else 0
        bids = len(self._ladder.bids.prices) if self._ladder else 0
        return lay_out(self.height(), self._row_height, self._offset, asks, bids)

    def _columns(self) -> LadderColumns:
        widest = 0.0
        if self._frame is not None and self._ladder is not None:
            # The farthest ask has the longest price; without asks, the best bid has it.
            farthest = (
                self._ladder.asks.prices[-1:]
                if len(self._ladder.asks.prices)
                else (self._ladder.bids.prices[:1])
            )
            for price in farthest.tolist():
                text = self._frame.format.price(price, self._step)
                widest = self._numbers.width(text) * _BOLD_STRETCH + 2 * _PRICE_MARGIN
        return lay_out_columns(self.width(), round(widest))

    def _scroll_to(self, offset: int) -> None:
        self._offset = offset
        self._offset = self._layout().offset
        self._recentre.setVisible(self._offset != 0)
        self._place_button()
        self.update()

    def _scroll_page(self, up: int) -> None:
        self.scroll_rows(up * max(1, self._layout().rows_per_side))

    def _place_button(self) -> None:
        """Put the button over the columns that the bottom rows leave empty."""
        button, size = self._recentre, self._recentre.sizeHint()
        lowest = self._layout().row_at(self.height() - 2)
        asks_below = lowest is not None and lowest.side is Side.ASK
        left = 8 if asks_below else self.width() - size.width() - 8
        button.setGeometry(left, self.height() - size.height() - 8, size.width(), size.height())

    def _row_at(self, at: QPoint | QPointF) -> Row | None:
        if self.scene is None:
            return None
        return self._layout().row_at(int(at.y()))

    def _pick(self, row: Row) -> None:
        if self._ladder is None:
            return
        self._picked = _Picked(row.side, int(side_of(self._ladder, row.side).prices[row.index]))
        self.setAccessibleDescription(self.describe(row))
        self._scroll_to(self._layout().offset_showing(row))

    def _pick_none(self) -> None:
        self._picked = None
        self.update()

    def _pick_next(self, down: int) -> None:
        """Pick the row below (1) or above (-1) the picked row; with none, a row at the spread."""
        if self._ladder is None or not (counts := self._counts()):
            return
        row = self.picked_row
        if row is None:
            side = Side.BID if down > 0 else Side.ASK
            side = side if side in counts else next(iter(counts))
            self._pick(Row(side, 0))
            return
        outward = down if row.side is Side.BID else -down
        index = row.index + outward
        other = Side.ASK if row.side is Side.BID else Side.BID
        if index >= 0:
            self._pick(Row(row.side, min(index, counts[row.side] - 1)))
        elif other in counts:
            self._pick(Row(other, 0))

    def _counts(self) -> dict[Side, int]:
        if self._ladder is None:
            return {}
        counts = {side: len(side_of(self._ladder, side).prices) for side in Side}
        return {side: count for side, count in counts.items() if count}

    def _values(self, row: Row) -> tuple[str, str, str]:
        if self._frame is None or self._ladder is None:
            return "", "", ""
        levels, text = side_of(self._ladder, row.side), self._frame.format
        return (
            text.price(
                int(levels.prices[row.index]), self._step if row.index < levels.single else 0
            ),
            text.quantity(int(levels.quantities[row.index])),
            text.quantity(int(levels.cumulative[row.index])),
        )

    def _assets(self) -> tuple[str, str]:
        if self._frame is None:
            return "", ""
        return self._frame.symbol.base, self._frame.symbol.quote

    def _take_fonts(self) -> None:
        font = QFont(self.font())
        self._numbers = NumberMetrics(number_font(font))
        self._row_height = round(self._numbers.height) + 4
        self._painter = LadderPainter(self._theme, font, self._numbers)
