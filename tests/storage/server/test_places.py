"""Other users can't reach the place of a server, and the listener there is identified."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from orderbook_desktop.storage.errors import DataFolderUnusable, PlaceTaken
from orderbook_desktop.storage.server import places
from orderbook_desktop.storage.server.certificates import keep_certificates
from orderbook_desktop.storage.server.places import (
    SocketPlace,
    TlsPlace,
    Transport,
    socket_place,
)
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.server.times import ServerTimes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")


@pytest.fixture
def run_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run-time folder as a login gives it."""
    # Short: pytest's own may leave no room.
    folder = Path(f"/tmp/od-test-{os.getpid()}")
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


def private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    return folder


@contextmanager
def listening(path: Path) -> Iterator[int]:
    """Let another process listen on a socket; yield its id."""
    code = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); "
    code += "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_it_is_in_the_data_folder_where_that_will_do(run_dir: Path) -> None:
    folder = private(run_dir / "database")
    assert socket_place(folder, "secantus").path == folder / "secantus.sock"
    assert not list(folder.iterdir())


@pytest.mark.parametrize("why", ["long", "open to others", "odd name", "not UTF-8", "a link"])
def test_else_it_is_in_a_short_folder_of_our_own(run_dir: Path, why: str) -> None:
    name = {"long": "x" * 120, "odd name": "a:b", "not UTF-8": os.fsdecode(b"\xff")}.get(why, "db")
    folder = private(run_dir / name)
    if why == "open to others":
        folder.chmod(0o755)
    if why == "a link":
        folder = folder.rename(run_dir / "real") and run_dir / "link"
        folder.symlink_to(run_dir / "real")
    place = socket_place(folder, "secantus")
    assert place.path.parent.parent == run_dir
    assert len(os.fsencode(place.path)) <= 103
    assert stat.S_IMODE(place.path.parent.stat().st_mode) == 0o700
    # The same each time, and for this folder only.
    assert socket_place(folder, "secantus") == place
    assert socket_place(private(run_dir / ("y" * 120)), "secantus") != place
    place.clear()
    assert not place.path.parent.exists()


@pytest.mark.parametrize("trap", ["open", "link", "file"])
def test_a_folder_that_another_user_prepared_is_not_used(run_dir: Path, trap: str) -> None:
    folder = private(run_dir / ("x" * 120))
    expected = socket_place(folder, "secantus").path.parent
    expected.rmdir()
    if trap == "open":
        expected.mkdir()
        expected.chmod(0o777)
    elif trap == "link":
        expected.symlink_to(private(run_dir / "elsewhere"))
    else:
        expected.touch()
    found = socket_place(folder, "secantus").path.parent
    assert found != expected
    assert stat.S_IMODE(found.lstat().st_mode) == 0o700


def test_a_base_in_which_others_can_rename_is_not_used(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir.chmod(0o777)
    folder = private(run_dir / ("x" * 120))
    assert run_dir not in socket_place(folder, "secantus").path.parents
    run_dir.chmod(0o700)
    monkeypatch.setattr(places, "_keeps_names", lambda _folder: False)
    with pytest.raises(DataFolderUnusable, match="no private place for a socket"):
        socket_place(folder, "secantus")


async def test_a_server_runs_on_a_data_folder_with_a_long_name(run_dir: Path) -> None:
    data_dir = run_dir / "Größe & 日本, 100 % + mehr" / ("x" * 90)
    async with DatabaseServer(data_dir) as server, DatabaseServer(data_dir) as joined:
        assert joined.dsn == server.dsn
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(joined.dsn)
        await client["book"]["things"].insert_one({"_id": 1})
        client.close()
    assert {path.name for path in sorted(run_dir.iterdir())} == {data_dir.parent.name}  # noqa: ASYNC240 - it is a test's


async def test_a_server_runs_where_names_have_to_be_escaped(run_dir: Path) -> None:
    data_dir = run_dir / "ä %2F+@?&#"
    async with DatabaseServer(data_dir) as server:
        assert (data_dir / "database" / "secantus.sock").is_socket()
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(server.dsn)
        await client["book"]["things"].insert_one({"_id": 1})
        client.close()


async def test_a_listener_that_is_not_the_child_is_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = SocketPlace(run_dir / "x.sock")
    assert not await place.answers(os.getpid())
    with listening(place.path) as pid:
        # We started it, so it may be behind a guard of ours. Process 1 did not start it.
        assert await place.answers(os.getpid())
        assert await place.answers(pid)
        for ask in (place.answers(2**22 - 1), place.check_free()):
            with pytest.raises(PlaceTaken, match=rf"is taken by process {pid} \(.+\)") as taken:
                await ask
            assert str(place.path) in str(taken.value)
        assert await place.is_trusted(pid)
        with monkeypatch.context() as opened:
            opened.setattr(places, "is_private", lambda _folder: False)
            assert not await place.is_trusted(pid)
    assert not await place.answers(pid)
    await place.check_free()


async def test_what_stands_in_the_way_of_a_server_is_named(tmp_path: Path) -> None:
    times = ServerTimes(folder_s=0.0)
    place = socket_place(private(tmp_path / "database"), "secantus")
    place.path.parent.mkdir(mode=0o700, exist_ok=True)
    place.path.write_text("no socket")
    with pytest.raises(PlaceTaken, match="something that is no socket"):
        await DatabaseServer(tmp_path, times=times).start()
    assert place.path.read_text() == "no socket"
    place.path.unlink()
    with listening(place.path) as pid, pytest.raises(PlaceTaken, match=f"process {pid} "):
        await DatabaseServer(tmp_path, times=times).start()


@pytest.mark.parametrize("kind", ["silent", "plain", "other certificate"])
@pytest.mark.expects_log("local_server: The database is at .* is taken by process")
async def test_what_has_the_port_of_a_server_is_named(tmp_path: Path, kind: str) -> None:
    times = ServerTimes(listener_s=0.5 if kind == "silent" else 60.0)
    data_dir = tmp_path / "data"
    async with DatabaseServer(data_dir, transport=Transport.TLS, times=times) as server:
        dsn = server.dsn
    port = int(dsn.partition("127.0.0.1:")[2].partition("/")[0])
    certificates = keep_certificates(private(tmp_path / "other") / "x")
    with squatting(port, kind, certificates.server) as pid:
        async with DatabaseServer(data_dir, transport=Transport.TLS, times=times) as server:
            assert server.dsn != dsn
            what = {
                "silent": "which says nothing",
                "plain": "which speaks no TLS",
                "other certificate": "which shows another certificate",
            }
            assert f"taken by process {pid} (" in server.state_detail
            assert what[kind] in server.state_detail
            assert not await TlsPlace(
                port, keep_certificates(data_dir / "x"), times.listener_s
            ).answers(pid)


@contextmanager
def squatting(port: int, kind: str, certificate: Path) -> Iterator[int]:
    """Let another process answer on a port, in its own way; yield its id."""
    code = f"""
import socket, ssl, threading
listener = socket.create_server(("127.0.0.1", {port}))
print(flush=True)
def serve():
    talks = []
    while True:
        talk, _ = listener.accept()
        talks.append(talk)
        try:
            if {kind == "plain"}:
                talk.sendall(b"220 hello, this is another program\\r\\n")
            if {kind == "other certificate"}:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain({str(certificate)!r})
                talks.append(context.wrap_socket(talk, server_side=True))
        except OSError:
            pass
threading.Thread(target=serve, daemon=True).start()
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()
