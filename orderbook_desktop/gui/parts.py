"""Small parts that several panels use, and the base classes of all dialogs and their tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from PySide6.QtCore import (
    QAbstractTableModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSize,
    Qt,
    QTimer,
)
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStackedWidget,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.gui.theme import text_scale

ModelIndex = QModelIndex | QPersistentModelIndex
NO_PARENT: Final = QModelIndex()
_RIGHT: Final = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LEFT: Final = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
# About the size of a window's frame.
_FRAME: Final = QSize(8, 40)
_LOOK_MS: Final = 500


class Dialog(QDialog):
    """A window that belongs to another one, and takes over its actions: their keys work here, too.

    A dialog doesn't block its window, unless it is a question (see `Question`).
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.addActions(parent.window().actions())


class ColumnModel(QAbstractTableModel):
    """A table's model with fixed columns: `headings`, each with whether it is of numbers."""

    def __init__(self, headings: Iterable[tuple[str, bool]], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._headings = list(headings)

    def columnCount(self, parent: ModelIndex = NO_PARENT) -> int:  # noqa: N802 (Qt's name)
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self._headings)

    def headerData(  # noqa: N802 (Qt's name)
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> object:
        """Return a heading, or its alignment, which is that of its column."""
        if orientation is not Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._headings[section][0]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self.alignment(section)
        return None

    def alignment(self, column: int) -> Qt.AlignmentFlag:
        """Return the alignment of a column's cells."""
        return _RIGHT if self._headings[column][1] else _LEFT


def set_up_rows(table: QTableView) -> None:
    """Let whole rows of `table` be selected, and give them one height, by its font.

    With one height for all, thousands of rows cost nothing.
    """
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
    table.setTabKeyNavigation(False)
    table.setShowGrid(False)
    table.setWordWrap(False)
    rows = table.verticalHeader()
    rows.hide()
    rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    rows.setDefaultSectionSize(table.fontMetrics().height() + 10)
    table.horizontalHeader().setHighlightSections(False)


class ColumnTable(QTableView):
    """A table of rows, one of which can be selected; in a narrow window it scrolls.

    Each column is as wide as its text in `widest`. The last one takes the rest, if that is more.
    """

    def __init__(
        self, model: QAbstractTableModel, widest: Sequence[str], name: str, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._widest = widest
        self.setModel(model)
        self.setAccessibleName(name)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._measure()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Give the last column the room that is left, but never less than it needs."""
        super().resizeEvent(event)
        self._widen_last()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Use a changed font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._measure()
            self._widen_last()

    def _measure(self) -> None:
        set_up_rows(self)
        metrics = self.fontMetrics()
        for place, widest in enumerate(self._widest):
            width = metrics.horizontalAdvance(widest) + 26
            self.horizontalHeader().resizeSection(place, width)
        self._last_width = width

    def _widen_last(self) -> None:
        columns, last = self.horizontalHeader(), len(self._widest) - 1
        others = columns.length() - columns.sectionSize(last)
        columns.resizeSection(last, max(self._last_width, self.viewport().width() - others))


def text_label(parent: QWidget, name: str = "") -> QLabel:
    """Return a label for plain, selectable sentences; the style sheet finds it by `name`."""
    label = QLabel(parent)
    label.setObjectName(name)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def push_button(parent: QWidget, text: str, command: Callable[[], None]) -> QPushButton:
    """Return a button that calls `command`."""
    button = QPushButton(text, parent)
    # The lambda drops the signal's argument, whether the button is checked.
    button.clicked.connect(lambda: command())  # noqa: PLW0108
    return button


def size_on_screen(window: QWidget, wanted: QSize) -> QSize:
    """Return `wanted`, limited to the room on the screen of `window`."""
    return wanted.boundedTo(window.screen().availableSize() - _FRAME)


class ListDialog(Dialog):
    """A dialog with a table, which looks again twice a second while it is visible.

    `note` is what it says in the table's place where there is no row. A subclass calls `lay_out`,
    and overrides `look`.
    """

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.headline = text_label(self)
        self.note = text_label(self, "emptyList")
        self.note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.close_button = push_button(self, "Close", self.reject)
        self._middle = QStackedWidget(self)
        self._table: QTableView | None = None
        self._timer = QTimer(self, interval=_LOOK_MS)
        self._timer.timeout.connect(self.look)

    def look(self) -> None:
        """Show the rows as they are now."""
        raise NotImplementedError

    def show_rows(self, *, has_rows: bool, is_new: bool) -> None:
        """Show the table, or the note; where the rows are new, select the first one."""
        table = self._table
        if table is None:
            return
        self._middle.setCurrentWidget(table if has_rows else self.note)
        if has_rows and is_new:
            table.selectRow(0)
            # Before, the table was hidden, and the button had the focus.
            table.setFocus()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Look at once, and twice a second from then on."""
        super().showEvent(event)
        self.look()
        self._timer.start()
        if self._table is not None:
            self._table.setFocus()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop looking."""
        super().hideEvent(event)
        self._timer.stop()

    def lay_out(self, table: QTableView, buttons: Iterable[QPushButton], size: QSize) -> None:
        """Put `table` above `buttons`, in a window of `size` for text of the usual size."""
        self._table = table
        self._middle.addWidget(table)
        self._middle.addWidget(self.note)
        bottom = QHBoxLayout()
        for button in buttons:
            bottom.addWidget(button)
        bottom.addStretch(1)
        bottom.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 12, 14, 12)
        column.setSpacing(8)
        column.addWidget(self.headline)
        column.addWidget(self._middle, 1)
        column.addLayout(bottom)
        self.resize(size_on_screen(self, size * text_scale(self)))
