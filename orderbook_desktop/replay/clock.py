"""The clock of a replay: pure, in whole nanoseconds, so that it never drifts.

It reads no other clock: each call says what time it is (`now_ns`, of a clock that never goes back).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from orderbook_desktop.core.replay_status import REAL_TIME, UNLIMITED

_THOUSAND: Final = 1_000
# The speed is measured over so long a time, by so many samples at most.
_MEASURED_NS: Final = 2_000_000_000
_SAMPLE_NS: Final = 100_000_000
# A measurement of a shorter time says little.
_LEAST_NS: Final = 500_000_000
# So long a clock without a limit of its speed takes to where the recording has been read.
_CATCH_UP_NS: Final = 100_000_000
# A clock that reaches so many thousandths of its speed keeps it.
_KEPT: Final = 970


class ReplayClock:
    """A clock that stands at `at_ns`, until it is started.

    It stops at `limit_ns`, the time up to which the recording has been read, and goes on from there
    when the limit is moved: it makes up for no time that it has waited. `speed` is in thousandths
    of real time. At the speed UNLIMITED the clock comes to its limit within a moment after that was
    moved: a recording is read by the minute, and views see more of it than the end of each.
    """

    def __init__(self, at_ns: int) -> None:
        self.speed = REAL_TIME
        self.is_playing = False
        self.limit_ns = at_ns
        self._at_ns = at_ns
        # When the clock was at `_at_ns`. It runs from there without rounding.
        self._since_ns = 0
        self._samples: deque[tuple[int, int]] = deque()

    def at(self, now_ns: int) -> int:
        """Return the time of the clock."""
        if not self.is_playing:
            return self._at_ns
        if self.speed == UNLIMITED:
            passed_ns = min(max(0, now_ns - self._since_ns), _CATCH_UP_NS)
            return self._at_ns + (self.limit_ns - self._at_ns) * passed_ns // _CATCH_UP_NS
        passed_ns = max(0, now_ns - self._since_ns) * self.speed // _THOUSAND
        return min(self._at_ns + passed_ns, self.limit_ns)

    def play(self, now_ns: int) -> None:
        """Let it run."""
        if not self.is_playing:
            self.is_playing, self._since_ns = True, now_ns
            self._samples.clear()

    def pause(self, now_ns: int) -> None:
        """Stop it where it is."""
        self._at_ns, self.is_playing = self.at(now_ns), False

    def set_speed(self, speed: int, now_ns: int) -> None:
        """Run at another speed from now on."""
        self._at_ns, self._since_ns, self.speed = self.at(now_ns), now_ns, speed
        self._samples.clear()

    def go_to(self, at_ns: int, limit_ns: int, now_ns: int) -> None:
        """Set it to `at_ns`, with another limit; whether it runs stays."""
        self._at_ns, self._since_ns = at_ns, now_ns
        self.limit_ns = max(at_ns, limit_ns)
        self._samples.clear()

    def set_limit(self, limit_ns: int, now_ns: int) -> None:
        """Let it run as far as `limit_ns`, or as far as it has come where that is later."""
        at_ns = self.at(now_ns)
        if at_ns >= self.limit_ns or (self.speed == UNLIMITED and limit_ns != self.limit_ns):
            # It has waited here, or has another way to go.
            self._at_ns, self._since_ns = at_ns, now_ns
        self.limit_ns = max(limit_ns, at_ns)

    def until(self, at_ns: int, now_ns: int) -> int | None:
        """Return in how many ns it is at `at_ns`, at the earliest; None: it never gets there."""
        if not self.is_playing or at_ns > self.limit_ns:
            return None
        if self.speed == UNLIMITED:
            return 0
        passed_ns = -(-max(0, at_ns - self._at_ns) * _THOUSAND // self.speed)
        return max(0, self._since_ns + passed_ns - now_ns)

    def reached(self, now_ns: int) -> int | None:
        """Return the speed that it has reached of late, None while it keeps its speed.

        Call it some times a second: each call is a sample.
        """
        if not self.is_playing:
            return None
        at_ns, samples = self.at(now_ns), self._samples
        if not samples or now_ns - samples[-1][0] >= _SAMPLE_NS:
            samples.append((now_ns, at_ns))
        while len(samples) > 1 and samples[1][0] <= now_ns - _MEASURED_NS:
            samples.popleft()
        since_ns, from_ns = samples[0]
        if now_ns - since_ns < _LEAST_NS:
            return None
        reached = (at_ns - from_ns) * _THOUSAND // (now_ns - since_ns)
        is_kept = self.speed != UNLIMITED and reached * _THOUSAND >= self.speed * _KEPT
        return None if is_kept else reached
