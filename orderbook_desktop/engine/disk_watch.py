"""Watches the disk of the recordings, and pauses the recordings before it is full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from orderbook_desktop.core.disk import DiskGauge, DiskLevel, bytes_text

_log = logging.getLogger(__name__)


class DiskWatch:
    """Measures the free space and its level; `await run()` until it is cancelled.

    `free` returns the free bytes, None if they aren't known; it may block. The watch calls
    `pause` with the detail of a gap when recording has to pause, and `resume` when recording can
    go on. `pauses` counts the pauses.
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
        """Whether there is room, as of the last look."""
        return self._gauge.level

    @property
    def problem(self) -> str:
        """What is wrong and what to do, in sentences; empty while there is room.

        The numbers in it are limits, which don't change, so that the notice stays the same.
        """
        gauge = self._gauge
        stop, resume = bytes_text(gauge.stop_bytes), bytes_text(gauge.resume_bytes)
        match self.level:
            case DiskLevel.FULL:
                return (
                    f"Recording is paused, because less than {stop} is free on its disk. It goes "
                    f"on by itself when {resume} is free. Nothing that was recorded is lost."
                )
            case DiskLevel.LOW:
                return (
                    f"Less than {bytes_text(gauge.low_bytes)} is free on the disk of the "
                    f"recordings; below {stop} recording is paused. Make room there."
                )
            case DiskLevel.GOOD:
                return ""

    async def run(self) -> None:
        """Look at the disk every few seconds."""
        while True:
            # A network disk may answer slowly.
            self.look(await asyncio.to_thread(self._free))
            await asyncio.sleep(self._look_every_s)

    def look(self, free_bytes: int | None) -> None:
        """Note that `free_bytes` are free, and pause or resume recording if the level changed."""
        self.free_bytes = free_bytes
        before, level = self._gauge.level, self._gauge.look(free_bytes)
        if level is before:
            return
        free_text = "unknown" if free_bytes is None else bytes_text(free_bytes)
        _log.log(
            logging.INFO if level is DiskLevel.GOOD else logging.WARNING,
            "the disk's state is %s, %s are free",
            *(level.value, free_text),
        )
        if level is DiskLevel.FULL:
            self.pauses += 1
            self._pause(f"{free_text} were free.")
        elif before is DiskLevel.FULL:
            self._resume()
