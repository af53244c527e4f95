"""The server of the browser view: its port, its link, and its start and end in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

import psutil
import uvicorn

from orderbook_desktop.core.library import BookLibrary
from orderbook_desktop.system.ports import holder_of_port
from orderbook_desktop.system.tasks import end_tasks
from orderbook_desktop.web.application import create_app
from orderbook_desktop.web.connection import BoundedConnection, bounded_by
from orderbook_desktop.web.errors import CannotServe, PortTaken
from orderbook_desktop.web.hub import Hub
from orderbook_desktop.web.options import WebOptions

_log = logging.getLogger(__name__)

_SWEEP_S: Final = 1.0
_BACKLOG: Final = 1024
# How many ports above a taken one are tried for a free one.
_TRIED: Final = 20
_ANY: Final = ("0.0.0.0", "::", "")  # noqa: S104


class _EmbeddedServer(uvicorn.Server):
    """uvicorn without its signal handlers, since the program has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


class WebServer:
    """Serves `library` with `options`. `await start()`, then `await close()`.

    `link` is the address to open in a browser, with the token: show it, never log it.
    """

    def __init__(self, library: BookLibrary, options: WebOptions) -> None:
        self.options = options.guarded()
        self._library = library
        self._hub: Hub | None = None
        self._server: _EmbeddedServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self.options.port

    @property
    def viewers(self) -> int:
        """How many streams are being watched."""
        return self._hub.viewers if self._hub else 0

    @property
    def address(self) -> str:
        """The page's address for browsers, without the token."""
        return f"http://{_link_host(self.options.host)}:{self.port}/"

    @property
    def link(self) -> str:
        """The address, with the token if a token is required."""
        return self.address + (f"?token={self.options.token}" if self.options.token else "")

    async def start(self) -> None:
        """Open the port and serve; raises `PortTaken` or `CannotServe`."""
        listener = listen(self.options.host, self.options.port)
        port = listener.getsockname()[1]
        self.options = replace(self.options, port=port)
        self._hub = Hub(self._library, self.options.limits)
        self._server = _EmbeddedServer(self._config(self._hub))
        self._tasks = [
            asyncio.create_task(self._server.serve([listener]), name="web server"),
            asyncio.create_task(self._hub.run(), name="look at the books for viewers"),
            asyncio.create_task(self._sweep(self._server), name="watch over connections"),
        ]
        for task in self._tasks:
            task.add_done_callback(_log_failure)
        # uvicorn has only a flag, and no event, for its start.
        while not self._server.started and not self._tasks[0].done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        _log.info("the browser view is served on %s port %d", self.options.host, port)

    def follow(self, symbols: Iterable[str]) -> None:
        """Follow `symbols` until the end, also without viewers; raises `NotOffered`."""
        if self._hub is not None:
            for symbol in symbols:
                self._hub.follow(self._library.find(symbol))

    async def close(self) -> None:
        """End every stream in order, then the server."""
        if self._server is None or self._hub is None:
            return
        if self._server.started:
            # First close the port to new clients: uvicorn would go on listening for a moment.
            for listening in self._server.servers:
                listening.close()
            for connection in _connections(self._server):
                connection.shutdown()
        self._hub.close()
        # A stalled client would not take the end of its stream, and must not delay the end.
        _hang_up(client for client in _connections(self._server) if client.is_stalled)
        self._server.should_exit = True
        serving, *others = self._tasks
        await asyncio.gather(serving, return_exceptions=True)
        _hang_up(_connections(self._server))
        await end_tasks(*others)
        self._server = self._hub = None
        self._tasks = []

    def _config(self, hub: Hub) -> uvicorn.Config:
        return uvicorn.Config(
            create_app(hub, self.options),
            http=bounded_by(self.options.limits),
            ws="none",
            loop="none",
            lifespan="off",
            # Links hold the token, so requests are not logged.
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=self.options.limits.head_bytes,
            timeout_graceful_shutdown=1,
        )

    async def _sweep(self, server: uvicorn.Server) -> None:
        """Hang up on clients that are overdue, once a second."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            _hang_up(client for client in _connections(server) if client.is_overdue)


def _log_failure(task: asyncio.Task[None]) -> None:
    """Log the bug that ended one of the server's tasks, since viewers would only wait."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s ended unexpectedly", task.get_name(), exc_info=error)


def _connections(server: uvicorn.Server) -> list[BoundedConnection]:
    connections = server.server_state.connections
    return [client for client in connections if isinstance(client, BoundedConnection)]


def _hang_up(connections: Iterable[BoundedConnection]) -> None:
    """End connections at once; bytes that a client has not taken yet are lost."""
    for connection in connections:
        connection.transport.abort()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port` (0: any free port); close it when done.

    Raises `PortTaken` or `CannotServe`.
    """
    try:
        return _bound(host, port)
    except (socket.gaierror, UnicodeError) as error:
        # UnicodeError comes from text that can't be a name, such as two dots in a row.
        raise CannotServe(host, port, "it is no address of this computer") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port, holder_of_port(port), _free_port(host, port)) from error
        raise CannotServe(host, port, _reason(error)) from error


def _reason(error: OSError) -> str:
    """Return the system's text for an error; without an error number Python's text or type."""
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    opened = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            # On Windows this would let a second program listen on the same port.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def _free_port(host: str, port: int) -> int:
    for candidate in range(port + 1, min(port + 1 + _TRIED, 65536)):
        with suppress(OSError):
            _bound(host, candidate).close()
            return candidate
    return 0


def _link_host(host: str) -> str:
    """Return the host for the link of a server that listens on `host`."""
    if host in _ANY:
        return _lan_address() or "127.0.0.1"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _lan_address() -> str:
    """Return this computer's address, at best in the local network; empty if it has none."""
    found = []
    running = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        if name not in running or not running[name].isup:
            continue
        for address in addresses:
            if address.family == socket.AF_INET:
                parsed = ipaddress.ip_address(address.address)
                if not (parsed.is_loopback or parsed.is_link_local):
                    found.append((not parsed.is_private, address.address))
    return min(found)[1] if found else ""
