"""Kills the recorder, its database or both, again and again, and checks what is left.

`python -m tests.faults.kill_matrix [--kills 50] [--seed 1] [--speed 60]` plays a capture, at speed
60 so that a minute closes, and is archived, each second. Each kill is a SIGKILL at a random moment:
while the program starts, recovers, records or archives. At the end the program is asked to
end, and everything is compared: `verify` passes; what the database had acknowledged is there,
as it was sent; what is not there lies in a gap, and the gap has a cause. Trades are whole: what a
kill cost of them was asked for again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from enum import Enum
from pathlib import Path

import psutil

from orderbook_desktop.core.segments import GapCause
from tests.bench.capture_data import capture_path
from tests.faults.comparison import Findings, compare
from tests.faults.market import SYMBOL, Wire, played_market, variables_of
from tests.faults.probe import Probe
from tests.faults.program import Program, running
from tests.storage.processes import eventually

_SPEED = 60.0
# A start takes about one second, and an archived minute another.
_SOON_S, _LATER_S = 1.2, 4.0
_SOON_OF_ALL = 0.35
# A busy machine may be as slow as the market is.
_CAUGHT_UP_WITHIN_S = 200.0


class Victim(Enum):
    """Whom a kill hits."""

    APP = "app"
    DATABASE = "database"
    BOTH = "both"


async def check(
    data_dir: Path, kills: int, seed: int, speed: float = _SPEED
) -> tuple[Counter[str], Findings]:
    """Do `kills` kills; return them by victim, and what was compared. Raises `AssertionError`."""
    probe, done = Probe(data_dir), Counter[str]()
    with tempfile.TemporaryDirectory() as made:
        async with played_market(capture_path(Path(made)), speed) as (exchange, _, wire):
            variables, chance = variables_of(exchange), random.Random(seed)
            async with probe.following():
                await _kill_again_and_again(data_dir, variables, probe, kills, chance, done)
                await _end_well(data_dir, variables, probe, wire)
            findings = await compare(data_dir, wire, probe)
    # A database that is killed alone costs nothing: its events wait for it.
    app_kills = done[Victim.APP.value] + done[Victim.BOTH.value]
    assert set(findings.gaps) <= {GapCause.CRASH.value}, findings
    assert findings.gaps.total() <= app_kills, findings
    assert not findings.trades.gaps, findings
    return done, findings


async def _kill_again_and_again(
    data_dir: Path,
    variables: dict[str, str],
    probe: Probe,
    kills: int,
    chance: random.Random,
    done: Counter[str],
) -> None:
    while done.total() < kills:
        async with running(data_dir, "record", SYMBOL, variables=variables, hasty=True) as app:
            while app.running and done.total() < kills:
                victim = chance.choice(list(Victim))
                at_start = chance.random() < _SOON_OF_ALL
                if not at_start:
                    # A busy machine starts slowly, and what records nothing loses nothing.
                    await app.until_said(f"{SYMBOL}: synced")
                await asyncio.sleep(chance.uniform(0.0, _SOON_S if at_start else _LATER_S))
                assert app.running, app.said
                await kill(app, victim, chance)
                done[victim.value] += 1
            look_for_bugs(app, data_dir)


async def _end_well(data_dir: Path, variables: dict[str, str], probe: Probe, wire: Wire) -> None:
    async with running(data_dir, "record", SYMBOL, variables=variables, hasty=True) as app:
        await app.until_said(f"{SYMBOL}: synced")
        # Into the middle of its work, again.
        await asyncio.sleep(_LATER_S)
        # When it is asked to end, what waits has to be written within seconds.
        await eventually(lambda: probe.has_caught_up(wire), _CAUGHT_UP_WITHIN_S)
        await until_no_trade_is_missing(app, probe)
        assert await app.end() == 0, app.said


async def until_no_trade_is_missing(app: Program, probe: Probe) -> None:
    """Wait until all trades before the newest one are stored; the exchange serves them all."""
    newest = probe.newest_trade
    async with asyncio.timeout(_CAUGHT_UP_WITHIN_S):
        while not await probe.is_whole(newest):
            assert app.running, app.said
            await asyncio.sleep(0.2)


async def kill(app: Program, victim: Victim, chance: random.Random) -> None:
    """Kill `victim`, and whom it names beside it a moment later."""
    if victim is not Victim.APP:
        for child in psutil.Process(app.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                os.kill(child.pid, signal.SIGKILL)
    if victim is Victim.BOTH:
        await asyncio.sleep(chance.uniform(0.0, 0.05))
    if victim is not Victim.DATABASE:
        await app.kill()


def look_for_bugs(app: Program, data_dir: Path) -> None:
    """Check that neither what it said nor its log has a traceback."""
    assert "Traceback" not in app.said, app.said
    for log in (data_dir / "logs").glob("*.log*"):
        text = log.read_text(encoding="utf-8")
        assert "Traceback" not in text, text


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the recorder again and again.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=_SPEED, help="a busy machine needs less")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        done, findings = asyncio.run(check(data_dir, given.kills, given.seed, given.speed))
    print(dict(done), findings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
