"""The list of symbols, through ccxt, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading

import pytest

from orderbook_desktop.exchange.catalogue import fetch_symbols
from orderbook_desktop.exchange.errors import (
    ExchangeError,
    RateLimited,
    RegionBlocked,
    UnexpectedAnswer,
    Unreachable,
)
from orderbook_desktop.exchange.local import Fault, FaultKind, LocalExchange, SyntheticSource

from .test_rest import odd_server


async def test_all_spot_symbols_with_their_filters() -> None:
    async with LocalExchange(SyntheticSource()) as exchange:
        symbols = await fetch_symbols(exchange.rest_url)
    assert len(symbols) > 300
    assert symbols == sorted(symbols, key=lambda info: info.symbol)
    by_name = {info.symbol: info for info in symbols}
    bitcoin = by_name["BTC/USDT"]
    assert (bitcoin.market, bitcoin.base, bitcoin.quote) == ("BTCUSDT", "BTC", "USDT")
    assert (bitcoin.tick_size, bitcoin.step_size) == (1_000_000, 1_000)
    assert by_name["PEPE/USDT"].tick_size == 1


def test_ccxt_is_not_imported_until_it_is_needed() -> None:
    program = (
        "import sys, orderbook_desktop.exchange.catalogue, orderbook_desktop.exchange.stream,"
        " orderbook_desktop.exchange.rest; print([name for name in sys.modules"
        " if name.split('.')[0] in ('ccxt', 'aiohttp') or name == 'websockets.asyncio.client'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (451, RegionBlocked),
        (403, RateLimited),
        (503, Unreachable),
        (418, RateLimited),
        (429, RateLimited),
    ],
)
@pytest.mark.expects_log("symbols could not be loaded")
async def test_a_status_of_trouble_is_its_error(status: int, kind: type[ExchangeError]) -> None:
    async with LocalExchange(SyntheticSource()) as exchange:
        fault = Fault(kind=FaultKind.HTTP, status=status, path="exchangeInfo", retry_after=7)
        exchange.inject(fault)
        with pytest.raises(kind) as caught:
            await fetch_symbols(exchange.rest_url)
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after_s == 7
        assert caught.value.banned is (status == 418)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>log in to this network</html>"),
        (200, b"{}"),
        (200, b'{"symbols":[{"symbol":"BTCUSDT"}]}'),
        (200, b'{"symbols":7}'),
        (404, b"<html>not found</html>"),
    ],
)
@pytest.mark.allows_log("symbols could not be")
async def test_a_server_that_is_not_the_exchange_is_told(status: int, body: bytes) -> None:
    async with odd_server(status, body) as odd:
        with pytest.raises(UnexpectedAnswer):
            await fetch_symbols(odd.url)


@pytest.mark.parametrize("url", ["", "nonsense", "http://"])
@pytest.mark.allows_log("symbols could not be")
async def test_a_bad_address_is_told(url: str) -> None:
    with pytest.raises(ExchangeError):
        await fetch_symbols(url)


@pytest.mark.expects_log("symbols could not be loaded")
async def test_a_refused_connection_is_told() -> None:
    # Held, so that nobody else listens there, but not listening.
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable, match="connection refused"):
            await fetch_symbols(f"http://127.0.0.1:{port}")


@pytest.mark.expects_log("symbols could not be loaded")
async def test_an_answer_that_never_comes_is_given_up() -> None:
    async with odd_server(200, b"{}") as odd:
        odd.delay = 30
        with pytest.raises(Unreachable):
            await fetch_symbols(odd.url, timeout_s=0.3)


async def test_cancelling_ends_the_thread_too() -> None:
    threads = set(threading.enumerate())
    async with odd_server(200, b"{}") as odd:
        odd.delay = 30
        loading = asyncio.create_task(fetch_symbols(odd.url))
        async with asyncio.timeout(60):
            while not odd.queries:
                await asyncio.sleep(0.01)
        loading.cancel()
        await asyncio.wait([loading])
        async with asyncio.timeout(20):
            await asyncio.get_running_loop().shutdown_default_executor()
    assert loading.cancelled()
    assert set(threading.enumerate()) <= threads
