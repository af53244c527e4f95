"""What the levels of an archived minute did, for the heatmap's bins (`core.heatmap.spans`)."""

from __future__ import annotations

import numpy as np

from orderbook_desktop.core.archive.decoded import ChunkSlice
from orderbook_desktop.core.archive.keys import prices_of
from orderbook_desktop.core.heatmap.spans import LevelSpan, times_from


def span_of(part: ChunkSlice, from_ms: int, until_ms: int) -> LevelSpan:
    """Return the span of `part`, of a chunk with a book, which stands from `from_ms` on.

    It ends at `until_ms`, or with its last event if that is later.
    """
    chunk, lanes = part.chunk, part.chunk.lanes
    times = times_from(chunk.numbers.event_ms[part.begin : part.end], from_ms)
    whole = LevelSpan(
        chunk.scale,
        chunk.header.price_step,
        chunk.horizon,
        from_ms,
        max(until_ms, int(times[-1])) if len(times) else until_ms,
        chunk.header.start_id or 0,
        chunk.numbers.final_ids,
        np.concatenate((np.full(part.begin, from_ms), times)),
        prices_of(lanes.keys, chunk.header.price_step),
        lanes.keys >= 0,
        np.repeat(np.arange(len(lanes.keys)), lanes.lengths),
        lanes.events,
        chunk.quantities,
    )
    return whole.between(part.begin, part.end)
