"""The time-and-sales pane's widget: the newest trades on top, and the way back into the past."""

from __future__ import annotations

import re
from datetime import tzinfo
from itertools import pairwise
from typing import Final

from msgspec.structs import replace
from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QFont,
    QGuiApplication,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QComboBox, QLabel, QPushButton, QToolTip, QWidget

from orderbook_desktop.core.desk import TradePages
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.tape_rows import NEW_ROWS_EVERY_MS, Sweep, TapeRow
from orderbook_desktop.gui.actions import Action, FocusKeys
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.book_frame import BookFrame, Message
from orderbook_desktop.gui.panes.pane import Pane, paint_message
from orderbook_desktop.gui.panes.row_table import RowTable, TableCell, TableColumn, TableRow
from orderbook_desktop.gui.panes.time_and_sales.model import TapeModel, TapeScene
from orderbook_desktop.gui.panes.time_and_sales.painter import PADDING, Columns, TapePainter
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme

_SHOW: Final = Action(
    "&Time and sales", "show the trades of this market, or hide them", ("Ctrl+Shift+T",)
)
_PICK: Final = Action("Trades: pick a row", "in the trades: pick a row", ("Up", "Down"))
_SCROLL: Final = Action(
    "Trades: scroll", "in the trades: to newer or older ones", ("PgUp", "PgDown"), ("wheel",)
)
_NEWEST: Final = Action(
    "Trades: the newest", "in the trades: back to the newest ones", ("End", "Home", "Space")
)
_EXPAND: Final = Action(
    "Trades: expand a sum",
    "in the trades: a row for each trade that the picked row sums up",
    ("Return", "Enter"),
    ("double click",),
)
_SIZES: Final = Action("Trades: least size", "in the trades: choose the least size", ("F",))
_COPY: Final = Action(
    "Trades: copy the picked row", "in the trades: copy the picked row", ("Ctrl+C", "Ctrl+Ins")
)
_PICK_NONE: Final = Action("Trades: pick no row", "in the trades: pick no row", ("Esc",))

_ALL_SIZES: Final = "All sizes"
# A decimal, as it is shown or typed; a comma only parts thousands.
_size_in: Final = re.compile(
    r"(?:from\s*)?(\d{1,3}(?:,\d{3})+|\d*)(\.\d+)?(?:\s*[a-z]{2}\w*)?", re.ASCII | re.IGNORECASE
).fullmatch
_WHEEL_ROWS: Final = 3
_LINE_MARGIN: Final = 4


class SizeBox(QComboBox):
    """The choice of the least size of a trade that is shown; any other size can be typed.

    Escape and Return give the focus back to `pane`.

    Signals:
        chosen(): a size was chosen or typed.
    """

    chosen = Signal()

    def __init__(self, pane: QWidget) -> None:
        super().__init__(pane)
        self._pane = pane
        self.setAccessibleName("Least size of the trades shown")
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(13)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.activated.connect(self.chosen)
        line_edit = self.lineEdit()
        if line_edit is not None:
            line_edit.editingFinished.connect(self.chosen)

    def tell(self, text: str) -> None:
        """Show a sentence below the box for a while."""
        QToolTip.showText(self.mapToGlobal(self.rect().bottomLeft()), text, self)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Leave the box after a choice, or without one."""
        super().keyPressEvent(event)
        if event.key() in (Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._pane.setFocus()


class TimeAndSales(Pane):
    """The trades of the market on screen, the newest on top.

    `preferences` remember the least size that is shown of each market. At most so many new rows
    come at a time, and not more often than `NEW_ROWS_EVERY_MS`. Rows that were scrolled back to
    stand still.
    """

    stretch = 1
    shown_by = _SHOW

    def __init__(
        self, theme: Theme, preferences: Preferences, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, "Time and sales", parent)
        self._preferences = preferences
        self.model = TapeModel(
            self._moved,
            in_quote=preferences.shows_quote,
            large_times=preferences.large_times,
        )
        self.table = RowTable("Rows of the trades", self)
        self._shown_message: Message | None = None
        self._wheel_rest = 0
        self._pace = QTimer(self, singleShot=True, interval=NEW_ROWS_EVERY_MS)
        # A coarse timer may be early.
        self._pace.setTimerType(Qt.TimerType.PreciseTimer)
        self._pace.timeout.connect(self.take_trades)
        self._title = QLabel("Trades", self)
        self._title.setObjectName("tapeTitle")
        self.size_box = SizeBox(self)
        self.size_box.chosen.connect(self._choose_size)
        self._newest = QPushButton(f"Newest ({_NEWEST.key_names[0]})", self)
        self._newest.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._newest.clicked.connect(self.go_home)
        self._newest.hide()
        self.focus_keys = FocusKeys(
            {
                _PICK: (lambda: self._pick_next(-1), lambda: self._pick_next(1)),
                _SCROLL: (lambda: self._page(-1), lambda: self._page(1)),
                _NEWEST: (self.go_home,),
                _EXPAND: (self._expand_picked,),
                _SIZES: (self._focus_sizes,),
                _COPY: (self.copy_row,),
                _PICK_NONE: (self._pick_none,),
            }
        )
        self._take_fonts()
        self._fill_sizes()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a comfortable size, in which a sweep says where it began."""
        return QSize(340, 700)

    def set_frame(self, frame: BookFrame) -> None:
        """Follow the trades of `frame`; those of another market begin with the newest."""
        before = self.model.frame
        if before is None or frame.symbol.market != before.symbol.market:
            self.model.set_frame(frame, self._preferences.tape_size(frame.symbol.market))
            self._fill_sizes()
            self._pace.stop()
            self._place_parts()
        elif frame.tape is not before.tape:
            # The rows may be of after the replay's time.
            self.model.go_home()
            self._pace.stop()
        if before is not None and frame.symbol == before.symbol and not frame.has_levels:
            # Where no book is known, as at a gap of a replay, prices keep their places.
            frame = replace(frame, format=before.format)
        self.model.frame = frame
        if not self._pace.isActive():
            self.take_trades()
        elif self.model.message != self._shown_message:
            self.update()

    def set_pages(self, pages: TradePages | None) -> None:
        """Read older trades from `pages`, or (None) from nowhere."""
        self.model.pages = pages
        self.go_home()

    def set_quote_units(self, wanted: bool) -> None:
        """Show sizes in the quote asset, or in the base asset."""
        self.model.in_quote = wanted
        self.update()

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self.model.zone = zone
        self.update()

    def begin_anew(self) -> None:
        """Treat the next frame as that of another market."""
        self.model.frame = None
        self.update()

    def take_trades(self) -> None:
        """Show the trades that have come, and wait until it is time for others."""
        if self.model.frame is None:
            return
        had_presets = bool(self.model.presets)
        has_changed = self.model.follow()
        if has_changed:
            self._pace.start()
        if bool(self.model.presets) != had_presets:
            self._fill_sizes()
        if has_changed or self.model.message != self._shown_message:
            self.update()

    def scroll_rows(self, rows: int) -> None:
        """Scroll by `rows` to older trades; negative: to newer ones."""
        self.model.scroll(rows, self.lines)
        self._moved()

    def go_home(self) -> None:
        """Show the newest trades, and follow them."""
        self.model.go_home()
        self._moved()

    @property
    def lines(self) -> int:
        """How many rows are in view."""
        return max(0, self._body().height() // self._line_height)

    def summary(self) -> str:
        """Return the newest or the picked trade in words, for assistive technology.

        The table of the rows is renewed at the same pace.
        """
        self._renew_table()
        return self.model.summary()

    def _renew_table(self) -> None:
        scene, body, line = self.model.scene(self.lines), self._body(), self._line_height
        if scene is None:
            self.table.show_rows([], [])
            return
        columns = self._columns(scene)
        rows = []
        for place, row in enumerate(scene.rows):
            texts, top = scene.format.texts(row), body.y() + place * line
            whole = " ".join(filter(None, (texts.side, texts.note, texts.whole)))
            spoken = self.model.describe(row).replace("\n", ", ")
            cells = texts.time, whole, texts.price, texts.quantity
            made = (TableCell(cells[0]), TableCell(cells[1], spoken), *map(TableCell, cells[2:]))
            rows.append(TableRow(made, top, top + line, row.first_id == self.model.picked))
        price, size = self._assets
        edges = [0, columns.time, columns.note, columns.price, self.width()]
        headings = "Time", "Side", f"Price, {price}", f"Size, {size}"
        widths = (after - before for before, after in pairwise(edges))
        self.table.show_rows(rows, list(map(TableColumn, headings, widths)))

    @property
    def _assets(self) -> tuple[str, str]:
        """The assets of prices and of sizes."""
        frame = self.model.frame
        if frame is None:
            return "", ""
        symbol = frame.symbol
        return symbol.quote, symbol.quote if self.model.in_quote else symbol.base

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw everything."""
        self.model.large_times = self._preferences.large_times
        self._shown_message = message = self.model.message
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.fillRect(self.rect(), self._theme.panel)
            painter.fillRect(0, 0, self.width(), self._strip_height, self._theme.raised)
            scene, body = self.model.scene(self.lines), self._body()
            columns = self._columns(scene)
            if self.model.frame is not None:
                header = QRect(0, self._strip_height, self.width(), self._header_height)
                self._painter.paint_header(painter, columns, header, self._assets)
            if scene is not None:
                painter.setClipRect(body)
                self._painter.paint(painter, scene, columns, body, self._line_height)
                painter.setClipping(False)
                if not self.model.is_home:
                    strip = QRect(0, body.bottom() + 1, self.width(), self._strip_height)
                    taken = self._newest.width() + PADDING
                    self._painter.paint_place(painter, strip, taken, scene.place_text)
            elif message is not None:
                paint_message(painter, body, message, self.font(), self._theme)
            self._paint_focus(painter)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Keep box and button in their places."""
        super().resizeEvent(event)
        self._place_parts()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Scroll by whole rows, also on touchpads that send fractions of a notch."""
        self._wheel_rest += event.angleDelta().y() * _WHEEL_ROWS
        steps = int(self._wheel_rest / 120)
        self._wheel_rest -= steps * 120
        if steps:
            self.scroll_rows(-steps)
        event.accept()

    def mark_time(self, time_ms: int | None) -> None:
        """Mark the last trade up to the time that is pointed at in another pane."""
        if time_ms != self.model.marked_ms:
            self.model.marked_ms = time_ms
            self.update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Tell the other panes the price of the row under the mouse."""
        row, frame = self.row_at(event.position()), self.model.frame
        price = None
        if isinstance(row, Sweep) and frame is not None:
            finer = frame.format.scale.price - row.scale.price
            price = row.last_price * 10**finer if finer >= 0 else row.last_price // 10**-finer
        self.price_pointed.emit(price)
        self.time_pointed.emit(None if row is None else row.event_ms)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Point at no price."""
        super().leaveEvent(event)
        self.price_pointed.emit(None)
        self.time_pointed.emit(None)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Pick the row under the mouse; the rows stand still from then on."""
        row = self.row_at(event.position())
        if row is not None and event.button() == Qt.MouseButton.LeftButton:
            self.model.pick(row)
            self._tell_picked(row)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Show the trades that a row sums up."""
        row = self.row_at(event.position())
        if row is not None:
            self.model.expand(row)
            self._moved()

    def event(self, event: QEvent) -> bool:
        """Show all that is known of the row under the mouse as its tool tip."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            row = self.row_at(event.pos())
            if row is None:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), self.model.describe(row), self)
            return True
        return super().event(event)

    def row_at(self, at: QPoint | QPointF) -> TapeRow | None:
        """Return the row that is on screen at `at`."""
        body, view = self._body(), self.model.view(self.lines)
        place = int((at.y() - body.y()) // self._line_height)
        return view[place] if 0 <= place < len(view) and at.y() < body.bottom() else None

    def copy_row(self) -> None:
        """Copy all that is known of the picked row."""
        row = self.model.picked_row
        if row is not None:
            QGuiApplication.clipboard().setText(self.model.describe(row))

    def _body(self) -> QRect:
        top = self._strip_height + self._header_height
        below = 0 if self.model.is_home else self._strip_height
        return QRect(0, top, self.width(), max(0, self.height() - top - below))

    def _columns(self, scene: TapeScene | None) -> Columns:
        if scene is None:
            return self._painter.columns(self.width(), [], [])
        prices = [scene.format.price_text(row) for row in scene.rows]
        began = [scene.format.range_text(row) for row in scene.rows]
        return self._painter.columns(self.width(), prices, began)

    def _moved(self) -> None:
        away = not self.model.is_home
        if away == self._newest.isHidden():
            self._newest.setVisible(away)
        self._place_parts()
        self.update()

    def _page(self, down: int) -> None:
        self.scroll_rows(down * max(1, self.lines - 1))

    def _pick_next(self, down: int) -> None:
        row = self.model.pick_next(down, self.lines)
        if row is not None:
            self._tell_picked(row)
        self._moved()

    def _pick_none(self) -> None:
        self.model.picked = None
        self.update()

    def _expand_picked(self) -> None:
        row = self.model.picked_row
        if row is not None:
            self.model.expand(row)
            self._moved()

    def _tell_picked(self, row: TapeRow) -> None:
        """Have the picked row read out."""
        self._renew_table()
        self._read_out(self.model.describe(row))
        self._moved()

    def _focus_sizes(self) -> None:
        self.size_box.setFocus(Qt.FocusReason.ShortcutFocusReason)
        line_edit = self.size_box.lineEdit()
        if line_edit is not None:
            line_edit.selectAll()

    def _choose_size(self) -> None:
        """Show what the box says, and remember it; a text that is no size is told as such."""
        frame, text = self.model.frame, self.size_box.currentText()
        wanted = _typed_size(text.strip().removesuffix(self._base))
        if wanted is None:
            self.size_box.tell(f"{plain_text(text, 20)} is no size; type a number, such as 0.5")
        elif frame is not None and wanted != self.model.size.text:
            self.model.show_sizes(wanted)
            self._preferences.set_tape_size(frame.symbol.market, self.model.size.text)
            self._moved()
        self._show_size()

    def _fill_sizes(self) -> None:
        self.size_box.clear()
        self.size_box.addItem(_ALL_SIZES)
        self.size_box.addItems([self._from_text(size) for size in self.model.presets])
        self._show_size()

    def _show_size(self) -> None:
        size = self.model.size.text
        self.size_box.setCurrentText(self._from_text(size) if size else _ALL_SIZES)

    def _from_text(self, size: str) -> str:
        return f"from {size} {self._base}".strip()

    @property
    def _base(self) -> str:
        """The asset of sizes, whichever unit the pane shows them in."""
        return self.model.frame.symbol.base if self.model.frame is not None else ""

    def _place_parts(self) -> None:
        size = self.size_box.sizeHint()
        room = min(size.width(), max(0, self.width() - 2 * PADDING))
        left = self.width() - PADDING - room
        self.size_box.setGeometry(
            left, (self._strip_height - size.height()) // 2, room, size.height()
        )
        self._title.setGeometry(PADDING, 0, max(0, left - 2 * PADDING), self._strip_height)
        button = self._newest.sizeHint()
        top = self.height() - (self._strip_height + button.height()) // 2
        self._newest.setGeometry(
            QRect(QPoint(self.width() - button.width() - PADDING, top), button)
        )

    def _take_fonts(self) -> None:
        font = QFont(self.font())
        self._numbers = NumberMetrics(number_font(font))
        self._painter = TapePainter(self._theme, font, self._numbers)
        self._line_height = round(self._numbers.height) + _LINE_MARGIN
        self._header_height = max(self._line_height, self.fontMetrics().height() + 4) + 4
        self._strip_height = max(self._line_height, self.size_box.sizeHint().height()) + 6
        self.setMinimumSize(self._painter.least_width, 8 * self._line_height)
        self._place_parts()


def _typed_size(text: str) -> str | None:
    """Return the decimal that a person chose or typed; empty: all sizes; None: it is no size."""
    text = text.strip()
    if not text or text == _ALL_SIZES:
        return ""
    found = _size_in(text)
    if found is None or not (found[1] or found[2]):
        return None
    return (found[1] or "0").replace(",", "") + (found[2] or "")
