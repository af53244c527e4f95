"""The library's table: whole rows are selected, by keys and mouse, and each key has a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from PySide6.QtCore import (
    QEvent,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    Qt,
)
from PySide6.QtGui import QKeyEvent, QPainter, QPalette, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from orderbook_desktop.core.library_jobs import gap_columns
from orderbook_desktop.core.recording_status import RecordingState
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.gui.actions import Action, FocusKeys
from orderbook_desktop.gui.dialogs.library_columns import COVERED_COLUMN, STATE_COLUMN, state_text
from orderbook_desktop.gui.dialogs.recordings_model import SortedRecordings
from orderbook_desktop.gui.parts import set_up_rows
from orderbook_desktop.gui.theme import Theme

TOGGLE: Final = Action(
    "Recordings: start or stop", "in the list of recordings: start or stop", ("Space",)
)
SHOW: Final = Action(
    "Recordings: show on screen",
    "in the list of recordings: show on screen; play what is in a file",
    ("Enter", "Return"),
    ("double click",),
)
TAKE_OFF: Final = Action(
    "Recordings: take off the list",
    "in the list of recordings: take off the list; what has been recorded stays",
    ("Del",),
)
GAPS: Final = Action(
    "Recordings: gaps", "in the list of recordings: the gaps of the recording", ("G",)
)
HERE_TOO: Final = Action(
    "Recordings: record here, too",
    "in the list of recordings: record also while another program records it, or not",
    ("T",),
)
PLAY: Final = Action("Recordings: play", "in the list of recordings: play what is stored", ("P",))
VERIFY: Final = Action(
    "Recordings: verify", "in the list of recordings: prove the recording", ("V",)
)
EXPORT: Final = Action(
    "Recordings: export", "in the list of recordings: write the recording to a file", ("E",)
)
PACK: Final = Action(
    "Recordings: pack", "in the list of recordings: pack recordings into one file (.obd)", ("K",)
)
MERGE: Final = Action(
    "Recordings: merge", "in the list of recordings: merge a file into the database", ("M",)
)
REMOVE: Final = Action(
    "Recordings: remove for ever",
    "in the list of recordings: remove what was recorded, all or a part, after asking",
    ("Shift+Del",),
)
IMPORT: Final = Action(
    "Recordings: import", "in the list of recordings: import other collectors' files", ("I",)
)
OPEN: Final = Action("Recordings: open", "in the list of recordings: open a file (.obd)", ("O",))
TABLE_ACTIONS: Final = (
    *(TOGGLE, SHOW, TAKE_OFF, GAPS, HERE_TOO, PLAY, VERIFY, EXPORT, PACK, MERGE, REMOVE),
    *(IMPORT, OPEN),
)
_WIDEST: Final = (
    "1000SATS/FDUSD · on screen",
    max((state_text(state) for state in RecordingState), key=len),
    "Events/s  ",
    "999.9 ms  ",
    "99 · 9 of trades",
    "99.99 %",
    "2026-12-22 23:59:59",
    "2026-12-22 23:59:59",
    "9,999,999,999",
    "999,999,999",
    "999.9 MB",
)
# The room for the bar of what is covered, beside its text.
_BAR_WIDTH: Final = 64
_BAR_HEIGHT: Final = 6
_MARGIN: Final = 10


class _RowDelegate(QStyledItemDelegate):
    """Keeps the colours of texts in a selected row, and draws what is covered as a bar.

    A gap is a notch that is taller than the bar, so that no colour alone tells of it.
    """

    def __init__(self, model: SortedRecordings, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._model = model
        self.theme = theme
        self._columns: dict[int, tuple[Timeline, bytes]] = {}

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Draw a cell."""
        super().paint(painter, option, index)
        timeline = None
        if index.column() == COVERED_COLUMN:
            timeline = self._model.row(index.row()).timeline
        if timeline is None:
            return
        # PySide's type stubs leave out the members of QStyleOption.
        cell: QRect = getattr(option, "rect")  # noqa: B009
        left, middle = cell.left() + _MARGIN, cell.center().y() + 1
        top = middle - _BAR_HEIGHT // 2
        painter.fillRect(left, top, _BAR_WIDTH, _BAR_HEIGHT, self.theme.good)
        for at, is_gap in enumerate(self._gaps(timeline)):
            if is_gap:
                painter.fillRect(left + at, top - 3, 1, _BAR_HEIGHT + 6, self.theme.trouble)

    def _gaps(self, timeline: Timeline) -> bytes:
        """Return which columns of the bar have gaps; a timeline may have many thousands."""
        known = self._columns.get(id(timeline))
        if known is None or known[0] is not timeline:
            if len(self._columns) > self._model.rowCount() + 100:
                self._columns.clear()
            known = self._columns[id(timeline)] = timeline, gap_columns(timeline, _BAR_WIDTH)
        return known[1]

    def initStyleOption(  # noqa: N802 (Qt's name)
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Set how a cell is drawn."""
        super().initStyleOption(option, index)
        # PySide's type stubs leave out the members of QStyleOption.
        palette: QPalette = getattr(option, "palette")  # noqa: B009
        palette.setColor(QPalette.ColorRole.HighlightedText, palette.color(QPalette.ColorRole.Text))
        setattr(option, "palette", palette)  # noqa: B010


class RecordingTable(QTableView):
    """A table in which whole rows are selected.

    `commands` has what each of `TABLE_ACTIONS` does.
    """

    def __init__(
        self,
        model: SortedRecordings,
        theme: Theme,
        commands: Mapping[Action, Callable[[], None]],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setModel(model)
        self._delegate = _RowDelegate(model, theme, self)
        self.setItemDelegate(self._delegate)
        self.setAccessibleName("Recordings")
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setSortingEnabled(True)
        self.sortByColumn(STATE_COLUMN, Qt.SortOrder.AscendingOrder)
        self.doubleClicked.connect(lambda _index: commands[SHOW]())
        self._keys = FocusKeys({action: (commands[action],) for action in TABLE_ACTIONS})
        self._measure()

    def set_theme(self, theme: Theme) -> None:
        """Use the colours of `theme` from now on."""
        self._delegate.theme = theme
        self.viewport().update()

    @property
    def whole_width(self) -> int:
        """The width at which all columns are seen, also beside a scroll bar."""
        self.ensurePolished()  # With the font in which it will be shown.
        bar = self.verticalScrollBar().sizeHint().width()
        return self.horizontalHeader().length() + bar + 2 * self.frameWidth()

    def select_only(self, row: int) -> None:
        """Select only `row`; `selectRow` would also heed a shortcut's keys that are still down."""
        flag = QItemSelectionModel.SelectionFlag
        self.selectionModel().setCurrentIndex(
            self.model().index(row, 0), flag.ClearAndSelect | flag.Rows
        )

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Act on the selected rows, or move in the table."""
        if not self._keys.handle(event):
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Give the state's column the room that is left, but never less than it needs."""
        super().resizeEvent(event)
        columns, mode = self.horizontalHeader(), QHeaderView.ResizeMode
        others = columns.length() - columns.sectionSize(STATE_COLUMN)
        roomy = self.viewport().width() - others >= self._state_width
        columns.setSectionResizeMode(STATE_COLUMN, mode.Stretch if roomy else mode.Interactive)
        if not roomy:
            columns.resizeSection(STATE_COLUMN, self._state_width)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Use a changed font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._measure()

    def _measure(self) -> None:
        """Give the columns widths that don't depend on their content."""
        set_up_rows(self)
        columns, metrics = self.horizontalHeader(), self.fontMetrics()
        for column, widest in enumerate(_WIDEST):
            bar = _BAR_WIDTH if column == COVERED_COLUMN else 0
            columns.resizeSection(column, metrics.horizontalAdvance(widest) + 26 + bar)
        self._state_width = columns.sectionSize(STATE_COLUMN)
