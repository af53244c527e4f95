"""How a server is to be reached."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orderbook_desktop.web.limits import Limits
from orderbook_desktop.web.safety.hosts import is_loopback
from orderbook_desktop.web.safety.tokens import new_token


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
