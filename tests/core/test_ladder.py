from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.ladder import (
    Side,
    build_ladder,
    build_side,
    cost_side,
    cumulate,
    default_step,
    group_levels,
    rows_between,
)
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import INT64_MAX, Scale

PRICES = st.one_of(st.integers(0, 300), st.integers(0, INT64_MAX))
QUANTITIES = st.one_of(st.integers(1, 1000), st.integers(1, INT64_MAX))
LEVELS = st.dictionaries(PRICES, QUANTITIES, max_size=30)
STEPS = st.one_of(st.integers(1, 60), st.integers(1, INT64_MAX))
SIDES = st.sampled_from(Side)


def side_of(levels: dict[int, int], side: Side) -> Levels:
    prices = sorted(levels, reverse=side is Side.BID)
    return Levels(
        np.array(prices, dtype=np.int64),
        np.array([levels[price] for price in prices], dtype=np.int64),
    )


def grouped_one_by_one(levels: dict[int, int], step: int, side: Side) -> list[tuple[int, int]]:
    groups: dict[int, int] = {}
    for price, quantity in levels.items():
        down, rest = divmod(price, step)
        group = (down + (side is Side.ASK and rest > 0)) * step
        groups[group] = groups.get(group, 0) + quantity
    return sorted(groups.items(), reverse=side is Side.BID)


@given(LEVELS, STEPS, SIDES)
@example({INT64_MAX: 1, INT64_MAX - 1: 5}, 2, Side.ASK)
@example({1: INT64_MAX, 2: INT64_MAX, 30: 1}, 10, Side.ASK)
@example({1: INT64_MAX // 2, 2: INT64_MAX // 2, 30: 1}, 10, Side.BID)
def test_grouping_loses_no_quantity(levels: dict[int, int], step: int, side: Side) -> None:
    prices, quantities = group_levels(side_of(levels, side), step, side)
    expected = grouped_one_by_one(levels, step, side)
    assert list(zip(prices.tolist(), quantities.tolist(), strict=True)) == expected
    assert sum(quantities.tolist()) == sum(levels.values())
    assert all(price % step == 0 for price in prices.tolist())


@given(LEVELS, STEPS, SIDES)
def test_a_group_never_looks_better_than_its_levels(
    levels: dict[int, int], step: int, side: Side
) -> None:
    prices = group_levels(side_of(levels, side), step, side)[0].tolist()
    if levels and side is Side.BID:
        assert max(levels) - step < prices[0] <= max(levels)
    elif levels:
        assert min(levels) <= prices[0] < min(levels) + step


@given(st.lists(QUANTITIES, max_size=30))
@example([INT64_MAX, 1])
@example([INT64_MAX // 4, 1, 1, 1, 1])
def test_running_sums_are_exact(quantities: list[int]) -> None:
    expected = [sum(quantities[: count + 1]) for count in range(len(quantities))]
    array = np.array(quantities, dtype=np.int64)
    assert cumulate(array).tolist() == expected
    assert cumulate(array.astype(object)).tolist() == expected
    assert array.tolist() == quantities


def test_sums_beyond_int64_are_python_integers() -> None:
    levels = side_of({1: INT64_MAX, 2: INT64_MAX}, Side.ASK)
    assert cumulate(levels.quantities).tolist() == [INT64_MAX, 2 * INT64_MAX]
    prices, quantities = group_levels(levels, 10, Side.ASK)
    assert (prices.tolist(), quantities.tolist()) == ([10], [2 * INT64_MAX])
    assert cumulate(quantities).tolist() == [2 * INT64_MAX]


def test_sums_that_surely_fit_stay_int64() -> None:
    # One dominant level: count times the largest would overflow, the sum does not.
    for quantities in ([INT64_MAX // 4, 1, 1, 1, 1, 1], [1, 2], []):
        assert cumulate(np.array(quantities, dtype=np.int64)).dtype == np.int64


@pytest.mark.parametrize("step", [0, -1])
def test_a_step_is_at_least_one_unit(step: int) -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        group_levels(side_of({1: 1}, Side.BID), step, Side.BID)


@given(LEVELS, LEVELS, STEPS, st.none() | st.integers(0, 40))
def test_a_ladder_is_its_groups_cut_to_rows(
    bids: dict[int, int], asks: dict[int, int], step: int, rows: int | None
) -> None:
    ladder = build_ladder(
        side_of(bids, Side.BID), side_of(asks, Side.ASK), Scale(2, 3), step, Horizon(), rows
    )
    assert ladder.scale == Scale(2, 3)
    for levels, side, shown in ((bids, Side.BID, ladder.bids), (asks, Side.ASK, ladder.asks)):
        expected = grouped_one_by_one(levels, step, side)[:rows]
        assert list(zip(shown.prices.tolist(), shown.quantities.tolist(), strict=True)) == expected
        sums = [sum(quantity for _, quantity in expected[: n + 1]) for n in range(len(expected))]
        assert shown.cumulative.tolist() == sums
    if bids and asks:
        assert ladder.spread == min(asks) - max(bids)
        assert ladder.twice_mid == min(asks) + max(bids)
    else:
        assert ladder.spread is None
        assert ladder.twice_mid is None
        assert ladder.spread_percent is None


def test_a_cut_side_sums_what_it_shows() -> None:
    side = build_side(side_of({5: 1, 4: 2, 3: 4}, Side.BID), 1, Side.BID, Horizon(), rows=2)
    assert side.prices.tolist() == [5, 4]
    assert side.cumulative.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("bid", "ask", "percent"), [(99, 101, 2.0), (101, 99, -2.0), (5, 5, 0.0), (0, 0, None)]
)
def test_the_spread_in_percent(bid: int, ask: int, percent: float | None) -> None:
    sides = side_of({bid: 1}, Side.BID), side_of({ask: 1}, Side.ASK)
    ladder = build_ladder(*sides, Scale(), 7, Horizon())
    assert ladder.spread == ask - bid
    assert ladder.spread_percent == percent


ENDS = st.one_of(st.none(), st.integers(0, 320))


@given(LEVELS, SIDES, st.integers(1, 60), ENDS, st.none() | st.integers(0, 30))
@example({299: 5, 1: 7}, Side.BID, 10, 295, None)
@example({12: 5}, Side.ASK, 10, 3, None)
@example({INT64_MAX: INT64_MAX, 3: INT64_MAX, 2: 1}, Side.ASK, 7, INT64_MAX - 1, None)
def test_rows_beyond_the_edge_are_single_and_in_no_sum(
    levels: dict[int, int], side: Side, step: int, edge: int | None, rows: int | None
) -> None:
    is_ask = side is Side.ASK
    horizon = Horizon(known_to=edge) if is_ask else Horizon(known_from=edge)
    found = build_side(side_of(levels, side), step, side, horizon, rows)
    inside = {at: q for at, q in levels.items() if horizon.knows(at, is_ask=is_ask)}
    for at, (price, size, total) in enumerate(
        zip(
            found.prices.tolist(), found.quantities.tolist(), found.cumulative.tolist(), strict=True
        )
    ):
        # What a row at this price covers: a group, or a single price beyond the edge's group.
        is_single = at >= found.single
        reach = 1 if is_single else step
        covered = range(price - reach + 1, price + 1) if is_ask else range(price, price + reach)
        assert size == sum(q for level, q in levels.items() if level in covered)
        assert total == sum(
            q for level, q in inside.items() if (level <= price) == is_ask or level == price
        )
        is_known = horizon.knows(price, is_ask=is_ask)
        assert found.is_least_total(at) == (not is_known)
        assert found.is_least_size(at) == (not is_known and not is_single)
        if is_single:
            assert price in levels
    assert found.edge == edge
    shown = list(found.prices.tolist())
    assert shown == sorted(set(shown), reverse=not is_ask)
    if rows is None:
        assert sum(found.quantities.tolist()) == sum(levels.values())


@pytest.mark.parametrize(("step", "is_least_size"), [(1, False), (10, True)])
def test_where_it_is_not_known_how_deep_every_sum_is_a_lower_bound(
    step: int, is_least_size: bool
) -> None:
    found = build_side(side_of({5: 1, 14: 2, 25: 4}, Side.ASK), step, Side.ASK, None)
    assert found.cumulative.tolist() == [1, 3, 7]
    assert [found.is_least_total(at) for at in range(3)] == [True] * 3
    assert [found.is_least_size(at) for at in range(3)] == [is_least_size] * 3
    assert found.edge is None


@given(LEVELS, STEPS, SIDES, PRICES, st.none() | PRICES)
@example({INT64_MAX: 1, INT64_MAX - 1: 5}, 2, Side.ASK, 0, None)
@example({INT64_MAX: 1}, 1, Side.ASK, 0, INT64_MAX)
def test_rows_between_two_prices(
    levels: dict[int, int], step: int, side: Side, low: int, high: int | None
) -> None:
    rows = build_side(side_of(levels, side), step, side, Horizon())
    found = rows_between(rows, side, low, high)
    expected = [
        index
        for index, price in enumerate(rows.prices.tolist())
        if low <= price and (high is None or price <= high)
    ]
    assert list(found) == expected


@given(LEVELS, STEPS, SIDES, ENDS, st.integers(0, 40), st.booleans())
@example({INT64_MAX: INT64_MAX, INT64_MAX - 1: INT64_MAX}, 2, Side.ASK, None, 5, True)
@example({10: INT64_MAX, 9: INT64_MAX, 1: 3}, 5, Side.BID, None, 2, True)
@example({10: 5, 12: 6, 90: 7, 91: 8}, 5, Side.ASK, 11, 4, False)
def test_costs_are_exact(
    levels: dict[int, int], step: int, side: Side, edge: int | None, rows: int, singles: bool
) -> None:
    is_ask = side is Side.ASK
    horizon = Horizon(known_to=edge) if is_ask else Horizon(known_from=edge)
    sized = build_side(side_of(levels, side), step, side, horizon, rows, singles=singles)
    costs = cost_side(side_of(levels, side), step, side, horizon, rows, singles=singles)
    assert costs.prices.tolist() == sized.prices.tolist()
    assert (costs.known, costs.single, costs.edge) == (sized.known, sized.single, sized.edge)
    for at, price in enumerate(sized.prices.tolist()):
        reach = 1 if at >= sized.single else step
        covered = range(price - reach + 1, price + 1) if is_ask else range(price, price + reach)
        held = {level: quantity for level, quantity in levels.items() if level in covered}
        assert int(sized.quantities[at]) == sum(held.values())
        assert int(costs.quantities[at]) == sum(level * size for level, size in held.items())
        through = {
            level: quantity
            for level, quantity in levels.items()
            if (level <= price if is_ask else level >= price)
            and horizon.knows(level, is_ask=is_ask)
        }
        assert int(sized.cumulative[at]) == sum(through.values())
        assert int(costs.cumulative[at]) == sum(level * size for level, size in through.items())


def test_rows_beyond_the_edge_can_be_groups_which_are_lower_bounds() -> None:
    levels = side_of({10: 5, 12: 6, 90: 7, 91: 8, 97: 9}, Side.ASK)
    found = build_side(levels, 5, Side.ASK, Horizon(known_to=11), singles=False)
    assert found.prices.tolist() == [10, 15, 90, 95, 100]
    assert found.quantities.tolist() == [5, 6, 7, 8, 9]
    assert found.cumulative.tolist() == [5, 5, 5, 5, 5]
    assert [found.is_least_size(at) for at in range(5)] == [False, True, True, True, True]
    assert [found.is_least_total(at) for at in range(5)] == [False, True, True, True, True]


def test_a_single_level_has_no_step() -> None:
    levels = side_of({10: 5, 12: 6, 90: 7}, Side.ASK)
    found = build_side(levels, 5, Side.ASK, Horizon(known_to=20))
    assert [(price, found.price_step(at, 5)) for at, price in enumerate(found.prices.tolist())] == [
        (10, 5),
        (15, 5),
        (90, 0),
    ]


def test_what_is_typical_of_a_ladder() -> None:
    bids, asks = {10: 4, 9: 100}, {12: 6, 13: 2, 14: 1}
    ladder = build_ladder(side_of(bids, Side.BID), side_of(asks, Side.ASK), Scale(), 1, Horizon())
    assert (ladder.typical_size, ladder.typical_total, ladder.typical_price) == (4, 104, 11)
    empty = build_ladder(side_of({}, Side.BID), side_of({}, Side.ASK), Scale(), 1, Horizon())
    assert (empty.typical_size, empty.typical_total, empty.typical_price) == (0, 0, 0)
    # Only the rows near the spread count.
    deep = {1_000 - at: 1 if at < 100 else 10**9 for at in range(900)}
    ladder = build_ladder(side_of(deep, Side.BID), side_of({}, Side.ASK), Scale(), 1, Horizon())
    assert (ladder.typical_size, ladder.typical_total, ladder.typical_price) == (1, 25, 1_000)


STEPS_ON_OFFER = [1, 2, 5, 10, 20, 50, 100, 200]


def test_dust_is_grouped_by_default_until_rows_have_weight() -> None:
    # A real order every ten ticks, and dust at all others.
    bids = {600_000 - at: 1_000 if at % 10 == 5 else 1 for at in range(400)}
    asks = {600_001 + at: 1_000 if at % 10 == 5 else 1 for at in range(400)}
    sides = side_of(bids, Side.BID), side_of(asks, Side.ASK)
    assert default_step(STEPS_ON_OFFER, *sides) == 10
    # Alike orders need no grouping.
    alike = side_of(dict.fromkeys(bids, 7), Side.BID), side_of(dict.fromkeys(asks, 7), Side.ASK)
    assert default_step(STEPS_ON_OFFER, *alike) == 1


def test_by_default_a_row_spans_little_of_the_price() -> None:
    # One order outweighs everything, so no step would give the median row weight.
    bids = {600_000 - 7 * at: 10**9 if at == 50 else 1 for at in range(400)}
    levels = side_of(bids, Side.BID), side_of({}, Side.ASK)
    assert default_step(STEPS_ON_OFFER, *levels) == 100
    assert default_step(STEPS_ON_OFFER[:2], *levels) == STEPS_ON_OFFER[1]
    cheap = (
        side_of({800 - at: 10 ** (at % 9) for at in range(30)}, Side.BID),
        side_of({801: 1}, Side.ASK),
    )
    assert default_step(STEPS_ON_OFFER, *cheap) == 1
    assert default_step([5, 10], side_of({}, Side.BID), side_of({}, Side.ASK)) == 5
    # All levels of a small book are in view.
    few = side_of({600_000: 1, 599_000: 500}, Side.BID), side_of({600_001: 9}, Side.ASK)
    assert default_step(STEPS_ON_OFFER, *few) == 1


@given(LEVELS, LEVELS, st.integers(1, 1000))
def test_the_default_step_is_on_offer(
    bids: dict[int, int], asks: dict[int, int], tick: int
) -> None:
    steps = [tick, 2 * tick, 5 * tick]
    assert default_step(steps, side_of(bids, Side.BID), side_of(asks, Side.ASK)) in steps


def test_a_price_beyond_the_edge_of_its_side_is_unknown() -> None:
    bids, asks = side_of({100: 1, 90: 1}, Side.BID), side_of({105: 1, 120: 1}, Side.ASK)
    prices = (89, 90, 92, 100, 102, 105, 110, 111, 120)

    def unknown(horizon: Horizon | None) -> list[int]:
        ladder = build_ladder(bids, asks, Scale(), 1, horizon)
        return [price for price in prices if ladder.unknown_side(price) is not None]

    assert unknown(Horizon(91, 110)) == [89, 90, 111, 120]
    assert unknown(Horizon()) == []
    assert unknown(None) == [89, 90, 92, 100, 105, 110, 111, 120]
    ladder = build_ladder(bids, asks, Scale(), 1, Horizon(91, 110))
    assert [ladder.unknown_side(price) for price in (50, 500)] == [Side.BID, Side.ASK]
    empty = build_ladder(side_of({}, Side.BID), side_of({}, Side.ASK), Scale(), 1, Horizon(91, 110))
    assert empty.unknown_side(50) is None


@pytest.mark.parametrize("step", [1, 7, 50])
def test_the_best_prices_are_the_book_s_with_every_group(step: int) -> None:
    bids, asks = side_of({101: 1, 90: 2}, Side.BID), side_of({104: 3, 190: 1}, Side.ASK)
    empty = Levels(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    both = build_ladder(bids, asks, Scale(), step, Horizon())
    assert both.best == {Side.BID: 101, Side.ASK: 104}
    assert build_ladder(empty, asks, Scale(), 1, Horizon()).best == {Side.ASK: 104}
    assert build_ladder(empty, empty, Scale(), step, Horizon()).best == {}
