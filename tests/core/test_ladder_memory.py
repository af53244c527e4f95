"""Scale, usual size, units and moves are those of the last minutes, not of one moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.ladder import Ladder, Side, build_ladder
from orderbook_desktop.core.ladder_memory import LadderMemory, SteadyValue
from orderbook_desktop.core.number_format import ColumnFormat, MarketFormat
from orderbook_desktop.core.units import Scale
from tests.core.test_ladder import side_of

MARKET = MarketFormat(Scale(2, 4), tick=1, price_places=2, quantity_places=4)


def ladder(*sizes: int, best_bid: int = 1_000, best_ask: int = 1_001) -> Ladder:
    """Return a ladder with the same sizes on both sides."""
    bids = side_of({best_bid - at: size for at, size in enumerate(sizes)}, Side.BID)
    asks = side_of({best_ask + at: size for at, size in enumerate(sizes)}, Side.ASK)
    return build_ladder(bids, asks, Scale(2, 4), 1, Horizon())


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_a_steady_value_is_the_median_of_its_samples(values: list[int]) -> None:
    steady = SteadyValue()
    for at, value in enumerate(values):
        steady.take(at * 1_000, value)
    assert steady.median == sorted(values)[len(values) // 2]


def test_samples_are_forgotten_after_five_minutes() -> None:
    steady = SteadyValue()
    steady.take(0, 900)
    steady.take(1_000, 900)
    steady.take(300_500, 5)
    assert steady.median == 900
    steady.take(301_000, 7)
    assert steady.median == 7


def test_one_large_order_sets_neither_scale_nor_usual_size() -> None:
    memory = LadderMemory()
    sizes = [*range(1, 20), 10**12]
    memory.take(ladder(*sizes), 1_000)
    assert (memory.usual, memory.scale) == (10, 19)
    assert memory.large_from(10) == 100
    assert memory.large_from(0) is None


def test_one_moment_does_not_set_the_scale() -> None:
    memory = LadderMemory()
    for second in range(9):
        memory.take(ladder(*([5] * 20)), second * 1_000)
    memory.take(ladder(*([700] * 20)), 9_000)
    assert memory.scale == 5
    # Nor do many events within a second.
    for at in range(20):
        memory.take(ladder(*([900] * 20)), 9_001 + at)
    assert memory.scale == 5


def test_nothing_is_usual_before_the_first_rows() -> None:
    memory = LadderMemory()
    memory.take(ladder(), 0)
    assert (memory.scale, memory.usual, memory.large_from(10)) == (0, 0, None)
    memory.take(ladder(3), 1)
    assert (memory.scale, memory.usual) == (3, 3)


def test_a_replay_that_goes_back_knows_nothing_of_later() -> None:
    memory = LadderMemory()
    memory.take(ladder(9, 9), 50_000)
    memory.take(ladder(2, 2), 10_000)
    assert memory.usual == 2


def test_sizes_of_another_scale_are_not_compared() -> None:
    memory = LadderMemory()
    memory.take(ladder(9, 9), 0)
    coarse = ladder(9, 9)
    other = Ladder(Scale(2, 6), coarse.bids, coarse.asks, 1, 2_001)
    memory.take(other, 10)
    memory.take(Ladder(Scale(2, 6), ladder(4).bids, ladder(4).asks, 1, 2_001), 2_000)
    assert memory.usual == 9


def test_the_last_moves_of_the_best_prices_stay_until_the_next() -> None:
    memory = LadderMemory()
    moves = []
    for bid, ask in ((100, 110), (101, 110), (101, 109), (101, 109), (99, 112)):
        memory.take(ladder(1, best_bid=bid, best_ask=ask), 0)
        moves.append((memory.move_of(Side.BID), memory.move_of(Side.ASK)))
    assert moves == [(0, 0), (1, 0), (1, -1), (1, -1), (-1, 1)]
    assert memory.move_of(None) == 0
    memory.take(ladder(), 0)
    memory.take(ladder(1, best_bid=500, best_ask=501), 0)
    assert (memory.bid_move, memory.ask_move) == (-1, 1)


@pytest.mark.parametrize("in_quote", [False, True])
def test_units_stay_while_sizes_go_to_and_fro(in_quote: bool) -> None:
    memory, fresh = LadderMemory(), LadderMemory()
    # 96,000 and 104,000: on both sides of the border between units of one and thousands.
    sizes = [96_000 * 10**4, 104_000 * 10**4]
    if in_quote:
        sizes = [size // 10 for size in sizes]
    seen = [memory.formats(ladder(*([size] * 30)), MARKET, in_quote=in_quote) for size in sizes * 5]
    assert len(set(seen)) == 1
    assert fresh.formats(ladder(*([sizes[1]] * 30)), MARKET, in_quote=in_quote) != seen[-1]
    assert memory.formats(ladder(*([9 * sizes[1]] * 30)), MARKET, in_quote=in_quote) != seen[-1]


def test_sizes_in_the_quote_asset_have_its_unit() -> None:
    formats = LadderMemory().formats(ladder(*([50_000] * 30)), MARKET, in_quote=True)
    # 5 a row at a price of 10: 50 in the quote asset, 1,250 in all.
    assert formats.size == ColumnFormat(6, 0, 2)
    assert formats.size.text(5 * 1_000 * 10**4) == "50.00"
    assert formats.total.text(125 * 1_000 * 10**4) == "1,250.00"
