"""Why no event came: the stream is dead, the symbol is seldom traded, or nothing ran here.

Two clocks show a sleep of the computer: one counts the time of the sleep, the other does not. No
wall clock is used, so its steps do not look like a sleep. A program that was suspended alone finds
that time passed in which it did no work.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

LEAST_SILENCE_S: Final = 10.0
_MOST_PATIENCE: Final = 30
# An active symbol has an event about every 100 ms. At first a symbol counts as slow.
_ASSUMED_INTERVAL: Final = 0.3
_INTERVALS_OF_SILENCE: Final = 20
_WEIGHT_OF_NEWEST: Final = 0.1

# Timers are late by less than this, even on a busy computer.
_LATE_AT_MOST_S: Final = 5.0
_SLEPT_AT_LEAST_S: Final = 1.0


class SilenceWatch:
    """Learns how often a symbol has events, and says when one is overdue.

    An active symbol (several events a second) is silent after `least_s` seconds, a slower one
    after 20 times its usual interval. A stream without any event since it opened is silent after
    `least_s` seconds, too: it may be dead from the start. Each further silence without an event in
    between doubles the patience. Times are seconds of a monotonic clock.
    """

    def __init__(self, least_s: float = LEAST_SILENCE_S) -> None:
        self._least = least_s
        self._interval = _ASSUMED_INTERVAL * least_s
        self._last: float | None = None
        self._patience = 1
        self._heard = False

    def opened(self, now: float) -> None:
        """The stream opened: silence counts from now."""
        self._last = now
        self._heard = False

    def closed(self) -> None:
        """The stream is not open: its silence does not count."""
        self._last = None

    def received(self, now: float) -> None:
        """An event arrived."""
        if self._last is not None:
            interval = now - self._last
            self._interval += _WEIGHT_OF_NEWEST * (interval - self._interval)
        self._last = now
        self._patience = 1
        self._heard = True

    def resumed(self, now: float) -> None:
        """No event could be read until now, because this program was suspended."""
        if self._last is not None:
            self._last = now

    def is_silent(self, now: float) -> bool:
        """Whether an event is overdue; call `gave_up` when acting on it."""
        return self._last is not None and now - self._last >= self.limit

    def is_fresh(self, now: float) -> bool:
        """Whether an event came in the latter half of the time that an active symbol may take."""
        return self._heard and self._last is not None and now - self._last < self._least / 2

    def gave_up(self, now: float) -> None:
        """The caller acts on the silence; it counts anew from now."""
        self._patience *= 2
        self._last = now

    @property
    def is_active(self) -> bool:
        """Whether events are so frequent that a silence of `least_s` can't be the market's own."""
        return _INTERVALS_OF_SILENCE * self._interval <= self._least

    @property
    def limit(self) -> float:
        """The silence, in seconds, that is too long now."""
        slow = _INTERVALS_OF_SILENCE * self._interval if self._heard else 0.0
        usual = max(self._least, slow)
        return max(usual, min(usual * self._patience, _MOST_PATIENCE * self._least))


class Clocks(Struct, frozen=True):
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


class Suspension(Struct, frozen=True):
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
