"""Reads are repeated when the server was away, or has moved."""

from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import PyMongoError

from orderbook_desktop.storage.store.database import Database, DatabaseTimes
from orderbook_desktop.storage.store.patient_database import PatientDatabase
from tests.storage.cutting_proxy import cut_connections
from tests.storage.recording_fixtures import (
    ServerThread,
)

_MANY = 1_000


@pytest.fixture
async def numbers(database: Database) -> Database:
    """A collection of documents whose order is not that of their ids."""
    await database.collection("numbers").insert_many(
        [{"_id": number * 7 % _MANY, "at": number} for number in range(_MANY)]
    )
    return database


async def test_a_read_is_repeated_at_another_server(
    server: ServerThread, numbers: Database
) -> None:
    patient = PatientDatabase(numbers.name, patience_s=120)
    async with cut_connections(server.dsn) as proxy:
        patient.connect(proxy.dsn)
        collection = patient.collection("numbers")
        assert await collection.find_one({"at": 3}) == {"_id": 21, "at": 3}
        await proxy.close()
        reading = asyncio.ensure_future(collection.find({}).sort("at", 1).to_list(None))
        await asyncio.sleep(0)
        patient.connect(server.dsn)
        found = await reading
    patient.close()
    assert [document["at"] for document in found] == list(range(_MANY))


async def test_it_is_raised_when_the_server_stays_away(
    server: ServerThread, numbers: Database
) -> None:
    patient = PatientDatabase(numbers.name, DatabaseTimes(find_s=0.1), patience_s=0.0)
    async with cut_connections(server.dsn) as proxy:
        patient.connect(proxy.dsn)
        collection = patient.collection("numbers")
        assert await collection.distinct("at", {"at": {"$lt": 3}}) == [0, 1, 2]
        await proxy.close()
        with pytest.raises(PyMongoError):
            await collection.find({}).to_list(None)
    patient.close()


async def test_nothing_and_all_at_once(server: ServerThread, numbers: Database) -> None:
    patient = PatientDatabase(numbers.name)
    patient.connect(server.dsn)
    collection = patient.collection("numbers")
    assert await collection.find({"at": -1}).to_list(None) == []
    assert len(await collection.find({}).limit(250).to_list(None)) == 250
    assert len(await collection.find({}).to_list(None)) == _MANY
    patient.close()


async def test_an_answer_is_read_as_a_list_only(numbers: Database) -> None:
    """An iteration could not be repeated without giving documents twice."""
    patient = PatientDatabase(numbers.name)
    with pytest.raises(TypeError):
        aiter(patient.collection("numbers").find({}))
