"""An event loop in its own thread, for callers that are not coroutines."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class BackgroundLoop:
    """Runs coroutines for a thread that waits for them; that thread may have a running loop.

    `name` is that of the thread, and `executor` the loop's pool of threads (None: the usual one).
    Call `close()` when done; it ends iterators that are still open, and cancels what runs. The end
    of the program also calls it.
    """

    def __init__(self, name: str = "recording", executor: ThreadPoolExecutor | None = None) -> None:
        self._executor = executor
        self._stop = asyncio.Event()
        self._open: set[_Steps[Any]] = set()
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._live(started),), name=name, daemon=True
        )
        self._thread.start()
        self._loop = started.result()
        # At exit, before the thread stops: closing an iterator later would wait for ever.
        atexit.register(self.close)

    @property
    def is_open(self) -> bool:
        """Whether the loop runs."""
        return self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return the result of `work`, or raise its exception; Ctrl-C cancels `work`.

        Raises `ValueError` after `close()`.
        """
        if not self.is_open:
            work.close()
            raise ValueError("it has been closed")
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        finally:
            running.cancel()

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run `work` in the background; to cancel its future cancels it.

        Raises `RuntimeError` after `close()`.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call `function` in the loop's thread, soon; nothing happens after `close()`."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def iterate(self, items: AsyncGenerator[_T]) -> Generator[_T]:
        """Iterate over `items`, which are closed with the iterator or with this loop."""
        nothing = object()
        steps = _Steps(items)
        self._open.add(steps)
        try:
            while (item := self.run(steps.next(nothing))) is not nothing:
                yield item  # type: ignore[misc] # It is not `nothing`.
        finally:
            self._end(steps)

    def close_iterators(self) -> None:
        """Close all iterators that were not read to their ends."""
        if self.is_open:
            self.run(self._close_open())

    def close(self) -> None:
        """End the loop and its thread."""
        atexit.unregister(self.close)
        if self.is_open:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _end(self, steps: _Steps[_T]) -> None:
        """Close `steps`; outside of the loop's thread, wait until they are closed."""
        if steps not in self._open:
            return
        self._open.discard(steps)
        if threading.current_thread() is not self._thread:
            if self.is_open:
                self.run(steps.close())
            return
        # Python collects an abandoned iterator in any thread, here in that of the loop.
        work = steps.close()
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            # The loop has ended, and has closed the items itself.
            work.close()

    async def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        loop = asyncio.get_running_loop()
        if self._executor is not None:
            loop.set_default_executor(self._executor)
        started.set_result(loop)
        await self._stop.wait()
        # asyncio would close all generators at once, even where one waits for another.
        await self._close_open()

    async def _close_open(self) -> None:
        while self._open:
            await self._open.pop().close()


class _Steps(Generic[_T]):
    """Gives `items` one by one. Its methods run in the loop."""

    def __init__(self, items: AsyncGenerator[_T]) -> None:
        self._items = items
        self._step: asyncio.Task[Any] | None = None

    async def next(self, default: object) -> _T | object:
        """Return the next item, or `default` after the last one."""
        self._step = asyncio.current_task()
        return await anext(self._items, default)

    async def close(self) -> None:
        """Close the items."""
        step = self._step
        # A step that Ctrl-C interrupted may be ending, or may not have been cancelled yet.
        if step is not None and not step.done():
            if not step.cancelling():
                step.cancel()
            await asyncio.wait({step})
        # The caller has abandoned the items, so an error while closing them is of no use.
        with suppress(Exception):
            await self._items.aclose()
