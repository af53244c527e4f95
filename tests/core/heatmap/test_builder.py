"""Bins of spans equal those of a brute force, however the spans are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.core.heatmap.spans import LevelSpan, live_span
from tests.core.archive.runs import Pairs, Run, run_of, spelt
from tests.core.heatmap.brute_force import columns_by_hand, moments_of, spans_of
from tests.core.reference_book import snapshot_payload

T0 = 1_700_000_000_000
TICK = 1_000_000


def section_of(part: Heatmap, *, opens: bool) -> Section:
    """The section of one span alone, which opens a run or goes on with the one before it."""
    return Section(part, 0 if opens else len(part.columns), opens, part.named[-1])


def _text(units: int) -> str:
    return f"{units // 10**8}.{units % 10**8:08d}"


@st.composite
def short_runs(draw: st.DrawFn) -> Run:
    """Runs in a narrow band of prices, with several events in a millisecond and long quiet."""
    quantity = st.integers(0, 4).map(lambda lots: _text(lots * 10**5))
    bids = st.dictionaries(st.integers(1, 9), quantity, max_size=5)
    asks = st.dictionaries(st.integers(10, 18), quantity, max_size=5)

    def pairs(levels: dict[int, str], *, falling: bool, whole: bool = False) -> Pairs:
        ordered = sorted(levels.items(), reverse=falling)
        return [(_text(tick * TICK), size) for tick, size in ordered if not whole or float(size)]

    book = [pairs(draw(side), falling=side is bids, whole=True) for side in (bids, asks)]
    snapshot, events, time = snapshot_payload(book[0], book[1], 10), [], T0
    for number in range(draw(st.integers(1, 8))):
        time += draw(st.sampled_from([0, 1, 50, 99, 100, 350]))
        less, more = pairs(draw(bids), falling=True), pairs(draw(asks), falling=False)
        events.append(decode_diff(spelt(11 + number, 11 + number, time, less, more)))
    return run_of(snapshot, events)


def built(
    spans: list[LevelSpan],
    bins: TimeBins,
    step: int,
    side: Side = Side.BOTH,
    rows: tuple[int, int] | None = None,
) -> dict[Statistic, Heatmap]:
    builder = HeatmapBuilder(bins, PriceSteps(step, rows=rows), list(Statistic), side)
    for number, span in enumerate(spans):
        builder.take(span, opens=number == 0)
    return {statistic: builder.heatmap("BTCUSDT", statistic) for statistic in Statistic}


def units(heatmap: Heatmap, column: int) -> dict[int, int]:
    """The quantities of a column by row, in units of 10^-8."""
    factor = 10 ** (8 - heatmap.scale.quantity)
    rows = (heatmap.prices // heatmap.step).tolist()
    values = heatmap.values[column].tolist()
    return {row: value * factor for row, value in zip(rows, values, strict=True) if value}


def edges(bins: TimeBins) -> list[tuple[int, int]]:
    starts = bins.starts.tolist()
    return list(zip(starts, [*starts[1:], bins.to_ms], strict=True))


@given(
    run=short_runs(),
    cuts=st.lists(st.integers(1, 7), max_size=3),
    bin_ms=st.sampled_from([1, 50, 100, 130, 1000]),
    step=st.sampled_from([1, 2, 5, 40]),
    side=st.sampled_from(list(Side)),
    lead=st.integers(0, 3),
    tail=st.sampled_from([0, 1, 100, 170]),
)
def test_bins_are_those_of_a_brute_force(
    run: Run, cuts: list[int], bin_ms: int, step: int, side: Side, lead: int, tail: int
) -> None:
    begin = min(lead, len(run.events) - 1)
    from_ms = run.events[begin].event_ms - (30 if begin else 0)
    until_ms = run.events[-1].event_ms + tail
    bins = TimeBins(from_ms, until_ms + 77, bin_ms)
    found = built(spans_of(run, cuts, from_ms, until_ms, begin), bins, step * TICK, side)
    moments = moments_of(run, begin, from_ms)
    sides = {Side.BOTH: "ab", Side.BIDS: "b", Side.ASKS: "a"}[side]
    expected = columns_by_hand(moments, until_ms, edges(bins), step * TICK, sides)
    for number, column in enumerate(expected):
        last, largest, integral = (found[statistic] for statistic in Statistic)
        assert units(last, number) == column.last
        assert units(largest, number) == column.max
        assert units(integral, number) == {r: v for r, v in column.integral.items() if v}
        rows = (last.prices // last.step)[last.named[number]].tolist()
        assert set(rows) == column.named
        columns = last.columns
        assert columns.covered_ms[number] == column.covered_ms
        assert columns.first_ids[number] == column.first_id
        assert columns.last_ids[number] == column.last_id
        assert columns.best_bids[number] == column.best_bid
        assert columns.best_asks[number] == column.best_ask


@given(run=short_runs(), cuts=st.lists(st.integers(1, 7), max_size=3), step=st.integers(1, 3))
def test_live_events_make_the_same_bins(run: Run, cuts: list[int], step: int) -> None:
    until_ms = run.events[-1].event_ms + 20
    bins = TimeBins(T0, until_ms, 100)
    book, spans, from_ms = Book(), [], run.events[0].event_ms
    book.load(decode_snapshot(run.snapshot, "BTCUSDT"))
    ends = sorted({cut for cut in cuts if cut < len(run.events)} | {len(run.events)})
    for begin, end in zip([0, *ends], ends, strict=False):
        events = run.events[begin:end]
        until = until_ms if end == len(run.events) else 0
        spans.append(live_span(image_of(book, "BTCUSDT"), events, from_ms, until))
        from_ms = spans[-1].until_ms
        for event in events:
            book.apply(event)
    live = built(spans, bins, step * TICK)
    archived = built(spans_of(run, [], run.events[0].event_ms, until_ms), bins, step * TICK)
    for statistic in Statistic:
        assert same(live[statistic], archived[statistic])


def same(heatmap: Heatmap, other: Heatmap) -> bool:
    """Whether two heatmaps have the same numbers; their units may differ."""
    return heatmap.times_ms.tolist() == other.times_ms.tolist() and all(
        units(heatmap, number) == units(other, number)
        and [getattr(heatmap.columns, name)[number] for name in _COLUMN_NAMES]
        == [getattr(other.columns, name)[number] for name in _COLUMN_NAMES]
        for number in range(len(heatmap.columns))
    )


_COLUMN_NAMES = (
    "covered_ms",
    "first_ids",
    "last_ids",
    "best_bids",
    "best_asks",
    "known_from",
    "known_to",
)


@given(run=short_runs(), count=st.integers(1, 6), step=st.integers(1, 3), later=st.integers(0, 150))
def test_coarse_bins_are_made_of_fine_ones_bit_for_bit(
    run: Run, count: int, step: int, later: int
) -> None:
    from_ms, until_ms = run.events[0].event_ms, run.events[-1].event_ms
    bins = TimeBins(from_ms, until_ms + 250, 50)
    again = from_ms + later
    spans = spans_of(run, [], from_ms, until_ms)
    # The second run begins where the first one ends, or later.
    second = [
        replace(span, event_ms=span.event_ms + (until_ms - from_ms + later), from_ms=again_ms)
        for span, again_ms in ((spans[0], until_ms + later),)
    ]
    second = [replace(span, until_ms=int(span.event_ms[-1])) for span in second]
    assert again <= until_ms + later

    def of(bins: TimeBins, step: int) -> dict[Statistic, Heatmap]:
        builder = HeatmapBuilder(bins, PriceSteps(step * TICK), list(Statistic))
        for span in (*spans, *second):
            builder.take(span, opens=True)
        return {statistic: builder.heatmap("BTCUSDT", statistic) for statistic in Statistic}

    fine, coarse = of(bins, 1), of(replace(bins, bin_ms=50 * count), 1)
    for statistic in Statistic:
        assert same(fine[statistic].in_time(count), coarse[statistic])
    wide = of(bins, step)
    for statistic in (Statistic.LAST, Statistic.INTEGRAL):
        assert same(fine[statistic].in_price(step), wide[statistic])


@given(
    run=short_runs(),
    cuts=st.lists(st.integers(1, 7), max_size=3),
    bin_ms=st.sampled_from([50, 100, 1000]),
    rows=st.sampled_from([None, (4, 9)]),
)
def test_parts_that_were_built_alone_are_merged_bit_for_bit(
    run: Run, cuts: list[int], bin_ms: int, rows: tuple[int, int] | None
) -> None:
    from_ms, until_ms = run.events[0].event_ms, run.events[-1].event_ms + 130
    # Some columns before, and not all of them.
    bins = TimeBins(from_ms // bin_ms * bin_ms - bin_ms, until_ms // bin_ms * bin_ms, bin_ms)
    spans = spans_of(run, cuts, from_ms, until_ms)
    whole = built(spans, bins, TICK, rows=rows)
    for statistic in Statistic:
        merged = HeatmapBuilder(bins, PriceSteps(TICK, rows=rows), [statistic])
        for number, span in enumerate(spans):
            first = span.from_ms // bin_ms * bin_ms
            own = TimeBins(first, span.until_ms // bin_ms * bin_ms + bin_ms, bin_ms)
            part = HeatmapBuilder(own, PriceSteps(TICK), [statistic])
            part.take(span, opens=True)
            made = part.heatmap("BTCUSDT", statistic)
            merged.join(section_of(made, opens=number == 0))
        found = merged.heatmap("BTCUSDT", statistic)
        assert same(found, whole[statistic])
        # A row of columns that are left out is empty.
        is_known = np.isin(found.prices, whole[statistic].prices)
        assert found.named[:, is_known].tolist() == whole[statistic].named.tolist()
        assert not found.named[:, ~is_known].any()
        assert found.tick == whole[statistic].tick
