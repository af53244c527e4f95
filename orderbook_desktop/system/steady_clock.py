"""A clock for ages: it counts a sleep of the computer, and no step of the time of day moves it.

By the time of day, a dead book looks fresh for an hour after that was set back by an hour.
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


# The time of day when the program began, so that its readings are near those.
_BEGAN_NS = time.time_ns() - _elapsed_ns()


def steady_ns() -> int:
    """Return nanoseconds since the epoch, as if the time of day were never set meanwhile."""
    return _BEGAN_NS + _elapsed_ns()
