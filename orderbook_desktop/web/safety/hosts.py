"""Checks of the host that a request names, and of the proxy that passed it on.

In an attack by DNS rebinding a page of another site makes its own name resolve to this server,
and the Host header names that site; such a request is refused. An address in digits can't be
rebound, and the server's own names are known.
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
    """Whether only this computer can reach `host`, an address or a name to listen on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class HostCheck:
    """Checks the Host header of requests to a server that listens on `host`."""

    def __init__(self, host: str) -> None:
        self._loopback_only = is_loopback(host)
        self._names = {"localhost"}
        if not self._loopback_only:
            self._names |= _own_names(host)

    def accepts(self, header: str) -> bool:
        """Whether this Host header names our server."""
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
    """Checks whether a browser connected by https to a proxy in front of this server.

    The header of a proxy counts if the proxy is on this computer or within `network`, an address
    or a network in digits (empty: no network). A header from another address may be forged.
    """

    def __init__(self, network: str) -> None:
        self._network = ipaddress.ip_network(network, strict=False) if network else None

    def is_https(self, address: str, headers: Mapping[str, str]) -> bool:
        """Whether the request from `address` with `headers` (lower-case names) came by https."""
        if not self._is_proxy(address):
            return False
        forwarded = _FORWARDED_PROTO.search(headers.get("forwarded", ""))
        # Each proxy on the way appends an entry, so the first one is about the browser.
        first_entry = headers.get("x-forwarded-proto", "").partition(",")[0]
        protocol = forwarded[1] if forwarded else first_entry
        return protocol.strip().lower() == "https"

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        # A socket for both versions writes an IPv4 address as a mapped IPv6 address.
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return parsed.is_loopback or (self._network is not None and parsed in self._network)


def _own_names(host: str) -> set[str]:
    own = socket.gethostname()
    # In the local network the first part of a long host name has the suffix `.local`.
    names: Iterable[str] = (host, own, own.partition(".")[0])
    return {variant for name in names for variant in (name.lower(), f"{name.lower()}.local")}
