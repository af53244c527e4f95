from __future__ import annotations

import asyncio
import random
import socket

import pytest

from orderbook_desktop.system import ports
from orderbook_desktop.system.ports import is_free, is_listening, private_port


def test_a_private_port_is_free_and_below_those_of_connections() -> None:
    port = private_port()
    assert is_free(port)
    assert 1024 < port < 32_768


async def test_a_listener_is_seen() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert not is_free(port)
    assert await is_listening(port)
    server.close()
    await server.wait_closed()
    assert not await is_listening(port)


def test_no_port_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_PRIVATE", range(port, port + 1))
        monkeypatch.setattr(random, "sample", lambda numbers, k: list(numbers)[:k])
        with pytest.raises(OSError, match="no free port"):
            private_port()
