"""The recordings in a database, by the interface by which all readers read them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, overload

from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.timeline import LooseEnd
from orderbook_desktop.storage.store.bookless import BooklessRun, BooklessRuns, all_segments
from orderbook_desktop.storage.store.bookmarks import DatabaseBookmarks
from orderbook_desktop.storage.store.checkpoints import Checkpoints, SegmentBooks, StoredBook
from orderbook_desktop.storage.store.chunks import ChunkStore, packed_chunk, stored_chunk
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import being_imported
from orderbook_desktop.storage.store.packing import DamagedDocument, chunk_key
from orderbook_desktop.storage.store.raw_events import IdRange, RawEvent, RawEvents
from orderbook_desktop.storage.store.recording_store import (
    ChunkSpan,
    ProvableStore,
    RecordingStore,
    SegmentStore,
    StoredChunk,
    Stray,
)
from orderbook_desktop.storage.store.schema import (
    CHECKPOINTS,
    DEPTH_CHUNKS,
    Document,
)
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.segments import (
    misplaced_segments,
    read_segment,
    read_segments,
    recorded_markets,
)
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.unclaimed_events import Claim, unclaimed_events
from orderbook_desktop.storage.store.witnesses import StoredWitness, Witnesses

_SPAN_FIELDS: Final = ("start_id", "last_id", "from_time", "to_time")


class DatabaseStore:
    """The recordings in `database`. It is a `ProvableStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._books = Checkpoints(database)
        self._chunks = ChunkStore(database)
        self._bookless = BooklessRuns(database)
        self._witnesses = Witnesses(database)
        # By market: each adapts to how many ids its market uses.
        self._raw: dict[str, RawEvents] = {}
        self.trades = DatabaseTrades(database)
        self.bookmarks = DatabaseBookmarks(database)

    async def markets(self) -> list[str]:
        """Return the markets that have segments (see `RecordingStore`)."""
        found = await recorded_markets(self._database)
        for market in found:
            if not isinstance(market, str):
                raise DamagedDocument(f"a segment is of the market {market!r:.40}")
        return sorted(map(str, found))

    async def segments(self, market: str) -> list[StoredSegment]:
        """Return the segments of `market` (see `RecordingStore`)."""
        return await read_segments(self._database, market)

    async def segment(self, segment_id: str) -> StoredSegment | None:
        """Return a segment as it is now (see `RecordingStore`)."""
        return await read_segment(self._database, segment_id)

    async def chunk(self, segment_id: str, start_id: int) -> StoredChunk | None:
        """Return a chunk (see `RecordingStore`)."""
        chunks = self._database.collection(DEPTH_CHUNKS)
        document = await chunks.find_one({"_id": chunk_key(segment_id, start_id)})
        return None if document is None else chunk_in(document, segment_id)

    async def chunks_in(
        self, market: str, segment_id: str, first_minute: int, last_minute: int
    ) -> dict[int, StoredChunk]:
        """Return the chunks of a segment in some minutes (see `SegmentStore`)."""
        query = {"market": market, "minute": {"$gte": first_minute, "$lte": last_minute}}
        found = await self._database.collection(DEPTH_CHUNKS).find(query).to_list(None)
        return {
            start_id: chunk_in(document, segment_id)
            for document in found
            if isinstance(start_id := document.get("start_id"), int)
            and document["_id"] == chunk_key(segment_id, start_id)
        }

    async def first_chunks(self, segments: Sequence[StoredSegment]) -> dict[str, StoredChunk]:
        """Return the first chunks of segments (see `ProvableStore`)."""
        by_key = {
            chunk_key(stored.id, stored.segment.snapshot_id): stored.id for stored in segments
        }
        found = await self._chunks_with(by_key)
        return {by_key[key]: chunk_in(document, by_key[key]) for key, document in found.items()}

    async def _chunks_with(self, keys: Iterable[str]) -> dict[str, Document]:
        query = {"_id": {"$in": list(keys)}}
        found = await self._database.collection(DEPTH_CHUNKS).find(query).to_list(None)
        return {document["_id"]: document for document in found}

    async def chunk_spans(
        self, market: str, first_minute: int, last_minute: int
    ) -> list[ChunkSpan]:
        """Return the spans of chunks (see `RecordingStore`)."""
        query = {"market": market, "minute": {"$gte": first_minute, "$lte": last_minute}}
        found = await self._database.collection(DEPTH_CHUNKS).find(query, {"data": 0}).to_list(None)
        return [span for document in found if (span := _span_of(document)) is not None]

    async def chunk_span_ending_at(self, segment_id: str, last_id: int) -> ChunkSpan | None:
        """Return the span of a chunk (see `RecordingStore`)."""
        ending = {"segment": segment_id, "last_id": last_id}
        found = await self._database.collection(DEPTH_CHUNKS).find_one(ending, {"data": 0})
        return None if found is None else _span_of(found)

    async def chunk_ending_at(self, market: str, last_id: int) -> StoredChunk | None:
        """Return a chunk that ends there (see `SegmentStore`)."""
        ending = {"market": market, "last_id": last_id}
        found = await self._database.collection(DEPTH_CHUNKS).find(ending).to_list(None)
        with_book = [document for document in found if await self._has_book(document)]
        return chunk_in(with_book[0], with_book[0]["segment"]) if with_book else None

    async def _has_book(self, document: Document) -> bool:
        segment = await read_segment(self._database, document["segment"])
        return segment is not None and segment.has_book

    async def book(self, key: str) -> StoredBook | None:
        """Return a book (see `RecordingStore`)."""
        return await self._books.get(key)

    async def events_after(self, market: str, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return raw events without a hole (see `RecordingStore`)."""
        return await self._raw_of(market).run_after(after_id, last_id)

    async def events(self, market: str, ids: Sequence[int]) -> list[DepthDiff]:
        """Return raw events by their ids (see `RecordingStore`)."""
        return await self._raw_of(market).with_ids(ids)

    async def count_raw(self, market: str, after_id: int, last_id: int) -> int:
        """Return how many raw events follow (see `RecordingStore`)."""
        return len(await self._raw_of(market).ids_after(after_id, last_id))

    async def bookless(self, market: str, *, waiting: bool = False) -> list[BooklessRun]:
        """Return the runs without a book (see `RecordingStore`)."""
        return await self._bookless.of(market, waiting=waiting)

    async def all_segments(self, market: str) -> tuple[list[StoredSegment], list[BooklessRun]]:
        """Return the segments and the runs without a book (see `ProvableStore`)."""
        return await all_segments(self._database, market)

    async def loose_end(self, market: str, after_id: int) -> LooseEnd | None:
        """Return the end of the loose events (see `RecordingStore`)."""
        return await self._bookless.end_after(market, after_id)

    async def book_keys(self, segment_id: str) -> list[tuple[object, object]]:
        """Return update id and key of each book of a segment (see `ProvableSegments`)."""
        return await self._books.keys(segment_id)

    async def books_of(self, segment_ids: Sequence[str]) -> SegmentBooks:
        """Return the books of segments (see `ProvableStore`)."""
        return await self._books.of_segments(segment_ids)

    async def books(self, keys: Sequence[str]) -> dict[str, StoredBook]:
        """Return books (see `ProvableSegments`)."""
        return await self._books.some(keys)

    async def runs(self, market: str, ranges: Sequence[IdRange]) -> list[list[DepthDiff]]:
        """Return the next events of ranges (see `ProvableStore`)."""
        return await self._raw_of(market).runs(ranges)

    async def witness_keys(self, market: str) -> list[tuple[int, str]]:
        """Return update id and key of each witness (see `ProvableStore`)."""
        return await self._witnesses.keys(market)

    async def joined(self, market: str, first_id: int, last_id: int) -> list[tuple[int, str]]:
        """Return the witnesses that were joined to books (see `SegmentStore`)."""
        return await self._witnesses.joined(market, first_id, last_id)

    async def witnesses(self, keys: Sequence[str]) -> dict[str, StoredWitness]:
        """Return witnesses (see `SegmentStore`)."""
        return await self._witnesses.some(keys)

    async def lost_events(self, market: str, ids: Collection[int]) -> set[int]:
        """Return which of `ids` are not stored (see `ProvableStore`)."""
        lost = set(ids) - await self._raw_of(market).stored(ids)
        return lost - await self._chunks.archived_ids(market, lost) if lost else lost

    def unclaimed_events(
        self, market: str, claims: Iterable[Claim], known: Sequence[int]
    ) -> AsyncGenerator[list[RawEvent]]:
        """Iterate over the raw events that no claim includes (see `ProvableStore`)."""
        return unclaimed_events(self._raw_of(market), claims, known)

    async def misplaced_segments(self, market: str) -> list[str]:
        """Return the segments that name another market (see `ProvableStore`)."""
        return await misplaced_segments(self._database, market)

    async def stray_chunks(
        self, market: str, known: Collection[str], first_minute: int, end_minute: int
    ) -> list[Stray]:
        """Return the chunks without their segments (see `ProvableStore`)."""
        query = {"market": market, "minute": {"$gte": first_minute, "$lt": end_minute}}
        return await self._strays(DEPTH_CHUNKS, query, known, "start_id")

    async def stray_books(self, market: str, known: Collection[str]) -> list[Stray]:
        """Return the books without their segments (see `ProvableStore`)."""
        return await self._strays(CHECKPOINTS, {"market": market}, known, "update_id")

    async def _strays(
        self, kind: str, query: Document, known: Collection[str], id_field: str
    ) -> list[Stray]:
        # Comparing with thousands of known segments takes SecantusDB too long.
        fields = {"market": 1, "segment": 1, "new": 1, id_field: 1}
        return [
            _stray(kind, document, id_field)
            for document in await self._database.collection(kind).find(query, fields).to_list(None)
            # A book that is new is stored just before its segment.
            if document.get("new") is not True and _is_stray(document.get("segment"), known)
        ]

    async def is_there(self, stray: Stray) -> bool:
        """Whether the chunk or book is still stored (see `ProvableStore`)."""
        collection = self._database.collection(stray.kind)
        return await collection.find_one({"_id": stray.key}, {"_id": 1}) is not None

    async def being_imported(self) -> set[str]:
        """Return the segments that are being imported (see `ProvableStore`)."""
        return await being_imported(self._database)

    def _raw_of(self, market: str) -> RawEvents:
        return self._raw.setdefault(market, RawEvents(self._database, market))


@overload
def store_of(place: Database | ProvableStore) -> ProvableStore: ...


@overload
def store_of(place: Database | RecordingStore) -> RecordingStore: ...


@overload
def store_of(place: Database | SegmentStore) -> SegmentStore: ...


def store_of(place: Database | SegmentStore) -> SegmentStore:
    """Return the store of the recordings in `place`: a database, or a store itself."""
    return DatabaseStore(place) if isinstance(place, Database) else place


def chunk_in(document: Document, segment_id: str) -> StoredChunk:
    """Return the chunk that `document` stores, not unpacked yet."""
    last_id, data = document.get("last_id"), document.get("data")
    last_event_ms = document.get("to_time")
    return StoredChunk(
        last_id if isinstance(last_id, int) else None,
        len(data) if isinstance(data, bytes) else 0,
        partial(stored_chunk, document, segment_id),
        partial(packed_chunk, document, segment_id),
        in_ms(last_event_ms) if isinstance(last_event_ms, int) else None,
    )


def _is_stray(named: object, known: Collection[str]) -> bool:
    """Whether a document that names the segment `named` belongs to none of `known`.

    The field of a damaged one may be a list of segments.
    """
    if isinstance(named, list):
        return all(_is_stray(name, known) for name in named)
    return not (isinstance(named, str) and named in known)


def _span_of(document: Document) -> ChunkSpan | None:
    numbers: list[Any] = [document.get(name) for name in _SPAN_FIELDS]
    segment_id = document.get("segment")
    if not all(isinstance(number, int) for number in numbers):
        return None
    return ChunkSpan(segment_id, *numbers)


def _stray(kind: str, document: Document, id_field: str) -> Stray:
    update_id = document.get(id_field)
    return Stray(kind, document["_id"], document["market"], document.get("segment"), update_id)
