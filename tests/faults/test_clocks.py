"""Clocks that jump by an hour: the recording goes on, and tells the times as they came."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from pathlib import Path

import psutil
import pytest

from orderbook_desktop.exchange.local import write_capture
from tests.faults.comparison import compare
from tests.faults.market import SYMBOL, played_market, variables_of
from tests.faults.probe import Probe
from tests.faults.program import Program, running

HOUR_S = 3600
_CLOCK_OF_EXCHANGE = re.compile(rb'"([ET])":(\d+)')

# The probe's own client says so when it can't close a cursor of the database that has ended.
LEAVE = pytest.mark.allows_log("MongoClient background task encountered an error")


def capture_with_jumps(folder: Path) -> Path:
    """Make a capture of 8 minutes whose event times jump an hour ahead, and later back."""
    plain = write_capture(folder / "plain.gz", seed=3, seconds=480, streams=["depth@100ms"])
    with gzip.open(plain) as file:
        lines = file.readlines()

    def late(match: re.Match[bytes]) -> bytes:
        return b'"%s":%d' % (match[1], int(match[2]) + HOUR_S * 1000)

    third = len(lines) // 3
    lines[third : 2 * third] = [
        _CLOCK_OF_EXCHANGE.sub(late, line) for line in lines[third : 2 * third]
    ]
    capture = folder / "jumps.jsonl"
    capture.write_bytes(b"".join(lines))
    return capture


async def record_and_compare(capture: Path, data_dir: Path, variables: dict[str, str]) -> None:
    """Play the capture to its end into a recorder, and check that nothing came of the jumps."""
    probe = Probe(data_dir)
    async with played_market(capture, speed=28, loop=False) as (exchange, _, wire):
        given = {**variables_of(exchange), **variables}
        arguments = (data_dir, "record", SYMBOL)
        async with (
            probe.following(),
            running(*arguments, variables=given, hasty=True) as app,
        ):
            async with asyncio.timeout(120):
                await exchange.finished()
            async with asyncio.timeout(120):
                while await probe.last_id() < max(wire.payloads):
                    await asyncio.sleep(0.1)
                # The rest is too young yet.
                while await probe.archived_events() < len(probe.seen) / 2:
                    await asyncio.sleep(0.1)
            await _it_rests(app)
            assert await app.end() == 0, app.said
    assert "Traceback" not in app.said
    findings = await compare(data_dir, wire, probe)
    assert not findings.gaps, findings


async def _it_rests(app: Program) -> None:
    """Check that app and database, with nothing to do, do little: less than half of a core.

    What is still to be archived may take them a while before.
    """
    parts = [psutil.Process(app.pid), *psutil.Process(app.pid).children(recursive=True)]
    async with asyncio.timeout(60):
        used = [1.0]
        while max(used) >= 1.0:
            before = [sum(one.cpu_times()[:2]) for one in parts]
            await asyncio.sleep(2)
            now = [sum(one.cpu_times()[:2]) for one in parts]
            used = [after - spent for after, spent in zip(now, before, strict=True)]


@LEAVE
async def test_that_of_the_exchange(tmp_path: Path) -> None:
    capture = await asyncio.to_thread(capture_with_jumps, tmp_path)
    await record_and_compare(capture, tmp_path / "data", {})


@LEAVE
async def test_our_own(tmp_path: Path) -> None:
    """Of the program and of its database: an hour ahead, and then two back."""
    capture = await asyncio.to_thread(
        write_capture, tmp_path / "plain.gz", seed=3, seconds=480, streams=["depth@100ms"]
    )
    now = time.monotonic()
    variables = {
        "PYTHONPATH": str(Path(__file__).with_name("jumping_clock")),
        "CLOCK_JUMPS": f"{now + 6}:{HOUR_S},{now + 11}:{-2 * HOUR_S}",
    }
    await record_and_compare(capture, tmp_path / "data", variables)
