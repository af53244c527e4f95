"""Ids of aggregated trades that an import made of single ones, so that they join the stored trades.

A file of single trades does not tell the ids of the exchange's aggregated trades; it begins with an
id of its own (`formats.single_trades`). But the ids of the single trades, the parts, say what is
stored already, and what lies right behind or before a stored trade.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.trade_coverage import Covered
from orderbook_desktop.core.trades import UNKNOWN_PART, Trade, with_id
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_writer import TradeConflict
from orderbook_desktop.system.tasks import in_thread

# The exchange's clock may step back by less.
_BESIDE_MS: Final = 2_000
_ALONE: Final = "join none of the stored aggregated trades, so their place there is not known"
_MISFIT: Final = "do not fit among the stored aggregated trades, whose ids leave room for others"


class UnplacedTrades(KnownError):
    """The single trades `first_part` to `last_part` of `market` get no ids: `reason` says why."""

    market: str
    first_part: int
    last_part: int
    reason: str

    def __str__(self) -> str:
        return (
            f"Nothing was imported: the files have single trades of {self.market} only, and those "
            f"with the ids {self.first_part} to {self.last_part} {self.reason}; choose another "
            "DB_NAME for them."
        )


class Stretch(Struct):
    """New trades of an import with ids in a row; `shift` leads to the ids that they get."""

    first: Trade
    last: Trade
    shift: int | None = None

    def __len__(self) -> int:
        return self.last.trade_id - self.first.trade_id + 1

    def renumbered(self, trade: Trade) -> Trade:
        """Return `trade` with the id that it gets."""
        return with_id(trade, trade.trade_id + self.shift) if self.shift else trade


class TradeIds:
    """Finds which trades of `market` are new, and their ids; they were made of single ones.

    `stretches` are what is stored, at least one.
    """

    def __init__(self, reader: DatabaseTrades, market: str, stretches: list[Covered]) -> None:
        self._reader = reader
        self._market = market
        self._covered = stretches
        self._has_made_ids = False
        # The stored trades beside the place that is reached.
        self._left: Trade | None = None
        self._right: Trade | None = None
        # New trades between these two.
        self._hole: list[Stretch] = []
        self._found: list[Stretch] = []
        self.count = 0

    async def find(self, batches: Iterator[list[Trade]], from_ms: int, to_ms: int) -> list[Stretch]:
        """Return the new trades; `batches` are all of them, from `from_ms` to `to_ms`.

        Raises `UnplacedTrades`, and `TradeConflict` if a part is stored with other contents.
        """
        self._has_made_ids = await self._was_made()
        async with aclosing(self._stored(from_ms, to_ms)) as stored:
            self._right = await anext(stored, None)
            while batch := await in_thread(next, batches, None):
                for trade in batch:
                    self.count += 1
                    await self._take(trade, stored)
            self._end_hole()
        return self._found

    async def _take(self, trade: Trade, stored: AsyncGenerator[Trade]) -> None:
        while self._right is not None and self._right.last_part < trade.first_part:
            await self._advance(stored)
        if self._right is not None and self._right.first_part <= trade.last_part:
            self._end_hole()
            await self._compare(trade, stored)
            return
        if self._hole and self._hole[-1].last.trade_id + 1 == trade.trade_id:
            self._hole[-1].last = trade
        else:
            self._hole.append(Stretch(trade, trade))

    async def _advance(self, stored: AsyncGenerator[Trade]) -> None:
        self._end_hole()
        self._left, self._right = self._right, await anext(stored, None)

    async def _compare(self, trade: Trade, stored: AsyncGenerator[Trade]) -> None:
        """Check that stored trades, from `_right` on, are what `trade` consists of.

        A file may begin or end amid an order. Two orders of one time and price are one in a file.
        """
        begin, quantity = self._right, Decimal()
        while True:
            known = self._right
            if known is None or begin is None or known.first_part > trade.last_part:
                raise self._unplaced(trade, trade, _MISFIT)
            if not _is_alike(known, trade):
                raise TradeConflict(self._market, known.trade_id)
            quantity += Decimal(known.quantity)
            if known.last_part >= trade.last_part:
                break
            await self._advance(stored)
        if begin.first_part > trade.first_part:
            raise self._unplaced(trade, trade, _MISFIT)
        is_whole = (begin.first_part, known.last_part) == (trade.first_part, trade.last_part)
        if is_whole and quantity != Decimal(trade.quantity):
            raise TradeConflict(self._market, known.trade_id)

    def _end_hole(self) -> None:
        """Give ids to the new trades between `_left` and `_right`."""
        hole, self._hole = self._hole, []
        if not hole:
            return
        left, right = self._left, self._right
        if left is not None and left.last_part + 1 == hole[0].first.first_part:
            hole[0].shift = left.trade_id + 1 - hole[0].first.trade_id
        if right is not None and hole[-1].last.last_part + 1 == right.first_part:
            shift = right.trade_id - 1 - hole[-1].last.trade_id
            if hole[-1].shift not in (None, shift):
                raise self._unplaced(hole[0].first, hole[-1].last, _MISFIT)
            hole[-1].shift = shift
        for stretch in hole:
            if stretch.shift is None and not self._has_made_ids:
                raise self._unplaced(stretch.first, stretch.last, _ALONE)
        self._found += hole

    def _unplaced(self, first: Trade, last: Trade, reason: str) -> UnplacedTrades:
        return UnplacedTrades(self._market, first.first_part, last.last_part, reason)

    async def _was_made(self) -> bool:
        """Return whether ids of stored trades are made up in the same way."""
        for stretch in self._covered:
            first_id = stretch.first_id
            async with aclosing(self._reader.trades(self._market, first_id, first_id)) as pieces:
                async for piece in pieces:
                    if first_id == int(piece.arrays.first_parts[0]):
                        return True
        return False

    async def _stored(self, from_ms: int, to_ms: int) -> AsyncGenerator[Trade]:
        """Iterate over the stored trades of a time and beside it, whose parts are known."""
        market = self._market
        first_id = await self._reader.first_id_at(market, from_ms - _BESIDE_MS)
        begin = INT64_MAX if first_id is None else first_id
        for trade in await self._reader.before(market, begin, 1):
            if trade.first_part != UNKNOWN_PART:
                yield trade
        async with aclosing(self._reader.trades(market, begin, INT64_MAX)) as pieces:
            async for piece in pieces:
                for trade in await in_thread(piece.trades):
                    if trade.first_part != UNKNOWN_PART:
                        yield trade
                    if trade.event_ms > to_ms + _BESIDE_MS:
                        return


def _is_alike(known: Trade, trade: Trade) -> bool:
    """Whether parts of `trade` may be parts of `known`."""
    what = known.is_sold, known.event_ms, Decimal(known.price)
    return what == (trade.is_sold, trade.event_ms, Decimal(trade.price))
