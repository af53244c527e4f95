"""The flows of the last seconds slide with time, and keep to what is true."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.heatmap.recent_flows import RecentFlows, trades_of
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.tape import Tape, TapeArrays
from orderbook_desktop.core.units import Scale
from tests.core.heatmap.live import MARKET, T0, TICK
from tests.core.heatmap.made_market import LOT, MadeMarket

WINDOW_MS = 10_000
BID, ASK = (False, 2), (True, 3)


def tape_of(market: MadeMarket, missing: tuple[int, ...] = ()) -> Tape:
    """The trades of a market; `missing` are the places of those that did not come."""
    kept = [place for place in range(len(market.trades)) if place not in missing]
    columns = [np.array([market.trades[place][part] for place in kept]) for part in range(4)]
    tape, none = Tape(MARKET), np.zeros(len(kept), dtype=np.bool_)
    times, prices, sizes = (column.astype(np.int64) for column in columns[:3])
    sold = columns[3].astype(np.bool_)
    tape.take(TapeArrays(np.array(kept, dtype=np.int64), times, prices, sizes, sold, none, Scale()))
    return tape


def tail_of(market: MadeMarket, events: int) -> DepthTail:
    tail = DepthTail(MARKET)
    assert market.start is not None
    tail.opened(market.start)
    for event in market.events[:events]:
        tail.applied(event)
    return tail


def busy(count: int = 300, seed: int = 1) -> MadeMarket:
    """A market with an event each 100 ms, and a trade now and then."""
    market, chosen = MadeMarket({BID: 500, ASK: 500}), np.random.default_rng(seed)
    for number in range(count):
        key = (BID, ASK)[number % 2]
        market.add(key, int(chosen.integers(1, 5)))
        if number % 3:
            market.pull(key, int(chosen.integers(1, 5)))
        if number % 5 == 0:
            market.trade(key, int(chosen.integers(1, 5)), float(chosen.random()))
        market.event(T0 + 100 * number)
    return market


@given(seed=st.integers(0, 5))
def test_the_last_seconds_are_within_bounds_after_each_step(seed: int) -> None:
    market = busy(seed=seed)
    tape, tail, recent = tape_of(market), tail_of(market, 0), RecentFlows(WINDOW_MS)
    for number, event in enumerate(market.events):
        tail.applied(event)
        if number % 3 == 0:
            recent.follow(tail, tape)
    recent.follow(tail, tape)
    covered_ms = recent.covered_ms
    assert WINDOW_MS - 2_000 <= covered_ms <= WINDOW_MS
    # The parts, and the events of the newest one that was computed.
    newest = recent._newest
    assert newest is not None
    end = next((n for n, one in enumerate(market.events) if one.event_ms >= newest.to_ms), 300)
    begin = min(recent._parts) * (WINDOW_MS // 10)
    first = next(n for n, one in enumerate(market.events) if one.event_ms >= begin)
    for key in (BID, ASK):
        truths = [truth[key] for truth in market.truths[first:end] if key in truth]
        one = recent.between(key[1] * TICK, key[1] * TICK)
        assert one.is_whole
        assert one.flow.added_low <= sum(truth.added for truth in truths) * LOT
        assert one.flow.pulled_low <= sum(truth.pulled for truth in truths) * LOT
        assert one.flow.added_low > 0
        assert one.change == LOT * sum(
            truth.added - truth.traded - truth.pulled for truth in truths
        )
    both = recent.between(2 * TICK, 3 * TICK)
    assert both.change == sum(recent.between(n * TICK, n * TICK).change for n in (2, 3))


def test_parts_come_one_after_the_other_and_go() -> None:
    market = busy()
    tape, tail, recent = tape_of(market), tail_of(market, 200), RecentFlows(WINDOW_MS)
    covered = []
    for _ in range(14):
        recent.follow(tail, tape)
        covered.append(recent.covered_ms)
    assert covered == sorted(covered)
    assert covered[0] < 4_000
    assert covered[-1] > WINDOW_MS - 2_000
    for event in market.events[200:]:
        tail.applied(event)
    recent.follow(tail, tape)
    # Another tail begins anew, and a gap leaves nothing to compute.
    recent.follow(DepthTail(MARKET), tape)
    assert recent.covered_ms == 0
    assert recent.between(0, 1 << 60).flow.added_high == 0


def test_a_finer_scale_makes_all_finer() -> None:
    market = busy()
    tail, tape, recent = tail_of(market, 200), tape_of(market), RecentFlows(WINDOW_MS)
    for _ in range(14):
        recent.follow(tail, tape)
    before = recent.between(2 * TICK, 2 * TICK)
    tape.take(
        TapeArrays(
            np.array([10_000]), np.array([T0 + 29_000]), np.array([10 * 2 * TICK]),
            np.array([5]), np.array([True]), np.array([False]), Scale(9, 9),
        )
    )  # fmt: skip
    for event in market.events[200:206]:
        tail.applied(event)
    recent.follow(tail, tape)
    assert recent.scale == Scale(8, 9)
    after = recent.between(2 * TICK, 2 * TICK)
    assert after.flow.added_low > 5 * before.flow.added_low


def test_missing_trades_are_gaps() -> None:
    market = busy()
    assert trades_of(Tape(MARKET), T0).gaps[0][0] == 0
    times = [trade[0] for trade in market.trades]
    whole = trades_of(tape_of(market), times[10])
    assert whole.gaps == ()
    assert whole.times_ms[0] == times[10]
    assert trades_of(tape_of(market), T0 - 5).gaps == ((0, times[0]),)
    holed = trades_of(tape_of(market, (20, 21)), times[10])
    assert holed.gaps == ((times[19], times[22]),)


def test_all_trades_of_a_time_are_read_of_a_long_tape() -> None:
    count = 700
    numbers, same = np.arange(count, dtype=np.int64), np.ones(count, dtype=np.int64)
    none = np.zeros(count, dtype=np.bool_)
    tape = Tape(MARKET)
    tape.take(TapeArrays(numbers, T0 + numbers, same, same, none, none, Scale()))
    assert len(trades_of(tape, T0 + 100).times_ms) == count - 100
