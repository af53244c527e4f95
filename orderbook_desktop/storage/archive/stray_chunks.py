"""Finds chunks and books whose segment is not there: then that segment has been lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from orderbook_desktop.core.archive import minute_of
from orderbook_desktop.storage.database import Database
from orderbook_desktop.storage.imports.journal import being_imported
from orderbook_desktop.storage.reading.stored_segments import StoredSegment, read_segment
from orderbook_desktop.storage.schema import CHECKPOINTS, DEPTH_CHUNKS, Document
from orderbook_desktop.storage.verification.faults import RecordingFault

# A server may read whole chunks to tell whose they are: half a day of them at a time.
_MINUTES_AT_ONCE: Final = 720
_LAST_MINUTE: Final = 1 << 48


async def look_for_strays(
    database: Database, market: str, segments: Sequence[StoredSegment]
) -> None:
    """Raise `RecordingFault` for the first chunk or book of one that is not among `segments`.

    What came since, or that is being imported, is no fault. Raises PyMongo's errors.
    """
    chunks = database.collection(DEPTH_CHUNKS)
    known = [None, *(one.id for one in segments)]
    for first, end in _windows(segments):
        span = {"$gte": first, "$lt": end}
        query: Document = {"market": market, "minute": span, "segment": {"$nin": known}}
        stray = await chunks.find_one(query, {"data": 0})
        if stray is not None:
            reason = "an archived minute belongs to a segment that is not there"
            await _judge(database, DEPTH_CHUNKS, stray, stray.get("start_id"), reason)
    # Of one that is about to be stored the book is there first.
    query = {"market": market, "segment": {"$nin": known}, "new": None}
    books = database.collection(CHECKPOINTS).find(query, {"payload": 0})
    for stray in await books.to_list(None):
        reason = "a book belongs to a segment that is not there"
        await _judge(database, CHECKPOINTS, stray, stray.get("update_id"), reason)


async def _judge(
    database: Database, collection: str, stray: Document, update_id: int | None, reason: str
) -> None:
    market: str = stray["market"]
    key = stray.get("segment")
    # In this order: what an import no longer names, it has made known.
    if key in await being_imported(database):
        return
    segment = None if key is None else await read_segment(database, key)
    if segment is not None and segment.segment.market == market:
        return
    # Unless retention, or the end of an import, has removed it meanwhile.
    if await database.collection(collection).find_one({"_id": stray["_id"]}, {"_id": 1}):
        raise RecordingFault(market, reason, segment_id=str(key), update_id=update_id)


def _windows(segments: Sequence[StoredSegment]) -> Iterator[tuple[int, int]]:
    """Cut all minutes into windows, none of which has very many chunks of known segments."""
    begin = 0
    spans = (
        (minute_of(one.segment.first_event_ms), minute_of(one.segment.last_event_ms) + 1)
        for one in segments
        if one.segment.event_count
    )
    for first, end in sorted(spans):
        if first > begin:
            yield begin, first
            begin = first
        while begin < end:
            yield begin, min(begin + _MINUTES_AT_ONCE, end)
            begin = min(begin + _MINUTES_AT_ONCE, end)
    yield begin, _LAST_MINUTE
