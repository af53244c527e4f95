"""What an event costs on its way into our own database, and how many a second it takes.

The recorder's sinks get the events of a real capture, as so many markets at once. From there on
all is the program's own: the recorder and the archiver in this process, the database in its own,
and a program that follows the change stream of one market (`tests.bench.follower`). Told is, per
event, the processor time of the database and that of the program:

- while the events come at the rate of a busy recorder, and how late the change stream then is;
- while they come as fast as they are acknowledged, and how many a second that is;
- while they are archived and then removed as raw events.

    MARKETS=100 RATE=10 SECONDS=20 python -m tests.bench.way_in
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import encode_image
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from tests.bench.archive_size import load_recording
from tests.bench.record_many import Folder
from tests.bench.targets import Targets

_MARKETS = int(os.environ.get("MARKETS", "100"))
_RATE = float(os.environ.get("RATE", "10"))
_SECONDS = float(os.environ.get("SECONDS", "20"))
_FAST_SECONDS = float(os.environ.get("FAST_SECONDS", "10"))
# So many events wait while they come as fast as possible.
_WAITING = 4_000
_TICK_S = 0.01
# The engine makes a checkpoint every ten seconds. What lies on the disk counts after one.
_CHECKPOINT_S = 12.0
_DATABASE_US, _EVENTS_A_SECOND = 200.0, 10_000.0


class Markets:
    """The capture as the events of many markets, each of which goes through the same ids.

    `made_s` is the processor time that making the events took: it is no part of what is measured.
    """

    def __init__(self, recorder: Recorder, count: int) -> None:
        recording = load_recording()
        self.name = recording.name
        self.names = [f"A{number:04}USDT" for number in range(count)]
        self.made_s = 0.0
        self._sinks = [recorder.sink(market) for market in self.names]
        self._run = recording.run
        self._market = f'"s":"{recording.start.market}"'.encode()
        self._book = Book()
        payload = encode_image(recording.start)
        self._book.load(decode_snapshot(payload, recording.start.market))
        for market, sink in zip(self.names, self._sinks, strict=True):
            sink.opened(decode_snapshot(payload, market, recording.run[0].event_ms))

    def events(self) -> Iterator[None]:
        """Record an event of the next market with each step."""
        for event in self._run:
            self._book.apply(event)
            for market, sink in zip(self.names, self._sinks, strict=True):
                begun = time.thread_time()
                new = self._made(event, market)
                self.made_s += time.thread_time() - begun
                sink.received(new)
                sink.applied(new, self._book)
                yield

    def _made(self, event: DepthDiff, market: str) -> DepthDiff:
        payload = event.payload.replace(self._market, f'"s":"{market}"'.encode(), 1)
        return decode_diff(payload, time.time_ns())

    def end(self) -> None:
        """End the segments of all markets."""
        for sink in self._sinks:
            sink.broken(GapCause.USER, "")


@dataclass
class Costs:
    """The processor time of the database and of this process, between two moments."""

    database: psutil.Process
    markets: Markets
    wall_s: float = 0.0
    database_s: float = 0.0
    program_s: float = 0.0

    def __enter__(self) -> Self:
        self._began = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s, self.database_s, self.program_s = (
            now - before for now, before in zip(self._now(), self._began, strict=True)
        )

    def _now(self) -> tuple[float, float, float]:
        database_s = sum(self.database.cpu_times()[:2])
        return time.monotonic(), database_s, time.process_time() - self.markets.made_s

    def told(self, events: int) -> str:
        """Return what an event cost, in microseconds."""
        each = 1e6 / events
        return (
            f"database {self.database_s * each:6.1f}, program {self.program_s * each:6.1f} "
            f"us an event ({events:,} events in {self.wall_s:.1f} s)"
        )


@asynccontextmanager
async def _follower(folder: Path, market: str) -> AsyncIterator[dict[str, float]]:
    """Follow `market` in a process of its own; what it tells is in the answer at the end."""
    command = [sys.executable, "-m", "tests.bench.follower", str(folder), market]
    pipe = asyncio.subprocess.PIPE
    follower = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    told: dict[str, float] = {}
    await asyncio.sleep(3)
    try:
        yield told
    finally:
        out, _ = await follower.communicate(b"")
        told.update(json.loads(out))


async def _at_rate(events: Iterator[None], recorder: Recorder) -> int:
    """Record events at the rate that is asked for; return how many."""
    began, done = time.monotonic(), 0
    total = int(_MARKETS * _RATE * _SECONDS)
    while done < total:
        due = min(total, int((time.monotonic() - began) * _MARKETS * _RATE))
        for _ in range(done, due):
            next(events)
        done = due
        await asyncio.sleep(_TICK_S)
    await _until_written(recorder)
    return done


async def _as_fast_as_possible(events: Iterator[None], recorder: Recorder) -> int:
    ends_at, done = time.monotonic() + _FAST_SECONDS, 0
    while time.monotonic() < ends_at:
        for _ in range(_WAITING - recorder.waiting):
            next(events)
            done += 1
        await asyncio.sleep(0.001)
    await _until_written(recorder)
    return done


async def _until_written(recorder: Recorder) -> None:
    while recorder.waiting:
        await asyncio.sleep(0.002)


async def _measure(folder: Path, targets: Targets) -> None:
    async with DatabaseServer(folder) as server:
        children = psutil.Process().children(recursive=True)
        process = max(children, key=lambda child: child.memory_info().rss)
        database = Database("book")
        database.connect(server.dsn)
        recorder = Recorder(database)
        await recorder.start()
        markets = Markets(recorder, _MARKETS)
        print(f"{markets.name}: {_MARKETS} markets, {_RATE:g} events/s each", flush=True)
        while await database.collection("segments").count_documents({}) < _MARKETS:
            await asyncio.sleep(0.1)
        archiver = Archiver(database, pace=0)
        # Its first round accounts for all stored events. Later ones do so every ten minutes.
        await archiver.catch_up()
        events = markets.events()
        async with _follower(folder, markets.names[0]) as late_ms:
            with Costs(process, markets) as paced:
                at_rate = await _at_rate(events, recorder)
        print(f"  at that rate      {paced.told(at_rate)}")
        print(
            f"  change stream p50 {late_ms['p50']:.1f} ms, p99 {late_ms['p99']:.1f} ms", flush=True
        )
        async with _follower(folder, markets.names[0]):
            with Costs(process, markets) as fast:
                fastest = await _as_fast_as_possible(events, recorder)
        rate = fastest / fast.wall_s
        print(f"  as fast as it goes {fast.told(fastest)}")
        print(f"  events/s {rate:,.0f} {targets.at_least(rate, _EVENTS_A_SECOND)}")
        count = at_rate + fastest
        await _tell_disk(folder, count)
        markets.end()
        await recorder.close(30)
        with Costs(process, markets) as archived:
            await archiver.catch_up()
        print(f"  archive and remove {archived.told(count)}")
        await _check(database, count)
        whole = (paced.database_s / at_rate + archived.database_s / count) * 1e6
        print(f"  database in all {whole:.1f} us {targets.at_most(whole, _DATABASE_US)}")
        database.close()


async def _tell_disk(folder: Path, count: int) -> None:
    await asyncio.sleep(_CHECKPOINT_S)
    disk = Folder(folder / "database")
    disk.look()
    kinds = ", ".join(f"{kind} {size / count:,.0f}" for kind, size in disk.at_end.most_common())
    print(
        f"  on disk, not archived: {disk.at_end.total() / count:,.0f} bytes an event ({kinds})",
        flush=True,
    )


async def _check(database: Database, count: int) -> None:
    left = await database.collection("depth_events").find({}, {"_id": 1}).to_list(None)
    found = await database.collection("segments").find().to_list(None)
    archived = sum(segment["archived_events"] for segment in found)
    assert (archived, len(left)) == (count, 0), f"{archived} of {count} archived, {len(left)} left"


def main() -> int:
    targets = Targets()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), targets))
    print(f"load average {os.getloadavg()[0]:.1f}")
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
