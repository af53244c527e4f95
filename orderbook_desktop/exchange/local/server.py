"""The local exchange: one port for REST, websockets and control pages, over any source."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.exchange.local.faults import REST_PREFIX, Fault, FaultBoard, FaultKind
from orderbook_desktop.exchange.local.rest import Answer, RestApi, error_answer, json_answer
from orderbook_desktop.exchange.local.source import MarketSource, StreamEvent
from orderbook_desktop.exchange.local.streams import StreamHub, is_stream_path
from orderbook_desktop.exchange.local.trades import KEPT_AT_MOST, TradeTapes
from orderbook_desktop.system.tasks import ending

_log = logging.getLogger(__name__)

CONTROL_PREFIX: Final = "/control/"

# How long clients may take to answer the closing frame when the exchange closes.
_GOODBYE_S: Final = 1.0
_STRIKES: Final = (FaultKind.DISCONNECT, FaultKind.CLOSE, FaultKind.SHUTDOWN, FaultKind.SILENCE)


class ControlPages:
    """Answers the requests of `/control/`: `state`, `book`, and with faults on `fault(s)`.

    `inject` executes an order; `more_state` adds the server's fields to `state`.
    """

    def __init__(
        self,
        source: MarketSource,
        board: FaultBoard | None,
        inject: Callable[[Fault], None],
        more_state: Callable[[], dict[str, Any]],
    ) -> None:
        self._source = source
        self._board = board
        self._inject = inject
        self._more_state = more_state

    async def answer(self, page: str, query: dict[str, str]) -> Answer:
        """Return the answer to `GET` of `page` (behind `/control/`)."""
        if page == "state":
            return json_answer(self._state())
        if page == "book":
            return await self._book(query.get("symbol", ""))
        if page == "faults" and self._board:
            return json_answer(_faults(self._board))
        if page == "fault" and self._board:
            return self._fault(query)
        return error_answer(-1000, "This endpoint does not exist.", status=404)

    def _state(self) -> dict[str, Any]:
        ids = {market: self._source.update_id(market) for market in self._source.listings}
        return {
            "played": self._source.played,
            "updateIds": {market: update_id for market, update_id in ids.items() if update_id},
            **self._more_state(),
        }

    async def _book(self, market: str) -> Answer:
        if market not in self._source.listings:
            return error_answer(-1121, "Invalid symbol.")
        return Answer((await self._source.book(market)).as_json())

    def _fault(self, query: dict[str, str]) -> Answer:
        try:
            fault = msgspec.convert(query, Fault, strict=False)
        except msgspec.ValidationError as error:
            return error_answer(-1100, f"No such fault: {error}")
        self._inject(fault)
        return json_answer(fault)


def _faults(board: FaultBoard) -> dict[str, Any]:
    return {
        "counts": {kind.value: count for kind, count in board.counts.items()},
        "pending": [{"fault": fault, "left": left} for fault, left in board.pending],
        "log": list(board.log),
    }


LOCAL_EXCHANGE: Final = "the local exchange"


class CannotListen(KnownError):
    """The exchange could not open its port, for the operating system's `reason`.

    `name` is what the exchange is called in the sentence.
    """

    host: str
    port: int
    reason: str
    name: str = LOCAL_EXCHANGE

    def __str__(self) -> str:
        return (
            f"{self.name[0].upper()}{self.name[1:]} cannot listen on {self.host} port {self.port} "
            f"({self.reason}); choose another address with --host, or another port with --port."
        )


class PortInUse(CannotListen):
    """Another process listens on the port."""

    def __str__(self) -> str:
        return (
            f"Port {self.port} is already in use, so {self.name} cannot listen on it; "
            "choose another one with --port."
        )


class LocalExchange:
    """A Binance-compatible exchange on this computer; use it as `async with`.

    It serves `source` on `host` and `port` (0: any free one). `port_is_held` says that the process
    that started this one keeps the port, so that no other user gets it. With `faults`, faults can
    also be ordered over HTTP (`/control/fault`). `weight_limit` is the request weight that it
    grants in a minute, and `trades_kept` how many trades of a market it serves. With `close_at_end`
    the websockets are closed when the source has played out; else they stay open and REST goes on
    serving the final book. `name` is what sentences call it.

    `fault_board` lists the faults that happened. Entering raises `PortInUse` or `CannotListen`, or
    the source's own `KnownError`.
    """

    def __init__(
        self,
        source: MarketSource,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        port_is_held: bool = False,
        faults: bool = False,
        close_at_end: bool = False,
        weight_limit: int = 6000,
        trades_kept: int = KEPT_AT_MOST,
        name: str = LOCAL_EXCHANGE,
    ) -> None:
        self.fault_board = FaultBoard()
        self._source = source
        self._name = name
        self._host = host
        self._port = port
        self._port_is_held = port_is_held
        self._close_at_end = close_at_end
        self._door = _Door(self.fault_board)
        self._hub = StreamHub(self.fault_board, source.want)
        self._tapes = TradeTapes(trades_kept)
        self._rest = RestApi(source, self._tapes, self.fault_board, weight_limit)
        board = self.fault_board if faults else None
        self._control = ControlPages(source, board, self.inject, self._state)
        self._running: tuple[Server, asyncio.Task[None]] | None = None
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: KnownError | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def rest_url(self) -> str:
        """The base address of REST requests."""
        return f"http://{self._url_host}:{self._port}"

    @property
    def ws_url(self) -> str:
        """The base address of websockets."""
        return f"ws://{self._url_host}:{self._port}"

    @property
    def _url_host(self) -> str:
        return f"[{self._host}]" if ":" in self._host else self._host

    def inject(self, fault: Fault, now_ns: Callable[[], int] = time.time_ns) -> None:
        """Let `fault` happen: at once if it is of connections, else at the next occasion."""
        if fault.kind in _STRIKES:
            self._hub.strike(fault)
        elif fault.kind is FaultKind.REFUSE:
            self._door.shut(fault)
        elif fault.kind is FaultKind.FORGET:
            before_ms = now_ns() // 1_000_000 - round(fault.seconds * 1000)
            count = self._tapes.forget(before_ms, fault.symbol.upper())
            self.fault_board.note(fault, fault.symbol, f"{count} trades")
        else:
            self.fault_board.add(fault)

    async def drained(self, backlog: int = 0) -> None:
        """See `Outlet`."""
        await self._hub.drained(backlog)

    async def cut_off(self, code: int, within_s: float) -> None:
        """See `Outlet`."""
        await self._hub.cut_off(code, within_s)

    async def finished(self) -> None:
        """Wait until the source has played out, or the exchange was closed.

        Raises the `KnownError` that kept the source from playing to its end.
        """
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure
        if self._running and not self._running[1].cancelled():
            self._running[1].result()

    async def __aenter__(self) -> Self:
        try:
            await self._source.open()
            server = await self._listen()
        except BaseException:
            await self._source.close()
            raise
        self._port = server.sockets[0].getsockname()[1]
        play = asyncio.create_task(self._play(), name="local exchange")
        play.add_done_callback(lambda _play: self._ended.set())
        self._running = server, play
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._running is None:
            return
        server, play = self._running
        self._closing.set()
        play.cancel()
        try:
            await asyncio.wait([play])
            await self._hub.stop()
            server.close()
            goodbye = asyncio.ensure_future(server.wait_closed())
            await asyncio.wait([goodbye], timeout=_GOODBYE_S)
            self._door.hang_up()
            await goodbye
        finally:
            await self._source.close()
        if not play.cancelled():
            play.result()

    async def _listen(self) -> Server:
        try:
            return await serve(
                self._hub.serve,
                self._host,
                self._port,
                process_request=self._process_request,
                create_connection=self._door.connection_class(),
                compression=None,
                # A depth request may wait for the capture's snapshot.
                open_timeout=None,
                close_timeout=2,
                ping_interval=20,
                ping_timeout=60,
                server_header=None,
                # The port is shared with sockets of the same user only.
                reuse_port=self._port_is_held or None,
            )
        except (socket.gaierror, UnicodeError) as error:
            # UnicodeError: no name at all, such as one with two dots in a row.
            reason = "it is no address of this computer"
            raise CannotListen(self._host, self._port, reason, self._name) from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(self._host, self._port, "in use", self._name) from error
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CannotListen(self._host, self._port, reason, self._name) from error

    async def _play(self) -> None:
        try:
            await self._source.run(self._publish)
        except KnownError as failure:
            _log.warning("%s", failure)
            self._failure = failure
        if self._close_at_end:
            self._hub.close_all(1001)

    def _publish(self, event: StreamEvent) -> None:
        self._tapes.take(event)
        self._hub.publish(event)

    async def _process_request(
        self, connection: ServerConnection, request: Request
    ) -> Response | None:
        """Answer a REST request; None lets the websocket handshake go on."""
        url = urlsplit(request.path)
        path = unquote(url.path)
        if is_stream_path(path):
            return None
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if request.method != "GET":
            answer: Answer | None = error_answer(-1000, "Only GET is served here.", status=405)
        elif path.startswith(REST_PREFIX):
            answer = await self._unless_gone(
                connection, self._rest.answer(path.removeprefix(REST_PREFIX), query)
            )
        elif path.startswith(CONTROL_PREFIX):
            answer = await self._unless_gone(
                connection, self._control.answer(path.removeprefix(CONTROL_PREFIX), query)
            )
        else:
            answer = error_answer(-1000, "This endpoint does not exist.", status=404)
        return self._response(answer or error_answer(-1001, "Closing.", status=503))

    async def _unless_gone(
        self, connection: ServerConnection, answering: Awaitable[Answer]
    ) -> Answer | None:
        """Return the answer; None if the client hangs up, or the exchange ends, before it."""
        answer = asyncio.ensure_future(answering)
        others = [
            asyncio.ensure_future(connection.wait_closed()),
            asyncio.ensure_future(self._closing.wait()),
        ]
        async with ending(answer, *others):
            await asyncio.wait([answer, *others], return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None

    def _response(self, answer: Answer) -> Response:
        used = str(self._rest.weights.used)
        headers = Headers(
            {
                "Date": formatdate(usegmt=True),
                "Content-Type": "application/json;charset=UTF-8",
                "Content-Length": str(len(answer.body)),
                "Connection": "close",
                "X-MBX-USED-WEIGHT": used,
                "X-MBX-USED-WEIGHT-1M": used,
                **answer.headers,
            }
        )
        return Response(answer.status, answer.reason, headers, answer.body)

    def _state(self) -> dict[str, Any]:
        return {
            "finished": self._ended.is_set(),
            "failure": str(self._failure or ""),
            "sent": dict(self._hub.sent),
            "connections": {"open": self._hub.open_connections, "opened": self._hub.opened},
            "usedWeight": self._rest.weights.used,
        }


class _Door:
    """Knows all connections, of REST and websockets, and resets new ones while it is shut."""

    def __init__(self, board: FaultBoard, now: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._now = now
        self._inside: set[asyncio.Transport] = set()
        self._fault: Fault | None = None
        self._shut_until = 0.0

    def shut(self, fault: Fault) -> None:
        """Reset every new connection for `fault.seconds`."""
        self._fault = fault
        self._shut_until = self._now() + fault.seconds

    def hang_up(self) -> None:
        """Cut off all connections that are still open."""
        for transport in self._inside:
            transport.abort()

    def connection_class(self) -> type[ServerConnection]:
        """Return the class of connections that pass this door."""
        door = self

        class DoorConnection(ServerConnection):
            """A connection that the door knows from its beginning to its end."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                door._enter(self.transport)

            def connection_lost(self, exc: Exception | None) -> None:
                door._inside.discard(self.transport)
                super().connection_lost(exc)

        return DoorConnection

    def _enter(self, transport: asyncio.Transport) -> None:
        self._inside.add(transport)
        if self._fault and self._now() < self._shut_until:
            self._board.note(self._fault)
            transport.abort()
