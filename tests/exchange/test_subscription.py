"""Interruptions, and the joining of two connections, event by event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamConnected, StreamItem
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.exchange.copies import Item
from orderbook_desktop.exchange.subscription import Subscription

BTC = Stream("BTCUSDT", DEPTH)
SEAM = StreamBroken(GapCause.SERVER_SHUTDOWN, "late")


def diff(first: int, final: int | None = None) -> DepthDiff:
    """Return an event of these update ids."""
    return DepthDiff("BTCUSDT", first, final or first, 0, 0, b"", [], [], plain=True)


class Heard(Subscription):
    """A subscription that keeps what it delivers."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        super().__init__(BTC, self.items.append)


def waiting(subscription: Heard) -> list[StreamItem]:
    """Take out what was delivered."""
    items = [item for item in subscription.items if not isinstance(item, BaseException)]
    assert len(items) == len(subscription.items)
    subscription.items.clear()
    return items


def ids(items: list[StreamItem]) -> list[object]:
    """Return final ids, and the causes of breaks, leaving out what says connected."""
    told: list[object] = []
    for item in items:
        if isinstance(item, DepthDiff):
            told.append(item.final_id)
        elif isinstance(item, StreamBroken):
            told.append(item.cause)
    return told


def open_subscription() -> Heard:
    subscription = Heard()
    subscription.connected()
    assert waiting(subscription) == [StreamConnected()]
    return subscription


def test_connected_is_told_once() -> None:
    subscription = open_subscription()
    subscription.connected()
    assert waiting(subscription) == []


def test_events_of_an_earlier_wish_are_not_of_this_stream() -> None:
    subscription = Heard()
    subscription.event(diff(1))
    subscription.connected()
    subscription.event(diff(5))
    subscription.broken(GapCause.DISCONNECT, "away")
    subscription.event(diff(6))
    told = waiting(subscription)
    assert told[0] == StreamConnected()
    assert ids(told) == [5, GapCause.DISCONNECT]


def test_an_interruption_concerns_only_an_open_stream() -> None:
    subscription = Heard()
    subscription.interrupted(GapCause.MALFORMED, "odd")
    assert waiting(subscription) == []
    subscription.connected()
    subscription.interrupted(GapCause.MALFORMED, "odd")
    assert waiting(subscription) == [
        StreamConnected(),
        StreamBroken(GapCause.MALFORMED, "odd"),
        StreamConnected(),
    ]


@pytest.mark.expects_log(r"btcusdt@depth@100ms: left out: Update id \d+ can't follow update id 7")
def test_an_absurd_id_does_not_make_old_what_follows() -> None:
    subscription = open_subscription()
    subscription.event(diff(7))
    subscription.begin_overlap()
    subscription.event(diff(2**62))
    subscription.event(diff(8))
    assert ids(waiting(subscription)) == [7, GapCause.MALFORMED, 8]


def test_without_an_overlap_everything_passes_as_it_comes() -> None:
    subscription = open_subscription()
    for number in (1, 2, 2, 5, 4, 6):
        subscription.event(diff(number))
    assert ids(waiting(subscription)) == [1, 2, 2, 5, 4, 6]


def test_the_faster_connection_serves_and_nothing_comes_twice() -> None:
    subscription = open_subscription()
    subscription.event(diff(1))
    subscription.begin_overlap()
    subscription.event_of_successor(diff(2))
    subscription.event(diff(2))
    subscription.event(diff(3))
    subscription.event_of_successor(diff(3))
    subscription.event_of_successor(diff(4))
    assert subscription.has_joined
    subscription.end_overlap(SEAM)
    subscription.event(diff(5))
    assert ids(waiting(subscription)) == [1, 2, 3, 4, 5]


def test_what_the_second_is_ahead_waits_for_the_first() -> None:
    subscription = open_subscription()
    subscription.event(diff(1))
    subscription.begin_overlap()
    subscription.event_of_successor(diff(4))
    subscription.event_of_successor(diff(5))
    assert not subscription.has_joined
    assert ids(waiting(subscription)) == [1]
    subscription.event(diff(2, 3))
    assert subscription.has_joined
    assert ids(waiting(subscription)) == [3, 4, 5]


def test_a_successor_that_dies_leaves_no_trace() -> None:
    subscription = open_subscription()
    subscription.event(diff(1))
    subscription.begin_overlap()
    subscription.event_of_successor(diff(2))
    subscription.event_of_successor(diff(7))
    subscription.end_overlap(None)
    for number in (2, 3, 4):
        subscription.event(diff(number))
    told = ids(waiting(subscription))
    assert [number for number in (1, 2, 3, 4) if number not in told] == []
    assert 7 not in told


def test_a_seam_that_misses_events_is_a_break_before_the_first_of_them() -> None:
    subscription = open_subscription()
    subscription.event(diff(1))
    subscription.begin_overlap()
    subscription.event_of_successor(diff(5))
    subscription.end_overlap(SEAM)
    assert waiting(subscription) == [diff(1), SEAM, StreamConnected(), diff(5)]


@pytest.mark.parametrize(("number", "told"), [(2, [1, 2]), (5, [1, GapCause.SERVER_SHUTDOWN, 5])])
def test_a_quiet_symbol_is_judged_by_its_next_event(number: int, told: list[object]) -> None:
    subscription = open_subscription()
    subscription.event(diff(1))
    subscription.begin_overlap()
    subscription.end_overlap(SEAM)
    subscription.event(diff(1))
    subscription.event(diff(number))
    subscription.event(diff(number + 4))  # Any later gap is the stream's own.
    assert ids(waiting(subscription)) == [*told, number + 4]


def test_a_symbol_without_any_event_hands_over_in_silence() -> None:
    subscription = open_subscription()
    subscription.begin_overlap()
    subscription.event_of_successor(diff(5))
    subscription.end_overlap(SEAM)
    assert waiting(subscription) == [diff(5)]


@given(
    order=st.lists(st.booleans(), min_size=40, max_size=40),
    begins_at=st.integers(2, 8),
    sizes=st.lists(st.integers(1, 4), min_size=12, max_size=12),
)
def test_two_overlapping_connections_join_without_gap_or_disorder(
    order: list[bool], begins_at: int, sizes: list[int]
) -> None:
    """Whichever delivers when, cut into events differently or not."""
    events, start = [], 1
    for size in sizes:
        events.append(diff(start, start + size - 1))
        start += size
    first, second = events[1:8], events[begins_at:]
    subscription = open_subscription()
    subscription.event(events[0])
    subscription.begin_overlap()
    for of_first in order:
        if of_first and first:
            subscription.event(first.pop(0))
        elif not of_first and second:
            subscription.event_of_successor(second.pop(0))
    while first:
        subscription.event(first.pop(0))
    subscription.end_overlap(SEAM)
    while second:
        subscription.event(second.pop(0))
    assert waiting(subscription) == events
