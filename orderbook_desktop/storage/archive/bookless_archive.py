"""Archives runs without a book, and makes such runs of stored events that are in no run."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Final

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.archive.proof import ArchivedRaw
from orderbook_desktop.storage.store.bookless import BooklessRun, BooklessRuns
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import ArchiveLease, HeldSegment
from orderbook_desktop.storage.store.packing import proven_loose
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.segments import unarchived_ranges
from orderbook_desktop.storage.store.unclaimed_events import Claim, unclaimed_events

_log = logging.getLogger(__name__)

_EVENTS_A_RUN: Final = 5_000


class BooklessArchive:
    """Archives runs without a book in `database`, each as one chunk.

    Its methods raise PyMongo's errors, and `KnownError`s if events can't be archived.
    """

    def __init__(self, database: Database, lease: ArchiveLease, now_ns: Callable[[], int]) -> None:
        self._database = database
        self._lease = lease
        self._store = ChunkStore(database)
        self._raw = ArchivedRaw(database)
        self._runs = BooklessRuns(database)
        self._began_ns = now_ns()
        # By market: the raw events that were in no run at the last `account`.
        self._unaccounted: dict[str, set[int]] = {}

    async def advance(self, held: HeldSegment) -> tuple[int, int] | None:
        """Archive a run whose lease is ours; return how many events, and their bytes.

        None if it is archived already, or a segment with a book may still need its events.
        """
        run = await self._runs.get(held.id)
        if run is None:
            return None
        if run.is_archived:
            await self._finish(held)
            return None
        ranges = (await unarchived_ranges(self._database, held.market)).values()
        if any(after < u <= last for after, last in ranges for u in run.ids):
            return None
        events = await RawEvents(self._database, held.market).listed(run.ids)
        left = await self._left_of(run, {event.final_id for event in events})
        if not left:
            await self._runs.shrink(run, ())
            return 0, 0
        if not events:
            # They are lost. The run goes on to name them, so that `verify` finds that.
            await self._lease.finish(held)
            return None
        return await self._archive(held, events, left)

    async def account(self, market: str) -> None:
        """Make runs without a book of the stored events that are in no run.

        The recorder may still name an event that came since this program began, so such an event
        is taken only if the next call finds it again. Events that are archived are removed.
        """
        raw = await self._outside(market)
        for update_id in await self._sweep(market, raw) if raw else ():
            raw.pop(update_id, None)
        for run in await self._runs.of(market):
            for update_id in run.ids:
                raw.pop(update_id, None)
        before = self._unaccounted.get(market, set())
        self._unaccounted[market] = set(raw)
        found = sorted(u for u, ns in raw.items() if ns < self._began_ns or u in before)
        for start in range(0, len(found), _EVENTS_A_RUN):
            some = found[start : start + _EVENTS_A_RUN]
            events = await RawEvents(self._database, market).loose(some)
            if events:
                await self._runs.put(market, events, secrets.token_hex(12))
        if found:
            _log.info("%s: %d events belong to no segment", market, len(found))

    async def _archive(
        self, held: HeldSegment, events: list[DepthDiff], left: Collection[int]
    ) -> tuple[int, int] | None:
        chunk = await asyncio.to_thread(proven_loose, events)
        size = await self._store.put(held.id, chunk, held.epoch, held.snapshot_id)
        last_id = chunk.header.coverage.last_id
        if not await self._lease.move(held, last_id, len(events), size, left):
            return None
        await self._raw.remove(held.market, [event.final_id for event in events], held.id)
        now = await self._lease.take(held.id)
        if now is not None:
            await self._lease.finish(now)
        return len(events), size

    async def _left_of(self, run: BooklessRun, stored: Collection[int]) -> set[int]:
        """Return the ids of a run without those that are archived in another run by now."""
        market = run.stored.segment.market
        gone = set(run.ids).difference(stored)
        gone -= await self._store.archived_ids(market, gone) if gone else set()
        for other in await self._runs.of(market) if gone else ():
            if other.is_archived and other.id != run.id:
                gone.difference_update(other.ids)
        return gone.union(stored)

    async def _finish(self, held: HeldSegment) -> None:
        """Remove the raw events of an archived run, of which a kill may have left some."""
        chunk = await self._store.get(held.id, held.snapshot_id)
        if chunk is not None:
            await self._raw.sweep(await asyncio.to_thread(decode_chunk, chunk), held.id)
        await self._lease.finish(held)

    async def _outside(self, market: str) -> dict[int, int]:
        """Return receive times (ns) by final id, of the raw events that no segment may need."""
        waiting = await self._runs.of(market, waiting=True)
        known = sorted(update_id for run in waiting for update_id in run.ids)
        ranges = await unarchived_ranges(self._database, market)
        claims = [Claim(after, last) for after, last in ranges.values()]
        found: dict[int, int] = {}
        raw = RawEvents(self._database, market)
        async with aclosing(unclaimed_events(raw, claims, known)) as parts:
            async for part in parts:
                found |= {event.final_id: event.received_ns for event in part}
        return found

    async def _sweep(self, market: str, raw: Collection[int]) -> list[int]:
        """Remove the events of `raw` that are archived, in a run with a book or without one.

        Return the ids of the removed events.
        """
        holding = await self._store.holding(market, raw)
        for run in await self._runs.of(market):
            if run.is_archived and not set(raw).isdisjoint(run.ids):
                holding.append((run.id, run.stored.segment.snapshot_id))
        removed: list[int] = []
        for segment_id, start_id in holding:
            chunk = await self._store.get(segment_id, start_id)
            if chunk is not None:
                decoded = await asyncio.to_thread(decode_chunk, chunk)
                removed += await self._raw.sweep(decoded, segment_id)
        return removed
