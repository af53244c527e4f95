"""Binance's streams over as many websocket connections as they need.

Source: Binance Spot API, "WebSocket Streams" and "WebSocket Limits".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.sources import StreamItem
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.exchange.limits import connection_limit
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.silence import Clocks, system_clocks
from orderbook_desktop.exchange.stream_group import StreamGroup
from orderbook_desktop.system.attempts import RetryWait

_STREAMS_A_CONNECTION: Final = 1024


class BinanceStreams:
    """Serves the streams of `base_url`; is an `EventStream`. Call `close()` when done.

    A connection takes `streams_a_connection` streams; the next one is opened when all are full.
    """

    def __init__(
        self,
        base_url: str,
        times: StreamTimes | None = None,
        clocks: Clocks | None = None,
        streams_a_connection: int = _STREAMS_A_CONNECTION,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._times = times or StreamTimes()
        self._clocks = clocks or system_clocks()
        self._streams_a_connection = streams_a_connection
        self._limit = connection_limit()
        self._groups: list[StreamGroup] = []
        self._subscribed: set[Stream] = set()

    async def items(self, stream: Stream) -> AsyncGenerator[StreamItem, None]:
        """Iterate over what happens on `stream`; close the iterator to unsubscribe."""
        if stream in self._subscribed:
            raise BugError(f"{stream.name} is subscribed already")
        self._subscribed.add(stream)
        group = self._group_with_room()
        subscription = group.subscribe(stream)
        try:
            while True:
                yield await subscription.next_item()
        finally:
            self._subscribed.discard(stream)
            group.unsubscribe(stream)

    @property
    def waits(self) -> list[RetryWait]:
        """The waits before the next attempts to connect."""
        return [group.retry for group in self._groups]

    async def close(self) -> None:
        """Close the connections and end every task."""
        ending = [task for group in self._groups if (task := group.end()) is not None]
        if ending:
            await asyncio.wait(ending)

    def _group_with_room(self) -> StreamGroup:
        for group in self._groups:
            if group.count < self._streams_a_connection:
                return group
        group = StreamGroup(self._base_url, self._times, self._clocks, self._limit)
        self._groups.append(group)
        return group
