"""The program that all windows share: the engine, the demo, the symbols, the recordings."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from orderbook_desktop.core.desk import Connections, Notice, NoticeAction, NoticeLevel
from orderbook_desktop.core.disk import DiskStatus, Retention
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.pages import HeatmapRequest, TileBuilding
from orderbook_desktop.core.library_jobs import Job, JobState, RecordingLibrary
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.desk.demo_exchange import DemoExchange
from orderbook_desktop.desk.followed_market import FollowedMarket
from orderbook_desktop.desk.heatmap_pages import RecordedHeatmaps, heatmaps_of_database
from orderbook_desktop.desk.notices import NoticeBoard, ProgramWatch
from orderbook_desktop.desk.recording_set import RecordingSet
from orderbook_desktop.desk.settings import DESK_TIMES, DeskSettings, DeskTimes
from orderbook_desktop.desk.symbol_list import SymbolList
from orderbook_desktop.desk.trade_pages import AskedTrades, GappyHistory
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.system.tasks import Jobs

if TYPE_CHECKING:
    from orderbook_desktop.desk.library_jobs import ProgramLibrary

_log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.2
_POLL_S: Final = 0.05
_BOOK_FIRST_S: Final = 2.0
_LIBRARY: Final = "orderbook_desktop.desk.library_jobs"


class ProgramDesk(Protocol):
    """The calls that a program makes to each of its desks."""

    def begin_anew(self) -> None:
        """Start afresh: another engine runs from now on, with another market."""
        ...

    def symbols_known(self) -> None:
        """Take over the exchange's symbols, which are known from now on."""
        ...

    def look(self) -> None:
        """Bring the notices up to date; the program calls this a few times a second."""
        ...


class _NotRead:
    """A request that is not answered."""

    def cancel(self) -> None:
        """Do nothing."""


class Program:
    """The engine behind all windows, and what they share. `await start()`, then `await close()`.

    `recordings` are the symbols of the kept recordings, each with whether it is switched on, and
    `here_too` those that are recorded also while another program records them.
    `fixed_connections` is whether `settings` say by how many connections each event comes. With
    `demo` the program shows a made-up market, records it in a database of its own, and never
    connects to the exchange. `builds_tiles` is whether the heatmap's tiles are built in spare time
    at first. `current_log` returns the path of the log, or empty.

    `revision` grows with every change of the program's state. A desk calls `join`, and `part` at
    its end. A change to the demo, or back to the exchange, replaces `engine`; the followed markets
    move to the new engine. After the demo the kept recordings go on as they were before it.
    """

    def __init__(
        self,
        settings: DeskSettings,
        *,
        recordings: Mapping[str, bool] | None = None,
        here_too: Sequence[str] = (),
        fixed_connections: bool = False,
        demo: bool = False,
        builds_tiles: bool = True,
        current_log: Callable[[], str] = lambda: "",
        times: DeskTimes = DESK_TIMES,
    ) -> None:
        self._settings = settings
        self.times = times
        self._current_log = current_log
        self._fixed_connections = fixed_connections
        self.demo = demo
        self.revision = 0
        self.offer = SymbolList()
        self.board = NoticeBoard(self.change)
        self._desks: list[ProgramDesk] = []
        self._followed: set[FollowedMarket] = set()
        # The tasks of the program, and the tasks of the present engine.
        self._changes = Jobs(self.report_bug)
        self._jobs = Jobs(self.report_bug)
        self.trade_pages = AskedTrades(lambda: self.engine.trade_history, self._jobs.start)
        self._library: ProgramLibrary | None = None
        self._demo_exchange: DemoExchange | None = None
        self._changing_market = False
        self._has_engine = True
        self._started = self._is_ending = False
        self.engine = self._new_engine(settings, builds_tiles=builds_tiles)
        self.heatmaps = self._new_heatmaps()
        # The kept recordings are of the real market, and don't belong in the demo's database.
        self._before_demo = dict(recordings or {}), tuple(here_too)
        self.recordings = self._new_recordings(*(({}, ()) if demo else self._before_demo))

    @property
    def exchange(self) -> str:
        """The exchange's host, if it isn't the usual exchange; else empty."""
        return "" if self.demo else self._settings.other_exchange

    @property
    def library(self) -> RecordingLibrary:
        """All recordings of the present engine's database, and the jobs on them."""
        if self._library is None:
            # The start of the program does without it; it is imported ahead soon after.
            from orderbook_desktop.desk.library_jobs import ProgramLibrary  # noqa: PLC0415

            self._library = ProgramLibrary(self.report_bug, self._tell_ended)
            if self._started:
                self._begin_library(self._library)
        return self._library

    @property
    def has_begun(self) -> bool:
        """Whether the engine runs; else it starts, or changes to another market."""
        return self._started

    @property
    def usual_symbol(self) -> str:
        """The symbol that is shown by default."""
        return self._settings.usual_symbol

    @property
    def disk(self) -> DiskStatus:
        """The disk space that recordings take, and the free space."""
        return self.engine.disk

    @property
    def retention(self) -> Retention:
        """How much of the recordings is kept."""
        return self.engine.keeper.retention

    async def start(self) -> None:
        """Start the engine, or the demo; what takes time goes on in the background."""
        if self.demo:
            self.enter_demo()
        else:
            await self._begin()

    async def close(self) -> None:
        """End all parts. The engine logs a market that is still followed, which is a mistake."""
        try:
            await self._changes.close()
        finally:
            self.recordings.close()
            await self._end()

    def join(self, desk: ProgramDesk) -> None:
        """Call the methods of `desk` from now on."""
        self._desks.append(desk)

    def part(self, desk: ProgramDesk) -> None:
        """Stop calling the methods of `desk`; a second call does nothing."""
        with suppress(ValueError):
            self._desks.remove(desk)

    def follow(self, symbol: str, kind: Callable[[], SourceKind]) -> FollowedMarket:
        """Follow `symbol` at the present engine and at later engines, until the caller closes it.

        Each look calls `kind` for the source to show.
        """
        market = FollowedMarket(symbol, kind, self._followed.discard)
        self._followed.add(market)
        if self._has_engine:
            market.take(self.engine)
        if self._started:
            market.start()
        return market

    def run(self, job: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `job` in the background until it ends, or the present engine does."""
        return self._jobs.start(job, name)

    def gaps_of(self, market: str) -> RecordedGaps | None:
        """Return the gaps of a market's recording by the present engine; None: not known yet."""
        return self.engine.gaps.gaps_of(market)

    @property
    def tiles(self) -> TileBuilding | None:
        """The tiles that the present engine builds in spare time; None: none are kept."""
        return self.engine.tiles

    @property
    def trade_history(self) -> GappyHistory:
        """The trades that the present engine's database has."""
        return self.engine.trade_history

    def change(self) -> None:
        """Note a change, so that all windows read the program's state again."""
        self.revision += 1

    def set_retention(self, retention: Retention) -> None:
        """Use `retention` from now on, also in later engines."""
        self._settings = self._settings.with_retention(retention)
        self.engine.keeper.retention = retention

    @property
    def connections(self) -> Connections:
        """By how many connections each event comes."""
        return Connections(self.engine.streams.copies, self._fixed_connections)

    def set_connections(self, count: int) -> None:
        """Take each event from `count` connections from now on, also in later engines."""
        self._settings = self._settings.with_connections(count)
        self.engine.streams.set_copies(count)
        self.change()

    def enter_demo(self) -> None:
        """Change to the demo's market; during a change, a further call does nothing."""
        if not self._changing_market:
            _log.info("user: starts the demo")
            self._changing_market = True
            self._changes.start(self._change_to_demo(), "start of the demo")

    def leave_demo(self) -> None:
        """Change back to the exchange's market; during a change, a further call does nothing."""
        if self.demo and not self._changing_market:
            _log.info("user: leaves the demo")
            self._changing_market = True
            self._changes.start(self._change_to_exchange(), "end of the demo")

    def report_bug(self, error: BaseException) -> None:
        """Notify the person of a bug, whose details are in the log."""
        text = (
            f"Something went wrong that should not have ({type(error).__name__}); the details "
            f"are in {self._current_log() or 'the log'}. If the window acts up, start it again."
        )
        self.board.tell(Notice("bug", NoticeLevel.WARNING, text))

    async def _begin(self) -> None:
        """Start the engine, the followed markets, and the tasks that belong to the engine."""
        self._started, self._is_ending = True, False
        await self.engine.start()
        if self._library is not None:
            self._begin_library(self._library)
        for market in self._followed:
            market.start()
        self._jobs.start(self.recordings.run(), "recordings")
        self._jobs.start(self._load_symbols(), "list of symbols")
        self._jobs.start(self._watch(), "watch")

    def _tell_ended(self, job: Job) -> None:
        """Notify of a job that has ended while the library is not on screen."""
        is_bad = job.state is JobState.FAILED
        level = NoticeLevel.WARNING if is_bad else NoticeLevel.INFORMATION
        self.board.tell(Notice("job", level, job.sentence))

    def _begin_library(self, library: ProgramLibrary) -> None:
        settings = self.engine.settings
        library.begin(settings.db_name, settings.data_dir, self.engine.tile_cache)
        library.connect(self.engine.dsn)

    async def _end(self) -> None:
        """End what `_begin` began, and the demo's exchange if there is one."""
        self._started, self._is_ending = False, True
        try:
            await self._jobs.close()
            if self._library is not None:
                await self._library.end()
        finally:
            try:
                await self.engine.close()
            finally:
                exchange, self._demo_exchange = self._demo_exchange, None
                if exchange is not None:
                    await exchange.close()

    async def _load_symbols(self) -> None:
        await self._until_book()
        await asyncio.to_thread(importlib.import_module, _LIBRARY)
        await self.offer.load(self.engine.symbols)
        self.change()
        for desk in list(self._desks):
            desk.symbols_known()

    async def _until_book(self) -> None:
        """Wait a short time for the first book, which loading the symbols would slow down."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_BOOK_FIRST_S):
                while not self._has_book():  # noqa: ASYNC110 - feeds have no event to wait for
                    await asyncio.sleep(_POLL_S)

    def _has_book(self) -> bool:
        """Whether each followed market has a book, or a problem."""
        feeds = [market.session.live for market in self._followed if market.session is not None]
        return all(
            feed.status.state is FeedState.SYNCED or feed.problem is not None for feed in feeds
        )

    async def _watch(self) -> None:
        watch = ProgramWatch(self.engine, self.board)
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.recordings.look()
            if self._library is not None:
                self._library.connect(self.engine.dsn)
            watch.look()
            for desk in list(self._desks):
                desk.look()

    async def _change_to_demo(self) -> None:
        """Start the demo's exchange, end the present engine, and start an engine for the demo."""
        exchange = DemoExchange(self._settings, self.times.demo)
        self.board.tell(Notice("demo", NoticeLevel.INFORMATION, "Starting the demo…"))
        try:
            await exchange.start()
            if not self.demo:
                self._before_demo = self.recordings.kept, self.recordings.here_too
            self._leave_engine()
            await self._end()
        except KnownError as error:
            self._tell_demo_failed(error)
            return
        except BaseException:
            await exchange.close()
            raise
        finally:
            self._changing_market = False
        self._demo_exchange, self.demo = exchange, True
        self._take_engine(exchange.settings(), {}, ())
        await self._begin()
        self._jobs.start(self._watch_demo(exchange), "watch over the demo")

    async def _change_to_exchange(self) -> None:
        """End the demo, and start an engine for the exchange."""
        self.board.tell(Notice("demo", NoticeLevel.INFORMATION, "Leaving the demo…"))
        try:
            self._leave_engine()
            await self._end()
        finally:
            self._changing_market = False
        self.demo = False
        self._take_engine(self._settings, *self._before_demo)
        await self._begin()

    def _leave_engine(self) -> None:
        self._has_engine = False
        for market in self._followed:
            market.leave()
        self.recordings.close()

    def _new_engine(self, settings: DeskSettings, *, builds_tiles: bool) -> Engine:
        times = self.times.engine
        return Engine(settings, self.report_bug, times, builds_tiles=builds_tiles)

    def _new_heatmaps(self) -> RecordedHeatmaps:
        return heatmaps_of_database(self.engine, self._read)

    def _read(self, job: Coroutine[Any, Any, None], name: str) -> HeatmapRequest:
        """Run a job that reads; a window may still ask while the engine and its database end."""
        if not self._is_ending:
            return self._jobs.start(job, name)
        job.close()
        return _NotRead()

    def _new_recordings(self, kept: Mapping[str, bool], here_too: Sequence[str]) -> RecordingSet:
        return RecordingSet(self.engine, kept, here_too=here_too, times=self.times.follow)

    def _take_engine(
        self, settings: DeskSettings, kept: Mapping[str, bool], here_too: Sequence[str]
    ) -> None:
        """Use a new engine of `settings`, with these recordings."""
        before = self.engine.tiles
        builds_tiles = before is not None and before.status.is_on
        engine = self._new_engine(settings, builds_tiles=builds_tiles)
        self.engine, self._has_engine = engine, True
        self.heatmaps = self._new_heatmaps()
        self.offer = SymbolList()
        self.board.clear()
        self.recordings = self._new_recordings(kept, here_too)
        for market in self._followed:
            market.take(engine)
        for desk in list(self._desks):
            desk.begin_anew()
        self.change()

    async def _watch_demo(self, exchange: DemoExchange) -> None:
        self._tell_demo_failed(await exchange.ended())

    def _tell_demo_failed(self, error: KnownError) -> None:
        _log.error("%s", error)
        self.board.tell(Notice("demo", NoticeLevel.WARNING, str(error), NoticeAction.START_DEMO))
