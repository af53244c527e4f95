"""The feed of a market's trades, driven item by item."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamConnected, StreamItem
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.trades import TRADE, Trade, decode_trade
from orderbook_desktop.engine.trade_feed import TradeFeed
from tests.exchange.listener import until

BTC = "BTCUSDT"
LOST = StreamBroken(GapCause.DISCONNECT, "The cable was pulled.")
BACK = StreamConnected()


def trade(
    trade_id: int, first: int = 0, last: int = 0, *, event_ms: int = 0, market: str = BTC
) -> Trade:
    """Return a trade; those in a row have parts and times in a row."""
    first = first or 10 * trade_id
    fields = {"a": trade_id, "f": first, "l": last or first + 9, "T": event_ms or trade_id}
    event = {"e": "aggTrade", "E": 5, "s": market, "p": "1.5", "q": "2", "m": True, **fields}
    return decode_trade(json.dumps(event).encode(), 1_000_000_000)


def repaired(trade_id: int) -> Trade:
    return replace(trade(trade_id), received_ns=0)


class HandStream:
    """A stream with the items that the test puts."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[StreamItem] = asyncio.Queue()

    async def items(self, stream: Stream) -> AsyncGenerator[StreamItem, None]:
        assert stream == Stream(BTC, TRADE)
        while True:
            yield await self.queue.get()


class NotedTrades:
    """A tape, or a sink: notes the ids, each once, and why there was a break between them."""

    def __init__(self) -> None:
        self.told: list[int | GapCause] = []
        self.details: list[str] = []

    def add(self, trade: Trade) -> None:
        if trade.trade_id not in self.told:
            self.told.append(trade.trade_id)

    def received(self, trade: Trade) -> None:
        self.told.append(trade.trade_id)

    def broken(self, cause: GapCause, detail: str, *, after_id: int | None = None) -> None:
        assert after_id is None or after_id in self.told
        self.told.append(cause)
        self.details.append(detail)


class Hand:
    """A feed that runs, with a tape and a sink."""

    def __init__(self, kind: SourceKind = SourceKind.DIRECT) -> None:
        self.stream = HandStream()
        self.tape, self.sink = NotedTrades(), NotedTrades()
        self.feed = TradeFeed(BTC, self.stream, self.tape, kind)
        self.feed.attach(self.sink)

    async def put(self, *items: StreamItem) -> list[int | GapCause]:
        """Let the feed take `items`; return all that the sink was told."""
        for item in items:
            self.stream.queue.put_nowait(item)
        await until(self.stream.queue.empty)
        await asyncio.sleep(0)
        return self.sink.told


@asynccontextmanager
async def running(kind: SourceKind = SourceKind.DIRECT) -> AsyncIterator[Hand]:
    hand = Hand(kind)
    task = asyncio.create_task(hand.feed.run())
    try:
        yield hand
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def test_each_trade_is_passed_on_once() -> None:
    async with running() as hand:
        told = await hand.put(BACK, trade(5), trade(6), trade(6), trade(5), trade(7))
    assert told == hand.tape.told == [5, 6, 7]
    assert hand.feed.holes == 0
    assert hand.feed.last == trade(7)


async def test_a_lost_connection_is_no_loss_where_the_ids_go_on() -> None:
    async with running() as hand:
        assert await hand.put(BACK, trade(5), LOST, BACK, trade(6)) == [5, 6]
        assert hand.feed.holes == 0
        told = await hand.put(LOST, BACK, trade(9))
    assert told == hand.tape.told == [5, 6, GapCause.DISCONNECT, 9]
    assert hand.sink.details == hand.tape.details == [LOST.detail]
    assert hand.feed.holes == 1


@pytest.mark.expects_log("BTCUSDT: trades are missing: Trade ids 6 to 8 are missing")
async def test_missing_ids_are_told_with_their_cause() -> None:
    async with running() as hand:
        told = await hand.put(BACK, trade(5), trade(9), trade(10))
    assert told == [5, GapCause.FEED_GAP, 9, 10]
    assert hand.sink.details == ["Trade ids 6 to 8 are missing."]


async def test_what_is_missing_in_a_recording_was_logged_when_it_was_recorded() -> None:
    async with running(SourceKind.MONGO) as hand:
        assert await hand.put(BACK, trade(5), trade(9)) == [5, GapCause.FEED_GAP, 9]


@pytest.mark.expects_log("Trade ids 6 to 6 are missing")
async def test_trades_that_change_places_leave_a_hole_and_no_disorder() -> None:
    async with running() as hand:
        told = await hand.put(BACK, trade(5), trade(7), trade(6), trade(8))
    assert told == [5, GapCause.FEED_GAP, 7, 8]
    assert hand.tape.told == [5, GapCause.FEED_GAP, 7, 6, 8]


async def test_the_first_loss_of_several_is_the_cause() -> None:
    later = StreamBroken(GapCause.SILENCE, "Nothing came.")
    async with running() as hand:
        assert await hand.put(BACK, trade(5), LOST, later, BACK, trade(7)) == [
            *(5, GapCause.DISCONNECT, 7)
        ]


@pytest.mark.expects_log("a trade is left out: Trade id 6 came again with other contents")
async def test_an_id_that_comes_again_with_other_parts_is_refused_loudly() -> None:
    async with running() as hand:
        assert await hand.put(BACK, trade(5), trade(6), trade(6, 60, 70), trade(7)) == [5, 6, 7]
    assert hand.feed.holes == 0


async def test_parts_that_the_exchange_leaves_out_are_no_hole_of_ours() -> None:
    async with running() as hand:
        assert await hand.put(BACK, trade(5), trade(6, 63)) == [5, 6]
    assert (hand.feed.holes, hand.feed.left_out) == (0, 3)


async def test_parts_that_are_missing_with_the_ids_are_our_hole() -> None:
    async with running() as hand:
        assert await hand.put(BACK, trade(5), LOST, BACK, trade(7)) == [5, GapCause.DISCONNECT, 7]
    assert hand.feed.left_out == 0


@pytest.mark.expects_log("BTCUSDT: A trade of ETHUSDT came in the stream of BTCUSDT")
async def test_a_trade_of_another_market_is_left_out() -> None:
    async with running() as hand:
        told = await hand.put(BACK, trade(5), trade(6, market="ETHUSDT"), trade(7))
    assert told == [5, GapCause.MALFORMED, 7]


async def test_ids_that_begin_anew_are_a_break() -> None:
    """An exchange that starts again may count from the start."""
    async with running() as hand:
        old = trade(900, event_ms=100)
        anew = [trade(trade_id, event_ms=200 + trade_id) for trade_id in (5, 6, 7)]
        assert await hand.put(BACK, old, LOST, BACK, *anew) == [*(900, GapCause.MALFORMED, 6, 7)]


@pytest.mark.allows_log("left out: Trade id")
@pytest.mark.expects_log("trades are missing: Trade id 6 can't follow trade id 46116")
async def test_an_absurd_id_does_not_make_old_what_follows() -> None:
    async with running() as hand:
        absurd = trade(2**62, 1, 1, event_ms=5)
        assert await hand.put(BACK, absurd, *map(trade, (5, 6, 7))) == [
            *(2**62, GapCause.MALFORMED, 6, 7)
        ]


async def test_trades_that_come_once_more_do_not_begin_anew() -> None:
    async with running() as hand:
        first = [trade(trade_id) for trade_id in (5, 6, 7)]
        assert await hand.put(BACK, *first, LOST, BACK, *first, trade(8)) == [5, 6, 7, 8]
    assert hand.feed.holes == 0


async def test_a_sink_gets_what_comes_while_it_is_attached() -> None:
    async with running() as hand:
        await hand.put(BACK, trade(5))
        hand.feed.detach()
        await hand.put(trade(6), LOST, BACK)
        hand.feed.attach(hand.sink)
        assert await hand.put(trade(9)) == [5, GapCause.DISCONNECT, 9]
        await hand.put(LOST)
        # Else the trades that are missing by now would seem to be missing for what comes next.
        hand.feed.detach()
    assert hand.sink.told == [5, GapCause.DISCONNECT, 9, GapCause.DISCONNECT]
    assert hand.tape.told == [5, 6, GapCause.DISCONNECT, 9]


async def test_a_feed_that_forgot_finds_nothing_missing() -> None:
    hand = Hand()
    runs: list[list[StreamItem]] = [[BACK, trade(5), LOST], [BACK, trade(900)]]
    for items in runs:
        task = asyncio.create_task(hand.feed.run())
        await hand.put(*items)
        task.cancel()
        await asyncio.wait([task])
        hand.feed.forget()
    assert hand.sink.told == [5, 900]


async def test_each_trade_is_told_to_the_views() -> None:
    async with running() as hand:
        told: list[int] = []
        hand.feed.call_on_change(lambda: told.append(len(hand.tape.told)))
        await hand.put(BACK, trade(5), LOST, BACK, trade(7), trade(6))
    assert told == [1, 3, 4]


async def test_a_trade_that_was_repaired_is_shown_and_says_nothing_of_the_stream() -> None:
    async with running(SourceKind.MONGO) as hand:
        told = await hand.put(BACK, repaired(900), trade(5), trade(6), repaired(7), trade(7))
    assert told == [5, 6, 7]
    assert hand.tape.told == [900, 5, 6, 7]
    assert hand.feed.holes == 0


async def test_each_opening_of_the_stream_is_told() -> None:
    async with running() as hand:
        told: list[int] = []
        hand.feed.call_on_open(lambda: told.append(len(hand.tape.told)))
        await hand.put(BACK, trade(5), LOST, BACK, trade(6))
    assert told == [0, 1]


async def test_a_loss_may_be_known_otherwise() -> None:
    async with running() as hand:
        await hand.put(BACK, trade(5))
        hand.feed.lost(GapCause.SILENCE, "Nothing came.")
        assert await hand.put(trade(9)) == [5, GapCause.SILENCE, 9]
