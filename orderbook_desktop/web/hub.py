"""All broadcasts of one server: the hub, its channels, and the streams of its viewers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final, Protocol

from fastapi.sse import EventSourceResponse
from msgspec import Struct
from starlette.types import Receive, Scope, Send

from orderbook_desktop.core.library import BookLibrary
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.system.steady_clock import steady_ns
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.errors import Closing, TooMany
from orderbook_desktop.web.frames import Encoding, Frame, opening_frame
from orderbook_desktop.web.options import Limits

_log = logging.getLogger(__name__)

_RETRY_MS: Final = 1000

# No proxy or cache may store an event, or delay it.
_HEADERS: Final = {
    "cache-control": "no-store",
    "vary": "accept-encoding",
    "x-accel-buffering": "no",
}


class HubTimes(Struct, frozen=True):
    """How often a hub looks at its books and sends to viewers, in seconds.

    The hub looks at a book every `look_s`, and begins a new moment as soon as the book has
    moved, but on average no more than one moment in `tick_s`. While nothing changes, a heartbeat
    is sent every `beat_s`. A channel without users stays open for `linger_s`, so that a viewer
    that reloads the page finds its symbol still followed.
    """

    tick_s: float = 0.1
    look_s: float = 0.02
    beat_s: float = 5.0
    linger_s: float = 30.0


class StreamForm(Protocol):
    """Makes the frames of one kind of stream."""

    def frame(self, channel: Channel, last_seq: int | None) -> Frame:
        """Return a frame from the moment `last_seq` to the present one.

        None means that the viewer has no moment yet.
        """
        ...

    def beat(self, channel: Channel) -> Frame:
        """Return the heartbeat, which is sent while nothing changes."""
        ...


class _OpenChannel:
    """A channel of the hub, with the numbers of its users.

    `users` are viewers and requests that need the channel now. `is_pinned` channels stay open
    without users.
    """

    def __init__(self, channel: Channel, times: HubTimes, now: float) -> None:
        self.channel = channel
        self._times = times
        self.users = 0
        self.viewers = 0
        self.is_pinned = False
        self.left_at = now
        self.sent_at = now
        self.due_at = now
        self._called_seq = channel.moment.seq

    def refresh(self, now: float) -> bool:
        """Look at the book if it has no users, since `Hub.run` looks only at books with users.

        Returns whether it looked. It looks no more often than `Hub.run` would.
        """
        is_due = not self.users and now >= self.due_at
        if is_due:
            self.look(now)
        return is_due

    def look(self, now: float) -> bool:
        """Look at the book; return whether there is something to send."""
        self.channel.look()
        # Also a moment that began between two looks, with the frame for one of the viewers.
        if self.channel.moment.seq != self._called_seq:
            self._called_seq = self.channel.moment.seq
            # The interval holds on average: after a late moment the next one may come early.
            self.due_at = max(self.due_at, now - self._times.tick_s) + self._times.tick_s
        elif now - self.sent_at >= self._times.beat_s:
            self.channel.beat()
        else:
            return False
        self.sent_at = now
        return True


class Seat:
    """One viewer's seat at a stream. Call `leave()` when done, also after an error."""

    def __init__(self, hub: Hub, opened: _OpenChannel, age_s: float) -> None:
        self._hub = hub
        self._opened = opened
        self._age_s = age_s
        self._taken = True

    @property
    def channel(self) -> Channel:
        """The channel that the viewer watches."""
        return self._opened.channel

    def leave(self) -> None:
        """Free the seat for another viewer; a second call does nothing."""
        if self._taken:
            self._taken = False
            self._hub.vacate(self._opened)

    async def frames(self, form: StreamForm, last_seq: int | None) -> AsyncGenerator[Frame, None]:
        """Iterate over the frames to send, until the hub closes or the stream is too old.

        `last_seq` is the moment that the viewer has already. Each frame leads to the present
        moment: a slow viewer skips moments, but misses no change.
        """
        yield opening_frame(_RETRY_MS)
        ends_at = self._hub.now() + self._age_s
        channel, beats = self.channel, self.channel.beats
        while not self._hub.closed and self._hub.now() < ends_at:
            channel.look_if_untrue()
            present = channel.moment.seq
            if present != last_seq:
                yield form.frame(channel, last_seq)
                last_seq = present
            elif channel.beats != beats:
                yield form.beat(channel)
            else:
                await channel.waiting.wait()
                continue
            beats = channel.beats


class Hub:
    """Opens and closes the channels of `library`. Let `run()` run; `close()` ends every stream.

    `now_ns` is the clock for the age of books (`steady_ns`). `now` is a clock in seconds that
    never goes back; the hub waits by it.
    """

    def __init__(
        self,
        library: BookLibrary,
        limits: Limits,
        now_ns: Callable[[], int] = steady_ns,
        *,
        times: HubTimes | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.library = library
        self.limits = limits
        self.now = now
        self._times = times or HubTimes()
        self.closed = False
        self._now_ns = now_ns
        self._open: dict[str, _OpenChannel] = {}

    @property
    def viewers(self) -> int:
        """How many streams are being watched."""
        return sum(opened.viewers for opened in self._open.values())

    async def channels(self) -> list[tuple[Channel, int]]:
        """Return the open channels with their present books and numbers of viewers."""
        for opened in list(self._open.values()):
            if opened.refresh(self.now()):
                # There may be hundreds of books, so the loop gets a turn after each.
                await asyncio.sleep(0)
        return [(opened.channel, opened.viewers) for opened in self._open.values()]

    def follow(self, info: SymbolInfo) -> None:
        """Follow a symbol until the end, also without viewers.

        Raises `NotOffered` or `Closing`.
        """
        self._channel_of(info, is_pinned=True)

    def take_seat(self, info: SymbolInfo) -> Seat:
        """Return a seat for one more viewer; raises `TooMany`, `NotOffered` or `Closing`."""
        if self.viewers >= self.limits.viewers:
            raise TooMany("viewers", self.limits.viewers)
        opened = self._channel_of(info)
        opened.users += 1
        opened.viewers += 1
        return Seat(self, opened, self.limits.stream_age_s)

    def vacate(self, opened: _OpenChannel) -> None:
        """Take a viewer's seat back (see `Seat.leave`)."""
        opened.viewers -= 1
        self._release(opened)

    @asynccontextmanager
    async def channel(self, info: SymbolInfo, patience_s: float = 0.0) -> AsyncIterator[Channel]:
        """Lend the channel of a symbol, after waiting for its book for `patience_s` at most.

        Raises `TooMany`, `NotOffered` or `Closing`.
        """
        opened = self._channel_of(info)
        opened.users += 1
        try:
            if patience_s:
                await self._until_known(opened.channel, patience_s)
            opened.channel.look_if_untrue()
            yield opened.channel
        finally:
            self._release(opened)

    async def run(self) -> None:
        """Look at the books and call the viewers, until cancelled."""
        while True:
            await asyncio.sleep(self._times.look_s)
            for channel in self._look_at_all(self.now()):
                await channel.waiting.call()

    def close(self) -> None:
        """End every stream and give every book back."""
        self.closed = True
        for opened in self._open.values():
            opened.channel.close()
        self._open = {}

    def _channel_of(self, info: SymbolInfo, *, is_pinned: bool = False) -> _OpenChannel:
        if self.closed:
            # Requests come in until the port is closed, and a book lent now would stay lent.
            raise Closing
        now = self.now()
        opened = self._open.get(info.market)
        if opened is None:
            if not is_pinned:
                self._make_room()
            book = self.library.lend(info)
            library = self.library
            channel = Channel(
                *(info, book, self._now_ns),
                is_demo=lambda: library.demo,
                gaps=lambda: library.recorded_gaps(info),
            )
            opened = self._open[info.market] = _OpenChannel(channel, self._times, now)
        else:
            opened.refresh(now)
        opened.is_pinned = opened.is_pinned or is_pinned
        # `info` may know more than the channel's, such as the lot size.
        opened.channel.info = info
        return opened

    def _make_room(self) -> None:
        """If the limit is reached, close the channel that has been without users longest."""
        unpinned = {name: opened for name, opened in self._open.items() if not opened.is_pinned}
        if len(unpinned) < self.limits.markets:
            return
        idle = [(opened.left_at, name) for name, opened in unpinned.items() if not opened.users]
        if not idle:
            raise TooMany("symbols being followed", self.limits.markets)
        self._open.pop(min(idle)[1]).channel.close()

    def _release(self, opened: _OpenChannel) -> None:
        opened.users -= 1
        opened.left_at = self.now()

    def _look_at_all(self, now: float) -> list[Channel]:
        """Look at the books; return the channels with something to send, and close unused ones."""
        changed = []
        for market, opened in list(self._open.items()):
            if opened.users:
                if now >= opened.due_at and opened.look(now):
                    changed.append(opened.channel)
            elif not opened.is_pinned and now - opened.left_at > self._times.linger_s:
                del self._open[market]
                opened.channel.close()
        return changed

    async def _until_known(self, channel: Channel, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                while not (channel.known or self.closed):
                    await channel.waiting.wait()
        except TimeoutError:
            _log.info("%s is not known after %.1f s", channel.info.symbol, patience_s)


class SeatedStream(EventSourceResponse):
    """Sends the frames of `seat` in `form`, from the moment `last_seq` on; then leaves the seat."""

    def __init__(
        self, seat: Seat, form: StreamForm, *, last_seq: int | None, encoding: Encoding
    ) -> None:
        self._seat = seat
        self._bytes = _encoded(seat, form, last_seq, encoding)
        super().__init__(self._bytes, headers={**_HEADERS, **encoding.headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the stream ends or the viewer disconnects."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._seat.leave()

    async def stream_response(self, send: Send) -> None:
        """Send head, frames and end."""
        # Not every event loop ends abandoned generators.
        async with aclosing(self._bytes):
            await super().stream_response(send)


async def _encoded(
    seat: Seat, form: StreamForm, last_seq: int | None, encoding: Encoding
) -> AsyncGenerator[bytes, None]:
    yield encoding.start()
    async with aclosing(seat.frames(form, last_seq)) as frames:
        async for frame in frames:
            yield encoding.take(frame)
    yield encoding.end()
