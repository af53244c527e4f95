"""A pane's rows as a table, for assistive technology: the pane itself is one picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QFrame, QHeaderView, QTableView, QWidget

_Index = QModelIndex | QPersistentModelIndex
_TEXT_ROLES: Final = (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole)


class TableCell(NamedTuple):
    """The text of a cell, and what is read out in its place, where that is more."""

    text: str
    spoken: str = ""


class TableRow(NamedTuple):
    """A row of the table: its cells, and its place from the y coordinate `top` to before `end`."""

    cells: tuple[TableCell, ...]
    top: int
    end: int
    is_picked: bool


class TableColumn(NamedTuple):
    """A column of the table: its heading, which names its unit, and its width."""

    heading: str
    width: int


class RowTable(QTableView):
    """A table that lies invisibly over a pane's rows; `name` is its name when it is read out.

    Assistive technology finds rows, cells and headings in it, in their places. The mouse and the
    keyboard reach the pane below.
    """

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAccessibleName(name)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAutoFillBackground(False)
        # Its changes would have the whole pane below drawn once more.
        self.setUpdatesEnabled(False)
        for header in (self.horizontalHeader(), self.verticalHeader()):
            header.setMinimumSectionSize(1)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            header.hide()
        self._rows = _Rows(self)
        self.setModel(self._rows)

    def show_rows(self, rows: Sequence[TableRow], columns: Sequence[TableColumn]) -> None:
        """Have these rows, from the top to the bottom, and select the picked row."""
        top, bottom = (rows[0].top, rows[-1].end) if rows else (0, 0)
        width = sum(column.width for column in columns)
        self.setGeometry(QRect(0, top, width, bottom - top))
        self._rows.show_rows(rows, [column.heading for column in columns])
        for place, column in enumerate(columns):
            self.setColumnWidth(place, column.width)
        # The room between two rows belongs to the row above it.
        tops = [row.top for row in rows] + [row.end for row in rows[-1:]]
        for place, (top, after) in enumerate(itertools.pairwise(tops)):
            self.setRowHeight(place, after - top)
        chosen = [place for place, row in enumerate(rows) if row.is_picked]
        if chosen:
            self.selectRow(chosen[0])
        else:
            self.clearSelection()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw nothing: the pane has drawn the rows."""


class _Rows(QAbstractTableModel):
    def __init__(self, parent: RowTable) -> None:
        super().__init__(parent)
        self._rows: Sequence[TableRow] = ()
        self._headings: list[str] = []

    def show_rows(self, rows: Sequence[TableRow], headings: list[str]) -> None:
        """Have other rows; where their number is the same, only the cells have changed."""
        if len(rows) != len(self._rows) or len(headings) != len(self._headings):
            self.beginResetModel()
            self._rows, self._headings = rows, headings
            self.endResetModel()
            return
        self._rows = rows
        if headings != self._headings:
            self._headings = headings
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(headings) - 1)
        if rows:
            last = self.index(len(rows) - 1, len(headings) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: N802, B008 (Qt's)
        """Return the number of rows in view."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: N802, B008 (Qt's)
        """Return the number of columns shown."""
        return 0 if parent.isValid() else len(self._headings)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return the text of a cell, or what is read out in its place."""
        if role not in _TEXT_ROLES:
            return None
        cell = self._rows[index.row()].cells[index.column()]
        return cell.text if role == Qt.ItemDataRole.DisplayRole else cell.spoken or cell.text

    def headerData(  # noqa: N802 (Qt's name)
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return a column's heading, which names its unit."""
        if orientation is not Qt.Orientation.Horizontal or role not in _TEXT_ROLES:
            return None
        return self._headings[section]
