"""The dialogs of the main window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication, QDialog, QMainWindow, QWidget

from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.disk import RecordingStorage
from orderbook_desktop.core.library_jobs import LibraryEntry
from orderbook_desktop.core.replay import Replay
from orderbook_desktop.gui.actions import Action
from orderbook_desktop.gui.theme import ThemeKeeper
from orderbook_desktop.gui.window.bridge import DeskBridge

if TYPE_CHECKING:
    from orderbook_desktop.gui.dialogs.gap_list import GapList
    from orderbook_desktop.gui.dialogs.recordings import RecordingManager


_Dialog = TypeVar("_Dialog", bound=QDialog)


class WindowDialogs(QObject):
    """Opens the dialogs of `window`, each of them at most once at a time.

    The first picture does without dialogs, so their modules are imported with the first use.

    Signals:
        gap_wanted(str, object, object): the person wants to see the book at a gap (see `GapList`).
    """

    gap_wanted = Signal(str, object, object)
    # With the zone in which dialogs write times from now on.
    _zone_changed = Signal(object)

    def __init__(
        self, window: QMainWindow, desk: Desk, themes: ThemeKeeper, bridge: DeskBridge
    ) -> None:
        super().__init__(window)
        self._window = window
        self._desk = desk
        self._themes = themes
        self._bridge = bridge
        self._zone: tzinfo | None = None
        self.recordings: RecordingManager | None = None

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        self._zone_changed.emit(zone)

    def manage_recordings(self) -> None:
        """Show the library of recordings."""
        if self.recordings is None:
            from orderbook_desktop.gui.dialogs.recordings import RecordingManager  # noqa: PLC0415

            manager = RecordingManager(self._desk, self._themes.theme, self._window, self._zone)
            manager.commanded.connect(self._bridge.look)
            manager.gaps_wanted.connect(self.show_gaps)
            manager.file_gaps_wanted.connect(self.show_gaps_in_file)
            self._bridge.desk_changed.connect(manager.look)
            self._themes.changed.connect(manager.set_theme)
            self._zone_changed.connect(manager.set_zone)
            self.recordings = manager
        _bring_up(self.recordings)

    def show_gaps(self, symbol: str) -> None:
        """Show the gaps of the recording of `symbol`."""
        gaps = self._gap_list()
        gaps.show_symbol(symbol)
        _bring_up(gaps)

    def show_gaps_in_file(self, entry: LibraryEntry) -> None:
        """Show the gaps of a recording in a packed file."""
        gaps = self._gap_list()
        gaps.show_fixed(entry.symbol, Path(entry.key.file), entry.gaps)
        _bring_up(gaps)

    def show_gaps_of_replay(self, replay: Replay) -> None:
        """Show the gaps of the packed file that is played."""
        gaps, status = self._gap_list(), replay.status
        gaps.show_fixed(status.symbol, Path(status.file), replay.coverage.recorded_gaps)
        _bring_up(gaps)

    def _gap_list(self) -> GapList:
        from orderbook_desktop.gui.dialogs.gap_list import GapList  # noqa: PLC0415

        gaps = self._opened(GapList)
        if gaps is None:
            gaps = GapList(self._desk, self._window, self._zone)
            gaps.gap_wanted.connect(self.gap_wanted)
            self._zone_changed.connect(gaps.set_zone)
        return gaps

    def open_packed(self, path: Path) -> None:
        """Show the recordings of a packed file in the library, or there why it can't be read."""
        library = self._desk.library
        if library is not None:
            library.open_file(path)
            self.manage_recordings()

    def show_space(self, storage: RecordingStorage) -> None:
        """Show the disk space of `storage`, and the retention."""
        from orderbook_desktop.gui.dialogs.space_dialog import SpaceDialog  # noqa: PLC0415

        _bring_up(self._opened(SpaceDialog) or SpaceDialog(storage, self._window))

    def show_keys(self, actions: Sequence[Action]) -> None:
        """Show the list of the keys of `actions`."""
        from orderbook_desktop.gui.dialogs.help import KeyList  # noqa: PLC0415

        self._show_over_all(lambda parent: KeyList(actions, parent), KeyList)

    def show_about(self) -> None:
        """Show the program's version and licence."""
        from orderbook_desktop.gui.dialogs.help import About  # noqa: PLC0415

        _bring_up(self._opened(About) or About(self._window))

    def cancel_questions(self) -> None:
        """Cancel the questions that block the window."""
        for dialog in self._visible():
            if dialog.isModal():
                dialog.reject()

    def close_all(self) -> None:
        """Close all dialogs, as their Escape key does."""
        for dialog in self._visible():
            dialog.reject()

    def _show_over_all(self, make: Callable[[QWidget], QDialog], kind: type[QDialog]) -> None:
        """Show a dialog that may be wanted while a question blocks the window."""
        active = QApplication.activeModalWidget() or self._window
        _bring_up(self._opened(kind) or make(active))

    def _visible(self) -> list[QDialog]:
        return [dialog for dialog in self._window.findChildren(QDialog) if dialog.isVisible()]

    def _opened(self, kind: type[_Dialog]) -> _Dialog | None:
        return next((dialog for dialog in self._visible() if isinstance(dialog, kind)), None)


def _bring_up(dialog: QDialog) -> None:
    dialog.show()
    dialog.raise_()
    dialog.activateWindow()
