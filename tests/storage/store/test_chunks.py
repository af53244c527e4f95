from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from orderbook_desktop.core.archive import (
    ArchiveChunk,
    DamagedChunk,
    decode_chunk,
    encode_chunk,
    encode_loose,
)
from orderbook_desktop.storage.store.chunks import ChunkFenced, ChunkNotKept, ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import chunk_key, pack_chunk
from tests.core.archive.runs import run_of
from tests.storage.recording_fixtures import Tape, all_of


@dataclass(frozen=True)
class Chunks:
    first: ArchiveChunk
    second: ArchiveChunk
    loose: ArchiveChunk


@pytest.fixture
async def chunks(database: Database) -> Chunks:
    await database.prepare()
    tape = Tape()
    run = run_of(tape.snapshot().payload, tape.diffs(20))
    half = encode_chunk(run.start, run.events[:10])
    after = decode_chunk(half).final_book()
    return Chunks(half, encode_chunk(after, run.events[10:]), encode_loose(run.events[:4]))


async def test_chunks_come_back(database: Database, chunks: Chunks) -> None:
    store = ChunkStore(database)
    for chunk in (chunks.first, chunks.second):
        size = await store.put("seg", pack_chunk(chunk))
        start_id = chunk.header.start_id
        assert start_id is not None
        (document,) = await all_of(database, "depth_chunks", _id=chunk_key("seg", start_id))
        assert size == len(document["data"])
        assert await store.get("seg", start_id) == chunk
        assert await store.ending_at("seg", chunk.header.coverage.last_id) == chunk
        assert await store.get("another", start_id) is None
    assert await store.get("seg", 1) is None
    spans = await store.spans("seg")
    assert [begin for begin, _ in spans] == [
        one.header.start_id for one in (chunks.first, chunks.second)
    ]
    assert spans[0][1] == spans[1][0]
    assert await store.spans("seg", spans[0][1] + 1, spans[1][1]) == spans[1:2]
    assert await store.drop("seg", [spans[0][0], 1]) == 1
    assert await store.spans("seg") == spans[1:]


async def test_a_leftover_is_overwritten_but_not_by_a_late_writer(
    database: Database, chunks: Chunks
) -> None:
    store = ChunkStore(database)
    start_id = chunks.first.header.start_id
    assert start_id is not None
    tape = Tape()
    other = encode_chunk(run_of(tape.snapshot().payload, []).start, tape.diffs(3))
    assert other.header.start_id == start_id
    await store.put("seg", pack_chunk(other), 1)
    await store.put("seg", pack_chunk(chunks.first), 2)
    assert await store.get("seg", start_id) == chunks.first
    with pytest.raises(ChunkFenced, match="Another copy"):
        await store.put("seg", pack_chunk(other), 1)
    assert await store.get("seg", start_id) == chunks.first


@pytest.mark.parametrize(
    "damage",
    [
        {"segment": "another"},
        {"last_id": 1},
        {"event_count": 1},
        {"data": b"nothing"},
        {"start_id": None},
    ],
)
async def test_damage_is_reported(
    database: Database, chunks: Chunks, damage: dict[str, Any]
) -> None:
    store = ChunkStore(database)
    await store.put("seg", pack_chunk(chunks.first))
    await database.collection("depth_chunks").update_one({}, {"$set": damage})
    with pytest.raises(DamagedChunk):
        await store.get("seg", chunks.first.header.start_id or 0)


async def test_a_chunk_without_a_book_comes_after_an_id(database: Database, chunks: Chunks) -> None:
    store = ChunkStore(database)
    await store.put("run", pack_chunk(chunks.loose), after_id=77)
    assert await store.get("run", 77) == chunks.loose
    assert await store.spans("run") == [(77, chunks.loose.header.coverage.last_id)]
    await database.collection("depth_chunks").update_one({}, {"$set": {"start_id": 78}})
    with pytest.raises(DamagedChunk):
        await store.get("run", 77)


async def test_a_chunk_that_the_database_does_not_keep_is_reported(
    database: Database, chunks: Chunks, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ChunkStore(database)

    class Forgetful:
        def __init__(self, collection: Any) -> None:
            self._collection = collection

        async def replace_one(self, query: Any, document: Any, **options: Any) -> None:
            changed = document | {"data": document["data"][:-1] + b"!"}
            await self._collection.replace_one(query, changed, **options)

        def find_one(self, *arguments: Any) -> Any:
            return self._collection.find_one(*arguments)

    collection = database.collection
    monkeypatch.setattr(database, "collection", lambda name: Forgetful(collection(name)))
    with pytest.raises(ChunkNotKept, match="check its disk"):
        await store.put("seg", pack_chunk(chunks.first))
