"""Opening a stream: refusals, bad addresses, TLS, and servers that aren't the exchange."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from email.utils import formatdate
from time import time

import pytest

from orderbook_desktop.core.sources import StreamBroken
from orderbook_desktop.exchange import stream_group
from orderbook_desktop.exchange.errors import (
    RateLimited,
    RegionBlocked,
    UnexpectedAnswer,
    Unreachable,
)

from .listener import listening, streams_of, until
from .scripted_server import scripted_server

BTC, ETH = "BTCUSDT", "ETHUSDT"


@pytest.mark.parametrize("status", [403, 418, 429])
@pytest.mark.expects_log("fewer requests|banned|firewall")
async def test_a_handshake_told_to_wait_waits(status: int) -> None:
    async with scripted_server() as script, streams_of(script.ws_url) as streams:
        script.refusals.append((status, {"Retry-After": "1"}))
        date = formatdate(time() + 3_000, usegmt=True)
        script.refusals.append((status, {"Retry-After": date}))
        async with listening(streams, BTC) as btc:
            await until(lambda: len(btc.broken) == 2)
    assert script.attempts[1] - script.attempts[0] >= 0.95
    assert len(script.attempts) == 2
    soon, late = (one.problem for one in btc.broken)
    assert isinstance(soon, RateLimited)
    assert soon.retry_after_s == 1
    assert isinstance(late, RateLimited)
    assert 2_000 < late.retry_after_s <= 3_000


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (451, RegionBlocked),
        (502, Unreachable),
        (404, UnexpectedAnswer),
        (200, UnexpectedAnswer),
    ],
)
@pytest.mark.allows_log("exchange.stream_group")
async def test_a_refused_handshake_is_told_with_its_sentence(status: int, kind: type) -> None:
    async with scripted_server() as script, streams_of(script.ws_url) as streams:
        script.refusals.append((status, {}))
        async with listening(streams, BTC) as btc:
            await until(lambda: btc.connected)
    assert isinstance(btc.broken[0].problem, kind)
    assert str(btc.broken[0].problem) == btc.broken[0].detail
    if kind is not Unreachable:
        assert "ORDERBOOK_WS_URL" in btc.broken[0].detail


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "http://127.0.0.1:9", "ws://127.0.0.1:99999", "ws://", "ws://[::1"],
)
@pytest.mark.allows_log("exchange")
async def test_a_bad_address_is_told(url: str) -> None:
    async with streams_of(url) as streams, listening(streams, BTC) as btc:
        await until(lambda: btc.broken)
    assert isinstance(btc.broken[0].problem, UnexpectedAnswer)


@pytest.mark.expects_log("can't be reached")
async def test_tls_to_a_server_that_has_none_is_told() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with streams_of(f"wss://127.0.0.1:{port}") as streams, listening(streams, BTC) as btc:
            await until(lambda: btc.broken)
    assert "TLS" in btc.broken[0].detail


@pytest.mark.expects_log("certificate is not accepted: self-signed certificate")
async def test_a_certificate_that_is_not_trusted_is_told(self_signed: ssl.SSLContext) -> None:
    async with scripted_server(ssl=self_signed) as script:
        url = script.ws_url.replace("ws://", "wss://")
        async with streams_of(url) as streams, listening(streams, BTC) as btc:
            await until(lambda: btc.broken)
    assert isinstance(btc.broken[0].problem, Unreachable)


@pytest.mark.expects_log("can't be reached .*refused")
async def test_a_refused_connection_is_tried_with_growing_pauses(
    unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = iter((0.0, 0.01, 0.02, 3600.0))
    monkeypatch.setattr(stream_group, "backoff_delays", lambda: pauses)
    url = f"ws://127.0.0.1:{unused_port}"
    async with streams_of(url) as streams, listening(streams, BTC) as btc:
        await until(lambda: len(btc.broken) == 4)
        await asyncio.sleep(0.1)
        assert len(btc.broken) == 4
    assert next(pauses, None) is None


@pytest.mark.expects_log("closed the connection at once|connection reset")
async def test_a_connection_reset_in_the_handshake_is_no_answer() -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with streams_of(f"ws://127.0.0.1:{port}") as streams, listening(streams, BTC) as btc:
            await until(lambda: btc.broken)
    assert isinstance(btc.broken[0].problem, Unreachable)


@pytest.mark.expects_log("HTTP 503")
async def test_who_comes_while_there_is_no_connection_is_told_why() -> None:
    async with scripted_server() as script, streams_of(script.ws_url) as streams:
        script.refusals.extend([(503, {})] * 2)
        async with listening(streams, BTC) as btc:
            await until(lambda: btc.broken)
            async with listening(streams, ETH) as eth:
                await until(lambda: eth.items)
                assert isinstance(eth.items[0], StreamBroken)
                await until(lambda: eth.connected and btc.connected)
