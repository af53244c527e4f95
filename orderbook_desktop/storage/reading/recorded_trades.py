"""The recorded trades of a market by time: as rows, and the gaps between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from orderbook_desktop.core.archive.trade_rows import TradeRows
from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.event_times import US_A_MS
from orderbook_desktop.core.trade_coverage import TradeGap, covered, gaps_between
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.recording_store import RecordingStore

# The exchange's clock steps back by less: a trade of so much later ends a reading.
STEPS_BACK_US: Final = 60_000 * US_A_MS


class RecordedTrades:
    """The trades of `market` in a database or another store, as they are at each call.

    Times are those of the trades, in ms; None: from the first one, or to the last one. All methods
    raise what the store raises.
    """

    def __init__(self, place: Database | RecordingStore, market: str) -> None:
        self._place = store_of(place)
        self.market = market

    async def span(
        self, from_ms: int | None = None, to_ms: int | None = None
    ) -> tuple[int, int] | None:
        """Return within which times trades are covered, from `from_ms` to before `to_ms`, or None.

        Both ends belong to it.
        """
        stretches = [
            stretch
            for stretch in covered(await self._place.trades.runs(self.market))
            if (from_ms is None or stretch.to_ms >= from_ms)
            and (to_ms is None or stretch.from_ms < to_ms)
        ]
        if not stretches:
            return None
        first_ms = min(stretch.from_ms for stretch in stretches)
        last_ms = max(stretch.to_ms for stretch in stretches)
        first_ms = first_ms if from_ms is None else max(first_ms, from_ms)
        return first_ms, last_ms if to_ms is None else min(last_ms, to_ms - 1)

    async def gaps(self, from_ms: int | None = None, to_ms: int | None = None) -> list[TradeGap]:
        """Return the gaps that meet a time, in the order of ids."""
        return [
            gap
            for gap in gaps_between(await self._place.trades.runs(self.market))
            if (from_ms is None or gap.to_ms > from_ms) and (to_ms is None or gap.from_ms < to_ms)
        ]

    async def rows(
        self, from_ms: int | None = None, to_ms: int | None = None
    ) -> AsyncGenerator[TradeRows]:
        """Iterate over the trades from `from_ms` to before `to_ms`, in the order of their ids.

        The caller closes the iterator (`contextlib.aclosing`).
        """
        async with aclosing(self.decoded(from_ms, to_ms)) as found:
            async for trades in found:
                rows = await asyncio.to_thread(TradeRows.of, trades)
                chosen = rows.between(from_ms, to_ms)
                if len(chosen):
                    yield chosen

    async def decoded(
        self, from_ms: int | None = None, to_ms: int | None = None
    ) -> AsyncGenerator[DecodedTrades]:
        """Iterate over what has all trades from `from_ms` to before `to_ms`, and others around.

        The caller closes the iterator.
        """
        first_id: int | None = 0
        if from_ms is not None:
            first_id = await self._place.trades.first_id_at(self.market, from_ms)
        if first_id is None:
            return
        end_us = INT64_MAX if to_ms is None else to_ms * US_A_MS + STEPS_BACK_US
        async with aclosing(self._place.trades.trades(self.market, first_id, INT64_MAX)) as found:
            async for trades in found:
                yield trades
                if int(trades.arrays.times_us.min()) >= end_us:
                    return
