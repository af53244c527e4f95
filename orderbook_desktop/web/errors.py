"""The known errors of the browser view.

KnownError
├── CannotServe         the address could not be opened
│   └── PortTaken       … because another program listens there
├── TooMany             one more viewer or symbol than the limits allow
├── Unreadable          recorded trades can't be read now
└── Closing             the browser view is ending
"""

from __future__ import annotations

from orderbook_desktop.core.errors import KnownError


class CannotServe(KnownError):
    """The browser view could not open its address; `reason` is mostly the system's text."""

    host: str
    port: int
    reason: str

    def __str__(self) -> str:
        return (
            f"The browser view cannot listen on {self.host} port {self.port} ({self.reason}); "
            "choose another address or another port."
        )


class PortTaken(CannotServe):
    """Another program, `user`, listens on the port; `free_port` is a free one (0: none found)."""

    def __init__(self, host: str, port: int, user: str, free_port: int) -> None:
        super().__init__(host, port, f"used by {user}")
        self.user = user
        self.free_port = free_port

    def __str__(self) -> str:
        advice = f"port {self.free_port} is free" if self.free_port else "choose another port"
        return f"Port {self.port} is used by {self.user}; {advice}."


class TooMany(KnownError):
    """A request would exceed the `limit` of `what`, which is a plural noun."""

    what: str
    limit: int

    def __str__(self) -> str:
        return f"There are {self.limit} {self.what} already, which is the limit; try again later."


class Unreadable(KnownError):
    """Recorded trades can't be read now; `reason` is the sentence that says why."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class Closing(KnownError):
    """The browser view is ending, and follows no further symbol."""

    def __str__(self) -> str:
        return "The browser view is being switched off."
