"""Packs recordings into one file, as they are stored, complete or not at all.

What is in the file depends on nothing but the recording: not on the time or the process, nor on how
far an archiver has come. So every segment of it has ended, is archived and has no owner:

- raw events are packed into the chunks that the archiver would make of them;
- a segment that goes on ends with the last event that is stored now;
- an event that two segments have is only in the first;
- a segment without events is left out, and so is what a running recorder has not yet named.

Trades are packed as they are stored (`storage.exports.packed_trades`), and so are bookmarks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff
from orderbook_desktop.core.replay import Bookmark
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.core.wording import counted, listed
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.exports.exporting import ExportError, NothingRecorded, export_target
from orderbook_desktop.storage.exports.packed_trades import TradePacker
from orderbook_desktop.storage.reading.portion import Portion, Span, loose_events
from orderbook_desktop.storage.reading.segment_reader import MissingEvents
from orderbook_desktop.storage.store.bookless import BooklessRun
from orderbook_desktop.storage.store.checkpoints import book_key
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.import_journal import ImportedSegment
from orderbook_desktop.storage.store.packed_store import PackedRecords
from orderbook_desktop.storage.store.packing import PackedChunk, proven_loose
from orderbook_desktop.storage.store.raw_events import own_events
from orderbook_desktop.storage.store.recorder_states import RecorderState, recorder_states
from orderbook_desktop.storage.store.recording_store import ProvableStore
from orderbook_desktop.storage.store.segment_documents import (
    StoredIds,
    StoredSegment,
    bookless_segment,
)
from orderbook_desktop.storage.store.unclaimed_events import Claim
from orderbook_desktop.system.tasks import in_thread

# How a segment ends in the file that goes on in the recording, or that the file has a part of.
_WENT_ON: Final = "It went on when it was packed."
_PART: Final = "Only a part of it was packed."
_ASKED_AT_ONCE: Final = 50
_EVENTS_A_RUN: Final = 5_000
_WRITTEN_AT_ONCE: Final = 1 << 20


class DamagedRecording(DatabaseError):
    """A part of the segment `segment_id` of `market` is damaged, so it can't be packed."""

    market: str
    segment_id: str

    def __str__(self) -> str:
        return (
            f"{self.market}: the checksum of segment {self.segment_id} does not match, so it can't "
            "be packed; see `verify`."
        )


class CutWhilePacked(ExportError):
    """A part of `market` was removed while it was packed."""

    market: str

    def __str__(self) -> str:
        return f"The recording of {self.market} was cut while it was packed; pack it again."


class PackedMarket(Struct, frozen=True):
    """What was packed of `market`: segments with a book, their events, and events without one.

    Besides there are `trades` and `bookmarks`.
    """

    market: str
    segments: int
    events: int
    loose: int
    trades: int = 0
    bookmarks: int = 0

    @property
    def text(self) -> str:
        """What it is, in words; without a stop."""
        texts = [f"{counted(self.events, 'event')} in {counted(self.segments, 'unbroken run')}"]
        if self.loose:
            texts.append(f"{counted(self.loose, 'event')} of no known book")
        if self.trades:
            texts.append(counted(self.trades, "trade"))
        if self.bookmarks:
            texts.append(counted(self.bookmarks, "bookmark"))
        return listed(texts, ", and ")


class PackJob(Struct, frozen=True):
    """What to pack, from `from_ms` to before `to_ms` (whole chunks; None: all).

    `symbols` are the symbols by market, for messages. A file at `path` is replaced only if
    `replace` is true.
    """

    symbols: Mapping[str, str]
    path: Path
    from_ms: int | None = None
    to_ms: int | None = None
    replace: bool = False


# Called with the events that are packed of a market, and how many these are in all.
Progress = Callable[[str, int, int], None]


async def pack(
    database: Database | ProvableStore, job: PackJob, progress: Progress
) -> list[PackedMarket]:
    """Write the file; return what is in it.

    It needs the memory of a few chunks, and of the tables of one market. Raises `ExportError`,
    `DamagedRecording`, and what reading the recording raises. If it raises or is cancelled, no file
    is left behind.
    """
    store = store_of(database)
    states = await recorder_states(database) if isinstance(database, Database) else {}
    packed: list[PackedMarket] = []
    with export_target(job.path, replace=job.replace) as file:
        bookmarks = {market: await _bookmarks(store, market, job) for market in job.symbols}
        records = PackedRecords(
            file,
            has_trades=await _has_trades(store, job),
            has_bookmarks=any(bookmarks.values()),
        )
        for market in sorted(job.symbols):
            state = states.get(market, RecorderState.NONE)
            packer = _MarketPacker(store, records, market, job, progress, is_live=state.is_live)
            packed.append(await packer.run(bookmarks[market]))
            if not (packed[-1].segments or packed[-1].loose or packed[-1].trades):
                raise NothingRecorded(job.symbols[market])
        await in_thread(records.close)
    return packed


async def _has_trades(store: ProvableStore, job: PackJob) -> bool:
    """Whether there are trades to be packed."""
    runs = [run for market in job.symbols for run in await store.trades.runs(market) if run.count]
    return any(
        (job.from_ms is None or run.to_ms >= job.from_ms)
        and (job.to_ms is None or run.from_ms < job.to_ms)
        for run in runs
    )


async def _bookmarks(store: ProvableStore, market: str, job: PackJob) -> list[Bookmark]:
    """Return the bookmarks of a market that are to be packed. Raises `DamagedDocument`."""
    return [
        bookmark
        for bookmark in await store.bookmarks.sound(market)
        if (job.from_ms is None or bookmark.event_ms >= job.from_ms)
        and (job.to_ms is None or bookmark.event_ms < job.to_ms)
    ]


class _MarketPacker:
    """Packs the recording of one market; `is_live`: a process records it."""

    def __init__(
        self,
        store: ProvableStore,
        records: PackedRecords,
        market: str,
        job: PackJob,
        progress: Progress,
        *,
        is_live: bool,
    ) -> None:
        self._store = store
        self._records = records
        self._market = market
        self._job = job
        self._progress = progress
        self._is_live = is_live
        self._packed: list[ImportedSegment] = []
        self._raw_ids: set[int] = set()
        self._done = self._total = 0

    async def run(self, bookmarks: Sequence[Bookmark]) -> PackedMarket:
        """Pack it, with `bookmarks`."""
        segments = await self._store.segments(self._market)
        self._total = sum(stored.segment.event_count for stored in segments)
        self._records.begin(self._market)
        claims: list[Claim] = []
        reached = 0
        for known in segments:
            # It may have been archived further, or cut, since.
            stored = await self._store.segment(known.id)
            if stored is None or not stored.segment.event_count:
                continue
            stored = await self._ended(stored)
            claims.append(Claim(stored.segment.snapshot_id, stored.segment.last_id))
            if stored.segment.last_id > reached:
                await self._pack_segment(stored, reached)
                reached = stored.segment.last_id
        with_book = list(self._packed)
        await self._pack_bookless(claims)
        await self._pack_books(with_book)
        await self._pack_witnesses(with_book)
        for packed in self._packed:
            self._records.put_segment(packed)
        trades = await self._pack_trades() if self._records.has_trades else 0
        for bookmark in bookmarks:
            self._records.put_bookmark(bookmark)
        await in_thread(self._records.end)
        loose = sum(packed.segment.event_count for packed in self._packed[len(with_book) :])
        events = sum(packed.segment.event_count for packed in with_book)
        counts = len(with_book), events, loose, trades, len(bookmarks)
        return PackedMarket(self._market, *counts)

    async def _pack_trades(self) -> int:
        job, store = self._job, self._store.trades
        span_ms = job.from_ms, job.to_ms
        packer = TradePacker(store, self._records, self._market, span_ms, is_live=self._is_live)
        return await packer.run()

    async def _ended(self, stored: StoredSegment) -> StoredSegment:
        """Return a segment as it is when it ends with the last event that is stored now."""
        if not stored.intact:
            raise DamagedRecording(self._market, stored.id)
        if not stored.running:
            return stored
        last_id = stored.segment.last_id
        found: list[DepthDiff] = []
        while more := await self._store.events_after(
            self._market, found[-1].final_id if found else last_id, last_id + WIDEST_EVENT
        ):
            found += more
        runs = await self._store.bookless(self._market, waiting=True)
        listed = {update_id for run in runs for update_id in run.ids}
        own = own_events(last_id, found, listed)
        segment, back_ms = stored.extended([StoredIds.of(event) for event in own])
        cause, detail = (GapCause.USER, _WENT_ON) if self._is_live else (GapCause.CRASH, "")
        segment = replace(segment, end_cause=cause, end_detail=detail)
        return replace(stored, segment=segment, back_ms=back_ms)

    async def _pack_segment(self, stored: StoredSegment, reached: int) -> None:
        """Pack the events of a segment after `reached`, where the one before it ends."""
        span = Span(reached, from_ms=self._job.from_ms, to_ms=self._job.to_ms)
        portion = Portion(self._store, stored, span, _PART)
        try:
            await self._write_chunks(stored.id, portion)
        except MissingEvents as error:
            now = await self._store.segment(stored.id)
            if now is None or now.segment.snapshot_id != stored.segment.snapshot_id:
                raise CutWhilePacked(self._market) from error
            raise
        packed = portion.segment()
        if packed is not None:
            self._packed.append(packed)
            self._raw_ids |= portion.raw_ids

    async def _write_chunks(self, segment_id: str, portion: Portion) -> None:
        waiting: list[PackedChunk] = []
        async with aclosing(portion.chunks()) as chunks:
            async for chunk in chunks:
                waiting.append(chunk)
                if sum(len(chunk.data) for chunk in waiting) >= _WRITTEN_AT_ONCE:
                    await self._write(segment_id, waiting)
                    waiting = []
        await self._write(segment_id, waiting)

    async def _write(self, segment_id: str, chunks: Sequence[PackedChunk]) -> None:
        """Write the next chunks of a segment, in one go: each call of a thread takes time."""
        number = len(self._packed)

        def write() -> None:
            for chunk in chunks:
                self._records.put_chunk(number, segment_id, chunk)

        await in_thread(write)
        self._done += sum(chunk.header.coverage.event_count for chunk in chunks)
        self._progress(self._market, self._done, self._total)

    async def _pack_bookless(self, claims: Sequence[Claim]) -> None:
        """Pack the runs without a book, and then the events that are in no run."""
        runs = await self._store.bookless(self._market)
        listed = {update_id for run in runs for update_id in run.ids}
        for run in runs:
            if not run.stored.intact:
                raise DamagedRecording(self._market, run.id)
            await self._pack_run(run.id, run.stored.origin, await self._loose_chunk(run))
        if self._is_live:
            # Its recorder is about to name them.
            return
        unnamed: list[int] = []
        unclaimed = self._store.unclaimed_events(self._market, claims, sorted(listed))
        async with aclosing(unclaimed) as parts:
            async for part in parts:
                unnamed += (event.final_id for event in part if event.final_id not in listed)
        unnamed.sort()
        for start in range(0, len(unnamed), _EVENTS_A_RUN):
            chunk = await self._chunk_of(unnamed[start : start + _EVENTS_A_RUN])
            if chunk is not None:
                key = hashlib.blake2b(chunk.data, digest_size=12).hexdigest()
                await self._pack_run(key, None, chunk)

    async def _loose_chunk(self, run: BooklessRun) -> PackedChunk | None:
        """Return the chunk of a run without a book; None if segments have its events by now."""
        if not run.is_archived:
            chunk = await self._chunk_of([u for u in run.ids if u not in self._raw_ids])
            if chunk is not None:
                return chunk
        stored = await self._store.chunk(run.id, run.stored.segment.snapshot_id)
        if stored is None:
            if run.is_archived:
                raise MissingEvents(self._market, run.ids[0], "a loose event")
            return None
        return await in_thread(stored.packed)

    async def _chunk_of(self, ids: Sequence[int]) -> PackedChunk | None:
        events = await self._store.events(self._market, ids)
        events.sort(key=lambda event: (event.received_ns, event.final_id))
        return await in_thread(proven_loose, events) if events else None

    async def _pack_run(self, key: str, origin: str | None, chunk: PackedChunk | None) -> None:
        """Write a run without a book whose events are in `chunk`."""
        if chunk is None or not self._is_wanted(chunk):
            return
        events = tuple(StoredIds.of(event) for event in await loose_events(chunk))
        segment = bookless_segment(self._market, events)
        size = len(chunk.data)
        packed = ImportedSegment(key, segment, 0, size, loose=events)
        self._records.put_chunk(len(self._packed), key, chunk, segment.snapshot_id)
        self._packed.append(packed if origin is None else packed._replace(origin=origin))

    def _is_wanted(self, chunk: PackedChunk) -> bool:
        coverage, job = chunk.header.coverage, self._job
        begins = job.to_ms is None or coverage.from_event_ms < job.to_ms
        return begins and (job.from_ms is None or coverage.to_event_ms >= job.from_ms)

    async def _pack_books(self, segments: Sequence[ImportedSegment]) -> None:
        for number, packed in enumerate(segments):
            segment = packed.segment
            keys: list[tuple[int, str]] = []
            for update_id, _ in await self._store.book_keys(packed.id):
                if not isinstance(update_id, int):
                    raise DamagedRecording(self._market, packed.id)
                if segment.snapshot_id <= update_id <= segment.last_id:
                    keys.append((int(update_id), book_key(packed.id, update_id)))
            keys.sort()
            for start in range(0, len(keys), _ASKED_AT_ONCE):
                some = keys[start : start + _ASKED_AT_ONCE]
                books = await self._store.books([key for _, key in some])
                for update_id, key in some:
                    # The recorder removes books that it has replaced.
                    if key in books:
                        await in_thread(self._records.put_book, number, update_id, books[key])

    async def _pack_witnesses(self, segments: Sequence[ImportedSegment]) -> None:
        if not segments:
            return
        begin, end = 0, INT64_MAX
        if (self._job.from_ms, self._job.to_ms) != (None, None):
            begin, end = segments[0].segment.snapshot_id, segments[-1].segment.last_id
        found = await self._store.witness_keys(self._market)
        answers = await self._store.joined(self._market, 0, INT64_MAX)
        joined = {key: joined_id for joined_id, key in answers}
        keys = [(update_id, key) for update_id, key in found if begin <= update_id <= end]
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            some = keys[start : start + _ASKED_AT_ONCE]
            witnesses = await self._store.witnesses([key for _, key in some])
            for update_id, key in some:
                if key in witnesses:
                    joined_id = joined.get(key)
                    await in_thread(self._records.put_witness, update_id, joined_id, witnesses[key])
