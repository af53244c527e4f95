"""An event loop in a thread of its own, for those who have none or must not block theirs."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class BackgroundLoop:
    """Runs coroutines for a thread that waits for them, also where that has a running loop.

    Call `close()` when done; it ends what still runs. The end of the program calls it too.
    """

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._open: set[_Steps[Any]] = set()
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._live(started),), name="recording", daemon=True
        )
        self._thread.start()
        self._loop = started.result()
        # Later the thread stands still, and whoever left an iterator would wait for it for ever.
        atexit.register(self.close)

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
        steps = _Steps(items)
        self._open.add(steps)
        try:
            while (item := self.run(steps.next(nothing))) is not nothing:
                yield item  # type: ignore[misc] # It is not `nothing`.
        finally:
            self._end(steps)

    def close_iterators(self) -> None:
        """Close the items of all iterators that were not read to their ends."""
        if self.is_open:
            self.run(self._close_open())

    def close(self) -> None:
        """End the loop and its thread."""
        atexit.unregister(self.close)
        if self.is_open:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _end(self, steps: _Steps[_T]) -> None:
        """Close `steps`, and return when that is done, if this may wait for it."""
        if steps not in self._open:
            return
        self._open.discard(steps)
        if threading.current_thread() is not self._thread:
            if self.is_open:
                self.run(steps.close())
            return
        # An iterator that was left is collected wherever Python happens to be.
        work = steps.close()
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            # The loop has ended, and closed them itself.
            work.close()

    async def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        started.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        # asyncio would close all generators at once, also those that others of them wait for.
        await self._close_open()

    async def _close_open(self) -> None:
        while self._open:
            await self._open.pop().close()


class _Steps(Generic[_T]):
    """`items` one by one. Its methods run in the loop."""

    def __init__(self, items: AsyncGenerator[_T]) -> None:
        self._items = items
        self._step: asyncio.Task[Any] | None = None

    async def next(self, default: object) -> _T | object:
        """Return the next one, or `default` after the last."""
        self._step = asyncio.current_task()
        return await anext(self._items, default)

    async def close(self) -> None:
        """Close the items."""
        step = self._step
        # One that Ctrl-C broke off may be on its way out, or not have been told yet.
        if step is not None and not step.done():
            if not step.cancelling():
                step.cancel()
            await asyncio.wait({step})
        # Whoever left them has no use for what goes wrong on the way out.
        with suppress(Exception):
            await self._items.aclose()
