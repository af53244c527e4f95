"""A `mongod` on the PATH is used before the builtin database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from orderbook_desktop.storage.errors import (
    DatabaseFolderBusy,
    DataFolderFull,
    PlaceTaken,
    ServerFailed,
)
from orderbook_desktop.storage.server.server import DatabaseServer, ServerKind
from tests.leaks import OwnChildren
from tests.storage.processes import StateWatch, eventually

PutMongod = Callable[[str], None]


async def test_is_used_before_the_builtin_one(tmp_path: Path, mongod_on_path: PutMongod) -> None:
    mongod_on_path("secantus")
    async with DatabaseServer(tmp_path) as server:
        assert server.kind is ServerKind.MONGOD
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(server.dsn)
        await client["test"]["numbers"].insert_one({"_id": 1})
        client.close()
    assert any((tmp_path / "database" / "mongod").iterdir())
    assert not (tmp_path / "database" / "secantus").exists()


async def test_is_initiated_once(tmp_path: Path, mongod_on_path: PutMongod) -> None:
    mongod_on_path("replica-set")
    commands = tmp_path / "database" / "mongod" / "commands.txt"
    async with DatabaseServer(tmp_path):
        assert commands.read_text().split().count("replSetInitiate") == 1
    async with DatabaseServer(tmp_path):
        assert commands.read_text().split().count("replSetInitiate") == 1
        assert "replSetReconfig" not in commands.read_text()


async def test_follows_to_another_place(tmp_path: Path, mongod_on_path: PutMongod) -> None:
    mongod_on_path("replica-set")
    async with DatabaseServer(tmp_path / "one") as server:
        dsn = server.dsn
    (tmp_path / "one").rename(tmp_path / "two")
    async with DatabaseServer(tmp_path / "two") as server:
        assert server.dsn != dsn
    commands = (tmp_path / "two" / "database" / "mongod" / "commands.txt").read_text()
    assert commands.split().count("replSetReconfig") == 1


async def test_tells_of_recordings_in_the_other_database(
    tmp_path: Path, mongod_on_path: PutMongod
) -> None:
    async with DatabaseServer(tmp_path) as server:
        assert server.state_detail == ""
    mongod_on_path("replica-set")
    async with DatabaseServer(tmp_path) as server:
        assert str(tmp_path / "database" / "secantus") in server.state_detail


@pytest.mark.parametrize(
    ("said", "error", "sentence"),
    [
        ("boost::filesystem: No space left on device", DataFolderFull, "full"),
        ("exception: unknown option --wrong.", ServerFailed, r"\(exception: unknown option --wro"),
    ],
)
async def test_failures_are_one_sentence(
    tmp_path: Path,
    mongod_on_path: PutMongod,
    said: str,
    error: type[Exception],
    sentence: str,
    own_children: OwnChildren,
) -> None:
    mongod_on_path(f"says {said}")
    with pytest.raises(error, match=sentence):
        await DatabaseServer(tmp_path).start()
    assert said in (tmp_path / "database" / "mongod.log").read_text()
    assert not own_children()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("DBPathInUse: Unable to lock the lock file", DatabaseFolderBusy),
        ("Failed to set up listener: SocketException: Address already in use", PlaceTaken),
    ],
)
async def test_what_may_pass_is_tried_again_for_a_while(
    tmp_path: Path,
    mongod_on_path: PutMongod,
    said: str,
    error: type[Exception],
) -> None:
    now = 0.0
    mongod_on_path(f"says {said}")
    log = tmp_path / "database" / "mongod.log"
    starting = asyncio.create_task(DatabaseServer(tmp_path, now=lambda: now).start())
    await eventually(lambda: log.exists() and log.read_text().count(said) > 1)
    assert not starting.done()
    now = 1_000.0
    with pytest.raises(error):
        await starting


@pytest.mark.expects_log("the database server ended by itself")
async def test_a_server_whose_storage_engine_broke_is_replaced(
    tmp_path: Path, mongod_on_path: PutMongod
) -> None:
    mongod_on_path("replica-set")
    async with DatabaseServer(tmp_path) as server:
        watch = StateWatch(server)
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(server.dsn)
        # The error is answered, or the connection is lost already.
        with pytest.raises(PyMongoError):
            await client.admin.command("panic")
        await eventually(watch.recovered)
        client.close()
