"""Reads the cells that a view wishes: by tiles where there are some, else from the archive.

The newest cells come first. What is read are *sections* (`core.heatmap.sections`), from the newest
one back, and they are joined in the order of time. A block that is missing is made of finer ones;
where there are none either its time is read from the archive, with the bin, step and prices that
are wished and nothing else. Reading writes no tiles: `storage.tiles.building` does.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.grid import PriceGrid, tile_bin_of
from orderbook_desktop.core.heatmap.pages import HeatmapPart, HeatmapWish
from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.storage.reading.heatmaps import level_spans, price_grid
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.levels import FINEST_INTEGRAL_MS, BlockKey, Covers, Level
from orderbook_desktop.system.tasks import end_tasks

# What is read of the archive first is short, so that it is soon there; each further stretch is
# twice as long.
_FIRST_MS: Final = 5 * 60_000
_LONGEST_MS: Final = 2 * 3_600_000
# Decoding and binning let other threads run for most of the time.
_AT_ONCE: Final = 2


class _Stretch(Struct, frozen=True):
    """A part of the wish: it is read from a block, or from the archive."""

    from_ms: int
    to_ms: int
    block: BlockKey | None = None


class _Tiles(Struct, frozen=True):
    """The tiles of which a wish is made; `rows_a_row` of their rows are one of the wish."""

    cache: TileCache
    level: Level
    rows_a_row: int


async def read_cells(
    recording: Recording, wish: HeatmapWish, cache: TileCache | None = None
) -> AsyncGenerator[HeatmapPart]:
    """Read the cells of `wish`, the newest ones first: each part has all that was read before.

    The last part has the same values, bit for bit, as from `read_bins`. If the wish begins within
    a block, it may know of more prices that were named: of those before it, too. Raises as
    `read_bins`. Close the generator; that stops the reading.
    """
    covers = Covers(recording.market, (await recording.timeline()).covers)
    tiles = None if cache is None else await asyncio.to_thread(_tiles_for, wish, cache)
    stretches = await asyncio.to_thread(_planned, wish, covers, tiles)
    read: list[Section] = []
    # How many blocks are read before they are shown: joining takes longer than reading one.
    unseen, wanted = 0, 1
    async with aclosing(_sections(_Source(recording, wish, covers, tiles), stretches)) as sections:
        async for number, section in sections:
            read.append(section)
            unseen += 1
            left = stretches[number + 1 :]
            if not left or stretches[number].block is None or unseen >= wanted:
                heatmap = await asyncio.to_thread(_joined, read, wish)
                yield HeatmapPart(heatmap, _pending(covers, wish, left))
                unseen, wanted = 0, wanted * 2
    if not stretches:
        yield HeatmapPart(await asyncio.to_thread(_joined, read, wish))


async def market_grid(
    recording: Recording, timeline: Timeline, cache: TileCache
) -> PriceGrid | None:
    """Return the price grid of a market, which stays as it was fixed; None: no book has a level.

    Raises as `price_grid`.
    """
    known = await asyncio.to_thread(cache.grid, recording.market)
    if known is not None:
        return known
    grid = await price_grid(recording, timeline)
    if grid is None:
        return None
    return await asyncio.to_thread(cache.fix_grid, recording.market, grid)


def _joined(read: Sequence[Section], wish: HeatmapWish) -> Heatmap:
    """Return the cells of `wish` made of sections, which are given from the newest one back."""
    builder = HeatmapBuilder(wish.bins, wish.steps, [wish.statistic], wish.side)
    for section in reversed(read):
        builder.join(section)
    return builder.heatmap(wish.market, wish.statistic)


def _pending(
    covers: Covers, wish: HeatmapWish, left: Sequence[_Stretch]
) -> tuple[tuple[int, int], ...]:
    """Return the covered times that are not read yet, ascending."""
    pending: list[tuple[int, int]] = []
    reached = left[0].to_ms if left else wish.bins.from_ms
    for cover in covers.within(wish.bins.from_ms, reached):
        begin, end = max(cover.from_ms, wish.bins.from_ms), min(cover.to_ms + 1, reached)
        if pending and begin <= pending[-1][1]:
            pending[-1] = pending[-1][0], max(end, pending[-1][1])
        elif begin < end:
            pending.append((begin, end))
    return tuple(pending)


def _planned(wish: HeatmapWish, covers: Covers, tiles: _Tiles | None) -> list[_Stretch]:
    """Return the stretches of the wish in which anything is recorded, the newest one first."""
    bins = wish.bins
    if tiles is None:
        found = iter([_Stretch(bins.from_ms, bins.to_ms)])
    else:
        found = _Blocks(wish, covers, tiles).stretches()
    split = _split(found, bins.bin_ms)
    return [one for one in split if covers.within(one.from_ms, one.to_ms)]


def _tiles_for(wish: HeatmapWish, cache: TileCache) -> _Tiles | None:
    """Return of which tiles a wish is made; None: there are none for it."""
    grid = cache.grid(wish.market)
    if grid is None or wish.side is not Side.BOTH:
        return None
    bins, steps = wish.bins, wish.steps
    bin_ms = 0 if bins.from_ms % bins.bin_ms else tile_bin_of(bins.bin_ms)
    # In units that are as fine as both.
    step = steps.step * 10 ** max(0, grid.exponent - steps.exponent)
    base = grid.base * 10 ** max(0, steps.exponent - grid.exponent)
    factor, rest = divmod(step, base)
    if rest or not bin_ms:
        return None
    if wish.statistic is Statistic.MAX and grid.base * factor in grid.tiled:
        level = Level(bin_ms, grid.base * factor, grid.exponent, Statistic.MAX)
        return _Tiles(cache, level, 1)
    if wish.statistic is Statistic.INTEGRAL and bin_ms >= FINEST_INTEGRAL_MS:
        return _Tiles(cache, Level(bin_ms, grid.base, grid.exponent, Statistic.INTEGRAL), factor)
    return None


class _Blocks:
    """Finds the blocks of a wish that are kept."""

    def __init__(self, wish: HeatmapWish, covers: Covers, tiles: _Tiles) -> None:
        self._wish, self._covers, self._tiles = wish, covers, tiles
        self._kept: dict[Level, set[BlockKey]] = {}
        self._begins: dict[Level, list[int]] = {}

    def stretches(self) -> Iterator[_Stretch]:
        """Yield blocks, and stretches without any, the newest one first."""
        level = self._tiles.level
        finest: Level | None = level
        while finest is not None:
            self._kept[finest] = self._tiles.cache.kept_of(self._wish.market, finest)
            self._begins[finest] = sorted(key.from_ms for key in self._kept[finest])
            finest = finest.finer
        bins = self._wish.bins
        # A last column that is shorter than others may end within a tile's.
        end_ms = bins.to_ms // level.bin_ms * level.bin_ms
        if end_ms < bins.to_ms:
            yield _Stretch(max(end_ms, bins.from_ms), bins.to_ms)
        if end_ms > bins.from_ms:
            first, last = bins.from_ms // level.block_ms, (end_ms - 1) // level.block_ms
            for number in range(last, first - 1, -1):
                yield from self._within(level, number * level.block_ms, bins.from_ms, end_ms)

    def _within(self, level: Level, block_ms: int, from_ms: int, to_ms: int) -> Iterator[_Stretch]:
        """Yield the part from `from_ms` to `to_ms` of the block that begins at `block_ms`."""
        end_ms = block_ms + level.block_ms
        begin, end = max(block_ms, from_ms), min(end_ms, to_ms)
        if begin >= end or not self._covers.within(begin, end):
            return
        key = self._covers.key(level, block_ms)
        if key in self._kept[level]:
            yield _Stretch(begin, end, key)
        elif level.finer is not None and self._has_finer(level.finer, block_ms, end_ms):
            width = level.finer.block_ms
            for finer_ms in range(end_ms - width, block_ms - 1, -width):
                yield from self._within(level.finer, finer_ms, begin, end)
        else:
            yield _Stretch(begin, end)

    def _has_finer(self, level: Level | None, from_ms: int, to_ms: int) -> bool:
        while level is not None:
            begins = self._begins[level]
            at = bisect_left(begins, from_ms)
            if at < len(begins) and begins[at] < to_ms:
                return True
            level = level.finer
        return False


def _split(stretches: Iterator[_Stretch], width: int) -> Iterator[_Stretch]:
    """Yield the stretches without blocks in parts, where neighbours were joined before."""
    length = _FIRST_MS
    pending: _Stretch | None = None
    for stretch in stretches:
        if stretch.block is None and pending is not None and stretch.to_ms == pending.from_ms:
            pending = _Stretch(stretch.from_ms, pending.to_ms)
            continue
        if pending is not None:
            yield from _parts(pending, width, length)
            pending, length = None, _LONGEST_MS
        if stretch.block is None:
            pending = stretch
        else:
            yield stretch
    if pending is not None:
        yield from _parts(pending, width, length)


def _parts(stretch: _Stretch, width: int, length: int) -> Iterator[_Stretch]:
    """Yield parts of a stretch, the newest one first, which begin with columns if these fit."""
    end = stretch.to_ms
    while end > stretch.from_ms:
        begin = end - length
        if width <= length:
            begin = begin // width * width
        begin = max(stretch.from_ms, begin)
        yield _Stretch(begin, end)
        end, length = begin, min(length * 2, _LONGEST_MS)


async def _sections(
    source: _Source, stretches: Sequence[_Stretch]
) -> AsyncGenerator[tuple[int, Section]]:
    """Read some of the stretches at a time; yield the number of each with its section."""
    reading: deque[asyncio.Task[Section]] = deque()
    coming = iter(stretches)
    try:
        for number in range(len(stretches)):
            for stretch in coming:
                task = asyncio.create_task(source.section(stretch), name="cells of a heatmap")
                reading.append(task)
                if len(reading) == _AT_ONCE:
                    break
            section = await reading[0]
            reading.popleft()
            yield number, section
    finally:
        await end_tasks(*reading)


class _Source:
    """Where the sections of a wish come from."""

    def __init__(
        self, recording: Recording, wish: HeatmapWish, covers: Covers, tiles: _Tiles | None
    ) -> None:
        self._recording, self._wish = recording, wish
        self._covers, self._tiles = covers, tiles

    async def section(self, stretch: _Stretch) -> Section:
        """Read one stretch."""
        if self._tiles is not None and stretch.block is not None:
            section = await asyncio.to_thread(self._of_block, self._tiles, stretch, stretch.block)
            if section is not None:
                return section
        return await self._of_archive(stretch)

    def _of_block(self, tiles: _Tiles, stretch: _Stretch, key: BlockKey) -> Section | None:
        """Return the part of a block that is wished; None: it is not there any more."""
        rows, factor = self._wish.steps.rows, tiles.rows_a_row
        section = tiles.cache.get(key, rows and (rows[0] * factor, rows[1] * factor))
        if section is None:
            return None
        part = section.between(stretch.from_ms, stretch.to_ms).in_price(factor)
        return part.in_bins(self._wish.bins.bin_ms)

    async def _of_archive(self, stretch: _Stretch) -> Section:
        wish, bins = self._wish, self._wish.bins
        first, last = (bins.column_at(at) for at in (stretch.from_ms, stretch.to_ms - 1))
        begin, end = (bins.from_ms + number * bins.bin_ms for number in (first, last + 1))
        part = TimeBins(begin, min(end, bins.to_ms), bins.bin_ms)
        builder = HeatmapBuilder(part, wish.steps, [wish.statistic], wish.side)
        # Whether the first span goes on with a run from before.
        goes_on = self._covers.goes_on_at(stretch.from_ms)
        spans = level_spans(self._recording, stretch.from_ms, stretch.to_ms)
        async with aclosing(spans):
            async for span, opens in spans:
                await asyncio.to_thread(builder.take, span, opens=opens and not goes_on)
                goes_on = False
        return await asyncio.to_thread(builder.section, wish.market, wish.statistic)
