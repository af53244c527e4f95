"""Tests see nothing of the person who runs them, and reach no other machine.

Home and data folders are temporary, the program's settings are unset, and only addresses of
this machine can be connected to. (Child processes inherit the former, not the latter.)
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_SETTINGS = ("SYMBOL", "MONGO_DSN", "DB_NAME", "ENV")
_HOMES = {
    "HOME": ".",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "XDG_CACHE_HOME": "cache",
    # Windows
    "USERPROFILE": ".",
    "WIN_PD_OVERRIDE_APPDATA": "config",
    "WIN_PD_OVERRIDE_LOCAL_APPDATA": "data",
}


@pytest.fixture(autouse=True)
def fresh_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give every test an empty home folder of its own, and no settings; return the folder."""
    home = tmp_path_factory.mktemp("home")
    for name, folder in _HOMES.items():
        monkeypatch.setenv(name, str(home / folder))
    for name in list(os.environ):
        if name in _SETTINGS or name.startswith("ORDERBOOK_"):
            monkeypatch.delenv(name)
    return home


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every other machine's address, and fail the test that tried one.

    It fails even where the code under test takes the refusal for a network error.
    """
    attempts: list[str] = []

    def guarded(original: Callable[..., Any], host_of: Callable[..., object]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            host = host_of(*args, **kwargs)
            if not _is_local(host):
                attempts.append(str(host))
                raise ConnectionRefusedError(f"tests reach 127.0.0.1 only, not {host}")
            return original(*args, **kwargs)

        return call

    def peer(sock: socket.socket, *args: Any) -> object:
        # The address comes last: connect(address), sendto(data[, flags], address).
        internet = sock.family in (socket.AF_INET, socket.AF_INET6)
        return args[-1][0] if internet else None

    for method in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, method, guarded(getattr(socket.socket, method), peer))
    monkeypatch.setattr(
        socket, "getaddrinfo", guarded(socket.getaddrinfo, lambda host, *_args, **_options: host)
    )
    yield
    if attempts:
        pytest.fail(f"tried to reach {', '.join(attempts)}", pytrace=False)


def _is_local(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or host in ("", "localhost"):
        return True
    try:
        str(host).encode("idna")
    except UnicodeError:
        return True  # No name at all: Python refuses it before it looks it up.
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False
