"""Segments without an end: written while they are recorded, and closed after a crash."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from orderbook_desktop.core.segments import Segment
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone, is_ours, owner_document
from orderbook_desktop.storage.store.schema import SEGMENTS, Document
from orderbook_desktop.storage.store.segment_documents import (
    StoredSegment,
    archive_document,
    front_document,
    grown_fields,
    progress_document,
    stored_segment,
)
from orderbook_desktop.storage.store.segments import change_segment

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection


class RecordedSegment(NamedTuple):
    """A segment as its recorder knows it, to be stored.

    `base_id` is the update id of the book that it begins with, `back_ms` the most that its times
    went back. `is_begun` is true once its first event is stored in it.
    """

    id: str
    segment: Segment
    base_id: int
    back_ms: int
    is_begun: bool


class RunningSegment(Struct, frozen=True):
    """A stored segment without an end.

    `beat` changes while its recorder runs, and is only compared. `is_ours` is whether this process
    records it, `is_gone` whether its recorder's process has certainly ended. `unpack` returns the
    segment, and raises `DamagedDocument`.
    """

    id: str
    beat: object
    is_ours: bool
    is_gone: bool
    unpack: Callable[[], StoredSegment]


class RunningSegments:
    """The segments of `database` that are being recorded. All methods raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _segments(self) -> AsyncIOMotorCollection[Document]:
        return self._database.collection(SEGMENTS)

    async def put(self, segments: Sequence[RecordedSegment], *, new: bool) -> int:
        """Store how far `segments` have come; return how many of them were stored before.

        If `new` is true, the others are stored now. Repeating is harmless.
        """
        from pymongo import UpdateOne  # noqa: PLC0415 (see storage.store.database)

        writes = [
            UpdateOne({"_id": segment.id}, _update_of(segment, new=new), upsert=new)
            for segment in segments
        ]
        return int((await self._segments.bulk_write(writes, ordered=False)).matched_count)

    async def stored(self, ids: Collection[str]) -> set[str]:
        """Return which of the segments `ids` are stored."""
        found = await self._segments.find({"_id": {"$in": list(ids)}}, {"_id": 1}).to_list(None)
        return {document["_id"] for document in found}

    async def all(self) -> list[RunningSegment]:
        """Return the segments without an end, of all recorders."""
        return [
            RunningSegment(
                document["_id"],
                document.get("alive_ms"),
                is_ours(document),
                is_gone(document),
                partial(stored_segment, document),
            )
            for document in await self._segments.find({"end_cause": None}).to_list(None)
        ]

    async def close(
        self, running: RunningSegment, before: StoredSegment, after: Segment, back_ms: int | None
    ) -> bool:
        """Store that a segment, which was stored as `before`, has ended as `after`.

        `back_ms` is None if it is not known. Return false, and change nothing, if its recorder has
        written a heartbeat meanwhile, or another process has closed it.
        """
        changes = grown_fields(before, after, back_ms)
        query = {"_id": running.id, "end_cause": None, "alive_ms": running.beat}
        return await change_segment(self._database, query, lambda _: changes)


def _update_of(recorded: RecordedSegment, *, new: bool) -> Document:
    """Return the update of a segment, without fields that retention or the archiver change."""
    key, segment = recorded.id, recorded.segment
    changed = progress_document(key, segment, recorded.back_ms, owner_document())
    front = front_document(key, segment)
    update = {"$set": changed if recorded.is_begun else changed | front}
    if new:
        fresh = archive_document(key, recorded.base_id)
        update["$setOnInsert"] = fresh | front if recorded.is_begun else fresh
    for fields in update.values():
        fields.pop("_id", None)
    return update
