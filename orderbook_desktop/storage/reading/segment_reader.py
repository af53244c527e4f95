"""Reads one segment, archive and raw events as one, while others archive and cut it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orderbook_desktop.core.archive import (
    DamagedChunk,
    DecodedChunk,
    decode_chunk,
    encode_chunk,
    minute_of,
)
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.checkpoints import book_key
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.raw_events import own_events
from orderbook_desktop.storage.store.recording_store import (
    ChunkSpan,
    RecordingStore,
    StoredChunk,
    store_of,
)
from orderbook_desktop.storage.store.segments import StoredSegment

BEFORE_ALL: Final = -1
# A chunk is a minute long, or a few where the market is calm.
_MINUTES_BACK: Final = 1


@dataclass(eq=False)
class MissingEvents(DatabaseError):
    """Of `market`, what follows update id `after_id` was recorded and is not there."""

    market: str
    after_id: int
    what: str

    @property
    def reason(self) -> str:
        """What is missing, and where, without the market."""
        return f"after update id {self.after_id}, {self.what} is missing"

    def __str__(self) -> str:
        return f"{self.market}: {self.reason}."


class SegmentReader:
    """Reads the segment `stored` as far as it was known when that was read.

    What is not archived is encoded and decoded on the way, so that all of it is chunks.
    `archived_bytes` and `raw_bytes` count what has been read: packed chunks, and event texts.
    """

    def __init__(self, place: Database | RecordingStore, stored: StoredSegment) -> None:
        self._store = store_of(place)
        self._stored = stored
        self._last_id = stored.segment.last_id
        self.archived_bytes = 0
        self.raw_bytes = 0

    @property
    def stored(self) -> StoredSegment:
        """The segment as it was read last: it may have been cut, or archived further."""
        return self._stored

    async def chunks(self, start_id: int | None = None) -> AsyncGenerator[DecodedChunk]:
        """Iterate over the chunks from the one that starts at `start_id` (default: the first).

        Each starts where the one before it ends, but where retention has meanwhile cut what
        comes next. Raises what the store raises, `MissingEvents`, `DamagedChunk`,
        `DamagedDocument`, `MalformedMessage` and `InexactValue`. Close it.
        """
        reading = _Reading(self._stored.segment.snapshot_id if start_id is None else start_id)
        ahead: asyncio.Task[StoredChunk | None] | None = None
        try:
            while reading.at < self._last_id:
                if reading.link >= self._stored.archived_id:
                    chunk = await self._raw_chunk(reading)
                else:
                    packed = await (ahead or self._fetched(reading.link))
                    ahead = self._ahead_of(packed)
                    chunk = await self._archived_chunk(reading, packed)
                if chunk is not None:
                    yield chunk
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def start_near(self, event_ms: int) -> int | None:
        """Return where a late archived chunk starts before which nothing is after `event_ms`.

        It begins at `event_ms` or before. None where there is none, or none is found since
        times go back. Raises what the store raises.
        """
        segment, back_ms = self._stored.segment, self._stored.back_ms
        # What comes before an event of then is not after `event_ms`, wherever times go back.
        until_ms = event_ms - (back_ms or 0)
        latest, back = minute_of(until_ms), _MINUTES_BACK
        while latest >= minute_of(segment.first_event_ms):
            found = await self._store.chunk_spans(segment.market, latest - back, latest)
            mine = {one.last_id: one for one in found if self._is_its(one)}
            starts = [one.start_id for one in mine.values() if one.from_event_ms <= until_ms]
            for start_id in sorted(starts, reverse=True):
                if back_ms is not None or await self._is_after_all_before(start_id, event_ms, mine):
                    return start_id
            latest, back = latest - back - 1, back * 8
        return None

    def _is_its(self, chunk: ChunkSpan) -> bool:
        """Whether a chunk is in the archive of the segment. A damaged one is found on the way."""
        begin, end = self._stored.segment.snapshot_id, self._stored.archived_id
        return chunk.segment_id == self._stored.id and begin <= chunk.start_id < end

    async def _is_after_all_before(
        self, start_id: int, event_ms: int, known: Mapping[int, ChunkSpan]
    ) -> bool:
        """Whether the chunk before the one at `start_id`, if any, ends before `event_ms`.

        `known` are chunks by their last id.
        """
        if start_id == self._stored.segment.snapshot_id:
            return True
        before = known.get(start_id)
        if before is None:
            before = await self._store.chunk_span_ending_at(self._stored.id, start_id)
        if before is None or not self._is_its(before):
            # It was cut just now, or is damaged: what comes after it can be read nevertheless.
            return True
        return before.to_event_ms < event_ms

    async def base_book(self) -> BookImage:
        """Return the book that the segment begins with, of its base checkpoint.

        Raises what the store raises, `MissingEvents`, `DamagedDocument` and `MalformedMessage`.
        """
        segment = self._stored.segment
        book = await self._store.book(book_key(self._stored.id, segment.snapshot_id))
        if book is None or book.segment_id != self._stored.id or book.is_base is not True:
            raise MissingEvents(segment.market, segment.snapshot_id, "the book it begins with")
        return await asyncio.to_thread(book.unpack)

    async def _raw_chunk(self, reading: _Reading) -> DecodedChunk | None:
        """Return the next raw events as a chunk, or None where they are raw no more."""
        events = await self._next_raw(reading.at)
        if not events:
            await self._look_again(reading, "an event")
            return None
        book = await self.base_book() if reading.latest is None else reading.latest.final_book()
        reading.latest = await asyncio.to_thread(_chunk_of, book, events)
        self.raw_bytes += sum(len(event.payload) for event in events)
        reading.at = reading.latest.header.coverage.last_id
        return reading.latest

    async def _next_raw(self, after_id: int) -> list[DepthDiff]:
        """Return the next raw events of the segment, without loose ones that lie among them."""
        market = self._stored.segment.market
        lists = await self._store.loose_lists(market, waiting=True)
        listed = {update_id for one in lists for update_id in one.ids}
        found: list[DepthDiff] = []
        reached = after_id
        while reached < self._last_id:
            more = await self._store.events_after(market, reached, self._last_id)
            found += more
            if not more or more[-1].final_id >= self._last_id:
                break
            reached = more[-1].final_id
            # What the last ones are shows in what follows them.
            known = max(
                (at for at, one in enumerate(found, 1) if one.final_id not in listed), default=0
            )
            if known:
                return own_events(after_id, found[:known], listed)
        return own_events(after_id, found, listed)

    async def _archived_chunk(
        self, reading: _Reading, packed: StoredChunk | None
    ) -> DecodedChunk | None:
        """Return what is new in the archived chunk `packed`, or None if nothing is."""
        if packed is None:
            await self._look_again(reading, "an archived minute")
            return None
        chunk = await asyncio.to_thread(_opened, packed, reading.link)
        self.archived_bytes += packed.size
        reading.link = chunk.header.coverage.last_id
        part = await asyncio.to_thread(_part_of, chunk, reading.at, self._last_id)
        if part is not None:
            reading.latest = part
            reading.at = part.header.coverage.last_id
        return part

    async def _look_again(self, reading: _Reading, what: str) -> None:
        """Find out why something isn't where it was: archived, cut, or lost."""
        market, before = self._stored.segment.market, self._stored
        now = await self._store.segment(before.id)
        if now is None:
            # All of it was cut away, or somebody has deleted it.
            raise MissingEvents(market, reading.at, "the rest of the recording")
        self._stored = now
        if now.segment.snapshot_id > reading.link:
            reading.move_to(now.segment.snapshot_id)
        elif now.archived_id <= before.archived_id:
            raise MissingEvents(market, reading.at, what)

    def _ahead_of(self, packed: StoredChunk | None) -> asyncio.Task[StoredChunk | None] | None:
        """Begin to fetch the chunk that follows while this one is being read."""
        last_id = None if packed is None else packed.last_id
        if last_id is not None and last_id < min(self._stored.archived_id, self._last_id):
            return asyncio.create_task(self._fetched(last_id), name="chunk ahead")
        return None

    async def _fetched(self, start_id: int) -> StoredChunk | None:
        return await self._store.chunk(self._stored.id, start_id)


class _Reading:
    """How far a reader has come.

    `at` is the last update id that was handed out. At `link` a chunk starts, or the archive
    ends; it is less than `at` where events were archived after they had been read raw.
    `latest` is the chunk that was handed out last; None at the beginning.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.link = at
        self.latest: DecodedChunk | None = None

    def move_to(self, update_id: int) -> None:
        """Go on from a later chunk."""
        if update_id > self.at:
            self.at, self.latest = update_id, None
        self.link = update_id


def _opened(packed: StoredChunk, start_id: int) -> DecodedChunk:
    chunk = decode_chunk(packed.unpack())
    # Else a reader would go round in a circle.
    if chunk.header.start_id != start_id or chunk.header.coverage.last_id <= start_id:
        raise DamagedChunk("it does not follow the one before it")
    return chunk


def _part_of(chunk: DecodedChunk, after_id: int, last_id: int) -> DecodedChunk | None:
    """Return the chunk of the events after `after_id` through `last_id`; None if there are none."""
    final_ids = chunk.numbers.final_ids
    begin, end = (int(final_ids.searchsorted(one, side="right")) for one in (after_id, last_id))
    if begin == 0 and end == len(final_ids):
        return chunk
    if begin >= end:
        return None
    return _chunk_of(chunk.book_after(begin + BEFORE_ALL), list(chunk.diffs())[begin:end])


def _chunk_of(start: BookImage, events: Sequence[DepthDiff]) -> DecodedChunk:
    return decode_chunk(encode_chunk(start, events))
