"""The size of a recording is counted, and grows and shrinks with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import bson
import pytest

from orderbook_desktop.core.disk import FolderSize, RecordingSize
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.disk_usage import (
    RecordingSizes,
    file_bytes,
    folder_size,
    free_bytes,
)
from tests.storage.archived_fixtures import store_segment, store_witness
from tests.storage.made_trades import sent
from tests.storage.recording_fixtures import ServerThread, Tape, all_of, server_in
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import archive, claim, put


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    """A server of this module's own: the size of its files is measured."""
    with server_in(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
def data_dir(server: ServerThread) -> Path:
    """The folder of the files of the server's databases."""
    return server.folder / "database"


async def test_nothing_takes_nothing(database: Database) -> None:
    sizes = RecordingSizes(database)
    await sizes.count_rest()
    assert await sizes.measure() == RecordingSize()


async def test_all_that_is_stored_is_counted(database: Database) -> None:
    tape = Tape()
    first = await store_segment(database, tape, "one", minutes=3)
    second = await store_segment(database, tape, "two", minutes=2, raw=5, running=True)
    await Shelf(database).put_loose(tape.diffs(2), archived=True)
    (chunk,) = [
        one
        for one in await all_of(database, "depth_chunks")
        if one["segment"] not in (first.id, second.id)
    ]
    loose = len(chunk["data"])
    await store_witness(database, "BTCUSDT", 1)
    sizes = RecordingSizes(database)
    await sizes.count_rest()
    size = await sizes.measure()
    chunks = sum(first.chunk_bytes) + sum(second.chunk_bytes)
    assert size.archive_bytes == chunks + loose
    assert size.archived_events == 32
    raw = [len(bson.encode(one)) for one in await all_of(database, "depth_events")]
    assert abs(size.raw_bytes - sum(raw)) <= len(raw)
    books = await all_of(database, "checkpoints") + await all_of(database, "witnesses")
    assert size.book_bytes == sum(len(bson.encode(one)) for one in books)
    assert size.total_bytes == size.archive_bytes + size.raw_bytes + size.book_bytes


async def test_trades_are_counted_with_what_they_will_take(database: Database) -> None:
    sizes = RecordingSizes(database)
    trades = sent(range(1, 101))
    run = await claim(database, trades)
    await claim(database, trades[50:80])
    await archive(database, trades[:60], run, size=30)
    await put(database, trades[60:])
    assert (await sizes.measure()) == RecordingSize(trades=100, trade_bytes=900)
    await sizes.count_rest()
    archived = sum(len(one["data"]) for one in await all_of(database, "trade_chunks"))
    size = await sizes.measure()
    assert size == RecordingSize(trades=100, trade_bytes=round(archived / 60 * 100))
    assert size.total_bytes == size.lasting_bytes == size.trade_bytes
    # A damaged run is none that is counted, and hides no other market.
    await database.collection("trade_runs").update_many({}, {"$set": {"last_id": "x"}})
    others = sent(range(5, 9), market="ETHUSDT")
    await archive(database, others, await claim(database, others))
    await sizes.count_rest()
    assert (await sizes.measure()).trades == 4


async def test_the_sample_is_of_the_newest_events(database: Database) -> None:
    """All others in its range of ids would be read for it, while no event is written."""
    stored = await store_segment(database, Tape(), "one", minutes=1, raw=5, running=True)
    raw = sum(len(bson.encode(one)) for one in await all_of(database, "depth_events"))
    last_id = (await all_of(database, "segments"))[0]["last_id"]
    older = [
        {"market": "BTCUSDT", "u": last_id - 5_000 - number, "payload": "x" * 5_000}
        for number in range(40)
    ]
    await database.collection("depth_events").insert_many(older)
    sizes = RecordingSizes(database)
    await sizes.count_rest()
    size = await sizes.measure()
    assert abs(size.raw_bytes - raw) <= 5
    assert size.archive_bytes == sum(stored.chunk_bytes)


async def test_a_cheap_look_sees_what_segments_tell(database: Database) -> None:
    tape = Tape()
    sizes = RecordingSizes(database)
    await sizes.count_rest()
    stored = await store_segment(database, tape, "one", minutes=3)
    assert (await sizes.measure()).total_bytes == sum(stored.chunk_bytes)


@pytest.mark.parametrize("damage", [{"market": 5}, {"archived_bytes": "x"}, {"last_id": None}])
async def test_a_damaged_segment_hides_no_other(
    database: Database, damage: dict[str, object]
) -> None:
    await store_segment(database, Tape(), "one", minutes=3)
    other = await store_segment(database, Tape("ETHUSDT"), "two", minutes=2, raw=5, running=True)
    await database.collection("segments").update_one({"_id": "one"}, {"$set": damage})
    sizes = RecordingSizes(database)
    await sizes.count_rest()
    size = await sizes.measure()
    assert size.archive_bytes == sum(other.chunk_bytes)
    assert size.raw_bytes > 0


def test_a_folder_and_its_volume(tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "deeper" / "file").write_bytes(b"x" * 1_000)
    (tmp_path / "file").write_bytes(b"x" * 24)
    assert file_bytes(tmp_path) == 1_024
    free = free_bytes(tmp_path)
    assert free is not None
    assert free > 0
    assert file_bytes(tmp_path / "missing") is None
    assert free_bytes(tmp_path / "missing") is None


async def test_the_file_of_the_archive_is_counted_separately(
    server: ServerThread, database: Database, data_dir: Path
) -> None:
    """It is the file that grows with the archive, in each kind of database."""
    for name in ("book", "book_demo", database.name):
        other = Database(name)
        other.connect(server.dsn)
        before = folder_size(data_dir, name)
        big = [{"_id": f"x:{number}", "data": os.urandom(50_000)} for number in range(60)]
        await other.collection("depth_chunks").insert_many(big)
        await other.motor.client.admin.command("fsync")
        after = folder_size(data_dir, name)
        other.close()
        assert before is not None
        assert after is not None
        assert after.archive_bytes - before.archive_bytes > 2_500_000
        # The server may write or remove a log file between the two sizes.
        async with asyncio.timeout(60):
            while (size := folder_size(data_dir, name)) and size.file_bytes != file_bytes(data_dir):
                await asyncio.sleep(0.1)


def test_no_folder_has_no_size(tmp_path: Path) -> None:
    assert folder_size(tmp_path / "none", "book") is None
    (tmp_path / "mongod").mkdir()
    (tmp_path / "mongod" / "collection-7-1.wt").write_bytes(b"x" * 500)
    (tmp_path / "mongod" / "index-8-1.wt").write_bytes(b"x" * 50)
    assert folder_size(tmp_path, "book") == FolderSize(550, 500)
