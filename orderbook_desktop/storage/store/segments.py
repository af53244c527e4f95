"""Segments as the database knows them: with how far they are archived, and who made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.units import MAX_EXPONENT
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import (
    RECORDER,
    SEGMENTS,
    Document,
    segment_of,
    segment_sum,
    unarchived_document,
)

_TEXTS: Final = ("_id", "market", "end_detail", "origin")
_NUMBERS: Final = (
    *("snapshot_id", "first_id", "last_id", "first_event_ms", "last_event_ms", "event_count"),
    *("price_exponent", "quantity_exponent", "cut_events", "back_ms"),
    *("archived_id", "archived_events", "archived_bytes"),
)


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment, and its archive.

    The chunks of `id` hold everything after `segment.snapshot_id` through `archived_id`,
    `archived_events` in `archived_bytes`; what comes after it is raw. `cut_events` have been
    removed from the front by retention. `origin` is "recorder" or "import". `intact` is
    false where the document's checksum, if it has one, does not match. `back_ms` is how far
    the time of an event ever was behind the latest before it, that of the first book
    included. It is None where an earlier version wrote the segment: then `last_event_ms` is
    that of the last event, and nobody knows whether times went back.
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
        """Whether it goes on, as far as anybody has said."""
        return self.segment.end_cause is None

    @property
    def has_base(self) -> bool:
        """Whether its base checkpoint must be there: nothing else says how it begins."""
        return self.origin == RECORDER and not self.cut_events


async def read_segments(database: Database, market: str) -> list[StoredSegment]:
    """Return the segments of `market` by their first id; raises as `stored_segment`."""
    found = await database.collection(SEGMENTS).find({"market": market}).to_list(None)
    segments = [stored_segment(one) for one in found]
    return sorted(segments, key=lambda one: (one.segment.snapshot_id, one.segment.last_id, one.id))


async def read_segment(database: Database, segment_id: str) -> StoredSegment | None:
    """Return the segment of that id, if it is there; raises as `stored_segment`."""
    document = await database.collection(SEGMENTS).find_one({"_id": segment_id})
    return None if document is None else stored_segment(document)


def stored_segment(document: Document) -> StoredSegment:
    """Return the segment that `document` stores; raises `DamagedDocument`."""
    try:
        _check_kinds(document)
        segment = segment_of(document)
        # A recorder of an earlier version knows nothing of the archive.
        back_ms = document.get("back_ms")
        told = document if "archived_id" in document else unarchived_document(segment.snapshot_id)
        return StoredSegment(
            document["_id"],
            segment,
            int(told["archived_id"]),
            int(told["archived_events"]),
            int(told["archived_bytes"]),
            told["origin"],
            int(told["cut_events"]),
            intact="sum" not in document or document["sum"] == segment_sum(segment),
            back_ms=None if back_ms is None else int(back_ms),
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"segment {document.get('_id')}: {type(error).__name__} {error}"
        raise DamagedDocument(reason) from error


def _check_kinds(document: Document) -> None:
    """Raise `TypeError` or `ValueError` for a field that is not of the kind that was written."""
    for name in _TEXTS:
        if not isinstance(document.get(name, ""), str):
            raise TypeError(f"{name} is no text")
    for name in _NUMBERS:
        number = document.get(name, 0)
        if number is None and name == "back_ms":
            continue
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"{name} is no whole number")
        if number < 0:
            raise ValueError(f"{name} is {number}")
    for name in ("price_exponent", "quantity_exponent"):
        if document[name] > MAX_EXPONENT:
            raise ValueError(f"{name} is {document[name]}")
