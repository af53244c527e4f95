"""Telling a stream that went dead from a symbol that is seldom traded."""

from __future__ import annotations

from typing import Final

LEAST_SILENCE_S: Final = 10.0
_MOST_PATIENCE: Final = 30
# Events come about every 100 ms on an active symbol. Until we know, a symbol counts as slow.
_ASSUMED_INTERVAL: Final = 0.3
_INTERVALS_OF_SILENCE: Final = 20
_WEIGHT_OF_NEWEST: Final = 0.1


class SilenceWatch:
    """Learns how often a symbol's events come, and says when there should have been one.

    An active symbol (several events a second) is silent after `least_s` seconds, a slower
    one after 20 times its usual interval. A stream that brought nothing since it opened is
    silent after `least_s` seconds, too: it may be dead from the start. Each silence in a
    row without any event doubles the patience. Times are seconds of a monotonic clock.
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
        """The stream is not open: silence means nothing."""
        self._last = None

    def received(self, now: float) -> None:
        """An event came in."""
        if self._last is not None:
            interval = now - self._last
            self._interval += _WEIGHT_OF_NEWEST * (interval - self._interval)
        self._last = now
        self._patience = 1
        self._heard = True

    def resumed(self, now: float) -> None:
        """Nothing could come in until now, because nothing ran here."""
        if self._last is not None:
            self._last = now

    def is_silent(self, now: float) -> bool:
        """Whether an event is overdue; call `gave_up` when acting on it."""
        return self._last is not None and now - self._last >= self.limit

    def gave_up(self, now: float) -> None:
        """Something is being done about the silence; it counts anew from now."""
        self._patience *= 2
        self._last = now

    @property
    def is_active(self) -> bool:
        """Whether events come so often that a silence of `least_s` can't be the market's."""
        return _INTERVALS_OF_SILENCE * self._interval <= self._least

    @property
    def limit(self) -> float:
        """The silence, in seconds, that is too long just now."""
        slow = _INTERVALS_OF_SILENCE * self._interval if self._heard else 0.0
        usual = max(self._least, slow)
        return max(usual, min(usual * self._patience, _MOST_PATIENCE * self._least))
