"""The ladder's rows as a table, for assistive technology: the ladder itself is one picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QFrame, QHeaderView, QTableView, QWidget

from orderbook_desktop.gui.panes.ladder.layout import Column
from orderbook_desktop.gui.panes.ladder.scene import LadderRow, LadderScene

_Index = QModelIndex | QPersistentModelIndex
_TEXT_ROLES: Final = (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole)


class RowTable(QTableView):
    """A table that lies invisibly over the ladder's rows.

    Assistive technology finds rows, cells and headings in it, in their places. The mouse and the
    keyboard reach the ladder below.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAccessibleName("Rows of the order book")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAutoFillBackground(False)
        # Its changes would have the whole ladder below drawn once more.
        self.setUpdatesEnabled(False)
        for header in (self.horizontalHeader(), self.verticalHeader()):
            header.setMinimumSectionSize(1)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            header.hide()
        self._rows = _Rows(self)
        self.setModel(self._rows)

    def show_scene(
        self,
        scene: LadderScene | None,
        headings: Mapping[Column, str],
        width: int,
        picked: int | None,
    ) -> None:
        """Have the rows of `scene`, in its `width`; select the row at the price `picked`."""
        rows = [] if scene is None else sorted(scene.rows, key=lambda row: row.span.start)
        columns = {} if scene is None else scene.columns
        top, bottom = (rows[0].span.start, rows[-1].span.end) if rows else (0, 0)
        self.setGeometry(QRect(0, top, width, bottom - top))
        self._rows.show_rows(rows, {column: headings[column] for column in columns})
        for place, span in enumerate(columns.values()):
            self.setColumnWidth(place, span.length)
        # The room of the spread belongs to the row above it.
        tops = [row.span.start for row in rows] + [row.span.end for row in rows[-1:]]
        for place, (top, after) in enumerate(itertools.pairwise(tops)):
            self.setRowHeight(place, after - top)
        chosen = [place for place, row in enumerate(rows) if row.row.price == picked]
        if chosen:
            self.selectRow(chosen[0])
        else:
            self.clearSelection()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw nothing: the ladder has drawn the rows."""


class _Rows(QAbstractTableModel):
    def __init__(self, parent: RowTable) -> None:
        super().__init__(parent)
        self._rows: Sequence[LadderRow] = ()
        self._headings: dict[Column, str] = {}

    def show_rows(self, rows: Sequence[LadderRow], headings: dict[Column, str]) -> None:
        """Have other rows; where their number is the same, only the cells have changed."""
        if len(rows) != len(self._rows) or list(headings) != list(self._headings):
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
        """Return the text of a cell; the price is told with its side."""
        if role not in _TEXT_ROLES:
            return None
        row, column = self._rows[index.row()], list(self._headings)[index.column()]
        if column is Column.SIZE:
            return row.size
        if column is Column.TOTAL:
            return row.total
        if column is not Column.PRICE:
            return row.volume.bought if column is Column.BOUGHT else row.volume.sold
        if role == Qt.ItemDataRole.DisplayRole:
            return row.price
        return f"{row.row.side.value if row.row.side else 'no level'} {row.price}"

    def headerData(  # noqa: N802 (Qt's name)
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return a column's heading, which names its unit."""
        if orientation is not Qt.Orientation.Horizontal or role not in _TEXT_ROLES:
            return None
        return list(self._headings.values())[section]
