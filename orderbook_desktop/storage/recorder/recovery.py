"""Finds, measures and closes the segments, and the runs of trades, that a crash left open."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.trade_coverage import TradeRun
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.raw_events import RawEvents, own_events
from orderbook_desktop.storage.store.running_segments import RunningSegment, RunningSegments
from orderbook_desktop.storage.store.segment_documents import StoredIds, StoredSegment
from orderbook_desktop.storage.store.segments import is_continued
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import StoredRun, TradeRuns

_log = logging.getLogger(__name__)

# A segment's end is stored every second; fewer ids than this can come after it.
_IDS_BEYOND: Final = 10_000_000
# How far a run has come is stored every ten seconds at the latest.
_TRADES_BEYOND: Final = 100_000
# A recorder writes a heartbeat every ten seconds. After a long outage it needs a moment longer.
_SILENT_FOR_S: Final = 45.0


class _Running(Protocol):
    """A segment or a run of trades without an end, as far as its recorder's heartbeat goes."""

    @property
    def id(self) -> str:
        """Its `_id`."""
        ...

    @property
    def beat(self) -> object:
        """What changes while its recorder runs."""
        ...

    @property
    def is_ours(self) -> bool:
        """Whether this process records it."""
        ...


class _Silence:
    """Finds what has had no heartbeat since an earlier look."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._beats: dict[str, tuple[object, float]] = {}

    def among(self, running: Iterable[_Running]) -> set[str]:
        """Return the ids of those whose heartbeat has not changed since an earlier look."""
        now, before = self._now(), self._beats
        self._beats = {}
        for one in running:
            if one.is_ours:
                # After an outage our own heartbeat may not be stored yet.
                continue
            beat, since = before.get(one.id, (None, now))
            self._beats[one.id] = (one.beat, since if beat == one.beat else now)
        return {key for key, (_, since) in self._beats.items() if now - since >= _SILENT_FOR_S}


class CrashWatch:
    """Closes the open segments and runs of trades whose recorder has crashed.

    A recorder on this machine has crashed if its process has ended. On another machine, or if its
    process id may be in use again, it counts as crashed when its heartbeat doesn't change between
    two checks. So wrong clocks do no harm.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._segments = RunningSegments(database)
        self._runs = TradeRuns(database)
        self._trades = DatabaseTrades(database)
        self._silent_segments, self._silent_runs = _Silence(now), _Silence(now)
        # Damaged segments and runs, which `verify` reports.
        self._damaged: set[str] = set()

    async def close_crashed(self) -> int:
        """Close what a crash left open; return how many. Raises PyMongo's errors.

        A segment, or a run of trades, ends with the last stored event that follows without a hole,
        unless another one goes on from its stored end. So all acknowledged events are in one.
        """
        return await self._close_segments() + await self._close_runs()

    async def _close_segments(self) -> int:
        running = await self._segments.all()
        silent = self._silent_segments.among(running)
        count = 0
        for segment in running:
            if segment.id in self._damaged or not (segment.is_gone or segment.id in silent):
                continue
            try:
                count += await self._close(segment)
            except DamagedDocument as error:
                # A damaged old recording must not prevent a new one.
                self._damaged.add(segment.id)
                _log.error("the segment %s can't be closed: %s", segment.id, error.reason)
        return count

    async def _close_runs(self) -> int:
        running = await self._runs.running()
        silent = self._silent_runs.among(running)
        count = 0
        for run in running:
            if run.id in self._damaged or not (run.is_gone or run.id in silent):
                continue
            try:
                count += await self._close_run(run.unpack())
            except DamagedDocument as error:
                self._damaged.add(run.id)
                _log.error("the run of trades %s can't be closed: %s", run.id, error.reason)
        return count

    async def _close_run(self, stored: StoredRun) -> bool:
        run = await self._longest(stored.run)
        if not run.count:
            return await self._runs.drop_empty(stored)
        if not await self._runs.close(stored, replace(run, end_cause=GapCause.CRASH)):
            return False
        _log.warning(
            "%s: the recording of trades up to id %d ended without being closed",
            *(run.market, run.last_id),
        )
        return True

    async def _runs_of(self, market: str) -> list[TradeRun]:
        try:
            return await self._trades.runs(market)
        except DamagedDocument as error:
            # A damaged old recording must not prevent a new one.
            _log.error("%s: %s", market, error)
            return []

    async def _longest(self, run: TradeRun) -> TradeRun:
        """Return `run` with the stored trades that follow it, unless another run has these."""
        for other in await self._runs_of(run.market):
            if other.id != run.id and other.first_id <= run.last_id + 1 <= other.last_id:
                return run
        for part in await self._trades.parts(
            run.market, run.last_id + 1, run.last_id + _TRADES_BEYOND
        ):
            if part.first_id <= run.last_id + 1 <= part.last_id:
                run = replace(run, last_id=part.last_id, to_ms=max(run.to_ms, part.to_ms))
        return run

    async def _close(self, running: RunningSegment) -> bool:
        stored = running.unpack()
        segment, back_ms = await self._measured(stored)
        closed = replace(segment, end_cause=GapCause.CRASH, end_detail="")
        if not await self._segments.close(running, stored, closed, back_ms):
            return False
        _log.warning(
            "%s: the recording up to update id %d ended without being closed",
            closed.market,
            closed.last_id,
        )
        return True

    async def _measured(self, stored: StoredSegment) -> tuple[Segment, int | None]:
        """Return a segment with all of its events, and how far their times go back, if known."""
        return stored.extended(await self._own_events(stored.segment))

    async def _own_events(self, segment: Segment) -> Sequence[StoredIds]:
        """Return the stored events of a segment that come after its last stored end.

        There are none if the segment of another recorder covers these. So it can be seen which
        recorder had them, and which one crashed.
        """
        if await is_continued(self._database, segment):
            return ()
        raw = RawEvents(self._database, segment.market)
        run = await raw.ids_after(segment.last_id, segment.last_id + _IDS_BEYOND)
        return own_events(segment.last_id, run, await self._loose(segment.market) if run else ())

    async def _loose(self, market: str) -> set[int]:
        """Return the ids of the events that another recorder listed as loose."""
        try:
            runs = await BooklessRuns(self._database).of(market, waiting=True)
        except DamagedDocument as error:
            # A damaged old recording must not prevent a new one.
            _log.error("%s: %s", market, error)
            return set()
        return {update_id for run in runs for update_id in run.ids}
