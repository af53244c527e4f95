"""Reads go on in their place when the server was away, or has moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from pymongo.errors import PyMongoError

from orderbook_desktop.storage.store.database import Database, DatabaseTimes
from orderbook_desktop.storage.store.patient_database import PatientDatabase
from orderbook_desktop.storage.store.schema import Document
from tests.storage.cutting_proxy import cut_connections
from tests.storage.recording_fixtures import (
    ServerThread,
)

_MANY = 1_000
_READ = 150


@pytest.fixture
async def numbers(database: Database) -> Database:
    """A collection of documents whose order is not that of their ids."""
    await database.collection("numbers").insert_many(
        [{"_id": number * 7 % _MANY, "at": number} for number in range(_MANY)]
    )
    return database


@pytest.mark.parametrize("fields", [None, {"_id": 0, "at": 1}])
async def test_it_goes_on_at_its_place(
    server: ServerThread, numbers: Database, fields: dict[str, int] | None
) -> None:
    patient = PatientDatabase(numbers.name, patience_s=120)
    read: list[int] = []
    async with cut_connections(server.dsn) as proxy:
        patient.connect(proxy.dsn)
        found = patient.collection("numbers").find({}, fields).sort("at", 1)
        async with aclosing(aiter(found)) as documents:
            async for one in documents:
                read.append(one["at"])
                if len(read) == _READ:
                    await proxy.close()
                    patient.connect(server.dsn)
    patient.close()
    assert read == list(range(_MANY))


async def test_the_first_document_does_not_wait_for_the_last(
    server: ServerThread, numbers: Database
) -> None:
    """What is read when the server goes away for good is a part of it all."""
    patient = PatientDatabase(numbers.name, DatabaseTimes(find_s=0.1), patience_s=0.0)
    read = 0

    async def read_on(documents: AsyncIterator[Document]) -> None:
        nonlocal read
        async for _ in documents:
            read += 1

    async with cut_connections(server.dsn) as proxy:
        patient.connect(proxy.dsn)
        documents = aiter(patient.collection("numbers").find({}))
        assert await anext(documents)
        await proxy.close()
        with pytest.raises(PyMongoError):
            await read_on(documents)
    patient.close()
    assert 0 < read < _MANY


async def test_a_half_read_answer_is_dropped_in_silence(
    server: ServerThread, numbers: Database
) -> None:
    patient = PatientDatabase(numbers.name)
    patient.connect(server.dsn)
    async with aclosing(aiter(patient.collection("numbers").find({}))) as documents:
        assert await anext(documents)
    patient.close()
    with pytest.raises(StopAsyncIteration):
        await anext(documents)


async def test_nothing_and_all_at_once(server: ServerThread, numbers: Database) -> None:
    patient = PatientDatabase(numbers.name)
    patient.connect(server.dsn)
    collection = patient.collection("numbers")
    assert [one async for one in collection.find({"at": -1})] == []
    assert len([one async for one in collection.find({}).limit(250)]) == 250
    assert len(await collection.find({}).to_list(None)) == _MANY
    patient.close()
