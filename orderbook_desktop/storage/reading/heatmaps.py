"""Reads a recording for the heatmap: as spans of levels, and as bins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import numpy as np

from orderbook_desktop.core.archive import ChunkSlice
from orderbook_desktop.core.archive.spans import span_of
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.core.units import DEFAULT_EXPONENT
from orderbook_desktop.storage.reading.recording import Recording


async def level_spans(
    recording: Recording, from_ms: int, to_ms: int
) -> AsyncGenerator[tuple[LevelSpan, bool]]:
    """Iterate over what is covered from `from_ms` to `to_ms`, and whether a run begins there.

    Spans follow each other without a hole until a run begins. All of them cover together what the
    timeline covers, to the millisecond. Raises as `Recording.slices`; close the generator.
    """
    stands_from, pending = from_ms, None
    async with aclosing(recording.covered_slices(from_ms, to_ms)) as slices:
        async for cover, part in slices:
            if pending is not None:
                span = await asyncio.to_thread(
                    _span_before, pending, cover, part, stands_from, to_ms
                )
                yield span, pending[1].opens
                stands_from = span.until_ms
            if part.opens:
                stands_from = max(from_ms, _begins(pending, cover, part))
            pending = cover, part
    if pending is not None:
        until_ms = min(pending[0].to_ms, to_ms)
        yield await asyncio.to_thread(span_of, pending[1], stands_from, until_ms), pending[1].opens


def _span_before(
    pending: tuple[Cover, ChunkSlice], cover: Cover, part: ChunkSlice, from_ms: int, to_ms: int
) -> LevelSpan:
    """Return the span of a slice that `part` follows.

    It ends with its last event, when the book of `part` takes over, or with its cover.
    """
    ends_cover = part.opens and cover != pending[0]
    return span_of(pending[1], from_ms, min(pending[0].to_ms, to_ms) if ends_cover else from_ms)


def _begins(pending: tuple[Cover, ChunkSlice] | None, cover: Cover, part: ChunkSlice) -> int:
    """Return from when on the book of `part`, which opens a run, is known."""
    if pending is not None and pending[0] == cover and part.begin < part.end:
        # Retention has just cut what was before it.
        return int(part.chunk.numbers.event_ms[part.begin])
    return cover.from_ms


async def read_bins(
    recording: Recording,
    bins: TimeBins,
    builder: HeatmapBuilder,
    reached: Callable[[int], None] | None = None,
) -> None:
    """Give `builder` what is recorded in `bins`; `reached` is told the time that was read.

    Raises as `level_spans` and `HeatmapBuilder.take`.
    """
    async with aclosing(level_spans(recording, bins.from_ms, bins.to_ms)) as spans:
        async for span, opens in spans:
            await asyncio.to_thread(builder.take, span, opens=opens)
            if reached is not None:
                reached(span.until_ms)


async def price_grid(recording: Recording, timeline: Timeline) -> PriceGrid | None:
    """Return the grid of the first recorded book; None: no book has a level.

    Raises as `Recording.book_at`.
    """
    for cover in timeline.covers:
        for time in (cover.from_ms, cover.to_ms):
            book = await recording.book_at(time)
            best = [int(side.prices[0]) for side in (book.bids, book.asks) if len(side.prices)]
            if best:
                exponent = max(DEFAULT_EXPONENT, book.scale.price)
                finer = 10 ** (exponent - book.scale.price)
                mid = sum(best) * finer // len(best)
                return PriceGrid.of(_tick_of(book) * finer, mid, exponent)
    return None


def _tick_of(book: BookImage) -> int:
    """Return the largest step of which all prices are multiples."""
    return int(np.gcd.reduce(np.concatenate((book.bids.prices, book.asks.prices))))
