"""The server, run in whatever event loop the program has, and stopped with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import uvicorn

from orderbook_desktop.core.library import BookLibrary
from orderbook_desktop.web.addresses import link_host
from orderbook_desktop.web.application import create_app
from orderbook_desktop.web.connection import BoundedConnection, bounded_by
from orderbook_desktop.web.hub import Hub
from orderbook_desktop.web.listening import listen
from orderbook_desktop.web.options import WebOptions

_log = logging.getLogger(__name__)

_SWEEP_S: Final = 1.0


class _EmbeddedServer(uvicorn.Server):
    """uvicorn without its signal handlers: the program has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class WebServer:
    """Serves `library` as `options` say. `await start()`, then `await close()`.

    `link` is what to open in a browser, token included: show it, never log it.
    """

    def __init__(self, library: BookLibrary, options: WebOptions) -> None:
        self.options = options.guarded()
        self._library = library
        self._hub: Hub | None = None
        self._server: _EmbeddedServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.options.port

    @property
    def viewers(self) -> int:
        """How many streams are being watched."""
        return self._hub.viewers if self._hub else 0

    @property
    def address(self) -> str:
        """The page's address for others, without the token."""
        return f"http://{link_host(self.options.host)}:{self.port}/"

    @property
    def link(self) -> str:
        """The address with the token, where one is required."""
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
            task.add_done_callback(_tell_failure)
        # uvicorn tells by a flag only.
        while not self._server.started and not self._tasks[0].done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        _log.info("the browser view is served on %s port %d", self.options.host, port)

    def follow(self, symbols: Iterable[str]) -> None:
        """Follow `symbols` until the end, also while nobody watches; raises `NotOffered`."""
        if self._hub is not None:
            for symbol in symbols:
                self._hub.keep(self._library.find(symbol))

    async def close(self) -> None:
        """End every stream in order, then the server."""
        if self._server is None or self._hub is None:
            return
        if self._server.started:
            # First of all nobody new: uvicorn itself would go on listening for a moment.
            for listening in self._server.servers:
                listening.close()
            for connection in _connections(self._server):
                connection.shutdown()
        self._hub.close()
        # Whoever takes nothing can't be told either, and must not hold up the end.
        _hang_up(one for one in _connections(self._server) if one.is_stalled)
        self._server.should_exit = True
        serving, *others = self._tasks
        await asyncio.gather(serving, return_exceptions=True)
        _hang_up(_connections(self._server))
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._server = self._hub = None
        self._tasks = []

    def _config(self, hub: Hub) -> uvicorn.Config:
        return uvicorn.Config(
            create_app(hub, self.options),
            http=bounded_by(self.options.limits),
            ws="none",
            loop="none",
            lifespan="off",
            # Links hold the token: what is asked for is written nowhere.
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=self.options.limits.head_bytes,
            timeout_graceful_shutdown=1,
        )

    async def _sweep(self, server: uvicorn.Server) -> None:
        """Hang up on clients that stall."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            _hang_up(one for one in _connections(server) if one.is_overdue(now))


def _tell_failure(task: asyncio.Task[None]) -> None:
    """Log a bug that ended one of the server's tasks: without it viewers only wait."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s ended unexpectedly", task.get_name(), exc_info=error)


def _connections(server: uvicorn.Server) -> list[BoundedConnection]:
    known = server.server_state.connections
    return [one for one in known if isinstance(one, BoundedConnection)]


def _hang_up(connections: Iterable[BoundedConnection]) -> None:
    """End connections, with whatever they have not taken yet."""
    for connection in connections:
        connection.transport.abort()
