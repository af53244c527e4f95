"""A server in its own thread, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event, Thread

from orderbook_desktop.web.options import WebOptions
from orderbook_desktop.web.server import WebServer
from tests.web.hand_library import HandLibrary


@contextmanager
def serving(library: HandLibrary, options: WebOptions) -> Iterator[WebServer]:
    """Serve `library` while the context lasts."""
    server = WebServer(library, options)
    started: Future[None] = Future()
    stop = Event()

    async def serve() -> None:
        try:
            await server.start()
        except Exception as error:  # noqa: BLE001 (the test raises the error)
            started.set_exception(error)
            return
        started.set_result(None)
        await asyncio.to_thread(stop.wait)
        await server.close()

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        # There is no limit here, since the test's own limit ends a thread that hangs.
        started.result()
        yield server
    finally:
        stop.set()
        thread.join()
