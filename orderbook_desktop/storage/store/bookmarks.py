"""Bookmarks: moments that a person marked in the recording of a market, stored beside it.

A document of `bookmarks` has `_id`, which is MARKET:KEY, `market`, `time` (ms), `update_id`, `note`
and a seal. There are few of them, so the collection has no index but `_id`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from orderbook_desktop.core.replay import Bookmark
from orderbook_desktop.formats.packed_file import DamagedPackedFile, PackedFile, PackedWriter
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import BOOKMARKS, Document
from orderbook_desktop.storage.store.sealing import SEAL, canonical_bytes, is_sealed, sealed
from orderbook_desktop.storage.store.segment_documents import is_whole

_log = logging.getLogger(__name__)

_FIELDS: Final = frozenset(("_id", "market", "time", "update_id", "note", SEAL))
_KIND: Final = "bookmarks"
_IN_FILE: Final = "A packed file can't be changed; unpack it to set bookmarks in its recordings."


class BookmarkStore(Protocol):
    """A place that holds bookmarks. Its methods raise what that place raises."""

    @property
    def problem(self) -> str:
        """Why no bookmark can be stored here, as a sentence; empty: it can."""
        ...

    async def all(self, market: str) -> list[Bookmark]:
        """Return the bookmarks of `market`, in order of time, without damaged ones."""
        ...

    async def sound(self, market: str) -> list[Bookmark]:
        """Return what `all` returns. Raises `DamagedDocument` if one is damaged."""
        ...

    async def put(self, bookmark: Bookmark) -> None:
        """Store a bookmark, in place of the one with its key if there is one."""
        ...

    async def remove(self, bookmark: Bookmark) -> None:
        """Remove the bookmark with the key of this one, if it is there."""
        ...


class DatabaseBookmarks:
    """The bookmarks in `database`. It is a `BookmarkStore`; its methods raise PyMongo's errors."""

    problem = ""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reported: set[object] = set()

    async def all(self, market: str) -> list[Bookmark]:
        """Return the bookmarks that can be read (see `BookmarkStore`)."""
        found: list[Bookmark] = []
        for document in await self._documents(market):
            try:
                found.append(bookmark_of(document))
            except DamagedDocument as error:
                if document["_id"] not in self._reported:
                    self._reported.add(document["_id"])
                    _log.warning("%s: %s", market, error)
        return in_order(found)

    async def sound(self, market: str) -> list[Bookmark]:
        """Return all bookmarks (see `BookmarkStore`)."""
        # There are few; one whose field `market` is damaged is still found by its key.
        every = await self._database.collection(BOOKMARKS).find({}).to_list(None)
        return in_order([bookmark_of(one) for one in every if _is_of(market, one)])

    async def count(self, market: str) -> int:
        """Return how many bookmarks of `market` are stored, damaged ones included."""
        return len(await self._documents(market))

    async def put(self, bookmark: Bookmark) -> None:
        """Store a bookmark (see `BookmarkStore`)."""
        document = bookmark_document(bookmark)
        key = {"_id": document["_id"]}
        await self._database.collection(BOOKMARKS).replace_one(key, document, upsert=True)

    async def put_new(self, bookmark: Bookmark) -> bool:
        """Store a bookmark unless there is one with its key; return whether there was none."""
        document = bookmark_document(bookmark)
        key = {"_id": document.pop("_id")}
        stored = await self._database.collection(BOOKMARKS).update_one(
            key, {"$setOnInsert": document}, upsert=True
        )
        return not stored.matched_count

    async def remove(self, bookmark: Bookmark) -> None:
        """Remove a bookmark (see `BookmarkStore`)."""
        await self._database.collection(BOOKMARKS).delete_one({"_id": _document_key(bookmark)})

    async def drop(self, market: str) -> None:
        """Remove all bookmarks of `market`."""
        await self._database.collection(BOOKMARKS).delete_many({"market": market})

    async def _documents(self, market: str) -> list[Document]:
        return await self._database.collection(BOOKMARKS).find({"market": market}).to_list(None)


class PackedBookmarks:
    """The bookmarks in `file`, a packed file. It is a `BookmarkStore` that stores none.

    `document_of` returns the document of a row. Its methods raise what the file raises.
    """

    problem = _IN_FILE

    def __init__(self, file: PackedFile, document_of: Callable[[Any], Document]) -> None:
        self._file = file
        self._document_of = document_of

    async def all(self, market: str) -> list[Bookmark]:
        """Return all bookmarks (see `BookmarkStore`): a file is whole, or refused."""
        return await self.sound(market)

    async def sound(self, market: str) -> list[Bookmark]:
        """Return all bookmarks (see `BookmarkStore`)."""
        return in_order([self._bookmark(market, row) for row in self._file.rows(market, _KIND)])

    def _bookmark(self, market: str, row: Any) -> Bookmark:
        bookmark = bookmark_of(self._document_of(row))
        named = market, int(row["event_ms"]), int(row["update_id"])
        if named != (bookmark.market, bookmark.event_ms, bookmark.update_id):
            raise DamagedPackedFile(self._file.path, "a bookmark is not what its table says")
        return bookmark

    async def put(self, bookmark: Bookmark) -> None:
        """Store nothing; see `problem`."""

    async def remove(self, bookmark: Bookmark) -> None:
        """Remove nothing; see `problem`."""


def put_bookmark(writer: PackedWriter, bookmark: Bookmark) -> None:
    """Write the next bookmark of a market into a packed file, in the order of `in_order`."""
    numbers = bookmark.event_ms, bookmark.update_id
    writer.add(_KIND, numbers, canonical_bytes(bookmark_document(bookmark)))


def in_order(bookmarks: list[Bookmark]) -> list[Bookmark]:
    """Return bookmarks in order of time."""
    return sorted(bookmarks, key=lambda one: (one.event_ms, one.update_id, one.key))


def bookmark_document(bookmark: Bookmark) -> Document:
    """Return the document of a bookmark."""
    return sealed(
        {
            "_id": _document_key(bookmark),
            "market": bookmark.market,
            "time": bookmark.event_ms,
            "update_id": bookmark.update_id,
            "note": bookmark.note,
        }
    )


def bookmark_of(document: Document) -> Bookmark:
    """Return the bookmark that `document` stores. Raises `DamagedDocument`."""
    key, market, note = (document.get(name) for name in ("_id", "market", "note"))
    at_ms, update_id = document.get("time"), document.get("update_id")
    is_text = isinstance(key, str) and isinstance(market, str) and isinstance(note, str)
    if not (is_text and is_whole(at_ms) and is_whole(update_id) and is_sealed(document)):
        raise DamagedDocument(f"bookmark {key!r:.60}: its checksum does not match")
    own_key = str(key).removeprefix(f"{market}:")
    # The numbers of a database are of a type of its own.
    bookmark = Bookmark(own_key, str(market), int(at_ms), int(update_id), str(note))
    if document.keys() != _FIELDS or _document_key(bookmark) != key:
        raise DamagedDocument(f"bookmark {key!r:.60}: its fields are not those of a bookmark")
    return bookmark


def _is_of(market: str, document: Document) -> bool:
    return document.get("market") == market or str(document["_id"]).startswith(f"{market}:")


def _document_key(bookmark: Bookmark) -> str:
    return f"{bookmark.market}:{bookmark.key}"
