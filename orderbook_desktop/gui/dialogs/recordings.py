"""The recording manager: a table of all recordings, with buttons to start and stop them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace
from PySide6.QtCore import (
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QHideEvent, QKeyEvent, QPalette, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QStackedWidget,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.desk import Connections, Desk
from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.number_format import counted
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.gui.actions import Action, FocusKeys
from orderbook_desktop.gui.dialogs.question import Answer, Question
from orderbook_desktop.gui.dialogs.recordings_model import (
    STATE_COLUMN,
    RecordingsModel,
    SortedRecordings,
    state_text,
)
from orderbook_desktop.gui.parts import Dialog, push_button, set_up_rows, size_on_screen, text_label
from orderbook_desktop.gui.symbol_box import SymbolBox
from orderbook_desktop.gui.theme import Theme, text_scale

_TOGGLE: Final = Action(
    "Recordings: start or stop", "in the list of recordings: start or stop", ("Space",)
)
_SHOW: Final = Action(
    "Recordings: show on screen",
    "in the list of recordings: show on screen",
    ("Enter", "Return"),
    ("double click",),
)
_REMOVE: Final = Action(
    "Recordings: remove from the list",
    "in the list of recordings: remove; what has been recorded stays",
    ("Del",),
)
_GAPS: Final = Action(
    "Recordings: gaps", "in the list of recordings: the gaps of the recording", ("G",)
)
_HERE_TOO: Final = Action(
    "Recordings: record here, too",
    "in the list of recordings: record also while another program records it, or not",
    ("T",),
)
TABLE_ACTIONS: Final = (_TOGGLE, _SHOW, _REMOVE, _GAPS, _HERE_TOO)
_LOOK_MS: Final = 500
_WIDEST: Final = (
    "1000SATS/FDUSD · on screen",
    max((state_text(state) for state in RecordingState), key=len),
    "Events/s  ",
    "999.9 ms  ",
    "Gaps  ",
    "Recorded  ",
    "Archived  ",
    "22 Nov 23:59",
)
# Events that wait for the database are not lost.
_RECORDED: Final = (RecordingState.RECORDING, RecordingState.DELAYED)
_EMPTY: Final = (
    "Nothing is being recorded.\n\nAdd a symbol above, or switch recording on for the symbol on "
    "screen."
)


class _RowDelegate(QStyledItemDelegate):
    """Keeps the colours of texts in a selected row."""

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

    Signals:
        shown(): Enter or a double click: the person wants to see the selected symbol.
        removed(): the Delete key: the person wants to remove the selected recordings.
        toggled(): the space bar: the person wants to start or stop the selected recordings.
        gaps_wanted(): the letter G: the person wants to see the gaps of the selected recording.
        here_too(): the letter T: the person wants to record here, too, or no longer.
    """

    shown = Signal()
    removed = Signal()
    toggled = Signal()
    gaps_wanted = Signal()
    here_too = Signal()

    def __init__(self, model: SortedRecordings, parent: QWidget) -> None:
        super().__init__(parent)
        self.setModel(model)
        self.setItemDelegate(_RowDelegate(self))
        self.setAccessibleName("Recordings")
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setSortingEnabled(True)
        self.sortByColumn(STATE_COLUMN, Qt.SortOrder.AscendingOrder)
        self.doubleClicked.connect(lambda _index: self.shown.emit())
        self._keys = FocusKeys(
            {
                _TOGGLE: (self.toggled.emit,),
                _SHOW: (self.shown.emit,),
                _REMOVE: (self.removed.emit,),
                _GAPS: (self.gaps_wanted.emit,),
                _HERE_TOO: (self.here_too.emit,),
            }
        )
        self._measure()

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
            columns.resizeSection(column, metrics.horizontalAdvance(widest) + 26)
        self._state_width = columns.sectionSize(STATE_COLUMN)


class RecordingManager(Dialog):
    """Shows `desk.recordings` twice a second, and passes the person's commands to the desk.

    The window stays usable while the dialog is open. Escape hides the dialog. The symbol box has
    the focus when the dialog opens, and keeps it after a choice, so that a person can add several
    symbols in a row. After a button's command the table has the focus: the button may be disabled
    then, and Qt would pass the focus on to the next button. A removal asks first. Call `look()`
    when the desk has changed.

    Signals:
        commanded(): a command was given; look at the desk at once.
        gaps_wanted(str): the person wants to see the gaps of the recording of this symbol.
    """

    commanded = Signal()
    gaps_wanted = Signal(str)

    def __init__(self, desk: Desk, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._desk = desk
        self.setObjectName("recordingManager")
        self.setWindowTitle("Recordings")
        self.symbol_box = SymbolBox(self)
        self.symbol_box.setAccessibleName("Symbol to record")
        self.symbol_box.setPlaceholderText("Add a symbol, such as ETH/USDT")
        self.symbol_box.setToolTip("Search the traded symbols; Enter records the marked one")
        self.model = RecordingsModel(theme, self)
        self._sorted = SortedRecordings(self.model, self)
        self.table = RecordingTable(self._sorted, self)
        self.empty = text_label(self, "noRecordings")
        self.empty.setText(_EMPTY)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._middle = QStackedWidget(self)
        self.total = QLabel(self)
        self.total.setObjectName("recordingTotal")
        self.start_button = push_button(self, "&Start", self._start)
        self.stop_button = push_button(self, "S&top", self._stop)
        self.remove_button = push_button(self, "&Remove", self._remove)
        self.show_button = push_button(self, "S&how", self._show)
        self.gaps_button = push_button(self, "&Gaps…", self._show_gaps)
        self.here_too_box = QCheckBox("Record here, &too", self)
        self.here_too_box.setObjectName("recordHereToo")
        self.two_box = QCheckBox("T&wo connections, so that the loss of one is no gap", self)
        self.close_button = push_button(self, "Close", self.reject)
        self._timer = QTimer(self, interval=_LOOK_MS)
        self._lay_out()
        self._connect()

    def look(self) -> None:
        """Show the present state of the recordings."""
        recordings = [
            replace(recording, gaps=self._desk.recorded_gaps(recording.symbol))
            for recording in self._desk.recordings
        ]
        self.symbol_box.set_symbols(self._desk.symbols, self._desk.recents)
        self.model.show_recordings(recordings)
        self._middle.setCurrentWidget(self.table if recordings else self.empty)
        self.total.setText(_total_text(recordings))
        self._show_connections(self._desk.connections)
        self._offer()

    def set_theme(self, theme: Theme) -> None:
        """Use the colours of `theme` from now on."""
        self.model.set_theme(theme)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Look at the desk at once, and twice a second from then on."""
        super().showEvent(event)
        self.look()
        self._timer.start()
        if self.model.rowCount() and not self.selected:
            self.table.select_only(0)
        self.symbol_box.setFocus()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop looking at the desk."""
        super().hideEvent(event)
        self._timer.stop()

    @property
    def selected(self) -> list[RecordingStatus]:
        """The recordings of the selected rows."""
        rows = self.table.selectionModel().selectedRows()
        return [self._sorted.recording(index.row()) for index in rows]

    def _connect(self) -> None:
        self.symbol_box.chosen.connect(self._add)
        self.symbol_box.left.connect(self._leave_field)
        self.table.shown.connect(self._show)
        self.table.removed.connect(self._remove)
        self.table.toggled.connect(self._toggle)
        self.table.gaps_wanted.connect(self._show_gaps)
        self.table.here_too.connect(self.here_too_box.click)
        # Not toggled: the box follows the selection, too.
        self.here_too_box.clicked.connect(self._record_here)
        self.two_box.clicked.connect(self._set_connections)
        self.table.selectionModel().selectionChanged.connect(self._selection_changed)
        self._timer.timeout.connect(self.look)

    def _selection_changed(self, _new: QItemSelection, _old: QItemSelection) -> None:
        self._offer()

    def _offer(self) -> None:
        """Enable what can be done with the selected rows."""
        selected = self.selected
        startable = _startable(selected)
        all_are_on = startable and all(recording.wanted for recording in startable)
        self.start_button.setText("&Keep recording" if all_are_on else "&Start")
        self.start_button.setEnabled(bool(startable))
        self.stop_button.setEnabled(any(recording.wanted for recording in selected))
        self.remove_button.setEnabled(any(recording.kept for recording in selected))
        self.show_button.setEnabled(len(selected) == 1)
        self.gaps_button.setEnabled(len(selected) == 1)
        self.here_too_box.setEnabled(bool(selected))
        self.here_too_box.setChecked(
            bool(selected) and all(recording.here_too for recording in selected)
        )

    def _add(self, symbol: str) -> None:
        self.symbol_box.set_current("")
        self._command(self._desk.start_recording, [symbol])
        for row in range(self._sorted.rowCount(QModelIndex())):
            if self._sorted.recording(row).symbol == symbol:
                self.table.select_only(row)
                self.table.scrollTo(self._sorted.index(row, 0))

    def _start(self) -> None:
        self._leave_field()
        startable = _startable(self.selected)
        self._command(self._desk.start_recording, [recording.symbol for recording in startable])

    def _stop(self) -> None:
        self._leave_field()
        stoppable = [recording.symbol for recording in self.selected if recording.wanted]
        self._command(self._desk.stop_recording, stoppable)

    def _toggle(self) -> None:
        if any(not recording.wanted for recording in self.selected):
            self._start()
        else:
            self._stop()

    def _remove(self) -> None:
        """Ask whether the selected recordings are to be removed."""
        self._leave_field()
        removable = [recording for recording in self.selected if recording.kept]
        if removable:
            answer = Answer("Remove", partial(self._remove_all, removable))
            Question("Remove recordings", _removal_text(removable), [answer], self).open()

    def _remove_all(self, recordings: Sequence[RecordingStatus]) -> None:
        row = self.table.currentIndex().row()
        # A recording may have ended, or begun, while the question was open.
        now = {recording.symbol: recording for recording in self._desk.recordings}
        present = [now[recording.symbol] for recording in recordings if recording.symbol in now]
        removable = [recording.symbol for recording in present if recording.kept]
        stopped = [recording.symbol for recording in present if not recording.wanted]
        if self._desk.symbol.symbol in stopped:
            # Otherwise the desk would record it again at once, because it is on screen.
            self._desk.set_recording(False)
        self._command(self._desk.remove_recording, removable)
        if removable and self.model.rowCount():
            self.table.select_only(min(row, self.model.rowCount() - 1))
        elif removable:
            # The table is hidden now, and had the focus.
            self.symbol_box.setFocus()

    def _show(self) -> None:
        if len(self.selected) == 1:
            self._command(self._desk.select_symbol, [self.selected[0].symbol])

    def _show_gaps(self) -> None:
        if len(self.selected) == 1:
            self._leave_field()
            self.gaps_wanted.emit(self.selected[0].symbol)

    def _record_here(self, wanted: bool) -> None:
        self._leave_field()
        symbols = [recording.symbol for recording in self.selected]
        self._command(lambda symbol: self._desk.record_here(symbol, wanted), symbols)

    def _set_connections(self, wanted: bool) -> None:
        self._desk.set_connections(2 if wanted else 1)
        self.look()
        self.commanded.emit()

    def _show_connections(self, connections: Connections) -> None:
        self.two_box.setChecked(connections.count > 1)
        self.two_box.setEnabled(not connections.fixed)
        tip = "Take each event of all symbols from the connection that brings it first"
        if connections.fixed:
            tip = (
                f"{counted(connections.count, 'connection')}, as ORDERBOOK_CONNECTIONS or "
                "--connections says"
            )
        self.two_box.setToolTip(tip)

    def _command(self, command: Callable[[str], None], symbols: Sequence[str]) -> None:
        for symbol in symbols:
            command(symbol)
        self.look()
        self.commanded.emit()

    def _leave_field(self) -> None:
        """Move the focus from the field or a button to the table, if it has rows."""
        if self.model.rowCount():
            self.table.setFocus()

    def _lay_out(self) -> None:
        self._middle.addWidget(self.table)
        self._middle.addWidget(self.empty)
        of_rows = (
            *(self.start_button, self.stop_button, self.remove_button),
            *(self.show_button, self.gaps_button),
        )
        for button in (*of_rows, self.close_button):
            # Enter belongs to the table, not to a default button.
            button.setAutoDefault(False)
        self.remove_button.setToolTip("Remove from this list; what has been recorded stays")
        self.show_button.setToolTip("Show its book in the window")
        top, bottom = QHBoxLayout(), QHBoxLayout()
        self.symbol_box.setMinimumWidth(240)
        top.addWidget(self.symbol_box, 1)
        top.addStretch(2)
        self.gaps_button.setToolTip("When and why its recording has gaps")
        for button in of_rows:
            bottom.addWidget(button)
        self.here_too_box.setToolTip(
            "Record also while another program records it; otherwise that recording is followed"
        )
        bottom.addWidget(self.here_too_box)
        bottom.addStretch(1)
        bottom.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 12, 14, 12)
        column.setSpacing(8)
        top.addWidget(self.two_box)
        column.addLayout(top)
        column.addWidget(self._middle, 1)
        column.addWidget(self.total)
        column.addLayout(bottom)
        self.resize(size_on_screen(self, QSize(1_000, 480) * text_scale(self)))


def _removal_text(recordings: Sequence[RecordingStatus]) -> str:
    """Return the question whether `recordings` are to be removed, and what follows from that."""
    is_one = len(recordings) == 1
    what = recordings[0].symbol if is_one else f"{len(recordings):,} recordings"
    text = f"Remove {what} from the list? What has been recorded stays."
    if any(recording.wanted for recording in recordings):
        text += (
            " It is no longer recorded, unless it is on screen."
            if is_one
            else " They are no longer recorded, unless on screen."
        )
    return text


def _startable(recordings: Sequence[RecordingStatus]) -> list[RecordingStatus]:
    """Return those of `recordings` that are stopped, or that end with their time on screen."""
    return [recording for recording in recordings if not (recording.wanted and recording.kept)]


def _total_text(recordings: Sequence[RecordingStatus]) -> str:
    if not recordings:
        return ""
    running = sum(recording.wanted and recording.state in _RECORDED for recording in recordings)
    rate = sum(recording.rate for recording in recordings if recording.wanted)
    known = [recording.gaps for recording in recordings if recording.gaps is not None]
    gaps, in_session = sum(len(of.gaps) for of in known), sum(of.in_session for of in known)
    size = bytes_text(sum(recording.counts.payload_bytes for recording in recordings))
    return (
        f"{running:,} of {len(recordings):,} being recorded · {rate:,.0f} events/s · {size} in "
        f"this session · {counted(gaps, 'gap')}, {in_session:,} of them in this session"
    )
