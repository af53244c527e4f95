from __future__ import annotations

import pytest

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.reading.recorded_snapshots import (
    NotRecorded,
    RecordedSnapshots,
    RecordingUnreadable,
)
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import NewerSchema
from tests.core.reference_book import shown
from tests.storage.recording_fixtures import (
    Tape,
    all_of,
    database,
    recorder,
    server,
    started,
    until_stored,
    until_written,
)

__all__ = ["database", "recorder", "server"]


async def recorded(recorder: Recorder, database: Database, tape: Tape, number: int = 9) -> None:
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(number))
    await until_stored(database, 1, market=tape.market, event_count=number)


async def assert_serves(database: Database, tape: Tape) -> None:
    snapshot = await RecordedSnapshots(database).snapshot(tape.market)
    assert snapshot.market == tape.market
    assert snapshot.last_update_id == tape.last_id
    assert snapshot.event_ms == tape.now_ms
    book = Book()
    book.load(snapshot)
    assert shown(book) == tape.book.levels


@pytest.mark.parametrize("step_ms", [100, 25_000])
async def test_serves_the_book_of_now(recorder: Recorder, database: Database, step_ms: int) -> None:
    tape, other = Tape(step_ms=step_ms), Tape("ETHUSDT", seed=2)
    await recorded(recorder, database, tape)
    await recorded(recorder, database, other)
    await assert_serves(database, tape)
    await assert_serves(database, other)


async def test_nothing_is_recorded_where_nothing_is(recorder: Recorder, database: Database) -> None:
    snapshots = RecordedSnapshots(database)
    with pytest.raises(NotRecorded, match="Nothing records BTCUSDT"):
        await snapshots.snapshot("BTCUSDT")
    await recorded(recorder, database, Tape("ETHUSDT"))
    with pytest.raises(NotRecorded):
        await snapshots.snapshot("BTCUSDT")


async def test_a_recording_that_has_ended_is_none(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    recorder.sink(tape.market).broken(GapCause.USER, "")
    await until_stored(database, 1, end_cause="user")
    with pytest.raises(NotRecorded):
        await RecordedSnapshots(database).snapshot(tape.market)


async def test_the_leftover_of_a_dead_recorder_is_no_book_of_now(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    (segment,) = await all_of(database, "segments")
    await database.collection("segments").insert_one(
        segment
        | {"_id": "dead", "last_id": 2**62, "last_event_ms": 2**62}
        | {"owner": segment["owner"] | {"token": "another"}}
    )
    await assert_serves(database, tape)


async def test_the_leftover_of_another_machine_is_older(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    (segment,) = await all_of(database, "segments")
    (checkpoint,) = await all_of(database, "checkpoints")
    await database.collection("segments").insert_one(
        segment
        | {"_id": "far", "last_id": 2**62, "last_event_ms": segment["last_event_ms"] - 1}
        | {"owner": {"host": "far away", "pid": 1, "token": "another"}}
    )
    await database.collection("checkpoints").insert_one(
        checkpoint | {"_id": "far", "segment": "far", "update_id": 2**62}
    )
    await assert_serves(database, tape)


async def test_the_book_ends_at_a_gap(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    snapshots = RecordedSnapshots(database)
    before = await snapshots.snapshot(tape.market)
    tape.diff()
    recorder.sink(tape.market).received(tape.diff())
    await until_written(recorder)
    assert await snapshots.snapshot(tape.market) == before


async def test_what_is_damaged_is_told(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    snapshots = RecordedSnapshots(database)
    events, checkpoints = (database.collection(name) for name in ("depth_events", "checkpoints"))
    await events.update_one({"u": tape.last_id}, {"$set": {"payload": "{}"}})
    with pytest.raises(MalformedMessage):
        await snapshots.snapshot(tape.market)
    await checkpoints.update_many({}, {"$set": {"payload": b"nothing"}})
    with pytest.raises(DamagedDocument, match="damaged"):
        await snapshots.snapshot(tape.market)
    await checkpoints.update_many({}, {"$set": {"update_id": "x"}})
    with pytest.raises(DamagedDocument):
        await snapshots.snapshot(tape.market)


async def test_a_newer_schema_is_not_read(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    await database.collection("meta").update_one({}, {"$set": {"version": 99}})
    with pytest.raises(NewerSchema, match="newer version"):
        await RecordedSnapshots(database).snapshot(tape.market)


async def test_an_absent_database_is_told() -> None:
    database = Database("absent")
    database.connect("mongodb://127.0.0.1:9/?directConnection=true")
    with pytest.raises(RecordingUnreadable, match="can't be read"):
        await RecordedSnapshots(database).snapshot("BTCUSDT")
    database.close()
