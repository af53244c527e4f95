"""Packed files, merged into databases: what was missing is there, what contradicts is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.formats.packed_file import PackedFile
from orderbook_desktop.storage.imports.unpacking import UnpackConflict, UnpackedMarket, unpack
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.retention.removal import Span, remove
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import ImportBusy, ImportJournal, settle_imports
from orderbook_desktop.storage.store.packed_store import PackedStore
from orderbook_desktop.storage.store.sealing import canonical_bytes
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import FragileDatabase, Killed, archiver_of
from tests.storage.packed_fixtures import (
    MARKET,
    Rows,
    opened,
    packed,
    payloads_of,
    rebuilt,
    record_all_kinds,
    rows_of,
)
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import (
    PATIENT,
    HandFeed,
    ServerThread,
    Tape,
    all_of,
    running,
)
from tests.storage.shelf import Shelf, resealed

_COLLECTIONS = ("segments", "depth_chunks", "depth_events", "checkpoints", "witnesses", "meta")


@pytest.fixture
async def other(database: Database, server: ServerThread) -> AsyncIterator[Database]:
    """A second database."""
    other = Database(f"{database.name}_other", PATIENT)
    other.connect(server.dsn)
    yield other
    other.close()


async def unpacked(database: Database, path: Path) -> list[UnpackedMarket]:
    with PackedFile(path) as file:
        return await unpack(database, PackedStore(file), lambda *_: None)


async def documents_of(database: Database) -> dict[str, list[dict[str, Any]]]:
    return {
        name: sorted(await all_of(database, name), key=lambda document: str(document["_id"]))
        for name in _COLLECTIONS
    }


async def test_unpacked_and_packed_again_it_is_the_same_file(
    database: Database, other: Database, tmp_path: Path
) -> None:
    await record_all_kinds(database)
    await record_all_kinds(database, "ETHUSDT")
    await packed(database, tmp_path / "a.obd", MARKET, "ETHUSDT")
    for new in await unpacked(other, tmp_path / "a.obd"):
        assert (new.segments, new.events, new.loose, new.known) == (4, 135, 9, 0)
    data = (tmp_path / "a.obd").read_bytes()
    await packed(other, tmp_path / "b.obd", MARKET, "ETHUSDT")
    assert (tmp_path / "b.obd").read_bytes() == data
    assert (await verify(other, MARKET)).fault is None
    before = await documents_of(other)
    for new in await unpacked(other, tmp_path / "a.obd"):
        assert (new.segments, new.events, new.loose, new.known) == (0, 0, 0, 144)
    assert await documents_of(other) == before
    # Nor does an archiver change anything.
    await archiver_of(other).catch_up()
    await packed(other, tmp_path / "b.obd", MARKET, "ETHUSDT")
    assert (tmp_path / "b.obd").read_bytes() == data


async def test_unpacked_into_its_own_database_it_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    await record_all_kinds(database)
    before = await documents_of(database)
    await packed(database, tmp_path / "a.obd")
    # What the recorder has not stored yet, it is about to; so is it known.
    (new,) = await unpacked(database, tmp_path / "a.obd")
    assert (new.loose, new.known) == (0, 144)
    after = await documents_of(database)
    # Its last segment goes on in the database, which lacks what came since it was stored.
    assert [one for one in after["segments"] if one in before["segments"]] == before["segments"]
    assert (await verify(database, MARKET)).fault is None


async def test_a_part_heals_a_gap(database: Database, other: Database, tmp_path: Path) -> None:
    """Two recorders of one market lost different events."""
    one, two = Tape(step_ms=10_000), Tape(step_ms=10_000)
    mine, theirs = Shelf(database), Shelf(other)
    for tape, shelf, lost in ((one, mine, (20, 30)), (two, theirs, (40, 50))):
        segment = await shelf.put(tape, lost[0], GapCause.DISCONNECT)
        await shelf.archive(segment)
        tape.diffs(lost[1] - lost[0])
        rest = await shelf.put(tape, 70 - lost[1])
        await shelf.archive(rest)
    await packed(other, tmp_path / "a.obd")
    (new,) = await unpacked(database, tmp_path / "a.obd")
    # What was lost: its ids begin at the end of the one segment, and end in the next one's book.
    assert (new.segments, new.events) == (1, 10)
    verified = await verify(database, MARKET)
    assert (verified.fault, verified.timeline.gaps, verified.events) == (None, (), 70)
    true = [event.payload for event in _all(70)]
    assert sorted(await payloads_of(database)) == sorted(true)
    (again,) = await unpacked(database, tmp_path / "a.obd")
    assert (again.segments, again.events, again.known) == (0, 0, 60)


def _all(count: int) -> list[Any]:
    return Tape(step_ms=10_000).diffs(count)


@pytest.mark.parametrize("kept", ["front", "end", "nothing"])
async def test_what_retention_removed_comes_back(
    database: Database, tmp_path: Path, kept: str
) -> None:
    tape, shelf = Tape(step_ms=10_000), Shelf(database)
    segment = await shelf.put(tape, 60)
    await shelf.archive(segment)
    await shelf.change("segments", segment.id, to_archive=False)
    await packed(database, tmp_path / "a.obd")
    rows = await rows_of(database)
    middle = segment.events[30].event_ms
    spans = {
        "front": Span(MARKET, middle, None, ""),
        "end": Span(MARKET, None, middle, ""),
        "nothing": Span(MARKET, None, None, ""),
    }
    await remove(database, spans[kept])
    (new,) = await unpacked(database, tmp_path / "a.obd")
    assert new.segments == 1
    verified = await verify(database, MARKET)
    assert (verified.fault, verified.timeline.gaps, verified.events) == (None, (), 60)
    assert await rows_of(database) == rows


async def test_another_text_is_refused_by_name(
    database: Database, other: Database, tmp_path: Path
) -> None:
    mine, theirs = Shelf(database), Shelf(other)
    tape = Tape(step_ms=10_000)
    await theirs.put(tape, 40)
    await packed(other, tmp_path / "a.obd")
    # The same ids, with other levels.
    tape = Tape(seed=2, step_ms=10_000)
    segment = await mine.put(tape, 30)
    for archived in (False, True):
        if archived:
            await mine.archive(segment)
        before = await documents_of(database)
        with pytest.raises(UnpackConflict, match=f"event {segment.events[0].final_id} of BTCUSDT"):
            await unpacked(database, tmp_path / "a.obd")
        assert await documents_of(database) == before


async def test_what_is_being_recorded_is_packed_as_it_is_then(
    database: Database, other: Database, tmp_path: Path
) -> None:
    tape, files = Tape(step_ms=10_000), [tmp_path / "a.obd", tmp_path / "b.obd"]
    async with running(Recorder(database)) as recorder:
        feed = HandFeed(recorder.sink(tape.market))
        feed.snapshot(tape.snapshot())
        for number, file in enumerate(files, 1):
            feed.diffs(*tape.diffs(30))
            await eventually(lambda: recorder.waiting == 0)
            await _until(database, 30 * number)
            (found,) = await packed(database, file)
            assert (found.segments, found.events, found.loose) == (1, 30 * number, 0)
    for file, events in zip(files, (30, 30), strict=True):
        with opened(file) as store:
            verified = await verify(store, MARKET)
            assert verified.fault is None
            (stored,) = await store.segments(MARKET)
        assert stored.segment.end_cause is GapCause.USER
        assert stored.segment.end_detail == "It went on when it was packed."
        (new,) = await unpacked(other, file)
        assert (new.segments, new.events) == (1, events)
    verified = await verify(other, MARKET)
    assert (verified.fault, verified.timeline.gaps, verified.events) == (None, (), 60)
    assert await rows_of(other) == await rows_of(database)


async def _until(database: Database, count: int) -> None:
    """Wait until so many events are stored, and their segment."""
    while True:
        events = await all_of(database, "depth_events")
        if len(events) == count and await all_of(database, "segments"):
            return
        await asyncio.sleep(0.01)


async def test_two_at_a_time_of_one_market(
    database: Database, other: Database, tmp_path: Path
) -> None:
    await record_all_kinds(other)
    await packed(other, tmp_path / "a.obd")
    await database.prepare()
    journal = ImportJournal(database)
    await journal.begin([MARKET])
    with pytest.raises(ImportBusy):
        await unpacked(database, tmp_path / "a.obd")
    await journal.finish()
    assert len(await unpacked(database, tmp_path / "a.obd")) == 1


async def test_killed_at_any_call_it_is_whole_or_absent(
    database: Database, server: ServerThread, tmp_path: Path
) -> None:
    await record_all_kinds(database)
    await packed(database, tmp_path / "a.obd")

    async def kill() -> None:
        # Nor does a killed process undo anything.
        fragile.calls_left = 0
        raise Killed

    fragile = FragileDatabase(f"{database.name}_fragile", kill)
    fragile.connect(server.dsn)
    await fragile.prepare()
    empty = await documents_of(fragile)
    left, outcomes = 0, set[bool]()
    try:
        while True:
            fragile.calls_left = left
            try:
                await unpacked(fragile, tmp_path / "a.obd")
            except Killed:
                fragile.calls_left = -1
            else:
                fragile.calls_left = -1
                break
            # As the next start does, in a process that knows that this one has ended.
            for document in await all_of(fragile, "meta"):
                if str(document["_id"]).startswith("import:"):
                    await ImportJournal(fragile, document["_id"]).finish()
            await settle_imports(fragile, set())
            found = await documents_of(fragile)
            is_whole = bool(found["segments"])
            outcomes.add(is_whole)
            if is_whole:
                assert (await verify(fragile, MARKET)).fault is None
                await packed(fragile, tmp_path / "b.obd")
                assert (tmp_path / "b.obd").read_bytes() == (tmp_path / "a.obd").read_bytes()
                for name in _COLLECTIONS[:-1]:
                    await fragile.collection(name).delete_many({})
            else:
                assert found == empty
            left += 7
    finally:
        fragile.close()
    assert outcomes == {False, True}


def _segment(**fields: object) -> Callable[[Rows], None]:
    """Change fields of the first segment, and seal it."""

    def change(rows: Rows) -> None:
        numbers, record = rows["segments"][0]
        document = resealed(msgspec.msgpack.decode(record) | fields)
        rows["segments"][0] = numbers, canonical_bytes(document)

    return change


_LIES: dict[str, Callable[[Rows], object]] = {
    "a chunk is missing": lambda rows: rows["chunks"].pop(1),
    "the last chunk is missing": lambda rows: rows["chunks"].pop(),
    "a chunk is there twice": lambda rows: rows["chunks"].insert(1, rows["chunks"][0]),
    "a chunk is of no segment": lambda rows: rows["chunks"].append(
        ((99, *rows["chunks"][-1][0][1:]), rows["chunks"][-1][1])
    ),
    "chunks are exchanged": lambda rows: rows["chunks"].reverse(),
    "a first book is missing": lambda rows: rows["books"].pop(0),
    "a book is no document": lambda rows: rows["books"].__setitem__(0, (rows["books"][0][0], b"x")),
    "a witness is no document": lambda rows: rows["witnesses"].__setitem__(
        0, (rows["witnesses"][0][0], b"\x80")
    ),
    "a segment is missing": lambda rows: rows["segments"].pop(0),
    "a segment is there twice": lambda rows: rows["segments"].append(rows["segments"][0]),
    "more events than there are": _segment(event_count=41, archived_events=41),
    "more bytes than there are": _segment(archived_bytes=1),
    "of another market": _segment(market="ETHUSDT"),
    "not archived": _segment(archived_id=0),
    "without its book": _segment(book=False),
    "an id that is no text": _segment(_id=5),
}


async def test_a_file_that_contradicts_itself_is_refused(
    database: Database, other: Database, tmp_path: Path
) -> None:
    await record_all_kinds(other)
    await packed(other, tmp_path / "a.obd")
    for lie, change in _LIES.items():
        rebuilt(tmp_path / "a.obd", tmp_path / "b.obd", change)
        with pytest.raises(KnownError) as raised:
            await unpacked(database, tmp_path / "b.obd")
        assert str(raised.value).isprintable(), lie
    assert not any(map((await documents_of(database)).get, _COLLECTIONS[:-1]))


async def test_a_file_that_lies_is_refused(
    database: Database, other: Database, tmp_path: Path
) -> None:
    await record_all_kinds(other)
    await packed(other, tmp_path / "a.obd")
    data = (tmp_path / "a.obd").read_bytes()
    await database.prepare()
    before = await documents_of(database)
    for at in range(100, len(data), len(data) // 8):
        changed = bytearray(data)
        changed[at] ^= 1
        (tmp_path / "b.obd").write_bytes(changed)
        with pytest.raises(KnownError):
            await unpacked(database, tmp_path / "b.obd")
    assert await documents_of(database) == before
    assert await Recording(database, MARKET).segments() == []
