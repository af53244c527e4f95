"""Bookmarks are stored beside the recording, sealed, and go with it into packed files and away."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from orderbook_desktop.app.commands.remove import as_fields
from orderbook_desktop.core.replay import Bookmark
from orderbook_desktop.formats.packed_file import DamagedPackedFile
from orderbook_desktop.storage.imports.unpacking import unpack
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.retention.removal import Span, find_removal, remove
from orderbook_desktop.storage.store.bookmarks import DatabaseBookmarks, bookmark_document
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.sealing import canonical_bytes
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.made_trades import received, sent
from tests.storage.packed_fixtures import MARKET, Rows, opened, packed, rebuilt
from tests.storage.recording_fixtures import ServerThread, Tape, all_of
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import recorded

_MS = 1_700_000_000_000


def _marked(key: str, at_ms: int = _MS, note: str = "", market: str = MARKET) -> Bookmark:
    return Bookmark(key, market, at_ms, 5_000_000_000 + at_ms - _MS, note)


async def _recorded(database: Database) -> None:
    """Ten minutes, all of them archived."""
    tape, shelf = Tape(step_ms=10_000), Shelf(database)
    stored = await shelf.put(tape, 60)
    await shelf.archive(stored)
    await shelf.change("segments", stored.id, to_archive=False)


async def test_bookmarks_come_back_in_order_of_time(database: Database) -> None:
    bookmarks = DatabaseBookmarks(database)
    later, earlier = _marked("a", _MS + 9, "the wall\nis gone \N{SNOWMAN}"), _marked("b:c")
    for one in (later, earlier, _marked("a", note="of another market", market="ETHUSDT")):
        await bookmarks.put(one)
    assert bookmarks.problem == ""
    assert await bookmarks.all(MARKET) == await bookmarks.sound(MARKET) == [earlier, later]
    changed = msgspec.structs.replace(later, note="changed")
    await bookmarks.put(changed)
    assert await bookmarks.all(MARKET) == [earlier, changed]
    assert not await bookmarks.put_new(msgspec.structs.replace(later, note="kept"))
    await bookmarks.remove(earlier)
    await bookmarks.remove(earlier)
    assert await bookmarks.all(MARKET) == [changed]
    await bookmarks.drop(MARKET)
    assert (len(await bookmarks.all(MARKET)), len(await bookmarks.all("ETHUSDT"))) == (0, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("note", "another"), ("time", 5), ("update_id", "5"), ("sum", 0), ("more", 1), ("note", None)],
)
@pytest.mark.expects_log("bookmark 'BTCUSDT:a': its checksum does not match")
async def test_a_damaged_one_is_left_out_and_told_once(
    database: Database, field: str, value: object
) -> None:
    bookmarks = DatabaseBookmarks(database)
    await bookmarks.put(_marked("a"))
    await bookmarks.put(_marked("b"))
    await database.collection("bookmarks").update_one(
        {"_id": f"{MARKET}:a"}, {"$set": {field: value}}
    )
    for _ in range(2):
        assert await bookmarks.all(MARKET) == [_marked("b")]
    with pytest.raises(DamagedDocument, match="bookmark 'BTCUSDT:a'"):
        await bookmarks.sound(MARKET)


async def test_a_file_has_the_bookmarks_of_its_time(
    database: Database, server: ServerThread, tmp_path: Path
) -> None:
    await _recorded(database)
    await recorded(database, sent(range(1, 30)))
    plain = tmp_path / "plain.obd"
    await packed(database, plain)
    assert plain.read_bytes()[8] == 2
    bookmarks = DatabaseBookmarks(database)
    begin_ms = Tape(step_ms=10_000).now_ms
    marks = [_marked("b", begin_ms + 100_000, "one"), _marked("a", begin_ms + 300_000, "two")]
    for one in marks:
        await bookmarks.put(one)
    (found,) = await packed(database, tmp_path / "a.obd")
    assert found.bookmarks == 2
    assert (tmp_path / "a.obd").read_bytes()[8] == 3
    with opened(tmp_path / "a.obd") as store:
        assert await store.bookmarks.all(MARKET) == marks
        assert "unpack it" in store.bookmarks.problem
        await store.bookmarks.put(_marked("c"))
        await store.bookmarks.remove(marks[0])
        assert await store.bookmarks.all(MARKET) == marks
        assert (await verify(store, MARKET)).fault is None
        (summary,) = await summaries(store)
        assert summary.bookmarks == 2
        other = Database(f"{database.name}_other")
        other.connect(server.dsn)
        (new,) = await unpack(other, store, lambda *_: None)
        assert new.bookmarks == 2
        (new,) = await unpack(other, store, lambda *_: None)
        assert new.bookmarks == 0
    assert await DatabaseBookmarks(other).all(MARKET) == marks
    await packed(other, tmp_path / "again.obd")
    assert (tmp_path / "again.obd").read_bytes() == (tmp_path / "a.obd").read_bytes()
    other.close()
    (found,) = await packed(database, tmp_path / "part.obd", to_ms=begin_ms + 200_000)
    assert found.bookmarks == 1
    await bookmarks.drop(MARKET)
    await packed(database, plain.with_suffix(".again"))
    assert plain.with_suffix(".again").read_bytes() == plain.read_bytes()


async def test_a_stored_bookmark_stays_as_it_is(database: Database, tmp_path: Path) -> None:
    await _recorded(database)
    bookmarks = DatabaseBookmarks(database)
    await bookmarks.put(_marked("a", note="before"))
    await packed(database, tmp_path / "a.obd")
    await bookmarks.put(_marked("a", note="after"))
    with opened(tmp_path / "a.obd") as store:
        await unpack(database, store, lambda *_: None)
    assert await bookmarks.all(MARKET) == [_marked("a", note="after")]


def _renamed(rows: Rows) -> None:
    document = bookmark_document(_marked("a", market="ETHUSDT"))
    rows["bookmarks"] = [(numbers, canonical_bytes(document)) for numbers, _ in rows["bookmarks"]]


def _moved(rows: Rows) -> None:
    rows["bookmarks"] = [((at + 1, number), record) for (at, number), record in rows["bookmarks"]]


def _unsealed(rows: Rows) -> None:
    document = bookmark_document(_marked("a")) | {"note": "another"}
    rows["bookmarks"] = [(numbers, canonical_bytes(document)) for numbers, _ in rows["bookmarks"]]


@pytest.mark.parametrize("change", [_renamed, _moved, _unsealed])
async def test_a_hostile_file_is_refused(
    database: Database, tmp_path: Path, change: object
) -> None:
    await _recorded(database)
    await DatabaseBookmarks(database).put(_marked("a"))
    await packed(database, tmp_path / "a.obd")
    assert callable(change)
    rebuilt(tmp_path / "a.obd", tmp_path / "b.obd", change)
    await DatabaseBookmarks(database).drop(MARKET)
    with (
        opened(tmp_path / "b.obd") as store,
        pytest.raises((DamagedPackedFile, DamagedDocument)),
    ):
        await unpack(database, store, lambda *_: None)
    assert await all_of(database, "bookmarks") == []


async def test_they_go_with_all_of_the_recording(database: Database) -> None:
    await _recorded(database)
    bookmarks = DatabaseBookmarks(database)
    await bookmarks.put(_marked("a"))
    await bookmarks.put(_marked("a", market="ETHUSDT"))
    middle_ms = Tape(step_ms=10_000).now_ms + 300_000
    first = await remove(database, Span(MARKET, to_ms=middle_ms))
    assert await bookmarks.all(MARKET) == [_marked("a")]
    assert (first.bookmarks, "bookmark" in first.text("BTC/USDT")) == (0, False)
    assert (
        (await find_removal(database, Span(MARKET))).text("BTC/USDT").endswith(", with 1 bookmark")
    )
    rest = await remove(database, Span(MARKET))
    assert (rest.bookmarks, as_fields("BTC/USDT", rest)["bookmarks"]) == (1, 1)
    assert await bookmarks.all(MARKET) == []
    assert len(await bookmarks.all("ETHUSDT")) == 1


async def test_trades_that_stay_keep_the_bookmarks(database: Database) -> None:
    await _recorded(database)
    await DatabaseBookmarks(database).put(_marked("a"))
    at_ms = _MS + 3_600_000
    times = range(at_ms, at_ms + 8)
    await recorded(database, [received(at, T=time) for at, time in enumerate(times, 1)])
    assert (await find_removal(database, Span(MARKET, to_ms=at_ms))).bookmarks == 0


async def test_a_proof_counts_them_and_finds_a_damaged_one(database: Database) -> None:
    await _recorded(database)
    bookmarks = DatabaseBookmarks(database)
    for key, at_ms in (("a", _MS), ("b", _MS + 60_000)):
        await bookmarks.put(_marked(key, at_ms))
    assert (await verify(database, MARKET)).bookmarks == 2
    assert (await verify(database, MARKET, to_ms=_MS + 60_000)).bookmarks == 1
    for damage in ({"note": "another"}, {"market": "ETHUSDT"}):
        await database.collection("bookmarks").update_one({"_id": "BTCUSDT:a"}, {"$set": damage})
        found = await verify(database, MARKET)
        assert not found.holds
        assert "bookmark 'BTCUSDT:a': its checksum does not match" in str(found.fault)
        await database.collection("bookmarks").delete_one({"_id": "BTCUSDT:a"})
        await bookmarks.put(_marked("a"))
