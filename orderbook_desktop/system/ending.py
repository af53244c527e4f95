"""Tasks that run beside a piece of code, and never longer than it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


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
