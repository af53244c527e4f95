"""One market being followed: the exchange's feed, its recording, and a view of both."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from orderbook_desktop.app.book_feed import BookFeed
from orderbook_desktop.app.jobs import Jobs
from orderbook_desktop.app.view_source import ViewSource
from orderbook_desktop.core.desk import RecordingStatus
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import DiffStream, SnapshotSource
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.storage.market_sink import MarketSink
from orderbook_desktop.storage.recorder import Recorder

# The recorded book is there within milliseconds of being written: look soon.
_RECORDED_FIRST_DELAY_S: Final = 0.05
_RECORDED_LONGEST_DELAY_S: Final = 1.0


class Sources(Protocol):
    """What a session needs of an engine."""

    @property
    def rest(self) -> SnapshotSource:
        """The exchange's books."""
        ...

    @property
    def streams(self) -> DiffStream:
        """The exchange's events."""
        ...

    @property
    def recorded_snapshots(self) -> SnapshotSource:
        """The recorded books."""
        ...

    @property
    def recorded_streams(self) -> DiffStream:
        """The recorded events, as they are recorded."""
        ...

    @property
    def recorder(self) -> Recorder:
        """Who records."""
        ...

    @property
    def jobs(self) -> Jobs:
        """Who looks after what runs in the background."""
        ...

    def database_problem(self, market: str) -> str:
        """Return what keeps `market` from being recorded, or empty."""
        ...

    def closing(self, market: str) -> asyncio.Task[None] | None:
        """Return the end of earlier sessions of `market`, while it goes on."""
        ...


class MarketSession:
    """Follows `market` from `start()` until `close()`; `view` is what a window shows.

    `users` counts who has it open (see `Engine.open_market`). `recording` is a switch that
    may be set before. Only one session of a market may run at a time.
    """

    def __init__(self, sources: Sources, market: str, *, viewed: bool) -> None:
        self.market = market
        self.users = 0
        self.recording = False
        self.live = BookFeed(market, sources.rest, sources.streams, SourceKind.DIRECT)
        self.recorded = BookFeed(
            market,
            sources.recorded_snapshots,
            sources.recorded_streams,
            SourceKind.MONGO,
            _RECORDED_FIRST_DELAY_S,
            _RECORDED_LONGEST_DELAY_S,
        )
        self.view = ViewSource(
            market,
            self.live,
            self.recorded,
            database_problem=lambda: sources.database_problem(market),
            is_recording=lambda: self.recording,
        )
        self._sources = sources
        self._feeds = [self.live, self.recorded] if viewed else [self.live]
        self._runs: list[asyncio.Task[None]] = []

    @property
    def sink(self) -> MarketSink:
        """Where the recording goes, with its counts."""
        return self._sources.recorder.sink(self.market)

    @property
    def recording_status(self) -> RecordingStatus:
        """How the recording is doing."""
        counts = self.sink.counts
        return RecordingStatus(
            wanted=self.recording,
            events=counts.events,
            payload_bytes=counts.payload_bytes,
            waiting=self._sources.recorder.waiting_of(self.market),
            gaps=counts.gaps,
            problem=self._sources.database_problem(self.market) if self.recording else "",
        )

    def start(self) -> None:
        """Begin to follow, after earlier sessions of the market have ended; again: nothing."""
        if self._runs:
            return
        after = self._sources.closing(self.market)
        start, name = self._sources.jobs.start, f"following {self.market}"
        self._runs = [start(_run(feed, after), name) for feed in self._feeds]

    def set_recording(self, wanted: bool) -> None:
        """Start or stop recording."""
        if wanted == self.recording:
            return
        self.recording = wanted
        self.view.recording_changed()
        if wanted:
            self.live.attach(self.sink)
        else:
            self.live.detach()
            self.sink.broken(GapCause.USER, "")

    async def close(self) -> None:
        """Stop following; the end of the recording is its user's wish."""
        self.set_recording(wanted=False)
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)


async def _run(feed: BookFeed, after: asyncio.Task[None] | None) -> None:
    if after is not None:
        await asyncio.wait({after})
    await feed.run()
