"""What can go wrong with the browser view, as sentences for the person who wanted it.

KnownError
├── CannotServe         the address could not be opened
│   └── PortTaken       … because another program listens there
├── TooMany             one more viewer or symbol than the limits allow
└── Closing             the browser view is ending
"""

from __future__ import annotations

from orderbook_desktop.core.errors import KnownError


class CannotServe(KnownError):
    """The browser view could not open its address; `reason` is mostly the system's."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        self.reason = reason
        super().__init__(host, port, reason)

    def __str__(self) -> str:
        return (
            f"The browser view cannot listen on {self.host} port {self.port} ({self.reason}); "
            "choose another address or another port."
        )


class PortTaken(CannotServe):
    """Another program listens there: `user` names it, `free_port` can be had (0: none found)."""

    def __init__(self, host: str, port: int, user: str, free_port: int) -> None:
        super().__init__(host, port, f"used by {user}")
        self.user = user
        self.free_port = free_port

    def __str__(self) -> str:
        advice = f"port {self.free_port} is free" if self.free_port else "choose another port"
        return f"Port {self.port} is used by {self.user}; {advice}."


class TooMany(KnownError):
    """One more of `what` than the `limit` allows."""

    def __init__(self, what: str, limit: int) -> None:
        self.what = what
        self.limit = limit
        super().__init__(what, limit)

    def __str__(self) -> str:
        return f"There are {self.limit} {self.what} already, which is the limit; try again later."


class Closing(KnownError):
    """The browser view is ending: nothing more is followed for anybody."""

    def __str__(self) -> str:
        return "The browser view is being switched off."
