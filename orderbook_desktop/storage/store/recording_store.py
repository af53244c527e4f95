"""What a recording consists of, and how it is read, wherever it is kept.

A recording is made of *runs* (segments: unbroken stretches of update ids), *chunks* (the archive:
a minute of a run, with the book that it begins with), *books* inside runs, raw events that are not
archived yet, *loose* events (which belong to no run), and *witnesses* (books that the exchange
gave meanwhile). `RecordingStore` is all that the readers, the exports and the proof know of the
place that keeps these. `DatabaseStore` reads them from a database.

All methods may raise what the place raises: of a database these are PyMongo's errors. What is not
as it was written raises `DamagedDocument`, `DamagedChunk` or `MalformedMessage`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, overload

from orderbook_desktop.core.archive import ArchiveChunk
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.timeline import LooseEnd
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.store.checkpoints import StoredBook, stored_book
from orderbook_desktop.storage.store.chunks import ChunkStore, chunk_key, stored_chunk
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import being_imported
from orderbook_desktop.storage.store.loose_events import LooseEvents, LooseList, missing_loose
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.schema import (
    CHECKPOINTS,
    DEPTH_CHUNKS,
    SEGMENTS,
    Document,
)
from orderbook_desktop.storage.store.segments import StoredSegment, read_segment, read_segments
from orderbook_desktop.storage.store.witnesses import Witnesses

# What says where a chunk lies.
_PLACE: Final = ("start_id", "last_id", "from_event_ms", "to_event_ms")


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk of the archive, not unpacked yet.

    `last_id` is the last update id that it says it has; None where it doesn't say so. `size` is
    how many bytes it takes. `unpack` returns it, and raises `DamagedChunk` unless all of it is as
    it was written; it takes a while, so call it in a thread.
    """

    last_id: int | None
    size: int
    unpack: Callable[[], ArchiveChunk]


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk says that it lies: its run, ids after `start_id` through `last_id`, times."""

    segment_id: str | None
    start_id: int
    last_id: int
    from_event_ms: int
    to_event_ms: int


@dataclass(frozen=True, slots=True)
class Stray:
    """A chunk or a book (`kind`) whose run is not there; `key` names it."""

    kind: str
    key: object
    market: str
    segment_id: object
    update_id: int | None


class RecordingStore(Protocol):
    """Where recordings are kept, as far as they are read."""

    async def markets(self) -> list[str]:
        """Return the markets that have runs, by name."""
        ...

    async def segments(self, market: str) -> list[StoredSegment]:
        """Return the runs of `market`, by their first id."""
        ...

    async def segment(self, segment_id: str) -> StoredSegment | None:
        """Return a run as it is now; None where it is not there any more."""
        ...

    async def chunk(self, segment_id: str, start_id: int) -> StoredChunk | None:
        """Return the chunk of a run that starts with the book at `start_id`, if there is one."""
        ...

    async def places(self, market: str, first_minute: int, last_minute: int) -> list[ChunkPlace]:
        """Return where those chunks of `market` lie whose first event is in these minutes.

        One that doesn't say where it lies, being damaged, is left out.
        """
        ...

    async def place_ending_at(self, segment_id: str, last_id: int) -> ChunkPlace | None:
        """Return where the chunk of a run lies that ends at `last_id`, if there is one."""
        ...

    async def book(self, key: str) -> StoredBook | None:
        """Return the book of that `book_key`, if there is one."""
        ...

    async def events_after(self, market: str, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return raw events that follow `after_id` without a hole, some hundred at a time.

        None goes beyond `last_id`. Empty where the next one is not there.
        """
        ...

    async def events(self, market: str, ids: Sequence[int]) -> list[DepthDiff]:
        """Return the raw events of these final ids that are there, in order."""
        ...

    async def loose_lists(self, market: str, *, waiting: bool = False) -> list[LooseList]:
        """Return which events belong to no run; `waiting`: only those that are not archived."""
        ...

    async def loose_keys(self, market: str) -> list[str]:
        """Return the keys of the loose chunks, by their first update id."""
        ...

    async def loose_chunk(self, key: str) -> ArchiveChunk | None:
        """Return the loose chunk of that key, if there is one."""
        ...

    async def loose_end(self, market: str, after_id: int) -> LooseEnd | None:
        """Return where the loose events end, if some come after `after_id`."""
        ...


class ProvableStore(RecordingStore, Protocol):
    """What a proof asks for besides: all that is there, be it in the wrong place."""

    async def book_keys(self, segment_id: str) -> list[tuple[object, object]]:
        """Return update id and key of each book of a run, as they are stored."""
        ...

    async def witness_keys(self, market: str) -> list[tuple[int, str]]:
        """Return update id and key of each witness, by update id."""
        ...

    async def witness(self, key: str) -> Witness | None:
        """Return the witness of that key, if it is there."""
        ...

    async def missing_loose(self, market: str, known: Collection[int]) -> list[int]:
        """Return the final ids of loose events that were stored and are not there.

        Of those in `known` it is known that they are.
        """
        ...

    async def received_outside(
        self, market: str, ranges: Iterable[tuple[int, int]]
    ) -> dict[int, int]:
        """Return final ids and times of receipt (ns) of the raw events that no range has.

        A range is after one id through another.
        """
        ...

    async def stray_chunk(
        self, market: str, known: Sequence[str], first_minute: int, end_minute: int
    ) -> Stray | None:
        """Return a chunk from `first_minute` to before `end_minute` of a run not among `known`."""
        ...

    async def stray_books(self, market: str, known: Sequence[str]) -> list[Stray]:
        """Return the books of runs that are not among `known`."""
        ...

    async def is_there(self, stray: Stray) -> bool:
        """Whether it is there still."""
        ...

    async def being_imported(self) -> set[str]:
        """Return the ids of runs of which parts may be there before they are."""
        ...


class DatabaseStore:
    """The recordings in `database`; is a `ProvableStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chunks = ChunkStore(database)
        self._loose = LooseEvents(database)
        self._witnesses = Witnesses(database)
        # Each knows how many events its market has in how many ids.
        self._raw: dict[str, RawEvents] = {}

    async def markets(self) -> list[str]:
        """Return the markets that have runs (see `RecordingStore`)."""
        found = await self._database.collection(SEGMENTS).distinct("market")
        for one in found:
            if not isinstance(one, str):
                raise DamagedDocument(f"a segment is of the market {one!r:.40}")
        return sorted(found)

    async def segments(self, market: str) -> list[StoredSegment]:
        """Return the runs of `market` (see `RecordingStore`)."""
        return await read_segments(self._database, market)

    async def segment(self, segment_id: str) -> StoredSegment | None:
        """Return a run as it is now (see `RecordingStore`)."""
        return await read_segment(self._database, segment_id)

    async def chunk(self, segment_id: str, start_id: int) -> StoredChunk | None:
        """Return a chunk (see `RecordingStore`)."""
        chunks = self._database.collection(DEPTH_CHUNKS)
        document = await chunks.find_one({"_id": chunk_key(segment_id, start_id)})
        if document is None:
            return None
        last_id, data = document.get("last_id"), document.get("data")
        return StoredChunk(
            last_id if isinstance(last_id, int) else None,
            len(data) if isinstance(data, bytes) else 0,
            partial(stored_chunk, document, segment_id),
        )

    async def places(self, market: str, first_minute: int, last_minute: int) -> list[ChunkPlace]:
        """Return where chunks lie (see `RecordingStore`)."""
        query = {"market": market, "minute": {"$gte": first_minute, "$lte": last_minute}}
        found = await self._database.collection(DEPTH_CHUNKS).find(query, {"data": 0}).to_list(None)
        return [place for one in found if (place := _place_of(one)) is not None]

    async def place_ending_at(self, segment_id: str, last_id: int) -> ChunkPlace | None:
        """Return where a chunk lies (see `RecordingStore`)."""
        ending = {"segment": segment_id, "last_id": last_id}
        found = await self._database.collection(DEPTH_CHUNKS).find_one(ending, {"data": 0})
        return None if found is None else _place_of(found)

    async def book(self, key: str) -> StoredBook | None:
        """Return a book (see `RecordingStore`)."""
        document = await self._database.collection(CHECKPOINTS).find_one({"_id": key})
        return None if document is None else stored_book(document)

    async def events_after(self, market: str, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return raw events without a hole (see `RecordingStore`)."""
        return await self._raw_of(market).run_after(after_id, last_id)

    async def events(self, market: str, ids: Sequence[int]) -> list[DepthDiff]:
        """Return raw events by their ids (see `RecordingStore`)."""
        return await self._raw_of(market).those(ids)

    async def loose_lists(self, market: str, *, waiting: bool = False) -> list[LooseList]:
        """Return which events belong to no run (see `RecordingStore`)."""
        return await self._loose.lists(market, waiting=waiting)

    async def loose_keys(self, market: str) -> list[str]:
        """Return the keys of the loose chunks (see `RecordingStore`)."""
        return await self._chunks.loose_keys(market)

    async def loose_chunk(self, key: str) -> ArchiveChunk | None:
        """Return a loose chunk (see `RecordingStore`)."""
        return await self._chunks.get_loose(key)

    async def loose_end(self, market: str, after_id: int) -> LooseEnd | None:
        """Return where the loose events end (see `RecordingStore`)."""
        return await self._loose.end_after(market, after_id)

    async def book_keys(self, segment_id: str) -> list[tuple[object, object]]:
        """Return update id and key of each book of a run (see `ProvableStore`)."""
        books = self._database.collection(CHECKPOINTS)
        found = await books.find({"segment": segment_id}, {"update_id": 1}).to_list(None)
        return [(one.get("update_id"), one["_id"]) for one in found]

    async def witness_keys(self, market: str) -> list[tuple[int, str]]:
        """Return update id and key of each witness (see `ProvableStore`)."""
        return await self._witnesses.keys(market)

    async def witness(self, key: str) -> Witness | None:
        """Return a witness (see `ProvableStore`)."""
        return await self._witnesses.get(key)

    async def missing_loose(self, market: str, known: Collection[int]) -> list[int]:
        """Return the loose events that are lost (see `ProvableStore`)."""
        return await missing_loose(self._database, market, known)

    async def received_outside(
        self, market: str, ranges: Iterable[tuple[int, int]]
    ) -> dict[int, int]:
        """Return the raw events that no range has (see `ProvableStore`)."""
        return await self._raw_of(market).outside(ranges)

    async def stray_chunk(
        self, market: str, known: Sequence[str], first_minute: int, end_minute: int
    ) -> Stray | None:
        """Return a chunk without its run (see `ProvableStore`)."""
        span = {"$gte": first_minute, "$lt": end_minute}
        query: Document = {"market": market, "minute": span, "segment": {"$nin": [None, *known]}}
        found = await self._database.collection(DEPTH_CHUNKS).find_one(query, {"data": 0})
        return None if found is None else _stray(DEPTH_CHUNKS, found, "start_id")

    async def stray_books(self, market: str, known: Sequence[str]) -> list[Stray]:
        """Return the books without their runs (see `ProvableStore`)."""
        # Of a run that is about to be stored the book is there first.
        query = {"market": market, "segment": {"$nin": [None, *known]}, "new": None}
        books = self._database.collection(CHECKPOINTS)
        found = await books.find(query, {"payload": 0}).to_list(None)
        return [_stray(CHECKPOINTS, one, "update_id") for one in found]

    async def is_there(self, stray: Stray) -> bool:
        """Whether it is there still (see `ProvableStore`)."""
        collection = self._database.collection(stray.kind)
        return await collection.find_one({"_id": stray.key}, {"_id": 1}) is not None

    async def being_imported(self) -> set[str]:
        """Return the runs that are being imported (see `ProvableStore`)."""
        return await being_imported(self._database)

    def _raw_of(self, market: str) -> RawEvents:
        return self._raw.setdefault(market, RawEvents(self._database, market))


@overload
def store_of(place: Database | ProvableStore) -> ProvableStore: ...


@overload
def store_of(place: Database | RecordingStore) -> RecordingStore: ...


def store_of(place: Database | RecordingStore) -> RecordingStore:
    """Return the recordings in `place`: a database, or what reads another kind of place."""
    return DatabaseStore(place) if isinstance(place, Database) else place


def _place_of(document: Document) -> ChunkPlace | None:
    numbers: list[Any] = [document.get(name) for name in _PLACE]
    segment_id = document.get("segment")
    if not all(isinstance(one, int) for one in numbers):
        return None
    return ChunkPlace(segment_id if isinstance(segment_id, str) else None, *numbers)


def _stray(kind: str, document: Document, id_field: str) -> Stray:
    update_id = document.get(id_field)
    return Stray(kind, document["_id"], document["market"], document.get("segment"), update_id)
