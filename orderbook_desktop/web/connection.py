"""One client's connection: how many there may be, and how long one may be silent or stalled."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from orderbook_desktop.web.descriptors import room_for
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
        self._silent_since = time.monotonic()
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

    def on_response_complete(self) -> None:
        """What was asked for has been answered: the next request is waited for."""
        self._silent_since = time.monotonic()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; where there was an answer already, only hang up.

        uvicorn would send a second answer, to what is still being answered or after it, and
        fail with a traceback that a stranger can have as often as he likes.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    @property
    def is_stalled(self) -> bool:
        """Whether the client takes less than it is sent."""
        return self._stalled_at is not None

    def is_overdue(self, now: float) -> bool:
        """Whether it has asked for nothing, or taken nothing, for too long."""
        if self._stalled_at is not None:
            return now - self._stalled_at > self.limits.stalled_s
        # A request that has only begun is none yet, be it the first or a later one.
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        takes_still = self.transport.get_write_buffer_size() > 0
        patience_s = self.limits.stalled_s if takes_still else self.limits.silent_s
        return now - self._silent_since > patience_s


def bounded_by(limits: Limits) -> type[BoundedConnection]:
    """Return the class of connections with these limits; uvicorn makes them itself."""
    limits = replace(limits, connections=room_for(limits.connections))
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits})
