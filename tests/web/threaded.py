"""A server on a thread of its own, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from orderbook_desktop.web.options import WebOptions
from orderbook_desktop.web.server import WebServer
from tests.web.hand_library import HandLibrary


@contextmanager
def serving(library: HandLibrary, options: WebOptions) -> Iterator[WebServer]:
    """Serve `library` while the context lasts."""
    server = WebServer(library, options)
    ready, stop = Event(), Event()

    async def serve() -> None:
        await server.start()
        ready.set()
        await asyncio.to_thread(stop.wait)
        await server.close()

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        stop.set()
        thread.join(10)
