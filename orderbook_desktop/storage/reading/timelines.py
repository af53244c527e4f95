"""The timeline of a market's recording, with what was stored after its last segment."""

from __future__ import annotations

from collections.abc import Sequence

from orderbook_desktop.core.timeline import Timeline, timeline_of
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.loose_events import LooseEvents
from orderbook_desktop.storage.store.segments import StoredSegment


async def read_timeline(
    database: Database, market: str, segments: Sequence[StoredSegment]
) -> Timeline:
    """Return the timeline of `market`, whose segments are `segments`. Raises PyMongo's errors."""
    known = [(one.id, one.segment) for one in segments if one.segment.event_count]
    if not known:
        return timeline_of(())
    last_id = max(segment.last_id for _, segment in known)
    return timeline_of(known, await LooseEvents(database).end_after(market, last_id))
