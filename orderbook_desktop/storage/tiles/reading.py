"""Reads a recording for the heatmap by its tiles: what has a tile is not decoded again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.archive import ChunkSlice, DecodedChunk, decode_chunk, minute_of
from orderbook_desktop.core.archive.spans import span_of
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.timeline import Cover
from orderbook_desktop.storage.reading.ahead import ChunksAhead
from orderbook_desktop.storage.reading.heatmaps import level_spans
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.reading.segment_reader import SegmentReader
from orderbook_desktop.storage.store.packing import CHECKSUM_BYTES, PackedChunk, unpack_chunk
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.tiles.cache import TileCache, TileKey

_WITHOUT_HORIZON: Final = 1
"""A chunk of this version does not say how deep its book is known."""


class TileWork(Struct, frozen=True):
    """What tiles are wanted: of `recording`, in `store`, with columns of `bins`."""

    recording: Recording
    store: RecordingStore
    bins: TimeBins
    steps: PriceSteps
    statistic: Statistic
    cache: TileCache


async def read_by_tiles(
    work: TileWork, builder: HeatmapBuilder, reached: Callable[[int], None]
) -> None:
    """Give `builder` what is recorded in the bins, which begin at multiples of their width.

    The builder counts both sides. It gets the same values, bit for bit, as from `read_bins`, and
    may learn of more prices that were named before the bins. Tiles that are missing are built on
    the way and kept. Raises as `read_bins`.
    """
    recording, bins = work.recording, work.bins
    segments = {stored.id: stored for stored in await recording.segments()}
    timeline = await recording.timeline()
    oldest_ms = timeline.from_ms
    await asyncio.to_thread(work.cache.forget_before, recording.market, minute_of(oldest_ms))
    is_continued = False
    for cover in timeline.covers:
        if cover.to_ms < bins.from_ms or cover.from_ms >= bins.to_ms:
            continue
        stored, opens = segments.get(cover.segment_id), not (cover.continues and is_continued)
        at_ms = max(cover.from_ms, bins.from_ms)
        if stored is not None and _has_plain_times(stored, cover):
            at_ms = await _Cover(work, builder, reached, cover, stored).read(opens=opens)
            opens = opens and at_ms == max(cover.from_ms, bins.from_ms)
        to_ms = min(bins.to_ms, cover.to_ms + 1)
        if at_ms < to_ms:
            async with aclosing(level_spans(recording, at_ms, to_ms)) as spans:
                async for span, _ in spans:
                    await asyncio.to_thread(builder.take, span, opens=opens)
                    opens = False
                    reached(span.until_ms)
        is_continued = True
    await asyncio.to_thread(work.cache.trim)


def _has_plain_times(stored: StoredSegment, cover: Cover) -> bool:
    """Whether the events of a cover are those of its segment, at the times that chunks say."""
    return stored.back_ms == 0 and cover.after_id == stored.segment.snapshot_id


class _Cover:
    """Reads the archived chunks of one cover, by their tiles."""

    def __init__(
        self,
        work: TileWork,
        builder: HeatmapBuilder,
        reached: Callable[[int], None],
        cover: Cover,
        stored: StoredSegment,
    ) -> None:
        self._work, self._builder, self._reached = work, builder, reached
        self._cover, self._stored = cover, stored

    async def read(self, *, opens: bool) -> int:
        """Read the chunks; return the time that was reached, from which raw events go on."""
        stored, bins = self._stored, self._work.bins
        at_ms = max(self._cover.from_ms, bins.from_ms)
        at = stored.segment.snapshot_id
        if bins.from_ms > self._cover.from_ms:
            near = await SegmentReader(self._work.store, stored).start_near(bins.from_ms - 1)
            if near is None:
                return at_ms
            at = near
        end_id = min(stored.archived_id, stored.segment.last_id)
        archive = ChunksAhead(self._work.store, stored)
        try:
            while at < end_id and at_ms < bins.to_ms:
                found = await archive.take(at, end_id)
                if found is None:
                    break
                part = await asyncio.to_thread(self._tile, found.packed(), at)
                if part is None:
                    break
                tile, at, until_ms = part
                await asyncio.to_thread(self._builder.merge, tile, opens=opens)
                opens, at_ms = False, max(at_ms, until_ms)
                self._reached(until_ms)
        finally:
            await archive.close()
        return at_ms

    def _tile(self, packed: PackedChunk, at: int) -> tuple[Heatmap, int, int] | None:
        """Return the tile of a chunk, its last id and time; None if it has to be read otherwise."""
        header, coverage = packed.header, packed.header.coverage
        if header.start_id != at or header.schema_version == _WITHOUT_HORIZON:
            return None
        is_first = at == self._stored.segment.snapshot_id
        from_ms = self._cover.from_ms if is_first else in_ms(header.start_event_ms)
        key = self._key(packed, from_ms)
        tile = self._work.cache.get(key)
        if tile is None:
            chunk = decode_chunk(unpack_chunk(packed.data))
            tile = tile_of(chunk, from_ms, key)
            self._work.cache.put(key, tile)
        return tile, coverage.last_id, max(from_ms, coverage.to_event_ms)

    def _key(self, packed: PackedChunk, from_ms: int) -> TileKey:
        steps, bins = self._work.steps, self._work.bins
        return TileKey(
            packed.header.market,
            self._work.statistic,
            bins.bin_ms,
            steps.step,
            steps.exponent,
            minute_of(from_ms),
            from_ms,
            packed.data[:CHECKSUM_BYTES],
        )


def tile_of(chunk: DecodedChunk, from_ms: int, key: TileKey) -> Heatmap:
    """Return the tile of `chunk`, whose first book stands from `from_ms` on."""
    span = span_of(ChunkSlice(chunk, 0, chunk.header.event_count, opens=True), from_ms, from_ms)
    first = span.from_ms // key.bin_ms * key.bin_ms
    last = span.until_ms // key.bin_ms * key.bin_ms + key.bin_ms
    builder = HeatmapBuilder(
        TimeBins(first, last, key.bin_ms), PriceSteps(key.step, key.exponent), [key.statistic]
    )
    builder.take(span, opens=True)
    return builder.heatmap(key.market, key.statistic)
