"""The library: a table of all recordings, what is done with them, and the jobs on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Final

from msgspec.structs import replace
from PySide6.QtCore import QItemSelection, QModelIndex, QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.desk import Connections, Desk
from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.library_jobs import LibraryEntry
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.dialogs.job_panel import JobPanel
from orderbook_desktop.gui.dialogs.library_columns import LibraryRow, rows_of
from orderbook_desktop.gui.dialogs.library_table import (
    GAPS,
    HERE_TOO,
    SHOW,
    TAKE_OFF,
    TOGGLE,
    RecordingTable,
)
from orderbook_desktop.gui.dialogs.question import Answer, Question
from orderbook_desktop.gui.dialogs.recordings_model import RecordingsModel, SortedRecordings
from orderbook_desktop.gui.dialogs.stored_bar import StoredBar
from orderbook_desktop.gui.parts import Dialog, push_button, size_on_screen, text_label
from orderbook_desktop.gui.symbol_box import SymbolBox
from orderbook_desktop.gui.theme import Theme, text_scale

_LOOK_MS: Final = 500
# While a job runs its progress is to be seen.
_LOOK_AT_JOBS_MS: Final = 100
# Events that wait for the database are not lost.
_MARGIN: Final = 14
_RECORDED: Final = (RecordingState.RECORDING, RecordingState.DELAYED)
_EMPTY: Final = (
    "Nothing was ever recorded here.\n\nAdd a symbol above, switch recording on for the symbol on "
    "screen, or import files."
)


class RecordingManager(Dialog):
    """Shows all recordings twice a second, and passes the person's commands to the desk.

    Besides `desk.recordings` these are the entries of `desk.library`. The window stays usable while
    the dialog is open. Files that are dropped here are opened, or imported. Escape hides the
    dialog. The symbol box has the focus when the dialog opens, and keeps it after a choice, so that
    a person can add several symbols in a row. After a button's command the table has the focus: the
    button may be disabled then, and Qt would pass the focus on to the next button. A removal asks
    first. Call `look()` when the desk has changed.

    Signals:
        commanded(): a command was given; look at the desk at once.
        gaps_wanted(str): the person wants to see the gaps of the recording of this symbol.
        file_gaps_wanted(LibraryEntry): the person wants to see the gaps of a recording in a file.
    """

    commanded = Signal()
    gaps_wanted = Signal(str)
    file_gaps_wanted = Signal(LibraryEntry)

    def __init__(
        self, desk: Desk, theme: Theme, parent: QWidget, zone: tzinfo | None = None
    ) -> None:
        super().__init__(parent)
        self._desk = desk
        self._zone = zone
        self.setObjectName("recordingManager")
        self.setWindowTitle("Library of recordings")
        self.symbol_box = SymbolBox(self)
        self.symbol_box.setAccessibleName("Symbol to record")
        self.symbol_box.setPlaceholderText("Add a symbol, such as ETH/USDT")
        self.symbol_box.setToolTip("Search the traded symbols; Enter records the marked one")
        self.model = RecordingsModel(theme, self)
        self._sorted = SortedRecordings(self.model, self)
        self.here_too_box = QCheckBox("Record here, &too", self)
        self.here_too_box.setObjectName("recordHereToo")
        self.stored = StoredBar(desk, self)
        self.stored.zone = zone
        commands = {
            TOGGLE: self._toggle,
            SHOW: self._show,
            TAKE_OFF: self._remove,
            GAPS: self._show_gaps,
            HERE_TOO: self.here_too_box.click,
            **self.stored.commands,
        }
        self.table = RecordingTable(self._sorted, theme, commands, self)
        self.jobs = JobPanel(self)
        self.empty = text_label(self, "noRecordings")
        self.empty.setText(_EMPTY)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._middle = QStackedWidget(self)
        self.total = QLabel(self)
        self.total.setObjectName("recordingTotal")
        self.start_button = push_button(self, "&Start", self._start)
        self.stop_button = push_button(self, "S&top", self._stop)
        self.remove_button = push_button(self, "Take o&ff the list", self._remove)
        self.show_button = push_button(self, "S&how", self._show)
        self.gaps_button = push_button(self, "&Gaps…", self._show_gaps)
        self.two_box = QCheckBox("T&wo connections, so that the loss of one is no gap", self)
        self.close_button = push_button(self, "Close", self.reject)
        self._timer = QTimer(self, interval=_LOOK_MS)
        self._job_timer = QTimer(self, interval=_LOOK_MS)
        self.setAcceptDrops(True)
        self._lay_out()
        self._connect()

    def look(self) -> None:
        """Show the present state of the recordings."""
        recordings = [
            replace(recording, gaps=self._desk.recorded_gaps(recording.symbol))
            for recording in self._desk.recordings
        ]
        library = self._desk.library
        entries = (library.entries if library is not None else None) or ()
        rows = rows_of(recordings, entries, self._zone)
        self.symbol_box.set_symbols(self._desk.symbols, self._desk.recents)
        self.model.show_rows(rows)
        self._middle.setCurrentWidget(self.table if rows else self.empty)
        problem = library.problem if library is not None else ""
        self.total.setText(problem or _total_text(recordings, entries))
        self._show_connections(self._desk.connections)
        self._offer()
        self._look_at_jobs()

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write and read times in `zone` from now on; None: local."""
        self._zone = self.stored.zone = zone
        if self.isVisible():
            self.look()

    def set_theme(self, theme: Theme) -> None:
        """Use the colours of `theme` from now on."""
        self.model.set_theme(theme)
        self.table.set_theme(theme)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Look at the desk at once, and twice a second from then on."""
        super().showEvent(event)
        self.look()
        self._timer.start()
        self._job_timer.start()
        if self.model.rowCount() and not self.selected:
            self.table.select_only(0)
        self.symbol_box.setFocus()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop looking at the desk."""
        super().hideEvent(event)
        self._timer.stop()
        self._job_timer.stop()

    @property
    def selected_rows(self) -> list[LibraryRow]:
        """The selected rows."""
        rows = self.table.selectionModel().selectedRows()
        return [self._sorted.row(index.row()) for index in rows]

    @property
    def selected(self) -> list[RecordingStatus]:
        """How the selected rows are recorded now, without those that are not."""
        recordings = (row.recording for row in self.selected_rows)
        return [recording for recording in recordings if recording is not None]

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 (Qt's name)
        """Take files."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 (Qt's name)
        """Open or import the files that were dropped."""
        urls = event.mimeData().urls()
        self.stored.take([Path(url.toLocalFile()) for url in urls if url.isLocalFile()])
        event.acceptProposedAction()

    def _look_at_jobs(self) -> None:
        """Show the jobs, more often while one runs."""
        library = self._desk.library
        jobs = () if library is None else library.jobs
        self.jobs.show_jobs(jobs)
        is_busy = any(not job.state.is_over for job in jobs)
        self._job_timer.setInterval(_LOOK_AT_JOBS_MS if is_busy else _LOOK_MS)

    def _connect(self) -> None:
        self.symbol_box.chosen.connect(self._add)
        self.symbol_box.left.connect(self._leave_field)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.table.customContextMenuRequested.connect(self._show_menu)
        self.stored.ordered.connect(self._ordered)
        self.stored.playing.connect(self.commanded)
        # What is played is behind the list.
        self.stored.playing.connect(self.close)
        self.jobs.stop_wanted.connect(self._stop_job)
        self.jobs.dismissed.connect(self._dismiss_job)
        self._job_timer.timeout.connect(self._look_at_jobs)
        # Not toggled: the box follows the selection, too.
        self.here_too_box.clicked.connect(self._record_here)
        self.two_box.clicked.connect(self._set_connections)
        self.table.selectionModel().selectionChanged.connect(self._selection_changed)
        self._timer.timeout.connect(self.look)

    def _selection_changed(self, _new: QItemSelection, _old: QItemSelection) -> None:
        self._offer()

    def _offer(self) -> None:
        """Enable what can be done with the selected rows."""
        rows, selected = self.selected_rows, self.selected
        startable = _startable(rows)
        on = [row.recording for row in startable if row.recording is not None]
        all_are_on = on and len(on) == len(startable) and all(one.wanted for one in on)
        self.start_button.setText("Keep re&cording" if all_are_on else "&Start")
        self.start_button.setEnabled(bool(startable))
        self.stop_button.setEnabled(any(recording.wanted for recording in selected))
        self.remove_button.setEnabled(
            any(recording.kept for recording in selected) or any(row.key.file for row in rows)
        )
        is_one = len(rows) == 1
        self.show_button.setEnabled(is_one and not rows[0].key.file)
        self.gaps_button.setEnabled(is_one)
        self.here_too_box.setEnabled(bool(selected))
        self.stored.offer(rows)
        self.here_too_box.setChecked(
            bool(selected) and all(recording.here_too for recording in selected)
        )

    def _add(self, symbol: str) -> None:
        self.symbol_box.set_current("")
        self._command(self._desk.start_recording, [symbol])
        for place in range(self._sorted.rowCount(QModelIndex())):
            row = self._sorted.row(place)
            if row.symbol == symbol and not row.key.file:
                self.table.select_only(place)
                self.table.scrollTo(self._sorted.index(place, 0))

    def _start(self) -> None:
        self._leave_field()
        startable = _startable(self.selected_rows)
        self._command(self._desk.start_recording, [row.symbol for row in startable])

    def _stop(self) -> None:
        self._leave_field()
        stoppable = [recording.symbol for recording in self.selected if recording.wanted]
        self._command(self._desk.stop_recording, stoppable)

    def _toggle(self) -> None:
        rows = [row for row in self.selected_rows if not row.key.file]
        if any(row.recording is None or not row.recording.wanted for row in rows):
            self._start()
        else:
            self._stop()

    def _remove(self) -> None:
        """Ask whether the selected recordings are to be taken off the list; close files."""
        self._leave_field()
        self.stored.close_files()
        removable = [recording for recording in self.selected if recording.kept]
        if removable:
            answer = Answer("Take off", partial(self._remove_all, removable))
            title = "Take off the list"
            Question(title, _removal_text(removable), [answer], self).open()

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
        rows = self.selected_rows
        if len(rows) == 1 and rows[0].key.file:
            self.stored.play()
        elif len(rows) == 1:
            self._command(self._desk.select_symbol, [rows[0].symbol])

    def _show_gaps(self) -> None:
        rows = self.selected_rows
        if len(rows) != 1:
            return
        self._leave_field()
        if rows[0].key.file:
            self.file_gaps_wanted.emit(rows[0].entry)
        else:
            self.gaps_wanted.emit(rows[0].symbol)

    def _show_menu(self, at: QPoint) -> None:
        """Show the commands that the selected rows have."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for button in (*self.stored.of_rows, *self._of_rows):
            if button.isEnabled():
                menu.addAction(button.text(), button.click)
        menu.popup(self.table.viewport().mapToGlobal(at))

    def _ordered(self) -> None:
        self._leave_field()
        self.look()

    def _stop_job(self, number: int) -> None:
        if self._desk.library is not None:
            self._leave_field()
            self._desk.library.stop(number)
            self._look_at_jobs()

    def _dismiss_job(self, number: int) -> None:
        if self._desk.library is not None:
            self._leave_field()
            self._desk.library.dismiss(number)
            self._look_at_jobs()

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

    @property
    def _of_rows(self) -> tuple[QPushButton, ...]:
        """The buttons for the selected rows, but for those of what is stored."""
        return (
            *(self.start_button, self.stop_button, self.remove_button),
            *(self.show_button, self.gaps_button),
        )

    def _lay_out(self) -> None:
        self._middle.addWidget(self.table)
        self._middle.addWidget(self.empty)
        for button in (*self._of_rows, self.close_button):
            # Enter belongs to the table, not to a default button.
            button.setAutoDefault(False)
        self.remove_button.setToolTip(
            "Take it off this list, and record it no longer; what has been recorded stays"
        )
        self.show_button.setToolTip("Show its book in the window")
        top, bottom = QHBoxLayout(), QHBoxLayout()
        self.symbol_box.setMinimumWidth(240)
        top.addWidget(self.symbol_box, 1)
        top.addStretch(2)
        self.gaps_button.setToolTip("When and why its recording has gaps")
        for button in self._of_rows:
            bottom.addWidget(button)
        self.here_too_box.setToolTip(
            "Record also while another program records it; otherwise that recording is followed"
        )
        bottom.addWidget(self.here_too_box)
        bottom.addStretch(1)
        last = QHBoxLayout()
        last.addWidget(self.stored, 1)
        last.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(_MARGIN, 12, _MARGIN, 12)
        column.setSpacing(8)
        top.addWidget(self.two_box)
        column.addLayout(top)
        column.addWidget(self._middle, 1)
        column.addWidget(self.total)
        column.addWidget(self.jobs)
        column.addLayout(last)
        column.addLayout(bottom)
        # All columns are seen at once where the screen has the room.
        wanted = QSize(self.table.whole_width + 2 * _MARGIN, round(560 * text_scale(self)))
        self.resize(size_on_screen(self, wanted))


def _removal_text(recordings: Sequence[RecordingStatus]) -> str:
    """Return the question whether `recordings` are to be removed, and what follows from that."""
    is_one = len(recordings) == 1
    what = recordings[0].symbol if is_one else f"{len(recordings):,} recordings"
    text = f"Take {what} off the list? What has been recorded stays."
    if any(recording.wanted for recording in recordings):
        text += (
            " It is no longer recorded, unless it is on screen."
            if is_one
            else " They are no longer recorded, unless on screen."
        )
    return text


def _startable(rows: Sequence[LibraryRow]) -> list[LibraryRow]:
    """Return those of `rows` that are not recorded, or that end with their time on screen."""
    return [
        row
        for row in rows
        if not row.key.file
        and (row.recording is None or not (row.recording.wanted and row.recording.kept))
    ]


def _total_text(recordings: Sequence[RecordingStatus], entries: Sequence[LibraryEntry]) -> str:
    texts = []
    if recordings:
        running = sum(recording.wanted and recording.state in _RECORDED for recording in recordings)
        rate = sum(recording.rate for recording in recordings if recording.wanted)
        known = [recording.gaps for recording in recordings if recording.gaps is not None]
        gaps, in_session = sum(len(of.gaps) for of in known), sum(of.in_session for of in known)
        size = bytes_text(sum(recording.counts.payload_bytes for recording in recordings))
        texts.append(
            f"{running:,} of {len(recordings):,} being recorded · {rate:,.0f} events/s · {size} in "
            f"this session · {counted(gaps, 'gap')}, {in_session:,} of them in this session"
        )
    stored = [entry for entry in entries if not entry.key.file]
    if stored:
        size = bytes_text(sum(entry.stored_bytes for entry in stored))
        texts.append(f"{counted(len(stored), 'market')} stored, {size}")
    return " · ".join(texts)
