"""The moments of a recording that a person types: a time, a distance in time, or an update id."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import EARLIEST_MS, NS_A_MS
from orderbook_desktop.core.foreign_text import quoted
from orderbook_desktop.core.units import INT64_MAX

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS_A_S: Final = 1_000_000_000
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_NS_A_UNIT: Final = {
    "ms": NS_A_MS,
    "s": _NS_A_S,
    "m": 60 * _NS_A_S,
    "min": 60 * _NS_A_S,
    "h": 3_600 * _NS_A_S,
    "d": 86_400 * _NS_A_S,
}
_NUMBER: Final = re.compile(
    r"(?P<marked>#|id\s+|u\s+)?(?P<digits>\d{1,3}(,\d{3})+|\d{1,19})", re.IGNORECASE
)
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|min|s|m|h|d)\s*", re.IGNORECASE)
_DISTANCE: Final = re.compile(rf"(?P<sign>[-+])\s*(?P<parts>({_PART.pattern})+)", re.IGNORECASE)
_MOMENT: Final = re.compile(
    r"""
    (?: (?P<iso> \d{4}-\d{1,2}-\d{1,2} )
      | (?P<day> \d{1,2} ) \s+ (?P<month> [a-z]{3,9} ) (?: \s+ (?P<year> \d{4} ) )?
      | (?P<word> today | yesterday )
    )?
    (?P<between> \s* [t,\s] \s* )?
    (?: (?P<hour> \d{1,2} ) : (?P<minute> \d{2} )
        (?: : (?P<second> \d{2} ) (?: \. (?P<fraction> \d{1,9} ) )? )?
        (?: \s* (?P<offset> z | [-+]\d{2}:?\d{2} ) | \s+ (?P<zone> [a-z]{2,6} ) )?
    )?
    """,
    re.IGNORECASE | re.VERBOSE,
)


class NoMoment(KnownError):
    """`text` is no moment."""

    text: str

    def __str__(self) -> str:
        return (
            f"{quoted(self.text)} is not a time such as 14:05:30.250, yesterday 9:00, 2026-11-29 "
            "09:00Z or -5m, nor an update id."
        )


class SkippedTime(KnownError):
    """`text` names a time of day that the clocks skipped on the day `day`."""

    text: str
    day: str

    def __str__(self) -> str:
        return (
            f"There was no {self.text} on {self.day}: the clocks were put forward over it; choose "
            "another time, or UTC."
        )


class UpdateId(Struct, frozen=True):
    """The moment of the book with the update id `number`."""

    number: int


def parse_moment(
    text: str, *, now_ms: int, zone: tzinfo | None = None, near_ms: int | None = None
) -> int | UpdateId:
    """Return the moment that `text` names: ns since the epoch, or an update id.

    - A time of day, as in `14:05` or `14:05:30.250`, is one of the day on which `near_ms` is, the
      moment on screen (None: `now_ms`). It may come after a date (`2026-11-29`, `29 Nov`, `29 Nov
      2026`) or after `today` or `yesterday`, as at `now_ms`; without it the day begins.
    - It is in `zone` (None: local), unless an offset, `Z` or `UTC` follows. Of two such times, when
      the clocks are put back, it is the one that its zone's name tells, else the one nearer to
      `near_ms`.
    - A distance, as in `-5m`, `+1h30m` or `-250ms`, is from `near_ms`. `now` is `now_ms`.
    - A number is an update id, or from 13 digits on ms, us or ns since 1970; `#` before it says
      that it is an update id.

    Raises `NoMoment` and `SkippedTime`.
    """
    typed = " ".join(text.replace("\N{MINUS SIGN}", "-").split())
    near_ms = now_ms if near_ms is None else near_ms
    if not typed.isascii():
        raise NoMoment(text)
    if typed.lower() == "now":
        return now_ms * NS_A_MS
    if number := _NUMBER.fullmatch(typed):
        return _numbered(text, int(number["digits"].replace(",", "")), bool(number["marked"]))
    if distance := _DISTANCE.fullmatch(typed):
        sign = -1 if distance["sign"] == "-" else 1
        return _fitting(text, near_ms * NS_A_MS + sign * _length_ns(distance["parts"]))
    moment = _MOMENT.fullmatch(typed)
    if moment is None:
        raise NoMoment(text)
    return _fitting(text, _at(text, moment, now_ms, near_ms, zone))


def _numbered(text: str, number: int, is_id: bool) -> int | UpdateId:
    if is_id or number < EARLIEST_MS:
        if number > INT64_MAX:
            raise NoMoment(text)
        return UpdateId(number)
    # The number of digits tells the unit: ms, us or ns.
    factor = {13: NS_A_MS, 16: 1_000, 19: 1}.get(len(str(number)))
    if factor is None:
        raise NoMoment(text)
    return _fitting(text, number * factor)


def _length_ns(parts: str) -> int:
    return sum(
        int(Decimal(count) * _NS_A_UNIT[unit.lower()]) for count, unit in _PART.findall(parts)
    )


def _fitting(text: str, at_ns: int) -> int:
    if abs(at_ns) > INT64_MAX:
        raise NoMoment(text)
    return at_ns


def _at(text: str, moment: re.Match[str], now_ms: int, near_ms: int, zone: tzinfo | None) -> int:
    """Return the time that `moment` names, in ns."""
    has_date = moment["iso"] or moment["day"] or moment["word"]
    has_time = moment["hour"]
    if not (has_date or has_time) or bool(moment["between"]) is not bool(has_date and has_time):
        raise NoMoment(text)
    named = (moment["zone"] or "").upper()
    try:
        if moment["offset"] or named in {"UTC", "GMT"}:
            zone, named = _offset(moment["offset"] or "Z"), ""
        hour, minute, second = (int(moment[name] or 0) for name in ("hour", "minute", "second"))
        wall = datetime.combine(_day(moment, now_ms, near_ms, zone), time(hour, minute, second))
        found = _instants(wall, zone, named)
    except (ValueError, OverflowError, OSError) as error:
        raise NoMoment(text) from error
    if not found:
        raise NoMoment(text) if named else SkippedTime(f"{wall:%H:%M:%S}", f"{wall:%Y-%m-%d}")
    rest_ns = int((moment["fraction"] or "").ljust(9, "0"))
    times_ns = [seconds * _NS_A_S + rest_ns for seconds in found]
    return min(times_ns, key=lambda at_ns: abs(at_ns - near_ms * NS_A_MS))


def _offset(text: str) -> tzinfo:
    """Return the zone that is so far from UTC: `Z`, `+01:00` or `-0330`."""
    if text in {"Z", "z"}:
        return UTC
    digits = text[1:].replace(":", "")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-away if text[0] == "-" else away)


def _day(moment: re.Match[str], now_ms: int, near_ms: int, zone: tzinfo | None) -> date:
    """Return the day that `moment` names, else that of `near_ms`. Raises `ValueError`."""
    if moment["iso"]:
        year, month, day = map(int, moment["iso"].split("-"))
        return date(year, month, day)
    if moment["word"]:
        today = _date_at(now_ms, zone)
        return today - timedelta(days=moment["word"].lower() == "yesterday")
    near = _date_at(near_ms, zone)
    if moment["day"]:
        named = [name.startswith(moment["month"].lower()) for name in _MONTHS]
        return date(int(moment["year"] or near.year), named.index(True) + 1, int(moment["day"]))
    return near


def _date_at(ms: int, zone: tzinfo | None) -> date:
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(zone).date()


def _instants(wall: datetime, zone: tzinfo | None, named: str) -> list[int]:
    """Return when the clocks of `zone`, called `named` if that is given, showed `wall`.

    In seconds since the epoch: none, one, or two where they were put back.
    """
    found: list[int] = []
    for fold in (0, 1):
        shown = wall.replace(fold=fold, tzinfo=zone)
        instant = shown.astimezone(UTC)
        local = instant.astimezone(zone)
        is_named = not named or (local.tzname() or "").upper() == named
        if is_named and local.replace(tzinfo=None, fold=0) == wall:
            found.append((instant - _EPOCH) // timedelta(seconds=1))
    return found
