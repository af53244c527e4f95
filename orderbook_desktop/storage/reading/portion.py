"""A portion of a segment, as packed chunks: to be copied to another place as it is stored.

Archived chunks are passed on as they are. Raw events are packed in memory, into the chunks that the
archiver would make of them. Only a chunk amid which the portion begins or ends is packed anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.archive import (
    DamagedChunk,
    DecodedChunk,
    closed_span,
    decode_chunk,
    fitting_count,
)
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause, Segment, TimesSeen
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.reading.ahead import ChunksAhead
from orderbook_desktop.storage.reading.segment_reader import MissingEvents, SegmentReader
from orderbook_desktop.storage.store.import_journal import ImportedSegment
from orderbook_desktop.storage.store.packing import PackedChunk, proven_chunk, unpack_chunk
from orderbook_desktop.storage.store.recording_store import SegmentStore, StoredChunk
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.system.tasks import in_thread

# A query for one chunk takes longer than reading it.
_AT_ONCE: Final = 1 << 20


class Span(Struct, frozen=True):
    """What is wanted of a segment.

    By update ids: the events after `after_id`, through the one that has `until_id`. By time: whole
    chunks, from the first that reaches `from_ms` to the last that begins before `to_ms`.
    """

    after_id: int = 0
    until_id: int = INT64_MAX
    from_ms: int | None = None
    to_ms: int | None = None


class Portion:
    """The portion `span` of the segment `stored`, which has ended, in `store`.

    If its end is not that of the segment, `end_detail` says so. Read its `chunks` first; then
    `segment` is what they are a segment of, and `raw_ids` are the final ids of the events that were
    raw.
    """

    def __init__(
        self, store: SegmentStore, stored: StoredSegment, span: Span, end_detail: str = ""
    ) -> None:
        self._store = store
        self._stored = stored
        self._span = span
        self._end_detail = end_detail
        self._first: PackedChunk | None = None
        self._last: PackedChunk | None = None
        self._events = self._bytes = self._before = 0
        self._is_cut = False
        self._times: TimesSeen | None = None
        self._last_ms = 0
        self.raw_ids: set[int] = set()

    async def chunks(self) -> AsyncGenerator[PackedChunk]:
        """Iterate over the chunks. Raises as `SegmentReader.chunks`; close the generator."""
        span = self._span
        async with aclosing(self._all()) as chunks:
            async for chunk in chunks:
                coverage, start_id = chunk.header.coverage, chunk.header.start_id or 0
                is_early = span.from_ms is not None and coverage.to_event_ms < span.from_ms
                if coverage.last_id <= span.after_id or (self._first is None and is_early):
                    self._before += coverage.event_count
                    continue
                is_late = span.to_ms is not None and coverage.from_event_ms >= span.to_ms
                if start_id >= span.until_id or is_late:
                    self._is_cut = True
                    return
                wanted = await self._within(chunk)
                if wanted is not None:
                    await self._take(wanted)
                    yield wanted

    def segment(self, key: str | None = None) -> ImportedSegment | None:
        """Return the segment of the chunks that were read; None without any.

        `key` is its id, in place of that of the whole segment.
        """
        if self._first is None or self._last is None:
            return None
        stored, before = self._stored, self._stored.segment
        segment, back_ms = replace(before, event_count=self._events), stored.back_ms
        if self._before:
            segment = _begun_with(segment, self._first)
        if self._is_cut:
            segment = replace(
                segment,
                last_id=self._last.header.coverage.last_id,
                end_cause=GapCause.USER,
                end_detail=self._end_detail,
            )
            last_ms = self._last.header.coverage.to_event_ms
            if self._times is not None:
                # An earlier version stored the last event's time.
                last_ms = self._last_ms if back_ms is None else self._times.latest_ms
                back_ms = None if back_ms is None else self._times.back_ms
            segment = replace(segment, last_event_ms=last_ms)
        return ImportedSegment(
            stored.id if key is None else key,
            segment,
            back_ms,
            self._bytes,
            stored.origin,
            stored.cut_events + self._before,
        )

    async def _within(self, chunk: PackedChunk) -> PackedChunk | None:
        """Return the wanted events of `chunk`, packed; None if it has none."""
        span, coverage = self._span, chunk.header.coverage
        begins_amid = (chunk.header.start_id or 0) < span.after_id
        if not begins_amid and coverage.last_id <= span.until_id:
            return chunk
        wanted, before, after = await in_thread(_trimmed, chunk, span)
        self._before += before
        self._is_cut = self._is_cut or bool(after)
        return wanted

    async def _take(self, chunk: PackedChunk) -> None:
        self._first = self._first or chunk
        self._last = chunk
        self._events += chunk.header.coverage.event_count
        self._bytes += len(chunk.data)
        has_end = self._span.to_ms is not None or self._span.until_id < INT64_MAX
        if self._stored.back_ms != 0 and has_end:
            # Times go back, so how late the last one is only the events tell.
            self._times, self._last_ms = await in_thread(_times_after, chunk, self._times)

    async def _all(self) -> AsyncGenerator[PackedChunk]:
        """Iterate over all chunks of the segment, archived and raw."""
        stored, last_start = self._stored, None
        at = stored.segment.snapshot_id
        archive = ChunksAhead(self._store, stored, _AT_ONCE)
        try:
            while at < stored.archived_id:
                found = await archive.take(at, stored.archived_id)
                if found is None:
                    raise MissingEvents(stored.segment.market, at, "an archived minute")
                # It takes less time than to hand it to a thread.
                chunk = _following(found, at)
                last_start, at = at, chunk.header.coverage.last_id
                yield chunk
        finally:
            await archive.close()
        if at < stored.segment.last_id:
            async with aclosing(self._raw(last_start, at)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _raw(self, last_start: int | None, at: int) -> AsyncGenerator[PackedChunk]:
        """Iterate over the events after `at` as chunks; `last_start` begins the one before."""
        market, packer = self._stored.segment.market, _Packer()
        async with aclosing(SegmentReader(self._store, self._stored).chunks(last_start)) as chunks:
            async for decoded in chunks:
                start_id = decoded.header.start_id or 0
                if decoded.header.coverage.last_id <= at:
                    continue
                self.raw_ids.update(decoded.numbers.final_ids.tolist())
                # Where an answer was joined, the next chunk begins with a wider book.
                joined = await self._store.joined(market, start_id, start_id)
                for chunk in await in_thread(packer.take, decoded, bool(joined)):
                    yield chunk
        for chunk in await in_thread(packer.finish):
            yield chunk


class _Packer:
    """Packs events into the chunks that the archiver would make of them."""

    def __init__(self) -> None:
        self._start: BookImage | None = None
        self._events: list[DepthDiff] = []

    def take(self, chunk: DecodedChunk, is_joined: bool) -> list[PackedChunk]:
        """Take the events of `chunk`; return chunks that are complete.

        If `is_joined`, a chunk begins with the book of this one.
        """
        complete: list[PackedChunk] = []
        if self._start is None or is_joined:
            complete = self.finish()
            self._start = chunk.start_book()
        self._events += chunk.diffs()
        return complete + self._closed(is_all=False)

    def finish(self) -> list[PackedChunk]:
        """Return what is left, as chunks."""
        return self._closed(is_all=True)

    def _closed(self, *, is_all: bool) -> list[PackedChunk]:
        closed: list[PackedChunk] = []
        while self._events:
            if self._start is None:
                raise BugError("events without a book are to be packed")
            levels = len(self._start.bids.prices) + len(self._start.asks.prices)
            count = closed_span(self._events, levels, is_all=is_all)
            if not count:
                break
            count = max(1, fitting_count(self._start, self._events[:count]))
            closed.append(proven_chunk(self._start, self._events[:count]))
            self._start = decode_chunk(unpack_chunk(closed[-1].data)).final_book()
            del self._events[:count]
        return closed


def _following(found: StoredChunk, at: int) -> PackedChunk:
    """Return the chunk that is to begin at `at`. Raises `DamagedChunk`."""
    chunk = found.packed()
    if chunk.header.start_id != at or chunk.header.coverage.last_id <= at:
        raise DamagedChunk("it does not follow the one before it")
    return chunk


def _trimmed(chunk: PackedChunk, span: Span) -> tuple[PackedChunk | None, int, int]:
    """Return the events of `chunk` in `span`, packed, and how many come before and after."""
    decoded = decode_chunk(unpack_chunk(chunk.data))
    events = list(decoded.diffs())
    before = sum(event.final_id <= span.after_id for event in events)
    ends = (at for at, event in enumerate(events, 1) if event.final_id >= span.until_id)
    end = next(ends, len(events))
    if before == 0 and end == len(events):
        return chunk, 0, 0
    if before >= end:
        return None, before, len(events) - before
    start = decoded.book_after(before - 1)
    return proven_chunk(start, events[before:end]), before, len(events) - end


def _begun_with(segment: Segment, first: PackedChunk) -> Segment:
    header, coverage = first.header, first.header.coverage
    return replace(
        segment,
        snapshot_id=header.start_id or 0,
        first_id=coverage.first_id,
        first_event_ms=coverage.from_event_ms,
    )


def _times_after(chunk: PackedChunk, times: TimesSeen | None) -> tuple[TimesSeen, int]:
    """Return `times` with the events of `chunk`, and the time of its last event."""
    decoded = decode_chunk(unpack_chunk(chunk.data))
    times = times or TimesSeen(decoded.start_event_ms)
    all_ms = decoded.numbers.event_ms.tolist()
    for event_ms in all_ms:
        times = times.and_then(event_ms)
    return times, all_ms[-1]


async def loose_events(chunk: PackedChunk) -> list[DepthDiff]:
    """Return the events of a chunk without a book. Raises `DamagedChunk`."""
    return await asyncio.to_thread(lambda: list(decode_chunk(unpack_chunk(chunk.data)).diffs()))
