"""One websocket connection to the exchange: reading, commands within the limit, silence."""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Struct

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.frames import ControlReply, ServerShutdown, Unrelated, decode_frame
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import MarketEvent, Stream, StreamKind
from orderbook_desktop.exchange.errors import (
    ExchangeError,
    ProxyFailed,
    Redirected,
    UnexpectedAnswer,
    Unreachable,
    WebPage,
    connect_reason,
    refusal,
)
from orderbook_desktop.exchange.http import status_of_proxy
from orderbook_desktop.exchange.limits import message_limit
from orderbook_desktop.exchange.proxies import Proxy, proxy_for
from orderbook_desktop.exchange.silence import LEAST_SILENCE_S, Clocks, Suspension, SuspensionWatch
from orderbook_desktop.exchange.wanted_streams import Confirmed, Refused, WantedStreams
from orderbook_desktop.system.tasks import ending, set_within

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Response

_log = logging.getLogger(__name__)

# The limit of a line of an import, too: an event of 300,000 levels. An event of a million levels
# takes 400 MB once it is read, and is too long for a document of the database.
_LARGEST_FRAME: Final = 4 * 2**20
# Our close codes for data that is no websocket message, no text, or too long.
_NOT_UNDERSTOOD: Final = frozenset({1002, 1007, 1009})
_find_stream: Final = re.compile(rb'"stream"\s*:\s*"([^"@]+@[^"]*)').search
_find_symbol: Final = re.compile(rb'"s"\s*:\s*"([^"]+)"').search


class StreamTimes(Struct, frozen=True):
    """How long a stream waits for what, in seconds.

    A connection is replaced at the age of `lifetime_s`, before the exchange's 24 hours.
    `silence_s` is how long an active symbol may be silent. The next connection has `handover_s` to
    catch up with the one before it. A connection without subscribers stays open for `linger_s`:
    another symbol may soon need it. A peer that owes a pong or an answer for `answer_s` is dead;
    pings go out every `ping_s`. A closing connection waits `close_s` for the exchange's closing
    frame. Events after missing ids wait `hold_s` for another connection that may bring these ids.

    Clocks are read every `watch_every_s`, and with a frame where they were not read for
    `look_after_s`. After a suspension, waiting frames are read for `calm_s` before anything is
    written or judged.
    """

    lifetime_s: float = 23.75 * 3600
    silence_s: float = LEAST_SILENCE_S
    handover_s: float = 10.0
    linger_s: float = 5.0
    ping_s: float = 20.0
    answer_s: float = 10.0
    close_s: float = 0.5
    hold_s: float = 10.0
    watch_every_s: float = 0.5
    look_after_s: float = 2.0
    calm_s: float = 2.0


class LinkEnd(Struct, frozen=True):
    """Why a connection is over."""

    cause: GapCause
    detail: str


class LinkOwner(Protocol):
    """Receives the events of a link. None of its methods may block or raise."""

    def link_event(self, link: StreamLink, stream: Stream, event: MarketEvent) -> None:
        """An event of `stream` arrived."""
        ...

    def link_subscribed(self, link: StreamLink, streams: list[Stream]) -> None:
        """The exchange has confirmed these streams; it will send every later event."""
        ...

    def link_refused(self, link: StreamLink, streams: list[Stream], reason: str) -> None:
        """The exchange has refused these streams; the link will ask again."""
        ...

    def link_malformed(self, link: StreamLink, streams: list[Stream], reason: str) -> None:
        """A message could not be read; it may be of each of these streams."""
        ...

    def link_suspended(self, link: StreamLink, suspension: Suspension) -> None:
        """This program was suspended; events that are missing from now on are missing for that."""
        ...

    def link_caught_up(self, link: StreamLink) -> None:
        """The events that waited during a suspension have been read."""
        ...

    def link_silence(self, link: StreamLink, now: float) -> LinkEnd | None:
        """Judge the silence on the link; an answer ends it."""
        ...


async def open_socket(
    base_url: str,
    streams: Iterable[Stream],
    times: StreamTimes,
    now_ns: Callable[[], int] = time.time_ns,
) -> ClientConnection:
    """Connect to `streams` as combined streams; raises `ExchangeError`.

    A redirect is not followed. The library bounds the answer to the handshake: 128 headers of 8
    KiB, and a body of 1 MiB.
    """
    # The loop must not wait for the import, nor for the lock of one that goes on.
    await asyncio.to_thread(importlib.import_module, "websockets.asyncio.client")
    from websockets.asyncio.client import connect  # noqa: PLC0415 (slow to import)
    from websockets.exceptions import WebSocketException  # noqa: PLC0415

    class StaysThere(connect):
        """Follows no redirect."""

        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    proxy = proxy_for(base_url)
    names = quote("/".join(stream.name for stream in streams), safe="/@")
    address = f"{base_url}/stream?streams={names}" if names else f"{base_url}/stream"
    try:
        # Awaited, it connects once: this program decides when to try again.
        return await StaysThere(
            address,
            compression=None,
            max_size=_LARGEST_FRAME,
            open_timeout=times.answer_s,
            close_timeout=times.close_s,
            # The library's own pings would give up a connection whose pong is not yet read.
            ping_interval=None,
            proxy=None if proxy is None else proxy.address_with_credentials,
        )
    except (WebSocketException, OSError, ValueError) as error:
        raise _explained(error, base_url, proxy, now_ns() / 1e9) from error


def _explained(error: Exception, base_url: str, proxy: Proxy | None, now_s: float) -> ExchangeError:
    """Return our error for an error of websockets, or of the layers below it."""
    from websockets.exceptions import (  # noqa: PLC0415 (slow to import)
        InvalidHandshake,
        InvalidProxyStatus,
        InvalidStatus,
        ProxyError,
    )

    # All connections go to the proxy then, so an error other than TLS is the proxy's.
    is_of_proxy = isinstance(error, OSError) and not isinstance(error, ssl.SSLError | TimeoutError)
    if proxy is not None and (isinstance(error, ProxyError) or is_of_proxy):
        if isinstance(error, InvalidProxyStatus):
            reason = status_of_proxy(error.response.status_code)
        else:
            reason = connect_reason(error) if is_of_proxy else "it gives no answer of a proxy's"
        return ProxyFailed(proxy.variable, proxy.address, reason)
    if isinstance(error, InvalidStatus):
        return _refused(base_url, error.response, now_s)
    if isinstance(error, InvalidHandshake):
        if isinstance(error.__cause__, EOFError):
            return Unreachable(base_url, "it closed the connection at once")
        return UnexpectedAnswer(base_url, "no websocket there")
    if isinstance(error, OSError):
        through = "" if proxy is None else f", through the proxy of {proxy.variable}"
        return Unreachable(base_url, connect_reason(error) + through)
    _log.warning("%s: %s", base_url, plain_text(str(error)))  # Of the address.
    return UnexpectedAnswer(base_url, "not a websocket address")


def _refused(base_url: str, response: Response, now_s: float) -> ExchangeError:
    """Return our error for an HTTP answer that opens no websocket."""
    status, headers = response.status_code, response.headers
    if 300 <= status < 400:
        return Redirected(base_url, plain_text(headers.get("Location", ""), 100))
    if status < 400:
        body = bytes(response.body or b"")
        is_page = body.lstrip().startswith(b"<")
        return WebPage(base_url) if is_page else UnexpectedAnswer(base_url, f"HTTP {status}")
    return refusal(base_url, status, headers.get("Retry-After"), now_s)


class StreamLink:
    """Drives one open connection until it ends, within a task of its own.

    Call `start()`, wait for `ended`, whose result is the reason of the end, and always `await
    stop()`. `asked` are the streams that the address named. `frames` counts the received frames.
    `expiring` is set when the exchange will soon close the connection.
    """

    def __init__(
        self,
        socket: ClientConnection,
        owner: LinkOwner,
        times: StreamTimes,
        asked: Iterable[Stream],
        clocks: Clocks,
    ) -> None:
        self.frames = 0
        self.expiring = asyncio.Event()
        self._socket = socket
        self._owner = owner
        self._times = times
        self._clocks = clocks
        self._expires_at = clocks.now() + times.lifetime_s
        self._shutdown_announced = False
        # By name: the streams that are wanted. By the class of their events: the kinds ever wanted.
        self._streams = {stream.name: stream for stream in asked}
        self._kinds = _by_event(self._streams.values())
        self._wanted = WantedStreams(self._streams, times.answer_s)
        self._wishes_changed = asyncio.Event()
        self._ended: asyncio.Task[LinkEnd] | None = None
        self._suspensions = SuspensionWatch(clocks, times.watch_every_s)
        # The last suspension, until the events that waited during it have been read.
        self._suspension: Suspension | None = None
        self._resumed = asyncio.Event()
        self._look_at = clocks.now() + times.look_after_s
        self._calm_until = float("-inf")
        self._pong_due = float("inf")

    @property
    def ended(self) -> asyncio.Task[LinkEnd]:
        """The task that ends with the connection."""
        if self._ended is None:
            self._ended = asyncio.create_task(self._run())
        return self._ended

    @property
    def confirmed(self) -> list[Stream]:
        """The streams whose events flow."""
        return self._named(self._wanted.confirmed)

    def is_confirmed(self, stream: Stream) -> bool:
        """Whether the events of `stream` flow."""
        return stream.name in self._wanted.confirmed

    def subscribe(self, streams: Iterable[Stream]) -> None:
        """Ask for `streams`, within the limit on messages."""
        wanted = {stream.name: stream for stream in streams}
        self._streams |= wanted
        self._kinds |= _by_event(wanted.values())
        self._wanted.want(wanted)
        self._wishes_changed.set()

    def unsubscribe(self, streams: Iterable[Stream]) -> None:
        """Ask the exchange to send no more events of `streams`."""
        for stream in streams:
            self._streams.pop(stream.name, None)
            self._wanted.unwant([stream.name])
        self._wishes_changed.set()

    def renew(self, streams: Iterable[Stream]) -> None:
        """Ask anew for `streams`."""
        self._wanted.renew(stream.name for stream in streams)
        self._wishes_changed.set()

    def _named(self, names: Iterable[str]) -> list[Stream]:
        """Return the streams with these names that are still wanted."""
        return [self._streams[name] for name in names if name in self._streams]

    def start(self) -> None:
        """Begin to read."""
        _ = self.ended

    async def stop(self) -> None:
        """Close the connection, and end what was started."""
        try:
            self.ended.cancel()
            await asyncio.wait([self.ended])
            # The task may have been cancelled before it began.
            await self._socket.close()
        finally:
            # It has no effect on a closed connection; an open one had no time for a closing frame.
            self._socket.transport.abort()

    async def _run(self) -> LinkEnd:
        """Read until the connection is over, then close it."""
        work = (self._read(), self._send(), self._watch(), self._keep_alive())
        jobs = [asyncio.ensure_future(job) for job in work]
        try:
            async with ending(*jobs):
                done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
                return self._with_true_cause(done.pop().result())
        finally:
            await self._socket.close()

    async def _read(self) -> LinkEnd:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 (slow to import)

        try:
            while True:
                frame = await self._socket.recv(decode=False)
                self._take(frame, self._clocks.now_ns())
        except ConnectionClosed as error:
            _log.debug("the exchange's connection closed: %s", plain_text(str(error)))
            return self._end_of(error)

    def _take(self, frame: bytes, received_ns: int) -> None:
        self.frames += 1
        if self._clocks.now() >= self._look_at:
            # Before the event is delivered: it may be the first one after a suspension.
            self._look_for_suspension()
        named = _name_in(_find_stream(frame))
        try:
            message = decode_frame(frame, received_ns, self._kinds.values())
            match message:
                case ServerShutdown():
                    self._shutdown_announced = True
                    self._expire("the exchange announced its shutdown")
                case ControlReply():
                    self._take_reply(message)
                case Unrelated(what):
                    _log.debug("ignored an event of the kind %.100r", what)
                case _:
                    self._take_event(message, named, frame)
        except MalformedMessage as error:
            reason = plain_text(error.reason)
            _log.warning("unreadable message (%s): %r", reason, error.excerpt)
            self._owner.link_malformed(self, self._concerned(named, frame), reason)

    def _take_event(self, event: MarketEvent, named: str | None, frame: bytes) -> None:
        """Pass on `event`, which came in the stream `named`. Raises `MalformedMessage`."""
        stream = None if named is None else self._streams.get(named)
        if stream is None or stream.market != event.market:
            stream = self._stream_of(event, named, frame)
        self._owner.link_event(self, stream, event)

    def _stream_of(self, event: MarketEvent, named: str | None, frame: bytes) -> Stream:
        kind = self._kinds[type(event)]
        if named is not None and named.partition("@")[0].lower() != event.market.lower():
            reason = f"an event of {plain_text(event.market, 40)} in the stream of another symbol"
            raise MalformedMessage(f"{kind.name} event", reason, frame)
        return Stream(event.market, kind)

    def _concerned(self, named: str | None, frame: bytes) -> list[Stream]:
        """Return the streams that an unreadable message may be of; `named` is the one it names."""
        if named is not None and named in self._streams:
            return [self._streams[named]]
        name = _name_in(_find_symbol(frame)) if named is None else named.partition("@")[0]
        market = None if name is None else name.upper()
        of_market = [stream for stream in self._streams.values() if stream.market == market]
        # A message that names no market may be of any market.
        return of_market or list(self._streams.values())

    def _take_reply(self, reply: ControlReply) -> None:
        self._wishes_changed.set()
        match self._wanted.answered(reply, self._clocks.now()):
            case Confirmed(names):
                self._owner.link_subscribed(self, self._named(names))
            case Refused(names, reason):
                self._owner.link_refused(self, self._named(names), plain_text(reason))

    async def _send(self) -> LinkEnd:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 (slow to import)

        limit = message_limit()
        with suppress(ConnectionClosed):  # The reader reports the reason.
            while True:
                await self._wishes_changed.wait()
                self._wishes_changed.clear()
                while self._wanted.has_command(now := self._clocks.now()):
                    delay = limit.delay(now)
                    if delay > 0:
                        # Check again after the sleep: timers may be early, and wishes change.
                        await asyncio.sleep(delay)
                        continue
                    await self._send_next()
                    limit.take(self._clocks.now())
        never: asyncio.Future[LinkEnd] = asyncio.get_running_loop().create_future()
        return await never

    async def _send_next(self) -> None:
        command = self._wanted.next_command(self._clocks.now())
        if command is not None:
            text = msgspec.json.encode(
                {"method": command.method, "params": command.streams, "id": command.number}
            )
            await self._socket.send(text, text=True)

    async def _watch(self) -> LinkEnd:
        while True:
            await asyncio.sleep(self._times.watch_every_s)
            self._look_for_suspension()
            now = self._clocks.now()
            if now < self._calm_until:
                continue
            if now >= self._pong_due:
                return LinkEnd(GapCause.DISCONNECT, "The exchange doesn't answer any more.")
            if now >= self._expires_at:
                self._expire("the connection has reached its age")
            if self._wanted.is_overdue(now):
                return LinkEnd(GapCause.SILENCE, "The exchange didn't answer a command.")
            end = self._owner.link_silence(self, now)
            if end is not None:
                return end
            # Refused streams are asked for again after a while.
            self._wishes_changed.set()

    async def _keep_alive(self) -> LinkEnd:
        """Send pings; `_watch` ends the link where no pong comes."""
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 (slow to import)

        with suppress(ConnectionClosed):  # The reader reports the reason.
            while True:
                if await set_within(self._resumed, self._times.ping_s):
                    self._resumed.clear()
                    # Writing to a connection that broke meanwhile would close it before its frames
                    # are read.
                    await asyncio.sleep(self._times.calm_s)
                suspension = self._suspension
                pong = await self._socket.ping()
                self._pong_due = self._clocks.now() + self._times.answer_s
                await pong
                self._pong_due = float("inf")
                if suspension is not None:
                    await self._forget(suspension)
        never: asyncio.Future[LinkEnd] = asyncio.get_running_loop().create_future()
        return await never

    async def _forget(self, suspension: Suspension) -> None:
        """Drop `suspension` as a cause: the pong came after all waiting frames."""
        await asyncio.sleep(self._times.calm_s)
        if self._suspension is suspension:
            self._suspension = None
            self._owner.link_caught_up(self)

    def _look_for_suspension(self) -> None:
        """After a suspension, leave time for reading the frames that waited."""
        found = self._suspensions.look()
        now = self._clocks.now()
        self._look_at = now + self._times.look_after_s
        if found is None:
            return
        _log.warning("%s", found.sentence)
        self._suspension = found
        self._calm_until = now + self._times.calm_s
        if self._pong_due < float("inf"):
            self._pong_due = now + self._times.calm_s + self._times.answer_s
        self._wanted.resumed(now)
        self._resumed.set()
        self._owner.link_suspended(self, found)

    def _with_true_cause(self, end: LinkEnd) -> LinkEnd:
        self._look_for_suspension()
        if self._suspension is None or end.cause is GapCause.SERVER_SHUTDOWN:
            return end
        return LinkEnd(GapCause.SUSPENDED, f"{self._suspension.sentence} {end.detail}")

    def _expire(self, why: str) -> None:
        if not self.expiring.is_set():
            _log.info("opening the next connection: %s", why)
            self.expiring.set()

    def _end_of(self, error: ConnectionClosed) -> LinkEnd:
        received, sent = error.rcvd, error.sent
        if received is not None and (sent is None or error.rcvd_then_sent):
            text = plain_text(received.reason)
            reason = f": {text}" if text else ""
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


def _by_event(streams: Iterable[Stream]) -> dict[type, StreamKind[Any]]:
    """Return the kinds of `streams` by the class of their events."""
    return {stream.kind.event: stream.kind for stream in streams}


def _name_in(found: re.Match[bytes] | None) -> str | None:
    """Return the name that JSON text spells, also by escapes; None where there is none."""
    if found is None:
        return None
    try:
        return msgspec.json.decode(b'"%b"' % found[1], type=str)
    except (msgspec.DecodeError, ValueError):  # ValueError: invalid UTF-8
        return None
