"""Recordings put together by hand: segments, raw or archived as far as a test needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from orderbook_desktop.core.archive import encode_loose, encode_minutes
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image, image_of
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.segments import GapCause, Segment, TimesSeen
from orderbook_desktop.storage.recorder.event_log import EventLog
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert
from orderbook_desktop.storage.store.horizons import horizon_document
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.store.packing import pack, pack_chunk
from orderbook_desktop.storage.store.schema import RECORDER
from orderbook_desktop.storage.store.sealing import SEAL, sealed
from orderbook_desktop.storage.store.segment_documents import (
    StoredIds,
    archive_document,
    bookless_document,
    front_document,
    progress_document,
    sealed_parts,
)
from orderbook_desktop.storage.store.segments import change_segment
from tests.storage.recording_fixtures import Tape

_numbers = count()


@dataclass
class Shelved:
    """A segment that was stored: its first book and its events."""

    id: str
    base: BookImage
    events: list[DepthDiff]
    archived: int = 0
    chunks: list[tuple[int, int]] = field(default_factory=list)

    @property
    def market(self) -> str:
        return self.base.market

    @property
    def last_id(self) -> int:
        return self.events[-1].final_id if self.events else self.base.last_update_id

    def book_after(self, index: int) -> BookImage:
        """The book after the event at `index`, from first principles."""
        return after(self.base, self.events[: index + 1])

    def book_at(self, event_ms: int) -> BookImage:
        """The book after the last event not later than `event_ms`."""
        return after(self.base, [one for one in self.events if one.event_ms <= event_ms])


def after(base: BookImage, events: Iterable[DepthDiff]) -> BookImage:
    """`base` with `events` applied, by the book of the live program."""
    book = Book()
    snapshot = decode_snapshot(encode_image(base), base.market, base.event_ms, base.received_ns)
    book.load(msgspec.structs.replace(snapshot, horizon=base.horizon))
    for event in events:
        book.apply(event)
    return image_of(book, base.market)


def book_document(segment_id: str, book: BookImage, *, is_base: bool = False) -> dict[str, Any]:
    """The document of a stored book: a checkpoint, or the book that the segment begins with."""
    return sealed(
        {
            "_id": f"{segment_id}:{book.last_update_id}",
            "segment": segment_id,
            "market": book.market,
            "update_id": book.last_update_id,
            "time": book.event_ms,
            "received_ns": book.received_ns,
            "horizon": horizon_document(book.horizon),
            "base": is_base,
            "new": False,
            "payload": pack(encode_image(book)),
        }
    )


class Shelf:
    """Puts segments into a database, as recorder and archiver leave them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def put(
        self,
        tape: Tape,
        number: int | Sequence[DepthDiff],
        cause: GapCause | None = GapCause.USER,
        detail: str = "",
        key: str = "",
    ) -> Shelved:
        """Store a segment of the tape's next `number` events (or of these), all of them raw."""
        book = Book()
        book.load(tape.snapshot())
        base = image_of(book, tape.market)
        events = tape.diffs(number) if isinstance(number, int) else list(number)
        shelved = Shelved(key or f"{next(_numbers):024x}", base, events)
        if not self.database.prepared:
            await self.database.prepare()
        await self.write(events)
        checkpoint = book_document(shelved.id, base, is_base=True)
        await self.database.collection("checkpoints").insert_one(checkpoint)
        segment = segment_of(shelved, cause, detail)
        document = whole_document(shelved.id, segment, times_of(shelved).back_ms)
        await self.database.collection("segments").insert_one(document)
        return shelved

    async def write(self, events: Sequence[DepthDiff]) -> None:
        """Store raw events."""
        for begin in range(0, len(events), 500):
            some = [Insert.of(one) for one in events[begin : begin + 500]]
            assert not (await EventLog(self.database).insert(some)).refused

    async def put_loose(
        self,
        events: Sequence[DepthDiff],
        key: str = "",
        *,
        archived: bool = False,
        origin: str = RECORDER,
    ) -> str:
        """Store a run of events that no book reaches; return its key. Write raw ones apart."""
        key = key or f"{next(_numbers):024x}"
        if not self.database.prepared:
            await self.database.prepare()
        loose = [StoredIds.of(event) for event in events]
        document = bookless_document(key, events[0].market, loose, origin)
        if archived:
            chunk = pack_chunk(encode_loose(events))
            size = await ChunkStore(self.database).put(key, chunk, after_id=document["snapshot_id"])
            document |= {"to_archive": False, "archived_id": document["last_id"]}
            document |= {"archived_events": len(events), "archived_bytes": size}
        await self.database.collection("segments").insert_one(resealed(document))
        return key

    async def archive(self, shelved: Shelved, number: int | None = None, minutes: int = 1) -> None:
        """Archive the next `number` events of a segment (default: all), and delete them raw."""
        for step in await self.prepare_archive(shelved, number, minutes):
            await self.commit(shelved, step)
            await self.sweep(shelved, step)

    async def prepare_archive(
        self, shelved: Shelved, number: int | None = None, minutes: int = 1
    ) -> list[Archived]:
        """Write chunks that no segment has yet."""
        end = len(shelved.events) if number is None else shelved.archived + number
        events = shelved.events[shelved.archived : end]
        start = shelved.book_after(shelved.archived - 1)
        steps = []
        for chunk, _ in encode_minutes(start, events, minutes):
            header = chunk.header
            size = await ChunkStore(self.database).put(shelved.id, pack_chunk(chunk))
            assert header.start_id is not None
            step = Archived(header.start_id, header.coverage.last_id, header.event_count, size)
            shelved.chunks.append((step.start_id, step.last_id))
            steps.append(step)
        shelved.archived = end
        return steps

    async def commit(self, shelved: Shelved, step: Archived) -> None:
        """Commit a chunk."""
        where = {"_id": shelved.id, "archived_id": step.start_id}
        assert await change_segment(
            self.database,
            where,
            lambda document: {
                "archived_id": step.last_id,
                "archived_events": document["archived_events"] + step.events,
                "archived_bytes": document["archived_bytes"] + step.size,
            },
        )

    async def sweep(self, shelved: Shelved, step: Archived) -> None:
        """Delete the raw events of a chunk."""
        span = {"$gt": step.start_id, "$lte": step.last_id}
        where = {"market": shelved.market, "u": span}
        await self.database.collection("depth_events").delete_many(where)

    async def change(self, collection: str, key: Any, **fields: object) -> None:
        """Change fields of a document, and seal it again."""
        found = await self.database.collection(collection).find_one({"_id": key})
        assert found is not None
        changed = resealed(found | fields)
        await self.database.collection(collection).replace_one({"_id": key}, changed)


def resealed(document: dict[str, Any]) -> dict[str, Any]:
    """A document with the seals that fit its fields; without those of fields that it lacks."""
    seals = {name for name in document if name == SEAL or name.endswith("_sum")}
    plain = {name: value for name, value in document.items() if name not in seals}
    if "data" in plain:
        return plain | {SEAL: sealed(plain | {"data": plain["data"][:16]})[SEAL]}
    return sealed_parts(plain) if len(seals) > 1 else sealed(plain)


def whole_document(
    key: str, segment: Segment, back_ms: int | None = 0, origin: str = RECORDER
) -> dict[str, Any]:
    """A segment as it is stored before anything of it is archived."""
    return {
        **front_document(key, segment, origin),
        **progress_document(key, segment, back_ms, owner_document()),
        **archive_document(key, segment.snapshot_id),
    }


@dataclass(frozen=True)
class Archived:
    """A chunk that was written."""

    start_id: int
    last_id: int
    events: int
    size: int


def segment_of(shelved: Shelved, cause: GapCause | None, detail: str) -> Segment:
    """The fields that the recorder stores of a segment."""
    base, events = shelved.base, shelved.events
    return Segment(
        market=shelved.market,
        snapshot_id=base.last_update_id,
        first_id=events[0].first_id if events else base.last_update_id + 1,
        last_id=shelved.last_id,
        first_event_ms=base.event_ms or (events[0].event_ms if events else 0),
        last_event_ms=times_of(shelved).latest_ms,
        event_count=len(events),
        scale=base.scale,
        end_cause=cause,
        end_detail=detail,
    )


def times_of(shelved: Shelved) -> TimesSeen:
    """The times of a segment as the recorder counts them."""
    times = TimesSeen(shelved.base.event_ms)
    for event in shelved.events:
        times = times.and_then(event.event_ms)
    return times
