"""One client's connection: how many there may be, and how long one may be silent or stalled."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from orderbook_desktop.web.limits import Limits

# Whoever sends nonsense must not be able to fill the log with it.
_errors_only = logging.getLogger("uvicorn.error.connection")
_errors_only.setLevel(logging.ERROR)


class BoundedConnection(H11Protocol):
    """uvicorn's connection, with an eye on the clock; `BoundedServer` looks at `is_overdue`."""

    limits = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _errors_only
        # What is asked for may hold the token. (uvicorn looks at its loggers, not its setting.)
        self.access_log = False
        self._opened_at = time.monotonic()
        self._stalled_at: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or hang up where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._stalled_at = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stalled_at = None
        super().resume_writing()

    def is_overdue(self, now: float) -> bool:
        """Whether it has asked for nothing, or taken nothing, for too long."""
        if self._stalled_at is not None:
            return now - self._stalled_at > self.limits.stalled_s
        return self.cycle is None and now - self._opened_at > self.limits.silent_s


def bounded_by(limits: Limits) -> type[BoundedConnection]:
    """Return the class of connections with these limits; uvicorn makes them itself."""
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits})
