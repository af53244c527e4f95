"""Finds chunks and books whose segment is not there: then that segment has been lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from orderbook_desktop.core.archive import minute_of
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import being_imported
from orderbook_desktop.storage.store.schema import CHECKPOINTS, DEPTH_CHUNKS, Document
from orderbook_desktop.storage.store.segments import StoredSegment, read_segment
from orderbook_desktop.storage.verification.faults import RecordingFault

# A server may read whole chunks to tell whose they are: half a day of them at a time.
_CHUNKS_AT_ONCE: Final = 720
# Of a chunk: so small that there is one in each minute of any time.
_SHARES: Final = 1 << 50
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
    """Cut all minutes into windows, none of which has very many chunks of known segments.

    There are not many more of them than that takes, be there thousands of segments, or a
    clock that jumped over centuries.
    """
    changes: Counter[int] = Counter()
    for one in segments:
        first, end, share = _span(one)
        changes[first] += share
        changes[end] -= share
    begin = at = rate = 0
    room = _CHUNKS_AT_ONCE * _SHARES
    for minute, change in sorted(changes.items()):
        while (minute - at) * rate > room:
            at += max(1, room // rate)
            yield begin, at
            begin, room = at, _CHUNKS_AT_ONCE * _SHARES
        room -= (minute - at) * rate
        at, rate = minute, rate + change
    yield begin, _LAST_MINUTE


def _span(stored: StoredSegment) -> tuple[int, int, int]:
    """Return the minutes of a segment, from first to before end, and its chunks in a minute.

    These, at most, are counted in `_SHARES`.
    """
    segment = stored.segment
    first, end = minute_of(segment.first_event_ms), minute_of(segment.last_event_ms) + 1
    if not segment.event_count or end <= first:
        return first, first, 0
    # Each chunk has a minute, and an event.
    return first, end, min(_SHARES, -(-segment.event_count * _SHARES // (end - first)))
