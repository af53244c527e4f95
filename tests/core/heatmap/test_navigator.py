"""A person's way through a heatmap: the newest moment and the past are one view."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.heatmap.navigator import USUAL_MS, Navigator
from orderbook_desktop.core.heatmap.view import LONGEST_MS, SHORTEST_MS, View

NOW = 1_723_000_000_000
MID = 6_000_000


@pytest.fixture
def navigator() -> Navigator:
    made = Navigator()
    made.begin(NOW, MID, 1, 2)
    made.from_ms = NOW - 86_400_000
    return made


def view_of(navigator: Navigator) -> View:
    assert navigator.view is not None
    return navigator.view


def test_it_follows_the_newest_moment_until_it_is_moved(navigator: Navigator) -> None:
    assert (view_of(navigator).from_ms, view_of(navigator).to_ms) == (NOW - USUAL_MS, NOW)
    assert navigator.follow(NOW + 100, None)
    assert view_of(navigator).to_ms == NOW + 100
    navigator.move(-60_000, 0)
    assert not navigator.is_at_edge
    assert not navigator.follow(NOW + 5_000, None)
    assert view_of(navigator).to_ms == NOW + 100 - 60_000
    navigator.move(10**9, 0)
    assert navigator.is_at_edge
    assert view_of(navigator).to_ms == NOW + 5_000
    assert view_of(navigator).length_ms == USUAL_MS


def test_the_price_follows_with_a_dead_band_until_it_is_moved(navigator: Navigator) -> None:
    first = view_of(navigator)
    assert (first.low + first.high) // 2 == MID
    navigator.follow(NOW, MID + first.height // 5)
    assert view_of(navigator) == first
    navigator.follow(NOW, MID + first.height // 2)
    assert (view_of(navigator).low + view_of(navigator).high) // 2 == MID + first.height // 2
    navigator.move(0, 100)
    assert navigator.is_at_edge
    moved = view_of(navigator)
    navigator.follow(NOW, MID * 2)
    assert view_of(navigator) == moved
    navigator.centre()
    assert (view_of(navigator).low + view_of(navigator).high) // 2 == MID * 2
    assert navigator.follows_price


def test_zooming_keeps_the_place_of_the_pointer(navigator: Navigator) -> None:
    around = NOW - USUAL_MS // 4
    navigator.zoom_time(0.5, around)
    view = view_of(navigator)
    assert view.length_ms == USUAL_MS // 2
    assert (around - view.from_ms) / view.length_ms == pytest.approx(0.75)
    navigator.zoom_time(1e-9, around)
    assert view_of(navigator).length_ms == SHORTEST_MS
    navigator.zoom_time(1e12)
    assert view_of(navigator).length_ms == LONGEST_MS
    before = view_of(navigator)
    navigator.zoom_price(0.5, before.low)
    assert view_of(navigator).low == before.low
    assert not navigator.follows_price
    navigator.zoom_price(1e-9)
    assert view_of(navigator).height == 4


def test_it_goes_back_and_forth_between_views(navigator: Navigator) -> None:
    first = view_of(navigator)
    navigator.leave()
    navigator.move(-USUAL_MS, 0)
    second = view_of(navigator)
    navigator.back()
    assert view_of(navigator) == first
    assert navigator.is_at_edge
    navigator.forth()
    assert view_of(navigator) == second
    navigator.forth()
    assert view_of(navigator) == second


def test_going_back_forgets_nothing_and_a_new_way_forgets_the_old_one(
    navigator: Navigator,
) -> None:
    navigator.back()
    first = view_of(navigator)
    navigator.leave()
    navigator.leave()
    navigator.move(-USUAL_MS, 0)
    navigator.back()
    navigator.back()
    assert view_of(navigator) == first
    navigator.leave()
    navigator.move(-2 * USUAL_MS, 0)
    other = view_of(navigator)
    navigator.forth()
    assert view_of(navigator) == other
    frame = other.frame(300, 200)
    assert (frame.x(other.to_ms), frame.y(other.low)) == (300, 200)


def test_it_shows_all_and_returns(navigator: Navigator) -> None:
    navigator.show_all()
    assert (view_of(navigator).from_ms, view_of(navigator).to_ms) == (NOW - 86_400_000, NOW)
    navigator.reset()
    assert view_of(navigator).length_ms == USUAL_MS
    navigator.show_prices(0, 1)
    assert (view_of(navigator).low, view_of(navigator).high) == (0, 4)
    navigator.show_times(NOW - 2 * USUAL_MS, NOW - USUAL_MS)
    assert not navigator.is_at_edge
    navigator.to_edge()
    assert navigator.is_at_edge
    assert navigator.follows_price


def test_a_part_of_the_recording_stays_in_sight(navigator: Navigator) -> None:
    navigator.move(-(10**11), 0)
    view = view_of(navigator)
    assert view.to_ms == navigator.from_ms + view.length_ms // 10


def test_finer_prices_are_the_same_prices(navigator: Navigator) -> None:
    before = view_of(navigator)
    navigator.refine(1)
    assert view_of(navigator) == before
    navigator.refine(4)
    view = view_of(navigator)
    assert (view.low, view.high, view.exponent) == (before.low * 100, before.high * 100, 4)
    assert navigator.tick == 100
    assert not navigator.follow(NOW, MID * 100)
    navigator.back()
    assert view_of(navigator) == view


def test_without_a_market_nothing_happens() -> None:
    navigator = Navigator()
    for command in (
        *(navigator.leave, navigator.back, navigator.forth, navigator.show_all),
        *(navigator.to_edge, navigator.centre, navigator.reset, lambda: navigator.refine(9)),
        *(lambda: navigator.zoom_time(2), lambda: navigator.zoom_price(2)),
        *(lambda: navigator.move(1, 1), lambda: navigator.show_prices(1, 2)),
        *(lambda: navigator.show_times(1, 2), lambda: navigator.follow(5, 6)),
    ):
        command()
    assert navigator.view is None
    navigator.begin(NOW, MID, 1, 2)
    navigator.show_all()
    assert view_of(navigator).length_ms == USUAL_MS
