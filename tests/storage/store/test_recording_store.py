"""A recording is read through one interface from every store: here from memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from orderbook_desktop.core.archive import ArchiveChunk, encode_chunk, minute_of, same_book
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import LooseEnd
from orderbook_desktop.storage.reading.recording import NotCovered, Recording, recorded_markets
from orderbook_desktop.storage.store.bookless import BooklessRun
from orderbook_desktop.storage.store.bookmarks import BookmarkStore
from orderbook_desktop.storage.store.checkpoints import StoredBook, book_key
from orderbook_desktop.storage.store.packing import pack_chunk
from orderbook_desktop.storage.store.recording_store import ChunkSpan, StoredChunk
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.trade_store import TradeStore
from orderbook_desktop.storage.store.witnesses import StoredWitness
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelved, after, segment_of

_ARCHIVED = 700


@dataclass
class MemoryStore:
    """Recordings in memory, without runs that lack a book; is a `RecordingStore`."""

    runs: list[StoredSegment] = field(default_factory=list)
    archive: dict[tuple[str, int], ArchiveChunk] = field(default_factory=dict)
    books: dict[str, BookImage] = field(default_factory=dict)
    raw: list[DepthDiff] = field(default_factory=list)

    @property
    def trades(self) -> TradeStore:
        raise NotImplementedError

    @property
    def bookmarks(self) -> BookmarkStore:
        raise NotImplementedError

    async def markets(self) -> list[str]:
        return sorted({one.segment.market for one in self.runs})

    async def segments(self, market: str) -> list[StoredSegment]:
        return [one for one in self.runs if one.segment.market == market]

    async def segment(self, segment_id: str) -> StoredSegment | None:
        return next((one for one in self.runs if one.id == segment_id), None)

    async def chunk(self, segment_id: str, start_id: int) -> StoredChunk | None:
        chunk = self.archive.get((segment_id, start_id))
        if chunk is None:
            return None
        return StoredChunk(
            chunk.header.coverage.last_id, 100, lambda: chunk, lambda: pack_chunk(chunk)
        )

    async def chunks_in(
        self, market: str, segment_id: str, first_minute: int, last_minute: int
    ) -> dict[int, StoredChunk]:
        spans = await self.chunk_spans(market, first_minute, last_minute)
        mine = [one.start_id for one in spans if one.segment_id == segment_id]
        found = {start_id: await self.chunk(segment_id, start_id) for start_id in mine}
        return {start_id: chunk for start_id, chunk in found.items() if chunk is not None}

    async def chunk_spans(
        self, market: str, first_minute: int, last_minute: int
    ) -> list[ChunkSpan]:
        return [
            span
            for key, chunk in self.archive.items()
            if chunk.header.market == market
            and first_minute <= minute_of((span := _span(*key, chunk)).from_event_ms)
            and minute_of(span.from_event_ms) <= last_minute
        ]

    async def chunk_span_ending_at(self, segment_id: str, last_id: int) -> ChunkSpan | None:
        spans = [_span(*key, chunk) for key, chunk in self.archive.items()]
        wanted = (segment_id, last_id)
        return next((one for one in spans if (one.segment_id, one.last_id) == wanted), None)

    async def chunk_ending_at(self, market: str, last_id: int) -> StoredChunk | None:
        raise AssertionError(f"{market}: no segment begins at the end {last_id} of another")

    async def book(self, key: str) -> StoredBook | None:
        book = self.books.get(key)
        if book is None:
            return None
        return StoredBook(key.partition(":")[0], True, True, lambda: book, lambda: b"")

    async def events_after(self, market: str, after_id: int, last_id: int) -> list[DepthDiff]:
        of_market = [one for one in self.raw if one.market == market]
        return [one for one in of_market if after_id < one.final_id <= last_id][:100]

    async def events(self, market: str, ids: Sequence[int]) -> list[DepthDiff]:
        return [one for one in self.raw if one.market == market and one.final_id in ids]

    async def count_raw(self, market: str, after_id: int, last_id: int) -> int:
        return len(await self.events_after(market, after_id, last_id))

    async def bookless(
        self,
        market: str,  # noqa: ARG002 (the interface has it)
        *,
        waiting: bool = False,  # noqa: ARG002 (the interface has it)
    ) -> list[BooklessRun]:
        return []

    async def joined(self, market: str, first_id: int, last_id: int) -> list[tuple[int, str]]:
        assert market
        assert first_id <= last_id
        return []

    async def witnesses(self, keys: Sequence[str]) -> dict[str, StoredWitness]:
        raise AssertionError(f"no answer was joined: {keys}")

    async def loose_end(
        self,
        market: str,  # noqa: ARG002 (the interface has it)
        after_id: int,  # noqa: ARG002 (the interface has it)
    ) -> LooseEnd | None:
        return None


def _span(segment_id: str, start_id: int, chunk: ArchiveChunk) -> ChunkSpan:
    coverage = chunk.header.coverage
    times = coverage.from_event_ms, coverage.to_event_ms
    return ChunkSpan(segment_id, start_id, coverage.last_id, *times)


@pytest.fixture
def shelved() -> Shelved:
    """A segment of 1,400 events; 700 of them are archived."""
    tape, book = Tape(), Book()
    book.load(tape.snapshot())
    return Shelved("run", image_of(book, tape.market), tape.diffs(1_400))


@pytest.fixture
def store(shelved: Shelved) -> MemoryStore:
    store = MemoryStore(books={book_key("run", shelved.base.last_update_id): shelved.base})
    for begin in range(0, _ARCHIVED, 350):
        start = after(shelved.base, shelved.events[:begin])
        chunk = encode_chunk(start, shelved.events[begin : begin + 350])
        store.archive["run", start.last_update_id] = chunk
    store.raw = shelved.events[_ARCHIVED:]
    segment = segment_of(shelved, GapCause.USER, "")
    archived_id = shelved.events[_ARCHIVED - 1].final_id
    store.runs.append(
        StoredSegment("run", segment, archived_id, _ARCHIVED, 200, "recorder", back_ms=0)
    )
    return store


async def test_a_recording_in_memory_is_read(store: MemoryStore, shelved: Shelved) -> None:
    recording = Recording(store, shelved.market)
    assert await recorded_markets(store) == [shelved.market]
    events: list[DepthDiff] = []
    async with aclosing(recording.slices()) as slices:
        async for one in slices:
            events += list(one.chunk.diffs())[one.begin : one.end]
    assert events == shelved.events
    (cover,) = (await recording.timeline()).covers
    assert (cover.from_ms, cover.to_ms) == (events[0].event_ms, events[-1].event_ms)


@pytest.mark.parametrize("index", [0, 349, 350, 800, 1_399])
async def test_its_book_is_known_at_any_time(
    store: MemoryStore, shelved: Shelved, index: int
) -> None:
    recording, event_ms = Recording(store, shelved.market), shelved.events[index].event_ms
    assert same_book(await recording.book_at(event_ms), shelved.book_at(event_ms))
    with pytest.raises(NotCovered):
        await recording.book_at(shelved.events[-1].event_ms + 1)
