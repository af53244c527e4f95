"""How one market's recording is doing: its state, rate and lag."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from orderbook_desktop.core.desk import MarketRecording, RecordingState
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.exchange.errors import Paced, RegionBlocked, UnknownSymbol
from orderbook_desktop.storage.archive.archiver import ArchiveCounts
from orderbook_desktop.storage.recorder.market_sink import MarketCounts

# A rate is that of the last seconds, looked at so often.
_SAMPLES: Final = 10
_SAMPLE_EVERY_S: Final = 0.5

_STATES: Final = {
    FeedState.SYNCED: RecordingState.RECORDING,
    FeedState.SYNCING: RecordingState.WAITING,
    FeedState.RECONNECTING: RecordingState.RECONNECTING,
}


class RecordingMeter:
    """Measures the recording of `symbol` by `session`; call `look()` at least twice a second.

    `now` is a clock in seconds that never goes back.
    """

    def __init__(
        self,
        symbol: str,
        session: MarketSession,
        since_ms: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.symbol = symbol
        self.session = session
        self._since_ms = since_ms
        self._now = now
        # (time in s, events) of the last seconds.
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES + 1)
        self.look()

    def look(self) -> None:
        """Take note of how far the recording has come."""
        now = self._now()
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_EVERY_S:
            self._samples.append((now, self.session.sink.counts.events))

    @property
    def rate(self) -> float:
        """Events a second, over the last seconds."""
        (then, before), (now, events) = self._samples[0], self._samples[-1]
        return (events - before) / (now - then) if now > then else 0.0

    def status(self, *, kept: bool = True) -> MarketRecording:
        """Return how the recording is doing now."""
        session, archived = self.session, self.session.archived
        recording = session.recording_status
        return replace(
            counted_recording(self.symbol, session.sink.counts, archived),
            state=state_of(session, recording.problem),
            wanted=True,
            kept=kept,
            waiting=recording.waiting,
            rate=self.rate,
            lag_ms=session.lag_ms,
            since_ms=self._since_ms,
            problem=problem_of(self.symbol, session),
        )


def counted_recording(
    symbol: str, counts: MarketCounts, archived: ArchiveCounts
) -> MarketRecording:
    """Return the recording of `symbol` as a stopped one, with what was counted until then."""
    return MarketRecording(
        symbol=symbol,
        state=RecordingState.STOPPED,
        wanted=False,
        events=counts.events,
        payload_bytes=counts.payload_bytes,
        archived_events=archived.events,
        archived_bytes=archived.bytes,
        gaps=counts.gaps,
        last_gap=counts.last_gap,
        last_gap_ms=counts.last_gap_ms,
    )


def state_of(session: MarketSession, problem: str) -> RecordingState:
    """Return what becomes of the events; `problem` is what the database has against it."""
    if not session.recording:
        return RecordingState.STOPPED
    is_hopeless = isinstance(session.live.problem, UnknownSymbol | RegionBlocked)
    if session.sink.refused is not None or is_hopeless:
        return RecordingState.FAILED
    if session.paused:
        return RecordingState.PAUSED
    if problem:
        return RecordingState.DELAYED
    return _STATES.get(session.live.status.state, RecordingState.WAITING)


def problem_of(symbol: str, session: MarketSession) -> str:
    """Return what is wrong with the recording as a sentence, or empty."""
    detail = detail_of(symbol, session)
    if isinstance(session.live.problem, UnknownSymbol):
        # Among several symbols the sentence has to name it.
        return detail
    return session.recording_status.problem or detail or unarchived(session.archived)


def unarchived(archived: ArchiveCounts) -> str:
    """Return why a part of the recording stays as large as it is, or empty."""
    return archived.problem and f"A part of it can't be archived: {archived.problem}"


def detail_of(symbol: str, session: MarketSession) -> str:
    """Return what is to say of the feed, naming an unknown symbol as it was asked for."""
    if isinstance(session.live.problem, UnknownSymbol):
        return str(UnknownSymbol(symbol))
    if isinstance(session.live.problem, Paced) and session.live.status.detail:
        # Without the seconds, which would make it another sentence each time.
        return "The exchange limits how many whole books may be asked for in a minute."
    return session.live.status.detail
