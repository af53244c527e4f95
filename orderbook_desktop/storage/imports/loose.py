"""Imported events that belong to no known book, without those that are there already.

A file without a book may hold what is in a segment, as its book was in another file.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from orderbook_desktop.core.archive import ArchiveChunk, decode_chunk, encode_loose
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.imports.place import ImportConflict
from orderbook_desktop.storage.imports.spool import Place, Spool
from orderbook_desktop.storage.store.chunks import ChunkStore, loose_key
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import DEPTH_CHUNKS
from orderbook_desktop.storage.store.segments import StoredSegment, read_segments
from orderbook_desktop.system.threads import in_thread


class NewLoose:
    """Finds what is new of the loose chunks in `spool`. Raises PyMongo's errors."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool
        self._store = ChunkStore(database)
        self._segments: dict[str, list[StoredSegment]] = {}

    async def find(self) -> dict[str, Place]:
        """Return where the loose chunks are that have to be written, by key.

        Raises `ImportConflict` where others with the same update ids are there.
        """
        found: dict[str, Place] = {}
        for place in self._spool.loose:
            chunk = self._spool.chunk_at(place)
            if await self._store.get_loose(loose_key(chunk)) == chunk:
                continue
            new = await self._new_of(chunk)
            if new and len(new) < chunk.header.event_count:
                chunk = await in_thread(encode_loose, new)
                place = await in_thread(self._spool.keep, chunk)  # noqa: PLW2901
            key = loose_key(chunk)
            if new and (key in found or await self._store.get_loose(key) is not None):
                raise ImportConflict(chunk.header.market, new[0].final_id)
            if new:
                found[key] = place
        return found

    async def _new_of(self, chunk: ArchiveChunk) -> list[DepthDiff]:
        """Return the events of `chunk` that are in no stored chunk, a loose one or a segment's.

        What another one received of the same event is something else, as its time differs.
        Raises `ImportConflict` where loose events themselves do.
        """
        market = chunk.header.market
        events = await in_thread(_events_of, chunk)
        known = await self._known(market, [one.final_id for one in events])
        for one in events:
            if any(other.payload != one.payload for other in known.get(one.final_id, ())):
                raise ImportConflict(market, one.final_id)
        new = [one for one in events if one not in known.get(one.final_id, ())]
        in_segments = await self._in_segments(market, {one.final_id for one in new})
        return [one for one in new if one not in in_segments.get(one.final_id, ())]

    async def _known(self, market: str, ids: Sequence[int]) -> dict[int, list[DepthDiff]]:
        """Return the loose events with these final `ids` that are stored."""
        first_id, last_id, wanted = min(ids), max(ids), set(ids)
        ending = {"$gte": first_id, "$lte": INT64_MAX}
        query = {"segment": None, "market": market, "last_id": ending}
        chunks = self._database.collection(DEPTH_CHUNKS)
        known: dict[int, list[DepthDiff]] = {}
        for one in await chunks.find(query, {"first_id": 1}).to_list(None):
            stored = await self._store.get_loose(one["_id"]) if one["first_id"] <= last_id else None
            for event in () if stored is None else await in_thread(_events_of, stored):
                if event.final_id in wanted:
                    known.setdefault(event.final_id, []).append(event)
        return known

    async def _in_segments(self, market: str, ids: Set[int]) -> dict[int, list[DepthDiff]]:
        """Return the events with these final `ids` that are in the archive of segments."""
        if market not in self._segments:
            self._segments[market] = await read_segments(self._database, market)
        known: dict[int, list[DepthDiff]] = {}
        for one in self._segments[market]:
            inside = {each for each in ids if one.segment.snapshot_id < each <= one.archived_id}
            for start_id in await self._starts(one, inside):
                stored = await self._store.get(one.id, start_id)
                for event in () if stored is None else await in_thread(_events_of, stored):
                    if event.final_id in inside:
                        known.setdefault(event.final_id, []).append(event)
        return known

    async def _starts(self, stored: StoredSegment, inside: Set[int]) -> list[int]:
        """Return where the chunks of a segment start in which the ids `inside` may be."""
        if not inside:
            return []
        begin, end = stored.segment.snapshot_id, min(stored.archived_id, max(inside))
        spans = await self._store.spans(stored.id, min(inside))
        return [
            start_id
            for start_id, last_id in spans
            # What lies outside is a leftover.
            if begin <= start_id < end and any(start_id < each <= last_id for each in inside)
        ]


def _events_of(chunk: ArchiveChunk) -> list[DepthDiff]:
    return list(decode_chunk(chunk).diffs())
