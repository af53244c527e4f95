"""Tasks and threads that end before the code that uses them goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


@asynccontextmanager
async def ending(*jobs: asyncio.Future[Any]) -> AsyncIterator[None]:
    """Cancel what of `jobs` still runs when the context ends, and wait until it has ended.

    What became of them is in them, for whoever wants to know; it is not raised.
    """
    try:
        yield
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def in_thread(work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    """Do `work` in a thread; where this is cancelled, end only after it."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
