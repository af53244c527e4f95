"""Reads one segment, archive and raw events as one, while others archive and cut it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from orderbook_desktop.core.archive import (
    DamagedChunk,
    DecodedChunk,
    chunk_of,
    decode_chunk,
    encode_loose,
    fitting_count,
    minute_of,
)
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import TimesSeen
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.reading.ahead import (
    ChunksAhead,
    RawAhead,
    WaitingLoose,
    levels_in,
)
from orderbook_desktop.storage.reading.joined_answers import JoinedAnswers
from orderbook_desktop.storage.store.bookless import BooklessRun
from orderbook_desktop.storage.store.checkpoints import book_key
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.raw_events import own_events
from orderbook_desktop.storage.store.recording_store import (
    ChunkSpan,
    RecordingStore,
    SegmentStore,
    StoredChunk,
)
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.system.tasks import in_thread_if_long

BEFORE_ALL: Final = -1
# A chunk is a minute long, or a few minutes if the market is calm.
_MINUTES_BACK: Final = 1


class MissingEvents(DatabaseError):
    """A recorded part of `market` after the update id `after_id` is missing; `what` names it."""

    market: str
    after_id: int
    what: str

    @property
    def reason(self) -> str:
        """The missing part and its place, without the market."""
        return f"after update id {self.after_id}, {self.what} is missing"

    def __str__(self) -> str:
        return f"{self.market}: {self.reason}."


class WideEvents(DatabaseError):
    """After `after_id` of `market` no scale holds all levels of the book; `value` says which.

    An earlier version recorded such a book as if it was known. The archiver ends the segment there.
    """

    market: str
    after_id: int
    value: str

    @property
    def reason(self) -> str:
        """What is wrong, without the market."""
        return (
            f"after update id {self.after_id}, {self.value}, so the book is not known from there "
            "on; `record` or the window, once started, ends the segment there"
        )

    def __str__(self) -> str:
        return f"{self.market}: {self.reason}."


class ReadingPlace:
    """How far a reading of a segment has come; another reader of the segment can go on from there.

    `at` is the last update id that was read. `link` is where the next archived chunk starts, or the
    archive ends. It is less than `at` if events were archived after they had been read raw.
    `latest` is the last chunk that was read; None at the beginning.
    """

    def __init__(
        self, at: int, link: int | None = None, latest: DecodedChunk | None = None
    ) -> None:
        self.at = at
        self.link = at if link is None else link
        self.latest = latest

    def move_to(self, update_id: int) -> None:
        """Continue at a later chunk."""
        if update_id > self.at:
            self.at, self.latest = update_id, None
        self.link = update_id


class SegmentReader:
    """Reads the segment `stored`, to the end that it had when `stored` was read.

    Raw events become chunks on the way, so that the whole segment is read as chunks.
    `archived_bytes` and `raw_bytes` count what has been read: packed chunks, and event texts.
    Readers of many segments of a market share one `waiting`.
    """

    def __init__(
        self,
        place: Database | SegmentStore,
        stored: StoredSegment,
        waiting: WaitingLoose | None = None,
    ) -> None:
        self._store = store_of(place)
        self._stored = stored
        self._waiting = waiting or WaitingLoose(self._store, stored.segment.market)
        self._answers = JoinedAnswers(self._store, stored.segment.market)
        self._last_id = stored.segment.last_id
        self._base: tuple[int, BookImage] | None = None
        self.archived_bytes = 0
        self.raw_bytes = 0

    @property
    def stored(self) -> StoredSegment:
        """The segment as it was read last; it may have been cut, or archived further."""
        return self._stored

    async def chunks(self, start: int | ReadingPlace | None = None) -> AsyncGenerator[DecodedChunk]:
        """Iterate over the chunks from the one at the id `start`, or from a place that was reached.

        None: from the first one. A place moves on with each chunk. Each chunk starts where the one
        before it ends, unless retention has just cut the next one.
        Raises what the store raises, `MissingEvents`, `DamagedChunk`, `DamagedDocument`,
        `MalformedMessage` and `WideEvents`. Close the generator.
        """
        if not isinstance(start, ReadingPlace):
            start = ReadingPlace(self._stored.segment.snapshot_id if start is None else start)
        reading = start
        archive = ChunksAhead(self._store, self._stored)
        raw = RawAhead(self._store, self._stored.segment.market, self._last_id)
        try:
            while reading.at < self._last_id:
                if reading.link >= self._stored.archived_id:
                    chunk = await self._raw_chunk(reading, raw)
                else:
                    end_id = min(self._stored.archived_id, self._last_id)
                    packed = await archive.take(reading.link, end_id)
                    chunk = await self._archived_chunk(reading, packed)
                if chunk is not None:
                    yield chunk
        finally:
            await archive.close()
            await raw.close()

    async def start_near(self, event_ms: int) -> int | None:
        """Return the start id of an archived chunk from which to read for the time `event_ms`.

        The chunk begins at `event_ms` or shortly before, and all events before the chunk are at
        `event_ms` or before. None if no such chunk is found, for example because times go back.
        Raises what the store raises.
        """
        segment, back_ms = self._stored.segment, self._stored.back_ms
        # All events before an event of `until_ms` are at `event_ms` or before, by how far times go
        # back.
        until_ms = event_ms - (back_ms or 0)
        latest, back = minute_of(until_ms), _MINUTES_BACK
        while latest >= minute_of(segment.first_event_ms):
            found = await self._store.chunk_spans(segment.market, latest - back, latest)
            mine = {span.last_id: span for span in found if self._is_committed(span)}
            starts = [span.start_id for span in mine.values() if span.from_event_ms <= until_ms]
            for start_id in sorted(starts, reverse=True):
                if back_ms is not None or await self._is_after_all_before(start_id, event_ms, mine):
                    return start_id
            latest, back = latest - back - 1, back * 8
        return None

    def _is_committed(self, span: ChunkSpan) -> bool:
        """Whether a chunk is in the segment's archive, and no leftover; it may be damaged."""
        begin, end = self._stored.segment.snapshot_id, self._stored.archived_id
        return span.segment_id == self._stored.id and begin <= span.start_id < end

    async def _is_after_all_before(
        self, start_id: int, event_ms: int, known: Mapping[int, ChunkSpan]
    ) -> bool:
        """Whether the chunk before the one at `start_id`, if any, ends before `event_ms`.

        `known` are the spans of chunks, by last id.
        """
        if start_id == self._stored.segment.snapshot_id:
            return True
        before = known.get(start_id)
        if before is None:
            before = await self._store.chunk_span_ending_at(self._stored.id, start_id)
        if before is None or not self._is_committed(before):
            # It was just cut, or is damaged; the chunks after it can be read nevertheless.
            return True
        return before.to_event_ms < event_ms

    async def base_book(self) -> BookImage:
        """Return the book with which the segment begins, if its first events are not archived.

        Raises what the store raises, `MissingEvents`, `DamagedDocument` and `MalformedMessage`.
        """
        segment = self._stored.segment
        if self._base is not None and self._base[0] == segment.snapshot_id:
            return self._base[1]
        if not self._stored.has_base:
            return await self._book_before(segment.snapshot_id)
        book = await self._store.book(book_key(self._stored.id, segment.snapshot_id))
        if book is None or book.segment_id != self._stored.id or book.is_base is not True:
            raise MissingEvents(segment.market, segment.snapshot_id, "the book it begins with")
        self._base = segment.snapshot_id, await in_thread_if_long(levels_in(book), book.unpack)
        return self._base[1]

    async def _book_before(self, update_id: int) -> BookImage:
        """Return the book of a segment that begins where a chunk of another segment ends."""
        market = self._stored.segment.market
        packed = await self._store.chunk_ending_at(market, update_id)
        if packed is None:
            raise MissingEvents(market, update_id, "the book it begins with")
        chunk = await asyncio.to_thread(_unpacked, packed)
        book = await self._answers.book_after(chunk)
        self._base = update_id, book
        return book

    async def book_after(self, chunk: DecodedChunk) -> BookImage:
        """Return the book after `chunk`, with the answers of the exchange that were joined there.

        Raises what the store raises, and `DamagedChunk`.
        """
        return await self._answers.book_after(chunk)

    async def horizon(self) -> Horizon | None:
        """Return how deep the segment's books are known, by the book that it begins with.

        An earlier version stored no horizon in its chunks. It stored an answer of the exchange,
        known to its last level, without a time. It is not known how deep a copy of another book is
        known, which has a time, nor what the first book of a cut segment was: then this is None.
        Raises as `base_book` does, and `DamagedChunk`.
        """
        if self._stored.has_base:
            return (await self.base_book()).horizon
        if self._stored.cut_events:
            return None
        start_id = self._stored.segment.snapshot_id
        packed = await self._store.chunk(self._stored.id, start_id)
        if packed is None:
            return None
        chunk = await asyncio.to_thread(_opened, packed, start_id)
        book = await asyncio.to_thread(chunk.start_book)
        return None if book.event_ms else _to_last_levels(book)

    async def _raw_chunk(self, reading: ReadingPlace, raw: RawAhead) -> DecodedChunk | None:
        """Return the next raw events as a chunk; None if they have been archived meanwhile."""
        events = await self._next_raw(reading.at, raw)
        if not events:
            await self._look_again(reading, "an event")
            return None
        joined_here, count = await self._answers.among(reading.at, events)
        events = events[:count]
        if reading.latest is None:
            book = await self.base_book()
        else:
            book = await self._answers.book_after(reading.latest, joined_here)
        levels = sum(len(event.bids) + len(event.asks) for event in events)
        levels += len(book.bids.prices) + len(book.asks.prices)
        try:
            reading.latest = await in_thread_if_long(levels, _chunk_of, book, events)
        except InexactValue as error:
            market = self._stored.segment.market
            raise WideEvents(market, reading.at, error.reason) from error
        reading.at = reading.latest.header.coverage.last_id
        sizes = (len(event.payload) for event in events if event.final_id <= reading.at)
        self.raw_bytes += sum(sizes)
        return reading.latest

    async def _next_raw(self, after_id: int, raw: RawAhead) -> list[DepthDiff]:
        """Return the next raw events of the segment, without loose events among them."""
        listed = await self._waiting.ids()
        found: list[DepthDiff] = []
        last_id = after_id
        while last_id < self._last_id:
            more = await raw.after(last_id)
            found += more
            if not more or more[-1].final_id >= self._last_id:
                break
            last_id = more[-1].final_id
            # Whether listed events at the end belong to the segment is known from later events.
            known = max(
                (at for at, event in enumerate(found, 1) if event.final_id not in listed), default=0
            )
            if known:
                return own_events(after_id, found[:known], listed)
        return own_events(after_id, found, listed)

    async def _archived_chunk(
        self, reading: ReadingPlace, packed: StoredChunk | None
    ) -> DecodedChunk | None:
        """Return the events of the archived chunk `packed` that were not read yet; None if none."""
        if packed is None:
            await self._look_again(reading, "an archived minute")
            return None
        chunk, part = await in_thread_if_long(
            levels_in(packed), _opened_part, packed, reading.link, reading.at, self._last_id
        )
        self.archived_bytes += packed.size
        reading.link = chunk.header.coverage.last_id
        if part is not None:
            reading.latest = part
            reading.at = part.header.coverage.last_id
        return part

    async def _look_again(self, reading: ReadingPlace, what: str) -> None:
        """Find out why `what` is missing. Returns if it was archived or cut; else raises."""
        market, before = self._stored.segment.market, self._stored
        now = await self._store.segment(before.id)
        if now is None:
            # Retention has cut the whole segment, or it was deleted.
            raise MissingEvents(market, reading.at, "the rest of the recording")
        self._stored = now
        if now.segment.snapshot_id > reading.link:
            reading.move_to(now.segment.snapshot_id)
        elif now.archived_id <= before.archived_id:
            raise MissingEvents(market, reading.at, what)


async def times_of(place: Database | RecordingStore, stored: StoredSegment) -> TimesSeen:
    """Return the latest time of the events of `stored`, and how far times went back."""
    times: TimesSeen | None = None
    async with aclosing(SegmentReader(place, stored).chunks()) as chunks:
        async for chunk in chunks:
            times = times or TimesSeen(chunk.start_event_ms)
            for event_ms in chunk.numbers.event_ms.tolist():
                times = times.and_then(event_ms)
    return times or TimesSeen(stored.segment.first_event_ms)


async def read_bookless(store: RecordingStore, run: BooklessRun) -> DecodedChunk | None:
    """Return the events of a run without a book, also while it is archived; None if none is there.

    Raises what the store raises, `DamagedChunk`, `DamagedDocument` and `MalformedMessage`.
    """
    segment = run.stored.segment
    if not run.is_archived:
        events = await store.events(segment.market, run.ids)
        runs = await store.bookless(segment.market) if len(events) < len(run.ids) else ()
        archived = next((now for now in runs if now.id == run.id and now.is_archived), None)
        if archived is None:
            return await asyncio.to_thread(_loose_chunk, events) if events else None
    packed = await store.chunk(run.id, segment.snapshot_id)
    return None if packed is None else await asyncio.to_thread(_unpacked, packed)


def _to_last_levels(book: BookImage) -> Horizon:
    known_from, known_to = (
        int(levels.prices[-1]) if len(levels.prices) else None for levels in (book.bids, book.asks)
    )
    return Horizon(known_from, known_to, book.scale.price)


def _loose_chunk(events: Sequence[DepthDiff]) -> DecodedChunk:
    return decode_chunk(encode_loose(events))


def _unpacked(packed: StoredChunk) -> DecodedChunk:
    return decode_chunk(packed.unpack())


def _opened(packed: StoredChunk, start_id: int) -> DecodedChunk:
    chunk = decode_chunk(packed.unpack())
    # Else a reader might read in a circle.
    if chunk.header.start_id != start_id or chunk.header.coverage.last_id <= start_id:
        raise DamagedChunk("it does not follow the one before it")
    return chunk


def _opened_part(
    packed: StoredChunk, start_id: int, after_id: int, last_id: int
) -> tuple[DecodedChunk, DecodedChunk | None]:
    """Return the chunk `packed`, and `_part_of` it."""
    chunk = _opened(packed, start_id)
    return chunk, _part_of(chunk, after_id, last_id)


def _part_of(chunk: DecodedChunk, after_id: int, last_id: int) -> DecodedChunk | None:
    """Return a chunk of the events after `after_id` to `last_id`; None if there are none."""
    final_ids = chunk.numbers.final_ids
    begin, end = (int(final_ids.searchsorted(u, side="right")) for u in (after_id, last_id))
    if begin == 0 and end == len(final_ids):
        return chunk
    if begin >= end:
        return None
    return _chunk_of(chunk.book_after(begin + BEFORE_ALL), list(chunk.diffs())[begin:end])


def _chunk_of(start: BookImage, events: Sequence[DepthDiff]) -> DecodedChunk:
    """Return the chunk of `events`, or of as many of them as one scale holds."""
    count = max(1, fitting_count(start, events))
    return chunk_of(start, events[:count])
