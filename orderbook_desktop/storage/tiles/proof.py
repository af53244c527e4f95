"""Checks some tiles against the recording: each is built again and compared, byte for byte."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.tiles.block_file import encode_block
from orderbook_desktop.storage.tiles.building import MarketTiles, built, composed, market_tiles
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.levels import BlockKey

SAMPLE: Final = 20
# So much of the archive is read at most. Blocks of long times are made of kept ones.
_ARCHIVE_MS: Final = 12 * 3_600_000


class CheckedTiles(Struct, frozen=True):
    """How many tiles there are of a market, how many were compared, and how many were wrong.

    Wrong ones were deleted. Those of what is not recorded any more are not compared.
    """

    kept: int = 0
    compared: int = 0
    wrong: int = 0


async def check_tiles(
    store: RecordingStore, market: str, cache: TileCache, sample: int = SAMPLE
) -> CheckedTiles:
    """Compare up to `sample` tiles of `market`. Raises as `Recording` does.

    They are a cache, so a wrong one is no fault of the recording.
    """
    kept = await asyncio.to_thread(cache.kept, market)
    tiles = await market_tiles(store, market, cache) if kept else None
    if tiles is None:
        return CheckedTiles(len(kept))
    recording = Recording(store, market)
    chosen = _chosen(tiles, kept, sample)
    wrong = 0
    # Fine ones come first: what a wrong one was used for is made anew then.
    for key in sorted(chosen):
        expected = await asyncio.to_thread(composed, cache, key, tiles.finer(key))
        if expected is None:
            expected = await _from_archive(recording, tiles, key)
        wrong += not await asyncio.to_thread(_is_right, cache, key, expected)
    return CheckedTiles(len(kept), len(chosen), wrong)


def _chosen(tiles: MarketTiles, kept: set[BlockKey], count: int) -> list[BlockKey]:
    """Return some blocks, others each time, which take no longer than a proof may last."""
    chosen: list[BlockKey] = []
    left_ms = _ARCHIVE_MS
    for key in random.SystemRandom().sample(sorted(kept), len(kept)):
        if len(chosen) == count:
            break
        if tiles.covers.key(key.level, key.from_ms) != key:
            continue
        finer = tiles.finer(key)
        needs_archive = not finer or any(part not in kept for part in finer)
        cost_ms = tiles.covers.covered_ms(key.from_ms, key.to_ms) if needs_archive else 0
        if cost_ms <= left_ms:
            left_ms -= cost_ms
            chosen.append(key)
    return chosen


async def _from_archive(recording: Recording, tiles: MarketTiles, key: BlockKey) -> Section:
    sections: list[Section] = []
    async with aclosing(built(recording, tiles, [key])) as parts:
        async for part in parts:
            sections += [one.section(key.market, key.level.statistic) for _, one in part]
    return sections[0]


def _is_right(cache: TileCache, key: BlockKey, expected: Section) -> bool:
    if not cache.has(key):
        # Another program has just removed it.
        return True
    found = cache.get(key)
    if found is not None and encode_block(found) == encode_block(expected):
        return True
    cache.remove(key)
    return False
