"""Retention by age and by size, over all markets, the oldest first and never the newest."""

from __future__ import annotations

import asyncio
import json

import pytest

from orderbook_desktop.core.archive import encode_loose
from orderbook_desktop.core.disk import GB, RecordingSize, Retention
from orderbook_desktop.core.events import DepthDiff, decode_diff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.retention.retention import Pruner
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.cuts import cuttable_loose
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.disk_usage import RecordingSizes
from orderbook_desktop.storage.store.loose_events import LooseEvents, missing_loose
from orderbook_desktop.storage.store.packing import pack_chunk
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import archiver_of, copy_of
from tests.storage.archived_fixtures import Stored, store_segment, store_witness
from tests.storage.mortal import Killed, Mortal
from tests.storage.recording_fixtures import (
    Tape,
    all_of,
    running,
    segments_of,
    started,
    until_stored,
    until_written,
)

DAY_MS = 86_400_000
MINUTE_MS = 60_000
FAR_MS = 4_000_000_000_000


async def prune(database: Database, retention: Retention, now_ms: int = FAR_MS) -> Pruner:
    pruner = Pruner(database, pause_s=0.0)
    sizes = RecordingSizes(database)
    await sizes.count_rest()
    await pruner.prune(retention, now_ms, sizes.measure)
    return pruner


async def size(database: Database) -> RecordingSize:
    sizes = RecordingSizes(database)
    await sizes.count_rest()
    return await sizes.measure()


async def days_of(database: Database, tape: Tape, *days: int, minutes: int = 2) -> list[Stored]:
    """Store a segment for each day: the first of them ended, the last one running."""
    begun_ms, stored = tape.now_ms, []
    for day in days:
        tape.now_ms = begun_ms + day * DAY_MS
        running = day == days[-1]
        key = f"{tape.market}-{day}"
        stored.append(
            await store_segment(
                database, tape, key, minutes=minutes, raw=2 * running, running=running
            )
        )
    return stored


async def keys(database: Database) -> set[str]:
    return {one["_id"] for one in await all_of(database, "segments")}


def loose_event(market: str, event_ms: int, update_id: int = 7) -> DepthDiff:
    event = {"e": "depthUpdate", "E": event_ms, "s": market, "U": update_id, "u": update_id}
    payload = json.dumps({**event, "b": [["1.0", "2.0"]], "a": []}, separators=(",", ":"))
    return decode_diff(payload.encode(), event_ms * 1_000_000)


async def store_list(
    database: Database, market: str, ids: list[int], chunk: str, name: str = ""
) -> None:
    lists = LooseEvents(database)
    await lists.list_up(market, ids, name or f"{market}-{ids[0]}")
    for one in await lists.lists(market, waiting=True):
        await lists.archived(one, ids, chunk)


def limit(count: float) -> Retention:
    return Retention(gigabytes=count / GB)


@pytest.mark.parametrize(
    "damage",
    [
        {"alive_ms": None},
        {"alive_ms": "1"},
        {"alive_ms": True},
        {"cut_from": "1"},
        {"cut_from": {}},
    ],
)
@pytest.mark.expects_log("WARNING .*retention skips a segment: .* is no whole number")
async def test_a_damaged_segment_keeps_no_other(
    database: Database, damage: dict[str, object]
) -> None:
    old, other = await days_of(database, Tape(), 0, 10), await days_of(database, Tape("ETH"), 0, 10)
    segments = database.collection("segments")
    await segments.update_one({"_id": old[0].id}, {"$set": damage})
    await prune(database, Retention(days=1))
    assert await keys(database) == {old[0].id, old[1].id, other[1].id}


@pytest.mark.parametrize("field", ["event_count", "last_id", "data"])
@pytest.mark.expects_log("WARNING .*a chunk of the segment .* is missing or damaged")
async def test_a_damaged_chunk_keeps_no_other_market(database: Database, field: str) -> None:
    old, other = await days_of(database, Tape(), 0, 10), await days_of(database, Tape("ETH"), 0, 10)
    chunks = database.collection("depth_chunks")
    (first, *_) = sorted(await all_of(database, "depth_chunks", segment=old[0].id), key=_start_id)
    await chunks.update_one({"_id": first["_id"]}, {"$unset": {field: ""}})
    await prune(database, Retention(days=1))
    assert await keys(database) == {old[0].id, old[1].id, other[1].id}


def _start_id(chunk: Document) -> int:
    return int(chunk["start_id"])


async def test_without_a_limit_nothing_goes(database: Database) -> None:
    await days_of(database, Tape(), 0, 100, 200)
    before = await size(database)
    await prune(database, Retention())
    assert await size(database) == before


async def test_nothing_recorded_is_nothing_to_do(database: Database) -> None:
    await database.prepare()
    before = await copy_of(database)
    pruner = await prune(database, Retention(1, 1))
    assert pruner.problem == ""
    assert await copy_of(database) == before
    assert await size(database) == RecordingSize()


async def test_by_age_what_is_older_goes_of_all_markets(database: Database) -> None:
    await days_of(database, Tape(), 0, 5, 10)
    await days_of(database, Tape("ETHUSDT"), 0, 9)
    before = await size(database)
    await prune(database, Retention(days=4))
    assert await keys(database) == {"BTCUSDT-10", "ETHUSDT-9"}
    assert (await size(database)).total_bytes < before.total_bytes


async def test_by_age_a_segment_is_cut_to_the_minute(database: Database) -> None:
    tape = Tape()
    stored = await store_segment(database, tape, "one", minutes=4)
    tape.now_ms = stored.events[0].event_ms + DAY_MS + 2 * MINUTE_MS
    await store_segment(database, tape, "two", minutes=1, running=True)
    horizon_ms = tape.now_ms - DAY_MS
    await prune(database, Retention(days=1))
    one, two = await segments_of(database)
    assert two["cut_events"] == 0
    # The chunk at the limit is kept as a whole.
    ends = [stored.events[6 * minute + 5].event_ms for minute in range(4)]
    gone = sum(end < horizon_ms for end in ends)
    assert 0 < gone < 4
    assert one["first_event_ms"] == stored.events[6 * gone].event_ms


async def test_age_counts_from_the_newest_event(database: Database) -> None:
    # The events of a played capture are years old by our clock, but not by the exchange's.
    await days_of(database, Tape(), 0, 3)
    await prune(database, Retention(days=4))
    assert await keys(database) == {"BTCUSDT-0", "BTCUSDT-3"}


async def test_an_event_from_the_future_makes_nothing_old(database: Database) -> None:
    tape = Tape()
    now_ms = tape.now_ms
    await days_of(database, tape, 0, 4000)
    await prune(database, Retention(days=1), now_ms + 2 * MINUTE_MS)
    assert await keys(database) == {"BTCUSDT-0", "BTCUSDT-4000"}


async def test_imported_events_stay_at_any_age(database: Database) -> None:
    tape = Tape()
    await store_segment(database, tape, "imported", minutes=2, origin="import")
    await days_of(database, tape, 50)
    await prune(database, Retention(days=1))
    assert "imported" in await keys(database)
    # By size it counts, and is removed.
    await prune(database, limit(1))
    assert "imported" not in await keys(database)


@pytest.mark.parametrize("retention", [Retention(days=1), limit(1), Retention(1, 1 / GB)])
async def test_no_setting_removes_the_newest(database: Database, retention: Retention) -> None:
    stored = await store_segment(database, Tape(), "one", minutes=4)
    for _ in range(3):
        await prune(database, retention)
    (segment,) = await segments_of(database)
    assert segment["last_id"] == stored.events[-1].final_id
    assert segment["event_count"] - segment["cut_events"] >= 6


async def test_by_size_the_oldest_goes_first_over_all_markets(database: Database) -> None:
    first, _, third = await days_of(database, Tape(), 0, 2, 4)
    second, fourth = await days_of(database, Tape("ETHUSDT"), 1, 5)
    before = await size(database)
    freed = sum(first.chunk_bytes) + 1
    pruner = await prune(database, limit(before.lasting_bytes - freed))
    assert pruner.problem == ""
    segments = {one["_id"]: one for one in await all_of(database, "segments")}
    assert first.id not in segments
    assert segments[second.id]["cut_events"] == 6
    assert segments[third.id]["cut_events"] == segments[fourth.id]["cut_events"] == 0
    after = await size(database)
    assert after.lasting_bytes <= before.lasting_bytes - freed


async def test_by_size_no_more_is_removed_than_necessary(database: Database) -> None:
    (stored,) = await days_of(database, Tape(), 0, minutes=10)
    before = await size(database)
    await prune(database, limit(before.lasting_bytes - stored.chunk_bytes[0] - 1))
    (segment,) = await segments_of(database)
    assert segment["snapshot_id"] == stored.chunk_ids[2]


async def test_a_limit_that_cannot_be_kept_is_reported(database: Database) -> None:
    await days_of(database, Tape(), 0)
    pruner = await prune(database, limit(10))
    assert "more than the" in pruner.problem
    assert "being recorded or not archived" in pruner.problem
    # Another order is fine, too.
    await pruner.prune(Retention(), FAR_MS, RecordingSizes(database).measure)
    assert pruner.problem == ""


async def test_loose_events_go_too(database: Database) -> None:
    tape = Tape()
    store = ChunkStore(database)
    old, new = tape.now_ms, tape.now_ms + 9 * DAY_MS
    await days_of(database, tape, 10)
    for event_ms in (old, new):
        chunk = encode_loose([loose_event("ETHUSDT", event_ms, event_ms)])
        await store_list(
            database, "ETHUSDT", [event_ms], (await store.put_loose(pack_chunk(chunk)))[0]
        )
    await prune(database, Retention(days=5))
    assert len(await store.loose_keys("ETHUSDT")) == 1
    assert len(await LooseEvents(database).lists("ETHUSDT")) == 1
    assert await missing_loose(database, "ETHUSDT") == []
    await prune(database, limit(1))
    assert await store.loose_keys("ETHUSDT") == []


async def test_imported_loose_events_go_by_size_only(database: Database) -> None:
    tape = Tape()
    store = ChunkStore(database)
    key, _ = await store.put_loose(pack_chunk(encode_loose([loose_event("ETHUSDT", tape.now_ms)])))
    await store_list(database, "ETHUSDT", [7], key, name=key)
    await days_of(database, tape, 10)
    await prune(database, Retention(days=5))
    assert await store.loose_keys("ETHUSDT") == [key]
    await prune(database, limit(1))
    assert await store.loose_keys("ETHUSDT") == []
    assert await LooseEvents(database).lists("ETHUSDT") == []


async def test_a_damaged_note_of_a_removal_keeps_nothing_from_going(database: Database) -> None:
    _, new = await days_of(database, Tape(), 0, 10)
    await database.collection("meta").insert_one({"_id": "removal:x", "market": 5})
    await prune(database, Retention(days=1))
    assert await keys(database) == {new.id}


@pytest.mark.parametrize("damage", [{"market": 5}, {"event_count": None}])
async def test_a_damaged_loose_chunk_keeps_no_other(
    database: Database, damage: dict[str, object]
) -> None:
    tape = Tape()
    store = ChunkStore(database)
    for market in ("ETHUSDT", "LTCUSDT"):
        chunk = encode_loose([loose_event(market, tape.now_ms)])
        key, _ = await store.put_loose(pack_chunk(chunk))
        await store_list(database, market, [7], key)
    await database.collection("depth_chunks").update_one({"market": "ETHUSDT"}, {"$set": damage})
    await days_of(database, tape, 10)
    await prune(database, Retention(days=5))
    (left,) = await all_of(database, "depth_chunks", segment=None)
    assert left["_id"].startswith("ETHUSDT")


async def test_loose_events_that_are_being_written_are_let_be(database: Database) -> None:
    tape = Tape()
    store = ChunkStore(database)
    await store.put_loose(pack_chunk(encode_loose([loose_event("ETHUSDT", tape.now_ms)])))
    await days_of(database, tape, 10)
    await prune(database, Retention(5, 1 / GB))
    assert len(await store.loose_keys("ETHUSDT")) == 1


async def test_a_kill_amid_loose_events_loses_none_by_accident(database: Database) -> None:
    tape = Tape()
    store = ChunkStore(database)
    await days_of(database, tape, 10)
    lives = 0
    while True:
        key, _ = await store.put_loose(
            pack_chunk(encode_loose([loose_event("ETHUSDT", tape.now_ms)]))
        )
        await store_list(database, "ETHUSDT", [7], key)
        (loose,) = await cuttable_loose(Mortal(database, 100, after=False))
        loose._database = Mortal(database, lives, after=False)
        try:
            await loose.cut(lambda _link: True)
        except Killed:
            assert await missing_loose(database, "ETHUSDT") == []
        else:
            break
        left = await cuttable_loose(database)
        # The next process finishes the removal.
        assert len(left) == (lives == 0)
        for one in left:
            await one.cut(lambda _link: True)
        assert await store.loose_keys("ETHUSDT") == []
        assert await LooseEvents(database).lists("ETHUSDT") == []
        lives += 1
    assert lives >= 4
    assert await database.collection("meta").count_documents({}) == 1


async def test_witnesses_go_with_what_they_bear_witness_of(database: Database) -> None:
    tape = Tape()
    first, second = await days_of(database, tape, 0, 10)
    for stored in (first, second):
        await store_witness(database, "BTCUSDT", stored.events[3].final_id)
    await store_witness(database, "ETHUSDT", 5)
    await prune(database, Retention(days=5))
    left = {one["_id"] for one in await all_of(database, "witnesses")}
    assert left == {f"BTCUSDT:{second.events[3].final_id}", "ETHUSDT:5"}


async def test_what_a_kill_left_is_removed_first(database: Database) -> None:
    first, _ = await days_of(database, Tape(), 0, 10)
    # As it is after the first step of a cut.
    moved = {
        "snapshot_id": first.chunk_ids[1],
        "first_id": first.events[6].first_id,
        "first_event_ms": first.events[6].event_ms,
        "cut_from": first.chunk_ids[0],
    }
    less = {"cut_events": 6, "archived_events": -6, "archived_bytes": -first.chunk_bytes[0]}
    segments = database.collection("segments")
    await segments.update_one({"_id": first.id}, {"$set": moved, "$inc": less})
    await prune(database, Retention())
    chunks = await all_of(database, "depth_chunks", segment=first.id)
    assert [one["start_id"] for one in chunks] == first.chunk_ids[1:]
    assert "cut_from" not in (await segments_of(database))[0]


async def test_a_kill_at_any_call_leaves_what_can_be_proven(database: Database) -> None:
    sizes = RecordingSizes(database)
    lives = 0
    while True:
        stored = await days_of(database, Tape(seed=lives), 0, 10, minutes=3)
        pruner = Pruner(Mortal(database, lives, after=False))
        try:
            await pruner.prune(Retention(days=5), FAR_MS, sizes.measure)
        except Killed:
            await proven(database)
        else:
            break
        await prune(database, Retention(days=5))
        await proven(database)
        assert await all_of(database, "depth_chunks", segment=stored[0].id) == []
        assert await all_of(database, "checkpoints", segment=stored[0].id) == []
        await database.motor.command("dropDatabase")
        database.prepared = False
        lives += 1
    assert lives > 8


@pytest.mark.expects_log(r"WARNING .*market_sink: BTCUSDT: gap in the recording")
async def test_recording_archiving_and_cutting_at_once_leave_what_can_be_proven(
    database: Database,
) -> None:
    tape = Tape(step_ms=5_000)
    archiver = archiver_of(database)
    sizes = RecordingSizes(database)
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        for number in range(12):
            feed.diffs(*tape.diffs(60))
            if number == 6:
                feed.broken(GapCause.DISCONNECT)
                feed.snapshot(tape.snapshot())
            await until_written(recorder)
            await until_stored(database, 1, end_cause=None)
            await archiver.catch_up()
            size = await sizes.measure()
            before = await first_ms(database)
            kept = limit(max(1, size.lasting_bytes - 4_000))
            await asyncio.gather(
                Pruner(database, pause_s=0.0).prune(kept, FAR_MS, sizes.measure),
                proven(database),
            )
            assert await first_ms(database) >= before
            await proven(database)
    await archiver.catch_up()
    await proven(database)
    size = await sizes.measure()
    await Pruner(database, pause_s=0.0).prune(
        limit(size.lasting_bytes - 4_000), FAR_MS, sizes.measure
    )
    await proven(database)
    segments = await segments_of(database)
    left = sum(one["event_count"] - one["cut_events"] for one in segments)
    assert 0 < left < 12 * 60
    assert segments[-1]["last_id"] == tape.last_id


async def first_ms(database: Database) -> int:
    begun = [one["first_event_ms"] for one in await all_of(database, "segments")]
    # A segment that has just begun may have no event yet.
    return min(int(one) for one in begun if one)


async def proven(database: Database) -> None:
    verified = await verify(database, "BTCUSDT")
    assert verified.fault is None, str(verified.fault)
