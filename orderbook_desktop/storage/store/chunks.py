"""Writes and reads the chunks of `depth_chunks`. A late archiver cannot replace a newer chunk."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final

from orderbook_desktop.core.archive import ArchiveChunk, ChunkHeader, DamagedChunk
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import (
    CHUNK_FIELDS,
    PackedChunk,
    chunk_document,
    chunk_of,
)
from orderbook_desktop.storage.store.schema import DEPTH_CHUNKS, LOOSE_EVENTS, Document
from orderbook_desktop.storage.store.segments import archived_ranges, is_whole

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

_DROPPED_AT_ONCE: Final = 100
_OWN_FIELDS: Final = frozenset({"_id", "segment", "epoch", "sum"})


class ChunkFenced(DatabaseError):
    """An archiver with a newer lease has written the chunk at `key`."""

    key: str

    def __str__(self) -> str:
        return "Another copy of the program archives this recording; this copy leaves it to that."


class ChunkNotKept(DatabaseError):
    """The chunk at `key` reads back differently from what was written."""

    key: str

    def __str__(self) -> str:
        return (
            "The database does not return what was archived; "
            "check its disk, and look at the log of the database."
        )


def chunk_key(segment_id: str, start_id: int) -> str:
    """Return the `_id` of the segment's chunk that starts with the book at `start_id`."""
    return f"{segment_id}:{start_id}"


def loose_key(header: ChunkHeader) -> str:
    """Return the `_id` of a loose chunk with this header; `put_loose` adds a number if needed."""
    return f"{header.market}:loose:{header.coverage.first_id}:{header.coverage.last_id}"


class ChunkStore:
    """Writes and reads chunks. All methods also raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _chunks(self) -> AsyncIOMotorCollection[Document]:
        return self._database.collection(DEPTH_CHUNKS)

    async def put(self, segment_id: str, chunk: PackedChunk, epoch: int = 0) -> int:
        """Write `chunk`, read it back and compare it; return its size in bytes.

        It overwrites a leftover chunk with the same key, unless that was written under a higher
        `epoch`. Raises `ChunkFenced` and `ChunkNotKept`.
        """
        from pymongo.errors import DuplicateKeyError  # noqa: PLC0415 (see storage.store.database)

        header = chunk.header
        assert header.start_id is not None  # noqa: S101 - a loose chunk has no segment
        key = chunk_key(segment_id, header.start_id)
        document = _document_of(chunk, segment_id, epoch)
        not_later = {"_id": key, "epoch": {"$lte": epoch}}
        try:
            await self._chunks.replace_one(not_later, document, upsert=True)
        except DuplicateKeyError:
            # The stored chunk has a higher epoch.
            raise ChunkFenced(key) from None
        await self._prove(key, document)
        return len(document["data"])

    async def get(self, segment_id: str, start_id: int) -> ArchiveChunk | None:
        """Return the chunk that starts at `start_id`, if there is one. Raises `DamagedChunk`."""
        key = chunk_key(segment_id, start_id)
        return _read(await self._chunks.find_one({"_id": key}), segment_id)

    async def ending_at(self, segment_id: str, last_id: int) -> ArchiveChunk | None:
        """Return the chunk whose last id is `last_id`, if there is one. Raises `DamagedChunk`."""
        ending = {"segment": segment_id, "last_id": last_id}
        return _read(await self._chunks.find_one(ending), segment_id)

    async def spans(
        self, segment_id: str, first_id: int = 0, last_id: int = INT64_MAX
    ) -> list[tuple[int, int]]:
        """Return start id and last id of the segment's chunks, in order, leftovers included.

        Only chunks whose last id is from `first_id` to `last_id`. Damaged ones are left out.
        """
        fields = {"start_id": 1, "last_id": 1}
        ending = {"segment": segment_id, "last_id": {"$gte": first_id, "$lte": last_id}}
        found = await self._chunks.find(ending, fields).to_list(None)
        spans = ((document.get("start_id"), document.get("last_id")) for document in found)
        return sorted(
            (start_id, last_id)
            for start_id, last_id in spans
            if is_whole(start_id) and is_whole(last_id)
        )

    async def holding(self, market: str, ids: Collection[int]) -> list[tuple[str, int]]:
        """Return segment and start id of the archived chunks whose ids include some of `ids`.

        Leftovers, which lie beyond a segment's archive, are left out.
        """
        found: list[tuple[str, int]] = []
        for segment_id, (begin, end) in (await archived_ranges(self._database, market)).items():
            inside = [update_id for update_id in ids if begin < update_id <= end]
            if not inside:
                continue
            for start_id, last_id in await self.spans(segment_id, min(inside), end):
                has_some = any(start_id < update_id <= last_id for update_id in inside)
                if begin <= start_id < end and has_some:
                    found.append((segment_id, start_id))
        return found

    async def drop(self, segment_id: str, start_ids: Iterable[int]) -> int:
        """Delete the segment's chunks that start at `start_ids`; return how many."""
        return await self._delete([chunk_key(segment_id, start_id) for start_id in start_ids])

    async def put_loose(self, chunk: PackedChunk) -> tuple[str, int]:
        """Write a loose chunk, read it back and compare it; return its `_id` and size in bytes.

        A different chunk with the same ids stays as it is. Raises `ChunkNotKept`.
        """
        from pymongo.errors import DuplicateKeyError  # noqa: PLC0415 (see storage.store.database)

        document = _document_of(chunk, None, 0)
        plain = loose_key(chunk.header)
        keys = chain((plain,), (f"{plain}:{number}" for number in count(2)))
        key = next(keys)
        while True:
            try:
                await self._chunks.insert_one({"_id": key, **document})
            except DuplicateKeyError:
                known = await self._chunks.find_one({"_id": key}, {"data": 1})
                if known is None or known["data"] != document["data"]:
                    key = next(keys)
                    continue
            await self._prove(key, document)
            return key, len(document["data"])

    async def get_loose(self, key: str) -> ArchiveChunk | None:
        """Return the loose chunk with that `_id`, if there is one. Raises `DamagedChunk`."""
        return _read(await self._chunks.find_one({"_id": key}), None)

    async def loose_keys(
        self, market: str, first_id: int = 0, last_id: int = INT64_MAX
    ) -> list[str]:
        """Return the `_id`s of the market's loose chunks, in order of their first update id.

        Only chunks that may hold update ids from `first_id` to `last_id`. A chunk whose first id is
        damaged comes first.
        """
        query: Document = {"segment": None, "market": market}
        if first_id:
            query["last_id"] = {"$gte": first_id, "$lte": INT64_MAX}
        found = await self._chunks.find(query, {"first_id": 1}).to_list(None)
        begins = (
            (begin if is_whole(begin := document.get("first_id")) else 0, document["_id"])
            for document in found
        )
        return [key for begin, key in sorted(begins) if begin <= last_id]

    async def drop_loose(self, keys: Iterable[str]) -> int:
        """Delete the loose chunks with these `_id`s, and their lists; return how many chunks."""
        dropped = list(keys)
        # The lists first: else their events would count as lost.
        lists = self._database.collection(LOOSE_EVENTS)
        await lists.delete_many({"chunk": {"$in": dropped}})
        return await self._delete(dropped)

    async def _delete(self, keys: Sequence[str]) -> int:
        deleted = 0
        for start in range(0, len(keys), _DROPPED_AT_ONCE):
            some = list(keys[start : start + _DROPPED_AT_ONCE])
            deleted += (await self._chunks.delete_many({"_id": {"$in": some}})).deleted_count
        return deleted

    async def _prove(self, key: str, document: Document) -> None:
        """Raise `ChunkNotKept` unless the chunk at `key` has the fields of `document`."""
        stored: Any = await self._chunks.find_one({"_id": key})
        if stored is None or any(stored.get(name) != value for name, value in document.items()):
            raise ChunkNotKept(key)


def stored_chunk(document: Document, segment_id: str | None) -> ArchiveChunk:
    """Return the chunk that `document` stores; `segment_id` is None for a loose chunk.

    Raises `DamagedChunk` if any field differs from what was written.
    """
    try:
        chunk = chunk_of(document)
        stored_id, checksum = document["segment"], document["sum"]
        is_whole = checksum == _sum(document["data"], stored_id, document["epoch"])
    except (KeyError, TypeError) as error:
        raise DamagedChunk(f"its document lacks {error}") from error
    if not is_whole or type(document["data"]) is not bytes:
        raise DamagedChunk("the checksum of its document does not match")
    if document.keys() - CHUNK_FIELDS - _OWN_FIELDS:
        raise DamagedChunk("its document has an unknown field")
    # No checksum would notice a chunk that is stored under another segment.
    if stored_id != segment_id or (chunk.header.start_id is None) != (segment_id is None):
        raise DamagedChunk("it is stored under another segment")
    return chunk


def _document_of(chunk: PackedChunk, segment_id: str | None, epoch: int) -> Document:
    packed = chunk_document(chunk)
    checksum = _sum(packed["data"], segment_id, epoch)
    return {"segment": segment_id, "epoch": epoch, **packed, "sum": checksum}


def _sum(data: bytes, segment_id: str | None, epoch: int) -> int:
    """Return the checksum of the fields beside `data`, and of the checksum that begins `data`."""
    return zlib.crc32(repr((segment_id, epoch)).encode(), zlib.crc32(data[:16])) - (1 << 31)


def _read(document: Document | None, segment_id: str | None) -> ArchiveChunk | None:
    return None if document is None else stored_chunk(document, segment_id)
