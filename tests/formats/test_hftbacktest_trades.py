"""Places of trades among levels, by chance, against what hftbacktest's two sides need."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.levels import EMPTY
from orderbook_desktop.formats.hftbacktest_trades import (
    FOR_EXCHANGE,
    FOR_LOCAL,
    TradeColumns,
    TradePlaces,
)

# Levels and trades: times for the exchange and for the local side; a trade without is repaired.
_Levels = list[tuple[int, int]]
_Trades = list[tuple[int, int | None]]
# A row of the array: flags, times, and the trade's index (None: a level).
_Row = tuple[int, int, int, int | None]
_BOTH = FOR_EXCHANGE | FOR_LOCAL

_levels = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12).map(
    lambda steps: [
        (
            100 + sum(step for step, _ in steps[: at + 1]),
            120 + sum(step for _, step in steps[: at + 1]),
        )
        for at in range(len(steps))
    ]
)
_trades = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 40))), max_size=14
).map(
    lambda steps: [
        (
            98 + sum(step for step, _ in steps[: at + 1]),
            None if late is None else 98 + sum(step for step, _ in steps[: at + 1]) + late,
        )
        for at, (_, late) in enumerate(steps)
    ]
)


def _columns(trades: _Trades, first: int) -> TradeColumns:
    ones = np.ones(len(trades))
    return TradeColumns(
        np.array([time for time, _ in trades], dtype=np.int64),
        np.array([local or 0 for _, local in trades], dtype=np.int64),
        np.zeros(len(trades), dtype=np.bool_),
        np.array([local is None for _, local in trades], dtype=np.bool_),
        ones * np.arange(first, first + len(trades)),
        ones,
    )


def _placed(levels: _Levels, trades: _Trades, cuts: list[int]) -> list[_Row]:
    """The rows of the array, with the levels in blocks that are cut at `cuts`."""
    places, rows = TradePlaces(), list[_Row]()
    # Trades of later come later.
    early = len(trades)
    if len(cuts) > 2:
        ends = levels[cuts[1] - 1] if cuts[1] else (0, 0)
        needed = [time <= ends[0] or (local or time) <= ends[1] for time, local in trades]
        early = len(trades) - next((at for at, one in enumerate(needed[::-1]) if one), len(trades))
    places.add(_columns(trades[:early], 0))
    for number, (begin, end) in enumerate(pairwise(cuts)):
        if number == 1:
            places.add(_columns(trades[early:], early))
        block = levels[begin:end]
        rows += _among(places, block)
    return rows + _among(places, [], is_last=True)


def _among(places: TradePlaces, block: _Levels, *, is_last: bool = False) -> list[_Row]:
    times = [np.array(column, dtype=np.int64) for column in zip(*block, strict=True)]
    exchange_ns, local_ns = times if block else (EMPTY, EMPTY)
    placed = places.among(exchange_ns, local_ns, is_last=is_last)
    rows: list[_Row] = [(_BOTH, *level, None) for level in block]
    if placed is None:
        return rows
    trades = placed.trades
    found = zip(
        placed.places.tolist(),
        placed.flags.tolist(),
        trades.exchange_ns.tolist(),
        trades.local_ns.tolist(),
        trades.prices.tolist(),
        strict=True,
    )
    for shift, (place, *times_and_flags, price) in enumerate(found):
        flags, exchange, local = times_and_flags
        rows.insert(place + shift, (flags, exchange, local, int(price)))
    return rows


@st.composite
def _cut(draw: st.DrawFn) -> tuple[_Levels, _Trades, list[int]]:
    levels, trades = draw(_levels), draw(_trades)
    inner = draw(st.lists(st.integers(0, len(levels)), max_size=3))
    return levels, trades, [0, *sorted(inner), len(levels)]


@given(_cut())
def test_each_side_sees_every_trade_once_and_in_its_own_order(
    case: tuple[_Levels, _Trades, list[int]],
) -> None:
    levels, trades, cuts = case
    rows = _placed(levels, trades, cuts)
    traded = [row for row in rows if row[0] & FOR_EXCHANGE]
    heard = [row for row in rows if row[0] & FOR_LOCAL]
    for side in (traded, heard):
        seen = [index for *_, index in side if index is not None]
        assert sorted(seen) == list(range(len(trades)))
        assert [row[1:3] for row in side if row[3] is None] == levels
    assert all(row[0] for row in rows)
    # As hftbacktest's validate_event_order has it.
    assert all(before[1] <= after[1] for before, after in pairwise(traded))
    assert all(before[2] <= after[2] for before, after in pairwise(heard))
    # For the exchange: before the first level that is no earlier, and behind all others.
    order = [index for *_, index in traded if index is not None]
    assert order == sorted(order)
    for at, (*_, index) in enumerate(traded):
        if index is not None:
            before = [row for row in traded[:at] if row[3] is None]
            assert len(before) == sum(time < trades[index][0] for time, _ in levels)
    # On the local side: as received, and a repaired one where the exchange has it.
    for at, (*_, index) in enumerate(heard):
        if index is None:
            continue
        time, local = trades[index]
        before = [row for row in heard[:at] if row[3] is None]
        if local is None:
            assert len(before) == sum(earlier < time for earlier, _ in levels)
        else:
            assert len(before) == sum(earlier < local for _, earlier in levels)
    received = [trades[index][1] for *_, index in heard if index is not None]
    arrivals = [local for local in received if local is not None]
    assert arrivals == sorted(arrivals)


@given(_cut())
def test_blocks_and_the_clock_make_no_difference(case: tuple[_Levels, _Trades, list[int]]) -> None:
    levels, trades, cuts = case
    whole = _placed(levels, trades, [0, len(levels)])
    assert _placed(levels, trades, cuts) == whole
    # What is counted before the local times are moved is what is written.
    moved = [(time, local + 50) for time, local in levels]
    heard = [(time, None if local is None else local + 50) for time, local in trades]
    assert [row[0] for row in _placed(moved, heard, cuts)] == [row[0] for row in whole]


def test_a_trade_is_one_row_where_both_sides_see_it_at_one_place() -> None:
    rows = _placed([(100, 120), (200, 220)], [(150, 160), (150, None), (199, 230)], [0, 2])
    assert [(row[0], row[3]) for row in rows] == [
        (_BOTH, None),
        (_BOTH, 0),
        (_BOTH, 1),
        (FOR_EXCHANGE, 2),
        (_BOTH, None),
        (FOR_LOCAL, 2),
    ]
    assert [row[2] for row in rows[1:3]] == [160, 160]


def test_a_trade_that_comes_too_late_to_be_placed_makes_no_time_go_back() -> None:
    places = TradePlaces()
    assert places.among(np.array([100, 200]), np.array([120, 220])) is None
    places.add(_columns([(150, 160)], 0))
    placed = places.among(EMPTY, EMPTY, is_last=True)
    assert placed is not None
    assert placed.trades.exchange_ns.tolist() == [200]
    assert placed.trades.local_ns.tolist() == [220]
