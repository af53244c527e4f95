"""A clock that jumps, for every Python that is started with this folder on its PYTHONPATH.

CLOCK_JUMPS holds `AT:BY` pairs, separated by commas: when `time.monotonic()` has reached AT,
the time of day is set forward by BY seconds.
"""

from __future__ import annotations

import os
import time

_JUMPS = [
    (float(at), int(by))
    for at, _, by in (
        jump.partition(":") for jump in os.environ.get("CLOCK_JUMPS", "").split(",") if jump
    )
]
_real_ns = time.time_ns


def _offset_s() -> int:
    now = time.monotonic()
    return sum(by for at, by in _JUMPS if now >= at)


def _time_ns() -> int:
    return _real_ns() + _offset_s() * 1_000_000_000


time.time_ns = _time_ns
time.time = lambda: _time_ns() / 1e9
