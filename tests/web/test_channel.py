"""Moments of a channel, the changes between them, and frames made once."""

from __future__ import annotations

import asyncio
import itertools
import json
from itertools import cycle
from typing import Any

import pytest

from orderbook_desktop.core.status import STALE_AFTER_MS, FeedState, FeedStatus, SourceKind
from orderbook_desktop.web.changes_stream import ChangesForm
from orderbook_desktop.web.channel import Channel, WaitingRoom
from orderbook_desktop.web.frames import Frame
from tests.web.hand_library import BTC, NOW_NS, THREE_GAPS, HandBook, HandLibrary


class Clock:
    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(library: HandLibrary) -> HandBook:
    return library.btc


@pytest.fixture
async def channel(library: HandLibrary, clock: Clock) -> Channel:
    return Channel(BTC, library.lend(BTC), clock)


async def test_a_channel_begins_with_the_present_book(channel: Channel) -> None:
    assert channel.known
    assert channel.moment.badge.state is FeedState.SYNCED
    assert len(channel.moment.image.bids.prices) == 3


async def test_the_number_of_gaps_is_told_as_soon_as_it_changes(
    library: HandLibrary, clock: Clock
) -> None:
    def told() -> tuple[object, object]:
        message = _message(counting, None)
        return message.get("gaps"), message.get("sessionGaps")

    counting = Channel(BTC, library.lend(BTC), clock, gaps=lambda: library.recorded_gaps(BTC))
    assert told() == (None, None)
    library.gaps["BTCUSDT"] = THREE_GAPS
    assert counting.look()
    assert told() == (3, 1)
    assert not counting.look()


async def test_badge_and_source_belong_to_the_book_of_the_same_look(
    channel: Channel, book: HandBook, library: HandLibrary, clock: Clock
) -> None:
    """Each look at the source may find another book, and only `look` looks."""
    for detail, other in (("First.", library.books["ETHUSDT"]), ("Second.", library.btc)):
        other.load([(f"{len(detail)}.00", "1")], [("99.00", "1")])
        kind = SourceKind.MONGO if other is book else SourceKind.DIRECT
        other.status = FeedStatus(FeedState.SYNCED, kind, clock.now_ns, detail)
    turns = cycle((library.books["ETHUSDT"].look(), book.look()))
    book.look = lambda: next(turns)  # type: ignore[method-assign]
    for expected, kind in 3 * (("First.", SourceKind.DIRECT), ("Second.", SourceKind.MONGO)):
        assert channel.look()
        for _ in range(3):
            shown = (channel.badge().detail, channel.moment.badge.detail, channel.source)
            assert shown == (expected, expected, kind)
            price = channel.moment.image.bids.prices.tolist()
            assert price == [len(expected) * 10**8]


async def test_without_a_change_there_is_no_new_moment(channel: Channel) -> None:
    seq = channel.moment.seq
    assert not channel.look()
    assert channel.moment.seq == seq


async def test_a_change_is_a_moment(channel: Channel, book: HandBook) -> None:
    seq = channel.moment.seq
    book.change(bids=[("100.01", "0"), ("99.00", "7")])
    assert channel.look()
    assert channel.moment.seq == seq + 1
    changes = channel.changes_since(seq)
    assert changes is not None
    assert changes.bids.prices.tolist() == [10001000000, 9900000000]
    assert changes.bids.quantities.tolist() == [0, 700000000]
    assert not len(changes.asks.prices)


async def test_a_viewer_that_is_behind_gets_one_merged_step(
    channel: Channel, book: HandBook
) -> None:
    seq = channel.moment.seq
    for size in ("1", "2", "0"):
        book.change(asks=[("100.03", size)])
        channel.look()
    changes = channel.changes_since(seq)
    assert changes is not None
    assert changes.asks.quantities.tolist() == [0]


async def test_a_viewer_that_is_far_behind_gets_the_whole_book(
    channel: Channel, book: HandBook
) -> None:
    seq = channel.moment.seq
    for number in range(1, 120):
        book.change(asks=[("100.03", str(number))])
        channel.look()
    assert channel.changes_since(seq) is None
    assert channel.changes_since(channel.moment.seq - 50) is not None
    assert channel.changes_since(channel.moment.seq + 1) is None


async def test_a_lost_book_is_shown_as_unknown(channel: Channel, book: HandBook) -> None:
    seq = channel.moment.seq
    book.lose("The connection was lost.")
    channel.look()
    assert not channel.known
    assert not len(channel.moment.image.bids.prices)
    assert channel.moment.badge.detail == "The connection was lost."
    assert channel.changes_since(seq) is None


async def test_a_new_scale_needs_the_whole_book(channel: Channel, book: HandBook) -> None:
    seq = channel.moment.seq
    book.change(asks=[("100.030000000001", "1")])
    channel.look()
    assert channel.moment.image.scale.price > 8
    assert channel.changes_since(seq) is None


async def test_an_unreadable_book_is_unknown_and_says_why(channel: Channel, book: HandBook) -> None:
    book.load([("1" * 30, "1.123456789")], [])
    channel.look()
    assert not channel.known
    assert "does not fit" in channel.moment.badge.detail
    assert not channel.look()
    assert (channel.badge().state, channel.badge().detail) == (
        FeedState.SYNCING,
        channel.moment.badge.detail,
    )
    book.load([("1", "1")], [("2", "1")])
    channel.look()
    assert channel.known
    assert (channel.badge().state, channel.badge().detail) == (FeedState.SYNCED, "")


async def test_a_change_of_the_state_alone_is_a_moment(
    channel: Channel, book: HandBook, clock: Clock
) -> None:
    book.status = FeedStatus(FeedState.SYNCED, SourceKind.DIRECT, clock.now_ns)
    channel.look()
    seq = channel.moment.seq
    clock.now_ns += 6_000_000_000
    assert channel.look()
    assert channel.moment.badge.state is FeedState.STALE
    changes = channel.changes_since(seq)
    assert changes is not None
    assert len(changes) == 0
    book.status = FeedStatus(FeedState.DATABASE_AWAY, SourceKind.DIRECT, clock.now_ns)
    assert channel.look()


async def test_a_moment_from_before_a_suspension_is_replaced_by_a_true_one(
    channel: Channel, book: HandBook, clock: Clock
) -> None:
    book.status = FeedStatus(FeedState.SYNCED, SourceKind.DIRECT, clock.now_ns)
    channel.look()
    before = channel.moment
    channel.look_if_untrue()
    assert channel.moment is before
    clock.now_ns += 11_000_000_000
    channel.look_if_untrue()
    assert (channel.moment.seq, channel.moment.badge.state) == (before.seq + 1, FeedState.STALE)
    # A book that moved meanwhile comes with it.
    book.change(bids=[("100.01", "9")])
    book.status = FeedStatus(FeedState.SYNCED, SourceKind.DIRECT, clock.now_ns)
    channel.look()
    assert channel.moment.badge.state is FeedState.SYNCED


async def test_what_many_viewers_ask_at_once_is_looked_up_once(
    channel: Channel, book: HandBook, clock: Clock
) -> None:
    """A moment may be untrue for 20 ms, which is less than a viewer waits for its turn."""
    book.status = FeedStatus(FeedState.SYNCED, SourceKind.DIRECT, clock.now_ns)
    channel.look()
    clock.now_ns += STALE_AFTER_MS * 1_000_000 - 10_000_000
    states = []
    for passed_ns in (0, 19_000_000, 1_000_000):
        clock.now_ns += passed_ns
        channel.look_if_untrue()
        states.append(channel.moment.badge.state)
    assert states == [FeedState.SYNCED, FeedState.SYNCED, FeedState.STALE]


async def test_going_over_to_the_demo_is_a_moment(library: HandLibrary, clock: Clock) -> None:
    channel = Channel(BTC, library.lend(BTC), clock, lambda: library.demo)
    assert not channel.moment.demo
    library.demo = True
    assert channel.look()
    assert channel.moment.demo


async def test_all_viewers_that_need_the_whole_book_get_the_same_frame(channel: Channel) -> None:
    form = ChangesForm()
    whole = form.frame(channel, None)
    assert b'"kind":"book"' in whole.plain
    for outdated in (-1, 0, 1):
        assert form.frame(channel, outdated) is whole


async def test_a_frame_is_made_once_a_moment(channel: Channel, book: HandBook) -> None:
    made = []

    def make() -> Frame:
        made.append(channel.moment.seq)
        return Frame(b"")

    assert channel.shared("key", make) is channel.shared("key", make)
    book.change(bids=[("100.01", "9")])
    channel.look()
    channel.shared("key", make)
    assert len(made) == 2


async def test_a_beat_is_no_moment(channel: Channel) -> None:
    seq = channel.moment.seq
    channel.beat()
    assert (channel.beats, channel.moment.seq) == (1, seq)


async def test_closing_gives_the_book_back_and_wakes_waiting_viewers(
    channel: Channel, library: HandLibrary
) -> None:
    waiting = asyncio.create_task(channel.waiting.wait())
    await asyncio.sleep(0)
    channel.close()
    async with asyncio.timeout(60):
        await waiting
    assert library.loans == 0


async def _waiting(room: WaitingRoom, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(room.wait()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_call_reaches_all_who_wait() -> None:
    room = WaitingRoom()
    tasks = await _waiting(room, 50)
    await room.call()
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)


async def test_no_coroutine_wakes_before_the_call() -> None:
    room = WaitingRoom()
    await room.call()
    (task,) = await _waiting(room, 1)
    assert not task.done()
    room.close()
    async with asyncio.timeout(60):
        await task


async def test_the_loop_has_its_turns_in_between() -> None:
    room = WaitingRoom()
    tasks = await _waiting(room, 50)
    calling = asyncio.create_task(room.call())
    served = []
    while not calling.done():
        served.append(sum(task.done() for task in tasks))
        await asyncio.sleep(0)
    steps = [later - earlier for earlier, later in itertools.pairwise(served)]
    assert 0 < max(steps) <= 10
    assert all(task.done() for task in tasks)


async def test_a_wait_that_begins_during_a_call_ends_at_the_next() -> None:
    room = WaitingRoom()
    await _waiting(room, 50)
    calling = asyncio.create_task(room.call())
    await asyncio.sleep(0)
    (late,) = await _waiting(room, 1)
    await calling
    await asyncio.sleep(0)
    assert not late.done()
    room.close()
    await late


async def test_a_cancelled_wait_is_passed_over() -> None:
    room = WaitingRoom()
    gone, stays = await _waiting(room, 2)
    gone.cancel()
    await room.call()
    async with asyncio.timeout(60):
        await stays
    assert gone.cancelled()


async def test_a_cancelled_call_wakes_all_who_wait() -> None:
    room = WaitingRoom()
    tasks = await _waiting(room, 50)
    calling = asyncio.create_task(room.call())
    await asyncio.sleep(0)
    calling.cancel()
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)
    assert calling.cancelled()


def _message(channel: Channel, last_seq: int | None) -> dict[str, Any]:
    frame = ChangesForm().frame(channel, last_seq)
    data = next(line for line in frame.plain.decode().splitlines() if line.startswith("data:"))
    message: dict[str, Any] = json.loads(data.removeprefix("data:"))
    return message


async def test_a_stream_says_how_deep_the_book_is_known_and_when_that_changes(
    channel: Channel, book: HandBook
) -> None:
    book.load([("9.5", "1")], [], depth=None)
    channel.look()
    assert "knownFrom" not in _message(channel, None)
    book.load([("9.5", "1"), ("9.25", "2")], [("9.75", "1")], depth=2)
    channel.look()
    first = channel.moment.seq
    whole = _message(channel, None)
    assert (whole["kind"], whole["knownFrom"], whole["knownTo"]) == ("book", "9.25", None)
    book.change(bids=[("9.5", "3")])
    channel.look()
    second = channel.moment.seq
    assert "knownFrom" not in _message(channel, first)
    book.load([("9.5", "1"), ("9", "2")], [("9.75", "1"), ("10", "1")], depth=2)
    channel.look()
    for seq in (first, second):
        diff = _message(channel, seq)
        assert (diff["kind"], diff["knownFrom"], diff["knownTo"]) == ("diff", "9", "10")
    third = channel.moment.seq
    # That it is not known any more is told by a book without it.
    book.load([("9.5", "1")], [], depth=None)
    channel.look()
    whole = _message(channel, third)
    assert whole["kind"] == "book"
    assert "knownFrom" not in whole


async def test_a_lost_book_is_empty_for_programs_and_stays_for_people(
    channel: Channel, book: HandBook
) -> None:
    book.load([("9.5", "1")], [("9.75", "1")])
    channel.look()
    assert "current" not in _message(channel, None)
    known = channel.moment.image
    book.lose("The connection was lost.")
    channel.look()
    message = _message(channel, None)
    assert (message["lastUpdateId"], message["bids"], message["current"]) == (0, [], False)
    assert channel.moment.shown.last_update_id == known.last_update_id
    assert channel.moment.shown.bids.prices.tolist() == known.bids.prices.tolist()
    book.load([("9.5", "2")], [("9.75", "1")])
    channel.look()
    assert channel.moment.shown is channel.moment.image
