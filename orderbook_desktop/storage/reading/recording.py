"""The recording of one market: its events in order, its book at any time, and its summary."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.archive import (
    ChunkSlice,
    DecodedChunk,
)
from orderbook_desktop.core.archive.verify import first_crossing
from orderbook_desktop.core.checkpoint import BookImage, is_crossed
from orderbook_desktop.core.errors import BugError, KnownError
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Cover, Gap, Timeline, timeline_of
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.reading.ahead import WaitingLoose
from orderbook_desktop.storage.reading.segment_reader import (
    BEFORE_ALL,
    ReadingPlace,
    SegmentReader,
    read_bookless,
)
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.system.tasks import in_thread_if_long

_log = logging.getLogger(__name__)

__all__ = ["NotCovered", "Recording", "StoredSegment", "recorded_markets"]

# Retention may cut the recording while a book is read.
_ATTEMPTS: Final = 3


class NotCovered(DatabaseError):
    """The book of `market` at `event_ms` is unknown, because of `gap`; None: beyond either end."""

    market: str
    event_ms: int
    gap: Gap | None

    def __str__(self) -> str:
        reason = "the recording doesn't reach there" if self.gap is None else self.gap.sentence
        return f"The book of {self.market} at {time_text(self.event_ms)} is not known: {reason}."


class CrossedRecording(DatabaseError):
    """A bid reaches an ask after the event `update_id` of `market`, at `event_ms`.

    An earlier version of the program recorded such a book as if it were true.
    """

    market: str
    update_id: int
    event_ms: int

    def __str__(self) -> str:
        return (
            f"The book of {self.market} is crossed at {time_text(self.event_ms)}, update id "
            f"{self.update_id}: from there to the end of its segment the book is not known; read "
            "the time before, or after that segment."
        )


class Recording:
    """The recording of `market` in a database or another store, as it is at each call.

    Other processes may record, archive and cut it meanwhile. All methods raise what the store
    raises (for a database PyMongo's errors), and `MissingEvents`, `DamagedChunk`,
    `DamagedDocument` or `MalformedMessage` if a part is missing or damaged. Methods that return
    books or events also raise `CrossedRecording`, and `WideEvents` if no scale can hold the
    values. Generators have to be closed (`aclosing`).
    """

    def __init__(self, place: Database | RecordingStore, market: str) -> None:
        self._store = store_of(place)
        self.market = market
        # The horizon of each segment that was read, by its id and how much of it was cut.
        self._horizons: dict[tuple[str, int], Horizon | None] = {}

    async def segments(self) -> list[StoredSegment]:
        """Return the segments, in order of their first update id."""
        return await self._store.segments(self.market)

    async def timeline(self) -> Timeline:
        """Return the covers and gaps from the first event to the last."""
        return await read_timeline(self._store, self.market, await self.segments())

    async def chunks(
        self, segment: StoredSegment, place: ReadingPlace | None = None
    ) -> AsyncGenerator[DecodedChunk]:
        """Iterate over a segment, to the end that it had when `segment` was read.

        It begins at `place`, which moves on with each chunk, or at the beginning. Each chunk starts
        where the one before it ends, unless retention has just cut the next one.
        """
        async with aclosing(self._chunks_of(SegmentReader(self._store, segment), place)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _chunks_of(
        self, reader: SegmentReader, start: int | ReadingPlace | None = None
    ) -> AsyncGenerator[DecodedChunk]:
        """Iterate over the chunks of a segment as its reader does, with their horizon."""
        async with aclosing(reader.chunks(start)) as chunks:
            async for chunk in chunks:
                is_earlier = chunk.header.schema_version == 1
                horizon = await self._horizon_of(reader) if is_earlier else chunk.horizon
                yield replace(chunk, horizon=horizon) if is_earlier else chunk

    async def _horizon_of(self, reader: SegmentReader) -> Horizon | None:
        """Return how deep the books of a segment are known, from the book that it begins with."""
        key = reader.stored.id, reader.stored.cut_events
        if key not in self._horizons:
            try:
                self._horizons[key] = await reader.horizon()
            except KnownError as error:
                # Reading on, or `verify`, reports the damage. It may have been cut just now.
                _log.info("%s: it is not known how deep a book is known: %s", self.market, error)
                return None
        return self._horizons[key]

    async def slices(
        self, from_ms: int | None = None, to_ms: int | None = None
    ) -> AsyncGenerator[ChunkSlice]:
        """Iterate over the events from `from_ms` to before `to_ms`, each of them once.

        None: from the first stored event, or to the last one. An event whose time goes back counts
        as late as the latest one before it.
        """
        async with aclosing(self.covered_slices(from_ms, to_ms)) as slices:
            async for _, part in slices:
                yield part

    async def covered_slices(
        self, from_ms: int | None = None, to_ms: int | None = None
    ) -> AsyncGenerator[tuple[Cover, ChunkSlice]]:
        """Iterate over what `slices` gives, each slice with the cover that it belongs to."""
        segments = await self.segments()
        by_id = {stored.id: stored for stored in segments}
        waiting = WaitingLoose(self._store, self.market)
        is_continued = False
        for cover in _timeline(segments).covers:
            if not _meets(cover, from_ms, to_ms):
                continue
            opens = not (cover.continues and is_continued)
            reader = SegmentReader(self._store, by_id[cover.segment_id], waiting)
            slices = self._slices_of(cover, reader, from_ms, to_ms, opens=opens)
            async with aclosing(slices):
                async for part in slices:
                    is_continued = True
                    yield cover, part

    async def loose(self) -> AsyncGenerator[DecodedChunk]:
        """Iterate over the loose events, run by run."""
        for run in await self._store.bookless(self.market):
            chunk = await read_bookless(self._store, run)
            if chunk is not None:
                yield chunk

    async def book_at(self, event_ms: int) -> BookImage:
        """Return the book after the last event up to `event_ms`. Raises `NotCovered`."""
        before: list[StoredSegment] = []
        for _ in range(_ATTEMPTS):
            segments = await self.segments()
            stretch = _timeline(segments).at(event_ms)
            if not isinstance(stretch, Cover):
                raise NotCovered(self.market, event_ms, await self._gap_at(segments, event_ms))
            try:
                stored = next(segment for segment in segments if segment.id == stretch.segment_id)
                book = await self._book_in(stored, event_ms)
            except KnownError:
                if segments == before:
                    raise
                before = segments
            else:
                if is_crossed(book):
                    raise CrossedRecording(self.market, book.last_update_id, book.event_ms)
                return book
        raise NotCovered(self.market, event_ms, None)

    async def _gap_at(self, segments: list[StoredSegment], event_ms: int) -> Gap | None:
        timeline = await read_timeline(self._store, self.market, segments)
        stretch = timeline.at(event_ms)
        return stretch if isinstance(stretch, Gap) else None

    async def _book_in(self, stored: StoredSegment, event_ms: int) -> BookImage:
        reader = SegmentReader(self._store, stored)
        start_id = await reader.start_near(event_ms)
        latest: DecodedChunk | None = None
        async with aclosing(self._chunks_of(reader, start_id)) as chunks:
            async for chunk in chunks:
                index = chunk.last_until(event_ms)
                if index == BEFORE_ALL and latest is not None:
                    return await reader.book_after(latest)
                if index < chunk.header.event_count - 1:
                    return chunk.book_after(index)
                latest = chunk
        if latest is None:
            raise BugError(f"segment {stored.id} covers a time without events")
        return latest.final_book()

    async def _slices_of(
        self,
        cover: Cover,
        reader: SegmentReader,
        from_ms: int | None,
        to_ms: int | None,
        *,
        opens: bool,
    ) -> AsyncGenerator[ChunkSlice]:
        """Iterate over the slices of one cover. If `opens`, the first slice opens a run.

        If times go back, an event from before the cover gets the time of the cover's beginning.
        """
        if from_ms is not None and from_ms <= cover.from_ms:
            from_ms = None
        start_id = None
        if from_ms is not None:
            start_id = await reader.start_near(from_ms - 1)
        elif cover.after_id > reader.stored.segment.snapshot_id:
            near = await reader.start_near(cover.from_ms)
            # If times go back, the chunk of this id may lie further back.
            start_id = near if near is not None and near <= cover.after_id else None
        reached = cover.after_id if not opens else None
        async with aclosing(self._chunks_of(reader, start_id)) as chunks:
            async for chunk in chunks:
                begin, end = _part(chunk, cover.after_id, from_ms, to_ms)
                was_cut = reached is not None and (chunk.header.start_id or 0) > reached
                reached = chunk.header.coverage.last_id
                if begin < chunk.header.event_count and (begin < end or opens):
                    await asyncio.to_thread(_check_uncrossed, chunk, begin, end)
                    yield ChunkSlice(chunk, begin, max(begin, end), opens or was_cut)
                    opens = False
                if begin < chunk.header.event_count:
                    # All later events get at least this time, even if their own times are earlier.
                    from_ms = None
                if end < chunk.header.event_count:
                    return


async def recorded_markets(place: Database | RecordingStore) -> list[str]:
    """Return the recorded markets, by name. Raises what the store raises."""
    return await store_of(place).markets()


def _check_uncrossed(chunk: DecodedChunk, begin: int, end: int) -> None:
    """Raise `CrossedRecording` if an event before the index `end` crossed the book."""
    index = first_crossing(chunk)
    if index is not None and begin < end and index < end:
        numbers = chunk.numbers
        event_ms, update_id = int(numbers.event_ms[index]), int(numbers.final_ids[index])
        raise CrossedRecording(chunk.header.market, update_id, event_ms)


def _timeline(segments: list[StoredSegment]) -> Timeline:
    return timeline_of((stored.id, stored.segment) for stored in segments)


def _meets(cover: Cover, from_ms: int | None, to_ms: int | None) -> bool:
    return (from_ms is None or cover.to_ms >= from_ms) and (to_ms is None or cover.from_ms < to_ms)


def _part(
    chunk: DecodedChunk, after_id: int, from_ms: int | None, to_ms: int | None
) -> tuple[int, int]:
    """Return the indices of the wanted events of `chunk`: first, and after the last."""
    begin = int(chunk.numbers.final_ids.searchsorted(after_id, side="right"))
    if from_ms is not None:
        begin = max(begin, chunk.last_until(from_ms - 1) + 1)
    end = chunk.header.event_count if to_ms is None else chunk.last_until(to_ms - 1) + 1
    return begin, end


async def count_repeated(store: RecordingStore, segments: Iterable[StoredSegment]) -> int:
    """Return how many events two of a market's `segments` hold, as two recorders write them.

    The archive holds each event once, so only raw events are in two segments. Raises PyMongo's
    errors.
    """
    count, reached = 0, 0
    known = [stored.segment for stored in segments if stored.segment.event_count]
    for segment in sorted(known, key=lambda segment: (segment.snapshot_id, -segment.last_id)):
        if segment.snapshot_id < reached:
            last_id = min(reached, segment.last_id)
            count += await store.count_raw(segment.market, segment.snapshot_id, last_id)
        reached = max(reached, segment.last_id)
    return count


async def read_timeline(
    store: RecordingStore, market: str, segments: Sequence[StoredSegment]
) -> Timeline:
    """Return the timeline of `market`, whose segments are `segments`. Raises PyMongo's errors."""
    # Thousands of segments would keep the event loop, which also paints the window.
    known, last_id = await in_thread_if_long(len(segments), _known_of, segments)
    if not known:
        return timeline_of(())
    loose_end = await store.loose_end(market, last_id)
    return await asyncio.to_thread(timeline_of, known, loose_end)


def _known_of(segments: Sequence[StoredSegment]) -> tuple[list[tuple[str, Segment]], int]:
    """Return the segments that have events, each with its id, and their last update id."""
    known = [(stored.id, stored.segment) for stored in segments if stored.segment.event_count]
    return known, max((segment.last_id for _, segment in known), default=0)


async def books_at(recording: Recording, times_ms: Iterable[int]) -> AsyncGenerator[BookImage]:
    """Iterate over the books at `times_ms`: each after the last event up to that time.

    Before it reads events it raises `ValueError` if the times don't ascend, and `NotCovered` for
    the first time at which the book isn't known. Raises what reading the recording raises.
    """
    times = list(times_ms)
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("the times of books have to ascend")
    timeline = await recording.timeline()
    for time in times:
        stretch = timeline.at(time)
        if not isinstance(stretch, Cover):
            raise NotCovered(recording.market, time, stretch)
    if not times:
        return
    seeker = _Seeker(times)
    async with aclosing(recording.slices(times[0], times[-1] + 1)) as slices:
        async for part in slices:
            for book in await asyncio.to_thread(list, seeker.within(part)):
                yield book
    for book in await asyncio.to_thread(list, seeker.rest()):
        yield book


class _Seeker:
    """Finds the books, slice by slice. A book is final once an event after its time has come."""

    def __init__(self, times: list[int]) -> None:
        self._times = deque(times)
        self._before: ChunkSlice | None = None

    def within(self, part: ChunkSlice) -> Iterator[BookImage]:
        while self._times:
            index = min(part.chunk.last_until(self._times[0]), part.end - 1)
            if index == part.end - 1 and index >= part.begin:
                break
            self._times.popleft()
            if index >= part.begin:
                yield part.chunk.book_after(index)
            elif part.opens and self._before is not None:
                yield self._before.final_book()
            else:
                yield part.start_book()
        self._before = part

    def rest(self) -> Iterator[BookImage]:
        """Iterate over the books at times after which no event came."""
        if self._before is not None:
            for _ in self._times:
                yield self._before.final_book()
