"""Decoding: from the columns of a chunk back to arrays, the inverse of `archive.encode`."""

from __future__ import annotations

import numpy as np

from orderbook_desktop.core.archive.chunk import (
    SCHEMA_VERSION,
    ArchiveChunk,
    ChunkHeader,
    EventColumns,
    OddColumns,
)
from orderbook_desktop.core.archive.decoded import DecodedChunk
from orderbook_desktop.core.archive.encode import NANOSECONDS_PER_MS
from orderbook_desktop.core.archive.errors import DamagedChunk
from orderbook_desktop.core.archive.keys import read_new_keys, read_start_keys
from orderbook_desktop.core.archive.lanes import Lanes, fitting, read_lanes
from orderbook_desktop.core.archive.quantities import read_quantities
from orderbook_desktop.core.archive.tokens import read_signed, read_unsigned
from orderbook_desktop.core.archive.wire import EventNumbers
from orderbook_desktop.core.event_times import all_in_ms, stored_times
from orderbook_desktop.core.levels import Int64Array


def decode_chunk(chunk: ArchiveChunk) -> DecodedChunk:
    """Return what `chunk` holds. Raises `DamagedChunk` where it contradicts itself.

    Whether it is what was once stored is for its checksum to say, which the caller has
    checked (`storage.store.chunk_packing`).
    """
    header, columns = chunk.header, chunk.columns
    if header.schema_version != SCHEMA_VERSION:
        raise DamagedChunk(f"its format is {header.schema_version} instead of {SCHEMA_VERSION}")
    try:
        start_count = header.bid_count + header.ask_count
        start_keys = fitting(read_start_keys(columns.keys), start_count)
        if start_keys.searchsorted(0) != header.bid_count:
            raise DamagedChunk("its bids are not as many as they should be")
        new_keys, new_events = read_new_keys(columns.keys, start_keys, header.event_count)
        lanes = read_lanes(
            columns.lanes,
            start_keys,
            new_keys,
            new_events,
            header.event_count,
            header.change_count,
        )
        quantities = read_quantities(columns.quantities, lanes, start_count, header.quantity_step)
        return _assembled(chunk, lanes, quantities)
    except (IndexError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise DamagedChunk(f"its columns do not fit together: {error}") from error


def _assembled(chunk: ArchiveChunk, lanes: Lanes, quantities: Int64Array) -> DecodedChunk:
    header, columns = chunk.header, chunk.columns
    by_place = quantities.take(lanes.entries)
    if not np.array_equal(lanes.there, by_place > 0):
        raise DamagedChunk("a level has a wrong quantity")
    told = _read_numbers(columns.events, header)
    if header.start_id is None:
        # In whatever order they came: there is no time before.
        event_ms = all_in_ms(told.event_ms)
    else:
        event_ms = stored_times(told.event_ms, told.received_ns, header.start_event_ms)
    return DecodedChunk(
        header,
        told._replace(event_ms=event_ms),
        lanes,
        by_place,
        (read_unsigned(columns.odd.unsorted).cumsum(), read_unsigned(columns.odd.places)),
        _odd_payloads(columns.odd, header.event_count),
        told.event_ms,
    )


def _read_numbers(columns: EventColumns, header: ChunkHeader) -> EventNumbers:
    count = header.event_count
    steps = fitting(read_signed(columns.id_steps), count)
    spans = fitting(read_unsigned(columns.id_spans), count)
    final_ids = (steps + spans + 1).cumsum() + (header.start_id or 0)
    event_ms = (fitting(read_signed(columns.event_ms), count) + header.usual_step_ms).cumsum()
    delays = fitting(read_unsigned(columns.received_ns), count) + header.least_delay_ns
    return EventNumbers(
        final_ids - spans, final_ids, event_ms, event_ms * NANOSECONDS_PER_MS + delays
    )


def _odd_payloads(columns: OddColumns, event_count: int) -> dict[int, bytes]:
    """Return the texts that were kept, by the index of their event."""
    odd = read_unsigned(columns.odd).cumsum().tolist()
    ends = fitting(read_unsigned(columns.lengths), len(odd)).cumsum().tolist()
    texts = columns.texts.tokens
    if odd and not (ends[-1] == len(texts) and odd[0] >= 0 and odd[-1] < event_count):
        raise DamagedChunk("texts that were kept do not fit their events")
    begins = [0, *ends][: len(ends)]
    return {index: texts[begin:end] for index, begin, end in zip(odd, begins, ends, strict=True)}
