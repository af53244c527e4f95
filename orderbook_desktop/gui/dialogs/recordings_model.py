"""The model of the library's table: its rows, their colours, and their order."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, QSortFilterProxyModel, Qt
from PySide6.QtGui import QColor

from orderbook_desktop.core.recording_status import RecordingState
from orderbook_desktop.gui.dialogs.library_columns import COLUMNS, STATE_COLUMN, LibraryRow
from orderbook_desktop.gui.parts import NO_PARENT, ColumnModel, ModelIndex
from orderbook_desktop.gui.theme import Theme

_SortKey = tuple[float, str, str]


class RecordingsModel(ColumnModel):
    """One row for each market; `show_rows` changes only the rows that differ."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__([(column.heading, column.is_number) for column in COLUMNS], parent)
        self._rows: list[LibraryRow] = []
        self._theme = theme

    @property
    def rows(self) -> Sequence[LibraryRow]:
        """The rows from top to bottom."""
        return self._rows

    def show_rows(self, rows: Sequence[LibraryRow]) -> None:
        """Bring the rows up to date; those that stay keep their place and selection."""
        new = {row.key: row for row in rows}
        for place in reversed(range(len(self._rows))):
            if self._rows[place].key not in new:
                self.beginRemoveRows(NO_PARENT, place, place)
                del self._rows[place]
                self.endRemoveRows()
        last = len(COLUMNS) - 1
        for place, known in enumerate(self._rows):
            changed = new.pop(known.key)
            if not _is_same(known, changed):
                self._rows[place] = changed
                self.dataChanged.emit(self.index(place, 0), self.index(place, last))
        if new:
            first = len(self._rows)
            self.beginInsertRows(NO_PARENT, first, first + len(new) - 1)
            self._rows.extend(new.values())
            self.endInsertRows()

    def set_theme(self, theme: Theme) -> None:
        """Use the colours of `theme` from now on."""
        self._theme = theme
        if self._rows:
            last = self.index(len(self._rows) - 1, len(COLUMNS) - 1)
            self.dataChanged.emit(self.index(0, 0), last, [Qt.ItemDataRole.ForegroundRole])

    def rowCount(self, parent: ModelIndex = NO_PARENT) -> int:  # noqa: N802 (Qt's name)
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: ModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return a cell's text, tool tip, alignment or colour."""
        row, column = self._rows[index.row()], COLUMNS[index.column()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return column.text(row)
            case Qt.ItemDataRole.ToolTipRole:
                return column.tip(row)
            case Qt.ItemDataRole.TextAlignmentRole:
                return self.alignment(index.column())
            case Qt.ItemDataRole.ForegroundRole:
                return self._colour(row, index.column())
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{column.heading}: {column.text(row)}"
        return None

    def sort_key(self, place: int, column: int) -> _SortKey:
        """Return the sort key of a row for `column`; equal values are sorted by symbol."""
        row = self._rows[place]
        return COLUMNS[column].key(row), row.symbol, row.key.file

    def _colour(self, row: LibraryRow, column: int) -> QColor:
        theme, recording = self._theme, row.recording
        if column == STATE_COLUMN and recording is not None:
            return {
                RecordingState.FAILED: theme.trouble,
                RecordingState.RECORDING: theme.good,
                RecordingState.ELSEWHERE: theme.text,
                RecordingState.STOPPED: theme.muted,
            }.get(recording.state, theme.caution)
        is_idle = recording is None or recording.state is RecordingState.STOPPED
        return theme.muted if COLUMNS[column].is_live and is_idle else theme.text


def _is_same(one: LibraryRow, other: LibraryRow) -> bool:
    """Whether two rows show the same; entries are the same objects until they change."""
    is_stored_same = one.entry is other.entry and one.gaps is other.gaps
    return is_stored_same and (one.recording, one.zone) == (other.recording, other.zone)


class SortedRecordings(QSortFilterProxyModel):
    """The rows of a `RecordingsModel`, sorted by the chosen column."""

    def __init__(self, model: RecordingsModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.setSourceModel(model)

    def row(self, place: int) -> LibraryRow:
        """Return the row at `place` of the sorted table."""
        return self._model.rows[self.mapToSource(self.index(place, 0)).row()]

    def lessThan(self, left: ModelIndex, right: ModelIndex) -> bool:  # noqa: N802 (Qt's name)
        """Compare two rows by the sort key of their column."""
        return self._model.sort_key(left.row(), left.column()) < self._model.sort_key(
            right.row(), right.column()
        )
