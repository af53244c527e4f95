"""Recordings to be archived, and their contents before and after that."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.archive.times import ArchiveTimes
from orderbook_desktop.storage.reading.segment_reader import read_bookless
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.event_documents import event_of
from tests.storage.recording_fixtures import PATIENT, HandFeed, Tape, all_of, running, segments_of

AT_ONCE = ArchiveTimes(loose_after_s=0.0)
# Beside a recorder it looks again and again.
HASTY = ArchiveTimes(ready_after_s=0.05, first_look_s=0.05, look_every_s=0.05, running_every_s=0.05)


def archiver_of(
    database: Database,
    pace: float = 0.0,
    times: ArchiveTimes = AT_ONCE,
    now_ns: Callable[[], int] = time.time_ns,
) -> Archiver:
    """An archiver that waits for nothing."""
    return Archiver(database, pace=pace, times=times, now_ns=now_ns)


async def record(database: Database, tape: Tape, number: int) -> list[DepthDiff]:
    """Record one ended segment of so many events, and some events that are too old for it."""
    async with running(Recorder(database)) as recorder:
        feed = HandFeed(recorder.sink(tape.market))
        early = tape.diffs(3)
        feed.diffs(*early)
        feed.snapshot(tape.snapshot())
        diffs = tape.diffs(number)
        feed.diffs(*diffs)
    return [*early, *diffs]


async def copy_of(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All documents of a database, by collection."""
    names = await database.motor.list_collection_names()
    return {name: await all_of(database, name) for name in names}


async def fill(database: Database, documents: dict[str, list[dict[str, Any]]]) -> None:
    """Make a database such a copy, in place of what it holds: quicker than to make another one."""
    await database.prepare()
    for name in await database.motor.list_collection_names():
        await database.motor[name].delete_many({"_id": {"$ne": "schema"}})
    for name, some in documents.items():
        if name != "meta" and some:
            await database.collection(name).insert_many(some)


class Killed(BaseException):
    """A process was killed."""


class FragileDatabase(Database):
    """After `calls_left` calls it calls `then` before the next one; -1: never."""

    def __init__(self, name: str, then: Callable[[], Awaitable[None]]) -> None:
        super().__init__(name, PATIENT)
        self.calls_left = -1
        self._then = then

    async def before_call(self) -> None:
        self.calls_left -= 1
        if self.calls_left == -1:
            await self._then()

    def collection(self, name: str) -> Any:
        return _FragileCollection(self, super().collection(name))


class _FragileCollection:
    def __init__(self, database: FragileDatabase, collection: Any) -> None:
        self._database = database
        self._collection = collection

    def find(self, *arguments: Any, **options: Any) -> Any:
        return _FragileCursor(self._database, self._collection.find(*arguments, **options))

    def aggregate(self, *arguments: Any) -> Any:
        return _FragileCursor(self._database, self._collection.aggregate(*arguments))

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            await self._database.before_call()
            return await getattr(self._collection, name)(*arguments, **options)

        return call


class _FragileCursor:
    def __init__(self, database: FragileDatabase, cursor: Any) -> None:
        self._database = database
        self._cursor = cursor

    def sort(self, *arguments: Any) -> Any:
        return _FragileCursor(self._database, self._cursor.sort(*arguments))

    def limit(self, at_most: int) -> Any:
        return _FragileCursor(self._database, self._cursor.limit(at_most))

    async def to_list(self, length: int | None) -> Any:
        await self._database.before_call()
        return await self._cursor.to_list(length)


async def archive_of(database: Database, segment_id: str) -> list[DepthDiff]:
    """The events that the committed chunks of a segment hold."""
    (segment,) = await all_of(database, "segments", _id=segment_id)
    store, events = ChunkStore(database), []
    at = segment["snapshot_id"]
    while at < segment["archived_id"]:
        chunk = await store.get(segment_id, at)
        assert chunk is not None
        decoded = decode_chunk(chunk)
        events += list(decoded.diffs())
        at = decoded.header.coverage.last_id
    assert at == segment["archived_id"]
    return events


async def raw_of(database: Database, market: str = "BTCUSDT") -> list[DepthDiff]:
    """The raw events of a market in the order of their ids."""
    found = await all_of(database, "depth_events", market=market)
    return [event_of(one) for one in sorted(found, key=lambda one: one["u"])]


@dataclass(frozen=True)
class Held:
    """The events of a market in a database: archived in segments, loose, and raw."""

    archived: list[DepthDiff]
    loose: list[DepthDiff]
    raw: list[DepthDiff]

    @property
    def ids(self) -> list[int]:
        return sorted(one.final_id for one in (*self.archived, *self.loose, *self.raw))


async def held_in(database: Database, market: str = "BTCUSDT") -> Held:
    """The events of a market in the database."""
    store = ChunkStore(database)
    archived: list[DepthDiff] = []
    for segment in await segments_of(database):
        if segment["market"] == market:
            archived += await archive_of(database, segment["_id"])
    loose: list[DepthDiff] = []
    for run in await BooklessRuns(database).of(market):
        if run.is_archived:
            chunk = await store.get(run.id, run.stored.segment.snapshot_id)
            assert chunk is not None
            loose += list(decode_chunk(chunk).diffs())
    return Held(archived, loose, await raw_of(database, market))


def payloads(events: Sequence[DepthDiff]) -> list[bytes]:
    return [event.payload for event in events]


async def lost_loose(database: Database, market: str = "BTCUSDT") -> list[int]:
    """The events of runs without a book that are not stored any more."""
    store, listed = DatabaseStore(database), set[int]()
    for run in await store.bookless(market):
        chunk = await read_bookless(store, run)
        listed.update(run.ids)
        listed.difference_update([] if chunk is None else chunk.numbers.final_ids.tolist())
    return sorted(await store.lost_events(market, listed))
