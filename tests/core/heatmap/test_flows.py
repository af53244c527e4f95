"""What was added, traded and pulled lies within the bounds that are stated, and no bound is wider
than the assignments of trades to events make it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Side
from orderbook_desktop.core.heatmap.flows import (
    Flow,
    Flows,
    FlowTrades,
    PriceFlow,
    bounds,
    flows_of,
    of_rows,
)
from orderbook_desktop.core.heatmap.spans import LevelSpan, live_span
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.units import Scale
from tests.core.heatmap.live import T0, TICK
from tests.core.heatmap.made_market import LOT, MadeMarket, Truth, made_markets

END = T0 + 10**7


def assignments(firsts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Each way in which trades lie in their first or their second event, in order."""
    counts = [len(list(group)) for _, group in groupby(firsts)]
    for early in product(*(range(count + 1) for count in counts)):
        late = [by for count, n in zip(counts, early, strict=True) for by in _late(n, count)]
        yield tuple(first + by for first, by in zip(firsts, late, strict=True))


def _late(early: int, count: int) -> list[int]:
    return [0] * early + [1] * (count - early)


def bounds_by_hand(
    deltas: dict[int, int], trades: Sequence[tuple[int, int]], begin: int, end: int
) -> Flow:
    found: list[tuple[int, int, int]] = []
    for events in assignments([first for first, _ in trades]):
        traded = dict.fromkeys(range(begin, end), 0)
        for event, (_, quantity) in zip(events, trades, strict=True):
            if begin <= event < end:
                traded[event] += quantity
        nets = [deltas.get(event, 0) + traded[event] for event in range(begin, end)]
        added, pulled = sum(max(net, 0) for net in nets), sum(max(-net, 0) for net in nets)
        total = sum(traded.values())
        assert added - pulled - total == sum(deltas.get(event, 0) for event in range(begin, end))
        found.append((added, total, pulled))
    lows = [min(sums) for sums in zip(*found, strict=True)]
    highs = [max(sums) for sums in zip(*found, strict=True)]
    return Flow(*(end for ends in zip(lows, highs, strict=True) for end in ends))


@given(
    deltas=st.dictionaries(st.integers(2, 7), st.integers(-9, 9), max_size=6),
    trades=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 6)), max_size=9).map(
        lambda trades: sorted(trades, key=lambda trade: trade[0])
    ),
)
def test_bounds_are_those_over_all_assignments(
    deltas: dict[int, int], trades: list[tuple[int, int]]
) -> None:
    assert bounds(deltas, trades, 2, 8) == bounds_by_hand(deltas, trades, 2, 8)


def flows(
    market: MadeMarket,
    from_ms: int = T0,
    to_ms: int = END,
    cuts: Sequence[int] = (),
    gaps: tuple[tuple[int, int], ...] = (),
    steps: PriceSteps | None = None,
    side: Side = Side.BOTH,
) -> Flows:
    spans = spans_of(market, cuts)
    return flows_of(
        spans, market.flow_trades(gaps), from_ms, to_ms, steps or PriceSteps(TICK), side
    )


def spans_of(market: MadeMarket, cuts: Sequence[int] = ()) -> list[tuple[LevelSpan, bool]]:
    assert market.start is not None
    whole = live_span(market.start, market.events, T0, T0)
    if not cuts:
        return [(whole, True)]
    spans, begin = [], 0
    for end in sorted({*(cut for cut in cuts if cut < len(market.events)), len(market.events)}):
        part = whole.between(begin, end)
        spans.append((part, begin == 0))
        begin = end
    return spans


def truth_of(market: MadeMarket, begin: int, end: int) -> dict[int, tuple[Truth, int, int]]:
    """By price: what is true of these events, and the net sums of what was added and pulled."""
    found: dict[int, tuple[Truth, int, int]] = {}
    for truth in market.truths[begin:end]:
        for (_, tick), one in truth.items():
            known, plus, minus = found.get(tick * TICK, (Truth(), 0, 0))
            net = one.added - one.pulled
            found[tick * TICK] = (
                Truth(
                    known.added + one.added * LOT,
                    known.traded + one.traded * LOT,
                    known.pulled + one.pulled * LOT,
                ),
                plus + max(net, 0) * LOT,
                minus + max(-net, 0) * LOT,
            )
    return found


@given(
    market=made_markets(),
    first=st.integers(2, 6),
    count=st.integers(0, 8),
    cuts=st.sets(st.integers(1, 8), max_size=3),
)
def test_the_truth_lies_within_the_bounds(
    market: MadeMarket, first: int, count: int, cuts: set[int]
) -> None:
    times = [event.event_ms for event in market.events]
    from_ms = times[min(first, len(times) - 1)]
    end = first + count
    to_ms = times[end] if end < len(times) else END
    # Events at one time are in or out together.
    begin = max(2, int(np.searchsorted(times, from_ms)))
    end = int(np.searchsorted(times, to_ms))
    found = flows(market, from_ms, to_ms, sorted(cuts))
    by_price = {one.price: one for one in found.prices}
    for price, (truth, plus, minus) in truth_of(market, begin, end).items():
        one = by_price.pop(price, PriceFlow(price))
        assert one.is_whole
        assert one.flow.added_low <= plus <= one.flow.added_high
        assert one.flow.pulled_low <= minus <= one.flow.pulled_high
        assert one.flow.traded_low <= truth.traded <= one.flow.traded_high
        assert truth.added >= one.flow.added_low
        assert truth.pulled >= one.flow.pulled_low
        assert one.change == truth.added - truth.traded - truth.pulled
    for one in by_price.values():
        # A trade near an edge may have been inside.
        assert one.flow.traded_low == 0
        assert one.change == 0
    assert found.total.change == sum(one.change for one in found.prices)


def test_what_is_pulled_and_what_is_traded_are_told_apart() -> None:
    market = MadeMarket({(False, 2): 10})
    for number in range(2):
        market.event(T0 + 100 * number)
    market.trade((False, 2), 3, 1.0)
    market.event(T0 + 300)
    market.pull((False, 2), 2)
    market.event(T0 + 400)
    market.event(T0 + 500)
    (one,) = flows(market).prices
    # The trade may be in the third event or in the fourth; in the fourth one it would have been
    # pulled first, and 1 added later.
    assert one == PriceFlow(
        2 * TICK, Flow(0, 1 * LOT, 3 * LOT, 3 * LOT, 2 * LOT, 3 * LOT), -5 * LOT
    )


def steady(levels: dict[tuple[bool, int], int], horizon: Horizon | None) -> MadeMarket:
    market = MadeMarket(levels, horizon)
    for number in range(3):
        market.event(T0 + 100 * number)
    return market


@pytest.mark.parametrize("horizon", [None, Horizon(2 * TICK, 5 * TICK)])
def test_a_level_beyond_the_known_depth_begins_with_its_first_event(
    horizon: Horizon | None,
) -> None:
    market = steady({}, horizon)
    market.add((True, 7), 4)
    market.event(T0 + 300)
    market.trade((True, 7), 1, 1.0)
    market.pull((True, 7), 1)
    market.event(T0 + 400)
    market.event(T0 + 500)
    (one,) = flows(market).prices
    assert one == PriceFlow(7 * TICK, Flow(0, 1 * LOT, LOT, LOT, LOT, 2 * LOT), -2 * LOT, False)
    # Named before the time in question, it is known.
    (later,) = flows(market, T0 + 400).prices
    assert later.is_whole


def test_a_trade_at_a_price_that_no_event_named() -> None:
    trades = FlowTrades(
        Scale(),
        np.array([T0 + 250, T0 + 250]),
        np.array([4 * TICK, 9 * TICK]),
        np.array([LOT, LOT]),
        np.array([False, False]),
    )
    market = steady({}, Horizon(2 * TICK, 5 * TICK))
    market.event(T0 + 300)
    market.event(T0 + 400)
    found = flows_of(spans_of(market), trades, T0, END, PriceSteps(TICK))
    # Within the known depth it came and went between two events; beyond, nothing is known.
    assert found.prices == (
        PriceFlow(4 * TICK, Flow(LOT, LOT, LOT, LOT, 0, 0)),
        PriceFlow(9 * TICK, Flow(), 0, False),
    )


def test_prices_are_summed_in_steps_and_rows_and_by_side() -> None:
    market = steady({(False, 1): 5, (False, 2): 5, (True, 3): 5, (True, 4): 5}, Horizon())
    for key in ((False, 1), (False, 2), (True, 3), (True, 4)):
        market.pull(key, key[1])
    market.event(T0 + 300)
    pulled = [(one.price // TICK, one.flow.pulled_low // LOT) for one in flows(market).prices]
    assert pulled == [(1, 1), (2, 2), (3, 3), (4, 4)]
    wide = flows(market, steps=PriceSteps(2 * TICK))
    assert [(one.price // TICK, one.flow.pulled_low // LOT) for one in wide.prices] == [
        (0, 1),
        (2, 5),
        (4, 4),
    ]
    assert wide.total.flow.pulled_high == 10 * LOT
    some = flows(market, steps=PriceSteps(TICK, rows=(2, 2)))
    assert [one.price // TICK for one in some.prices] == [2, 3]
    bids, asks = (flows(market, side=side) for side in (Side.BIDS, Side.ASKS))
    assert [one.price // TICK for one in bids.prices] == [1, 2]
    assert [one.price // TICK for one in asks.prices] == [3, 4]


def test_time_without_trades_is_not_computed() -> None:
    market = steady({(False, 2): 9}, Horizon())
    for number in range(3, 12):
        market.pull((False, 2), 1)
        market.event(T0 + 100 * number)
    whole = flows(market, T0 + 300, T0 + 1100)
    assert whole.is_covered
    assert whole.covered_ms == 800
    assert whole.total.flow.pulled_low == 8 * LOT
    gap = (T0 + 510, T0 + 640)
    found = flows(market, T0 + 300, T0 + 1100, gaps=(gap, (END, END + 5)))
    # The events at 600 and 700 may have a trade that is missing, and so may that at 800.
    assert found.total.flow.pulled_low == (3 + 2) * LOT
    assert found.covered_ms == 210 + 300
    assert not found.is_covered
    assert flows(market, gaps=((0, END),)).prices == ()


def test_quiet_time_is_covered_and_a_stretch_begins_with_its_third_event() -> None:
    market = steady({(False, 2): 9}, Horizon())
    market.pull((False, 2), 1)
    market.event(T0 + 9_000)
    assert flows(market, T0 + 3000, T0 + 4000).covered_ms == 1000
    assert flows(market).covered_ms == 9_000 - 100
    assert flows(market, T0 + 8000, END).covered_ms == 1000
    market = MadeMarket({(False, 2): 9})
    market.event(T0)
    assert flows(market) == Flows(Scale(), TICK, T0, END, 0, ())


def test_two_stretches_are_summed() -> None:
    market = steady({(False, 2): 9}, Horizon())
    market.pull((False, 2), 1)
    market.event(T0 + 300)
    spans = spans_of(market)
    found = flows_of([*spans, *spans], FlowTrades(), T0, END, PriceSteps(TICK))
    assert found.total.flow.pulled_low == 2 * LOT
    assert flows_of([], FlowTrades(), T0, END, PriceSteps(TICK)).prices == ()


def test_a_level_named_twice_in_an_event_has_the_last_quantity() -> None:
    market = steady({(True, 2): 9}, Horizon())
    market.pull((True, 2), 1)
    market.event(T0 + 300)
    span, _ = spans_of(market)[0]
    lanes, events = span.lanes.tolist(), span.events.tolist()
    at = events.index(3)
    twice = LevelSpan(
        **{
            **{name: getattr(span, name) for name in LevelSpan.__struct_fields__},
            "lanes": np.insert(span.lanes, at, lanes[at]),
            "events": np.insert(span.events, at, 3),
            "quantities": np.insert(span.quantities, at, 77 * LOT),
        }
    )
    found = flows_of([(twice, True)], FlowTrades(), T0, END, PriceSteps(TICK))
    assert found.total.flow == Flow(0, 0, 0, 0, LOT, LOT)


def test_the_widest_sizes_do_not_wrap() -> None:
    huge = (1 << 62) // LOT
    market = steady({(True, 2): huge, (True, 3): huge}, Horizon())
    for number in range(3, 7):
        for tick in (2, 3):
            (market.pull if number % 2 else market.add)((True, tick), huge)
        market.event(T0 + 100 * number)
    total = flows(market).total
    assert total.flow.pulled_low == total.flow.added_low == 4 * huge * LOT


def test_a_burst_has_the_bounds_of_its_trades() -> None:
    trades = [(2, 3)] * 12 + [(3, 5)] * 12
    deltas = {2: -20, 3: -50, 4: -30}
    small = bounds(deltas, trades, 2, 6)
    wide = 1 << 61
    large = bounds(
        {event: delta * wide for event, delta in deltas.items()},
        [(event, quantity * wide) for event, quantity in trades],
        2,
        6,
    )
    assert large == small.times(wide)
    assert small == bounds_by_hand(deltas, trades, 2, 6)


def test_a_span_is_narrowed_to_the_rows_that_count() -> None:
    market = steady({(False, 1): 5, (True, 3): 5, (True, 4): 5}, Horizon())
    market.pull((True, 3), 1)
    market.event(T0 + 300)
    span, _ = spans_of(market)[0]
    assert of_rows(span, PriceSteps(TICK)) is span
    part = of_rows(span, PriceSteps(TICK, rows=(3, 1)))
    assert part.quantities.tolist() == [5 * LOT, 4 * LOT]
    found = flows_of([(part, True)], FlowTrades(), T0, END, PriceSteps(TICK))
    assert found.prices == flows(market).prices
