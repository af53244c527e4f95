"""The parts of a recording, and the interface by which all readers read them.

A recording consists of *segments* (unbroken runs of update ids), *chunks* (the archive: some
minutes of a segment, with the book that they begin with), *books* inside segments (base and
checkpoints), *raw* events that are not archived yet, runs *without a book* (of loose events, which
no book reaches) and *witnesses* (books that the exchange gave meanwhile). Readers, exports and the
proof use only `RecordingStore`. `store.database_store` implements it for a database.

All methods may raise errors of the storage; for a database these are PyMongo's. Damaged parts raise
`DamagedDocument`, `DamagedChunk` or `MalformedMessage`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from orderbook_desktop.core.archive import ArchiveChunk
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.timeline import LooseEnd
from orderbook_desktop.storage.store.bookless import BooklessRun
from orderbook_desktop.storage.store.bookmarks import BookmarkStore
from orderbook_desktop.storage.store.checkpoints import SegmentBooks, StoredBook
from orderbook_desktop.storage.store.packing import PackedChunk
from orderbook_desktop.storage.store.raw_events import IdRange, RawEvent
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.trade_store import TradeStore
from orderbook_desktop.storage.store.unclaimed_events import Claim
from orderbook_desktop.storage.store.witnesses import StoredWitness


class StoredChunk(Struct, frozen=True):
    """A chunk of the archive, not unpacked yet.

    `last_id` is the last update id that its document names, None if it names none. `size` is its
    size in bytes. `unpack` returns the chunk, and raises `DamagedChunk` if any byte differs from
    what was written. It is slow, so call it in a thread. `packed` returns the chunk as it is
    packed, and raises the same. `last_event_ms` is the latest time that its document names, if any.
    """

    last_id: int | None
    size: int
    unpack: Callable[[], ArchiveChunk]
    packed: Callable[[], PackedChunk]
    last_event_ms: int | None = None


class ChunkSpan(Struct, frozen=True):
    """What a chunk covers, as its document says: ids after `start_id` to `last_id`, and times."""

    segment_id: object
    start_id: int
    last_id: int
    from_event_ms: int
    to_event_ms: int


class Stray(Struct, frozen=True):
    """A chunk or a book (`kind`) whose segment is not stored; `key` is its `_id`."""

    kind: str
    key: object
    market: str
    segment_id: object
    update_id: int | None


class SegmentStore(Protocol):
    """A place that holds recordings, as far as one segment is read."""

    async def segment(self, segment_id: str) -> StoredSegment | None:
        """Return a segment as it is now; None if it was removed."""
        ...

    async def chunk(self, segment_id: str, start_id: int) -> StoredChunk | None:
        """Return the segment's chunk that starts with the book at `start_id`, if there is one."""
        ...

    async def chunks_in(
        self, market: str, segment_id: str, first_minute: int, last_minute: int
    ) -> dict[int, StoredChunk]:
        """Return by start id the segment's chunks whose first event is in these minutes.

        Damaged chunks that lack their minute are left out.
        """
        ...

    async def chunk_spans(
        self, market: str, first_minute: int, last_minute: int
    ) -> list[ChunkSpan]:
        """Return the spans of the chunks of `market` whose first event is in these minutes.

        Damaged chunks that lack their span are left out.
        """
        ...

    async def chunk_span_ending_at(self, segment_id: str, last_id: int) -> ChunkSpan | None:
        """Return the span of the segment's chunk that ends at `last_id`, if there is one."""
        ...

    async def chunk_ending_at(self, market: str, last_id: int) -> StoredChunk | None:
        """Return a chunk with a book, of any segment of `market`, that ends at `last_id`."""
        ...

    async def book(self, key: str) -> StoredBook | None:
        """Return the book with that `book_key`, if there is one."""
        ...

    async def events_after(self, market: str, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return the next raw events after `after_id` without a hole, some hundred at a time.

        No event goes beyond `last_id`. Empty if the next event is missing.
        """
        ...

    async def bookless(self, market: str, *, waiting: bool = False) -> list[BooklessRun]:
        """Return the runs without a book; if `waiting`, only those not archived."""
        ...

    async def joined(self, market: str, first_id: int, last_id: int) -> list[tuple[int, str]]:
        """Return the witnesses that were joined to books as of `first_id` to `last_id`, in order.

        Each is the update id of the book, and the key of the witness.
        """
        ...

    async def witnesses(self, keys: Sequence[str]) -> dict[str, StoredWitness]:
        """Return by key those of at most 50 witnesses that are stored."""
        ...


class RecordingStore(SegmentStore, Protocol):
    """A place that holds recordings, as far as they are read."""

    @property
    def trades(self) -> TradeStore:
        """The trades that are stored here."""
        ...

    @property
    def bookmarks(self) -> BookmarkStore:
        """The bookmarks that are stored here."""
        ...

    async def markets(self) -> list[str]:
        """Return the markets that have segments, by name."""
        ...

    async def segments(self, market: str) -> list[StoredSegment]:
        """Return the segments of `market`, in order of their first id."""
        ...

    async def events(self, market: str, ids: Sequence[int]) -> list[DepthDiff]:
        """Return the stored raw events with these final ids, in order."""
        ...

    async def count_raw(self, market: str, after_id: int, last_id: int) -> int:
        """Return how many raw events follow `after_id` without a hole, through `last_id`."""
        ...

    async def loose_end(self, market: str, after_id: int) -> LooseEnd | None:
        """Return last id and time of the loose events after `after_id`, if there are any."""
        ...


class ProvableSegments(SegmentStore, Protocol):
    """A place that holds recordings, as far as the proof of one segment reads them."""

    async def book_keys(self, segment_id: str) -> list[tuple[object, object]]:
        """Return update id and key of each book of a segment, as they are stored."""
        ...

    async def books(self, keys: Sequence[str]) -> dict[str, StoredBook]:
        """Return by key those of at most 50 books that are stored."""
        ...


class ProvableStore(RecordingStore, ProvableSegments, Protocol):
    """A store that can be proven: it also finds misplaced and lost parts.

    It reads parts of many segments at once, as each query takes its time. Such an answer may lack a
    part: then ask for the part itself.
    """

    async def all_segments(self, market: str) -> tuple[list[StoredSegment], list[BooklessRun]]:
        """Return what `segments` and `bookless` return."""
        ...

    async def books_of(self, segment_ids: Sequence[str]) -> SegmentBooks:
        """Return the books of at most 50 segments; no keys if there are many books."""
        ...

    async def first_chunks(self, segments: Sequence[StoredSegment]) -> dict[str, StoredChunk]:
        """Return by segment the chunk that it begins with, of at most 50 segments."""
        ...

    async def runs(self, market: str, ranges: Sequence[IdRange]) -> list[list[DepthDiff]]:
        """Return for the first of `ranges`, at least one, what `events_after` returns, or nothing.

        `ranges` are in order of their beginnings, and have few events.
        """
        ...

    async def witness_keys(self, market: str) -> list[tuple[int, str]]:
        """Return update id and key of each witness, in order of update id."""
        ...

    async def lost_events(self, market: str, ids: Collection[int]) -> set[int]:
        """Return which of `ids` are neither raw events nor in an archived segment with a book."""
        ...

    def unclaimed_events(
        self, market: str, claims: Iterable[Claim], known: Sequence[int]
    ) -> AsyncGenerator[list[RawEvent]]:
        """Iterate over the raw events that no claim includes.

        They come in parts. `known` are ids that events may have, in order. Close the generator.
        """
        ...

    async def misplaced_segments(self, market: str) -> list[str]:
        """Return the ids of segments of `market` that name another market: they are damaged."""
        ...

    async def stray_chunks(
        self, market: str, known: Collection[str], first_minute: int, end_minute: int
    ) -> list[Stray]:
        """Return the chunks in these minutes (without the last) whose segment is not in `known`."""
        ...

    async def stray_books(self, market: str, known: Collection[str]) -> list[Stray]:
        """Return the books whose segment is not in `known`."""
        ...

    async def is_there(self, stray: Stray) -> bool:
        """Whether the chunk or book is still stored."""
        ...

    async def being_imported(self) -> set[str]:
        """Return the ids of segments that are being imported: their chunks come before them."""
        ...
