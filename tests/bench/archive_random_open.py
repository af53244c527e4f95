"""Opening the book at a random time of a 24-hour recording, on the embedded database."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from tests.bench.targets import Targets
from tests.bench.tiled_recording import LongRecording, make_tile, store

_HOURS = 24
_OPENED = 300
_CHECKED = 20
_ACCEPTED_MS = 200


def is_same(book: BookImage, true: BookImage) -> bool:
    """Whether the levels are the same: ids and times are those of another round."""
    return all(
        (mine == theirs).all() if len(mine) == len(theirs) else False
        for side, others in ((book.bids, true.bids), (book.asks, true.asks))
        for mine, theirs in zip(side, others, strict=True)
    )


async def _measure(database: Database, long: LongRecording) -> list[float]:
    chosen, tile, took = random.Random(1), long.tile, []
    end_ms = tile.chunks[-1].header.coverage.to_event_ms
    for number in range(_OPENED):
        first_round_ms = chosen.randint(tile.first_ms, end_ms)
        event_ms = first_round_ms + chosen.randrange(long.rounds) * tile.ms
        # A new one each time: nothing is kept in memory from one time to the next.
        began = time.perf_counter()
        book = await Recording(database, tile.market).book_at(event_ms)
        took.append((time.perf_counter() - began) * 1000)
        if number < _CHECKED:
            assert is_same(book, tile.book_at(first_round_ms)), "not the true book"
    return sorted(took)


async def _run() -> int:
    targets, tile = Targets(), make_tile()
    with tempfile.TemporaryDirectory() as folder:
        async with DatabaseServer(Path(folder)) as server:
            database = Database("bench")
            database.connect(server.dsn)
            began = time.perf_counter()
            long = await store(database, tile, _HOURS)
            wrote_s = time.perf_counter() - began
            print(
                f"{tile.name} x {long.rounds}: {long.events:,} events in {long.bytes:,} bytes of "
                f"chunks on {server.kind.value}, written in {wrote_s:.0f} s, "
                f"load {os.getloadavg()[0]:.1f}"
            )
            took = await _measure(database, long)
            database.close()
    p99 = took[len(took) * 99 // 100]
    print(
        f"  book at a random time: {statistics.median(took):.1f} ms, p99 {p99:.1f} ms "
        f"{targets.at_most(p99, _ACCEPTED_MS)}"
    )
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(_run()))
