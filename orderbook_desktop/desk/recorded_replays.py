"""Opens recordings to be played: of the program's database, or of a packed file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.heatmap.pages import HeatmapPages
from orderbook_desktop.core.replay import Replay
from orderbook_desktop.core.replay_times import UpdateId, parse_moment
from orderbook_desktop.core.time_text import moment_text
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.core.trade_coverage import TradeGap, gaps_between
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.desk.heatmap_pages import RecordedHeatmaps
from orderbook_desktop.desk.replaying import OpenedReplay, ReplayWish
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.store.trade_store import TradeStore
from orderbook_desktop.system.tasks import Jobs

if TYPE_CHECKING:
    from orderbook_desktop.storage.tiles.cache import TileCache

# How far before the present a replay begins where no moment is named.
_BACK_NS: Final = 60 * 1_000_000_000


class NotRecordedThen(KnownError):
    """The recording of `symbol` does not reach to a moment; `moment` and `nearest` are texts."""

    symbol: str
    moment: str
    nearest: str

    def __str__(self) -> str:
        return f"Nothing of {self.symbol} is recorded at {self.moment}: {self.nearest}."


class CanNotGoTo(KnownError):
    """A replay can't begin where it was wished to, for `reason`, a sentence."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class EngineDatabase(Protocol):
    """The members of an `Engine` that opening a recording needs."""

    @property
    def database(self) -> Database:
        """The database."""
        ...

    def tile_cache(self, file: Path | None = None) -> TileCache | None:
        """Return the heatmap's tiles of a packed file."""
        ...

    async def until_database(self) -> None:
        """Wait until the database is there; raises the `KnownError` of a failed attempt."""
        ...


class RecordedReplays:
    """Opens recordings in the database of the present engine; it is an `OpenReplay`.

    `zone` returns the zone of typed times and of messages (None: local), `now_ns` the time of day.
    """

    def __init__(
        self,
        engine: Callable[[], EngineDatabase],
        *,
        zone: Callable[[], tzinfo | None] = lambda: None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._zone = zone
        self._now_ns = now_ns

    @asynccontextmanager
    async def __call__(self, wish: ReplayWish) -> AsyncIterator[OpenedReplay]:
        """Give the recording, open at the moment of `wish` (see `OpenReplay`)."""
        # The window's start does without them.
        from orderbook_desktop.replay.player import Player  # noqa: PLC0415
        from orderbook_desktop.system.alarm import ThreadAlarm  # noqa: PLC0415

        at = self._moment_of(wish)
        name = "" if wish.file is None else wish.file.name
        info = wish.info
        async with AsyncExitStack() as stack:
            store = await self._store(wish.file, stack)
            alarm = ThreadAlarm(asyncio.get_running_loop())
            player = Player(store, info.market, info.symbol, alarm=alarm, file=name)
            stack.push_async_callback(player.close)
            is_named = wish.at is not None or wish.file is not None
            await player.start(
                at if isinstance(at, int) else None, least_left_ns=0 if is_named else _BACK_NS
            )
            if isinstance(at, UpdateId):
                player.seek_id(at.number)
                await player.idle()
                if problem := player.status.problem:
                    raise CanNotGoTo(problem)
            missed = self._missed(wish, at, player.coverage.timeline)
            if missed is not None and wish.like is not None:
                raise missed
            remark = "" if missed is None else str(missed)
            file = wish.file
            heatmaps = None if file is None else self._heatmaps(file, store, stack)
            yield OpenedReplay(player, ReplayedTrades(store.trades, player), remark, heatmaps)

    def _heatmaps(self, file: Path, store: RecordingStore, stack: AsyncExitStack) -> HeatmapPages:
        """Return the heatmaps of a file, which are read while it is open."""

        async def stored() -> RecordingStore:
            return store

        jobs = Jobs()
        stack.push_async_callback(jobs.close)
        engine = self._engine()
        return RecordedHeatmaps(stored, jobs.start, lambda: engine.tile_cache(file))

    async def _store(self, file: Path | None, stack: AsyncExitStack) -> RecordingStore:
        if file is not None:
            from orderbook_desktop.storage.store.packed_store import open_packed  # noqa: PLC0415

            return await stack.enter_async_context(open_packed(file))
        engine = self._engine()
        await engine.until_database()
        return DatabaseStore(engine.database)

    def _moment_of(self, wish: ReplayWish) -> int | UpdateId | None:
        """Return the moment to begin with; None: the first one. Raises the error of a wrong one."""
        at, now_ns = wish.at, self._now_ns()
        if isinstance(at, str):
            return parse_moment(at, now_ms=now_ns // NS_A_MS, zone=self._zone())
        if at is None and wish.file is None:
            return now_ns - _BACK_NS
        return at

    def _missed(
        self, wish: ReplayWish, at: int | UpdateId | None, timeline: Timeline
    ) -> NotRecordedThen | None:
        """Return the error that says that the recording does not reach to `at`."""
        if wish.at is None or not isinstance(at, int):
            return None
        at_ms = at // NS_A_MS
        if at_ms < timeline.from_ms:
            edge_ms, edge = timeline.from_ms, "begins"
        elif at_ms > timeline.to_ms:
            edge_ms, edge = timeline.to_ms, "ends"
        else:
            return None
        zone = self._zone()
        nearest = f"its recording {edge} at {moment_text(edge_ms, zone)}"
        return NotRecordedThen(wish.info.symbol, moment_text(at_ms, zone), nearest)


class ReplayedTrades:
    """The trades in `store` up to the clock of `replay`; it is a `GappyHistory`.

    All methods raise the `KnownError` why reading fails.
    """

    def __init__(self, store: TradeStore, replay: Replay) -> None:
        self._store = store
        self._replay = replay

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the last `count` trades before an id, and not after the clock's time."""
        end = min(trade_id, self._newest_id + 1)
        with driver_failures_raised():
            return await self._store.before(market, end, count) if end > 0 else []

    async def after(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the first `count` trades after an id, and none of after the clock's time."""
        found: list[Trade] = []
        newest_id = self._newest_id
        if trade_id >= newest_id:
            return found
        with driver_failures_raised():
            async with aclosing(self._store.trades(market, trade_id + 1, newest_id)) as pieces:
                async for piece in pieces:
                    found += await asyncio.to_thread(piece.trades)
                    if len(found) >= count:
                        break
        return [trade for trade in found[:count] if trade.trade_id <= newest_id]

    async def gaps(self, market: str) -> list[TradeGap]:
        """Return the gaps of the recorded trades, in the order of their ids."""
        with driver_failures_raised():
            return await asyncio.to_thread(gaps_between, await self._store.runs(market))

    @property
    def _newest_id(self) -> int:
        """The id of the newest trade that has been played; -1: none has."""
        tape = self._replay.look().tape
        newest_id = None if tape is None else tape.newest_id
        return -1 if newest_id is None else min(newest_id, INT64_MAX - 1)
