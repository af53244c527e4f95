"""The archiver: packs recorded events into chunks, in small steps, behind the recorder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import AllCounts, RecordingCounts
from orderbook_desktop.core.streams import DEPTH, Stream, StreamKind
from orderbook_desktop.core.trades import TRADE
from orderbook_desktop.storage.archive.segment_archive import SegmentArchive
from orderbook_desktop.storage.archive.times import ARCHIVE_TIMES, ArchiveTimes
from orderbook_desktop.storage.errors import NewerSchema, OlderRecorder, UnknownSchema
from orderbook_desktop.storage.failures import Activity, is_driver_failure, until_it_works
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import WaitingSegment, waiting_segments
from orderbook_desktop.storage.store.segments import recorded_markets

_log = logging.getLogger(__name__)

# Between two steps it pauses for half as long as the last one took.
_PACE: Final = 0.5
_BUSY_PAUSES: Final = 3
_UNAUTHORIZED: Final = 13

Prepare = Callable[[], Awaitable[None]]


class Archiver:
    """Archives the events in `database`.

    It archives closed minutes of the segments that this process records, all of the segments that
    have ended, and loose events; and likewise of runs of trades. A segment that can't be archived
    is reported once, and stays as it is.

    `await run()`; it may be cancelled at any time. Several processes may archive one database.
    `counts` holds what it counts, by stream. `is_busy` returns whether events wait to be written,
    `is_whole` whether none that the database lost has to be written again, and `prepare` prepares
    the database. After each step it pauses `pace` times as long as the step
    took, unless it is behind.
    """

    def __init__(
        self,
        database: Database,
        *,
        counts: AllCounts | None = None,
        is_busy: Callable[[], bool] = lambda: False,
        is_whole: Callable[[], bool] = lambda: True,
        prepare: Prepare | None = None,
        pace: float = _PACE,
        times: ArchiveTimes = ARCHIVE_TIMES,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._is_busy = is_busy
        self._is_whole = is_whole
        self._prepare = prepare or database.prepare
        self._pace = pace
        self._times = times
        self._now = now
        self._begun_at = float("inf")
        self._segments = SegmentArchive(database, now, now_ns)
        # When each run without a book was first found to be waiting.
        self._bookless_since: dict[str, float] = {}
        self._counts = defaultdict(RecordingCounts) if counts is None else counts
        self._stuck: set[str] = set()
        self._looked_at: dict[str, float] = {}
        self._accounted_at, self._accounted_shortened = float("-inf"), 0
        self._forbidden = False

    @property
    def problem(self) -> str:
        """A sentence that says why events can't be archived, or empty."""
        return next(
            (counts.archive_problem for counts in self._counts.values() if counts.archive_problem),
            "",
        )

    async def run(self) -> None:
        """Archive until cancelled, through outages of the database."""
        await self._database.until_connected()
        # Preparing closes crashed segments, so it is done soon.
        await asyncio.sleep(self._times.ready_after_s)
        await until_it_works(self._database, Activity.ARCHIVE, self._is_ready)
        await asyncio.sleep(self._times.first_look_s)
        while not self._forbidden:
            await until_it_works(self._database, Activity.ARCHIVE, self.catch_up)
            await asyncio.sleep(self._times.soon_s if self._is_behind else self._times.look_every_s)

    async def catch_up(self) -> None:
        """Archive all that can be archived now. Raises PyMongo's errors; then call it again."""
        self._begun_at = self._now()
        if not self._is_whole() or not await self._is_ready():
            return
        await self._account()
        waiting, runs = await self._waiting(), await self._waiting_runs()
        while waiting or runs:
            # One step of each in turn, so that a long segment doesn't delay the others.
            waiting = [segment for segment in waiting if await self._advance(segment)]
            runs = [run for run in runs if await self._advance_trades(run)]
        for market in sorted(self._segments.finished):
            unite = partial(self._segments.unite, market)
            await self._step(market, f"overlaps of {market}", unite)
        await self._segments.rest()

    async def _is_ready(self) -> bool:
        """Whether there is a recording that is prepared and that we may write to."""
        from pymongo.errors import OperationFailure  # noqa: PLC0415 (see storage.store.database)

        if self._database.prepared:
            return True
        try:
            if await self._database.has_recordings():
                await self._prepare()
        except (NewerSchema, OlderRecorder, UnknownSchema):
            # The recorder and the readers report it.
            return False
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            _log.warning("nothing is archived, since the database is read-only for us: %s", error)
            self._forbidden = True
        return self._database.prepared

    async def _waiting(self) -> list[WaitingSegment]:
        """Return the segments that may have events to archive now."""
        now, waiting, bookless_since = self._now(), [], self._bookless_since
        new_runs = defaultdict[str, list[str]](list)
        self._bookless_since = {}
        for segment in await waiting_segments(self._database):
            if not segment.has_book:
                if segment.id not in bookless_since:
                    new_runs[segment.market].append(segment.id)
                since = bookless_since.get(segment.id, now)
                self._bookless_since[segment.id] = since
                if now - since < self._times.loose_after_s:
                    continue
            elif not self._is_due(segment):
                continue
            if segment.id not in self._stuck:
                waiting.append(segment)
        for market, run_ids in new_runs.items():
            join = partial(self._segments.join, market, run_ids)
            await self._step(market, f"seams of {market}", join)
        return waiting

    def _is_due(self, segment: WaitingSegment) -> bool:
        """Whether to look at a segment or a run again: seldom while it is recorded."""
        now = self._now()
        if not segment.is_running:
            self._looked_at.pop(segment.id, None)
            return True
        looked_at = self._looked_at.get(segment.id, float("-inf"))
        if now - looked_at < (self._times.running_every_s if self._pace else 0.0):
            return False
        self._looked_at[segment.id] = now
        return True

    async def _waiting_runs(self) -> list[WaitingSegment]:
        """Return the runs of trades that may have something to archive now."""
        waiting = await self._segments.trades.waiting()
        return [run for run in waiting if run.id not in self._stuck and self._is_due(run)]

    async def _advance_trades(self, run: WaitingSegment) -> bool:
        advance = partial(self._segments.trades.advance, run.id)
        return await self._step(run.market, run.id, advance, TRADE)

    async def _advance(self, segment: WaitingSegment) -> bool:
        advance = partial(self._segments.advance, segment.id)
        return await self._step(segment.market, segment.id, advance)

    async def _account(self) -> None:
        """At intervals, list the events that are in no segment and no list."""
        now, shortened = self._now(), self._segments.shortened
        is_due = now - self._accounted_at >= self._times.account_every_s
        if not is_due and shortened == self._accounted_shortened:
            return
        for market in await recorded_markets(self._database):
            if isinstance(market, str):
                self._segments.finished.add(market)
                account = partial(self._segments.bookless.account, market)
                await self._step(market, f"account of {market}", account)
        self._accounted_at, self._accounted_shortened = now, shortened

    async def _step(
        self,
        market: str,
        key: str,
        attempt: Callable[[], Awaitable[tuple[int, int] | None]],
        kind: StreamKind[Any] = DEPTH,
    ) -> bool:
        """Take a step; return whether it archived events. A failure is reported once."""
        if key in self._stuck:
            return False
        begun = self._now()
        done: tuple[int, int] | None = None
        try:
            done = await attempt()
        except Exception as error:
            if is_driver_failure(error):
                raise
            if not self._is_whole():
                # The recorder is about to write what is missing.
                return False
            # Also for a damaged document: all others are archived nevertheless.
            self._stuck.add(key)
            if isinstance(error, KnownError):
                _log.error("%s: a part can't be archived: %s", market, error)
            else:
                _log.exception("%s: a part can't be archived", market)
            self._counts[Stream(market, kind)].archive_problem = _sentence(error, market)
        if done is not None:
            counts = self._counts[Stream(market, kind)]
            counts.archived_events += done[0]
            counts.archived_bytes += done[1]
        await self._pause(self._now() - begun)
        return done is not None

    @property
    def _is_behind(self) -> bool:
        return self._now() - self._begun_at >= self._times.behind_after_s

    async def _pause(self, took_s: float) -> None:
        await asyncio.sleep(0 if self._is_behind else took_s * self._pace)
        for _ in range(_BUSY_PAUSES):
            if not self._is_busy():
                return
            await asyncio.sleep(self._times.busy_pause_s)


def _sentence(error: Exception, market: str) -> str:
    if isinstance(error, KnownError):
        return str(error)
    return (
        f"Part of the recording of {market} can't be archived ({type(error).__name__}); "
        "its events stay as they are, see `verify`."
    )
