"""Segments of one market that overlap, as two recorders write them: each event is archived once.

The segment that begins first leads, and is archived. The others follow: after each chunk their
front moves to its end, where the chunk has their book. When the leader has ended and is archived,
what reaches beyond it goes on from there, and a segment that lies within it goes. So the coverage
of a market is the union of what its recorders stored.

Segments that don't overlap may still have a seam: the events between them are stored, in a run
without a book, since another recorder waited for its book then. The first segment gets these.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.archive import ArchiveChunk, decode_chunk
from orderbook_desktop.core.checkpoint import BookImage, snapshot_of
from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff
from orderbook_desktop.core.horizon import Horizon, is_deeper
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.store.bookless import BooklessRun, BooklessRuns
from orderbook_desktop.storage.store.checkpoints import Checkpoints, book_key
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.fronts import begin_amid, extend, follow_at
from orderbook_desktop.storage.store.leases import HeldSegment
from orderbook_desktop.storage.store.packing import PackedChunk, proven_chunk
from orderbook_desktop.storage.store.raw_events import RawEvents, own_events
from orderbook_desktop.storage.store.segment_documents import StoredIds, StoredSegment
from orderbook_desktop.storage.store.segments import overlapping_segments, sound_segments
from orderbook_desktop.storage.store.witnesses import Witnesses

# A segment that goes on, or that ended because its book was wrong.
_NOT_CONTINUED: Final = (None, GapCause.CROSSED, GapCause.TOO_WIDE)


class Followers:
    """Moves the fronts of overlapping segments in `database`.

    Call it while the lease of the market is ours. Its methods raise PyMongo's errors, and
    `DamagedDocument`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_leader(self, held: HeldSegment) -> bool | None:
        """Return whether a segment may be archived; None if its front has just moved.

        It may not while one that begins before it reaches into it and is not archived.
        """
        is_new = held.archived_id == held.snapshot_id
        found = await overlapping_segments(
            self._database, held.market, held.archived_id, archived=is_new
        )
        leaders = [stored for stored in found if _order(stored) < (held.snapshot_id, held.id)]
        if not leaders:
            return True
        if any(stored.running or stored.archived_id < stored.segment.last_id for stored in leaders):
            return False
        end_id = max(stored.segment.last_id for stored in leaders)
        return None if await self._follow(held.id, end_id) else False

    async def unite(self, market: str, epoch: int) -> int:
        """Let archived segments of `market` that overlap follow each other; return how many moved.

        An earlier version archived the segments of each recorder by themselves. `epoch` is that of
        the market's lease, which is ours. A damaged one stays as it is. Also raises `DamagedChunk`.
        """
        moved, leader = 0, None
        found = await sound_segments(self._database, market)
        for stored in sorted(found, key=_order):
            if stored.running or stored.archived_id < stored.segment.last_id:
                continue
            if leader is None or stored.segment.snapshot_id >= leader.segment.last_id:
                leader = stored
            elif stored.segment.last_id <= leader.segment.last_id:
                moved += await self._follow(stored.id, leader.segment.last_id)
            else:
                if await self._cut_at(stored, leader.segment.last_id, epoch):
                    moved += 1
                leader = stored
        return moved

    async def join(self, market: str, runs: Sequence[BooklessRun]) -> int:
        """Let segments that ended go on with the events of `runs`, up to where the next begins.

        Return how many do. An imported one stays as it is: its update ids may be made up.
        """
        found = sorted(await sound_segments(self._database, market), key=_order)
        begins = [stored.segment.snapshot_id for stored in found]
        # By index, which of the segments up to there reaches furthest.
        furthest = list(accumulate(found, _further))
        joined = 0
        for run in runs:
            at = bisect_left(begins, run.ids[-1])
            before = furthest[at - 1] if at else None
            if before is None or not before.is_recorded or _reach(before) >= run.ids[-1]:
                continue
            following = bisect_right(begins, before.segment.last_id)
            if before.segment.end_cause in _NOT_CONTINUED or following == len(begins):
                continue
            if run.ids[0] <= begins[following]:
                events = await self._between(before, begins[following])
                if events:
                    joined += await extend(self._database, before, events)
        return joined

    async def _between(self, before: StoredSegment, begin_id: int) -> Sequence[StoredIds]:
        """Return the raw events that lead from a segment to the book of `begin_id`, if they do."""
        raw, end_id = RawEvents(self._database, before.segment.market), before.segment.last_id
        events = await raw.ids_after(end_id, begin_id)
        end_id = events[-1].final_id if events else end_id
        if end_id < begin_id:
            # The ids of the event that follows may lie on both sides of the book.
            following = await raw.run_after(end_id, begin_id + WIDEST_EVENT)
            if not following or following[0].first_id > begin_id:
                return ()
            events.append(StoredIds.of(following[0]))
        return events

    async def _cut_at(self, stored: StoredSegment, end_id: int, epoch: int) -> bool:
        """Let an archived segment begin at `end_id`, amid a chunk of it."""
        store, market = ChunkStore(self._database), stored.segment.market
        before = await store.ending_in(market, end_id)
        spans = await store.spans(stored.id, end_id + 1)
        if before is None or not spans:
            return False
        chunk = await store.get(stored.id, spans[0][0])
        if chunk is None:
            return False
        packed, left = await asyncio.to_thread(_rest_of, before, chunk, end_id)
        size = await store.put(stored.id, packed, epoch)
        return await begin_amid(self._database, stored, packed.header, left, size)

    async def keep_answers(
        self, held: HeldSegment, start: BookImage, events: Sequence[DepthDiff]
    ) -> bool:
        """Keep the answers with which other segments begin amid `events`, which follow `start`.

        They are stored as witnesses, joined to the book of `held`, if they are known deeper. Return
        whether there are any. Else they would be lost when the fronts of the others move.
        """
        if start.horizon is None or not events:
            return False
        kept = False
        for stored in await overlapping_segments(
            self._database, held.market, held.archived_id, archived=False
        ):
            begin_id = stored.segment.snapshot_id
            is_inside = start.last_update_id < begin_id <= events[-1].final_id
            if is_inside and stored.has_base and stored.id != held.id:
                witness = await self._answer_of(stored, start.horizon)
                if witness is not None:
                    ends = (event.final_id for event in events)
                    joined_id = next(end for end in ends if end >= begin_id)
                    await Witnesses(self._database).put(replace(witness, joined_id=joined_id))
                    kept = True
        return kept

    async def _answer_of(self, stored: StoredSegment, known: Horizon) -> Witness | None:
        """Return the answer with which a segment begins, if it is known deeper than `known`."""
        key = book_key(stored.id, stored.segment.snapshot_id)
        book = await Checkpoints(self._database).get(key)
        if book is None:
            return None
        base = await asyncio.to_thread(book.unpack)
        # A copy of a running book has a time. Beyond its horizon it may have single levels.
        if base.event_ms or not is_deeper(base.horizon, known):
            return None
        answer = await asyncio.to_thread(snapshot_of, base)
        taken_ms = base.received_ns // 1_000_000
        return Witness.of_answer(answer, taken_ms, stored.id, known)

    async def follow(self, held: HeldSegment, end_id: int) -> None:
        """Move the fronts of the segments that follow, now that `held` is archived to `end_id`."""
        found = await overlapping_segments(
            self._database, held.market, held.archived_id, archived=False
        )
        for stored in found:
            begin, key = _order(stored)
            if (held.snapshot_id, held.id) < (begin, key) and begin < end_id:
                await self._follow(key, end_id)

    async def _follow(self, key: str, end_id: int) -> bool:
        """Let a segment begin at `end_id`, or at its end if that comes before."""

        async def left(stored: StoredSegment) -> Sequence[StoredIds] | None:
            return await self._events_after(stored, end_id)

        return await follow_at(self._database, key, end_id, left)

    async def _events_after(
        self, stored: StoredSegment, after_id: int
    ) -> Sequence[StoredIds] | None:
        """Return the events of a segment after `after_id`; None if some are not raw any more."""
        segment = stored.segment
        if segment.last_id <= after_id:
            return ()
        run = await RawEvents(self._database, segment.market).ids_after(after_id, segment.last_id)
        runs = await BooklessRuns(self._database).of(segment.market, waiting=True)
        listed = {update_id for bookless in runs for update_id in bookless.ids}
        own = own_events(after_id, run, listed)
        return own if own and own[-1].final_id == segment.last_id else None


def _rest_of(before: ArchiveChunk, chunk: ArchiveChunk, end_id: int) -> tuple[PackedChunk, int]:
    """Return the events of `chunk` after `end_id`, where `before` ends, as a chunk; how many left.

    The second value is how many events of `chunk` come up to `end_id`. The book is its own, which
    may be known deeper or less deep than that of `before`: the chunks after it go on from it.
    """
    decoded = decode_chunk(chunk)
    events = list(decoded.diffs())
    rest = [event for event in events if event.final_id > end_id]
    left = len(events) - len(rest)
    start = decoded.book_after(left - 1)
    if start.last_update_id != end_id:
        # Its ids are divided into other events.
        start = decode_chunk(before).final_book()
    return proven_chunk(start, rest), left


def _reach(stored: StoredSegment) -> int:
    """Return the last id that a segment has or may get."""
    return INT64_MAX if stored.running else stored.segment.last_id


def _further(one: StoredSegment, other: StoredSegment) -> StoredSegment:
    return max(one, other, key=_reach)


def _order(stored: StoredSegment) -> tuple[int, str]:
    return stored.segment.snapshot_id, stored.id
