from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from orderbook_desktop.core.depth_curve import CurvePoint, build_curve
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
