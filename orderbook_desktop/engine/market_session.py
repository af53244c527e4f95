"""The session of one market: the exchange's feed, its recording, and the leases of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from functools import partial
from typing import Any, Final, Protocol, Self

from msgspec import Struct

from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.lateness import UsualDelay
from orderbook_desktop.core.recording_status import (
    RecordingCounts,
    RecordingState,
    RecordingStatus,
    RepairProgress,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import BookLook, EventStream, SnapshotSource
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.trades import TRADE, Trade
from orderbook_desktop.engine.book_feed import BookFeed
from orderbook_desktop.engine.disk_watch import DiskWatch
from orderbook_desktop.engine.trade_feed import TradeFeed
from orderbook_desktop.engine.trade_history import RecordedTradeHistory
from orderbook_desktop.engine.view_source import ViewSource
from orderbook_desktop.exchange.errors import RegionBlocked, UnknownSymbol
from orderbook_desktop.storage.recorder.market_sink import MarketSink
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.system.tasks import Jobs, end_tasks

# The recorded book can be read within milliseconds of being written, so the first delay is short.
_RECORDED_FIRST_DELAY_S: Final = 0.05
_RECORDED_LONGEST_DELAY_S: Final = 1.0
_STATES: Final = {
    FeedState.SYNCED: RecordingState.RECORDING,
    FeedState.SYNCING: RecordingState.WAITING,
    FeedState.RECONNECTING: RecordingState.RECONNECTING,
}


class SessionParts(Struct, frozen=True, kw_only=True):
    """The parts of an engine that a session needs.

    `database_problem` returns what keeps a market from being recorded, as a sentence, or empty;
    `closing` the task that ends earlier sessions of a market, None if all have ended.
    `follows_trades` is whether trades are followed, beside the book, and `repair_progress` returns
    how far the repair of a market's trades is, None while there is none. `renew` subscribes to a
    stream of the exchange anew.
    """

    rest: SnapshotSource
    streams: EventStream
    recorded_snapshots: SnapshotSource
    recorded_streams: EventStream
    recorder: Recorder
    disk_watch: DiskWatch
    jobs: Jobs
    database_problem: Callable[[str], str]
    closing: Callable[[str], asyncio.Task[None] | None]
    follows_trades: bool
    renew: Callable[[Stream], None]
    trade_history: RecordedTradeHistory
    repair_progress: Callable[[str], RepairProgress | None]


class _Runs(Protocol):
    """A feed."""

    async def run(self) -> None:
        """Follow its source until cancelled."""
        ...


class MarketSession:
    """Follows `market` from `start()` until `close()`; windows show its `view`.

    `recording` is a switch that may be set before the start. While the session is `paused`,
    nothing is recorded, whether the switch is on or off. The session follows the recorded book
    while at least one `MarketLease` of it is `viewed`, and keeps the newest events of the live one
    (`view.depth`). Only one session of a market may run at a
    time. `recorded_by` is the other program that records the market in place of this one, as far as
    is known; else empty.

    `tape` has the newest trades. `trades` follows those of the exchange; they are recorded where
    the book is. Both are None if trades are not followed.
    """

    def __init__(self, parts: SessionParts, market: str) -> None:
        self.market = market
        self.recording = False
        self.recorded_by = ""
        self.paused = False
        usual_delay = UsualDelay()
        self.live = BookFeed(
            market, parts.rest, parts.streams, SourceKind.DIRECT, usual_delay=usual_delay
        )
        self.recorded = BookFeed(
            market,
            parts.recorded_snapshots,
            parts.recorded_streams,
            SourceKind.MONGO,
            _RECORDED_FIRST_DELAY_S,
            _RECORDED_LONGEST_DELAY_S,
            usual_delay,
        )
        self.tape = Tape(market) if parts.follows_trades else None
        self.trades = self._trade_feed(parts.streams, SourceKind.DIRECT)
        self.recorded_trades = self._trade_feed(parts.recorded_streams, SourceKind.MONGO)
        self.view = ViewSource(
            self.live,
            self.recorded,
            database_problem=lambda: parts.database_problem(market),
            is_recording=lambda: self.recording and not self.paused,
            other_records=lambda: bool(self.recorded_by),
            tape=self.tape,
        )
        for feed in (self.live, self.recorded):
            feed.call_on_change(self._feeds_moved)
        self._parts = parts
        self._leases: set[MarketLease] = set()
        self._live_run: asyncio.Task[None] | None = None
        self._recorded_run: asyncio.Task[None] | None = None
        self._runs: list[asyncio.Task[None]] = []

    @property
    def has_begun(self) -> bool:
        """Whether the session has had a book, or an event to record."""
        return self.live.status.state is FeedState.SYNCED or self.sink.counts.events > 0

    @property
    def sink(self) -> MarketSink:
        """The sink that records the market, with its counts."""
        return self._parts.recorder.sink(self.market)

    @property
    def trade_news(self) -> object:
        """A value that changes where trades may be missing; None: they are not recorded now."""
        if self.trades is None or not self.recording or self.paused:
            return None
        # The recorder has losses of its own: what did not fit into memory.
        gaps = self._parts.recorder.trade_sink(self.market).counts.gaps
        return self.trades.holes, gaps, self.trades.last is not None

    @property
    def last_trade(self) -> Trade | None:
        """The newest trade that the exchange sent; None before the first one."""
        return None if self.trades is None else self.trades.last

    def renew_trades(self) -> None:
        """Subscribe anew to the trades, as the exchange has some that did not come."""
        if self.trades is not None:
            self.trades.lost(GapCause.SILENCE, "The exchange traded, and sent no trades.")
            self._parts.renew(Stream(self.market, TRADE))

    @property
    def recording_status(self) -> RecordingStatus:
        """The status of the recording.

        The session does not know whether the recording is kept. Rate, lag and beginning are those
        of its `RecordingMeter`.
        """
        problem = self._problem() if self.recording else ""
        return RecordingStatus(
            self.market,
            state_of(self, problem),
            kept=False,
            wanted=self.recording or bool(self.recorded_by),
            counts=copy(self.sink.counts),
            waiting=self._parts.recorder.waiting_of(self.market),
            # The book is recorded all the same.
            problem=problem or self._trades_problem,
            recorded_by=self.recorded_by,
            trades=self._stored_trades,
            repair=self._parts.repair_progress(self.market) if self.recording else None,
        )

    @property
    def _stored_trades(self) -> int | None:
        counts = self.trade_counts
        return None if counts is None else counts.events

    @property
    def trade_counts(self) -> RecordingCounts | None:
        """What was recorded and archived of the trades; None where they are not followed."""
        if self.trades is None:
            return None
        return self._parts.recorder.trade_sink(self.market).counts

    @property
    def _trades_problem(self) -> str:
        """A sentence that says why the trades are not recorded; empty if they are."""
        if self.trades is None or not self.recording:
            return ""
        refused = self._parts.recorder.trade_sink(self.market).refused
        return "" if refused is None else str(refused)

    @property
    def lag_ms(self) -> int | None:
        """The time from an event's arrival until it is stored, in ms; None before the first."""
        return self._parts.recorder.lag_ms_of(self.market)

    def start(self) -> None:
        """Begin to follow, after earlier sessions of the market; a second call does nothing."""
        if self._live_run is None:
            after = self._parts.closing(self.market)
            self._live_run = self._follow(self.live, self.trades, after)
            self._follow_recorded()

    @property
    def leases(self) -> int:
        """The number of leases of the session."""
        return len(self._leases)

    def lend(self, lease: MarketLease) -> None:
        """Add `lease`; if it is viewed, follow the recorded book, too, and keep a tail."""
        self._leases.add(lease)
        if lease.viewed and self.view.depth is None:
            self._keep(DepthTail(self.market))
        self._follow_recorded()

    def take_back(self, lease: MarketLease) -> None:
        """Remove `lease`; after the last viewed lease, stop following the recorded book."""
        self._leases.remove(lease)
        if not lease.viewed or self._is_viewed:
            return
        self._keep(None)
        if self._recorded_run is not None:
            self._recorded_run.cancel()
            self.recorded.forget()
            if self.recorded_trades is not None:
                self.recorded_trades.forget()

    def _keep(self, tail: DepthTail | None) -> None:
        self.view.depth = tail
        self.live.keep(tail)

    @property
    def _is_viewed(self) -> bool:
        return any(lease.viewed for lease in self._leases)

    def _follow_recorded(self) -> None:
        is_running = self._recorded_run is not None and not self._recorded_run.cancelling()
        if self._live_run is None or not self._is_viewed or is_running:
            return
        after = self._recorded_run or self._parts.closing(self.market)
        self._recorded_run = self._follow(self.recorded, self.recorded_trades, after)
        self.view.recorded_feed_starts()

    def _fill_soon(self, tape: Tape) -> None:
        """Put on the tape what was stored before the stream of recorded trades opened."""
        self._start(self._fill(tape), "newest trades of")

    async def _fill(self, tape: Tape) -> None:
        await self._parts.trade_history.fill(tape)
        self._tell_leases()

    def _trade_feed(self, stream: EventStream, kind: SourceKind) -> TradeFeed | None:
        if self.tape is None:
            return None
        feed = TradeFeed(self.market, stream, self.tape, kind)
        feed.call_on_change(self._tell_leases)
        if kind is SourceKind.MONGO:
            feed.call_on_open(partial(self._fill_soon, self.tape))
        return feed

    def _follow(
        self, book: BookFeed, trades: TradeFeed | None, after: asyncio.Task[None] | None
    ) -> asyncio.Task[None]:
        feeds: list[_Runs] = [book] if trades is None else [book, trades]
        return self._start(_run(feeds, after), "following")

    def _start(self, job: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        run = self._parts.jobs.start(job, f"{what} {self.market}")
        self._runs.append(run)
        run.add_done_callback(self._runs.remove)
        return run

    def set_recording(self, wanted: bool, recorded_by: str = "") -> None:
        """Start or stop recording; `recorded_by` is the other program that records, or empty."""
        self.recorded_by = recorded_by
        if wanted == self.recording:
            return
        self.recording = wanted
        if not self.paused:
            detail = f"It went on in {recorded_by}." if recorded_by else ""
            self._record(GapCause.USER, detail, wanted=wanted)

    def pause(self, detail: str) -> None:
        """Pause recording, because the disk is nearly full; `detail` is the detail of the gap."""
        if not self.paused:
            self.paused = True
            if self.recording:
                self._record(GapCause.DISK, detail, wanted=False)

    def resume(self) -> None:
        """End the pause; record again if the switch is still on."""
        if self.paused:
            self.paused = False
            if self.recording:
                self._record(GapCause.DISK, "", wanted=True)

    def _feeds_moved(self) -> None:
        self.view.feeds_moved()
        self._tell_leases()

    def _tell_leases(self) -> None:
        for lease in self._leases:
            lease.changed()

    def _record(self, cause: GapCause, detail: str, *, wanted: bool) -> None:
        self.view.recording_changed()
        self._tell_leases()
        if wanted:
            self.live.attach(self.sink)
        else:
            self.live.detach()
            self.sink.broken(cause, detail)
        if self.trades is None:
            return
        trade_sink = self._parts.recorder.trade_sink(self.market)
        if wanted:
            self.trades.attach(trade_sink)
        else:
            self.trades.detach()
            trade_sink.broken(cause, detail)

    def _problem(self) -> str:
        if self.live.status.state is FeedState.NOT_TRADED:
            return self.live.status.detail
        disk = self._parts.disk_watch.problem if self.paused else ""
        return disk or self._parts.database_problem(self.market)

    async def close(self) -> None:
        """Stop recording and following."""
        self.set_recording(wanted=False)
        runs = list(self._runs)
        await end_tasks(*runs)


class MarketLease:
    """A lease of a market's session, which runs while it has a lease; a lease is a `LentBook`.

    With `viewed` the session follows the recorded book, too. `kind` is the source that `look`
    shows. `changed` is called after each change of one of the books; it neither opens nor closes a
    lease. Use a lease as a context manager, or call `close()`, which calls `returned` with the
    session; a second `close()` does nothing. The engine logs a warning about a lease that is
    still open when the engine closes.
    """

    def __init__(
        self, session: MarketSession, *, viewed: bool, returned: Callable[[MarketSession], None]
    ) -> None:
        self.session = session
        self.viewed = viewed
        self.kind = SourceKind.MONGO
        self.changed: Callable[[], None] = lambda: None
        self._returned = returned
        self._closed = False
        session.lend(self)

    @property
    def market(self) -> str:
        """The exchange's symbol."""
        return self.session.market

    def look(self) -> BookLook:
        """Return the present book of source `kind`, with its status."""
        return self.session.view.look(self.kind)

    def close(self) -> None:
        """End the lease."""
        if not self._closed:
            self._closed = True
            self.session.take_back(self)
            self._returned(self.session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _run(feeds: Sequence[_Runs], after: asyncio.Task[None] | None) -> None:
    if after is not None:
        await asyncio.wait({after})
    async with asyncio.TaskGroup() as tasks:
        for feed in feeds:
            tasks.create_task(feed.run())


def state_of(session: MarketSession, problem: str) -> RecordingState:
    """Return the state of the recording; `problem` is why it is delayed, or empty."""
    if not session.recording:
        return RecordingState.ELSEWHERE if session.recorded_by else RecordingState.STOPPED
    is_hopeless = isinstance(session.live.problem, UnknownSymbol | RegionBlocked)
    if session.sink.refused is not None or is_hopeless:
        return RecordingState.FAILED
    if session.paused:
        return RecordingState.PAUSED
    if problem:
        return RecordingState.DELAYED
    if session.live.too_wide:
        return RecordingState.TOO_WIDE
    return _STATES.get(session.live.status.state, RecordingState.WAITING)
