"""An event loop in a thread of its own, for those who have none or must not block theirs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")


class BackgroundLoop:
    """Runs coroutines for a thread that waits for them, also where that has a running loop.

    Call `close()` when done; it ends what still runs.
    """

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._live(started),), name="recording", daemon=True
        )
        self._thread.start()
        self._loop = started.result()

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed."""
        return self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what `work` returns, or raise what it raises; Ctrl-C cancels it.

        Raises `ValueError` when closed.
        """
        if not self.is_open:
            work.close()
            raise ValueError("it has been closed")
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        finally:
            running.cancel()

    def iterate(self, items: AsyncGenerator[_T]) -> Iterator[_T]:
        """Iterate over `items`; they are closed when the iterator is, or this."""
        nothing = object()
        try:
            while (item := self.run(_next(items, nothing))) is not nothing:
                yield item  # type: ignore[misc] # It is not `nothing`.
        finally:
            if self.is_open:
                self.run(items.aclose())

    def close(self) -> None:
        """End the loop and its thread."""
        if self.is_open:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        started.set_result(asyncio.get_running_loop())
        await self._stop.wait()


async def _next(items: AsyncGenerator[_T], default: object) -> _T | object:
    return await anext(items, default)
