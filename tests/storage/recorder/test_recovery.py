from __future__ import annotations

import asyncio
import platform
import subprocess
import sys
from typing import Any

import pytest

from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone, owner_document
from orderbook_desktop.storage.store.segment_documents import StoredIds
from tests.storage.processes import ROOT
from tests.storage.recording_fixtures import (
    ServerThread,
    Tape,
    all_of,
    running,
    segments_of,
    started,
    until_stored,
    until_written,
)
from tests.storage.shelf import Shelf

CLOSED = pytest.mark.expects_log("WARNING .*BTCUSDT: the recording up to .* ended without")

CRASHING = """
import asyncio, os, sys
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.recorder.recorder import Recorder
from tests.storage.recording_fixtures import Tape, started, until_stored, until_written

async def record() -> None:
    database = Database(sys.argv[2])
    database.connect(sys.argv[1])
    recorder = Recorder(database)
    await recorder.start()
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(3))
    await until_stored(database, 1, event_count=3)
    # Acknowledged, and not yet stored in the segment's document.
    for _ in range(40):
        feed.diffs(*tape.diffs(5))
        await until_written(recorder)
    os.kill(os.getpid(), 9)

asyncio.run(record())
"""


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def gone_process() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


async def abandon(database: Database, tape: Tape, **owner: object) -> None:
    """Leave a segment open, as a crashed recorder of that owner would."""
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        feed.diffs(*tape.diffs(5))
        await until_stored(database, 1, event_count=5)
        (segment,) = await all_of(database, "segments", end_cause=None)
    segment["owner"] |= {"token": "another"} | owner
    await database.collection("segments").replace_one({"_id": segment["_id"]}, segment)


@CLOSED
async def test_a_killed_recorder_is_found_at_the_next_start(
    server: ServerThread, database: Database
) -> None:
    crashing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CRASHING, server.dsn, database.name), cwd=ROOT
    )
    async with asyncio.timeout(100):
        assert await crashing.wait() == -9
    tape = Tape()
    base_id = tape.last_id
    diffs = tape.diffs(203)
    async with running(Recorder(database)) as recorder:
        tape.diff()
        started(recorder, tape).diffs(tape.diff())
        await until_stored(database, 1, end_cause="crash")
        await until_written(recorder)
    crashed, new = await segments_of(database)
    assert crashed["snapshot_id"] == base_id
    assert crashed["first_id"] == diffs[0].first_id
    assert crashed["last_id"] == diffs[-1].final_id
    assert crashed["first_time"] == diffs[0].event_ms
    assert crashed["last_time"] == diffs[-1].event_ms
    assert crashed["event_count"] == 203
    assert new["end_cause"] == "user"
    assert len(await all_of(database, "depth_events")) == 204


@CLOSED
async def test_a_run_is_measured_up_to_its_first_gap(database: Database) -> None:
    tape = Tape()
    await abandon(database, tape, pid=gone_process())
    end = tape.last_id
    # The clock goes back meanwhile.
    rest = [(end + 1, end + 4, 900), (end + 5, end + 5, -30_000), (end + 7, end + 9, 5_000)]
    await database.collection("depth_events").insert_many(
        [
            {"market": "BTCUSDT", "U": u, "u": v, "time": tape.now_ms + later_ms}
            for u, v, later_ms in rest
        ]
    )
    assert await CrashWatch(database).close_crashed() == 1
    (segment,) = await segments_of(database)
    assert (segment["last_id"], segment["event_count"]) == (end + 5, 7)
    assert (segment["last_time"], segment["back"]) == (tape.now_ms + 900, 30_900)
    assert segment["end_cause"] == "crash"


async def test_live_recorders_are_left_alone(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(tape.diff())
    await until_stored(database, 1, event_count=1)
    other = {"host": "far away", "pid": gone_process(), "token": "another"}
    (mine,) = await segments_of(database)
    segments = database.collection("segments")
    await segments.insert_one(mine | {"_id": "far", "owner": other})
    alive = {"pid": 1, "token": "third"}
    await segments.insert_one(mine | {"_id": "near", "owner": mine["owner"] | alive})
    assert await CrashWatch(database).close_crashed() == 0
    assert len(await all_of(database, "segments", end_cause=None)) == 3


async def test_its_own_are_left_alone_after_a_long_outage(
    recorder: Recorder, database: Database
) -> None:
    tape, clock = Tape(), Clock()
    started(recorder, tape).diffs(*tape.diffs(3))
    await until_stored(database, 1, event_count=3)
    # As after an outage, in which no heartbeat was stored either.
    forever = {"$set": {"alive_ms": 1}}
    watch = CrashWatch(database, clock)
    for _ in range(3):
        await database.collection("segments").update_many({}, forever)
        assert await watch.close_crashed() == 0
        clock.now += 60


@CLOSED
async def test_a_process_out_of_sight_is_gone_when_its_heartbeat_stops(
    database: Database,
) -> None:
    """At any time of its clock, and also if another process has its id now."""
    tape = Tape()
    await abandon(database, tape, pid=1)
    clock = Clock()
    watch = CrashWatch(database, clock)
    segments = database.collection("segments")
    assert await watch.close_crashed() == 0
    clock.now += 44
    assert await watch.close_crashed() == 0
    await segments.update_one({}, {"$set": {"alive_ms": 1}})
    clock.now += 44
    assert await watch.close_crashed() == 0
    clock.now += 44
    assert await watch.close_crashed() == 0
    clock.now += 2
    assert await watch.close_crashed() == 1
    assert await watch.close_crashed() == 0


async def test_a_recorder_that_shows_itself_meanwhile_is_alive(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape()
    await abandon(database, tape, pid=gone_process())
    watch = CrashWatch(database)
    measured = CrashWatch._measured

    async def late(self: CrashWatch, segment: Any) -> Any:
        await database.collection("segments").update_one({}, {"$set": {"alive_ms": 1}})
        return await measured(self, segment)

    monkeypatch.setattr(CrashWatch, "_measured", late)
    assert await watch.close_crashed() == 0
    assert len(await all_of(database, "segments", end_cause=None)) == 1


@CLOSED
async def test_a_recorder_that_was_taken_for_dead_takes_its_segment_back(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(tape.diff())
    await until_stored(database, 1, event_count=1)
    owner = {"owner.token": "another", "owner.pid": gone_process()}
    await database.collection("segments").update_one({}, {"$set": owner})
    assert await CrashWatch(database).close_crashed() == 1
    feed.diffs(tape.diff())
    await until_stored(database, 1, event_count=2, end_cause=None)


@CLOSED
async def test_ids_at_the_end_of_what_a_database_holds(database: Database) -> None:
    tape = Tape()
    await abandon(database, tape, pid=gone_process())
    await database.collection("segments").update_one({}, {"$set": {"last_id": INT64_MAX}})
    assert await CrashWatch(database).close_crashed() == 1


@pytest.mark.parametrize("field", ["market", "owner", "alive_ms", "last_id", "end_cause"])
@pytest.mark.allows_log("ended without being closed|segment .* can't be closed")
async def test_a_damaged_segment_does_not_prevent_recording(database: Database, field: str) -> None:
    tape, segments = Tape(), database.collection("segments")
    await abandon(database, tape, pid=gone_process())
    (damaged,) = await segments_of(database)
    await segments.insert_one(damaged | {"_id": "another", "market": "ETHUSDT"})
    await segments.update_one({"_id": damaged["_id"]}, {"$unset": {field: ""}})
    database.prepared = False
    async with running(Recorder(database)) as recorder:
        started(recorder, tape).diffs(*tape.diffs(7))
        await until_written(recorder)
        await until_stored(database, 1, _id="another", end_cause="crash")
    (recorded,) = await all_of(database, "segments", event_count=7)
    assert recorded["end_cause"] == "user"


def test_who_is_gone() -> None:
    mine = owner_document()
    assert not is_gone(mine)
    assert is_gone(mine | {"owner": mine["owner"] | {"token": "an earlier process of my number"}})
    assert not is_gone(mine | {"owner": mine["owner"] | {"token": "another", "pid": 1}})
    inside = {"host": f"{platform.node()} another container", "pid": 1, "token": "another"}
    assert not is_gone(mine | {"owner": inside})
    far = {"host": "far away", "token": "another", "pid": gone_process()}
    assert not is_gone(mine | {"owner": far})


@CLOSED
async def test_what_belonged_to_no_segment_is_not_measured(database: Database) -> None:
    """Another recorder had received the event in another form."""
    tape = Tape()
    await abandon(database, tape, pid=gone_process())
    end = tape.last_id
    # (first id, final id): the second lies inside the third.
    ids = [(end + 1, end + 4), (end + 5, end + 6), (end + 5, end + 9)]
    await database.collection("depth_events").insert_many(
        [{"market": "BTCUSDT", "U": u, "u": v, "time": v} for u, v in ids]
    )
    loose = [StoredIds(end + 5, end + 6, 5)]
    await BooklessRuns(database).put("BTCUSDT", loose, "of another")
    (before,) = await segments_of(database)
    assert await CrashWatch(database).close_crashed() == 1
    (segment,) = await segments_of(database)
    assert segment["event_count"] - before["event_count"] == len(ids) - 1
    assert segment["last_id"] == end + 9


@CLOSED
async def test_of_one_that_an_earlier_version_left_the_last_event_tells_the_time(
    database: Database,
) -> None:
    tape = Tape()
    await abandon(database, tape, pid=gone_process())
    (before,) = await segments_of(database)
    await Shelf(database).change("segments", before["_id"], back=None)
    further = {"U": tape.last_id + 1, "u": tape.last_id + 2, "time": tape.now_ms - 50}
    await database.collection("depth_events").insert_one({"market": "BTCUSDT", **further})
    assert await CrashWatch(database).close_crashed() == 1
    (segment,) = await segments_of(database)
    assert (segment["event_count"], segment["last_time"]) == (6, tape.now_ms - 50)
    assert segment["back"] is None
