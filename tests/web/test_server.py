"""The server on a real port: streams, compression, resuming, crowds, and its end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.connection import BoundedConnection
from orderbook_desktop.web.errors import CannotServe, PortTaken
from orderbook_desktop.web.options import Limits, WebOptions
from orderbook_desktop.web.server import WebServer, listen
from tests.web.hand_library import HandLibrary
from tests.web.reader import Merged, watching


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_a_stream_is_one_book_then_changes(
    server: WebServer, library: HandLibrary, encoding: str
) -> None:
    merged = Merged()
    async with (
        asyncio.timeout(60),
        watching(server.port, "/stream?symbol=BTCUSDT", accept_encoding=encoding) as viewer,
    ):
        assert viewer.status == 200
        assert viewer.headers["content-type"].startswith("text/event-stream")
        assert viewer.headers["cache-control"] == "no-store"
        assert viewer.headers.get("content-encoding", "") == encoding
        merged.take(await viewer.message())
        for size in ("5", "0", "6"):
            library.btc.change(bids=[("100.02", size)], asks=[("101.00", "0")])
            message = await viewer.message()
            assert message["kind"] == "diff"
            merged.take(message)
    assert [str(price) for price in sorted(merged.sides["bids"])] == [
        "99.5", "100", "100.01", "100.02",
    ]  # fmt: skip
    assert len(merged.sides["asks"]) == 2


async def test_html_fragments_are_unnamed_events(server: WebServer, library: HandLibrary) -> None:
    async with (
        asyncio.timeout(60),
        watching(server.port, "/events?symbol=BTC/USDT&group=0.1") as viewer,
    ):
        await viewer.event()
        event = await viewer.event()
        assert not any(line.startswith("event:") for line in event.lines)
        assert ">100.1<" in event.data
        library.btc.change(asks=[("105.00", "77")])
        assert ">77.00000<" in (await viewer.event()).data


async def test_a_viewer_that_comes_back_goes_on_where_it_was(
    server: WebServer, library: HandLibrary
) -> None:
    async with asyncio.timeout(60):
        async with watching(server.port, "/stream") as viewer:
            await viewer.event()
            seen = (await viewer.event()).id
        library.btc.change(bids=[("100.02", "5")])
        async with watching(server.port, "/stream", last_event_id=seen) as viewer:
            message = await viewer.message()
            assert (message["kind"], message["bids"]) == ("diff", [["100.02", "5"]])
        for strange in ("00000000-1", "x", f"{seen}9", f"{seen[:8]}-²"):
            async with watching(server.port, "/stream", last_event_id=strange) as viewer:
                assert (await viewer.message())["kind"] == "book"


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_the_end_of_the_server_is_a_clean_end_of_the_stream(
    library: HandLibrary, encoding: str
) -> None:
    server = WebServer(library, WebOptions(port=0))
    await server.start()
    async with (
        asyncio.timeout(60),
        watching(server.port, "/stream", accept_encoding=encoding) as viewer,
    ):
        await viewer.message()
        closing = asyncio.create_task(server.close())
        with pytest.raises(EOFError):
            await viewer.message()
        await closing
        assert viewer.complete is bool(encoding)
    assert library.loans == 0
    assert server.viewers == 0


async def test_no_new_client_is_let_in_while_the_server_ends(library: HandLibrary) -> None:
    server = WebServer(library, WebOptions(port=0))
    await server.start()
    async with asyncio.timeout(60), watching(server.port, "/stream") as viewer:
        await viewer.message()
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        with pytest.raises(OSError):  # noqa: PT011 (which one depends on the system)
            await asyncio.open_connection("127.0.0.1", server.port)
        await closing


async def test_viewers_that_leave_are_not_counted(server: WebServer) -> None:
    async with asyncio.timeout(60):
        async with watching(server.port, "/stream") as one, watching(server.port, "/events") as two:
            await one.event()
            await two.event()
            assert server.viewers == 2
        while server.viewers:
            await asyncio.sleep(0.01)


async def test_a_stalled_viewer_delays_no_other_and_is_dropped(
    library: HandLibrary,
) -> None:
    server = WebServer(library, WebOptions(port=0, limits=Limits(stalled_s=3.0)))
    await server.start()
    try:
        async with asyncio.timeout(60), watching(server.port, "/stream") as good:
            await good.message()
            stalled = await _viewer_that_takes_nothing(server)
            number = 0
            while server.viewers == 2:
                number += 1
                _change_much(library, number)
                assert (await good.message())["kind"] == "diff"
            stalled.close()
    finally:
        await server.close()


async def test_a_stalled_viewer_does_not_delay_the_end(
    library: HandLibrary,
) -> None:
    server = WebServer(library, WebOptions(port=0))
    await server.start()
    assert server._server is not None
    connections, number = server._server.server_state.connections, 0
    # A log record about tasks that had to be cancelled would fail the test.
    async with asyncio.timeout(60):
        stalled = await _viewer_that_takes_nothing(server)
        while not any(one.is_stalled for one in connections if isinstance(one, BoundedConnection)):
            number += 1
            _change_much(library, number)
            await asyncio.sleep(0.01)
        await server.close()
        stalled.close()
    assert library.loans == 0
    assert not connections


async def _viewer_that_takes_nothing(server: WebServer) -> socket.socket:
    """Return the socket of a further viewer that reads nothing; close it at the end."""
    stalled, loop, before = socket.socket(), asyncio.get_running_loop(), server.viewers
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.setblocking(False)
    await loop.sock_connect(stalled, ("127.0.0.1", server.port))
    request = f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
    await loop.sock_sendall(stalled, request.encode())
    while server.viewers == before:
        await asyncio.sleep(0.01)
    return stalled


def _change_much(library: HandLibrary, number: int) -> None:
    library.btc.change(asks=[(f"{100 + price}.05", str(number)) for price in range(9000)])


@pytest.mark.expects_log("look at the books for viewers ended unexpectedly")
async def test_a_bug_that_stops_the_streams_is_logged(
    server: WebServer, library: HandLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    def fail(_channel: Channel) -> bool:
        failed.set()
        raise ZeroDivisionError

    async with asyncio.timeout(60), watching(server.port, "/stream") as viewer:
        await viewer.message()
        monkeypatch.setattr(Channel, "look", fail)
        await failed.wait()
        await asyncio.sleep(0)


async def test_a_taken_port_names_its_holder_and_offers_another(library: HandLibrary) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = WebServer(library, WebOptions(port=port))
        with pytest.raises(PortTaken) as caught:
            await server.start()
        await server.close()
    assert f"process {os.getpid()}" in str(caught.value)
    assert caught.value.free_port > port
    assert f"port {caught.value.free_port} is free" in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="scripts have no interpreter line there")
def test_the_program_that_has_the_port_is_named_in_full(tmp_path: Path) -> None:
    script = tmp_path / "a-program-with-a-long-name"
    script.write_text(
        f"#!{sys.executable}\n"
        "import socket, sys\n"
        "with socket.create_server(('127.0.0.1', 0)) as taken:\n"
        "    print(taken.getsockname()[1], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    script.chmod(0o700)
    pipe = subprocess.PIPE
    with subprocess.Popen([script], stdin=pipe, stdout=pipe) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        with pytest.raises(PortTaken) as caught:
            listen("127.0.0.1", port)
        program.communicate()
    assert f"used by process {program.pid} ({script.name});" in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (socket.gaierror(-2, "Name or service not known"), "it is no address of this computer"),
        (UnicodeError("label empty or too long"), "it is no address of this computer"),
        (OSError(errno.EADDRNOTAVAIL, "…"), "requested address"),
        (PermissionError(errno.EACCES, "…"), "Permission denied"),
        (OSError("getsockaddrarg: bad family"), "bad family"),
        (TimeoutError(), "TimeoutError"),
    ],
)
async def test_an_unusable_address_is_refused_in_a_sentence(
    library: HandLibrary, monkeypatch: pytest.MonkeyPatch, failure: Exception, sentence: str
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise failure

    server = WebServer(library, WebOptions(host="book.example", port=80))
    with monkeypatch.context() as patch:
        patch.setattr("orderbook_desktop.web.server.socket.getaddrinfo", fail)
        with pytest.raises(CannotServe, match=f"cannot listen on book.example port 80.*{sentence}"):
            await server.start()


async def test_the_server_can_be_started_again(library: HandLibrary) -> None:
    server = WebServer(library, WebOptions(port=0))
    await server.start()
    await server.close()
    await server.close()
    await server.start()
    async with asyncio.timeout(60), watching(server.port, "/healthz") as viewer:
        assert viewer.status == 200
    await server.close()


async def test_the_token_is_in_the_link_only(library: HandLibrary) -> None:
    options = WebOptions(port=0, token="t" * 20).guarded()
    server = WebServer(library, options)
    assert server.link.endswith("/?token=" + "t" * 20)
    assert "t" * 20 not in server.address
    assert "t" * 20 not in repr(options)
