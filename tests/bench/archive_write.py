"""Archiving as it is done behind the recorder: events/s through the embedded database.

A capture's events are recorded, tiled over several minutes, and then archived: read, encoded,
proven, written, read back, and removed as raw events. Also told is for how long the event
loop stood still at worst, and what writing new events took meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.checkpoint import encode_image
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, decode_snapshot
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from tests.bench.archive_size import load_recording
from tests.bench.targets import Targets
from tests.storage.recording_fixtures import HandFeed

_OTHERS_EVERY_S = 0.01


async def _record(recorder: Recorder, base: DepthSnapshot, events: list[DepthDiff]) -> None:
    feed = HandFeed(recorder.sink(base.market))
    feed.snapshot(base)
    for start in range(0, len(events), 500):
        feed.diffs(*events[start : start + 500])
        while recorder.waiting > 2_000:
            await asyncio.sleep(0.01)
    feed.broken(GapCause.USER)


class _Loop:
    """Measures for how long the event loop stands still."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def watch(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            self.worst_s = max(self.worst_s, time.perf_counter() - begun - 0.001)


async def _insert_others(database: Database, took: list[float]) -> None:
    """Insert an event of another market now and then, as a recorder does."""
    events = database.collection("depth_events")
    for number in range(1, sys.maxsize):
        begun = time.perf_counter()
        await events.insert_one(
            {"market": "OTHER", "U": number, "u": number, "time": 0, "payload": "x" * 1_000}
        )
        took.append(time.perf_counter() - begun)
        await asyncio.sleep(_OTHERS_EVERY_S)


async def _measure(database: Database, pace: float) -> tuple[float, _Loop, list[float]]:
    """Archive everything; return how long that took."""
    loop = _Loop()
    took: list[float] = []
    beside = [
        asyncio.create_task(loop.watch()),
        asyncio.create_task(_insert_others(database, took)),
    ]
    begun = time.perf_counter()
    await Archiver(database, pace=pace).catch_up()
    seconds = time.perf_counter() - begun
    for one in beside:
        one.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    return seconds, loop, took


async def _verified(database: Database) -> int:
    """Return how many events the committed chunks hold."""
    count = 0
    for segment in await database.collection("segments").find().to_list(None):
        at = segment["snapshot_id"]
        while at < segment["archived_id"]:
            chunk = await ChunkStore(database).get(segment["_id"], at)
            assert chunk is not None
            decoded = decode_chunk(chunk)
            count += decoded.header.event_count
            at = decoded.header.coverage.last_id
    return count


async def run(folder: Path, targets: Targets) -> None:
    """Record, archive, and tell."""
    recording = load_recording()
    base = decode_snapshot(encode_image(recording.start), recording.start.market)
    async with DatabaseServer(folder) as server:
        for pace in (0.0, 0.5):
            database = Database(f"pace{pace * 10:.0f}")
            database.connect(server.dsn)
            recorder = Recorder(database)
            await recorder.start()
            await _record(recorder, base, recording.run)
            await recorder.close(30)
            seconds, loop, took = await _measure(database, pace)
            assert await _verified(database) == len(recording.run), "events were lost"
            rate = len(recording.run) / seconds
            took.sort()
            print(f"pausing {pace:g} times as long as each step takes:")
            # A hundred markets of ten events a second each have to be kept up with.
            verdict = targets.at_least(rate, 1_000)
            print(f"  archived        {rate:8,.0f} events/s {verdict}")
            print(f"  event loop at worst still for {loop.worst_s * 1e3:5.1f} ms")
            print(
                f"  an insert meanwhile p50 {took[len(took) // 2] * 1e3:.1f} ms,"
                f" p99 {took[len(took) * 99 // 100] * 1e3:.1f} ms"
            )
            database.close()


def main() -> int:
    targets = Targets()
    print(f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), targets))
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
