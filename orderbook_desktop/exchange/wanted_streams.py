"""The streams that are wanted on a connection, and the commands that subscribe to them.

Source: Binance Spot API, "Live Subscribing/Unsubscribing to streams". No I/O and no clock
inside: the caller passes the time in seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.frames import ControlReply

_log = logging.getLogger(__name__)

_STREAMS_A_COMMAND: Final = 100
_BY_ADDRESS: Final = 0
_RETRY_FIRST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command to send: `method` is SUBSCRIBE or UNSUBSCRIBE, `number` its id."""

    number: int
    method: str
    markets: list[str]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The exchange has confirmed these markets: it will send every later event."""

    markets: list[str]


@dataclass(frozen=True, slots=True)
class Refused:
    """The exchange has refused these markets for `reason`; they are asked for again later."""

    markets: list[str]
    reason: str


class WantedStreams:
    """Compares the wanted streams with the requested ones, and makes the next command.

    A command is made when it can be sent, not when a wish arises: a wish that was withdrawn by
    then costs nothing. `confirmed` are the markets that the exchange has confirmed. `asked` (of
    the constructor) are those that the connection's address named.
    """

    def __init__(self, asked: Iterable[str], answer_within_s: float = 10.0) -> None:
        self.confirmed = set(asked)
        self._answer_within = answer_within_s
        # The number of the last command about the market: the answer to an older one is void.
        self._asked = dict.fromkeys(self.confirmed, _BY_ADDRESS)
        self._wanted: dict[str, None] = dict.fromkeys(asked)
        self._renewing: dict[str, None] = {}
        self._waiting: dict[int, float] = {}
        self._last_number = 0
        self._retry_at: dict[str, float] = {}
        self._retry_delays: dict[str, Iterator[float]] = {}

    def want(self, markets: Iterable[str]) -> None:
        """Ask for the streams of `markets`, unless that was done already."""
        self._wanted.update(dict.fromkeys(markets))

    def unwant(self, markets: Iterable[str]) -> None:
        """Ask for the end of the streams of `markets`."""
        for market in markets:
            self._wanted.pop(market, None)
            self._retry_at.pop(market, None)
            self._retry_delays.pop(market, None)

    def renew(self, markets: Iterable[str]) -> None:
        """Unsubscribe and subscribe `markets` anew."""
        for market in markets:
            self.confirmed.discard(market)
            if market in self._asked:
                self._renewing[market] = None

    def has_command(self, now: float) -> bool:
        """Whether there is something to send at `now`."""
        return self._next(now) is not None

    def next_command(self, now: float) -> Command | None:
        """Return the command to send at `now` and count it as sent; None if there is none."""
        wish = self._next(now)
        if wish is None:
            return None
        method, markets = wish
        self._last_number += 1
        for market in markets:
            self._renewing.pop(market, None)
            if method == "SUBSCRIBE":
                self._asked[market] = self._last_number
            else:
                del self._asked[market]
                self.confirmed.discard(market)
        self._waiting[self._last_number] = now
        return Command(self._last_number, method, markets)

    def answered(self, reply: ControlReply, now: float) -> Confirmed | Refused:
        """Take an answer of the exchange; return what it means for which markets."""
        number = reply.id if isinstance(reply.id, int) and reply.id in self._waiting else None
        if number is not None:
            del self._waiting[number]
        markets = [market for market, asked in self._asked.items() if asked == number]
        if not reply.error:
            self.confirmed.update(markets)
            for market in markets:
                self._retry_delays.pop(market, None)
            return Confirmed(markets)
        reason = plain_text(reply.error)
        _log.warning("the exchange refused command %.40r for %s: %s", reply.id, markets, reason)
        for market in markets:
            del self._asked[market]
            delays = self._retry_delays.setdefault(market, backoff_delays(first=_RETRY_FIRST_S))
            self._retry_at[market] = now + next(delays)
        return Refused(markets, reason)

    def resumed(self, now: float) -> None:
        """No answer could be read until now, because this program was suspended."""
        self._waiting = dict.fromkeys(self._waiting, now)

    def is_overdue(self, now: float) -> bool:
        """Whether an answer of the exchange is overdue."""
        oldest = min(self._waiting.values(), default=now)
        return now - oldest >= self._answer_within

    def _next(self, now: float) -> tuple[str, list[str]] | None:
        fresh = (
            market
            for market in self._wanted
            if market not in self._asked and self._retry_at.get(market, 0.0) <= now
        )
        stale = (market for market in self._asked if market not in self._wanted)
        # A consumer waits for a wanted stream; an unwanted stream may go on for a moment.
        for method, candidates in (
            ("UNSUBSCRIBE", iter(self._renewing)),
            ("SUBSCRIBE", fresh),
            ("UNSUBSCRIBE", stale),
        ):
            markets = list(islice(candidates, _STREAMS_A_COMMAND))
            if markets:
                return method, markets
        return None
