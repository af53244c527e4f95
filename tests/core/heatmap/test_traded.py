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


def test_without_a_range_of_prices_there_are_no_cells() -> None:
    with pytest.raises(ValueError, match="range of prices"):
        TradedBuilder(_BINS, PriceSteps(50, 2))
