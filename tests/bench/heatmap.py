"""What the heatmap costs: bins per minute of the archive, and hours with and without tiles."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median

from orderbook_desktop.core.archive import ChunkSlice, DecodedChunk, decode_chunk
from orderbook_desktop.core.archive.spans import span_of
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.storage.reading.heatmaps import read_bins
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.reading import TileWork, read_by_tiles
from tests.bench.tiled_recording import Tile, make_tile, store

_ROUNDS = 7
_HOURS = 3
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
    """Print how long some hours take from the archive, by building tiles, and by tiles."""
    with tempfile.TemporaryDirectory() as folder:
        async with DatabaseServer(Path(folder)) as server:
            database = Database("bench")
            database.connect(server.dsn)
            long = await store(database, tile, _HOURS)
            for statistic in (Statistic.MAX, Statistic.INTEGRAL):
                await _measure(database, tile.market, Path(folder) / "tiles", statistic)
            print(f"archive of {_HOURS} hours: {long.bytes / 1e6:.1f} MB")


async def _measure(database: Database, market: str, folder: Path, statistic: Statistic) -> None:
    recording = Recording(database, market)
    timeline = await recording.timeline()
    book = await recording.book_at(timeline.to_ms)
    mid = int(book.bids.prices[0]) // 10**book.scale.price
    steps = PriceSteps.of("5", str(mid * 9 // 10), str(mid * 11 // 10))
    for bin_ms in (4_000, 64_000):
        begin, end = timeline.from_ms // bin_ms, -(-timeline.to_ms // bin_ms)
        bins = TimeBins(begin * bin_ms, end * bin_ms, bin_ms)
        cache = TileCache(folder, "bench", 1 << 40)
        work = TileWork(recording, store_of(database), bins, steps, statistic, cache)
        took = []
        for reading in ("archive", "build", "tiles"):
            builder = HeatmapBuilder(bins, steps, [statistic])
            began = time.perf_counter()
            if reading == "archive":
                await read_bins(recording, bins, builder)
            else:
                await read_by_tiles(work, builder, lambda _: None)
            took.append(time.perf_counter() - began)
        size = sum(
            path.stat().st_size
            for key, path in cache.kept(market).items()
            if (key.bin_ms, key.statistic) == (bin_ms, statistic)
        )
        print(
            f"{_HOURS} hours, 5 x {bin_ms / 1e3:g} s, {statistic}: without tiles {took[0]:.2f} s, "
            f"building them {took[1]:.2f} s, by tiles {took[2]:.2f} s, {size / 1e6:.1f} MB"
        )


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
