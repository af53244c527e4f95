"""A server's address and token, and its limits, which a public server needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from msgspec import Struct

from orderbook_desktop.web.safety.hosts import is_loopback
from orderbook_desktop.web.safety.tokens import new_token


class Limits(Struct, frozen=True):
    """Limits of one server. Times are in seconds.

    `viewers` counts open streams of all symbols. `markets` counts symbols that are followed
    because viewers asked for them. `requests_per_s` and `request_burst` are per client address.

    A stream ends after `stream_age_s`, and the browser opens a new one. A viewer may take no
    bytes for `stalled_s`, and a connection may be open without a request for `silent_s`. A
    client that was refused may go on sending for `parting_s` before the server hangs up.

    `target_bytes` limits path and query, `head_bytes` the whole head of a request.
    """

    viewers: int = 1000
    markets: int = 20
    connections: int = 1500
    requests_per_s: float = 50.0
    request_burst: int = 1000
    stream_age_s: float = 3600.0
    stalled_s: float = 30.0
    silent_s: float = 10.0
    parting_s: float = 2.0
    target_bytes: int = 512
    head_bytes: int = 16 * 1024


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Address, token and limits of one server.

    Call `guarded()` before use: an address that other computers can reach then gets a new
    token, if `token` is empty. With an empty token a loopback address needs none. The token is
    left out of the `repr`. `proxy` is the address or network of an https proxy in front of the
    server; empty: the proxy is on this computer, or there is none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = field(default="", repr=False)
    limits: Limits = field(default_factory=Limits)
    proxy: str = ""

    def guarded(self) -> WebOptions:
        """Return the same options with the token that their address requires."""
        if self.token or is_loopback(self.host):
            return self
        return replace(self, token=new_token())
