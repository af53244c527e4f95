"""Answers are bounded, no matter what a server sends."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from orderbook_desktop.exchange.catalogue import fetch_symbols
from orderbook_desktop.exchange.errors import (
    BadProxy,
    ExchangeError,
    ProxyFailed,
    RateLimited,
    Redirected,
    TooLarge,
    UnexpectedAnswer,
    Unreachable,
    WebPage,
)
from orderbook_desktop.exchange.http import MOST_BYTES, HttpClient
from orderbook_desktop.exchange.rest import BinanceRest

from .hostile_server import HEAD, MIB, endless, gzip_bomb, hostile_server
from .test_rest import BOOK, BTC, odd_server, rest_of

# What lies in sockets and buffers while it is not read.
IN_BUFFERS = 16 * MIB


@asynccontextmanager
async def client_of(url: str, timeout_s: float = 60.0) -> AsyncIterator[HttpClient]:
    client = HttpClient(url, timeout_s)
    try:
        yield client
    finally:
        await client.close()


@functools.cache
def bomb() -> bytes:
    return gzip_bomb(b'{"lastUpdateId":1,"bids":[["', mib=256)


async def test_an_endless_body_is_given_up_at_its_bound() -> None:
    parts = endless(b'{"lastUpdateId":1,"bids":[', b'["1.0","1.0"],')
    async with hostile_server(parts) as hostile, rest_of(hostile.url) as rest:
        with pytest.raises(TooLarge, match="longer than 16 MiB") as caught:
            await rest.snapshot(BTC)
        assert hostile.sent < MOST_BYTES + IN_BUFFERS
    assert str(caught.value).count(". ") == 0


async def test_what_unpacks_without_end_is_given_up_at_its_bound() -> None:
    headers = HEAD + b"Content-Encoding: gzip\r\n\r\n"
    async with hostile_server([headers, bomb()]) as hostile, client_of(hostile.url) as client:
        taken = 0

        def take(part: bytes) -> None:
            nonlocal taken
            assert len(part) <= MIB
            taken += len(part)

        with pytest.raises(TooLarge):
            await client.get("/", {}, take=take)
    assert taken <= MOST_BYTES


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "\x1b[31m"])
async def test_a_packing_that_was_not_asked_for_is_refused(encoding: str) -> None:
    headers = HEAD + b"Content-Encoding: " + encoding.encode() + b"\r\n\r\n"
    async with hostile_server([headers, bomb()[:MIB]]) as hostile:
        async with client_of(hostile.url) as client:
            with pytest.raises((UnexpectedAnswer, Unreachable)) as caught:
                await client.get("/", {})
        assert b"Accept-Encoding: gzip\r\n" in hostile.requests[0]
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("cut", [None, -5])
async def test_a_packed_answer_is_unpacked_or_told_to_break_off(cut: int | None) -> None:
    packed = gzip_bomb(BOOK, mib=0)[:cut]
    headers = HEAD + b"Content-Encoding: gzip\r\n\r\n"
    async with hostile_server([headers + packed]) as hostile, rest_of(hostile.url) as rest:
        if cut is None:
            assert (await rest.snapshot(BTC)).payload == BOOK
        else:
            with pytest.raises(Unreachable, match="broke off"):
                await rest.snapshot(BTC)


async def test_what_is_not_packed_though_it_says_so_is_told() -> None:
    headers = HEAD + b"Content-Encoding: gzip\r\n\r\n"
    async with hostile_server([headers + BOOK]) as hostile, rest_of(hostile.url) as rest:
        with pytest.raises(UnexpectedAnswer, match="unpacked"):
            await rest.snapshot(BTC)


@pytest.mark.parametrize("status", [b"400 Bad Request", b"429 Slow Down", b"503 Away"])
@pytest.mark.expects_log("HTTP ")
async def test_of_an_error_only_the_beginning_is_read(status: bytes) -> None:
    begin = b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n"
    parts = [begin, *[b"x" * MIB] * 100]
    async with hostile_server(parts) as hostile, rest_of(hostile.url) as rest:
        with pytest.raises(ExchangeError):
            await rest.snapshot(BTC)
        assert hostile.sent < IN_BUFFERS


async def test_a_body_that_drips_has_its_time() -> None:
    parts = [HEAD + b"\r\n{", *[b" "] * 10_000]
    async with (
        hostile_server(parts, pause_s=0.02) as hostile,
        rest_of(hostile.url, timeout_s=0.5) as rest,
    ):
        with pytest.raises(Unreachable, match="no answer within"):
            await rest.snapshot(BTC)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * (8 * MIB),
        b"HTTP/1.1 " + b"9" * (8 * MIB),
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_head_is_bounded_too(head: bytes) -> None:
    async with hostile_server([head]) as hostile, rest_of(hostile.url, timeout_s=20.0) as rest:
        with pytest.raises(ExchangeError) as caught:
            await rest.snapshot(BTC)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("weight", ["9" * 5000, "-1", "1e9", "٣", "NaN", "", "9" * 10])
async def test_a_weight_that_is_none_is_not_counted(weight: str) -> None:
    headers = {"X-MBX-USED-WEIGHT-1M": weight}
    async with odd_server(200, BOOK, headers) as odd, rest_of(odd.url) as rest:
        for _ in range(2):
            assert (await rest.snapshot(BTC)).last_update_id == 7


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "https://evil.test/", "/api/v3/ping"])
async def test_a_redirect_is_not_followed(status: int, target: str) -> None:
    async with odd_server(status, b"", {"Location": target}) as odd, rest_of(odd.url) as rest:
        with pytest.raises(Redirected) as caught:
            await rest.snapshot(BTC)
        assert len(odd.queries) == 1
    assert target in str(caught.value)


@pytest.mark.parametrize("ask", [lambda rest: rest.snapshot(BTC), lambda rest: rest.day_volumes()])
@pytest.mark.allows_log("no volumes")
async def test_a_page_in_place_of_an_answer_is_called_one(
    ask: Callable[[BinanceRest], object],
) -> None:
    page = b"\n<!doctype html><title>Log in to this network</title>" + b" " * 9000
    async with odd_server(200, page) as odd, rest_of(odd.url) as rest:
        with pytest.raises(WebPage, match="log in"):
            await ask(rest)  # type: ignore[misc]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.allows_log("symbols could not be")
async def test_a_dead_proxy_is_named_and_not_the_exchange(
    variable: str, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    monkeypatch.setenv(variable, f"user:geheim@127.0.0.1:{unused_port}")
    async with rest_of("http://exchange.test") as rest:
        with pytest.raises(ProxyFailed) as caught:
            await rest.snapshot(BTC)
    sentence = str(caught.value)
    assert f"127.0.0.1:{unused_port} that {variable} names" in sentence
    assert "refused" in sentence
    assert "geheim" not in sentence + repr(caught.value)
    with pytest.raises(ProxyFailed):
        await fetch_symbols("http://exchange.test")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("status", [407, 502])
@pytest.mark.allows_log("HTTP 502")
async def test_a_proxy_that_refuses_is_named(
    scheme: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
    async with hostile_server([head]) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url.removeprefix("http://"))
        async with rest_of(f"{scheme}://exchange.test") as rest:
            with pytest.raises((ProxyFailed, Unreachable)) as caught:
                await rest.snapshot(BTC)
    if (scheme, status) != ("http", 502):  # There the proxy may pass on what another said.
        assert isinstance(caught.value, ProxyFailed)
        assert f"{scheme}_proxy" in str(caught.value)


async def test_a_proxy_is_used_with_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = HEAD + b"\r\n" + BOOK
    async with hostile_server([answer]) as proxy:
        address = proxy.url.replace("http://", "me:p%40ss@")
        monkeypatch.setenv("HTTP_PROXY", address)
        async with rest_of("http://exchange.test") as rest:
            assert (await rest.snapshot(BTC)).last_update_id == 7
    assert b"GET http://exchange.test/api/v3/depth" in proxy.requests[0]
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in proxy.requests[0]


async def test_a_proxy_that_is_not_understood_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://me:geheim@127.0.0.1:1080")
    async with rest_of("https://exchange.test") as rest:
        with pytest.raises(BadProxy, match=r"ALL_PROXY .*SOCKS") as caught:
            await rest.snapshot(BTC)
    assert "geheim" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b'{"code":-1003,"msg":"Too many requests."}', RateLimited),
        (400, b'{"code":-1003,"msg":"Too many requests."}', RateLimited),
        (502, b'{"code":-1015,"msg":"Too many new orders."}', RateLimited),
        (200, b'{"code":-1000,"msg":"An unknown error occurred."}', Unreachable),
        (400, b'{"code":-1016,"msg":"Shutting down."}', Unreachable),
        (200, b'{ "msg": "busy", "code": -1008 }', Unreachable),
        (200, b'{"code":-9999,"msg":"\\u001b[31mred\\u202e"}', UnexpectedAnswer),
        (400, b'{"code":-9999,"msg":"' + b"m" * 9000 + b'"}', UnexpectedAnswer),
        (400, b'{"code":' + b"9" * 5000 + b"}", UnexpectedAnswer),
    ],
)
@pytest.mark.allows_log("HTTP")
async def test_a_code_in_the_body_counts_whatever_the_status(
    status: int, body: bytes, kind: type[ExchangeError]
) -> None:
    async with odd_server(status, body) as odd, rest_of(odd.url) as rest:
        with pytest.raises(kind) as caught:
            await rest.snapshot(BTC)
        if kind is RateLimited:
            with pytest.raises(RateLimited):  # Nothing is sent meanwhile.
                await rest.snapshot("ETHUSDT")
        asked = len(odd.queries)
    assert asked == 1
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after_s == 60.0


@pytest.mark.expects_log("HTTP 429")
async def test_a_pause_without_end_is_cut_to_an_hour_and_said() -> None:
    headers = {"Retry-After": "1" + "0" * 30}
    async with odd_server(429, b"", headers) as odd, rest_of(odd.url) as rest:
        with pytest.raises(RateLimited) as caught:
            await rest.snapshot(BTC)
        with pytest.raises(RateLimited) as again:
            await rest.snapshot(BTC)
    assert caught.value.retry_after_s == 3600
    assert "more than an hour; trying again in 3600 s" in str(caught.value)
    assert "more than an hour" in str(again.value)


async def test_others_work_while_a_bomb_unpacks() -> None:
    """Between one part, of a quarter of a mebibyte, and the next another task is served."""
    headers = HEAD + b"Content-Encoding: gzip\r\n\r\n"
    served: set[int] = set()
    parts: list[bytes] = []

    async def other() -> None:
        while True:
            served.add(len(parts))
            await asyncio.sleep(0)

    async with hostile_server([headers, bomb()]) as hostile, client_of(hostile.url) as client:
        others = asyncio.create_task(other())
        with pytest.raises(TooLarge):
            await client.get("/", {}, take=parts.append)
        others.cancel()
    assert max(map(len, parts)) <= MIB // 4
    assert served >= set(range(len(parts)))
