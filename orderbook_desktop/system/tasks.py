"""Tasks and threads that end before the code that uses them goes on; failures are reported."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, ParamSpec, TypeVar

_log = logging.getLogger(__name__)

# So many levels are worked on in less than a millisecond.
_FEW_LEVELS: Final = 2_000

_P = ParamSpec("_P")
_T = TypeVar("_T")


@asynccontextmanager
async def ending(*jobs: asyncio.Future[Any]) -> AsyncIterator[None]:
    """Cancel the `jobs` that still run when the context ends, and wait until they have ended.

    The result or exception of a job stays in it and is not raised.
    """
    try:
        yield
    finally:
        await end_tasks(*jobs)


async def in_thread(work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    """Do `work` in a thread; where this call is cancelled, it ends only after the work."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancel `tasks`, and return when they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish `work`, even if this task is cancelled meanwhile: it is too late to undo it."""
    working = asyncio.ensure_future(work)
    while not working.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({working})
    working.result()


async def in_thread_if_long(
    levels: int, work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs
) -> _T:
    """Do `work` on about so many levels of a book: in a thread, or at once if they are few.

    Handing work to a thread takes as long as work on some hundred levels. A loop over many short
    pieces has to let other tasks run now and then.
    """
    if levels <= _FEW_LEVELS:
        return work(*arguments, **options)
    return await asyncio.to_thread(work, *arguments, **options)


async def one_ahead(parts: AsyncGenerator[_T]) -> AsyncGenerator[_T]:
    """Iterate over `parts`, and wait for the next one while the caller works on one.

    Close the generator; that closes `parts`, too.
    """
    coming = asyncio.create_task(_following(parts), name="one ahead")
    try:
        while (part := await coming) is not None:
            coming = asyncio.create_task(_following(parts), name="one ahead")
            yield part[0]
    finally:
        await end_tasks(coming)
        await parts.aclose()


async def _following(parts: AsyncGenerator[_T]) -> tuple[_T] | None:
    """Return the next part alone in a tuple; None if there is none."""
    async for part in parts:
        return (part,)
    return None


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, for at most `seconds` (None: for ever); return whether it is."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Workers(ThreadPoolExecutor):
    """An event loop's pool of threads; its shutdown doesn't wait for them."""

    def __init__(self) -> None:
        super().__init__(8, thread_name_prefix="work")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Take no more work, and cancel the work that has not begun."""
        del wait
        super().shutdown(wait=False, cancel_futures=cancel_futures)


class Jobs:
    """Runs tasks until they end or `close()` is awaited.

    The exception of a task is a bug: it is logged with its traceback and given to `failed`.
    """

    def __init__(self, failed: Callable[[BaseException], None] | None = None) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, job: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `job` in the background; `name` is what the log calls it."""
        task = asyncio.create_task(job, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel the running tasks, and return when they have ended."""
        await end_tasks(*self._tasks - {asyncio.current_task()})

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("%s ended unexpectedly", task.get_name(), exc_info=error)
        if self._failed is not None:
            self._failed(error)
