"""Archives runs of trades: batches become chunks, and go once these are proven.

Trades belong to their market, whichever recorder stored them. Where two runs overlap, the chunks of
the one that was archived first hold the trades of both. The order of the steps makes a kill
harmless: a chunk is written, then the batches in it are removed, then the run's archive moves on.
What is repeated finds what was done. Two archivers at a time do no harm either, since no chunk is
ever replaced; the lease of the market only saves the work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from orderbook_desktop.core.archive import MINUTE_MS
from orderbook_desktop.core.archive.trades import fitting_runs
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import ArchiveLease, WaitingSegment
from orderbook_desktop.storage.store.trade_batches import TradeBatches, contradiction
from orderbook_desktop.storage.store.trade_chunks import TRADES_A_CHUNK, TradeChunks
from orderbook_desktop.storage.store.trade_documents import TRADES_A_BATCH
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import StoredRun, TradeRuns
from orderbook_desktop.storage.store.trade_store import TradePart

_log = logging.getLogger(__name__)

# A chunk of a run that goes on is a minute long if it has enough trades to be small for each, and
# never longer than this.
_ENOUGH: Final = 1_000
_LONGEST_MS: Final = 10 * MINUTE_MS
# A recorder writes what its database has lost within seconds of the database's return.
_MISSING_FOR_S: Final = 60.0


class TradeArchive:
    """Archives runs of trades of `database`.

    Its methods raise PyMongo's errors, and `KnownError`s if trades can't be archived.
    """

    def __init__(self, database: Database, lease: ArchiveLease, now: Callable[[], float]) -> None:
        self._lease = lease
        self._now = now
        self._runs = TradeRuns(database)
        self._reader = DatabaseTrades(database)
        self._chunks = TradeChunks(database)
        self._batches = TradeBatches(database)
        # By run: the first id that was missing at the last look, and when that was seen first.
        self._missing: dict[str, tuple[int, float]] = {}

    async def waiting(self) -> list[WaitingSegment]:
        """Return the runs that are not archived completely."""
        return await self._runs.waiting()

    async def advance(self, run_id: str) -> tuple[int, int] | None:
        """Archive the next chunk of a run; return how many trades and bytes it has.

        None if there is nothing to archive now, or another process archives the market.
        """
        stored = await self._runs.get(run_id)
        if stored is None or not stored.to_archive:
            return None
        if stored.archived_id < stored.run.last_id:
            return await self._go_on(stored)
        if not stored.is_running:
            await self._runs.change(stored, {"to_archive": False})
        return None

    async def _go_on(self, stored: StoredRun) -> tuple[int, int] | None:
        run, first_id = stored.run, stored.archived_id + 1
        last_id = min(run.last_id, first_id + TRADES_A_CHUNK - 1)
        # Batches first: else one that is archived meanwhile would count as missing.
        batches = await self._reader.batches(run.market, first_id, last_id)
        chunks = await self._reader.chunks(run.market, first_id, last_id)
        archived_id = _reach(chunks, first_id) - 1
        if archived_id >= first_id:
            return await self._move(stored, archived_id)
        # Not into what is archived already.
        last_id = min([last_id, *(chunk.first_id - 1 for chunk in chunks)])
        batches = _in_a_row(batches, first_id, last_id)
        if not batches:
            return await self._pass_hole(stored, first_id)
        is_cut = last_id < run.last_id
        if stored.is_running and not (is_cut or _is_closed(batches, first_id, last_id)):
            return None
        if await self._lease.hold(run.market) is None:
            return None
        trades = await asyncio.to_thread(_trades_of, batches, first_id, last_id)
        size = await self._chunks.put(trades)
        moved = await self._move(stored, trades[-1].trade_id)
        return None if moved is None else (len(trades), size)

    async def _move(self, stored: StoredRun, archived_id: int) -> tuple[int, int] | None:
        """Let the archive of a run reach to `archived_id`, and remove the batches up to there."""
        run = stored.run
        if await self._lease.hold(run.market) is None:
            return None
        await self._sweep(run.market, stored.archived_id + 1, archived_id)
        self._missing.pop(run.id, None)
        archived_id = min(archived_id, run.last_id)
        return (
            (0, 0) if await self._runs.archived(run.id, stored.archived_id, archived_id) else None
        )

    async def _sweep(self, market: str, first_id: int, last_id: int) -> None:
        """Remove the batches of which all trades are archived, after comparing both.

        Raises `TradeConflict`: then another recorder stored other trades with these ids.
        """
        chunks = await self._reader.chunks(
            market, first_id - TRADES_A_BATCH, last_id + TRADES_A_BATCH
        )
        found = await self._reader.batches(market, first_id, last_id)
        batches = [batch for batch in found if _reach(chunks, batch.first_id) > batch.last_id]
        if not batches:
            return

        def compare() -> None:
            begin, end = batches[0].first_id, max(batch.last_id for batch in batches)
            archived = {
                trade.trade_id: trade
                for chunk in chunks
                for piece in chunk.unpack()
                for part in [piece.between(begin, end)]
                if part is not None
                for trade in part.trades()
            }
            for batch in batches:
                conflict = contradiction(_unpacked(batch), archived)
                if conflict is not None:
                    raise conflict

        await asyncio.to_thread(compare)
        await self._batches.remove([batch.key for batch in batches])

    async def _pass_hole(self, stored: StoredRun, first_id: int) -> tuple[int, int] | None:
        """Go on after trades that the run claims and that are not stored, once that is certain."""
        run, now = stored.run, self._now()
        missing_id, since = self._missing.get(run.id, (first_id, now))
        if missing_id != first_id:
            since = now
        self._missing[run.id] = (first_id, since)
        if now - since < _MISSING_FOR_S:
            return None
        next_id = run.last_id + 1
        for begin in range(first_id, run.last_id + 1, TRADES_A_CHUNK):
            parts = await self._reader.parts(run.market, begin, begin + TRADES_A_CHUNK - 1)
            if parts:
                next_id = min(parts[0].first_id, next_id)
                break
        _log.error(
            "%s: the trades %d to %d were recorded and are missing; see `verify`",
            *(run.market, first_id, next_id - 1),
        )
        done = await self._runs.archived(run.id, stored.archived_id, next_id - 1)
        return (0, 0) if done else None


def _reach(parts: Iterable[TradePart], first_id: int) -> int:
    """Return the first id from `first_id` on that `parts`, in order, do not have."""
    next_id = first_id
    for part in parts:
        if part.first_id <= next_id:
            next_id = max(next_id, part.last_id + 1)
    return next_id


def _in_a_row(batches: Sequence[TradePart], first_id: int, last_id: int) -> list[TradePart]:
    """Return the batches, in order, that have trades from `first_id` on without a hole."""
    end = min(_reach(batches, first_id) - 1, last_id)
    return [batch for batch in batches if batch.first_id <= end]


def _is_closed(batches: Sequence[TradePart], first_id: int, last_id: int) -> bool:
    """Whether batches in a row make a chunk, though the run goes on."""
    count = min(_reach(batches, first_id) - 1, last_id) - first_id + 1
    passed_ms = max(part.to_ms for part in batches) - min(part.from_ms for part in batches)
    is_long = passed_ms >= (MINUTE_MS if count >= _ENOUGH else _LONGEST_MS)
    return count >= TRADES_A_CHUNK or is_long


def _trades_of(batches: Sequence[TradePart], first_id: int, last_id: int) -> Sequence[Trade]:
    """Return the trades of batches in a row, as many as one scale holds.

    A trade that was received takes the place of the same one that was asked for. Raises
    `TradeConflict`.
    """
    trades: dict[int, Trade] = {}
    for batch in batches:
        mine = [one for one in _unpacked(batch) if first_id <= one.trade_id <= last_id]
        conflict = contradiction(mine, trades)
        if conflict is not None:
            raise conflict
        for trade in mine:
            known = trades.get(trade.trade_id)
            if known is None or (known.is_repaired and not trade.is_repaired):
                trades[trade.trade_id] = trade
    return fitting_runs([trades[trade_id] for trade_id in sorted(trades)])[0]


def _unpacked(batch: TradePart) -> list[Trade]:
    return [trade for piece in batch.unpack() for trade in piece.trades()]
