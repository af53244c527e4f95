"""What happens when a person quits: a question while there is something to lose, and the tray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QMainWindow, QMenu, QSystemTrayIcon

from orderbook_desktop.core.desk import Desk, Notice, NoticeLevel
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.dialogs.question import Answer, Question
from orderbook_desktop.gui.window.bridge import DeskBridge
from orderbook_desktop.system.bundle import resource_path

_log = logging.getLogger(__name__)

_NAME: Final = "Orderbook Desktop"
_NAMED_AT_MOST: Final = 3
# Of these the tray tells no more than their number.
_AS_WANTED: Final = (RecordingState.RECORDING, RecordingState.ELSEWHERE)


class Tray(QObject):
    """The icon in the desktop's tray, there only while `window` is hidden in it.

    Its tool tip says how the recordings are doing. A new warning is a message of the desktop, since
    the window, which would show it, is hidden.

    Signals:
        quit_wanted(): the person wants to quit.
    """

    quit_wanted = Signal()

    def __init__(self, window: QMainWindow, desk: Desk, bridge: DeskBridge) -> None:
        super().__init__(window)
        self._window = window
        self._desk = desk
        self._told: set[Notice] = set()
        self.icon = QSystemTrayIcon(QIcon(str(resource_path("icons/orderbook-desktop.svg"))), self)
        self.menu = QMenu(_NAME, window)
        self.menu.addAction("Show the window", self.show_window)
        self._quit = self.menu.addAction("Quit", self.quit_wanted.emit)
        self.icon.setContextMenu(self.menu)
        self.icon.activated.connect(self._activated)
        self.icon.messageClicked.connect(self.show_window)
        bridge.desk_changed.connect(self.look)

    def hide_window(self) -> None:
        """Hide the window in the tray."""
        self._told = set(self._desk.notices)
        self.icon.show()
        self._window.hide()
        self.look()

    def show_window(self) -> None:
        """Bring the window back, and remove the icon."""
        self._window.show()
        self._window.raise_()
        self._window.activateWindow()
        self.icon.hide()

    def look(self) -> None:
        """Show the present state of the recordings, and what is new."""
        if not self.icon.isVisible():
            return
        kept = kept_recordings(self._desk)
        self.icon.setToolTip(_state_text(kept))
        self._quit.setText(f"Stop {counted(len(kept), 'recording')} and quit" if kept else "Quit")
        for notice in self._desk.notices:
            if notice.level is NoticeLevel.WARNING and notice not in self._told:
                self.icon.showMessage(_NAME, notice.text, QSystemTrayIcon.MessageIcon.Warning)
        self._told = set(self._desk.notices)

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason is not QSystemTrayIcon.ActivationReason.Context:
            self.show_window()


class Leaving(QObject):
    """Asks before the program ends, if kept recordings run, or if events wait in memory.

    The person may let the recordings go on, with the window in the tray. A desktop without a tray,
    as `has_tray` says, gets the window minimised. While `ends_session` returns true, as when the
    person logs out, there is no question: the system would take it for a refusal.

    Signals:
        agreed(): the program is to end.
    """

    agreed = Signal()

    def __init__(
        self,
        window: QMainWindow,
        desk: Desk,
        bridge: DeskBridge,
        ends_session: Callable[[], bool],
        has_tray: Callable[[], bool] = QSystemTrayIcon.isSystemTrayAvailable,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._desk = desk
        self._bridge = bridge
        self._ends_session = ends_session
        self._has_tray = has_tray
        self._question: Question | None = None
        self.tray: Tray | None = None

    def ask(self) -> None:
        """Ask, if there is something to lose, else agree; an open question comes to the front."""
        if self._question is not None:
            self._question.raise_()
            self._question.activateWindow()
            return
        text = _losses_text(self._desk)
        if not text or self._ends_session():
            self._agree()
            return
        go_on = "Go on in the tray" if self._has_tray() else "Go on minimised"
        answers = [Answer(go_on, self._go_on), Answer("Stop and quit", self._agree)]
        self._question = Question("Quit", text, answers, self._window)
        self._question.finished.connect(self._answered)
        self._question.open()

    def _agree(self) -> None:
        _log.info("user: quits")
        self.agreed.emit()

    def close(self) -> None:
        """Remove the icon, because the program ends."""
        if self.tray is not None:
            self.tray.icon.hide()

    def _answered(self) -> None:
        self._question = None

    def _go_on(self) -> None:
        _log.info("user: lets the recordings go on without the window")
        if not self._has_tray():
            self._window.showMinimized()
            return
        if self.tray is None:
            self.tray = Tray(self._window, self._desk, self._bridge)
            self.tray.quit_wanted.connect(self._quit_from_tray)
        self.tray.hide_window()

    def _quit_from_tray(self) -> None:
        """Quit without a question, since the entry says what ends; only a loss is asked about."""
        if self.tray is not None and waiting_events(self._desk):
            self.tray.show_window()
            self.ask()
        else:
            self._agree()


def kept_recordings(desk: Desk) -> list[RecordingStatus]:
    """Return the kept recordings that run here; those of the demo don't count."""
    if desk.demo:
        return []
    return [
        recording
        for recording in desk.recordings
        # What another program records does not end with this one.
        if recording.kept and recording.wanted and not recording.recorded_by
    ]


def waiting_events(desk: Desk) -> int:
    """Return how many events wait in memory because the database is away or too slow."""
    if desk.demo:
        return 0
    return sum(
        recording.waiting
        for recording in desk.recordings
        if recording.state is RecordingState.DELAYED
    )


def _losses_text(desk: Desk) -> str:
    """Return what ends, or may be lost, if the program ends now; empty if there is nothing."""
    kept, waiting = kept_recordings(desk), waiting_events(desk)
    sentences = []
    if kept:
        verb = "is" if len(kept) == 1 else "are"
        sentences.append(
            f"{_names(kept)} {verb} being recorded. If the program ends, so does that, until the "
            "next start."
        )
    if waiting:
        verb, them = ("waits", "it is") if waiting == 1 else ("wait", "they are")
        sentences.append(
            f"{counted(waiting, 'event')} {verb} in memory for the database. If the program ends "
            f"before the database answers, {them} lost."
        )
    return " ".join(sentences)


def _names(recordings: Sequence[RecordingStatus]) -> str:
    """Return the symbols in words: `A`, `A and B`, `A, B, C and 4 more`."""
    names = [recording.symbol for recording in recordings]
    if len(names) > _NAMED_AT_MOST + 1:
        names = [*names[:_NAMED_AT_MOST], f"{len(names) - _NAMED_AT_MOST:,} more"]
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _state_text(kept: Sequence[RecordingStatus]) -> str:
    """Return the tray's text: how many symbols are recorded, and how the worst one is doing."""
    if not kept:
        return _NAME
    running = sum(recording.state in _AS_WANTED for recording in kept)
    if running == len(kept):
        return f"{_NAME}: recording {counted(running, 'symbol')}"
    worst = min((recording.state for recording in kept), key=lambda state: state.rank)
    return f"{_NAME}: recording {running:,} of {counted(len(kept), 'symbol')} ({worst.value})"
