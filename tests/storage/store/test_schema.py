from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import DuplicateKeyError

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.migrations import prepare
from orderbook_desktop.storage.store.schema import (
    SCHEMA_VERSION,
    NewerSchema,
    event_of,
    has_schema,
    segment_document,
    segment_of,
)
from tests.storage.recording_fixtures import Tape, database, server

__all__ = ["database", "server"]


async def test_preparing_is_harmless_however_often_and_by_however_many(database: Database) -> None:
    assert not await has_schema(database.motor)
    await asyncio.gather(*(prepare(database.motor) for _ in range(3)), return_exceptions=True)
    await prepare(database.motor)
    assert await has_schema(database.motor)
    (schema,) = await database.collection("meta").find().to_list(None)
    assert schema == {"_id": "schema", "version": SCHEMA_VERSION}


async def test_an_event_is_there_once(database: Database) -> None:
    await prepare(database.motor)
    events = database.collection("depth_events")
    await events.insert_one({"market": "BTCUSDT", "u": 1})
    await events.insert_one({"market": "ETHUSDT", "u": 1})
    with pytest.raises(DuplicateKeyError):
        await events.insert_one({"market": "BTCUSDT", "u": 1})


async def test_a_newer_schema_is_left_alone(database: Database) -> None:
    await database.collection("meta").insert_one({"_id": "schema", "version": SCHEMA_VERSION + 1})
    with pytest.raises(NewerSchema, match="update the program"):
        await prepare(database.motor)
    assert await database.motor.list_collection_names() == ["meta"]


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
def test_what_is_no_event_is_told(document: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        event_of(document)
