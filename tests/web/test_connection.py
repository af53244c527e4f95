"""Connections that stay open, are misused, or stall."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from orderbook_desktop.web.options import Limits, WebOptions
from orderbook_desktop.web.server import WebServer
from tests.web.hand_library import HandLibrary
from tests.web.reader import until_ended, watching

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")

_SCRIPT = """
import resource, sys
from orderbook_desktop.web.connection import room_for
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(room_for(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.fixture
async def hasty(library: HandLibrary) -> AsyncIterator[WebServer]:
    """A server with short time limits."""
    serving = WebServer(library, WebOptions(port=0, limits=Limits(silent_s=3.0)))
    await serving.start()
    try:
        yield serving
    finally:
        await serving.close()


_BODY = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize("slow", [b"GET / HTTP/1.1\r\nX-Slow: ", b"GE", _BODY + b"x"])
async def test_a_later_request_that_never_ends_is_hung_up_on_too(
    hasty: WebServer, slow: bytes
) -> None:
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        await reader.readuntil(b'{"status":"ok"}')
        writer.write(slow)
        await until_ended(reader)
        writer.close()


_CHUNKED = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"


# A record at WARNING or above, such as a traceback, fails the test.
@pytest.mark.parametrize("at_once", [True, False])
async def test_nonsense_in_a_body_is_refused_and_leaves_no_traceback(
    hasty: WebServer, at_once: bool
) -> None:
    loop, messages = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: messages.append(context["message"]))
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
        writer.write(_CHUNKED + b"nonsense\r\n" * at_once)
        assert (await reader.readline()).split()[1] in (b"400", b"405")
        writer.write(b"nonsense\r\n")
        await until_ended(reader)
        writer.close()
    async with asyncio.timeout(60), watching(hasty.port, "/healthz") as viewer:
        assert viewer.status == 200
    gc.collect()
    assert messages == []


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "given", "soft_after"),
    [
        (256, 1024, 500, 500, 700),
        (256, 1024, 1500, 824, 1024),
        (1000, 1024, 500, 500, 1000),
        (100, 100, 500, 1, 100),
    ],
)
def test_the_limit_of_open_files_is_raised_for_the_connections(
    soft: int, hard: int, wanted: int, given: int, soft_after: int
) -> None:
    command = [sys.executable, "-c", _SCRIPT, *map(str, (soft, hard, wanted))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [int(number) for number in done.stdout.split()] == [given, soft_after, hard]
