"""A sound recording is proven, and every damage to it is found, with its place."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import islice
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.archive import DecodedChunk, encode_chunk
from orderbook_desktop.core.checkpoint import encode_image
from orderbook_desktop.core.events import DepthSnapshot, decode_snapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import payload_of
from orderbook_desktop.storage.store.packing import pack, pack_chunk
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.store.segment_documents import PARTS, StoredSegment
from orderbook_desktop.storage.store.witnesses import Witnesses
from orderbook_desktop.storage.verification.segment_proof import SegmentProof
from orderbook_desktop.storage.verification.verification import Verified, _windows, verify
from tests.examples import some_of
from tests.storage.recording_fixtures import Tape, all_of
from tests.storage.shelf import Shelf, Shelved

_MARKET = "BTCUSDT"

Document = dict[str, Any]

_SEGMENT = Segment("BTCUSDT", 1, 2, 9, 0, 0, 1, Scale())
_STORED = StoredSegment("s", _SEGMENT, 1, 0, 0, "recorder")

times = st.integers(0, 10**12)
counts = st.sampled_from([0, 1, 1_000, 10**8])


def seen_by_exchange(shelved: Shelved, index: int, depth: int = 20) -> DepthSnapshot:
    """The snapshot of the exchange's REST interface after the event at `index`."""
    book = shelved.book_after(index)
    best = replace(
        book,
        bids=type(book.bids)(book.bids.prices[:depth], book.bids.quantities[:depth]),
        asks=type(book.asks)(book.asks.prices[:depth], book.asks.quantities[:depth]),
    )
    return decode_snapshot(encode_image(best), shelved.market)


async def put_witness(
    database: Database, snapshot: DepthSnapshot, depth: int = 20, segment_id: str = ""
) -> None:
    if not segment_id:
        (segment,) = await all_of(database, "segments")
        segment_id = segment["_id"]
    horizon = Horizon(50_000_000, None)
    witness = Witness(snapshot, depth, 1_700_000_000_000, segment_id, horizon)
    await Witnesses(database).put(witness)


async def recorded(database: Database, events: int = 800, archived: int = 700) -> Shelved:
    """A segment, partly archived, with witnesses in both parts."""
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), events)
    await shelf.archive(shelved, archived)
    await put_witness(database, seen_by_exchange(shelved, archived // 2))
    await put_witness(database, seen_by_exchange(shelved, archived + 10))
    return shelved


async def put_back(database: Database, collection: str, document: Document) -> None:
    await database.collection(collection).replace_one(
        {"_id": document["_id"]}, document, upsert=True
    )


async def fault_of(database: Database, from_ms: int | None = None, to_ms: int | None = None) -> str:
    """The fault that is found, or empty."""
    found = await verify(database, _MARKET, from_ms, to_ms)
    return "" if found.fault is None else str(found.fault)


async def test_a_recording_that_holds(database: Database) -> None:
    shelved = await recorded(database)
    reports: list[tuple[int, int]] = []
    found = await verify(database, _MARKET, progress=lambda done, of: reports.append((done, of)))
    assert found.fault is None
    assert found.holds
    assert (found.segments, found.events, found.archived_events) == (1, 800, 700)
    assert (found.witnesses, found.loose_events) == (2, 0)
    assert found.timeline.covered_ms == 799 * 100
    raw = sum(len(event.payload) for event in shelved.events[700:])
    chunks = await all_of(database, "depth_chunks")
    assert found.stored_bytes == raw + sum(len(one["data"]) for one in chunks)
    assert reports[-1] == (800, 800)
    assert sorted(reports) == reports


async def test_nothing_recorded_holds(database: Database) -> None:
    assert await verify(database, _MARKET) == Verified(
        _MARKET, (await verify(database, _MARKET)).timeline, 0, 0, 0, 0, 0, 0, 0, None
    )


async def test_gaps_and_two_recorders_hold(database: Database) -> None:
    shelf, tape, twin = Shelf(database), Tape(), Tape()
    one = await shelf.put(tape, 300, GapCause.CRASH)
    twin.diffs(200)
    await database.collection("depth_events").delete_many({"u": {"$gt": one.events[199].final_id}})
    further = tape.diffs(100)
    other = await shelf.put(twin, [*one.events[200:], *further])
    tape.diffs(5)
    await shelf.put(tape, 30, None)
    await shelf.archive(other, 250 - 50)
    await shelf.write(one.events[200:])
    found = await verify(database, _MARKET)
    assert found.fault is None
    assert found.segments == 3
    assert len(found.timeline.gaps) == 1


def flipped(value: bytes, at: int, bit: int = 0) -> bytes:
    return value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]


@pytest.mark.sweep
async def test_every_byte_of_a_small_chunk_counts(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 2)
    await shelf.archive(shelved)
    (chunk,) = await all_of(database, "depth_chunks")
    for at in some_of(range(len(chunk["data"])), 3):
        await put_back(database, "depth_chunks", chunk | {"data": flipped(chunk["data"], at)})
        assert "damaged" in await fault_of(database), at
    await put_back(database, "depth_chunks", chunk)
    assert await fault_of(database) == ""


@pytest.mark.sweep
@pytest.mark.parametrize("seed", some_of(range(2), 2))
@pytest.mark.parametrize("collection", ["depth_chunks", "depth_events", "checkpoints", "witnesses"])
async def test_any_byte_of_any_document_counts(
    database: Database, collection: str, seed: int
) -> None:
    """As it is stored: values, names of fields, types, lengths."""
    chosen = random.Random(seed)
    await recorded(database, 90, 60)
    documents = await all_of(database, collection)
    for _ in range(25):
        document = chosen.choice(documents)
        # The fields by which it is found are restored under their own names.
        stored = bson.encode({name: v for name, v in document.items() if name != "_id"})
        try:
            damaged = bson.decode(
                flipped(stored, chosen.randrange(len(stored)), chosen.randrange(8))
            )
            bson.encode(damaged)
        except (bson.errors.BSONError, UnicodeError, OverflowError, ValueError):
            continue
        await put_back(database, collection, {"_id": document["_id"], **damaged})
        fault = await fault_of(database)
        assert fault.startswith(_MARKET), (document["_id"], damaged)
        await put_back(database, collection, document)
    assert await fault_of(database) == ""


@pytest.mark.parametrize("seed", range(2))
async def test_sixty_flipped_bytes_are_sixty_faults(database: Database, seed: int) -> None:
    """In every collection and field, `_id` too: all that reading depends on is proven."""
    chosen, shelf, tape = random.Random(seed), Shelf(database), Tape()
    early = tape.diffs(9)
    await shelf.put_loose(early[:5], archived=True)
    await shelf.put_loose(early[5:])
    await shelf.write(early[5:])
    shelved = await shelf.put(tape, 90)
    await shelf.archive(shelved, 60)
    await put_witness(database, seen_by_exchange(shelved, 30), segment_id=shelved.id)
    assert await fault_of(database) == ""
    documents = [
        (name, document)
        for name in ("depth_chunks", "depth_events", "checkpoints", "witnesses", "segments")
        for document in await all_of(database, name)
    ]
    count = 0
    while count < 60:
        collection, document = chosen.choice(documents)
        stored = bson.encode(document)
        at, bits = chosen.randrange(4, len(stored) - 1), chosen.randrange(1, 256)
        try:
            damaged = bson.decode(stored[:at] + bytes([stored[at] ^ bits]) + stored[at + 1 :])
            bson.encode(damaged)
        except (bson.errors.BSONError, UnicodeError, OverflowError, ValueError):
            # No driver can read such a document.
            continue
        if damaged == document or "_id" not in damaged:
            continue
        await database.collection(collection).delete_one({"_id": document["_id"]})
        await put_back(database, collection, damaged)
        fault = await fault_of(database)
        assert fault.startswith(_MARKET), (collection, document, damaged)
        await database.collection(collection).delete_one({"_id": damaged["_id"]})
        await put_back(database, collection, document)
        count += 1
    assert await fault_of(database) == ""


async def test_every_document_counts(database: Database) -> None:
    """Except a witness, and a checkpoint that is no base."""
    await recorded(database, 720, 700)
    for collection, every in (("depth_chunks", 1), ("checkpoints", 1), ("depth_events", 7)):
        for document in (await all_of(database, collection))[::every]:
            await database.collection(collection).delete_one({"_id": document["_id"]})
            fault = await fault_of(database)
            assert "missing" in fault, document["_id"]
            await put_back(database, collection, document)
    for document in await all_of(database, "segments"):
        await database.collection("segments").delete_one({"_id": document["_id"]})
        assert "belongs to a segment that is not stored" in await fault_of(database)
        await put_back(database, "segments", document)
    assert await fault_of(database) == ""


@pytest.mark.parametrize(
    "field",
    [
        *(name for names in PARTS.values() for name in names if name != "_id"),
        *PARTS,
    ],
)
async def test_every_field_of_a_segment_counts(database: Database, field: str) -> None:
    shelved = await recorded(database, 90, 60)
    (segment,) = await all_of(database, "segments")
    others: list[object] = [5, "x", None, True, False, {}]
    if isinstance(segment[field], int):
        others += [segment[field] + 1, segment[field] - 1]
    if field == "end_cause":
        others += ["crash", None]
    for other in others:
        if other == segment[field]:
            continue
        await put_back(database, "segments", segment | {field: other})
        assert (await fault_of(database)).startswith(_MARKET), other
    await put_back(database, "segments", {n: v for n, v in segment.items() if n != field})
    if field not in ("market", "book"):
        assert (await fault_of(database)).startswith(_MARKET)
    await put_back(database, "segments", segment)
    assert await fault_of(database) == ""
    assert shelved.id in str((await all_of(database, "segments"))[0]["_id"])


async def test_a_fault_says_where(database: Database) -> None:
    shelved = await recorded(database)
    gone = shelved.events[720]
    await database.collection("depth_events").delete_one({"u": gone.final_id})
    found = await verify(database, _MARKET)
    assert found.fault is not None
    assert (found.fault.segment_id, found.fault.market) == (shelved.id, _MARKET)
    assert found.fault.update_id == gone.first_id - 1
    assert f"after update id {gone.first_id - 1}, an event is missing" in str(found.fault)
    assert found.events == 720


async def test_a_changed_quantity_is_found_by_its_checksum_or_by_the_exchange(
    database: Database,
) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 60)
    await put_witness(database, seen_by_exchange(shelved, 50, 200), 200)
    (event,) = await all_of(database, "depth_events", u=shelved.events[50].final_id)
    text = payload_of(event).decode().replace('00000000"', '77000000"')
    other = event | {"encoding": "text", "payload": text}
    await put_back(database, "depth_events", other)
    assert "checksum does not match" in await fault_of(database)
    await put_back(database, "depth_events", sealed(other))
    assert "the book differs from the exchange's snapshot: the " in await fault_of(database)


async def test_a_chunk_that_begins_with_another_book_is_found(database: Database) -> None:
    """Although the chunk itself is undamaged."""
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 1_300)
    await shelf.archive(shelved)
    start_id = shelved.chunks[1][0]
    index = next(n for n, one in enumerate(shelved.events) if one.final_id == start_id)
    book = shelved.book_after(index)
    quantities = book.bids.quantities.copy()
    quantities[-1] += 1
    other = replace(book, bids=type(book.bids)(book.bids.prices, quantities))
    events = [one for one in shelved.events if start_id < one.final_id <= shelved.chunks[1][1]]
    await ChunkStore(database).put(shelved.id, pack_chunk(encode_chunk(other, events)))
    fault = await fault_of(database)
    assert "the book differs from the one before it" in fault
    assert str(start_id) in fault


async def test_the_first_chunk_begins_with_the_checkpoint(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 5)
    await shelf.archive(shelved)
    base = shelved.base
    quantities = base.asks.quantities.copy()
    quantities[0] += 1
    other = replace(base, asks=type(base.asks)(base.asks.prices, quantities))
    key = f"{shelved.id}:{base.last_update_id}"
    await shelf.change("checkpoints", key, payload=pack(encode_image(other)))
    assert "differs" in await fault_of(database)


async def test_later_checkpoints_are_the_book(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 30)
    for index, of in ((10, 10), (20, 19)):
        event, book = shelved.events[index], shelved.book_after(of)
        checkpoint = {
            "_id": f"{shelved.id}:{event.final_id}",
            "segment": shelved.id,
            "market": _MARKET,
            "update_id": event.final_id,
            "time": event.event_ms,
            "received_ns": event.received_ns,
            "horizon": None,
            "base": False,
            "new": False,
            "payload": pack(encode_image(replace(book, last_update_id=event.final_id))),
        }
        await database.collection("checkpoints").insert_one(sealed(checkpoint))
        fault = await fault_of(database)
        assert ("a checkpoint differs from the book" in fault) is (index == 20)


async def test_a_crossed_book_is_a_fault(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 10)
    last = shelved.events[-1]
    crossing = '"b":[["99999.00000000","1.00000000"]]'
    (event,) = await all_of(database, "depth_events", u=last.final_id)
    text = payload_of(event).decode()
    text = text[: text.index('"b":')] + crossing + text[text.index(',"a":') :]
    other = event | {"encoding": "text", "payload": text}
    await put_back(database, "depth_events", sealed(other))
    fault = await fault_of(database)
    assert "the best bid reaches the best ask" in fault
    assert str(last.final_id) in fault


async def test_a_witness_inside_an_event(database: Database) -> None:
    """The prices of the event may have either quantity; the rest has to be right."""
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 30)
    inside = shelved.events[20].first_id + 2
    before = seen_by_exchange(shelved, 19, 200)
    payload = before.payload.replace(str(before.last_update_id).encode(), str(inside).encode())
    snapshot = decode_snapshot(payload, _MARKET)
    assert snapshot.last_update_id == inside
    await put_witness(database, snapshot, 200)
    found = await verify(database, _MARKET)
    assert (found.fault, found.witnesses) == (None, 1)
    await database.collection("witnesses").delete_many({})
    touched = {price for price, _ in (*shelved.events[20].bids, *shelved.events[20].asks)}
    price, quantity = next(one for one in snapshot.bids if one[0] not in touched)
    level = f'["{price:.8f}","{quantity:.8f}"]'.encode()
    wrong = payload.replace(level, f'["{price:.8f}","{quantity + 1:.8f}"]'.encode())
    await put_witness(database, decode_snapshot(wrong, _MARKET), 200)
    assert f"update id {inside}: the book differs from the exchange's" in await fault_of(database)


async def test_a_part_is_proven_without_the_rest(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 3_000)
    await shelf.archive(shelved, 2_800)
    first, last = shelved.chunks[0], shelved.chunks[-1]
    await database.collection("depth_chunks").delete_one({"_id": f"{shelved.id}:{first[0]}"})
    middle = shelved.events[1_500].event_ms
    assert "missing" in await fault_of(database)
    assert await fault_of(database, from_ms=middle) == ""
    assert "missing" in await fault_of(database, to_ms=middle)
    await database.collection("depth_chunks").delete_one({"_id": f"{shelved.id}:{last[0]}"})
    assert "missing" in await fault_of(database, from_ms=middle)
    assert await fault_of(database, from_ms=middle, to_ms=middle + 1_000) == ""
    part = await verify(database, _MARKET, middle, middle + 1_000)
    assert part.timeline.covered_ms == 1_000
    assert 0 < part.events < 1_500


async def test_events_that_nothing_names_are_counted_and_examined(database: Database) -> None:
    """A recorder leaves such events if it is killed before it stores their segment or list."""
    shelf, tape = Shelf(database), Tape()
    before = tape.diffs(2)
    await shelf.put(tape, 20, GapCause.DISCONNECT)
    between = tape.diffs(3)
    await shelf.put(tape, 20)
    after = tape.diffs(4)
    await shelf.write([*before, *between, *after])
    found = await verify(database, _MARKET)
    assert found.fault is None
    assert (found.unlisted_events, found.loose_events, found.events) == (9, 0, 40)
    await shelf.put_loose(between)
    found = await verify(database, _MARKET)
    assert (found.unlisted_events, found.loose_events) == (6, 3)
    # A part of the time is proven without these events.
    assert (await verify(database, _MARKET, tape.now_ms - 100)).unlisted_events == 0
    query = {"u": after[1].final_id}
    await database.collection("depth_events").update_one(query, {"$set": {"U": 1}})
    assert "its checksum does not match" in await fault_of(database)


async def test_events_that_have_just_come_in_are_not_unlisted(database: Database) -> None:
    shelf, tape = Shelf(database), Tape()
    await shelf.put(tape, 20)
    tape.now_ms = time.time_ns() // 1_000_000
    await shelf.write(tape.diffs(3))
    assert (await verify(database, _MARKET)).unlisted_events == 0


async def test_loose_events_count_too(database: Database) -> None:
    shelf, tape = Shelf(database), Tape()
    await shelf.put(tape, 20, GapCause.FEED_GAP)
    tape.diffs(3)
    loose = tape.diffs(4)
    waiting = tape.diffs(2)
    tape.diffs(3)
    await shelf.put(tape, 20)
    await shelf.write(waiting)
    key = await shelf.put_loose(loose[:2], archived=True)
    await shelf.put_loose(loose[2:])
    await shelf.write(loose[2:])
    await shelf.put_loose(waiting)
    found = await verify(database, _MARKET)
    assert (found.fault, found.loose_events) == (None, 6)
    (chunk,) = await all_of(database, "depth_chunks")
    assert chunk["segment"] == key
    await put_back(database, "depth_chunks", chunk | {"data": flipped(chunk["data"], 99)})
    assert "the loose events" in await fault_of(database)
    await database.collection("depth_chunks").delete_many({})
    fault = await fault_of(database)
    assert f"update id {loose[0].final_id}: a loose event is missing" in fault
    await put_back(database, "depth_chunks", chunk)
    await database.collection("depth_events").delete_one({"u": waiting[1].final_id})
    assert f"{waiting[1].final_id}: a loose event is missing" in await fault_of(database)


async def test_what_an_import_has_not_made_known_yet_is_no_fault(database: Database) -> None:
    shelved = await recorded(database)
    (segment,) = await all_of(database, "segments")
    for name in ("segments", "checkpoints", "depth_events"):
        await database.collection(name).delete_many({})
    assert "not stored" in await fault_of(database)
    journal = {"_id": "import:1", "state": "writing", "markets": ["BTCUSDT"], "known": []}
    journal |= {"segments": [shelved.id], "owner": segment["owner"]}
    await database.collection("meta").insert_one(sealed(journal))
    assert await fault_of(database) == ""


async def cut(shelf: Shelf, shelved: Shelved, start_id: int, last_id: int) -> None:
    """Cut the first chunk, as retention does."""
    (segment,) = await all_of(shelf.database, "segments")
    (chunk,) = await all_of(shelf.database, "depth_chunks", start_id=start_id)
    first = next(one for one in shelved.events if one.final_id > last_id)
    fields = {
        "snapshot_id": last_id,
        "first_id": first.first_id,
        "first_time": first.event_ms,
        "cut_events": segment["cut_events"] + chunk["event_count"],
        "cut_bytes": segment["cut_bytes"] + len(chunk["data"]),
    }
    await shelf.change("segments", shelved.id, **fields)
    await ChunkStore(shelf.database).drop(shelved.id, [start_id])


async def test_a_cut_front_needs_no_checkpoint(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 1_900)
    await shelf.archive(shelved)
    await cut(shelf, shelved, *shelved.chunks[0])
    await database.collection("checkpoints").delete_many({})
    found = await verify(database, _MARKET)
    assert found.fault is None
    assert found.events == sum(one.final_id > shelved.chunks[1][0] for one in shelved.events)


async def test_it_may_be_archived_meanwhile(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=200), 2_000)
    await shelf.archive(shelved, 300)
    steps = await shelf.prepare_archive(shelved)

    async def archive() -> None:
        for step in steps:
            await shelf.commit(shelved, step)
            await shelf.sweep(shelved, step)

    archiving = asyncio.create_task(archive())
    while not archiving.done():
        found = await verify(database, _MARKET)
        assert found.fault is None
        assert found.events == 2_000
    await archiving
    assert (await verify(database, _MARKET)).archived_events == 2_000


async def test_it_can_be_broken_off_anywhere(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=500), 1_500)
    await shelf.archive(shelved, 1_200)
    done = 0
    while True:
        before, steps = asyncio.all_tasks(), 0
        running = asyncio.create_task(verify(database, _MARKET))
        # One turn of the loop more each time, as many as are needed.
        while not running.done() and steps < done:
            await asyncio.sleep(0)
            steps += 1
        if running.done():
            assert running.result().fault is None
            break
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.all_tasks() == before
        done = done * 2 + 1


async def test_it_may_be_cut_meanwhile(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=200), 2_500)
    await shelf.archive(shelved)
    examine = SegmentProof._compare_checkpoints
    left = iter(shelved.chunks[:-1])

    async def late(self: SegmentProof, chunk: DecodedChunk) -> None:
        await examine(self, chunk)
        # More events than are read ahead.
        for first in islice(left, 3):
            await cut(shelf, shelved, *first)

    monkeypatch.setattr(SegmentProof, "_compare_checkpoints", late)
    found = await verify(database, _MARKET)
    assert found.fault is None
    assert 0 < found.events < 2_500


async def test_a_segment_that_was_removed_before_it_was_archived_is_found(
    database: Database,
) -> None:
    shelf, tape = Shelf(database), Tape()
    lost = await shelf.put(tape, 20, GapCause.FEED_GAP)
    tape.diffs(3)
    await shelf.put(tape, 20)
    assert await fault_of(database) == ""
    await database.collection("segments").delete_one({"_id": lost.id})
    fault = await fault_of(database)
    assert f"segment {lost.id}, update id {lost.base.last_update_id}: a book belongs" in fault
    # A recorder was killed before it could store the segment.
    (book,) = await all_of(database, "checkpoints", segment=lost.id)
    await shelf.change("checkpoints", book["_id"], new=True)
    assert await fault_of(database) == ""


async def test_the_place_of_a_damaged_event_is_reported(database: Database) -> None:
    shelved = await recorded(database)
    damaged = shelved.events[750]
    await database.collection("depth_events").update_one(
        {"u": damaged.final_id}, {"$set": {"time": 0}}
    )
    found = await verify(database, _MARKET)
    assert found.fault is not None
    assert found.fault.update_id == shelved.events[749].final_id
    assert "its checksum does not match" in str(found.fault)
    assert found.events == 750


def stored(begin_ms: int, end_ms: int, events: int) -> StoredSegment:
    segment = replace(_SEGMENT, first_event_ms=begin_ms, last_event_ms=end_ms, event_count=events)
    return replace(_STORED, segment=segment)


@given(st.lists(st.builds(stored, times, times, counts), max_size=4))
def test_windows_hold_every_minute_once_and_few_of_a_segment(found: list[StoredSegment]) -> None:
    windows = list(_windows(found))
    at = 0
    for first, end in windows:
        assert first == at < end
        at = end
    assert at == 1 << 48
    for one in found:
        begin = one.segment.first_event_ms // 60_000
        last = one.segment.last_event_ms // 60_000
        for first, end in windows[:2000]:
            inside = min(end, last + 1) - max(first, begin)
            # A minute has at most one chunk, and a chunk at least one event.
            count = one.segment.event_count
            assert not count or inside <= 1 + 720 * max(1, (last + 1 - begin) / count)


@pytest.mark.parametrize("count", [1, 2_000])
def test_few_windows_do_for_a_clock_that_was_centuries_off(count: int) -> None:
    assert len(list(_windows([stored(0, 2**63 - 1, count)]))) <= 2 + count / 720
    assert len(list(_windows([stored(2**63 - 1, 0, count)]))) <= 2 + count / 720


def test_few_windows_do_for_thousands_of_segments() -> None:
    """Two segments a minute, all of them short."""
    found = [stored(number * 30_000, number * 30_000 + 9_000, 90) for number in range(5_000)]
    assert len(list(_windows(found))) <= 1 + 2 * 5_000 / 720
