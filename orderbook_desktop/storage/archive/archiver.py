"""The archiver: rolls what is recorded into chunks, in small steps behind the recorder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import AllCounts, RecordingCounts
from orderbook_desktop.storage.archive.loose_archive import LooseArchive
from orderbook_desktop.storage.archive.segment_archive import SegmentArchive
from orderbook_desktop.storage.failures import Activity, is_driver_failure, until_it_works
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.loose_events import LooseEvents
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.store.schema import SEGMENTS, Document, NewerSchema

_log = logging.getLogger(__name__)

# Between two steps it pauses for half as long as the last one took.
_PACE: Final = 0.5
_BUSY_PAUSES: Final = 3
_UNAUTHORIZED: Final = 13
_DAMAGED: Final = object()

Prepare = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ArchiveTimes:
    """When the archiver does what, in seconds.

    `ready_after_s` after the database is there it readies it, and `first_look_s` later it begins
    to archive: the start of the program is busy enough. Then it looks every `look_every_s`, or
    `soon_s` after it was behind: at it for `behind_after_s` without having come to an end. It
    doesn't pause between its steps then. While events wait to be written, which come first, it
    pauses for some more `busy_pause_s`.

    A running segment has a chunk to be archived once a minute, so it is looked at every
    `running_every_s` only. Events that belong to no segment are archived when they are
    `loose_after_s` old, and those that no list names are looked for every `account_every_s`.
    """

    ready_after_s: float = 1.0
    first_look_s: float = 10.0
    look_every_s: float = 10.0
    soon_s: float = 1.0
    running_every_s: float = 30.0
    account_every_s: float = 600.0
    loose_after_s: float = 180.0
    behind_after_s: float = 15.0
    busy_pause_s: float = 0.1


ARCHIVE_TIMES: Final = ArchiveTimes()


class Archiver:
    """Archives what `database` holds.

    That is closed minutes of the segments that this process records, everything of those
    that have ended, and the events that belong to none.

    `await run()` until it is cancelled, at any instant. Several processes may do so on one
    database. It counts into `counts`, by market. `is_busy` says that events wait to be written;
    `prepare` readies the database; after each step it pauses `pace` times as long as that took,
    unless it is behind.
    A segment that can't be archived is told once and stays as it is.
    """

    def __init__(
        self,
        database: Database,
        *,
        counts: AllCounts | None = None,
        is_busy: Callable[[], bool] = lambda: False,
        prepare: Prepare | None = None,
        pace: float = _PACE,
        times: ArchiveTimes = ARCHIVE_TIMES,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._is_busy = is_busy
        self._prepare = prepare or database.prepare
        self._pace = pace
        self._times = times
        self._now = now
        self._begun_at = float("inf")
        self._segments = SegmentArchive(database, now, now_ns)
        self._loose = LooseArchive(database, times.loose_after_s, now, now_ns)
        self._lists = LooseEvents(database)
        self._counts = defaultdict(RecordingCounts) if counts is None else counts
        self._stuck: set[str] = set()
        self._looked_at: dict[str, float] = {}
        self._accounted_at = float("-inf")
        self._forbidden = False

    @property
    def problem(self) -> str:
        """Why something can't be archived, as a sentence, or empty."""
        return next(
            (one.archive_problem for one in self._counts.values() if one.archive_problem), ""
        )

    async def run(self) -> None:
        """Archive for ever, through outages."""
        await self._database.until_connected()
        # That finds crashes, so it is done soon.
        await asyncio.sleep(self._times.ready_after_s)
        await until_it_works(self._database, Activity.ARCHIVE, self._is_ready)
        await asyncio.sleep(self._times.first_look_s)
        while not self._forbidden:
            await until_it_works(self._database, Activity.ARCHIVE, self.catch_up)
            await asyncio.sleep(self._times.soon_s if self._is_behind else self._times.look_every_s)

    async def catch_up(self) -> None:
        """Archive all that can be archived now. Raises PyMongo's errors; repeat it then."""
        self._begun_at = self._now()
        if not await self._is_ready():
            return
        await self._account()
        waiting = await self._waiting()
        while waiting:
            # A step of each in turn, so that one with a long past doesn't keep up the others.
            waiting = [one for one in waiting if await self._advance(one)]
        for market in await self._lists.waiting_markets():
            advance = partial(self._loose.advance, market)
            while await self._step(market, f"loose events of {market}", advance):
                pass

    async def _is_ready(self) -> bool:
        """Whether there is a recording, readied, that we may write to."""
        from pymongo.errors import OperationFailure  # noqa: PLC0415 (see storage.store.database)

        if self._database.prepared:
            return True
        try:
            if await self._database.has_recordings():
                await self._prepare()
        except NewerSchema:
            # Whoever wants to record, or to see the recording, is told so.
            return False
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            _log.info("nothing is archived, since we may only read: %s", error)
            self._forbidden = True
        return self._database.prepared

    async def _waiting(self) -> list[Document]:
        """Return the segments of which something may be archived now."""
        now = self._now()
        token = owner_document()["owner"]["token"]
        fields = {"market": 1, "owner": 1, "end_cause": 1}
        found = self._database.collection(SEGMENTS).find({"to_archive": True}, fields)
        waiting = []
        for one in await found.to_list(None):
            if one.get("end_cause", _DAMAGED) is None:
                looked_at = self._looked_at.get(one["_id"], float("-inf"))
                is_due = now - looked_at >= (self._times.running_every_s if self._pace else 0.0)
                if (one.get("owner") or {}).get("token") != token or not is_due:
                    continue
                self._looked_at[one["_id"]] = now
            else:
                self._looked_at.pop(one["_id"], None)
            if one["_id"] not in self._stuck:
                waiting.append(one)
        return waiting

    async def _advance(self, segment: Document) -> bool:
        advance = partial(self._segments.advance, segment["_id"])
        return await self._step(str(segment.get("market")), segment["_id"], advance)

    async def _account(self) -> None:
        """Look, at the start and at times, for events that nobody has accounted for."""
        now = self._now()
        if now - self._accounted_at < self._times.account_every_s:
            return
        for market in await self._database.collection(SEGMENTS).distinct("market"):
            await self._step(market, f"account of {market}", partial(self._loose.account, market))
        self._accounted_at = now

    async def _step(
        self, market: str, key: str, attempt: Callable[[], Awaitable[tuple[int, int] | None]]
    ) -> bool:
        """Take a step; return whether it archived anything. A failure is told once."""
        if key in self._stuck:
            return False
        begun = self._now()
        done: tuple[int, int] | None = None
        try:
            done = await attempt()
        except Exception as error:
            if is_driver_failure(error):
                raise
            # Of a damaged document, too, all others are archived nevertheless.
            self._stuck.add(key)
            if isinstance(error, KnownError):
                _log.error("%s: a part can't be archived: %s", market, error)
            else:
                _log.exception("%s: a part can't be archived", market)
            self._counts[market].archive_problem = _sentence(error, market)
        if done is not None:
            self._counts[market].archived_events += done[0]
            self._counts[market].archived_bytes += done[1]
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
