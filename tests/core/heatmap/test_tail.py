"""The tail keeps the newest minutes, says what it lost and why, and never more than it may."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.heatmap.tail import DepthTail, TailBook, TailBreak, TailEvent, TailGap
from orderbook_desktop.core.segments import GapCause
from tests.core.archive.runs import spelt
from tests.core.heatmap.live import MARKET, T0, TICK, LiveMarket, text
from tests.core.reference_book import snapshot_payload

BID, ASK = text(9 * TICK), text(10 * TICK)


def open_market(tail: DepthTail, *, is_timed: bool = True) -> LiveMarket:
    market = LiveMarket(tail)
    market.open([(BID, "1")], [(ASK, "2")], is_timed=is_timed)
    return market


def test_a_new_tail_holds_nothing() -> None:
    tail = DepthTail(MARKET)
    assert (tail.from_ms, tail.to_ms, tail.revision, tail.bytes) == (0, 0, 0, 0)
    assert tail.is_broken
    assert tail.gaps == ()
    assert tail.spans(0, 1 << 50) == []
    assert tail.news(0) == []


def test_a_book_without_a_time_stands_from_the_first_event_on() -> None:
    market = open_market(DepthTail(MARKET), is_timed=False)
    assert market.tail.is_broken
    market.send([(BID, "3")], [], 40)
    assert (market.tail.from_ms, market.tail.to_ms) == (T0 + 40, T0 + 40)
    assert not market.tail.is_broken


def test_a_time_that_goes_back_counts_as_the_one_before() -> None:
    market = open_market(DepthTail(MARKET))
    market.send([(BID, "3")], [], 40)
    market.send([(BID, "4")], [], -30)
    span, opens = market.tail.spans(0, 1 << 50)[0]
    assert opens
    assert span.event_ms.tolist() == [T0 + 40, T0 + 40]


def test_a_gap_has_its_times_and_cause() -> None:
    market = open_market(DepthTail(MARKET))
    market.send([(BID, "3")], [], 40)
    market.lose()
    lost = TailGap(T0 + 40, None, GapCause.DISCONNECT, "It broke.")
    assert market.tail.gaps == (lost,)
    market.lose()
    assert market.tail.gaps == (lost,)
    market.send([(BID, "3")], [], 40)
    assert market.tail.to_ms == T0 + 40
    market.time_ms = T0 + 900
    market.open([(BID, "1")], [], is_timed=True)
    assert market.tail.gaps == (TailGap(T0 + 40, T0 + 900, GapCause.DISCONNECT, "It broke."),)


def test_news_are_what_came_since() -> None:
    market = open_market(DepthTail(MARKET, piece_ms=100))
    tail = market.tail
    seen = tail.revision
    for _ in range(3):
        market.send([(BID, "3")], [], 40)
    news = tail.news(seen)
    assert news is not None
    assert [type(item) for item in news] == [TailEvent, TailEvent, TailEvent, TailBook]
    market.lose()
    assert tail.news(tail.revision - 1) == [TailBreak()]
    assert tail.news(tail.revision) == []
    everything = tail.news(0)
    assert everything is not None
    assert len(everything) == tail.revision


def test_news_of_long_ago_are_not_kept() -> None:
    market = open_market(DepthTail(MARKET, piece_ms=100))
    for _ in range(12):
        market.send([(BID, "3")], [], 40)
    assert market.tail.news(0) is None
    assert market.tail.news(3) is None
    recent = market.tail.news(market.tail.revision - 3)
    assert recent is not None
    assert len(recent) == 3


def test_what_is_too_old_is_dropped() -> None:
    market = open_market(DepthTail(MARKET, longest_ms=1000, piece_ms=100))
    for _ in range(100):
        market.send([(BID, "3")], [], 40)
    assert 1000 <= market.tail.to_ms - market.tail.from_ms <= 1200
    assert market.tail.news(0) is None


def test_what_takes_too_much_memory_is_dropped() -> None:
    market = open_market(DepthTail(MARKET, most_bytes=20_000, piece_ms=100))
    for _ in range(100):
        market.send([(BID, "3"), (text(8 * TICK), "2")], [], 40)
    assert 10_000 < market.tail.bytes <= 20_000


def test_news_from_before_what_was_dropped_are_not_kept() -> None:
    tail = DepthTail(MARKET, longest_ms=10, piece_ms=1000)
    market = open_market(tail)
    market.lose()
    market.time_ms += 5000
    market.open([(BID, "1")], [], is_timed=True)
    assert tail.from_ms == T0 + 5000
    assert tail.news(0) is None
    assert tail.news(2) is not None


@pytest.mark.parametrize("is_first", [True, False])
def test_a_stretch_ends_where_no_scale_holds_its_values(is_first: bool) -> None:
    tail = DepthTail(MARKET)
    sizes = ["9000000000000", "0.0000000001"]
    levels = [(ASK, sizes[0]), (text(11 * TICK), sizes[1] if is_first else "1")]
    tail.opened(decode_snapshot(snapshot_payload([], levels, 10), MARKET, T0))
    if not is_first:
        assert not tail.is_broken
        tail.applied(decode_diff(spelt(11, 11, T0 + 5, [], [(text(11 * TICK), sizes[1])])))
        assert [gap.cause for gap in tail.gaps] == [GapCause.TOO_WIDE]
    assert tail.is_broken


def test_a_book_is_known_deeper_before_its_first_event() -> None:
    market = open_market(DepthTail(MARKET), is_timed=False)
    market.deepen(5)
    market.send([(BID, "3")], [], 40)
    ((span, opens),) = market.tail.spans(0, 1 << 50)
    assert opens
    assert len(span.prices) == 3


def test_a_broken_book_is_not_known_deeper() -> None:
    market = open_market(DepthTail(MARKET))
    market.lose()
    revision = market.tail.revision
    market.deepen(5)
    assert market.tail.revision == revision
