"""A typed moment is a time, a distance or an update id, and what is none says which are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.replay_times import NoMoment, SkippedTime, UpdateId, parse_moment
from orderbook_desktop.core.time_text import time_of_day_text, time_text

_BERLIN = ZoneInfo("Europe/Berlin")
_NS_A_MS = 1_000_000


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


_NOW_MS = _ms("2026-11-30T21:00:00.500+00:00")
_NEAR_MS = _ms("2026-11-12T23:30:00+00:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14:05", "2026-11-12T14:05Z"),
        (" 14:05:30.25 ", "2026-11-12T14:05:30.250Z"),
        ("9:00 utc", "2026-11-12T09:00Z"),
        ("00:30+01:00", "2026-11-12T23:30Z"),
        ("00:30-0330", "2026-11-12T04:00Z"),
        ("yesterday 9:00", "2026-11-29T09:00Z"),
        ("Yesterday", "2026-11-29T00:00Z"),
        ("today, 9:00", "2026-11-30T09:00Z"),
        ("now", "2026-11-30T21:00:00.500Z"),
        ("2026-11-29 09:00:00.250+01:00", "2026-11-29T08:00:00.250Z"),
        ("2026-11-29T09:00Z", "2026-11-29T09:00Z"),
        ("2026-11-29", "2026-11-29T00:00Z"),
        ("29 Nov 9:00", "2026-11-29T09:00Z"),
        ("5 january 2025", "2025-01-05T00:00Z"),
        ("-5m", "2026-11-12T23:25Z"),
        ("\N{MINUS SIGN}5 min", "2026-11-12T23:25Z"),
        ("+1h30m", "2026-11-13T01:00Z"),
        ("-1d 2.5s", "2026-11-11T23:29:57.500Z"),
        ("+250ms", "2026-11-12T23:30:00.250Z"),
        ("1764504000250", "2025-11-30T12:00:00.250Z"),
        ("1764504000250000", "2025-11-30T12:00:00.250Z"),
        ("1764504000250000000", "2025-11-30T12:00:00.250Z"),
        ("1969-12-31 23:59Z", "1969-12-31T23:59Z"),
    ],
)
def test_times_and_distances(text: str, expected: str) -> None:
    found = parse_moment(text, now_ms=_NOW_MS, zone=UTC, near_ms=_NEAR_MS)
    assert found == _ms(expected) * _NS_A_MS


def test_a_time_is_exact_to_the_nanosecond() -> None:
    found = parse_moment("14:05:30.123456789", now_ms=_NOW_MS, zone=UTC)
    assert found == _ms("2026-11-30T14:05:30Z") * _NS_A_MS + 123_456_789
    assert parse_moment("-0.000000001s", now_ms=_NOW_MS) == _NOW_MS * _NS_A_MS - 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0", 0), ("72884511253", 72884511253), ("72,884,511,253", 72884511253)),
        *(("#1764504000250", 1764504000250), ("id 20260101", 20260101), ("U 7", 7)),
    ],
)
def test_update_ids(text: str, number: int) -> None:
    assert parse_moment(text, now_ms=_NOW_MS) == UpdateId(number)


def test_the_day_is_that_on_screen_in_its_zone() -> None:
    found = parse_moment("00:15", now_ms=_NOW_MS, zone=_BERLIN, near_ms=_NEAR_MS)
    assert found == _ms("2026-11-13T00:15+01:00") * _NS_A_MS
    found = parse_moment("00:15", now_ms=_NOW_MS, zone=_BERLIN)
    assert found == _ms("2026-11-30T00:15+01:00") * _NS_A_MS


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone is the computer's")
def test_without_a_zone_it_is_local(in_berlin: None) -> None:
    assert parse_moment("9:00", now_ms=_NOW_MS) == _ms("2026-11-30T08:00Z") * _NS_A_MS
    twice = parse_moment("2026-10-25 02:30 CEST", now_ms=_NOW_MS)
    assert twice == _ms("2026-10-25T00:30Z") * _NS_A_MS
    with pytest.raises(SkippedTime):
        parse_moment("2026-03-29 02:30", now_ms=_NOW_MS)


def test_a_time_that_came_twice_is_the_named_or_the_nearer_one() -> None:
    first, second = _ms("2026-10-25T00:30Z"), _ms("2026-10-25T01:30Z")

    def parsed(text: str, near_ms: int) -> int | UpdateId:
        return parse_moment(text, now_ms=_NOW_MS, zone=_BERLIN, near_ms=near_ms)

    assert parsed("02:30", first - 5) == first * _NS_A_MS
    assert parsed("02:30", second + 5) == second * _NS_A_MS
    assert parsed("02:30 cet", first) == second * _NS_A_MS
    assert parsed("02:30 CEST", second) == first * _NS_A_MS


def test_a_time_that_the_clocks_skipped_is_told() -> None:
    with pytest.raises(SkippedTime) as raised:
        parse_moment("2026-03-29 2:30", now_ms=_NOW_MS, zone=_BERLIN)
    assert str(raised.value) == (
        "There was no 02:30:00 on 2026-03-29: the clocks were put forward over it; choose another "
        "time, or UTC."
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "noon", "25:00", "9:60", "2026-13-01", "31 Nov", "5 xyz", "5 Nov 9", ", 9:00"),
        *("2026-11-29, ", "9:00 CEST", "9:00+99:00", "-5", "5m", "-5y", "1" * 14, "#", "9" * 20),
        *("9223372036854775808", "0001-01-01", "9999-12-31", "-999999999d"),
        *(
            "2026-11-2909:00",
            "14:05:30.0123456789",
            "\N{ARABIC-INDIC DIGIT ONE}",
            "#9999999999999999999",
        ),
    ],
)
def test_what_is_no_moment_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(NoMoment) as raised:
        parse_moment(text, now_ms=_NOW_MS, zone=_BERLIN)
    assert str(raised.value) == (
        f"{text!r} is not a time such as 14:05:30.250, yesterday 9:00, 2026-11-29 09:00Z or -5m, "
        "nor an update id."
    )


@given(st.integers(-(2**41), 2**42))
def test_a_shown_time_can_be_typed(at_ms: int) -> None:
    assert parse_moment(time_text(at_ms), now_ms=_NOW_MS) == at_ms * _NS_A_MS
    for zone in (UTC, _BERLIN, timezone(timedelta(hours=-3, minutes=-30), "NST")):
        shown = time_of_day_text(at_ms, zone)
        assert parse_moment(shown, now_ms=_NOW_MS, zone=zone, near_ms=at_ms) == at_ms * _NS_A_MS


@given(st.text(max_size=20))
def test_any_text_is_a_moment_or_is_refused(text: str) -> None:
    with contextlib.suppress(NoMoment, SkippedTime):
        parse_moment(text, now_ms=_NOW_MS, zone=_BERLIN)
