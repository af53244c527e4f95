"""Columns that grow with each event equal those of a builder that is given all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps, WidePrices
from orderbook_desktop.core.heatmap.cells import Columns, Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.edge import EdgeColumns
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.heatmap.tail import DepthTail
from tests.core.archive.runs import Pairs
from tests.core.heatmap.live import MARKET, T0, TICK, LiveMarket, play, steps_of_markets, text

ROWS = (0, 12)


def built(spans: list[tuple[LevelSpan, bool]], edge: EdgeColumns) -> Heatmap:
    builder = HeatmapBuilder(edge.bins, edge.steps, [edge.statistic], edge.side)
    for span, opens in spans:
        builder.take(span.within(edge.bins.from_ms, edge.bins.to_ms), opens=opens)
    return builder.heatmap(MARKET, edge.statistic)


def assert_same(found: Heatmap, expected: Heatmap, *, with_tick: bool = True) -> None:
    count = len(found.columns)
    assert found.scale == expected.scale
    assert (found.step, found.bin_ms) == (expected.step, expected.bin_ms)
    assert found.tick == expected.tick or not with_tick
    assert np.array_equal(found.prices, expected.prices)
    assert found.values.tolist() == expected.values[:count].tolist()
    assert np.array_equal(found.named, expected.named[:count])
    for name in Columns.__struct_fields__:
        known, wanted = getattr(found.columns, name), getattr(expected.columns, name)
        assert known.tolist() == wanted[:count].tolist(), name
    # Nothing is known of later columns.
    assert not expected.columns.has_book[count:].any()


@given(
    steps=steps_of_markets(),
    statistic=st.sampled_from(list(Statistic)),
    side=st.sampled_from(list(Side)),
    bin_ms=st.sampled_from([1, 50, 100, 130, 1000, 5000]),
    step=st.sampled_from([1, 2, 5]),
    from_ms=st.sampled_from([-1000, 0, 120, 700]),
    length_ms=st.sampled_from([900, 3000, 9000]),
    looks=st.sets(st.integers(0, 12)),
    piece_ms=st.sampled_from([1, 150, 60_000]),
)
def test_the_edge_equals_the_builder(
    steps: list[tuple[str, int, Pairs, Pairs, bool]],
    statistic: Statistic,
    side: Side,
    bin_ms: int,
    step: int,
    from_ms: int,
    length_ms: int,
    looks: set[int],
    piece_ms: int,
) -> None:
    market = LiveMarket(DepthTail(MARKET, piece_ms=piece_ms))
    bins = TimeBins(T0 + from_ms, T0 + from_ms + length_ms, bin_ms)
    edge = EdgeColumns(MARKET, bins, PriceSteps(step * TICK, rows=ROWS), statistic, side)
    for number, one in enumerate(steps):
        play(market, one)
        if number in looks:
            edge.follow(market.tail)
            if (found := edge.heatmap()) is not None:
                assert_same(found, built(market.tail.spans(bins.from_ms, bins.to_ms), edge))
    edge.follow(market.tail)
    found = edge.heatmap()
    by_hand = built(market.spans_by_hand(), edge)
    if found is None:
        assert not by_hand.columns.has_book.any()
        return
    assert_same(found, built(market.tail.spans(bins.from_ms, bins.to_ms), edge))
    assert_same(found, by_hand, with_tick=from_ms <= 0)
    part = edge.heatmap(edge.reached - 1)
    assert part is not None
    assert part.values.tolist() == found.values[-1:].tolist()


def edge_of(
    statistic: Statistic = Statistic.MAX, length_ms: int = 1000, bin_ms: int = 100
) -> EdgeColumns:
    bins = TimeBins(T0, T0 + length_ms, bin_ms)
    return EdgeColumns(MARKET, bins, PriceSteps(TICK, rows=ROWS), statistic)


def follow_and_compare(edge: EdgeColumns, market: LiveMarket) -> Heatmap:
    edge.follow(market.tail)
    found = edge.heatmap()
    assert found is not None
    assert_same(found, built(market.tail.spans(edge.bins.from_ms, edge.bins.to_ms), edge))
    return found


def begun(edge: EdgeColumns) -> LiveMarket:
    """A market whose edge has begun, with a bid of 1 at 9 ticks and an offer of 2 at 10."""
    market = LiveMarket(DepthTail(MARKET))
    market.open([(text(9 * TICK), "1")], [(text(10 * TICK), "2")], is_timed=True)
    market.send([], [(text(10 * TICK), "3")], 10)
    follow_and_compare(edge, market)
    return market


def test_rows_without_a_range_are_refused() -> None:
    with pytest.raises(ValueError, match="have a range"):
        EdgeColumns(MARKET, TimeBins(0, 10, 1), PriceSteps(TICK), Statistic.MAX)


def test_an_edge_without_a_tail_s_time_is_empty() -> None:
    edge = edge_of()
    market = LiveMarket(DepthTail(MARKET))
    assert edge.follow(market.tail) is None
    assert edge.heatmap() is None
    assert edge.reached == 0
    market.time_ms = T0 - 5000
    market.open([(text(9 * TICK), "1")], [], is_timed=True)
    assert edge.follow(market.tail) is None
    assert not edge.is_over


@pytest.mark.parametrize("statistic", list(Statistic))
def test_only_changed_columns_are_named(statistic: Statistic) -> None:
    edge = edge_of(statistic)
    market = begun(edge)
    assert edge.follow(market.tail) is None
    market.send([(text(9 * TICK), "4")], [], 30)
    assert edge.follow(market.tail) == 0
    market.send([(text(9 * TICK), "2")], [], 400)
    assert edge.follow(market.tail) == 0
    assert edge.reached == 5
    market.send([(text(9 * TICK), "5")], [], 5)
    assert edge.follow(market.tail) == 4
    follow_and_compare(edge, market)


@pytest.mark.parametrize("statistic", list(Statistic))
def test_a_finer_quantity_changes_the_unit_of_all_columns(statistic: Statistic) -> None:
    edge = edge_of(statistic)
    market = begun(edge)
    market.send([], [], 150)
    edge.follow(market.tail)
    market.send([(text(9 * TICK), "1.5")], [], 20)
    assert edge.follow(market.tail) == 0
    assert follow_and_compare(edge, market).scale.quantity == 1


@pytest.mark.parametrize("statistic", list(Statistic))
def test_another_scale_begins_the_edge_anew(statistic: Statistic) -> None:
    edge = edge_of(statistic)
    market = begun(edge)
    market.send([(text(9 * TICK), "0.000000001"), ("0.0012345678", "1")], [], 150)
    market.send([(text(9 * TICK), "2")], [], 20)
    follow_and_compare(edge, market)
    market.send([(text(8 * TICK), "2.5")], [(text(10 * TICK), "0")], 120)
    follow_and_compare(edge, market)


@pytest.mark.parametrize("statistic", list(Statistic))
@pytest.mark.parametrize("quantity", ["9000000000.00000000", "90000000000"])
def test_the_widest_sizes_do_not_wrap(statistic: Statistic, quantity: str) -> None:
    edge = edge_of(statistic)
    market = begun(edge)
    market.send([(text(9 * TICK), "0.00000001")], [(text(10 * TICK), quantity)], 10)
    for _ in range(3):
        market.send([(text(9 * TICK), "0.00000001")], [(text(11 * TICK), quantity)], 70)
        follow_and_compare(edge, market)


@pytest.mark.parametrize("statistic", list(Statistic))
def test_the_edge_ends_with_its_bins(statistic: Statistic) -> None:
    edge = edge_of(statistic)
    market = begun(edge)
    market.send([(text(9 * TICK), "4")], [], 5000)
    follow_and_compare(edge, market)
    assert edge.is_over
    assert edge.reached == len(edge.bins)
    market.send([(text(9 * TICK), "5")], [], 50)
    assert edge.follow(market.tail) is None


def test_a_stretch_after_the_bins_is_not_in_them() -> None:
    edge = edge_of()
    market = begun(edge)
    market.lose()
    market.time_ms += 5000
    market.open([(text(9 * TICK), "1")], [], is_timed=True)
    assert follow_and_compare(edge, market).columns.has_book.sum() == 1
    assert edge.is_over


def test_prices_that_no_unit_holds_are_refused() -> None:
    steps = PriceSteps(TICK * 10**10, 18, rows=(0, 9))
    edge = EdgeColumns(MARKET, TimeBins(T0, T0 + 1000, 100), steps, Statistic.LAST)
    market = begun(edge)
    market.send([], [("10", "1"), (text(10 * TICK), "0")], 10)
    edge.follow(market.tail)
    with pytest.raises(WidePrices):
        edge.heatmap()


def test_a_level_that_comes_and_goes_for_ever_takes_no_memory() -> None:
    edge = edge_of(length_ms=10_000)
    market = begun(edge)
    far = text(TICK)
    for _ in range(1500):
        market.send([(far, "4")], [], 1)
        market.send([(far, "0")], [], 1)
    edge.follow(market.tail)
    for _ in range(1500):
        market.send([(far, "4")], [], 1)
        market.send([(far, "0")], [], 1)
    found = follow_and_compare(edge, market)
    assert found.columns.best_bids[edge.reached - 1] == 9 * TICK


@pytest.mark.parametrize("statistic", list(Statistic))
def test_two_stretches_may_share_a_column(statistic: Statistic) -> None:
    edge = edge_of(statistic)
    market = begun(edge)
    market.lose()
    follow_and_compare(edge, market)
    anew = edge_of(statistic)
    follow_and_compare(anew, market)
    market.time_ms += 20
    market.open([(text(8 * TICK), "1")], [(text(10 * TICK), "1")], is_timed=True)
    follow_and_compare(edge, market)
    market.send([(text(8 * TICK), "2")], [], 15)
    found = follow_and_compare(edge, market)
    assert found.covered_ms.tolist() == [25]
    assert_same(found, follow_and_compare(anew, market))
    market.lose()
    market.time_ms += 300
    market.open([(text(7 * TICK), "1")], [], is_timed=True)
    follow_and_compare(edge, market)
    assert edge.reached == 4
