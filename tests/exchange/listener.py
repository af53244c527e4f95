"""Consumers of a stream that keep what they get, and waiting for a condition."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import EventStream, StreamBroken, StreamConnected, StreamItem
from orderbook_desktop.core.streams import DEPTH, Stream, StreamKind
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.silence import Clocks, system_clocks
from orderbook_desktop.exchange.stream import BinanceStreams
from tests.exchange.scripted_server import ScriptedServer, frame


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class SendingTimes:
    """When clients sent messages, by the ports that they sent them from.

    Not when the messages came: a busy machine may delay some of them.
    """

    def __init__(self) -> None:
        self._times: defaultdict[int, list[float]] = defaultdict(list)

    def note(self, connection: ClientConnection) -> None:
        """Note that a message is being sent."""
        self._times[connection.local_address[1]].append(time.monotonic())

    @property
    def most_in_a_second(self) -> int:
        """How many messages of one connection were sent within a second, at most."""
        return max(
            sum(began <= at < began + 0.999 for at in times)
            for times in self._times.values()
            for began in times
        )


@pytest.fixture
def sending_times(monkeypatch: pytest.MonkeyPatch) -> SendingTimes:
    """Note when the clients of websockets send something."""
    times, send = SendingTimes(), ClientConnection.send

    async def noted(connection: ClientConnection, *message: Any, **options: Any) -> None:
        times.note(connection)
        await send(connection, *message, **options)

    monkeypatch.setattr(ClientConnection, "send", noted)
    return times


class Listener:
    """Keeps the items of a stream of one market."""

    def __init__(self) -> None:
        self.items: list[StreamItem] = []

    @property
    def diffs(self) -> list[DepthDiff]:
        return [item for item in self.items if isinstance(item, DepthDiff)]

    @property
    def trades(self) -> list[Trade]:
        return [item for item in self.items if isinstance(item, Trade)]

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

    async def until_it_has(self, count: int) -> None:
        """Wait for so many events."""
        await until(lambda: len(self.diffs) + len(self.trades) >= count)

    async def listen(self, source: EventStream, stream: Stream) -> None:
        async with aclosing(source.items(stream)) as items:
            async for item in items:
                self.items.append(item)


@asynccontextmanager
async def listening(
    source: EventStream, market: str, kind: StreamKind[Any] = DEPTH
) -> AsyncIterator[Listener]:
    """Listen to a stream of `market` for the duration of the block."""
    listener = Listener()
    task = asyncio.create_task(listener.listen(source, Stream(market, kind)))
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


@asynccontextmanager
async def streams_of(
    ws_url: str, times: StreamTimes | None = None, clocks: Clocks | None = None
) -> AsyncIterator[BinanceStreams]:
    """Make a client of `ws_url`, and close it."""
    streams = BinanceStreams(ws_url, times, clocks)
    try:
        yield streams
    finally:
        await streams.close()


class HandTime:
    """The steady clock by which streams judge silence and age; it goes on when it is told to."""

    def __init__(self) -> None:
        self._now = 1_000.0

    def monotonic(self) -> float:
        return self._now

    def go_on(self, seconds: float) -> None:
        self._now += seconds

    @property
    def clocks(self) -> Clocks:
        """The system's clocks, but for this one."""
        return replace(system_clocks(), now=self.monotonic)


async def be_active(
    script: ScriptedServer, listener: Listener, market: str, hand_time: HandTime
) -> None:
    """Send events of `market` to its listener, ten a second."""
    number = len(listener.diffs)
    while number < 80:
        number += 1
        hand_time.go_on(0.1)
        await script.send_to_all(frame(market, number))
        await listener.until_it_has(number)
