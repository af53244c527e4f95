"""What lies in each column of a coverage bar, compared with going through all stretches."""

from __future__ import annotations

import itertools
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.coverage_bar import SHORTEST_NS, CoverageMap, Span
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay import Bookmark, Coverage, Quiet
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.core.trade_coverage import TradeGap

_BASE_MS = 1_723_100_000_000


def gap(from_ms: int, to_ms: int) -> Gap:
    return Gap(_BASE_MS + from_ms, _BASE_MS + to_ms, 8, 9, GapCause.USER, "")


def trade_gap(from_ms: int, to_ms: int) -> TradeGap:
    return TradeGap(1, 4, _BASE_MS + from_ms, _BASE_MS + to_ms, GapCause.USER)


def quiet(from_ms: int, to_ms: int) -> Quiet:
    return Quiet(_BASE_MS + from_ms, _BASE_MS + to_ms)


def bookmark(at_ms: int, note: str = "") -> Bookmark:
    return Bookmark(str(at_ms), "BTCUSDT", _BASE_MS + at_ms, 5, note)


def timeline(*edges: int) -> Timeline:
    """Return covers and gaps in turn, each from one edge to the next."""
    covers, gaps = [], []
    for place, (begin, end) in enumerate(itertools.pairwise(edges)):
        if place % 2:
            gaps.append(gap(begin, end))
        else:
            covers.append(Cover(str(place), 1, 2, _BASE_MS + begin, _BASE_MS + end))
    return Timeline(tuple(covers), tuple(gaps))


def span(from_ms: int, to_ms: int) -> Span:
    return Span((_BASE_MS + from_ms) * NS_A_MS, (_BASE_MS + to_ms) * NS_A_MS)


def test_nothing_recorded_is_no_span() -> None:
    assert CoverageMap(Coverage()).whole is None


def test_the_whole_is_a_second_at_least() -> None:
    whole = CoverageMap(Coverage(timeline(0, 20))).whole
    assert whole is not None
    assert whole.length_ns == SHORTEST_NS
    assert CoverageMap(Coverage(timeline(0, 9_000))).whole == span(0, 9_000)


def test_a_gap_narrower_than_a_column_is_seen_and_measured() -> None:
    columns = CoverageMap(Coverage(timeline(0, 4_500, 4_501, 10_000))).columns(span(0, 10_000), 10)
    assert columns.has_gap.tolist() == [place == 4 for place in range(10)]
    assert columns.missing[4] == pytest.approx(0.001)
    assert columns.covered[4] == pytest.approx(0.999)


def test_a_gap_without_a_length_is_seen_also_at_the_edge_of_a_column() -> None:
    columns = CoverageMap(Coverage(timeline(0, 5_000, 5_000, 10_000))).columns(span(0, 10_000), 10)
    assert columns.has_gap.tolist() == [place == 5 for place in range(10)]
    assert columns.missing.tolist() == [0] * 10


def test_a_cover_of_a_moment_is_seen() -> None:
    recorded = timeline(0, 1_000, 55_000, 55_000, 99_999, 100_000)
    columns = CoverageMap(Coverage(recorded)).columns(span(0, 100_000), 10)
    assert columns.has_cover.tolist() == [place in (0, 5, 9) for place in range(10)]
    assert columns.covered[5] == 0


def test_a_column_is_quiet_if_nothing_happened_in_all_of_it() -> None:
    coverage = Coverage(timeline(0, 6_000), quiet=(quiet(1_500, 4_000),))
    columns = CoverageMap(coverage).columns(span(0, 8_000), 8)
    assert columns.is_quiet.tolist() == [False, False, True, True, False, False, False, False]
    assert columns.covered.tolist() == [1, 1, 1, 1, 1, 1, 0, 0]


def test_gaps_of_trades_are_apart_and_may_overlap() -> None:
    coverage = Coverage(timeline(0, 6_000), (trade_gap(3_200, 3_300), trade_gap(2_100, 3_250)))
    columns = CoverageMap(coverage).columns(span(0, 6_000), 6)
    assert columns.has_trade_gap.tolist() == [False, False, True, True, False, False]
    assert not columns.has_gap.any()


@given(
    st.lists(st.integers(0, 200), max_size=30),
    st.integers(-20, 220),
    st.integers(1, 20),
    st.integers(1, 40),
)
def test_columns_are_what_going_through_all_gaps_finds(
    edges: list[int], begin: int, width: int, count: int
) -> None:
    recorded = timeline(*sorted(edges))
    columns = CoverageMap(Coverage(recorded)).columns(span(begin, begin + width * count), count)
    for place in range(count):
        left = _BASE_MS + begin + width * place
        right = left + width
        missing = sum(
            max(0, min(one.to_ms, right) - max(one.from_ms, left)) for one in recorded.gaps
        )
        has_gap = any(
            one.from_ms < right and max(one.to_ms, one.from_ms + 1) > left for one in recorded.gaps
        )
        assert columns.missing[place] * width == pytest.approx(missing, abs=1e-3)
        assert columns.has_gap[place] == has_gap


def test_a_zoom_keeps_the_time_under_the_pointer_in_its_place() -> None:
    whole = span(0, 100_000)
    around = whole.at(0.25)
    near = whole.zoomed(0.5, around, whole)
    assert near.length_ns == whole.length_ns // 2
    assert near.share_of(around) == pytest.approx(0.25)
    assert near.zoomed(2.5, around, whole) == whole
    assert near.zoomed(1e-9, around, whole).length_ns == SHORTEST_NS
    assert near.zoomed(1e-9, around, whole).holds(around)


def test_a_part_moves_within_the_whole() -> None:
    whole, part = span(0, 100_000), span(10_000, 30_000)
    assert part.moved(5_000 * NS_A_MS, whole) == span(15_000, 35_000)
    assert part.moved(-50_000 * NS_A_MS, whole) == span(0, 20_000)
    assert part.moved(95_000 * NS_A_MS, whole) == span(80_000, 100_000)


def test_marks_are_the_bookmarks_in_view() -> None:
    marked = CoverageMap(Coverage(), [bookmark(0), bookmark(1_000), bookmark(4_000)])
    assert marked.marks(span(500, 1_500)) == [0.5]


def test_what_is_found_is_told_in_sentences() -> None:
    coverage = Coverage(
        timeline(0, 1_000, 3_500, 9_000), (trade_gap(900, 3_600),), (quiet(950, 1_000),)
    )
    marked = [bookmark(990, "the sweep"), bookmark(1_005)]
    found = CoverageMap(coverage, marked).found(span(980, 1_001), 5 * NS_A_MS)
    assert found.lines(UTC) == [
        "Gap of 0:00:02.500: recording was stopped.",
        "From 8 Aug 2024 06:53:21.000 UTC",
        "to 8 Aug 2024 06:53:23.500 UTC.",
        "The book is not known at update ids 8 to 9.",
        "Gap of trades of 0:00:02.700: recording was stopped.",
        "From 8 Aug 2024 06:53:20.900 UTC",
        "to 8 Aug 2024 06:53:23.600 UTC.",
        "2 trades are missing, 2 to 3.",
        "Quiet for 0:00:00.050: nothing happened.",
        "From 8 Aug 2024 06:53:20.950 UTC",
        "to 8 Aug 2024 06:53:21.000 UTC.",
        "Bookmark, 8 Aug 2024 06:53:20.990 UTC: the sweep",
        "Bookmark, 8 Aug 2024 06:53:21.005 UTC",
    ]


def test_of_many_the_first_are_told_and_the_others_counted() -> None:
    edges = [edge for start in range(0, 500, 100) for edge in (start, start + 60)]
    of_trades = tuple(trade_gap(start, start + 5) for start in range(0, 40, 10))
    coverage = Coverage(timeline(*edges, 900), of_trades)
    found = CoverageMap(coverage, [bookmark(at) for at in range(5)]).found(span(0, 900))
    lines = found.lines(UTC)
    assert sum(line.startswith("Gap of 0:") for line in lines) == 3
    assert "2 more gaps here." in lines
    assert "1 more trade gap here." in lines
    assert lines[-1] == "2 more bookmarks here."
