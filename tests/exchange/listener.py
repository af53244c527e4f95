"""Consumers of a stream that keep what they get, and waiting for a condition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import DiffStream, StreamBroken, StreamConnected, StreamItem
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.stream import BinanceStreams


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Listener:
    """Keeps the items of one market."""

    def __init__(self) -> None:
        self.items: list[StreamItem] = []

    @property
    def diffs(self) -> list[DepthDiff]:
        return [item for item in self.items if isinstance(item, DepthDiff)]

    @property
    def broken(self) -> list[StreamBroken]:
        return [item for item in self.items if isinstance(item, StreamBroken)]

    @property
    def causes(self) -> list[GapCause]:
        return [item.cause for item in self.broken]

    @property
    def connected(self) -> int:
        return sum(isinstance(item, StreamConnected) for item in self.items)

    def holes(self) -> list[tuple[int, int]]:
        """Return the pairs of neighbouring events that don't continue each other."""
        pairs = zip(self.diffs, self.diffs[1:], strict=False)
        return [(a.final_id, b.first_id) for a, b in pairs if b.first_id != a.final_id + 1]

    async def listen(self, stream: DiffStream, market: str) -> None:
        async with aclosing(stream.items(market)) as items:
            async for item in items:
                self.items.append(item)


@asynccontextmanager
async def listening(stream: DiffStream, market: str) -> AsyncIterator[Listener]:
    """Listen to `market` for the duration of the block."""
    listener = Listener()
    task = asyncio.create_task(listener.listen(stream, market))
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


@asynccontextmanager
async def streams_of(
    ws_url: str, times: StreamTimes | None = None
) -> AsyncIterator[BinanceStreams]:
    """Make a client of `ws_url`, and close it."""
    streams = BinanceStreams(ws_url, times)
    try:
        yield streams
    finally:
        await streams.close()
