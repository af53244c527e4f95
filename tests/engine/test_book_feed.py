"""The feed of one market, driven item by item, on Qt's loop."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count, islice

import pytest
from PySide6.QtWidgets import QApplication

from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import (
    DepthDiff,
    DepthSnapshot,
    decode_diff,
    decode_snapshot,
    timed,
)
from orderbook_desktop.core.lateness import UsualDelay
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamConnected, StreamItem
from orderbook_desktop.core.status import Badge, FeedState, SourceKind, badge_for
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.engine import book_feed
from orderbook_desktop.engine.book_feed import BookFeed
from orderbook_desktop.exchange.errors import (
    NoBook,
    Paced,
    RateLimited,
    RegionBlocked,
    UnknownSymbol,
    Unreachable,
)
from orderbook_desktop.system.steady_clock import steady_ns
from tests.engine.noted_sink import NotedSink
from tests.exchange.listener import until

BTC = "BTCUSDT"


def diff(
    first: int,
    final: int | None = None,
    quantity: str = "1.0",
    market: str = BTC,
    received_ns: int = 9,
) -> DepthDiff:
    """Return an event that sets the bid at 100."""
    event = {"e": "depthUpdate", "E": 5, "s": market, "U": first, "u": final or first}
    payload = json.dumps({**event, "b": [["100.0", quantity]], "a": []}).encode()
    return decode_diff(payload, received_ns)


def snapshot(last: int) -> DepthSnapshot:
    book = {"lastUpdateId": last, "bids": [["99.0", "1.0"]], "asks": [["101.0", "1.0"]]}
    return decode_snapshot(json.dumps(book).encode(), BTC)


def crossing_diff(final: int) -> DepthDiff:
    """Return an event whose bid reaches the ask."""
    event = {"e": "depthUpdate", "E": 5, "s": BTC, "U": final, "u": final}
    return decode_diff(json.dumps({**event, "b": [["101.0", "1"]], "a": []}).encode(), 9)


def crossed_snapshot(last: int) -> DepthSnapshot:
    book = {"lastUpdateId": last, "bids": [["100.0", "1.0"]], "asks": [["100.0", "1.0"]]}
    return decode_snapshot(json.dumps(book).encode(), BTC)


@pytest.fixture(scope="module", autouse=True)
def application(qapp: QApplication) -> None:
    """Make the application before the first event loop."""


class HandStream:
    """A stream with the items that the test puts."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[StreamItem] = asyncio.Queue()
        self.closed = False

    async def items(self, stream: Stream) -> AsyncGenerator[StreamItem, None]:
        assert stream == Stream(BTC, DEPTH)
        try:
            while True:
                yield await self.queue.get()
        finally:
            self.closed = True

    def put(self, *items: StreamItem) -> None:
        for item in items:
            self.queue.put_nowait(item)


class HandSnapshots:
    """A source whose snapshots the test returns."""

    def __init__(self) -> None:
        self.requests: list[asyncio.Future[DepthSnapshot]] = []

    @property
    def waiting(self) -> list[asyncio.Future[DepthSnapshot]]:
        return [request for request in self.requests if not request.done()]

    async def snapshot(self, market: str) -> DepthSnapshot:
        assert market == BTC
        request: asyncio.Future[DepthSnapshot] = asyncio.get_running_loop().create_future()
        self.requests.append(request)
        return await request

    async def until_asked(self, times: int) -> None:
        await until(lambda: len(self.requests) >= times)

    async def answer(self, answer: DepthSnapshot | Exception) -> None:
        await until(lambda: self.waiting)
        if isinstance(answer, Exception):
            self.waiting[0].set_exception(answer)
        else:
            self.waiting[0].set_result(answer)


class Hand:
    """A feed whose stream, snapshots and sink the test controls."""

    def __init__(
        self,
        first_delay: float = 0.02,
        kind: SourceKind = SourceKind.DIRECT,
        usual_delay: UsualDelay | None = None,
    ) -> None:
        self.stream = HandStream()
        self.snapshots = HandSnapshots()
        self.sink = NotedSink()
        self.feed = BookFeed(
            BTC, self.snapshots, self.stream, kind, first_delay, usual_delay=usual_delay
        )

    @property
    def state(self) -> FeedState:
        return self.feed.status.state

    async def taken(self) -> None:
        """Wait until the feed has taken all items that were put."""
        await until(self.stream.queue.empty)
        await asyncio.sleep(0)

    async def give(self, *items: StreamItem) -> None:
        self.stream.put(*items)
        await self.taken()

    async def synced(self, last: int = 10) -> None:
        """Bring the feed to a book of update id `last`."""
        await self.synced_with(snapshot(last))

    async def synced_with(self, book: DepthSnapshot) -> None:
        await self.give(StreamConnected())
        await self.snapshots.answer(book)
        await until(lambda: self.state is FeedState.SYNCED)


@asynccontextmanager
async def by_hand(
    first_delay: float = 0.02,
    kind: SourceKind = SourceKind.DIRECT,
    usual_delay: UsualDelay | None = None,
) -> AsyncIterator[Hand]:
    hand = Hand(first_delay, kind, usual_delay)
    running = asyncio.create_task(hand.feed.run())
    try:
        yield hand
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()
    assert hand.stream.closed


def known_delay() -> UsualDelay:
    """Return a usual delay that another stream of the exchange has shown."""
    usual = UsualDelay()
    usual.is_known = True
    return usual


async def test_states_from_connecting_to_synced() -> None:
    async with by_hand() as hand:
        assert (hand.state, hand.feed.status.detail) == (FeedState.SYNCING, "Connecting.")
        await hand.give(StreamConnected())
        assert hand.feed.status.detail == "Loading the book."
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
        await hand.give(diff(11))
        assert hand.feed.book.last_update_id == 11
        assert hand.feed.base_id == 10
        assert hand.feed.status.last_received_ns == 9


async def test_a_book_whose_stream_is_dead_from_the_start_gets_old() -> None:
    async with by_hand() as hand:
        assert hand.feed.status.as_of_ns == 0
        before_ns = steady_ns()
        await hand.synced()
        status = hand.feed.status
        assert before_ns <= status.as_of_ns <= steady_ns()
        assert status.last_received_ns == 0
        assert badge_for(status, status.as_of_ns + 5_001_000_000).state is FeedState.STALE


async def test_a_first_recorded_event_s_age_counts_from_its_arrival_here() -> None:
    async with by_hand(kind=SourceKind.MONGO, usual_delay=known_delay()) as hand:
        await hand.synced()
        before_ns = steady_ns()
        await hand.give(diff(11))
        assert hand.feed.status.last_received_ns == 9
        assert before_ns <= hand.feed.status.as_of_ns <= steady_ns()


@pytest.mark.allows_log("WARNING .*Some events have impossible times")
async def test_a_direct_event_s_age_counts_from_the_socket() -> None:
    async with by_hand() as hand:
        await hand.synced()
        later_ns = steady_ns() + 60_000_000_000
        hand.feed._times.clock_ns = lambda: later_ns
        await hand.give(diff(11, received_ns=time.time_ns() - 7_000_000_000))
        badge = badge_for(hand.feed.status, later_ns)
        assert badge.state is FeedState.STALE
        assert 7_000 <= (badge.age_ms or 0) < 60_000


@pytest.mark.allows_log("WARNING .*Some events have impossible times")
@pytest.mark.parametrize("kind", [SourceKind.MONGO, SourceKind.DIRECT])
async def test_a_time_of_day_that_is_set_back_makes_no_dead_book_fresh(
    kind: SourceKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_ns = time.time_ns
    async with by_hand(kind=kind, usual_delay=known_delay()) as hand:
        await hand.synced()
        await hand.give(diff(11, received_ns=time.time_ns()))
        monkeypatch.setattr(time, "time_ns", lambda: true_ns() - 3_600_000_000_000)
        status = hand.feed.status
        assert badge_for(status, steady_ns()).state is FeedState.SYNCED
        assert badge_for(status, steady_ns() + 6_000_000_000).state is FeedState.STALE


class Backlog:
    """A feed whose clock the test sets, and events that are made by another computer's clock."""

    def __init__(self, hand: Hand, exchange_off_ms: int) -> None:
        self.hand = hand
        self.now_ms = 1_000_000
        self.off_ms = time.time_ns() // 1_000_000 + exchange_off_ms
        self._last = 10
        hand.feed._times.clock_ns = lambda: self.now_ns

    @property
    def now_ns(self) -> int:
        return self.now_ms * 1_000_000

    async def made(self, *times_ms: int) -> list[tuple[FeedState, int | None]]:
        """Take events of these times; return the badge's state and age after each."""
        seen = []
        for time_ms in times_ms:
            self._last += 1
            event = timed(diff(self._last, received_ns=0), self.off_ms + time_ms)
            await self.hand.give(event)
            badge = badge_for(self.hand.feed.status, self.now_ns)
            seen.append((badge.state, badge.age_ms))
        return seen

    async def begun(self) -> None:
        """Take punctual events until the feed can know that they are."""
        for _ in range(2):
            self.now_ms += 1_000
            await self.made(self.now_ms)

    async def punctual(self, until_ms: int) -> None:
        """Take an event of each second, at once."""
        while self.now_ms < until_ms:
            self.now_ms += 1_000
            assert await self.made(self.now_ms) == [(FeedState.SYNCED, 0)]


@pytest.mark.parametrize("kind", [SourceKind.MONGO, SourceKind.DIRECT])
@pytest.mark.parametrize("off_ms", [0, -3_600_000, 7_000, 3_600_000])
async def test_a_book_that_is_read_from_a_backlog_is_never_synced(
    kind: SourceKind, off_ms: int
) -> None:
    """The reader was suspended; the events that waited arrive now, but are not news."""
    async with by_hand(kind=kind) as hand:
        backlog = Backlog(hand, off_ms)
        await hand.synced()
        await backlog.begun()
        await backlog.punctual(1_020_000)
        backlog.now_ms = 1_031_400
        seen = await backlog.made(1_021_000, 1_024_000, 1_026_000, 1_027_000, 1_031_000)
        assert seen == [
            *((FeedState.STALE, 10_400), (FeedState.STALE, 7_400), (FeedState.STALE, 5_400)),
            *((FeedState.SYNCED, 4_400), (FeedState.SYNCED, 400)),
        ]
        backlog.now_ms = 1_032_000
        await backlog.punctual(1_040_000)


def recorded_snapshot(backlog: Backlog, made_ms: int) -> DepthSnapshot:
    """Return a recorded book whose last event was made at that time."""
    payload = snapshot(10).payload
    return decode_snapshot(payload, BTC, backlog.off_ms + made_ms)


@pytest.mark.parametrize("off_ms", [0, -3_600_000, 7_000, 3_600_000])
async def test_a_reader_that_begins_amid_a_backlog_is_not_synced_before_its_end(
    off_ms: int,
) -> None:
    """The recorder has come back from a suspension, and stores what waited."""
    async with by_hand(kind=SourceKind.MONGO) as hand:
        backlog = Backlog(hand, off_ms)
        await hand.give(StreamConnected())
        await hand.snapshots.answer(recorded_snapshot(backlog, 984_000))
        await until(lambda: hand.feed.book.last_update_id == 10)
        states = {badge_for(hand.feed.status, backlog.now_ns).state}
        for made_ms in range(984_100, 1_000_000, 100):
            backlog.now_ms += 1
            states.add((await backlog.made(made_ms))[0][0])
        assert states == {FeedState.SYNCING}
        for made_ms in range(1_000_200, 1_001_500, 100):
            backlog.now_ms = made_ms
            ((state, age_ms),) = await backlog.made(made_ms)
        assert (state, age_ms) == (FeedState.SYNCED, 0)


async def test_a_reader_of_a_recorder_that_stands_still_does_not_call_its_book_synced() -> None:
    async with by_hand(kind=SourceKind.MONGO) as hand:
        backlog = Backlog(hand, 0)
        await hand.give(StreamConnected())
        await hand.snapshots.answer(recorded_snapshot(backlog, 990_000))
        await until(lambda: hand.feed.book.last_update_id == 10)
        states = [
            badge_for(hand.feed.status, backlog.now_ns + later_ms * 1_000_000).state
            for later_ms in (0, 1_000, 4_900, 5_100, 60_000)
        ]
        assert states == 3 * [FeedState.SYNCING] + 2 * [FeedState.STALE]


async def test_an_event_of_old_that_comes_again_makes_no_book_stale() -> None:
    async with by_hand(kind=SourceKind.MONGO) as hand:
        backlog = Backlog(hand, 0)
        await hand.synced()
        await backlog.begun()
        await backlog.punctual(1_020_000)
        backlog._last = 12
        assert await backlog.made(1_003_000) == [(FeedState.SYNCED, 0)]
        assert hand.feed.book.last_update_id == 30


async def test_a_book_that_is_loaded_is_as_old_as_its_last_event() -> None:
    """The recorder stands still; a reader that begins now finds its last book."""
    usual = known_delay()
    usual.set(-5 * 1_000_000, 0)
    async with by_hand(kind=SourceKind.MONGO, usual_delay=usual) as hand:
        hand.feed._times.clock_ns = lambda: 1_000_020_000 * 1_000_000
        await hand.give(StreamConnected())
        await hand.snapshots.answer(decode_snapshot(snapshot(10).payload, BTC, 1_000_010_005))
        await until(lambda: hand.state is FeedState.SYNCED)
        badge = badge_for(hand.feed.status, 1_000_020_000 * 1_000_000)
        assert (badge.state, badge.age_ms) == (FeedState.STALE, 10_000)


async def answered_after_12_s(hand: Hand, *meanwhile: DepthDiff) -> Badge:
    """Return the badge of a book that was asked for 12 s before, while events came `meanwhile`."""
    now_ns = 1_000_000_000
    hand.feed._times.clock_ns = lambda: now_ns
    await hand.give(StreamConnected())
    await hand.snapshots.until_asked(1)
    now_ns += 12_000_000_000
    await hand.give(*meanwhile)
    await hand.snapshots.answer(snapshot(10))
    await until(lambda: hand.state is FeedState.SYNCED)
    return badge_for(hand.feed.status, now_ns)


async def test_a_book_of_the_exchange_is_as_old_as_the_request_for_it() -> None:
    async with by_hand() as hand:
        badge = await answered_after_12_s(hand)
        assert (badge.state, badge.age_ms) == (FeedState.STALE, 12_000)


async def test_events_that_waited_for_a_book_are_its_news() -> None:
    async with by_hand() as hand:
        assert (await answered_after_12_s(hand, diff(11))).state is FeedState.SYNCED
        assert hand.feed.book.last_update_id == 11


async def test_our_own_pacing_is_told_and_no_warning() -> None:
    async with by_hand() as hand:
        await hand.give(StreamConnected())
        await hand.snapshots.answer(Paced(0.01))
        await until(lambda: "Waiting 1 s: the exchange limits" in hand.feed.status.detail)
        assert isinstance(hand.feed.problem, Paced)
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
        assert hand.feed.problem is None


async def test_a_count_down_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with by_hand() as hand:
        await hand.give(StreamConnected())
        for waits_s in (2.01, 1.02, 0.01):
            await hand.snapshots.answer(Paced(waits_s))
            await until(lambda: hand.feed.status.detail)
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
    assert [text for text in caplog.messages if "no snapshot" in text] == [
        f"BTCUSDT: no snapshot: {Paced(2.01)}"
    ]


@pytest.mark.expects_log("no snapshot: The exchange asks for fewer requests")
async def test_a_pause_that_is_nearly_over_is_not_overslept() -> None:
    async with by_hand(first_delay=60) as hand:
        await hand.give(StreamConnected())
        await hand.snapshots.answer(RateLimited(0.01, 429))
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)


async def test_the_sink_is_told_in_order() -> None:
    async with by_hand() as hand:
        hand.feed.attach(hand.sink)
        await hand.give(StreamConnected(), diff(9, 11), diff(12))
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
        await hand.give(diff(13), diff(13), StreamBroken(GapCause.SILENCE, "hush"))
    assert hand.sink.calls == [
        ("received", 11),
        ("received", 12),
        ("opened DepthSnapshot", 10),
        ("applied", 11),
        ("applied", 12),
        ("received", 13),
        ("applied", 13),
        ("received", 13),
        ("broken", GapCause.SILENCE),
    ]


async def test_a_sink_that_comes_later_begins_with_the_book_as_it_is() -> None:
    async with by_hand() as hand:
        await hand.synced()
        await hand.give(diff(11))
        hand.feed.attach(hand.sink)
        await hand.give(diff(12))
        hand.feed.detach()
        await hand.give(diff(13))
    assert hand.sink.calls == [("opened BookImage", 11), ("received", 12), ("applied", 12)]


async def test_a_sink_attached_while_events_wait_gets_a_new_segment() -> None:
    async with by_hand() as hand:
        await hand.give(StreamConnected(), diff(11), diff(12))
        hand.feed.attach(hand.sink)
        await hand.give(diff(13))
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
        await hand.give(diff(14))
    assert hand.sink.calls == [
        ("received", 13),
        ("opened BookImage", 13),
        ("received", 14),
        ("applied", 14),
    ]


_TOO_FINE = "0." + "1" * 30


@pytest.mark.expects_log("At update id 12 the value 0.1111")
@pytest.mark.parametrize("attached_at", [0, 13])
async def test_a_book_too_wide_is_left_aside_and_taken_up_by_itself(attached_at: int) -> None:
    async with by_hand() as hand:
        if not attached_at:
            hand.feed.attach(hand.sink)
        await hand.synced()
        await hand.give(diff(11), diff(12, quantity=_TOO_FINE))
        assert hand.state is FeedState.SYNCING
        assert hand.feed.too_wide == hand.feed.status.detail
        assert "does not fit exactly into 64 bits" in hand.feed.too_wide
        with pytest.raises(InexactValue):
            hand.feed.book.bids()
        if attached_at:
            hand.feed.attach(hand.sink)
        await hand.give(StreamConnected(), diff(13, quantity=_TOO_FINE))
        assert (hand.state, hand.feed.base_id) == (FeedState.SYNCING, 0)
        await hand.give(diff(14), diff(15))
        assert (hand.state, hand.feed.too_wide) == (FeedState.SYNCED, "")
        assert (hand.feed.base_id, hand.feed.book.last_update_id) == (10, 15)
        assert len(hand.snapshots.requests) == 1
    before = [
        *[("opened DepthSnapshot", 10), ("received", 11), ("applied", 11), ("received", 12)],
        ("broken", GapCause.TOO_WIDE),
    ]
    after = [("received", 13), ("received", 14), ("opened BookImage", 14)]
    calls = ([] if attached_at else before) + [*after, ("received", 15), ("applied", 15)]
    assert hand.sink.calls == calls


@pytest.mark.expects_log("At update id 10 the value")
async def test_a_first_book_too_wide_is_not_asked_for_again() -> None:
    async with by_hand() as hand:
        hand.feed.attach(hand.sink)
        await hand.give(StreamConnected())
        book = {"lastUpdateId": 10, "bids": [["100.0", _TOO_FINE]], "asks": []}
        await hand.snapshots.answer(decode_snapshot(json.dumps(book).encode(), BTC))
        await until(lambda: hand.feed.too_wide)
        await hand.give(diff(11))
        assert hand.state is FeedState.SYNCED
        assert (len(hand.snapshots.requests), hand.feed.base_id) == (1, 10)
    calls = [("broken", GapCause.TOO_WIDE), ("received", 11), ("opened BookImage", 11)]
    assert hand.sink.calls == calls


@pytest.mark.expects_log("Update ids 12 to 14 are missing")
async def test_a_gap_is_told_and_mended() -> None:
    async with by_hand() as hand:
        hand.feed.attach(hand.sink)
        await hand.synced()
        await hand.give(diff(11), diff(15))
        assert hand.state is FeedState.SYNCING
        assert not hand.feed.book.last_update_id
        assert hand.feed.base_id == 0
        await hand.snapshots.answer(snapshot(15))
        await until(lambda: hand.state is FeedState.SYNCED)
    assert ("broken", GapCause.FEED_GAP) in hand.sink.calls


@pytest.mark.expects_log("the best bid 101 reaches the best ask 101")
async def test_a_crossed_book_is_a_gap_of_its_own_and_never_shown() -> None:
    async with by_hand() as hand:
        hand.feed.attach(hand.sink)
        await hand.synced()
        last = hand.feed.book.last_update_id
        await hand.give(crossing_diff(last + 1))
        assert hand.state is FeedState.SYNCING
        assert "the best bid 101 reaches the best ask 101" in hand.feed.status.detail
        assert not hand.feed.book.last_update_id
        await hand.snapshots.answer(snapshot(last + 1))
        await until(lambda: hand.state is FeedState.SYNCED)
    assert hand.sink.calls[-3:] == [
        ("received", last + 1),
        ("broken", GapCause.CROSSED),
        ("opened DepthSnapshot", last + 1),
    ]


@pytest.mark.expects_log("can't follow update id 10")
async def test_an_absurd_id_breaks_the_book_and_is_not_recorded() -> None:
    async with by_hand() as hand:
        hand.feed.attach(hand.sink)
        await hand.synced()
        await hand.give(diff(2**62))
        assert hand.state is FeedState.SYNCING
        assert f"Update id {2**62} can't follow update id 10." in hand.feed.status.detail
        await hand.give(diff(11))
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
        assert hand.feed.book.last_update_id == 11
    assert hand.sink.calls[1:] == [
        ("broken", GapCause.MALFORMED),
        ("received", 11),
        ("opened DepthSnapshot", 10),
        ("applied", 11),
    ]


def dated(final: int, event_time: int, received_ms: int) -> DepthDiff:
    event = {"e": "depthUpdate", "E": event_time, "s": BTC, "U": final, "u": final}
    payload = json.dumps({**event, "b": [["100.0", "1"]], "a": []}).encode()
    return decode_diff(payload, received_ms * 1_000_000)


@pytest.mark.expects_log("Some events are dated in microseconds|Some events have impossible times")
async def test_odd_times_count_rightly_and_are_told() -> None:
    now = 1_767_225_600_000
    async with by_hand() as hand:
        hand.feed.attach(hand.sink)
        await hand.synced()
        await hand.give(dated(11, now, now))
        assert hand.feed.status.detail == ""
        await hand.give(dated(12, (now + 100) * 1000, now + 100))
        assert hand.feed.book.event_ms == now + 100
        assert "dated in microseconds" in hand.feed.status.detail
        await hand.give(dated(13, now * 7, now + 200))
        assert hand.feed.book.event_ms == now + 100
        assert "impossible times" in hand.feed.status.detail
        await hand.give(dated(14, now + 300, now + 300))
        assert hand.feed.book.event_ms == now + 300
        assert hand.state is FeedState.SYNCED


async def test_why_a_stream_broke_is_shown_until_the_book_is_known() -> None:
    async with by_hand() as hand:
        await hand.synced()
        await hand.give(StreamBroken(GapCause.MALFORMED, "It made no sense."), StreamConnected())
        assert hand.feed.status.detail == "It made no sense. Loading the book anew."
        await hand.snapshots.answer(snapshot(20))
        await until(lambda: hand.state is FeedState.SYNCED)
        assert hand.feed.status.detail == ""


@pytest.mark.expects_log("the best bid 100 reaches the best ask 100")
async def test_a_crossed_snapshot_is_asked_for_again_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[float] = []

    def growing(*_limits: float, **_named: float) -> Iterator[float]:
        for pause_s in count(0.0, 0.01):
            taken.append(pause_s)
            yield pause_s

    monkeypatch.setattr(book_feed, "backoff_delays", growing)
    async with by_hand() as hand:
        hand.feed.attach(hand.sink)
        await hand.give(StreamConnected())
        for asked in range(4):
            assert taken == list(islice(count(0.0, 0.01), asked))
            await hand.snapshots.answer(crossed_snapshot(10))
            await until(lambda: hand.snapshots.waiting)
            assert hand.state is FeedState.SYNCING
            assert "the best bid 100 reaches the best ask 100" in hand.feed.status.detail
        await hand.snapshots.answer(snapshot(20))
        await until(lambda: hand.state is FeedState.SYNCED)
    # Nothing was recorded, so nothing is lost.
    assert hand.sink.calls == [("opened DepthSnapshot", 20)]


@pytest.mark.expects_log("no snapshot: The exchange at x can't be reached")
async def test_a_snapshot_that_fails_is_told_and_asked_for_again() -> None:
    async with by_hand() as hand:
        await hand.give(StreamConnected())
        await hand.snapshots.answer(Unreachable("x", "HTTP 503"))
        await until(lambda: hand.feed.problem)
        assert "HTTP 503" in hand.feed.status.detail
        assert hand.state is FeedState.SYNCING
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
        assert hand.feed.problem is None
        assert hand.feed.status.detail == ""


async def test_that_nothing_is_recorded_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with by_hand(kind=SourceKind.MONGO) as hand:
        await hand.give(StreamConnected())
        for reason in ("nothing", "nothing", "nothing", "too little"):
            await hand.snapshots.answer(Unreachable("x", reason))
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
    assert [text.rpartition(" ")[2] for text in caplog.messages if "no snapshot" in text] == [
        str(Unreachable("x", reason)).rpartition(" ")[2] for reason in ("nothing", "too little")
    ]


@pytest.mark.expects_log("no snapshot: The exchange doesn't trade")
async def test_a_symbol_that_is_not_traded_is_not_syncing_for_ever() -> None:
    async with by_hand() as hand:
        await hand.give(StreamConnected())
        await hand.snapshots.answer(UnknownSymbol(BTC))
        await until(lambda: hand.state is FeedState.NOT_TRADED)
        assert BTC not in hand.feed.status.detail
        assert isinstance(hand.feed.problem, UnknownSymbol)
        # The symbol may be traded from now on.
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)


@pytest.mark.expects_log("no snapshot: The exchange has no book of BTCUSDT for now")
async def test_a_symbol_without_a_book_is_asked_for_rarely_or_when_an_event_comes() -> None:
    async with by_hand() as hand:
        await hand.give(StreamConnected())
        await hand.snapshots.answer(NoBook(BTC))
        await until(lambda: "no book" in hand.feed.status.detail)
        assert hand.state is FeedState.SYNCING
        await asyncio.sleep(0.2)
        assert len(hand.snapshots.requests) == 1
        await hand.give(diff(11))
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)


async def test_a_snapshot_older_than_the_stream_is_asked_for_again() -> None:
    async with by_hand() as hand:
        await hand.give(StreamConnected(), diff(20), diff(21))
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: len(hand.snapshots.requests) == 2)
        assert hand.state is FeedState.SYNCING
        await hand.snapshots.answer(snapshot(19))
        await until(lambda: hand.state is FeedState.SYNCED)
        assert hand.feed.book.last_update_id == 21


async def test_a_snapshot_asked_for_before_the_break_is_not_used() -> None:
    async with by_hand() as hand:
        await hand.give(StreamConnected())
        await until(lambda: hand.snapshots.requests)
        await hand.give(StreamBroken(GapCause.DISCONNECT, "gone"))
        assert (hand.state, hand.feed.status.detail) == (FeedState.RECONNECTING, "gone")
        await until(hand.snapshots.requests[0].cancelled)
        await hand.give(StreamConnected())
        await hand.snapshots.answer(snapshot(30))
        await until(lambda: hand.state is FeedState.SYNCED)
        assert hand.feed.base_id == 30


async def test_events_before_the_stream_is_confirmed_do_not_confuse_the_state() -> None:
    """The exchange may send events before its answer to SUBSCRIBE."""
    async with by_hand() as hand:
        await hand.give(diff(11))
        await hand.snapshots.answer(snapshot(10))
        await until(lambda: hand.state is FeedState.SYNCED)
        await hand.give(StreamConnected())
        assert hand.state is FeedState.SYNCED


async def test_a_connection_that_fails_leaves_its_problem() -> None:
    problem = RegionBlocked("x", 451)
    async with by_hand() as hand:
        await hand.give(StreamBroken(GapCause.DISCONNECT, str(problem), problem))
        assert hand.feed.problem is problem
        assert hand.state is FeedState.RECONNECTING
        await hand.synced()
        assert hand.feed.problem is None


async def test_an_event_of_another_market_is_a_break_and_never_mixed_in() -> None:
    async with by_hand() as hand:
        hand.feed.attach(hand.sink)
        await hand.synced()
        await hand.give(diff(11, market="ETHUSDT"))
        assert not hand.feed.book.last_update_id
        await hand.snapshots.answer(snapshot(12))
        await until(lambda: hand.state is FeedState.SYNCED)
        assert list(hand.feed.book.bids().prices) == [99 * 10**8]
    assert [name for name, _ in hand.sink.calls] == [
        "opened DepthSnapshot",
        "broken",
        "opened DepthSnapshot",
    ]


async def test_a_stream_that_breaks_all_the_time_is_no_storm_of_requests() -> None:
    async with by_hand(first_delay=60) as hand:
        await hand.give(StreamConnected())
        await until(lambda: hand.snapshots.requests)
        # A few requests come at once, then none for a long while.
        for breaks in range(1, 21):
            await hand.give(StreamBroken(GapCause.MALFORMED, "odd"), StreamConnected())
            await hand.snapshots.until_asked(min(4, 1 + breaks))
        await asyncio.sleep(0.1)
        assert len(hand.snapshots.requests) == 4


async def test_a_bug_in_loading_is_not_swallowed() -> None:
    hand = Hand()
    running = asyncio.create_task(hand.feed.run())
    hand.stream.put(StreamConnected())
    await hand.snapshots.answer(ZeroDivisionError())
    await asyncio.wait([running])
    with pytest.raises(ExceptionGroup) as caught:
        running.result()
    assert caught.group_contains(ZeroDivisionError)
    assert hand.stream.closed


async def test_each_change_of_the_book_is_told_at_once() -> None:
    told: list[int] = []
    async with by_hand() as hand:
        hand.feed.call_on_change(lambda: told.append(hand.feed.book.last_update_id))
        await hand.synced(10)
        assert told[-1] == 10
        await hand.give(diff(11))
        assert told[-1] == 11
        await hand.give(StreamBroken(GapCause.DISCONNECT, "Lost."))
        assert told[-1] == 0
        await hand.synced(20)
        assert told[-1] == 20
        hand.feed.forget()
        assert told[-1] == 0
