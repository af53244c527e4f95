"""Runs without a book: stored events that no book reaches. By these a loss is noticed.

Such events came before the first snapshot, or during a gap, or again in another form. Their run is
a document of `segments` with `book: false` (`storage.store.segments`). It has all fields of a run
with a book, and `ids`: the final update ids of its events in order, as differences, in MessagePack
compressed by zstd. They need not follow each other without a hole. The run has ended when it is
written, and is archived as one chunk. Events that a run with a book has taken meanwhile are then
left out of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Final

import msgspec
from msgspec import Struct

from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.timeline import LooseEnd
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument, unpack
from orderbook_desktop.storage.store.schema import SEGMENTS, Document
from orderbook_desktop.storage.store.segment_documents import (
    StoredIds,
    StoredSegment,
    bookless_document,
    is_whole,
    packed_ids,
    stored_segment,
)
from orderbook_desktop.storage.store.segments import MANY, change_segment, in_order

# The most bytes of unpacked ids: more than 450,000 ids, and less than 300 MB of memory.
_IDS_BYTES_AT_MOST: Final = 4 << 20
_decoder: Final = msgspec.msgpack.Decoder(list[int])


class BooklessRun(Struct, frozen=True):
    """A stored run without a book, and the final ids of its events in order."""

    stored: StoredSegment
    ids: tuple[int, ...]

    @property
    def id(self) -> str:
        """The `_id` of the run."""
        return self.stored.id

    @property
    def is_archived(self) -> bool:
        """Whether its events are in a chunk."""
        return self.stored.archived_id > self.stored.segment.snapshot_id


class BooklessRuns:
    """The runs without a book in `database`. All methods raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, market: str, events: Collection[StoredIds], key: str) -> None:
        """Store the run `key` of stored `events`, at least one. Repeating is harmless."""
        document = bookless_document(key, market, events)
        fields = {name: value for name, value in document.items() if name != "_id"}
        await self._database.collection(SEGMENTS).update_one(
            {"_id": key}, {"$setOnInsert": fields}, upsert=True
        )

    async def stored(self, keys: Collection[str]) -> set[str]:
        """Return which of the runs `keys` are stored."""
        query = {"_id": {"$in": list(keys)}}
        found = await self._database.collection(SEGMENTS).find(query, {"_id": 1}).to_list(None)
        return {document["_id"] for document in found}

    async def get(self, key: str) -> BooklessRun | None:
        """Return the run `key`, if it is stored. Raises `DamagedDocument`."""
        found = await self._database.collection(SEGMENTS).find_one({"_id": key, "book": False})
        return None if found is None else bookless_run(found)

    async def of(self, market: str, *, waiting: bool = False) -> list[BooklessRun]:
        """Return the runs of `market`, or those not archived. Raises `DamagedDocument`."""
        query: Document = {"market": market, "book": False}
        if waiting:
            query["to_archive"] = True
        found = await self._database.collection(SEGMENTS).find(query).to_list(None)
        return _ordered(map(bookless_run, found))

    async def end_after(self, market: str, after_id: int) -> LooseEnd | None:
        """Return the last id and time of the events of `market` after `after_id`, if any.

        It unpacks no ids, so it doesn't notice damaged ones; `of` does.
        """
        query = {"market": market, "book": False, "last_id": {"$gt": after_id, "$lte": INT64_MAX}}
        fields = {"last_id": 1, "last_time": 1}
        found = await self._database.collection(SEGMENTS).find(query, fields).to_list(None)
        ends = [
            LooseEnd(last_id, in_ms(time))
            for document in found
            if is_whole(last_id := document.get("last_id"))
            and is_whole(time := document.get("last_time"))
        ]
        if not ends:
            return None
        return LooseEnd(max(end.last_id for end in ends), max(end.to_ms for end in ends))

    async def shrink(self, run: BooklessRun, ids: Collection[int]) -> bool:
        """Leave only `ids` in a run that is not archived; drop it if there are none.

        Return false if another process has changed the run.
        """
        query = {"_id": run.id, "event_count": len(run.ids), "to_archive": True}
        if not ids:
            dropped = await self._database.collection(SEGMENTS).delete_one(query)
            return bool(dropped.deleted_count)
        changes = {"ids": packed_ids(ids), "event_count": len(ids)}
        return await change_segment(self._database, query, lambda _: changes)


async def all_segments(
    database: Database, market: str
) -> tuple[list[StoredSegment], list[BooklessRun]]:
    """Return the segments with a book of `market` by their first id, and the runs without one.

    Raises `DamagedDocument`, and PyMongo's errors.
    """
    found = await database.collection(SEGMENTS).find({"market": market}).to_list(None)
    return await asyncio.to_thread(_apart, found) if len(found) > MANY else _apart(found)


def _apart(found: Sequence[Document]) -> tuple[list[StoredSegment], list[BooklessRun]]:
    with_book = [document for document in found if document.get("book") is not False]
    without = [document for document in found if document.get("book") is False]
    return in_order(with_book), _ordered(map(bookless_run, without))


def _ordered(runs: Iterable[BooklessRun]) -> list[BooklessRun]:
    return sorted(runs, key=lambda run: (run.ids[0], run.id))


def bookless_run(document: Document) -> BooklessRun:
    """Return the run that `document` stores. Raises `DamagedDocument`."""
    stored = stored_segment(document)
    return BooklessRun(stored, _ids_of(document, stored))


def _ids_of(document: Document, stored: StoredSegment) -> tuple[int, ...]:
    try:
        steps: Sequence[int] = _decoder.decode(unpack(document["ids"], _IDS_BYTES_AT_MOST))
    except DamagedDocument as error:
        raise DamagedDocument(f"segment {stored.id}: {error.reason}") from error
    except (KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise DamagedDocument(f"segment {stored.id}: {type(error).__name__} {error}") from error
    ids = tuple(accumulate(steps))
    is_in_order = all(step > 0 for step in steps[1:])
    if not ids or not is_in_order or len(ids) != stored.segment.event_count + stored.cut_events:
        raise DamagedDocument(f"segment {stored.id}: its ids contradict it")
    return ids
