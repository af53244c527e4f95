"""The recordings of a place in numbers, market by market."""

from __future__ import annotations

import asyncio
import logging

from msgspec import Struct

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.recorded_gaps import HealedGap
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.core.trade_coverage import (
    TradeGap,
    TradeOrigin,
    TradeRun,
    counted_ids,
    gaps_between,
)
from orderbook_desktop.storage.reading.healed_gaps import healed_gaps
from orderbook_desktop.storage.reading.recording import count_repeated, read_timeline
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.recorder_states import RecorderState, recorder_states
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.trade_sizes import TradeSize, trade_size
from orderbook_desktop.storage.store.trade_store import TradeStore

_log = logging.getLogger(__name__)


class TradeSummary(Struct, frozen=True):
    """The trades of a market in numbers: how many there are, and about how many bytes they take.

    `runs` are those that have trades.
    """

    size: TradeSize = TradeSize()
    runs: tuple[TradeRun, ...] = ()
    gaps: tuple[TradeGap, ...] = ()

    @property
    def span_ms(self) -> tuple[int, int] | None:
        """The times of the first and of the last trade; None if there are none."""
        if not self.runs:
            return None
        return min(run.from_ms for run in self.runs), max(run.to_ms for run in self.runs)

    @property
    def repaired(self) -> int:
        """How many trades are stored only because they were asked for afterwards."""
        others = (run for run in self.runs if run.origin is not TradeOrigin.REPAIR)
        return counted_ids(self.runs) - counted_ids(others)

    @property
    def imports(self) -> tuple[TradeRun, ...]:
        """The runs that were imported."""
        return tuple(run for run in self.runs if run.origin is TradeOrigin.IMPORT)


class RecordingSummary(Struct, frozen=True):
    """The recording of `market`, in numbers.

    `stored_bytes` is the size of its events: packed chunks, and the texts of raw events, estimated
    from some of them. `recorder` is what its recorder does, `imports` are the imported segments,
    and `healed` the gaps of single recorders that others have filled. `bookmarks` is how many
    moments of it a person marked.
    """

    market: str
    timeline: Timeline
    segments: int
    events: int
    stored_bytes: int
    recorder: RecorderState
    imports: tuple[StoredSegment, ...] = ()
    healed: tuple[HealedGap, ...] = ()
    trades: TradeSummary = TradeSummary()
    bookmarks: int = 0

    @property
    def running(self) -> bool:
        """Whether a live process records it, even if it waits for the exchange."""
        return self.recorder.is_live


async def summaries(place: Database | RecordingStore) -> list[RecordingSummary]:
    """Return the summary of each market that has segments or trades, by name.

    Raises what the store raises, and `DamagedDocument` for a damaged segment.
    """
    states = await recorder_states(place) if isinstance(place, Database) else {}
    found = [
        await summary_of(place, market, states.get(market, RecorderState.NONE))
        for market in await recorded_markets(place)
    ]
    return [summary for summary in found if summary is not None]


async def recorded_markets(place: Database | RecordingStore) -> list[str]:
    """Return the markets of which anything was ever recorded, by name.

    Raises what the store raises.
    """
    store = store_of(place)
    return sorted({*await store.markets(), *await store.trades.markets()})


async def summary_of(
    place: Database | RecordingStore, market: str, recorder: RecorderState
) -> RecordingSummary | None:
    """Return the summary of a market; None if it has neither segments nor trades.

    Raises what the store raises, and `DamagedDocument` for a damaged segment.
    """
    store = store_of(place)
    segments = await store.segments(market)
    trades = await _trades_of(store.trades, market)
    if not segments and not trades.runs:
        return None
    timeline = await read_timeline(store, market, segments)
    return RecordingSummary(
        market,
        timeline,
        len(segments),
        sum(stored.segment.event_count for stored in segments)
        - await count_repeated(store, segments),
        sum([await _bytes_of(store, stored) for stored in segments]),
        recorder,
        tuple(stored for stored in segments if stored.is_imported),
        tuple(await asyncio.to_thread(healed_gaps, timeline, segments)),
        trades,
        len(await store.bookmarks.all(market)),
    )


async def _trades_of(store: TradeStore, market: str) -> TradeSummary:
    runs = [run for run in await store.runs(market) if run.count]
    size = await trade_size(store, market, runs)
    return TradeSummary(size, tuple(runs), tuple(gaps_between(runs)))


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
