"""Each attack that the browser view must withstand, tried on a real server and refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re

import httpx
import pytest
from msgspec.structs import replace

from orderbook_desktop.web.options import Limits, WebOptions
from orderbook_desktop.web.safety.gate import RateCheck
from orderbook_desktop.web.safety.hosts import HostCheck
from orderbook_desktop.web.server import WebServer
from tests.web.conftest import TOKEN
from tests.web.hand_library import HandLibrary
from tests.web.reader import until_ended, watching


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"x-long": "a" * 20_000}, 431),
    ],
)
async def test_a_refusal_for_people_allows_nothing_but_its_own_style(
    stranger: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await stranger.get("/", headers={"accept": "text/html,*/*;q=0.8", **headers})
    assert (answer.status_code, answer.headers["x-frame-options"]) == (status, "DENY")
    style = re.search("<style>(.+)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = dict(
        one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; ")
    )
    assert policy.pop("style-src") == f"'sha256-{digest}'"
    assert set(policy.values()) == {"'none'"}
    assert policy.keys() == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert not re.search("src=|<script|<link|url", answer.text)


# Another site in the viewer's browser


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost.evil.example",
        "192.168.1.5",
        "",
        "a, 127.0.0.1",
        "127.0.0.1:8000:9",
        "[::1",
        "127.0.0.1/",
        "[fe80::1]",
        "[::ffff:192.168.1.5]:8000",
        "[evil.example]",
        "::1",
        "0.0.0.0:8000",
        "2130706433",
        "0x7f000001",
        "127.0.0.1:",
        "127.0.0.1:-1",
        "127.0.0.1:800000",
    ],
)
async def test_dns_rebinding_is_refused(client: httpx.AsyncClient, host: str) -> None:
    answer = await client.get("/api/book", headers={"host": host})
    assert answer.status_code == 421
    assert "100.01" not in answer.text


async def test_two_host_headers_are_refused(server: WebServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /api/book HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n")
    status = (await reader.readline()).split()[1]
    writer.close()
    await writer.wait_closed()
    assert status in (b"400", b"421")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST.", "[::1]:80"])
def test_our_own_names_are_known(host: str) -> None:
    assert HostCheck("127.0.0.1").accepts(host)


def test_a_public_server_is_called_by_address_or_its_own_name() -> None:
    check = HostCheck("book.example")
    assert check.accepts("192.168.1.5:8000")
    assert check.accepts("book.example")
    assert not check.accepts("evil.example")


def test_a_public_server_is_called_by_its_name_in_the_local_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Box.office.example")
    check = HostCheck("0.0.0.0")
    for name in ("box.office.example", "box", "box.local:8000"):
        assert check.accepts(name)
    assert not check.accepts("evil.office.example")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/api/book", "/stream", "/events"])
async def test_another_sites_page_gets_nothing(
    client: httpx.AsyncClient, headers: dict[str, str], path: str
) -> None:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_link_on_another_site_may_be_followed(client: httpx.AsyncClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert (await client.get("/", headers=headers)).status_code == 200


async def test_there_is_no_cors(client: httpx.AsyncClient) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "GET"}
    preflight = await client.options("/api/book", headers=headers)
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/api/book", "/static/page.js", "/nothing", "/healthz"])
async def test_every_answer_has_the_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


# Too many or too large


async def test_a_flood_of_requests_is_refused(stranger: httpx.AsyncClient) -> None:
    codes = [(await stranger.get("/healthz")).status_code for _ in range(40)]
    assert codes[:30] == [200] * 30
    assert set(codes[31:]) == {429}


def test_an_address_gets_its_share_back_with_time() -> None:
    check = RateCheck(2.0, 3)
    assert [check.allows("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert check.allows("b", 0.0)
    assert [check.allows("a", 1.0) for _ in range(3)] == [True, True, False]


def test_a_million_addresses_take_no_memory() -> None:
    check = RateCheck(2.0, 3)
    for number in range(10_000):
        check.allows(str(number), 0.0)
    assert len(check._buckets) <= 4096


async def test_one_viewer_too_many_is_refused(guarded: WebServer) -> None:
    target = f"/stream?token={TOKEN}"
    async with (
        asyncio.timeout(60),
        watching(guarded.port, target) as one,
        watching(guarded.port, target) as two,
    ):
        await one.message()
        await two.message()
        async with watching(guarded.port, target) as three:
            assert (one.status, two.status, three.status) == (200, 200, 429)


async def test_one_connection_too_many_is_hung_up_on(library: HandLibrary) -> None:
    limits = Limits(connections=20, silent_s=600.0)
    server = WebServer(library, WebOptions(port=0, limits=limits))
    await server.start()
    async with asyncio.timeout(60):
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(21)]
        ended = [asyncio.create_task(until_ended(reader)) for reader, _ in opened]
        done, _ = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*ended)
    await server.close()


async def test_a_connection_without_a_request_is_hung_up_on(guarded: WebServer) -> None:
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        await until_ended(reader)
        writer.close()


async def test_an_old_stream_is_ended(library: HandLibrary) -> None:
    limits = replace(Limits(), stream_age_s=0.0)
    server = WebServer(library, WebOptions(port=0, limits=limits))
    await server.start()
    async with asyncio.timeout(60), watching(server.port, "/stream") as viewer:
        await viewer.event()
        with pytest.raises(EOFError):
            await viewer.event()
    await server.close()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/book?symbol=" + "A" * 600, 414),
        ("/" + "a/" * 300, 414),
        ("/api/book?" + "a=1&" * 120, 200),
    ],
)
async def test_an_address_that_is_too_long_is_refused(
    client: httpx.AsyncClient, target: str, status: int
) -> None:
    assert (await client.get(target)).status_code == status


async def test_a_head_that_is_too_long_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"x-long": "a" * 100_000})
    assert answer.status_code == 431


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "EVIL"])
@pytest.mark.parametrize("path", ["/", "/api/book", "/static/page.js"])
async def test_no_method_writes(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await client.request(method, path)).status_code == 405


async def test_a_request_with_a_body_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.request("GET", "/api/book", content=b"x" * 100)).status_code == 413


# Methods, bodies and paths


@pytest.mark.parametrize(
    "symbol",
    [
        "../../etc/passwd",
        "BTC/USDT/ETH",
        "BTC'; DROP TABLE",
        "{$gt: ''}",
        "<script>alert(1)</script>",
        "BTC\x00USDT",
        "BTC\r\nSet-Cookie: a=b",
        "{{7*7}}",
        "%",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/book", "/stream", "/events"])
async def test_an_invalid_symbol_is_refused(
    client: httpx.AsyncClient, path: str, symbol: str
) -> None:
    answer = await client.get(path, params={"symbol": symbol}, headers={"accept": "text/html"})
    assert answer.status_code in (404, 422)
    assert "set-cookie" not in answer.headers
    if answer.headers["content-type"].startswith("text/html"):
        assert "<script>alert" not in answer.text
        assert " 49 " not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../page.html",
        "/static/..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/templates/page.html",
        "/static//etc/passwd",
        "/static/htmx",
    ],
)
async def test_only_files_of_the_page_are_served(server: WebServer, path: str) -> None:
    async with watching(server.port, path) as viewer:
        assert viewer.status == 404
