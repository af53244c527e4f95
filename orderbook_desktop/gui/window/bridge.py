"""Turns changes of the desk into Qt signals, at most once per display frame."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from msgspec.structs import replace
from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QScreen

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.desk import Desk, without_told_detail, without_told_problem
from orderbook_desktop.core.recording_status import RecordingStatus
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.core.sources import BookLook, BookSource
from orderbook_desktop.core.status import Badge, FeedState, FeedStatus, SourceKind, badge_for
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.gui.panes.book_frame import BookFrame, read_frame
from orderbook_desktop.system.steady_clock import steady_ns

_log = logging.getLogger(__name__)
# A little less than the time between two looks, which may come a moment early.
_SLOW_NS: Final = 90_000_000
_RATE_NS: Final = 1_000_000_000
_FALLBACK_HZ: Final = 60.0
_LOOK_MS: Final = 100
_ASLEEP_LOOK_MS: Final = 1_000


class _FrameKey(NamedTuple):
    """What a frame depends on."""

    source: BookSource
    book: Book
    revision: int
    tape: Tape | None
    tape_revision: int
    state: FeedState
    detail: str
    kind: SourceKind

    @property
    def words(self) -> tuple[FeedState, str, SourceKind]:
        """What the badge depends on."""
        return self.state, self.detail, self.kind

    def has_book_of(self, other: _FrameKey | None) -> bool:
        """Return whether at most the number of trades has changed since `other`."""
        return other is not None and self._replace(tape_revision=other.tape_revision) == other


class DeskBridge(QObject):
    """Emits what changed in the desk, at most once per display frame.

    Call `start()` after the signals are connected, and `stop()` before the desk closes. The desk
    calls `wake` after a change of its book. What changes just because time passes, such as the age
    of a book, is found by a look every `look_ms`. While `awake` is false (the window is hidden or
    minimised) the book is not read, and looks are as rare as `asleep_look_ms`. A sentence that a
    notice of the desk tells is left out of all that the bridge emits.

    Signals:
        symbol_changed(SymbolInfo): another symbol is on screen; its frame follows at once.
        frame_changed(BookFrame): the book changed, or the reason why there is none.
        desk_changed(): symbols, recents, switches or notices may have changed.
        badge_changed(Badge): the badge's state or age text changed (about 10 times a second).
        recording_changed(RecordingStatus): the counters or the switch of the recording changed.
        replay_changed(ReplayStatus | None): the replay's clock or its state changed; None: live.
        rate_changed(int): revisions of the book per second, emitted about once a second.
    """

    symbol_changed = Signal(SymbolInfo)
    frame_changed = Signal(BookFrame)
    desk_changed = Signal()
    badge_changed = Signal(Badge)
    recording_changed = Signal(RecordingStatus)
    replay_changed = Signal(object)
    rate_changed = Signal(int)

    def __init__(
        self,
        desk: Desk,
        parent: QObject | None = None,
        now_ns: Callable[[], int] = steady_ns,
        frame_clock_ns: Callable[[], int] = time.monotonic_ns,
        look_ms: int = _LOOK_MS,
        asleep_look_ms: int = _ASLEEP_LOOK_MS,
    ) -> None:
        super().__init__(parent)
        self._desk = desk
        self._now_ns = now_ns
        self._symbol: SymbolInfo | None = None
        self._desk_revision: int | None = None
        self._last_frame_key: _FrameKey | None = None
        self._frame: BookFrame | None = None
        self._frame_clock_ns = frame_clock_ns
        self._framed_ns = 0
        self._frame_ns = 0
        self._problem = ""
        self._badge: Badge | None = None
        self._recording: RecordingStatus | None = None
        self._replay: ReplayStatus | None = None
        self._slow_at_ns = 0
        self._rate_since_ns = 0
        self._rate_of: Book | None = None
        self._rate_revision = 0
        self._awake = True
        self._look_ms, self._asleep_look_ms = look_ms, asleep_look_ms
        self._steady = QTimer(self, interval=look_ms)
        self._steady.setTimerType(Qt.TimerType.PreciseTimer)
        self._steady.timeout.connect(self._look_steadily)
        # Runs from a change of the book until the next frame is due.
        self._due = QTimer(self, singleShot=True)
        self._due.setTimerType(Qt.TimerType.PreciseTimer)
        self._due.timeout.connect(self.look)
        self.follow_screen(None)

    @property
    def awake(self) -> bool:
        """Whether the book is read."""
        return self._awake

    @awake.setter
    def awake(self, awake: bool) -> None:
        if awake == self._awake:
            return
        self._awake = awake
        self._steady.setInterval(self._look_ms if awake else self._asleep_look_ms)
        if not self._steady.isActive():
            return
        if awake:
            self.wake()
        else:
            self._due.stop()

    def start(self) -> None:
        """Look at the desk at once, and after its changes from then on."""
        self.look()
        self._desk.call_on_change(self.wake)
        self._steady.start()

    def stop(self) -> None:
        """Stop looking at the desk."""
        self._desk.call_on_change(None)
        self._steady.stop()
        self._due.stop()

    def wake(self) -> None:
        """Look at the desk as soon as the next frame is due; many calls are one look."""
        if self._awake and not self._due.isActive():
            left_ns = self._frame_ns - (self._frame_clock_ns() - self._framed_ns)
            self._due.start(max(0, round(left_ns / 1_000_000)))

    def follow_screen(self, screen: QScreen | None) -> None:
        """Emit no more frames than `screen` can show."""
        rate = screen.refreshRate() if screen is not None else _FALLBACK_HZ
        self._frame_ns = int(1_000_000_000 / (rate if rate >= 1 else _FALLBACK_HZ))

    def _look_steadily(self) -> None:
        # A look that is due comes within a frame.
        if not self._due.isActive():
            self.look()

    def look(self) -> None:
        """Compare the desk with the last look, and emit what changed."""
        now_ns = self._now_ns()
        if self._desk.revision != self._desk_revision:
            self._desk_revision = self._desk.revision
            if self._desk.symbol != self._symbol:
                self._symbol = self._desk.symbol
                self.symbol_changed.emit(self._symbol)
            self.desk_changed.emit()
            self._slow_at_ns = 0
        source = self._desk.source
        look = source.look()
        if look.status.detail:
            look = replace(look, status=without_told_detail(look.status, self._desk.notices))
        if look.replay != self._replay:
            # Before the frame, whose time it tells.
            self._replay = look.replay
            if look.replay is not None and look.replay.is_playing:
                # A clock that runs is told no more often than the book, also between two events. A
                # step or a seek of one that stands is told at once.
                self._framed_ns = self._frame_clock_ns()
            self.replay_changed.emit(look.replay)
        self._look_at_book(source, look)
        if not 0 <= now_ns - self._slow_at_ns < _SLOW_NS:
            self._slow_at_ns = now_ns
            self._look_at_age(look.status, now_ns)
            self._look_at_recording()
            self._count_rate(look.book, now_ns)

    def _look_at_book(self, source: BookSource, look: BookLook) -> None:
        if not self._awake:
            return
        status, book, tape = look.status, look.book, look.tape
        frame_key = _FrameKey(
            *(source, book, book.revision, tape, tape.revision if tape is not None else 0),
            *(status.state, status.detail, status.source),
        )
        last_key, self._last_frame_key = self._last_frame_key, frame_key
        if frame_key == last_key:
            return
        if last_key is None or last_key.words != frame_key.words:
            self._slow_at_ns = 0  # The badge must not lag behind the picture.
        self._framed_ns = self._frame_clock_ns()
        if self._frame is not None and tape is not None and frame_key.has_book_of(last_key):
            frame = replace(self._frame, last=tape.last)
        else:
            frame = read_frame(self._desk.symbol, look)
        self._frame = frame
        if frame.problem and frame.problem != self._problem:
            _log.warning("The book of %s cannot be shown: %s", frame.symbol.symbol, frame.problem)
        self._problem = frame.problem
        self.frame_changed.emit(frame)

    def _look_at_age(self, status: FeedStatus, now_ns: int) -> None:
        badge = badge_for(status, now_ns)
        if self._badge is None or _words(badge) != _words(self._badge):
            self._badge = badge
            self.badge_changed.emit(badge)

    def _look_at_recording(self) -> None:
        recording = self._desk.recording
        if recording.problem:
            recording = without_told_problem(recording, self._desk.notices)
        if recording != self._recording:
            self._recording = recording
            self.recording_changed.emit(recording)

    def _count_rate(self, book: Book, now_ns: int) -> None:
        passed_ns, changes = now_ns - self._rate_since_ns, book.revision - self._rate_revision
        # The recorded book and the exchange's book each count their own revisions.
        goes_on = book is self._rate_of and changes >= 0
        if goes_on and 0 <= passed_ns < _RATE_NS:
            return
        if goes_on and 0 <= passed_ns < 10 * _RATE_NS:
            # Without a network the book is lost again and again. That raises its revision, but it
            # is no update.
            known = changes if book.last_update_id else 0
            self.rate_changed.emit(round(known * 1e9 / passed_ns))
        self._rate_of, self._rate_since_ns, self._rate_revision = book, now_ns, book.revision


def _words(badge: Badge) -> tuple[str, str, bool]:
    return badge.text, badge.detail, badge.is_current
