"""Takes snapshots of the exchange while it is recorded, for `verify` to hold the books against."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthSnapshot
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.storage.failures import driver_failures_told
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.witnesses import Witnesses

_log = logging.getLogger(__name__)

# A hundred levels a side weigh 5: a hundred markets cost the exchange less than a percent of
# the weight that it grants.
_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class WitnessTimes:
    """When snapshots are taken: after the beginning of a segment, and then ever again."""

    first_after_s: float = 60.0
    every_s: float = 600.0
    look_every_s: float = 5.0


class ShallowBooks(Protocol):
    """Where the best levels of a book are to be had."""

    async def snapshot(self, market: str, limit: int | None = None) -> DepthSnapshot:
        """Return the book of `market` with up to `limit` levels a side; raises `KnownError`."""
        ...


class WitnessTaker:
    """Takes and stores a snapshot of each market that is recorded, one after the other.

    `await run(sessions)` until it is cancelled; `sessions` returns those that are open now.
    What fails is logged and tried again.
    """

    def __init__(
        self,
        books: ShallowBooks,
        database: Database,
        times: WitnessTimes | None = None,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._books = books
        self._now_ns = now_ns
        self._database = database
        self._times = times or WitnessTimes()
        self._now = now
        # By market, the segment that was recorded when it was last looked at, and when its
        # next snapshot is due.
        self._due: dict[str, tuple[str, float]] = {}

    async def run(self, sessions: Callable[[], Iterable[MarketSession]]) -> None:
        """Take snapshots for ever."""
        while True:
            await asyncio.sleep(self._times.look_every_s)
            await self.look(list(sessions()))

    async def look(self, sessions: Iterable[MarketSession]) -> None:
        """Take the snapshots that are due."""
        open_now = {session.market: session for session in sessions}
        for market in self._due.keys() - open_now.keys():
            del self._due[market]
        for market, session in open_now.items():
            segment_id = session.sink.segment_id
            if segment_id is None:
                self._due.pop(market, None)
                continue
            known, due = self._due.get(market, ("", 0.0))
            if known != segment_id:
                self._due[market] = segment_id, self._now() + self._times.first_after_s
            elif self._now() >= due and await self._taken(session, segment_id):
                self._due[market] = segment_id, self._now() + self._times.every_s

    async def _taken(self, session: MarketSession, segment_id: str) -> bool:
        """Take a snapshot; return whether that is done with, be it that it came too late."""
        await self._database.until_connected()
        base_id, horizon = session.live.base_id, session.live.horizon
        try:
            snapshot = await self._books.snapshot(session.market, _DEPTH)
            if (session.sink.segment_id, session.live.base_id) != (segment_id, base_id):
                # The book was loaded anew meanwhile: nobody knows which of the two it is of.
                return True
            if await asyncio.to_thread(_is_crossed, snapshot):
                # It is no witness of anything.
                _log.warning("%s: the exchange gave a crossed book", session.market)
                return False
            taken_ms = self._now_ns() // 1_000_000
            witness = Witness(snapshot, _DEPTH, taken_ms, segment_id, horizon)
            with driver_failures_told():
                await Witnesses(self._database).put(witness)
        except KnownError as error:
            _log.info("%s: no snapshot to verify the recording by: %s", session.market, error)
            return False
        return True


def _is_crossed(snapshot: DepthSnapshot) -> bool:
    book = Book()
    book.load(snapshot)
    return book.crossing() is not None
