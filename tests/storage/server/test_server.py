from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import sys
from pathlib import Path

import psutil
import pytest
import qasync
from motor.motor_asyncio import AsyncIOMotorClient
from PySide6.QtWidgets import QApplication

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.storage.errors import (
    DatabaseDamaged,
    DataFolderUnusable,
    NoDatabaseProgram,
    StandaloneServer,
)
from orderbook_desktop.storage.server.places import Transport
from orderbook_desktop.storage.server.server import DatabaseServer, ServerKind, ServerState
from orderbook_desktop.storage.server.times import SERVER_TIMES, ServerTimes
from tests.leaks import OwnChildren
from tests.storage.processes import StateWatch, eventually, is_gone

ENDED = pytest.mark.expects_log("WARNING .*server: the database server ended by itself")


def kill_child(server: DatabaseServer) -> int:
    """Kill the server's process as a crash would; return its id."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, 9)
    return pid


@pytest.mark.cold_start
@pytest.mark.makes_database
async def test_runs_the_builtin_database_where_nothing_else_is(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as server:
        assert server.state is ServerState.READY
        assert server.kind is ServerKind.SECANTUS
        assert server.owned
        assert server.pid is not None
        process = psutil.Process(server.pid)
        assert "--sync-on-commit" in process.cmdline()
        kinds = {one.family for one in process.net_connections(kind="all")}
        assert kinds == ({socket.AF_INET} if sys.platform == "win32" else {socket.AF_UNIX})
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(server.dsn)
        hello = await client.admin.command("hello")
        assert hello["isWritablePrimary"]
        assert "setName" in hello
        client.close()


async def test_close_leaves_nothing(tmp_path: Path) -> None:
    server = DatabaseServer(tmp_path)
    watch = StateWatch(server)
    await server.start()
    pid = server.pid
    assert pid is not None
    await server.close()
    assert is_gone(pid)
    assert server.pid is None
    assert not server.owned
    assert watch.seen == [ServerState.READY, ServerState.STOPPED]
    await server.close()
    assert watch.seen == [ServerState.READY, ServerState.STOPPED]


async def test_keeps_its_place_over_runs(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as first:
        dsn = first.dsn
    async with DatabaseServer(tmp_path) as second:
        assert second.dsn == dsn


def test_a_start_waits_for_a_server_that_is_still_ending() -> None:
    assert SERVER_TIMES.folder_s > SERVER_TIMES.stop_s


async def test_is_started_once(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as server:
        with pytest.raises(BugError):
            await server.start()


@ENDED
async def test_a_killed_child_comes_back_where_it_was(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path) as server:
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(server.dsn)
        numbers = client["test"]["numbers"]
        await numbers.insert_one({"_id": 1})
        dsn = server.dsn
        for kill in range(2):
            watch = StateWatch(server)
            killed = kill_child(server)
            await eventually(watch.recovered)
            assert server.pid != killed
            assert server.dsn == dsn
            assert "unexpectedly" in watch.details[0]
            # A client that stayed connected works again by itself.
            async with asyncio.timeout(60):
                await numbers.insert_one({"_id": kill + 2})
        assert await numbers.count_documents({}) == 3
        client.close()


@ENDED
@pytest.mark.expects_log("WARNING .*local_server: The database is at port .* is taken by")
async def test_a_port_lost_meanwhile_is_replaced_and_reported(tmp_path: Path) -> None:
    times = ServerTimes(port_s=0.2)
    async with DatabaseServer(tmp_path, transport=Transport.TLS, times=times) as server:
        dsn = server.dsn
        port = int(dsn.partition("127.0.0.1:")[2].partition("/")[0])
        dsns: list[str] = []
        server.subscribe(lambda: dsns.append(server.dsn))
        watch = StateWatch(server)
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kill_child(server)
            await eventually(lambda: _bound(thief, port))
            thief.listen()
            await eventually(watch.recovered)
        assert server.dsn != dsn
        assert dsns[-1] == server.dsn
        assert f"since port {port} on 127.0.0.1 is taken by process" in server.state_detail
        assert server.state_detail.endswith("which says nothing.")


def _bound(thief: socket.socket, port: int) -> bool:
    try:
        thief.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


@pytest.mark.makes_database
@pytest.mark.skipif(sys.platform == "win32", reason="killed by a signal")
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_child_that_is_killed_while_it_starts_is_started_again(
    tmp_path: Path, own_children: OwnChildren, *, at_once: bool
) -> None:
    server = DatabaseServer(tmp_path)
    starting = asyncio.create_task(server.start())
    files = tmp_path / "database" / "secantus.new"
    has_begun = own_children if at_once else (files / "WiredTiger.wt").exists
    await eventually(lambda: starting.done() or has_begun())
    assert not starting.done()
    for child in own_children():
        child.kill()
    await starting
    assert server.state is ServerState.READY
    await server.close()


async def test_unsubscribed_callbacks_are_left_alone(tmp_path: Path) -> None:
    server = DatabaseServer(tmp_path)
    calls: list[ServerState] = []
    unsubscribe = server.subscribe(lambda: calls.append(server.state))
    await server.start()
    unsubscribe()
    unsubscribe()
    await server.close()
    assert calls == [ServerState.READY]


@pytest.mark.makes_database
async def test_cancelled_start_leaves_nothing(tmp_path: Path, own_children: OwnChildren) -> None:
    server = DatabaseServer(tmp_path)
    starting = asyncio.create_task(server.start())
    await eventually(own_children)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert server.state is ServerState.STOPPED
    assert not own_children()


@pytest.mark.expects_log("failed in its files")
async def test_damaged_files_are_named(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path):
        pass
    folder = tmp_path / "database" / "secantus"
    for name in ("WiredTiger.turtle", "WiredTiger.wt"):
        (folder / name).write_bytes(b"\x7frubbish" * 500)
    server = DatabaseServer(tmp_path)
    with pytest.raises(DatabaseDamaged) as caught:
        await server.start()
    assert str(folder) in str(caught.value)
    assert "WT_" in caught.value.log_path.read_text()
    assert server.state is ServerState.STOPPED


async def test_a_data_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataFolderUnusable, match="ORDERBOOK_DATA_DIR"):
        await DatabaseServer(tmp_path / "file").start()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
async def test_a_read_only_data_folder_is_named(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o500)  # noqa: PTH101 - pathlib is not for coroutines
    with pytest.raises(DataFolderUnusable, match="ORDERBOOK_DATA_DIR"):
        await DatabaseServer(tmp_path).start()


async def test_says_so_where_there_is_no_server_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoDatabaseProgram, match="MONGO_DSN"):
        await DatabaseServer(tmp_path).start()


async def test_a_given_dsn_starts_no_child(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path / "one") as running:
        given = running.dsn + "&appName=s3cret@test"
        async with DatabaseServer(tmp_path / "two", given) as server:
            assert server.state is ServerState.READY
            assert server.kind is ServerKind.DSN
            assert server.dsn == given
            assert not server.owned
            assert server.pid is None
            assert not (tmp_path / "two").exists()
            assert "s3cret" not in repr(server)
        assert running.state is ServerState.READY


async def test_a_refused_dsn_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(dsn: str, _answer_s: float) -> None:
        raise StandaloneServer(dsn)

    monkeypatch.setattr("orderbook_desktop.storage.server.server.check_dsn", refuse)
    server = DatabaseServer(tmp_path, "mongodb://127.0.0.1:1")
    with pytest.raises(StandaloneServer):
        await server.start()
    assert server.state is ServerState.STOPPED


@ENDED
def test_works_on_the_loop_of_the_window(tmp_path: Path, qapp: QApplication) -> None:
    async def live() -> None:
        async with asyncio.timeout(100), DatabaseServer(tmp_path) as server:
            watch = StateWatch(server)
            kill_child(server)
            await eventually(watch.recovered)

    with qasync.QEventLoop(qapp) as loop:
        loop.run_until_complete(live())
