"""Kills two recorders of one market, never both at once, and checks what is left.

`python -m tests.faults.pair_kills [--kills 30] [--seed 1]` plays a capture to two `record`s on one
database, as on two machines. Each kill is a SIGKILL at a random moment, and the next one waits
until that recorder records again. Meanwhile a third program serves the recorded book, and a reader
opens it anew, again and again. At the end `verify` passes, no time of the market is a gap, each
event and each trade is archived once, as it was sent, and each book that was seen is the true one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import level_texts
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.archive.times import ArchiveTimes
from orderbook_desktop.storage.reading.change_stream import RecordedSnapshots
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.bench.capture_data import capture_path
from tests.faults.chaos.audience import Viewer
from tests.faults.comparison import Findings, compare_recording, decimals
from tests.faults.market import MARKET, SYMBOL, Wire, played_market, variables_of
from tests.faults.probe import Probe
from tests.faults.program import Program, running
from tests.faults.trade_comparison import TradeFindings, compare_trades
from tests.storage.processes import eventually
from tests.web.browser.program import free_port

_SPEED = 20.0
_BEFORE_S, _OFF_S = 4.0, 2.0
# A new segment has so many events before the other recorder may be killed.
_EVENTS = 5
_LEVELS = 100
# An event that a killed recorder left is looked at twice, and then archived.
_ROUNDS = 8
_FAR_NS = 2**62

_Side = list[tuple[Decimal, Decimal]]


class Reader:
    """Opens the newest recorded book again and again: `books`, by update id."""

    def __init__(self, database: Database) -> None:
        self.books: dict[int, tuple[_Side, _Side]] = {}
        self.refused: Counter[str] = Counter()
        self._snapshots = RecordedSnapshots(database)

    async def read(self) -> None:
        """Read, for ever."""
        while True:
            await asyncio.sleep(0.3)
            try:
                found = await self._snapshots.snapshot(MARKET)
            except KnownError as error:
                self.refused[type(error).__name__] += 1
                continue
            bids, asks = (decimals(side[:_LEVELS]) for side in level_texts(found.payload))
            self.books[found.last_update_id] = bids, asks


class Pair:
    """Two recorders of `database`; each is killed and started again."""

    def __init__(self, folder: Path, variables: dict[str, str], database: Database) -> None:
        self._folder = folder
        self._variables = variables
        self._database = database
        self._programs: list[Program | None] = [None, None]
        self._stacks = [AsyncExitStack(), AsyncExitStack()]

    async def start(self, at: int) -> None:
        """Start a recorder, and wait until events of it are stored."""
        folder = self._folder / f"recorder{at}"
        program = await self._stacks[at].enter_async_context(
            running(folder, "record", SYMBOL, variables=self._variables, hasty=True)
        )
        self._programs[at] = program
        first_id: int | None = None
        async with asyncio.timeout(100):
            while True:
                assert program.running, program.said
                found = await self._last_id(program.pid)
                first_id = found if first_id is None else first_id
                if found is not None and first_id is not None and found >= first_id + _EVENTS:
                    return
                await asyncio.sleep(0.1)

    async def _last_id(self, pid: int) -> int | None:
        segments = self._database.collection("segments")
        query = {"end_cause": None, "owner.pid": pid}
        found = await segments.find(query, {"last_id": 1}).to_list(None)
        return max((one["last_id"] for one in found), default=None)

    async def kill(self, at: int) -> None:
        """Kill a recorder."""
        program = self._programs[at]
        assert program is not None
        assert "Traceback" not in program.said, program.said
        await program.kill()
        await self._stacks[at].aclose()

    async def end(self) -> None:
        """Ask both to end."""
        for program, stack in zip(self._programs, self._stacks, strict=True):
            if program is not None and program.running:
                assert await program.end() == 0, program.said
            await stack.aclose()


async def check(folder: Path, kills: int, seed: int) -> tuple[Findings, int]:
    """Do `kills` kills; return what was compared, and how many books. Raises `AssertionError`."""
    database = Database("book")
    async with DatabaseServer(folder / "server") as server:
        database.connect(server.dsn)
        try:
            probe = Probe(folder / "server")
            scene = _Scene(folder, server.dsn, database, free_port(), probe)
            wire = await scene.play(kills, random.Random(seed))
            # In this order: the truth only goes forward.
            books = _compare_books(scene.reader, scene.viewer, wire)
            findings = await _judge(database, wire)
            trades = await _judge_trades(database, wire, scene.probe)
            return replace(findings, trades=trades), books
        finally:
            database.close()


class _Scene:
    """A market, two recorders of it, a `reader`, a `probe`, and a `viewer` of a third program."""

    def __init__(self, folder: Path, dsn: str, database: Database, port: int, probe: Probe) -> None:
        self.probe = probe
        self.reader = Reader(database)
        self.viewer = Viewer(port, [SYMBOL], seed=port)
        self._folder = folder
        self._dsn = dsn
        self._database = database
        self._serving = ("serve", SYMBOL, "--port", str(port))

    async def play(self, kills: int, chance: random.Random) -> Wire:
        """Kill again and again; return what was sent."""
        with tempfile.TemporaryDirectory() as made:
            async with played_market(capture_path(Path(made)), _SPEED) as (exchange, _, wire):
                variables = {**variables_of(exchange), "MONGO_DSN": self._dsn}
                pair = Pair(self._folder, variables, self._database)
                folder = self._folder / "viewer"
                async with (
                    self.probe.following(),
                    running(folder, *self._serving, variables=variables) as program,
                ):
                    looking = [
                        asyncio.create_task(one) for one in (self.reader.read(), self.viewer.ask())
                    ]
                    try:
                        await _kill_in_turn(pair, kills, chance)
                        await eventually(lambda: bool(self.viewer.sightings), 60)
                        assert program.running, program.said
                    finally:
                        await pair.end()
                        for task in looking:
                            task.cancel()
                        await asyncio.gather(*looking, return_exceptions=True)
        return wire


async def _kill_in_turn(pair: Pair, kills: int, chance: random.Random) -> None:
    await asyncio.gather(pair.start(0), pair.start(1))
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.2, _BEFORE_S))
        at = chance.randrange(2)
        await pair.kill(at)
        await asyncio.sleep(chance.uniform(0.0, _OFF_S))
        await pair.start(at)


def _compare_books(reader: Reader, viewer: Viewer, wire: Wire) -> int:
    """Hold the books that were seen against the true ones; return how many there are."""
    seen = _books_of(reader, viewer)
    for update_id, (bids, asks) in seen:
        truth = wire.book_at(update_id)
        assert bids == sorted(truth.bids.items(), reverse=True)[: len(bids)], update_id
        assert asks == sorted(truth.asks.items())[: len(asks)], update_id
    return len(seen)


def _books_of(reader: Reader, viewer: Viewer) -> list[tuple[int, tuple[_Side, _Side]]]:
    """Return the books that were seen, in order of their update ids."""
    seen = list(reader.books.items())
    for sighting in viewer.sightings:
        bids, asks = (decimals(side[:_LEVELS]) for side in sighting.sides())
        seen.append((sighting.update_id, (bids, asks)))
    return sorted(seen, key=lambda one: one[0])


async def _judge(database: Database, wire: Wire) -> Findings:
    """Archive what is left, and check the recording before and after."""
    before = await verify(database, MARKET)
    assert before.holds, before.fault
    times = ArchiveTimes(loose_after_s=0.0, running_every_s=0.0, account_every_s=0.0)
    archiver = Archiver(database, pace=0.0, times=times, now_ns=lambda: _FAR_NS)
    # A write of a recorder that was killed may have come after the look of the one after it.
    await CrashWatch(database).close_crashed()
    for _ in range(_ROUNDS):
        await archiver.catch_up()
    assert archiver.problem == ""
    raw = await database.collection("depth_events").find({}).to_list(None)
    assert not raw, [(one["u"], one["received_ns"]) for one in raw]
    after = await verify(database, MARKET)
    assert after.holds, after.fault
    assert after.timeline.gaps == (), after.timeline.gaps
    findings = Findings()
    stored = await compare_recording(Recording(database, MARKET), wire, findings)
    (summary,) = await summaries(database)
    assert findings.archived == findings.stored == summary.events
    assert len(stored) >= findings.stored
    return findings


async def _judge_trades(database: Database, wire: Wire, probe: Probe) -> TradeFindings:
    """Check the trades, all of which are archived by now."""
    batches = await database.collection("trade_events").find({}).to_list(None)
    assert not batches, [one["_id"] for one in batches]
    findings = await compare_trades(database, MARKET, wire.trades, probe.trades)
    assert not findings.gaps, findings
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill two recorders again and again.")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        findings, books = asyncio.run(check(Path(folder), given.kills, given.seed))
    print(f"{books} books", findings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
