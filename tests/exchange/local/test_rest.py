"""REST: what Binance's clients ask for, and the errors they must expect."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import AsyncIterator

import ccxt.async_support as ccxt
import pytest

from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource

from .client import get, get_json


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    """A synthetic exchange."""
    async with LocalExchange(SyntheticSource(seed=1)) as running:
        yield running


async def test_ping_and_time(exchange: LocalExchange) -> None:
    assert await get_json(exchange, "/api/v3/ping") == {}
    assert (await get_json(exchange, "/api/v3/time"))["serverTime"] > 1_700_000_000_000


async def test_ccxt_loads_the_markets_and_a_book(exchange: LocalExchange) -> None:
    binance = ccxt.binance(
        {"options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}}
    )
    binance.urls["api"]["public"] = exchange.rest_url + "/api/v3"
    try:
        markets = await binance.load_markets()
        book = await binance.fetch_order_book("PEPE/USDT", limit=5000)
    finally:
        await binance.close()
    assert len(markets) > 300
    bitcoin = markets["BTC/USDT"]
    assert bitcoin["spot"]
    assert bitcoin["active"]
    assert (bitcoin["precision"]["price"], bitcoin["precision"]["amount"]) == (0.01, 0.00001)
    assert bitcoin["limits"]["cost"]["min"] == 5
    assert markets["ETH/BTC"]["precision"]["price"] == 0.00001
    assert 0 < book["bids"][0][0] < book["asks"][0][0]


async def test_exchange_info_of_some_symbols(exchange: LocalExchange) -> None:
    one = await get_json(exchange, "/api/v3/exchangeInfo?symbol=BTCUSDT")
    assert [symbol["symbol"] for symbol in one["symbols"]] == ["BTCUSDT"]
    asked = urllib.parse.quote(json.dumps(["ETHBTC", "BTCEUR"]))
    two = await get_json(exchange, f"/api/v3/exchangeInfo?symbols={asked}")
    assert [symbol["symbol"] for symbol in two["symbols"]] == ["ETHBTC", "BTCEUR"]


@pytest.mark.parametrize(
    ("limit", "levels", "weight"),
    [("", 100, 5), ("&limit=100", 100, 5), ("&limit=101", 101, 25), ("&limit=500", 500, 25),
     ("&limit=1000", 1000, 50), ("&limit=5000", 5000, 250), ("&limit=9999", 5000, 250)],
)  # fmt: skip
async def test_depth_limit_and_weight(
    exchange: LocalExchange, limit: str, levels: int, weight: int
) -> None:
    status, body, headers = await get(exchange, f"/api/v3/depth?symbol=BTCUSDT{limit}")
    assert status == 200
    assert list(body) == ["lastUpdateId", "bids", "asks"]
    assert len(body["bids"]) == len(body["asks"]) == levels
    assert headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


@pytest.mark.parametrize(
    ("query", "code"),
    [("?symbol=NOSUCH", -1121), ("", -1102), ("?symbol=", -1102), ("?symbol=btcusdt", -1100),
     ("?symbol=BTCUSDT&limit=0", -1130), ("?symbol=BTCUSDT&limit=-1", -1100),
     ("?symbol=BTCUSDT&limit=many", -1100), ("?symbol=BTCUSDT&depth=5", -1101)],
)  # fmt: skip
async def test_depth_errors(exchange: LocalExchange, query: str, code: int) -> None:
    status, body, _ = await get(exchange, f"/api/v3/depth{query}")
    assert (status, body["code"]) == (400, code)
    if code == -1121:
        assert body == {"code": -1121, "msg": "Invalid symbol."}


@pytest.mark.parametrize("path", ["/", "/api/v3/account", "/api/v4/ping", "/control/fault"])
async def test_unknown_paths(exchange: LocalExchange, path: str) -> None:
    status, _, _ = await get(exchange, path)
    assert status == 404


async def test_the_weight_of_a_minute_runs_out() -> None:
    async with LocalExchange(SyntheticSource(), weight_limit=60) as exchange:
        await get_json(exchange, "/api/v3/depth?symbol=BTCUSDT&limit=1000")
        status, body, headers = await get(exchange, "/api/v3/depth?symbol=BTCUSDT&limit=1000")
    assert (status, body["code"]) == (429, -1003)
    assert 1 <= int(headers["Retry-After"]) <= 61


async def test_the_tickers_of_all_symbols(exchange: LocalExchange) -> None:
    status, body, headers = await get(exchange, "/api/v3/ticker/24hr?type=MINI")
    assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "80")
    volumes = {ticker["symbol"]: float(ticker["quoteVolume"]) for ticker in body}
    assert len(volumes) > 300
    usdt = {market: volume for market, volume in volumes.items() if market.endswith("USDT")}
    assert sorted(usdt, key=lambda market: -usdt[market])[:2] == ["BTCUSDT", "ETHUSDT"]
    assert float(body[0]["volume"]) * float(body[0]["lastPrice"]) == pytest.approx(
        volumes["BTCUSDT"]
    )


@pytest.mark.parametrize(
    ("query", "weight"), [("symbol=BTCUSDT", "2"), ("symbols=%5B%22BTCUSDT%22%5D", "2")]
)
async def test_the_ticker_of_one_symbol(exchange: LocalExchange, query: str, weight: str) -> None:
    status, body, headers = await get(exchange, f"/api/v3/ticker/24hr?{query}")
    assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, weight)
    ticker = body[0] if isinstance(body, list) else body
    assert ticker["symbol"] == "BTCUSDT"
    assert ticker["closeTime"] - ticker["openTime"] == 86_400_000


async def test_no_ticker_of_an_unlisted_symbol(exchange: LocalExchange) -> None:
    status, body, _ = await get(exchange, "/api/v3/ticker/24hr?symbol=NOSUCH")
    assert (status, body["code"]) == (400, -1121)
