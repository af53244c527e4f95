from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.event_times import (
    EventClock,
    OddTimes,
    all_in_ms,
    in_ms,
    in_ms_and_us,
    is_far_off,
    may_count,
    stored_times,
    unit_of,
)
from tests.core.reference_book import diff_payload

NOW = 1_767_225_600_000
HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("time", "ms", "unit"),
    [
        (NOW, NOW, ""),
        (NOW // 1000, NOW, "seconds"),
        (NOW * 1000 + 999, NOW, "microseconds"),
        (NOW * 10**6 + 1, NOW, "nanoseconds"),
        (0, 0, ""),
        (5, 5, ""),
        (12_345_678_901, 12_345_678_901, ""),
        (2**63 - 1, (2**63 - 1) // 10**6, "nanoseconds"),
    ],
)
def test_the_unit_is_told_by_the_digits(time: int, ms: int, unit: str) -> None:
    assert (in_ms(time), unit_of(time)) == (ms, unit)


@pytest.mark.parametrize(
    ("time", "micros"),
    [(NOW, 0), (NOW // 1000, 0), (NOW * 1000 + 999, 999), (NOW * 10**6 + 7_001, 7), (5, 0)],
)
def test_the_microseconds_that_follow(time: int, micros: int) -> None:
    assert in_ms_and_us(time) == (in_ms(time), micros)


@given(st.lists(st.integers(0, 2**63 - 1), max_size=20))
def test_arrays_are_converted_as_numbers_are(times: list[int]) -> None:
    array = np.array(times, dtype=np.int64)
    assert all_in_ms(array).tolist() == list(map(in_ms, times))


def counted(times: list[int], received: list[int] | None = None) -> list[int]:
    """What counts as `times`; they are received as they come, a tenth of a second apart."""
    came = received or [NOW + 100 * at for at in range(len(times))]
    clock = EventClock()
    return [clock.time_of(one, at * 10**6) for one, at in zip(times, came, strict=True)]


@pytest.mark.parametrize(
    "odd", [0, 1, NOW + 2 * HOUR, NOW - 2 * HOUR, NOW + 500 * DAY, NOW * 5, 2**63 - 1]
)
@pytest.mark.parametrize("at", [1, 2, 5])
def test_one_impossible_time_counts_as_late_as_the_one_before_it(odd: int, at: int) -> None:
    times = [NOW + 100 * one for one in range(6)]
    sent = [*times[:at], odd, *times[at + 1 :]]
    assert counted(sent) == [*times[:at], times[at - 1], *times[at + 1 :]]


@pytest.mark.parametrize("odd", [0, NOW + 500 * DAY])
def test_the_first_one_of_all_counts_as_late_as_it_was_received(odd: int) -> None:
    assert counted([odd, NOW + 100]) == [NOW, NOW + 100]


def looked_ahead(times: list[int], received: list[int]) -> list[int]:
    """What counts as `times`, if the three after the first one are looked at before."""
    clock = EventClock()
    pairs = [(one, at * 10**6) for one, at in zip(times, received, strict=True)]
    clock.look_ahead(pairs[1:4])
    return [clock.time_of(*pair) for pair in pairs]


@pytest.mark.parametrize("odd", [NOW - 15 * 365 * DAY, NOW - 2 * DAY, NOW + 2 * DAY, 0, NOW * 5])
def test_a_first_time_that_the_next_ones_contradict_counts_as_its_receipt(odd: int) -> None:
    now = [NOW + 100 * at for at in range(6)]
    assert looked_ahead([odd, *now[1:]], now) == now
    # Even if one of the next ones is odd, too.
    assert looked_ahead([odd, odd, *now[2:]], now) == [NOW, NOW, *now[2:]]
    assert looked_ahead([odd], [NOW])[0] in (odd, NOW)


@pytest.mark.parametrize("off", [-700 * DAY, 700 * DAY, 9_000 * DAY, -5 * HOUR, 5 * HOUR])
def test_a_first_time_that_the_next_ones_confirm_counts(off: int) -> None:
    """The collector's clock was years behind, or it collected a played capture."""
    now = [NOW + 100 * at for at in range(20)]
    times = [one + off for one in now]
    assert looked_ahead(times, now) == times


@pytest.mark.parametrize(("off", "is_far"), [(0, False), (DAY, False), (DAY + 1, True)])
def test_a_time_is_far_off_by_more_than_a_day(off: int, is_far: bool) -> None:
    assert is_far_off(NOW + off, NOW * 10**6) is is_far_off(NOW - off, NOW * 10**6) is is_far


def test_a_first_time_before_a_silence_of_a_played_capture_counts() -> None:
    times = [NOW - 700 * DAY, *(NOW - 700 * DAY + 600_000 + 100 * at for at in range(5))]
    received = [NOW + (one - times[0]) // 1_000 for one in times]
    assert looked_ahead(times, received) == times


def test_a_clock_of_its_own_is_believed_when_ten_events_agree() -> None:
    times = [NOW, *(NOW - 20 * DAY + one for one in range(50))]
    assert counted(times) == [NOW] * 10 + times[10:]


@pytest.mark.parametrize("ahead", [2 * DAY, 92_000 * DAY])
def test_a_time_to_come_is_never_believed_however_many_agree(ahead: int) -> None:
    now = [NOW + 100 * at for at in range(200)]
    sent = [one if at < 5 else one + ahead for at, one in enumerate(now)]
    assert counted(sent) == [*now[:5], *[now[4]] * 195]


def test_times_of_no_market_are_never_believed() -> None:
    assert counted([NOW, *range(50)]) == [NOW] * 51


@pytest.mark.parametrize("speed", [1, 20, 1000])
def test_a_capture_that_is_played_keeps_its_times(speed: int) -> None:
    long_ago = NOW - 700 * DAY
    times = [long_ago + 100 * one for one in range(300)]
    received = [NOW + 100 * one // speed for one in range(300)]
    assert counted(times, received) == times
    # Also where it lacks an hour: some events later.
    later = [*times, *(times[-1] + HOUR + 100 * one for one in range(100))]
    received = [NOW + 100 * one // speed for one in range(400)]
    found = counted(later, received)
    assert found[:300] == times
    assert found[310:] == later[310:]


@pytest.mark.parametrize("age", [2, 400, 6000])
@pytest.mark.parametrize("speed", [1, 10, 1000])
def test_the_first_event_after_a_gap_of_a_played_capture_ends_the_gap(age: int, speed: int) -> None:
    steps = [100 * one for one in range(20)]
    # Its collector was away for ten minutes, or the recorder was.
    times = [NOW - age * DAY + step + (600_000 if step > 900 else 0) for step in steps]
    received = [NOW + (one - times[0]) // speed for one in times]
    assert counted(times, received) == times


@pytest.mark.parametrize("odd", [0, 10 * DAY, 3 * HOUR, -3 * HOUR, -90 * DAY])
def test_one_impossible_time_of_a_played_capture_is_held(odd: int) -> None:
    times = [NOW - 700 * DAY + 100 * one for one in range(9)]
    sent = [*times[:4], times[4] + odd if odd else 0, *times[5:]]
    received = [NOW + 10 * one for one in range(9)]
    assert counted(sent, received) == [*times[:4], times[3], *times[5:]]


@pytest.mark.parametrize("wrong", [5 * HOUR, -5 * HOUR, 20 * DAY, -20 * DAY])
def test_a_wrong_clock_of_ours_makes_nothing_impossible(wrong: int) -> None:
    # Of a calm market, in which minutes pass between two events.
    times = [NOW + one * 17 * 60_000 for one in range(10)]
    assert counted(times, [one + wrong for one in times]) == times


@pytest.mark.parametrize("step", [3 * HOUR, -3 * HOUR])
def test_a_clock_of_ours_that_is_set_costs_one_calm_event_its_time(step: int) -> None:
    times = [NOW + one * 10 * 60_000 for one in range(10)]
    received = [one + (step if at > 4 else 0) for at, one in enumerate(times)]
    assert counted(times, received) == [*times[:5], times[4], *times[6:]]
    # Of a busy market none.
    busy = [NOW + one * 100 for one in range(10)]
    received = [one + (step if at > 4 else 0) for at, one in enumerate(busy)]
    assert counted(busy, received) == busy


def test_a_quiet_night_is_no_jump_and_small_steps_back_stay() -> None:
    times = [NOW, NOW + 9 * HOUR, NOW + 9 * HOUR - 3_000, NOW + 9 * HOUR + 1]
    assert counted(times, times) == times


def test_without_receipts_only_a_day_is_too_far() -> None:
    times = [NOW, NOW + 20 * HOUR, NOW + 60 * HOUR, NOW + 21 * HOUR]
    clock = EventClock()
    assert [clock.time_of(one, 0) for one in times] == [*times[:2], times[1], times[3]]


@pytest.mark.parametrize("began_ms", [0, 5, HOUR, 100 * DAY])
def test_a_clock_that_was_never_set_dates_no_event(began_ms: int) -> None:
    # The second half comes after an outage of days.
    passed = [100 * one + (3 * DAY if one > 5 else 0) for one in range(12)]
    times = [NOW + one for one in passed]
    assert counted(times, [began_ms + one for one in passed]) == times


@given(
    st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**63 - 1)), min_size=1, max_size=9)
)
def test_what_counts_never_needs_the_rule_again(pairs: list[tuple[int, int]]) -> None:
    clock = EventClock()
    times = [clock.time_of(one, received) for one, received in pairs]
    for (sent, received), time in zip(pairs, times, strict=True):
        assert time == sent or not received or may_count(time, sent, received)


def test_stored_times_of_an_earlier_version_are_mended() -> None:
    told = np.array([NOW, NOW * 1000 + 100_000, NOW + 400 * DAY, NOW + 300, 0, NOW + 500])
    received = (NOW + 100 * np.arange(6)) * 10**6
    expected = [NOW, NOW + 100, NOW + 100, NOW + 300, NOW + 300, NOW + 500]
    assert stored_times(told, received, 0).tolist() == expected
    # As they are, they stay.
    again = stored_times(np.array(expected), received, NOW)
    assert again.tolist() == expected


def test_what_is_odd_is_told_once_of_each_kind() -> None:
    odd = OddTimes()

    def take(sent: int, counts: int) -> str | None:
        payload = diff_payload([], []).replace(b"1700000000001", b"%d" % sent)
        return odd.take(payload, in_ms(sent), counts)

    assert take(NOW, NOW) is None
    assert odd.sentence == ""
    in_us = "Some events are dated in microseconds; they are counted in milliseconds."
    assert take(NOW * 1000, NOW) == in_us
    assert take(NOW * 1000, NOW) is None
    held = "Some events have impossible times; each gets the time of the event before it."
    assert take(0, NOW) == held
    assert take(1, NOW) is None
    assert odd.sentence == f"{in_us} {held}"
    assert (odd.converted, odd.held) == (2, 2)


@pytest.mark.parametrize(
    ("counted_ms", "sent_ms", "received_ns", "may"),
    [
        (1_000, 1_000, 0, False),
        (10**9, 0, 0, True),
        (10**9, 0, 10**15, True),
        # It was received when it says that it was sent.
        (10**12, 10**9, 10**15, False),
    ],
)
def test_when_a_time_may_have_been_replaced(
    counted_ms: int, sent_ms: int, received_ns: int, may: bool
) -> None:
    assert may_count(counted_ms, sent_ms, received_ns) is may
