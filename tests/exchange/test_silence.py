"""Silence, with a clock of the test's."""

from __future__ import annotations

import pytest

from orderbook_desktop.exchange.silence import SilenceWatch


def heard(every: float, count: int, **options: float) -> tuple[SilenceWatch, float]:
    """Return a watch that heard `count` events, and the time of the last."""
    watch = SilenceWatch(**options)
    watch.opened(100.0)
    for index in range(count):
        watch.received(100.0 + (index + 1) * every)
    return watch, 100.0 + count * every


def test_an_active_symbol_is_silent_after_ten_seconds() -> None:
    watch, last = heard(0.1, 100)
    assert watch.is_active
    assert not watch.is_silent(last + 9.9)
    assert watch.is_silent(last + 10.0)


def test_an_event_is_fresh_for_half_the_time_that_an_active_symbol_may_take() -> None:
    watch, last = heard(0.1, 1)
    assert watch.is_fresh(last + 4.9)
    assert not watch.is_fresh(last + 5.0)
    watch.opened(last)
    assert not watch.is_fresh(last)


def test_a_slow_symbol_gets_twenty_times_its_interval() -> None:
    watch, last = heard(2.0, 200)
    assert not watch.is_active
    assert not watch.is_silent(last + 39.0)
    assert watch.is_silent(last + 41.0)


def test_a_stream_that_brings_nothing_from_the_start_is_silent_after_ten_seconds() -> None:
    watch = SilenceWatch()
    watch.opened(100.0)
    assert not watch.is_active
    assert not watch.is_silent(109.9)
    assert watch.is_silent(110.0)


def test_a_symbol_little_is_known_of_counts_as_slow() -> None:
    watch = SilenceWatch()
    watch.opened(100.0)
    watch.received(103.0)
    assert not watch.is_active
    assert not watch.is_silent(162.9)
    assert watch.is_silent(163.0)


def test_a_slow_symbol_s_new_stream_has_to_prove_itself() -> None:
    watch, last = heard(2.0, 200)
    watch.closed()
    watch.opened(last + 5.0)
    assert watch.limit == 10.0
    watch.gave_up(last + 15.0)
    assert watch.limit == 20.0
    watch.received(last + 16.0)
    assert watch.limit > 30.0


def test_each_silence_in_a_row_doubles_the_patience_up_to_five_minutes() -> None:
    watch = SilenceWatch()
    limits = []
    for _ in range(5):
        watch.gave_up(100.0)
        limits.append(watch.limit)
    assert limits == [20.0, 40.0, 80.0, 160.0, 300.0]


def test_an_event_ends_the_patience() -> None:
    watch, last = heard(0.1, 100)
    watch.gave_up(last)
    assert watch.limit == 20.0
    watch.received(last + 0.1)
    assert watch.limit == pytest.approx(10.0)


def test_giving_up_counts_anew() -> None:
    watch, last = heard(0.1, 100)
    watch.gave_up(last + 10.0)
    assert not watch.is_silent(last + 10.0)


@pytest.mark.parametrize("closed", [True, False])
def test_a_closed_stream_is_not_silent(closed: bool) -> None:
    watch, last = heard(0.1, 100)
    if closed:
        watch.closed()
    assert watch.is_silent(last + 1_000.0) is not closed


def test_time_while_closed_is_no_interval() -> None:
    watch, last = heard(0.1, 100)
    watch.closed()
    watch.opened(last + 5_000.0)
    watch.received(last + 5_000.1)
    assert watch.is_active


def test_all_times_scale_with_the_least() -> None:
    watch, last = heard(0.005, 100, least_s=0.5)
    assert watch.is_silent(last + 0.5)
    assert not watch.is_silent(last + 0.4)
