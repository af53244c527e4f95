"""Delays between attempts: growing, capped, jittered, and without a clock of their own."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff_delays(
    first: float = 0.5,
    factor: float = 2.0,
    cap: float = 30.0,
    jitter: random.Random | None = None,
) -> Iterator[float]:
    """Yield delays in seconds for ever: `first`, then `factor` times longer, none above `cap`.

    Each delay is drawn from the upper half of its range. So many clients that lost their server at
    the same instant don't all return at the same instant.
    """
    source = jitter or random.Random()
    longest = min(first, cap)
    while True:
        yield longest * source.uniform(0.5, 1.0)
        longest = min(longest * factor, cap)
