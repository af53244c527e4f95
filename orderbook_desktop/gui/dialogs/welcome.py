"""The panel of the first start: what is recorded, where, and how much disk that takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QWheelEvent
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QVBoxLayout, QWidget

from orderbook_desktop.core.desk import Desk, NoticeAction
from orderbook_desktop.core.disk import KEEP_EVERYTHING, RecordingStorage, Retention
from orderbook_desktop.core.recording_status import RecordingStatus
from orderbook_desktop.gui.disk_text import growth_sentence, retention_text
from orderbook_desktop.gui.parts import push_button, text_label

_TRY_DEMO: Final = "Try the demo"
_OFTEN_WANTED: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT")

_RETENTIONS_ON_OFFER: Final = (
    KEEP_EVERYTHING,
    Retention(days=7),
    Retention(days=30),
    Retention(days=90),
    Retention(gigabytes=10),
    Retention(gigabytes=50),
)


class WelcomePanel(QFrame):
    """Explains the window above its panes, which stay usable.

    Call `show_desk`, `show_recording` and `show_disk` when the desk, the recording or the disk
    has changed.

    Signals:
        commanded(): a command was given; look at the desk at once.
        search_wanted(): the person wants to choose among all symbols.
        dismissed(): the person has read the panel.
    """

    commanded = Signal()
    search_wanted = Signal()
    dismissed = Signal()

    def __init__(self, desk: Desk, storage: RecordingStorage | None, parent: QWidget) -> None:
        super().__init__(parent)
        self._desk = desk
        self._storage = storage
        self.setObjectName("welcome")
        self.setAccessibleName("Welcome")
        self.title = text_label(self, "welcomeTitle")
        self.recorded = text_label(self)
        self.disk = text_label(self)
        self.symbol_buttons = [
            push_button(self, symbol, self._chooser(symbol)) for symbol in _OFTEN_WANTED
        ]
        for button in self.symbol_buttons:
            # A button that its own command disabled would pass the focus on to the next one.
            button.setCheckable(True)
        self.search_button = push_button(self, "Another symbol…", self.search_wanted.emit)
        self.demo_button = push_button(self, _TRY_DEMO, self._switch_demo)
        self.demo_button.setToolTip("A made-up market, without any network")
        self.close_button = push_button(self, "Got it", self.dismissed.emit)
        self.retention_box = RetentionBox(self)
        self.retention_box.chosen.connect(self._keep)
        self._lay_out()
        self.show_desk()
        self.show_disk()

    def show_desk(self) -> None:
        """Show the symbol on screen, whether it has a book, and the choices."""
        desk, symbol = self._desk, self._desk.symbol.symbol
        what = "a made-up market, the demo" if desk.demo else "live from the exchange"
        if self._has_book():
            text = f"This is the order book of {symbol}, {what}."
        elif desk.demo:
            text = f"The order book of {symbol}, {what}, appears here once it is loaded."
        else:
            text = f"The order book of {symbol} appears here once it is loaded."
        self.title.setText(f"Welcome. {text}")
        for button in self.symbol_buttons:
            button.setChecked(button.text() == symbol)
        self.demo_button.setText(NoticeAction.LEAVE_DEMO.value if desk.demo else _TRY_DEMO)
        self._show_state(desk.recording)

    def show_recording(self, recording: RecordingStatus) -> None:
        """Show whether the symbol on screen is recorded, and where."""
        self._show_state(recording)

    def show_disk(self) -> None:
        """Show how much disk the recordings take, and how much of them is kept."""
        if self._storage is not None:
            self.disk.setText(growth_sentence(self._storage.disk, self._storage.retention))
            self.retention_box.set_retention(self._storage.retention)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Dismiss by Escape while one of the buttons has the focus."""
        if event.key() == Qt.Key.Key_Escape:
            self.dismissed.emit()
        else:
            super().keyPressEvent(event)

    def _show_state(self, recording: RecordingStatus) -> None:
        self.recorded.setText(self._recorded_text(recording))
        for part in (self.disk, self.retention_box):
            part.setVisible(recording.wanted and self._storage is not None)

    def _recorded_text(self, recording: RecordingStatus) -> str:
        if not recording.wanted:
            return "It is not being recorded; the Record button above begins it."
        if recording.recorded_by:
            return (
                f"It is being recorded by {recording.recorded_by}. This window follows that "
                "recording, and takes over when it ends."
            )
        if recording.problem:
            return f"It is to be recorded, but: {recording.problem}"
        if recording.state.is_held_up:
            return "It is to be recorded; the notice above says why it is not at present."
        where = f" in {self._storage.text}" if self._storage is not None else ""
        symbol = self._desk.symbol.symbol
        if not self._has_book():
            return (
                f"Every change of {symbol} will be recorded{where} as soon as its book is loaded. "
                "The Record button above prevents it."
            )
        recordings = self._desk.recordings
        if any(recording.symbol == symbol and recording.kept for recording in recordings):
            until = "also while another symbol is on screen"
        else:
            until = "as long as it is on screen"
        return (
            f"Every change of {symbol} is being recorded{where}, exactly as it was sent, {until}. "
            "Recording > Library of recordings… keeps several symbols at once. "
            "The Record button above ends it."
        )

    def _has_book(self) -> bool:
        return self._desk.source.look().book.last_update_id > 0

    def _keep(self, retention: Retention) -> None:
        if self._storage is not None:
            self._storage.set_retention(retention)
            self.show_disk()

    def _switch_demo(self) -> None:
        demo = self._desk.demo
        self._desk.act(NoticeAction.LEAVE_DEMO if demo else NoticeAction.START_DEMO)
        self.commanded.emit()

    def _chooser(self, symbol: str) -> Callable[[], None]:
        def choose() -> None:
            self._desk.select_symbol(symbol)
            self.commanded.emit()
            # A click on the symbol on screen has unchecked its button.
            self.show_desk()

        return choose

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 10, 14, 10)
        column.setSpacing(6)
        for label in (self.title, self.recorded):
            column.addWidget(label)
        disk_row = QHBoxLayout()
        disk_row.addWidget(self.disk, 1)
        disk_row.addWidget(self.retention_box)
        column.addLayout(disk_row)
        row = QHBoxLayout()
        for button in (*self.symbol_buttons, self.search_button, self.demo_button):
            row.addWidget(button)
        row.addStretch(1)
        row.addWidget(self.close_button)
        column.addLayout(row)


class RetentionBox(QComboBox):
    """A list of usual choices, and of the present choice if it is not a usual one.

    Signals:
        chosen(Retention): the person wants this retention.
    """

    chosen = Signal(Retention)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("What is kept of recordings")
        self.setToolTip("The oldest events are removed for good, a minute at a time")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._choices: list[Retention] = []
        self.set_retention(KEEP_EVERYTHING)
        self.activated.connect(self._choose)

    def set_retention(self, retention: Retention) -> None:
        """Show `retention` as the present choice."""
        choices = list(_RETENTIONS_ON_OFFER)
        if retention not in choices:
            choices.append(retention)
        if choices != self._choices:
            self._choices = choices
            self.clear()
            self.addItems([retention_text(choice) for choice in choices])
        self.setCurrentIndex(choices.index(retention))

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Ignore the wheel: scrolling past the box must not remove recordings."""
        event.ignore()

    def _choose(self, index: int) -> None:
        self.chosen.emit(self._choices[index])
