"""The depth ladder's widget: it paints the rows of `core.ladder`, asks above, bids below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Final

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QSize, Qt, QTimer
from PySide6.QtGui import (
    QContextMenuEvent,
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

from orderbook_desktop.core.desk import TradePages
from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.traded_volume import Period
from orderbook_desktop.gui.actions import Action, Command, FocusKeys, Switch
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.book_frame import BookFrame, message_of
from orderbook_desktop.gui.panes.ladder.column_menu import VolumeMenu, column_menu
from orderbook_desktop.gui.panes.ladder.flow import LadderFlow
from orderbook_desktop.gui.panes.ladder.layout import (
    FLOW_COLUMNS,
    OPTIONAL_COLUMNS,
    VOLUME_COLUMNS,
    Column,
    ColumnChoice,
    Grid,
    Span,
    lay_out_columns,
    lay_out_lines,
)
from orderbook_desktop.gui.panes.ladder.model import LadderModel
from orderbook_desktop.gui.panes.ladder.painter import LadderPainter
from orderbook_desktop.gui.panes.ladder.position import Row
from orderbook_desktop.gui.panes.ladder.scene import PADDING, LadderScene, table_of
from orderbook_desktop.gui.panes.pane import Pane
from orderbook_desktop.gui.panes.row_table import RowTable, TableColumn
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme

_RECENTRE: Final = Action(
    "&Recentre the ladder", "bring the ladder back to the spread", ("Ctrl+Home",)
)
_HIGHLIGHT: Final = Action("&Highlight changes", "mark the sizes in the ladder that changed")
_STATIC: Final = Action(
    "Ladder &stands still", "ladder: a row for each price step, standing still, or not", ("S",)
)
_COLUMNS: Final = Action(
    "Ladder c&olumns…", "the ladder's columns, their order, and the size of its text"
)
_LARGER: Final = Action(
    "Ladder: &larger text", "larger text in the ladder", ("Alt++", "Alt+="), ("Ctrl+wheel",)
)
_SMALLER: Final = Action("Ladder: s&maller text", "smaller text in the ladder", ("Alt+-",))
_PICK: Final = Action(
    "Ladder: pick a row", "in the ladder: pick the row above or below", ("Up", "Down")
)
_SCROLL: Final = Action(
    "Ladder: scroll",
    "in the ladder: scroll by a page; the picked row goes along",
    ("PgUp", "PgDown"),
    ("wheel",),
)
_TO_SPREAD: Final = Action(
    "Ladder: back to the spread", "in the ladder: back to the spread", ("Space", "C", "Home")
)
_COPY: Final = Action(
    "Ladder: copy the picked row",
    "in the ladder: copy the picked row, with its exact values",
    ("Ctrl+C", "Ctrl+Ins"),
)
_PICK_NONE: Final = Action("Ladder: pick no row", "in the ladder: pick no row", ("Esc",))

_FRESH_MS: Final = 250
_WHEEL_ROWS: Final = 3
# Percent of the window's text.
_TEXT_SIZES: Final = (80, 90, 100, 115, 130, 150, 175, 200)
_LINE_MARGIN: Final = 4
# A column has room for this many digits.
_DIGITS: Final = 12
_VOLUME_DIGITS: Final = 9


class DepthLadder(Pane):
    """The ladder of one book, with a row for each level, group of levels, or price step.

    `preferences` remember the columns, the size of the text, whether the rows stand still, and
    which sizes are marked.
    """

    def __init__(
        self, theme: Theme, preferences: Preferences, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, "Order book ladder", parent)
        self._preferences = preferences
        self._choice = ColumnChoice.of_text(preferences.ladder_columns)
        self.model = LadderModel(
            in_quote=preferences.shows_quote,
            stands_still=preferences.ladder_stands_still,
            large_times=preferences.large_times,
            period=Period.of_text(preferences.volume_period),
            flow_seconds=preferences.flow_seconds,
        )
        self.model.shows_volume, self.model.shows_flow = self._has_volume, self._has_flow
        self._painted: LadderScene | None = None
        self._hovered_at: QPoint | None = None
        self._marked_price: int | None = None
        self._tip: Row | None = None
        self._wheel_rest = 0
        self.highlights_changes = preferences.highlights_changes
        self._calm = QTimer(self, singleShot=True, interval=_FRESH_MS)
        self._calm.timeout.connect(self._calm_down)
        self._recentre = QPushButton(f"Recentre ({_TO_SPREAD.key_names[0]})", self)
        self._recentre.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._recentre.clicked.connect(self.recentre)
        self._recentre.hide()
        self.table = RowTable("Rows of the order book", self)
        self.focus_keys = FocusKeys(
            {
                _PICK: (lambda: self._pick_next(-1), lambda: self._pick_next(1)),
                _SCROLL: (lambda: self._page(1), lambda: self._page(-1)),
                _TO_SPREAD: (self.recentre,),
                _COPY: (self.copy_row,),
                _PICK_NONE: (self._pick_none,),
            }
        )
        self._take_fonts()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a comfortable size, about a third of the window."""
        return QSize(420, 700)

    def commands(self) -> Sequence[Command | Switch]:
        """Return the ladder's entries for the window's view menu."""
        return (
            Command(_RECENTRE, self.recentre),
            Switch(_STATIC, self.stand_still, self.model.stands_still),
            Command(_COLUMNS, self._open_menu),
            Command(_LARGER, lambda: self._change_text(1)),
            Command(_SMALLER, lambda: self._change_text(-1)),
            Switch(_HIGHLIGHT, self._highlight_changes, self.highlights_changes),
        )

    def set_frame(self, frame: BookFrame) -> None:
        """Show `frame`. If its market is another than before, centre it with no row picked."""
        if frame.has_book_of(self.model.frame):
            # The marks of changes stay as long as ever.
            self.model.take_trades(frame)
            self.update()
            return
        self.model.set_frame(frame, self._lines, mark_changes=self.highlights_changes)
        if self.model.has_changes:
            self._calm.start()
        self._moved()

    def begin_anew(self) -> None:
        """Treat the next frame as that of another market."""
        self.model.forget()
        self.update()

    def set_step(self, step: int) -> None:
        """Group by `step` price units of the book's scale."""
        self.model.set_step(step, self._lines)
        self._moved()

    def set_quote_units(self, wanted: bool) -> None:
        """Show sizes and totals in the quote asset, or in the base asset."""
        self.model.set_quote_units(wanted, self._lines)
        self.update()

    def stand_still(self, wanted: bool) -> None:
        """Give each price step a row that stands still, or each level a row around the spread."""
        self._preferences.ladder_stands_still = wanted
        self.model.stand_still(wanted, self._lines)
        self._moved()

    def set_columns(self, choice: ColumnChoice) -> None:
        """Show the columns of `choice`, and remember them."""
        self._choice = choice
        self._preferences.ladder_columns = choice.text
        self.model.shows_volume, self.model.shows_flow = self._has_volume, self._has_flow
        self._take_least_size()
        self._follow_volume()

    def mark_sizes_from(self, times: int) -> None:
        """Mark the sizes that are at least `times` the usual one (0: none), and remember that."""
        self._preferences.large_times = self.model.large_times = times
        self.update()

    def set_pages(self, pages: TradePages | None) -> None:
        """Count older trades from `pages`, too, and begin to count anew."""
        self.model.volume.set_pages(pages)

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write since when the volume counts in `zone`; None: local."""
        self.model.volume.zone = zone

    def count_volume_of(self, period: Period) -> None:
        """Show the traded volume of `period`, and remember that."""
        self._preferences.volume_period = period.text
        self.model.volume.period = period
        self._follow_volume()

    def clear_volume(self, side: Side | None) -> None:
        """Forget what was traded above the mid (`Side.ASK`), below it, or (None) all."""
        if side is None:
            self.model.volume.reset()
        elif self.model.ladder is not None:
            self.model.volume.clear(self.model.ladder, side)
        self._follow_volume()

    @property
    def _has_volume(self) -> bool:
        return not VOLUME_COLUMNS.isdisjoint(self._choice.shown)

    @property
    def _has_flow(self) -> bool:
        return not FLOW_COLUMNS.isdisjoint(self._choice.shown)

    def show_flow_of(self, seconds: int) -> None:
        """Show what was added and pulled in the last `seconds`, and remember that."""
        self._preferences.flow_seconds = seconds
        self.model.flow = LadderFlow(seconds)
        self._follow_volume()

    def _follow_volume(self) -> None:
        if self.model.frame is not None:
            self.model.take_trades(self.model.frame)
        self.update()

    def recentre(self) -> None:
        """Bring the spread back to the middle."""
        self.model.centre(self._lines)
        self._moved()

    def scroll_rows(self, rows: int) -> None:
        """Scroll up by `rows`, towards higher prices; negative: down."""
        self.model.scroll(rows, self._lines)
        self._moved()

    @property
    def scene(self) -> LadderScene | None:
        """The scene to paint; None while a message is shown."""
        return self.model.scene(self._grid(), self._columns())

    @property
    def headings(self) -> dict[Column, str]:
        """The headings of the columns, which name their units."""
        return self.model.headings(self._columns(), self._heading_width)

    @property
    def picked_row(self) -> Row | None:
        """The row picked by keyboard or mouse; None if its price has no row any more."""
        return self.model.picked_row

    def summary(self) -> str:
        """Return best bid, best ask and spread in words, for assistive technology.

        The table of the rows is renewed at the same pace.
        """
        self._renew_table()
        return self.model.summary()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw everything: a whole repaint costs less than to find out what changed."""
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.fillRect(self.rect(), self._theme.panel)
            grid, columns = self._grid(), self._columns()
            body = QRect(0, grid.top, self.width(), grid.bottom - grid.top)
            frame = self.model.frame
            message = message_of(frame) if frame else None
            self._painted = scene = self.model.scene(grid, columns)
            if scene is not None:
                painter.setClipRect(body)
                if self._hovered_at is not None:
                    hovered = scene.row_at(self._hovered_at.y())
                else:
                    hovered = self.model.row_to(self._marked_price, scene)
                self._painter.paint(painter, scene, hovered, self.model.picked)
                painter.setClipping(False)
                for strip, taken in self._strips():
                    self._painter.paint_strip(painter, strip, taken, scene)
            elif message is not None:
                self._painter.paint_message(painter, body, message)
            header = QRect(0, 0, self.width(), self._header_height)
            headings = self.model.headings(columns, self._heading_width)
            self._painter.paint_header(painter, columns, headings, header)
            self._paint_focus(painter)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Keep the rows that are in view, and the button in its place."""
        super().resizeEvent(event)
        self.model.resize(self._lines)
        self._moved()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Scroll by whole rows, also on touchpads that send fractions of a notch.

        With Ctrl the text grows and shrinks.
        """
        is_text = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        self._wheel_rest += event.angleDelta().y() * (1 if is_text else _WHEEL_ROWS)
        steps = int(self._wheel_rest / 120)
        self._wheel_rest -= steps * 120
        if is_text:
            self._change_text(steps)
        else:
            self.scroll_rows(steps)
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Mark the row under the mouse."""
        self._hovered_at = event.position().toPoint()
        row = self._row_at(event.position())
        self.price_pointed.emit(None if row is None else row.price)
        self._renew_tip()
        self.update()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Remove the mark from the row."""
        super().leaveEvent(event)
        self._hovered_at = None
        self.price_pointed.emit(None)
        self._renew_tip()
        self.update()

    def mark_price(self, price: int | None) -> None:
        """Mark the row that a sum from the spread to `price` ends with."""
        if price != self._marked_price:
            self._marked_price = price
            self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Pick the row that is on screen under the mouse, also where newer rows have come since."""
        row = self._row_at(event.position())
        if row is not None and event.button() == Qt.MouseButton.LeftButton:
            self.model.pick(row.price, self._lines)
            self._tell_picked()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802 (Qt's name)
        """Offer the columns, by a right click on the header or by the keyboard's menu key."""
        if event.reason() != QContextMenuEvent.Reason.Mouse:
            self._open_menu()
        elif event.pos().y() < self._header_height:
            x = event.pos().x()
            self._open_menu(
                [column for column, span in self._columns().items() if span.start <= x < span.end],
                event.globalPos(),
            )

    def event(self, event: QEvent) -> bool:
        """Show the exact values of the row under the mouse as its tool tip."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            self._tip = row = self._row_at(event.pos())
            if row is None:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), self.model.describe(row), self)
            return True
        return super().event(event)

    def copy_row(self) -> None:
        """Copy the picked row: side, price, size and total, exact, separated by tabs."""
        text = self.model.copied()
        if text:
            QGuiApplication.clipboard().setText(text)

    def _highlight_changes(self, wanted: bool) -> None:
        self._preferences.highlights_changes = self.highlights_changes = wanted

    def _calm_down(self) -> None:
        self.model.calm_down()
        self.update()

    def _moved(self) -> None:
        """Show what is in view now, and offer the way back if the ladder is away from home."""
        away = not self.model.is_home
        if away == self._recentre.isHidden():
            self._recentre.setVisible(away)
            self.model.resize(self._lines)
        if away:
            self._place_button()
        self._renew_tip()
        self.update()

    def _place_button(self) -> None:
        """Put the button into the strip below the rows, where it covers none."""
        size, top = self._recentre.sizeHint(), self._grid().bottom
        y = top + (self.height() - top - size.height()) // 2
        self._recentre.setGeometry(QRect(QPoint(self.width() - size.width() - PADDING, y), size))

    def _renew_tip(self) -> None:
        """Keep the tool tip true: it follows its row's values, and goes away with its row."""
        if self._tip is None:
            return
        scene = self.scene if self._hovered_at is not None else None
        row = scene.row_at(self._hovered_at.y()) if scene and self._hovered_at else None
        text = self.model.describe(self._tip) if row == self._tip else ""
        if not text or not QToolTip.isVisible():
            self._tip = None
            QToolTip.hideText()
        elif text != QToolTip.text() and self._hovered_at is not None:
            QToolTip.showText(self.mapToGlobal(self._hovered_at), text, self)

    @property
    def _lines(self) -> int:
        return self._grid().lines

    def _grid(self) -> Grid:
        top = self._header_height + (self._strip_height if self.model.stands_still else 0)
        grid = lay_out_lines(top, self.height(), self._line_height)
        # The strip takes whole lines, so that no row moves when it comes or goes.
        return grid if self.model.is_home else grid.without(self._strip_height)

    def _strips(self) -> Iterator[tuple[QRect, int]]:
        """Iterate over the places of mid and spread outside of the rows, with the width taken."""
        if self.model.stands_still:
            yield QRect(0, self._header_height, self.width(), self._strip_height), 0
        if not self.model.is_home:
            top = self._grid().bottom
            strip = QRect(0, top, self.width(), self.height() - top)
            yield strip, self._recentre.width() + PADDING

    def _columns(self) -> dict[Column, Span]:
        width = max(self._painter.price_width(text) for text in self.model.price_texts())
        heading = round(self._heading_width(self.model.price_heading))
        return lay_out_columns(self._choice, self.width(), max(width, heading + 2 * PADDING))

    def _row_at(self, at: QPoint | QPointF) -> Row | None:
        """Return the row that is on screen at `at`."""
        scene = self._painted
        return scene.row_at(int(at.y())) if scene is not None and self.model.shows_rows else None

    def _page(self, up: int) -> None:
        """Scroll by a page, and take the picked row along."""
        rows = max(1, self._lines // 2 - 1)
        if self.model.picked_row is not None:
            self.model.pick_next(-up * rows, self._lines)
            self._tell_picked()
        else:
            self.scroll_rows(up * rows)

    def _pick_next(self, down: int) -> None:
        self.model.pick_next(down, self._lines)
        self._tell_picked()

    def _pick_none(self) -> None:
        self.model.picked = None
        self.update()

    def _tell_picked(self) -> None:
        """Have the picked row read out."""
        row = self.model.picked_row
        if row is not None:
            self._renew_table()
            self._read_out(self.model.describe(row))
        self._moved()

    def _renew_table(self) -> None:
        scene, headings = self.scene, self.headings
        spans = scene.columns if scene is not None else {}
        columns = [TableColumn(headings[column], span.length) for column, span in spans.items()]
        self.table.show_rows(table_of(scene, self.model.picked), columns)

    def _open_menu(self, over: Sequence[Column] = (), at: QPoint | None = None) -> None:
        menu = column_menu(
            self,
            self._choice,
            over or self._choice.shown,
            self.set_columns,
            (self._preferences.large_times, self.mark_sizes_from),
            VolumeMenu(self.model.volume.period, self.count_volume_of, self.clear_volume),
            (self.model.flow.seconds, self.show_flow_of),
        )
        menu.popup(at or self.mapToGlobal(QPoint(PADDING, self._header_height)))

    def _change_text(self, steps: int) -> None:
        """Use the text `steps` sizes larger, and remember that."""
        now = self._preferences.ladder_text
        sizes = sorted({*_TEXT_SIZES, now})
        place = max(0, min(len(sizes) - 1, sizes.index(now) + steps))
        if sizes[place] != now:
            self._preferences.ladder_text = sizes[place]
            self._take_fonts()
            self.model.resize(self._lines)
            self._moved()

    def _take_fonts(self) -> None:
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * self._preferences.ladder_text / 100)
        self._numbers = NumberMetrics(number_font(font))
        self._line_height = round(self._numbers.height) + _LINE_MARGIN
        # The widths of headings are those of texts that change only their digits, too.
        self._heading_width = NumberMetrics(QFont(self.font())).width
        self._painter = LadderPainter(self._theme, QFont(self.font()), self._numbers)
        self._header_height = max(self._line_height, self.fontMetrics().height() + 4) + 4
        self._strip_height = max(self._line_height, self._recentre.sizeHint().height()) + 6
        self._take_least_size()

    def _take_least_size(self) -> None:
        """Leave the columns the room that they need."""
        volumes = len(OPTIONAL_COLUMNS.intersection(self._choice.shown))
        digits = 3 * _DIGITS + volumes * _VOLUME_DIGITS
        self.setMinimumSize(round(self._numbers.digit * digits) + 40, 10 * self._line_height)
