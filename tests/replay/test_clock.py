"""The clock of a replay, wound by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.replay_status import FASTEST, REAL_TIME, SLOWEST, UNLIMITED
from orderbook_desktop.replay.clock import ReplayClock

_S = 1_000_000_000
_HOUR = 3_600 * _S
_BEGAN = 1_700_000_000 * _S


def started(speed: int = REAL_TIME, limit_ns: int = _BEGAN + 1_000 * _HOUR) -> ReplayClock:
    """A clock that runs since the moment 0."""
    clock = ReplayClock(_BEGAN)
    clock.set_speed(speed, 0)
    clock.go_to(_BEGAN, limit_ns, 0)
    clock.play(0)
    return clock


def test_it_stands_until_it_is_played_and_where_it_is_paused() -> None:
    clock = ReplayClock(_BEGAN)
    assert clock.at(5 * _S) == _BEGAN
    clock.go_to(_BEGAN + 7, _BEGAN + _HOUR, 5 * _S)
    assert (clock.at(9 * _S), clock.is_playing) == (_BEGAN + 7, False)
    clock.play(10 * _S)
    assert clock.at(12 * _S) == _BEGAN + 7 + 2 * _S
    clock.play(12 * _S)
    clock.pause(13 * _S)
    assert clock.at(99 * _S) == _BEGAN + 7 + 3 * _S
    assert clock.until(_BEGAN + 4 * _S, 99 * _S) is None


@given(
    st.sampled_from([SLOWEST, 333, REAL_TIME, 1_001, 77_777, FASTEST]),
    st.lists(st.integers(1, 40_000_000), max_size=50),
)
def test_an_hour_of_frames_drifts_by_nothing(speed: int, frames: list[int]) -> None:
    """However often it is looked at, and its limit moved ahead of it."""
    clock, now = started(speed), 0
    for frame in frames:
        now += frame
        clock.set_limit(clock.at(now) + 5 * _HOUR, now)
        assert clock.at(now) == _BEGAN + now * speed // 1_000
    clock.set_limit(_BEGAN + 10_000 * _HOUR, now)
    assert clock.at(_HOUR) == _BEGAN + _HOUR * speed // 1_000


def test_it_waits_at_its_limit_and_makes_up_for_nothing() -> None:
    clock = started(limit_ns=_BEGAN + _S)
    assert clock.at(3 * _S) == _BEGAN + _S
    clock.set_limit(_BEGAN + 9 * _S, 4 * _S)
    assert clock.at(4 * _S) == _BEGAN + _S
    assert clock.at(6 * _S) == _BEGAN + 3 * _S
    clock.set_limit(_BEGAN, 6 * _S)
    assert clock.at(8 * _S) == _BEGAN + 3 * _S


def test_unlimited_is_soon_at_the_limit_by_way_of_all_that_lies_before() -> None:
    tenth, clock = _S // 10, started(UNLIMITED, _BEGAN + _HOUR)
    assert clock.until(_BEGAN + 5, 1) == 0
    shown = [clock.at(passed * tenth // 5) - _BEGAN for passed in range(8)]
    assert shown == [_HOUR * min(passed, 5) // 5 for passed in range(8)]
    # A limit that is set again, as it was, does not hold it up.
    clock.set_limit(_BEGAN + 3 * _HOUR, _S)
    for passed in range(10):
        clock.set_limit(_BEGAN + 3 * _HOUR, _S + passed * tenth // 10)
    assert clock.at(_S + tenth) == _BEGAN + 3 * _HOUR
    clock.set_speed(REAL_TIME, 2 * _S)
    assert clock.at(3 * _S) == _BEGAN + 3 * _HOUR


@given(st.integers(SLOWEST, FASTEST), st.integers(0, _HOUR), st.integers(0, _S))
def test_it_says_when_it_will_be_somewhere(speed: int, ahead: int, now: int) -> None:
    clock = started(speed)
    wait = clock.until(_BEGAN + ahead, now)
    assert wait is not None
    assert clock.at(now + wait) >= _BEGAN + ahead
    if wait:
        assert clock.at(now + wait - 1) < _BEGAN + ahead
    assert clock.until(_BEGAN + 1_001 * _HOUR, now) is None


def test_it_says_which_speed_it_reaches() -> None:
    """Nothing while it keeps its speed, nor within the first half second."""
    clock, now = started(10 * REAL_TIME), 0
    for _ in range(30):
        now += _S // 10
        assert clock.reached(now) is None
    for _ in range(40):
        # Half of the time it waits for what is to be read.
        clock.set_limit(_BEGAN + 30 * _S + (now - 3 * _S) * 5, now)
        now += _S // 10
        clock.reached(now)
    assert clock.reached(now) in range(4_500, 5_500)
    clock.pause(now)
    assert clock.reached(now) is None
    clock = started(UNLIMITED, _BEGAN)
    for tenth in range(30):
        clock.set_limit(_BEGAN + tenth * 50 * _S, tenth * _S // 10)
        clock.reached(tenth * _S // 10)
    assert clock.reached(29 * _S // 10) == 500_000
