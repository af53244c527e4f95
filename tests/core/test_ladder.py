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
    cumulate,
    group_levels,
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
