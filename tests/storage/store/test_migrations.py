from __future__ import annotations

import asyncio

import pytest

from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.migrations import prepare
from orderbook_desktop.storage.store.schema import SCHEMA_VERSION, NewerSchema, stored_version
from tests.storage.archive_fixtures import FragileDatabase, Killed, archiver_of, held_in, record
from tests.storage.recording_fixtures import (
    ServerThread,
    Tape,
    all_of,
    database,
    segments_of,
    server,
)

__all__ = ["database", "server"]

NEW = ("cut_events", "archived_id", "archived_events", "archived_bytes", "to_archive", "origin")


async def as_version_1(database: Database, segments: int = 2) -> None:
    """Record, and take away all that version 1 didn't know."""
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
            await prepare(Calls(fragile))
        except Killed:
            killed = True
        fragile.calls_left = -1
        version = await stored_version(fragile.motor)
        (segment,) = await segments_of(fragile)
        # It is never said to be of this version before it is.
        assert version == 1 or "archived_id" in segment
        await asyncio.gather(*(prepare(fragile.motor) for _ in range(2)))
        assert await stored_version(fragile.motor) == 2
        (segment,) = await segments_of(fragile)
        assert all(name in segment for name in NEW)
        await fragile.motor.client.drop_database(fragile.name)
        fragile.close()
        if not killed:
            break
    assert 5 < at < 19


class Calls:
    """What a migration takes for motor's database."""

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


async def test_a_version_that_is_not_known_yet_is_left_alone(database: Database) -> None:
    await as_version_1(database, 1)
    await database.collection("meta").update_one({}, {"$set": {"version": 3}})
    before = await all_of(database, "segments")
    with pytest.raises(NewerSchema):
        await database.prepare()
    await archiver_of(database).catch_up()
    assert await all_of(database, "segments") == before
