"""Whether an event is late: it was made earlier than the time of its arrival says.

After a suspension, a slow query or a frozen disk, a reader gets a backlog. Each event of it has
just arrived, but the book is as old as the event. The event's own time tells how old, but the
clock of the exchange may be wrong by any constant, and both that clock and this computer's time of
day may step. So neither is compared with the other. The delay of an event is the time from its own
time to its arrival by a steady clock of this computer; it contains the error of the exchange's
clock. The least delay of recent events is the usual one. An event is late by as much as its delay
exceeds that, and it was *due* when it would have arrived with the usual delay.

A recorded stream may begin amid a backlog, so its first delays are no measure. While a backlog is
worked off, event times advance faster than their arrivals, and the delays shrink. The usual delay
is known once they have stopped shrinking. A stream of the exchange begins with what is new, so
there the first event counts.
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
# The least delays of two such spans are compared when a stream begins.
_FIRST_SPAN_NS: Final = 400_000_000
# Delays of a punctual stream differ by less, or by less than this part of the time between them.
_STEADY_NS: Final = 150_000_000
_STEADY_PART: Final = 5
# A market is quiet where events come no more often.
_QUIET_NS: Final = 1_000_000_000
_BACKLOG_ENDS_WITHIN_NS: Final = 60_000_000_000
_PLAYED_BACKLOG_ENDS_WITHIN_NS: Final = 3_000_000_000


class UsualDelay:
    """The usual delay of a source's events. The streams of one source share it.

    A lower delay counts at once. A higher one counts once the least delays of two spans in a row,
    20 s each, are above the usual one and alike: then a clock has stepped. The least delay of a
    backlog that grows or is worked off differs from span to span, so the backlog stays late. A
    backlog that stays equally late counts as a clock's step, too, after about a minute.

    A capture that is played may be slower than it was, so its events get later all the time. If
    the events are dated more than a day before their receipt, the spans last 1 s, and each counts.

    `ns` is the usual delay, None before the first event. Until it `is_known`, it may be that of a
    backlog.
    """

    def __init__(self) -> None:
        self.ns: int | None = None
        self.is_known = False
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


class FirstDelays:
    """Tells when the delays of a stream that may begin amid a backlog have stopped shrinking.

    The least delays of two spans in a row, 0.4 s each, are alike then; in a quiet market the delays
    of two events in a row. A backlog that is worked off at less than about 1.4 times the pace of
    the market is not found, and one that takes more than a minute counts as the usual delay.

    A capture that is played fast looks like a backlog. If the events are dated more than a day
    before their receipt, three seconds count, and not a minute.
    """

    def __init__(self) -> None:
        self._first_ns = self._last_ns = 0
        self._began_ns = self._least_ns = 0
        self._before_ns: int | None = None

    def are_steady(self, delay_ns: int, now_ns: int, *, is_played: bool) -> bool:
        """Take the delay of an event that arrives at `now_ns`; return whether it is usual."""
        pause_ns, self._last_ns = now_ns - self._last_ns, now_ns
        if not self._first_ns:
            self._first_ns = now_ns
            self._begin_span(delay_ns, now_ns, None)
            return False
        within_ns = _PLAYED_BACKLOG_ENDS_WITHIN_NS if is_played else _BACKLOG_ENDS_WITHIN_NS
        if now_ns - self._first_ns >= within_ns:
            return True
        if pause_ns >= _QUIET_NS:
            # Where a backlog stands still for so long, its next event is later than the last one.
            is_steady = _alike(delay_ns, self._least_ns, pause_ns)
            self._begin_span(delay_ns, now_ns, None)
            return is_steady
        passed_ns = now_ns - self._began_ns
        if passed_ns < _FIRST_SPAN_NS:
            self._least_ns = min(self._least_ns, delay_ns)
            return False
        before_ns, least_ns = self._before_ns, self._least_ns
        self._begin_span(delay_ns, now_ns, least_ns)
        return before_ns is not None and _alike(least_ns, before_ns, passed_ns)

    def _begin_span(self, delay_ns: int, now_ns: int, before_ns: int | None) -> None:
        self._began_ns, self._least_ns, self._before_ns = now_ns, delay_ns, before_ns


def _alike(delay_ns: int, other_ns: int, apart_ns: int) -> bool:
    return abs(delay_ns - other_ns) <= max(_STEADY_NS, apart_ns // _STEADY_PART)


class Punctuality:
    """Judges how late the events of one stream are.

    `usual` is the usual delay of the events; another stream of the same source may share it. A
    stream that `may_begin_late` may begin amid a backlog, as a recorded one does. Times of day
    (`event_ms`, `received_ns`) are since the epoch; `now_ns` is of a clock that no step of the time
    of day moves.
    """

    def __init__(self, usual: UsualDelay, *, may_begin_late: bool = False) -> None:
        self._usual = usual
        self._may_begin_late = may_begin_late
        self._first_delays = FirstDelays()
        # Whether the usual delay is that of a single event, which may be dated in the future.
        self._is_of_one = False
        self._event_ms = 0
        self._delay_ns = 0
        # How late the last event was that came before a clock may have stepped.
        self._late_ns = 0

    @property
    def is_known(self) -> bool:
        """Whether it is known how late the events are."""
        return self._usual.is_known or not self._may_begin_late

    def take(self, event_ms: int, received_ns: int, now_ns: int) -> None:
        """Learn from an event that arrives at `now_ns`; events come in the order of their ids.

        `received_ns` is when a recorder received it, by its own clock; 0 if unknown.
        """
        delay_ns = now_ns - event_ms * _NS_A_MS
        before_ms, before_ns = self._event_ms, self._delay_ns
        self._event_ms, self._delay_ns = event_ms, delay_ns
        usual_ns = self._usual.ns
        is_played = received_ns - event_ms * _NS_A_MS > _PLAYED_AGE_NS
        if not self._usual.is_known:
            self._begin(delay_ns, now_ns, is_played=is_played)
        if not before_ms:
            return
        if self._is_of_one:
            self._is_of_one = False
            self._usual.set(max(delay_ns, before_ns), now_ns)
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
        self._usual.take(reached_ns, now_ns, is_played=is_played)

    def _begin(self, delay_ns: int, now_ns: int, *, is_played: bool) -> None:
        """Learn from an event that comes while the usual delay is not known."""
        if not self._may_begin_late:
            self._is_of_one = self._usual.is_known = True
            self._usual.set(delay_ns, now_ns)
        elif self._first_delays.are_steady(delay_ns, now_ns, is_played=is_played):
            self._usual.is_known = True

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


class BookAge:
    """Tells up to which time a book is known: from the request for it, and from its events.

    Times are by the clock of the arrivals that `punctuality` is told.
    """

    def __init__(self, punctuality: Punctuality) -> None:
        self._punctuality = punctuality
        self._asked_ns = self._fresh_ns = 0
        self._newest_ms = self._arrived_ns = 0

    def load(self, event_ms: int, asked_ns: int) -> None:
        """Begin with a book that was asked for at `asked_ns`.

        `event_ms` is the time of its last event. It is 0 for a book of the exchange, which is
        newer than the request.
        """
        self._asked_ns = asked_ns
        self._fresh_ns = 0 if event_ms else asked_ns
        self._newest_ms, self._arrived_ns = event_ms, asked_ns if event_ms else 0

    def take(self, event_ms: int, arrived_ns: int) -> None:
        """Take an event of the book; one that came before makes the book no older."""
        if self._due_ns(event_ms, arrived_ns) >= self._due_ns(self._newest_ms, self._arrived_ns):
            self._newest_ms, self._arrived_ns = event_ms, arrived_ns

    @property
    def as_of_ns(self) -> int:
        """The time up to which the book is known, 0 without a book.

        While it is not known how late the events are, this is when the book was asked for.
        """
        if not self._punctuality.is_known:
            return self._asked_ns
        return max(self._fresh_ns, self._due_ns(self._newest_ms, self._arrived_ns))

    def _due_ns(self, event_ms: int, arrived_ns: int) -> int:
        return self._punctuality.due_ns(event_ms, arrived_ns) if arrived_ns else 0


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
