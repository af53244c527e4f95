"""The list of the bookmarks of a replay, with their notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Final

from PySide6.QtCore import QObject, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QWidget

from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.replay import Bookmark, Replay
from orderbook_desktop.core.time_text import moment_text
from orderbook_desktop.gui.parts import (
    NO_PARENT,
    ColumnModel,
    ColumnTable,
    ListDialog,
    ModelIndex,
    push_button,
)

_TIME, _ID, _NOTE = range(3)
_HEADINGS: Final = (("Time", False), ("Update id", True), ("Note", False))
_WIDEST: Final = (f"{moment_text(0)} +00:00", "9" * 15, "A note of some words, in a line")
_EMPTY: Final = "There is no bookmark yet. B marks the moment on screen."


class BookmarkModel(ColumnModel):
    """One row for each bookmark, in order of time. A note is changed in its cell.

    `change` takes the key of a bookmark and its new note.
    """

    def __init__(self, change: Callable[[str, str], None], parent: QObject | None = None) -> None:
        super().__init__(_HEADINGS, parent)
        self._change = change
        self._rows: Sequence[Bookmark] = ()
        self._zone: tzinfo | None = None

    def show_bookmarks(self, bookmarks: Sequence[Bookmark], zone: tzinfo | None) -> None:
        """Show `bookmarks`, with times in `zone` (None: local)."""
        if bookmarks is self._rows and zone is self._zone:
            return
        is_same_rows = [one.key for one in bookmarks] == [one.key for one in self._rows]
        if is_same_rows:
            # A selected row stays selected.
            self._rows, self._zone = bookmarks, zone
            if self._rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, _NOTE))
            return
        self.beginResetModel()
        self._rows, self._zone = bookmarks, zone
        self.endResetModel()

    def bookmark(self, row: int) -> Bookmark:
        """Return the bookmark of a row."""
        return self._rows[row]

    def rowCount(self, parent: ModelIndex = NO_PARENT) -> int:  # noqa: N802 (Qt's name)
        """Return the number of bookmarks."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: ModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return a cell's text or alignment."""
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self.alignment(index.column())
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return None
        bookmark = self._rows[index.row()]
        match index.column():
            case 0:
                return moment_text(bookmark.event_ms, self._zone)
            case 1:
                return str(bookmark.update_id) if bookmark.update_id else "in a gap"
        return bookmark.note

    def flags(self, index: ModelIndex) -> Qt.ItemFlag:
        """Let notes be changed."""
        usual = super().flags(index)
        return usual | Qt.ItemFlag.ItemIsEditable if index.column() == _NOTE else usual

    def setData(  # noqa: N802 (Qt's name)
        self, index: ModelIndex, value: object, role: int = Qt.ItemDataRole.EditRole
    ) -> bool:
        """Give a bookmark another note."""
        bookmark = self._rows[index.row()]
        if role != Qt.ItemDataRole.EditRole or value == bookmark.note:
            return False
        self._change(bookmark.key, str(value).strip())
        return True


class BookmarkTable(ColumnTable):
    """The table of the bookmarks.

    Signals:
        removal_wanted(): the person wants to remove the selected bookmark.
    """

    removal_wanted = Signal()

    def __init__(self, model: BookmarkModel, parent: QWidget) -> None:
        super().__init__(model, _WIDEST, "Bookmarks", parent)
        self.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Remove by Delete."""
        if event.key() == Qt.Key.Key_Delete:
            self.removal_wanted.emit()
        else:
            super().keyPressEvent(event)


class BookmarkList(ListDialog):
    """Shows the bookmarks of the replay of `desk`, and keeps them up to date while it is visible.

    Return goes to the selected one, F2 changes its note, Delete removes it, Escape closes.

    Signals:
        wanted(object): the person wants to go to this `Bookmark`.
    """

    wanted = Signal(object)

    def __init__(self, desk: Desk, parent: QWidget, zone: tzinfo | None = None) -> None:
        super().__init__("bookmarkList", parent)
        self._desk = desk
        self._zone = zone
        self.setWindowTitle("Bookmarks")
        self.model = BookmarkModel(self._change_note, self)
        self.table = BookmarkTable(self.model, self)
        self.go_button = push_button(self, "&Go there", self._go)
        self.go_button.setDefault(True)
        self.note_button = push_button(self, "Change &note", self._edit_note)
        self.remove_button = push_button(self, "&Remove", self._remove)
        self.table.removal_wanted.connect(self._remove)
        self.table.doubleClicked.connect(self._go_or_edit)
        self._buttons = self.go_button, self.note_button, self.remove_button
        self.lay_out(self.table, self._buttons, QSize(760, 360))

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        self.look()

    def look(self) -> None:
        """Show the bookmarks as they are now; without a replay, close."""
        replay = self._desk.replay
        if replay is None:
            self.reject()
            return
        had_rows = bool(self.model.rowCount())
        self.model.show_bookmarks(replay.bookmarks, self._zone)
        has_rows = bool(self.model.rowCount())
        problem = replay.bookmarks_problem
        self.headline.setText(problem or f"Bookmarks in the recording of {replay.status.symbol}")
        self.note.setText("" if problem else _EMPTY)
        is_new = not had_rows or not self.table.selectionModel().hasSelection()
        self.show_rows(has_rows=has_rows, is_new=is_new)
        for button in self._buttons:
            button.setEnabled(has_rows)

    def _selected(self) -> tuple[Replay, Bookmark] | None:
        replay, rows = self._desk.replay, self.table.selectionModel().selectedRows()
        if replay is None or not rows:
            return None
        return replay, self.model.bookmark(rows[0].row())

    def _change_note(self, key: str, note: str) -> None:
        replay = self._desk.replay
        if replay is not None:
            replay.change_bookmark(key, note)

    def _go(self) -> None:
        selected = self._selected()
        if selected is not None:
            self.wanted.emit(selected[1])

    def _go_or_edit(self, index: ModelIndex) -> None:
        if index.column() == _NOTE:
            self._edit_note()
        else:
            self._go()

    def _edit_note(self) -> None:
        rows = self.table.selectionModel().selectedRows(_NOTE)
        if rows:
            self.table.edit(rows[0])

    def _remove(self) -> None:
        selected = self._selected()
        if selected is not None:
            replay, bookmark = selected
            replay.remove_bookmark(bookmark.key)
            self.look()
