"""Binance's limits on what a client may do, kept before the exchange has to enforce them.

Sources: Binance Spot API, "WebSocket Streams: General information" (5 messages a second on
a connection, 300 connection attempts in 5 minutes) and "LIMITS" (request weight a minute).
No clock inside: the caller passes the time in seconds. The exchange counts weight by the
minutes of the wall clock, so `WeightLimit` wants seconds since the epoch.
"""

from __future__ import annotations

from collections import deque
from typing import Final


class SlidingWindow:
    """At most `limit` actions in any window of `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._taken: deque[float] = deque()

    def delay(self, now: float) -> float:
        """Return how many seconds to wait before the next action is allowed."""
        self._forget(now)
        if len(self._taken) < self._limit:
            return 0.0
        return self._taken[0] + self._seconds - now

    def take(self, now: float) -> None:
        """Note an action, done at `now`."""
        self._forget(now)
        self._taken.append(now)

    def _forget(self, now: float) -> None:
        # The same sum as in `delay`: a different rounding could keep an action that causes no
        # delay.
        while self._taken and self._taken[0] + self._seconds <= now:
            self._taken.popleft()


def connection_limit() -> SlidingWindow:
    """Return the limit on connection attempts, with a reserve for other programs."""
    return SlidingWindow(250, 300.0)


def message_limit() -> SlidingWindow:
    """Return the limit on what we send on one connection.

    The protocol's own frames count too: a ping and a pong may fall into the same second.
    """
    return SlidingWindow(3, 1.0)


# Our clock and the exchange's clock do not begin a minute at the same instant.
_MINUTE_MARGIN_S: Final = 1.0


# What the exchange grants.
WEIGHT_A_MINUTE: Final = 6_000
# The most and the least that requests in the background may take of it.
_MOST_BEHIND: Final = WEIGHT_A_MINUTE // 5
_LEAST_BEHIND: Final = WEIGHT_A_MINUTE // 30


class WeightLimit:
    """The request weight used in the current minute, as the exchange last reported it.

    Requests in the background go behind all others: they take a fifth of the weight at most, and
    leave what the others may need. None goes out in a minute in which another one had to wait.
    """

    # Without the reserve there is enough for the list of symbols (20), their volumes (80), the
    # first books of a hundred symbols (50 each), and a few witnesses.
    def __init__(self, per_minute: int = WEIGHT_A_MINUTE, reserve: int = 800) -> None:
        self._allowed = per_minute - reserve
        self._used = self._used_behind = 0
        self._minute = self._minute_of_wait = 0

    def delay(self, weight: int, now: float) -> float:
        """Return how many seconds to wait before a request of `weight` should go out."""
        if int(now // 60) != self._minute or self._used + weight <= self._allowed:
            return 0.0
        self._minute_of_wait = self._minute
        return _until_next_minute(now)

    def delay_behind(self, weight: int, kept: int, now: float) -> float:
        """Return how many seconds a request of `weight` in the background should wait.

        `kept` is the weight that the other requests of a minute may need.
        """
        minute = int(now // 60)
        used, behind = (self._used, self._used_behind) if minute == self._minute else (0, 0)
        granted = min(_MOST_BEHIND, max(_LEAST_BEHIND, self._allowed - kept))
        fits = behind + weight <= granted and used + weight <= self._allowed
        return 0.0 if fits and minute != self._minute_of_wait else _until_next_minute(now)

    def spend_behind(self, weight: int, now: float) -> None:
        """Note a request of `weight` in the background that goes out at `now`."""
        self.spend(weight, now)
        self._used_behind += weight

    def spend(self, weight: int, now: float) -> None:
        """Note a request of `weight` that goes out at `now`."""
        self._roll(now)
        self._used += weight

    def note_used(self, used: int, now: float) -> None:
        """Note the used weight in an answer's header; it includes that of other programs."""
        self._roll(now)
        self._used = max(self._used, used)

    def _roll(self, now: float) -> None:
        minute = int(now // 60)
        if minute != self._minute:
            self._minute = minute
            self._used = self._used_behind = 0


def _until_next_minute(now: float) -> float:
    return 60.0 - now % 60 + _MINUTE_MARGIN_S
