"""Finding that this computer slept, or that this program was suspended.

Two clocks show a sleep: one counts the time of the sleep, the other does not. No wall clock is
used, so its steps do not look like a sleep. A program that was suspended alone finds that time
passed in which it did no work.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# Timers are late by less than this, even on a busy computer.
_LATE_AT_MOST_S: Final = 5.0
_SLEPT_AT_LEAST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """Clocks in seconds: `elapsed` counts a sleep of the computer, `awake` does not.

    `worked` is the processor time that this program used. `now` measures waits; `now_ns` is the
    time of day, in ns since the epoch.
    """

    elapsed: Callable[[], float]
    awake: Callable[[], float]
    worked: Callable[[], float] = time.process_time
    now: Callable[[], float] = time.monotonic
    now_ns: Callable[[], int] = time.time_ns


def system_clocks() -> Clocks:
    """Return the system's clocks; with only one, a sleep looks like a suspension."""
    if sys.platform == "linux":
        return Clocks(lambda: time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic)
    if sys.platform == "darwin":
        return Clocks(
            lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
            lambda: time.clock_gettime(time.CLOCK_UPTIME_RAW),
        )
    return Clocks(time.monotonic, time.monotonic)


@dataclass(frozen=True, slots=True)
class Suspension:
    """Nothing ran for `seconds`; `of_computer` says that the computer is known to have slept."""

    seconds: float
    of_computer: bool

    @property
    def sentence(self) -> str:
        """The suspension as a sentence."""
        what = "This computer slept" if self.of_computer else "This program was suspended"
        return f"{what} for {self.seconds:.0f} s."


class SuspensionWatch:
    """Finds suspensions between one `look()` and the next, which is due after `look_every_s`."""

    def __init__(self, clocks: Clocks, look_every_s: float) -> None:
        self._clocks = clocks
        self._look_every_s = look_every_s
        self._last = self._now()

    def look(self) -> Suspension | None:
        """Return the suspension since the last look, or None."""
        before, self._last = self._last, self._now()
        elapsed, awake, worked = (now - then for now, then in zip(self._last, before, strict=True))
        slept = elapsed - awake
        if slept >= _SLEPT_AT_LEAST_S:
            return Suspension(slept, of_computer=True)
        late = awake - self._look_every_s
        # A program that used the processor all the time was busy, not suspended.
        if late >= _LATE_AT_MOST_S and worked < late / 2:
            return Suspension(late, of_computer=False)
        return None

    def _now(self) -> tuple[float, float, float]:
        return self._clocks.elapsed(), self._clocks.awake(), self._clocks.worked()
