"""An answer that was joined to a recorded book is stored, and every reader joins it, too."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.archive import ChunkSlice, decode_chunk
from orderbook_desktop.core.archive.rows import RowStream
from orderbook_desktop.core.events import DepthSnapshot, level_texts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamDeepened
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.reading.change_stream import RecordedSnapshots
from orderbook_desktop.storage.reading.recording import Recording, books_at
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import chunk_of, pack, unpack
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.store.witnesses import Witnesses
from orderbook_desktop.storage.verification.verification import verify
from tests.core.reference_book import ReferenceBook, pairs_of, shown
from tests.storage.archive_fixtures import archiver_of
from tests.storage.joined_fixtures import DeepenedFeed, shallow
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import (
    Tape,
    all_of,
    following,
    running,
    segments_of,
    until_stored,
    until_written,
)

BTC = "BTCUSDT"
FAR_NS = 2**41 * 1_000_000


async def recorded(
    database: Database, seed: int = 1, *, ends: bool = True, number: int = 150
) -> DeepenedFeed:
    """A segment with four answers joined at random moments, each some events after it came."""
    dice = random.Random(seed)
    async with running(Recorder(database)) as recorder:
        feed = DeepenedFeed(recorder.sink(BTC), Tape(step_ms=700, seed=seed), 10)
        for depth in (20, 60, 30, 150):
            feed.play(dice.randint(1, number // 5))
            answer = feed.answer(depth)
            feed.play(dice.choice((0, 1, 7)))
            feed.join(answer, depth)
        feed.play(number - len(feed.events))
        if ends:
            feed.feed.broken(GapCause.USER)
        await until_written(recorder)
    (segment,) = await segments_of(database)
    assert segment["event_count"] == number
    return feed


async def archive(database: Database) -> None:
    for _ in range(3):
        await archiver_of(database, now_ns=lambda: FAR_NS).catch_up()


async def fault_of(database: Database) -> str:
    found = await verify(database, BTC)
    return "" if found.fault is None else str(found.fault)


async def check_all(database: Database, feed: DeepenedFeed) -> None:
    """Check the recording at each of its events."""
    recording, ids = Recording(database, BTC), list[int]()
    (stored,) = await recording.segments()
    async for chunk in recording.chunks(stored):
        last = chunk.header.event_count - 1
        for index in range(-1, last + 1):
            if index % 5 in (0, 4) or index == last:
                book = chunk.book_after(index)
                feed.truth.check(book, step=7, is_before_answer=index == last)
        ids += chunk.numbers.final_ids.tolist()
    assert ids == [event.final_id for event in feed.events]
    assert await fault_of(database) == ""


@pytest.mark.parametrize("seed", [1, 2])
async def test_raw_and_archived_books_are_the_true_ones_at_every_known_price(
    database: Database, seed: int
) -> None:
    feed = await recorded(database, seed)
    await check_all(database, feed)
    witnesses = await all_of(database, "witnesses")
    assert len(witnesses) == 4
    await archive(database)
    (segment,) = await segments_of(database)
    assert segment["archived_id"] == segment["last_id"]
    assert not await all_of(database, "depth_events")
    await check_all(database, feed)
    # A chunk begins where an answer was joined, and needs the witness no more.
    starts = {chunk["start_id"] for chunk in await all_of(database, "depth_chunks")}
    assert {one["joined_id"] for one in witnesses} < starts


async def test_a_recording_that_is_half_archived(database: Database) -> None:
    async with running(Recorder(database)) as recorder:
        feed = DeepenedFeed(recorder.sink(BTC), Tape(step_ms=5_000), 10)
        for depth in (30, 80, 150):
            feed.play(40)
            feed.join(feed.answer(depth), depth)
            feed.play(3)
            await until_written(recorder)
            await until_stored(database, 1, last_id=feed.tape.last_id)
            await archiver_of(database).catch_up()
            await check_all(database, feed)
    (segment,) = await segments_of(database)
    assert segment["snapshot_id"] < segment["archived_id"] < segment["last_id"]


async def test_the_book_at_any_time_is_known_as_deep_as_then(database: Database) -> None:
    feed = await recorded(database)
    for _ in range(2):
        recording = Recording(database, BTC)
        times = [feed.truth.times[event.final_id] for event in feed.events[:-1]]
        found = [book async for book in books_at(recording, times)]
        assert [book.last_update_id for book in found] == [
            event.final_id for event in feed.events[:-1]
        ]
        for book in found:
            feed.truth.check(book, step=11)
        joined = [since for since, _ in feed.truth.answers[1:]]
        for update_id in (*joined, feed.events[33].final_id):
            book = await recording.book_at(feed.truth.times[update_id])
            assert book.last_update_id == update_id
            feed.truth.check(book)
        await archive(database)


async def test_rows_lead_to_the_deeper_book(database: Database) -> None:
    """What is exported is enough to rebuild the book, from the first snapshot alone."""
    feed = await recorded(database)
    for _ in range(2):
        stream, book, snapshots = RowStream(), ReferenceBook(), 0
        parts = [part async for part in Recording(database, BTC).slices()]
        rows = [rows for part in parts for rows in stream.take(part)]
        for some in [*rows, *stream.finish()]:
            snapshots += some.is_snapshot
            pairs = pairs_of((some.prices, some.quantities))  # type: ignore[arg-type]
            for ask, level in zip(some.asks.tolist(), pairs, strict=True):
                book.change(book.asks if ask else book.bids, *level)
        assert snapshots == 1
        last = parts[-1].chunk.final_book()
        assert book.levels == (pairs_of(last.bids), pairs_of(last.asks))
        feed.truth.check(last)
        await archive(database)


async def test_a_part_that_does_not_follow_brings_no_rows(database: Database) -> None:
    await recorded(database)
    (stored,) = await Recording(database, BTC).segments()
    chunks = [chunk async for chunk in Recording(database, BTC).chunks(stored)]
    parts = [ChunkSlice(one, 0, one.header.event_count, opens=False) for one in chunks]
    stream = RowStream()
    assert len(list(stream.take(parts[0]))) == 1
    assert len(list(stream.take(parts[2]))) == 1
    assert len(list(stream.take(parts[1]))) == 1


async def test_followers_are_widened_and_a_late_one_begins_wide(database: Database) -> None:
    async with running(Recorder(database)) as recorder, following(database) as followed:
        feed = DeepenedFeed(recorder.sink(BTC), Tape(), 10)
        feed.play(30)
        await until_written(recorder)
        await until_stored(database, 1, last_id=feed.tape.last_id)
        book = followed.feed.book
        await eventually(lambda: book.last_update_id == feed.tape.last_id)
        assert book.horizon == feed.image.horizon
        revision, base_id = book.revision, followed.feed.base_id
        answer = feed.answer(100)
        feed.play(3)
        feed.join(answer, 100)
        feed.play(3)
        await eventually(lambda: book.horizon == feed.image.horizon)
        await eventually(lambda: book.last_update_id == feed.tape.last_id)
        assert shown(book) == shown(feed.feed.sync.book)
        assert book.revision > revision
        assert followed.feed.base_id == base_id
        assert sum(isinstance(item, StreamDeepened) for item in followed.streams.seen) == 1
        snapshot = await RecordedSnapshots(database).snapshot(BTC)
        assert snapshot.horizon == feed.image.horizon
        feed.play(2)
        async with following(database) as late:
            await eventually(lambda: late.feed.book.last_update_id == feed.tape.last_id)
            assert shown(late.feed.book) == shown(feed.feed.sync.book)
            assert late.feed.book.horizon == feed.image.horizon


@pytest.mark.expects_log("WARNING .*gap in the recording")
async def test_an_answer_of_before_the_segment_is_not_stored(database: Database) -> None:
    async with running(Recorder(database)) as recorder:
        feed = DeepenedFeed(recorder.sink(BTC), Tape(), 10)
        answer = feed.answer(100)
        feed.feed.sink.answered(answer, None, None, feed.feed.sync.book)
        feed.feed.broken(GapCause.DISCONNECT)
        feed.tape.diffs(2)
        feed.feed.sink.answered(feed.answer(100), None, None, feed.feed.sync.book)
        await until_written(recorder)
    assert not await all_of(database, "witnesses")


async def test_one_that_was_joined_takes_the_place_of_one_that_was_not(database: Database) -> None:
    tape = Tape()
    plain = Witness(shallow(tape.snapshot(), 5), 5, 1, "one", None)
    witnesses = Witnesses(database)
    await witnesses.put(plain)
    joined = replace(plain, snapshot=shallow(tape.snapshot(), 50), depth=50, joined_id=tape.last_id)
    await witnesses.put(joined)
    await witnesses.put(plain)
    await witnesses.put(replace(joined, joined_id=tape.last_id + 5))
    ((update_id, key),) = await witnesses.joined(BTC, 0, 2**62)
    assert update_id == tape.last_id
    found = (await witnesses.some([key]))[key].unpack()
    assert (found.depth, found.joined_id) == (50, tape.last_id)
    assert found.snapshot.horizon == joined.snapshot.horizon


async def changed(database: Database, **fields: Any) -> None:
    """Change the deepest answer, and let its seal match."""
    document = max(await all_of(database, "witnesses"), key=lambda one: int(one["depth"]))
    witnesses = database.collection("witnesses")
    await witnesses.replace_one({"_id": document["_id"]}, sealed({**document, **fields}))


async def test_a_joined_answer_that_is_missing_or_false_is_found(database: Database) -> None:
    feed = await recorded(database)
    await archive(database)
    document = max(await all_of(database, "witnesses"), key=lambda one: int(one["depth"]))
    await database.collection("witnesses").delete_one({"_id": document["_id"]})
    assert "known deeper than before, and no answer of the exchange says so" in await fault_of(
        database
    )
    answer = json.loads(unpack(document["payload"]))
    answer["bids"][-1][1] = "77.00000000"
    await database.collection("witnesses").insert_one(document)
    assert await fault_of(database) == ""
    await changed(database, payload=pack(json.dumps(answer).encode()))
    assert "the book differs from the" in await fault_of(database)
    await changed(database, payload=document["payload"], joined_id=None)
    assert "known deeper than before" in await fault_of(database)
    assert len(feed.truth.answers) == 5


async def test_a_false_answer_that_is_not_archived_is_found_by_a_later_one(
    database: Database,
) -> None:
    async with running(Recorder(database)) as recorder:
        feed = DeepenedFeed(recorder.sink(BTC), Tape(), 10)
        feed.play(20)
        feed.join(feed.answer(40), 40)
        feed.play(4)
        known, later = feed.feed.sync.book.horizon, feed.answer(30)
        feed.feed.sink.answered(later, None, known, feed.feed.sync.book)
        feed.play(5)
        await until_written(recorder)
    assert await fault_of(database) == ""
    document = max(await all_of(database, "witnesses"), key=lambda one: int(one["depth"]))
    answer = json.loads(unpack(document["payload"]))
    # A level that only this answer tells of, and that the later one has, too.
    since = [price for event in feed.events[20:] for price, _ in level_texts(event.payload)[1]]
    lasting = [
        level
        for level in level_texts(later.payload)[1]
        if list(level) in answer["asks"][10:] and level[0] not in since
    ]
    answer["asks"].remove(list(lasting[0]))
    await changed(database, payload=pack(json.dumps(answer).encode()))
    assert "differs from the exchange's snapshot: the ask at" in await fault_of(database)


async def test_a_damaged_answer_is_reported_and_leaves_the_rest_readable(
    database: Database,
) -> None:
    feed = await recorded(database)
    document = max(await all_of(database, "witnesses"), key=lambda one: int(one["depth"]))
    await database.collection("witnesses").update_one(
        {"_id": document["_id"]}, {"$set": {"payload": b"damaged"}}
    )
    (stored,) = await Recording(database, BTC).segments()
    ids: list[int] = []
    async for chunk in Recording(database, BTC).chunks(stored):
        ids += chunk.numbers.final_ids.tolist()
    assert len(ids) == len(feed.events)
    assert "checksum of a witness does not match" in await fault_of(database)
    await archive(database)
    chunks = await all_of(database, "depth_chunks")
    horizons = {str(decode_chunk(chunk_of(one)).horizon) for one in chunks}
    assert len(horizons) < len(feed.truth.answers)


async def test_an_answer_that_came_after_its_minute_was_archived_is_a_witness_only(
    database: Database,
) -> None:
    async with running(Recorder(database)) as recorder:
        feed = DeepenedFeed(recorder.sink(BTC), Tape(), 10)
        feed.play(50)
        answer: DepthSnapshot = feed.answer(100)
        joined_id = feed.tape.last_id
        feed.play(50)
        known = feed.image.horizon
        feed.feed.broken(GapCause.USER)
        await until_written(recorder)
    await archive(database)
    (segment,) = await segments_of(database)
    await Witnesses(database).put(Witness(answer, 100, 1, segment["_id"], known, joined_id))
    assert await fault_of(database) == ""
    book = await Recording(database, BTC).book_at(feed.truth.times[feed.tape.last_id])
    assert book.horizon == known
