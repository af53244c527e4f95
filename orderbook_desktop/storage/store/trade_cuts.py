"""Cuts whole chunks of trades off the front of what is stored. A kill at any point does no harm.

First the runs that claim the trades get a later beginning, and their old one as `cut_from`. So no
run promises what is gone. Then the chunks between the two are removed, unless another run claims
them. A run that has lost all its trades is removed last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.trade_coverage import Covered, TradeOrigin, covered
from orderbook_desktop.storage.store.cuts import ChainLink, Removed, Wanted
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import TRADE_CHUNKS, TRADE_EVENTS
from orderbook_desktop.storage.store.trade_chunks import TRADES_A_CHUNK
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import StoredRun, TradeRuns
from orderbook_desktop.storage.store.trade_store import TradePart

_log = logging.getLogger(__name__)

_CHUNKS_A_STEP: Final = 20
_IDS_AT_ONCE: Final = 50_000


class CuttableTrades:
    """Trades of one market that can be cut: ids without a hole, all imported or all not.

    If they are the newest, their last chunk stays; so it does while they are recorded or archived.
    """

    def __init__(
        self, database: Database, market: str, ids: Covered, runs: Sequence[StoredRun]
    ) -> None:
        self._database = database
        self._reader = DatabaseTrades(database)
        self._runs = TradeRuns(database)
        self.market = market
        self._ids = ids
        self._known = runs
        self.is_newest = False

    @property
    def ages(self) -> bool:
        """Whether it is cut by age; imported trades are not."""
        return not any(_is_imported(stored) for stored in self._known)

    @property
    def from_ms(self) -> int:
        """The time of its first trade (ms since the epoch)."""
        return self._ids.from_ms

    @property
    def to_ms(self) -> int:
        """The time of its last trade (ms since the epoch)."""
        return self._ids.to_ms

    async def cut(self, wanted: Wanted) -> Removed:
        """Cut the oldest chunks while they are `wanted`, at most one step of them.

        Raises PyMongo's errors, and `DamagedDocument` for a run that was damaged meanwhile.
        """
        # A cut of other trades, or another process, may have changed them.
        here = await self._runs.of(self.market)
        self._known = [stored for stored in here if _meets(stored, self._ids)]
        links = await self._front(wanted)
        if not links:
            return Removed(is_last=True)
        first_id = links[-1].last_id + 1
        from_ms = await self._time_of(first_id)
        for stored in self._known:
            if not await self._begin_at(stored, first_id, from_ms):
                return Removed(is_last=True)
        await finish_cuts(self._database, self.market)
        self._ids = self._ids._replace(first_id=first_id, from_ms=from_ms)
        events, size = sum(link.events for link in links), sum(link.bytes for link in links)
        return Removed(events, size, is_last=len(links) < _CHUNKS_A_STEP)

    async def _front(self, wanted: Wanted) -> list[ChainLink]:
        """Return the first chunks, up to the first that has to stay or is not wanted."""
        links: list[ChainLink] = []
        begin, end = self._ids.first_id, self._last_removable()
        reached = begin - 1
        while len(links) < _CHUNKS_A_STEP and reached < end:
            parts = await self._reader.chunks(self.market, reached + 1, reached + TRADES_A_CHUNK)
            part = next((part for part in parts if part.last_id > reached), None)
            if part is None or part.first_id > reached + 1 or part.last_id > end:
                break
            link = _link_of(part, reached)
            if not wanted(link):
                break
            links.append(link)
            reached = part.last_id
        return links

    def _last_removable(self) -> int:
        """Return the last id that may be removed."""
        live = [stored for stored in self._known if stored.is_running or stored.to_archive]
        archived = [min(stored.archived_id, stored.run.last_id - 1) for stored in live]
        last_id = self._ids.last_id - 1 if self.is_newest else self._ids.last_id
        return min([last_id, *archived])

    async def _time_of(self, trade_id: int) -> int:
        """Return the time from which the trades count that stay; that of the last if none stay."""
        if trade_id > self._ids.last_id:
            return self._ids.to_ms
        parts = await self._reader.parts(self.market, trade_id, trade_id)
        try:
            times = await asyncio.to_thread(_times_from, parts, trade_id)
        except KnownError:
            # `verify` reports the damage.
            return self._ids.from_ms
        return min(times, default=self._ids.from_ms)

    async def _begin_at(self, stored: StoredRun, first_id: int, from_ms: int) -> bool:
        """Have a run begin at `first_id`, or be empty if it ends before."""
        run = stored.run
        if run.first_id >= first_id:
            return True
        if run.last_id < first_id:
            return await self._runs.cut(stored, run.last_id + 1, run.to_ms)
        return await self._runs.cut(stored, first_id, from_ms)


async def cuttable_trades(database: Database) -> list[CuttableTrades]:
    """Return what may be cut, by market and ids, after the end of all cuts that were begun.

    Raises PyMongo's errors. A market with a damaged run is left out, since `verify` reports it.
    """
    runs, found = TradeRuns(database), list[CuttableTrades]()
    for market in await runs.markets():
        try:
            stored = await runs.of(market)
            if any(one.cut_from is not None for one in stored):
                await finish_cuts(database, market)
                stored = await runs.of(market)
        except KnownError as error:
            _log.warning("retention skips the trades of %s: %s", market, error)
            continue
        found += [
            CuttableTrades(database, market, ids, [run for run in stored if _meets(run, ids)])
            for ids in _ranges(stored)
        ]
    newest = max(found, key=lambda one: one.to_ms, default=None)
    if newest is not None:
        newest.is_newest = True
    return found


async def finish_cuts(database: Database, market: str) -> None:
    """Remove what lies before the beginnings of runs that were cut, and runs without trades."""
    runs = TradeRuns(database)
    stored = await runs.of(market)
    claimed = covered(one.run for one in stored)
    for one in stored:
        if one.cut_from is not None:
            found = _parts_within(database, market, one.cut_from, one.run.first_id - 1)
            async with aclosing(found) as parts:
                async for part in parts:
                    if not any(_overlap(ids, part) for ids in claimed):
                        name = TRADE_CHUNKS if part.is_archived else TRADE_EVENTS
                        await database.collection(name).delete_one({"_id": part.key})
            if not await runs.finish_cut(one):
                continue
        is_over = one.cut_from is not None or not one.to_archive
        if not one.run.count and not one.is_running and is_over:
            await runs.remove([one], one.run)


async def _parts_within(
    database: Database, market: str, first_id: int, last_id: int
) -> AsyncGenerator[TradePart]:
    """Iterate over the chunks and batches all of whose trades are in a range of ids.

    Few of them are in memory at a time, and one may come twice.
    """
    reader = DatabaseTrades(database)
    for begin in range(first_id, last_id + 1, _IDS_AT_ONCE):
        for part in await reader.parts(market, begin, min(begin + _IDS_AT_ONCE - 1, last_id)):
            if part.first_id >= first_id and part.last_id <= last_id:
                yield part


def _overlap(ids: Covered, part: TradePart) -> bool:
    return ids.first_id <= part.last_id and part.first_id <= ids.last_id


def _ranges(stored: Sequence[StoredRun]) -> Iterator[Covered]:
    """Yield what runs cover, cut where imported trades begin or end."""
    imported = covered(one.run for one in stored if _is_imported(one))
    for whole in covered(one.run for one in stored):
        at, at_ms = whole.first_id, whole.from_ms
        for ids in imported:
            if not whole.first_id <= ids.first_id <= whole.last_id:
                continue
            if at < ids.first_id:
                yield Covered(at, ids.first_id - 1, at_ms, ids.from_ms)
            yield ids
            at, at_ms = ids.last_id + 1, ids.to_ms
        if at <= whole.last_id:
            yield Covered(at, whole.last_id, at_ms, whole.to_ms)


def _is_imported(stored: StoredRun) -> bool:
    return stored.run.origin is TradeOrigin.IMPORT


def _meets(stored: StoredRun, ids: Covered) -> bool:
    run = stored.run
    return bool(run.count) and run.first_id <= ids.last_id and ids.first_id <= run.last_id


def _link_of(part: TradePart, after_id: int) -> ChainLink:
    first_id = max(part.first_id, after_id + 1)
    events = part.last_id - first_id + 1
    return ChainLink(after_id, first_id, part.last_id, part.from_ms, part.to_ms, events, part.size)


def _times_from(parts: Sequence[TradePart], trade_id: int) -> list[int]:
    """Return the times of the trades of the first part from an id on. Raises what damage raises."""
    return [
        time
        for part in parts[:1]
        for piece in part.unpack()
        if (rest := piece.between(trade_id, part.last_id)) is not None
        for time in rest.arrays.times_ms.tolist()
    ]
