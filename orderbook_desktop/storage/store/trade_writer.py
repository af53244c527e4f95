"""Writes trades that did not come by a stream: those of a repair, and those of an import."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.archive.trades import fitting_runs
from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin, TradeRun
from orderbook_desktop.core.trades import Trade, fits_64_bits, is_same_trade
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_batches import (
    NewBatch,
    TradeBatches,
    TradeConflict,
    contradiction,
)
from orderbook_desktop.storage.store.trade_chunks import TRADES_A_CHUNK, TradeChunks
from orderbook_desktop.storage.store.trade_documents import batches_of
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import StoredRun, TradeRuns, new_run_id

__all__ = ["TradeConflict", "TradeWriter", "TradesBusy", "TradesStored"]

_ATTEMPTS: Final = 5


class TradesBusy(DatabaseError):
    """Other programs change the stored trades of `market` all the time."""

    market: str

    def __str__(self) -> str:
        return f"Other programs change the trades of {self.market} at the same time; try again."


class TradesStored(Struct, frozen=True):
    """How many trades were `stored`, and how many were `known` already."""

    stored: int
    known: int


class TradeWriter:
    """Writes trades to `database`, each id of a market at most once, and the runs of them.

    All methods raise PyMongo's errors; repeating is harmless.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = DatabaseTrades(database)
        self._batches = TradeBatches(database)
        self._chunks = TradeChunks(database)
        self._runs = TradeRuns(database)

    async def store(self, trades: Sequence[Trade], origin: TradeOrigin) -> TradesStored:
        """Write those of `trades`, of one market, that are not stored yet.

        Their order is free, and ids may be missing between them. Some ten thousand fit at a time.
        Each stretch of ids without a hole is, or extends, a run of `origin`. An import goes to the
        archive at once; what is repaired also reaches those who follow the recording.

        Raises `TradeConflict` if a trade contradicts a stored one, or another one of `trades`, and
        `InexactValue` if no scale holds one; then what comes before it may be stored.
        """
        stored = known = 0
        for stretch in _stretches(trades):
            done = await self._store_stretch(stretch, origin)
            stored += done
            known += len(stretch) - done
            await self._claim(_run_of(stretch, origin))
        return TradesStored(stored, known)

    async def end(self, market: str, after_id: int, cause: GapCause, detail: str = "") -> bool:
        """Store why the gap after the trade `after_id` stays; return whether a run ends there."""
        is_known = False
        for stored in await self._runs.of(market):
            run = stored.run
            is_ended = run.end_cause is not None or run.origin is not TradeOrigin.RECORDER
            if run.last_id == after_id and is_ended:
                is_known |= await self._runs.close(
                    stored, replace(run, end_cause=cause, end_detail=detail)
                )
        return is_known

    async def _store_stretch(self, stretch: Sequence[Trade], origin: TradeOrigin) -> int:
        """Write trades whose ids go on without a hole; return how many were not stored yet."""
        market = stretch[0].market
        missing = await self._missing(market, stretch)
        if origin is TradeOrigin.IMPORT:
            for piece in _chunks_of(missing):
                await self._chunks.put(piece)
            return len(missing)
        for trade in missing:
            if not fits_64_bits(trade):
                # It could not be read again. This raises.
                fitting_runs([trade])
        batches = await asyncio.to_thread(lambda: [*map(NewBatch.of, batches_of(missing))])
        for conflict in (await self._batches.insert(batches)).values():
            if conflict is not None:
                raise conflict
        return len(missing)

    async def _missing(self, market: str, trades: Sequence[Trade]) -> list[Trade]:
        """Return which of `trades` are not stored. Raises `TradeConflict`."""
        if not trades:
            return []
        given = {trade.trade_id: trade for trade in trades}
        found = self._reader.stored(market, trades[0].trade_id, trades[-1].trade_id)
        async with aclosing(found):
            async for piece in found:
                known = await asyncio.to_thread(piece.trades)
                conflict = contradiction(known, given)
                if conflict is not None:
                    raise conflict
                for trade in known:
                    given.pop(trade.trade_id, None)
        return list(given.values())

    async def _claim(self, new: TradeRun) -> None:
        """Store `new`, or extend the runs of its origin that it touches to one run with it."""
        for _ in range(_ATTEMPTS):
            runs = await self._runs.of(new.market)
            touched = [
                stored
                for stored in runs
                if stored.run.origin is new.origin and _touch(stored.run, new)
            ]
            if not touched:
                await self._runs.put([_ended(new, runs)], new=True)
                return
            union = _union([new, *(stored.run for stored in touched)])
            first = touched[0]
            is_same = (union.first_id, union.last_id) == (first.run.first_id, first.run.last_id)
            if is_same or await self._extend(first, _ended(union, runs)):
                await self._runs.remove(touched[1:], union)
                return
        raise TradesBusy(new.market)

    async def _extend(self, stored: StoredRun, run: TradeRun) -> bool:
        return await self._runs.extend(stored, replace(run, id=stored.id))


def _stretches(trades: Sequence[Trade]) -> Iterator[list[Trade]]:
    """Yield the stretches of `trades` without a hole, in order. Raises `TradeConflict`."""
    stretch: list[Trade] = []
    for trade in sorted(trades, key=lambda trade: trade.trade_id):
        if trade.market != trades[0].market:
            raise BugError("trades of several markets")
        if stretch and trade.trade_id == stretch[-1].trade_id:
            if not is_same_trade(stretch[-1], trade):
                raise TradeConflict(trade.market, trade.trade_id)
            continue
        if stretch and trade.trade_id != stretch[-1].trade_id + 1:
            yield stretch
            stretch = []
        stretch.append(trade)
    if stretch:
        yield stretch


def _chunks_of(trades: Sequence[Trade]) -> Iterator[Sequence[Trade]]:
    """Yield `trades`, in order of ids, in pieces of which each can be a chunk."""
    for stretch in _stretches(trades):
        for begin in range(0, len(stretch), TRADES_A_CHUNK):
            yield from fitting_runs(stretch[begin : begin + TRADES_A_CHUNK])


def _run_of(stretch: Sequence[Trade], origin: TradeOrigin) -> TradeRun:
    return TradeRun(
        new_run_id(),
        stretch[0].market,
        *(stretch[0].trade_id, stretch[-1].trade_id),
        stretch[0].event_ms,
        max(trade.event_ms for trade in stretch),
        origin,
    )


def _touch(one: TradeRun, other: TradeRun) -> bool:
    """Whether two runs overlap, or follow each other."""
    return one.first_id <= other.last_id + 1 and other.first_id <= one.last_id + 1


def _union(runs: Iterable[TradeRun]) -> TradeRun:
    """Return the run of all trades of `runs`, which touch."""
    runs = list(runs)
    first = min(runs, key=lambda run: run.first_id)
    return replace(
        first,
        last_id=max(run.last_id for run in runs),
        to_ms=max(run.to_ms for run in runs),
    )


def _ended(run: TradeRun, runs: Sequence[StoredRun]) -> TradeRun:
    """Return `run` with the cause of the gap that it may have filled in part.

    That is the cause of the last stored end before its own.
    """
    ends = [
        stored.run
        for stored in runs
        if stored.run.end_cause is not None and stored.run.last_id <= run.last_id
    ]
    last = max(ends, key=lambda end: end.last_id, default=None)
    if last is None:
        return replace(run, end_cause=GapCause.USER, end_detail="")
    return replace(run, end_cause=last.end_cause, end_detail=last.end_detail)
