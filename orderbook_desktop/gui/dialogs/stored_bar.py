"""The library's commands on what is stored: play, verify, export, pack, merge, remove, import."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QWidget

from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.file_formats import ExportFormat, ImportFormat
from orderbook_desktop.core.library_jobs import LibraryEntry, RecordingLibrary, Span
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.actions import Action
from orderbook_desktop.gui.dialogs.library_columns import LibraryRow
from orderbook_desktop.gui.dialogs.library_table import (
    EXPORT,
    IMPORT,
    MERGE,
    OPEN,
    PACK,
    PLAY,
    REMOVE,
    VERIFY,
)
from orderbook_desktop.gui.dialogs.order_dialogs import (
    PACKED_SUFFIX,
    RemovalDialog,
    TargetDialog,
)
from orderbook_desktop.gui.parts import push_button

# The kinds of files on offer; None: the format is detected.
_KINDS: Final[Mapping[str, ImportFormat | None]] = {
    "All recordings of collectors (*.gz *.jsonl *.txt *.log *.csv *.zip *.obd)": None,
    "All files (*)": None,
    "Raw lines of a collector (*)": ImportFormat.RAW,
    "The book as Tardis CSV (*)": ImportFormat.TARDIS,
    "Trades as Tardis CSV (*)": ImportFormat.TARDIS_TRADES,
    "Aggregated trades of the exchange (*)": ImportFormat.AGGTRADES,
}
_PACKED_FILES: Final = f"Packed recordings (*{PACKED_SUFFIX});;All files (*)"


class StoredBar(QWidget):
    """Buttons for what is stored in the selected rows; each of them has a key in the table, too.

    Call `offer` with the selected rows. What takes long becomes a job of the desk's library. Times
    are written and read in `zone` (None: local).

    Signals:
        ordered(): a job was started, or a recording is to be played; look at the desk at once.
        playing(): a recording is to be played in the window.
    """

    ordered = Signal()
    playing = Signal()

    def __init__(self, desk: Desk, parent: QWidget) -> None:
        super().__init__(parent)
        self._desk = desk
        self._rows: Sequence[LibraryRow] = ()
        self._folder: Path | None = None
        self.zone: tzinfo | None = None
        self.play_button = self._button("&Play", self.play, "Play it in the window")
        self.verify_button = self._button("&Verify", self.verify, "Prove it from its stored bytes")
        self.export_button = self._button("&Export…", self.export, "Write it for other tools")
        self.pack_button = self._button("Pac&k…", self.pack, "Put it into one file (.obd)")
        self.merge_button = self._button(
            "&Merge", self.merge, "Merge the whole file into the database; what is there stays"
        )
        self.remove_button = self._button(
            "Remo&ve…", self.remove, "Remove what was recorded, all or a part, for ever"
        )
        self.import_button = self._button("&Import…", self.import_files, "Other collectors' files")
        self.open_button = self._button("&Open file…", self.open_file, "A packed file (.obd)")
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        for button in self.of_rows:
            line.addWidget(button)
        line.addStretch(1)
        line.addWidget(self.import_button)
        line.addWidget(self.open_button)
        self.offer(())

    @property
    def of_rows(self) -> tuple[QPushButton, ...]:
        """The buttons for the selected rows."""
        return (
            *(self.play_button, self.verify_button, self.export_button, self.pack_button),
            *(self.merge_button, self.remove_button),
        )

    @property
    def commands(self) -> Mapping[Action, Callable[[], None]]:
        """What the keys of the table do."""
        return {
            PLAY: self.play,
            VERIFY: self.verify,
            EXPORT: self.export,
            PACK: self.pack,
            MERGE: self.merge,
            REMOVE: self.remove,
            IMPORT: self.import_files,
            OPEN: self.open_file,
        }

    def offer(self, rows: Sequence[LibraryRow]) -> None:
        """Enable what can be done with the selected `rows`."""
        self._rows = rows
        has_library = self._library is not None
        one, stored = self._one, self._stored()
        self.play_button.setEnabled(one is not None and one.span_ms is not None)
        self.verify_button.setEnabled(has_library and bool(stored))
        self.export_button.setEnabled(has_library and one is not None)
        self.pack_button.setEnabled(has_library and bool(self._in_database()))
        self.merge_button.setEnabled(has_library and len(self._files()) == 1)
        is_removable = has_library and one is not None and not one.key.file
        self.remove_button.setEnabled(is_removable)
        self.import_button.setEnabled(has_library)
        self.open_button.setEnabled(has_library)

    def play(self) -> None:
        """Play the selected recording in the window."""
        entry = self._one
        if entry is not None and self.play_button.isEnabled():
            file = Path(entry.key.file) if entry.key.file else None
            self._desk.start_replay(entry.symbol, file=file)
            self.playing.emit()

    def verify(self) -> None:
        """Prove the selected recordings, one after another."""
        library = self._library
        if library is not None:
            for entry in self._stored():
                library.verify(entry.key)
            self.ordered.emit()

    def export(self) -> None:
        """Ask where the selected recording is to be written, and how."""
        library, entry = self._library, self._one
        if library is None or entry is None:
            return

        def chosen(form: ExportFormat, path: Path, span: Span, replace: bool) -> None:
            self._folder = path.parent
            library.export(entry.key, form, path, span, replace=replace)
            self.ordered.emit()

        title = f"Export {entry.symbol}"
        TargetDialog(
            title,
            entry.key.market,
            entry.span_ms,
            chosen,
            self._folder,
            self,
            formats=True,
            zone=self.zone,
        ).open()

    def pack(self) -> None:
        """Ask into which file the selected recordings are to be packed."""
        library, entries = self._library, self._in_database()
        if library is None or not entries:
            return
        markets = [entry.key.market for entry in entries]

        def chosen(_form: ExportFormat, path: Path, span: Span, replace: bool) -> None:
            self._folder = path.parent
            library.pack(markets, path, span, replace=replace)
            self.ordered.emit()

        is_one = len(entries) == 1
        what = entries[0].symbol if is_one else counted(len(entries), "recording")
        name = markets[0] if is_one else "recordings"
        TargetDialog(
            f"Pack {what}",
            name,
            _whole(entries),
            chosen,
            self._folder,
            self,
            formats=False,
            zone=self.zone,
        ).open()

    def merge(self) -> None:
        """Merge the file of the selected rows into the database."""
        files = self._files()
        if self._library is not None and len(files) == 1:
            self._library.unpack(Path(files[0]))
            self.ordered.emit()

    def remove(self) -> None:
        """Ask what is to be removed of the selected recording."""
        library, entry = self._library, self._one
        if library is None or entry is None or entry.key.file:
            return
        market = entry.key.market

        def chosen(span: Span) -> None:
            library.remove(market, span)
            self.ordered.emit()

        RemovalDialog(library, market, entry.symbol, entry.span_ms, chosen, self, self.zone).open()

    def import_files(self) -> None:
        """Ask for files of other collectors; where their kind can't be detected, it is chosen."""
        dialog = self._choose_files(
            "Import files",
            ";;".join(_KINDS),
            QFileDialog.FileMode.ExistingFiles,
            lambda paths: self.take(paths, _KINDS.get(dialog.selectedNameFilter())),
        )

    def open_file(self) -> None:
        """Ask for a packed file."""
        self._choose_files(
            "Open a packed file", _PACKED_FILES, QFileDialog.FileMode.ExistingFiles, self.open_paths
        )

    def take(self, paths: Sequence[Path], form: ImportFormat | None = None) -> None:
        """Open the packed files among `paths`, and import the others; None: detect their format."""
        packed = [path for path in paths if path.suffix.lower() == PACKED_SUFFIX]
        others = [path for path in paths if path not in packed]
        if others and self._library is not None:
            self._library.import_files(others, form)
        self.open_paths(packed)

    def open_paths(self, paths: Iterable[Path]) -> None:
        """Show the recordings of packed files."""
        library = self._library
        if library is not None:
            for path in paths:
                library.open_file(path)
            self.ordered.emit()

    def close_files(self) -> None:
        """Show the files of the selected rows no longer."""
        library = self._library
        if library is not None:
            for path in self._files():
                library.close_file(path)
            self.ordered.emit()

    def _choose_files(
        self,
        title: str,
        names: str,
        mode: QFileDialog.FileMode,
        chosen: Callable[[Sequence[Path]], None],
    ) -> QFileDialog:
        dialog = QFileDialog(self, title, str(self._folder or ""), names)
        dialog.setFileMode(mode)
        dialog.filesSelected.connect(lambda texts: chosen([Path(text) for text in texts]))
        dialog.open()
        return dialog

    @property
    def _library(self) -> RecordingLibrary | None:
        return self._desk.library

    @property
    def _one(self) -> LibraryEntry | None:
        """What is stored of the selected row, if there is one only."""
        return self._rows[0].entry if len(self._rows) == 1 else None

    def _stored(self) -> list[LibraryEntry]:
        return [row.entry for row in self._rows if row.entry is not None]

    def _in_database(self) -> list[LibraryEntry]:
        return [entry for entry in self._stored() if not entry.key.file]

    def _files(self) -> list[str]:
        return list(dict.fromkeys(row.key.file for row in self._rows if row.key.file))

    def _button(self, text: str, command: Callable[[], None], tip: str) -> QPushButton:
        button = push_button(self, text, command)
        # Enter belongs to the table, not to a default button.
        button.setAutoDefault(False)
        button.setToolTip(tip)
        return button


def _whole(entries: Sequence[LibraryEntry]) -> tuple[int, int] | None:
    """Return from when to when there is something in `entries`; None if there is nothing."""
    spans = [entry.span_ms for entry in entries if entry.span_ms is not None]
    if not spans:
        return None
    return min(begin for begin, _ in spans), max(end for _, end in spans)
