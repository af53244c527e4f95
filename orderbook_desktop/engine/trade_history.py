"""Reads the recorded trades of before, for the panes and pages that show them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.trade_coverage import TradeGap, gaps_between
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.failures import driver_reason, is_driver_failure
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.system.attempts import Attempts

_log = logging.getLogger(__name__)

# They fill some screens, and are read within milliseconds; a reader who scrolls back gets more.
_ON_TAPE: Final = 2_000
_RETRY_LAST_S: Final = 30.0


class TradesUnreadable(DatabaseError):
    """The database failed while trades were read; `reason` says why in few words."""

    reason: str

    def __str__(self) -> str:
        return (
            f"The recorded trades can't be read from the database ({self.reason}); "
            "wait for the database."
        )


class RecordedTradeHistory:
    """The trades in `database`; it is a `TradeHistory`.

    All methods raise `TradesUnreadable`, `NewerSchema`, `UnknownSchema`, and the errors of damaged
    documents. Where nothing is recorded, there are no trades.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = DatabaseTrades(database)

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the last `count` recorded trades before an id, in the order of their ids."""
        async with self._failures_raised():
            if await self._database.has_recordings():
                return await self._reader.before(market, trade_id, count)
        return []

    async def after(self, market: str, trade_id: int, count: int) -> list[Trade]:
        """Return the first `count` recorded trades after an id, in the order of their ids."""
        found: list[Trade] = []
        async with self._failures_raised():
            if await self._database.has_recordings():
                reading = self._reader.trades(market, trade_id + 1, INT64_MAX)
                async with aclosing(reading) as pieces:
                    async for piece in pieces:
                        found += await asyncio.to_thread(piece.trades)
                        if len(found) >= count:
                            break
        return found[:count]

    async def gaps(self, market: str) -> list[TradeGap]:
        """Return the gaps of the recorded trades, in the order of their ids."""
        async with self._failures_raised():
            if await self._database.has_recordings():
                return await asyncio.to_thread(gaps_between, await self._reader.runs(market))
        return []

    async def fill(self, tape: Tape) -> None:
        """Put the newest recorded trades on `tape`, once the database is there."""
        await self._database.until_connected()
        delays = backoff_delays(first=1.0, cap=_RETRY_LAST_S)
        await Attempts(KnownError, self._not_filled, delays).until_it_works(lambda: self._put(tape))

    async def _put(self, tape: Tape) -> None:
        trades = await self.before(tape.market, INT64_MAX, _ON_TAPE)
        if not trades:
            return
        for trade in trades:
            tape.add(trade, is_past=True)
        for gap in await self.gaps(tape.market):
            if gap.after_id >= trades[0].trade_id:
                tape.broken(gap.cause, gap.detail, after_id=gap.after_id)

    def _not_filled(self, error: KnownError, /, *, is_new: bool) -> None:
        if is_new:
            _log.info("the tape has no recorded trades yet: %s", error)

    @asynccontextmanager
    async def _failures_raised(self) -> AsyncIterator[None]:
        if not self._database.is_connected:
            raise TradesUnreadable("it is not connected")
        try:
            yield
        except Exception as error:
            if not is_driver_failure(error):
                raise
            raise TradesUnreadable(driver_reason(error)) from error
