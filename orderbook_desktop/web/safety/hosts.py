"""The Host header: a page of another site that was made to resolve to us is not answered.

In such an attack (DNS rebinding) the header names the attacker's site. An address written
in digits cannot be rebound, and the names that are served are known.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Final

_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?")


def is_loopback(host: str) -> bool:
    """Whether `host`, an address or a name to listen on, is reached from this computer only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class HostCheck:
    """Knows by which names a server that listens on `host` may be called."""

    def __init__(self, host: str) -> None:
        self._loopback_only = is_loopback(host)
        self._names = {"localhost"}
        if not self._loopback_only:
            self._names |= _own_names(host)

    def accepts(self, header: str) -> bool:
        """Whether a request with this Host header is meant for us."""
        match = _HOST.fullmatch(header)
        if match is None:
            return False
        name = match[1].lower().rstrip(".").strip("[]")
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return address.is_loopback or not self._loopback_only


def _own_names(host: str) -> set[str]:
    own = socket.gethostname()
    # Also where it is a long one the local network's `.local` follows its first part.
    names: Iterable[str] = (host, own, own.partition(".")[0])
    return {variant for name in names for variant in (name.lower(), f"{name.lower()}.local")}
