"""A trade changes the book at its price, in the first or the second event that is not before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.trade_witness import (
    DepthBlock,
    NotHeld,
    TradeBlock,
    TradesHeld,
    TradeWitness,
)
from orderbook_desktop.core.units import INT64_MAX


class Event(NamedTuple):
    """A depth event with one update id, and the prices that it changes."""

    update_id: int
    event_ms: int
    prices: frozenset[int]


class Traded(NamedTuple):
    """A trade of a price."""

    trade_id: int
    event_ms: int
    price: int


def event(update_id: int, event_ms: int, *prices: int) -> Event:
    return Event(update_id, event_ms, frozenset(prices))


def depth(events: Sequence[Event], exponent: int = 8) -> DepthBlock:
    def changed_at(prices: Int64Array) -> tuple[Int64Array, Int64Array]:
        found = [
            (number, index)
            for number, price in enumerate(prices.tolist())
            for index, one in enumerate(events)
            if price in one.prices
        ]
        numbers, indexes = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return numbers, indexes

    ids, times = np.array([one[:2] for one in events], dtype=np.int64).T
    return DepthBlock(ids, ids, times, exponent, changed_at)


def trades(some: Sequence[Traded], exponent: int = 8) -> TradeBlock:
    ids, times, prices = np.array(some, dtype=np.int64).reshape(-1, 3).T
    return TradeBlock(ids, times, prices, exponent)


def held(events: Sequence[Sequence[Event]], some: Sequence[Traded]) -> TradesHeld:
    """Hold trades against blocks of events; all trades come with the first block."""
    witness = TradeWitness()
    for number, block in enumerate(events):
        witness.take_depth(depth(block))
        if not number:
            witness.take_trades(trades(some))
    return witness.finish()


RUN = [event(1, 100), event(2, 200, 7), event(3, 300, 8), event(4, 400, 9), event(5, 500)]


@pytest.mark.parametrize(
    ("trade", "expected"),
    [
        # The first event from its time on is 2, the second is 3.
        (Traded(1, 150, 7), TradesHeld(held=1)),
        (Traded(1, 200, 7), TradesHeld(held=1)),
        (Traded(1, 150, 8), TradesHeld(held=1)),
        (Traded(1, 150, 9), TradesHeld(not_held=1, first_not_held=NotHeld(1, "0.00000009", 150))),
        (Traded(1, 201, 7), TradesHeld(not_held=1, first_not_held=NotHeld(1, "0.00000007", 201))),
    ],
)
def test_the_first_and_the_second_event_count(trade: Traded, expected: TradesHeld) -> None:
    assert held([RUN], [trade]) == expected
    assert held([RUN[:1], RUN[1:2], RUN[2:]], [trade]) == expected


def test_what_no_event_tells_of_is_not_judged() -> None:
    """An event before the first one may have had the change, and so may one after the last."""
    outside = [Traded(1, 90, 9), Traded(2, 100, 9), Traded(3, 450, 9), Traded(4, 501, 9)]
    assert held([RUN], outside) == TradesHeld(not_judged=4)
    assert held([], []) == TradesHeld()


def test_a_gap_ends_the_judgement() -> None:
    after = [event(9, 900), event(10, 1000, 5), event(11, 1100)]
    # By its last event the first run may still hold a trade.
    found = held(
        [RUN, after],
        [
            *(Traded(1, 350, 9), Traded(2, 450, 9), Traded(3, 600, 9), Traded(4, 900, 5)),
            *(Traded(5, 901, 5), Traded(6, 902, 6)),
        ],
    )
    assert found == TradesHeld(2, 1, 3, NotHeld(6, "0.00000006", 902))


def test_trades_in_a_gap_do_not_wait() -> None:
    witness = TradeWitness()
    witness.take_depth(depth(RUN))
    witness.take_depth(depth([event(9, 900)]))
    witness.take_trades(trades([Traded(1, 600, 7), Traded(2, 899, 7)]))
    witness.take_trades(trades([]))
    assert witness._waiting == []
    assert witness.until_ms == 900
    assert witness.finish() == TradesHeld(not_judged=2)


def test_events_that_came_before_are_left_out() -> None:
    """Two recorders stored the same events, and the second one further ones."""
    other = [*RUN[2:], event(6, 600, 5), event(7, 700)]
    some = [Traded(1, 150, 7), Traded(2, 350, 9), Traded(3, 550, 5), Traded(4, 560, 4)]
    expected = TradesHeld(3, 1, 0, NotHeld(4, "0.00000004", 560))
    assert held([RUN, RUN[1:3], other], some) == expected


def test_a_clock_that_goes_back_does_not_move_trades_to_earlier_events() -> None:
    back = [event(1, 100), event(2, 300, 7), event(3, 200, 8), event(4, 400, 9), event(5, 500)]
    assert held([back], [Traded(1, 250, 8)]) == TradesHeld(held=1)
    assert held([back[:2], back[2:]], [Traded(1, 301, 9)]) == TradesHeld(held=1)
    witness = TradeWitness()
    witness.take_depth(depth(back[:2]))
    witness.take_depth(depth(back[2:]))
    # Its time was passed before it came.
    witness.take_trades(trades([Traded(1, 250, 8)]))
    assert witness.finish() == TradesHeld(not_judged=1)


def test_prices_of_different_exponents_are_compared_exactly() -> None:
    def found(price: int, exponent: int, changed: int, wanted: int) -> TradesHeld:
        witness = TradeWitness()
        witness.take_depth(depth([event(1, 100), event(2, 200, changed), event(3, 300)], wanted))
        witness.take_trades(trades([Traded(1, 150, price)], exponent))
        return witness.finish()

    assert found(7, 2, 7_000_000, 8).held
    assert found(7_000_000, 8, 7, 2).held
    assert found(7_000_001, 8, 7, 2).first_not_held == NotHeld(1, "0.07000001", 150)
    assert found(INT64_MAX, 0, INT64_MAX, 8).not_held


def test_one_of_a_thousand_may_be_chance() -> None:
    assert not TradesHeld().contradict
    assert not TradesHeld(held=999, not_held=1).contradict
    assert TradesHeld(held=998, not_held=1).contradict
    assert not TradesHeld(not_judged=5).contradict


class Recording(NamedTuple):
    """Blocks of events, and trades, which come in blocks as well."""

    events: list[list[Event]]
    trades: list[list[Traded]]


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    prices = st.frozensets(st.integers(1, 3), max_size=2)
    events, update_id, event_ms = [], 0, 0
    for _ in range(draw(st.integers(1, 12))):
        update_id += draw(st.sampled_from([1, 1, 1, 1, 2]))
        event_ms += draw(st.integers(0, 3))
        events.append(Event(update_id, event_ms, draw(prices)))
    some, trade_ms = [], 0
    for trade_id in range(draw(st.integers(0, 8))):
        trade_ms += draw(st.integers(0, 6))
        some.append(Traded(trade_id, trade_ms, draw(st.integers(1, 3))))
    ends = draw(st.sets(st.integers(1, len(events))))
    holes = {at for at in range(1, len(events)) if _is_after_hole(events, at)}
    bounds = [0, *sorted((ends | holes) - {len(events)}), len(events)]
    blocks = [events[begin:end] for begin, end in pairwise(bounds)]
    size = draw(st.integers(1, 4))
    return Recording(blocks, [some[at : at + size] for at in range(0, len(some), size)])


def _is_after_hole(events: Sequence[Event], at: int) -> bool:
    return events[at].update_id != events[at - 1].update_id + 1


def plainly(recording: Recording) -> TradesHeld:
    """The result by the rule itself, trade by trade."""
    events = [one for block in recording.events for one in block]
    firsts = {0, *(at for at in range(1, len(events)) if _is_after_hole(events, at))}
    results: list[bool | None] = []
    missed = []
    for trade in (one for block in recording.trades for one in block):
        at = next((at for at, one in enumerate(events) if one.event_ms >= trade.event_ms), None)
        if at is None or at in firsts:
            results.append(None)
            continue
        is_last = at + 1 == len(events) or at + 1 in firsts
        pair = events[at : at + 1] if is_last else events[at : at + 2]
        if any(trade.price in one.prices for one in pair):
            results.append(True)
        elif is_last:
            results.append(None)
        else:
            results.append(False)
            missed.append(NotHeld(trade.trade_id, f"0.0000000{trade.price}", trade.event_ms))
    held, not_held, not_judged = (results.count(kind) for kind in (True, False, None))
    return TradesHeld(held, not_held, not_judged, missed[0] if missed else None)


@given(recordings())
def test_blocks_of_any_size_give_what_the_rule_says(recording: Recording) -> None:
    witness, left = TradeWitness(), list(recording.trades)
    for block in recording.events:
        witness.take_depth(depth(block))
        while left and left[0][0].event_ms <= witness.until_ms:
            witness.take_trades(trades(left.pop(0)))
    for some in left:
        witness.take_trades(trades(some))
    assert witness.finish() == plainly(recording)
