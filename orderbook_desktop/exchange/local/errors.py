"""What can go wrong with the local exchange, as sentences for the person who started it."""

from __future__ import annotations

from orderbook_desktop.core.errors import KnownError


class CannotListen(KnownError):
    """The exchange could not open its port; `reason` is the operating system's."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        self.reason = reason
        super().__init__(host, port, reason)

    def __str__(self) -> str:
        return (
            f"The local exchange cannot listen on {self.host} port {self.port} "
            f"({self.reason}); choose another port with --port."
        )


class PortInUse(CannotListen):
    """Somebody else listens on the port."""

    def __str__(self) -> str:
        return (
            f"Port {self.port} is already in use, so the local exchange cannot listen on it; "
            "choose another one with --port."
        )
