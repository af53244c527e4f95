"""Archives a segment, a chunk at a time. The process may be killed between any two calls.

First a chunk is written, read back and proven. Then the segment's `archived_id` moves to its end,
which commits it. Then its raw events are removed, and only then the next chunk is begun. So a kill
leaves either an uncommitted chunk, which the next archiver overwrites, or raw events of the last
committed chunk, which it removes first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.archive import (
    MINUTE_MS,
    closed_span,
    decode_chunk,
    fitting_count,
    minute_of,
)
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image
from orderbook_desktop.core.depth_sync import TooWide
from orderbook_desktop.core.errors import BugError, InexactValue, KnownError
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.segments import GapCause, TimesSeen
from orderbook_desktop.storage.archive.bookless_archive import BooklessArchive
from orderbook_desktop.storage.archive.followers import Followers
from orderbook_desktop.storage.archive.proof import ArchivedRaw
from orderbook_desktop.storage.archive.trade_archive import TradeArchive
from orderbook_desktop.storage.reading.joined_answers import JoinedAnswers
from orderbook_desktop.storage.reading.segment_reader import MissingEvents, times_of
from orderbook_desktop.storage.store.bookless import BooklessRun, BooklessRuns
from orderbook_desktop.storage.store.checkpoints import Checkpoints, book_key
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.leases import ArchiveLease, HeldSegment
from orderbook_desktop.storage.store.packing import DamagedDocument, proven_chunk
from orderbook_desktop.storage.store.raw_events import RawEvents, own_events
from orderbook_desktop.storage.store.segments import read_segment

_log = logging.getLogger(__name__)

# The longest chunk.
_LONGEST_MS: Final = 10 * MINUTE_MS
_LOOK_ANYWAY_S: Final = 660.0


class SegmentArchive:
    """Archives segments of `database`, each while it holds the segment's lease.

    `shortened` counts the segments that it ended earlier than stored, so that their last events are
    in no segment. `finished` are the markets of segments that it has archived completely.
    `bookless` archives runs without a book, and `trades` those of trades. Its methods raise
    PyMongo's errors, and `KnownError`s if a segment can't be archived.
    """

    def __init__(
        self, database: Database, now: Callable[[], float], now_ns: Callable[[], int]
    ) -> None:
        self._database = database
        self._now = now
        self._now_ns = now_ns
        self._store = ChunkStore(database)
        self._books = Checkpoints(database)
        self._raw = ArchivedRaw(database)
        self._lease = ArchiveLease(database, now)
        self._runs = BooklessRuns(database)
        self._followers = Followers(database)
        self.bookless = BooklessArchive(database, self._lease, now_ns)
        self.trades = TradeArchive(database, self._lease, now)
        # By segment: the id up to which no raw events are left.
        self._swept: dict[str, int] = {}
        # By segment: when its next chunk may be complete.
        self._due: dict[str, _Due] = {}
        self.shortened = 0
        self.finished: set[str] = set()

    async def advance(self, segment_id: str) -> tuple[int, int] | None:
        """Archive the next chunk of a segment; return how many events and bytes it has.

        None if there is nothing to archive now, or another process archives the segment.
        """
        seen = await self._lease.look(segment_id)
        if seen is None or (seen.has_book and not self._is_due(seen)):
            return None
        held = await self._lease.take(segment_id)
        if held is None:
            return None
        try:
            if held.has_book:
                return await self._go_on(held)
            return await self.bookless.advance(held)
        except KnownError:
            if await self._lease.is_held(held):
                await self._lease.release(held.market)
                raise
            # Another process has taken over the segment meanwhile.
            return None

    async def unite(self, market: str) -> tuple[int, int] | None:
        """Let archived segments of `market` that overlap follow each other (see `Followers`)."""
        epoch = await self._lease.hold(market)
        if epoch is not None:
            self.finished.discard(market)
            await self._followers.unite(market, epoch)
        return None

    async def join(self, market: str, run_ids: Sequence[str]) -> tuple[int, int] | None:
        """Let segments go on with the events of these runs without a book (see `Followers`)."""
        runs: list[BooklessRun] = []
        for run_id in run_ids:
            # A damaged one is reported when it is archived.
            with suppress(DamagedDocument):
                run = await self._runs.get(run_id)
                runs += [] if run is None else [run]
        if runs and await self._lease.hold(market) is not None:
            await self._followers.join(market, runs)
        return None

    async def rest(self) -> None:
        """Let others archive, until the next call of `advance`."""
        await self._lease.release_all()

    async def _go_on(self, held: HeldSegment) -> tuple[int, int] | None:
        await self._sweep(held)
        is_leader = await self._followers.is_leader(held)
        if not is_leader:
            return (0, 0) if is_leader is None else None
        limit = await self._limit(held)
        if held.archived_id < limit:
            return await self._archive(held, limit)
        if not held.running and held.archived_id >= held.last_id:
            await self._lease.finish(held)
            self.finished.add(held.market)
            self._swept.pop(held.id, None)
            self._due.pop(held.id, None)
        return None

    def _is_due(self, held: HeldSegment) -> bool:
        due = self._due.get(held.id)
        if due is None or not held.running:
            return True
        is_later = not due.seen_ms <= held.last_event_ms < due.at_ms
        return is_later or self._now() - due.looked_at >= _LOOK_ANYWAY_S

    async def _archive(self, held: HeldSegment, limit: int) -> tuple[int, int] | None:
        start = await self._start_book(held)
        events = await self._next_events(held, start, limit)
        if await self._followers.keep_answers(held, start, events):
            events = await self._next_events(held, start, limit)
        if not events:
            return None
        count = await asyncio.to_thread(fitting_count, start, events)
        if not count:
            await self._end_before(held, start, events[0])
            return None
        events = events[:count]
        chunk = await asyncio.to_thread(proven_chunk, start, events)
        size = await self._store.put(held.id, chunk, held.epoch)
        last_id = events[-1].final_id
        if not await self._lease.move(held, last_id, len(events), size):
            return None
        await self._followers.follow(held, last_id)
        ids = [event.final_id for event in events]
        await self._raw.remove(held.market, ids, held.id)
        self._swept[held.id] = last_id
        return len(events), size

    async def _end_before(self, held: HeldSegment, start: BookImage, event: DepthDiff) -> None:
        """End a segment before `event`, which no scale holds beside the book `start`.

        An earlier version recorded such an event as if nothing was wrong, and so does a recorder
        that is killed at that moment. The events from there on stay, in no segment. A segment that
        is still recorded can't be ended here.
        """
        value = await asyncio.to_thread(_value_too_wide, start, event)
        if held.running:
            raise value
        stored = await read_segment(self._database, held.id)
        if stored is None or stored.archived_id != held.archived_id:
            return
        detail = str(TooWide(event, value))
        times = TimesSeen(start.event_ms)
        if stored.archived_id > stored.segment.snapshot_id:
            archived = replace(stored.segment, last_id=stored.archived_id)
            times = await times_of(self._database, replace(stored, segment=archived))
        segment = replace(
            stored.segment,
            last_id=stored.archived_id,
            last_event_ms=times.latest_ms,
            event_count=stored.archived_events,
            end_cause=GapCause.TOO_WIDE,
            end_detail=detail,
        )
        back_ms = None if stored.back_ms is None else times.back_ms
        await self._lease.shorten(held, replace(stored, segment=segment, back_ms=back_ms))
        self.shortened += 1
        _log.warning("%s: a segment ends earlier than stored. %s", held.market, detail)

    async def _sweep(self, held: HeldSegment) -> None:
        """Remove the last chunk's raw events, if a kill or a failure has left some."""
        archived_id = held.archived_id
        if self._swept.get(held.id) == archived_id:
            return
        if archived_id > held.snapshot_id:
            chunk = await self._store.ending_at(held.id, archived_id)
            if chunk is not None:
                decoded = await asyncio.to_thread(decode_chunk, chunk)
                await self._raw.sweep(decoded, held.id)
        self._swept[held.id] = archived_id

    async def _limit(self, held: HeldSegment) -> int:
        """Return the id up to which the segment may be archived now."""
        if not held.running:
            now_ms = self._now_ns() // 1_000_000
            is_this_minute = minute_of(held.last_event_ms) == minute_of(now_ms)
            return held.archived_id if is_this_minute else held.last_id
        ids = await self._books.ids(held.id, with_base=False)
        # Readers of the newest book need the raw events after the newest checkpoint, or, while that
        # is being replaced, after the one before it.
        return min(ids[-2], held.last_id) if len(ids) > 1 else 0

    async def _start_book(self, held: HeldSegment) -> BookImage:
        after_id, market = held.archived_id, held.market
        if after_id == held.snapshot_id:
            base = await self._books.get(book_key(held.id, after_id))
            if base is not None:
                return await asyncio.to_thread(base.unpack)
        chunk = await self._store.ending_at(held.id, after_id)
        # Its front may have moved to the end of a chunk of another segment.
        chunk = chunk or await self._store.ending_in(market, after_id)
        if chunk is None:
            raise MissingEvents(market, after_id, "the book")
        decoded = await asyncio.to_thread(decode_chunk, chunk)
        return await self._answers(market).book_after(decoded)

    def _answers(self, market: str) -> JoinedAnswers:
        return JoinedAnswers(DatabaseStore(self._database), market)

    async def _next_events(
        self, held: HeldSegment, start: BookImage, limit: int
    ) -> list[DepthDiff]:
        """Return the events of the next chunk; none while its end is not known."""
        market, after_id = held.market, held.archived_id
        levels = len(start.bids.prices) + len(start.asks.prices)
        listed = {u for run in await self._runs.of(market, waiting=True) for u in run.ids}
        raw = RawEvents(self._database, market)
        found: list[DepthDiff] = []
        last_id = after_id
        while True:
            more = await raw.run_after(last_id, limit) if last_id < limit else []
            found += more
            is_all = not more or more[-1].final_id >= limit
            events = own_events(after_id, found, listed)
            _, joined = await self._answers(market).among(after_id, events)
            # Where an answer was joined, the next chunk begins with a wider book.
            events = events[:joined]
            is_last = joined is not None or (is_all and not held.running)
            count = closed_span(events, levels, is_all=is_last)
            if count or is_all:
                break
            last_id = found[-1].final_id
        if last_id < limit and not events:
            raise MissingEvents(market, after_id, "an event")
        self._due.pop(held.id, None)
        if not count:
            self._due[held.id] = _due_after(held.last_event_ms, events, levels, self._now())
        return events[:count]


def _value_too_wide(start: BookImage, event: DepthDiff) -> InexactValue:
    """Return the value that no scale holds after `event`, or else one of the event's."""
    book = Book()
    book.load(decode_snapshot(encode_image(start), start.market))
    book.apply(event)
    value = book.too_wide()
    if value is None:
        raise BugError(f"a book holds the event {event.final_id}, and a chunk does not")
    return value


class _Due(Struct, frozen=True):
    """When to check a segment again. It is an estimate: only reading the events gives certainty.

    Check again once the segment's events reach the time `at_ms`, or go back before `seen_ms`, the
    latest event time at the last check. `looked_at` is our own time of that check.
    """

    at_ms: int
    seen_ms: int
    looked_at: float


def _due_after(seen_ms: int, events: Sequence[DepthDiff], levels: int, now: float) -> _Due:
    """Return when the chunk that begins with `events` may be complete, at the rate of changes."""
    at_ms = seen_ms
    if events:
        changes = sum(len(event.bids) + len(event.asks) for event in events)
        passed_ms = max(events[-1].event_ms - events[0].event_ms, 1)
        missing_ms = passed_ms * max(levels - changes, 0) // max(changes, 1)
        at_ms = events[0].event_ms + min(max(passed_ms + missing_ms, MINUTE_MS), _LONGEST_MS)
        # The segment is archived only up to a checkpoint that is a minute old.
        at_ms += MINUTE_MS
    return _Due(at_ms, seen_ms, now)
