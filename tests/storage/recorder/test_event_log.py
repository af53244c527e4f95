"""What the database had acknowledged and has lost is written again: events and the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from orderbook_desktop.core.events import decode_diff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.recorder.event_log import EventLog
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import AT_ONCE, archiver_of, raw_of, record
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import (
    ServerThread,
    Tape,
    all_of,
    events_of,
    running,
    segments_of,
    started,
    until_stored,
    until_written,
)


@pytest.mark.expects_log("BTCUSDT: the database had lost 7 events .* written again")
async def test_what_an_interrupted_database_has_lost_is_written_again(
    recorder: Recorder, server: ServerThread, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    sent = tape.diffs(20)
    feed.diffs(*sent)
    await until_written(recorder)
    lost = [diff.final_id for diff in sent[5:12]]
    await database.collection("depth_events").delete_many({"u": {"$in": lost}})
    # It comes back, as after a restart.
    database.connect(server.dsn)
    sent += tape.diffs(2)
    feed.diffs(*sent[20:])
    await until_written(recorder)
    assert recorder.is_whole
    stored = await events_of(database)
    assert [one["payload"].encode() for one in stored] == [diff.payload for diff in sent]
    counts = recorder.sink(tape.market).counts
    assert (counts.events, counts.repeated, counts.gaps) == (22, 0, 0)


@pytest.mark.expects_log("ETHUSDT: the database had lost 3 events")
async def test_what_was_lost_is_written_again_at_the_end_too(
    server: ServerThread, database: Database
) -> None:
    tape = Tape("ETHUSDT")
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        sent = tape.diffs(3)
        feed.diffs(*sent)
        await until_written(recorder)
        await database.collection("depth_events").delete_many({})
        database.connect(server.dsn)
    assert len(await events_of(database, "ETHUSDT")) == 3


@pytest.mark.expects_log("BTCUSDT: the database had lost 4 events .* 4 of them are written")
async def test_what_was_lost_of_an_ended_segment_is_there_before_it_is_archived(
    recorder: Recorder, server: ServerThread, database: Database
) -> None:
    """Without another event: the exchange is away, for example."""
    tape = Tape()
    feed = started(recorder, tape)
    sent = tape.diffs(30)
    feed.diffs(*sent)
    feed.broken(GapCause.USER, "")
    await until_stored(database, 1, end_cause="user")
    lost = [diff.final_id for diff in sent[11:15]]
    await database.collection("depth_events").delete_many({"u": {"$in": lost}})
    database.connect(server.dsn)
    archiver = Archiver(database, pace=0.0, times=AT_ONCE, is_whole=lambda: recorder.is_whole)
    assert not recorder.is_whole
    await archiver.catch_up()
    (segment,) = await segments_of(database)
    assert (segment["archived_events"], archiver.problem) == (0, "")
    await eventually(lambda: recorder.is_whole)
    await archiver.catch_up()
    assert archiver.problem == ""
    assert len(await raw_of(database)) == 0
    assert len(await events_of(database)) == 30


async def test_what_was_archived_is_not_written_again(database: Database) -> None:
    """Neither events of a segment nor loose ones."""
    await record(database, Tape(), 40)
    log = EventLog(database)
    stored = await events_of(database)
    await log.insert([Insert.of(decode_diff(one["payload"].encode(), 7)) for one in stored])
    await archiver_of(database).catch_up()
    assert await raw_of(database) == []
    await log.restore()
    assert await raw_of(database) == []


@pytest.mark.expects_log("BTCUSDT: the database had lost 2 events")
async def test_only_the_latest_events_are_kept_to_be_written_again(database: Database) -> None:
    now = 0.0
    log = EventLog(database, lambda: now)
    await database.prepare()
    events = [Insert.of(diff) for diff in Tape().diffs(4)]
    await log.insert(events[:2])
    now = 25.0
    await log.insert(events[2:3])
    now = 35.0
    await log.insert(events[3:])
    # However long the database is away: an age is that at the last acknowledgement.
    now = 6_000.0
    log.forget(Stream("ETHUSDT", DEPTH))
    await database.collection("depth_events").delete_many({})
    await log.restore()
    assert [one["u"] for one in await events_of(database)] == [one.final_id for one in events[2:]]
    await database.collection("depth_events").delete_many({})
    log.forget(Stream("BTCUSDT", DEPTH))
    await log.restore()
    assert await events_of(database) == []


@pytest.fixture
async def paced(database: Database) -> AsyncIterator[tuple[Recorder, Clock]]:
    """A recorder whose clock the test sets."""
    clock = Clock()
    async with running(Recorder(database, now=clock)) as recorder:
        yield recorder, clock


class Clock:
    """A clock that the test sets forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


def is_restored(recorder: Recorder) -> bool:
    return recorder.is_whole and recorder._ledger.is_whole


@pytest.mark.expects_log("BTCUSDT: the database had lost segment .* written again")
@pytest.mark.parametrize(
    "collections", [["segments"], ["checkpoints"], ["segments", "checkpoints"]]
)
async def test_a_segment_that_was_lost_is_written_again(
    recorder: Recorder, server: ServerThread, database: Database, collections: list[str]
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(5))
    await until_stored(database, 1, event_count=5)
    before = await segments_of(database)
    for name in collections:
        await database.collection(name).delete_many({})
    database.connect(server.dsn)
    await eventually(lambda: is_restored(recorder))
    feed.diffs(*tape.diffs(2))
    await until_stored(database, 1, event_count=7)
    (segment,) = await segments_of(database)
    assert segment["_id"] == before[0]["_id"]
    assert (segment["first_id"], segment["snapshot_id"]) == (
        before[0]["first_id"],
        before[0]["snapshot_id"],
    )
    assert recorder.sink(tape.market).counts.gaps == 0
    found = await verify(database, tape.market)
    assert (found.fault, found.events) == (None, 7)


@pytest.mark.expects_log("BTCUSDT: the database had lost segment .* written again")
@pytest.mark.parametrize("is_all_lost", [True, False])
async def test_an_end_that_was_lost_is_written_again(
    recorder: Recorder, server: ServerThread, database: Database, is_all_lost: bool
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(5))
    await until_stored(database, 1, event_count=5)
    (before,) = await segments_of(database)
    feed.broken(GapCause.USER, "")
    await until_stored(database, 1, end_cause="user")
    segments = database.collection("segments")
    await segments.delete_many({})
    if not is_all_lost:
        await segments.insert_one(before)
    database.connect(server.dsn)
    await until_stored(database, 1, end_cause="user", event_count=5)
    await eventually(lambda: is_restored(recorder))
    assert (await verify(database, tape.market)).fault is None


async def lists_of(database: Database) -> list[Document]:
    """Return the runs without a book, once there are any."""
    async with asyncio.timeout(60):
        while not (runs := await all_of(database, "segments", book=False)):
            await asyncio.sleep(0.02)
    return [
        {name: one[name] for name in ("_id", "ids", "event_count", "last_time")} for one in runs
    ]


async def test_a_list_that_was_lost_is_written_again(
    recorder: Recorder, server: ServerThread, database: Database
) -> None:
    tape = Tape()
    sink = recorder.sink(tape.market)
    for diff in tape.diffs(4):
        sink.received(diff)
    sink.broken(GapCause.DISCONNECT, "")
    (before,) = await lists_of(database)
    await database.collection("segments").delete_many({})
    database.connect(server.dsn)
    assert await lists_of(database) == [before]
    assert (await verify(database, tape.market)).loose_events == 4


@pytest.mark.expects_log("BTCUSDT: the database had lost segment .* written again")
async def test_a_segment_that_was_lost_is_written_again_at_the_end_too(
    server: ServerThread, database: Database
) -> None:
    tape = Tape()
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        feed.diffs(*tape.diffs(3))
        feed.broken(GapCause.USER, "")
        await until_stored(database, 1, end_cause="user")
        # Else the recorder may not have the acknowledgement yet, and repeats the write.
        await eventually(lambda: recorder._ledger.is_settled)
        await database.collection("segments").delete_many({})
        database.connect(server.dsn)
    await until_stored(database, 1, end_cause="user", event_count=3)


@pytest.mark.allows_log("gap in the recording")
@pytest.mark.expects_log("ERROR .*deleted while it went on")
async def test_a_recording_that_was_deleted_stays_so(
    paced: tuple[Recorder, Clock], server: ServerThread, database: Database
) -> None:
    """Also if the database was interrupted meanwhile: its segment is older than what is kept."""
    recorder, clock = paced
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(3))
    await until_stored(database, 1, event_count=3)
    clock.ahead_s = 40.0
    feed.diffs(*tape.diffs(2))
    await until_stored(database, 1, event_count=5)
    await eventually(lambda: recorder._ledger.had_segment(tape.market))
    await database.motor.client.drop_database(database.name)
    database.connect(server.dsn)
    await eventually(lambda: recorder.sink(tape.market).counts.gaps)
    assert await events_of(database) == []
    assert await segments_of(database) == []
