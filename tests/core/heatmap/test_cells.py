"""What cells say: known depth and gaps, sums that cannot wrap, and what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest

from orderbook_desktop.core.events import decode_diff
from orderbook_desktop.core.heatmap import builder as builder_module
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import (
    HeatmapBuilder,
    PriceSteps,
    TooManyCells,
    WidePrices,
    row_numbers,
)
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.exact import halves, product, sums_of_groups
from orderbook_desktop.core.heatmap.spans import AT_START, LevelSpan, live_span
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.units import INT64_MAX, Scale
from tests.core.archive.runs import run_of, spelt
from tests.core.heatmap.test_builder import T0, built, section_of
from tests.core.reference_book import snapshot_payload

Level = tuple[int, int, bool]


def span_with(
    start: Sequence[Level],
    events: Sequence[tuple[int, Sequence[Level]]] = (),
    *,
    until_ms: int = 100,
    from_ms: int = 0,
    horizon: Horizon | None = None,
    scale: Scale | None = None,
    first_id: int = 10,
) -> LevelSpan:
    """A span of levels (price, quantity, whether an ask); times are counted from 0."""
    entries = [((price, is_ask), AT_START, quantity) for price, quantity, is_ask in start]
    for number, (_, levels) in enumerate(events):
        entries += [((price, is_ask), number, quantity) for price, quantity, is_ask in levels]
    entries.sort(
        key=lambda entry: (entry[0][1], entry[0][0] * (1 if entry[0][1] else -1), entry[1])
    )
    lanes = list(dict.fromkeys(entry[0] for entry in entries))
    prices = [price for price, _ in lanes]
    return LevelSpan(
        scale or Scale(),
        int(np.gcd.reduce(np.array(prices, dtype=np.int64))) or 1,
        horizon,
        from_ms,
        until_ms,
        first_id,
        np.arange(first_id + 1, first_id + 1 + len(events)),
        np.array([time for time, _ in events], dtype=np.int64),
        np.array(prices, dtype=np.int64),
        np.array([is_ask for _, is_ask in lanes], dtype=np.bool_),
        np.array([lanes.index(key) for key, _, _ in entries], dtype=np.int64),
        np.array([event for _, event, _ in entries], dtype=np.int64),
        np.array([quantity for _, _, quantity in entries], dtype=np.int64),
    )


def made_of(
    spans: Sequence[LevelSpan],
    bins: TimeBins,
    step: int,
    statistic: Statistic = Statistic.MAX,
    rows: tuple[int, int] | None = None,
    opens: Sequence[bool] = (),
) -> Heatmap:
    made = HeatmapBuilder(bins, PriceSteps(step, rows=rows), [statistic])
    for number, span in enumerate(spans):
        made.take(span, opens=opens[number] if opens else number == 0)
    return made.heatmap("BTCUSDT", statistic)


def test_a_level_that_moves_inside_a_row_in_one_event_raises_no_maximum() -> None:
    moved = [(10, [(7, 0, True), (8, 501, True)])]
    span = span_with([(7, 501, True)], moved)
    assert made_of([span], TimeBins(0, 100, 100), 10).values.tolist() == [[501]]
    # In two events it is gone, or there twice, in between.
    twice = [(10, [(8, 501, True)]), (10, [(7, 0, True)])]
    span = span_with([(7, 501, True)], twice)
    assert made_of([span], TimeBins(0, 100, 100), 10).values.tolist() == [[1002]]


def test_what_stood_until_the_column_begins_is_not_in_it() -> None:
    span = span_with([(7, 501, True)], [(50, [(7, 101, True)])])
    assert made_of([span], TimeBins(0, 100, 50), 1).values.tolist() == [[501], [101]]
    # A first event at the same time left it there.
    span = span_with([(7, 501, True)], [(50, [(9, 1, True)]), (50, [(7, 101, True)])])
    assert made_of([span], TimeBins(0, 100, 50), 1).values.tolist() == [[501, 0], [501, 1]]


def test_beyond_the_horizon_only_named_prices_are_known() -> None:
    start = [(100, 5, False), (99, 5, False), (101, 5, True), (102, 5, True)]
    named = [(30, [(95, 7, False)]), (60, [(95, 0, False), (104, 9, True)])]
    span = span_with(start, named, horizon=Horizon(99, 102))
    heatmap = made_of([span], TimeBins(0, 100, 25), 1, Statistic.LAST, rows=(94, 12))
    prices = heatmap.prices.tolist()
    assert prices == list(range(94, 106))
    unknown = [[prices[row] for row in column.nonzero()[0]] for column in heatmap.unknown]
    far = [94, 95, 96, 97, 98, 103, 104, 105]
    without_bid, without_both = (
        [price for price in far if price not in gone] for gone in ((95,), (95, 104))
    )
    assert unknown == [far, without_bid, without_both, without_both]
    bounds = [[prices[row] for row in column.nonzero()[0]] for column in heatmap.lower_bound]
    assert bounds == [[], [95], [95, 104], [95, 104]]
    assert heatmap.values[:, 1].tolist() == [0, 7, 0, 0]
    assert heatmap.columns.known_from.tolist() == [99] * 4
    assert heatmap.columns.known_to.tolist() == [102] * 4


def test_a_step_that_reaches_beyond_the_horizon_is_a_lower_bound() -> None:
    start = [(100, 5, False), (98, 5, False), (101, 5, True)]
    span = span_with(start, horizon=Horizon(98, None))
    heatmap = made_of([span], TimeBins(0, 100, 100), 5)
    # 95 to 99 reaches below 98; above there is no end.
    assert heatmap.prices.tolist() == [95, 100]
    assert heatmap.lower_bound.tolist() == [[True, False]]
    assert heatmap.in_time(1).lower_bound.tolist() == [[True, False]]


def test_where_it_is_not_known_how_deep_a_book_is_known_nothing_is_proven() -> None:
    span = span_with([(100, 5, False), (102, 5, True)])
    heatmap = made_of([span], TimeBins(0, 100, 100), 1, rows=(100, 3))
    assert heatmap.unknown.tolist() == [[False, True, False]]
    assert heatmap.lower_bound.tolist() == [[True, False, True]]
    assert heatmap.columns.known_from[0] > heatmap.columns.known_to[0]


def test_the_known_range_of_a_column_is_that_of_all_its_books() -> None:
    near = span_with([(100, 5, False)], until_ms=60, horizon=Horizon(95, 105))
    wider = span_with([(100, 5, False)], from_ms=60, until_ms=100, horizon=Horizon(90, None))
    heatmap = made_of([near, wider], TimeBins(0, 100, 50), 1)
    assert heatmap.columns.known_from.tolist() == [95, 95]
    assert heatmap.columns.known_to.tolist() == [105, 105]
    heatmap = made_of([near, wider], TimeBins(0, 120, 60), 1)
    assert heatmap.columns.known_to.tolist() == [105, INT64_MAX]


def test_what_was_named_is_forgotten_where_a_new_run_begins() -> None:
    first = span_with([(95, 5, False)], [(10, [(95, 0, False)])], until_ms=50, horizon=Horizon(99))
    second = span_with([], [(80, [])], from_ms=50, until_ms=100, horizon=Horizon(99))
    for opens, expected in (((True, False), False), ((True, True), True)):
        heatmap = made_of([first, second], TimeBins(0, 100, 50), 1, rows=(95, 1), opens=opens)
        assert heatmap.unknown.tolist() == [[False], [expected]]


def test_a_gap_of_n_ms_is_n_ms() -> None:
    before = span_with([(100, 5, False)], [(0, []), (130, [])], until_ms=130)
    after = span_with([(100, 8, False)], [(477, [])], from_ms=477, until_ms=600, first_id=50)
    heatmap = made_of(
        [before, after], TimeBins(0, 600, 100), 1, Statistic.INTEGRAL, opens=(True, True)
    )
    assert heatmap.covered_ms.tolist() == [100, 30, 0, 0, 23, 100]
    assert heatmap.covered_ms.sum() == 600 - (477 - 130)
    assert heatmap.gap.tolist() == [False, False, True, True, False, False]
    assert heatmap.values[:, 0].tolist() == [500, 150, 0, 0, 184, 800]
    assert heatmap.columns.last_ids.tolist() == [11, 12, -1, -1, 51, 51]
    assert heatmap.in_time(2).gap.tolist() == [False, True, False]


def test_a_run_that_ends_as_a_column_begins_leaves_its_book_there() -> None:
    span = span_with([(100, 5, False)], [(50, [(100, 9, False)])], until_ms=50)
    heatmap = made_of([span], TimeBins(0, 100, 50), 1)
    assert heatmap.values.tolist() == [[5], [9]]
    assert heatmap.gap.tolist() == [False, True]
    assert heatmap.columns.has_book.tolist() == [True, True]
    assert heatmap.in_time(2).values.tolist() == [[9]]


def test_spans_outside_of_the_bins_count_for_nothing() -> None:
    spans = [
        span_with([(100, 5, False)], until_ms=10),
        span_with([(100, 5, False)], from_ms=10, until_ms=20),
        span_with([(100, 5, False)], from_ms=90, until_ms=95),
        span_with([], from_ms=40, until_ms=40),
    ]
    heatmap = made_of(spans, TimeBins(20, 90, 10), 1, Statistic.LAST)
    assert heatmap.values.shape == (7, 0)
    assert not heatmap.covered_ms.any()
    assert heatmap.in_price(2).values.shape == (7, 0)


@pytest.mark.parametrize("statistic", list(Statistic))
def test_the_widest_quantities_do_not_wrap(statistic: Statistic) -> None:
    most = INT64_MAX
    many = span_with([(1000 + n, most, True) for n in range(40)], until_ms=86_400_000)
    events = [(5, [(1000, most - 1, True)])]
    dust = span_with(
        [(1000, 1, True)],
        [(86_400_010, [(1001, 3, True)])],
        from_ms=86_400_000,
        until_ms=86_400_020,
    )
    spans = [many, dust, span_with([(1000, most, True)], events, until_ms=9)]
    heatmap = made_of(spans[:2], TimeBins(0, 86_400_020, 86_400_020), 10_000, statistic)
    expected = {
        Statistic.LAST: 4,
        Statistic.MAX: 40 * most,
        Statistic.INTEGRAL: 40 * most * 86_400_000 + 20 + 3 * 10,
    }
    assert heatmap.total() == expected[statistic]
    assert int(heatmap.high[0, 0]) * 2**32 + int(heatmap.low[0, 0]) == expected[statistic]
    # A sum that fits is of int64 again.
    assert (heatmap.values.dtype == object) == (expected[statistic] > INT64_MAX)


def test_quantities_of_several_scales_are_counted_in_the_finest() -> None:
    coarse = span_with([(100, 10**12, True)], until_ms=10, scale=Scale(0, 0))
    fine = span_with([(100 * 10**10, 7, True)], from_ms=10, until_ms=20, scale=Scale(10, 8))
    heatmap = made_of([coarse, fine], TimeBins(0, 20, 10), 10**8, Statistic.LAST)
    assert heatmap.scale == Scale(10, 8)
    assert heatmap.step == 10**10
    assert heatmap.values.tolist() == [[10**20], [7]]
    assert heatmap.total() == 10**20 + 7
    # The best prices and the tick were rescaled, too.
    assert heatmap.columns.best_asks.tolist() == [100 * 10**10] * 2
    assert heatmap.tick == 10**10
    # Afterwards a coarse span is counted in the finer unit.
    heatmap = made_of([fine, coarse], TimeBins(0, 20, 10), 10**8, Statistic.LAST)
    assert heatmap.values[1].tolist() == [7]
    shifted = [span_with([(100, 4, True)], from_ms=20, until_ms=30, scale=Scale(0, 0))]
    heatmap = made_of([fine, *shifted], TimeBins(0, 30, 10), 10**8, Statistic.LAST)
    assert heatmap.values[:, 0].tolist() == [0, 7, 4 * 10**8]


def test_a_part_of_a_coarser_scale_is_merged_in_the_finer_one() -> None:
    bins, known = TimeBins(0, 20, 10), Horizon(90, 110, 0)
    coarse = span_with([(100, 7, True)], until_ms=10, scale=Scale(8, 0), horizon=Horizon(90))
    fine = span_with(
        [(10_000, 5, True)], from_ms=10, until_ms=20, scale=Scale(10, 8), horizon=known
    )
    whole = made_of([coarse, fine], bins, 10)
    merged = HeatmapBuilder(bins, PriceSteps(10), [Statistic.MAX])
    # The finer part comes first here: what there is of a time before it is added in its unit.
    for span, ends in ((fine, bins), (coarse, TimeBins(0, 10, 10))):
        merged.join(section_of(made_of([span], ends, 10), opens=True))
    found = merged.heatmap("BTCUSDT", Statistic.MAX)
    assert (found.scale, found.values.tolist()) == (whole.scale, [[7 * 10**8], [5]])
    for name in ("known_from", "known_to", "best_bids", "best_asks"):
        assert getattr(found.columns, name).tolist() == getattr(whole.columns, name).tolist()
    assert found.columns.known_from.tolist() == [9_000, 90 * 10**10]
    assert found.columns.known_to.tolist() == [INT64_MAX, 110 * 10**10]


def test_whole_coins_are_counted_as_such() -> None:
    span = span_with([(100, 3 * 10**8, True), (101, 10**9, True)])
    heatmap = made_of([span], TimeBins(0, 100, 100), 1)
    assert heatmap.scale == Scale(8, 0)
    assert heatmap.values.tolist() == [[3, 10]]


def test_sums_of_columns_and_rows_do_not_wrap() -> None:
    big = np.array([[2**61, 2**61, 2**61], [1, 2, 3]], dtype=np.int64)
    begins = np.array([0])
    assert sums_of_groups(big, begins, axis=1).tolist() == [[3 * 2**61], [6]]
    assert product(big, 4)[0, 0] == 2**63
    assert product(big, 1) is big
    high, low = halves(big)
    assert (high.sum() * 2**32 + low.sum()) % 2**62 == int(high.sum()) * 2**32 % 2**62 + 6


def test_a_heatmap_is_composed_of_whole_columns_and_rows_only() -> None:
    heatmap = made_of([span_with([(100, 5, True)])], TimeBins(0, 100, 10), 1)
    with pytest.raises(ValueError, match="maxima"):
        heatmap.in_price(2)
    for compose in (heatmap.in_time, heatmap.in_price):
        with pytest.raises(ValueError, match="at least one"):
            compose(0)


def test_too_many_cells_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder_module, "MOST_CELLS", 20)
    span = span_with([(100, 5, True), (101, 5, True), (102, 5, True)])
    with pytest.raises(TooManyCells, match="10 columns of time"):
        made_of([span], TimeBins(0, 100, 10), 1)
    with pytest.raises(TooManyCells, match="wider price step"):
        made_of([], TimeBins(0, 100, 10), 1, rows=(100, 3))


def test_prices_that_fit_no_unit_are_refused() -> None:
    steps = PriceSteps(1, exponent=18)
    with pytest.raises(WidePrices, match="fewer decimals"):
        row_numbers(np.array([10**11]), 8, steps)
    assert row_numbers(np.array([7]), 18, PriceSteps(10, exponent=0)).tolist() == [0]
    assert row_numbers(np.array([25]), 1, PriceSteps(25, exponent=2)).tolist() == [10]
    fine = span_with([(7, 5, True)], scale=Scale(18, 8), from_ms=50)
    far = span_with([(10**11, 5, True)], until_ms=50, horizon=Horizon(3, 10**11))
    with pytest.raises(WidePrices):
        made_of([far, fine], TimeBins(0, 100, 10), 10**8)
    with pytest.raises(WidePrices):
        made_of([fine, far], TimeBins(0, 100, 10), 10**8)
    wide = HeatmapBuilder(TimeBins(0, 100, 100), PriceSteps(1, rows=(2**60, 1)), [Statistic.MAX])
    wide.take(span_with([(7, 5, True)], scale=Scale(18, 8)), opens=True)
    with pytest.raises(WidePrices):
        wide.heatmap("BTCUSDT", Statistic.MAX)


def test_live_events_may_need_another_scale() -> None:
    snapshot = snapshot_payload([("1", "2")], [("3", "4")], 10)
    event = spelt(11, 11, T0, [("1", "0.0000000001")], [("90000000000", "7"), ("3", "0")])
    run = run_of(snapshot, [decode_diff(event)])
    span = live_span(run.start, run.events, T0, T0 + 10)
    assert span.scale.quantity == 10
    heatmap = built([span], TimeBins(T0, T0 + 10, 10), 10**8)
    largest = heatmap[next(iter(heatmap))]
    assert largest.total() == 1 + 7 * 10**10
    assert live_span(run.start, [], T0, T0 + 5).until_ms == T0 + 5


def test_live_quantities_beyond_what_doubles_tell_apart_are_read_from_text() -> None:
    snapshot = snapshot_payload([("1", "2")], [("3", "4")], 10)
    event = spelt(11, 11, T0, [("1.00000000", "80000000000.00000001")], [])
    run = run_of(snapshot, [decode_diff(event)])
    assert run.events[0].plain
    span = live_span(run.start, run.events, T0, T0 + 10)
    assert span.quantities.tolist()[:2] == [2 * 10**8, 8 * 10**18 + 1]


def test_price_steps_are_exact_decimals() -> None:
    assert PriceSteps.of("0.50") == PriceSteps(5, 1)
    assert PriceSteps.of(20) == PriceSteps(20, 0)
    assert PriceSteps.of(Decimal("1E+2"), "150", Decimal(300)) == PriceSteps(100, 0, (1, 2))
    assert PriceSteps.of("0.1", "0", "0.35") == PriceSteps(1, 1, (0, 4))
    with pytest.raises(TypeError, match=r"not 0\.1"):
        PriceSteps.of(0.1)  # type: ignore[arg-type]
    for step in ("0", "-1", "1e-19", "1e19", "inf", "no"):
        with pytest.raises(ValueError, match=r"decimal such as '0.5'"):
            PriceSteps.of(step)
    for low, high in ((None, "1"), ("1", None), ("2", "2"), ("-1", "2")):
        with pytest.raises(ValueError, match=r"price_from|price_to"):
            PriceSteps.of("1", low, high)


def test_columns_need_a_time() -> None:
    assert len(TimeBins.between(10, 45, 10)) == 4
    assert TimeBins.between(10, 45, 2**70).starts.tolist() == [10]
    for from_ms, to_ms, bin_ms in ((5, 5, 1), (-1, 5, 1), (0, 2**61, 1), (0, 5, 0)):
        with pytest.raises(ValueError, match=r"has to come after|too short"):
            TimeBins.between(from_ms, to_ms, bin_ms)
