"""All parts that run behind a window or a headless recorder, built and stopped in order."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.disk import GB, DiskStatus, Retention, SteadyDisk
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import AllCounts, RecordingCounts
from orderbook_desktop.core.symbols import SymbolInfo, split_symbol
from orderbook_desktop.engine.book_feed import BookFeed
from orderbook_desktop.engine.disk_watch import DiskWatch
from orderbook_desktop.engine.gap_reader import GapReader
from orderbook_desktop.engine.market_session import MarketLease, MarketSession, SessionParts
from orderbook_desktop.engine.other_version import move_recordings
from orderbook_desktop.engine.recording_keeper import RecordingKeeper
from orderbook_desktop.engine.settings import ENGINE_TIMES, EngineSettings, EngineTimes
from orderbook_desktop.engine.spare_time import SpareTimeTiles, SteppedBuilder
from orderbook_desktop.engine.trade_history import RecordedTradeHistory
from orderbook_desktop.engine.trade_repair import TradeRepair
from orderbook_desktop.engine.widening import Widener
from orderbook_desktop.engine.witness_taker import WitnessTaker
from orderbook_desktop.exchange.catalogue import fetch_symbols
from orderbook_desktop.exchange.rest import BinanceRest
from orderbook_desktop.exchange.stream import BinanceStreams
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.reading.change_stream import RecordedSnapshots, RecordedStreams
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.server.server import DatabaseServer, ServerState
from orderbook_desktop.storage.server.start_failures import until_worth_trying
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.disk_usage import folder_size, free_bytes
from orderbook_desktop.system.attempts import Attempts, RetryWait
from orderbook_desktop.system.tasks import Jobs

if TYPE_CHECKING:
    from orderbook_desktop.storage.tiles.cache import TileCache

_log = logging.getLogger(__name__)

_P = ParamSpec("_P")

# In the order in which they are needed; together they take a quarter of a second.
_SLOW_IMPORTS: Final = ("websockets.asyncio.client", "aiohttp", "motor.motor_asyncio")


_TILES: Final = "orderbook_desktop.storage.tiles.building"


class Engine:
    """The exchange's and the database's side of the program.

    `await start()` starts all parts and returns at once. While the database can't be had,
    `database_problem` says why, and the engine tries again. `await close()` ends all parts in the
    order that loses nothing, even if some of them fail. `failed` is called with the exception of
    a task in the background, which is a bug. `builds_tiles` is whether `tiles` are built in spare
    time at first; they are None where settings keep none.
    """

    def __init__(
        self,
        settings: EngineSettings,
        failed: Callable[[BaseException], None] | None = None,
        times: EngineTimes = ENGINE_TIMES,
        now: Callable[[], float] = time.monotonic,
        *,
        builds_tiles: bool = False,
    ) -> None:
        self.settings = settings
        self._now = now
        self._times = times
        self.rest = BinanceRest(settings.rest_url)
        self.streams = BinanceStreams(settings.ws_url, copies=max(1, settings.connections))
        self.database = Database(settings.db_name)
        self.server = self._new_server()
        counts: AllCounts = defaultdict(RecordingCounts)
        self.recorder = Recorder(self.database, settings.buffer_mb * 2**20, counts=counts)
        self.archiver = self._new_archiver(counts)
        self._archiving: asyncio.Task[None] | None = None
        self._witness_taker = WitnessTaker(self.rest.snapshot, self.database)
        self.trade_history = RecordedTradeHistory(self.database)
        self._trade_repair = self._new_trade_repair()
        self._repairing: asyncio.Task[None] | None = None
        self._widener = Widener(self.rest.snapshot, times.depth_look_s)
        self.recorded_snapshots = RecordedSnapshots(self.database)
        self.recorded_streams = RecordedStreams(self.database)
        self.jobs = Jobs(failed)
        self.keeper = self._new_keeper()
        self.disk_watch = self._new_disk_watch()
        self.gaps = GapReader(self.database, lambda market: self.recorder.sink(market).counts)
        self.tiles: Final = self._new_tiles(is_on=builds_tiles) if settings.tiles_gb else None
        self._steady_disk = SteadyDisk()
        self._pause_detail: str | None = None
        self._server_error: KnownError | None = None
        self._server_retry = RetryWait()
        self._server_tried = asyncio.Event()
        self._connected_dsn = ""
        self._sessions: dict[str, MarketSession] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    @property
    def server_error(self) -> KnownError | None:
        """Why there is no database server; None while it runs, or starts for the first time."""
        return self._server_error

    @property
    def server_problem(self) -> str:
        """What is wrong with the database's server, as a sentence; empty while all is well."""
        if self._server_error is not None:
            return str(self._server_error)
        if self.server.state is ServerState.AWAY:
            return self.server.state_detail or "The database is away."
        # The detail of a start is empty, unless the server waits for another program.
        return self.server.state_detail if self.server.state is ServerState.STARTING else ""

    @property
    def server_note(self) -> str:
        """What else the person should know about the database, as a sentence; else empty."""
        return self.server.state_detail if self.server.state is ServerState.READY else ""

    def database_problem(self, market: str) -> str:
        """Return what keeps `market` from being recorded; empty while all is well."""
        return self.server_problem or self.recorder.problem_of(market)

    @property
    def dsn(self) -> str:
        """The address of the database's server; empty before it has one."""
        return self._connected_dsn

    @property
    def is_recording(self) -> bool:
        """Whether the recording of at least one market is switched on."""
        return any(session.recording for session in self._sessions.values())

    @property
    def disk(self) -> DiskStatus:
        """The disk space that recordings take, and the free space, in numbers to show."""
        keeper, watch = self.keeper, self.disk_watch
        measured = DiskStatus(
            size=keeper.size,
            folder=keeper.folder,
            free_bytes=watch.free_bytes,
            bytes_per_day=keeper.bytes_per_day,
            level=watch.level,
            problem=watch.problem or keeper.problem,
        )
        return self._steady_disk.take(measured, self._now())

    async def start(self) -> None:
        """Start all parts. Slow imports and the database's start go on in the background."""
        self.jobs.start(self._import_ahead(), "imports")
        self.jobs.start(self._keep_trying_server(), "start of the database")
        self.jobs.start(self._witness_taker.run(self._sessions.values), "witnesses")
        self.jobs.start(self._widener.run(self._live_feeds), "deeper books")
        self.jobs.start(self.disk_watch.run(), "watch over the disk")
        self.jobs.start(self.keeper.run(), "retention")
        self.jobs.start(self.gaps.run(), "gaps")
        if self.tiles is not None:
            self.jobs.start(self.tiles.run(), "tiles")
        if self.settings.follows_trades:
            repair = self._trade_repair.run(self._sessions.values)
            self._repairing = self.jobs.start(repair, "repair of trades")
        await self.recorder.start()
        self._archiving = self.jobs.start(self.archiver.run(), "archive")

    async def until_database(self) -> None:
        """Wait until the database is there; raises the `KnownError` of a failed attempt."""
        await self._server_tried.wait()
        if self._server_error is not None:
            raise self._server_error

    def tile_cache(self, file: Path | None = None) -> TileCache | None:
        """Return the heatmap's tiles of the database, or of a packed file; None: none are kept."""
        return _tiles_of(self.settings, file) if self.settings.tiles_gb else None

    def waits_for_exchange(self, market: str) -> list[RetryWait]:
        """Return the waits before the next connection and before the next request for a book."""
        session = self._sessions.get(market)
        return [*self.streams.waits, *([] if session is None else [session.live.retry])]

    def waits_for_database(self) -> list[RetryWait]:
        """Return the waits before the next start of the database's server."""
        return [self._server_retry, self.server.retry]

    def open_market(self, symbol: str, *, viewed: bool) -> MarketLease:
        """Return a lease of the session of `symbol`; the caller starts the session.

        With `viewed` the session also follows the recorded book. All leases of a market share its
        session.
        """
        market = split_symbol(symbol)[1]
        session = self._sessions.get(market)
        if session is None:
            session = self._sessions[market] = MarketSession(self._parts(), market)
            if self._pause_detail is not None:
                session.pause(self._pause_detail)
            self.rest.books = len(self._sessions)
        return MarketLease(session, viewed=viewed, returned=self._end_unless_lent)

    def _live_feeds(self) -> list[BookFeed]:
        return [session.live for session in self._sessions.values()]

    def closing(self, market: str) -> asyncio.Task[None] | None:
        """Return the task that ends earlier sessions of `market`; None if all have ended."""
        return self._closing.get(market)

    def _parts(self) -> SessionParts:
        return SessionParts(
            rest=self.rest,
            streams=self.streams,
            recorded_snapshots=self.recorded_snapshots,
            recorded_streams=self.recorded_streams,
            recorder=self.recorder,
            disk_watch=self.disk_watch,
            jobs=self.jobs,
            database_problem=self.database_problem,
            closing=self.closing,
            follows_trades=self.settings.follows_trades,
            renew=self.streams.renew,
            trade_history=self.trade_history,
            repair_progress=self._trade_repair.progress_of,
        )

    def _end_unless_lent(self, session: MarketSession) -> None:
        if not session.leases and self._sessions.get(session.market) is session:
            self._end_session(session)

    def _end_session(self, session: MarketSession) -> None:
        """Begin to end a session; its market may be opened again at once."""
        del self._sessions[session.market]
        self.rest.books = len(self._sessions)
        session.set_recording(wanted=False)
        before = self._closing.get(session.market)
        closing = self.jobs.start(_close_after(session, before), f"end of {session.market}")
        self._closing[session.market] = closing
        closing.add_done_callback(lambda done: self._forget(session.market, done))

    async def symbols(self) -> list[SymbolInfo]:
        """Return every traded spot symbol; raises `ExchangeError`."""
        symbols = await fetch_symbols(self.settings.rest_url)
        _log.info("the exchange trades %d symbols", len(symbols))
        return symbols

    async def close(self, write_within_s: float | None = None) -> None:
        """End all parts. Received events are written first, for at most `write_within_s`.

        If that is None, writing has the time in the engine's `times`.
        """
        if self._closed:
            return
        self._closed = True
        times = self._times
        write_s = times.write_s if write_within_s is None else write_within_s
        for session in list(self._sessions.values()):
            _log.warning("%s was still open (leases: %d)", session.market, session.leases)
            self._end_session(session)
        write = functools.partial(self.recorder.close, write_s)
        async with AsyncExitStack() as stack:
            # The stack calls them in reverse order, and calls each even if another one failed.
            add = stack.push_async_callback
            add(_within, times.server_s, "the database server", self.server.close)
            stack.callback(self.database.close)
            add(_within, times.jobs_s, "the background tasks", self.jobs.close)
            add(_within, times.part_s, "the change stream", self.recorded_streams.close)
            add(_within, write_s + times.part_s, "the recorder", write)
            add(_within, times.part_s, "the archive", _stop, self._archiving)
            add(self._close_exchange)
            add(_within, times.part_s, "the repair of trades", _stop, self._repairing)

    async def _close_exchange(self) -> None:
        await _within(self._times.part_s, "the symbols", self._close_sessions)
        await asyncio.gather(
            _within(self._times.part_s, "the streams", self.streams.close),
            _within(self._times.part_s, "the requests", self.rest.close),
        )

    async def _close_sessions(self) -> None:
        await asyncio.gather(*self._closing.values(), return_exceptions=True)

    async def _keep_trying_server(self) -> None:
        async def start() -> None:
            self.server.subscribe(self._server_changed)
            await self.server.start()

        def failed(error: KnownError, /, *, is_new: bool) -> None:
            if is_new:
                _log.warning("no database: %s", error)
            self._server_error = error
            self._server_tried.set()

        async def pause(error: KnownError, delay_s: float) -> None:
            wait = functools.partial(self._server_retry.wait, delay_s)
            await until_worth_trying(error, wait, self._times.server.moved_look_s)
            self.server = self._new_server()

        delays = backoff_delays(first=self._times.retry_first_s, cap=30.0)
        try:
            await Attempts(KnownError, failed, delays, pause).until_it_works(start)
            self._server_error = None
        finally:
            self._server_tried.set()

    def _new_server(self) -> DatabaseServer:
        settings = self.settings
        return DatabaseServer(
            settings.data_dir, settings.mongo_dsn, times=self._times.server, move=move_recordings
        )

    def _new_archiver(self, counts: AllCounts) -> Archiver:
        return Archiver(
            self.database,
            counts=counts,
            is_busy=lambda: self.recorder.is_busy,
            is_whole=lambda: self.recorder.is_whole,
            prepare=self.recorder.prepare,
            times=self._times.archive,
        )

    def _new_trade_repair(self) -> TradeRepair:
        return TradeRepair(
            self.rest.agg_trades,
            self.database,
            is_busy=lambda: self.recorder.is_busy,
            times=self._times.repair,
        )

    def _new_tiles(self, *, is_on: bool) -> SpareTimeTiles:
        async def builder() -> SteppedBuilder:
            await self.until_database()
            # The start of the program does without it.
            await asyncio.to_thread(importlib.import_module, _TILES)
            from orderbook_desktop.storage.tiles.building import TileBuilder  # noqa: PLC0415

            return TileBuilder(DatabaseStore(self.database), _tiles_of(self.settings))

        return SpareTimeTiles(
            builder,
            is_busy=lambda: self.recorder.is_busy,
            is_on=is_on,
            times=self._times.spare,
        )

    def _new_keeper(self) -> RecordingKeeper:
        settings = self.settings
        return RecordingKeeper(
            self.database,
            Retention(settings.retention_days, settings.retention_gb),
            recorded=lambda: self.recorder.recorded,
            recorded_trades=lambda: self.recorder.recorded_trades,
            is_recording=lambda: self.is_recording,
            files=lambda: (
                None if settings.mongo_dsn else folder_size(settings.database_dir, settings.db_name)
            ),
        )

    def _new_disk_watch(self) -> DiskWatch:
        settings = self.settings
        return DiskWatch(
            round(settings.low_disk_gb * GB),
            lambda: None if settings.mongo_dsn else free_bytes(settings.data_dir),
            pause=self._pause_recordings,
            resume=self._resume_recordings,
            look_every_s=self._times.disk_look_s,
        )

    async def _import_ahead(self) -> None:
        """Import slow modules in a thread, while the server starts; the window stays responsive."""
        for module in _SLOW_IMPORTS:
            await asyncio.to_thread(importlib.import_module, module)

    def _pause_recordings(self, detail: str) -> None:
        self._pause_detail = detail
        for session in self._sessions.values():
            session.pause(detail)

    def _resume_recordings(self) -> None:
        self._pause_detail = None
        for session in self._sessions.values():
            session.resume()

    def _server_changed(self) -> None:
        if self.server.state is ServerState.READY and self.server.dsn != self._connected_dsn:
            self._connected_dsn = self.server.dsn
            self.database.connect(self.server.dsn)

    def _forget(self, market: str, done: asyncio.Task[None]) -> None:
        if self._closing.get(market) is done:
            del self._closing[market]


def _tiles_of(settings: EngineSettings, file: Path | None = None) -> TileCache:
    from orderbook_desktop.storage.tiles.cache import TileCache  # noqa: PLC0415 - not at the start

    folder, gigabytes = settings.data_dir, settings.tiles_gb
    if file is not None:
        return TileCache.of_file(folder, file, gigabytes)
    return TileCache.of_database(folder, settings.mongo_dsn, settings.db_name, gigabytes)


async def _close_after(session: MarketSession, before: asyncio.Task[None] | None) -> None:
    if before is not None:
        await asyncio.wait({before})
    await session.close()


async def _stop(job: asyncio.Task[None] | None) -> None:
    """Cancel a job that goes on where it stopped at the next start."""
    if job is not None:
        job.cancel()
        await asyncio.wait({job})


async def _within(
    seconds: float,
    what: str,
    close: Callable[_P, Awaitable[None]],
    *arguments: _P.args,
    **options: _P.kwargs,
) -> None:
    """Close one part; a failure is logged, so that the other parts are closed, too."""
    try:
        async with asyncio.timeout(seconds):
            await close(*arguments, **options)
    except TimeoutError:
        _log.warning("%s did not end within %.1f s", what, seconds)
    except Exception:  # noqa: BLE001 (the other parts have to be closed after any failure)
        _log.exception("%s did not end cleanly", what)
