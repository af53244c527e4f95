"""Archives loose events, and lists stored events that are in no segment and no list."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Final

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.storage.archive.proof import ArchivedRaw, proven_loose
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.loose_events import LooseEvents, LooseList, archived_ids
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.segments import unarchived_ranges
from orderbook_desktop.storage.store.unclaimed_events import Claim, unclaimed_events

_log = logging.getLogger(__name__)

_LISTED_AT_ONCE: Final = 5_000


class LooseArchive:
    """Archives the loose events of `database`, `stays_for_s` after it first saw their list.

    Its methods raise PyMongo's errors, and `KnownError`s if events can't be archived.
    """

    def __init__(
        self,
        database: Database,
        stays_for_s: float,
        now: Callable[[], float],
        now_ns: Callable[[], int],
    ) -> None:
        self._database = database
        self._stays_for_s = stays_for_s
        self._now = now
        self._store = ChunkStore(database)
        self._raw = ArchivedRaw(database)
        self._loose = LooseEvents(database)
        self._began_ns = now_ns()
        self._listed_at: dict[str, float] = {}
        # By market: the raw events that were in no segment and no list at the last `account`.
        self._unaccounted: dict[str, set[int]] = {}

    async def advance(self, market: str) -> tuple[int, int] | None:
        """Archive one list of the market's loose events; return how many, and their bytes."""
        now = self._now()
        waiting = await self._loose.lists(market, waiting=True)
        due = [
            loose_list
            for loose_list in waiting
            if now - self._listed_at.setdefault(loose_list.id, now) >= self._stays_for_s
        ]
        if not due:
            return None
        ranges = (await unarchived_ranges(self._database, market)).values()
        for loose_list in due:
            # Not while a segment may still need one of these events.
            if not any(after < u <= last for after, last in ranges for u in loose_list.ids):
                return await self._archive(loose_list)
        return None

    async def account(self, market: str) -> None:
        """List the stored events that are in no segment and no list.

        The recorder may still list an event that came since this program began, so such an event
        is listed only if the next call finds it again. Events that are archived are removed.
        """
        raw = await self._outside(market)
        for update_id in await self._sweep(market, raw) if raw else ():
            raw.pop(update_id, None)
        for loose_list in await self._loose.lists(market):
            for update_id in loose_list.ids:
                raw.pop(update_id, None)
        before = self._unaccounted.get(market, set())
        self._unaccounted[market] = set(raw)
        found = sorted(u for u, ns in raw.items() if ns < self._began_ns or u in before)
        for start in range(0, len(found), _LISTED_AT_ONCE):
            some = found[start : start + _LISTED_AT_ONCE]
            await self._loose.list_up(market, some, secrets.token_hex(12))
        if found:
            _log.info("%s: %d events belong to no segment", market, len(found))

    async def _archive(self, loose_list: LooseList) -> tuple[int, int]:
        events = await RawEvents(self._database, loose_list.market).listed(loose_list.ids)
        key, size = None, 0
        if events:
            chunk = await asyncio.to_thread(proven_loose, events)
            key, size = await self._store.put_loose(chunk)
        archived = {event.final_id for event in events}
        gone = set(loose_list.ids) - archived
        if gone:
            gone -= await archived_ids(self._database, loose_list.market, gone)
            for other in await self._loose.lists(loose_list.market):
                if other.archived and other.id != loose_list.id:
                    gone.difference_update(other.ids)
        self._listed_at.pop(loose_list.id, None)
        if not await self._loose.archived(loose_list, archived | gone, key):
            await self._take_back(loose_list.market, key)
            return 0, 0
        await self._raw.remove(loose_list.market, archived, None)
        return len(events), size

    async def _take_back(self, market: str, key: str | None) -> None:
        """Remove our chunk, unless a list names it: another process has archived the list."""
        lists = await self._loose.lists(market)
        if key is not None and not any(loose_list.chunk == key for loose_list in lists):
            await self._store.drop_loose([key])

    async def _outside(self, market: str) -> dict[int, int]:
        """Return receive times (ns) by final id, of the raw events that no segment may need."""
        waiting = await self._loose.lists(market, waiting=True)
        known = sorted(update_id for loose_list in waiting for update_id in loose_list.ids)
        ranges = await unarchived_ranges(self._database, market)
        claims = [Claim(after, last) for after, last in ranges.values()]
        found: dict[int, int] = {}
        raw = RawEvents(self._database, market)
        async with aclosing(unclaimed_events(raw, claims, known)) as parts:
            async for part in parts:
                found |= part
        return found

    async def _sweep(self, market: str, raw: Collection[int]) -> list[int]:
        """Remove the events of `raw` that are archived, in a segment or in a loose chunk.

        Return the ids of the removed events.
        """
        removed: list[int] = []
        for segment_id, start_id in await self._store.holding(market, raw):
            chunk = await self._store.get(segment_id, start_id)
            if chunk is not None:
                decoded = await asyncio.to_thread(decode_chunk, chunk)
                removed += await self._raw.sweep(decoded, segment_id)
        for loose_list in await self._loose.lists(market):
            if loose_list.chunk is not None and not set(raw).isdisjoint(loose_list.ids):
                chunk = await self._store.get_loose(loose_list.chunk)
                if chunk is not None:
                    decoded = await asyncio.to_thread(decode_chunk, chunk)
                    removed += await self._raw.sweep(decoded, None)
        return removed
