"""What a person is told at the first start: what is recorded, where, and what that takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from orderbook_desktop.core.desk import Desk, NoticeAction, RecordingStatus
from orderbook_desktop.gui.parts import push_button, text_label
from orderbook_desktop.gui.status_line import bytes_text

_OFTEN_WANTED: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
_DAY_NS: Final = 86_400 * 10**9
# The first events come in a burst; a forecast from less would jump about.
_PACE_AFTER_NS: Final = 5 * 10**9
_PACE_EVERY_NS: Final = 2 * 10**9


@dataclass(frozen=True, slots=True)
class RecordingPlace:
    """Where recordings go: `text` names it, `free_bytes` tells the room (None: unknown)."""

    text: str
    free_bytes: Callable[[], int | None]


class RecordingPace:
    """How many bytes a day a recording takes if it goes on as it did since it was first noted."""

    def __init__(self) -> None:
        self._since: tuple[int, int] | None = None
        self._latest = (0, 0)

    def note(self, payload_bytes: int, now_ns: int) -> None:
        """Note how much was recorded by `now_ns`; a smaller amount is another recording's."""
        if self._since is None or payload_bytes < self._latest[1]:
            self._since = (now_ns, payload_bytes)
        self._latest = (now_ns, payload_bytes)

    def forget(self) -> None:
        """Begin anew."""
        self._since = None

    @property
    def bytes_per_day(self) -> int | None:
        """The forecast; None while it is too early to tell."""
        if self._since is None:
            return None
        passed_ns, grown = self._latest[0] - self._since[0], self._latest[1] - self._since[1]
        if passed_ns < _PACE_AFTER_NS or grown <= 0:
            return None
        return grown * _DAY_NS // passed_ns


class WelcomePanel(QFrame):
    """Explains the window above its contents, without keeping anybody from using them.

    Keep it up to date by `show_desk` and `show_recording`.

    Signals:
        commanded(): the desk was told something; look at it.
        search_wanted(): the person wants to choose among all symbols.
        dismissed(): the person has read it.
    """

    commanded = Signal()
    search_wanted = Signal()
    dismissed = Signal()

    def __init__(self, desk: Desk, place: RecordingPlace | None, parent: QWidget) -> None:
        super().__init__(parent)
        self._desk = desk
        self._place = place
        self._pace = RecordingPace()
        self._symbol = ""
        self._forecast_ns = 0
        self.setObjectName("welcome")
        self.setAccessibleName("Welcome")
        self.title = text_label(self, "welcomeTitle")
        self.recorded = text_label(self)
        self.disk = text_label(self)
        self.symbol_buttons = [
            push_button(self, symbol, self._chooser(symbol)) for symbol in _OFTEN_WANTED
        ]
        self.search_button = push_button(self, "Another symbol…", self.search_wanted.emit)
        self.demo_button = push_button(self, "Try the demo", self._start_demo)
        self.demo_button.setToolTip("A made-up market, without any network")
        self.close_button = push_button(self, "Got it", self.dismissed.emit)
        self._lay_out()
        self.show_desk()
        self._show_state(desk.recording)

    def show_desk(self) -> None:
        """Show which symbol it is about, and what can be chosen now."""
        desk, symbol = self._desk, self._desk.symbol.symbol
        if symbol != self._symbol:
            self._symbol = symbol
            self._pace.forget()
            self.disk.setText(self._disk_text())
        what = "a made-up market, the demo" if desk.demo else "live from the exchange"
        self.title.setText(f"Welcome. This is the order book of {symbol}, {what}.")
        for button in self.symbol_buttons:
            button.setEnabled(button.text() != symbol)
        self.demo_button.setVisible(not desk.demo)

    def show_recording(self, recording: RecordingStatus, now_ns: int) -> None:
        """Show whether it is recorded, where, and how much disk that takes, as of `now_ns`."""
        self._show_state(recording)
        if recording.wanted:
            self._pace.note(recording.payload_bytes, now_ns)
        else:
            self._pace.forget()
        if not 0 <= now_ns - self._forecast_ns < _PACE_EVERY_NS:
            self._forecast_ns = now_ns
            self.disk.setText(self._disk_text())

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Dismiss by Escape while one of the buttons has the focus."""
        if event.key() == Qt.Key.Key_Escape:
            self.dismissed.emit()
        else:
            super().keyPressEvent(event)

    def _show_state(self, recording: RecordingStatus) -> None:
        self.recorded.setText(self._recorded_text(recording))
        self.disk.setVisible(recording.wanted)

    def _recorded_text(self, recording: RecordingStatus) -> str:
        if not recording.wanted:
            return "It is not being recorded; the Record button above begins it."
        if recording.problem:
            return f"It is to be recorded, but: {recording.problem}"
        where = f" in {self._place.text}" if self._place is not None else ""
        return (
            f"Every change is being recorded{where}, exactly as it was sent. "
            "The Record button above ends it."
        )

    def _disk_text(self) -> str:
        pace = self._pace.bytes_per_day
        takes = "Disk: being measured" if pace is None else f"Disk: about {bytes_text(pace)} a day"
        free = self._place.free_bytes() if self._place is not None else None
        if free is None:
            return f"{takes}."
        days = f", enough for {free // pace:,} days" if pace else ""
        return f"{takes}; {bytes_text(free)} are free{days}."

    def _start_demo(self) -> None:
        self._desk.act(NoticeAction.START_DEMO)
        self.commanded.emit()

    def _chooser(self, symbol: str) -> Callable[[], None]:
        def choose() -> None:
            self._desk.select_symbol(symbol)
            self.commanded.emit()

        return choose

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 10, 14, 10)
        column.setSpacing(6)
        for label in (self.title, self.recorded, self.disk):
            column.addWidget(label)
        row = QHBoxLayout()
        for button in (*self.symbol_buttons, self.search_button, self.demo_button):
            row.addWidget(button)
        row.addStretch(1)
        row.addWidget(self.close_button)
        column.addLayout(row)
