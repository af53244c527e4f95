"""Builds tiles in spare time, step by step: the newest ones of all markets first.

The finest blocks are built from the archive: all of a stretch of 4,096 s in one pass, as decoding
takes the most time. Coarser ones are made of finer ones. Where these are not kept, as the cache is
full, coarse ones of 256 s and more are built from the archive as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.grid import TILED_FROM_MS, PriceGrid
from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.timeline import Cover
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.reading.heatmaps import level_spans
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.tiles.cache import COARSE_MS, TileCache
from orderbook_desktop.storage.tiles.levels import (
    BINS_MS,
    COARSER,
    BlockKey,
    Covers,
    Level,
    levels_of,
)
from orderbook_desktop.storage.tiles.reading import market_grid

_log = logging.getLogger(__name__)

_DAY_MS: Final = 86_400_000
_WHOLE: Final = 1 << 60


class BuildProgress(Struct, frozen=True):
    """How many stretches with all their blocks are there, of those that are wanted.

    `market` is that of the stretch being built; empty: none is.
    """

    done: int = 0
    wanted: int = 0
    market: str = ""


class TilesNotWritten(KnownError):
    """A tile can't be written into its folder; `reason` says where and why."""

    reason: str

    def __str__(self) -> str:
        return f"The heatmap's tiles can't be written: {self.reason}."


class _Job(Struct, frozen=True):
    """Some blocks that are missing, which are built together. They have one bin, or are finest."""

    bin_ms: int
    from_ms: int
    keys: tuple[BlockKey, ...]


class MarketTiles:
    """The blocks that are wanted of one market, as it is recorded at that time.

    Only time that is archived has blocks. `archived` says until when that is, by segment.
    """

    def __init__(self, covers: Covers, archived: Mapping[str, int], grid: PriceGrid) -> None:
        self.covers, self.archived, self.grid = covers, archived, grid

    def jobs(self) -> Iterator[_Job]:
        """Yield all that is wanted, whether it is there or not."""
        for bin_ms in BINS_MS:
            levels = levels_of(self.grid, bin_ms)
            if bin_ms == TILED_FROM_MS:
                # Those that nothing finer is there for are built in one pass.
                levels += [one for one in levels_of(self.grid, bin_ms * COARSER) if not one.finer]
            else:
                levels = [level for level in levels if level.finer is not None]
            block_ms = max(level.block_ms for level in levels)
            for from_ms in self._begins(block_ms):
                keys = tuple(self._keys(levels, from_ms, from_ms + block_ms))
                if keys:
                    yield _Job(bin_ms, from_ms, keys)

    def _begins(self, block_ms: int) -> Iterator[int]:
        reached = -1
        for cover in self.covers.all:
            for number in range(cover.from_ms // block_ms, cover.to_ms // block_ms + 1):
                if number > reached:
                    yield number * block_ms
                    reached = number

    def _keys(self, levels: Iterable[Level], from_ms: int, to_ms: int) -> Iterator[BlockKey]:
        for level in levels:
            for begin in range(from_ms, to_ms, level.block_ms):
                key = self.covers.key(level, begin)
                if key is not None and self._is_archived(key):
                    yield key

    def _is_archived(self, key: BlockKey) -> bool:
        found = self.covers.within(key.from_ms, key.to_ms)
        return all(self.archived.get(cover.segment_id, 0) >= key.to_ms for cover in found)

    def finer(self, key: BlockKey) -> list[BlockKey]:
        """Return the blocks of which a block is made."""
        level = key.level.finer
        if level is None:
            return []
        begins = range(key.from_ms, key.to_ms, level.block_ms)
        keys = (self.covers.key(level, begin) for begin in begins)
        return [finer for finer in keys if finer is not None]


async def market_tiles(store: RecordingStore, market: str, cache: TileCache) -> MarketTiles | None:
    """Return what is wanted of a market; None: no book of it has a level.

    Raises as `market_grid`.
    """
    recording = Recording(store, market)
    segments = await recording.segments()
    timeline = await recording.timeline()
    grid = await market_grid(recording, timeline, cache)
    if grid is None:
        return None
    archived = {stored.id: await _archived_ms(store, stored) for stored in segments}
    return MarketTiles(Covers(market, timeline.covers), archived, grid)


async def _archived_ms(store: RecordingStore, stored: StoredSegment) -> int:
    """Return until when a segment is archived; all of it if no more will come."""
    if stored.archived_id >= stored.segment.last_id and not stored.is_growing:
        return _WHOLE
    if stored.archived_id <= stored.segment.snapshot_id:
        return 0
    span = await store.chunk_span_ending_at(stored.id, stored.archived_id)
    return 0 if span is None else span.to_event_ms


async def forget_stale(store: RecordingStore, market: str, cache: TileCache) -> int:
    """Delete the tiles of what is not recorded any more; return how many. Raises as the store."""
    if not await asyncio.to_thread(cache.kept, market):
        return 0
    tiles = await market_tiles(store, market, cache)
    wanted = set() if tiles is None else {key for job in tiles.jobs() for key in job.keys}
    return await asyncio.to_thread(cache.keep_only, market, wanted)


class TileBuilder:
    """Builds the tiles of all that `store` holds, by calls of `step`; call `close` when done."""

    def __init__(self, store: RecordingStore, cache: TileCache) -> None:
        self._store, self._cache = store, cache
        self._tiles: dict[str, MarketTiles] = {}
        self._known: dict[str, tuple[Sequence[Cover], Mapping[str, int]]] = {}
        self._queue: list[_Job] = []
        self._failed: set[BlockKey] = set()
        # What the full cache has removed of these is not built a second time.
        self._once_built: set[BlockKey] = set()
        self._is_full = False
        self._building: AsyncGenerator[None] | None = None
        self.progress = BuildProgress()

    async def step(self) -> bool:
        """Do a short part of the work; False: all is there. Then ask again after a while.

        Raises what the store raises, for a database `KnownError`, and `TilesNotWritten`.
        """
        if not self._cache.has_room:
            return False
        with driver_failures_raised():
            if self._building is None:
                if not self._queue and not await self._plan():
                    return False
                job = self._queue.pop(0)
                self._building = self._build(job)
                done, wanted = self.progress.done, self.progress.wanted
                self.progress = BuildProgress(done, wanted, job.keys[0].market)
            try:
                await anext(self._building)
            except StopAsyncIteration:
                self._building = None
                self._built()
        return True

    async def close(self) -> None:
        """Give up what is being built."""
        building, self._building = self._building, None
        if building is not None:
            await building.aclose()

    def _built(self) -> None:
        done, wanted = self.progress.done + 1, self.progress.wanted
        self.progress = BuildProgress(done, max(done, wanted))

    async def _plan(self) -> bool:
        """Find out what is missing; return whether anything is."""
        markets = await self._store.markets()
        has_changed = set(markets) != set(self._known)
        for market in self._known.keys() - set(markets):
            await asyncio.to_thread(self._cache.keep_only, market, ())
            del self._known[market]
            self._tiles.pop(market, None)
        for market in markets:
            tiles = await market_tiles(self._store, market, self._cache)
            now = (tiles.covers.all, tiles.archived) if tiles else ((), {})
            has_changed = has_changed or self._known.get(market) != now
            self._known[market] = now
            if tiles is not None:
                self._tiles[market] = tiles
        if not has_changed:
            return False
        self._queue, self.progress = await asyncio.to_thread(self._missing)
        return bool(self._queue)

    def _missing(self) -> tuple[list[_Job], BuildProgress]:
        """Return the jobs with the blocks that are missing, the newest ones first."""
        is_full = self._is_full or self._cache.is_nearly_full
        jobs, wanted = [], 0
        for market, tiles in self._tiles.items():
            all_jobs = list(tiles.jobs())
            everything = {key for job in all_jobs for key in job.keys}
            self._cache.keep_only(market, everything)
            kept = self._cache.kept(market)
            from_ms = _oldest_to_build(tiles, kept) if is_full else 0
            left_out = kept | self._failed | (self._once_built if is_full else set())
            for job in all_jobs:
                if job.bin_ms < COARSE_MS and job.from_ms < from_ms:
                    continue
                wanted += 1
                keys = tuple(key for key in job.keys if key not in left_out)
                if keys:
                    jobs.append(_Job(job.bin_ms, job.from_ms, keys))
        jobs.sort(key=lambda job: (-job.from_ms, job.bin_ms))
        return jobs, BuildProgress(wanted - len(jobs), wanted)

    async def _build(self, job: _Job) -> AsyncGenerator[None]:
        """Build a job, and yield now and then."""
        market = job.keys[0].market
        tiles = self._tiles[market]
        left = []
        for key in job.keys:
            finer = tiles.finer(key)
            section = await asyncio.to_thread(composed, self._cache, key, finer)
            if section is None:
                left.append(key)
            else:
                await asyncio.to_thread(self._put, key, section)
            yield
        try:
            async with aclosing(built(Recording(self._store, market), tiles, left)) as parts:
                async for found in parts:
                    for key, builder in found:
                        await asyncio.to_thread(self._put_built, key, builder)
                    yield
        except TilesNotWritten:
            raise
        except KnownError as error:
            _log.info("%s: no tiles of the heatmap could be built: %s", market, error)
            self._failed.update(left)
        if await asyncio.to_thread(self._cache.trim):
            # What is older than that would go at once.
            self._is_full = True
            self._queue.clear()
            self._known.clear()

    def _put_built(self, key: BlockKey, builder: HeatmapBuilder) -> None:
        self._put(key, builder.section(key.market, key.level.statistic))

    def _put(self, key: BlockKey, section: Section) -> None:
        if not self._cache.put(key, section):
            # It would be built in vain again.
            self._failed.add(key)
        elif self._cache.problem:
            raise TilesNotWritten(self._cache.problem)
        else:
            self._once_built.add(key)


def _oldest_to_build(tiles: MarketTiles, kept: Collection[BlockKey]) -> int:
    """Return from when on fine tiles are built where there is hardly any room left."""
    fine = [key.to_ms for key in kept if key.level.bin_ms == TILED_FROM_MS]
    newest = tiles.covers.all[-1].to_ms if tiles.covers.all else 0
    return max(fine, default=newest - _DAY_MS)


def _builder_for(key: BlockKey) -> HeatmapBuilder:
    level = key.level
    bins = TimeBins(key.from_ms, key.to_ms, level.bin_ms)
    return HeatmapBuilder(bins, PriceSteps(level.step, level.exponent), [level.statistic])


def composed(cache: TileCache, key: BlockKey, finer: Sequence[BlockKey]) -> Section | None:
    """Return a block that is made of `finer` ones; None: one of them is not there."""
    builder = _builder_for(key)
    for part in finer:
        section = cache.get(part)
        if section is None:
            return None
        builder.join(section.in_bins(key.level.bin_ms))
    return builder.section(key.market, key.level.statistic) if finer else None


async def built(
    recording: Recording, tiles: MarketTiles, keys: Sequence[BlockKey]
) -> AsyncGenerator[list[tuple[BlockKey, HeatmapBuilder]]]:
    """Build blocks from the archive; yield after each part of it those that are ready.

    Raises as `level_spans`. Close the generator.
    """
    if not keys:
        return
    builders = [(key, _builder_for(key)) for key in sorted(keys, key=lambda key: key.to_ms)]
    from_ms, to_ms = min(key.from_ms for key in keys), builders[-1][0].to_ms
    goes_on = tiles.covers.goes_on_at(from_ms)
    async with aclosing(level_spans(recording, from_ms, to_ms)) as spans:
        async for span, opens in spans:
            await asyncio.to_thread(_take, builders, span, opens=opens and not goes_on)
            goes_on = False
            count = sum(key.to_ms < span.until_ms for key, _ in builders)
            yield builders[:count]
            builders = builders[count:]
    for one in builders:
        yield [one]


def _take(
    builders: Iterable[tuple[BlockKey, HeatmapBuilder]], span: LevelSpan, *, opens: bool
) -> None:
    for key, builder in builders:
        if span.until_ms >= key.from_ms and span.from_ms < key.to_ms:
            begins_here = opens and span.from_ms >= key.from_ms
            builder.take(span.within(key.from_ms, key.to_ms), opens=begins_here)
