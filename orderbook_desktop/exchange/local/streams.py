"""The websocket side: the subscriptions of each connection, and sending events to them.

Commands are answered as Binance answers them. Source: Binance Spot API, "Live
Subscribing/Unsubscribing to streams" and "Error Messages".
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Struct, field
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed

from orderbook_desktop.exchange.local.faults import (
    EventFaults,
    Fault,
    FaultBoard,
    FaultKind,
    Mangle,
)
from orderbook_desktop.exchange.local.source import StreamEvent
from orderbook_desktop.system.tasks import end_tasks

_log = logging.getLogger(__name__)

# Binance Spot API, "WebSocket Limits".
_COMMANDS_PER_SECOND: Final = 5
# A client that reads nothing is disconnected before its backlog fills the memory.
_BACKLOG_AT_MOST: Final = 64 * 2**20

# How often it is looked whether clients have taken what was sent.
_LOOK_EVERY_S: Final = 0.005

_STREAMS_AT_MOST: Final = 1024
_METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


def is_stream_path(path: str) -> bool:
    """Whether websockets are served at `path`."""
    return path in {"/ws", "/stream", "/stream/"} or path.startswith("/ws/")


def _subscriptions_of(target: str) -> _Subscriptions:
    """Return the subscriptions in the request target of a websocket; raise `_CommandError`."""
    url = urlsplit(target)
    path = unquote(url.path)
    combined = path.startswith("/stream")
    asked = dict(parse_qsl(url.query)).get("streams", "") if combined else path[len("/ws/") :]
    subscriptions = _Subscriptions(combined)
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
        self._faults = EventFaults(board)
        self._on_change = on_change
        self._clients: dict[ServerConnection, _Subscriptions] = {}
        self._listeners: dict[str, list[ServerConnection]] = {}
        self._changed = asyncio.Event()
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
            subscriptions = _subscriptions_of(target)
        except _CommandError as error:
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
        delivery = self._faults.through(event)
        struck = self._struck(delivery.connection)
        if delivery.connection >= 0:
            self._send(event, None, self._clients.keys() - struck)
        for parcel in delivery.parcels:
            self._send(parcel.event, parcel.mangle, struck)

    def strike(self, fault: Fault) -> None:
        """Let a fault of the connections happen now."""
        struck = list(self._struck(fault.connection))
        self._board.note(fault, detail=f"{len(struck)} connections")
        if fault.kind is FaultKind.DISCONNECT:
            for connection in struck:
                connection.transport.abort()
        elif fault.kind is FaultKind.CLOSE:
            self._close(struck, fault.code)
        elif fault.kind is FaultKind.SHUTDOWN:
            self._announce_shutdown(struck)
            # A client that connects after the announcement counts as served by the next server.
            self._later(fault.seconds, lambda: self._close(struck, fault.code))
        elif fault.kind is FaultKind.SILENCE:
            self._mute = fault
            self._muted = {connection: [] for connection in struck}
            self._later(fault.seconds, lambda: self._end_silence(fault))

    def close_all(self, code: int) -> None:
        """Close every websocket with a closing frame that has `code`."""
        self._close(self._clients, code)

    async def cut_off(self, code: int, within_s: float) -> None:
        """See `Outlet`."""
        streams, clients = set(self._listeners), list(self._clients)
        self._close(clients, code)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not (streams <= self._listeners.keys() and self._have_gone(clients)):
                    self._changed.clear()
                    await self._changed.wait()

    async def drained(self, backlog: int = 0) -> None:
        """See `Outlet`."""
        await asyncio.sleep(0)
        # A transport tells only when it falls below limits of its own.
        while any(  # noqa: ASYNC110
            _bytes_waiting(client) > backlog for client in self._clients
        ):
            await asyncio.sleep(_LOOK_EVERY_S)

    async def stop(self) -> None:
        """Cancel all planned and current faults."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        farewells = list(self._farewells)
        await end_tasks(*farewells)

    def _have_gone(self, clients: Iterable[ServerConnection]) -> bool:
        return self._clients.keys().isdisjoint(clients)

    def _struck(self, connection: int) -> Collection[ServerConnection]:
        """Return the connections that a fault of `connection` concerns (see `Fault`)."""
        if connection < 0:
            return self._clients
        return list(self._clients)[connection : connection + 1]

    def _close(self, connections: Iterable[ServerConnection], code: int) -> None:
        for connection in connections:
            farewell = asyncio.create_task(connection.close(code))
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    async def _follow_commands(
        self, connection: ServerConnection, subscriptions: _Subscriptions
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
        self._changed.set()
        self._on_change(listeners.keys())

    def _send(
        self, event: StreamEvent, mangle: Mangle | None, to: Collection[ServerConnection]
    ) -> None:
        for stream in (event.stream, *event.also):
            listeners = [client for client in self._listeners.get(stream, ()) if client in to]
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
        # A client that was killed is known to be gone only with the next turn of the loop.
        clients = [client for client in clients if not client.transport.is_closing()]
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

    def _announce_shutdown(self, connections: list[ServerConnection]) -> None:
        event = b'{"e":"serverShutdown","E":%d}' % (self._now_ns() // 1_000_000)
        broadcast(connections, event, text=True)

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


def _bytes_waiting(client: ServerConnection) -> int:
    """Return how many bytes the client has not taken yet; none if it is leaving."""
    if client.transport.is_closing():
        return 0
    return client.transport.get_write_buffer_size()


@dataclass(eq=False)
class _CommandError(Exception):
    """A command that is refused, with Binance's error code."""

    code: int
    message: str


class _Subscriptions(Struct):
    """The streams of one connection, in the order of asking, and how their events are framed.

    `combined` frames name the stream; raw ones are the bare payload.
    """

    combined: bool
    streams: dict[str, None] = field(default_factory=dict)

    def add(self, names: list[str]) -> None:
        """Subscribe to `names`; raise `_CommandError` where that would be too many."""
        if len(self.streams.keys() | set(names)) > _STREAMS_AT_MOST:
            raise _CommandError(2, f"Invalid request: more than {_STREAMS_AT_MOST} streams")
        self.streams.update(dict.fromkeys(names))

    def answer(self, message: str | bytes) -> bytes:
        """Carry out one command; return the answer to send."""
        command_id: object = None
        try:
            command = _parse(message)
            command_id = _checked_id(command)
            result = self._carry_out(command)
        except _CommandError as error:
            return msgspec.json.encode({"code": error.code, "msg": error.message, "id": command_id})
        return msgspec.json.encode({"result": result, "id": command_id})

    def _carry_out(self, command: dict[str, Any]) -> object:
        method = command.get("method")
        if "method" not in command:
            raise _CommandError(2, "Invalid request: missing field `method`")
        actions: dict[object, Callable[[Any], object]] = {
            "SUBSCRIBE": lambda params: self.add(_names(params)),
            "UNSUBSCRIBE": self._remove,
            "LIST_SUBSCRIPTIONS": lambda _params: list(self.streams),
            "SET_PROPERTY": self._set_property,
            "GET_PROPERTY": self._get_property,
        }
        action = actions.get(method) if isinstance(method, str) else None
        if action is None:
            expected = ", ".join(f"`{name}`" for name in _METHODS)
            raise _CommandError(
                2, f"Invalid request: unknown variant `{method}`, expected one of {expected}"
            )
        return action(command.get("params"))

    def _remove(self, params: Any) -> None:
        for name in _names(params):
            self.streams.pop(name, None)

    def _set_property(self, params: Any) -> None:
        _check_property(params, 2)
        if not isinstance(params[1], bool):
            raise _CommandError(1, "Invalid value type: expected Boolean")
        self.combined = params[1]

    def _get_property(self, params: Any) -> bool:
        _check_property(params, 1)
        return self.combined


def _parse(message: str | bytes) -> dict[str, Any]:
    try:
        command = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _CommandError(3, f"Invalid JSON: {error}") from error
    if not isinstance(command, dict):
        raise _CommandError(2, "Invalid request: expected an object")
    return command


def _checked_id(command: dict[str, Any]) -> object:
    command_id = command.get("id")
    is_number = isinstance(command_id, int) and not isinstance(command_id, bool)
    is_text = isinstance(command_id, str) and len(command_id) <= 36
    if command_id is None or is_number or is_text:
        return command_id
    raise _CommandError(2, "Invalid request: request ID must be an unsigned integer")


def _names(params: Any) -> list[str]:
    if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
        raise _CommandError(2, "Invalid request: params must be an array of strings")
    return params


def _check_property(params: Any, count: int) -> None:
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        raise _CommandError(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise _CommandError(0, "Unknown property")
    if len(params) > count:
        raise _CommandError(2, "Invalid request: too many parameters")
    if len(params) < count:
        raise _CommandError(1, "Invalid value type: expected Boolean")
