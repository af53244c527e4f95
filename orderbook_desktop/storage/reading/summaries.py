"""The recordings of a place in numbers, market by market."""

from __future__ import annotations

import asyncio
import logging

from msgspec import Struct

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.recorded_gaps import HealedGap
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.storage.reading.healed_gaps import healed_gaps
from orderbook_desktop.storage.reading.recording import count_repeated, read_timeline
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.recorder_states import RecorderState, recorder_states
from orderbook_desktop.storage.store.recording_store import RecordingStore, store_of
from orderbook_desktop.storage.store.segment_documents import StoredSegment

_log = logging.getLogger(__name__)


class RecordingSummary(Struct, frozen=True):
    """The recording of `market`, in numbers.

    `stored_bytes` is the size of its events: packed chunks, and the texts of raw events, estimated
    from some of them. `recorder` is what its recorder does, `imports` are the imported segments,
    and `healed` the gaps of single recorders that others have filled.
    """

    market: str
    timeline: Timeline
    segments: int
    events: int
    stored_bytes: int
    recorder: RecorderState
    imports: tuple[StoredSegment, ...] = ()
    healed: tuple[HealedGap, ...] = ()

    @property
    def running(self) -> bool:
        """Whether a live process records it, even if it waits for the exchange."""
        return self.recorder.is_live


async def summaries(place: Database | RecordingStore) -> list[RecordingSummary]:
    """Return the summary of each market, by name.

    Raises what the store raises, and `DamagedDocument` for a damaged segment.
    """
    found = []
    store = store_of(place)
    states = await recorder_states(place) if isinstance(place, Database) else {}
    for market in await store.markets():
        segments = await store.segments(market)
        timeline = await read_timeline(store, market, segments)
        summary = RecordingSummary(
            market,
            timeline,
            len(segments),
            sum(stored.segment.event_count for stored in segments)
            - await count_repeated(store, segments),
            sum([await _bytes_of(store, stored) for stored in segments]),
            states.get(market, RecorderState.NONE),
            tuple(stored for stored in segments if stored.is_imported),
            tuple(await asyncio.to_thread(healed_gaps, timeline, segments)),
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
