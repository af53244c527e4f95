"""Reads a recording for what was added, traded and pulled at each price (`core.heatmap.flows`)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

from orderbook_desktop.core.archive.trade_rows import TradeRows
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import US_A_MS
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Side
from orderbook_desktop.core.heatmap.flows import CONTEXT_MS, Flows, FlowTrades, flows_of, of_rows
from orderbook_desktop.storage.reading.heatmaps import level_spans
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.recording_store import RecordingStore

MOST_CHANGES: Final = 4_000_000
"""More changes take seconds and hundreds of MB; a busy market has them at all prices in hours."""

_END_OF_TIME: Final = 1 << 60


class TooManyChanges(KnownError):
    """A span of time has more changes of levels than `MOST_CHANGES`."""

    def __str__(self) -> str:
        return (
            f"More than {MOST_CHANGES:,} changes are in this time at these prices; choose a "
            "shorter time or fewer prices."
        )


async def read_flows(
    store: RecordingStore,
    market: str,
    from_ms: int,
    to_ms: int,
    steps: PriceSteps,
    side: Side = Side.BOTH,
) -> Flows:
    """Return what was added, traded and pulled from one time to another, at the prices of `steps`.

    Raises `TooManyChanges`, `WideTrades`, `WidePrices`, and as `Recording.slices`.
    """
    begin_ms = max(0, from_ms - CONTEXT_MS)
    trades = await _trades(RecordedTrades(store, market), begin_ms, to_ms)
    spans, changes = [], 0
    async with aclosing(level_spans(Recording(store, market), begin_ms, to_ms)) as found:
        async for span, opens in found:
            part = await asyncio.to_thread(of_rows, span, steps)
            changes += len(part.events)
            if changes > MOST_CHANGES:
                raise TooManyChanges
            spans.append((part, opens))
    return await asyncio.to_thread(flows_of, spans, trades, from_ms, to_ms, steps, side)


async def _trades(recorded: RecordedTrades, from_ms: int, to_ms: int) -> FlowTrades:
    covered = await recorded.span(from_ms, to_ms)
    if covered is None:
        return FlowTrades(gaps=((0, _END_OF_TIME),))
    inner = [(gap.from_ms, gap.to_ms) for gap in await recorded.gaps(from_ms, to_ms)]
    begins = ((0, covered[0]),) if covered[0] > from_ms else ()
    ends = ((covered[1], _END_OF_TIME),) if covered[1] < to_ms - 1 else ()
    async with aclosing(recorded.rows(from_ms, to_ms)) as parts:
        rows = TradeRows.joined(recorded.market, [part async for part in parts])
    return FlowTrades(
        rows.scale,
        rows.event_us // US_A_MS,
        rows.prices,
        rows.quantities,
        rows.sold,
        (*begins, *sorted(inner), *ends),
    )
