"""A system that denies the database what it needs: said as that, never as damage of its files."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from msgspec.structs import replace
from pymongo.errors import PyMongoError

from orderbook_desktop.storage.errors import (
    DatabaseError,
    DataFolderFull,
    DataFolderUnusable,
    FileSizeLimited,
    NoFileHandles,
    NoMemory,
)
from orderbook_desktop.storage.server import start_failures
from orderbook_desktop.storage.server.choice import choose_program
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.server.start_failures import lack_of
from tests.storage.processes import StateWatch, eventually

if sys.platform != "linux":
    pytest.skip("limits are set as Linux has them", allow_module_level=True)

import resource

Client = AsyncIOMotorClient[dict[str, Any]]
THINGS = 1_000
# Also for root, who may read and write what a file's mode denies to all.
AS_A_USER = ("/usr/bin/setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a database that the tests copy."""
    data_dir = tmp_path_factory.mktemp("sound") / "data"

    async def fill() -> None:
        async with DatabaseServer(data_dir) as server:
            client: Client = AsyncIOMotorClient(server.dsn)
            things = [{"_id": number, "text": "x" * 500} for number in range(THINGS)]
            await client["book"]["things"].insert_many(things)
            client.close()

    asyncio.run(fill())
    return data_dir


@pytest.fixture
def data_dir(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "data"))


def server_under(data_dir: Path, *prefix: str) -> DatabaseServer:
    """Return a server whose child is run by the command `prefix`."""
    program = choose_program()
    return DatabaseServer(data_dir, program=replace(program, command=(*prefix, *program.command)))


def limited(limit: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", f'ulimit {limit}; exec "$@"', "sh")


async def has_everything(data_dir: Path) -> bool:
    async with DatabaseServer(data_dir) as server:
        client: Client = AsyncIOMotorClient(server.dsn)
        try:
            return await client["book"]["things"].count_documents({}) == THINGS
        finally:
            client.close()


@pytest.mark.parametrize(
    ("limit", "kind"),
    [
        ("-n 12", NoFileHandles),
        ("-n 24", NoFileHandles),
        ("-v 204800", NoMemory),
        ("-v 225280", NoMemory),
        ("-f 0", FileSizeLimited),
        ("-f 100", FileSizeLimited),
    ],
)
async def test_a_limit_is_named(limit: str, kind: type[DatabaseError], data_dir: Path) -> None:
    with pytest.raises(kind) as caught:
        await server_under(data_dir, *limited(limit)).start()
    assert str(data_dir / "database" / "secantus") in str(caught.value)
    assert "damage" not in str(caught.value)
    assert await has_everything(data_dir)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("WiredTiger.lock", 0o000),
        ("WiredTiger.turtle", 0o444),
        ("WiredTiger.wt", 0o000),
        ("WiredTigerHS.wt", 0o444),
        ("secantus_oplog.wt", 0o000),
    ],
)
async def test_a_file_that_may_not_be_opened_is_no_damage(
    name: str, mode: int, data_dir: Path
) -> None:
    file = data_dir / "database" / "secantus" / name
    file.chmod(mode)
    with pytest.raises(DataFolderUnusable, match="Permission denied"):
        await server_under(data_dir, *AS_A_USER).start()
    file.chmod(0o600)
    assert await has_everything(data_dir)


@pytest.mark.expects_log("the database server ended by itself")
@pytest.mark.allows_log("the database server could not be started")
@pytest.mark.parametrize(
    ("limit", "at_most", "words"),
    [
        (resource.RLIMIT_FSIZE, 4_096, "may not write files as large as it needs"),
        (resource.RLIMIT_NOFILE, 5, "because the limit of open files is reached"),
    ],
)
async def test_a_limit_that_is_met_later_is_named(
    limit: int, at_most: int, words: str, data_dir: Path
) -> None:
    """The engine panics then; the next start, without that limit, has everything again."""
    async with DatabaseServer(data_dir) as server:
        watch = StateWatch(server)
        assert server.pid is not None
        client: Client = AsyncIOMotorClient(server.dsn, serverSelectionTimeoutMS=500)
        big = "x" * 100_000
        await client["book"]["others"].insert_one({"text": big})
        resource.prlimit(server.pid, limit, (at_most, at_most))
        while not watch.seen:
            try:
                await client["book"]["others"].insert_many([{"text": big} for _ in range(20)])
            except PyMongoError:
                await asyncio.sleep(0.05)
        await eventually(watch.recovered)
        client.close()
        assert words in watch.details[0]
        assert not any("damaged" in told for told in watch.details)
    assert await has_everything(data_dir)


@pytest.mark.parametrize("limit", ["-n 24", "-v 1500000", "-f 100"])
async def test_a_command_under_a_limit_ends_with_a_sentence(limit: str, data_dir: Path) -> None:
    """All of the program is under the limit, and none of it breaks down over that."""
    program = await asyncio.create_subprocess_exec(
        *limited(limit),
        *(sys.executable, "-m", "orderbook_desktop", "recordings", "--data-dir", str(data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await program.communicate())[0].decode()
    assert "Traceback" not in said
    assert "damaged" not in said
    assert program.returncode in (0, 1), said
    assert await has_everything(data_dir)


def test_nothing_is_lacking_here(sound: Path) -> None:
    folder = sound / "database" / "secantus"
    before = {path.name for path in folder.parent.iterdir()}
    assert lack_of(folder) is None
    assert {path.name for path in folder.parent.iterdir()} == before


def test_a_limit_of_our_own_is_found(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is started under it may well call its files damaged."""
    for name, kind in (
        ("RLIMIT_NOFILE", NoFileHandles),
        ("RLIMIT_FSIZE", FileSizeLimited),
        ("RLIMIT_AS", NoMemory),
        ("RLIMIT_NPROC", NoMemory),
    ):
        limits = {name: 50}
        monkeypatch.setattr(start_failures, "_limit", limits.get)
        assert type(lack_of(sound / "database" / "secantus")) is kind


def test_a_full_disk_is_found(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = shutil.disk_usage(sound)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: used._replace(free=1_000_000))
    assert isinstance(lack_of(sound / "database" / "secantus"), DataFolderFull)


def test_a_folder_that_is_gone_is_found(tmp_path: Path) -> None:
    assert isinstance(lack_of(tmp_path / "none"), DataFolderUnusable)
