"""The recordings in a packed file: what each covers, and its gaps. Nothing of it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QItemSelection, QObject, QSize, Qt
from PySide6.QtWidgets import (
    QHBoxLayout,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.number_format import counted
from orderbook_desktop.core.packed_contents import PackedContents, PackedRecording
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.time_text import duration_text, time_text
from orderbook_desktop.gui.dialogs.gap_list import GapModel, GapTable
from orderbook_desktop.gui.parts import (
    NO_PARENT,
    ColumnModel,
    ColumnTable,
    Dialog,
    ModelIndex,
    push_button,
    size_on_screen,
    text_label,
)
from orderbook_desktop.gui.theme import text_scale

_NO_BOOK: Final = "—"


class _Column(Struct, frozen=True):
    """One column: its heading, its text, and the widest text that is usual."""

    heading: str
    text: Callable[[PackedRecording], str]
    widest: str
    is_number: bool = False


def _from_text(recording: PackedRecording) -> str:
    timeline = recording.timeline
    return time_text(timeline.from_ms) if timeline.covers else _NO_BOOK


def _to_text(recording: PackedRecording) -> str:
    timeline = recording.timeline
    return time_text(timeline.to_ms) if timeline.covers else _NO_BOOK


def _covered_text(recording: PackedRecording) -> str:
    return duration_text(recording.timeline.covered_ms)


_COLUMNS: Final = (
    _Column("Recording", lambda recording: recording.symbol, "1000SATS/FDUSD"),
    _Column("From", _from_text, time_text(0)),
    _Column("To", _to_text, time_text(0)),
    _Column("Covered", _covered_text, "999:59:59.999", True),
    _Column("Events", lambda recording: f"{recording.events:,}", "9,999,999,999", True),
    _Column("Segments", lambda recording: f"{recording.segments:,}", "Segments  ", True),
    _Column("Gaps", lambda recording: f"{len(recording.timeline.gaps):,}", "99,999", True),
    _Column("Size", lambda recording: bytes_text(recording.stored_bytes), "999.9 MB", True),
)


_WIDEST: Final = tuple(max(column.widest, column.heading, key=len) for column in _COLUMNS)


class PackedModel(ColumnModel):
    """One row for each recording of a file."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__([(column.heading, column.is_number) for column in _COLUMNS], parent)
        self._recordings: tuple[PackedRecording, ...] = ()

    def show_recordings(self, recordings: tuple[PackedRecording, ...]) -> None:
        """Show the recordings of another file."""
        self.beginResetModel()
        self._recordings = recordings
        self.endResetModel()

    def recording(self, row: int) -> PackedRecording:
        """Return the recording of a row."""
        return self._recordings[row]

    def rowCount(self, parent: ModelIndex = NO_PARENT) -> int:  # noqa: N802 (Qt's name)
        """Return the number of recordings."""
        return 0 if parent.isValid() else len(self._recordings)

    def data(self, index: ModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return a cell's text or alignment."""
        column = _COLUMNS[index.column()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return column.text(self._recordings[index.row()])
            case Qt.ItemDataRole.TextAlignmentRole:
                return self.alignment(index.column())
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{column.heading}: {column.text(self._recordings[index.row()])}"
        return None


class PackedFileView(Dialog):
    """Shows the recordings of a packed file, and the gaps of the one that is selected.

    Call `show_contents()` before `show()`. Return and Escape close it.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("packedFile")
        self.headline = text_label(self, "packedHeadline")
        self.model = PackedModel(self)
        self.table = ColumnTable(self.model, _WIDEST, "Recordings in the file", self)
        self.table.selectionModel().selectionChanged.connect(self._selected)
        self.gap_headline = text_label(self, "packedGaps")
        self.gap_model = GapModel(self)
        self.gap_table = GapTable(self.gap_model, self)
        self.close_button = push_button(self, "Close", self.reject)
        self.close_button.setDefault(True)
        self._lay_out()

    def show_contents(self, contents: PackedContents) -> None:
        """Show what is in a file."""
        name = plain_text(contents.name)
        self.setWindowTitle(f"{name} · a packed file")
        self.headline.setText(
            f"{plain_text(contents.path)} is a file with "
            f"{counted(len(contents.recordings), 'recording')}, {bytes_text(contents.size)}. It is "
            "not in the database, and nothing is recorded into it. "
            "The command “orderbook-desktop unpack” merges it into the database."
        )
        self.model.show_recordings(contents.recordings)
        if contents.recordings:
            self.table.selectRow(0)
        else:
            self._show_gaps(None)
        self.table.setFocus()

    def _selected(self, _new: QItemSelection, _old: QItemSelection) -> None:
        rows = self.table.selectionModel().selectedRows()
        self._show_gaps(self.model.recording(rows[0].row()) if rows else None)

    def _show_gaps(self, recording: PackedRecording | None) -> None:
        gaps = RecordedGaps() if recording is None else recording.gaps
        self.gap_model.show_gaps(gaps)
        self.gap_table.setVisible(bool(gaps.rows))
        if recording is None:
            self.gap_headline.setText("")
        elif gaps.rows:
            text = f"{recording.symbol}: {counted(len(gaps.rows), 'gap')}, the newest first."
            self.gap_headline.setText(text)
        else:
            self.gap_headline.setText(
                f"{recording.symbol}: every second of the recording is covered."
            )

    def _lay_out(self) -> None:
        bottom = QHBoxLayout()
        bottom.addStretch(1)
        bottom.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 12, 14, 12)
        column.setSpacing(8)
        column.addWidget(self.headline)
        column.addWidget(self.table, 1)
        column.addWidget(self.gap_headline)
        column.addWidget(self.gap_table, 1)
        column.addLayout(bottom)
        self.resize(size_on_screen(self, QSize(1_160, 480) * text_scale(self)))
