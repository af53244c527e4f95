"""What was traded by cell equals a sum over the trades, exactly."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.traded import TradedBuilder, TradedCells
from orderbook_desktop.core.units import Scale

_BINS = TimeBins(1_000, 9_000, 700)
_STEPS = PriceSteps(50, 2, (3, 4))
# Time, price in hundredths, quantity, and whether the taker sold.
_TRADE = st.tuples(
    st.integers(0, 10_000), st.integers(0, 500), st.integers(1, 2**62), st.booleans()
)


def _taken(pieces: list[tuple[int, list[tuple[int, int, int, bool]]]]) -> TradedCells:
    builder = TradedBuilder(_BINS, _STEPS)
    for number, (exponent, trades) in enumerate(pieces):
        times, prices, quantities = (
            np.array([trade[place] for trade in trades], dtype=np.int64) for place in range(3)
        )
        sold = np.array([trade[3] for trade in trades])
        builder.take(times, prices, quantities, sold, Scale(2, exponent))
        if number == 0:
            builder.cells()
    return builder.cells()


@given(st.lists(st.tuples(st.integers(0, 8), st.lists(_TRADE, min_size=1)), max_size=4))
def test_cells_are_exact_sums(
    pieces: list[tuple[int, list[tuple[int, int, int, bool]]]],
) -> None:
    expected: defaultdict[tuple[int, int], list[Fraction]] = defaultdict(lambda: [Fraction()] * 3)
    for exponent, trades in pieces:
        for time, price, quantity, sold in trades:
            if 1_000 <= time < 9_000 and 150 <= price < 350:
                key = (time - 1_000) // 700 * 700 + 1_000, price // 50 * 50
                bought_sold_count = list(expected[key])
                bought_sold_count[sold] += Fraction(quantity, 10**exponent)
                bought_sold_count[2] += 1
                expected[key] = bought_sold_count
    found = _taken(pieces)
    unit = 10**found.scale.quantity
    keys = list(zip(found.times_ms.tolist(), found.prices.tolist(), strict=True))
    assert keys == sorted(expected)
    assert len(found) == len(expected)
    for place, key in enumerate(keys):
        sums = Fraction(int(found.bought[place]), unit), Fraction(int(found.sold[place]), unit)
        assert [*sums, int(found.counts[place])] == expected[key]


@given(st.lists(_TRADE, min_size=1), st.lists(_TRADE, min_size=1))
def test_groups_keep_the_sums(
    trades: list[tuple[int, int, int, bool]], later: list[tuple[int, int, int, bool]]
) -> None:
    first, second = _taken([(2, trades)]), _taken([(5, later)])
    whole = first.joined(second)
    both = _taken([(2, trades), (5, later)]).at_exponent(5)
    assert _totals(whole.at_exponent(5)) == _totals(both)
    for wide_ms, high in ((1_400, 100), (700, 50), (10**9, 10**6)):
        groups = whole.at_exponent(5).grouped(wide_ms, high)
        assert _totals(groups) == _totals(both)
        assert (groups.times_ms % wide_ms == 0).all()
        assert (groups.prices % high == 0).all()
        keys = list(zip(groups.times_ms.tolist(), groups.prices.tolist(), strict=True))
        assert keys == sorted(set(keys))
    rows = whole.by_price(50)
    assert rows.prices.tolist() == sorted(set(whole.prices.tolist()))
    assert _totals(rows.at_exponent(5)) == _totals(both)
    part = whole.within(1_700, 3_800, 200, 300)
    assert all(1_700 <= time < 3_800 for time in part.times_ms.tolist())
    assert all(200 <= price < 300 for price in part.prices.tolist())


def _totals(cells: TradedCells) -> list[int]:
    return [sum(map(int, side)) for side in (cells.bought, cells.sold, cells.counts)]


def test_without_a_range_of_prices_there_are_no_cells() -> None:
    with pytest.raises(ValueError, match="range of prices"):
        TradedBuilder(_BINS, PriceSteps(50, 2))
