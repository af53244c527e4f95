"""Our server accepts only clients that know the password in its folder."""

from __future__ import annotations

import asyncio
import logging
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure

from orderbook_desktop.storage.errors import (
    DatabaseFolderBusy,
    NoDatabaseYet,
    OwnerUnlocked,
    OwnerUnproven,
    ServerFailed,
    UnknownToServer,
)
from orderbook_desktop.storage.server import server as server_module
from orderbook_desktop.storage.server.choice import ServerKind, ServerProgram
from orderbook_desktop.storage.server.credentials import (
    USER,
    keep_secret,
    new_secret,
    password_path,
    read_secret,
)
from orderbook_desktop.storage.server.folder_claim import FolderClaim, ServerRecord
from orderbook_desktop.storage.server.local_server import LocalServer
from orderbook_desktop.storage.server.places import OldPlace, Place
from orderbook_desktop.storage.server.readiness import child_dsn
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.server.times import ServerTimes
from orderbook_desktop.system.child import ChildProcess
from orderbook_desktop.system.ports import is_listening, private_port
from tests.leaks import OwnChildren
from tests.storage.fake_mongo import Document, hello, serving
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


def place_of(data_dir: Path) -> Place | OldPlace:
    record = FolderClaim(data_dir / "database").read()
    assert record is not None
    return record.place(data_dir / "database")


def files_with(text: str, folder: Path) -> list[str]:
    """Return the names of the files below `folder` that hold `text`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if text.encode() in path.read_bytes()]


@asynccontextmanager
async def open_to_all(data_dir: Path, port: int = 0) -> AsyncIterator[Client]:
    """Run the server without passwords, as an old version of the program did."""
    folder = data_dir / "database" / "secantus"
    folder.mkdir(parents=True)
    config = data_dir / "database" / "secantus.toml"
    config.touch()
    port = port or private_port()
    files = ["--config", str(config), "--storage-path", str(folder), "--log-level", "WARNING"]
    command = [sys.executable, "-P", "-m", "secantus", *files, "--port", str(port)]
    child = ChildProcess(command, folder.with_suffix(".log"))
    try:
        await until_listening(port)
        async with connected(child_dsn(OldPlace(port))) as client:
            yield client
    finally:
        await child.stop()


async def until_listening(port: int) -> None:
    async with asyncio.timeout(60):
        while not await is_listening(port):
            await asyncio.sleep(0.02)


async def test_no_client_gets_in_without_the_password(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as server:
        async with connected(server.dsn) as ours:
            await ours["book"]["things"].insert_one({"_id": 1})
        async with connected(child_dsn(place_of(tmp_path))) as stranger:
            for attempt in ATTEMPTS:
                for database in ("book", "admin"):
                    with pytest.raises(OperationFailure, match="requires authentication"):
                        await stranger[database].command(attempt)
        async with connected(child_dsn(place_of(tmp_path), "0" * 64)) as guesser:
            with pytest.raises(OperationFailure) as refused:
                await guesser["book"]["things"].find_one({})
            assert refused.value.code == 18
        async with connected(server.dsn) as ours:
            assert [one async for one in ours["book"]["things"].find({})] == [{"_id": 1}]


@pytest.mark.makes_database
@pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing there")
async def test_no_other_user_can_read_the_files(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o755)
    async with DatabaseServer(data_dir):
        for folder in (data_dir, data_dir / "database", data_dir / "database" / "secantus"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
        secret = password_path(data_dir / "database" / "secantus")
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.cold_start
@pytest.mark.makes_database
async def test_the_password_is_in_its_file_only(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    own_children: OwnChildren,
) -> None:
    caplog.set_level(logging.DEBUG)
    commands: set[str] = set()

    async def watch() -> None:
        while True:
            for child in own_children():
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
    # The server is locked from its first moment on.
    assert {"--auth" in command for command in commands if " serve " in command} == {True}
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
        async with connected(child_dsn(place_of(tmp_path))) as stranger:
            with pytest.raises(OperationFailure, match="requires authentication"):
                await stranger["book"]["things"].find_one({})


@pytest.mark.parametrize("lost", [True, False])
async def test_a_refused_password_is_reported_and_nothing_is_opened(
    tmp_path: Path, own_children: OwnChildren, *, lost: bool
) -> None:
    secret = password_path(tmp_path / "database" / "secantus")
    async with DatabaseServer(tmp_path) as server, connected(server.dsn) as client:
        await client["book"]["things"].insert_one({"_id": 1})
    right = secret.read_text()
    secret.unlink()
    if not lost:
        keep_secret(secret)
    with pytest.raises(UnknownToServer, match="doctor --reset-database-password") as refused:
        await DatabaseServer(tmp_path).start()
    assert str(secret) in str(refused.value)
    assert not own_children()
    secret.write_text(right)
    async with DatabaseServer(tmp_path) as server, connected(server.dsn) as client:
        assert await client["book"]["things"].find_one({}) == {"_id": 1}


async def test_a_database_that_was_moved_aside_keeps_its_password(tmp_path: Path) -> None:
    folder = tmp_path / "database" / "secantus"
    async with DatabaseServer(tmp_path) as server, connected(server.dsn) as client:
        await client["book"]["things"].insert_one({"_id": 1})
    folder.rename(tmp_path / "aside")
    async with DatabaseServer(tmp_path) as server, connected(server.dsn) as client:
        assert await client["book"]["things"].find_one({}) is None
    folder.rename(tmp_path / "new")
    (tmp_path / "aside").rename(folder)
    async with DatabaseServer(tmp_path) as server, connected(server.dsn) as client:
        assert await client["book"]["things"].find_one({}) == {"_id": 1}


async def test_who_came_while_all_were_let_in_is_removed(tmp_path: Path) -> None:
    async with open_to_all(tmp_path) as client:
        await client.admin.command({"createUser": "mallory", "pwd": "x", "roles": ["root"]})
    async with DatabaseServer(tmp_path) as server:
        async with connected(server.dsn) as ours:
            users = [one["user"] async for one in ours.admin["system.users"].find({})]
        assert users == [USER]
    log = tmp_path / "database" / "secantus.log"
    assert "user mallory of database admin is not ours: removed" in log.read_text()


async def test_other_copies_of_the_same_user_join(tmp_path: Path) -> None:
    async with other_copy(tmp_path) as owner:
        await owner.until("ready")
        async with DatabaseServer(tmp_path) as joined, connected(joined.dsn) as client:
            assert not joined.owned
            await client["book"]["things"].insert_one({"_id": 1})


async def test_the_server_of_a_copy_without_passwords_is_not_joined(
    tmp_path: Path, own_children: OwnChildren
) -> None:
    port = private_port()
    async with open_to_all(tmp_path, port):
        pid = own_children()[0].pid
        with claimed(tmp_path, port, pid), pytest.raises(OwnerUnlocked, match="open to every"):
            await DatabaseServer(tmp_path).start()


async def test_the_server_of_an_older_copy_is_joined_where_its_process_listens(
    tmp_path: Path, own_children: OwnChildren
) -> None:
    port = private_port()
    async with open_to_all(tmp_path, port) as client:
        # As after the first start of version 0.1.0, which locked a database after making it.
        password = keep_secret(password_path(tmp_path / "database" / "secantus"))
        await client.admin.command({"createUser": USER, "pwd": password, "roles": ["root"]})
        with claimed(tmp_path, port, own_children()[0].pid):
            async with DatabaseServer(tmp_path) as joined, connected(joined.dsn) as guest:
                assert not joined.owned
                await guest["book"]["things"].insert_one({"_id": 1})


@contextmanager
def claimed(data_dir: Path, port: int, pid: int) -> Iterator[None]:
    """Own the folder as an older copy of the program does, with process `pid` as its server."""
    claim = FolderClaim(data_dir / "database")
    assert claim.acquire()
    claim.publish(ServerRecord(port=port, kind=ServerKind.SECANTUS, owner_pid=1, pid=pid))
    try:
        yield
    finally:
        claim.release()


@pytest.mark.parametrize("whose", ["no process's", "another's"])
async def test_a_port_that_a_stranger_has_taken_is_not_joined(tmp_path: Path, whose: str) -> None:
    """If a copy was killed, or its server restarts, all users can read the port in its record."""
    (tmp_path / "database").mkdir()
    keep_secret(password_path(tmp_path / "database" / "secantus"))
    asked: list[str] = []

    def answer(name: str, _command: Document) -> Document:
        asked.append(name)
        return hello(setName="secantus", isWritablePrimary=True)

    idle = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "input()"), stdin=asyncio.subprocess.PIPE
    )
    async with serving(answer) as port:
        # A process that has ended, and one that got its id and does not listen there.
        pid = 2**22 - 1 if whose == "no process's" else idle.pid
        with (
            claimed(tmp_path, port, pid),
            pytest.raises(OwnerUnproven, match="belong to another user"),
        ):
            await DatabaseServer(tmp_path, times=ServerTimes(start_s=0.5)).start()
    idle.kill()
    await idle.wait()
    assert not asked


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
    password_path(folder).unlink()
    with pytest.raises(UnknownToServer):
        await DatabaseServer(tmp_path).start()


@pytest.mark.parametrize("behaviour", ["builtin", "replica-set"])
async def test_a_new_password_is_set_where_the_old_one_is_lost(
    tmp_path: Path, mongod_on_path: Callable[[str], None], behaviour: str
) -> None:
    if behaviour != "builtin":
        mongod_on_path(behaviour)
    async with DatabaseServer(tmp_path) as server:
        secret = password_path(tmp_path / "database" / server.kind.value)
        with pytest.raises(DatabaseFolderBusy, match="another copy of this program"):
            await DatabaseServer(tmp_path).reset_password()
    old = secret.read_text()
    secret.unlink()
    await DatabaseServer(tmp_path).reset_password()
    assert read_secret(secret)
    assert secret.read_text() != old
    async with DatabaseServer(tmp_path) as server:
        assert server.owned
    assert [path.name for path in secret.parent.glob("*.next")] == []


@pytest.mark.parametrize("behaviour", ["builtin", "replica-set"])
async def test_a_reset_that_is_cut_off_leaves_a_password_that_is_known(
    tmp_path: Path,
    mongod_on_path: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
) -> None:
    """The program is killed when the server has the new password, and the file has the old one."""
    if behaviour != "builtin":
        mongod_on_path(behaviour)
    async with DatabaseServer(tmp_path) as server:
        secret = password_path(tmp_path / "database" / server.kind.value)
    old = secret.read_text()

    replace = Path.replace

    def killed(path: Path, target: object) -> Path:
        if not isinstance(target, Path) or target == secret:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            await DatabaseServer(tmp_path).reset_password()
        patched.setattr(LocalServer, "_spawn", killed)
        with pytest.raises(KeyboardInterrupt):
            await DatabaseServer(tmp_path).reset_password()
    assert secret.read_text() == old
    for _ in range(2):
        async with DatabaseServer(tmp_path) as server:
            assert server.owned
        assert secret.read_text() != old
        assert [path.name for path in secret.parent.glob("*.next")] == []


async def test_the_draft_of_a_reset_does_no_harm(tmp_path: Path) -> None:
    """The program was killed before the server had the new password."""
    async with DatabaseServer(tmp_path) as server:
        secret = password_path(tmp_path / "database" / server.kind.value)
    old = secret.read_text()
    new_secret(secret.with_name(f"{secret.name}.next"))
    async with DatabaseServer(tmp_path):
        assert secret.read_text() == old
    secret.unlink()
    with pytest.raises(UnknownToServer):
        await DatabaseServer(tmp_path).start()


async def test_no_password_is_reset_where_there_is_no_database(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(NoDatabaseYet, match="record something first"):
            await DatabaseServer(tmp_path).reset_password()
        (tmp_path / "database").mkdir(exist_ok=True)


async def test_a_reset_that_fails_leaves_the_password_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = password_path(tmp_path / "database" / "secantus")
    async with DatabaseServer(tmp_path):
        old = secret.read_text()
    with monkeypatch.context() as patched:
        program = ServerProgram(ServerKind.SECANTUS, (sys.executable, "-c", "exit('broken')"))
        patched.setattr(server_module, "choose_program", lambda: program)
        with pytest.raises(ServerFailed, match="broken"):
            await DatabaseServer(tmp_path).reset_password()
    assert secret.read_text() == old
    async with DatabaseServer(tmp_path):
        pass
