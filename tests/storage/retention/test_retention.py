"""Retention by age and by size, over all markets, the oldest first and never the newest."""

from __future__ import annotations

import asyncio
import json

import pytest

from orderbook_desktop.core.disk import GB, RecordingSize, Retention
from orderbook_desktop.core.events import DepthDiff, decode_diff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.retention.retention import Pruner
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.disk_usage import RecordingSizes
from orderbook_desktop.storage.store.schema import IMPORT, RECORDER, Document
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.verification.verification import verify
from tests.examples import some_of
from tests.storage.archive_fixtures import archiver_of, copy_of, lost_loose
from tests.storage.archived_fixtures import Stored, store_segment, store_witness
from tests.storage.made_trades import received
from tests.storage.mortal import Killed, Mortal
from tests.storage.recording_fixtures import (
    Tape,
    all_of,
    bookless_of,
    running,
    segments_of,
    started,
    until_stored,
    until_written,
)
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import archive, claim

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


async def store_loose(
    database: Database, market: str, event_ms: int, origin: str = RECORDER
) -> str:
    """Store an archived run without a book, of one event; return its key."""
    event = loose_event(market, event_ms, event_ms)
    return await Shelf(database).put_loose([event], archived=True, origin=origin)


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
    assert one["first_time"] == stored.events[6 * gone].event_ms


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


async def trades_of_days(
    database: Database, tape: Tape, *days: int, origin: TradeOrigin = TradeOrigin.RECORDER
) -> None:
    """Store archived trades at the beginning of each day, two chunks of ten, with a gap between."""
    for number, day in enumerate(days):
        begin_ms = tape.now_ms + day * DAY_MS
        first_id = 1000 * number + 1
        trades = [
            received(trade_id, market=tape.market, T=begin_ms + 6_000 * (trade_id - first_id))
            for trade_id in range(first_id, first_id + 20)
        ]
        await archive(database, trades, await claim(database, trades, origin=origin))


async def days_with_trades(database: Database, tape: Tape) -> list[int]:
    """On which days of `tape`, which is before all of them, there are trades."""
    begun_ms = tape.now_ms
    runs = await DatabaseTrades(database).runs(tape.market)
    return [(run.from_ms - begun_ms) // DAY_MS for run in runs]


async def test_by_age_trades_go_with_the_book_of_their_time(database: Database) -> None:
    await trades_of_days(database, Tape(), 0, 5, 10)
    await trades_of_days(database, Tape("ETHUSDT"), 0, origin=TradeOrigin.IMPORT)
    await days_of(database, Tape(), 0, 5, 10)
    await prune(database, Retention(days=6))
    assert await keys(database) == {"BTCUSDT-5", "BTCUSDT-10"}
    assert await days_with_trades(database, Tape()) == [5, 10]
    assert await days_with_trades(database, Tape("ETHUSDT")) == [0]
    chunks = await all_of(database, "trade_chunks", market="BTCUSDT")
    assert {one["first_id"] for one in chunks} == {1001, 1011, 2001, 2011}
    found = await verify(database, "BTCUSDT")
    assert (found.trades.trades, len(found.trades.gaps)) == (40, 1)


async def test_by_age_trades_alone_go_as_well(database: Database) -> None:
    await trades_of_days(database, Tape(), 0, 5)
    await prune(database, Retention(days=1))
    assert await days_with_trades(database, Tape()) == [5]


async def test_by_size_trades_go_with_the_book_of_their_time(database: Database) -> None:
    await trades_of_days(database, Tape(), 0, 50, 100)
    await trades_of_days(database, Tape("ETHUSDT"), 1, origin=TradeOrigin.IMPORT)
    first, _, _ = await days_of(database, Tape(), 0, 50, 100)
    before = await size(database)
    chunks = [len(one["data"]) for one in await all_of(database, "trade_chunks")]
    oldest = sum(first.chunk_bytes) + sum(chunks) // 2
    await prune(database, limit(before.lasting_bytes - oldest))
    assert await days_with_trades(database, Tape("ETHUSDT")) == []
    assert await days_with_trades(database, Tape()) == [50, 100]
    assert await keys(database) == {"BTCUSDT-50", "BTCUSDT-100"}
    assert (await size(database)).trade_bytes < before.trade_bytes


async def test_loose_events_go_too(database: Database) -> None:
    tape = Tape()
    old, new = tape.now_ms, tape.now_ms + 9 * DAY_MS
    await days_of(database, tape, 10)
    for event_ms in (old, new):
        await store_loose(database, "ETHUSDT", event_ms)
    await prune(database, Retention(days=5))
    assert await bookless_of(database, "ETHUSDT") == [(new,)]
    assert len(await all_of(database, "depth_chunks", market="ETHUSDT")) == 1
    assert await lost_loose(database, "ETHUSDT") == []
    await prune(database, limit(1))
    assert await bookless_of(database, "ETHUSDT") == []
    assert await all_of(database, "depth_chunks", market="ETHUSDT") == []


async def test_imported_loose_events_go_by_size_only(database: Database) -> None:
    tape = Tape()
    await store_loose(database, "ETHUSDT", tape.now_ms, IMPORT)
    await days_of(database, tape, 10)
    await prune(database, Retention(days=5))
    assert len(await bookless_of(database, "ETHUSDT")) == 1
    await prune(database, limit(1))
    assert await bookless_of(database, "ETHUSDT") == []


@pytest.mark.allows_log("retention skips a segment|a chunk of the segment .* is missing or damaged")
@pytest.mark.parametrize(
    ("collection", "damage"),
    [("depth_chunks", {"event_count": None}), ("segments", {"event_count": None})],
)
async def test_damaged_loose_events_keep_no_others(
    database: Database, collection: str, damage: dict[str, object]
) -> None:
    tape = Tape()
    for market in ("ETHUSDT", "LTCUSDT"):
        await store_loose(database, market, tape.now_ms)
    await database.collection(collection).update_one({"market": "ETHUSDT"}, {"$set": damage})
    await days_of(database, tape, 10)
    await prune(database, Retention(days=5))
    (left,) = await all_of(database, "segments", book=False)
    assert left["market"] == "ETHUSDT"


async def test_loose_events_that_wait_for_the_archive_stay(database: Database) -> None:
    tape = Tape()
    event = loose_event("ETHUSDT", tape.now_ms)
    await Shelf(database).put_loose([event])
    await Shelf(database).write([event])
    await days_of(database, tape, 10)
    await prune(database, Retention(5, 1 / GB))
    assert await bookless_of(database, "ETHUSDT") == [(event.final_id,)]

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
        "first_time": first.events[6].event_ms,
        "cut_from": first.chunk_ids[0],
        "cut_events": 6,
        "cut_bytes": first.chunk_bytes[0],
    }
    await Shelf(database).change("segments", first.id, **moved)
    await prune(database, Retention())
    chunks = await all_of(database, "depth_chunks", segment=first.id)
    assert [one["start_id"] for one in chunks] == first.chunk_ids[1:]
    assert (await segments_of(database))[0]["cut_from"] is None


@pytest.mark.sweep
async def test_a_kill_at_any_call_leaves_what_can_be_proven(database: Database) -> None:
    sizes = RecordingSizes(database)
    for lives in some_of(range(200), 3):
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
    else:
        pytest.fail("it never came to its end")
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
    begun = [one["first_time"] for one in await segments_of(database)]
    # A segment that has just begun may have no event yet.
    return min(int(one) for one in begun if one)


async def proven(database: Database) -> None:
    verified = await verify(database, "BTCUSDT")
    assert verified.fault is None, str(verified.fault)
