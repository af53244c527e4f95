"""Finds, measures and closes the segments that a crash left open."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.segments import GapCause, Segment, TimesSeen
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.loose_events import LooseEvents
from orderbook_desktop.storage.store.owner import is_gone, is_ours
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.raw_events import own_events
from orderbook_desktop.storage.store.schema import (
    DEPTH_EVENTS,
    SEGMENTS,
    Document,
    front_document,
    progress_document,
)
from orderbook_desktop.storage.store.segments import StoredSegment, stored_segment

_log = logging.getLogger(__name__)

# A segment's end is stored every second; fewer ids than this can come after it.
_IDS_BEYOND: Final = 10_000_000
# A recorder writes a heartbeat every ten seconds. After a long outage it needs a moment longer.
_SILENT_FOR_S: Final = 45.0


class _Found(NamedTuple):
    """A stored event of a crashed recorder: its update ids, and its time (ms)."""

    first_id: int
    final_id: int
    event_ms: int


class CrashWatch:
    """Closes the open segments whose recorder has crashed.

    A recorder on this machine has crashed if its process has ended. On another machine, or if its
    process id may be in use again, it counts as crashed when its heartbeat doesn't change between
    two checks. So wrong clocks do no harm.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now = now
        self._beats: dict[str, tuple[int | None, float]] = {}
        # Damaged segments, which `verify` reports.
        self._damaged: set[str] = set()

    async def close_crashed(self) -> int:
        """Close the segments that a crash left open; return how many. Raises PyMongo's errors.

        A segment ends with the last stored event that follows without a hole, so that it has all
        acknowledged events.
        """
        segments = self._database.collection(SEGMENTS)
        running = await segments.find({"end_cause": None}).to_list(None)
        silent = self._silent(running)
        count = 0
        for document in running:
            if document["_id"] in self._damaged:
                continue
            if is_gone(document) or document["_id"] in silent:
                try:
                    count += await self._close(document)
                except (DamagedDocument, KeyError, TypeError, ValueError) as error:
                    # A damaged old recording must not prevent a new one.
                    self._damaged.add(document["_id"])
                    fault = f"{type(error).__name__} {error}"
                    _log.error("the segment %s can't be closed: %s", document["_id"], fault)
        return count

    def _silent(self, running: list[Document]) -> set[str]:
        """Return the segments whose heartbeat has not changed since an earlier check."""
        now, before = self._now(), self._beats
        self._beats = {}
        for document in running:
            if is_ours(document):
                # After an outage our own heartbeat may not be stored yet.
                continue
            beat, since = before.get(document["_id"], (None, now))
            alive_ms = document.get("alive_ms")
            self._beats[document["_id"]] = (alive_ms, since if beat == alive_ms else now)
        return {key for key, (_, since) in self._beats.items() if now - since >= _SILENT_FOR_S}

    async def _close(self, document: Document) -> bool:
        stored = stored_segment(document)
        segment, times = await self._measured(stored)
        closed = replace(segment, end_cause=GapCause.CRASH, end_detail="")
        # Not if its recorder has written a heartbeat meanwhile.
        query = {"_id": document["_id"], "end_cause": None, "alive_ms": document["alive_ms"]}
        done = await self._database.collection(SEGMENTS).update_one(
            query, {"$set": {**_measurement(stored, closed), **times}}
        )
        if not done.modified_count:
            return False
        _log.warning(
            "%s: the recording up to update id %d ended without being closed",
            closed.market,
            closed.last_id,
        )
        return True

    async def _measured(self, stored: StoredSegment) -> tuple[Segment, Document]:
        """Return a segment with all of its events, and further fields about their times."""
        segment = stored.segment
        own = await self._own_events(segment)
        if not own:
            return segment, {}
        last_ms, times = _times(stored, own)
        measured = replace(
            segment,
            first_id=segment.first_id if segment.event_count else own[0].first_id,
            first_event_ms=segment.first_event_ms or own[0].event_ms,
            last_id=own[-1].final_id,
            last_event_ms=last_ms,
            event_count=segment.event_count + len(own),
        )
        return measured, times

    async def _own_events(self, segment: Segment) -> Sequence[_Found]:
        """Return the stored events of a segment that come after its last stored end."""
        span = {"$gt": segment.last_id, "$lte": min(segment.last_id + _IDS_BEYOND, INT64_MAX)}
        query: Document = {"market": segment.market, "u": span}
        fields = {"U": 1, "u": 1, "event_ms": 1}
        found = self._database.collection(DEPTH_EVENTS).find(query, fields).sort("u", 1)
        run: list[_Found] = []
        async for event in found:
            if event["U"] > (run[-1].final_id if run else segment.last_id) + 1:
                break
            run.append(_Found(event["U"], event["u"], in_ms(event["event_ms"])))
        return own_events(segment.last_id, run, await self._loose(segment.market) if run else ())

    async def _loose(self, market: str) -> set[int]:
        """Return the ids of the events that another recorder listed as loose."""
        try:
            lists = await LooseEvents(self._database).lists(market, waiting=True)
        except DamagedDocument as error:
            # A damaged old recording must not prevent a new one.
            _log.error("%s: %s", market, error)
            return set()
        return {update_id for loose_list in lists for update_id in loose_list.ids}


def _times(stored: StoredSegment, own: Sequence[_Found]) -> tuple[int, Document]:
    """Return the latest time of a segment that continues with `own`, and its `back_ms` if known."""
    if stored.back_ms is None:
        # An earlier version stored only the last event's time.
        return own[-1].event_ms, {}
    times = TimesSeen(stored.segment.last_event_ms, stored.back_ms)
    for event in own:
        times = times.and_then(event.event_ms)
    return times.latest_ms, {"back_ms": times.back_ms}


def _measurement(stored: StoredSegment, closed: Segment) -> Document:
    """Return the changes to the document. Once it has events, only retention changes its front."""
    changes = progress_document(closed)
    changes["event_count"] += stored.cut_events
    if not stored.segment.event_count + stored.cut_events:
        changes |= front_document(closed)
    return changes
