"""A long recording in a database, made of a short capture that is repeated: shifted ids and times.

Between two rounds one event brings the book back to where it began, so that the whole is one
unbroken segment, archived in chunks of a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from orderbook_desktop.core.archive import ArchiveChunk, DecodedChunk, decode_chunk, encode_minutes
from orderbook_desktop.core.archive.minutes import MINUTE_MS
from orderbook_desktop.core.archive.tokens import read_signed, write_signed
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image, image_of
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import format_units
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.store.packing import pack_chunk
from orderbook_desktop.storage.store.schema import IMPORT, SEGMENTS
from orderbook_desktop.storage.store.segment_documents import (
    archive_document,
    front_document,
    progress_document,
)
from tests.bench.archive_size import load_recording

_NS_A_MS = 1_000_000


@dataclass(frozen=True)
class Tile:
    """One round of the capture, as chunks; every next one is so many ids and ms later."""

    name: str
    start: BookImage
    chunks: list[ArchiveChunk]
    events: int
    ids: int
    ms: int

    @property
    def market(self) -> str:
        """The market of the capture."""
        return self.start.market

    @property
    def first_ms(self) -> int:
        """The time of the first event of the first round."""
        return self.chunks[0].header.coverage.from_event_ms

    def book_at(self, event_ms: int) -> BookImage:
        """Return the book at a time of the first round."""
        found: DecodedChunk | None = None
        for chunk in self.chunks:
            if chunk.header.coverage.from_event_ms <= event_ms:
                found = decode_chunk(chunk)
        assert found is not None
        return found.book_after(found.last_until(event_ms))


@dataclass(frozen=True)
class LongRecording:
    """A recording of so many rounds of `tile`."""

    tile: Tile
    rounds: int
    bytes: int

    @property
    def events(self) -> int:
        """How many events there are."""
        return self.tile.events * self.rounds


def make_tile() -> Tile:
    """Return the capture as chunks that can be repeated."""
    recording = load_recording()
    run = [*recording.run, _way_back(recording.start, recording.run)]
    chunks = [chunk for chunk, _ in encode_minutes(recording.start, run)]
    assert not any(chunk.columns.odd.odd.tokens for chunk in chunks), "texts have ids in them"
    span_ms = run[-1].event_ms - run[0].event_ms + 100
    return Tile(
        recording.name,
        recording.start,
        chunks,
        len(run),
        run[-1].final_id - recording.start.last_update_id,
        -(-span_ms // MINUTE_MS) * MINUTE_MS,
    )


async def store(database: Database, tile: Tile, hours: float) -> LongRecording:
    """Write a recording of that length."""
    await database.prepare()
    rounds = round(hours * 60 * MINUTE_MS / tile.ms)
    chunks, size = ChunkStore(database), 0
    start_ms, start_ns = tile.start.event_ms, tile.start.received_ns
    for number in range(rounds):
        for chunk in tile.chunks:
            later = _shifted(chunk, (start_ms, start_ns), number * tile.ids, number * tile.ms)
            coverage = later.header.coverage
            start_ms, start_ns = coverage.to_event_ms, coverage.to_received_ns
            size += await chunks.put("long", pack_chunk(later))
    first, last = tile.chunks[0].header, tile.chunks[-1].header
    last_id = tile.start.last_update_id + rounds * tile.ids
    segment = Segment(
        tile.market,
        tile.start.last_update_id,
        int(decode_chunk(tile.chunks[0]).numbers.first_ids[0]),
        last_id,
        first.coverage.from_event_ms,
        last.coverage.to_event_ms + (rounds - 1) * tile.ms,
        rounds * tile.events,
        tile.start.scale,
        GapCause.USER,
    )
    document = {
        **front_document("long", segment, IMPORT),
        **progress_document("long", segment, 0, owner_document(), to_archive=False),
        **archive_document("long", last_id, segment.event_count, size),
    }
    await database.collection(SEGMENTS).insert_one(document)
    return LongRecording(tile, rounds, size)


def _shifted(chunk: ArchiveChunk, start: tuple[int, int], ids: int, ms: int) -> ArchiveChunk:
    """Return `chunk` with later ids and times; all else in it is relative to its start.

    `start` is when the last event of the chunk before it was (ms), and was received (ns).
    """
    header, coverage = chunk.header, chunk.header.coverage
    assert header.start_id is not None
    steps = read_signed(chunk.columns.events.event_ms)
    steps = np.concatenate(([steps[0] + ms], steps[1:]))
    events = msgspec.structs.replace(chunk.columns.events, event_ms=write_signed(steps))
    moved = msgspec.structs.replace(
        coverage,
        first_id=coverage.first_id + ids,
        last_id=coverage.last_id + ids,
        from_event_ms=coverage.from_event_ms + ms,
        to_event_ms=coverage.to_event_ms + ms,
        from_received_ns=coverage.from_received_ns + ms * _NS_A_MS,
        to_received_ns=coverage.to_received_ns + ms * _NS_A_MS,
    )
    return ArchiveChunk(
        msgspec.structs.replace(
            header,
            coverage=moved,
            start_id=header.start_id + ids,
            start_event_ms=start[0],
            start_received_ns=start[1],
        ),
        msgspec.structs.replace(chunk.columns, events=events),
    )


def _way_back(start: BookImage, run: list[DepthDiff]) -> DepthDiff:
    """Return the event that turns the book after `run` into `start` again."""
    book = Book()
    book.load(decode_snapshot(encode_image(start), start.market, start.event_ms))
    for event in run:
        book.apply(event)
    end = image_of(book, start.market)
    sides = []
    for before, after in ((start.bids, end.bids), (start.asks, end.asks)):
        wanted = dict(zip(before.prices.tolist(), before.quantities.tolist(), strict=True))
        standing = dict.fromkeys(after.prices.tolist(), 0)
        sides.append(
            [
                (format_units(p, start.scale.price, 8), format_units(q, start.scale.quantity, 8))
                for p, q in sorted((standing | wanted).items())
            ]
        )
    last = run[-1]
    head = {"e": "depthUpdate", "E": last.event_ms + 100, "s": start.market}
    ids = {"U": last.final_id + 1, "u": last.final_id + 1, "b": sides[0][::-1], "a": sides[1]}
    return decode_diff(msgspec.json.encode({**head, **ids}), last.received_ns + 100 * _NS_A_MS)
