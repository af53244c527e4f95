"""Joins what was imported apart: events without a book, and the run that ends where they begin.

A file may hold the events of a day and no book, as its collector was not restarted at midnight, or
a book that came only after the first events. Such events are loose, until a run ends with the
update id before them: of this import, or stored. Then they continue that run, in any order of the
imports. A run whose own book lies inside an event of the continued run is taken into it. A run that
an import wrote is written anew with what continues it, so that the recording is the same, byte for
byte, as if the files had been imported together. What continues a recorded run, or an imported
one of many events, is a run of its own that begins where that one ends.

A kill between the commit of such a run and the removal of what it replaces leaves that stored
twice; `drop_repeated` removes it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

from msgspec import Struct, field

from orderbook_desktop.core.archive import ArchiveChunk, decode_chunk, encode_loose
from orderbook_desktop.core.archive.numbers import Coverage
from orderbook_desktop.core.checkpoint import BookImage, encode_image
from orderbook_desktop.core.depth_sync import Applied, DepthSync
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.storage.imports.remainder import events_in, is_in_segments, loose_id
from orderbook_desktop.storage.imports.runs import RunEncoder
from orderbook_desktop.storage.imports.spool import ByteRange, Spool, SpooledRun
from orderbook_desktop.storage.reading.segment_reader import SegmentReader
from orderbook_desktop.storage.store.bookless import BooklessRun, BooklessRuns
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.cuts import drop_segments
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.segments import read_segments
from orderbook_desktop.system.tasks import in_thread

_ENDED: Final = "The imported file ends here."
_JOINED_AFTER: Final = (GapCause.USER, GapCause.FEED_GAP, GapCause.CRASH)
# A run of more events is not written anew: that would take longer than an import may.
_WRITTEN_ANEW_AT_MOST: Final = 2_000_000
# So many events are added before other tasks have their turn.
_ADDED_AT_ONCE: Final = 200


# Reads the events, chunk by chunk.
_Events = Callable[[], AsyncIterator[list[DepthDiff]]]


class Joined(Struct):
    """What an import writes of a market after its parts were joined.

    `dropped` are stored runs without a book whose events are written anew: they are removed
    once all is written, and so are stored segments that are part of a new run (`drop_repeated`).
    `repeated` is how many events of such segments the new runs have.
    """

    runs: list[SpooledRun]
    loose: dict[str, ByteRange]
    dropped: list[str] = field(default_factory=list)
    repeated: int = 0


class _Piece(Struct, frozen=True):
    """A loose chunk or a run, stored or new: its ids, its key, and how its events are read."""

    key: str
    first_id: int
    last_id: int
    events: _Events
    is_new: bool

    @classmethod
    def of(cls, key: str, ids: Segment | Coverage, events: _Events, *, is_new: bool) -> Self:
        """Return the piece that has the first and last of `ids`."""
        return cls(key, ids.first_id, ids.last_id, events, is_new)


class _Run(Struct, frozen=True):
    """A run that may be continued, or be taken into another one if it has its `piece`.

    `book` returns the book that it begins with if `at_end` is false, else the one at its end.
    """

    segment: Segment
    book: Callable[[bool], Awaitable[BookImage | None]]
    piece: _Piece | None
    is_recorded: bool = False

    @property
    def may_continue(self) -> bool:
        """Whether only events were missing at its end. Else its book may be wrong or replaced.

        A recorder's update ids are the exchange's. Those of an imported run may be made up.
        """
        return self.is_recorded or self.segment.end_cause in _JOINED_AFTER

    @property
    def is_written_anew(self) -> bool:
        """Whether what continues it is written together with it."""
        return self.piece is not None and self.segment.event_count <= _WRITTEN_ANEW_AT_MOST


@dataclass(eq=False)
class _DoesNotFit(Exception):
    """The events of the run `key` do not follow from the continued book."""

    key: str


class Joining:
    """Joins the new `runs` and `loose` chunks of `market` with one another and with stored ones."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        market: str,
        runs: Sequence[SpooledRun],
        loose: dict[str, ByteRange],
    ) -> None:
        self._database = database
        self._spool = spool
        self._market = market
        self._store = ChunkStore(database)
        self._joined = Joined(list(runs), dict(loose))
        self._taken: dict[str, set[int]] = {}

    async def run(self) -> Joined:
        """Return what is to be written. Raises PyMongo's errors, and those of damaged parts."""
        orphans = await self._orphans()
        runs = [self._new_run(run) for run in self._joined.runs]
        runs += [
            self._stored_run(stored)
            for stored in await read_segments(self._database, self._market)
            if not stored.running and stored.archived_id == stored.segment.last_id
        ]
        runs = sorted(
            (run for run in runs if run.segment.event_count), key=lambda run: run.segment.last_id
        )
        gone: set[str] = set()
        for run in runs:
            at = run.segment.last_id
            is_gone = run.piece is not None and run.piece.key in gone
            if (
                is_gone
                or not run.may_continue
                or any(run.segment.snapshot_id <= at < run.segment.last_id for run in runs)
            ):
                continue
            gone |= await self._continue(run, orphans, runs)
        await self._write_rest(orphans)
        return self._joined

    async def _continue(
        self, run: _Run, orphans: Sequence[_Piece], runs: Sequence[_Run]
    ) -> set[str]:
        """Write the run that continues `run`, if there is one; return the runs taken into it."""
        unfit: set[str] = set()
        at = run.segment.last_id
        while True:
            usable = [
                found for found in runs if found.piece is None or found.piece.key not in unfit
            ]
            is_joined = any(orphan.first_id <= at + 1 <= orphan.last_id for orphan in orphans)
            if not is_joined and _follower(at, usable) is None:
                return set()
            book = await run.book(not run.is_written_anew)
            if book is None:
                return set()
            chain = _Chain(book, self._spool)
            try:
                if run.piece is not None and run.is_written_anew:
                    await chain.begin_with(run.piece)
                await chain.grow(orphans, usable)
            except _DoesNotFit as error:
                unfit.add(error.key)
                continue
            return await self._take(chain)

    async def _take(self, chain: _Chain) -> set[str]:
        """Take over a chain that has grown."""
        new = await in_thread(chain.end)
        if new is None:
            return set()
        joined = self._joined
        new_keys = {piece.key for piece in chain.pieces if piece.is_new}
        joined.runs = [run for run in joined.runs if run.found.id not in new_keys] + [new]
        joined.repeated += chain.repeated
        for key, ids in chain.taken.items():
            self._taken.setdefault(key, set()).update(ids)
        return {piece.key for piece in chain.pieces}

    async def _write_rest(self, orphans: Sequence[_Piece]) -> None:
        """Write the loose chunks of which something was taken anew, without that."""
        for piece in orphans:
            taken = self._taken.get(piece.key)
            if not taken:
                continue
            rest = [
                event
                async for events in piece.events()
                for event in events
                if event.final_id not in taken
            ]
            if piece.is_new:
                del self._joined.loose[piece.key]
            else:
                self._joined.dropped.append(piece.key)
            if rest:
                chunk = await in_thread(encode_loose, rest)
                kept = await in_thread(self._spool.keep, chunk)
                self._joined.loose[await in_thread(loose_id, chunk)] = kept

    async def _orphans(self) -> list[_Piece]:
        """Return the loose chunks, new ones and those of earlier imports, by their first id."""
        pieces = []
        for key, chunk_range in self._joined.loose.items():
            chunk = self._spool.chunk_at(chunk_range)
            if chunk.header.market == self._market:
                events = self._spooled(chunk_range)
                pieces.append(_Piece.of(key, chunk.header.coverage, events, is_new=True))
        for run in await imported_bookless(self._database, self._market):
            stored = await _chunk_of(self._store, run)
            if stored is not None:
                events, ids = self._stored_loose(run), stored.header.coverage
                pieces.append(_Piece.of(run.id, ids, events, is_new=False))
        return sorted(pieces, key=lambda piece: piece.first_id)

    def _spooled(self, *ranges: ByteRange) -> _Events:
        async def events() -> AsyncIterator[list[DepthDiff]]:
            for chunk_range in ranges:
                chunk = await in_thread(self._spool.chunk_at, chunk_range)
                yield await in_thread(events_in, chunk)

        return events

    def _stored_loose(self, run: BooklessRun) -> _Events:
        async def events() -> AsyncIterator[list[DepthDiff]]:
            chunk = await _chunk_of(self._store, run)
            yield [] if chunk is None else await in_thread(events_in, chunk)

        return events

    def _new_run(self, run: SpooledRun) -> _Run:
        segment = run.found.segment
        piece = _Piece.of(run.found.id, segment, self._spooled(*run.ranges), is_new=True)

        async def book(at_end: bool) -> BookImage:
            chunk = await in_thread(self._spool.chunk_at, run.ranges[-1 if at_end else 0])
            return await in_thread(_book_of, chunk, at_end)

        return _Run(segment, book, piece)

    def _stored_run(self, stored: StoredSegment) -> _Run:
        async def events() -> AsyncIterator[list[DepthDiff]]:
            async with aclosing(SegmentReader(self._database, stored).chunks()) as chunks:
                async for chunk in chunks:
                    yield await in_thread(list, chunk.diffs())

        async def book(at_end: bool) -> BookImage | None:
            if at_end:
                chunk = await self._store.ending_at(stored.id, stored.segment.last_id)
            else:
                chunk = await self._store.get(stored.id, stored.segment.snapshot_id)
            return None if chunk is None else await in_thread(_book_of, chunk, at_end)

        is_ours = stored.is_imported and not stored.cut_events
        piece = _Piece.of(stored.id, stored.segment, events, is_new=False) if is_ours else None
        return _Run(stored.segment, book, piece, stored.is_recorded)


class _Chain:
    """A run that continues another one: from `book` on, the book at its beginning or its end.

    `pieces` are the runs that were taken into it, `taken` the ids of the loose events by chunk,
    `repeated` how many events of stored runs it has.
    """

    def __init__(self, book: BookImage, spool: Spool) -> None:
        self.pieces: list[_Piece] = []
        self.taken: dict[str, set[int]] = {}
        self.repeated = 0
        self._spool = spool
        self._ranges: list[ByteRange] = []
        self._encoder = RunEncoder(book, self._keep)
        self._sync = DepthSync()
        self._sync.receive_snapshot(decode_snapshot(encode_image(book), book.market, book.event_ms))
        self._at = book.last_update_id
        self._added = 0
        self._begun_with = self._at
        self._end: tuple[GapCause, str] = (GapCause.USER, _ENDED)

    async def begin_with(self, piece: _Piece) -> None:
        """Add the events of the run that is continued. Raises `_DoesNotFit` if they don't fit."""
        await self._take(piece)
        self._begun_with = self._at

    async def grow(self, orphans: Sequence[_Piece], runs: Sequence[_Run]) -> None:
        """Add all events that follow. Raises `_DoesNotFit` if a run does not follow."""
        pool = _Pool(orphans)
        while True:
            found = await pool.next_after(self._at)
            if found is not None:
                key, event = found
                self._added += 1
                if self._added % _ADDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                if not self._add(event):
                    return
                self.taken.setdefault(key, set()).add(event.final_id)
                self._end = GapCause.USER, _ENDED
                continue
            follower = _follower(self._at, runs)
            if follower is None or follower.piece is None:
                return
            await self._take(follower.piece)
            segment = follower.segment
            self._end = segment.end_cause or GapCause.USER, segment.end_detail

    async def _take(self, piece: _Piece) -> None:
        async for events in piece.events():
            if not await in_thread(self._add_all, events):
                raise _DoesNotFit(piece.key)
            self.repeated += 0 if piece.is_new else len(events)
        self.pieces.append(piece)

    def _add_all(self, events: list[DepthDiff]) -> bool:
        return all(map(self._add, events))

    def _add(self, event: DepthDiff) -> bool:
        (outcome, *_) = self._sync.receive_diff(event)
        if not isinstance(outcome, Applied):
            return False
        self._encoder.add(event)
        self._at = event.final_id
        return True

    def _keep(self, chunk: ArchiveChunk) -> None:
        self._ranges.append(self._spool.keep(chunk))

    def end(self) -> SpooledRun | None:
        """Return the run; None if no event followed."""
        found = None if self._at == self._begun_with else self._encoder.end(*self._end)
        return None if found is None else SpooledRun(found, self._ranges)


class _Pool:
    """Gives out loose events in the order of their ids, and loads chunks when they are needed."""

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        self._pieces = list(reversed(pieces))
        self._waiting: list[tuple[int, int, int, str, DepthDiff]] = []
        self._count = 0

    async def next_after(self, at: int) -> tuple[str, DepthDiff] | None:
        """Return the event that follows `at` without a hole, and the key of its chunk."""
        while self._pieces and self._pieces[-1].first_id <= at + 1:
            piece = self._pieces.pop()
            if piece.last_id <= at:
                continue
            async for events in piece.events():
                for event in events:
                    self._count += 1
                    order = event.first_id, event.final_id, self._count
                    heapq.heappush(self._waiting, (*order, piece.key, event))
        while self._waiting and self._waiting[0][1] <= at:
            heapq.heappop(self._waiting)
        if not self._waiting or self._waiting[0][0] > at + 1:
            return None
        *_, key, event = heapq.heappop(self._waiting)
        return key, event


def _follower(at: int, runs: Sequence[_Run]) -> _Run | None:
    """Return the run whose own book lies inside its first event, which follows `at`."""
    for run in runs:
        segment = run.segment
        if run.piece is not None and segment.first_id <= at + 1 and at < segment.snapshot_id:
            return run
    return None


async def imported_bookless(database: Database, market: str) -> list[BooklessRun]:
    """Return the runs without a book that imports wrote. Raises PyMongo's errors."""
    return [run for run in await BooklessRuns(database).of(market) if run.stored.is_imported]


async def _chunk_of(store: ChunkStore, run: BooklessRun) -> ArchiveChunk | None:
    return await store.get(run.id, run.stored.segment.snapshot_id)


async def drop_repeated(database: Database, market: str) -> None:
    """Remove the imported runs, with a book or without, that lie in another imported segment.

    Imports never overlap, but for a run into which others were taken. Raises PyMongo's errors.
    """
    imported = [stored for stored in await read_segments(database, market) if stored.is_imported]
    inner = {stored.id for stored in imported if any(map(partial(_is_inside, stored), imported))}
    store = ChunkStore(database)
    for run in await imported_bookless(database, market):
        chunk = await _chunk_of(store, run)
        if chunk is None:
            continue
        coverage = chunk.header.coverage
        begins = (stored.segment.snapshot_id < coverage.last_id for stored in imported)
        ends = (coverage.first_id <= stored.segment.last_id for stored in imported)
        if any(map(all, zip(begins, ends, strict=True))) and await is_in_segments(store, chunk):
            inner.add(run.id)
    await drop_segments(database, inner)


def _is_inside(stored: StoredSegment, other: StoredSegment) -> bool:
    begin, end = other.segment.snapshot_id, other.segment.last_id
    is_within = begin <= stored.segment.snapshot_id and stored.segment.last_id <= end
    return stored.id != other.id and is_within and (begin, end) != _span(stored)


def _span(stored: StoredSegment) -> tuple[int, int]:
    return stored.segment.snapshot_id, stored.segment.last_id


def _book_of(chunk: ArchiveChunk, at_end: bool) -> BookImage:
    decoded = decode_chunk(chunk)
    return decoded.final_book() if at_end else decoded.start_book()
