"""Which address of this computer others can use in a link."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import psutil

_ANY: Final = ("0.0.0.0", "::", "")  # noqa: S104


def link_host(host: str) -> str:
    """Return what to write in a link for a server that listens on `host`."""
    if host in _ANY:
        return _lan_address() or "127.0.0.1"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _lan_address() -> str:
    """Return the address in the local network, or any other but loopback, or nothing."""
    found = []
    running = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        if name not in running or not running[name].isup:
            continue
        for address in addresses:
            if address.family == socket.AF_INET:
                parsed = ipaddress.ip_address(address.address)
                if not (parsed.is_loopback or parsed.is_link_local):
                    found.append((not parsed.is_private, address.address))
    return min(found)[1] if found else ""
