"""Where viewers wait for the next moment, and are called a few at a time."""

from __future__ import annotations

import asyncio
from typing import Final

# What the window paints must not wait until everybody has been served.
_AT_ONCE: Final = 8


class WaitingRoom:
    """Lets many wait for the same thing.

    Whoever looks whether there is something to do and then waits, without awaiting anything
    else in between, misses no call.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next call."""
        called = asyncio.get_running_loop().create_future()
        self._waiting.append(called)
        await called

    async def call(self) -> None:
        """Let all go who wait now; between a few and the next few the loop has its turn."""
        waiting, self._waiting = self._waiting, []
        try:
            for start in range(0, len(waiting), _AT_ONCE):
                _let_go(waiting[start : start + _AT_ONCE])
                await asyncio.sleep(0)
        finally:
            # Whoever calls may be cancelled on the way, and nobody else knows of these.
            _let_go(waiting)

    def close(self) -> None:
        """Let all go at once."""
        waiting, self._waiting = self._waiting, []
        _let_go(waiting)


def _let_go(waiting: list[asyncio.Future[None]]) -> None:
    for called in waiting:
        if not called.done():  # Else whoever waited has been cancelled.
            called.set_result(None)
