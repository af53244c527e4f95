"""Measures the recording of one market: its state, rate and lag."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.recording_status import RecordingStatus
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.exchange.errors import Paced, UnknownSymbol

# A rate is the mean of the last seconds: so many samples, so far apart.
_SAMPLES: Final = 10
_SAMPLE_EVERY_S: Final = 0.5


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
        """Note how many events have been recorded."""
        now = self._now()
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_EVERY_S:
            self._samples.append((now, self.session.sink.counts.events))

    @property
    def rate(self) -> float:
        """Events a second, over the last seconds."""
        (then, before), (now, events) = self._samples[0], self._samples[-1]
        return (events - before) / (now - then) if now > then else 0.0

    def status(self, *, kept: bool) -> RecordingStatus:
        """Return the present status of the recording."""
        return replace(
            self.measured(self.session.recording_status),
            symbol=self.symbol,
            wanted=True,
            kept=kept,
            problem=problem_of(self.symbol, self.session),
        )

    def measured(self, status: RecordingStatus) -> RecordingStatus:
        """Return `status` of the same recording, with what is measured."""
        lag_ms, since_ms = self.session.lag_ms, self._since_ms
        return replace(status, rate=self.rate, lag_ms=lag_ms, since_ms=since_ms)


def problem_of(symbol: str, session: MarketSession) -> str:
    """Return what is wrong with the recording as a sentence, or empty."""
    detail = detail_of(symbol, session)
    if isinstance(session.live.problem, UnknownSymbol):
        # Among several symbols, the sentence has to name this symbol.
        return detail
    return session.recording_status.problem or detail or unarchived(session)


def unarchived(session: MarketSession) -> str:
    """Return why a part of the recording can't be archived, as a sentence; else empty."""
    trades = session.trade_counts
    problem = session.sink.counts.archive_problem or (trades.archive_problem if trades else "")
    return problem and f"A part of it can't be archived: {problem}"


def detail_of(symbol: str, session: MarketSession) -> str:
    """Return the feed's detail; an unknown symbol is named as the person named it."""
    if isinstance(session.live.problem, UnknownSymbol):
        return str(UnknownSymbol(symbol))
    if isinstance(session.live.problem, Paced) and session.live.status.detail:
        # Without the remaining seconds, which would change the sentence every second.
        return "The exchange limits how many whole books may be asked for in a minute."
    return session.live.status.detail
