"""A summary of each recorded market."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.storage.reading.recording import read_timeline
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import RecorderState, recorder_states
from orderbook_desktop.storage.store.recording_store import DatabaseStore, RecordingStore
from orderbook_desktop.storage.store.segments import StoredSegment

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """The recording of `market`, in numbers.

    `stored_bytes` is the size of its events: packed chunks, and the texts of raw events, estimated
    from some of them. `recorder` is what its recorder does.
    """

    market: str
    timeline: Timeline
    segments: int
    events: int
    stored_bytes: int
    recorder: RecorderState

    @property
    def running(self) -> bool:
        """Whether a live process records it, even if it waits for the exchange."""
        return self.recorder.is_live


async def summaries(database: Database) -> list[RecordingSummary]:
    """Return the summary of each market, by name.

    Raises PyMongo's errors, and `DamagedDocument` for a damaged segment.
    """
    found = []
    store = DatabaseStore(database)
    states = await recorder_states(database)
    for market in await store.markets():
        segments = await store.segments(market)
        summary = RecordingSummary(
            market,
            await read_timeline(store, market, segments),
            len(segments),
            sum(one.segment.event_count for one in segments),
            sum([await _bytes_of(store, one) for one in segments]),
            states.get(market, RecorderState.NONE),
        )
        found.append(summary)
    return found


async def _bytes_of(store: RecordingStore, stored: StoredSegment) -> int:
    segment = stored.segment
    raw = segment.event_count - stored.archived_events
    if raw <= 0:
        return stored.archived_bytes
    try:
        some = await store.events_after(segment.market, stored.archived_id, segment.last_id)
    except MalformedMessage as error:
        # `verify` reports the damage. A damaged event is no sample of a size.
        _log.warning("%s: %s", segment.market, error)
        some = []
    size = sum(len(event.payload) for event in some)
    return stored.archived_bytes + (size * raw // len(some) if some else 0)
