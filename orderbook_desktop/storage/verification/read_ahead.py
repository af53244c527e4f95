"""Reads what the proofs of many short segments need at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.reading.ahead import Portions
from orderbook_desktop.storage.store.bookless import BooklessRun
from orderbook_desktop.storage.store.checkpoints import StoredBook
from orderbook_desktop.storage.store.raw_events import IdRange
from orderbook_desktop.storage.store.recording_store import ChunkSpan, ProvableStore, StoredChunk
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.witnesses import StoredWitness

# The most raw events, and the most archived bytes, of segments that are read together.
_EVENTS_AT_ONCE: Final = 1_000
_ARCHIVED_AT_ONCE: Final = 4 << 20


class ReadAhead:
    """Reads what the proofs of short segments of `market` need, for some of them at a time."""

    def __init__(self, store: ProvableStore, market: str) -> None:
        self._store = store
        self._market = market
        self._portions = Portions()

    def group(self, segments: Sequence[StoredSegment]) -> Sequence[StoredSegment]:
        """Return the first of `segments`, at least one if there are any, for one `load`."""
        events = size = 0
        for index, stored in enumerate(segments[: self._portions.count]):
            events += stored.segment.event_count - stored.archived_events
            size += stored.archived_bytes
            if index and (events > _EVENTS_AT_ONCE or size > _ARCHIVED_AT_ONCE):
                return segments[:index]
        return segments[: self._portions.count]

    async def load(self, segments: Sequence[StoredSegment]) -> LoadedSegments:
        """Return what the proofs of `segments` need. Raises what the store raises."""
        loaded = LoadedSegments(self._store, self._market)
        self._portions.took(await loaded.load(segments))
        return loaded


class LoadedSegments:
    """What was read of some segments of `market` for their proofs.

    It is a `ProvableSegments`. What `load` has not read, or has not found, is read from `store`
    when it is needed. A document that `load` has read may have been removed meanwhile.
    """

    def __init__(self, store: ProvableStore, market: str) -> None:
        self._store = store
        self._market = market
        self._book_keys: dict[str, list[tuple[object, object]]] = {}
        self._books: dict[str, StoredBook] = {}
        self._chunks: dict[tuple[str, int], StoredChunk] = {}
        self._runs: dict[int, tuple[int, list[DepthDiff]]] = {}
        self._joined: list[tuple[int, str]] = []
        self._joined_in = (0, -1)

    async def load(self, segments: Sequence[StoredSegment]) -> list[StoredBook | StoredChunk]:
        """Read what the proofs of `segments` need; return the larger parts of it."""
        self._book_keys, books = await self._store.books_of([stored.id for stored in segments])
        archived = [
            stored for stored in segments if stored.archived_id > stored.segment.snapshot_id
        ]
        # The proof needs the book that a segment begins with twice.
        self._books = {key: replace(book, unpack=cache(book.unpack)) for key, book in books.items()}
        chunks = await self._store.first_chunks(archived) if archived else {}
        for stored in archived:
            if stored.id in chunks:
                self._chunks[stored.id, stored.segment.snapshot_id] = chunks[stored.id]
        await self._load_runs(segments)
        return [*books.values(), *chunks.values()]

    async def _load_runs(self, segments: Sequence[StoredSegment]) -> None:
        raw = [stored for stored in segments if stored.archived_id < stored.segment.last_id]
        ranges = sorted(IdRange(stored.archived_id, stored.segment.last_id) for stored in raw)
        if ranges:
            self._joined_in = ranges[0].after_id, max(last_id for _, last_id in ranges)
            self._joined = await self._store.joined(self._market, *self._joined_in)
        while ranges:
            runs = await self._store.runs(self._market, ranges)
            for (after_id, last_id), run in zip(ranges, runs, strict=False):
                if run:
                    self._runs[after_id] = last_id, run
            ranges = ranges[len(runs) :]

    async def segment(self, segment_id: str) -> StoredSegment | None:
        """Return a segment as it is now."""
        return await self._store.segment(segment_id)

    async def chunk(self, segment_id: str, start_id: int) -> StoredChunk | None:
        """Return a chunk."""
        known = self._chunks.pop((segment_id, start_id), None)
        return known or await self._store.chunk(segment_id, start_id)

    async def chunks_in(
        self, market: str, segment_id: str, first_minute: int, last_minute: int
    ) -> dict[int, StoredChunk]:
        """Return the chunks of a segment in some minutes."""
        return await self._store.chunks_in(market, segment_id, first_minute, last_minute)

    async def chunk_spans(
        self, market: str, first_minute: int, last_minute: int
    ) -> list[ChunkSpan]:
        """Return the spans of chunks."""
        return await self._store.chunk_spans(market, first_minute, last_minute)

    async def chunk_span_ending_at(self, segment_id: str, last_id: int) -> ChunkSpan | None:
        """Return the span of a chunk."""
        return await self._store.chunk_span_ending_at(segment_id, last_id)

    async def chunk_ending_at(self, market: str, last_id: int) -> StoredChunk | None:
        """Return a chunk of any segment that ends there."""
        return await self._store.chunk_ending_at(market, last_id)

    async def book(self, key: str) -> StoredBook | None:
        """Return a book."""
        return self._books.get(key) or await self._store.book(key)

    async def events_after(self, market: str, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return the next raw events after `after_id`."""
        known_to, run = self._runs.get(after_id, (0, []))
        if run and known_to <= last_id:
            return run
        return await self._store.events_after(market, after_id, last_id)

    async def bookless(self, market: str, *, waiting: bool = False) -> list[BooklessRun]:
        """Return the runs without a book."""
        return await self._store.bookless(market, waiting=waiting)

    async def book_keys(self, segment_id: str) -> list[tuple[object, object]]:
        """Return update id and key of each book of a segment."""
        known = self._book_keys.get(segment_id)
        return await self._store.book_keys(segment_id) if known is None else known

    async def books(self, keys: Sequence[str]) -> dict[str, StoredBook]:
        """Return those of at most 50 books that are stored."""
        known = {key: self._books[key] for key in keys if key in self._books}
        others = [key for key in keys if key not in known]
        return known | (await self._store.books(others) if others else {})

    async def joined(self, market: str, first_id: int, last_id: int) -> list[tuple[int, str]]:
        """Return the witnesses that were joined to books."""
        known_from, known_to = self._joined_in
        if not known_from <= first_id <= last_id <= known_to:
            return await self._store.joined(market, first_id, last_id)
        return [(at, key) for at, key in self._joined if first_id <= at <= last_id]

    async def witnesses(self, keys: Sequence[str]) -> dict[str, StoredWitness]:
        """Return those of at most 50 witnesses that are stored."""
        return await self._store.witnesses(keys)
