"""A segment is cut in whole chunks, and every interruption leaves a sound recording."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from orderbook_desktop.core.archive import same_book
from orderbook_desktop.storage.reading.segment_reader import SegmentReader
from orderbook_desktop.storage.store.cuts import ChainLink, CutSegment, Removed, SegmentCutter
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.storage.store.segments import read_segment
from tests.examples import some_of
from tests.storage.archived_fixtures import Stored, store_segment
from tests.storage.mortal import Killed, Mortal
from tests.storage.recording_fixtures import Tape, all_of


def everything(_link: ChainLink) -> bool:
    return True


async def document_of(database: Database, key: str) -> Document:
    document = await database.collection("segments").find_one({"_id": key})
    assert document is not None
    return document


async def to_cut(database: Database, key: str) -> CutSegment:
    return CutSegment.of(await document_of(database, key))


async def read_all(database: Database, key: str) -> list[int]:
    """Check the chain and the counts of a segment; return the ids of all its events."""
    stored = await read_segment(database, key)
    assert stored is not None
    ids: list[int] = []
    archived_bytes = 0
    at = stored.segment.snapshot_id
    reader = SegmentReader(database, stored)
    async with aclosing(reader.chunks()) as chunks:
        async for chunk in chunks:
            assert chunk.header.start_id == at
            at = chunk.header.coverage.last_id
            ids += chunk.numbers.final_ids.tolist()
    archived_bytes = reader.archived_bytes
    assert len(ids) == stored.segment.event_count
    assert archived_bytes == stored.archived_bytes
    assert at == stored.segment.last_id
    return ids


async def first_books_match(database: Database, stored: Stored) -> None:
    """Check that the first chunk's start book is the true one."""
    segment = await read_segment(database, stored.id)
    assert segment is not None
    async with aclosing(SegmentReader(database, segment).chunks()) as chunks:
        async for chunk in chunks:
            front = chunk.header.start_id
            if front in stored.books:
                assert same_book(chunk.start_book(), stored.books[front])
            break


async def test_whole_chunks_go_from_the_front(database: Database) -> None:
    stored = await store_segment(database, Tape(), "one", minutes=5, raw=4, running=True)
    segment = await document_of(database, "one")
    cut = await SegmentCutter(database).cut(
        CutSegment.of(segment), lambda link: link.start_id < stored.chunk_ids[2], 10, whole=True
    )
    assert cut == Removed(12, sum(stored.chunk_bytes[:2]), is_last=True)
    assert await read_all(database, "one") == [one.final_id for one in stored.events[12:]]
    await first_books_match(database, stored)
    segment = await document_of(database, "one")
    assert (segment["snapshot_id"], segment["first_id"]) == (
        stored.chunk_ids[2],
        stored.events[12].first_id,
    )
    assert segment["first_time"] == stored.events[12].event_ms
    assert segment["archived_bytes"] == sum(stored.chunk_bytes)
    assert segment["cut_bytes"] == sum(stored.chunk_bytes[:2])
    assert segment["cut_from"] is None
    # The base checkpoint belonged to the events that were cut.
    assert await all_of(database, "checkpoints") == []


@pytest.mark.parametrize(("raw", "running"), [(0, True), (3, True), (3, False)])
async def test_what_is_not_archived_keeps_its_book(
    database: Database, raw: int, running: bool
) -> None:
    stored = await store_segment(database, Tape(), "one", minutes=3, raw=raw, running=running)
    segment = await to_cut(database, "one")
    cutter = SegmentCutter(database)
    assert (await cutter.cut(segment, everything, 10, whole=True)).events == 12
    assert await read_all(database, "one") == [one.final_id for one in stored.events[12:]]
    again = await cutter.cut(await to_cut(database, "one"), everything, 10, whole=True)
    assert again == Removed(is_last=True)


async def test_the_newest_keeps_its_last_chunk(database: Database) -> None:
    stored = await store_segment(database, Tape(), "one", minutes=3)
    segment = await to_cut(database, "one")
    await SegmentCutter(database).cut(segment, everything, 10, whole=False)
    assert await read_all(database, "one") == [one.final_id for one in stored.events[12:]]


async def test_a_segment_goes_with_all_that_is_its_own(database: Database) -> None:
    tape = Tape()
    await store_segment(database, tape, "one", minutes=3)
    other = await store_segment(database, tape, "two", minutes=2)
    segment = await to_cut(database, "one")
    cut = await SegmentCutter(database).cut(segment, everything, 10, whole=True)
    assert cut.events == 18
    assert [one["_id"] for one in await all_of(database, "segments")] == ["two"]
    assert {one["segment"] for one in await all_of(database, "checkpoints")} == {"two"}
    assert len(await all_of(database, "depth_chunks")) == 2
    assert await read_all(database, "two") == [one.final_id for one in other.events]


async def test_one_that_began_without_an_event_goes_too(database: Database) -> None:
    await store_segment(database, Tape(), "one", minutes=0)
    segment = await to_cut(database, "one")
    assert (await SegmentCutter(database).cut(segment, everything, 10, whole=True)).is_last
    for collection in ("segments", "checkpoints"):
        assert await all_of(database, collection) == []


async def test_no_more_than_a_step_at_once(database: Database) -> None:
    stored = await store_segment(database, Tape(), "one", minutes=6)
    cutter, segment = SegmentCutter(database), await to_cut(database, "one")
    removed = []
    while segment.stored.segment.snapshot_id != segment.stored.segment.last_id:
        cut = await cutter.cut(segment, everything, 2, whole=True)
        removed.append(cut.events)
    assert removed == [12, 12, 12]
    assert cut.is_last
    assert sum(removed) == len(stored.events)


@pytest.mark.expects_log(
    "WARNING .*a chunk of the segment one is missing or damaged, so it can't be cut"
)
async def test_a_broken_chain_is_left_to_be_found(database: Database) -> None:
    stored = await store_segment(database, Tape(), "one", minutes=4)
    chunks = database.collection("depth_chunks")
    await chunks.delete_one({"_id": f"one:{stored.chunk_ids[0]}"})
    cutter, segment = SegmentCutter(database), await to_cut(database, "one")
    for _ in range(2):
        assert await cutter.cut(segment, everything, 10, whole=True) == Removed(is_last=True)


@pytest.fixture
def tape() -> Tape:
    return Tape(seed=3)


@pytest.mark.sweep
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("whole", [False, True])
async def test_a_kill_at_any_call_leaves_a_recording(
    database: Database, tape: Tape, whole: bool, after: bool
) -> None:
    for lives in some_of(range(200), 3, phase=2 * whole + after):
        key = f"segment{lives}"
        stored = await store_segment(database, tape, key, minutes=5)
        mortal = Mortal(database, lives, after=after)
        try:
            await SegmentCutter(mortal).cut(
                await to_cut(database, key), everything, 3 if not whole else 9, whole=whole
            )
        except Killed:
            pass
        else:
            break
        found = await all_of(database, "segments", _id=key)
        if found:
            left = await read_all(database, key)
            assert left == [one.final_id for one in stored.events[len(stored.events) - len(left) :]]
            await first_books_match(database, stored)
            # The next process finishes the work.
            await SegmentCutter(database).finish(CutSegment.of(found[0]))
        await no_leftovers(database, key)
    else:
        pytest.fail("it never came to its end")
    assert lives > 8


async def no_leftovers(database: Database, key: str) -> None:
    """Check that the segment has the chunks and checkpoints of its chain, and no others."""
    chunks = {one["start_id"] for one in await all_of(database, "depth_chunks", segment=key)}
    checkpoints = await all_of(database, "checkpoints", segment=key)
    found = await all_of(database, "segments", _id=key)
    if not found:
        assert (chunks, checkpoints) == (set(), [])
        return
    (segment,) = found
    assert segment["cut_from"] is None
    at = segment["snapshot_id"]
    while at != segment["archived_id"]:
        chunks.remove(at)
        at = (await all_of(database, "depth_chunks", _id=f"{key}:{at}"))[0]["last_id"]
    assert chunks == set()
    assert all(one["update_id"] >= segment["snapshot_id"] for one in checkpoints)


async def test_two_at_once_do_no_harm(database: Database, tape: Tape) -> None:
    stored = await store_segment(database, tape, "one", minutes=6)
    known = await document_of(database, "one")
    first = await SegmentCutter(database).cut(CutSegment.of(known), everything, 2, whole=False)
    second = await SegmentCutter(database).cut(CutSegment.of(known), everything, 3, whole=False)
    assert (first.events, second) == (12, Removed(is_last=True))
    assert await read_all(database, "one") == [one.final_id for one in stored.events[12:]]


async def test_no_process_cuts_further_while_another_removes(
    database: Database, tape: Tape
) -> None:
    stored = await store_segment(database, tape, "one", minutes=6)
    mortal = Mortal(database, 5, after=False)  # After the beginning was moved.
    with pytest.raises(Killed):
        await SegmentCutter(mortal).cut(await to_cut(database, "one"), everything, 2, whole=False)
    cutter, left = SegmentCutter(database), await to_cut(database, "one")
    assert left.cut_from == stored.chunk_ids[0]
    assert await cutter.cut(left, everything, 2, whole=False) == Removed(is_last=True)
    await cutter.finish(left)
    assert (await cutter.cut(left, everything, 2, whole=False)).events == 12
    await no_leftovers(database, "one")


async def test_a_reader_goes_on_where_the_cut_ends(database: Database, tape: Tape) -> None:
    stored = await store_segment(database, tape, "one", minutes=8, raw=3, running=True)
    segment = await read_segment(database, "one")
    assert segment is not None
    ids: list[int] = []
    async with aclosing(SegmentReader(database, segment).chunks()) as chunks:
        async for chunk in chunks:
            if not ids:
                now = await to_cut(database, "one")
                await SegmentCutter(database).cut(now, everything, 5, whole=False)
            if chunk.header.start_id in stored.books:
                assert same_book(chunk.start_book(), stored.books[chunk.header.start_id])
            ids += chunk.numbers.final_ids.tolist()
    # One chunk was fetched ahead.
    assert ids[:6] == [one.final_id for one in stored.events[:6]]
    assert ids[-21:] == [one.final_id for one in stored.events[30:]]
