"""How many requests one address may make: a bucket that fills at a steady rate."""

from __future__ import annotations

from typing import Final

# Of more addresses than this, the ones that have been quiet longest are forgotten.
_REMEMBERED: Final = 4096


class RateCheck:
    """Allows each address `per_s` requests a second, and `burst` at once after a quiet time."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, address: str, now: float) -> bool:
        """Whether `address` may make a request at the time `now` (seconds); counts it."""
        tokens, since = self._buckets.pop(address, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_s)
        allowed = tokens >= 1
        # Put back at the end: the first one is always the one that was quiet longest.
        self._buckets[address] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _REMEMBERED:
            del self._buckets[next(iter(self._buckets))]
        return allowed
