"""Whether an event is late: it was made earlier than the time of its arrival says.

After a suspension, a slow query or a frozen disk, a reader gets a backlog. Each event of it has
just arrived, but the book is as old as the event. The event's own time tells how old, but the
clock of the exchange may be wrong by any constant, and both that clock and this computer's time of
day may step. So neither is compared with the other. The delay of an event is the time from its own
time to its arrival by a steady clock of this computer; it contains the error of the exchange's
clock. The least delay of recent events is the usual one. An event is late by as much as its delay
exceeds that, and it was *due* when it would have arrived with the usual delay.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_NS_A_MS: Final = 1_000_000
_NS_A_S: Final = 1_000_000_000
_ACTIVE_EVENTS: Final = 10
_SPAN_NS: Final = 20_000_000_000
# The least delays of two spans are one and the same clock's if they differ by less.
_STANDS_STILL_NS: Final = 1_000_000_000
_PLAYED_SPAN_NS: Final = 1_000_000_000
_PLAYED_AGE_NS: Final = 86_400_000_000_000
# An exchange's events are at times dated a little before the previous one.
_SET_BACK_MS: Final = 1_000
# Without a step of a clock, no event comes so much earlier than with the usual delay.
_STEPPED_NS: Final = 1_000_000_000


class UsualDelay:
    """The usual delay of a source's events. The streams of one source share it.

    A lower delay counts at once. A higher one counts once the least delays of two spans in a row,
    20 s each, are above the usual one and alike: then a clock has stepped. The least delay of a
    backlog that grows or is worked off differs from span to span, so the backlog stays late. A
    backlog that stays equally late counts as a clock's step, too, after about a minute.

    A capture that is played may be slower than it was, so its events get later all the time. If
    the events are dated more than a day before their receipt, the spans last 1 s, and each counts.
    """

    def __init__(self) -> None:
        self.ns: int | None = None
        self._began_ns = 0
        self._least_ns = 0
        self._before_ns: int | None = None

    def take(self, delay_ns: int, now_ns: int, *, is_played: bool) -> None:
        """Take the delay of an event that arrives at `now_ns`."""
        if self.ns is None:
            self.set(delay_ns, now_ns)
            return
        if delay_ns < self._least_ns:
            # Only then, since this runs for each event.
            self._least_ns, self.ns = delay_ns, min(self.ns, delay_ns)
        if now_ns - self._began_ns < (_PLAYED_SPAN_NS if is_played else _SPAN_NS):
            return
        least_ns, before_ns = self._least_ns, self._before_ns
        if before_ns is not None and (is_played or abs(least_ns - before_ns) < _STANDS_STILL_NS):
            self.ns = min(least_ns, before_ns)
        self._began_ns, self._least_ns, self._before_ns = now_ns, delay_ns, least_ns

    def set(self, delay_ns: int, now_ns: int) -> None:
        """Count `delay_ns` as the usual delay from `now_ns` on."""
        self.ns = self._least_ns = delay_ns
        self._began_ns, self._before_ns = now_ns, None


class Punctuality:
    """Judges how late the events of one stream are.

    `usual` is the usual delay of the events; another stream of the same source may share it.
    Times of day (`event_ms`, `received_ns`) are since the epoch; `now_ns` is of a clock that no
    step of the time of day moves.
    """

    def __init__(self, usual: UsualDelay) -> None:
        self._usual = usual
        self._event_ms = 0
        self._delay_ns = 0
        # How late the last event was that came before a clock may have stepped.
        self._late_ns = 0

    def take(self, event_ms: int, received_ns: int, now_ns: int) -> None:
        """Learn from an event that arrives at `now_ns`; events come in the order of their ids.

        `received_ns` is when a recorder received it, by its own clock; 0 if unknown.
        """
        delay_ns = now_ns - event_ms * _NS_A_MS
        before_ms, before_ns = self._event_ms, self._delay_ns
        self._event_ms, self._delay_ns = event_ms, delay_ns
        usual_ns = self._usual.ns
        if not before_ms:
            return
        if event_ms < before_ms - _SET_BACK_MS:
            # The exchange's clock was set back: no backlog goes back in time. This event counts
            # as late as the one before it.
            self._usual.set(delay_ns - self._late_ns, now_ns)
            return
        # Two events in a row: a single event may be dated in the future.
        reached_ns = max(delay_ns, before_ns)
        if usual_ns is not None:
            if reached_ns < usual_ns - _STEPPED_NS:
                # The exchange's clock was set forward. A backlog is as late as it was before. A
                # step that is smaller than that looks like less of a backlog.
                reached_ns -= self._late_ns
            else:
                self._late_ns = max(0, reached_ns - usual_ns)
        is_played = received_ns - event_ms * _NS_A_MS > _PLAYED_AGE_NS
        self._usual.take(reached_ns, now_ns, is_played=is_played)

    def due_ns(self, event_ms: int, now_ns: int) -> int:
        """Return when an event of that time was due here; `now_ns` while that is not known."""
        usual_ns = self._usual.ns
        if usual_ns is None:
            return now_ns
        due_ns = event_ms * _NS_A_MS + usual_ns
        if due_ns > now_ns + _STEPPED_NS:
            # Dated in the future: it counts as late as the events before it.
            return now_ns - self._late_ns
        return min(now_ns, due_ns)


class Activity:
    """Tells an active market, whose events come more often than once a second, from a quiet one."""

    def __init__(self) -> None:
        self._arrivals_ns: deque[int] = deque(maxlen=_ACTIVE_EVENTS)

    def take(self, now_ns: int) -> None:
        """Note an event that arrives at `now_ns`."""
        self._arrivals_ns.append(now_ns)

    @property
    def is_active(self) -> bool:
        """Whether the last events came often; the silence since then does not count."""
        arrivals_ns = self._arrivals_ns
        if len(arrivals_ns) < _ACTIVE_EVENTS:
            return False
        return arrivals_ns[-1] - arrivals_ns[0] <= _ACTIVE_EVENTS * _NS_A_S
