"""The ledger of a recording: writes its segments and checkpoints, after the events."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import islice
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.storage.failures import Activity, until_it_works
from orderbook_desktop.storage.recorder.latest_entries import LatestEntries
from orderbook_desktop.storage.recorder.pending import (
    Answered,
    Checkpoint,
    Close,
    Extend,
    LedgerEntry,
    Loose,
    Open,
    OpenSegment,
    storable,
)
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.checkpoints import Checkpoints, NewBook
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import settle_imports
from orderbook_desktop.storage.store.running_segments import RunningSegments
from orderbook_desktop.storage.store.witnesses import Witnesses
from orderbook_desktop.system.tasks import set_within

_log = logging.getLogger(__name__)

# Few enough that new events don't have to wait.
_SEGMENTS_A_WRITE: Final = 10
# To store how far a segment has come costs a database of ours as much as storing ten events. So
# only this many are stored at a time, or as many as get round within the time of a heartbeat.
_SEGMENTS_A_TIME: Final = 20
_CHECKPOINTS_KEPT: Final = 2


class LedgerTimes(Struct, frozen=True):
    """The intervals of a ledger, in seconds.

    - `persist_every_s`: how often the ends of the segments are stored; of many segments, in turn.
    - `heartbeat_every_s`: how often each segment is stored at least, as a heartbeat.
    - `look_every_s`: how often the ledger looks for crashed recorders.
    """

    persist_every_s: float = 1.0
    heartbeat_every_s: float = 10.0
    look_every_s: float = 60.0


LEDGER_TIMES: Final = LedgerTimes()


class Ledger:
    """Writes segments and checkpoints, each after its events.

    Call `take()` with the entries of the sinks, once the events before them are acknowledged.
    `run()` writes them in a task of its own, so that no event waits for them. `written` is called
    with each finished entry, and `vanished` with the stream of a segment that was deleted.
    `are_events_whole` tells whether all acknowledged events are stored, as far as is known.
    """

    def __init__(
        self,
        database: Database,
        written: Callable[[LedgerEntry], None],
        vanished: Callable[[Stream], None],
        are_events_whole: Callable[[], bool],
        times: LedgerTimes = LEDGER_TIMES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._times = times
        self._now = now
        self._database = database
        self._written = written
        self._vanished = vanished
        self._are_events_whole = are_events_whole
        self._queue: deque[LedgerEntry] = deque()
        self._open: dict[str, OpenSegment] = {}
        self._wake = asyncio.Event()
        self._finishing = False
        self._watch = CrashWatch(database, now)
        self._segments = RunningSegments(database)
        self._books = Checkpoints(database)
        self._bookless = BooklessRuns(database)
        self._witnesses = Witnesses(database)
        self._latest = LatestEntries(database, self._begin, self._store_end, now)
        # Imports whose journal is damaged.
        self._unsettled: set[str] = set()
        # The first time is due at once.
        self._kept_up_at = self._looked_at = -math.inf

    def take(self, entry: LedgerEntry) -> None:
        """Take an entry whose events are acknowledged."""
        match entry:
            case Open(segment):
                self._open[segment.id] = segment
            case Extend(segment):
                segment.extend(entry)
                self._written(entry)
                return
            case Close(segment, cause, detail):
                segment.end(cause, storable(detail))
        self._queue.append(entry)
        self._wake.set()

    def end(self, stream: Stream, detail: str) -> list[Close]:
        """End the open segments of `stream` after their last event; return the entries for that.

        The cause of the gap is the database, with `detail`.
        """
        ends = [
            Close(segment, GapCause.DATABASE, detail)
            for segment in self._open.values()
            if segment.stream == stream and segment.state.end_cause is None
        ]
        for end in ends:
            self.take(end)
        return ends

    @property
    def is_settled(self) -> bool:
        """Whether all entries are written and no segment is open."""
        return not self._queue and not self._open

    @property
    def is_whole(self) -> bool:
        """Whether the database has all entries that it acknowledged, as far as is known."""
        return self._latest.is_whole

    def had_segment(self, market: str) -> bool:
        """Whether a segment of `market` was stored some time ago (see `LatestEntries`)."""
        return self._latest.had_segment(market)

    def finish(self) -> None:
        """Let `run()` return when all entries are written."""
        self._finishing = True
        self._wake.set()

    async def recover(self) -> None:
        """Close segments that crashed recorders left open, and settle imports.

        Raises PyMongo's errors.
        """
        await self._watch.close_crashed()
        await settle_imports(self._database, self._unsettled)
        self._looked_at = self._now()

    async def run(self) -> None:
        """Write entries until `finish()` is called."""
        while True:
            while self._queue:
                ends = self._ends_in_front()
                interruptions = self._database.interruptions
                await self._until_it_works(partial(self._settle, self._queue[0], ends))
                for _ in range(max(1, len(ends))):
                    entry = self._queue.popleft()
                    self._latest.keep(entry, interruptions)
                    self._written(entry)
            if self._finishing:
                await self._restore_at_end()
                return
            await self._pause(self._kept_up_at + self._times.persist_every_s - self._now())
            if self._now() - self._kept_up_at >= self._times.persist_every_s:
                await self._until_it_works(self._keep_up)
                self._kept_up_at = self._now()

    async def _until_it_works(self, attempt: Callable[[], Awaitable[object]]) -> None:
        await until_it_works(self._database, Activity.KEEP_LEDGER, attempt)

    async def _pause(self, seconds: float) -> None:
        """Wait for an entry, for at most `seconds`."""
        await set_within(self._wake, seconds)
        self._wake.clear()

    def _ends_in_front(self) -> list[Close]:
        """Return the ends of segments at the front of the queue, to be written together."""
        ends = []
        for entry in islice(self._queue, _SEGMENTS_A_WRITE):
            if not isinstance(entry, Close):
                break
            ends.append(entry)
        return ends

    async def _settle(self, entry: LedgerEntry, ends: list[Close]) -> None:
        match entry:
            case Open(segment):
                if segment.id in self._open:
                    await self._begin(entry)
            case Checkpoint(segment, book):
                if segment.id in self._open:
                    await self._store_checkpoint(segment, book)
            case Answered(segment, witness):
                if segment.id in self._open:
                    await self._witnesses.put(witness)
            case Close():
                ended = [end.segment for end in ends if end.segment.id in self._open]
                if ended:
                    await self._store(ended)
                for segment in ended:
                    self._open.pop(segment.id, None)
            case Loose(stream, events, key):
                await self._bookless.put(stream.market, events, key)

    async def _begin(self, entry: Open) -> None:
        """Store a segment, and the book that it begins with."""
        segment, base = entry.segment, entry.base
        await self._books.put(segment.id, segment.state.market, base, is_base=True)
        await self._store([segment])
        segment.stored = True
        await self._books.settle(segment.id, base)

    async def _store_end(self, segment: OpenSegment) -> None:
        await self._store([segment], new=False)

    async def _store(self, segments: list[OpenSegment], *, new: bool = True) -> int:
        """Write the changes of `segments`; return how many were stored before.

        If `new` is true, missing ones are inserted.
        """
        for segment in segments:
            segment.changed = False
        begun = [segment for segment in segments if segment.state.event_count > 0]
        try:
            stored = await self._segments.put([segment.recorded for segment in segments], new=new)
        except BaseException:
            for segment in segments:
                segment.changed = True
            raise
        if new or stored == len(segments):
            for segment in begun:
                segment.begun = True
        return stored

    async def _keep_up(self) -> None:
        """Store how far the segments have come, or a heartbeat; look for crashed recorders."""
        if not self._latest.is_whole:
            if not self._are_events_whole():
                # A list names only stored events. They are restored within seconds.
                return
            await self._latest.restore()
        now = self._now()
        due = due_segments(self._open.values(), now, self._times)
        for start in range(0, len(due), _SEGMENTS_A_WRITE):
            segments = due[start : start + _SEGMENTS_A_WRITE]
            await self._persist(segments)
            for segment in segments:
                segment.kept_at = now
        if due:
            self._latest.let_old_go()
        if self._database.prepared and now - self._looked_at >= self._times.look_every_s:
            await self.recover()

    async def _persist(self, segments: list[OpenSegment]) -> None:
        if await self._store(segments, new=False) == len(segments):
            return
        stored = await self._segments.stored([segment.id for segment in segments])
        for segment in segments:
            if segment.id not in stored:
                self._give_up(segment)

    def _give_up(self, segment: OpenSegment) -> None:
        """Give up a segment that was deleted; other documents may be gone, too."""
        _log.error("%s: the recording was deleted while it went on", segment.state.market)
        self._open.pop(segment.id, None)
        self._database.prepared = False
        self._vanished(segment.stream)

    async def _restore_at_end(self) -> None:
        """Write again, in one attempt, what the database has lost."""
        from pymongo.errors import PyMongoError  # noqa: PLC0415 (see storage.store.database)

        if self._latest.is_whole or not self._database.is_connected:
            return
        try:
            await self._latest.restore()
        except PyMongoError as error:
            self._database.failed(Activity.KEEP_LEDGER, error)

    async def _store_checkpoint(self, segment: OpenSegment, book: NewBook) -> None:
        key = await self._books.put(segment.id, segment.state.market, book, is_base=False)
        if key not in segment.checkpoints:
            segment.checkpoints.append(key)
        while len(segment.checkpoints) > _CHECKPOINTS_KEPT:
            await self._books.drop_one(segment.checkpoints[0])
            segment.checkpoints.pop(0)


class Kept(Protocol):
    """What is stored again and again while it grows: a segment, or a run of trades.

    `stored` is true once its document is stored, and `changed` while that is behind. `kept_at` is
    when it was stored last.
    """

    stored: bool
    changed: bool
    kept_at: float


_Kept = TypeVar("_Kept", bound=Kept)


def due_segments(segments: Iterable[_Kept], now: float, times: LedgerTimes) -> list[_Kept]:
    """Return the segments to be stored now: of many, those that were stored longest ago."""
    beaten_at = now - times.heartbeat_every_s
    due = [
        segment
        for segment in segments
        if segment.stored and (segment.changed or segment.kept_at <= beaten_at)
    ]
    due.sort(key=lambda segment: segment.kept_at)
    rounds = max(times.heartbeat_every_s // max(times.persist_every_s, 0.001) - 1, 1)
    return due[: max(_SEGMENTS_A_TIME, math.ceil(len(due) / rounds))]
