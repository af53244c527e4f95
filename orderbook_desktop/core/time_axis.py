"""The marks of an axis of time: round times of day, or days, in some zone."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final, NamedTuple

from orderbook_desktop.core.time_text import clock_text, date_text

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_STEPS_MS: Final = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(_SECOND * count for count in (1, 2, 5, 10, 15, 30)),
    *(_MINUTE * count for count in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * count for count in (1, 2, 3, 6, 12)),
    *(_DAY * count for count in (1, 2, 7, 14, 28, 56, 182, 364, 3_640, 36_400)),
)


class Tick(NamedTuple):
    """A mark at `at_ms` with its text."""

    at_ms: int
    text: str


def axis_ticks(from_ms: int, to_ms: int, most: int, zone: tzinfo | None = None) -> list[Tick]:
    """Return at most `most` marks from `from_ms` to `to_ms`, in `zone` (default: local).

    They are round in that zone, also where its clocks are turned within that time. At midnight the
    text is the date. Beyond the years that a calendar knows there is no mark.
    """
    step = next((step for step in _STEPS_MS if (to_ms - from_ms) // step < most), _STEPS_MS[-1])
    ticks: list[Tick] = []
    at = from_ms - 1
    try:
        while (at := _next(at, step, zone)) <= to_ms:
            ticks.append(Tick(at, _text(at, step, zone)))
    except (ValueError, OverflowError, OSError):
        return []
    return ticks[:most]


def _next(after_ms: int, step: int, zone: tzinfo | None) -> int:
    """Return the first time after `after_ms` that is a multiple of `step` in `zone`."""
    offset = _offset(after_ms, zone)
    at = ((after_ms + offset) // step + 1) * step - offset
    # Where the clocks are turned in between, the round time comes earlier or later by that.
    turned = offset - _offset(at, zone)
    return at + turned if at + turned > after_ms else at


def _offset(ms: int, zone: tzinfo | None) -> int:
    moment = datetime.fromtimestamp(ms // 1_000, UTC).astimezone(zone)
    offset = moment.utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1_000)


def _text(ms: int, step: int, zone: tzinfo | None) -> str:
    clock = clock_text(ms, zone)
    if step >= _DAY or clock == "00:00:00.000":
        return date_text(ms, zone)
    if step >= _MINUTE:
        return clock[:5]
    return clock[:8] if step >= _SECOND else clock
