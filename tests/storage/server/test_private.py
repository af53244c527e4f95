"""A server of ours lets in who knows the password in its folder, and nobody else."""

from __future__ import annotations

import asyncio
import logging
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure

from orderbook_desktop.storage.server import local_server
from orderbook_desktop.storage.server.child import ChildProcess
from orderbook_desktop.storage.server.choice import ServerKind, choose_program
from orderbook_desktop.storage.server.credentials import (
    USER,
    keep_secret,
    password_path,
    read_secret,
)
from orderbook_desktop.storage.server.folder_claim import FolderClaim, ServerRecord
from orderbook_desktop.storage.server.ports import private_port
from orderbook_desktop.storage.server.readiness import child_dsn, ready_server
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.server.tables import make_tables
from tests.storage.processes import other_copy

Client = AsyncIOMotorClient[dict[str, Any]]

# One command of each kind: reading, watching, writing, managing, looking inside.
ATTEMPTS: list[dict[str, Any]] = [
    {"find": "things"},
    {"aggregate": "things", "pipeline": [], "cursor": {}},
    {"aggregate": 1, "pipeline": [{"$changeStream": {}}], "cursor": {}},
    {"insert": "things", "documents": [{"_id": 2}]},
    {"update": "things", "updates": [{"q": {}, "u": {"$set": {"x": 1}}}]},
    {"delete": "things", "deletes": [{"q": {}, "limit": 0}]},
    {"drop": "things"},
    {"dropDatabase": 1},
    {"listCollections": 1},
    {"createUser": "mallory", "pwd": "x", "roles": ["root"]},
    {"updateUser": USER, "pwd": "x"},
    {"usersInfo": 1},
    {"getLog": "global"},
    {"currentOp": 1},
    {"setParameter": 1, "logLevel": 1},
]


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Client]:
    client: Client = AsyncIOMotorClient(dsn)
    try:
        yield client
    finally:
        client.close()


def port_of(server: DatabaseServer) -> int:
    return int(server.dsn.rpartition("127.0.0.1:")[2].partition("/")[0])


def files_with(text: str, folder: Path) -> list[str]:
    """Return the names of the files below `folder` that hold `text`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if text.encode() in path.read_bytes()]


@asynccontextmanager
async def open_to_all(data_dir: Path, port: int = 0) -> AsyncIterator[Client]:
    """Run the server as the version of the program did that knew no passwords."""
    folder = data_dir / "database" / "secantus"
    folder.mkdir(parents=True)
    (data_dir / "database" / "secantus.toml").touch()
    port = port or private_port()
    command = choose_program().command_line(port, folder, locked=False)
    child = ChildProcess(command, folder.with_suffix(".log"))
    try:
        async with ready_server(port, ServerKind.SECANTUS) as client:
            yield client
    finally:
        await child.stop()


async def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as server:
        async with connected(server.dsn) as ours:
            await ours["book"]["things"].insert_one({"_id": 1})
        async with connected(child_dsn(port_of(server))) as stranger:
            for attempt in ATTEMPTS:
                for database in ("book", "admin"):
                    with pytest.raises(OperationFailure, match="requires authentication"):
                        await stranger[database].command(attempt)
        async with connected(child_dsn(port_of(server), "0" * 64)) as guesser:
            with pytest.raises(OperationFailure) as refused:
                await guesser["book"]["things"].find_one({})
            assert refused.value.code == 18
        async with connected(server.dsn) as ours:
            assert [one async for one in ours["book"]["things"].find({})] == [{"_id": 1}]


@pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing there")
async def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o755)
    async with DatabaseServer(data_dir):
        for folder in (data_dir, data_dir / "database", data_dir / "database" / "secantus"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
        secret = password_path(data_dir / "database" / "secantus")
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


async def test_the_password_is_in_its_file_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    commands: set[str] = set()

    async def watch() -> None:
        while True:
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    commands.add(" ".join([*child.cmdline(), *child.environ().values()]))
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    async with DatabaseServer(tmp_path) as server, connected(server.dsn) as client:
        await client["book"]["things"].insert_one({"_id": 1})
        shown = f"{server!r} {client!r} {server.state_detail}"
    watching.cancel()
    folder = tmp_path / "database" / "secantus"
    password = read_secret(password_path(folder))
    assert password
    # Once open to all, while it is made elsewhere and told the password, and once locked.
    assert {"--auth" in command for command in commands} == {True, False}
    assert password not in "".join(commands)
    assert password not in caplog.text
    assert password not in shown
    assert files_with(password, tmp_path) == [password_path(folder).name]


async def test_recordings_of_the_version_without_passwords_are_kept(tmp_path: Path) -> None:
    async with open_to_all(tmp_path) as client:
        await client["book"]["things"].insert_one({"_id": 1})
    async with DatabaseServer(tmp_path) as server:
        async with connected(server.dsn) as client:
            assert await client["book"]["things"].find_one({}) == {"_id": 1}
        async with connected(child_dsn(port_of(server))) as stranger:
            with pytest.raises(OperationFailure, match="requires authentication"):
                await stranger["book"]["things"].find_one({})


@pytest.mark.parametrize("left", ["password", "database"])
async def test_password_and_database_find_together_again(tmp_path: Path, left: str) -> None:
    """Whichever of the two is missing or from elsewhere, such as after a folder was moved."""
    folder = tmp_path / "database" / "secantus"
    async with DatabaseServer(tmp_path):
        pass
    if left == "database":
        password_path(folder).unlink()
        keep_secret(password_path(folder))
    else:
        folder.rename(tmp_path / "aside")
    async with DatabaseServer(tmp_path) as server, connected(server.dsn) as client:
        await client["book"]["things"].insert_one({"_id": 1})


@pytest.mark.expects_log("user mallory of database admin is not ours: removed")
async def test_who_came_while_all_were_let_in_is_removed(tmp_path: Path) -> None:
    async with open_to_all(tmp_path) as client:
        await client.admin.command({"createUser": "mallory", "pwd": "x", "roles": ["root"]})
    async with DatabaseServer(tmp_path) as server:
        async with connected(server.dsn) as ours:
            users = [one["user"] async for one in ours.admin["system.users"].find({})]
        assert users == [USER]


@pytest.mark.expects_log("database book is not ours: removed")
async def test_what_was_put_there_while_all_were_let_in_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def make_tables_beside_mallory(client: Client) -> None:
        await make_tables(client)
        await client["book"]["segments"].insert_one({"_id": "forged"})

    monkeypatch.setattr(local_server, "make_tables", make_tables_beside_mallory)
    async with DatabaseServer(tmp_path) as server, connected(server.dsn) as ours:
        assert "book" not in await ours.list_database_names()


async def test_a_password_is_told_to_one_server_only(tmp_path: Path) -> None:
    """Else somebody who had the port of an attempt that failed would know that of the next."""
    secret = password_path(tmp_path / "database" / "secantus")
    async with DatabaseServer(tmp_path):
        first = read_secret(secret)
    (tmp_path / "database" / "secantus").rename(tmp_path / "aside")
    async with DatabaseServer(tmp_path) as server:
        assert first
        assert read_secret(secret) not in ("", first)
        assert read_secret(secret) in server.dsn


async def test_other_copies_of_the_same_user_join(tmp_path: Path) -> None:
    async with other_copy(tmp_path) as owner:
        await owner.until("ready")
        async with DatabaseServer(tmp_path) as joined, connected(joined.dsn) as client:
            assert not joined.owned
            await client["book"]["things"].insert_one({"_id": 1})


async def test_the_server_of_a_copy_without_passwords_is_joined_too(tmp_path: Path) -> None:
    port = private_port()
    async with open_to_all(tmp_path, port):
        claim = FolderClaim(tmp_path / "database")
        assert claim.acquire()
        claim.publish(ServerRecord(port=port, kind=ServerKind.SECANTUS, owner_pid=1, pid=1))
        async with DatabaseServer(tmp_path) as joined, connected(joined.dsn) as client:
            assert not joined.owned
            await client["book"]["things"].insert_one({"_id": 1})
        claim.release()


async def test_a_mongod_is_locked_too(
    tmp_path: Path, mongod_on_path: Callable[[str], None]
) -> None:
    mongod_on_path("replica-set")
    folder = tmp_path / "database" / "mongod"
    async with DatabaseServer(tmp_path) as server:
        assert server.pid is not None
        command = psutil.Process(server.pid).cmdline()
        assert command[command.index("--keyFile") + 1] == str(folder.with_suffix(".key"))
        assert read_secret(password_path(folder)) in server.dsn
    commands = folder / "commands.txt"
    assert "createUser" in commands.read_text()
    commands.unlink()
    async with DatabaseServer(tmp_path):
        assert "createUser" not in commands.read_text()
