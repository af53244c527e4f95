from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import DuplicateKeyError

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.errors import NewerSchema, UnknownSchema
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import (
    SCHEMA_VERSION,
    event_of,
    has_schema,
    prepare_schema,
    segment_document,
    segment_of,
    stored_version,
)
from tests.storage.archive_fixtures import FragileDatabase, Killed, archiver_of, held_in, record
from tests.storage.recording_fixtures import ServerThread, Tape, all_of, segments_of

NEW = ("cut_events", "archived_id", "archived_events", "archived_bytes", "to_archive", "origin")


async def test_preparing_is_harmless_however_often_and_by_however_many(database: Database) -> None:
    assert not await has_schema(database.motor)
    await asyncio.gather(
        *(prepare_schema(database.motor) for _ in range(3)), return_exceptions=True
    )
    await prepare_schema(database.motor)
    assert await has_schema(database.motor)
    (schema,) = await database.collection("meta").find().to_list(None)
    assert schema == {"_id": "schema", "version": SCHEMA_VERSION}


async def test_an_event_is_there_once(database: Database) -> None:
    await prepare_schema(database.motor)
    events = database.collection("depth_events")
    await events.insert_one({"market": "BTCUSDT", "u": 1})
    await events.insert_one({"market": "ETHUSDT", "u": 1})
    with pytest.raises(DuplicateKeyError):
        await events.insert_one({"market": "BTCUSDT", "u": 1})


async def test_a_newer_schema_is_left_alone(database: Database) -> None:
    await database.collection("meta").insert_one({"_id": "schema", "version": SCHEMA_VERSION + 1})
    with pytest.raises(NewerSchema, match="update the program"):
        await prepare_schema(database.motor)
    assert await database.motor.list_collection_names() == ["meta"]


@pytest.mark.parametrize("version", [None, "2", "x" * 5_000, 0, -1, 2.5, True, [2], {}, b"\x1b"])
async def test_a_version_that_is_no_number_leaves_all_alone(
    database: Database, version: object
) -> None:
    meta = database.collection("meta")
    await meta.insert_one({"_id": "schema"} | ({} if version is None else {"version": version}))
    stored = await all_of(database, "meta")
    with pytest.raises(UnknownSchema, match="restore the database") as caught:
        await prepare_schema(database.motor)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    with pytest.raises(UnknownSchema):
        await has_schema(database.motor)
    await archiver_of(database).catch_up()
    assert await database.motor.list_collection_names() == ["meta"]
    assert await all_of(database, "meta") == stored


@pytest.mark.parametrize("cause", [None, *GapCause])
def test_segments_come_back_as_they_were(cause: GapCause | None) -> None:
    segment = Segment("BTCUSDT", 1, 2, 9, 100, 200, 3, Scale(8, 7), cause, "detail")
    assert segment_of(segment_document(segment)) == segment


def test_events_come_back_as_they_were() -> None:
    diff = Tape().diff()
    document = {"payload": diff.payload.decode(), "received_ns": diff.received_ns}
    assert event_of(document) == diff


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"payload": "{}"},
        {"payload": 5, "received_ns": 1},
        {"payload": "{}", "received_ns": 1},
        {"payload": "{}", "received_ns": "x"},
        {"payload": "{}", "received_ns": None},
        {"payload": "\ud800", "received_ns": 1},
    ],
)
def test_a_document_that_is_no_event_is_reported(document: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        event_of(document)


async def as_version_1(database: Database, segments: int = 2) -> None:
    """Record, and remove all that version 1 didn't store."""
    tape = Tape(step_ms=20_000)
    for _ in range(segments):
        await record(database, tape, 12)
    unset = {"$unset": dict.fromkeys(NEW, "")}
    await database.collection("segments").update_many({}, unset)
    await database.collection("loose_events").delete_many({})
    await database.collection("meta").update_one({}, {"$set": {"version": 1}})
    database.prepared = False


async def test_a_recording_of_version_1_is_brought_up_to_date(database: Database) -> None:
    await as_version_1(database)
    await database.prepare()
    assert await stored_version(database.motor) == SCHEMA_VERSION == 2
    for segment in await segments_of(database):
        assert segment["archived_id"] == segment["snapshot_id"]
        assert (segment["archived_events"], segment["archived_bytes"]) == (0, 0)
        assert (segment["cut_events"], segment["origin"]) == (0, "recorder")
        assert segment["to_archive"]
    before = await all_of(database, "segments")
    await database.prepare()
    assert await all_of(database, "segments") == before


async def test_what_was_recorded_before_is_archived(database: Database) -> None:
    await as_version_1(database)
    await archiver_of(database).catch_up()
    await archiver_of(database).catch_up()
    held = await held_in(database)
    assert (len(held.archived), len(held.loose), len(held.raw)) == (24, 6, 0)


async def test_a_migration_may_be_killed_anywhere_and_be_run_by_two(
    server: ServerThread, database: Database
) -> None:
    async def kill() -> None:
        raise Killed

    for at in range(20):
        fragile = FragileDatabase(f"{database.name}_{at}", kill)
        fragile.connect(server.dsn)
        await as_version_1(fragile, 1)
        fragile.calls_left = at
        killed = False
        try:
            await prepare_schema(Calls(fragile))
        except Killed:
            killed = True
        fragile.calls_left = -1
        version = await stored_version(fragile.motor)
        (segment,) = await segments_of(fragile)
        # The version is never raised before the migration is done.
        assert version == 1 or "archived_id" in segment
        await asyncio.gather(*(prepare_schema(fragile.motor) for _ in range(2)))
        assert await stored_version(fragile.motor) == 2
        (segment,) = await segments_of(fragile)
        assert all(name in segment for name in NEW)
        await fragile.motor.client.drop_database(fragile.name)
        fragile.close()
        if not killed:
            break
    assert 5 < at < 19


class Calls:
    """A stand-in for motor's database, for a migration."""

    def __init__(self, database: FragileDatabase) -> None:
        self._database = database

    def __getitem__(self, name: str) -> object:
        return self._database.collection(name)


async def test_segments_of_an_older_recorder_are_found_later_on(database: Database) -> None:
    await database.prepare()
    await record(database, Tape(), 3)
    unset = {"$unset": dict.fromkeys(NEW, "")}
    await database.collection("segments").update_many({}, unset)
    await database.prepare()
    (segment,) = await segments_of(database)
    assert segment["archived_id"] == segment["snapshot_id"]


@pytest.mark.parametrize("damage", [{}, {"snapshot_id": "x"}, {"snapshot_id": None}])
async def test_a_damaged_segment_of_an_older_recorder_stays_as_it_is(
    database: Database, damage: dict[str, object]
) -> None:
    await database.prepare()
    damaged = {"_id": "damaged", "market": "ETHUSDT", **damage}
    await database.collection("segments").insert_one(damaged)
    await database.prepare()
    assert await all_of(database, "segments") == [damaged]


async def test_a_version_that_is_not_known_yet_is_left_alone(database: Database) -> None:
    await as_version_1(database, 1)
    await database.collection("meta").update_one({}, {"$set": {"version": 3}})
    before = await all_of(database, "segments")
    with pytest.raises(NewerSchema):
        await database.prepare()
    await archiver_of(database).catch_up()
    assert await all_of(database, "segments") == before
