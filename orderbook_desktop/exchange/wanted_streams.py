"""The streams that are wanted on a connection, and the commands that subscribe to them.

Source: Binance Spot API, "Live Subscribing/Unsubscribing to streams". No I/O and no clock
inside: the caller passes the time in seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.frames import ControlReply

_log = logging.getLogger(__name__)

_STREAMS_A_COMMAND: Final = 100
_BY_ADDRESS: Final = 0
_RETRY_FIRST_S: Final = 1.0


class Command(Struct, frozen=True):
    """A command to send: `method` is SUBSCRIBE or UNSUBSCRIBE, `number` its id."""

    number: int
    method: str
    streams: list[str]


class Confirmed(Struct, frozen=True):
    """The exchange has confirmed these streams: it will send every later event."""

    streams: list[str]


class Refused(Struct, frozen=True):
    """The exchange has refused these streams for `reason`; they are asked for again later."""

    streams: list[str]
    reason: str


class WantedStreams:
    """Compares the wanted streams with the requested ones, and makes the next command.

    Streams are the exchange's names of them. A command is made when it can be sent, not when a wish
    arises: a wish that was withdrawn by then costs nothing. `confirmed` are the streams that the
    exchange has confirmed. `asked` (of the constructor) are those that the connection's address
    named.
    """

    def __init__(self, asked: Iterable[str], answer_within_s: float = 10.0) -> None:
        self.confirmed = set(asked)
        self._answer_within = answer_within_s
        # The number of the last command about the stream: the answer to an older one is void.
        self._asked = dict.fromkeys(self.confirmed, _BY_ADDRESS)
        self._wanted: dict[str, None] = dict.fromkeys(asked)
        self._renewing: dict[str, None] = {}
        self._waiting: dict[int, float] = {}
        self._last_number = 0
        self._retry_at: dict[str, float] = {}
        self._retry_delays: dict[str, Iterator[float]] = {}

    def want(self, streams: Iterable[str]) -> None:
        """Ask for `streams`, unless that was done already."""
        self._wanted.update(dict.fromkeys(streams))

    def unwant(self, streams: Iterable[str]) -> None:
        """Ask for the end of `streams`."""
        for stream in streams:
            self._wanted.pop(stream, None)
            self._retry_at.pop(stream, None)
            self._retry_delays.pop(stream, None)

    def renew(self, streams: Iterable[str]) -> None:
        """Unsubscribe and subscribe `streams` anew."""
        for stream in streams:
            self.confirmed.discard(stream)
            if stream in self._asked:
                self._renewing[stream] = None

    def has_command(self, now: float) -> bool:
        """Whether there is something to send at `now`."""
        return self._next(now) is not None

    def next_command(self, now: float) -> Command | None:
        """Return the command to send at `now` and count it as sent; None if there is none."""
        wish = self._next(now)
        if wish is None:
            return None
        method, streams = wish
        self._last_number += 1
        for stream in streams:
            self._renewing.pop(stream, None)
            if method == "SUBSCRIBE":
                self._asked[stream] = self._last_number
            else:
                del self._asked[stream]
                self.confirmed.discard(stream)
        self._waiting[self._last_number] = now
        return Command(self._last_number, method, streams)

    def answered(self, reply: ControlReply, now: float) -> Confirmed | Refused:
        """Take an answer of the exchange; return what it means for which streams."""
        number = reply.id if isinstance(reply.id, int) and reply.id in self._waiting else None
        if number is not None:
            del self._waiting[number]
        streams = [stream for stream, asked in self._asked.items() if asked == number]
        if not reply.error:
            self.confirmed.update(streams)
            for stream in streams:
                self._retry_delays.pop(stream, None)
            return Confirmed(streams)
        reason = plain_text(reply.error)
        _log.warning("the exchange refused command %.40r for %s: %s", reply.id, streams, reason)
        for stream in streams:
            del self._asked[stream]
            delays = self._retry_delays.setdefault(stream, backoff_delays(first=_RETRY_FIRST_S))
            self._retry_at[stream] = now + next(delays)
        return Refused(streams, reason)

    def resumed(self, now: float) -> None:
        """No answer could be read until now, because this program was suspended."""
        self._waiting = dict.fromkeys(self._waiting, now)

    def is_overdue(self, now: float) -> bool:
        """Whether an answer of the exchange is overdue."""
        oldest = min(self._waiting.values(), default=now)
        return now - oldest >= self._answer_within

    def _next(self, now: float) -> tuple[str, list[str]] | None:
        fresh = (
            stream
            for stream in self._wanted
            if stream not in self._asked and self._retry_at.get(stream, 0.0) <= now
        )
        stale = (stream for stream in self._asked if stream not in self._wanted)
        # A consumer waits for a wanted stream; an unwanted stream may go on for a moment.
        for method, candidates in (
            ("UNSUBSCRIBE", iter(self._renewing)),
            ("SUBSCRIBE", fresh),
            ("UNSUBSCRIBE", stale),
        ):
            streams = list(islice(candidates, _STREAMS_A_COMMAND))
            if streams:
                return method, streams
        return None
