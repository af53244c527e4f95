"""The list of symbols, through ccxt, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections import deque

import pytest

from orderbook_desktop.exchange.catalogue import Listings, TooManySymbols, fetch_symbols
from orderbook_desktop.exchange.errors import (
    ExchangeError,
    RateLimited,
    Redirected,
    RegionBlocked,
    TooLarge,
    UnexpectedAnswer,
    Unreachable,
    WebPage,
)
from orderbook_desktop.exchange.http import MOST_OF_A_LIST
from orderbook_desktop.exchange.local import Fault, FaultKind, LocalExchange, SyntheticSource

from .hostile_server import MIB, endless, hostile_server
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
    # Held, so that no other program listens there, but not listening.
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
        odd.delay = 600
        loading = asyncio.create_task(fetch_symbols(odd.url, timeout_s=600))
        async with asyncio.timeout(60):
            while not odd.queries:
                await asyncio.sleep(0.01)
        loading.cancel()
        await asyncio.wait([loading])
        async with asyncio.timeout(60):
            await asyncio.get_running_loop().shutdown_default_executor()
    assert loading.cancelled()
    assert set(threading.enumerate()) <= threads


def listing(symbol: str, **changes: object) -> dict[str, object]:
    """Return a listing like the exchange's."""
    filters = [{"filterType": "PRICE_FILTER", "tickSize": "0.01000000"}]
    usual = {"symbol": symbol, "status": "TRADING", "filters": filters, "permissions": ["SPOT"]}
    return {**usual, "baseAsset": symbol[:-4], "quoteAsset": symbol[-4:], **changes}


def answer_of(*listings: object) -> bytes:
    return json.dumps({"timezone": "UTC", "symbols": listings}, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "odd_one",
    [
        *(listing("XUSDT", filters=None), listing("XUSDT", filters="none")),
        *(listing("XUSDT", filters=[7]), {"symbol": "XUSDT"}, {}),
        *(listing("XUSDT", status=None), listing("XUSDT", status=["TRADING"])),
        *(listing("XUSDT", baseAsset=""), listing("XUSDT", quoteAsset=7), listing("\x1b[2JUSDT")),
        *(listing("X" * 5000 + "USDT"), listing("X/USDT"), listing("X\u202eUSDT")),
        listing("BTCUSDT"),
        listing("XUSDT", filters=[{"filterType": [], "tickSize": "0.1"}]),
    ],
)  # fmt: skip
@pytest.mark.expects_log("1 of the exchange's listings are left out")
async def test_an_odd_listing_is_left_out_and_counted(odd_one: object) -> None:
    body = answer_of(listing("BTCUSDT"), odd_one, listing("币安人生USDT"))
    async with odd_server(200, body) as odd:
        symbols = await fetch_symbols(odd.url)
    assert [info.market for info in symbols] == ["BTCUSDT", "币安人生USDT"]


async def test_what_is_not_in_trading_is_not_odd() -> None:
    body = answer_of(
        listing("AUSDT", status="BREAK"),
        listing("BUSDT", contractType="PERPETUAL"),
        listing("CUSDT", permissions=["TRD_GRP_003"]),
        listing("DUSDT", baseAssetPrecision=-1, permissions="SPOT"),
        listing("YOYOUSDT", filters=[]),
        *["text", 7, None],
    )
    async with odd_server(200, body) as odd:
        symbols = await fetch_symbols(odd.url)
    assert [(info.symbol, info.market) for info in symbols] == [
        ("D/USDT", "DUSDT"),
        ("YOYOW/USDT", "YOYOUSDT"),
    ]


@pytest.mark.parametrize("tick", ["1e999999999", "-0.01", "", "9" * 5000, 0.01, None, "NaN", "²"])
async def test_an_odd_tick_is_an_unknown_one(tick: object) -> None:
    filters = [{"filterType": "PRICE_FILTER", "tickSize": tick}]
    async with odd_server(200, answer_of(listing("BTCUSDT", filters=filters))) as odd:
        (bitcoin,) = await fetch_symbols(odd.url)
    assert bitcoin.tick_size == 0


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b'{"code":-1003,"msg":"IP banned until 9999999999999."}', RateLimited),
        (200, b"<html>log in</html>", WebPage),
        (302, b"", Redirected),
        (200, b'{"symbols":[{"symbol":"BTCUSDT","status":"TRADING"', UnexpectedAnswer),
        (200, b'{"symbols":[' + b"[" * 2**21, UnexpectedAnswer),
        (200, b'{"symbols":"BTCUSDT"}', UnexpectedAnswer),
    ],
)  # fmt: skip
@pytest.mark.allows_log("symbols could not be loaded|HTTP")
async def test_no_list_is_told_as_what_came(
    status: int, body: bytes, kind: type[ExchangeError]
) -> None:
    async with odd_server(status, body, {"Location": "http://login.test"}) as odd:
        with pytest.raises(kind) as caught:
            await fetch_symbols(odd.url)
    if isinstance(caught.value, RateLimited):
        assert (caught.value.retry_after_s, caught.value.banned) == (3600, True)


@pytest.mark.expects_log("symbols could not be loaded")
async def test_an_endless_list_is_given_up_at_its_bound() -> None:
    one = json.dumps(listing("AUSDT", status="BREAK", more="x" * 100_000)).encode() + b","
    async with hostile_server(endless(b'{"symbols":[', one)) as hostile:
        with pytest.raises(TooLarge, match="64 MiB"):
            await fetch_symbols(hostile.url, timeout_s=120.0)
        assert hostile.sent < MOST_OF_A_LIST + 16 * MIB


def test_more_symbols_than_any_exchange_has_are_refused() -> None:
    listings = Listings({})
    listings.take(b'{"symbols":[')
    name = b'"status":"TRADING","baseAsset":"A","quoteAsset":"B"'
    parts = (b'{"symbol":"A%d",%b},' % (number, name) for number in range(200_000))
    with pytest.raises(TooManySymbols):
        deque(map(listings.take, parts), maxlen=0)


def test_many_symbols_are_in_order() -> None:
    listings = Listings({})
    rows = [listing(f"A{number * 7919 % 5003}USDT") for number in range(5003)]
    listings.take(answer_of(*rows))
    found = listings.in_order()
    assert found == sorted(found, key=lambda info: info.symbol)
    assert len(found) == 5003
