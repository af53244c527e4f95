"""What of an imported run is not there yet, where a part of it is.

The run is held against the segments that it overlaps with, event by event, and book by book where
one of them begins. What lies before, between and behind them becomes runs of their own, from
which the next segment goes on, or which go on from the one before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

from orderbook_desktop.core.archive import ArchiveChunk, DecodedChunk, decode_chunk, same_book
from orderbook_desktop.core.checkpoint import BookImage, encode_image
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.imports.place import ImportConflict
from orderbook_desktop.storage.imports.runs import RunEncoder
from orderbook_desktop.storage.imports.spool import Place, Spool, SpooledRun
from orderbook_desktop.storage.reading.segment_reader import SegmentReader
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.segments import StoredSegment
from orderbook_desktop.system.threads import in_thread

# An event's very text, and when it was received.
_Told = tuple[bytes, int]


class Remainder:
    """What of `run` the segments `stored`, all that it overlaps with, in order, don't have.

    `told` is called after each chunk of the run.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        run: SpooledRun,
        stored: Sequence[StoredSegment],
        told: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._run = run
        self._stored = deque(_StoredEvents(database, one) for one in stored)
        self._told = told
        self._encoder: RunEncoder | None = None
        self._places: list[Place] = []
        self._found: list[SpooledRun] = []

    async def runs(self) -> list[SpooledRun]:
        """Return it, in the spool.

        Raises `ImportConflict` where the run says something else than what is stored, a
        `DatabaseError` of the spool's folder, and what reading the segments raises.
        """
        try:
            for place in self._run.places:
                chunk, events = await in_thread(self._opened, place)
                await self._take(chunk, events)
                self._told()
        finally:
            for one in self._stored:
                await one.close()
        segment = self._run.found.segment
        await in_thread(self._end, segment.end_cause or GapCause.USER, segment.end_detail)
        return self._found

    def _opened(self, place: Place) -> tuple[DecodedChunk, list[DepthDiff]]:
        chunk = decode_chunk(self._spool.chunk_at(place))
        return chunk, list(chunk.diffs())

    async def _take(self, chunk: DecodedChunk, events: list[DepthDiff]) -> None:
        """Compare the events of a chunk, or encode them anew."""
        begin = 0
        while begin < len(events):
            known = self._stored[0] if self._stored else None
            if known is None:
                end, is_known = len(events), False
            else:
                is_known = events[begin].final_id > known.after_id
                end = _index_after(chunk, known.last_id if is_known else known.after_id)
            if end <= begin:
                # An event begins inside what is stored, and goes on behind it.
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
        if stored != list(map(_told_of, events)):
            different = (
                one for one, told in zip(events, stored, strict=False) if told != _told_of(one)
            )
            raise ImportConflict(self._run.market, next(different, events[-1]).final_id)
        if events[-1].final_id == known.last_id:
            await self._stored.popleft().close()

    def _add(self, chunk: DecodedChunk, begin: int, events: list[DepthDiff]) -> None:
        if self._encoder is None:
            book = chunk.book_after(begin - 1)
            self._encoder = RunEncoder(book, encode_image(book), self._keep)
        for one in events:
            self._encoder.add(one)

    def _keep(self, chunk: ArchiveChunk) -> None:
        self._places.append(self._spool.keep(chunk))

    def _end(self, cause: GapCause, detail: str) -> None:
        """End the new run that goes on, if there is one."""
        encoder, self._encoder = self._encoder, None
        found = None if encoder is None else encoder.end(cause, detail)
        if found is not None:
            self._found.append(SpooledRun(found, self._places))
        self._places = []


class _StoredEvents:
    """The events of a stored segment, one after the other. Call `close()` in the end."""

    def __init__(self, database: Database, stored: StoredSegment) -> None:
        self.after_id = stored.segment.snapshot_id
        self.last_id = stored.segment.last_id
        self.has_begun = False
        self._chunks: AsyncGenerator[DecodedChunk] = SegmentReader(database, stored).chunks()
        self._waiting: deque[_Told] = deque()

    async def start_book(self) -> BookImage | None:
        """Return the book that it begins with; to be called before `take`."""
        self.has_begun = True
        chunk = await self._next()
        return None if chunk is None else await in_thread(chunk.start_book)

    async def take(self, count: int) -> list[_Told]:
        """Return the next `count` events, fewer where there are no more."""
        while len(self._waiting) < count and await self._next() is not None:
            pass
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    async def close(self) -> None:
        """Read no further."""
        await self._chunks.aclose()

    async def _next(self) -> DecodedChunk | None:
        chunk = await anext(self._chunks, None)
        if chunk is not None:
            self._waiting.extend(await in_thread(_events_of, chunk))
        return chunk


def _events_of(chunk: DecodedChunk) -> list[_Told]:
    return list(zip(chunk.payloads(), chunk.numbers.received_ns.tolist(), strict=True))


def _told_of(one: DepthDiff) -> _Told:
    return one.payload, one.received_ns


def _index_after(chunk: DecodedChunk, update_id: int) -> int:
    """Return how many events of `chunk` end with `update_id` or before."""
    return int(chunk.numbers.final_ids.searchsorted(update_id, side="right"))
