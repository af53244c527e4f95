"""The line at the bottom: recording counters, disk, update id and event time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Final

from PySide6.QtCore import QEvent, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from orderbook_desktop.core.disk import DiskStatus, Retention, bytes_text
from orderbook_desktop.core.recorded_gaps import gaps_text
from orderbook_desktop.core.recording_status import RecordingStatus
from orderbook_desktop.core.status import REPLAY, FeedState, FeedStatus
from orderbook_desktop.core.time_text import time_of_day_text
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.disk_text import disk_field, size_sentence
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.parts import push_button
from orderbook_desktop.gui.window.top_bar import SOURCE_NAMES

_SPACING: Final = 18
_PAUSE_MS: Final = 100
# Left to right on screen. Where room is short, the fields with the lowest numbers are shown.
_FIELDS: Final = {
    "replay": -1,
    "exchange": 0,
    "source": 4,
    "recorded": 1,
    "waiting": 2,
    "gaps": 3,
    "disk": 5,
    "rate": 8,
    "update id": 7,
    "time": 6,
}


def fields_that_fit(widths: Sequence[int], ranks: Sequence[int], room: int) -> list[bool]:
    """Return which fields to show: each for which `room` is left, by rank, the lowest first.

    A field that is too wide doesn't hide narrower fields of a higher rank: the time may fit where
    the disk's forecast does not.
    """
    shown = [False] * len(widths)
    for index in sorted(range(len(widths)), key=lambda index: ranks[index]):
        if widths[index] and widths[index] <= room:
            room -= widths[index]
            shown[index] = True
    return shown


class StatusLine(QWidget):
    """Shows numbers that change, in as many fields as there is room for.

    Signals:
        gaps_wanted(): the number of gaps was pressed; the person wants to see the gaps.
    """

    gaps_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("statusLine")
        self._problem = QLabel(self)
        self._problem.setObjectName("problem")
        self.gaps_button = self._new_gaps_button()
        self._labels: dict[str, QLabel | QPushButton] = {
            name: self.gaps_button if name == "gaps" else QLabel(self) for name in _FIELDS
        }
        self._zone: tzinfo | None = None
        self._event_ms = 0
        self._frame: BookFrame | None = None
        # What the last frame was of.
        self._kind: object = None
        self._pause = QTimer(self, interval=_PAUSE_MS, singleShot=True)
        self._pause.timeout.connect(self._show_latest)
        self._sentence = self._recording_problem = ""
        # What is live beside a replay, and the file that is played.
        self._live_symbol = self._file = ""
        self._status: FeedStatus | None = None
        self._recording: RecordingStatus | None = None
        self._labels["replay"].setObjectName("replayField")
        self._widths: dict[str, int] = dict.fromkeys(_FIELDS, 0)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 3, 10, 3)
        row.setSpacing(_SPACING)
        row.addWidget(self._problem)
        for name, label in self._labels.items():
            if name == "rate":
                row.addStretch(1)
            label.hide()
            row.addWidget(label)
        self._problem.hide()

    def text(self, name: str) -> str:
        """Return the text of the field `name`, whether or not there is room for it."""
        return self._labels[name].text()

    def show_exchange(self, host: str) -> None:
        """Show `host` as the exchange; an empty `host` is the usual exchange."""
        self._set("exchange", f"Exchange: {host}" if host else "")

    def show_recording(self, recording: RecordingStatus) -> None:
        """Show the recording's counters, and its problem if it has one."""
        self._recording = recording
        size = bytes_text(recording.counts.payload_bytes)
        recorded = f"Recorded {recording.stored_text}, {size}"
        if recording.recorded_by:
            recorded = f"Recorded by {recording.recorded_by}"
        live = f"LIVE {self._live_symbol}: " if self._live_symbol else ""
        self._set("recorded", live + recorded)
        self._set("waiting", f"Waiting {recording.waiting:,}")
        self._set("gaps", f"Gaps {gaps_text(recording.gaps)}")
        self._recording_problem = f"▲ {recording.problem}" if recording.problem else ""
        self._arrange()

    def show_replay(self, moment: str, file: str, live_symbol: str) -> None:
        """Show the moment of a replay, and what of the line is live; without one it is empty."""
        self._set("replay", f"{REPLAY} {moment}" if moment else "")
        live_symbol, file = (live_symbol, file) if moment else ("", "")
        if (live_symbol, file) != (self._live_symbol, self._file):
            self._live_symbol, self._file = live_symbol, file
            if self._recording is not None:
                self.show_recording(self._recording)
            if self._status is not None:
                # A frame of the replay may have come before its file is known here.
                self.show_status(self._status)

    def show_disk(self, disk: DiskStatus, retention: Retention) -> None:
        """Show the size of the recordings, and how long the disk has room for them."""
        self._set("disk", disk_field(disk, retention))
        self._labels["disk"].setToolTip(f"{size_sentence(disk)}\n{retention.sentence}")

    def show_frame(self, frame: BookFrame) -> None:
        """Show the book's update id, event time and source, at most ten times a second.

        They can't be read more often, and each time costs as much as half of the ladder. What is
        more than the next event of a book is shown at once.
        """
        kind = (frame.symbol, frame.status.state, frame.status.source, frame.update_id > 0)
        is_other, self._kind = kind != self._kind, kind
        self._frame = frame
        if is_other or not self._pause.isActive():
            self._show_latest()

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        self._show_time()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 (Qt's name)
        """Wait for no further frame."""
        super().hideEvent(event)
        self._pause.stop()

    def _show_latest(self) -> None:
        frame, self._frame = self._frame, None
        if frame is None:
            return
        self._pause.start()
        self._set("update id", f"Update {frame.update_id}" if frame.update_id else "")
        self._event_ms = frame.event_ms
        self._show_time()
        self.show_status(frame.status)

    def _show_time(self) -> None:
        ms = self._event_ms
        self._set("time", time_of_day_text(ms, self._zone) if ms else "")

    def show_status(self, status: FeedStatus) -> None:
        """Show which source serves the book."""
        self._status = status
        name = SOURCE_NAMES[status.source].lower()
        if status.state is FeedState.REPLAY:
            name = self._file or "recording"
        self._set("source", f"Source: {name}")

    def show_rate(self, per_second: int) -> None:
        """Show how often the book changes."""
        self._set("rate", f"{counted(per_second, 'update')}/s")

    def say(self, sentence: str) -> None:
        """Show `sentence` from now on, in place of any problem."""
        self._sentence = sentence
        self._arrange()

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a small width: fields disappear rather than limit the window."""
        return QSize(100, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Show the fields that fit now."""
        super().resizeEvent(event)
        self._arrange()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Show the fields that fit."""
        super().showEvent(event)
        self._arrange()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Measure the fields anew after a change of the font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            # The labels get the font later than this widget.
            QTimer.singleShot(0, self, self._measure)

    def _new_gaps_button(self) -> QPushButton:
        button = push_button(self, "", self.gaps_wanted.emit)
        button.setFlat(True)
        # Return presses it, too.
        button.setAutoDefault(True)
        button.setCursor(Qt.CursorShape.PointingHandCursor)
        # Its text is its name for assistive technology, too: it has the number.
        button.setToolTip("Gaps of the whole recording, of all causes; press for the list")
        return button

    def _measure(self) -> None:
        for name, label in self._labels.items():
            label.setMinimumWidth(0)
            self._widths[name] = label.sizeHint().width() + _SPACING if label.text() else 0
        self._arrange()

    def _set(self, name: str, text: str) -> None:
        label = self._labels[name]
        if text == label.text():
            return
        label.setText(text)
        before = self._widths[name]
        # A field that was wider keeps its width, so that the fields beside it stand still.
        width = max(before, label.sizeHint().width() + _SPACING) if text else 0
        if width != before:
            self._widths[name] = width
            label.setMinimumWidth(max(0, width - _SPACING))
            self._arrange()

    def _arrange(self) -> None:
        room = self.width() - 20
        sentence = self._sentence or self._recording_problem
        metrics = self._problem.fontMetrics()
        most = room * 3 // 5
        self._problem.setText(metrics.elidedText(sentence, Qt.TextElideMode.ElideRight, most))
        self._problem.setToolTip(sentence)
        self._problem.setVisible(bool(sentence))
        if sentence:
            room -= self._problem.sizeHint().width() + _SPACING
        shown = fields_that_fit(list(self._widths.values()), list(_FIELDS.values()), room)
        for label, visible in zip(self._labels.values(), shown, strict=True):
            label.setVisible(visible)
