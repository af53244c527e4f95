"""Lets a segment begin or end elsewhere, where it follows another one of its market.

See `cuts` for how a kill at any point does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from orderbook_desktop.core.archive import ChunkHeader
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.cuts import CUT_FROM, CutSegment, Front, SegmentCutter
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import SEGMENTS, Document
from orderbook_desktop.storage.store.segment_documents import (
    StoredIds,
    StoredSegment,
    grown_fields,
)
from orderbook_desktop.storage.store.segments import change_segment

# Returns the events of a segment that come after its new front; None if they can't be told.
EventsLeft = Callable[[StoredSegment], Awaitable[Sequence[StoredIds] | None]]


async def follow_at(database: Database, key: str, end_id: int, left: EventsLeft) -> bool:
    """Let a segment begin at `end_id`, to which another segment is archived; return if it does.

    What is archived of it goes. If it has ended by then, it goes as a whole. It stays as it is
    while it is archived further, or it is not stored yet how far it reaches. Raises PyMongo's
    errors, and `DamagedDocument`.
    """
    document = await database.collection(SEGMENTS).find_one({"_id": key})
    if document is None:
        return False
    cut = CutSegment.of(document)
    await SegmentCutter(database).finish(cut)
    stored, before = cut.stored, cut.stored.segment
    front_id, is_gone = min(end_id, before.last_id), before.last_id <= end_id and not stored.running
    is_behind = stored.running and before.last_id < end_id
    if is_behind or stored.archived_id > front_id or before.snapshot_id >= front_id:
        return False
    events = await left(stored)
    if events is None:
        return False
    total = before.event_count + stored.cut_events

    def changes(now: Document) -> Document:
        return _front(before, front_id, events).fields | {
            CUT_FROM: before.snapshot_id,
            "cut_events": total - len(events),
            "cut_bytes": now["archived_bytes"],
            "archived_id": front_id,
            "archived_events": total - len(events),
            "to_archive": not is_gone,
        }

    same = {"event_count": total, "archived_id": stored.archived_id, CUT_FROM: None}
    known = {"_id": key, "snapshot_id": before.snapshot_id, "last_id": before.last_id, **same}
    return await _begin_later(database, known, changes)


async def begin_amid(
    database: Database, stored: StoredSegment, rest: ChunkHeader, gone: int, size: int
) -> bool:
    """Let an archived segment begin with the chunk `rest`, of `size` bytes; return whether it does.

    That chunk is stored beside the one whose events it repeats, but for the `gone` first ones.
    What comes before goes. Raises PyMongo's errors.
    """
    before, coverage, cutter = stored.segment, rest.coverage, SegmentCutter(database)
    links = [
        link
        for link in await cutter.links(CutSegment(stored, 0, to_archive=False, cut_from=None))
        if link.start_id < (rest.start_id or 0)
    ]
    if not links or links[-1].last_id <= (rest.start_id or 0):
        return False
    cut_events = sum(link.events for link in links[:-1]) + gone
    cut_bytes = sum(link.bytes for link in links)
    front = Front(rest.start_id or 0, coverage.first_id, coverage.from_event_ms)

    def changes(now: Document) -> Document:
        return front.fields | {
            CUT_FROM: before.snapshot_id,
            "cut_events": now["cut_events"] + cut_events,
            "cut_bytes": now["cut_bytes"] + cut_bytes,
            "archived_bytes": now["archived_bytes"] + size,
        }

    known: Document = {
        "_id": stored.id,
        "snapshot_id": before.snapshot_id,
        "archived_id": stored.archived_id,
        CUT_FROM: None,
    }
    return await _begin_later(database, known, changes)


async def extend(database: Database, stored: StoredSegment, events: Sequence[StoredIds]) -> bool:
    """Let an ended segment have `events`, which are stored and follow it; return if it has them.

    They are to be archived. Raises PyMongo's errors.
    """
    longer, back_ms = stored.extended(events)
    before = stored.segment
    known: Document = {
        "_id": stored.id,
        "last_id": before.last_id,
        "event_count": before.event_count + stored.cut_events,
        "end_cause": None if before.end_cause is None else before.end_cause.value,
        CUT_FROM: None,
    }

    def changes(_: Document) -> Document:
        return grown_fields(stored, longer, back_ms) | {"to_archive": True}

    return await change_segment(database, known, changes)


def _front(segment: Segment, front_id: int, left: Sequence[StoredIds]) -> Front:
    """Return where a segment begins if it begins at `front_id` and its events `left` follow."""
    if left:
        return Front(front_id, left[0].first_id, left[0].event_ms)
    return Front(front_id, min(front_id + 1, INT64_MAX), segment.last_event_ms)


async def _begin_later(
    database: Database, known: Document, changes: Callable[[Document], Document]
) -> bool:
    """Change the segment that matches `known`, and remove what came before its new beginning.

    Return whether there was one.
    """
    if not await change_segment(database, known, changes):
        return False
    moved = await database.collection(SEGMENTS).find_one({"_id": known["_id"]})
    if moved is not None:
        await SegmentCutter(database).finish(CutSegment.of(moved))
    return True
