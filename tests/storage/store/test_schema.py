from __future__ import annotations

import asyncio
import contextlib

import bson
import pytest
from pymongo.errors import DuplicateKeyError

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import decode_diff
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.errors import NewerSchema, UnknownSchema
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import (
    Insert,
    checked_event,
    event_document,
    event_of,
    packed_payload,
    payload_of,
)
from orderbook_desktop.storage.store.migration import prepare_schema
from orderbook_desktop.storage.store.schema import SCHEMA_VERSION, has_schema
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.store.segment_documents import stored_segment
from tests.storage.archive_fixtures import archiver_of
from tests.storage.recording_fixtures import Tape, all_of
from tests.storage.shelf import whole_document


async def test_preparing_is_harmless_however_often_and_by_however_many(database: Database) -> None:
    assert not await has_schema(database.motor)
    await asyncio.gather(
        *(prepare_schema(database.motor) for _ in range(3)), return_exceptions=True
    )
    await prepare_schema(database.motor)
    assert await has_schema(database.motor)
    (schema,) = await database.collection("meta").find().to_list(None)
    assert schema == sealed({"_id": "schema", "version": SCHEMA_VERSION})


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
    stored = stored_segment(whole_document("key", segment, 5))
    assert (stored.segment, stored.back_ms, stored.intact) == (segment, 5, True)


def test_events_come_back_as_they_were() -> None:
    diff = Tape().diff()
    document = event_document(Insert.of(diff))
    assert document["_id"] == f"BTCUSDT:depth:{diff.final_id}"
    assert event_of(document) == checked_event(document) == diff


def test_a_payload_is_packed_where_that_is_smaller() -> None:
    diff = Tape().diff()
    document = event_document(Insert.of(diff))
    assert document["encoding"] == "zstd1"
    text = diff.payload.decode()
    plain = sealed(document | {"encoding": "text", "payload": text})
    assert event_of(plain) == event_of(document) == diff
    assert payload_of(plain) == payload_of(document) == diff.payload
    assert packed_payload("é") == ("text", "é")
    for other in (document["payload"][:-1], document["payload"] + b"x", b"", text):
        with pytest.raises(MalformedMessage):
            event_of(sealed(document | {"payload": other}))


def test_a_packed_payload_stays_readable() -> None:
    """Another dictionary would make of it another text, or none."""
    packed = bytes.fromhex(
        "0000bd0100040236373232353630303132333530313233343536373839383031362e3031315d7d0800e045dfd4"
        "40b86a203343e0c3cb773f71ea6282"
    )
    assert payload_of({"encoding": "zstd1", "payload": packed}) == (
        b'{"e":"depthUpdate","E":1767225600123,"s":"BTCUSDT","U":50123456789,"u":50123456801,'
        b'"b":[["60000.01000000","1.00000000"]],"a":[]}'
    )


@pytest.mark.parametrize("levels", [0, 1, 2, 20, 500])
def test_an_event_takes_no_more_bytes_than_before(levels: int) -> None:
    """A document of schema 2 had an `_id` of the database's, and no encoding."""
    sides = [f'["{60_000 + at}.01000000","0.{at:05d}000"]' for at in range(levels)]
    text = (
        '{"e":"depthUpdate","E":1767225600123,"s":"BTCUSDT","U":50123456789,"u":50123456801,'
        f'"b":[{",".join(sides[::2])}],"a":[{",".join(sides[1::2])}]}}'
    )
    diff = decode_diff(text.encode(), 1767225600130000000)
    before = {
        "_id": bson.ObjectId(),
        "market": diff.market,
        "U": diff.first_id,
        "u": diff.final_id,
        "event_ms": diff.event_ms,
        "received_ns": diff.received_ns,
        "payload": text,
        "sum": 1 << 30,
    }
    assert len(bson.encode(event_document(Insert.of(diff)))) <= len(bson.encode(before))


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "{}"},
        {"payload": 5},
        {"received_ns": "x"},
        {"received_ns": None},
        {"time": None},
        {"encoding": "zstd"},
        {"market": bson.ObjectId()},
    ],
)
def test_a_document_that_is_no_event_is_reported(change: dict[str, object]) -> None:
    document = event_document(Insert.of(Tape().diff()))
    with pytest.raises(MalformedMessage):
        event_of(document | change)
    with contextlib.suppress(TypeError), pytest.raises(MalformedMessage):
        event_of(sealed(document | change))
    for name in document:
        with pytest.raises(MalformedMessage):
            event_of({other: value for other, value in document.items() if other != name})


async def test_an_event_has_one_key(database: Database) -> None:
    await database.prepare()
    (first, second) = Tape().diffs(2)
    events = database.collection("depth_events")
    await events.insert_many([event_document(Insert.of(one)) for one in (first, second)])
    with pytest.raises(DuplicateKeyError):
        await events.insert_one(event_document(Insert.of(first)))
    indexes = await events.index_information()
    assert not any(index.get("unique") for index in indexes.values())
