"""Reads what was traded by bin and price step, the newest trades first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.event_times import US_A_MS
from orderbook_desktop.core.heatmap.pages import HeatmapWish, TradedPart
from orderbook_desktop.core.heatmap.traded import TradedBuilder
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.reading.recorded_trades import STEPS_BACK_US
from orderbook_desktop.storage.store.recording_store import RecordingStore

# An answer comes after so many trades, then after twice as many, and so on.
_FIRST_TRADES: Final = 20_000


async def read_traded(store: RecordingStore, wish: HeatmapWish) -> AsyncGenerator[TradedPart]:
    """Read what was traded in the cells of `wish`, each trade once, repaired ones included.

    Each part has all that was read before, and says up to where nothing has been read. Raises what
    the store raises; close the generator.
    """
    bins, builder = wish.bins, TradedBuilder(wish.bins, wish.steps)
    last_id = await _last_id(store, wish)
    counted, wanted = 0, _FIRST_TRADES
    begin_us = bins.from_ms * US_A_MS - STEPS_BACK_US
    trades = store.trades.trades(wish.market, 0, last_id, backwards=True)
    async with aclosing(trades) as pieces:
        async for piece in pieces:
            await asyncio.to_thread(_take, builder, piece)
            counted += len(piece)
            times_us = piece.arrays.times_us
            if int(times_us.max()) < begin_us:
                break
            if counted >= wanted:
                wanted *= 2
                reached_ms = max(int(times_us.min()) // US_A_MS, bins.from_ms)
                cells = await asyncio.to_thread(builder.cells)
                yield TradedPart(cells, ((bins.from_ms, reached_ms),))
    yield TradedPart(await asyncio.to_thread(builder.cells))


async def _last_id(store: RecordingStore, wish: HeatmapWish) -> int:
    """Return an id that no trade of the wish has gone beyond."""
    after = wish.bins.to_ms + STEPS_BACK_US // US_A_MS
    following = await store.trades.first_id_at(wish.market, after)
    return INT64_MAX if following is None else following


def _take(builder: TradedBuilder, piece: DecodedTrades) -> None:
    arrays = piece.arrays
    builder.take(arrays.times_ms, arrays.prices, arrays.quantities, arrays.sold, piece.scale)
