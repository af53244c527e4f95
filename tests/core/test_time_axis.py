"""The marks of an axis of time are round in their zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from orderbook_desktop.core.time_axis import axis_ticks

_BEGIN = int(datetime(2024, 8, 8, 6, 53, 20, tzinfo=UTC).timestamp()) * 1_000


def texts(length_ms: int, most: int = 6) -> list[str]:
    return [tick.text for tick in axis_ticks(_BEGIN, _BEGIN + length_ms, most, UTC)]


@pytest.mark.parametrize(
    ("length_ms", "first", "count"),
    [
        (1_000, "06:53:20.000", 6),
        (60_000, "06:53:30", 4),
        (3_600_000, "07:00", 4),
        (86_400_000, "12:00", 4),
        (6 * 86_400_000, "9 Aug 2024", 3),
        (400 * 86_400_000, "24 Oct 2024", 2),
    ],
)
def test_marks_are_round_and_few(length_ms: int, first: str, count: int) -> None:
    found = texts(length_ms)
    assert found[0] == first
    assert len(found) == count


def test_midnight_has_the_date() -> None:
    assert texts(86_400_000) == ["12:00", "18:00", "9 Aug 2024", "06:00"]


def test_a_zone_that_is_no_whole_hour_away_has_round_times_of_its_own() -> None:
    zone = timezone(timedelta(hours=5, minutes=45))
    found = axis_ticks(_BEGIN, _BEGIN + 4 * 3_600_000, 5, zone)
    assert [tick.text for tick in found] == ["13:00", "14:00", "15:00", "16:00"]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (datetime(2026, 3, 29, tzinfo=UTC), ["06:00", "12:00", "18:00", "30 Mar 2026"]),
        (datetime(2026, 10, 25, tzinfo=UTC), ["06:00", "12:00", "18:00", "26 Oct 2026"]),
    ],
)
def test_marks_stay_round_where_the_clocks_are_turned(day: datetime, expected: list[str]) -> None:
    begin = int(day.timestamp()) * 1_000
    found = axis_ticks(begin, begin + 86_400_000, 6, ZoneInfo("Europe/Berlin"))
    assert [tick.text for tick in found if tick.text != "00:00"][: len(expected)] == expected


def test_no_two_marks_are_at_the_same_time() -> None:
    begin = int(datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()) * 1_000
    found = axis_ticks(begin, begin + 8 * 3_600_000, 20, ZoneInfo("Europe/Berlin"))
    times = [tick.at_ms for tick in found]
    assert times == sorted(set(times))


def test_beyond_the_calendar_there_is_no_mark() -> None:
    assert axis_ticks(10**17, 10**17 + 1_000, 5, UTC) == []
