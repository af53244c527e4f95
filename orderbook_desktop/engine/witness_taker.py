"""Takes witnesses: snapshots of the exchange's books, with which `verify` compares a recording."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthSnapshot
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.exchange.errors import Paced
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.witnesses import Witnesses

_log = logging.getLogger(__name__)

# A request for a hundred levels a side has a weight of 5: a hundred markets take less than a
# percent of the weight that the exchange grants.
_DEPTH: Final = 100


class WitnessTimes(Struct, frozen=True):
    """When snapshots are taken: first after the beginning of a segment, then at intervals."""

    first_after_s: float = 60.0
    every_s: float = 600.0
    look_every_s: float = 5.0


class WitnessTaker:
    """Takes and stores snapshots of the recorded markets, one market after the other.

    `await run(sessions)` until it is cancelled; `sessions` returns the open sessions. `snapshot`
    returns the book of a market with so many levels a side. If it raises a `KnownError`, that is
    logged, and the snapshot is tried again.
    """

    def __init__(
        self,
        snapshot: Callable[[str, int], Awaitable[DepthSnapshot]],
        database: Database,
        times: WitnessTimes | None = None,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._snapshot = snapshot
        self._now_ns = now_ns
        self._database = database
        self._times = times or WitnessTimes()
        self._now = now
        # For each market: the segment that it recorded at the last look, and when the next
        # snapshot of that segment is due.
        self._due: dict[str, tuple[str, float]] = {}

    async def run(self, sessions: Callable[[], Iterable[MarketSession]]) -> None:
        """Take snapshots until cancelled."""
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
            elif self._now() >= due and await self._take(session, segment_id):
                self._due[market] = segment_id, self._now() + self._times.every_s

    async def _take(self, session: MarketSession, segment_id: str) -> bool:
        """Take a snapshot; return False if it has to be tried again soon."""
        await self._database.until_connected()
        base_id, horizon = session.live.base_id, session.live.book.horizon
        try:
            snapshot = await self._snapshot(session.market, _DEPTH)
            if (session.sink.segment_id, session.live.base_id) != (segment_id, base_id):
                # The book was loaded anew meanwhile, and the snapshot may be of either book.
                return True
            if await asyncio.to_thread(_is_crossed, snapshot):
                # A crossed book proves nothing.
                _log.warning("%s: the exchange gave a crossed book", session.market)
                return False
            taken_ms = self._now_ns() // 1_000_000
            witness = Witness.of_answer(snapshot, taken_ms, segment_id, horizon)
            with driver_failures_raised():
                await Witnesses(self._database).put(witness)
        except Paced:
            # To keep to the exchange's limit is no trouble.
            return False
        except KnownError as error:
            _log.warning("%s: no snapshot to verify the recording by: %s", session.market, error)
            return False
        return True


def _is_crossed(snapshot: DepthSnapshot) -> bool:
    book = Book()
    book.load(snapshot)
    return book.crossing() is not None
