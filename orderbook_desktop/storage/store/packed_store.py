"""The recordings in a packed file (`formats.packed_file`): `RecordingStore` without a database.

A record is the canonical bytes of a document (`storage.store.sealing`), seals included. All
segments of a file have ended and are archived, so there are no raw events in it. The `segment` of a
row is the number of the segment's own row.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive.minutes import MINUTE_MS
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.replay import Bookmark
from orderbook_desktop.core.timeline import LooseEnd
from orderbook_desktop.core.trade_coverage import TradeRun
from orderbook_desktop.formats.packed_file import (
    DamagedPackedFile,
    OtherFormat,
    PackedFile,
    PackedWriter,
    Rows,
)
from orderbook_desktop.storage.store.bookless import BooklessRun, bookless_run
from orderbook_desktop.storage.store.bookmarks import PackedBookmarks, put_bookmark
from orderbook_desktop.storage.store.checkpoints import (
    SegmentBooks,
    StoredBook,
    book_key,
    stored_book,
)
from orderbook_desktop.storage.store.chunks import chunk_in_segment
from orderbook_desktop.storage.store.database_store import chunk_in
from orderbook_desktop.storage.store.import_journal import ImportedSegment, archived_document
from orderbook_desktop.storage.store.packed_trades import (
    PackedTrades,
    put_trade_part,
    put_trade_run,
)
from orderbook_desktop.storage.store.packing import DamagedDocument, PackedChunk
from orderbook_desktop.storage.store.raw_events import IdRange, RawEvent
from orderbook_desktop.storage.store.recording_store import ChunkSpan, StoredChunk, Stray
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.storage.store.sealing import canonical_bytes
from orderbook_desktop.storage.store.segment_documents import StoredSegment, stored_segment
from orderbook_desktop.storage.store.trade_store import TradePart
from orderbook_desktop.storage.store.unclaimed_events import Claim
from orderbook_desktop.storage.store.witnesses import StoredWitness, stored_witness

_CHUNKS: Final = "chunks"
_BOOKS: Final = "books"
_WITNESSES: Final = "witnesses"
_SEGMENTS: Final = "segments"
# The row of a witness that was joined to no book.
NOT_JOINED: Final = -1
# The schema of the records. It is that of the database in which they first were as they are now: a
# later one that changes none of them has the same records.
PACKED_SCHEMA: Final = 3


class PackedRecords:
    """Writes the parts of a recording to `file`, a packed file, as records.

    Call `begin` for each market, in order of their names; then write its chunks, in order of their
    segments' numbers and start ids; then books, witnesses and segments in the order of their
    numbers; then the parts and the runs of trades in the order of their ids; then bookmarks in the
    order of their times; then `end`. Call `close` after the last market. Trades can only be written
    if the file `has_trades`, and bookmarks if it `has_bookmarks`.
    """

    def __init__(
        self, file: BinaryIO, *, has_trades: bool = False, has_bookmarks: bool = False
    ) -> None:
        self.has_trades = has_trades
        self.has_bookmarks = has_bookmarks
        self._writer = PackedWriter(
            file, PACKED_SCHEMA, has_trades=has_trades, has_bookmarks=has_bookmarks
        )

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._writer.size

    def begin(self, market: str) -> None:
        """Begin with the records of `market`."""
        self._writer.begin(market)

    def end(self) -> None:
        """End with the records of the market."""
        self._writer.end()

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()

    def put_chunk(
        self, number: int, segment_id: str, chunk: PackedChunk, after_id: int = 0
    ) -> None:
        """Write a chunk of the segment with that number; see `ChunkStore.put` for `after_id`."""
        coverage, start_id = chunk.header.coverage, chunk.header.start_id
        begin = after_id if start_id is None else start_id
        span = begin, coverage.last_id, coverage.from_event_ms, coverage.to_event_ms
        document = chunk_in_segment(chunk, segment_id, after_id=after_id)
        self._writer.add(_CHUNKS, (number, *span), canonical_bytes(document))

    def put_book(self, number: int, update_id: int, book: StoredBook) -> None:
        """Write a book of the segment with that number. Raises `DamagedDocument`."""
        self._writer.add(_BOOKS, (number, update_id), book.record())

    def put_witness(self, update_id: int, joined_id: int | None, witness: StoredWitness) -> None:
        """Write a witness. Raises `DamagedDocument`."""
        joined = NOT_JOINED if joined_id is None else joined_id
        self._writer.add(_WITNESSES, (update_id, joined), witness.record())

    def put_segment(self, stored: ImportedSegment) -> None:
        """Write the next segment."""
        segment = stored.segment
        span = segment.snapshot_id, segment.last_id, segment.first_event_ms, segment.last_event_ms
        record = canonical_bytes(archived_document(stored))
        self._writer.add(_SEGMENTS, span, record)

    def put_trade_part(self, part: TradePart) -> None:
        """Write the next chunk or batch of trades."""
        put_trade_part(self._writer, part)

    def put_trade_run(self, run: TradeRun, *, is_archived: bool) -> None:
        """Write the next run of trades, all of whose trades are archived, or none."""
        put_trade_run(self._writer, run, is_archived=is_archived)

    def put_bookmark(self, bookmark: Bookmark) -> None:
        """Write the next bookmark."""
        put_bookmark(self._writer, bookmark)


class _Market(Struct, frozen=True):
    """The segments of a market, in the order of their rows, and their numbers by id."""

    segments: list[StoredSegment]
    runs: list[BooklessRun]
    numbers: dict[str, int]


@asynccontextmanager
async def open_packed(path: Path) -> AsyncIterator[PackedStore]:
    """Give the recordings in the file at `path`. Raises `PackedFileError`."""
    file = await asyncio.to_thread(PackedFile, path)
    try:
        yield PackedStore(file)
    finally:
        file.close()


class PackedStore:
    """The recordings in `file`, an open packed file. It is a `ProvableStore`.

    Its methods raise `DamagedPackedFile`, `NoPackedFile` and `DamagedDocument`; making it raises
    `OtherFormat`.
    """

    def __init__(self, file: PackedFile) -> None:
        if file.schema != PACKED_SCHEMA:
            raise OtherFormat(file.path, f"records of the schema {file.schema}")
        self._file = file
        # That of the market that was read last.
        self._known: tuple[str, _Market] | None = None
        self.trades = PackedTrades(file, self._document)
        self.bookmarks = PackedBookmarks(file, self._document)

    @property
    def file(self) -> PackedFile:
        """The file."""
        return self._file

    async def markets(self) -> list[str]:
        """Return the markets of the file."""
        return self._file.markets

    async def segments(self, market: str) -> list[StoredSegment]:
        """Return the segments with a book of `market` (see `RecordingStore`)."""
        return [stored for stored in (await self._of(market)).segments if stored.has_book]

    async def all_segments(self, market: str) -> tuple[list[StoredSegment], list[BooklessRun]]:
        """Return the segments and the runs without a book (see `ProvableStore`)."""
        return await self.segments(market), (await self._of(market)).runs

    async def segment(self, segment_id: str) -> StoredSegment | None:
        """Return a segment (see `RecordingStore`)."""
        found = await self._home_of(segment_id)
        return None if found is None else found[1].segments[found[2]]

    async def chunk(self, segment_id: str, start_id: int) -> StoredChunk | None:
        """Return a chunk (see `RecordingStore`)."""
        found = await self._home_of(segment_id)
        if found is None:
            return None
        market, _, number = found
        rows = self._file.rows(market, _CHUNKS)
        begin, end = _part(rows, "segment", number)
        at = begin + int(np.searchsorted(rows["start_id"][begin:end], start_id))
        if at >= end or int(rows["start_id"][at]) != start_id:
            return None
        return await asyncio.to_thread(self._chunk, rows[at], segment_id)

    async def chunks_in(
        self, market: str, segment_id: str, first_minute: int, last_minute: int
    ) -> dict[int, StoredChunk]:
        """Return the chunks of a segment in some minutes (see `SegmentStore`)."""
        number = (await self._of(market)).numbers.get(segment_id)
        rows = self._file.rows(market, _CHUNKS)
        if number is None:
            return {}
        begin, end = _part(rows, "segment", number)
        mine = rows[begin:end]
        mine = mine[_in_minutes(mine, first_minute, last_minute)]
        return await asyncio.to_thread(
            lambda: {int(row["start_id"]): self._chunk(row, segment_id) for row in mine}
        )

    async def first_chunks(self, segments: Sequence[StoredSegment]) -> dict[str, StoredChunk]:
        """Return the first chunks of segments (see `ProvableStore`)."""
        found = {
            stored.id: await self.chunk(stored.id, stored.segment.snapshot_id)
            for stored in segments
        }
        return {key: chunk for key, chunk in found.items() if chunk is not None}

    async def chunk_spans(
        self, market: str, first_minute: int, last_minute: int
    ) -> list[ChunkSpan]:
        """Return the spans of chunks (see `RecordingStore`)."""
        segments = (await self._of(market)).segments
        rows = self._file.rows(market, _CHUNKS)
        found = rows[_in_minutes(rows, first_minute, last_minute)]
        return [self._span(row, segments) for row in found]

    async def chunk_span_ending_at(self, segment_id: str, last_id: int) -> ChunkSpan | None:
        """Return the span of a chunk (see `RecordingStore`)."""
        found = await self._home_of(segment_id)
        if found is None:
            return None
        market, home, number = found
        rows = self._file.rows(market, _CHUNKS)
        begin, end = _part(rows, "segment", number)
        for at in np.flatnonzero(rows["last_id"][begin:end] == last_id)[:1]:
            return self._span(rows[begin + int(at)], home.segments)
        return None

    async def chunk_ending_at(self, market: str, last_id: int) -> StoredChunk | None:
        """Return a chunk that ends there (see `SegmentStore`)."""
        segments = (await self._of(market)).segments
        rows = self._file.rows(market, _CHUNKS)
        for at in np.flatnonzero(rows["last_id"] == last_id):
            stored = _named(self._file, rows[at], segments)
            if stored.has_book:
                return await asyncio.to_thread(self._chunk, rows[at], stored.id)
        return None

    async def book(self, key: str) -> StoredBook | None:
        """Return a book (see `RecordingStore`)."""
        return (await self.books([key])).get(key)

    async def books(self, keys: Sequence[str]) -> dict[str, StoredBook]:
        """Return books (see `ProvableSegments`)."""
        found: dict[str, StoredBook] = {}
        for key in keys:
            segment_id, _, update_id = key.rpartition(":")
            home = await self._home_of(segment_id)
            if home is None or not update_id.isdecimal():
                continue
            market, _, number = home
            rows = self._file.rows(market, _BOOKS)
            begin, end = _part(rows, "segment", number)
            for at in np.flatnonzero(rows["update_id"][begin:end] == int(update_id))[:1]:
                document = await asyncio.to_thread(self._document, rows[begin + int(at)], key)
                found[key] = stored_book(document)
        return found

    async def book_keys(self, segment_id: str) -> list[tuple[object, object]]:
        """Return update id and key of each book of a segment (see `ProvableSegments`)."""
        found = await self._home_of(segment_id)
        if found is None:
            return []
        market, _, number = found
        rows = self._file.rows(market, _BOOKS)
        begin, end = _part(rows, "segment", number)
        ids = rows["update_id"][begin:end].tolist()
        return [(update_id, book_key(segment_id, update_id)) for update_id in ids]

    async def books_of(self, segment_ids: Sequence[str]) -> SegmentBooks:
        """Return the keys of the books of segments (see `ProvableStore`): each is read cheaply."""
        keys = {segment_id: await self.book_keys(segment_id) for segment_id in segment_ids}
        return SegmentBooks(keys, {})

    async def events_after(self, market: str, after_id: int, last_id: int) -> list[DepthDiff]:
        """Return no events: none is raw."""
        return []

    async def events(self, market: str, ids: Sequence[int]) -> list[DepthDiff]:
        """Return no events: none is raw."""
        return []

    async def count_raw(self, market: str, after_id: int, last_id: int) -> int:
        """Return 0: no event is raw."""
        return 0

    async def runs(self, market: str, ranges: Sequence[IdRange]) -> list[list[DepthDiff]]:
        """Return no events: none is raw."""
        return [[] for _ in ranges]

    async def bookless(self, market: str, *, waiting: bool = False) -> list[BooklessRun]:
        """Return the runs without a book, all of which are archived (see `RecordingStore`)."""
        return [] if waiting else (await self._of(market)).runs

    async def loose_end(self, market: str, after_id: int) -> LooseEnd | None:
        """Return the end of the loose events (see `RecordingStore`)."""
        ends = [
            run.stored.segment
            for run in (await self._of(market)).runs
            if run.stored.segment.last_id > after_id
        ]
        if not ends:
            return None
        return LooseEnd(max(end.last_id for end in ends), max(end.last_event_ms for end in ends))

    async def witness_keys(self, market: str) -> list[tuple[int, str]]:
        """Return update id and key of each witness (see `ProvableStore`)."""
        rows = self._file.rows(market, _WITNESSES)
        return [(update_id, f"{market}:{update_id}") for update_id in rows["update_id"].tolist()]

    async def joined(self, market: str, first_id: int, last_id: int) -> list[tuple[int, str]]:
        """Return the witnesses that were joined to books (see `SegmentStore`)."""
        rows = self._file.rows(market, _WITNESSES)
        at = rows["joined_id"]
        found = rows[(at >= max(0, first_id)) & (at <= last_id)]
        return sorted(
            (joined_id, f"{market}:{update_id}")
            for joined_id, update_id in zip(
                found["joined_id"].tolist(), found["update_id"].tolist(), strict=True
            )
        )

    async def witnesses(self, keys: Sequence[str]) -> dict[str, StoredWitness]:
        """Return witnesses (see `SegmentStore`)."""
        found: dict[str, StoredWitness] = {}
        for key in keys:
            market, _, update_id = key.rpartition(":")
            rows = self._file.rows(market, _WITNESSES)
            if update_id.isdecimal():
                for at in np.flatnonzero(rows["update_id"] == int(update_id))[:1]:
                    document = await asyncio.to_thread(self._document, rows[at], key)
                    found[key] = stored_witness(document)
        return found

    async def lost_events(self, market: str, ids: Collection[int]) -> set[int]:
        """Return all of `ids`: no event is raw, and no run waits for its archive."""
        return set(ids)

    async def unclaimed_events(
        self, market: str, claims: Iterable[Claim], known: Sequence[int]
    ) -> AsyncGenerator[list[RawEvent]]:
        """Iterate over nothing: no event is raw."""
        nothing: tuple[list[RawEvent], ...] = ()
        for part in nothing:
            yield part

    async def misplaced_segments(self, market: str) -> list[str]:
        """Return the segments that are stored under another market than they name: none.

        Reading a segment of `market` finds that.
        """
        return []

    async def stray_chunks(
        self, market: str, known: Collection[str], first_minute: int, end_minute: int
    ) -> list[Stray]:
        """Return the chunks without their segments (see `ProvableStore`)."""
        segments = (await self._of(market)).segments
        rows = self._file.rows(market, _CHUNKS)
        rows = rows[_in_minutes(rows, first_minute, end_minute - 1)]
        return self._strays(_CHUNKS, rows, market, [one.id in known for one in segments])

    async def stray_books(self, market: str, known: Collection[str]) -> list[Stray]:
        """Return the books without their segments (see `ProvableStore`)."""
        segments = (await self._of(market)).segments
        rows = self._file.rows(market, _BOOKS)
        return self._strays(_BOOKS, rows, market, [one.id in known for one in segments])

    async def is_there(self, stray: Stray) -> bool:
        """Return true: a file doesn't change."""
        return True

    async def being_imported(self) -> set[str]:
        """Return nothing: a file doesn't change."""
        return set()

    def _strays(self, kind: str, rows: Rows, market: str, is_known: Sequence[bool]) -> list[Stray]:
        id_field = "start_id" if kind == _CHUNKS else "update_id"
        return [
            Stray(kind, int(row["offset"]), market, None, int(row[id_field]))
            for row in rows
            if not (0 <= (number := int(row["segment"])) < len(is_known) and is_known[number])
        ]

    async def _of(self, market: str) -> _Market:
        if self._known is None or self._known[0] != market:
            self._known = market, await asyncio.to_thread(self._read, market)
        return self._known[1]

    def _read(self, market: str) -> _Market:
        """Read the segments of a market."""
        segments: list[StoredSegment] = []
        runs: list[BooklessRun] = []
        for row in self._file.rows(market, _SEGMENTS):
            document = self._document(row)
            stored = stored_segment(document)
            segment = stored.segment
            _check(self._file, row, (segment.snapshot_id, segment.last_id), market, segment.market)
            segments.append(stored)
            if not stored.has_book:
                runs.append(bookless_run(document))
        numbers = {stored.id: number for number, stored in enumerate(segments)}
        if len(numbers) < len(segments):
            raise DamagedPackedFile(self._file.path, "it has a segment twice")
        return _Market(segments, runs, numbers)

    async def _home_of(self, segment_id: str) -> tuple[str, _Market, int] | None:
        """Return the market of a segment, the segments of that, and the number of its row."""
        known = [self._known[0]] if self._known is not None else []
        for market in (*known, *self._file.markets):
            home = await self._of(market)
            if segment_id in home.numbers:
                return market, home, home.numbers[segment_id]
        return None

    def _chunk(self, row: Any, segment_id: str) -> StoredChunk:
        document = self._document(row, f"{segment_id}:{int(row['start_id'])}")
        chunk = chunk_in(document, segment_id)
        if (chunk.last_id, chunk.last_event_ms) != (int(row["last_id"]), int(row["to_ms"])):
            raise DamagedPackedFile(self._file.path, "a chunk is not what its table says")
        return chunk

    def _span(self, row: Any, segments: Sequence[StoredSegment]) -> ChunkSpan:
        segment_id = _named(self._file, row, segments).id
        numbers = (int(row[name]) for name in ("start_id", "last_id", "from_ms", "to_ms"))
        return ChunkSpan(segment_id, *numbers)

    def _document(self, row: Any, key: str | None = None) -> Document:
        """Return the document of a row, which has that `_id`. Raises `DamagedDocument`."""
        record = self._file.record(row)
        try:
            document = msgspec.msgpack.decode(record, type=dict[str, Any])
            is_canonical = canonical_bytes(document) == record
        except (msgspec.DecodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise DamagedDocument(f"a record can't be read: {error}") from error
        if not is_canonical or (key is not None and document.get("_id") != key):
            at = f"{int(row['offset']):,}"
            raise DamagedDocument(f"the record at byte {at} is not what its table says")
        return document


def _check(file: PackedFile, row: Any, ids: tuple[int, int], market: str, named: str) -> None:
    if (int(row["start_id"]), int(row["last_id"])) != ids or named != market:
        raise DamagedPackedFile(file.path, "a segment is not what its table says")


def _named(file: PackedFile, row: Any, segments: Sequence[StoredSegment]) -> StoredSegment:
    number = int(row["segment"])
    if not 0 <= number < len(segments):
        raise DamagedPackedFile(file.path, "a part belongs to a segment that is not in it")
    return segments[number]


def _part(rows: Rows, name: str, value: int) -> tuple[int, int]:
    """Return where the rows with this value begin and end; the rows are in its order."""
    column = rows[name]
    begin = int(np.searchsorted(column, value, side="left"))
    return begin, int(np.searchsorted(column, value, side="right"))


def _in_minutes(rows: Rows, first: int, last: int) -> Any:
    from_ms = rows["from_ms"]
    begin, end = first * MINUTE_MS, (last + 1) * MINUTE_MS
    highest = np.iinfo(np.int64).max
    return (from_ms >= min(begin, highest)) & (from_ms < min(end, highest))
