"""Lets a recorder miss trades, and kills it again and again while it makes up for them.

`python -m tests.faults.trade_outage [--trades 20000] [--kills 20] [--seed 1]` plays a capture at
speed 60 to `record`, stops that for the length of so many trades, and starts it again. Each kill
is a SIGKILL, of the program alone or of its database, too, at a random moment after it has asked
the exchange for trades. At the end no trade is missing, and all are as they were sent; the requests
kept to a fifth of the weight that the exchange grants; an export marks those that were repaired.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from orderbook_desktop.exchange.local import Fault, FaultKind, LocalExchange
from tests.bench.capture_data import capture_path
from tests.faults.comparison import Findings, compare
from tests.faults.kill_matrix import Victim, kill, look_for_bugs, until_no_trade_is_missing
from tests.faults.market import SYMBOL, Wire, played_market, variables_of
from tests.faults.probe import Probe
from tests.faults.program import Program, running
from tests.storage.processes import eventually

_SPEED = 60.0
# An answer takes so long, so that a kill may also come between a request and its answer.
_ANSWER_S = 0.1
_KILL_WITHIN_S = 0.6
_WITHIN_S = 200.0
# A fifth of a minute's 6,000, at a weight of 4.
_REQUESTS_A_MINUTE = 300
_MINUTE_MS = 60_000


class Outage:
    """The play of one recorder: what is killed, and what its exchange was asked for."""

    def __init__(self, data_dir: Path, exchange: LocalExchange, wire: Wire, probe: Probe) -> None:
        self.kills: Counter[str] = Counter()
        self._data_dir = data_dir
        self._variables = variables_of(exchange)
        self._exchange = exchange
        self._wire = wire
        self._probe = probe
        slow = Fault(kind=FaultKind.DELAY, path="aggTrades", seconds=_ANSWER_S, count=10**9)
        exchange.inject(slow)

    async def play(self, trades: int, kills: int, chance: random.Random) -> None:
        """Record, miss `trades`, and make up for them through `kills` kills."""
        async with self._running() as app:
            await self._until_recorded(app)
            assert await app.end() == 0, app.said
        await self._pass(trades)
        while self.kills.total() < kills:
            async with self._running() as app:
                victim = chance.choice([Victim.APP, Victim.BOTH])
                await self._until_asked(app)
                await asyncio.sleep(chance.uniform(0.0, _KILL_WITHIN_S))
                assert app.running, app.said
                await kill(app, victim, chance)
                self.kills[victim.value] += 1
                look_for_bugs(app, self._data_dir)
        async with self._running() as app:
            await self._until_recorded(app)
            await until_no_trade_is_missing(app, self._probe)
            assert await app.end() == 0, app.said
            look_for_bugs(app, self._data_dir)

    @property
    def requests(self) -> list[int]:
        """When trades were asked for (ms); the newest thousand."""
        log = self._exchange.fault_board.log
        return [one.at_ms for one in log if one.kind is FaultKind.DELAY]

    def _running(self) -> AbstractAsyncContextManager[Program]:
        return running(self._data_dir, "record", SYMBOL, variables=self._variables, hasty=True)

    async def _pass(self, trades: int) -> None:
        """Wait for so many trades of the market."""
        end = next(reversed(self._wire.trades)) + trades
        await eventually(lambda: next(reversed(self._wire.trades)) >= end, _WITHIN_S)

    async def _until_recorded(self, app: Program) -> None:
        """Wait until trades are stored that come after now."""
        newest = next(reversed(self._wire.trades), 0)
        await eventually(lambda: self._probe.newest_trade > newest or not app.running, _WITHIN_S)
        assert app.running, app.said

    async def _until_asked(self, app: Program) -> None:
        counts = self._exchange.fault_board.counts
        before = counts[FaultKind.DELAY]
        await eventually(lambda: counts[FaultKind.DELAY] > before or not app.running, _WITHIN_S)


async def check(
    data_dir: Path, trades: int, kills: int, seed: int, speed: float = _SPEED
) -> tuple[Outage, Findings]:
    """Play, and compare what is left. Raises `AssertionError`."""
    probe = Probe(data_dir)
    with tempfile.TemporaryDirectory() as made:
        async with played_market(capture_path(Path(made)), speed) as (exchange, _, wire):
            outage = Outage(data_dir, exchange, wire, probe)
            async with probe.following():
                await outage.play(trades, kills, random.Random(seed))
            findings = await compare(data_dir, wire, probe)
    assert not findings.trades.gaps, findings
    assert len(findings.trades.repaired) >= trades * 0.9, findings
    assert most_in_a_minute(outage.requests) <= _REQUESTS_A_MINUTE
    marked = await _marked_in_export(data_dir)
    assert marked == findings.trades.repaired, "the export marks others"
    return outage, findings


def most_in_a_minute(times_ms: list[int]) -> int:
    """Return how many of `times_ms`, in order, lie within any minute at most."""
    first = most = 0
    for last, at_ms in enumerate(times_ms):
        while at_ms - times_ms[first] >= _MINUTE_MS:
            first += 1
        most = max(most, last - first + 1)
    return most


async def _marked_in_export(data_dir: Path) -> AbstractSet[int]:
    """Return the ids of the trades that an export calls repaired: both their times are one."""
    path = data_dir.parent / "trades.csv"
    members = ("--format", "tardis-trades", "-o", str(path))
    async with running(data_dir, "export", SYMBOL, *members) as export:
        assert await export.until_ended() == 0, export.said
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    return {int(row["id"]) for row in rows if row["timestamp"] == row["local_timestamp"]}


def main() -> int:
    parser = argparse.ArgumentParser(description="Let a recorder miss trades, and make up for it.")
    parser.add_argument("--trades", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=_SPEED, help="a busy machine needs less")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        playing = check(data_dir, given.trades, given.kills, given.seed, given.speed)
        outage, findings = asyncio.run(playing)
    most = most_in_a_minute(outage.requests)
    print(f"{dict(outage.kills)}, {len(outage.requests)} requests, {most} in a minute, {findings}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
