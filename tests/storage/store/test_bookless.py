"""Events that no book reaches make runs, are archived, and a lost one is noticed."""

from __future__ import annotations

import asyncio
import time

import pytest
from msgspec import structs
from msgspec.structs import replace

from orderbook_desktop.core.events import DepthDiff, decode_diff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import LooseEnd
from orderbook_desktop.storage.archive.times import ArchiveTimes
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert, event_document
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.raw_events import own_events
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS
from orderbook_desktop.storage.store.segment_documents import StoredIds
from tests.storage.archive_fixtures import archiver_of, held_in, lost_loose, raw_of, record
from tests.storage.recording_fixtures import (
    HandFeed,
    ServerThread,
    Tape,
    bookless_of,
    running,
    segments_of,
    started,
    until_stored,
    until_written,
)

GAP = pytest.mark.allows_log("gap in the recording")


def event(first_id: int, final_id: int, event_ms: int = 7) -> DepthDiff:
    text = '{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":[["5.0","1.0"]],"a":[]}'
    return decode_diff((text % (event_ms, first_id, final_id)).encode(), final_id)


async def lose(database: Database, final_id: int) -> None:
    done = await database.collection(DEPTH_EVENTS).delete_one({"market": "BTCUSDT", "u": final_id})
    assert done.deleted_count == 1


@GAP
async def test_the_loss_of_any_loose_event_is_found(database: Database) -> None:
    tape = Tape()
    async with running(Recorder(database)) as recorder:
        feed = HandFeed(recorder.sink(tape.market))
        before = tape.diffs(4)
        feed.diffs(*before)
        feed.snapshot(tape.snapshot())
        feed.diffs(*tape.diffs(5))
        tape.diff()
        amid = tape.diffs(3)
        feed.diffs(*amid)
        feed.broken(GapCause.DISCONNECT)
        feed.snapshot(tape.snapshot())
        feed.diffs(*tape.diffs(2))
        tape.diff()
        at_the_end = tape.diffs(2)
        feed.diffs(*at_the_end)
    loose = [one.final_id for one in [*before, *amid, *at_the_end]]
    assert await lost_loose(database) == []
    lost = []
    for final_id in loose[::2]:
        await lose(database, final_id)
        lost.append(final_id)
        assert await lost_loose(database) == lost
    # Also after the others have been archived.
    await archiver_of(database).catch_up()
    assert await raw_of(database) == []
    assert await lost_loose(database) == lost
    held = await held_in(database)
    assert [one.final_id for one in held.loose] == loose[1::2]
    run = (await BooklessRuns(database).of("BTCUSDT"))[0]
    await database.collection("depth_chunks").delete_many({"segment": run.id})
    assert len(await lost_loose(database)) > len(lost)


async def test_events_that_came_again_otherwise_cut_stay_beside_the_segment(
    database: Database,
) -> None:
    """Two overlapping connections to the exchange bring such events."""
    tape = Tape(step_ms=30_000)
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        diffs = tape.diffs(40)
        feed.diffs(*diffs[:20])
        inside = diffs[9].final_id - 2
        again = event(diffs[8].first_id + 1, inside, diffs[20].event_ms)
        feed.diffs(again, *diffs[20:])
        await until_written(recorder)
    (segment,) = await segments_of(database)
    assert segment["event_count"] == 40
    await archiver_of(database).catch_up()
    await archiver_of(database).catch_up()
    held = await held_in(database)
    assert (held.archived, held.loose, held.raw) == (diffs, [again], [])
    (segment,) = await segments_of(database)
    assert segment["archived_events"] == 40
    assert await lost_loose(database) == []


async def test_what_a_crash_kept_from_being_listed_is_found_at_the_next_start(
    database: Database,
) -> None:
    diffs = await record(database, Tape(), 5)
    await database.collection("segments").delete_many({"book": False})
    late = structs.replace(Tape(seed=5).diff(), received_ns=time.time_ns() + 10**12)
    late = structs.replace(late, final_id=diffs[-1].final_id + 50)
    last_id = late.final_id
    inserted = replace(Insert.of(late), first_id=last_id)
    await database.collection(DEPTH_EVENTS).insert_one(event_document(inserted))
    await archiver_of(database, times=ArchiveTimes(loose_after_s=1_000.0)).catch_up()
    (found,) = await BooklessRuns(database).of("BTCUSDT")
    # The last event came since, and may still find its segment.
    assert found.ids == tuple(one.final_id for one in diffs[:3])
    assert not found.is_archived
    await lose(database, diffs[1].final_id)
    assert await lost_loose(database) == [diffs[1].final_id]


async def test_what_one_recorder_cannot_use_another_one_can(
    server: ServerThread, database: Database
) -> None:
    second = Database(database.name)
    second.connect(server.dsn)
    archivers = [archiver_of(each) for each in (database, second)]
    tape = Tape(step_ms=2_000)
    async with running(Recorder(database)) as one, running(Recorder(second)) as two:
        late = HandFeed(two.sink(tape.market))
        feed = started(one, tape)
        early = tape.diffs(90)
        late.diffs(*early)
        await until_written(two)
        feed.diffs(*early)
        late.snapshot(tape.snapshot())
        later = tape.diffs(90)
        for each in (feed, late):
            each.diffs(*later)
        await until_written(one)
        await until_written(two)
        await until_stored(database, 2, last_id=tape.last_id)
        assert await bookless_of(database) == [tuple(one.final_id for one in early)]
        await archivers[0].catch_up()
        assert await lost_loose(database) == []
    for _ in range(2):
        await asyncio.gather(*(each.catch_up() for each in archivers))
    second.close()
    held = await held_in(database)
    assert not held.raw
    assert not held.loose
    assert [one.final_id for one in held.archived] == [one.final_id for one in [*early, *later]]
    # The segment accounts for them.
    assert await bookless_of(database) == []


@pytest.mark.parametrize("damage", [{"event_count": 3}, {"ids": None}, {"ids": b"x"}])
async def test_damaged_ids_are_reported(database: Database, damage: dict[str, object]) -> None:
    runs, events = (
        BooklessRuns(database),
        [StoredIds(update_id, update_id, 7) for update_id in (9, 5, 5)],
    )
    await runs.put("BTCUSDT", events, "one")
    (found,) = await runs.of("BTCUSDT")
    assert found.ids == (5, 9)
    assert (await runs.end_after("BTCUSDT", 5)) == LooseEnd(9, 7)
    assert (await runs.end_after("BTCUSDT", 9)) is None
    await database.collection("segments").update_one({}, {"$set": damage})
    with pytest.raises(DamagedDocument, match="segment one"):
        await runs.of("BTCUSDT")


def test_the_run_among_events_that_are_listed_as_loose() -> None:
    run = [event(1, 5), event(6, 10), event(11, 15)]
    beside = event(4, 7)
    assert own_events(0, [run[0], beside, *run[1:]], {7}) == run
    # Another recorder listed it, but the run needs it.
    assert own_events(0, run, {5, 10, 15}) == run
    assert own_events(0, run, {10}) == run
    assert own_events(0, run, ()) == run
    assert own_events(0, [], {1}) == []
