"""Writes and reads the chunks of `depth_chunks`. A late archiver cannot replace a newer chunk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orderbook_desktop.core.archive import ArchiveChunk, DamagedChunk, decode_chunk
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import (
    CHECKSUM_BYTES,
    CHUNK_FIELDS,
    PackedChunk,
    chunk_document,
    chunk_key,
    chunk_of,
    packed_of,
)
from orderbook_desktop.storage.store.schema import DEPTH_CHUNKS, Document
from orderbook_desktop.storage.store.sealing import SEAL, is_sealed, sealed
from orderbook_desktop.storage.store.segment_documents import is_whole
from orderbook_desktop.storage.store.segments import archived_ranges

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

_DROPPED_AT_ONCE: Final = 100
_Chunk = TypeVar("_Chunk", ArchiveChunk, PackedChunk)
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


class ChunkStore:
    """Writes and reads chunks. All methods also raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _chunks(self) -> AsyncIOMotorCollection[Document]:
        return self._database.collection(DEPTH_CHUNKS)

    async def put(
        self, segment_id: str, chunk: PackedChunk, epoch: int = 0, after_id: int = 0
    ) -> int:
        """Write `chunk`, read it back and compare it; return its size in bytes.

        A chunk without a book comes after the update id `after_id` of its segment. It overwrites a
        leftover chunk with the same key, unless that was written under a higher `epoch`. Raises
        `ChunkFenced` and `ChunkNotKept`.
        """
        from pymongo.errors import DuplicateKeyError  # noqa: PLC0415 (see storage.store.database)

        document = chunk_in_segment(chunk, segment_id, epoch, after_id)
        key = document["_id"]
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

    async def ending_in(self, market: str, last_id: int) -> ArchiveChunk | None:
        """Return a chunk of any segment with a book of `market` that ends at `last_id`, if any.

        Its book is that of the market then. Raises `DamagedChunk`.
        """
        ending = {"market": market, "last_id": last_id}
        for document in await self._chunks.find(ending).to_list(None):
            chunk = stored_chunk(document, document["segment"])
            if chunk.header.start_id is not None:
                return chunk
        return None

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

    async def archived_ids(self, market: str, ids: Collection[int]) -> set[int]:
        """Return which of `ids` are final ids of archived events of segments with a book.

        Raises `DamagedChunk`.
        """
        found: set[int] = set()
        for segment_id, start_id in await self.holding(market, ids):
            chunk = await self.get(segment_id, start_id)
            if chunk is not None:
                decoded = await asyncio.to_thread(decode_chunk, chunk)
                found.update(decoded.numbers.final_ids.tolist())
        return found.intersection(ids)

    async def drop(self, segment_id: str, start_ids: Iterable[int]) -> int:
        """Delete the segment's chunks that start at `start_ids`; return how many."""
        return await self._delete([chunk_key(segment_id, start_id) for start_id in start_ids])

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


def stored_chunk(document: Document, segment_id: str) -> ArchiveChunk:
    """Return the chunk that `document` stores. Raises `DamagedChunk`.

    That is so if any field differs from what was written.
    """
    return _checked(document, segment_id, chunk_of)


def packed_chunk(document: Document, segment_id: str) -> PackedChunk:
    """Return the chunk that `document` stores, still packed. Raises as `stored_chunk`."""
    return _checked(document, segment_id, packed_of)


def _checked(document: Document, segment_id: str, read: Callable[[Document], _Chunk]) -> _Chunk:
    try:
        chunk = read(document)
        stored_id, start_id = document["segment"], document["start_id"]
        is_intact = type(document["data"]) is bytes and is_sealed(_sealed_fields(document))
    except (KeyError, TypeError) as error:
        raise DamagedChunk(f"its document lacks {error}") from error
    if not is_intact:
        raise DamagedChunk("the checksum of its document does not match")
    if document.keys() - CHUNK_FIELDS - _OWN_FIELDS:
        raise DamagedChunk("its document has an unknown field")
    # No checksum would notice a chunk that is stored under another segment.
    if stored_id != segment_id or document["_id"] != chunk_key(segment_id, start_id):
        raise DamagedChunk("it is stored under another segment")
    return chunk


def chunk_in_segment(
    chunk: PackedChunk, segment_id: str, epoch: int = 0, after_id: int = 0
) -> Document:
    """Return the document of a chunk (see `ChunkStore.put`)."""
    start_id = chunk.header.start_id
    key = chunk_key(segment_id, after_id if start_id is None else start_id)
    document = {
        "_id": key,
        "segment": segment_id,
        "epoch": epoch,
        **chunk_document(chunk, after_id),
    }
    return document | {SEAL: sealed(_sealed_fields(document))[SEAL]}


def _sealed_fields(document: Document) -> Document:
    """Return the fields that the seal covers: of `data` the checksum, with which it begins."""
    return document | {"data": document["data"][:CHECKSUM_BYTES]}


def _read(document: Document | None, segment_id: str) -> ArchiveChunk | None:
    return None if document is None else stored_chunk(document, segment_id)
