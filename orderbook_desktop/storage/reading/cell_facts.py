"""Reads the exact facts of one cell of the heatmap from a recording (`core.heatmap.facts`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.heatmap.facts import FactsBuilder, RestFinder
from orderbook_desktop.core.heatmap.pages import FactsPart, HeatmapWish
from orderbook_desktop.storage.reading.heatmaps import level_spans
from orderbook_desktop.storage.reading.recording import Recording

# How far back to look for the moment since which something has stood there: from the column's
# begin, farther each time.
_LOOK_BACK_MS: Final = (60_000, 600_000, 3_600_000, 7_200_000)


async def read_facts(recording: Recording, wish: HeatmapWish) -> AsyncGenerator[FactsPart]:
    """Read the facts of the one cell of `wish`; later parts know longer since when it has stood.

    It looks back two hours at most. Raises `WidePrices`, and as `Recording.slices`; close the
    generator to end it.
    """
    bins, steps = wish.bins, wish.steps
    builder = FactsBuilder(bins, steps, wish.side)
    async with aclosing(level_spans(recording, bins.from_ms, bins.to_ms)) as spans:
        async for span, opens in spans:
            await asyncio.to_thread(builder.take, span, opens=opens)
    facts = builder.facts()
    edge_ms = bins.from_ms
    for back_ms in _LOOK_BACK_MS:
        if facts.rest is None or facts.rest.since_ms != edge_ms or not facts.rest.is_bound:
            break
        yield FactsPart(facts, is_over=False)
        begin_ms = max(0, bins.from_ms - back_ms)
        before = RestFinder(steps, wish.side)
        async with aclosing(level_spans(recording, begin_ms, edge_ms)) as spans:
            async for span, opens in spans:
                await asyncio.to_thread(before.take, span.within(0, edge_ms), opens=opens)
        if before.rest is None or before.until_ms != edge_ms:
            # The run begins at that very moment: of before nothing is known.
            break
        facts = replace(facts, rest=before.rest)
        edge_ms = begin_ms
    yield FactsPart(facts)
