"""Another user of the computer gets nothing, neither by asking nor in the database's name.

The attack is the one of `attacker`. It opened the database to all, in every try, while a server
had a port that stood on its command line. `ATTACKS=50` makes fifty of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from orderbook_desktop.storage.server.places import Transport
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.server.times import ServerTimes
from tests.storage.processes import ROOT, StateWatch, eventually

_DATABASE = f"attacked{os.getpid()}"
ATTACKS = int(os.environ.get("ATTACKS", "2"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that all users could enter if the program did not close it."""
    with tempfile.TemporaryDirectory(prefix="od-") as parent:
        os.chmod(parent, 0o755)  # noqa: PTH101 - it is text
        folder = Path(parent) / "data"
        folder.mkdir(mode=0o755)
        yield folder


@asynccontextmanager
async def attacked(data_dir: Path) -> AsyncIterator[dict[str, Any]]:
    """Run the attacker inside the context; its results are known afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.storage.server.attacker", data_dir.parent.name, _DATABASE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert await process.stdout.readline() == b"attacking\n"
    got: dict[str, Any] = {}
    try:
        yield got
    finally:
        process.stdin.close()
        said, _ = await process.communicate()
        got.update(json.loads(said))


async def use(server: DatabaseServer, number: int) -> None:
    """Write, and find what was written before."""
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(server.dsn)
    things = client[_DATABASE]["things"]
    await things.insert_one({"_id": number})
    assert await things.count_documents({}) == number + 1
    client.close()


@pytest.mark.timeout(240 + ATTACKS * 60)
@pytest.mark.expects_log("the database server ended by itself")
@pytest.mark.allows_log("is taken by a program of another user|is taken by process")
@pytest.mark.parametrize("transport", Transport)
async def test_another_user_gets_nothing(data_dir: Path, transport: Transport) -> None:
    times = ServerTimes(port_s=0.0)
    async with attacked(data_dir) as got:
        for number in range(ATTACKS):
            async with DatabaseServer(data_dir, transport=transport, times=times) as server:
                await use(server, 2 * number)
                watch = StateWatch(server)
                assert server.pid is not None
                os.kill(server.pid, 9)
                await eventually(watch.recovered)
                await use(server, 2 * number + 1)
    assert got["asked"] > 0
    # It gets no data without the password, and no command at a place that it has taken.
    assert got["served"] == []
    assert got["heard"] == []
    if transport is Transport.SOCKET:
        assert [name for name in got["bound"] if name.endswith(".sock")] == []
