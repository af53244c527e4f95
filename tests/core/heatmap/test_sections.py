"""Sections: however a time is cut, and at any bin, what is joined is what is built at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.sections import Section
from tests.core.archive.runs import Run
from tests.core.heatmap.brute_force import spans_of
from tests.core.heatmap.test_builder import TICK, same, section_of, short_runs
from tests.core.heatmap.test_cells import made_of, span_with

_MARKET = "BTCUSDT"


@given(
    run=short_runs(),
    cuts=st.lists(st.integers(1, 7), max_size=3),
    openings=st.sets(st.integers(0, 3), max_size=3),
    block_ms=st.sampled_from([200, 400]),
    factor=st.sampled_from([1, 3, 8]),
    count=st.integers(1, 3),
)
def test_sections_that_were_built_alone_are_joined_bit_for_bit(
    run: Run, cuts: list[int], openings: set[int], block_ms: int, factor: int, count: int
) -> None:
    from_ms, until_ms = run.events[0].event_ms, run.events[-1].event_ms + 130
    spans = spans_of(run, cuts, from_ms, until_ms)
    fine_ms, coarse_ms = 50, 50 * factor
    begin, end = (at // 1200 * 1200 for at in (from_ms, until_ms + 1200))
    for statistic in Statistic:
        whole = HeatmapBuilder(TimeBins(begin, end, coarse_ms), PriceSteps(TICK), [statistic])
        for number, span in enumerate(spans):
            whole.take(span, opens=number == 0 or number in openings)
        joined = HeatmapBuilder(TimeBins(begin, end, coarse_ms), PriceSteps(TICK), [statistic])
        for block in range(begin, end, block_ms):
            bins = TimeBins(block, block + block_ms, fine_ms)
            part = HeatmapBuilder(bins, PriceSteps(TICK), [statistic])
            for number, span in enumerate(spans):
                if span.until_ms >= block and span.from_ms < block + block_ms:
                    opens = number == 0 or number in openings
                    part.take(
                        span.within(block, block + block_ms),
                        opens=opens and span.from_ms >= block,
                    )
            joined.join(part.section(_MARKET, statistic).in_bins(coarse_ms))
        expected, found = (one.section(_MARKET, statistic) for one in (whole, joined))
        assert same(found.heatmap, expected.heatmap)
        assert found.heatmap.prices.tolist() == expected.heatmap.prices.tolist()
        assert found.heatmap.named.tolist() == expected.heatmap.named.tolist()
        assert found.named_after.tolist() == expected.named_after.tolist()
        assert (found.carried, found.breaks) == (expected.carried, expected.breaks)
        if statistic is not Statistic.MAX:
            wide = expected.in_price(count)
            assert len(wide.named_after) == len(wide.heatmap.prices)
            assert wide.named_after.any() == expected.named_after.any()


def test_a_part_of_a_section_says_what_is_named_at_its_end() -> None:
    spans = [
        span_with([(100, 7, True)], [(30, [(104, 3, True)])], until_ms=50),
        span_with([(102, 5, True)], from_ms=60, until_ms=100),
    ]
    builder = HeatmapBuilder(TimeBins(0, 100, 10), PriceSteps(1), [Statistic.MAX])
    for number, span in enumerate(spans):
        builder.take(span, opens=number == 1)
    section = builder.section(_MARKET, Statistic.MAX)
    assert (section.carried, section.breaks) == (5, True)
    assert section.named_after.tolist() == [False, True, False]
    assert section.between(0, 100) is section
    first, last = section.between(10, 50), section.between(40, 100)
    assert first.heatmap.times_ms.tolist() == [10, 20, 30, 40]
    assert (first.heatmap.to_ms, first.carried, first.breaks) == (50, 4, False)
    assert first.named_after.tolist() == [True, False, True]
    assert (last.carried, last.breaks, last.heatmap.to_ms) == (1, True, 100)
    assert last.named_after.tolist() == [False, True, False]
    assert section.in_bins(10) is section
    assert section.in_price(1) is section


def test_a_section_beyond_the_bins_ends_the_run_before_it() -> None:
    builder = HeatmapBuilder(TimeBins(0, 50, 10), PriceSteps(1), [Statistic.INTEGRAL])
    builder.take(span_with([(100, 7, True)], until_ms=20), opens=True)
    beyond = span_with([(100, 7, True)], from_ms=60, until_ms=90)
    later = made_of([beyond], TimeBins(60, 90, 10), 1, Statistic.INTEGRAL)
    builder.join(Section(later, 3, False, later.named[-1]))
    assert builder.section(_MARKET, Statistic.INTEGRAL).named_after.tolist() == [True]
    builder.join(section_of(later, opens=True))
    assert builder.section(_MARKET, Statistic.INTEGRAL).named_after.tolist() == [False]


def test_nothing_has_rows_of_any_height() -> None:
    builder = HeatmapBuilder(TimeBins(0, 50, 10), PriceSteps(1), [Statistic.LAST])
    section = builder.section(_MARKET, Statistic.LAST).in_price(5)
    assert section.heatmap.step == 5
    assert not len(section.named_after)
