"""Segments as they are stored: with their archive's extent and their origin."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, TypeGuard

from msgspec import Struct

from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.units import INT64_MAX, MAX_EXPONENT
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import (
    IMPORT,
    RECORDER,
    SEGMENTS,
    Document,
    segment_of,
    segment_sum,
    unarchived_document,
)

_TEXTS: Final = ("_id", "market", "end_detail", "origin")
_EXPONENTS: Final = ("price_exponent", "quantity_exponent")
_NUMBERS: Final = (
    *("snapshot_id", "first_id", "last_id", "first_event_ms", "last_event_ms", "event_count"),
    *(*_EXPONENTS, "cut_events", "back_ms"),
    *("archived_id", "archived_events", "archived_bytes"),
)

# The work on fewer documents takes less than a millisecond.
_MANY: Final = 50


class StoredSegment(Struct, frozen=True):
    """A segment, and its archive.

    The segment's chunks hold all events after `segment.snapshot_id` through `archived_id`:
    `archived_events` in `archived_bytes`. Later events are raw. Retention has removed `cut_events`
    from the front. `origin` is "recorder" or "import". `intact` is false if the document has a
    checksum that does not match.

    `back_ms` is the most by which an event's time was behind the latest time before it, the first
    book's included. It is None if an earlier version wrote the segment: then `last_event_ms` is the
    last event's time, and it is not known whether times went back.
    """

    id: str
    segment: Segment
    archived_id: int
    archived_events: int
    archived_bytes: int
    origin: str
    cut_events: int = 0
    intact: bool = True
    back_ms: int | None = None

    @property
    def running(self) -> bool:
        """Whether no end of the segment is stored."""
        return self.segment.end_cause is None

    @property
    def has_base(self) -> bool:
        """Whether the segment begins with a base checkpoint; imported and cut ones do not."""
        return self.is_recorded and not self.cut_events

    @property
    def is_recorded(self) -> bool:
        """Whether a recorder wrote it."""
        return self.origin == RECORDER

    @property
    def is_imported(self) -> bool:
        """Whether an import wrote it."""
        return self.origin == IMPORT


async def read_segments(database: Database, market: str) -> list[StoredSegment]:
    """Return the segments of `market` in order of their first id. Raises `DamagedDocument`."""
    found = await database.collection(SEGMENTS).find({"market": market}).to_list(None)
    # Thousands of them would keep the event loop, which also paints the window.
    return await asyncio.to_thread(_in_order, found) if len(found) > _MANY else _in_order(found)


def _in_order(found: Iterable[Document]) -> list[StoredSegment]:
    segments = [stored_segment(document) for document in found]
    return sorted(
        segments, key=lambda stored: (stored.segment.snapshot_id, stored.segment.last_id, stored.id)
    )


async def has_segment(database: Database, market: str) -> bool:
    """Return whether a segment of `market` is stored, damaged ones included."""
    found = await database.collection(SEGMENTS).find_one({"market": market}, {"_id": 1})
    return found is not None


async def read_segment(database: Database, segment_id: str) -> StoredSegment | None:
    """Return the segment with that id, if it is stored. Raises `DamagedDocument`."""
    document = await database.collection(SEGMENTS).find_one({"_id": segment_id})
    return None if document is None else stored_segment(document)


async def recorded_markets(database: Database) -> list[object]:
    """Return the markets that segments name. One that is no text is damaged."""
    return list(await database.collection(SEGMENTS).distinct("market"))


async def unarchived_ranges(database: Database, market: str) -> dict[str, tuple[int, int]]:
    """Return by segment after which id, and through which, it may still need raw events.

    A segment without an end may need any later event, and a damaged one may need all. Raises
    PyMongo's errors.
    """
    query = {"market": market, "to_archive": True}
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

    A segment that an older version has just written is not migrated yet, so nothing of it is
    archived. A segment whose range is damaged is left out; `verify` reports it. Raises PyMongo's
    errors.
    """
    fields = {"snapshot_id": 1, "archived_id": 1}
    found = await database.collection(SEGMENTS).find({"market": market}, fields).to_list(None)
    return {
        document["_id"]: (begin, end)
        for document in found
        if is_whole(begin := document.get("snapshot_id"))
        and is_whole(end := document.get("archived_id"))
    }


def stored_segment(document: Document) -> StoredSegment:
    """Return the segment that `document` stores. Raises `DamagedDocument`."""
    try:
        check_kinds(document, _TEXTS, _NUMBERS)
        segment = segment_of(document)
        # A recorder of an earlier version stores no fields of the archive.
        back_ms = document.get("back_ms")
        is_known = "archived_id" in document
        archive = document if is_known else unarchived_document(segment.snapshot_id)
        return StoredSegment(
            document["_id"],
            segment,
            int(archive["archived_id"]),
            int(archive["archived_events"]),
            int(archive["archived_bytes"]),
            archive["origin"],
            int(archive["cut_events"]),
            intact="sum" not in document or document["sum"] == segment_sum(segment),
            back_ms=None if back_ms is None else int(back_ms),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_segment(document, error) from error


def damaged_segment(document: Document, error: Exception) -> DamagedDocument:
    """Return what is wrong with a segment whose `document` can't be read because of `error`."""
    return DamagedDocument(f"segment {document.get('_id')}: {type(error).__name__} {error}")


def check_kinds(document: Document, texts: Iterable[str], numbers: Iterable[str]) -> None:
    """Raise `TypeError` or `ValueError` if one of these fields has the wrong type or range.

    A field may be missing.
    """
    for name in texts:
        if not isinstance(document.get(name, ""), str):
            raise TypeError(f"{name} is no text")
    for name in numbers:
        number = document.get(name, 0)
        if number is None and name == "back_ms":
            continue
        if not is_whole(number):
            raise TypeError(f"{name} is no whole number")
        if number < 0 or (name in _EXPONENTS and number > MAX_EXPONENT):
            raise ValueError(f"{name} is {number}")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number, as a field of a document should be."""
    return isinstance(value, int) and not isinstance(value, bool)
