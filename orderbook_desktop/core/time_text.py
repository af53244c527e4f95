"""Times as window, commands and messages write them: local, with the zone where it matters."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final

from orderbook_desktop.core.wording import counted

_DAY_S: Final = 86_400


def time_text(ms: int, zone: tzinfo | None = None) -> str:
    """Return `ms` since the epoch in `zone` (default: local): `2026-01-05 09:00:00.250+01:00`.

    Beyond the years that a calendar knows it is the number itself.
    """
    moment = _moment(ms, zone)
    return str(ms) if moment is None else moment.isoformat(" ", "milliseconds")


def time_of_day_text(ms: int, zone: tzinfo | None = None) -> str:
    """Return the time of day in `zone` (default: local), with it: `09:00:00.250 CET`."""
    moment = _moment(ms, zone)
    return str(ms) if moment is None else f"{_clock(moment, ms)} {moment:%Z}"


def clock_text(ms: int, zone: tzinfo | None = None) -> str:
    """Return the time of day in `zone` (default: local), without it: `09:00:00.250`."""
    moment = _moment(ms, zone)
    return str(ms) if moment is None else _clock(moment, ms)


def date_text(ms: int, zone: tzinfo | None = None) -> str:
    """Return the date in `zone` (default: local): `5 Jan 2026`."""
    moment = _moment(ms, zone)
    return str(ms) if moment is None else f"{moment.day} {moment:%b %Y}"


def moment_text(ms: int, zone: tzinfo | None = None) -> str:
    """Return date and time in `zone` (default: local), with it: `5 Jan 2026 09:00:00.250 CET`."""
    moment = _moment(ms, zone)
    return str(ms) if moment is None else f"{date_text(ms, zone)} {_clock(moment, ms)} {moment:%Z}"


def recent_text(ms: int, now_ms: int, zone: tzinfo | None = None) -> str:
    """Return the time of day, or date and time where that is another day than at `now_ms`.

    They are in `zone` (default: local).
    """
    moment, now = _moment(ms, zone), _moment(now_ms, zone)
    if moment is None or now is None:
        return str(ms)
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%d %b %H:%M}"


def duration_text(ms: int) -> str:
    """Return a length of time to the ms: `2:03:07.250`, or `1 day 2:03:07.250`."""
    seconds, rest = divmod(ms, 1_000)
    days, seconds = divmod(seconds, _DAY_S)
    text = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"
    return f"{counted(days, 'day')} {text}" if days else text


def age_text(age_ms: int) -> str:
    """Return an age in whole units, rounded down: `0.2 s`, `12 s`, `3 min`, `2 h`, `3 days`."""
    if age_ms < 10_000:
        return f"{age_ms // 1000}.{age_ms % 1000 // 100} s"
    seconds = age_ms // 1000
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7_200:
        return f"{seconds // 60} min"
    return f"{seconds // 3_600} h" if seconds < 2 * _DAY_S else f"{seconds // _DAY_S:,} days"


def _clock(moment: datetime, ms: int) -> str:
    return f"{moment:%H:%M:%S}.{ms % 1_000:03d}"


def _moment(ms: int, zone: tzinfo | None = None) -> datetime | None:
    seconds, rest = divmod(ms, 1_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.replace(microsecond=rest * 1_000)
