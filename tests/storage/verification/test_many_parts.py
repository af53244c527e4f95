"""Many short parts are proven with few queries, and with the verdict of one by one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakSet

import bson
import pytest
from msgspec.structs import replace

from orderbook_desktop.core.checkpoint import encode_image
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.reading import ahead
from orderbook_desktop.storage.store import checkpoints
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.patient_database import PatientDatabase
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.store.witnesses import Witnesses
from orderbook_desktop.storage.verification.read_ahead import ReadAhead
from orderbook_desktop.storage.verification.segment_proof import SegmentProof
from orderbook_desktop.storage.verification.verification import Verified, verify
from tests.examples import some_of
from tests.storage.counted import CountedDatabase
from tests.storage.recording_fixtures import ServerThread, Tape, all_of
from tests.storage.shelf import Shelf, Shelved, book_document

_MARKET = "BTCUSDT"


@pytest.fixture
async def counted(server: ServerThread, database: Database) -> AsyncIterator[CountedDatabase]:
    counted = CountedDatabase(database.name, server.dsn)
    await counted.prepare()
    yield counted
    counted.close()


async def proven(counted: CountedDatabase) -> Verified:
    """Verify, and count only what that takes."""
    counted.queries.clear()
    found = await verify(counted, _MARKET)
    assert found.fault is None
    return found


async def put_witness(database: Database, shelved: Shelved, index: int) -> None:
    book = shelved.book_after(index)
    snapshot = decode_snapshot(encode_image(book), shelved.market)
    await Witnesses(database).put(Witness(snapshot, 5_000, 1, shelved.id, Horizon()))


async def put_checkpoint(database: Database, shelved: Shelved, index: int) -> None:
    document = book_document(shelved.id, shelved.book_after(index))
    await database.collection("checkpoints").insert_one(document)


async def list_up(database: Database, tape: Tape, *, archived: bool) -> None:
    """Put two loose events into a run, which is archived or waits."""
    events = tape.diffs(2)
    await Shelf(database).put_loose(events, archived=archived)
    if not archived:
        await Shelf(database).write(events)


async def test_proofs_of_segments_are_not_kept(
    counted: CountedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds whole books."""
    shelf, tape = Shelf(counted), Tape()
    for _ in range(40):
        await shelf.put(tape, 1)
        tape.diff()
    proofs = WeakSet[SegmentProof]()
    prove, most = SegmentProof.prove, 0

    async def watched(self: SegmentProof, *span: int | None) -> None:
        nonlocal most
        proofs.add(self)
        most = max(most, len(proofs))
        await prove(self, *span)

    monkeypatch.setattr(SegmentProof, "prove", watched)
    assert (await proven(counted)).segments == 40
    assert most < 10


@pytest.mark.parametrize("archived", [False, True])
async def test_short_segments_are_read_together(counted: CountedDatabase, archived: bool) -> None:
    shelf, tape = Shelf(counted), Tape()
    for _ in range(120):
        shelved = await shelf.put(tape, 1)
        if archived:
            await shelf.archive(shelved)
        tape.diff()
    found = await proven(counted)
    assert (found.segments, found.events, found.archived_events) == (120, 120, 120 * archived)
    # One by one they take several each.
    assert counted.queries.total() < 60


async def test_all_segments_are_read_twice_in_all(
    counted: CountedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the beginning and at the end; there may be thousands."""
    shelf, tape = Shelf(counted), Tape()
    for _ in range(12):
        await shelf.put(tape, 1)
        await list_up(counted, tape, archived=True)
    reads: list[str] = []
    for name in ("segments", "all_segments", "bookless"):
        read = getattr(DatabaseStore, name)

        async def watched(
            self: DatabaseStore, market: str, name: str = name, read: Any = read, **waiting: bool
        ) -> Any:
            if not waiting:
                reads.append(name)
            return await read(self, market, **waiting)

        monkeypatch.setattr(DatabaseStore, name, watched)
    assert (await proven(counted)).loose_events == 24
    assert reads == ["segments", "all_segments"]


async def test_the_books_of_short_segments_are_read_once(
    counted: CountedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, tape = Shelf(counted), Tape()
    for _ in range(30):
        await put_checkpoint(counted, await shelf.put(tape, 2), 0)
        tape.diff()
    await proven(counted)
    few = counted.queries["checkpoints"]
    assert few <= 6
    # Too many for one answer: they are read segment by segment.
    monkeypatch.setattr(checkpoints, "_READ_AT_MOST", 10)
    assert (await proven(counted)).segments == 30
    assert counted.queries["checkpoints"] > 2 * 30


async def test_a_command_s_database_proves_it_too(server: ServerThread, database: Database) -> None:
    """It repeats reads, so it reads each answer as a whole."""
    shelf, tape = Shelf(database), Tape()
    for _ in range(20):
        await shelf.put(tape, 2)
        await list_up(database, tape, archived=False)
    await shelf.write(tape.diffs(40))
    patient = PatientDatabase(database.name)
    patient.connect(server.dsn)
    found = await verify(patient, _MARKET)
    patient.close()
    assert found.fault is None
    assert (found.events, found.loose_events, found.unlisted_events) == (40, 40, 40)


async def test_an_event_outside_all_segments_is_read_once(
    counted: CountedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, tape = Shelf(counted), Tape()
    await shelf.put(tape, 3)
    tape.diff()
    for _ in range(5):
        await list_up(counted, tape, archived=False)
    await shelf.write(tape.diffs(40))

    async def again(self: RawEvents, ids: list[int]) -> list[DepthDiff]:
        raise AssertionError(f"{self}: {ids}")

    monkeypatch.setattr(RawEvents, "with_ids", again)
    found = await proven(counted)
    assert (found.events, found.loose_events, found.unlisted_events) == (3, 10, 40)


async def test_segments_that_are_far_apart_are_read_together(counted: CountedDatabase) -> None:
    shelf, tape = Shelf(counted), Tape()
    for _ in range(60):
        tape.last_id += 10**12
        await shelf.put(tape, 1)
    assert (await proven(counted)).segments == 60
    assert counted.queries["depth_events"] < 60


async def test_short_chunks_are_read_together(counted: CountedDatabase) -> None:
    shelf = Shelf(counted)
    shelved = await shelf.put(Tape(step_ms=60_000), 150)
    await shelf.archive(shelved)
    assert len(shelved.chunks) == 150
    assert (await proven(counted)).archived_events == 150
    assert counted.queries["depth_chunks"] < 40


async def test_a_pause_between_short_chunks_is_read_over(counted: CountedDatabase) -> None:
    shelf, tape = Shelf(counted), Tape(step_ms=60_000)
    events = tape.diffs(20)
    tape.now_ms += 400 * 86_400_000
    tape.last_id = events[-1].final_id
    events += tape.diffs(20)
    tape = Tape()
    shelved = await shelf.put(tape, events)
    await shelf.archive(shelved)
    assert (await proven(counted)).archived_events == 40


async def test_loose_chunks_are_read_together(counted: CountedDatabase) -> None:
    tape = Tape()
    await Shelf(counted).put(tape, 5)
    for _ in range(80):
        tape.diff()
        await list_up(counted, tape, archived=True)
    found = await proven(counted)
    assert found.loose_events == 160
    assert found.timeline.gaps[-1].to_ms == tape.now_ms
    assert counted.queries["depth_chunks"] < 20


async def test_waiting_lists_are_not_read_for_each_segment(counted: CountedDatabase) -> None:
    shelf, tape = Shelf(counted), Tape()
    for _ in range(40):
        await shelf.put(tape, 2)
        tape.diff()
        await list_up(counted, tape, archived=False)
    assert (await proven(counted)).loose_events == 80
    assert counted.queries["segments"] < 40


async def test_checkpoints_and_witnesses_are_read_together(counted: CountedDatabase) -> None:
    shelved = await Shelf(counted).put(Tape(), 120)
    for index in range(0, 120, 2):
        await put_checkpoint(counted, shelved, index)
        await put_witness(counted, shelved, index)
    assert (await proven(counted)).witnesses == 60
    assert counted.queries["checkpoints"] < 20
    assert counted.queries["witnesses"] < 20


async def test_each_stray_counts_also_beside_those_of_an_import(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 5)
    await shelf.archive(shelved)
    (chunk,) = await all_of(database, "depth_chunks")
    for name in ("import", "lost"):
        stray = {**chunk, "_id": f"{name}:1", "segment": name, "minute": chunk["minute"]}
        await database.collection("depth_chunks").insert_one(stray)
    journal: dict[str, Any] = {"_id": "import:1", "state": "writing", "markets": [_MARKET]}
    journal |= {"known": [], "segments": ["import"]}
    await database.collection("meta").insert_one(sealed(journal))
    fault = (await verify(database, _MARKET)).fault
    assert fault is not None
    assert fault.segment_id == "lost"


async def one_of_each(database: Database, chosen: random.Random) -> None:
    """Short segments, raw or archived, with all that may lie in them and between them."""
    shelf, tape = Shelf(database), Tape(step_ms=20_000)
    for number in range(14):
        shelved = await shelf.put(tape, chosen.randint(0, 5), GapCause.FEED_GAP)
        count = len(shelved.events)
        if number % 3 == 1 and count:
            await shelf.archive(shelved)
        elif number % 3 == 2 and count:
            await shelf.archive(shelved, count - 1)
        if count:
            await put_checkpoint(database, shelved, count - 1)
            await put_witness(database, shelved, chosen.randrange(count))
        if number % 4 == 0:
            await list_up(database, tape, archived=bool(number % 8))
        if number == 7:
            await shelf.write(tape.diffs(2))
        tape.diff()


def damaged(document: dict[str, Any], chosen: random.Random) -> dict[str, Any] | None:
    """Return the document with one bit changed, as it is stored; None if it can't be stored."""
    fields = bson.encode({name: value for name, value in document.items() if name != "_id"})
    at, bit = chosen.randrange(len(fields)), chosen.randrange(8)
    try:
        changed = bson.decode(fields[:at] + bytes([fields[at] ^ 1 << bit]) + fields[at + 1 :])
        bson.encode(changed)
    except (bson.errors.BSONError, UnicodeError, OverflowError, ValueError):
        return None
    return {"_id": document["_id"], **changed}


async def one_by_one(database: Database) -> Verified:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReadAhead, "group", lambda _, segments: segments[:1])
        patch.setattr(ahead, "_SMALL_CHUNKS", 0)
        patch.setattr(ahead, "_KEYS_AT_MOST", 1)
        return await verify(database, _MARKET)


@pytest.mark.allows_log("can't be understood")
@pytest.mark.sweep
@pytest.mark.parametrize("seed", some_of(range(3), 3))
async def test_the_verdict_is_that_of_one_by_one(database: Database, seed: int) -> None:
    chosen = random.Random(seed)
    await one_of_each(database, chosen)
    sound = await verify(database, _MARKET)
    assert sound.fault is None
    assert sound == await one_by_one(database)
    names = ("segments", "checkpoints", "depth_events", "depth_chunks", "witnesses")
    for _ in range(20):
        name = chosen.choice(names)
        document = chosen.choice(await all_of(database, name))
        collection, where = database.collection(name), {"_id": document["_id"]}
        changed = damaged(document, chosen) if chosen.random() < 0.8 else None
        if changed is None:
            await collection.delete_one(where)
        else:
            await collection.replace_one(where, changed)
        together, apart = await verify(database, _MARKET), await one_by_one(database)
        assert str(together.fault) == str(apart.fault)
        assert replace(together, fault=None) == replace(apart, fault=None)
        await collection.replace_one(where, document, upsert=True)
    assert await verify(database, _MARKET) == sound
