"""The heatmap's live edge has the columns that a view wants of the newest minutes."""

from __future__ import annotations

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.pages import HeatmapWish
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.gui.panes.heatmap.reading import LiveEdge
from tests.core.heatmap.live import T0, TICK, LiveMarket


def tail_of_ten_minutes() -> DepthTail:
    """A tail with an event every ten seconds."""
    market = LiveMarket(DepthTail("BTCUSDT"))
    market.open([("0.09", "2")], [("0.10", "3")], is_timed=True)
    for number in range(60):
        market.send([("0.09", str(number + 1))], [], 10_000)
    return market.tail


def wish_of(from_ms: int, to_ms: int = T0 + 601_000) -> HeatmapWish:
    bins = TimeBins(from_ms, to_ms, 1_000)
    return HeatmapWish("BTCUSDT", bins, PriceSteps(TICK, rows=(0, 30)), Statistic.MAX)


def first_of(edge: LiveEdge) -> int:
    news = edge.follow()
    assert news is not None
    assert news.is_whole
    return int(news.cells.times_ms[0])


def test_a_pan_back_where_nothing_is_recorded_has_the_earlier_columns() -> None:
    edge, tail = LiveEdge(), tail_of_ten_minutes()
    assert edge.want(wish_of(T0 + 500_000), tail, is_recorded=False)
    assert first_of(edge) == T0 + 500_000
    assert not edge.want(wish_of(T0 + 550_000), tail, is_recorded=False)
    assert edge.want(wish_of(T0 + 200_000), tail, is_recorded=False)
    assert first_of(edge) == T0 + 200_000


def test_a_view_before_the_columns_leaves_them_as_they_are() -> None:
    edge, tail = LiveEdge(), tail_of_ten_minutes()
    assert edge.want(wish_of(T0 + 500_000), tail, is_recorded=False)
    past = wish_of(T0 + 100_000, T0 + 200_000)
    assert not edge.want(past, tail, is_recorded=False)


def test_where_the_pages_have_what_is_older_a_pan_back_needs_none() -> None:
    edge, tail = LiveEdge(), tail_of_ten_minutes()
    assert edge.want(wish_of(T0 + 500_000), tail, is_recorded=True)
    assert first_of(edge) == T0 + 570_000
    assert not edge.want(wish_of(T0 + 200_000), tail, is_recorded=True)
