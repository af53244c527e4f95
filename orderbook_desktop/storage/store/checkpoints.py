"""Books inside segments, as they are stored: each in a document of `checkpoints`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from orderbook_desktop.core.archive import ArchiveChunk, decode_chunk
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image, image_of, snapshot_of
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.events import DepthSnapshot, decode_snapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.horizons import horizon_document, horizon_of
from orderbook_desktop.storage.store.owner import is_gone
from orderbook_desktop.storage.store.packing import DamagedDocument, pack, unpack
from orderbook_desktop.storage.store.schema import CHECKPOINTS, SEGMENTS, Document
from orderbook_desktop.storage.store.sealing import SEAL, canonical_bytes, is_sealed, sealed
from orderbook_desktop.storage.store.segment_documents import check_kinds, damaged_segment, is_whole

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

_BYTES_A_LEVEL: Final = 16
# The most books of some short segments that are read together.
_READ_AT_MOST: Final = 200
_FIELDS: Final = frozenset(
    {
        *("_id", "segment", "market", "update_id", "time", "received_ns", "horizon", "base"),
        *("payload", "new", SEAL),
    }
)


class StoredBook(Struct, frozen=True):
    """A book of a segment, as it is stored.

    `segment_id` is the segment that the document names, and `is_base` whether the segment begins
    with this book; both are None if the document lacks them. `is_as_written` is false if the
    document has a field that this program doesn't write. `unpack` returns the book, and raises
    `DamagedDocument` and `MalformedMessage`. It is slow, so call it in a thread. `size` is its size
    in bytes, as it is stored. `record` returns its document as canonical bytes, and raises
    `DamagedDocument`.
    """

    segment_id: str | None
    is_base: bool | None
    is_as_written: bool
    unpack: Callable[[], BookImage]
    record: Callable[[], bytes]
    size: int = 0


class SegmentBooks(NamedTuple):
    """Books by their keys; and by segment, update id and key of each of its books."""

    keys: dict[str, list[tuple[object, object]]]
    books: dict[str, StoredBook]


class RunningBook(Struct, frozen=True):
    """A book inside a running segment.

    `unpack` returns the book, and raises `DamagedDocument` and `MalformedMessage`. It is slow, so
    call it in a thread.
    """

    update_id: int
    unpack: Callable[[], DepthSnapshot]


class NewBook(Struct, frozen=True, eq=False):
    """A book to be stored; its content is an image, or the payload of a snapshot."""

    update_id: int
    event_ms: int
    received_ns: int
    horizon: Horizon | None
    content: BookImage | bytes

    @classmethod
    def of(cls, book: DepthSnapshot | BookImage) -> NewBook:
        """Take from `book` what is written, without what was decoded from it."""
        content = book if isinstance(book, BookImage) else book.payload
        return cls(book.last_update_id, book.event_ms, book.received_ns, book.horizon, content)

    @property
    def weight(self) -> int:
        """Its approximate size in memory, in bytes."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return _BYTES_A_LEVEL * (len(self.content.bids.prices) + len(self.content.asks.prices))


def book_key(segment_id: str, update_id: int) -> str:
    """Return the key of the book that a segment has at `update_id`."""
    return f"{segment_id}:{update_id}"


class Checkpoints:
    """The books inside the segments of `database`. All methods raise PyMongo's errors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _books(self) -> AsyncIOMotorCollection[Document]:
        return self._database.collection(CHECKPOINTS)

    async def get(self, key: str) -> StoredBook | None:
        """Return the book with that `book_key`, if there is one."""
        document = await self._books.find_one({"_id": key})
        return None if document is None else stored_book(document)

    async def keys(self, segment_id: str) -> list[tuple[object, object]]:
        """Return update id and key of each book of a segment, as they are stored."""
        found = await self._books.find({"segment": segment_id}, {"update_id": 1}).to_list(None)
        return [(document.get("update_id"), document["_id"]) for document in found]

    async def some(self, keys: Sequence[str]) -> dict[str, StoredBook]:
        """Return by key those books that are stored. Ask for 50 at most."""
        found = await self._books.find({"_id": {"$in": list(keys)}}).to_list(None)
        return {document["_id"]: stored_book(document) for document in found}

    async def of_segments(self, segment_ids: Sequence[str]) -> SegmentBooks:
        """Return the books of segments; no keys if these are many. Ask for 50 segments at most."""
        keys: dict[str, list[tuple[object, object]]] = {key: [] for key in segment_ids}
        query = {"segment": {"$in": list(segment_ids)}}
        found = await self._books.find(query, limit=_READ_AT_MOST + 1).to_list(None)
        if len(found) > _READ_AT_MOST:
            return SegmentBooks({}, {})
        for document in found:
            named = document["segment"]
            # The field of a damaged document may be a list, which the database looks into.
            for segment_id in named if isinstance(named, list) else [named]:
                if isinstance(segment_id, str) and segment_id in keys:
                    keys[segment_id].append((document.get("update_id"), document["_id"]))
        return SegmentBooks(keys, {book["_id"]: stored_book(book) for book in found})

    async def ids(self, segment_id: str, *, with_base: bool) -> list[int]:
        """Return the update ids of a segment's books, in order. Raises `DamagedDocument`.

        If `with_base` is false, the book that the segment begins with is left out.
        """
        query: Document = {"segment": segment_id} | ({} if with_base else {"base": False})
        found = await self._books.find(query, {"update_id": 1}).to_list(None)
        ids: list[int] = []
        for document in found:
            update_id = document.get("update_id")
            if not is_whole(update_id):
                raise DamagedDocument(f"checkpoint {document['_id']}: its id is no whole number")
            ids.append(update_id)
        return sorted(ids)

    async def put(self, segment_id: str, market: str, book: NewBook, *, is_base: bool) -> str:
        """Store a book of a segment, which begins with it if `is_base`; return its key.

        Call `settle` once the segment of a base is stored. Repeating is harmless.
        """
        key = book_key(segment_id, book.update_id)
        document = {
            "_id": key,
            "segment": segment_id,
            "market": market,
            "update_id": book.update_id,
            "time": book.event_ms,
            "received_ns": book.received_ns,
            "horizon": horizon_document(book.horizon),
            "base": is_base,
            "new": is_base,
            "payload": await asyncio.to_thread(_packed, book.content),
        }
        document = await asyncio.to_thread(sealed, document)
        await self._books.replace_one({"_id": key}, document, upsert=True)
        return key

    async def put_record(self, segment_id: str, record: bytes) -> None:
        """Store the book of a `StoredBook.record` as a book of a segment. Repeating is harmless."""
        document: Document = msgspec.msgpack.decode(record)
        key = book_key(segment_id, document["update_id"])
        own = document | {"_id": key, "segment": segment_id}
        await self._books.replace_one({"_id": key}, sealed(own), upsert=True)

    async def settle(self, segment_id: str, book: NewBook) -> None:
        """Note that the segment that begins with `book` is stored: now both must be there."""
        key = book_key(segment_id, book.update_id)
        document = await self._books.find_one({"_id": key, "new": True})
        if document is None or not await asyncio.to_thread(is_sealed, document):
            # It is settled, or damaged; `verify` reports that.
            return
        settled = await asyncio.to_thread(sealed, document | {"new": False})
        changes = {"new": False, SEAL: settled[SEAL]}
        await self._books.update_one({"_id": key, SEAL: document[SEAL]}, {"$set": changes})

    async def is_settled(self, segment_id: str, book: NewBook) -> bool:
        """Return whether the book that a segment begins with is stored, and was settled."""
        key = book_key(segment_id, book.update_id)
        found = await self._books.find_one({"_id": key}, {"new": 1})
        return found is not None and found.get("new") is False

    async def drop_one(self, key: str) -> None:
        """Delete the book with that key."""
        await self._books.delete_one({"_id": key})

    async def drop(self, segment_id: str, through_id: int | None) -> None:
        """Delete the books of a segment through that update id; None: all of them."""
        for update_id, key in await self.keys(segment_id):
            if through_id is None or (is_whole(update_id) and update_id <= through_id):
                await self._books.delete_one({"_id": key})


def stored_book(document: Document) -> StoredBook:
    """Return the book that `document` stores, not unpacked yet."""
    segment_id, base = document.get("segment"), document.get("base")
    return StoredBook(
        segment_id if isinstance(segment_id, str) else None,
        base if isinstance(base, bool) else None,
        not document.keys() - _FIELDS,
        partial(_unpacked, document),
        partial(_record, document),
        len(payload) if isinstance(payload := document.get("payload"), bytes) else 0,
    )


async def newest_running(database: Database, market: str) -> RunningBook | None:
    """Return the newest book of a running segment of `market`; None if no process records it.

    Raises PyMongo's errors, `DamagedDocument` and `DamagedChunk`.
    """
    found = database.collection(SEGMENTS).find({"end_cause": None, "market": market})
    running = [
        _reach_of(document) for document in await found.to_list(None) if not is_gone(document)
    ]
    books = Checkpoints(database)
    # A segment left open on another machine may have higher ids, but not later times.
    for segment in sorted(running, reverse=True):
        for update_id in reversed(await books.ids(segment.id, with_base=True)):
            if update_id < segment.archived_id:
                # The events after this book are archived: another segment led, or the recorder
                # was taken for dead.
                break
            key = {"_id": book_key(segment.id, update_id)}
            newest = await database.collection(CHECKPOINTS).find_one(key)
            # The recorder may just have replaced it by a newer book.
            if newest is not None:
                return RunningBook(update_id, partial(_running, market, newest))
    store = ChunkStore(database)
    for segment in sorted(running, reverse=True):
        chunk = await store.ending_in(market, segment.archived_id)
        if chunk is not None:
            return RunningBook(segment.archived_id, partial(_book_after, chunk))
    return None


def _book_after(chunk: ArchiveChunk) -> DepthSnapshot:
    return snapshot_of(decode_chunk(chunk).final_book())


class _Reach(NamedTuple):
    """How far a running segment has come, as it is stored."""

    last_ms: int
    last_id: int
    id: str
    archived_id: int


def _reach_of(document: Document) -> _Reach:
    try:
        check_kinds(document, ("_id", "last_time", "last_id", "archived_id"))
        last_ms, last_id = document["last_time"], document["last_id"]
        return _Reach(last_ms, last_id, document["_id"], document["archived_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_segment(document, error) from error


def _record(document: Document) -> bytes:
    if not is_sealed(document):
        raise DamagedDocument("the checksum of a checkpoint does not match")
    return canonical_bytes(sealed(document | {"new": False}))


def _packed(book: BookImage | bytes) -> bytes:
    return pack(encode_image(book) if isinstance(book, BookImage) else book)


def _running(market: str, document: Document) -> DepthSnapshot:
    if document.get("market") != market:
        raise DamagedDocument("a checkpoint is of another market than its segment")
    return _snapshot(document)


def _snapshot(document: Document) -> DepthSnapshot:
    """Return a stored book. Raises `DamagedDocument` and `MalformedMessage`."""
    if not is_sealed(document):
        raise DamagedDocument("the checksum of a checkpoint does not match")
    try:
        # An earlier version stored the time that was sent, in the unit that was sent.
        event_ms, horizon = in_ms(int(document["time"])), horizon_of(document["horizon"])
        market, received_ns = document["market"], int(document["received_ns"])
        snapshot = decode_snapshot(unpack(document["payload"]), market, event_ms, received_ns)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedDocument(f"checkpoint: {type(error).__name__} {error}") from error
    if snapshot.last_update_id != document.get("update_id"):
        raise DamagedDocument("the update id of a checkpoint is not that of its book")
    return msgspec.structs.replace(snapshot, horizon=horizon)


def _unpacked(document: Document) -> BookImage:
    snapshot = _snapshot(document)
    book = Book()
    book.load(snapshot)
    return image_of(book, snapshot.market)
