"""Opening and closing the exchange."""

from __future__ import annotations

import asyncio
import socket

import pytest
from websockets.asyncio.client import connect

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.exchange.local import (
    CannotListen,
    Fault,
    FaultKind,
    LocalExchange,
    PortInUse,
    SyntheticSource,
)
from orderbook_desktop.exchange.local.source import Publish

from .client import get_json, next_diff, streams, until_closed


async def test_a_port_in_use_is_told_in_one_sentence() -> None:
    async with LocalExchange(SyntheticSource()) as first:
        with pytest.raises(PortInUse) as error:
            await LocalExchange(SyntheticSource(), port=first.port).__aenter__()
    assert str(error.value) == (
        f"Port {first.port} is already in use, so the local exchange cannot listen on it; "
        "choose another one with --port."
    )


async def test_an_address_of_another_computer_is_told() -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1 .*--port"):
        await LocalExchange(SyntheticSource(), host="192.0.2.1", port=1).__aenter__()


@pytest.mark.parametrize("host", ["x" * 300, "..", "\udcff"])
async def test_what_is_no_address_is_told(host: str) -> None:
    with pytest.raises(CannotListen, match=r"it is no address of this computer.*--host"):
        await LocalExchange(SyntheticSource(), host=host).__aenter__()


def test_an_address_of_ip_6_is_written_in_brackets() -> None:
    exchange = LocalExchange(SyntheticSource(), host="::1", port=8900)
    assert (exchange.rest_url, exchange.ws_url) == ("http://[::1]:8900", "ws://[::1]:8900")


async def test_addresses() -> None:
    async with LocalExchange(SyntheticSource()) as exchange:
        assert exchange.rest_url == f"http://127.0.0.1:{exchange.port}"
        assert exchange.ws_url == f"ws://127.0.0.1:{exchange.port}"
        await get_json(exchange, "/api/v3/ping")


async def test_closing_ends_whatever_is_under_way() -> None:
    exchange = LocalExchange(SyntheticSource())
    async with asyncio.timeout(60), exchange:
        async with streams(exchange, "/ws/btcusdt@depth@100ms") as websocket:
            await next_diff(websocket)
            exchange.inject(Fault(kind=FaultKind.HANG))
            exchange.inject(Fault(kind=FaultKind.SHUTDOWN, seconds=60))
            hanging = asyncio.create_task(get_json(exchange, "/api/v3/depth?symbol=BTCUSDT"))
            silent = socket.create_connection(("127.0.0.1", exchange.port))
            while not exchange.fault_board.counts[FaultKind.HANG]:
                await asyncio.sleep(0.001)
            await exchange.__aexit__(None, None, None)
            await asyncio.wait([hanging])
            assert hanging.exception() is not None
            silent.close()
        await exchange.finished()


async def test_clients_are_told_goodbye() -> None:
    exchange = LocalExchange(SyntheticSource())
    async with exchange:
        websocket = await connect(exchange.ws_url + "/ws/btcusdt@depth@100ms")
        closing = asyncio.create_task(exchange.__aexit__(None, None, None))
        _, code = await until_closed(websocket)
        await closing
    assert code == 1001


class _Broken(SyntheticSource):
    """A source with a bug."""

    async def run(self, publish: Publish) -> None:
        raise BugError(f"a bug before {publish}")


async def test_a_bug_of_the_source_is_not_swallowed() -> None:
    exchange = await LocalExchange(_Broken()).__aenter__()
    with pytest.raises(BugError):
        await exchange.finished()
    with pytest.raises(BugError):
        await exchange.__aexit__(None, None, None)
