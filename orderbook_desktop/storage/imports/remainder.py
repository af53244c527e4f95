"""The part of an import that is not stored yet: of its runs, and of its loose events.

A run is compared with the stored segments that it overlaps with: event by event, and book by book
where a segment begins. The events before, between and behind these segments become runs of their
own. Such a run ends where the next segment begins, or begins where the one before it ended.

Loose events belong to no known book. They may be part of a stored segment all the same, if the
segment's book came from another file.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence, Set
from itertools import starmap
from typing import Final

from orderbook_desktop.core.archive import (
    ArchiveChunk,
    DecodedChunk,
    decode_chunk,
    encode_loose,
    same_book,
)
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.imports.recorded_market import ImportConflict
from orderbook_desktop.storage.imports.runs import RunEncoder
from orderbook_desktop.storage.imports.spool import ByteRange, Spool, SpooledRun
from orderbook_desktop.storage.reading.segment_reader import SegmentReader
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.system.tasks import in_thread

_ID_BYTES: Final = 12

# An event's payload, and when it was received (ns since the epoch).
_EventContent = tuple[bytes, int]


class Remainder:
    """The part of `run` that is not in the segments `stored`.

    These are all the segments that the run overlaps with, in order. `chunk_done` is called after
    each chunk of the run.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        run: SpooledRun,
        stored: Sequence[StoredSegment],
        chunk_done: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._run = run
        self._stored = deque(_StoredEvents(database, segment) for segment in stored)
        self._chunk_done = chunk_done
        self._encoder: RunEncoder | None = None
        self._ranges: list[ByteRange] = []
        self._new_runs: list[SpooledRun] = []

    async def runs(self) -> list[SpooledRun]:
        """Return that part as runs whose chunks are in the spool.

        Raises `ImportConflict` if the run differs from what is stored, a `DatabaseError` of the
        spool's folder, and what reading the segments raises.
        """
        try:
            for chunk_range in self._run.ranges:
                chunk, events = await in_thread(self._opened, chunk_range)
                await self._take(chunk, events)
                self._chunk_done()
        finally:
            for stored in self._stored:
                await stored.close()
        segment = self._run.found.segment
        await in_thread(self._end, segment.end_cause or GapCause.USER, segment.end_detail)
        return self._new_runs

    def _opened(self, chunk_range: ByteRange) -> tuple[DecodedChunk, list[DepthDiff]]:
        chunk = decode_chunk(self._spool.chunk_at(chunk_range))
        return chunk, list(chunk.diffs())

    async def _take(self, chunk: DecodedChunk, events: list[DepthDiff]) -> None:
        """Compare the events of a chunk with the stored ones; encode the new ones again."""
        begin = 0
        while begin < len(events):
            known = self._stored[0] if self._stored else None
            if known is None:
                end, is_known = len(events), False
            else:
                is_known = events[begin].final_id > known.after_id
                end = _index_after(chunk, known.last_id if is_known else known.after_id)
            if end <= begin:
                # The update ids of this event reach across the beginning or end of a segment.
                raise ImportConflict(self._run.market, events[begin].final_id)
            if known is not None and is_known:
                await self._compare(known, chunk, begin, events[begin:end])
            else:
                await in_thread(self._add, chunk, begin, events[begin:end])
            begin = end

    async def _compare(
        self, known: _StoredEvents, chunk: DecodedChunk, begin: int, events: list[DepthDiff]
    ) -> None:
        """Raise `ImportConflict` unless these `events` come next in `known`."""
        if not known.has_begun:
            await in_thread(self._end, GapCause.USER, "What comes next was there already.")
            book = await known.start_book()
            if book is None or not same_book(book, chunk.book_after(begin - 1)):
                raise ImportConflict(self._run.market, events[0].final_id)
        stored = await known.take(len(events))
        if stored != list(map(_content_of, events)):
            different = (
                event
                for event, content in zip(events, stored, strict=False)
                if content != _content_of(event)
            )
            raise ImportConflict(self._run.market, next(different, events[-1]).final_id)
        if events[-1].final_id == known.last_id:
            await self._stored.popleft().close()

    def _add(self, chunk: DecodedChunk, begin: int, events: list[DepthDiff]) -> None:
        if self._encoder is None:
            book = chunk.book_after(begin - 1)
            self._encoder = RunEncoder(book, self._keep)
        for event in events:
            self._encoder.add(event)

    def _keep(self, chunk: ArchiveChunk) -> None:
        self._ranges.append(self._spool.keep(chunk))

    def _end(self, cause: GapCause, detail: str) -> None:
        """End the new run that is being encoded, if there is one."""
        encoder, self._encoder = self._encoder, None
        found = None if encoder is None else encoder.end(cause, detail)
        if found is not None:
            self._new_runs.append(SpooledRun(found, self._ranges))
        self._ranges = []


class _StoredEvents:
    """Reads the events of a stored segment in order. Call `close()` at the end."""

    def __init__(self, database: Database, stored: StoredSegment) -> None:
        self.after_id = stored.segment.snapshot_id
        self.last_id = stored.segment.last_id
        self.has_begun = False
        self._chunks: AsyncGenerator[DecodedChunk] = SegmentReader(database, stored).chunks()
        self._waiting: deque[_EventContent] = deque()

    async def start_book(self) -> BookImage | None:
        """Return the book that the segment begins with. Call it before `take`."""
        self.has_begun = True
        chunk = await self._next()
        return None if chunk is None else await in_thread(chunk.start_book)

    async def take(self, count: int) -> list[_EventContent]:
        """Return the next `count` events, or fewer at the end of the segment."""
        while len(self._waiting) < count and await self._next() is not None:
            pass
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    async def close(self) -> None:
        """Stop reading."""
        await self._chunks.aclose()

    async def _next(self) -> DecodedChunk | None:
        chunk = await anext(self._chunks, None)
        if chunk is not None:
            self._waiting.extend(await in_thread(_events_of, chunk))
        return chunk


def _events_of(chunk: DecodedChunk) -> list[_EventContent]:
    return list(zip(chunk.payloads(), chunk.numbers.received_ns.tolist(), strict=True))


def _content_of(event: DepthDiff) -> _EventContent:
    return event.payload, event.received_ns


def _index_after(chunk: DecodedChunk, update_id: int) -> int:
    """Return how many events of `chunk` have a final id up to `update_id`."""
    return int(chunk.numbers.final_ids.searchsorted(update_id, side="right"))


class NewLoose:
    """Finds the loose events in `spool` that are not stored yet. Raises PyMongo's errors."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._spool = spool
        self._store = ChunkStore(database)
        self._runs = BooklessRuns(database)

    async def find(self) -> dict[str, ByteRange]:
        """Return where the chunks of runs without a book lie in the spool, by the runs' ids.

        Raises `ImportConflict` if different events with the same update ids are stored.
        """
        found: dict[str, ByteRange] = {}
        for chunk_range in self._spool.loose:
            chunk = self._spool.chunk_at(chunk_range)
            if await self._runs.stored([await in_thread(loose_id, chunk)]):
                continue
            new = await self._new_of(chunk)
            if new and len(new) < chunk.header.event_count:
                chunk = await in_thread(encode_loose, new)
                chunk_range = await in_thread(self._spool.keep, chunk)  # noqa: PLW2901
            if new:
                found[await in_thread(loose_id, chunk)] = chunk_range
        return found

    async def _new_of(self, chunk: ArchiveChunk) -> list[DepthDiff]:
        """Return the events of `chunk` that are in no stored chunk, with a book or without.

        The same event with another receive time is another recorder's, and counts as new. Raises
        `ImportConflict` if a stored loose event has the same update id and another payload.
        """
        market = chunk.header.market
        events = await in_thread(events_in, chunk)
        known = await self._known(market, {event.final_id for event in events})
        for event in events:
            if any(other.payload != event.payload for other in known.get(event.final_id, ())):
                raise ImportConflict(market, event.final_id)
        new = [event for event in events if event not in known.get(event.final_id, ())]
        in_segments = await _in_segments(self._store, market, {event.final_id for event in new})
        return [event for event in new if event not in in_segments.get(event.final_id, ())]

    async def _known(self, market: str, ids: Set[int]) -> dict[int, list[DepthDiff]]:
        """Return the archived loose events with these final `ids`, by final id."""
        runs = [run for run in await self._runs.of(market) if run.is_archived]
        return await _events_with(
            ids,
            [
                self._store.get(run.id, run.stored.segment.snapshot_id)
                for run in runs
                if not ids.isdisjoint(run.ids)
            ],
        )


def loose_id(chunk: ArchiveChunk) -> str:
    """Return the id of the run without a book of the events in `chunk`: a digest of these."""
    digest = hashlib.blake2b(b"loose", digest_size=_ID_BYTES)
    for event in events_in(chunk):
        digest.update(event.payload)
        digest.update(event.received_ns.to_bytes(8, "little"))
    return digest.hexdigest()


async def is_in_segments(store: ChunkStore, chunk: ArchiveChunk) -> bool:
    """Return whether segments hold all events of a loose `chunk`. Raises PyMongo's errors."""
    events = await in_thread(events_in, chunk)
    ids = {event.final_id for event in events}
    known = await _in_segments(store, chunk.header.market, ids)
    return all(event in known.get(event.final_id, ()) for event in events)


async def _in_segments(store: ChunkStore, market: str, ids: Set[int]) -> dict[int, list[DepthDiff]]:
    """Return the archived events of segments with these final `ids`, by final id."""
    found = await store.holding(market, ids)
    return await _events_with(ids, starmap(store.get, found))


async def _events_with(
    ids: Set[int], chunks: Iterable[Awaitable[ArchiveChunk | None]]
) -> dict[int, list[DepthDiff]]:
    """Return the events of `chunks` with these final `ids`, by final id."""
    known: dict[int, list[DepthDiff]] = {}
    for reading in chunks:
        chunk = await reading
        for event in () if chunk is None else await in_thread(events_in, chunk):
            if event.final_id in ids:
                known.setdefault(event.final_id, []).append(event)
    return known


def events_in(chunk: ArchiveChunk) -> list[DepthDiff]:
    """Return the events of `chunk`."""
    return list(decode_chunk(chunk).diffs())
