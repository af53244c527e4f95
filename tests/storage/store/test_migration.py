"""A recording of schema 2 is brought up to date, also when that is killed, or done by two."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.storage.errors import OlderRecorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import payload_of
from orderbook_desktop.storage.store.migration import prepare_schema
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.store.packing import unpack_chunk
from orderbook_desktop.storage.store.schema import SCHEMA_VERSION, is_current, stored_version
from orderbook_desktop.storage.verification.verification import verify
from tests.examples import some_of
from tests.storage.archive_fixtures import FragileDatabase, Killed
from tests.storage.earlier_database import Dump, earlier_databases, read, restore
from tests.storage.recording_fixtures import ServerThread, all_of

_EARLIER = earlier_databases()[-1]
_KILLS = 6


class Calls:
    """A stand-in for motor's database, for a migration."""

    def __init__(self, database: FragileDatabase) -> None:
        self._database = database

    def __getitem__(self, name: str) -> object:
        return self._database.collection(name)


def events_in(documents: Dump) -> set[tuple[str, int, int, bytes]]:
    """All events, raw or archived, byte for byte: market, final id, receive time and text."""
    raw = (
        (one["market"], one["u"], one["received_ns"], payload_of({"encoding": "text"} | one))
        for one in documents["depth_events"]
    )
    return {*raw, *_archived(documents["depth_chunks"])}


def _archived(chunks: list[dict[str, Any]]) -> Iterator[tuple[str, int, int, bytes]]:
    for chunk in chunks:
        for event in decode_chunk(unpack_chunk(chunk["data"])).diffs():
            yield event.market, event.final_id, event.received_ns, event.payload


async def stored_in(database: Database) -> Dump:
    return {name: await all_of(database, name) for name in ("depth_events", "depth_chunks")}


async def migrated(database: Database, before: Dump) -> None:
    """Check that all of it is there, and is proven."""
    assert await is_current(database.motor)
    after = await stored_in(database)
    assert events_in(after) == events_in(before)
    assert len(after["depth_events"]) == len(before["depth_events"])
    packed = sorted(one["data"] for one in before["depth_chunks"])
    assert sorted(one["data"] for one in after["depth_chunks"]) == packed
    assert await all_of(database, "loose_events") == []
    for market in {one["market"] for one in before["segments"]}:
        assert (await verify(database, market)).fault is None, market


@pytest.mark.sweep
@pytest.mark.parametrize("seed", some_of(range(_KILLS), 3))
async def test_a_migration_may_be_killed_anywhere(
    server: ServerThread, database: Database, seed: int
) -> None:
    async def kill() -> None:
        raise Killed

    before = read(_EARLIER)["before"]
    await restore(database, before)
    fragile = FragileDatabase(database.name, kill)
    fragile.connect(server.dsn)
    chosen = random.Random(seed)
    try:
        # It is killed again and again, on its way.
        for most in (9, 120, 300):
            fragile.calls_left = chosen.randrange(2, most)
            with suppress(Killed):
                await prepare_schema(Calls(fragile))
            # From its first write on no earlier version begins to record here.
            assert await stored_version(database.motor) == SCHEMA_VERSION or most == 9
    finally:
        fragile.close()
    await database.prepare()
    await migrated(database, before)


async def test_two_programs_may_migrate_at_once(database: Database) -> None:
    before = read(_EARLIER)["before"]
    await restore(database, before)
    await asyncio.gather(*(prepare_schema(database.motor) for _ in range(2)))
    await database.prepare()
    await migrated(database, before)


async def test_beside_an_older_recorder_nothing_is_migrated(database: Database) -> None:
    before = read(_EARLIER)["before"]
    await restore(database, before)
    owner = {**owner_document()["owner"], "pid": os.getppid(), "token": "of an older one"}
    alive = {"owner": owner, "alive_ms": time.time_ns() // 1_000_000}
    segments = database.collection("segments")
    await segments.update_many({"end_cause": None}, {"$set": alive})
    documents = await all_of(database, "segments")
    with pytest.raises(OlderRecorder, match="An older version of this program is recording"):
        await database.has_recordings()
    assert await all_of(database, "segments") == documents
    assert await stored_version(database.motor) == 2


@pytest.mark.parametrize(
    ("collection", "field", "value"),
    [
        ("depth_events", "payload", "x"),
        ("depth_events", "sum", 5),
        ("depth_chunks", "epoch", 77),
        ("depth_chunks", "data", b"x" * 99),
        ("segments", "end_detail", "another"),
        ("segments", "sum", None),
        ("checkpoints", "payload", b"x"),
        ("witnesses", "taken_ms", 1),
        ("loose_events", "count", 99),
    ],
)
async def test_damage_is_not_sealed(
    database: Database, collection: str, field: str, value: object
) -> None:
    """What an earlier checksum would have shown is shown by the new one."""
    await restore(database, read(_EARLIER)["before"])
    market = "SOLUSDT" if collection == "depth_events" else "BTCUSDT"
    document = (await all_of(database, collection, market=market))[0]
    changed = database.collection(collection)
    await changed.update_one({"_id": document["_id"]}, {"$set": {field: value}})
    await database.prepare()
    try:
        assert not (await verify(database, market)).holds
    except KnownError as error:
        pytest.fail(f"verify ends with {error}")
