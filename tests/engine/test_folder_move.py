"""Recordings in files of another version of the database move into files of the present one.

The other version is the present one by another name: installed in a folder of its own, it runs as
the other one would.
"""

from __future__ import annotations

import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.engine.other_version import move_recordings
from orderbook_desktop.storage.errors import OtherVersion
from orderbook_desktop.storage.server.server import DatabaseServer, ServerState
from orderbook_desktop.storage.server.server_versions import (
    SECANTUS_VERSION,
    WrittenBy,
    written_by,
)
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import payload_of
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.store.segments import read_segments
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.made_trades import sent
from tests.storage.packed_fixtures import MARKET, record_all_kinds
from tests.storage.recording_fixtures import PATIENT, Tape, all_of
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import recorded

OLD = "0.6.0b12"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the server's files, in the data folder `tmp_path`."""
    return tmp_path / "database" / "secantus"


@asynccontextmanager
async def served(data_dir: Path, *, moves: bool = False) -> AsyncIterator[DatabaseServer]:
    server = DatabaseServer(data_dir, move=move_recordings if moves else None)
    async with server:
        yield server


@asynccontextmanager
async def opened(server: DatabaseServer, name: str) -> AsyncIterator[Database]:
    database = Database(name, PATIENT)
    database.connect(server.dsn)
    try:
        yield database
    finally:
        database.close()


async def record_on_old(data_dir: Path, folder: Path, *names: str) -> None:
    """Record in databases of these names, and let another version have written the folder."""
    async with served(data_dir) as server:
        for name in names:
            async with opened(server, name) as database:
                await database.prepare()
                await record_all_kinds(database)
                # A market may have trades and no book.
                await recorded(database, sent(range(100, 140), market="ETHUSDT"))
    written_by_other(folder, OLD)


def written_by_other(folder: Path, version: str) -> None:
    written = WrittenBy(version, "0.0.1")
    folder.with_suffix(".version").write_bytes(msgspec.json.encode(written))


def made_by_other(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    written_by_other(folder, "9.9")


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def install_other(folder: Path) -> None:
    """Put the server that is installed here where the other version would be."""
    library = folder.parent / "moving" / f"secantusdb-{OLD}"
    library.parent.mkdir(mode=0o700)
    library.symlink_to(sysconfig.get_path("purelib"), target_is_directory=True)


async def test_recordings_of_another_version_move_and_hold(tmp_path: Path, folder: Path) -> None:
    await record_on_old(tmp_path, folder, "book", "other_book")
    install_other(folder)
    said: list[str] = []
    server = DatabaseServer(tmp_path, move=move_recordings)
    server.subscribe(lambda: said.append(server.state_detail))
    async with server:
        assert server.state is ServerState.READY
        assert server.state_detail == ""
        for name in ("book", "other_book"):
            async with opened(server, name) as database:
                assert (await verify(database, MARKET)).holds
                assert len(await read_segments(database, MARKET)) == 4
                moved = await verify(database, "ETHUSDT")
                assert (moved.holds, moved.trades.trades) == (True, 40)
    assert {text.split(": ")[1].split()[0] for text in said if ": " in text} == {
        "packing",
        "unpacking",
        "verifying",
    }
    assert written_by(folder) == WrittenBy(SECANTUS_VERSION, "0.1.0")
    assert not folder.with_name(f"secantus-{OLD}").exists()
    assert not (folder.parent / "moving").exists()


@pytest.mark.expects_log("the best bid reaches the best ask")
async def test_the_old_files_are_kept_where_a_recording_does_not_hold(
    tmp_path: Path, folder: Path
) -> None:
    async with served(tmp_path) as server, opened(server, "book") as database:
        await database.prepare()
        shelved = await Shelf(database).put(Tape(MARKET), 20)
        (event,) = await all_of(database, "depth_events", u=shelved.events[10].final_id)
        sent = msgspec.json.decode(payload_of(event)) | {"b": [["999999", "1"]]}
        crossed = event | {"encoding": "text", "payload": msgspec.json.encode(sent).decode()}
        await database.collection("depth_events").replace_one(
            {"_id": event["_id"]}, sealed(crossed)
        )
    written_by_other(folder, OLD)
    install_other(folder)
    async with served(tmp_path, moves=True) as server:
        kept = folder.with_name(f"secantus-{OLD}")
        assert kept.is_dir()
        assert server.state_detail.endswith(f"The old files are kept in {kept}.")


@pytest.mark.expects_log("can't be installed")
async def test_without_the_other_server_the_files_stay_and_the_sentence_says_what_to_do(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record_on_old(tmp_path, folder, "book")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    before = files_in(folder)
    with pytest.raises(KnownError) as caught:
        async with served(tmp_path, moves=True):
            pass
    assert "SecantusDB 0.6.0b12" in str(caught.value)
    assert "Orderbook Desktop 0.0.1" in str(caught.value)
    assert files_in(folder) == before
    written_by_other(folder, SECANTUS_VERSION)
    async with served(tmp_path) as server, opened(server, "book") as database:
        assert (await verify(database, MARKET)).holds


async def test_a_version_that_is_not_known_is_named(tmp_path: Path, folder: Path) -> None:
    made_by_other(folder)
    with pytest.raises(OtherVersion, match=r"written by SecantusDB 9\.9"):
        async with served(tmp_path, moves=True):
            pass
    assert files_in(folder) == []
