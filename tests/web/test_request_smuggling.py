"""Requests that two programs would read differently get one answer at most, and the end."""

from __future__ import annotations

import asyncio
import re

import pytest

from orderbook_desktop.web.server import WebServer

_HOST = b"Host: 127.0.0.1\r\n"
_HIDDEN = b"GET /api/book HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_PLAIN = b"GET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n"


async def _answers(server: WebServer, *parts: bytes) -> list[int]:
    """Send parts of requests; return the statuses of all answers, once the server has hung up."""
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    statuses = re.split(rb"HTTP/1\.1 (?=\d)", received)[1:]
    assert all(b"connection: close" in one.lower() for one in statuses[-1:])
    assert all(b"x-content-type-options: nosniff" in one.lower() for one in statuses)
    return [int(one[:3]) for one in statuses]


def _get(*lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"GET /api/book HTTP/" + version, *lines)) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (_get(b"Host: 127.0.0.1", b"Content-Length: 44", b"Transfer-Encoding: chunked"), 400),
        (_get(b"Host: 127.0.0.1", b"Transfer-Encoding: chunked", b"Content-Length: 0"), 400),
        (_get(b"Host: 127.0.0.1", b"Transfer-Encoding: chunked"), 413),
        (_get(b"Host: 127.0.0.1", b"Transfer-Encoding: \x0bchunked"), 501),
        (_get(b"Host: 127.0.0.1", b"Transfer-Encoding: gzip, chunked"), 501),
        (_get(b"Host: 127.0.0.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: a"), 400),
        (_get(b"Host: 127.0.0.1", b"Transfer-Encoding : chunked"), 400),
        (_get(b"Host: 127.0.0.1", b"Transfer-Encoding: chunked", version=b"1.0"), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length: 3"), 413),
        (_get(b"Host: 127.0.0.1", b"Content-Length: 3", b"Content-Length: 3"), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length: 0", b"content-length: 44"), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length: 3, 3"), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length: +3"), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length: -1"), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length: 0x3"), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length:"), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length: " + b"9" * 30), 400),
        (_get(b"Host: 127.0.0.1", b"Content-Length: \xb3"), 400),
        (_get(b"Host: 127.0.0.1", b"Host: evil.example"), 400),
        (_get(b"Host: 127.0.0.1", b"Host: 127.0.0.1"), 400),
        (_get(b"X-No: host"), 400),
        (_get(b"Host: 127.0.0.1", b"X-Folded: a", b" b"), 400),
        (_get(b" X-Folded: a", b"Host: 127.0.0.1"), 400),
        (_get(b"Host: 127.0.0.1", b"X-Folded: a", b"\tContent-Length: 44"), 400),
        (_get(b"Host: 127.0.0.1", b"X : a"), 400),
        (_get(b"Host: 127.0.0.1", b": a"), 400),
        (_get(b"Host: 127.0.0.1", b"no colon"), 400),
        (_get(b"Host: 127.0.0.1", b"X: a\x00b"), 400),
        (_get(b"Host: 127.0.0.1", b"X: a\rContent-Length: 44"), 400),
        (_get(b"Host: 127.0.0.1", b"X: a\nContent-Length: 44"), 400),
        (_get(b"Host: 127.0.0.1", version=b"2.0"), 505),
        (_get(b"Host: 127.0.0.1", version=b"1.2"), 505),
        (_get(b"Host: 127.0.0.1", version=b"0.9"), 505),
        (_get(b"Host: 127.0.0.1", version=b"x"), 400),
        (b"GET /healthz HTTP/1.1\nHost: 127.0.0.1\n\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\rHost: 127.0.0.1\r\r", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET  /healthz HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
        (b"GET /healthz HTTP/1.1 \r\n" + _HOST + b"\r\n", 400),
        (b"GET\t/healthz HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
        (b"GET healthz HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
        (b"\r\nGET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /healthz HTTP/1.1\r\n" + _HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n" + _HOST + b"X: " + b"a" * 200_000, 431),
        (b"POST /api/book HTTP/1.1\r\n" + _HOST + b"Content-Length: 44\r\n\r\n", 405),
        (b"GET ftp://127.0.0.1/healthz HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
        (b"GET http://a@127.0.0.1/healthz HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
    ],
)
async def test_an_ambiguous_request_gets_one_answer_and_ends_the_connection(
    server: WebServer, request_head: bytes, status: int
) -> None:
    assert await _answers(server, request_head + _HIDDEN * 2) == [status]
    assert await _answers(server, request_head, _HIDDEN, _HIDDEN) == [status]


async def test_a_body_of_chunks_is_never_read(server: WebServer) -> None:
    chunked = b"GET / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    for body in (b"0\r\n\r\n", b"0;a=\n\r\n\r\n", b"3;=\r\nabc\r\n0\r\n\r\n", b"-1\r\n", b"fffff"):
        assert await _answers(server, chunked + body + _HIDDEN) == [413]


async def test_a_body_longer_than_the_read_buffer_still_gets_its_answer(
    server: WebServer,
) -> None:
    head = b"GET / HTTP/1.1\r\n" + _HOST + b"Content-Length: 4000000\r\n\r\n"
    assert await _answers(server, head, *[b"x" * 1_000_000] * 4, _HIDDEN) == [413]


async def test_a_client_that_expects_100_continue_gets_the_refusal_instead(
    server: WebServer,
) -> None:
    head = b"PUT / HTTP/1.1\r\n" + _HOST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    assert await _answers(server, head) == [405]


async def test_a_head_that_comes_byte_by_byte_is_read_as_strictly(server: WebServer) -> None:
    folded = _get(b"Host: 127.0.0.1", b"X: a", b" b")
    assert await _answers(server, *(bytes([one]) for one in folded)) == [400]
    last = b"GET /healthz HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n"
    assert await _answers(server, *(bytes([one]) for one in last)) == [200]


async def test_requests_in_a_row_are_all_answered_until_a_bad_one(server: WebServer) -> None:
    bad = b"GET / HTTP/1.1\n" + _HOST + b"\r\n"
    assert await _answers(server, _PLAIN * 3 + bad + _PLAIN) == [200, 200, 200, 400]
    body = _PLAIN.replace(b"\r\n\r\n", b"\r\nContent-Length: 44\r\n\r\n")
    assert await _answers(server, _PLAIN + body + _HIDDEN) == [200, 413]


@pytest.mark.parametrize(
    "last",
    [
        b"GET /healthz HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\n" + _HOST + b"Connection: keep-alive\r\n\r\n",
    ],
)
async def test_bytes_after_the_last_request_are_ignored(server: WebServer, last: bytes) -> None:
    for more in (_HIDDEN, b"\nnonsense", b"\x00" * 100_000):
        assert await _answers(server, last + more) == [200]


async def test_an_absolute_address_replaces_the_host_header(server: WebServer) -> None:
    for address, status in ((b"http://evil.example/healthz", 421), (b"http://[::1]/healthz", 200)):
        head = b"GET " + address + b" HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n"
        assert await _answers(server, head) == [status]


async def test_ordinary_clients_are_answered(server: WebServer) -> None:
    close = b"Connection: close\r\n\r\n"
    for head in (
        b"GET http://127.0.0.1/healthz HTTP/1.1\r\nHost: evil.example\r\n",
        b"GET HTTP://localhost/healthz?a=b HTTP/1.1\r\n" + _HOST,
        b"GET /healthz HTTP/1.1\r\n" + _HOST + b"Content-Length: 0\r\n",
        b"GET /healthz HTTP/1.1\r\n" + _HOST + b"X:\r\nY: \tspaced \t\r\n",
    ):
        assert await _answers(server, head + close) == [200]
