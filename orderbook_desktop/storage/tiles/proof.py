"""Checks some tiles against the recording: each is built again and compared, byte for byte."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.storage.store.packing import CHECKSUM_BYTES, PackedChunk, unpack_chunk
from orderbook_desktop.storage.store.recording_store import SegmentStore
from orderbook_desktop.storage.tiles.cache import TileCache, TileKey
from orderbook_desktop.storage.tiles.reading import tile_of
from orderbook_desktop.storage.tiles.tile_file import encode_tile

SAMPLE: Final = 20
# A chunk begins at most so many minutes after its first book.
_MINUTES_AFTER: Final = 10


class CheckedTiles(Struct, frozen=True):
    """How many tiles there are of a market, how many were compared, and how many were wrong.

    Wrong ones were deleted. Those whose chunk is not there any more are not compared.
    """

    kept: int = 0
    compared: int = 0
    wrong: int = 0


async def check_tiles(
    store: SegmentStore, market: str, cache: TileCache, sample: int = SAMPLE
) -> CheckedTiles:
    """Compare up to `sample` tiles of `market`. Raises what the store raises, and `DamagedChunk`.

    They are a cache, so a wrong one is no fault of the recording.
    """
    kept = await asyncio.to_thread(cache.kept, market)
    keys = sorted(kept, key=lambda key: (key.minute, key.checksum, key.bin_ms, key.statistic))
    compared = wrong = 0
    # Others each time.
    for key in random.SystemRandom().sample(keys, min(sample, len(keys))):
        chunk = await _chunk_of(store, key)
        if chunk is not None:
            compared += 1
            wrong += not await asyncio.to_thread(_is_right, chunk, key, kept[key])
    return CheckedTiles(len(kept), compared, wrong)


async def _chunk_of(store: SegmentStore, key: TileKey) -> PackedChunk | None:
    """Return the chunk that a tile is made of, if it is still there."""
    spans = await store.chunk_spans(key.market, key.minute, key.minute + _MINUTES_AFTER)
    for span in spans:
        found = await store.chunk(str(span.segment_id), span.start_id)
        if found is not None:
            packed = found.packed()
            if packed.data[:CHECKSUM_BYTES] == key.checksum:
                return packed
    return None


def _is_right(packed: PackedChunk, key: TileKey, path: Path) -> bool:
    expected = encode_tile(tile_of(decode_chunk(unpack_chunk(packed.data)), key.from_ms, key))
    try:
        found = path.read_bytes()
    except OSError:
        # Another program has just removed it.
        return True
    if found == expected:
        return True
    with suppress(OSError):
        path.unlink()
    return False
