"""Merges the recordings of a packed file into a database, all of it or nothing.

First all of the file is read and compared with what is stored: an event that is stored with another
text refuses the file. Then what the database lacks is written, under the journal of imports. A
segment of which nothing is stored is written as it is in the file. Of one that overlaps with stored
segments the stretches between these are written, so that each event is in one segment. So gaps are
healed, and the same file again changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.replay import Bookmark
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.core.wording import counted, listed
from orderbook_desktop.formats.packed_file import DamagedPackedFile
from orderbook_desktop.storage.imports.unpacking_trades import TradeUnpacking
from orderbook_desktop.storage.reading.portion import Portion, Span, loose_events
from orderbook_desktop.storage.store.bookless import BooklessRun
from orderbook_desktop.storage.store.bookmarks import DatabaseBookmarks
from orderbook_desktop.storage.store.checkpoints import Checkpoints, book_key
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.import_journal import (
    ImportedSegment,
    ImportJournal,
    settle_imports,
)
from orderbook_desktop.storage.store.packed_store import PackedStore
from orderbook_desktop.storage.store.packing import PackedChunk, proven_loose
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.segment_documents import (
    StoredIds,
    StoredSegment,
    bookless_segment,
)
from orderbook_desktop.storage.store.segments import read_segment
from orderbook_desktop.storage.store.witnesses import Witnesses
from orderbook_desktop.system.tasks import in_thread, to_its_end

# What was written has so long to be undone after a cancellation; the next import undoes the rest.
UNDO_S: Final = 0.3
_AT_ONCE: Final = 50
_LAST_MINUTE: Final = 1 << 48
_FOLLOWED: Final = "What comes next was there already."


class UnpackConflict(KnownError):
    """The file at `path` has another event or trade (`what`) of `market` than is stored."""

    path: Path
    market: str
    final_id: int
    what: str = "event"

    def __str__(self) -> str:
        return (
            f"Nothing was unpacked: the {self.what} {self.final_id} of {self.market} is stored "
            f"with other content than in {self.path}; unpack it into a database of its own, with "
            "another DB_NAME."
        )


class UnpackedMarket(Struct, frozen=True):
    """What was new of `market`: `segments` with a book, their events, and events without one.

    `known` of its events were stored before. So it is with `trades`, and `known_trades` of them.
    `bookmarks` are new ones: of one that is stored, what was stored stays.
    """

    market: str
    segments: int
    events: int
    loose: int
    known: int
    trades: int = 0
    known_trades: int = 0
    bookmarks: int = 0

    @property
    def has_any(self) -> bool:
        """Whether anything was new."""
        return bool(self.segments or self.loose or self.trades or self.bookmarks)

    @property
    def text(self) -> str:
        """What was new, in words; without a stop."""
        if not self.has_any:
            return "all of it is there already; nothing was unpacked"
        texts = []
        if self.segments:
            runs = counted(self.segments, "unbroken run")
            texts.append(f"{counted(self.events, 'event')} in {runs}")
        if self.loose:
            texts.append(f"{counted(self.loose, 'event')} of no known book")
        if self.trades:
            texts.append(counted(self.trades, "trade"))
        if self.bookmarks:
            texts.append(counted(self.bookmarks, "bookmark"))
        count = self.known + self.known_trades
        return listed(texts) + (f" ({count:,} more were there already)" if count else "")


# Called with what is being done, and which part of it is done.
Progress = Callable[[str, int, int], None]


async def unpack(
    database: Database, store: PackedStore, progress: Progress, undo_s: float = UNDO_S
) -> list[UnpackedMarket]:
    """Merge the recordings in `store`, a packed file, into `database`; return what was new.

    After a cancellation, what was written has `undo_s` to be undone.

    Raises `PackedFileError`, `DamagedDocument` or `DamagedChunk` for the file or what is stored,
    `UnpackConflict`, `ImportBusy`, and PyMongo's errors. If it raises or is cancelled, nothing is
    written.
    """
    await asyncio.to_thread(store.file.prove, partial(progress, "Reading"))
    if not database.prepared:
        await database.prepare()
    await settle_imports(database, set())
    return await _Unpacking(database, store, progress, undo_s).run()


class _Stretch(NamedTuple):
    """A stretch of a segment of the file that the database lacks, and its id there."""

    stored: StoredSegment
    span: Span
    key: str


class _Loose(NamedTuple):
    """Events without a book that the database lacks: the chunk of these, and their run's id."""

    key: str
    origin: str
    chunk: PackedChunk
    events: tuple[StoredIds, ...]


class _Unpacking:
    """One run of `unpack`."""

    def __init__(
        self, database: Database, store: PackedStore, progress: Progress, undo_s: float
    ) -> None:
        self._database = database
        self._undo_s = undo_s
        self._file = store
        self._progress = progress
        self._journal = ImportJournal(database)
        self._chunks = ChunkStore(database)
        self._books = Checkpoints(database)
        self._witnesses = Witnesses(database)
        self._stretches: list[_Stretch] = []
        self._loose: list[_Loose] = []
        self._trades: dict[str, TradeUnpacking] = {}
        self._keys: set[str] = set()
        self._known: dict[str, int] = {}
        self._bookmarks: dict[str, list[Bookmark]] = {}
        self._new_bookmarks: Counter[str] = Counter()
        self._done = self._total = 0

    async def run(self) -> list[UnpackedMarket]:
        """Compare, then write."""
        markets = self._file.file.markets
        try:
            await self._journal.begin(markets)
            for market in markets:
                await self._compare(market)
            segments = await self._write(markets)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._undo_s):
                    await self._undo()
            raise
        except BaseException:
            await self._undo()
            raise
        return [self._result(market, segments) for market in markets]

    async def _undo(self) -> None:
        await self._journal.finish()
        for trades in self._trades.values():
            await trades.undo()

    def _result(self, market: str, segments: Sequence[ImportedSegment]) -> UnpackedMarket:
        mine = [one for one in segments if one.segment.market == market]
        counts = {
            is_loose: [
                one.segment.event_count for one in mine if (one.loose is not None) is is_loose
            ]
            for is_loose in (False, True)
        }
        new, trades = counts[False], self._trades[market]
        return UnpackedMarket(
            *(market, len(new), sum(new), sum(counts[True]), self._known[market]),
            *(trades.new, trades.known, self._new_bookmarks[market]),
        )

    async def _compare(self, market: str) -> None:
        """Find what the database lacks of a market. Raises `UnpackConflict`."""
        recorded = await _Recorded.of(self._database, market)
        segments = await self._file.segments(market)
        self._known[market] = 0
        self._done, self._total = 0, sum(one.segment.event_count for one in segments)
        for stored in segments:
            await self._compare_segment(stored, recorded)
        runs = await self._file.bookless(market)
        for run in runs:
            await self._compare_run(run, recorded)
        await self._check_witnesses(market)
        self._bookmarks[market] = await self._file.bookmarks.sound(market)
        known = {stored.id for stored in segments} | {run.id for run in runs}
        strays = await self._file.stray_chunks(market, known, 0, _LAST_MINUTE)
        if strays or await self._file.stray_books(market, known):
            reason = f"a part of {market} belongs to a segment that is not in it"
            raise DamagedPackedFile(self._file.file.path, reason)
        path = self._file.file.path
        self._trades[market] = TradeUnpacking(
            self._database,
            self._file.trades,
            market,
            lambda trade_id: UnpackConflict(path, market, trade_id, "trade"),
            lambda reason: DamagedPackedFile(path, reason),
        )
        await self._trades[market].compare()

    async def _compare_segment(self, stored: StoredSegment, recorded: _Recorded) -> None:
        segment = stored.segment
        whole = Portion(self._file, stored, Span())
        async with aclosing(whole.chunks()) as chunks:
            async for chunk in chunks:
                await self._check(chunk, recorded, stored.id)
                self._done += chunk.header.coverage.event_count
                self._progress(f"Comparing {segment.market}", self._done, self._total)
        if not stored.intact or not _is_whole(stored, whole.segment()):
            raise self._not_whole(stored.id)
        await self._check_books(stored)
        lacking = recorded.lacking(segment.snapshot_id, segment.last_id)
        for after_id, until_id in lacking:
            span = Span(
                after_id if after_id > segment.snapshot_id else 0,
                until_id if until_id < segment.last_id else INT64_MAX,
            )
            key = await self._free_key(stored.id, f"{stored.id}:{after_id}:{until_id}")
            self._stretches.append(_Stretch(stored, span, key))

    def _not_whole(self, segment_id: str) -> DamagedPackedFile:
        return DamagedPackedFile(self._file.file.path, f"its segment {segment_id} is not whole")

    async def _check_books(self, stored: StoredSegment) -> None:
        """Raise if a book of a segment can't be read, or the one it begins with is missing."""
        ids = _whole_numbers(await self._file.book_keys(stored.id))
        if stored.has_base and stored.segment.snapshot_id not in ids:
            raise self._not_whole(stored.id)
        for start in range(0, len(ids), _AT_ONCE):
            keys = {book_key(stored.id, at): at for at in ids[start : start + _AT_ONCE]}
            for key, book in (await self._file.books(list(keys))).items():
                is_base = stored.has_base and keys[key] == stored.segment.snapshot_id
                is_right = book.segment_id == stored.id and book.is_base is is_base
                if not is_right or not book.is_as_written:
                    raise self._not_whole(stored.id)
                await in_thread(book.unpack)

    async def _check_witnesses(self, market: str) -> None:
        """Raise if a witness can't be read."""
        keys = [key for _, key in await self._file.witness_keys(market)]
        for start in range(0, len(keys), _AT_ONCE):
            found = await self._file.witnesses(keys[start : start + _AT_ONCE])
            for key, stored in found.items():
                snapshot = (await in_thread(stored.unpack)).snapshot
                if key != f"{snapshot.market}:{snapshot.last_update_id}":
                    reason = f"its snapshot of the exchange {key} is another one"
                    raise DamagedPackedFile(self._file.file.path, reason)

    async def _check(self, chunk: PackedChunk, recorded: _Recorded, segment_id: str) -> None:
        """Raise `UnpackConflict` if an event of `chunk` is stored with another text."""
        if not await recorded.may_have(chunk):
            return
        if await recorded.has_chunk(chunk, segment_id):
            self._known[recorded.market] += chunk.header.coverage.event_count
            return
        events = await loose_events(chunk)
        texts = await recorded.texts(events)
        for event in events:
            if texts.get(event.final_id, event.payload) != event.payload:
                raise UnpackConflict(self._file.file.path, recorded.market, event.final_id)
        self._known[recorded.market] += len(texts)
        coverage = chunk.header.coverage
        if not texts and recorded.covers(coverage.first_id - 1, coverage.last_id):
            # All of its update ids are stored, and in other events.
            raise UnpackConflict(self._file.file.path, recorded.market, events[0].final_id)

    async def _compare_run(self, run: BooklessRun, recorded: _Recorded) -> None:
        stored = await self._file.chunk(run.id, run.stored.segment.snapshot_id)
        if stored is None or not run.stored.intact:
            raise self._not_whole(run.id)
        chunk = await in_thread(stored.packed)
        events = await loose_events(chunk)
        ids = tuple(sorted(event.final_id for event in events))
        archived = run.stored.archived_id, run.stored.archived_events, run.stored.archived_bytes
        if ids != run.ids or archived != (ids[-1], len(ids), len(chunk.data)):
            raise self._not_whole(run.id)
        texts = await recorded.texts(events) if await recorded.may_have(chunk) else {}
        for event in events:
            if texts.get(event.final_id, event.payload) != event.payload:
                raise UnpackConflict(self._file.file.path, recorded.market, event.final_id)
        self._known[recorded.market] += len(texts)
        left = [event for event in events if event.final_id not in texts]
        if not left:
            return
        if len(left) < len(events):
            chunk = await in_thread(proven_loose, left)
        digest = hashlib.blake2b(chunk.data, digest_size=8).hexdigest()
        key = await self._free_key(run.id, f"{run.id}:{digest}")
        self._loose.append(_Loose(key, run.stored.origin, chunk, tuple(map(StoredIds.of, left))))

    async def _free_key(self, key: str, other: str) -> str:
        """Return the id `key` of a segment, or one made of `other` if it is taken."""
        if key in self._keys or await read_segment(self._database, key) is not None:
            key = hashlib.blake2b(other.encode(), digest_size=12).hexdigest()
        self._keys.add(key)
        return key

    async def _write(self, markets: Sequence[str]) -> list[ImportedSegment]:
        """Write what the database lacks; return its new segments."""
        keys = [key for market in markets for _, key in await self._file.witness_keys(market)]
        new = set(keys) - await self._witnesses.stored(keys)
        await self._journal.plan(
            [*(part.key for part in self._stretches), *(part.key for part in self._loose)],
            [key for key in keys if key in new],
        )
        self._done = 0
        self._total = sum(part.stored.segment.event_count for part in self._stretches)
        segments = [await self._write_stretch(part) for part in self._stretches]
        segments += [await self._write_loose(part) for part in self._loose]
        await self._write_witnesses([key for key in keys if key in new])
        for trades in self._trades.values():
            await trades.write()
        await to_its_end(self._commit(segments))
        for market in markets:
            # These may take the place of stored ones that were joined to no book.
            joined = await self._file.joined(market, 0, INT64_MAX)
            await self._write_witnesses([key for _, key in joined if key not in new])
        return segments

    async def _commit(self, segments: Sequence[ImportedSegment]) -> None:
        await self._journal.commit(segments)
        for trades in self._trades.values():
            await trades.claim()
        stored = DatabaseBookmarks(self._database)
        for market, bookmarks in self._bookmarks.items():
            for bookmark in bookmarks:
                self._new_bookmarks[market] += await stored.put_new(bookmark)

    async def _write_stretch(self, part: _Stretch) -> ImportedSegment:
        portion = Portion(self._file, part.stored, part.span, _FOLLOWED)
        async with aclosing(portion.chunks()) as chunks:
            async for chunk in chunks:
                await self._chunks.put(part.key, chunk)
                self._done += chunk.header.coverage.event_count
                market = part.stored.segment.market
                self._progress(f"Writing {market}", self._done, self._total)
        segment = portion.segment(part.key)
        if segment is None:
            reason = f"its segment {part.stored.id} lacks events"
            raise DamagedPackedFile(self._file.file.path, reason)
        begin, end = segment.segment.snapshot_id, segment.segment.last_id
        found = _whole_numbers(await self._file.book_keys(part.stored.id))
        ids = [update_id for update_id in found if begin <= update_id <= end]
        for start in range(0, len(ids), _AT_ONCE):
            wanted = [book_key(part.stored.id, at) for at in ids[start : start + _AT_ONCE]]
            for book in (await self._file.books(wanted)).values():
                await self._books.put_record(part.key, await in_thread(book.record))
        return segment

    async def _write_loose(self, part: _Loose) -> ImportedSegment:
        segment = bookless_segment(part.chunk.header.market, part.events)
        size = await self._chunks.put(part.key, part.chunk, after_id=segment.snapshot_id)
        return ImportedSegment(part.key, segment, 0, size, part.origin, loose=part.events)

    async def _write_witnesses(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _AT_ONCE):
            for witness in (await self._file.witnesses(keys[start : start + _AT_ONCE])).values():
                await self._witnesses.put_record(await in_thread(witness.record))


def _whole_numbers(keys: Iterable[tuple[object, object]]) -> list[int]:
    return [update_id for update_id, _ in keys if isinstance(update_id, int)]


def _is_whole(stored: StoredSegment, found: ImportedSegment | None) -> bool:
    """Whether the chunks of a segment, which make up `found`, are those that it names."""
    if found is None:
        return False
    segment, events = stored.segment, found.segment.event_count
    named = stored.archived_id, segment.event_count, stored.archived_events, stored.archived_bytes
    return named == (segment.last_id, events, events, found.archived_bytes)


class _Recorded:
    """What is stored of `market`, to be compared with chunks of a file, which come in order."""

    def __init__(
        self,
        database: Database,
        market: str,
        segments: Sequence[StoredSegment],
        runs: Sequence[BooklessRun],
        *,
        has_raw: bool,
    ) -> None:
        self.market = market
        self._store = DatabaseStore(database)
        self._chunks = ChunkStore(database)
        self._raw = RawEvents(database, market)
        self._segments = [stored for stored in segments if stored.segment.event_count]
        self._runs = runs
        self._has_raw = has_raw
        self._covered = _merged(
            (stored.segment.snapshot_id, stored.segment.last_id) for stored in self._segments
        )
        # By segment: start id and last id of its chunks, in order.
        self._spans: dict[str, list[tuple[int, int]]] = {}
        # The events of the chunk that was read last, by its segment and start id.
        self._read: tuple[tuple[str, int], dict[int, bytes]] | None = None

    @classmethod
    async def of(cls, database: Database, market: str) -> _Recorded:
        """Read what there is. Raises `DamagedDocument`."""
        store = DatabaseStore(database)
        segments, runs = await store.segments(market), await store.bookless(market)
        has_raw = await RawEvents(database, market).any_between(-1, INT64_MAX)
        return cls(database, market, segments, runs, has_raw=has_raw)

    def covers(self, after_id: int, last_id: int) -> bool:
        """Whether the update ids after `after_id` through `last_id` are all in stored segments."""
        return not self.lacking(after_id, last_id)

    def lacking(self, after_id: int, last_id: int) -> list[tuple[int, int]]:
        """Return the stretches of these ids that no stored segment covers."""
        found: list[tuple[int, int]] = []
        at = after_id
        for begin, end in self._covered:
            if end <= at or begin >= last_id:
                continue
            if begin > at:
                found.append((at, begin))
            at = end
        if at < last_id:
            found.append((at, last_id))
        return found

    async def may_have(self, chunk: PackedChunk) -> bool:
        """Whether something is stored with update ids as those of `chunk`."""
        coverage = chunk.header.coverage
        begin, end = coverage.first_id - 1, coverage.last_id
        if self.lacking(begin, end) != [(begin, end)]:
            return True
        if any(run.ids[0] <= end and run.ids[-1] > begin for run in self._runs):
            return True
        return self._has_raw and await self._raw.any_between(begin, end)

    async def has_chunk(self, chunk: PackedChunk, segment_id: str) -> bool:
        """Whether this very chunk is stored in this segment's archive."""
        start_id = chunk.header.start_id or 0
        mine = next((stored for stored in self._segments if stored.id == segment_id), None)
        if mine is None or not mine.segment.snapshot_id <= start_id < mine.archived_id:
            return False
        found = await self._store.chunk(segment_id, start_id)
        return found is not None and (await in_thread(found.packed)).data == chunk.data

    async def texts(self, events: Sequence[DepthDiff]) -> dict[int, bytes]:
        """Return by final id the stored texts of `events`, of those that are stored."""
        wanted = {event.final_id for event in events}
        first, last = min(wanted), max(wanted)
        found: dict[int, bytes] = {}
        for stored in self._segments:
            if stored.segment.snapshot_id < last and first <= stored.archived_id:
                for start_id in await self._starts(stored, first, last):
                    found |= await self._of_chunk(stored.id, start_id, wanted)
        left = wanted - found.keys()
        for run in self._runs:
            if run.is_archived and not left.isdisjoint(run.ids):
                start_id = run.stored.segment.snapshot_id
                found |= await self._of_chunk(run.id, start_id, wanted)
        left = wanted - found.keys()
        if left and self._has_raw:
            raw = await self._raw.with_ids(sorted(left))
            found |= {event.final_id: event.payload for event in raw}
        return found

    async def _starts(self, stored: StoredSegment, first: int, last: int) -> list[int]:
        """Return the start ids of the archived chunks of a segment with ids `first` to `last`."""
        if stored.id not in self._spans:
            self._spans[stored.id] = await self._chunks.spans(stored.id)
        spans = self._spans[stored.id]
        begin, end = stored.segment.snapshot_id, stored.archived_id
        at = max(0, bisect_right(spans, (first, 0)) - 1)
        found: list[int] = []
        for start_id, last_id in spans[at:]:
            if start_id >= last:
                break
            if begin <= start_id < end and last_id >= first:
                found.append(start_id)
        return found

    async def _of_chunk(self, key: str, start_id: int, wanted: set[int]) -> dict[int, bytes]:
        if self._read is None or self._read[0] != (key, start_id):
            chunk = await self._chunks.get(key, start_id)
            texts = (
                {}
                if chunk is None
                else await in_thread(
                    lambda: {event.final_id: event.payload for event in decode_chunk(chunk).diffs()}
                )
            )
            self._read = (key, start_id), texts
        return {update_id: text for update_id, text in self._read[1].items() if update_id in wanted}


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return `ranges` in order; those that overlap or touch are one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return merged
