"""Snapshots over real sockets: the local exchange, its faults, and servers that aren't one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from email.utils import formatdate

import pytest
from aiohttp import web

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.exchange.errors import (
    NoBook,
    Paced,
    RateLimited,
    RegionBlocked,
    TradesNotServed,
    UnexpectedAnswer,
    UnknownSymbol,
    Unreachable,
)
from orderbook_desktop.exchange.http import KNOWN_FROM, KNOWN_TO
from orderbook_desktop.exchange.local import Fault, FaultKind, LocalExchange, SyntheticSource
from orderbook_desktop.exchange.rest import BinanceRest, RestClocks

BTC = "BTCUSDT"
BOOK = b'{"lastUpdateId":7,"bids":[["1.00","2.0"]],"asks":[["1.01","3.0"]]}'


class HandClock:
    """A clock in the test's hand; it begins with a minute of the time of day."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0
        self.clocks = RestClocks(wall=lambda: self.now_s, steady=lambda: self.now_s)


@asynccontextmanager
async def rest_of(
    url: str, timeout_s: float = 60.0, clock: HandClock | None = None
) -> AsyncIterator[BinanceRest]:
    rest = BinanceRest(url, timeout_s=timeout_s, clocks=None if clock is None else clock.clocks)
    try:
        yield rest
    finally:
        await rest.close()


class OddServer:
    """Answers every request with what the test says; notes the queries and how many at once."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[tuple[int, bytes, Mapping[str, str]]] = []
        self.queries: list[dict[str, str]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.delay = 0.0
        self.closing = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.delay):
                await self.closing.wait()
        self.at_once -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        status, body, headers = answer
        return web.Response(status=status, body=body, headers=headers)


@asynccontextmanager
async def odd_server(
    status: int, body: bytes, headers: Mapping[str, str] | None = None, **options: ssl.SSLContext
) -> AsyncIterator[OddServer]:
    odd = OddServer()
    odd.answers = [(status, body, headers or {})]
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", odd.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=options.get("tls"))
    await site.start()
    scheme = "https" if options else "http"
    odd.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield odd
    finally:
        odd.closing.set()
        await runner.cleanup()


async def test_a_snapshot_of_five_thousand_levels() -> None:
    async with LocalExchange(SyntheticSource()) as exchange, rest_of(exchange.rest_url) as rest:
        snapshot = await rest.snapshot(BTC)
    assert snapshot.market == BTC
    assert snapshot.last_update_id > 0
    assert 1_000 < len(snapshot.bids) <= 5_000


@pytest.mark.parametrize(
    ("ends", "known"),
    [
        (("0.5", "1.5"), Horizon.of_texts("0.5", "1.5")),
        (("0.5", "none"), Horizon.of_texts("0.5", None)),
        (("none", "none"), Horizon()),
        (("unknown", "unknown"), None),
        # As Binance: no such header.
        (("", ""), Horizon()),
    ],
)
async def test_a_server_says_how_deep_it_knows_its_book(
    ends: tuple[str, str], known: Horizon | None
) -> None:
    headers = dict(zip((KNOWN_FROM, KNOWN_TO), ends, strict=True))
    async with odd_server(200, BOOK, headers) as odd, rest_of(odd.url) as rest:
        assert (await rest.snapshot(BTC)).horizon == known


@pytest.mark.parametrize("end", ["x", "1e5", "-1", "none,1"])
@pytest.mark.expects_log("no snapshot of BTCUSDT")
async def test_an_end_that_is_no_price_is_no_answer(end: str) -> None:
    headers = {KNOWN_FROM: end, KNOWN_TO: "none"}
    async with odd_server(200, BOOK, headers) as odd, rest_of(odd.url) as rest:
        with pytest.raises(UnexpectedAnswer):
            await rest.snapshot(BTC)


async def test_the_request_is_the_documented_one() -> None:
    async with odd_server(200, BOOK) as odd, rest_of(odd.url + "/") as rest:
        snapshot = await rest.snapshot(BTC)
    assert odd.queries == [{"symbol": BTC, "limit": "5000"}]
    assert (snapshot.last_update_id, snapshot.payload) == (7, BOOK)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(451, RegionBlocked), (500, Unreachable), (503, Unreachable)],
)
@pytest.mark.expects_log("HTTP")
async def test_a_status_of_trouble_is_its_error_and_the_next_request_serves(
    status: int, kind: type[Exception]
) -> None:
    async with LocalExchange(SyntheticSource()) as exchange, rest_of(exchange.rest_url) as rest:
        exchange.inject(Fault(kind=FaultKind.HTTP, status=status))
        with pytest.raises(kind):
            await rest.snapshot(BTC)
        assert (await rest.snapshot(BTC)).market == BTC


@pytest.mark.parametrize("status", [403, 418, 429])
@pytest.mark.expects_log("HTTP 4")
async def test_a_pause_that_was_asked_for_is_kept(status: int) -> None:
    clock = HandClock()
    async with (
        LocalExchange(SyntheticSource()) as exchange,
        rest_of(exchange.rest_url, clock=clock) as rest,
    ):
        exchange.inject(Fault(kind=FaultKind.HTTP, status=status, retry_after=20))
        with pytest.raises(RateLimited) as caught:
            await rest.snapshot(BTC)
        clock.now_s += 19
        with pytest.raises(RateLimited) as paused:
            await rest.snapshot("ETHUSDT")  # The pause is the address's, not the symbol's.
        assert paused.value.retry_after_s == 1
        assert paused.value.status == status
        clock.now_s += 1
        assert (await rest.snapshot("ETHUSDT")).market == "ETHUSDT"
    assert caught.value.banned is (status == 418)


@pytest.mark.expects_log("HTTP 429")
async def test_a_pause_until_a_date_is_kept() -> None:
    clock = HandClock()
    date = {"Retry-After": formatdate(clock.now_s + 90, usegmt=True)}
    async with odd_server(429, b"", date) as odd, rest_of(odd.url, clock=clock) as rest:
        with pytest.raises(RateLimited) as caught:
            await rest.snapshot(BTC)
        assert caught.value.retry_after_s == 90
        clock.now_s += 5
        with pytest.raises(RateLimited) as paused:
            await rest.snapshot(BTC)
        assert paused.value.retry_after_s == 85
    assert len(odd.queries) == 1


@pytest.mark.expects_log("HTTP 429")
async def test_a_shorter_pause_ends_no_longer_one() -> None:
    clock = HandClock()
    async with odd_server(429, b"") as odd, rest_of(odd.url, clock=clock) as rest:
        odd.answers = [(429, b"", {"Retry-After": seconds}) for seconds in ("60", "30")]
        refusals = await asyncio.gather(
            rest.snapshot(BTC), rest.snapshot("ETHUSDT"), return_exceptions=True
        )
        assert [type(refusal) for refusal in refusals] == [RateLimited, RateLimited]
        with pytest.raises(RateLimited) as paused:
            await rest.snapshot(BTC)
        assert paused.value.retry_after_s == 60
    assert len(odd.queries) == 2


async def test_an_answer_that_never_comes_is_given_up() -> None:
    async with (
        LocalExchange(SyntheticSource()) as exchange,
        rest_of(exchange.rest_url, timeout_s=4.0) as rest,
    ):
        exchange.inject(Fault(kind=FaultKind.HANG))
        with pytest.raises(Unreachable, match="no answer within"):
            await rest.snapshot(BTC)
        exchange.inject(Fault(kind=FaultKind.DELAY, seconds=0.1))
        assert (await rest.snapshot(BTC)).market == BTC


@pytest.mark.expects_log("HTTP 400")
@pytest.mark.parametrize("market", ["XXXYYY", "Ü"])
async def test_a_symbol_that_is_not_traded_is_named(market: str) -> None:
    async with LocalExchange(SyntheticSource()) as exchange, rest_of(exchange.rest_url) as rest:
        with pytest.raises(UnknownSymbol, match=market):
            await rest.snapshot(market)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>log in to this network</html>"),
        (200, b""),
        (200, b'{"lastUpdateId":7,"bids":[["1","x"]],"asks":[]}'),
        (200, BOOK[:-9]),
        (404, b"<html>not found</html>"),
        (404, b"\xff\xfe"),
        (400, b'{"code":-1,"msg":"odd"}'),
    ],
)
@pytest.mark.allows_log("HTTP 4|no snapshot of")
async def test_a_server_that_is_not_the_exchange_is_told(status: int, body: bytes) -> None:
    async with odd_server(status, body) as odd, rest_of(odd.url) as rest:
        with pytest.raises(UnexpectedAnswer, match="check ORDERBOOK_REST_URL"):
            await rest.snapshot(BTC)


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1", "http://", "http://[::1"])
async def test_a_bad_address_is_told(url: str) -> None:
    async with rest_of(url) as rest:
        with pytest.raises(UnexpectedAnswer):
            await rest.snapshot(BTC)


async def test_a_refused_connection_is_told() -> None:
    # Held, so that no other program listens there, but not listening.
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with rest_of(f"http://127.0.0.1:{port}") as rest:
            with pytest.raises(Unreachable, match="connection refused"):
                await rest.snapshot(BTC)


async def test_a_reset_connection_is_told() -> None:
    async with LocalExchange(SyntheticSource()) as exchange, rest_of(exchange.rest_url) as rest:
        exchange.inject(Fault(kind=FaultKind.REFUSE, seconds=5))
        with pytest.raises(Unreachable):
            await rest.snapshot(BTC)


async def test_tls_to_a_server_that_has_none_is_told() -> None:
    async with (
        odd_server(200, BOOK) as odd,
        rest_of(odd.url.replace("http://", "https://")) as rest,
    ):
        with pytest.raises(Unreachable):
            await rest.snapshot(BTC)


async def test_a_certificate_that_is_not_trusted_is_told(self_signed: ssl.SSLContext) -> None:
    async with odd_server(200, BOOK, tls=self_signed) as odd, rest_of(odd.url) as rest:
        with pytest.raises(Unreachable, match="certificate is not accepted: self-signed"):
            await rest.snapshot(BTC)


async def test_few_requests_go_out_at_a_time() -> None:
    async with odd_server(200, BOOK) as odd, rest_of(odd.url) as rest:
        odd.delay = 0.02
        await asyncio.gather(*(rest.snapshot(f"M{index}") for index in range(15)))
    assert len(odd.queries) == 15
    assert odd.most_at_once <= 4


async def test_the_weight_the_exchange_told_is_kept_to() -> None:
    used, clock = {"X-MBX-USED-WEIGHT-1M": "5000"}, HandClock()
    async with odd_server(200, BOOK, used) as odd, rest_of(odd.url, clock=clock) as rest:
        await rest.snapshot(BTC)
        clock.now_s += 40
        with pytest.raises(Paced) as caught:
            await rest.snapshot(BTC)
        assert caught.value.retry_after_s == 21
        assert len(odd.queries) == 1
        clock.now_s += 20
        await rest.snapshot(BTC)
    assert len(odd.queries) == 2


async def test_a_cancelled_request_leaves_the_next_one_its_turn() -> None:
    async with odd_server(200, BOOK) as odd, rest_of(odd.url) as rest:
        odd.delay = 0.05
        for _ in range(6):
            request = asyncio.create_task(rest.snapshot(BTC))
            await asyncio.sleep(0.01)
            request.cancel()
            await asyncio.wait([request])
            assert request.cancelled()
        assert (await rest.snapshot(BTC)).last_update_id == 7


async def test_the_volumes_of_a_day_by_market() -> None:
    async with LocalExchange(SyntheticSource()) as exchange, rest_of(exchange.rest_url) as rest:
        volumes = await rest.day_volumes()
    assert len(volumes) > 300
    assert volumes["BTCUSDT"] > volumes["ETHUSDT"] > volumes["AAVEUSDT"] > 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[{}]", b'[{"symbol":"A","quoteVolume":"much"}]',
     b'[{"symbol":"A","quoteVolume":"NaN"}]', b'[{"symbol":"A","quoteVolume":1.5}]'],
)  # fmt: skip
@pytest.mark.expects_log("WARNING .*rest: no volumes")
async def test_volumes_that_are_none_are_no_answer(body: bytes) -> None:
    async with odd_server(200, body) as odd, rest_of(odd.url) as rest:
        with pytest.raises(UnexpectedAnswer, match="no list of volumes"):
            await rest.day_volumes()
    assert odd.queries == [{"type": "MINI"}]


async def test_many_books_are_asked_for_less_deep() -> None:
    async with odd_server(200, BOOK) as odd, rest_of(odd.url) as rest:
        for books in (1, 20, 21, 100, 1024):
            rest.books = books
            await rest.snapshot(BTC)
    assert [query["limit"] for query in odd.queries] == ["5000", "5000", "1000", "1000", "1000"]


async def test_the_first_books_of_a_hundred_symbols_fit_into_one_minute() -> None:
    symbols_weight = {"X-MBX-USED-WEIGHT-1M": "100"}
    async with odd_server(200, BOOK) as odd, rest_of(odd.url, clock=HandClock()) as rest:
        odd.answers.insert(0, (200, b"[]", symbols_weight))
        rest.books = 100
        assert await rest.day_volumes() == {}
        await asyncio.gather(*(rest.snapshot(f"A{number}USDT") for number in range(100)))
        further = await asyncio.gather(
            *(rest.snapshot(BTC) for _ in range(20)), return_exceptions=True
        )
        assert any(isinstance(one, Paced) for one in further)
    assert 101 <= len(odd.queries) < 110


@pytest.mark.parametrize("number", ["-1", "-9223372036854775808"])
async def test_a_symbol_without_a_book_is_told_as_one(number: str) -> None:
    body = f'{{"lastUpdateId":{number},"bids":[],"asks":[]}}'.encode()
    async with odd_server(200, body) as odd, rest_of(odd.url) as rest:
        with pytest.raises(NoBook, match="no book of XUSDT for now"):
            await rest.snapshot("XUSDT")


@pytest.mark.parametrize("levels", ["[]", '[["1","1"]]'])
@pytest.mark.expects_log("no snapshot of BTCUSDT")
async def test_a_negative_id_with_levels_is_no_book(levels: str) -> None:
    body = f'{{"lastUpdateId":-1,"bids":[["1","1"]],"asks":{levels}}}'.encode()
    async with odd_server(200, body) as odd, rest_of(odd.url) as rest:
        with pytest.raises(UnexpectedAnswer):
            await rest.snapshot(BTC)


@pytest.mark.parametrize(
    "odd_one", ['"1e999999999"', '"-1"', '"Infinity"', "1.5", "null", '"9' + "9" * 99 + '"']
)
@pytest.mark.expects_log("1 volumes could not be read")
async def test_an_odd_volume_is_left_out(odd_one: str) -> None:
    body = f'[{{"symbol":"A","quoteVolume":{odd_one}}},{{"symbol":"B","quoteVolume":"2.5"}}]'
    async with odd_server(200, body.encode()) as odd, rest_of(odd.url) as rest:
        assert await rest.day_volumes() == {"B": Decimal("2.5")}


ROWS = (
    b'[{"a":7,"p":"1.50","q":"2.0","f":9,"l":11,"T":1700000000000,"m":true,"M":true}, '
    b'{"a": 9,"p":"1.5","q":"1","f":13,"l":13,"T":1700000000001,"m":false}]'
)


async def test_trades_are_asked_for_as_documented_and_kept_byte_for_byte() -> None:
    async with odd_server(200, ROWS) as odd, rest_of(odd.url) as rest:
        trades = await rest.agg_trades(BTC, 7)
        assert await rest.agg_trades(BTC, 5, limit=2) == trades
    assert odd.queries == [
        {"symbol": BTC, "fromId": "7", "limit": "1000"},
        {"symbol": BTC, "fromId": "5", "limit": "2"},
    ]
    assert b"[" + b", ".join(trade.payload for trade in trades) + b"]" == ROWS
    assert [(trade.market, trade.trade_id, trade.is_repaired) for trade in trades] == [
        *((BTC, 7, True), (BTC, 9, True))
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>log in to this network</html>",
        b"[1]",
        ROWS[:-1],
        ROWS.replace(b'"a": 9', b'"a": 7'),
        ROWS.replace(b'"a":7', b'"a":6'),
        ROWS.replace(b'"q":"1"', b'"q":"0"'),
    ],
)
@pytest.mark.allows_log("no trades of BTCUSDT")
async def test_trades_that_are_none_are_no_answer(body: bytes) -> None:
    async with odd_server(200, body) as odd, rest_of(odd.url) as rest:
        with pytest.raises(UnexpectedAnswer):
            await rest.agg_trades(BTC, 7)


async def test_trades_that_are_too_old_are_refused_by_an_error_of_its_own() -> None:
    refusal = b'{"code":-1130,"msg":"Data sent for parameter \'fromId\' is not valid."}'
    async with odd_server(400, refusal) as odd, rest_of(odd.url) as rest:
        with pytest.raises(TradesNotServed, match="of BTCUSDT from id 7 on"):
            await rest.agg_trades(BTC, 7)


@pytest.mark.expects_log("HTTP 400")
async def test_trades_of_a_symbol_that_is_not_traded_are_refused() -> None:
    async with LocalExchange(SyntheticSource()) as exchange, rest_of(exchange.rest_url) as rest:
        with pytest.raises(UnknownSymbol, match="XXXYYY"):
            await rest.agg_trades("XXXYYY", 1)


async def test_trades_are_asked_for_behind_the_books() -> None:
    """A book that has to wait keeps them waiting, too, and they take no turn of a book's."""
    used, clock = {"X-MBX-USED-WEIGHT-1M": "5000"}, HandClock()
    async with odd_server(200, BOOK, used) as odd, rest_of(odd.url, clock=clock) as rest:
        await rest.snapshot(BTC)
        odd.answers.append((200, ROWS, {}))
        with pytest.raises(Paced):
            await rest.snapshot(BTC)
        with pytest.raises(Paced):
            await rest.agg_trades(BTC, 7)
        clock.now_s += 61
        odd.answers = [(200, BOOK, {})]
        odd.delay = 0.2
        books = [asyncio.create_task(rest.snapshot(BTC)) for _ in range(4)]
        await asyncio.sleep(0.05)
        with pytest.raises(Paced):
            await rest.agg_trades(BTC, 7)
        await asyncio.gather(*books)
        odd.answers = [(200, ROWS, {})]
        assert len(await rest.agg_trades(BTC, 7)) == 2
    assert len(odd.queries) == 6
