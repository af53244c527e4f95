"""The proxy that the environment names for an address, understood before it is used.

The variables are those of other programs: HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, in upper or lower
case, with exceptions in NO_PROXY. On Windows and macOS the system's settings count where none of
these is set. An address without a scheme is that of an HTTP proxy. Secrets in an address are
neither shown nor logged.
"""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.exchange.errors import BadProxy

_SYSTEM: Final = "the system's settings"
# RFC 6455, "Client Requirements": a proxy for HTTPS suits a websocket best, because it forwards
# any bytes.
_NAMES: Final = {
    "https": ("https", "all"),
    "http": ("http", "all"),
    "wss": ("wss", "https", "all"),
    "ws": ("ws", "https", "http", "all"),
}
_PORTS: Final = {"http": 80, "https": 443}
_host_name: Final = re.compile(r"[\w.:-]{1,253}(%\w+)?", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy at `address`, without the credentials, and the `variable` that names it."""

    variable: str
    address: str
    user: str | None = None
    password: str = field(default="", repr=False)

    @property
    def address_with_credentials(self) -> str:
        """The address with the credentials, for a library; never show it."""
        if self.user is None:
            return self.address
        scheme, _, rest = self.address.partition("://")
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{rest}"


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy to use for `url`; None where it is reached directly.

    Raises `BadProxy` where the value of a variable can't be used as a proxy.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None  # The caller reports that this is no address.
    named = _named(parts.scheme, environment)
    if named is None or not host or _is_excepted(host, port, environment):
        return None
    return _understood(*named)


def _named(scheme: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the variable that names a proxy for `scheme`, and its value."""
    names = _NAMES.get(scheme, ())
    for name in names:
        for variable in (f"{name}_proxy", f"{name}_proxy".upper()):
            # An empty variable switches off the other spelling.
            if variable in environment:
                value = environment[variable].strip()
                if value:
                    return variable, value
                break
    is_said_by_environment = any(name.lower().endswith("_proxy") for name in environment)
    if sys.platform in ("win32", "darwin") and not is_said_by_environment:
        of_system = urllib.request.getproxies()
        for name in (*names, "socks"):
            if value := of_system.get(name):
                return _SYSTEM, value
    return None


def _is_excepted(host: str, port: int | None, environment: Mapping[str, str]) -> bool:
    exceptions = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    place = host if port is None else f"{host}:{port}"
    if exceptions.strip():
        # It is not in the type stubs, and only its name is documented; aiohttp relies on it.
        bypass: Any = vars(urllib.request)["proxy_bypass_environment"]
        return bool(bypass(place, {"no": exceptions.strip()}))
    return sys.platform in ("win32", "darwin") and bool(urllib.request.proxy_bypass(place))


def _understood(variable: str, value: str) -> Proxy:
    text = value if "://" in value else f"http://{value}"
    scheme = text.partition("://")[0].lower()
    if scheme.startswith("socks"):
        raise BadProxy(variable, "names a SOCKS proxy, which this program can't use")
    if scheme not in _PORTS:
        raise BadProxy(variable, f"begins with {plain_text(scheme, 20)}://")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or _PORTS[scheme]
    except ValueError:  # The port is no number, or a bracket is left open.
        raise BadProxy(variable, "has no usable host and port") from None
    is_more = parts.path not in ("", "/") or parts.query or parts.fragment
    if host is None or not _host_name(host) or parts.port == 0 or is_more:
        raise BadProxy(variable, "has no usable host and port")
    shown = f"[{host}]" if ":" in host else host
    user = None if parts.username is None else unquote(parts.username)
    if user is not None and ":" in user:
        raise BadProxy(variable, "has a user name with a colon")
    password = unquote(parts.password or "")
    try:
        f"{user}{password}".encode()
    except UnicodeEncodeError:
        raise BadProxy(variable, "has a user name or password that is not UTF-8") from None
    return Proxy(variable, f"{scheme}://{shown}:{port}", user, password)
