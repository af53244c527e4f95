"""Whom a request is meant for, and who passed it on.

A page of another site that was made to resolve to us is not answered: in such an attack (DNS
rebinding) the Host header names the attacker's site. An address written in digits cannot be
rebound, and the names that are served are known.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Final

_FORWARDED_PROTO: Final = re.compile(r'(?:^|[;,])\s*proto\s*=\s*"?([a-z]+)"?', re.IGNORECASE)
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


class ProxyCheck:
    """Knows whether a browser came by https, to a proxy before us that says so.

    The word of a proxy on this computer counts, and of one within `network`, an address or a
    network in digits (empty: of no other). Anybody else may only claim it.
    """

    def __init__(self, network: str) -> None:
        self._network = ipaddress.ip_network(network, strict=False) if network else None

    def is_https(self, address: str, headers: Mapping[str, str]) -> bool:
        """Whether a request from `address` with these headers (by lower-case name) came so."""
        if not self._is_proxy(address):
            return False
        told = _FORWARDED_PROTO.search(headers.get("forwarded", ""))
        # Each proxy on the way adds its own: the first is the browser's.
        protocol = told[1] if told else headers.get("x-forwarded-proto", "").partition(",")[0]
        return protocol.strip().lower() == "https"

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        # How a socket for both names an address of version 4.
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return parsed.is_loopback or (self._network is not None and parsed in self._network)


def _own_names(host: str) -> set[str]:
    own = socket.gethostname()
    # Also where it is a long one the local network's `.local` follows its first part.
    names: Iterable[str] = (host, own, own.partition(".")[0])
    return {variant for name in names for variant in (name.lower(), f"{name.lower()}.local")}
