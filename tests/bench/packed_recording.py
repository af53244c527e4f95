"""Packing a 24-hour recording, and opening its book at random times from the file."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from orderbook_desktop.formats.packed_file import PackedFile
from orderbook_desktop.storage.exports.packed_file import PackJob, pack
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packed_store import PackedStore
from tests.bench.archive_random_open import is_same
from tests.bench.targets import Targets
from tests.bench.tiled_recording import LongRecording, make_tile, store

_HOURS = 24
_PACKED = 3
_OPENED = 300
_CHECKED = 20
_LEAST_MB_S = 50
_ACCEPTED_MS = 60


async def _packing(database: Database, market: str, path: Path) -> tuple[float, float]:
    """Pack a few times; return the best MB a second of wall time, and of processor time."""
    job = PackJob({market: market}, path, replace=True)
    took: list[tuple[float, float]] = []
    for _ in range(_PACKED):
        began, used = time.perf_counter(), time.process_time()
        await pack(database, job, lambda *_: None)
        took.append((time.perf_counter() - began, time.process_time() - used))
    with PackedFile(path) as file:
        megabytes = file.size / 1e6
    return megabytes / min(wall for wall, _ in took), megabytes / min(cpu for _, cpu in took)


async def _opening(path: Path, long: LongRecording) -> tuple[list[float], list[float]]:
    """Open books at random times; return how long each took (ms), the file opened before or not."""
    chosen, tile = random.Random(1), long.tile
    kept: list[float] = []
    anew: list[float] = []
    end_ms = tile.chunks[-1].header.coverage.to_event_ms
    with PackedFile(path) as file:
        for number in range(_OPENED):
            first_round_ms = chosen.randint(tile.first_ms, end_ms)
            event_ms = first_round_ms + chosen.randrange(long.rounds) * tile.ms
            began = time.perf_counter()
            book = await Recording(PackedStore(file), tile.market).book_at(event_ms)
            kept.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            with PackedFile(path) as opened:
                again = await Recording(PackedStore(opened), tile.market).book_at(event_ms)
            anew.append((time.perf_counter() - began) * 1000)
            if number < _CHECKED:
                true = tile.book_at(first_round_ms)
                assert is_same(book, true), "not the true book"
                assert is_same(again, true), "not the true book"
    return sorted(kept), sorted(anew)


async def _run() -> int:
    targets, tile = Targets(), make_tile()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.obd"
        async with DatabaseServer(Path(folder) / "data") as server:
            database = Database("bench")
            database.connect(server.dsn)
            long = await store(database, tile, _HOURS)
            rate, by_processor = await _packing(database, tile.market, path)
            database.close()
        with PackedFile(path) as file:
            size = file.size
        print(
            f"{tile.name} x {long.rounds}: {long.events:,} events, {long.bytes:,} bytes of chunks, "
            f"{size:,} in the file ({size / long.bytes:.3f} times), load {os.getloadavg()[0]:.1f}"
        )
        kept, anew = await _opening(path, long)
    print(
        f"  packing: {rate:.0f} MB/s {targets.at_least(rate, _LEAST_MB_S)}; "
        f"{by_processor:.0f} MB for a second of the program's processor time"
    )
    for name, took in (("the open file", kept), ("a file that is opened for it", anew)):
        p99 = took[len(took) * 99 // 100]
        print(
            f"  book at a random time of {name}: {statistics.median(took):.1f} ms, p99 "
            f"{p99:.1f} ms {targets.at_most(p99, _ACCEPTED_MS)}"
        )
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(_run()))
