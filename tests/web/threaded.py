"""A server on a thread of its own, for callers that are not asynchronous."""

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
        except Exception as error:  # noqa: BLE001 (whatever it is, the test is told)
            started.set_exception(error)
            return
        started.set_result(None)
        await asyncio.to_thread(stop.wait)
        await server.close()

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        # However long that takes: whatever hangs is ended by the test's own limit.
        started.result()
        yield server
    finally:
        stop.set()
        thread.join()
