"""Asks for books again when the price nears the edge of what is known, and widens running ones."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.widening import Joined, JoinOutcome, WideningPolicy
from orderbook_desktop.exchange.errors import Paced, RateLimited
from orderbook_desktop.exchange.limits import WEIGHT_A_MINUTE
from orderbook_desktop.exchange.rest import weight_of
from orderbook_desktop.system.tasks import set_within

_log = logging.getLogger(__name__)

_DEPTH: Final = 5_000


class Widening:
    """The events that a running book takes while an answer for it is asked for.

    `is_lost` is true once that book has ended: no answer can be joined to it any more.
    """

    def __init__(self) -> None:
        self.events: list[DepthDiff] = []
        self.is_lost = False
        self._moved = asyncio.Event()

    def applied(self, diff: DepthDiff) -> None:
        """Keep an event that the book has taken."""
        self.events.append(diff)
        self._moved.set()

    def lost(self) -> None:
        """Note that the book has ended."""
        self.is_lost = True
        self._moved.set()

    async def until(self, is_reached: Callable[[], bool], within_s: float) -> None:
        """Wait until the book has come so far, or is lost, for `within_s` at most."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + within_s
        while not self.is_lost and not is_reached() and (left := ends_at - loop.time()) > 0:
            self._moved.clear()
            await set_within(self._moved, left)


class WidenableFeed(Protocol):
    """The members of a `BookFeed` that a widener needs."""

    @property
    def market(self) -> str:
        """The exchange's symbol."""
        ...

    @property
    def book(self) -> Book:
        """The book; empty while it is not known."""
        ...

    @property
    def base_id(self) -> int:
        """The update id of the snapshot under the book; 0 while the book is not known."""
        ...

    async def widen(self, fetch: Callable[[], Awaitable[DepthSnapshot]]) -> JoinOutcome | None:
        """Join the answer that `fetch` returns to the running book; None if that was lost."""
        ...


class Widener:
    """Widens the books of feeds, one after the other, as `WideningPolicy` decides.

    `await run(feeds)` until it is cancelled; `feeds` returns the exchange's feeds. `snapshot`
    returns the book of a market with so many levels a side. If it raises a `KnownError`, that is
    logged, and the book is asked for again when it may be. Each look merges the changes of the
    books, so `look_every_s` should not be short.
    """

    def __init__(
        self,
        snapshot: Callable[[str, int], Awaitable[DepthSnapshot]],
        look_every_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshot = snapshot
        self._look_every_s = look_every_s
        self._now = now
        self._policy = WideningPolicy(weight_of(_DEPTH), WEIGHT_A_MINUTE)
        # For each market: the snapshot that was under its book at the last look.
        self._bases: dict[str, int] = {}

    async def run(self, feeds: Callable[[], Iterable[WidenableFeed]]) -> None:
        """Widen books until cancelled."""
        while True:
            await asyncio.sleep(self._look_every_s)
            await self.look(feeds())

    async def look(self, feeds: Iterable[WidenableFeed]) -> None:
        """Widen the books that are due; the one that was asked for longest ago comes first."""
        known = {feed.market: feed for feed in feeds if feed.base_id}
        for market in self._bases.keys() - known.keys():
            del self._bases[market]
            self._policy.forget(market)
        for market in sorted(known, key=self._policy.asked_at):
            feed = known[market]
            if self._bases.get(market) != feed.base_id:
                self._bases[market] = feed.base_id
                self._note(feed)
            elif self._is_due(feed):
                await self._widen(feed)

    def _is_due(self, feed: WidenableFeed) -> bool:
        now_s = self._now()
        # Reading a book merges its changes.
        if not self._policy.may_ask(feed.market, now_s):
            return False
        return self._policy.wants(feed.market, feed.book.best(), feed.book.horizon, now_s)

    def _note(self, feed: WidenableFeed) -> None:
        self._policy.known(feed.market, feed.book.best(), feed.book.horizon)

    async def _widen(self, feed: WidenableFeed) -> None:
        try:
            outcome = await feed.widen(lambda: self._asked(feed.market))
        except (Paced, RateLimited):
            # To keep to the exchange's limit is no trouble.
            return
        except KnownError as error:
            _log.warning("%s: the book is not known any deeper: %s", feed.market, error)
            return
        if isinstance(outcome, Joined):
            self._note(feed)

    async def _asked(self, market: str) -> DepthSnapshot:
        asked_s = self._now()
        try:
            answer = await self._snapshot(market, _DEPTH)
        except (Paced, RateLimited):
            # No request went out.
            raise
        except KnownError:
            self._policy.asked(market, asked_s)
            raise
        self._policy.asked(market, asked_s)
        return answer
