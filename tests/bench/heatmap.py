"""What the heatmap costs: bins per minute of the archive, and hours with and without tiles."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import aclosing
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from orderbook_desktop.core.archive import ChunkSlice, DecodedChunk, decode_chunk
from orderbook_desktop.core.archive.spans import span_of
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import fitting_bin, fitting_step
from orderbook_desktop.core.heatmap.pages import HeatmapWish
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.tiles.building import TileBuilder
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.levels import LONGEST_BLOCK_MS, Covers, Level
from orderbook_desktop.storage.tiles.reading import market_grid, read_cells
from tests.bench.tiled_recording import Tile, make_tile, store

_ROUNDS = 7
_HOURS = 24
_DAYS, _DAY_MS = 30, 86_400_000
# A view in pixels, and the prices that it shows as a share of the mid.
_WIDTH, _HEIGHT = 1200, 600
_SHARE = 0.06
_MAX = (Statistic.MAX,)
_ALL = tuple(Statistic)
# Price step, bin in ms, part of the mid on either side (0: the whole book), statistics.
_CASES: tuple[tuple[str, int, float, Collection[Statistic]], ...] = (
    ("5", 4_000, 0.1, _ALL),
    ("5", 4_000, 0.1, _MAX),
    ("1", 4_000, 0.1, _ALL),
    ("5", 60_000, 0.1, _ALL),
    ("5", 4_000, 0, _ALL),
    ("0.01", 100, 0.001, _ALL),
    ("0.01", 1_000, 0, _MAX),
)


def spans_of(chunks: Sequence[DecodedChunk]) -> list[LevelSpan]:
    """Return what chunks that follow each other hold, as spans."""
    spans: list[LevelSpan] = []
    for chunk in chunks:
        from_ms = spans[-1].until_ms if spans else int(chunk.numbers.event_ms[0])
        whole = ChunkSlice(chunk, 0, chunk.header.event_count, opens=not spans)
        spans.append(span_of(whole, from_ms, from_ms))
    return spans


def _took_ms(
    spans: Sequence[LevelSpan], step: str, bin_ms: int, part: float, kinds: Collection[Statistic]
) -> float:
    """Return how long the bins of `spans` take."""
    mid = int(spans[0].prices[0]) / 10 ** spans[0].scale.price
    span = (str(round(mid * (1 - part))), str(round(mid * (1 + part)))) if part else (None, None)
    began = time.perf_counter()
    bins = TimeBins.between(spans[0].from_ms, spans[-1].until_ms + 1, bin_ms)
    builder = HeatmapBuilder(bins, PriceSteps.of(step, *span), kinds)
    for one in spans:
        builder.take(one, opens=one is spans[0])
    return (time.perf_counter() - began) * 1e3


async def _measure_hours(tile: Tile) -> None:
    """Print how long a day takes from the archive, by building tiles, and by tiles."""
    with tempfile.TemporaryDirectory() as folder:
        async with DatabaseServer(Path(folder)) as server:
            database = Database("bench")
            database.connect(server.dsn)
            long = await store(database, tile, _HOURS)
            print(f"archive of {_HOURS} hours: {long.bytes / 1e6:.1f} MB")
            cache = TileCache(Path(folder) / "tiles", "bench", 1 << 40)
            await _measure_views(database, tile.market, cache, "without tiles")
            await _measure_building(database, cache)
            await _measure_views(database, tile.market, cache, "with tiles")
            _print_sizes(cache, tile.market)
            await _measure_month(database, tile.market, cache)


class _Month(Recording):
    """A recording with the covers of a month, which only has tiles."""

    async def timeline(self) -> Timeline:
        day = (await super().timeline()).covers[0]
        month = replace(day, from_ms=day.from_ms - _DAYS * _DAY_MS)
        return Timeline((month,), ())


async def _measure_month(database: Database, market: str, cache: TileCache) -> None:
    """Print how long a month takes whose tiles are those of the one day, at other times."""
    month = _Month(database, market)
    covers = Covers(market, (await month.timeline()).covers)
    first_ms, last_ms = covers.all[0].from_ms, covers.all[0].to_ms
    length = LONGEST_BLOCK_MS
    known = {key.level: key for key in cache.kept(market) if key.level.block_ms == length}
    for level, key in known.items():
        section = cache.get(key)
        assert section is not None
        for from_ms in range(first_ms // length * length, last_ms, length):
            shifted = covers.key(level, from_ms)
            assert shifted is not None
            heatmap, by_ms = section.heatmap, from_ms - key.from_ms
            columns = replace(heatmap.columns, starts_ms=heatmap.columns.starts_ms + by_ms)
            moved = replace(heatmap, columns=columns, to_ms=heatmap.to_ms + by_ms)
            cache.put(shifted, replace(section, heatmap=moved))
    grid = await market_grid(month, await month.timeline(), cache)
    assert grid is not None
    mid = (await month.book_at(last_ms)).bids.prices[0].item()
    bin_ms = fitting_bin(_DAYS * _DAY_MS / _WIDTH)
    bins = TimeBins(first_ms // bin_ms * bin_ms, last_ms // bin_ms * bin_ms + bin_ms, bin_ms)
    for statistic in (Statistic.MAX, Statistic.INTEGRAL):
        step = grid.tiled[1]
        rows = round(mid * 0.8) // step, round(mid * 0.4) // step
        wish = HeatmapWish(market, bins, PriceSteps(step, grid.exponent, rows), statistic)
        began, worked = time.perf_counter(), time.process_time()
        async with aclosing(read_cells(month, wish, cache)) as parts:
            count = len([part async for part in parts])
        took, worked = time.perf_counter() - began, time.process_time() - worked
        print(
            f"with tiles: {_DAYS} days in bins of {bin_ms / 1e3:g} s, {statistic}: complete "
            f"{took * 1e3:.0f} ms ({worked * 1e3:.0f} ms of the processor) in {count} parts"
        )


async def _measure_building(database: Database, cache: TileCache) -> None:
    builder = TileBuilder(store_of(database), cache)
    began, worked, longest = time.perf_counter(), time.process_time(), 0.0
    before = began
    while await builder.step():
        now = time.perf_counter()
        before, longest = now, max(longest, now - before)
    took, worked = time.perf_counter() - began, time.process_time() - worked
    print(
        f"building {builder.progress.wanted} stretches: {took:.1f} s ({worked:.1f} s of the "
        f"processor), the longest step {longest * 1e3:.0f} ms"
    )


async def _measure_views(database: Database, market: str, cache: TileCache, which: str) -> None:
    """Print how long views of 1200 x 600 pixels take to be read: the whole time, and less."""
    recording = Recording(database, market)
    timeline = await recording.timeline()
    grid = await market_grid(recording, timeline, cache)
    assert grid is not None
    book = await recording.book_at(timeline.to_ms)
    mid = int(book.bids.prices[0]) * 10 ** (grid.exponent - book.scale.price)
    for hours in (_HOURS, _HOURS / 4, 1):
        bin_ms = fitting_bin(hours * 3_600_000 / _WIDTH)
        end = -(-timeline.to_ms // bin_ms) * bin_ms
        begin = max(timeline.from_ms, end - round(hours * 3_600_000)) // bin_ms * bin_ms
        for statistic in (Statistic.MAX, Statistic.INTEGRAL):
            step = fitting_step(grid, mid * _SHARE / _HEIGHT, is_tiled=True)
            rows = round(mid * (1 - _SHARE / 2)) // step, round(mid * _SHARE) // step + 1
            wish = HeatmapWish(
                market,
                TimeBins(begin, end, bin_ms),
                PriceSteps(step, grid.exponent, rows),
                statistic,
            )
            began, worked = time.perf_counter(), time.process_time()
            first = 0.0
            async with aclosing(read_cells(recording, wish, cache)) as parts:
                async for _ in parts:
                    first = first or time.perf_counter() - began
            took, worked = time.perf_counter() - began, time.process_time() - worked
            print(
                f"{which}: {hours:g} hours in bins of {bin_ms / 1e3:g} s, {statistic}: first part "
                f"{first * 1e3:.0f} ms, complete {took * 1e3:.0f} ms ({worked * 1e3:.0f} ms of "
                "the processor)"
            )


def _print_sizes(cache: TileCache, market: str) -> None:
    sizes: dict[Level, int] = {}
    for key in cache.kept(market):
        sizes[key.level] = sizes.get(key.level, 0) + cache.size(key)
    for level, size in sorted(sizes.items()):
        name = f"{level.bin_ms / 1e3:g} s x {level.step / 10**level.exponent:g}"
        print(f"tiles of {name}, {level.statistic}: {size / 1e6 / _HOURS * 24:.2f} MB a day")
    print(f"all tiles: {sum(sizes.values()) / 1e6 / _HOURS * 24:.1f} MB a day")


def main() -> int:
    tile = make_tile()
    minutes = (tile.chunks[-1].header.coverage.to_event_ms - tile.first_ms) / 60_000
    began = time.perf_counter()
    decoded = [decode_chunk(chunk) for chunk in tile.chunks]
    print(f"{tile.name}: {tile.events} events, {minutes:.1f} minutes")
    print(f"decoding: {(time.perf_counter() - began) * 1e3 / minutes:.1f} ms per minute")
    spans = spans_of(decoded)
    for step, bin_ms, part, kinds in _CASES:
        took = median(_took_ms(spans, step, bin_ms, part, kinds) for _ in range(_ROUNDS))
        width = f"within {part:.1%} of the mid" if part else "whole book"
        print(
            f"{step:>5} x {bin_ms / 1e3:g} s, {width}, {', '.join(kinds)}: "
            f"{took / minutes:.1f} ms per minute of data"
        )
    asyncio.run(_measure_hours(tile))
    return 0


if __name__ == "__main__":
    sys.exit(main())
