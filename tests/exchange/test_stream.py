"""The streams over real sockets, against a server that does what a test tells it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamConnected
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.trades import TRADE
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.silence import Clocks
from orderbook_desktop.exchange.stream import BinanceStreams
from orderbook_desktop.exchange.stream_group import StreamGroup

from .listener import (
    HandTime,
    Listener,
    SendingTimes,
    be_active,
    listening,
    sending_times,
    streams_of,
    until,
)
from .scripted_server import ScriptedServer, frame, scripted_server

# The loss of a connection is a fault, and is in the log.
pytestmark = pytest.mark.allows_log(r"WARNING .*stream_group: the exchange's streams: ")

__all__ = ["sending_times"]

BTC, ETH = "BTCUSDT", "ETHUSDT"
LONGEST = 4 * 2**20
QUICK = StreamTimes(watch_every_s=0.05, handover_s=10.0, linger_s=0.3)


@asynccontextmanager
async def following(
    times: StreamTimes | None = None, clocks: Clocks | None = None
) -> AsyncIterator[tuple[ScriptedServer, BinanceStreams, Listener]]:
    """Run a server, a client of it, and a consumer of BTCUSDT that is connected."""
    async with (
        scripted_server() as script,
        streams_of(script.ws_url, times, clocks) as streams,
        listening(streams, BTC) as btc,
    ):
        await until(lambda: btc.connected)
        yield script, streams, btc


async def send(script: ScriptedServer, *frames: str | bytes) -> None:
    for one in frames:
        await script.last.send(one)


async def test_the_address_names_the_stream_and_events_come_through() -> None:
    async with following() as (script, _streams, btc):
        await send(script, frame(BTC, 1, 3), frame(BTC, 4))
        await until(lambda: len(btc.diffs) == 2)
    assert script.targets == ["/stream?streams=btcusdt@depth@100ms"]
    assert [(one.first_id, one.final_id) for one in btc.diffs] == [(1, 3), (4, 4)]
    assert btc.diffs[0].received_ns > 0
    assert not btc.broken


async def test_further_markets_share_the_connection() -> None:
    async with following() as (script, streams, btc):
        async with listening(streams, ETH) as eth:
            await until(lambda: eth.connected)
            await send(script, frame(BTC, 1), frame(ETH, 7), frame(BTC, 2))
            await until(lambda: len(btc.diffs) == 2 and eth.diffs)
        await until(lambda: len(script.commands) == 2)
        assert script.sent_commands == [("SUBSCRIBE", [ETH]), ("UNSUBSCRIBE", [ETH])]
    assert len(script.targets) == 1
    assert [one.market for one in eth.diffs] == [ETH]


async def test_many_quick_switches_keep_the_connection_and_the_message_limit(
    sending_times: SendingTimes,
) -> None:
    markets = [f"M{index}USDT" for index in range(12)]
    async with following() as (script, streams, btc):
        for market in markets:
            async with listening(streams, market):
                await asyncio.sleep(0.05)
        async with listening(streams, ETH) as eth:
            await until(lambda: eth.connected)
            await send(script, frame(ETH, 1))
            await until(lambda: eth.diffs)
    assert len(script.attempts) == 1
    assert not btc.broken
    assert sending_times.most_in_a_second <= 3


async def test_subscribing_again_at_once_goes_on_without_a_word() -> None:
    async with scripted_server() as script, streams_of(script.ws_url) as streams:
        async with listening(streams, BTC) as first:
            await until(lambda: first.connected)
        async with listening(streams, BTC) as second:
            await until(lambda: second.connected)
            await send(script, frame(BTC, 1))
            await until(lambda: second.diffs)
    assert len(script.attempts) == 1
    assert not second.broken


async def test_a_full_connection_is_joined_by_a_second_one() -> None:
    async with scripted_server() as script:
        streams = BinanceStreams(script.ws_url, QUICK, streams_a_connection=2)
        markets = [f"M{number}USDT" for number in range(5)]
        async with AsyncExitStack() as stack:
            listeners = [
                await stack.enter_async_context(listening(streams, market)) for market in markets
            ]
            await until(lambda: all(listener.connected for listener in listeners))
            for market in markets:
                await script.send_to_all(frame(market, 7))
            await until(lambda: all(listener.diffs for listener in listeners))
            assert len(script.open) == 3
            # One of the connections is lost; the others go on.
            script.last.transport.abort()
            await until(lambda: listeners[4].connected == 2)
            assert [len(listener.broken) for listener in listeners] == [0, 0, 0, 0, 1]
        await until(lambda: not script.open)
        await streams.close()
    assert all(len(listener.diffs) == 1 for listener in listeners)


async def test_room_on_a_connection_is_used_again() -> None:
    async with scripted_server() as script:
        streams = BinanceStreams(script.ws_url, streams_a_connection=2)
        async with listening(streams, BTC) as btc:
            async with listening(streams, ETH) as eth:
                await until(lambda: btc.connected and eth.connected)
            async with listening(streams, "BNBUSDT") as bnb:
                await until(lambda: bnb.connected)
        await streams.close()
    assert len(script.attempts) == 1


@pytest.mark.expects_log("too many connections")
async def test_all_connections_keep_one_limit_on_attempts() -> None:
    hand_time = HandTime()
    async with scripted_server() as script:
        streams = BinanceStreams(script.ws_url, clocks=hand_time.clocks, streams_a_connection=1)
        for _ in range(249):
            streams._limit.take(hand_time.monotonic())
        async with listening(streams, BTC) as btc, listening(streams, ETH) as eth:
            await until(lambda: btc.connected or eth.connected)
            await asyncio.sleep(0.1)
            assert len(script.attempts) == 1
        await streams.close()


async def test_a_market_can_be_subscribed_once_at_a_time() -> None:
    async with (
        following() as (_script, streams, _btc),
        aclosing(streams.items(Stream(BTC, DEPTH))) as items,
    ):
        with pytest.raises(BugError):
            await anext(items)


async def test_a_connection_nobody_needs_lingers_and_is_closed() -> None:
    async with scripted_server() as script, streams_of(script.ws_url, QUICK) as streams:
        async with listening(streams, BTC) as btc:
            await until(lambda: btc.connected)
        await until(lambda: not script.open)
        async with listening(streams, BTC) as again:
            await until(lambda: again.connected)
            assert not again.broken
    assert len(script.attempts) == 2


@pytest.mark.expects_log("refused command 1")
async def test_a_refused_subscription_is_told_and_asked_for_again() -> None:
    async with following(QUICK) as (script, streams, btc):
        script.answer = lambda command: {
            "error": {"code": 2, "msg": "Invalid request"},
            "id": command["id"],
        }
        async with listening(streams, ETH) as eth:
            await until(lambda: eth.broken)
            assert "Invalid request" in eth.broken[0].detail
            script.answer = lambda command: {"result": None, "id": command["id"]}
            await until(lambda: eth.connected)
            await send(script, frame(ETH, 1))
            await until(lambda: eth.diffs)
        assert not btc.broken


async def test_a_subscription_that_is_never_answered_ends_the_connection() -> None:
    times = StreamTimes(watch_every_s=0.05, answer_s=2.0)
    async with following(times) as (script, streams, btc):
        script.answer = lambda _command: None
        async with listening(streams, ETH) as eth:
            await until(lambda: eth.connected)
            # The next connection names both in its address.
            assert script.targets[-1].count("@depth") == 2
    assert btc.causes == [GapCause.SILENCE]


MALFORMED = {
    "garbage": b"\x07\x13]}this is not JSON\x1b{[",
    "truncated": frame(BTC, 2)[:60].encode(),
    "types": b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":"soon","U":[]}}',
    "not UTF-8": b'{"stream":"\xff\xfe"}',
    "another symbol's": frame(ETH, 2, stream="btcusdt@depth@100ms").encode(),
}


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.expects_log("unreadable message")
async def test_a_message_that_cannot_be_read_is_a_named_break(bad: bytes) -> None:
    async with following() as (script, _streams, btc):
        await script.last.send(frame(BTC, 1))
        await script.last.send(bad, text=True)
        await script.last.send(frame(BTC, 3))
        await until(lambda: len(btc.diffs) == 2)
    kinds = [type(item).__name__ for item in btc.items]
    assert kinds == [
        "StreamConnected",
        "DepthDiff",
        "StreamBroken",
        "StreamConnected",
        "DepthDiff",
    ]
    assert btc.causes == [GapCause.MALFORMED]


@pytest.mark.expects_log("unreadable message")
async def test_a_bad_message_that_names_its_symbol_breaks_only_that() -> None:
    async with following() as (script, streams, btc), listening(streams, ETH) as eth:
        await until(lambda: eth.connected)
        await send(script, frame(ETH, 1)[:-20], frame(BTC, 1))
        await until(lambda: btc.diffs and eth.broken)
    assert not btc.broken
    assert eth.causes == [GapCause.MALFORMED]


@pytest.mark.parametrize("name", ["xrpusdt", "btcusdx", "\\u0062tcusd", ""])
@pytest.mark.expects_log("unreadable message")
async def test_a_bad_message_that_names_none_of_them_breaks_all(name: str) -> None:
    async with following() as (script, streams, btc), listening(streams, ETH) as eth:
        await until(lambda: eth.connected)
        bad = frame(ETH, 1, stream=f"{name}@depth@100ms").replace("\\\\u", "\\u")
        await send(script, bad[:-20].replace('"s": "ETHUSDT", ', ""))
        await until(lambda: btc.broken and eth.broken)
    assert btc.causes == eth.causes == [GapCause.MALFORMED]


CHINESE = "币安人生USDT"


@pytest.mark.parametrize("ascii_only", [False, True])
async def test_names_are_compared_as_they_are_decoded(*, ascii_only: bool) -> None:
    async with following() as (script, streams, btc), listening(streams, CHINESE) as other:
        await until(lambda: other.connected)
        for text in (frame(CHINESE, 1), frame(BTC, 1)):
            spelt = json.dumps(json.loads(text), ensure_ascii=ascii_only)
            await send(script, spelt)
        await until(lambda: other.diffs and btc.diffs)
    assert not other.broken
    assert not btc.broken


@pytest.mark.expects_log("unreadable message")
async def test_a_bad_message_breaks_the_market_that_it_names_by_escapes() -> None:
    async with following() as (script, streams, btc), listening(streams, CHINESE) as other:
        await until(lambda: other.connected)
        await send(script, json.dumps(json.loads(frame(CHINESE, 1)))[:-20])
        await until(lambda: other.broken)
        await send(script, frame(BTC, 1))
        await until(lambda: btc.diffs)
    assert not btc.broken


async def test_what_is_no_websocket_message_ends_the_connection_as_malformed() -> None:
    async with following() as (script, _streams, btc):
        script.last.transport.write(b"\xff\xff\xff\xff not a frame")
        await until(lambda: btc.connected == 2)
    assert btc.causes == [GapCause.MALFORMED]


async def test_a_message_longer_than_any_ends_the_connection_as_malformed() -> None:
    async with following() as (script, _streams, btc):
        # JSON may have blanks at its end.
        await send(script, frame(BTC, 1).ljust(LONGEST))
        await until(lambda: btc.diffs)
        assert not btc.broken
        await send(script, frame(BTC, 2).ljust(LONGEST + 1))
        await until(lambda: btc.connected == 2)
    assert [one.final_id for one in btc.diffs] == [1]
    assert btc.causes == [GapCause.MALFORMED]


async def test_pings_are_answered() -> None:
    async with following() as (script, _streams, _btc):
        async with asyncio.timeout(60):
            await (await script.last.ping(b"payload"))


async def test_a_peer_that_answers_no_ping_is_dead() -> None:
    """It reads nothing any more, as behind a cable that was pulled."""
    times = StreamTimes(ping_s=0.2, answer_s=2.0)
    async with following(times) as (script, _streams, btc):
        script.last.transport.pause_reading()
        await until(lambda: btc.connected == 2)
    assert btc.causes == [GapCause.DISCONNECT]
    assert "doesn't answer" in btc.broken[0].detail


async def feed(script: ScriptedServer, market: str, stop: asyncio.Event) -> None:
    """Send an event to all connections, every 5 ms."""
    number = 0
    while not stop.is_set():
        number += 1
        await script.send_to_all(frame(market, number))
        await asyncio.sleep(0.005)


async def test_silence_of_an_active_symbol_is_a_break_and_the_connection_renewed() -> None:
    hand_time = HandTime()
    times = StreamTimes(silence_s=30.0, watch_every_s=0.05, ping_s=600.0)
    async with following(times, hand_time.clocks) as (script, _streams, btc):
        await be_active(script, btc, BTC, hand_time)
        hand_time.go_on(29)
        await asyncio.sleep(0.2)
        assert not btc.broken
        hand_time.go_on(2)
        await until(lambda: btc.connected == 2)
    assert btc.causes == [GapCause.SILENCE]
    assert len(script.attempts) == 2


async def test_silence_of_one_of_two_symbols_renews_only_its_subscription() -> None:
    hand_time = HandTime()
    times = StreamTimes(silence_s=30.0, watch_every_s=0.05, ping_s=600.0)
    following_btc = following(times, hand_time.clocks)
    async with following_btc as (script, streams, btc), listening(streams, ETH) as eth:
        await until(lambda: eth.connected)
        await be_active(script, btc, BTC, hand_time)
        hand_time.go_on(29)
        await send(script, frame(ETH, 1))
        await until(lambda: eth.diffs)
        hand_time.go_on(2)
        await until(lambda: btc.connected == 2)
        renewed = script.sent_commands[-2:]
    assert btc.causes == [GapCause.SILENCE]
    assert not eth.broken
    assert len(script.attempts) == 1
    assert renewed == [("UNSUBSCRIBE", [BTC]), ("SUBSCRIBE", [BTC])]


async def test_a_seldom_traded_symbol_is_not_called_broken_for_its_silence() -> None:
    """The connection is replaced to be sure; the update ids say that nothing was missed."""
    times = StreamTimes(silence_s=0.05, watch_every_s=0.05, handover_s=0.1)
    async with following(times) as (script, _streams, btc):
        await send(script, frame(BTC, 1))
        await until(lambda: len(script.targets) >= 2 and len(script.open) == 1)
        await send(script, frame(BTC, 2))
        await until(lambda: len(btc.diffs) == 2)
    assert not btc.broken


async def test_a_connection_dead_from_the_start_is_replaced_soon() -> None:
    hand_time = HandTime()
    times = StreamTimes(silence_s=30.0, watch_every_s=0.05, handover_s=0.1, ping_s=600.0)
    async with following(times, hand_time.clocks) as (script, _streams, btc):
        # Were it taken for a slow symbol's, it would have six times as long.
        hand_time.go_on(31)
        await until(lambda: len(script.targets) == 2 and len(script.open) == 1)
        await send(script, frame(BTC, 1))
        await until(lambda: btc.diffs)
    assert not btc.broken


def trade_frame(market: str, trade_id: int) -> str:
    event = {"e": "aggTrade", "E": 1, "s": market, "a": trade_id, "p": "1", "q": "1", "T": 1}
    fields = {**event, "f": trade_id, "l": trade_id, "m": True}
    return json.dumps({"stream": f"{market.lower()}@aggTrade", "data": fields})


async def test_a_market_without_trades_is_quiet_while_its_depth_flows() -> None:
    """Though trades were frequent before: neither the connection nor the stream is renewed."""
    hand_time = HandTime()
    times = StreamTimes(silence_s=30.0, watch_every_s=0.05, ping_s=600.0)
    following_btc = following(times, hand_time.clocks)
    async with following_btc as (script, streams, btc), listening(streams, BTC, TRADE) as trades:
        await until(lambda: trades.connected)
        for number in range(1, 81):
            hand_time.go_on(0.1)
            await send(script, trade_frame(BTC, number))
            await trades.until_it_has(number)
        commands = len(script.commands)
        for number in range(1, 200):
            hand_time.go_on(20.0)
            await send(script, frame(BTC, number))
            await btc.until_it_has(number)
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        await send(script, trade_frame(BTC, 81))
        await trades.until_it_has(81)
        assert (len(script.attempts), len(script.commands)) == (1, commands)
    assert not btc.broken + trades.broken


async def test_trades_show_that_a_connection_lives_whose_depth_is_silent() -> None:
    hand_time = HandTime()
    times = StreamTimes(silence_s=30.0, watch_every_s=0.05, ping_s=600.0)
    following_btc = following(times, hand_time.clocks)
    async with following_btc as (script, streams, btc), listening(streams, BTC, TRADE) as trades:
        await until(lambda: trades.connected)
        await be_active(script, btc, BTC, hand_time)
        hand_time.go_on(29)
        await send(script, trade_frame(BTC, 1))
        await trades.until_it_has(1)
        hand_time.go_on(2)
        await until(lambda: btc.connected == 2)
        renewed = [one["params"] for one in script.commands[-2:]]
    assert btc.causes == [GapCause.SILENCE]
    assert not trades.broken
    assert len(script.attempts) == 1
    assert renewed == 2 * [["btcusdt@depth@100ms"]]


async def test_a_connection_of_quiet_streams_alone_is_replaced_to_be_sure() -> None:
    hand_time = HandTime()
    times = StreamTimes(silence_s=30.0, watch_every_s=0.05, handover_s=0.1, ping_s=600.0)
    async with (
        scripted_server() as script,
        streams_of(script.ws_url, times, hand_time.clocks) as streams,
        listening(streams, BTC, TRADE) as btc,
        listening(streams, ETH, TRADE) as eth,
    ):
        await until(lambda: btc.connected and eth.connected)
        for number in range(1, 81):
            hand_time.go_on(0.1)
            await send(script, trade_frame(BTC, number))
            await btc.until_it_has(number)
        hand_time.go_on(15)
        await send(script, trade_frame(ETH, 1))
        await eth.until_it_has(1)
        hand_time.go_on(16)
        await asyncio.sleep(0.2)
        # A single market may be quiet.
        assert len(script.attempts) == 1
        hand_time.go_on(600)
        await until(lambda: len(script.targets) == 2 and len(script.open) == 1)
        await send(script, trade_frame(BTC, 81))
        await btc.until_it_has(81)
    assert not btc.broken + eth.broken


async def test_a_stream_can_be_subscribed_to_anew_beside_others() -> None:
    async with (
        following() as (script, streams, btc),
        listening(streams, BTC, TRADE) as trades,
    ):
        await until(lambda: trades.connected)
        streams.renew(Stream(BTC, TRADE))
        streams.renew(Stream(ETH, TRADE))
        await until(lambda: len(script.commands) == 3)
        renewed = [(one["method"], one["params"]) for one in script.commands[1:]]
        await send(script, frame(BTC, 1), trade_frame(BTC, 1))
        await btc.until_it_has(1)
        await trades.until_it_has(1)
    assert renewed == [
        ("UNSUBSCRIBE", ["btcusdt@aggTrade"]),
        ("SUBSCRIBE", ["btcusdt@aggTrade"]),
    ]
    assert not btc.broken + trades.broken


SHUTDOWN = '{"e":"serverShutdown","E":1}'


async def test_an_announced_shutdown_is_survived_without_a_gap() -> None:
    stop = asyncio.Event()
    async with following(QUICK) as (script, _streams, btc):
        feeding = asyncio.create_task(feed(script, BTC, stop))
        await until(lambda: len(btc.diffs) > 20)
        first = script.last
        await first.send(SHUTDOWN)
        await until(lambda: len(script.targets) == 2 and first not in script.open)
        at_handover = len(btc.diffs)
        await until(lambda: len(btc.diffs) > at_handover + 20)
        stop.set()
        await feeding
    assert not btc.broken
    assert btc.holes() == []


async def test_each_connection_is_replaced_at_its_age_without_a_gap() -> None:
    stop = asyncio.Event()
    times = StreamTimes(lifetime_s=0.3, watch_every_s=0.05)
    async with following(times) as (script, _streams, btc):
        feeding = asyncio.create_task(feed(script, BTC, stop))
        await until(lambda: len(script.targets) >= 5)
        stop.set()
        await feeding
        await until(lambda: len(script.open) <= 2)
    assert not btc.broken
    assert btc.holes() == []
    assert btc.connected == 1


@pytest.mark.expects_log("no connection to take over yet")
async def test_a_handover_that_fails_at_first_is_tried_again() -> None:
    stop = asyncio.Event()
    async with following(QUICK) as (script, _streams, btc):
        feeding = asyncio.create_task(feed(script, BTC, stop))
        script.refusals.extend([(503, {}), (503, {})])
        first = script.last
        await first.send(SHUTDOWN)
        await until(lambda: first not in script.open)
        stop.set()
        await feeding
    assert not btc.broken
    assert btc.holes() == []
    assert len(script.attempts) == 4


@pytest.mark.expects_log("the next connection ended at once")
async def test_a_successor_that_dies_leaves_the_old_connection_in_use() -> None:
    async with following(QUICK) as (script, _streams, btc):
        first = script.last
        await first.send(frame(BTC, 1))
        await first.send(SHUTDOWN)
        await until(lambda: len(script.open) == 2)
        await script.last.close()
        await first.send(frame(BTC, 2))
        await until(lambda: len(btc.diffs) == 2)
        await until(lambda: len(script.targets) == 3)
    assert not btc.broken


async def test_a_shutdown_without_a_way_over_is_named_so() -> None:
    async with following(QUICK) as (script, _streams, btc):
        first = script.last
        await first.send(frame(BTC, 1))
        await first.send(SHUTDOWN)
        await first.close(1001, "bye")
        await until(lambda: len(script.open) == 1 and len(script.targets) == 2)
        await send(script, frame(BTC, 5))
        await until(lambda: len(btc.diffs) == 2)
    assert btc.causes == [GapCause.SERVER_SHUTDOWN]


async def test_disconnects_are_named_and_reconnected() -> None:
    async with following() as (script, _streams, btc):
        script.last.transport.abort()
        await until(lambda: btc.connected == 2)
        await script.last.close(1008, "disconnected")
        await until(lambda: btc.connected == 3)
    assert btc.causes == [GapCause.DISCONNECT, GapCause.DISCONNECT]
    assert "1008: disconnected" in btc.broken[1].detail


async def test_closing_during_the_handshake_ends_at_once() -> None:
    asked = asyncio.Event()

    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the request and say nothing."""
        try:
            while await reader.read(1000):
                asked.set()
        finally:
            writer.close()

    server = await asyncio.start_server(stuck, "127.0.0.1", 0)
    async with server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        streams = BinanceStreams(url, StreamTimes(answer_s=600.0))
        async with listening(streams, BTC):
            await until(asked.is_set)
            # Else it would wait for an answer, for 600 s.
            async with asyncio.timeout(60):
                await streams.close()
    await server.wait_closed()


async def test_closing_at_any_moment_leaves_nothing() -> None:
    """The guards of the test suite look for tasks and sockets that are left."""
    async with scripted_server() as script:
        for moments in range(0, 60, 4):
            streams = BinanceStreams(script.ws_url, QUICK)
            async with listening(streams, BTC):
                for moment in range(moments):
                    await asyncio.sleep(0.0005)
                    if moment == moments // 2 and script.open:
                        await script.last.send(SHUTDOWN)
                async with asyncio.timeout(60):
                    await streams.close()
            await until(lambda: not script.open)


async def test_a_close_that_is_cancelled_still_closes() -> None:
    async with scripted_server() as script:
        streams = BinanceStreams(script.ws_url)
        async with listening(streams, BTC) as btc:
            await until(lambda: btc.connected)
            script.last.transport.pause_reading()  # No answer to our farewell.
            closing = asyncio.create_task(streams.close())
            await asyncio.sleep(0.02)
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()
        script.last.transport.resume_reading()
        await until(lambda: not script.open)


async def test_a_bug_of_ours_ends_the_stream_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError

    logging.getLogger("orderbook_desktop.exchange.stream_group").disabled = True
    try:
        async with scripted_server() as script, streams_of(script.ws_url) as streams:
            monkeypatch.setattr(StreamGroup, "link_event", broken)
            async with aclosing(streams.items(Stream(BTC, DEPTH))) as items:
                assert await anext(items) == StreamConnected()
                await send(script, frame(BTC, 1))
                with pytest.raises(BugError):
                    await anext(items)
    finally:
        logging.getLogger("orderbook_desktop.exchange.stream_group").disabled = False
