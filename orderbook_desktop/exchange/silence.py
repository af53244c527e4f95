"""Distinguishing a dead stream from a symbol that is seldom traded."""

from __future__ import annotations

from typing import Final

LEAST_SILENCE_S: Final = 10.0
_MOST_PATIENCE: Final = 30
# An active symbol has an event about every 100 ms. At first a symbol counts as slow.
_ASSUMED_INTERVAL: Final = 0.3
_INTERVALS_OF_SILENCE: Final = 20
_WEIGHT_OF_NEWEST: Final = 0.1


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
