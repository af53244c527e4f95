"""The websocket side: the subscriptions of each connection, and sending events to them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed

from orderbook_desktop.exchange.local.commands import CommandError, Subscriptions
from orderbook_desktop.exchange.local.faults import DiffFaults, Fault, FaultBoard, FaultKind, Mangle
from orderbook_desktop.exchange.local.source import StreamEvent

_log = logging.getLogger(__name__)

# Binance Spot API, "WebSocket Limits".
_COMMANDS_PER_SECOND: Final = 5
# A client that reads nothing is disconnected before its backlog fills the memory.
_BACKLOG_AT_MOST: Final = 64 * 2**20


def is_stream_path(path: str) -> bool:
    """Whether websockets are served at `path`."""
    return path in {"/ws", "/stream", "/stream/"} or path.startswith("/ws/")


def subscriptions_of(target: str) -> Subscriptions:
    """Return the subscriptions in the request target of a websocket; raise `CommandError`."""
    url = urlsplit(target)
    path = unquote(url.path)
    combined = path.startswith("/stream")
    asked = dict(parse_qsl(url.query)).get("streams", "") if combined else path[len("/ws/") :]
    subscriptions = Subscriptions(combined)
    subscriptions.add([name for name in asked.split("/") if name])
    return subscriptions


class StreamHub:
    """Keeps the open websockets and sends each event to those that are subscribed to it.

    `on_change` is called with all streams in demand whenever that changes. `sent` counts the
    events that were published, by stream, also those without a subscriber.
    """

    def __init__(
        self,
        board: FaultBoard,
        on_change: Callable[[Collection[str]], None],
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._now = now
        self._now_ns = now_ns
        self.sent: Counter[str] = Counter()
        self.opened = 0
        self._board = board
        self._faults = DiffFaults(board)
        self._on_change = on_change
        self._clients: dict[ServerConnection, Subscriptions] = {}
        self._listeners: dict[str, list[ServerConnection]] = {}
        self._muted: dict[ServerConnection, list[bytes]] = {}
        self._mute: Fault | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        """How many websockets are open."""
        return len(self._clients)

    async def serve(self, connection: ServerConnection) -> None:
        """Serve one websocket until it is closed."""
        target = connection.request.path if connection.request else ""
        try:
            subscriptions = subscriptions_of(target)
        except CommandError as error:
            await connection.close(1008, error.message[:120])
            return
        self._clients[connection] = subscriptions
        self.opened += 1
        self._index()
        try:
            await self._follow_commands(connection, subscriptions)
        except ConnectionClosed as error:
            _log.debug("client left: %s", error)
        finally:
            del self._clients[connection]
            self._muted.pop(connection, None)
            self._index()

    def publish(self, event: StreamEvent) -> None:
        """Send `event` to all its subscribers."""
        self.sent[event.stream] += 1
        for parcel in self._faults.through(event):
            self._send(parcel.event, parcel.mangle)

    def strike(self, fault: Fault) -> None:
        """Let a fault of the connections happen now."""
        self._board.note(fault, detail=f"{len(self._clients)} connections")
        if fault.kind is FaultKind.DISCONNECT:
            for connection in self._clients:
                connection.transport.abort()
        elif fault.kind is FaultKind.CLOSE:
            self.close_all(fault.code)
        elif fault.kind is FaultKind.SHUTDOWN:
            self._announce_shutdown()
            # A client that connects after the announcement counts as served by the next server.
            warned = list(self._clients)
            self._later(fault.seconds, lambda: self._close(warned, fault.code))
        elif fault.kind is FaultKind.SILENCE:
            self._mute = fault
            self._muted = {connection: [] for connection in self._clients}
            self._later(fault.seconds, lambda: self._end_silence(fault))

    def close_all(self, code: int) -> None:
        """Close every websocket with a closing frame that has `code`."""
        self._close(self._clients, code)

    async def stop(self) -> None:
        """Cancel all planned and current faults."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        farewells = list(self._farewells)
        for farewell in farewells:
            farewell.cancel()
        await asyncio.gather(*farewells, return_exceptions=True)

    def _close(self, connections: Iterable[ServerConnection], code: int) -> None:
        for connection in connections:
            farewell = asyncio.create_task(connection.close(code))
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    async def _follow_commands(
        self, connection: ServerConnection, subscriptions: Subscriptions
    ) -> None:
        times: deque[float] = deque(maxlen=_COMMANDS_PER_SECOND + 1)
        async for message in connection:
            times.append(self._now())
            if len(times) == times.maxlen and times[-1] - times[0] < 1:
                await connection.close(1008, "Too many requests")
                return
            answer = subscriptions.answer(message)
            await connection.send(answer, text=True)
            self._index()

    def _index(self) -> None:
        listeners: dict[str, list[ServerConnection]] = {}
        for connection, subscriptions in self._clients.items():
            for stream in subscriptions.streams:
                listeners.setdefault(stream, []).append(connection)
        self._listeners = listeners
        self._on_change(listeners.keys())

    def _send(self, event: StreamEvent, mangle: Mangle | None) -> None:
        for stream in (event.stream, *event.also):
            listeners = self._listeners.get(stream)
            if not listeners:
                continue
            raw = [client for client in listeners if not self._clients[client].combined]
            if raw:
                self._broadcast(raw, mangle(event.payload) if mangle else event.payload)
            if len(raw) < len(listeners):
                combined = [client for client in listeners if self._clients[client].combined]
                frame = event.frame if stream == event.stream else b""
                frame = frame or b'{"stream":"%s","data":%s}' % (stream.encode(), event.payload)
                self._broadcast(combined, mangle(frame) if mangle else frame)

    def _broadcast(self, clients: list[ServerConnection], frame: bytes) -> None:
        if self._muted:
            for client in clients:
                if client in self._muted:
                    self._muted[client].append(frame)
            clients = [client for client in clients if client not in self._muted]
        broadcast(clients, frame, text=True)
        for client in clients:
            if client.transport.get_write_buffer_size() > _BACKLOG_AT_MOST:
                _log.warning("disconnected a client that reads too slowly")
                client.transport.abort()

    def _announce_shutdown(self) -> None:
        event = b'{"e":"serverShutdown","E":%d}' % (self._now_ns() // 1_000_000)
        broadcast(self._clients, event, text=True)

    def _end_silence(self, fault: Fault) -> None:
        if self._mute is not fault:
            return
        muted, self._muted, self._mute = self._muted, {}, None
        if fault.deliver:
            for connection, frames in muted.items():
                for frame in frames:
                    broadcast([connection], frame, text=True)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)
