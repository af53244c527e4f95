"""One websocket connection to the exchange: reading, commands within the limit, silence."""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

import msgspec

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import (
    ControlReply,
    DepthDiff,
    ServerShutdown,
    Unrelated,
    decode_frame,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.ending import ending
from orderbook_desktop.exchange.errors import UnexpectedAnswer, Unreachable, connect_reason, refusal
from orderbook_desktop.exchange.limits import message_limit
from orderbook_desktop.exchange.silence import LEAST_SILENCE_S
from orderbook_desktop.exchange.wanted_streams import Confirmed, Refused, WantedStreams

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed

_log = logging.getLogger(__name__)

_LARGEST_FRAME: Final = 16 * 2**20
_CLOSE_S: Final = 0.5
# Close codes of ours for what was no websocket message, no text, or too long.
_NOT_UNDERSTOOD: Final = frozenset({1002, 1007, 1009})
_find_stream: Final = re.compile(rb'"stream"\s*:\s*"([^"@]+)@').search
_find_symbol: Final = re.compile(rb'"s"\s*:\s*"([^"]+)"').search


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """How long a stream waits for what, in seconds.

    A connection is replaced at the age of `lifetime_s`, before the exchange's 24 hours.
    `silence_s` is how long an active symbol may be silent. The next connection has
    `handover_s` to catch up with the one before it. A connection that nobody needs lingers
    for `linger_s`: switching symbols soon needs it again. A peer that owes a pong or an
    answer for `answer_s` is dead; pings go out every `ping_s`.
    """

    lifetime_s: float = 23.75 * 3600
    silence_s: float = LEAST_SILENCE_S
    handover_s: float = 10.0
    linger_s: float = 5.0
    ping_s: float = 20.0
    answer_s: float = 10.0
    watch_every_s: float = 0.5


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """Why a connection is over."""

    cause: GapCause
    detail: str


class LinkOwner(Protocol):
    """Is told what happens on a link. Nothing here may block or raise."""

    def link_diff(self, link: StreamLink, diff: DepthDiff) -> None:
        """A depth event came in."""
        ...

    def link_subscribed(self, link: StreamLink, markets: list[str]) -> None:
        """The exchange has confirmed these; every later event will come."""
        ...

    def link_refused(self, link: StreamLink, markets: list[str], reason: str) -> None:
        """The exchange has refused to stream these; the link will ask again."""
        ...

    def link_malformed(self, link: StreamLink, market: str | None, reason: str) -> None:
        """A message could not be read; it concerns `market`, or any if that is None."""
        ...

    def link_silence(self, link: StreamLink, now: float) -> LinkEnd | None:
        """Judge the silence on the link; an answer ends it."""
        ...


def stream_name(market: str) -> str:
    """Return the name of the market's fastest diff stream."""
    return f"{market.lower()}@depth@100ms"


async def open_socket(base_url: str, markets: list[str], times: StreamTimes) -> ClientConnection:
    """Connect to the combined streams of `markets`; raises `ExchangeError`."""
    # The loop must not wait for the import, nor for the lock of one that goes on.
    await asyncio.to_thread(importlib.import_module, "websockets.asyncio.client")
    from websockets.asyncio.client import connect  # noqa: PLC0415 (slow to import)
    from websockets.exceptions import (  # noqa: PLC0415
        InvalidHandshake,
        InvalidStatus,
        WebSocketException,
    )

    streams = quote("/".join(stream_name(market) for market in markets), safe="/@")
    address = f"{base_url}/stream?streams={streams}" if markets else f"{base_url}/stream"
    try:
        # Awaited, it connects once: when to try again is ours to decide.
        return await connect(
            address,
            compression=None,
            max_size=_LARGEST_FRAME,
            open_timeout=times.answer_s,
            close_timeout=_CLOSE_S,
            ping_interval=times.ping_s,
            ping_timeout=times.answer_s,
        )
    except InvalidStatus as error:
        response = error.response
        if response.status_code < 400:
            raise UnexpectedAnswer(base_url, f"HTTP {response.status_code}") from error
        retry_after = response.headers.get("Retry-After")
        raise refusal(base_url, response.status_code, retry_after, time.time()) from error
    except InvalidHandshake as error:
        if isinstance(error.__cause__, EOFError):
            raise Unreachable(base_url, "it closed the connection at once") from error
        raise UnexpectedAnswer(base_url, "no websocket there") from error
    except OSError as error:
        raise Unreachable(base_url, connect_reason(error)) from error
    except ImportError as error:
        raise Unreachable(base_url, f"the proxy can't be used: {error}") from error
    except (WebSocketException, ValueError) as error:  # Of the address, or a proxy's.
        _log.warning("%s: %s", address, error)
        raise UnexpectedAnswer(base_url, "not a websocket address") from error


class StreamLink:
    """Drives one open connection until it ends, within a task of its own.

    `start()` it, wait for `ended`, whose result is why it ended, and in any case `await
    stop()`. `asked` are the markets that its address named. `frames` counts what came in.
    `expiring` is set when the exchange will soon close the connection.
    """

    def __init__(
        self, socket: ClientConnection, owner: LinkOwner, times: StreamTimes, asked: list[str]
    ) -> None:
        self.frames = 0
        self.expiring = asyncio.Event()
        self._socket = socket
        self._owner = owner
        self._times = times
        self._expires_at = time.monotonic() + times.lifetime_s
        self._shutdown_announced = False
        self._wanted = WantedStreams(asked, times.answer_s)
        self._wishes_changed = asyncio.Event()
        self._ended: asyncio.Task[LinkEnd] | None = None

    @property
    def ended(self) -> asyncio.Task[LinkEnd]:
        """The task that ends with the connection."""
        if self._ended is None:
            self._ended = asyncio.create_task(self._run())
        return self._ended

    @property
    def confirmed(self) -> set[str]:
        """The markets whose events flow."""
        return self._wanted.confirmed

    def subscribe(self, markets: Iterable[str]) -> None:
        """Ask for the streams of `markets`, within the limit on messages."""
        self._wanted.want(markets)
        self._wishes_changed.set()

    def unsubscribe(self, markets: Iterable[str]) -> None:
        """Ask for no more events of `markets`."""
        self._wanted.unwant(markets)
        self._wishes_changed.set()

    def renew(self, markets: Iterable[str]) -> None:
        """Ask anew for the streams of `markets`."""
        self._wanted.renew(markets)
        self._wishes_changed.set()

    def start(self) -> None:
        """Begin to read."""
        _ = self.ended

    async def stop(self) -> None:
        """Close the connection, and end what was started."""
        try:
            self.ended.cancel()
            await asyncio.wait([self.ended])
            # For the case that the task was cancelled before it began.
            await self._socket.close()
        finally:
            # Without effect on a closed connection; else there was no time for a farewell.
            self._socket.transport.abort()

    async def _run(self) -> LinkEnd:
        """Read until the connection is over, then close it."""
        jobs = [asyncio.ensure_future(job) for job in (self._read(), self._send(), self._watch())]
        try:
            async with ending(*jobs):
                done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
                return done.pop().result()
        finally:
            await self._socket.close()

    async def _read(self) -> LinkEnd:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 (slow to import)

        try:
            while True:
                frame = await self._socket.recv(decode=False)
                self._take(frame, time.time_ns())
        except ConnectionClosed as error:
            _log.info("the exchange's connection closed: %s", error)
            return self._end_of(error)

    def _take(self, frame: bytes, received_ns: int) -> None:
        self.frames += 1
        named = _name_in(_find_stream(frame))
        try:
            message = decode_frame(frame, received_ns)
            if isinstance(message, DepthDiff):
                if named is not None and named.lower() != message.market.lower():
                    reason = f"an event of {message.market} in the stream of another symbol"
                    raise MalformedMessage("depth event", reason, frame)  # noqa: TRY301
                self._owner.link_diff(self, message)
                return
        except MalformedMessage as error:
            _log.warning("unreadable message (%s): %r", error.reason, error.excerpt)
            named = named or _name_in(_find_symbol(frame))
            market = None if named is None else named.upper()
            self._owner.link_malformed(self, market, error.reason)
            return
        match message:
            case ServerShutdown():
                self._shutdown_announced = True
                self._expire("the exchange announced its shutdown")
            case ControlReply():
                self._take_reply(message)
            case Unrelated(kind):
                _log.debug("ignored an event of the kind %r", kind)

    def _take_reply(self, reply: ControlReply) -> None:
        self._wishes_changed.set()
        match self._wanted.answered(reply, time.monotonic()):
            case Confirmed(markets):
                self._owner.link_subscribed(self, markets)
            case Refused(markets, reason):
                self._owner.link_refused(self, markets, reason)

    async def _send(self) -> LinkEnd:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 (slow to import)

        limit = message_limit()
        with suppress(ConnectionClosed):  # The reader tells why.
            while True:
                await self._wishes_changed.wait()
                self._wishes_changed.clear()
                while self._wanted.has_command(now := time.monotonic()):
                    delay = limit.delay(now)
                    if delay > 0:
                        # Ask again after it: timers may be early, and wishes change.
                        await asyncio.sleep(delay)
                        continue
                    await self._send_next()
                    limit.take(time.monotonic())
        never: asyncio.Future[LinkEnd] = asyncio.get_running_loop().create_future()
        return await never

    async def _send_next(self) -> None:
        command = self._wanted.next_command(time.monotonic())
        if command is not None:
            params = [stream_name(market) for market in command.markets]
            text = msgspec.json.encode(
                {"method": command.method, "params": params, "id": command.number}
            )
            await self._socket.send(text, text=True)

    async def _watch(self) -> LinkEnd:
        while True:
            await asyncio.sleep(self._times.watch_every_s)
            now = time.monotonic()
            if now >= self._expires_at:
                self._expire("the connection has reached its age")
            if self._wanted.is_overdue(now):
                return LinkEnd(GapCause.SILENCE, "The exchange didn't answer a command.")
            end = self._owner.link_silence(self, now)
            if end is not None:
                return end
            # What was refused is asked for again after a while.
            self._wishes_changed.set()

    def _expire(self, why: str) -> None:
        if not self.expiring.is_set():
            _log.info("opening the next connection: %s", why)
            self.expiring.set()

    def _end_of(self, error: ConnectionClosed) -> LinkEnd:
        received, sent = error.rcvd, error.sent
        if received is not None and (sent is None or error.rcvd_then_sent):
            reason = f": {received.reason}" if received.reason else ""
            detail = f"The exchange closed the connection ({received.code}{reason})."
        elif sent is not None and sent.code in _NOT_UNDERSTOOD:
            detail = f"The exchange sent what is no websocket message ({sent.reason})."
            return LinkEnd(GapCause.MALFORMED, detail)
        elif sent is not None:
            detail = f"The exchange doesn't answer any more ({sent.reason})."
        else:
            detail = "The connection to the exchange broke off."
        if self._shutdown_announced:
            return LinkEnd(GapCause.SERVER_SHUTDOWN, detail)
        return LinkEnd(GapCause.DISCONNECT, detail)


def _name_in(found: re.Match[bytes] | None) -> str | None:
    """Return the name that JSON text spells, be it by escapes; None where there is none."""
    if found is None:
        return None
    try:
        return msgspec.json.decode(b'"%b"' % found[1], type=str)
    except (msgspec.DecodeError, ValueError):  # ValueError: invalid UTF-8
        return None
