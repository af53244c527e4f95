"""Watches the disk of the recordings, and pauses them before it is full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from orderbook_desktop.core.disk import DiskGauge, DiskLevel, bytes_text

_log = logging.getLogger(__name__)


class DiskWatch:
    """Tells how much is free, and what that means; `await run()` until it is cancelled.

    `free` returns the free bytes, None where they aren't known; it may block. `pause` is
    called with the detail of a gap when recording has to end, `resume` when it can go on.
    `pauses` counts how often that was.
    """

    def __init__(
        self,
        low_bytes: int,
        free: Callable[[], int | None],
        pause: Callable[[str], None],
        resume: Callable[[], None],
        look_every_s: float = 2.0,
    ) -> None:
        self.free_bytes: int | None = None
        self.pauses = 0
        self._gauge = DiskGauge(low_bytes)
        self._look_every_s = look_every_s
        self._free = free
        self._pause = pause
        self._resume = resume

    @property
    def level(self) -> DiskLevel:
        """Whether there is room."""
        return self._gauge.level

    @property
    def problem(self) -> str:
        """What the person should know, as a sentence; empty while there is room.

        It has no numbers that change all the time.
        """
        gauge = self._gauge
        stop, resume = bytes_text(gauge.stop_bytes), bytes_text(gauge.resume_bytes)
        match self.level:
            case DiskLevel.FULL:
                return (
                    f"Recording is paused, because less than {stop} is free on its disk; it goes "
                    f"on by itself when {resume} is. Nothing that was recorded is lost."
                )
            case DiskLevel.LOW:
                return (
                    f"Less than {bytes_text(gauge.low_bytes)} is free on the disk of the "
                    f"recordings; below {stop} recording is paused. Make room there."
                )
            case DiskLevel.GOOD:
                return ""

    async def run(self) -> None:
        """Look every few seconds."""
        while True:
            # A disk of the network may take its time.
            self.look(await asyncio.to_thread(self._free))
            await asyncio.sleep(self._look_every_s)

    def look(self, free_bytes: int | None) -> None:
        """Take note that so much is free, and act on it."""
        self.free_bytes = free_bytes
        before, level = self._gauge.level, self._gauge.look(free_bytes)
        if level is before:
            return
        told = "unknown" if free_bytes is None else bytes_text(free_bytes)
        _log.log(
            logging.INFO if level is DiskLevel.GOOD else logging.WARNING,
            "the disk's state is %s, %s are free",
            *(level.value, told),
        )
        if level is DiskLevel.FULL:
            self.pauses += 1
            self._pause(f"{told} were free.")
        elif before is DiskLevel.FULL:
            self._resume()
