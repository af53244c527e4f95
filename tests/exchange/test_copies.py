"""Joining what several connections deliver of one stream, event by event."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamConnected, StreamItem
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.exchange.copies import CopiedStream, SaveLog
from tests.exchange.listener import until

BTC = Stream("BTCUSDT", DEPTH)
LOST = StreamBroken(GapCause.DISCONNECT, "The connection was cut off.")
ODD = StreamBroken(GapCause.MALFORMED, "A message could not be read.")


def diff(first: int, final: int | None = None) -> DepthDiff:
    """Return an event of these update ids."""
    return DepthDiff("BTCUSDT", first, final or first, 0, 0, b"", [], [], plain=True)


class Copies:
    """A stream of several connections, all of which are open, and what its consumer gets."""

    def __init__(self, count: int = 2, waiting_at_most: int = 10_000, hold_s: float = 600) -> None:
        self.copied = CopiedStream(BTC, SaveLog(), hold_s, waiting_at_most)
        self.deliver = [self.copied.add_copy(number) for number in range(count)]
        for deliver in self.deliver:
            deliver(StreamConnected())
        assert self.heard() == ["connected"]

    def bring(self, number: int, *items: int | StreamItem) -> None:
        """Let connection `number` bring items; a number stands for an event of this id."""
        for item in items:
            self.deliver[number](diff(item) if isinstance(item, int) else item)

    def items(self) -> Iterator[StreamItem]:
        """Take out what waits for the consumer."""
        while len(self.copied._queue):
            item = self.copied._queue._items.get_nowait()
            assert not isinstance(item, BaseException)
            yield item

    def heard(self) -> list[object]:
        """Take out what waits: final ids, causes of breaks, and when it was connected."""
        return [_brief(item) for item in self.items()]


def _brief(item: StreamItem) -> object:
    match item:
        case DepthDiff():
            return item.final_id
        case StreamBroken(cause=cause):
            return cause
        case _:
            return "connected"


@pytest.fixture(autouse=True)
async def loop_runs() -> None:
    """The waits and the log need a loop."""


async def test_each_event_is_taken_from_the_connection_that_brings_it_first() -> None:
    copies = Copies()
    copies.bring(0, 1, 2)
    copies.bring(1, 1, 2, 3, 4)
    copies.bring(0, 3, 4, 5)
    copies.bring(1, 5)
    assert copies.heard() == [1, 2, 3, 4, 5]


async def test_one_connection_passes_everything_as_it_comes() -> None:
    copies = Copies(count=1)
    copies.bring(0, 1, 2, 2, 5, 4, LOST, StreamConnected(), 9)
    assert copies.heard() == [1, 2, 2, 5, 4, GapCause.DISCONNECT, "connected", 9]


@pytest.mark.parametrize("number", [0, 1])
async def test_what_one_connection_left_out_comes_from_the_other(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    copies = Copies()
    copies.bring(number, 1, 4, 5)
    assert copies.heard() == [1]
    copies.bring(1 - number, 1, 2, 3, 4)
    assert copies.heard() == [2, 3, 4, 5]
    told = f"connection {2 - number} brought update id 2 to 3, which connection {number + 1} left"
    assert told in caplog.text


async def test_the_loss_of_a_connection_is_no_gap_and_the_log_says_what_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    copies = Copies()
    copies.bring(0, 1, LOST)
    copies.bring(1, 1, 2, 3)
    copies.bring(0, LOST, StreamConnected(), 5)
    copies.bring(1, 4, 5)
    assert copies.heard() == [1, 2, 3, 4, 5]
    copies.copied._save_log.flush()
    assert caplog.text.count("The connection was cut off. The streams of BTCUSDT go on by") == 1
    assert "connection 1: The connection" in caplog.text


async def test_an_unreadable_message_on_one_connection_is_no_gap() -> None:
    copies = Copies()
    copies.bring(0, 1, ODD, StreamConnected(), 3)
    copies.bring(1, 2, 3)
    assert copies.heard() == [1, 2, 3]


async def test_connections_may_cut_the_stream_at_different_ids() -> None:
    copies = Copies()
    copies.bring(0, diff(1, 5))
    copies.bring(1, diff(1, 7))
    copies.bring(0, diff(6, 10))
    copies.bring(1, diff(8, 9), diff(10, 12))
    events = [item for item in copies.items() if isinstance(item, DepthDiff)]
    assert [(event.first_id, event.final_id) for event in events] == [
        *((1, 5), (1, 7), (6, 10), (10, 12))
    ]


async def test_what_all_connections_lost_is_missing_with_its_cause() -> None:
    copies = Copies()
    copies.bring(0, 1, 2, LOST, StreamConnected())
    copies.bring(1, 1, 2, ODD, StreamConnected(), 5)
    assert copies.heard() == [1, 2]
    copies.bring(0, 6)
    assert copies.heard() == [GapCause.MALFORMED, "connected", 5, 6]


async def test_what_the_exchange_left_out_on_all_connections_shows_in_the_ids() -> None:
    copies = Copies()
    copies.bring(0, 1, 4)
    copies.bring(1, 1, 4, 5)
    assert copies.heard() == [1, 4, 5]


async def test_the_last_connection_is_lost_after_all_that_came() -> None:
    copies = Copies()
    copies.bring(0, 1, LOST)
    copies.bring(1, 2, 3, 9, LOST)
    assert copies.heard() == [1, 2, 3, 9, GapCause.DISCONNECT]
    copies.bring(1, StreamConnected(), 20)
    copies.bring(0, StreamConnected(), 20, 21)
    assert copies.heard() == ["connected", 20, 21]


async def test_events_wait_for_missing_ones_but_not_for_ever() -> None:
    copies = Copies(hold_s=0.01)
    copies.bring(0, 1, 3)
    await until(lambda: len(copies.copied._queue) == 2)
    assert copies.heard() == [1, 3]
    copies.bring(1, 1, 2, 3, 4)
    assert copies.heard() == [4]


async def test_no_more_events_wait_than_fit() -> None:
    copies = Copies(waiting_at_most=8)
    copies.bring(0, 1, 3, 4, 5, 6)
    assert copies.heard() == [1]
    copies.bring(0, 7, 8)
    assert copies.heard() == [3, 4, 5, 6, 7, 8]


@pytest.mark.expects_log("BTCUSDT: left out .*: Update id 8 can't follow update id 46116")
@pytest.mark.expects_log("BTCUSDT: left out .*: Update id 7 can't follow update id 46116")
async def test_an_absurd_id_does_not_make_old_what_follows() -> None:
    copies = Copies()
    copies.bring(0, 2**62)
    copies.bring(1, 7, 8)
    copies.bring(0, 8, 9)
    assert copies.heard() == [2**62, GapCause.MALFORMED, "connected", 8, 9]


@pytest.mark.expects_log("BTCUSDT: left out .*: Update id 4611686018427387904 can't follow")
async def test_an_absurd_id_of_one_connection_is_left_out() -> None:
    copies = Copies()
    copies.bring(0, 7, 2**62)
    copies.bring(1, 7, 8)
    assert copies.heard() == [7, 8]


async def test_a_connection_may_come_and_go() -> None:
    copies = Copies(count=1)
    copies.bring(0, 1)
    copies.deliver.append(copies.copied.add_copy(1))
    copies.bring(1, StreamConnected(), 2)
    copies.bring(0, 2, 5)
    copies.copied.remove_copy(1)
    copies.bring(0, 6)
    copies.bring(1, 7)
    assert copies.heard() == [1, 2, 5, 6]
    # Without the connection that was open, the stream is not.
    copies.deliver.append(copies.copied.add_copy(2))
    copies.copied.remove_copy(0)
    copies.bring(2, StreamConnected(), 8)
    assert copies.heard() == [GapCause.DISCONNECT, "connected", 8]


@pytest.mark.expects_log("btcusdt@depth@100ms: dropped 5 items that waited")
async def test_a_consumer_too_slow_loses_what_waits_and_is_told() -> None:
    copies = Copies(waiting_at_most=5)
    copies.bring(0, 1, 2, 3, 4, 5, 6)
    assert copies.heard() == [GapCause.OVERFLOW, "connected", 6]


@pytest.mark.expects_log("dropped")
async def test_an_overflow_while_disconnected_does_not_claim_a_connection() -> None:
    copies = Copies(count=1, waiting_at_most=2)
    copies.bring(0, LOST, LOST, LOST)
    assert copies.heard() == [GapCause.OVERFLOW, GapCause.DISCONNECT]


async def test_a_bug_reaches_the_consumer() -> None:
    copies = Copies()
    copies.bring(0, 1)
    copies.deliver[1](RuntimeError("ours"))
    assert await copies.copied.next_item() == diff(1)
    with pytest.raises(BugError):
        await copies.copied.next_item()


async def test_waiting_for_an_item_can_be_cancelled_without_losing_it() -> None:
    copies = Copies()
    waiter = asyncio.create_task(copies.copied.next_item())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    copies.bring(0, 1)
    assert await copies.copied.next_item() == diff(1)


LAST_ID = 30


@st.composite
def cuts(draw: st.DrawFn) -> list[DepthDiff]:
    """All ids from 2 to `LAST_ID`, cut into events."""
    ends = draw(st.sets(st.integers(2, LAST_ID - 1)))
    bounds = [1, *sorted(ends), LAST_ID]
    return [diff(before + 1, end) for before, end in itertools.pairwise(bounds)]


Items = list[list[StreamItem]]


def faulty(*, is_cut_off: bool) -> st.SearchStrategy[Items]:
    """What a connection with faults brings: events are lost, change places, or come twice."""

    @st.composite
    def draw_items(draw: st.DrawFn) -> Items:
        items: Items = []
        for event in draw(cuts()):
            match draw(st.integers(0, 6)):
                case 0:
                    continue
                case 1:
                    items.append([event, event])
                case 2:
                    items.insert(max(0, len(items) - 1), [event])
                case 3 if is_cut_off:
                    items += [[LOST], [StreamConnected()]]
                case 4:
                    items.append([event, ODD, StreamConnected()])
                case _:
                    items.append([event])
        return items

    return draw_items()


@given(st.data(), cuts(), faulty(is_cut_off=True))
def test_a_whole_connection_makes_up_for_all_faults_of_the_other(
    data: st.DataObject, whole: list[DepthDiff], other: Items
) -> None:
    heard = asyncio.run(_joined(data, [[event] for event in whole], other))
    known = 0
    for event in heard:
        assert isinstance(event, DepthDiff), heard
        assert event.first_id <= known + 1 <= event.final_id
        known = event.final_id
    assert known == LAST_ID


@given(st.data(), faulty(is_cut_off=False), faulty(is_cut_off=False))
def test_ids_are_missing_only_where_both_connections_lost_them(
    data: st.DataObject, first: Items, second: Items
) -> None:
    heard = asyncio.run(_joined(data, first, second))
    brought: set[int] = set()
    for item in heard:
        if isinstance(item, DepthDiff):
            brought.update(range(item.first_id, item.final_id + 1))
    of_each = [
        {number for item in items if isinstance(item, DepthDiff) for number in _ids(item)}
        for items in (_in_order(first), _in_order(second))
    ]
    assert of_each[0] | of_each[1] <= brought


def _ids(event: DepthDiff) -> range:
    return range(event.first_id, event.final_id + 1)


def _in_order(items: Items) -> list[StreamItem]:
    """Leave out events that came after later ones: they are old."""
    kept: list[StreamItem] = []
    known = 0
    for item in itertools.chain.from_iterable(items):
        if isinstance(item, DepthDiff):
            if item.final_id <= known:
                continue
            known = item.final_id
        kept.append(item)
    return kept


async def _joined(data: st.DataObject, first: Items, second: Items) -> list[StreamItem]:
    """Let both connections bring their items in a random order; both are lost in the end."""
    copies = Copies()
    copies.bring(0, 1)
    copies.bring(1, 1)
    waiting = [list(first), list(second)]
    while any(waiting):
        number = data.draw(st.sampled_from([at for at, items in enumerate(waiting) if items]))
        copies.bring(number, *waiting[number].pop(0))
        await asyncio.sleep(0)
    copies.bring(0, LOST)
    copies.bring(1, LOST)
    *heard, last = copies.items()
    assert isinstance(last, StreamBroken)
    copies.copied.close()
    copies.copied._save_log.close()
    return heard
