from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from orderbook_desktop.core.time_text import (
    age_text,
    clock_text,
    date_text,
    duration_text,
    moment_text,
    recent_text,
    time_of_day_text,
    time_text,
)

_MS = 1_723_113_000_123  # 2024-08-08 10:30:00.123 UTC
_HOUR_MS = 3_600_000
BEYOND = 2**62


def test_a_time_says_its_offset() -> None:
    moment = datetime.fromisoformat(time_text(_MS))
    assert moment == datetime(2024, 8, 8, 10, 30, 0, 123_000, UTC)
    assert datetime.fromisoformat(time_text(-1)) == datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)


def test_the_time_of_day_names_its_zone() -> None:
    zone = timezone(timedelta(hours=2), "CEST")
    assert time_of_day_text(_MS, zone) == "12:30:00.123 CEST"
    assert len(time_of_day_text(_MS).split()) == 2
    assert clock_text(_MS, zone) == "12:30:00.123"
    assert date_text(_MS, zone) == "8 Aug 2024"
    assert moment_text(_MS, zone) == "8 Aug 2024 12:30:00.123 CEST"


def test_another_day_is_told_with_the_time() -> None:
    today = recent_text(_MS, _MS)
    assert len(today) == len("10:30:00")
    assert recent_text(_MS, _MS + 48 * _HOUR_MS).endswith(today[:5])
    assert " Aug " in recent_text(_MS, _MS + 48 * _HOUR_MS)


def test_a_time_beyond_the_calendar_is_shown_as_it_is() -> None:
    assert time_text(BEYOND) == time_of_day_text(BEYOND) == recent_text(BEYOND, 0) == str(BEYOND)
    assert clock_text(BEYOND) == date_text(BEYOND) == moment_text(BEYOND) == str(BEYOND)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        *((0, "0:00:00.000"), (59_999, "0:00:59.999"), (86_399_999, "23:59:59.999")),
        *((86_400_000, "1 day 0:00:00.000"), (93_787_250, "1 day 2:03:07.250")),
        (72_913_088_127, "843 days 21:38:08.127"),
    ],
)
def test_durations(ms: int, text: str) -> None:
    assert duration_text(ms) == text


@pytest.mark.parametrize(
    ("age_ms", "text"),
    [
        *((0, "0.0 s"), (99, "0.0 s"), (100, "0.1 s"), (299, "0.2 s"), (9_999, "9.9 s")),
        *((10_000, "10 s"), (119_999, "119 s"), (120_000, "2 min"), (179_999, "2 min")),
        *((7_199_999, "119 min"), (7_200_000, "2 h"), (172_799_999, "47 h")),
        *((172_800_000, "2 days"), (360_000_000, "4 days")),
    ],
)
def test_ages(age_ms: int, text: str) -> None:
    assert age_text(age_ms) == text
