"""Cuts whole chunks off the front of a segment. A kill at any point does no harm.

To cut a segment, its document first gets a later beginning, and its old beginning as `cut_from`.
So the segment never promises events that are gone. Then the chunks between the two are removed,
the last one first: the rest can still be found, chunk by chunk from `cut_from` on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from msgspec.structs import replace

from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.checkpoints import Checkpoints
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument, chunk_key
from orderbook_desktop.storage.store.schema import (
    DEPTH_CHUNKS,
    SEGMENTS,
    Document,
)
from orderbook_desktop.storage.store.segment_documents import (
    StoredSegment,
    is_whole,
    progress_fields,
    stored_segment,
)
from orderbook_desktop.storage.store.segments import change_segment

_log = logging.getLogger(__name__)

# Where a segment began before a cut that is not finished yet.
CUT_FROM: Final = "cut_from"

_CHUNKS_A_CUT: Final = 100
_NUMBERS: Final = ("start_id", "first_id", "last_id", "from_time", "to_time", "event_count")


class ChainLink(NamedTuple):
    """A chunk to be cut: its ids and event times, how many events it has, and its size in bytes."""

    start_id: int
    first_id: int
    last_id: int
    from_ms: int
    to_ms: int
    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Removed:
    """What a cut has removed: how many events, and the bytes of their chunks.

    `is_last` is true if nothing more can be cut from that segment or loose chunk now.
    """

    events: int = 0
    bytes: int = 0
    is_last: bool = False


@dataclass(slots=True)
class CutSegment:
    """A segment as it is stored, which begins later after each cut.

    `alive_ms` is when its recorder last wrote it (0: unknown). `to_archive` is true while some of
    it may have to be archived. `cut_from` is its beginning before a cut that is not finished yet.
    """

    stored: StoredSegment
    alive_ms: int
    to_archive: bool
    cut_from: int | None

    @classmethod
    def of(cls, document: Document) -> Self:
        """Return the segment that `document` stores. Raises `DamagedDocument`."""
        stored = stored_segment(document)
        to_archive = bool(document.get("to_archive"))
        alive_ms = document.get("alive_ms", 0)
        if not is_whole(alive_ms):
            raise DamagedDocument(f"segment {stored.id}: alive_ms is no whole number")
        return cls(stored, alive_ms, to_archive, document[CUT_FROM])

    @property
    def is_settled(self) -> bool:
        """Whether it has ended and is archived to its end."""
        stored = self.stored
        is_archived = stored.archived_id == stored.segment.last_id
        return not stored.running and is_archived and not self.to_archive

    def begin_at(self, front: Front, events: int, size: int) -> None:
        """Take note that it begins at `front`: by so many events and bytes later than before."""
        before = self.stored.segment
        self.cut_from = before.snapshot_id
        count = before.event_count - events
        self.stored = replace(
            self.stored,
            segment=replace(before, **front._asdict(), event_count=count),
            archived_events=self.stored.archived_events - events,
            archived_bytes=self.stored.archived_bytes - size,
            cut_events=self.stored.cut_events + events,
        )


class Front(NamedTuple):
    """Where a segment begins."""

    snapshot_id: int
    first_id: int
    first_event_ms: int

    @property
    def fields(self) -> Document:
        """The fields of its document that say so."""
        return {
            "snapshot_id": self.snapshot_id,
            "first_id": self.first_id,
            "first_time": self.first_event_ms,
        }


async def cuttable_segments(database: Database, key: str | None = None) -> list[CutSegment]:
    """Return the segments that may be cut, or the one with the id `key`, by their first time.

    A damaged one is left out, since `verify` reports it. Raises PyMongo's errors.
    """
    query: Document = {} if key is None else {"_id": key}
    found = database.collection(SEGMENTS).find(query)
    segments: list[CutSegment] = []
    for document in await found.to_list(None):
        try:
            segments.append(CutSegment.of(document))
        except DamagedDocument as error:
            _log.warning("retention skips a segment: %s", error)
    return sorted(segments, key=lambda segment: segment.stored.segment.first_event_ms)


# Decides whether a chunk is to be removed.
Wanted = Callable[[ChainLink], bool]


class SegmentCutter:
    """Cuts the segments of `database`. Its methods raise PyMongo's errors; then call them again.

    Several processes may cut one segment: only one moves the beginning, and all of them may remove
    the chunks before it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._books = Checkpoints(database)
        self._reported: set[str] = set()

    async def cut(
        self, segment: CutSegment, wanted: Wanted, at_most: int, *, whole: bool
    ) -> Removed:
        """Cut the oldest chunks of a segment, while they are `wanted`.

        The last archived chunk stays, since the raw events after it need its book. If `whole` is
        true and the segment has ended and is archived, it goes too, and the segment with it.
        """
        links = await self._front(segment, wanted, at_most)
        start_id = links[-1].last_id if links else segment.stored.segment.snapshot_id
        is_through = start_id == segment.stored.archived_id
        if is_through and whole and segment.is_settled:
            return await self._move(segment, links, _end_of(segment), is_last=True)
        if is_through and links:
            start_id = links.pop().start_id
        first = await self._link(segment.stored.id, start_id) if links else None
        if first is None:
            return Removed(is_last=True)
        front = Front(start_id, first.first_id, first.from_ms)
        return await self._move(segment, links, front, is_last=len(links) < at_most)

    async def finish(self, segment: CutSegment) -> None:
        """Remove the chunks before the beginning of a segment; an empty segment entirely."""
        if segment.cut_from is None:
            return
        key, front = segment.stored.id, segment.stored.segment.snapshot_id
        await self._drop_chunks(key, await self._walk(key, segment.cut_from, front))
        is_gone = segment.is_settled and front == segment.stored.segment.last_id
        await self._books.drop(key, None if is_gone else front - 1)
        segments = self._database.collection(SEGMENTS)
        known = {"_id": key, "snapshot_id": front, CUT_FROM: segment.cut_from}
        if is_gone:
            await segments.delete_one(known)
        else:
            await change_segment(self._database, known, lambda _: {CUT_FROM: None})
        segment.cut_from = None

    async def drop(self, segment: CutSegment) -> None:
        """Remove a settled segment, chunk by chunk from its beginning."""
        await self.finish(segment)
        while not (await self.cut(segment, lambda _: True, _CHUNKS_A_CUT, whole=True)).is_last:
            pass

    async def links(self, segment: CutSegment) -> list[ChainLink]:
        """Return the chunks of an archived segment, up to the first that is missing."""
        stored = segment.stored
        return await self._walk(stored.id, stored.segment.snapshot_id, stored.archived_id)

    async def shorten(self, segment: CutSegment, shorter: StoredSegment) -> None:
        """Store that an archived segment ends as `shorter` does; then remove what came after it."""
        before = segment.stored
        changes = progress_fields(shorter.segment, shorter.back_ms, shorter.cut_events)

        def changed(document: Document) -> Document:
            return changes | {
                "archived_id": shorter.archived_id,
                "archived_events": shorter.archived_events + document["cut_events"],
                "archived_bytes": shorter.archived_bytes + document["cut_bytes"],
            }

        known: Document = {
            "_id": before.id,
            "snapshot_id": before.segment.snapshot_id,
            "last_id": before.segment.last_id,
            "archived_id": before.archived_id,
            CUT_FROM: None,
        }
        await change_segment(self._database, known, changed)
        store = ChunkStore(self._database)
        spans = await store.spans(before.id, shorter.archived_id + 1)
        await store.drop(before.id, [start_id for start_id, _ in spans])

    async def _front(self, segment: CutSegment, wanted: Wanted, at_most: int) -> list[ChainLink]:
        """Return the first chunks, up to the first that is not wanted."""
        links: list[ChainLink] = []
        start_id = segment.stored.segment.snapshot_id
        while start_id < segment.stored.archived_id and len(links) < at_most:
            link = await self._link(segment.stored.id, start_id)
            if link is None:
                await self._report_missing(segment.stored)
            if link is None or not wanted(link):
                break
            links.append(link)
            start_id = link.last_id
        return links

    async def _move(
        self, segment: CutSegment, links: list[ChainLink], front: Front, *, is_last: bool
    ) -> Removed:
        """Store that the segment begins at `front`; then remove `links`, the chunks before it."""
        before = segment.stored.segment.snapshot_id
        events, size = sum(link.events for link in links), sum(link.bytes for link in links)
        # Not while another process removes the chunks of an earlier cut.
        known: Document = {"_id": segment.stored.id, "snapshot_id": before, CUT_FROM: None}

        def moved(document: Document) -> Document:
            return front.fields | {
                CUT_FROM: before,
                "cut_events": document["cut_events"] + events,
                "cut_bytes": document["cut_bytes"] + size,
            }

        if not await change_segment(self._database, known, moved):
            return Removed(is_last=True)
        segment.begin_at(front, events, size)
        await self.finish(segment)
        return Removed(events, size, is_last)

    async def _walk(self, key: str, start_id: int, end_id: int) -> list[ChainLink]:
        """Return the chunks from `start_id` to `end_id`, up to the first that is missing."""
        links: list[ChainLink] = []
        while start_id < end_id and (link := await self._link(key, start_id)) is not None:
            links.append(link)
            start_id = link.last_id
        return links

    async def _link(self, key: str, start_id: int) -> ChainLink | None:
        """Return the chunk that starts at `start_id`; None if it is missing or damaged."""
        chunks = self._database.collection(DEPTH_CHUNKS)
        found = await chunks.find_one({"_id": chunk_key(key, start_id)})
        data = None if found is None else found.get("data")
        if found is None or not isinstance(data, bytes):
            return None
        link = _link_of(found, len(data))
        return None if link is None or link.last_id <= start_id else link

    async def _drop_chunks(self, key: str, links: list[ChainLink]) -> None:
        from pymongo import DeleteOne  # noqa: PLC0415 (see storage.store.database)

        if not links:
            return
        gone = [DeleteOne({"_id": chunk_key(key, link.start_id)}) for link in reversed(links)]
        # In this order: the first chunk is needed to find the others, so it goes last.
        await self._database.collection(DEPTH_CHUNKS).bulk_write(gone, ordered=True)

    async def _report_missing(self, stored: StoredSegment) -> None:
        """Log once that a chunk is missing or damaged, unless another process has just cut it."""
        front = stored.segment.snapshot_id
        known = {"_id": stored.id, "snapshot_id": front, CUT_FROM: None}
        is_reported = stored.id in self._reported
        if is_reported or await self._database.collection(SEGMENTS).find_one(known) is None:
            return
        self._reported.add(stored.id)
        _log.warning(
            "%s: a chunk of the segment %s is missing or damaged, so it can't be cut; see `verify`",
            stored.segment.market,
            stored.id,
        )


async def drop_segments(database: Database, keys: set[str]) -> None:
    """Remove segments that have ended and are archived, chunk by chunk from their beginning."""
    cutter = SegmentCutter(database)
    for segment in await cuttable_segments(database) if keys else ():
        if segment.stored.id in keys:
            await cutter.drop(segment)


def _end_of(segment: CutSegment) -> Front:
    """Return the beginning of a segment from which all events were cut."""
    whole = segment.stored.segment
    return Front(whole.last_id, min(whole.last_id + 1, INT64_MAX), whole.last_event_ms)


def _link_of(document: Document, size: int) -> ChainLink | None:
    """Return the chunk of `size` bytes that `document` stores; None if it is damaged."""
    numbers = [number for name in _NUMBERS if is_whole(number := document.get(name))]
    if len(numbers) < len(_NUMBERS):
        return None
    start_id, first_id, last_id, from_ms, to_ms, events = numbers
    return ChainLink(start_id, first_id, last_id, from_ms, to_ms, events, size)
