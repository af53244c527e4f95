"""Files of the database that are damaged: said in one sentence, and left alone from then on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from orderbook_desktop.storage.errors import DatabaseDamaged
from orderbook_desktop.storage.server.server import DatabaseServer, ServerState
from orderbook_desktop.storage.server.start_failures import until_moved_aside
from orderbook_desktop.storage.server.times import ServerTimes
from tests.faults.market import variables_of
from tests.faults.program import running
from tests.leaks import OwnChildren
from tests.storage.processes import StateWatch, eventually

Client = AsyncIOMotorClient[dict[str, Any]]
Damage = Callable[[Path], object]


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for place in range(len(content) // 8, len(content), max(1, len(content) // 8)):
        content[place] ^= 0xFF
    file.write_bytes(content)


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def removed(file: Path) -> None:
    file.unlink()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the data folder that the tests copy."""
    return tmp_path_factory.mktemp("sound") / "data"


async def a_copy(recording: Path, data_dir: Path) -> Path:
    """Make a data folder with something in it; return the folder of the database's files."""
    if not await asyncio.to_thread(recording.exists):
        async with DatabaseServer(recording) as server:
            client: Client = AsyncIOMotorClient(server.dsn)
            things = [{"_id": number, "text": "x" * 500} for number in range(1_000)]
            await client["book"]["things"].insert_many(things)
            client.close()
    shutil.copytree(recording, data_dir)
    return data_dir / "database" / "secantus"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("WiredTiger.turtle", halved),
        ("WiredTiger.turtle", emptied),
        ("WiredTiger.turtle", removed),
        ("WiredTiger.turtle", flipped),
        ("WiredTiger.wt", flipped),
        ("WiredTiger.wt", removed),
        ("WiredTigerHS.wt", halved),
        ("secantus_oplog.wt", flipped),
        ("secantus_users.wt", emptied),
    ],
)
@pytest.mark.allows_log("failed in its files")
async def test_a_start_on_damaged_files_says_so(
    recording: Path, tmp_path: Path, name: str, damage: Damage
) -> None:
    folder = await a_copy(recording, tmp_path / "data")
    damage(folder / name)
    files = {path.name for path in folder.glob("secantus*")}
    server = DatabaseServer(tmp_path / "data")
    with pytest.raises(DatabaseDamaged) as caught:
        await server.start()
    assert str(caught.value) == (
        f"The database files in {folder} are damaged; to go on with an empty database, move "
        f"that folder aside (details: {folder.with_suffix('.log')})."
    )
    # Nothing was made anew in their place.
    assert {path.name for path in folder.glob("secantus*")} == files


@pytest.mark.expects_log("the database server ended by itself")
@pytest.mark.allows_log("the database server could not be started")
@pytest.mark.allows_log("failed in its files")
async def test_damage_that_is_met_later_is_no_endless_restart(
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    own_children: OwnChildren,
) -> None:
    left_alone = asyncio.Event()

    async def noted(damaged: Path, look_every_s: float) -> None:
        left_alone.set()
        await until_moved_aside(damaged, look_every_s)

    monkeypatch.setattr("orderbook_desktop.storage.server.server.until_moved_aside", noted)
    folder = await a_copy(recording, tmp_path / "data")
    emptied(folder / "secantus_collections.wt")
    times = ServerTimes(moved_look_s=0.01)
    async with DatabaseServer(tmp_path / "data", times=times) as server:
        watch = StateWatch(server)
        client: Client = AsyncIOMotorClient(server.dsn, serverSelectionTimeoutMS=100)
        sentence = f"The database files in {folder} are damaged; to go on with an empty database"
        suspicion = f"The database server could not use its files in {folder}"
        # A program that wants what is in the damaged file asks again and again.
        while not left_alone.is_set():
            with pytest.raises(PyMongoError):
                await client["book"]["things"].insert_one({})
        starts = 1 + watch.seen.count(ServerState.READY)
        # Where it asks so early that a start meets the damage, that is the last one.
        met_by_a_start = (
            "the database server could not be started: The database files" in caplog.text
        )
        assert starts < 3 if met_by_a_start else starts == 3
        assert server.state is ServerState.AWAY
        assert server.state_detail.startswith(sentence)
        # Until it was proven nothing was said of damage; from then on nothing else.
        told = [one.startswith(sentence) for one in watch.details]
        assert all(one.startswith((sentence, suspicion)) for one in watch.details)
        assert told == sorted(told)
        assert not own_children()

        folder.rename(tmp_path / "aside")
        await eventually(lambda: server.state is ServerState.READY)
        assert server.state_detail == ""
        client.close()
        # Another database has another password.
        client = AsyncIOMotorClient(server.dsn)
        try:
            await client["book"]["things"].insert_one({})
        finally:
            client.close()


async def test_a_recorder_says_it_and_ends(recording: Path, tmp_path: Path) -> None:
    folder = await a_copy(recording, tmp_path / "data")
    flipped(folder / "WiredTiger.wt")
    async with (
        LocalExchange(SyntheticSource(seed=7)) as exchange,
        running(
            *(tmp_path / "data", "record", "BTC/USDT"), variables=variables_of(exchange)
        ) as program,
    ):
        assert await program.until_ended() == 1
    assert f"The database files in {folder} are damaged" in program.said
    assert "Traceback" not in program.said


async def test_a_window_stays_and_says_it(recording: Path, tmp_path: Path) -> None:
    folder = await a_copy(recording, tmp_path / "data")
    flipped(folder / "WiredTiger.wt")
    log = tmp_path / "data" / "logs" / "production.log"
    async with (
        LocalExchange(SyntheticSource(seed=7)) as exchange,
        running(tmp_path / "data", variables=variables_of(exchange)) as program,
    ):
        await eventually(lambda: log.exists() and "are damaged" in log.read_text())
        folder.rename(tmp_path / "aside")
        await eventually(lambda: "database ready" in log.read_text())
        assert await program.end() == 0
    assert log.read_text().count("are damaged") == 1
