"""Merges the trades of a packed file into a database.

First all of them are compared with what is stored. A chunk or a batch of which nothing is stored is
then written as it is; of one that overlaps with stored trades only the others are. The runs come
last, so nothing that was written is seen before all of it is there. A run that the stored runs
cover together is not written, so the same file again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.trade_coverage import Covered, TradeRun, covered
from orderbook_desktop.core.trades import Trade, is_same_trade
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packed_trades import CopiedTrades, PackedRun, PackedTrades
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_store import TradePart


class TradeUnpacking:
    """The trades of `market` in a file, to be merged into `database`.

    First `compare`, then `write`; `claim` once all else of the file is written, or `undo`.
    `conflict` returns the error for a trade that is stored with other content, and `damaged` that
    of a file which contradicts itself. Then `new` is how many trades were not stored before, and
    `known` how many were.
    """

    def __init__(
        self,
        database: Database,
        file: PackedTrades,
        market: str,
        conflict: Callable[[int], KnownError],
        damaged: Callable[[str], KnownError],
    ) -> None:
        self._file = file
        self._market = market
        self._conflict = conflict
        self._damaged = damaged
        self._stored = DatabaseTrades(database)
        self._copy = CopiedTrades(database)
        self._runs: list[PackedRun] = []
        # The parts of which nothing is stored, and of the others the trades that are not.
        self._whole: set[str] = set()
        self._lacking: dict[str, list[Trade]] = {}
        self.new = 0
        self.known = 0

    async def compare(self) -> None:
        """Find what the database lacks. Raises the conflict, and what damage raises."""
        packed = await self._file.packed_runs(self._market)
        runs = [one.run for one in packed]
        claimed, ids = covered(runs), list[TradeRun]()
        async with aclosing(self._file.all_parts(self._market)) as parts:
            async for part in parts:
                await self._compare_part(part, claimed)
                numbers = part.first_id, part.last_id, part.from_ms, part.to_ms
                ids.append(TradeRun(part.key, self._market, *numbers))
        there = covered(ids)
        if not all(_are_in(there, run) for run in claimed):
            raise self._damaged(f"trades of {self._market} are missing")
        stored_runs = await self._stored.runs(self._market)
        stored = covered(stored_runs)
        self._runs = [one for one in packed if not _are_in(stored, one.run)]
        self.new = _count(covered([*stored_runs, *runs])) - _count(stored)
        self.known = _count(claimed) - self.new

    async def write(self) -> None:
        """Write the trades that the database lacks; no run claims them yet."""
        async with aclosing(self._file.all_parts(self._market)) as parts:
            async for part in parts:
                if part.key in self._whole:
                    await self._copy.put(part)
                missing = self._lacking.get(part.key, [])
                await self._copy.put_trades(missing, is_archived=part.is_archived)

    async def claim(self) -> None:
        """Write the runs."""
        for packed in self._runs:
            await self._copy.claim(packed)

    async def undo(self) -> None:
        """Remove what was written."""
        await self._copy.undo()

    async def _compare_part(self, part: TradePart, claimed: Sequence[Covered]) -> None:
        pieces = await asyncio.to_thread(part.unpack)
        ends = pieces[0].header.first_id, pieces[-1].header.first_id + len(pieces[-1]) - 1
        is_named = ends == (part.first_id, part.last_id)
        if not is_named or any(piece.header.market != self._market for piece in pieces):
            raise self._damaged("a part of its trades is not what its table says")
        if not any(
            ids.first_id <= part.last_id and part.first_id <= ids.last_id for ids in claimed
        ):
            raise self._damaged(f"a part of {self._market} belongs to no run of trades")
        stored = await self._stored.parts(self._market, part.first_id, part.last_id)
        if not stored:
            self._whole.add(part.key)
        elif all(one.document != part.document for one in stored):
            self._lacking[part.key] = await asyncio.to_thread(self._missing, part, stored)

    def _missing(self, part: TradePart, stored: Iterable[TradePart]) -> list[Trade]:
        """Return the trades of a part that are not stored. Raises the conflict."""
        known = {trade.trade_id: trade for one in stored for trade in _trades_of(one)}
        missing: list[Trade] = []
        for trade in _trades_of(part):
            if trade.trade_id not in known:
                missing.append(trade)
            elif not is_same_trade(known[trade.trade_id], trade):
                raise self._conflict(trade.trade_id)
        return missing


def _overlap(ids: Covered, part: TradePart) -> bool:
    return ids.first_id <= part.last_id and part.first_id <= ids.last_id


def _trades_of(part: TradePart) -> list[Trade]:
    return [trade for piece in part.unpack() for trade in piece.trades()]


def _count(stretches: Iterable[Covered]) -> int:
    return sum(ids.last_id - ids.first_id + 1 for ids in stretches)


def _are_in(stretches: Sequence[Covered], run: TradeRun | Covered) -> bool:
    return any(ids.first_id <= run.first_id and run.last_id <= ids.last_id for ids in stretches)
