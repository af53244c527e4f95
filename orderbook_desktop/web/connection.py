"""One client's connection: how many there may be, how long one may be silent, what is refused."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from orderbook_desktop.web.options import Limits
from orderbook_desktop.web.safety.gate import SECURITY_HEADERS
from orderbook_desktop.web.safety.strict_http import StrictConnection

if sys.platform != "win32":  # Which has no such limit.
    import resource

# A client that sends nonsense must not be able to fill the log with it.
_errors_only = logging.getLogger("uvicorn.error.connection")
_errors_only.setLevel(logging.ERROR)

# File descriptors for the rest of the program: database, exchange, log, libraries.
_KEPT_FREE: Final = 200


def room_for(connections: int) -> int:
    """Return how many of so many `connections` there may be, once the system was asked for more.

    Where viewers took them all, the recorder could reconnect to nothing.
    """
    if sys.platform == "win32":
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _KEPT_FREE
    if soft < wanted and soft != resource.RLIM_INFINITY:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(1, min(connections, soft - _KEPT_FREE))
    return connections


class BoundedConnection(H11Protocol):
    """uvicorn's connection, read strictly and with an eye on the clock.

    `WebServer` looks at `is_overdue`.
    """

    limits = Limits()
    now = staticmethod(time.monotonic)
    conn: StrictConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictConnection(self.limits.head_bytes)
        self.logger = _errors_only
        # What is asked for may hold the token. (uvicorn looks at its loggers, not its setting.)
        self.access_log = False
        self._silent_since = self.now()
        self._stalled_at: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or hang up where there are too many."""
        super().connection_made(_Parting(transport, self.conn, self.limits.parting_s))
        if len(self.connections) > self.limits.connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        super().connection_lost(exc)
        self.transport.abort()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._stalled_at = self.now()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stalled_at = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        """What was asked for has been answered: the next request is waited for."""
        self._silent_since = self.now()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, and hang up."""
        refusal = self.conn.refusal
        if self.conn.our_state is h11.IDLE:
            headers = {
                **SECURITY_HEADERS,
                "content-type": "application/json",
                "cache-control": "no-store",
                "connection": "close",
            }
            status = refusal.error_status_hint if refusal else 400
            body = msgspec.json.encode({"detail": str(refusal or msg)})
            reason = HTTPStatus(status).phrase.encode()
            for event in (
                h11.Response(status_code=status, headers=list(headers.items()), reason=reason),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
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


class _Parting(asyncio.Transport):
    """`transport`, whose end waits for a client that is still sending what nobody reads.

    Where a socket with unread bytes is closed, the system resets the connection, and the client
    may lose the answer that says why. So the answer is ended, and what still comes is dropped,
    until the client has ended too, for `parting_s` at most.
    """

    def __init__(
        self, transport: asyncio.Transport, conn: StrictConnection, parting_s: float
    ) -> None:
        super().__init__()
        self._transport = transport
        self._conn = conn
        self._parting_s = parting_s
        self._parting: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """End the connection, once all that was written is sent."""
        is_sending = self._conn.has_unread or self._conn.refusal is not None
        if not is_sending or self._transport.is_closing() or not self._transport.can_write_eof():
            self._forget()
            self._transport.close()
        elif self._parting is None:
            self._conn.read_no_more()
            self._transport.write_eof()
            self._transport.resume_reading()
            loop = asyncio.get_running_loop()
            self._parting = loop.call_later(self._parting_s, self._transport.abort)

    def abort(self) -> None:
        """End the connection with whatever was not sent yet."""
        self._forget()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._parting is not None or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, unless the answers have ended."""
        if self._parting is None:
            self._transport.write(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the client has not taken yet."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Let what the client sends wait."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def _forget(self) -> None:
        if self._parting is not None:
            self._parting.cancel()


def bounded_by(limits: Limits) -> type[BoundedConnection]:
    """Return the class of connections with these limits; uvicorn makes them itself."""
    limits = replace(limits, connections=room_for(limits.connections))
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits})
