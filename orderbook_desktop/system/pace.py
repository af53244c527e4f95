"""Playing at a pace: how long to wait for what is due, by absolute deadlines.

So no error adds up, and what was late is made up for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

# What is late is played at once, but other tasks must get a turn, too.
_LATE_IN_A_ROW: Final = 32


async def let_others() -> None:
    """Let other tasks have a turn."""
    await asyncio.sleep(0)


class Pace:
    """Maps times of what is played (ns) to the running clock, at `speed` times its own pace.

    The first time that is asked for is now. At the speed infinity nothing waits.
    """

    def __init__(self, speed: float, now: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._now = now
        self._origin: tuple[int, float] | None = None
        self._late = 0

    def delay_s(self, due_ns: int) -> float:
        """Return the seconds until `due_ns`; 0 or less where that has passed."""
        now = self._now()
        if self._origin is None:
            self._origin = due_ns, now
        first_ns, started = self._origin
        return started + (due_ns - first_ns) / 1e9 / self._speed - now

    def skip_to(self, due_ns: int, after_s: float = 0.0) -> None:
        """Let `due_ns` be `after_s` from now, and all later times follow it."""
        self._origin = due_ns, self._now() + after_s

    async def wait_for(
        self, due_ns: int, give_way: Callable[[], Awaitable[None]] = let_others
    ) -> None:
        """Return at the time `due_ns`, or at once where that has passed.

        Where many times in a row have passed, `give_way` is awaited now and then.
        """
        delay = self.delay_s(due_ns)
        if delay > 0:
            self._late = 0
            await asyncio.sleep(delay)
            return
        self._late += 1
        if self._late % _LATE_IN_A_ROW == 0:
            await give_way()
