"""How a server is to be reached, and how much it serves at most; a public door needs bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orderbook_desktop.web.safety.hosts import is_loopback
from orderbook_desktop.web.safety.tokens import new_token


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server. Times in seconds.

    `viewers` are open streams, of all symbols; `markets` are symbols followed at once because
    viewers asked for them.
    `requests_per_s` and `request_burst` are per client address. `stream_age_s` is when a
    stream is ended (the browser opens the next one by itself). `stalled_s` is how long a
    viewer may take nothing, `silent_s` how long a connection may be open without a request.
    `target_bytes` bounds path and query, `head_bytes` a request's whole head. `parting_s` is
    how long a client that was refused may go on sending before it is hung up on.
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
    """Address, token and bounds. An empty `token`: none on this computer's own address.

    Any address that others can reach gets a new token where none is given: call
    `guarded()` before use. The token is left out of the `repr`. `proxy` is the address or
    network of a proxy with https before us; empty: it is on this computer, or there is none.
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
