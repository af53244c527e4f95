"""Websockets: raw and combined streams, and the commands on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from orderbook_desktop.exchange.local import Fault, FaultKind, LocalExchange, SyntheticSource
from orderbook_desktop.exchange.local.source import Publish, StreamEvent

from .client import follow, get_json, next_diff, next_json, streams, until_closed


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    """A synthetic exchange."""
    async with LocalExchange(SyntheticSource(seed=1)) as running:
        yield running


async def _command(websocket: ClientConnection, message: object) -> Any:
    """Send a command; return its answer, passing over events."""
    await websocket.send(message if isinstance(message, str) else json.dumps(message))
    while True:
        answer = await next_json(websocket)
        if not {"e", "stream"} & answer.keys():
            return answer


async def test_raw_stream_and_rest_make_the_true_book(exchange: LocalExchange) -> None:
    async with streams(exchange, "/ws/btcusdt@depth@100ms") as websocket:
        book = await follow(exchange, websocket, "BTCUSDT", until=5)
    assert len(book.bids) > 3000


async def test_combined_frames_name_their_stream(exchange: LocalExchange) -> None:
    target = "/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms/btcusdt@bookTicker"
    async with streams(exchange, target) as websocket:
        seen: dict[str, Any] = {}
        while len(seen) < 3:
            message = await next_json(websocket)
            assert list(message) == ["stream", "data"]
            seen[message["stream"]] = message["data"]
    assert seen["ethusdt@depth@100ms"]["s"] == "ETHUSDT"
    assert set(seen["btcusdt@bookTicker"]) == set("usbBaA")


async def test_aiohttp_with_quoted_stream_names(exchange: LocalExchange) -> None:
    url = exchange.ws_url + "/stream?streams=btcusdt%40depth%40100ms"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as websocket:
        message = json.loads((await websocket.receive()).data)
    assert message["stream"] == "btcusdt@depth@100ms"


async def test_commands(exchange: LocalExchange) -> None:
    async with streams(exchange, "/ws") as websocket:
        wanted = ["ethusdt@depth@100ms", "nosuch@depth", "anything"]
        command = {"method": "SUBSCRIBE", "params": wanted, "id": 1}
        assert await _command(websocket, command) == {"result": None, "id": 1}
        assert (await next_diff(websocket))["s"] == "ETHUSDT"
        answer = await _command(websocket, {"method": "LIST_SUBSCRIPTIONS", "id": "two"})
        assert answer == {"result": wanted, "id": "two"}
        command = {"method": "UNSUBSCRIBE", "params": wanted[:2], "id": None}
        assert await _command(websocket, command) == {"result": None, "id": None}
        answer = await _command(websocket, {"method": "LIST_SUBSCRIPTIONS", "id": 3})
        assert answer == {"result": ["anything"], "id": 3}


async def test_combined_is_a_property(exchange: LocalExchange) -> None:
    async with streams(exchange, "/stream?streams=btcusdt@depth@100ms") as websocket:
        answer = await _command(
            websocket, {"method": "GET_PROPERTY", "params": ["combined"], "id": 1}
        )
        assert answer == {"result": True, "id": 1}
        command = {"method": "SET_PROPERTY", "params": ["combined", False], "id": 2}
        assert await _command(websocket, command) == {"result": None, "id": 2}
        assert (await next_json(websocket))["e"] == "depthUpdate"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("{no json", 3),
        ("[]", 2),
        ({"id": 1}, 2),
        ({"method": "SUBSCRIB", "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": "btcusdt@depth", "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": [1], "id": 1}, 2),
        ({"method": "LIST_SUBSCRIPTIONS", "id": 1.5}, 2),
        ({"method": "GET_PROPERTY", "params": ["colour"], "id": 1}, 0),
        ({"method": "SET_PROPERTY", "params": ["combined", "yes"], "id": 1}, 1),
        ({"method": "SUBSCRIBE", "params": [f"s{n}@trade" for n in range(1025)], "id": 1}, 2),
    ],
)
async def test_refused_commands(exchange: LocalExchange, command: object, code: int) -> None:
    async with streams(exchange, "/ws") as websocket:
        answer = await _command(websocket, command)
    assert (answer["code"], set(answer)) == (code, {"code", "msg", "id"})


async def test_more_than_five_messages_a_second_are_too_many(exchange: LocalExchange) -> None:
    async with streams(exchange, "/ws") as websocket:
        for number in range(6):
            await websocket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        _, code = await until_closed(websocket)
    assert code == 1008


async def test_other_paths_are_no_websockets(exchange: LocalExchange) -> None:
    with pytest.raises(InvalidStatus):
        await connect(exchange.ws_url + "/other").__aenter__()


async def test_a_market_without_subscribers_rests_and_then_has_moved_on(
    exchange: LocalExchange,
) -> None:
    async with streams(exchange, "/ws/solusdt@depth@100ms") as websocket:
        last = (await next_diff(websocket))["u"]
    async with streams(exchange, "/ws/ethusdt@depth@100ms") as websocket:
        while (state := await get_json(exchange, "/control/state"))["connections"]["open"] > 1:
            await asyncio.sleep(0.01)
        still = state["updateIds"]["SOLUSDT"]
        for _ in range(4):
            await next_diff(websocket)
        state = await get_json(exchange, "/control/state")
    assert state["updateIds"]["SOLUSDT"] == still >= last
    assert state["updateIds"].keys() == {"SOLUSDT", "ETHUSDT"}
    async with streams(exchange, "/ws/solusdt@depth@100ms") as websocket:
        assert (await next_diff(websocket))["U"] > still + 1


async def test_many_clients_get_the_same(exchange: LocalExchange) -> None:
    async with (
        streams(exchange, "/ws/btcusdt@depth@100ms") as one,
        streams(exchange, "/ws/btcusdt@depth@100ms") as two,
    ):
        async with asyncio.timeout(60):
            second = await next_diff(two)
            while (first := await next_diff(one))["u"] < second["u"]:
                pass
    assert first == second


async def test_too_many_streams_in_the_address(exchange: LocalExchange) -> None:
    target = "/ws/" + "/".join(f"s{number}" for number in range(1025))
    async with streams(exchange, target) as websocket:
        _, code = await until_closed(websocket)
    assert code == 1008


class HandSource(SyntheticSource):
    """A market whose events are the test's."""

    async def run(self, publish: Publish) -> None:
        self.publish = publish
        await asyncio.Event().wait()


async def test_a_client_that_is_gone_gets_nothing_more() -> None:
    """Of many events at once, each would be an attempt to write, and a warning of asyncio's."""
    source = HandSource()
    event = StreamEvent("btcusdt@aggTrade", "BTCUSDT", b"{}")
    async with (
        LocalExchange(source) as exchange,
        streams(exchange, "/ws/btcusdt@aggTrade") as websocket,
    ):
        source.publish(event)
        assert await next_json(websocket) == {}
        exchange.inject(Fault(kind=FaultKind.DISCONNECT))
        for _ in range(10):
            source.publish(event)
        assert await until_closed(websocket) == ([], None)


async def test_a_source_can_wait_until_its_clients_have_taken_what_was_sent() -> None:
    """A client that reads nothing is cut off, if its source does not wait for it."""
    source = HandSource()
    event = StreamEvent("btcusdt@aggTrade", "BTCUSDT", b'{"x":"%s"}' % (b"x" * 2**20))
    async with asyncio.timeout(60), LocalExchange(source) as exchange:
        url = f"{exchange.ws_url}/ws/btcusdt@aggTrade"
        async with connect(url, compression=None, max_size=None, max_queue=1) as websocket:
            for _ in range(40):
                source.publish(event)
            waiting = asyncio.create_task(exchange.drained(2**20))
            await get_json(exchange, "/api/v3/ping")
            assert not waiting.done()
            for _ in range(40):
                assert len(await websocket.recv()) > 2**20
            await waiting


async def test_clients_that_are_cut_off_are_waited_for() -> None:
    source = HandSource()
    event = StreamEvent("btcusdt@aggTrade", "BTCUSDT", b"{}")
    async with asyncio.timeout(60), LocalExchange(source) as exchange:
        # Without a client there is nothing to wait for.
        await exchange.cut_off(1012, 600)
        async with streams(exchange, "/ws/btcusdt@aggTrade") as websocket:
            cut = asyncio.create_task(exchange.cut_off(1012, 600))
            assert await until_closed(websocket) == ([], 1012)
        assert not cut.done()
        async with streams(exchange, "/ws/btcusdt@depth"):
            await get_json(exchange, "/api/v3/ping")
            assert not cut.done()
            async with streams(exchange, "/ws/btcusdt@aggTrade") as websocket:
                await cut
                source.publish(event)
                assert await next_json(websocket) == {}
        # One that stays away is waited for no longer than so.
        async with streams(exchange, "/ws/btcusdt@aggTrade"):
            await exchange.cut_off(1012, 0.01)
