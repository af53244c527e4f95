"""A client's connection: limits of number and time, and refusals of requests that are no HTTP."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, ClassVar, Final

import h11
import msgspec
from msgspec.structs import replace
from uvicorn.protocols.http.h11_impl import H11Protocol

from orderbook_desktop.web.options import Limits
from orderbook_desktop.web.safety.gate import SECURITY_HEADERS
from orderbook_desktop.web.safety.strict_http import StrictConnection

if sys.platform != "win32":  # Windows has no limit of open files.
    import resource

# A client that sends nonsense must not be able to fill the log with it.
_errors_only = logging.getLogger("uvicorn.error.connection")
_errors_only.setLevel(logging.ERROR)

# File descriptors for the rest of the program: database, exchange, log, libraries.
_RESERVED: Final = 200


def room_for(connections: int) -> int:
    """Raise the limit of open files for `connections`; return how many connections it permits.

    Some descriptors stay reserved: if viewers took all of them, the recorder could not reconnect.
    """
    if sys.platform == "win32":
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _RESERVED
    if soft < wanted and soft != resource.RLIM_INFINITY:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(1, min(connections, soft - _RESERVED))
    return connections


class BoundedConnection(H11Protocol):
    """uvicorn's connection with strict parsing and with limits of time.

    `bounded_by` makes the class for a server: uvicorn makes the instances, and gives them neither
    `limits` nor the clock `now`. `WebServer` hangs up on connections that are overdue.
    """

    limits: ClassVar[Limits]
    now: ClassVar[staticmethod[[], float]]
    conn: StrictConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictConnection(self.limits.head_bytes)
        self.logger = _errors_only
        # A request line may hold the token. uvicorn looks at its loggers, not at its setting.
        self.access_log = False
        self._silent_since = self.now()
        self._stalled_at: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or hang up if there are too many."""
        super().connection_made(_Parting(transport, self.conn, self.limits.parting_s))
        if len(self.connections) > self.limits.connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection, which has ended."""
        super().connection_lost(exc)
        self.transport.abort()

    def pause_writing(self) -> None:
        """Note that the client takes less than it is sent."""
        self._stalled_at = self.now()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has caught up."""
        self._stalled_at = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, after a whole answer."""
        self._silent_since = self.now()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is no valid HTTP, and hang up."""
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

    @property
    def is_overdue(self) -> bool:
        """Whether the client has sent no request, or taken no bytes, for too long."""
        now = self.now()
        if self._stalled_at is not None:
            return now - self._stalled_at > self.limits.stalled_s
        # An incomplete request does not count as a request.
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        takes_still = self.transport.get_write_buffer_size() > 0
        patience_s = self.limits.stalled_s if takes_still else self.limits.silent_s
        return now - self._silent_since > patience_s


class _Parting(asyncio.Transport):
    """A wrapper of `transport` that closes late if the client is still sending a refused request.

    When a socket with unread bytes is closed, the system resets the connection, and the client
    may lose the answer with the reason. So only the sending direction is ended. Further bytes
    are dropped until the client ends its direction too, for `parting_s` at most.
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
        """End the connection, once all written bytes are sent."""
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
        """End the connection at once; bytes that are not sent yet are lost."""
        self._forget()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or closing."""
        return self._parting is not None or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, unless the answers have ended."""
        if self._parting is None:
            self._transport.write(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the transport's information `name`."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the client has not taken yet."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading from the client."""
        self._transport.resume_reading()

    def _forget(self) -> None:
        if self._parting is not None:
            self._parting.cancel()


def bounded_by(
    limits: Limits, now: Callable[[], float] = time.monotonic
) -> type[BoundedConnection]:
    """Return a class of connections with these limits and this clock, in seconds."""
    limits = replace(limits, connections=room_for(limits.connections))
    members = {"limits": limits, "now": staticmethod(now)}
    return type("BoundedConnection", (BoundedConnection,), members)
