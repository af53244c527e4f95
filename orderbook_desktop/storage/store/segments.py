"""Segments in a database: read, and changed part by part (`storage.store.segment_documents`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import SEGMENTS, TRADE_RUNS, Document
from orderbook_desktop.storage.store.sealing import change_sealed, is_part_sealed
from orderbook_desktop.storage.store.segment_documents import (
    PARTS,
    StoredSegment,
    is_whole,
    stored_segment,
)

# A damaged segment counts as one with a book.
WITH_BOOK: Final[Mapping[str, object]] = MappingProxyType({"book": {"$ne": False}})

# The work on fewer documents takes less than a millisecond.
MANY: Final = 50


async def change_segment(
    database: Database, query: Document, changes: Callable[[Document], Document]
) -> bool:
    """Change the segment that matches `query`, and seal it (see `change_sealed`)."""
    return await change_sealed(database.collection(SEGMENTS), PARTS, query, changes)


async def read_segments(database: Database, market: str) -> list[StoredSegment]:
    """Return the segments with a book of `market`, by their first id. Raises `DamagedDocument`."""
    query = {"market": market, **WITH_BOOK}
    found = await database.collection(SEGMENTS).find(query).to_list(None)
    # Thousands of them would keep the event loop, which also paints the window.
    return await asyncio.to_thread(in_order, found) if len(found) > MANY else in_order(found)


def in_order(found: Iterable[Document]) -> list[StoredSegment]:
    """Return stored segments by their first id. Raises `DamagedDocument`."""
    segments = [stored_segment(document) for document in found]
    return sorted(
        segments, key=lambda stored: (stored.segment.snapshot_id, stored.segment.last_id, stored.id)
    )


async def sound_segments(database: Database, market: str) -> list[StoredSegment]:
    """Return the segments with a book of `market`, without damaged ones: `verify` reports these."""
    query = {"market": market, **WITH_BOOK}
    found: list[StoredSegment] = []
    for document in await database.collection(SEGMENTS).find(query).to_list(None):
        with suppress(DamagedDocument):
            found.append(stored_segment(document))
    return found


async def overlapping_segments(
    database: Database, market: str, update_id: int, *, archived: bool
) -> list[StoredSegment]:
    """Return the segments of `market` with a book that end after `update_id`, or have no end.

    How far a running one reaches is stored some seconds later. Without `archived` only those that
    are to be archived, else also the others that begin by `update_id`. A damaged one is left out,
    since `verify` reports it.
    """
    queries: list[Document] = [{"market": market, "to_archive": True, **WITH_BOOK}]
    if archived:
        span = {"$gte": 0, "$lte": update_id}
        queries.append({"market": market, "snapshot_id": span, **WITH_BOOK})
    documents = {
        document["_id"]: document
        for query in queries
        for document in await database.collection(SEGMENTS).find(query).to_list(None)
        if document.get("end_cause") is None or _ends_after(document, update_id)
    }
    found: list[StoredSegment] = []
    for document in documents.values():
        with suppress(DamagedDocument):
            found.append(stored_segment(document))
    return found


async def is_continued(database: Database, segment: Segment) -> bool:
    """Whether another segment with a book begins by the stored end of `segment`, and goes on."""
    query = {
        "market": segment.market,
        "snapshot_id": {"$gte": 0, "$lte": segment.last_id},
        "last_id": {"$gt": segment.last_id, "$lte": INT64_MAX},
        **WITH_BOOK,
    }
    return await database.collection(SEGMENTS).find_one(query, {"_id": 1}) is not None


def _ends_after(document: Document, update_id: int) -> bool:
    last_id = document.get("last_id")
    return is_whole(last_id) and last_id > update_id


async def misplaced_segments(database: Database, market: str) -> list[str]:
    """Return the segments that are stored under another market, though their seal is of `market`.

    Damage to that field alone hides a segment from all who read its market.
    """
    found = await database.collection(SEGMENTS).find({"market": {"$ne": market}}).to_list(None)
    names = PARTS["front_sum"]
    return [
        str(document["_id"])
        for document in found
        if is_part_sealed({**document, "market": market}, "front_sum", names)
    ]


async def has_segment(database: Database, market: str) -> bool:
    """Return whether a segment of `market` is stored, damaged ones included."""
    found = await database.collection(SEGMENTS).find_one({"market": market}, {"_id": 1})
    return found is not None


async def read_segment(database: Database, segment_id: str) -> StoredSegment | None:
    """Return the segment with that id, if it is stored. Raises `DamagedDocument`."""
    document = await database.collection(SEGMENTS).find_one({"_id": segment_id})
    return None if document is None else stored_segment(document)


async def recorded_markets(database: Database) -> list[object]:
    """Return the markets that segments with a book name. One that is no text is damaged."""
    return list(await database.collection(SEGMENTS).distinct("market", WITH_BOOK))


async def named_markets(database: Database) -> list[str]:
    """Return the markets that segments, with a book or without, or runs of trades name.

    Raises PyMongo's errors.
    """
    found = [await database.collection(name).distinct("market") for name in (SEGMENTS, TRADE_RUNS)]
    return sorted({market for markets in found for market in markets if isinstance(market, str)})


async def unarchived_ranges(database: Database, market: str) -> dict[str, tuple[int, int]]:
    """Return by segment after which id, and through which, it may still need raw events.

    Only segments with a book count. A segment without an end may need any later event, and a
    damaged one may need all. Raises PyMongo's errors.
    """
    query = {"market": market, "to_archive": True, **WITH_BOOK}
    fields = {"archived_id": 1, "last_id": 1, "end_cause": 1}
    found = await database.collection(SEGMENTS).find(query, fields).to_list(None)
    return {document["_id"]: _unarchived_range(document) for document in found}


def _unarchived_range(document: Document) -> tuple[int, int]:
    archived_id, last_id = document.get("archived_id"), document.get("last_id")
    has_ended = document.get("end_cause") is not None
    return (
        archived_id if is_whole(archived_id) else 0,
        last_id if has_ended and is_whole(last_id) else INT64_MAX,
    )


async def archived_ranges(database: Database, market: str) -> dict[str, tuple[int, int]]:
    """Return by segment after which id, and through which, its chunks hold its events.

    Only segments with a book count.

    A segment whose range is damaged is left out; `verify` reports it. Raises PyMongo's
    errors.
    """
    fields = {"snapshot_id": 1, "archived_id": 1}
    query = {"market": market, **WITH_BOOK}
    found = await database.collection(SEGMENTS).find(query, fields).to_list(None)
    return {
        document["_id"]: (begin, end)
        for document in found
        if is_whole(begin := document.get("snapshot_id"))
        and is_whole(end := document.get("archived_id"))
    }
