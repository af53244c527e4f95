"""Finds, measures and closes the segments that a crash left open."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.raw_events import RawEvents, own_events
from orderbook_desktop.storage.store.running_segments import RunningSegment, RunningSegments
from orderbook_desktop.storage.store.segment_documents import StoredIds, StoredSegment
from orderbook_desktop.storage.store.segments import is_continued

_log = logging.getLogger(__name__)

# A segment's end is stored every second; fewer ids than this can come after it.
_IDS_BEYOND: Final = 10_000_000
# A recorder writes a heartbeat every ten seconds. After a long outage it needs a moment longer.
_SILENT_FOR_S: Final = 45.0


class CrashWatch:
    """Closes the open segments whose recorder has crashed.

    A recorder on this machine has crashed if its process has ended. On another machine, or if its
    process id may be in use again, it counts as crashed when its heartbeat doesn't change between
    two checks. So wrong clocks do no harm.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now = now
        self._segments = RunningSegments(database)
        self._beats: dict[str, tuple[object, float]] = {}
        # Damaged segments, which `verify` reports.
        self._damaged: set[str] = set()

    async def close_crashed(self) -> int:
        """Close the segments that a crash left open; return how many. Raises PyMongo's errors.

        A segment ends with the last stored event that follows without a hole, unless another one
        goes on from its stored end. So all acknowledged events are in a segment.
        """
        running = await self._segments.all()
        silent = self._silent(running)
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

    def _silent(self, running: list[RunningSegment]) -> set[str]:
        """Return the segments whose heartbeat has not changed since an earlier check."""
        now, before = self._now(), self._beats
        self._beats = {}
        for segment in running:
            if segment.is_ours:
                # After an outage our own heartbeat may not be stored yet.
                continue
            beat, since = before.get(segment.id, (None, now))
            self._beats[segment.id] = (segment.beat, since if beat == segment.beat else now)
        return {key for key, (_, since) in self._beats.items() if now - since >= _SILENT_FOR_S}

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
