from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderbook_desktop.core.depth_curve import (
    Canvas,
    CurvePoint,
    DepthCurve,
    automatic_range,
    build_curve,
    middle_of,
    outline,
    read_curves,
    size_in_view,
    spikes,
    unknown_from,
)
from orderbook_desktop.core.horizon import Horizon
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
    curve = build_curve(side_of(levels, side), side, Horizon())
    size = sum(quantity for _, quantity in taken)
    cost = sum(level * quantity for level, quantity in taken)
    assert curve.at(price) == CurvePoint(price, size, cost)


@given(LEVELS, SIDES)
def test_the_curve_holds_each_level_and_the_sum_up_to_it(
    levels: dict[int, int], side: Side
) -> None:
    book_side = side_of(levels, side)
    curve = build_curve(book_side, side, Horizon())
    assert curve.side is side
    assert curve.prices is book_side.prices
    points = [curve.at(price) for price in curve.prices.tolist()]
    assert curve.sums.tolist() == pytest.approx([0, *(point.size for point in points)], rel=1e-12)
    in_quote = build_curve(book_side, side, Horizon(), in_quote=True)
    assert [in_quote.at(point.price) for point in points] == points
    costs = [0, *(point.cost for point in points)]
    assert in_quote.sums.tolist() == pytest.approx(costs, rel=1e-12)
    assert in_quote.total == costs[-1]
    assert [in_quote.amount(point) for point in points] == costs[1:]
    assert [curve.amount(point) for point in points] == [point.size for point in points]


WHOLE = Horizon()


def curve(side: Side, levels: dict[int, int], horizon: Horizon | None = WHOLE) -> DepthCurve:
    return build_curve(side_of(levels, side), side, horizon)


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
def test_the_automatic_range_of_a_book_without_edges(
    bids: dict[int, int], asks: dict[int, int], expected: float
) -> None:
    sides = curve(Side.BID, bids), curve(Side.ASK, asks)
    assert automatic_range(*sides, 100_000.0, 10) == (100_000 - expected, 100_000 + expected)


@pytest.mark.parametrize(
    ("bids", "asks", "expected"),
    [({90: 1, 80: 1}, {101: 1}, 95.5), ({}, {101: 1, 102: 1}, 101.0), ({90: 1}, {}, 90.0)],
)
def test_the_middle(bids: dict[int, int], asks: dict[int, int], expected: float) -> None:
    assert middle_of(side_of(bids, Side.BID), side_of(asks, Side.ASK)) == expected


BIDS = {99_990: 1, 99_900: 2, 99_500: 4, 40_000: 900}
ASKS = {100_010: 1, 100_100: 2, 180_000: 700}
KNOWN = Horizon(99_450, 100_200)


@pytest.mark.parametrize(
    ("horizon", "mid", "expected"),
    [
        (KNOWN, 100_000.0, (99_450, 100_200)),
        # It is known far beyond what is worth showing.
        (Horizon(1, 10**6), 100_000.0, (98_000, 102_000)),
        # The lower side has no end: 1.05 times nine tenths of its levels, at most 2 %.
        (Horizon(None, 100_200), 100_000.0, (98_000, 100_200)),
        # The price has fallen to the edge, and below it.
        (Horizon(99_999, 100_200), 100_000.0, (99_900, 100_200)),
        (Horizon(100_100, 100_200), 100_000.0, (99_900, 100_200)),
    ],
)
def test_the_automatic_range_ends_at_the_edges(
    horizon: Horizon, mid: float, expected: tuple[float, float]
) -> None:
    sides = curve(Side.BID, BIDS, horizon), curve(Side.ASK, ASKS, horizon)
    assert automatic_range(*sides, mid, 10) == expected


@given(some_levels, some_levels, st.integers(0, 300), st.integers(300, 700), st.integers(0, 700))
def test_beyond_the_edge_a_reading_is_the_sum_through_the_edge(
    bids: dict[int, int], asks: dict[int, int], known_from: int, known_to: int, price: int
) -> None:
    asks = {at + 300: quantity for at, quantity in asks.items()}
    horizon, mid = Horizon(known_from, known_to), (max(bids) + min(asks)) / 2
    sides = curve(Side.BID, bids, horizon), curve(Side.ASK, asks, horizon)
    reading = read_curves(*sides, price, mid)
    if reading.side is None:
        assert max(bids) < price < min(asks)
        return
    on_bids = reading.side is Side.BID
    levels = bids if on_bids else asks
    end = max(price, known_from) if on_bids else min(price, known_to)
    inside = {at: q for at, q in levels.items() if (at >= end if on_bids else at <= end)}
    assert reading.point.size == sum(inside.values())
    assert reading.point.cost == sum(at * q for at, q in inside.items())
    is_beyond = price < known_from if on_bids else price > known_to
    assert reading.point.is_least == is_beyond
    assert reading.level == ((price, levels[price]) if is_beyond and price in levels else None)


def test_the_largest_single_level_near_the_crosshair_is_read() -> None:
    sides = curve(Side.BID, BIDS, KNOWN), curve(Side.ASK, {**ASKS, 180_003: 9}, KNOWN)
    assert read_curves(*sides, 180_001, 100_000.0, 2).level == (180_000, 700)
    assert read_curves(*sides, 180_002, 100_000.0, 1).level == (180_003, 9)


@given(some_levels, st.sampled_from(list(Side)), st.integers(0, 310), st.integers(1, 200))
def test_the_curve_goes_on_to_the_edge_and_not_beyond(
    levels: dict[int, int], side: Side, edge: int, width: int
) -> None:
    low, high, height, top = 0.0, 311.0, 1_000, float(sum(levels.values()))
    horizon = Horizon(edge, edge)
    found = curve(side, levels, horizon)
    canvas = Canvas(low, high, top, width, height)
    drawn = outline(found, canvas)
    column = (high - low) / width
    if drawn is not None:
        left, right = (low + int(x) * column for x in (drawn.edges[0], drawn.edges[-1]))
        assert (left if side is Side.BID else right) == pytest.approx(edge, abs=1.01 * column)
    singles = {at: q for at, q in levels.items() if not horizon.knows(at, is_ask=side is Side.ASK)}
    expected: dict[int, int] = {}
    for at, quantity in singles.items():
        x = min(width - 1, int((at - low) / column))
        expected[x] = max(quantity, expected.get(x, 0))
    tops = {x: min(height - 1, round((1 - q / top) * height)) for x, q in expected.items()}
    shown = dict(spikes(found, canvas))
    assert shown.keys() == tops.keys()
    assert all(abs(shown[x] - tops[x]) <= 1 for x in tops)


def test_singles_count_for_the_size_axis_where_they_are_in_view() -> None:
    bids = curve(Side.BID, BIDS, KNOWN)
    assert size_in_view(bids, 99_000, 101_000) == 7
    assert size_in_view(bids, 40_000, 101_000) == 900
    assert size_in_view(bids, 30_000, 39_999) == 7


def test_in_the_quote_asset_costs_are_drawn() -> None:
    asks = build_curve(
        side_of({10: 1, 20: 2, 40: 3}, Side.ASK), Side.ASK, Horizon(None, 30), in_quote=True
    )
    assert size_in_view(asks, 0, 30) == 10 + 40
    # The single level beyond the edge costs more than all before it.
    assert size_in_view(asks, 0, 45) == 120
    canvas = Canvas(0.0, 45.0, 240.0, 9, 240)
    assert spikes(asks, canvas) == [(8, 120)]
    found = outline(asks, canvas)
    assert found is not None
    assert found.tops.tolist() == [240, 230, 190]


@pytest.mark.parametrize(
    ("horizon", "below", "above"),
    [
        (KNOWN, 99_450, 100_200),
        (Horizon(), None, None),
        # Not known how deep: everything is a lower bound.
        (None, 99_990, 100_010),
        # The price has left what was known: a side ends at the other's best price.
        (Horizon(150_000, 200_000), 100_010, 200_000),
        (Horizon(10, 20), 10, 99_990),
    ],
)
def test_where_the_unknown_begins(
    horizon: Horizon | None, below: int | None, above: int | None
) -> None:
    bids, asks = curve(Side.BID, BIDS, horizon), curve(Side.ASK, ASKS, horizon)
    assert (unknown_from(bids, asks), unknown_from(asks, bids)) == (below, above)


def test_totals_and_ends_of_a_side() -> None:
    bids = curve(Side.BID, BIDS, KNOWN)
    assert (bids.total, bids.best, bids.farthest) == (7, 99_990, 40_000)
    assert bids.spans == [(99_450, 99_990)]
    assert bids.is_least(None)
    assert not bids.is_least(99_450)
    only_beyond = curve(Side.BID, {40_000: 900}, KNOWN)
    assert (only_beyond.total, only_beyond.best, only_beyond.spans) == (0, 40_000, [])
    assert not only_beyond.is_empty
    assert NOTHING.is_empty
    assert NOTHING.farthest is None
    assert outline(only_beyond, Canvas(0, 1, 1, 0, 50)) is None
    assert spikes(only_beyond, Canvas(0, 100_000, 1, 0, 50)) == []
