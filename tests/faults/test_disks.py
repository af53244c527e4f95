"""A disk that is full, and one that can't be written: said in a sentence, and nothing is lost."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from tests.bench.capture_data import capture_path
from tests.faults.comparison import compare
from tests.faults.conftest import Mount
from tests.faults.market import SYMBOL, played_market, variables_of
from tests.faults.probe import Probe
from tests.faults.program import running
from tests.storage.processes import eventually

# What a database takes when it is empty is half of this.
_DISK = "size=64m"
_ROOM_BYTES = 2_000_000


# The probe's own client says so when it can't close a cursor of the database that is away.
@pytest.mark.allows_log("MongoClient background task encountered an error")
async def test_a_full_disk_costs_nothing(mount: Mount, tmp_path: Path) -> None:
    """The engine of the database panics where it can't write; the events wait in memory."""
    disk = mount(_DISK)
    data_dir, ballast = disk / "data", disk / "ballast"
    probe = Probe(data_dir)
    async with played_market(capture_path(tmp_path), speed=20) as (exchange, _, wire):
        # Not paused before: this is what comes when others fill the disk at once.
        variables = {**variables_of(exchange), "ORDERBOOK_LOW_DISK_GB": "0"}
        async with (
            probe.following(),
            running(data_dir, "record", SYMBOL, variables=variables) as app,
        ):
            await app.until_said(f"{SYMBOL}: synced")
            await eventually(lambda: len(probe.seen) > 100)
            await asyncio.to_thread(fill, ballast)
            await app.until_said(f"The disk of the data folder {data_dir}")
            await app.until_said("is full; free some space")
            # It goes on trying while nothing changes.
            seen = len(probe.seen)
            await asyncio.sleep(2)
            assert app.running
            ballast.unlink()
            await eventually(lambda: len(probe.seen) > seen + 100)
            # When it is asked to end, what waits has to be written within seconds.
            await eventually(lambda: probe.has_caught_up(wire))
            assert await app.end() == 0, app.said
    assert "Traceback" not in app.said
    findings = await compare(data_dir, wire, probe)
    assert not findings.gaps


def fill(ballast: Path) -> None:
    """Take all the room there is, but a little."""
    left = shutil.disk_usage(ballast.parent).free - _ROOM_BYTES
    with ballast.open("wb") as file:
        file.write(bytes(left))


@pytest.mark.makes_database
async def test_a_full_disk_at_the_start_is_said(mount: Mount) -> None:
    data_dir = mount("size=128k") / "data"
    async with LocalExchange(SyntheticSource(seed=7)) as exchange:
        variables = {**variables_of(exchange), "ORDERBOOK_LOW_DISK_GB": "0"}
        async with running(data_dir, "record", SYMBOL, variables=variables) as app:
            assert await app.until_ended() == 1
    assert f"The disk of the data folder {data_dir}" in app.said
    assert "Traceback" not in app.said


@pytest.mark.makes_database
async def test_a_read_only_disk_is_said(mount: Mount) -> None:
    data_dir = mount(_DISK) / "data"
    data_dir.mkdir()
    mount(f"ro,{_DISK}")
    async with (
        LocalExchange(SyntheticSource(seed=7)) as exchange,
        running(data_dir, "record", SYMBOL, variables=variables_of(exchange)) as app,
    ):
        assert await app.until_ended() == 1
    assert "(Read-only file system); choose another with ORDERBOOK_DATA_DIR." in app.said
    assert "Traceback" not in app.said
