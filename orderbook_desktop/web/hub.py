"""All broadcasts of one server: opened when wanted, looked at, closed when left alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from orderbook_desktop.core.library import BookLibrary
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.system.steady_clock import steady_ns
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.errors import Closing, TooMany
from orderbook_desktop.web.frames import Frame, opening_frame
from orderbook_desktop.web.options import Limits

_log = logging.getLogger(__name__)

_RETRY_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class HubTimes:
    """How often a hub looks at its books and tells of them, in seconds.

    A book is looked at every `look_s`, and has on average no more than one moment in `tick_s`,
    told of as soon as the book is seen to have moved. While nothing moves, a heartbeat goes out
    every `beat_s`. A book that nobody watches is followed for another `linger_s`: a viewer that
    reloads the page finds its symbol still being followed.
    """

    tick_s: float = 0.1
    look_s: float = 0.02
    beat_s: float = 5.0
    linger_s: float = 30.0


class StreamForm(Protocol):
    """What one kind of stream sends."""

    def frame(self, channel: Channel, seen: int | None) -> Frame:
        """Return what leads from the moment `seen` (None: nothing was) to the present one."""
        ...

    def beat(self, channel: Channel) -> Frame:
        """Return the heartbeat while nothing moves."""
        ...


class _Place:
    """A channel in the hub, and who needs it."""

    def __init__(self, channel: Channel, times: HubTimes, now: float) -> None:
        self.channel = channel
        self._times = times
        self.users = 0
        self.viewers = 0
        self.kept = False
        self.left_at = now
        self.told_at = now
        self.due_at = now

    def refresh(self, now: float) -> bool:
        """Look at a book that nobody watches, and that `Hub.run` therefore leaves alone.

        Returns whether that was due.
        """
        is_due = not self.users and now >= self.due_at
        if is_due:
            self.look(now)
        return is_due

    def look(self, now: float) -> bool:
        """Look at the book; return whether there is something to tell."""
        if self.channel.look():
            # On average: whoever was late once is early once.
            self.due_at = max(self.due_at, now - self._times.tick_s) + self._times.tick_s
        elif now - self.told_at >= self._times.beat_s:
            self.channel.beat()
        else:
            return False
        self.told_at = now
        return True


class Seat:
    """One viewer's place at a stream; call `leave()` when done, in any case."""

    def __init__(self, hub: Hub, place: _Place, age_s: float) -> None:
        self._hub = hub
        self._place = place
        self._age_s = age_s
        self._taken = True

    @property
    def channel(self) -> Channel:
        """What is being watched."""
        return self._place.channel

    def leave(self) -> None:
        """Make room for somebody else; again does nothing."""
        if self._taken:
            self._taken = False
            self._hub.vacate(self._place)

    async def frames(self, form: StreamForm, seen: int | None) -> AsyncGenerator[Frame, None]:
        """Iterate over what to send, until the hub closes or the stream is too old.

        `seen` is the moment that the viewer knows already. Each frame leads to the moment
        that is present when it is asked for: a slow viewer misses nothing but steps.
        """
        yield opening_frame(_RETRY_MS)
        ends_at = self._hub.now() + self._age_s
        channel, beats = self.channel, self.channel.beats
        while not self._hub.closed and self._hub.now() < ends_at:
            present = channel.moment.seq
            if present != seen:
                yield form.frame(channel, seen)
                seen = present
            elif channel.beats != beats:
                yield form.beat(channel)
            else:
                await channel.waiting.wait()
                continue
            beats = channel.beats


class Hub:
    """Looks after the channels of `library`. Let `run()` run; `close()` ends every stream.

    `now_ns` is the clock by which a book's age is told (`steady_ns`). `now` is a clock in
    seconds that never goes back, by which the hub waits.
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
        self._places: dict[str, _Place] = {}

    @property
    def viewers(self) -> int:
        """How many streams are being watched."""
        return sum(place.viewers for place in self._places.values())

    async def channels(self) -> list[tuple[Channel, int]]:
        """Return what is being followed, as it is now, each with its number of viewers."""
        for place in list(self._places.values()):
            if place.refresh(self.now()):
                # There may be hundreds of them: between two books the loop has its turn.
                await asyncio.sleep(0)
        return [(place.channel, place.viewers) for place in self._places.values()]

    def keep(self, info: SymbolInfo) -> None:
        """Follow a symbol from now on until the end, whether or not anybody watches it.

        Raises `NotOffered` or `Closing`.
        """
        self._place(info, kept=True)

    def take_seat(self, info: SymbolInfo) -> Seat:
        """Return a place for one more viewer; raises `TooMany`, `NotOffered` or `Closing`."""
        if self.viewers >= self.limits.viewers:
            raise TooMany("viewers", self.limits.viewers)
        place = self._place(info)
        place.users += 1
        place.viewers += 1
        return Seat(self, place, self.limits.stream_age_s)

    def vacate(self, place: _Place) -> None:
        """Take a viewer's place back (see `Seat.leave`)."""
        place.viewers -= 1
        self._let_go(place)

    @asynccontextmanager
    async def channel(self, info: SymbolInfo, patience_s: float = 0.0) -> AsyncIterator[Channel]:
        """Lend the channel of a symbol, having waited `patience_s` at most for its book.

        Raises `TooMany`, `NotOffered` or `Closing`.
        """
        place = self._place(info)
        place.users += 1
        try:
            if patience_s:
                await self._until_known(place.channel, patience_s)
            yield place.channel
        finally:
            self._let_go(place)

    async def run(self) -> None:
        """Look at the books for ever; cancel to end."""
        while True:
            await asyncio.sleep(self._times.look_s)
            for channel in self._look_at_all(self.now()):
                await channel.waiting.call()

    def close(self) -> None:
        """End every stream and give every book back."""
        self.closed = True
        for place in self._places.values():
            place.channel.close()
        self._places = {}

    def _place(self, info: SymbolInfo, *, kept: bool = False) -> _Place:
        if self.closed:
            # Requests come in until the port is closed; nobody would give this book back.
            raise Closing
        now = self.now()
        place = self._places.get(info.market)
        if place is None:
            if not kept:
                self._make_room()
            book = self.library.lend(info)
            channel = Channel(info, book, self._now_ns, lambda: self.library.demo)
            place = self._places[info.market] = _Place(channel, self._times, now)
        else:
            place.refresh(now)
        place.kept = place.kept or kept
        # The exchange may have told more of it since it was first asked for.
        place.channel.info = info
        return place

    def _make_room(self) -> None:
        """Close what was left alone longest, where there is no room for one more."""
        others = {name: place for name, place in self._places.items() if not place.kept}
        if len(others) < self.limits.markets:
            return
        idle = [(place.left_at, name) for name, place in others.items() if not place.users]
        if not idle:
            raise TooMany("symbols being followed", self.limits.markets)
        self._places.pop(min(idle)[1]).channel.close()

    def _let_go(self, place: _Place) -> None:
        place.users -= 1
        place.left_at = self.now()

    def _look_at_all(self, now: float) -> list[Channel]:
        """Return the channels that have something to tell; close those left alone."""
        telling = []
        for market, place in list(self._places.items()):
            if place.users:
                if now >= place.due_at and place.look(now):
                    telling.append(place.channel)
            elif not place.kept and now - place.left_at > self._times.linger_s:
                del self._places[market]
                place.channel.close()
        return telling

    async def _until_known(self, channel: Channel, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                while not (channel.known or self.closed):
                    await channel.waiting.wait()
        except TimeoutError:
            _log.info("%s is not known after %.1f s", channel.info.symbol, patience_s)
