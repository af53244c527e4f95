"""The limits, with a clock of the test's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.exchange.limits import (
    SlidingWindow,
    WeightLimit,
    connection_limit,
    message_limit,
)


def most_in_a_window(times: list[float], seconds: float) -> int:
    """Return how many of `times` fall into the fullest half-open window of `seconds`."""
    return max(sum(start <= time < start + seconds for time in times) for start in times)


def paced(window: SlidingWindow, wishes: list[float]) -> list[float]:
    """Return when actions take place that are wished for at `wishes`, in order."""
    times, now = [], 0.0
    for wish in wishes:
        now = max(now, wish)
        while (delay := window.delay(now)) > 0:
            now += delay
        window.take(now)
        times.append(now)
    return times


def test_a_free_window_delays_nothing() -> None:
    window = SlidingWindow(2, 1.0)
    assert window.delay(10.0) == 0
    window.take(10.0)
    assert window.delay(10.0) == 0


def test_a_full_window_delays_until_the_oldest_leaves() -> None:
    window = SlidingWindow(2, 1.0)
    window.take(10.0)
    window.take(10.25)
    assert window.delay(10.5) == 0.5
    assert window.delay(11.0) == 0


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60).map(sorted))
def test_no_window_ever_holds_more_than_the_limit(wishes: list[float]) -> None:
    times = paced(SlidingWindow(3, 1.0), wishes)
    # A window a hair shorter than a second: the sums of floats round.
    assert most_in_a_window(times, 1.0 - 1e-6) <= 3


def test_messages_with_a_ping_and_a_pong_stay_within_five_a_second() -> None:
    times = paced(message_limit(), [0.0] * 20)
    assert most_in_a_window(times, 1.0) + 2 <= 5


def test_connections_stay_within_three_hundred_in_five_minutes() -> None:
    times = paced(connection_limit(), [0.0] * 600)
    assert most_in_a_window(times, 300.0) <= 300
    assert times[249] == 0
    assert times[250] >= 300


def test_weight_is_spent_up_to_the_reserve() -> None:
    limit = WeightLimit(per_minute=1_000, reserve=400)
    for _ in range(2):
        assert limit.delay(250, 6_000.0) == 0
        limit.spend(250, 6_000.0)
    assert limit.delay(100, 6_000.0) == 0
    assert limit.delay(250, 6_015.0) == 46  # The rest of the minute, and a second of margin.


def test_a_new_minute_begins_at_zero() -> None:
    limit = WeightLimit(per_minute=1_000, reserve=400)
    limit.spend(600, 6_000.0)
    assert limit.delay(250, 6_059.0) > 0
    assert limit.delay(250, 6_060.0) == 0


def test_what_others_used_counts() -> None:
    limit = WeightLimit(per_minute=1_000, reserve=400)
    limit.spend(250, 6_000.0)
    limit.note_used(590, 6_001.0)
    assert limit.delay(250, 6_002.0) > 0
    limit.note_used(300, 6_003.0)
    assert limit.delay(250, 6_004.0) > 0, "an answer overtaken by another one takes nothing back"


def spent_behind(limit: WeightLimit, kept: int, now: float) -> int:
    """Spend in the background what is granted; return how much that was."""
    spent = 0
    while limit.delay_behind(4, kept, now) == 0:
        limit.spend_behind(4, now)
        spent += 4
    return spent


@pytest.mark.parametrize(
    ("kept", "granted"), [(0, 1_200), (250, 1_200), (4_500, 700), (5_000, 200), (50_000, 200)]
)
def test_what_goes_behind_takes_a_fifth_at_most_and_leaves_what_others_may_need(
    kept: int, granted: int
) -> None:
    limit = WeightLimit()
    assert spent_behind(limit, kept, 6_000.0) == granted
    assert limit.delay_behind(4, kept, 6_015.0) == 46
    assert spent_behind(limit, kept, 6_060.0) == granted


def test_what_goes_behind_counts_with_all_else() -> None:
    limit = WeightLimit()
    limit.note_used(4_800, 6_000.0)
    assert spent_behind(limit, 250, 6_001.0) == 400
    assert limit.delay(4, 6_002.0) > 0


def test_nothing_goes_behind_in_a_minute_in_which_another_request_waits() -> None:
    limit = WeightLimit()
    limit.spend(5_000, 6_000.0)
    assert limit.delay_behind(4, 250, 6_001.0) == 0
    assert limit.delay(250, 6_002.0) > 0
    assert limit.delay_behind(4, 250, 6_003.0) > 0
    assert limit.delay_behind(4, 250, 6_060.0) == 0
