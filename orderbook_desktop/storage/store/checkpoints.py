"""Books inside segments, as they are stored: each in a document of `checkpoints`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.events import DepthSnapshot, decode_snapshot
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone
from orderbook_desktop.storage.store.packing import DamagedDocument, unpack
from orderbook_desktop.storage.store.schema import CHECKPOINTS, SEGMENTS, Document
from orderbook_desktop.storage.store.segments import is_whole

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

_FIELDS: Final = frozenset(
    {"_id", "segment", "market", "update_id", "event_ms", "base", "payload", "new"}
)


@dataclass(frozen=True, slots=True)
class StoredBook:
    """A book of a segment, as it is stored.

    `segment_id` is the segment that the document names, and `is_base` whether the segment begins
    with this book; both are None if the document lacks them. `is_as_written` is false if the
    document has a field that this program doesn't write. `unpack` returns the book, and raises
    `DamagedDocument` and `MalformedMessage`. It is slow, so call it in a thread.
    """

    segment_id: str | None
    is_base: bool | None
    is_as_written: bool
    unpack: Callable[[], BookImage]


@dataclass(frozen=True, slots=True)
class RunningBook:
    """A book inside a running segment.

    `unpack` returns the book. It is slow, so call it in a thread. It raises `KeyError`,
    `TypeError`, `ValueError` or `MalformedMessage` if the book is damaged.
    """

    update_id: int
    unpack: Callable[[], DepthSnapshot]


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
        return None if document is None else _stored_book(document)

    async def keys(self, segment_id: str) -> list[tuple[object, object]]:
        """Return update id and key of each book of a segment, as they are stored."""
        found = await self._books.find({"segment": segment_id}, {"update_id": 1}).to_list(None)
        return [(document.get("update_id"), document["_id"]) for document in found]

    async def later_ids(self, segment_id: str) -> list[int]:
        """Return the update ids of a segment's books, in order, without the book it begins with.

        Damaged ones are left out.
        """
        query = {"segment": segment_id, "base": False}
        found = await self._books.find(query, {"update_id": 1}).to_list(None)
        ids = (document.get("update_id") for document in found)
        return sorted(update_id for update_id in ids if is_whole(update_id))

    async def drop(self, segment_id: str, through_id: int | None) -> None:
        """Delete the books of a segment through that update id; None: all of them."""
        for update_id, key in await self.keys(segment_id):
            if through_id is None or (is_whole(update_id) and update_id <= through_id):
                await self._books.delete_one({"_id": key})


def _stored_book(document: Document) -> StoredBook:
    """Return the book that `document` stores, not unpacked yet."""
    segment_id, base = document.get("segment"), document.get("base")
    return StoredBook(
        segment_id if isinstance(segment_id, str) else None,
        base if isinstance(base, bool) else None,
        not document.keys() - _FIELDS,
        partial(_unpacked, document),
    )


async def newest_running(database: Database, market: str) -> RunningBook | None:
    """Return the newest book of a running segment of `market`; None if no process records it.

    Raises PyMongo's errors, and `DamagedDocument`.
    """
    found = database.collection(SEGMENTS).find({"end_cause": None, "market": market})
    running = [one for one in await found.to_list(None) if not is_gone(one)]
    books = database.collection(CHECKPOINTS)
    # A segment left open on another machine may have higher ids, but not later times.
    for segment in sorted(running, key=_lateness, reverse=True):
        known = await books.find({"segment": segment["_id"]}, {"update_id": 1}).to_list(None)
        for key in sorted(known, key=lambda one: int(one["update_id"]), reverse=True):
            if int(key["update_id"]) < segment.get("archived_id", 0):
                # The recorder was taken for dead: the events after this book are archived.
                break
            newest = await books.find_one({"_id": key["_id"]})
            # The recorder may just have replaced it by a newer book.
            if newest is not None:
                return RunningBook(int(newest["update_id"]), partial(_snapshot, market, newest))
    return None


def _lateness(segment: Document) -> tuple[int, int]:
    return int(segment["last_event_ms"]), int(segment["last_id"])


def _snapshot(market: str, document: Document) -> DepthSnapshot:
    return decode_snapshot(unpack(document["payload"]), market, int(document["event_ms"]))


def _unpacked(document: Document) -> BookImage:
    try:
        market, update_id = document["market"], document["update_id"]
        snapshot = _snapshot(market, document)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedDocument(f"checkpoint: {type(error).__name__} {error}") from error
    if snapshot.last_update_id != update_id:
        raise DamagedDocument("the update id of a checkpoint is not that of its book")
    book = Book()
    book.load(snapshot)
    return image_of(book, market)
