from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderbook_desktop.core.depth_curve import (
    Canvas,
    CurvePoint,
    DepthCurve,
    build_curve,
    middle_of,
    natural_half_span,
    outline,
    read_curves,
    size_in_view,
)
from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.units import INT64_MAX
from tests.core.test_ladder import LEVELS, SIDES, side_of


@given(LEVELS, SIDES, st.one_of(st.integers(-5, 305), st.integers(-INT64_MAX, INT64_MAX)))
@example({}, Side.BID, 5)
@example({INT64_MAX: INT64_MAX, INT64_MAX - 1: INT64_MAX}, Side.ASK, INT64_MAX)
@example({0: 3}, Side.BID, 0)
def test_size_and_cost_to_a_price(levels: dict[int, int], side: Side, price: int) -> None:
    taken = [
        (level, quantity)
        for level, quantity in levels.items()
        if (level >= price if side is Side.BID else level <= price)
    ]
    curve = build_curve(side_of(levels, side), side)
    size = sum(quantity for _, quantity in taken)
    cost = sum(level * quantity for level, quantity in taken)
    assert curve.at(price) == CurvePoint(price, size, cost)


@given(LEVELS, SIDES)
def test_the_curve_holds_each_level_and_the_sum_up_to_it(
    levels: dict[int, int], side: Side
) -> None:
    book_side = side_of(levels, side)
    curve = build_curve(book_side, side)
    assert curve.side is side
    assert curve.prices is book_side.prices
    assert curve.quantities is book_side.quantities
    points = [curve.at(price).size for price in curve.prices.tolist()]
    assert curve.cumulative.tolist() == points


def curve(side: Side, levels: dict[int, int]) -> DepthCurve:
    return build_curve(side_of(levels, side), side)


NOTHING = curve(Side.ASK, {})
some_levels = st.dictionaries(st.integers(1, 300), st.integers(1, 50), min_size=1, max_size=40)


@given(some_levels, st.sampled_from(list(Side)), st.integers(1, 200))
def test_every_column_shows_what_rests_up_to_its_middle(
    levels: dict[int, int], side: Side, width: int
) -> None:
    low, high, height = 0.0, 301.0, 1_000
    top = float(sum(levels.values()))
    found = outline(curve(side, levels), Canvas(low, high, top, width, height))
    shown = (
        {}
        if found is None
        else {
            x: int(tops)
            for (start, stop), tops in zip(pairwise(found.edges.tolist()), found.tops, strict=True)
            for x in range(start, stop)
        }
    )
    nearest, farthest = min(levels), max(levels)
    for x in range(width):
        price = low + (x + 0.5) * (high - low) / width
        size = sum(
            quantity
            for at, quantity in levels.items()
            if (at >= price if side is Side.BID else at <= price)
        )
        if nearest < price < farthest:
            assert shown[x] == round((1 - size / top) * height)
        elif price < nearest - 301 or price > farthest + 301:
            assert x not in shown


def test_nothing_in_view_has_no_outline() -> None:
    far = curve(Side.ASK, {1_000: 5})
    assert outline(far, Canvas(0, 100, 1, 50, 50)) is None
    assert outline(NOTHING, Canvas(0, 100, 1, 50, 50)) is None


def test_a_single_level_is_still_seen() -> None:
    assert outline(curve(Side.BID, {50: 5}), Canvas(0, 100, 5, 50, 50)) is not None


def test_sums_beyond_int64_are_drawn() -> None:
    huge = curve(Side.ASK, dict.fromkeys(range(1, 20), 2**62))
    found = outline(huge, Canvas(0, 20, 2.0**67, 40, 100))
    assert found is not None
    assert len(found.tops) > 10


def test_size_in_view() -> None:
    asks = curve(Side.ASK, {10: 1, 20: 2, 30: 4})
    bids = curve(Side.BID, {9: 1, 5: 2, 1: 4})
    assert size_in_view(asks, 0, 25) == 3
    assert size_in_view(bids, 4, 25) == 3
    assert size_in_view(NOTHING, 0, 1) == 0


@given(some_levels, some_levels, st.integers(0, 700))
def test_readings_equal_independent_sums(
    bids: dict[int, int], asks: dict[int, int], price: int
) -> None:
    asks = {at + 300: quantity for at, quantity in asks.items()}
    mid = (max(bids) + min(asks)) / 2
    reading = read_curves(curve(Side.BID, bids), curve(Side.ASK, asks), price, mid)
    inside = {
        at: quantity
        for at, quantity in (bids if price < mid else asks).items()
        if (price <= at if price < mid else at <= price)
    }
    assert reading.point.size == sum(inside.values())
    assert reading.point.cost == sum(at * quantity for at, quantity in inside.items())
    assert (reading.side is None) == (max(bids) < price < min(asks))


def test_in_a_crossed_book_the_mid_decides() -> None:
    bids, asks = curve(Side.BID, {110: 1}), curve(Side.ASK, {90: 2})
    assert read_curves(bids, asks, 95, 100.0).side is Side.BID
    assert read_curves(bids, asks, 105, 100.0).side is Side.ASK


@pytest.mark.parametrize(
    ("bids", "asks", "expected"),
    [
        ({99_990: 1}, {100_010: 1}, 100.0),
        ({99_000: 1}, {100_500: 1}, 1_050.0),
        ({50_000: 1, 99_999: 1}, {100_001: 1}, 2_000.0),
        # A spread of 40 %: both sides are in view nevertheless.
        ({80_000: 1, 10_000: 1}, {120_000: 1}, 40_000.0),
        ({}, {100_000: 1}, 100.0),
        ({}, {}, 100.0),
    ],
)
def test_the_natural_range(bids: dict[int, int], asks: dict[int, int], expected: float) -> None:
    sides = curve(Side.BID, bids), curve(Side.ASK, asks)
    assert natural_half_span(*sides, 100_000.0, 10) == expected


@pytest.mark.parametrize(
    ("bids", "asks", "expected"),
    [({90: 1, 80: 1}, {101: 1}, 95.5), ({}, {101: 1, 102: 1}, 101.0), ({90: 1}, {}, 90.0)],
)
def test_the_middle(bids: dict[int, int], asks: dict[int, int], expected: float) -> None:
    assert middle_of(side_of(bids, Side.BID), side_of(asks, Side.ASK)) == expected
