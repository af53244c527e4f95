"""Event times: their unit, by the number of their digits, and times that cannot be true.

An exchange that is asked for milliseconds may send microseconds, in all events or in one. An event
may be dated years away. The event's text keeps the time that was sent. This module decides which
time counts: it is in milliseconds, and where the sent time contradicts both the earlier events and
the time of receipt, the latest earlier time counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import numpy as np
from msgspec import Struct, field

from orderbook_desktop.core.levels import Int64Array

# Around now, a time has 10 digits in seconds, 13 in milliseconds, 16 in microseconds and 19 in
# nanoseconds. This holds from September 2001 to November 2286.
_UNITS: Final = ((10, "seconds"), (16, "microseconds"), (19, "nanoseconds"))
_find_time: Final = re.compile(rb'"E"\s*:\s*([0-9]{1,19})[^0-9]').search
_HELD: Final = "Some events have impossible times; each gets the time of the event before it."
NS_A_MS: Final = 1_000_000
US_A_MS: Final = 1_000
# A slow network and a clock that is never set are off by less; a market is quiet for longer.
_NEAR_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_YEAR_MS: Final = 365 * _DAY_MS
_CONFIRMED_BY: Final = 9
# The highest speed at which a capture is played.
_FASTEST_PLAY: Final = 1000
# No exchange that sends order books as JSON is older; times in ms have 13 digits from here on.
EARLIEST_MS: Final = 10**12


def in_ms(time: int) -> int:
    """Return `time` in milliseconds since the epoch; the number of its digits gives its unit."""
    if EARLIEST_MS <= time < 10 * EARLIEST_MS:
        return time
    match len(str(time)):
        case 10:
            return time * 1000
        case 16:
            return time // 1000
        case 19:
            return time // NS_A_MS
        case _:
            return time


def in_ms_and_us(time: int) -> tuple[int, int]:
    """Return `in_ms` of `time`, and the microseconds that follow it."""
    time_ms = in_ms(time)
    if time_ms == time:
        return time, 0
    match len(str(time)):
        case 16:
            return time_ms, time % US_A_MS
        case 19:
            return time_ms, time % NS_A_MS // US_A_MS
        case _:
            return time_ms, 0


def unit_of(time: int) -> str:
    """Return the unit of `time` in the plural where it isn't milliseconds, else nothing."""
    return dict(_UNITS).get(len(str(time)), "")


def all_in_ms(times: Int64Array) -> Int64Array:
    """Return `in_ms` of each of `times`; `times` itself where no time changes."""
    is_odd = (times < EARLIEST_MS) | (times >= 10 * EARLIEST_MS)
    if not is_odd.any():
        return times
    return np.array([in_ms(time) for time in times.tolist()], dtype=np.int64)


class EventClock(Struct):
    """The time of one market's events as they come in.

    A time is believed where it is near the latest earlier time, near its receipt, or as far from
    its receipt as the event before: then it does not matter which clock is right. A time within a
    day of its receipt is believed once the next event confirms it, and any other time once nine
    more events confirm it: an exchange that plays a capture of years ago has a clock of its own.
    With such an exchange, a time is also believed that is as far ahead as a capture can be played
    meanwhile, so that the first event after a gap ends the gap. Every other event gets the latest
    earlier time, and the very first event the time of its receipt. Once a time was believed, no
    time is believed that is more than a day ahead of both the latest time and its receipt.

    A reader of a file can `look_ahead`. Then the first time counts only if it is as near its
    receipt, or as far from it, as those after it.
    """

    latest_ms: int = 0
    _offset_ms: int | None = None
    _doubted_ms: int | None = None
    _doubts: int = 0
    _received_ms: int = 0
    _next_offset_ms: int | None = None

    def look_ahead(self, times: Iterable[tuple[int, int]]) -> None:
        """Take times (ms) and receipts (ns) of events after the first one, before that one."""
        offsets = sorted(event_ms - received_ns // NS_A_MS for event_ms, received_ns in times)
        if offsets:
            self._next_offset_ms = offsets[len(offsets) // 2]

    def time_of(self, event_ms: int, received_ns: int) -> int:
        """Return the time that counts for the next event; `received_ns` is 0 where unknown."""
        received_ms = received_ns // NS_A_MS
        offset_ms = event_ms - received_ms if received_ns else None
        is_near = bool(self.latest_ms) and abs(event_ms - self.latest_ms) <= _NEAR_MS
        is_believed = is_near or self._is_believed(event_ms, offset_ms, received_ms)
        self._received_ms = received_ms
        if is_believed:
            self._offset_ms, self._doubted_ms, self._doubts = offset_ms, None, 0
            # A believed time that is much earlier shows that the times before it were wrong.
            self.latest_ms = max(self.latest_ms, event_ms) if is_near else event_ms
            return event_ms
        is_same = _is_near(offset_ms, self._doubted_ms)
        self._doubts = self._doubts + 1 if is_same else 1
        self._doubted_ms = offset_ms
        if not self.latest_ms:
            self.latest_ms = received_ms
        return self.latest_ms

    def _is_believed(self, event_ms: int, offset_ms: int | None, received_ms: int) -> bool:
        """Whether a time is believed although it is not near the latest one."""
        if not self.latest_ms:
            return self._may_begin(event_ms, offset_ms, received_ms)
        if offset_ms is None:
            return abs(event_ms - self.latest_ms) <= _DAY_MS
        if abs(offset_ms) <= _NEAR_MS or _is_near(offset_ms, self._offset_ms):
            return True
        is_played = self._offset_ms is not None and self._offset_ms < -_DAY_MS and offset_ms < 0
        played_ms = _FASTEST_PLAY * (received_ms - self._received_ms)
        if is_played and 0 < event_ms - self.latest_ms <= played_ms:
            return True
        if self._offset_ms is not None and min(offset_ms, event_ms - self.latest_ms) > _DAY_MS:
            # The clocks have agreed on the present, so no event is of the future.
            return False
        enough = 1 if is_played or abs(offset_ms) <= _DAY_MS else _CONFIRMED_BY
        is_confirmed = self._doubts >= enough and _is_near(offset_ms, self._doubted_ms)
        return is_confirmed and event_ms >= EARLIEST_MS

    def _may_begin(self, event_ms: int, offset_ms: int | None, received_ms: int) -> bool:
        """Whether a time is believed that is the first one."""
        is_present = EARLIEST_MS <= event_ms < 10 * EARLIEST_MS
        if is_present and received_ms < EARLIEST_MS:
            # The computer's clock was never set, or counts from its start.
            return True
        next_ms = self._next_offset_ms
        if is_present and _is_near(offset_ms, next_ms):
            return True
        if (
            next_ms is not None
            and offset_ms is not None
            and abs(next_ms) <= _DAY_MS < abs(offset_ms)
        ):
            return False
        # The time of a played capture is long ago, but never in the future.
        ahead_ms = offset_ms or 0
        return ahead_ms <= _YEAR_MS and (event_ms >= EARLIEST_MS or ahead_ms >= -_YEAR_MS)


def _is_near(offset_ms: int | None, other_ms: int | None) -> bool:
    return None not in (offset_ms, other_ms) and abs((offset_ms or 0) - (other_ms or 0)) <= _NEAR_MS


def is_far_off(event_ms: int, received_ns: int) -> bool:
    """Return whether a time is more than a day from its receipt."""
    return abs(event_ms - received_ns // NS_A_MS) > _DAY_MS


class OddTimes(Struct):
    """What was odd about the times of a market's events, each kind reported once.

    `converted` counts the events that were not dated in milliseconds, `held` the events that got
    the latest earlier time in place of their own.
    """

    converted: int = 0
    held: int = 0
    _units: dict[str, None] = field(default_factory=dict)

    def take(self, payload: bytes, sent_ms: int, counted_ms: int) -> str | None:
        """Take an event; return a sentence where it is the first of its kind.

        `payload` is its text, `sent_ms` the time that was sent, `counted_ms` the time that counts.
        """
        found = _find_time(payload)
        unit = unit_of(int(found[1])) if found is not None else ""
        news = None
        if unit:
            self.converted += 1
            if unit not in self._units:
                self._units[unit] = None
                news = self._of_units()
        if counted_ms != sent_ms:
            self.held += 1
            if self.held == 1:
                news = _HELD
        return news

    @property
    def sentence(self) -> str:
        """All of it, or empty."""
        sentences = (self._of_units() if self._units else "", _HELD if self.held else "")
        return " ".join(filter(None, sentences))

    def _of_units(self) -> str:
        units = " and ".join(self._units)
        return f"Some events are dated in {units}; they are counted in milliseconds."


def may_count(counted_ms: int, sent_ms: int, received_ns: int) -> bool:
    """Return whether `EventClock` may have replaced the time that was sent by another one."""
    if abs(sent_ms - counted_ms) <= _NEAR_MS:
        return False
    return not received_ns or abs(sent_ms - received_ns // NS_A_MS) > _NEAR_MS


def stored_times(stored: Int64Array, received_ns: Int64Array, before_ms: int) -> Int64Array:
    """Return the times that count for stored events, in their order.

    `stored` are the times in the database, `before_ms` is the time of the book before them (0:
    unknown). This version stores the times that count; an earlier version stored the times that
    were sent. A time more than a day from both its receipt and the latest earlier time counts as
    late as the latter.
    """
    times = all_in_ms(stored)
    before = in_ms(before_ms)
    far = np.abs(times - received_ns // NS_A_MS) > _DAY_MS
    if not far.any():
        return times
    found: list[int] = []
    for time, is_far in zip(times.tolist(), far.tolist(), strict=True):
        if is_far and before and abs(time - before) > _DAY_MS:
            found.append(before)
        else:
            found.append(time)
            before = max(before, time)
    return np.array(found, dtype=np.int64)
