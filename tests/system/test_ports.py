from __future__ import annotations

import os
import random
import socket
from types import SimpleNamespace

import psutil
import pytest

from orderbook_desktop.system import ports
from orderbook_desktop.system.ports import (
    holder_of_port,
    is_free,
    is_listening,
    named_process,
    private_port,
)


def test_a_private_port_is_free_and_below_those_of_connections() -> None:
    port = private_port()
    assert is_free(port)
    assert 1024 < port < 32_768


async def test_a_listener_is_seen() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        assert not await is_listening(port)
        held.listen()
        assert not is_free(port)
        assert await is_listening(port)


def test_no_port_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_PRIVATE", range(port, port + 1))
        monkeypatch.setattr(random, "sample", lambda numbers, k: list(numbers)[:k])
        with pytest.raises(OSError, match="no free port"):
            private_port()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_the_holder_of_a_port_is_told(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as held:
        held.bind((host, 0))
        port = held.getsockname()[1]
        # It does not listen yet.
        assert holder_of_port(port) == "another program"
        held.listen()
        assert holder_of_port(port).startswith(f"process {os.getpid()} (")


def test_a_holder_that_the_system_hides_is_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = SimpleNamespace(status=psutil.CONN_LISTEN, laddr=("127.0.0.1", 7), pid=None)
    monkeypatch.setattr(psutil, "net_connections", lambda **_kind: [hidden])
    assert holder_of_port(7) == "a program of another user"

    def refuse(**_kind: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert holder_of_port(7) == "another program"


def test_a_process_without_a_command_line_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_process: psutil.Process) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "cmdline", refuse)
    name = psutil.Process().name()
    assert named_process(os.getpid()) == f"process {os.getpid()} ({name})"
    monkeypatch.setattr(psutil.Process, "name", refuse)
    assert named_process(os.getpid()) == f"process {os.getpid()}"
