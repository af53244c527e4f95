"""A clock for ages: it counts a sleep of the computer, and steps of the time of day don't move it.

By the time of day, a dead book would look fresh for an hour after the clock was set back by an
hour.
"""

from __future__ import annotations

import sys
import time


def _elapsed_ns() -> int:
    if sys.platform == "linux":
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return time.monotonic_ns()


# The time of day when the program began, so that readings are near the time of day.
_BEGAN_NS = time.time_ns() - _elapsed_ns()


def steady_ns() -> int:
    """Return nanoseconds since the epoch, as if the time of day had never been set meanwhile."""
    return _BEGAN_NS + _elapsed_ns()
