"""Binance's streams over as many websocket connections as they need.

Source: Binance Spot API, "WebSocket Streams" and "WebSocket Limits".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.sources import StreamItem
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.exchange.copies import CopiedStream, SaveLog
from orderbook_desktop.exchange.limits import connection_limit
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.silence import Clocks, system_clocks
from orderbook_desktop.exchange.stream_group import StreamGroup
from orderbook_desktop.system.attempts import RetryWait

_STREAMS_A_CONNECTION: Final = 1024
# Each copy lives a little shorter than the one before it, so that they are not replaced at once.
_SHORTER: Final = 0.1


class _Connections:
    """The connections that carry each stream once."""

    def __init__(self, number: int, new_group: Callable[[], StreamGroup], at_most: int) -> None:
        self._number = number
        self._new_group = new_group
        self._streams_a_connection = at_most
        self.groups: list[StreamGroup] = []
        self._group_of: dict[Stream, StreamGroup] = {}

    def subscribe(self, copied: CopiedStream) -> None:
        """Let `copied` get the items of its stream from here, too."""
        group = self._group_of[copied.stream] = self._group_with_room()
        group.subscribe(copied.stream, copied.add_copy(self._number))

    def unsubscribe(self, stream: Stream) -> None:
        """End the subscription to `stream`."""
        self._group_of.pop(stream).unsubscribe(stream)

    def renew(self, stream: Stream) -> None:
        """Subscribe to `stream` anew."""
        self._group_of[stream].renew(stream)

    def leave(self, copied: CopiedStream) -> None:
        """Let `copied` get its items from the other connections only."""
        copied.remove_copy(self._number)
        self.unsubscribe(copied.stream)

    def end(self) -> list[asyncio.Task[None]]:
        """Begin to close the connections; return the tasks that do so."""
        return [task for group in self.groups if (task := group.end()) is not None]

    def _group_with_room(self) -> StreamGroup:
        for group in self.groups:
            if group.count < self._streams_a_connection:
                return group
        group = self._new_group()
        self.groups.append(group)
        return group


class BinanceStreams:
    """Serves the streams of `base_url`; is an `EventStream`. Call `close()` when done.

    Each stream comes by `copies` connections, so that the loss of one is no gap. A connection takes
    `streams_a_connection` streams; the next one is opened when all are full.
    """

    def __init__(
        self,
        base_url: str,
        times: StreamTimes | None = None,
        clocks: Clocks | None = None,
        streams_a_connection: int = _STREAMS_A_CONNECTION,
        copies: int = 1,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._times = times or StreamTimes()
        self._clocks = clocks or system_clocks()
        self._streams_a_connection = streams_a_connection
        self._limit = connection_limit()
        self._save_log = SaveLog()
        self._copies: list[_Connections] = []
        self._open: dict[Stream, CopiedStream] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.set_copies(copies)

    @property
    def copies(self) -> int:
        """By how many connections each stream comes."""
        return len(self._copies)

    def set_copies(self, copies: int) -> None:
        """Let each stream come by `copies` connections from now on; at least one."""
        while len(self._copies) < max(1, copies):
            number = len(self._copies)
            new_group = partial(self._new_group, number)
            connections = _Connections(number, new_group, self._streams_a_connection)
            self._copies.append(connections)
            for copied in self._open.values():
                connections.subscribe(copied)
        while len(self._copies) > max(1, copies):
            connections = self._copies.pop()
            for copied in self._open.values():
                connections.leave(copied)
            self._begin_to_end(connections)

    async def items(self, stream: Stream) -> AsyncGenerator[StreamItem, None]:
        """Iterate over what happens on `stream`; close the iterator to unsubscribe."""
        if stream in self._open:
            raise BugError(f"{stream.name} is subscribed already")
        copied = self._open[stream] = CopiedStream(stream, self._save_log, self._times.hold_s)
        for connections in self._copies:
            connections.subscribe(copied)
        try:
            while True:
                yield await copied.next_item()
        finally:
            del self._open[stream]
            copied.close()
            for connections in self._copies:
                connections.unsubscribe(stream)

    def renew(self, stream: Stream) -> None:
        """Subscribe to `stream` anew on each of its connections, as events of it do not come."""
        if stream in self._open:
            for connections in self._copies:
                connections.renew(stream)

    @property
    def waits(self) -> list[RetryWait]:
        """The waits before the next attempts to connect."""
        return [group.retry for copy in self._copies for group in copy.groups]

    async def close(self) -> None:
        """Close the connections and end every task."""
        self._save_log.flush()
        for connections in self._copies:
            self._begin_to_end(connections)
        if self._ending:
            await asyncio.wait(self._ending)

    def _begin_to_end(self, connections: _Connections) -> None:
        for task in connections.end():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _new_group(self, number: int) -> StreamGroup:
        shorter = max(0.5, 1 - number * _SHORTER)
        times = replace(self._times, lifetime_s=self._times.lifetime_s * shorter)
        return StreamGroup(self._base_url, times, self._clocks, self._limit)
