"""Running books are widened when they should be, and go on without a new beginning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthSnapshot, decode_spot_snapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamDeepened
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.widening import (
    Contradicted,
    EventsMissing,
    Joined,
    JoinOutcome,
    NotReached,
)
from orderbook_desktop.engine.widening import Widener
from orderbook_desktop.exchange.errors import Paced, Unreachable
from tests.engine.test_book_feed import BTC, Hand, by_hand, diff
from tests.exchange.listener import until

# The bid at 100 is one of those of `diff`.
BIDS = [["100.0", "1.0"], ["99.0", "1.0"], ["98.0", "2.0"], ["97.0", "3.0"]]
ASKS = [["101.0", "1.0"], ["102.0", "2.0"], ["103.0", "3.0"]]


def answer(last: int, depth: int, bids: list[list[str]] = BIDS) -> DepthSnapshot:
    """An answer of the exchange with at most `depth` levels a side."""
    book = {"lastUpdateId": last, "bids": bids[:depth], "asks": ASKS[:depth]}
    return decode_spot_snapshot(json.dumps(book).encode(), BTC, depth)


def ends(hand: Hand) -> tuple[str | None, str | None]:
    horizon = hand.feed.book.horizon
    assert horizon is not None
    return horizon.texts(0)


class Request:
    """A request for an answer, which the test gives."""

    def __init__(self) -> None:
        self.is_out = asyncio.Event()
        self._answer: asyncio.Future[DepthSnapshot] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> DepthSnapshot:
        self.is_out.set()
        return await self._answer

    def give(self, answered: DepthSnapshot) -> None:
        self._answer.set_result(answered)


class Asked:
    """A feed with a book of two levels a side at update id 10, which is asked for again."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.request = Request()
        self.task: asyncio.Task[JoinOutcome | None] | None = None

    async def begin(self, last: int = 10) -> None:
        await self.hand.synced_with(answer(last, 2))

    async def ask(self, reached_within_s: float = 600.0) -> None:
        widening = self.hand.feed.widen(self.request, 0.0, reached_within_s)
        self.task = asyncio.create_task(widening)
        await self.request.is_out.wait()

    async def outcome(self) -> JoinOutcome | None:
        assert self.task is not None
        return await self.task


async def asked(hand: Hand, reached_within_s: float = 600.0) -> Asked:
    one = Asked(hand)
    await one.begin()
    await one.ask(reached_within_s)
    return one


async def test_an_answer_widens_the_running_book() -> None:
    async with by_hand() as hand:
        one = await asked(hand)
        assert ends(hand) == ("99", "102")
        hand.feed.attach(hand.sink)
        # What was on its way when the recording began belongs to no segment.
        one.request.give(answer(10, 4))
        assert await one.outcome() is None
        assert ends(hand) == ("99", "102")
        again = Asked(hand)
        await again.ask()
        await hand.give(diff(11), diff(12, quantity="7.0"))
        again.request.give(answer(11, 4))
        outcome = await again.outcome()
        assert isinstance(outcome, Joined)
        assert outcome.joined_id == 11
        assert (ends(hand), hand.state) == (("97", None), FeedState.SYNCED)
        assert hand.feed.base_id == 10
        bids = hand.feed.book.bids()
        assert bids.prices.tolist() == [n * 10**8 for n in (100, 99, 98, 97)]
        assert bids.quantities.tolist() == [n * 10**8 for n in (7, 1, 2, 3)]
        await hand.give(diff(13))
        assert [name for name, _ in hand.sink.calls if name != "received"] == [
            "opened BookImage",
            "applied",
            "applied",
            "answered",
            "applied",
        ]
        assert ("answered", (11, 11, ("99", "102"))) in hand.sink.calls


async def test_an_answer_that_is_not_deeper_is_a_witness_only() -> None:
    async with by_hand() as hand:
        await Asked(hand).begin()
        hand.feed.attach(hand.sink)
        one, revision = Asked(hand), hand.feed.book.revision
        await one.ask()
        one.request.give(answer(10, 1))
        assert isinstance(await one.outcome(), Joined)
        assert (ends(hand), hand.feed.book.revision) == (("99", "102"), revision)
        assert hand.sink.calls[-1] == ("answered", (10, None, ("99", "102")))


async def test_an_answer_that_is_ahead_waits_for_its_events() -> None:
    async with by_hand() as hand:
        one = await asked(hand)
        one.request.give(answer(12, 4))
        await hand.give(diff(11))
        assert one.task is not None
        assert not one.task.done()
        await hand.give(diff(12))
        outcome = await one.outcome()
        assert isinstance(outcome, Joined)
        assert outcome.joined_id == 12


async def test_an_answer_that_stays_ahead_is_given_up() -> None:
    async with by_hand() as hand:
        one = await asked(hand, reached_within_s=0.05)
        one.request.give(answer(12, 4))
        assert await one.outcome() == NotReached(12, 10)
        assert ends(hand) == ("99", "102")


async def test_an_answer_of_before_the_request_is_of_no_use() -> None:
    async with by_hand() as hand:
        one = Asked(hand)
        await one.begin()
        await hand.give(diff(11))
        await one.ask()
        await hand.give(diff(12))
        one.request.give(answer(10, 4))
        assert await one.outcome() == EventsMissing(11)


@pytest.mark.expects_log("WARNING .*differ at the bid 99")
async def test_an_answer_that_contradicts_the_book_is_a_witness_only() -> None:
    async with by_hand() as hand:
        await Asked(hand).begin()
        hand.feed.attach(hand.sink)
        one = Asked(hand)
        await one.ask()
        await hand.give(diff(11))
        one.request.give(answer(11, 4, [BIDS[0], ["99.0", "5.0"], *BIDS[2:]]))
        assert isinstance(await one.outcome(), Contradicted)
        assert ends(hand) == ("99", "102")
        assert hand.sink.calls[-1] == ("answered", (11, None, ("99", "102")))


async def test_a_book_that_is_lost_meanwhile_is_not_widened() -> None:
    async with by_hand() as hand:
        one = await asked(hand)
        assert await hand.feed.widen(Request()) is None
        await hand.give(StreamBroken(GapCause.DISCONNECT, "gone"))
        one.request.give(answer(10, 4))
        assert await one.outcome() is None
        assert await hand.feed.widen(Request()) is None
        # Lost before the request went out.
        await hand.synced_with(answer(20, 2))
        request = Request()
        asking = asyncio.create_task(hand.feed.widen(request, 0.01))
        await hand.give(StreamBroken(GapCause.DISCONNECT, "gone"))
        assert await asking is None
        assert not request.is_out.is_set()


async def test_a_source_that_serves_a_deeper_book_is_read_again() -> None:
    async with by_hand(kind=SourceKind.MONGO) as hand:
        await Asked(hand).begin()
        await hand.give(diff(11), StreamDeepened())
        await hand.snapshots.answer(answer(11, 4))
        await until(lambda: ends(hand) == ("97", None))
        assert (hand.feed.book.last_update_id, hand.feed.base_id) == (11, 10)
        await hand.give(StreamDeepened())
        await hand.snapshots.answer(Unreachable("no", "address"))
        await hand.give(diff(12))
        assert (hand.feed.book.last_update_id, hand.state) == (12, FeedState.SYNCED)


class Feed:
    """A feed as a widener sees it: its horizon is 80 to 120, and each answer moves it along."""

    def __init__(self, market: str = "BTCUSDT") -> None:
        self.market = market
        self.base_id = 1
        self.book = Book()
        self.place(100)

    def place(self, price: int) -> None:
        """Let the best prices be at `price`."""
        levels = {"bids": [[f"{price - 1}", "1"], ["1", "1"]], "asks": [[f"{price + 1}", "1"]]}
        payload = json.dumps({"lastUpdateId": 1, **levels}).encode()
        self.book.load(decode_spot_snapshot(payload, self.market))
        self.book._horizon = Horizon(80 * 10**8, 120 * 10**8)

    async def widen(self, fetch: Callable[[], Awaitable[DepthSnapshot]]) -> JoinOutcome | None:
        await fetch()
        self.place(100)
        return Joined(None, 1)  # type: ignore[arg-type]


class Scene:
    """A widener, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.asked: list[tuple[str, int]] = []
        self.fails: KnownError | None = None
        self.widener = Widener(self._snapshot, 10.0, now=lambda: self.now)

    async def look(self, *feeds: Feed, after_s: float = 0.0) -> list[str]:
        """Let time pass, and look; return which markets are asked for."""
        self.now += after_s
        self.asked.clear()
        await self.widener.look(feeds)
        assert {depth for _, depth in self.asked} <= {5_000}
        return [market for market, _ in self.asked]

    async def _snapshot(self, market: str, depth: int) -> DepthSnapshot:
        self.asked.append((market, depth))
        if self.fails is not None:
            raise self.fails
        return answer(1, 4)


async def test_a_market_near_its_edge_is_asked_for_at_most_every_five_minutes() -> None:
    scene, feed = Scene(), Feed()
    assert await scene.look(feed) == []
    assert await scene.look(feed, after_s=10) == []
    feed.place(110)
    assert await scene.look(feed, after_s=10) == []
    feed.place(111)
    assert await scene.look(feed, after_s=10) == ["BTCUSDT"]
    feed.place(119)
    assert await scene.look(feed, after_s=299) == []
    assert await scene.look(feed, after_s=1) == ["BTCUSDT"]


async def test_a_new_book_is_measured_anew_and_a_lost_one_asks_for_nothing() -> None:
    scene, feed = Scene(), Feed()
    await scene.look(feed)
    feed.place(118)
    feed.base_id = 0
    assert await scene.look(feed, after_s=10) == []
    feed.base_id = 2
    # The new book begins with its edge so near.
    assert await scene.look(feed, after_s=10) == []
    assert await scene.look(feed, after_s=10) == []
    feed.place(119)
    assert await scene.look(feed, after_s=10) == ["BTCUSDT"]


async def test_markets_take_turns_and_one_a_minute_is_asked_for() -> None:
    scene, feeds = Scene(), [Feed(market) for market in ("A", "B", "C")]
    await scene.look(*feeds)
    asked = []
    for _ in range(100):
        for feed in feeds:
            feed.place(119)
        asked += await scene.look(*feeds, after_s=10)
    assert asked[:9] == ["A", "B", "C"] * 3
    assert len(asked) < 12


async def test_a_request_that_did_not_go_out_is_tried_at_the_next_look() -> None:
    scene, feed = Scene(), Feed()
    await scene.look(feed)
    feed.place(119)
    scene.fails = Paced(3.0)
    assert await scene.look(feed, after_s=10) == ["BTCUSDT"]
    scene.fails = None
    assert await scene.look(feed, after_s=10) == ["BTCUSDT"]


@pytest.mark.expects_log("WARNING .*BTCUSDT: the book is not known any deeper")
async def test_a_request_that_failed_counts() -> None:
    scene, feed = Scene(), Feed()
    await scene.look(feed)
    feed.place(119)
    scene.fails = Unreachable("no", "address")
    assert await scene.look(feed, after_s=10) == ["BTCUSDT"]
    scene.fails = None
    assert await scene.look(feed, after_s=290) == []
    assert await scene.look(feed, after_s=10) == ["BTCUSDT"]


async def test_it_looks_again_and_again() -> None:
    scene, feed = Scene(), Feed()
    widener = Widener(scene._snapshot, 0.01, now=lambda: scene.now)
    looks: list[int] = []

    def feeds() -> list[Feed]:
        looks.append(1)
        feed.place(119 if len(looks) > 1 else 100)
        return [feed]

    running = asyncio.create_task(widener.run(feeds))
    await until(lambda: scene.asked)
    running.cancel()
    await asyncio.wait([running])
