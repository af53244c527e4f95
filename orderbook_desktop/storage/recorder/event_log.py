"""Writes events, and writes those again that the database has lost.

A database must not lose what it acknowledged. SecantusDB loses nothing if it is killed, but its
engine may lose some seconds if its disk is full and it has to start again. So the latest events are
kept, to be written again.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert
from orderbook_desktop.storage.store.event_writer import EventWriter, Outcome
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.segments import has_segment

_log = logging.getLogger(__name__)

# The age counts back from the last acknowledgement, so an outage may take any time. The longest
# loss that was seen covered 4 s; WiredTiger makes a checkpoint every 10 s (see `secantus_child`).
_KEPT_S: Final = 30.0
_KEPT_BYTES: Final = 32 * 2**20


class EventLog:
    """Writes events; each update id of a market at most once.

    Call `restore()` after the database was interrupted. `now` is a clock in seconds that never
    goes back.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._writer = EventWriter(database)
        self._now = now
        # The latest acknowledged events, each with the time of that.
        self._latest: deque[tuple[float, Insert]] = deque()
        self._latest_bytes = 0

    @property
    def has_latest(self) -> bool:
        """Whether there are events that may have to be written again."""
        return bool(self._latest)

    async def restore(self, had_segment: Callable[[str], bool] = lambda _: False) -> None:
        """Write again the latest acknowledged events that the database doesn't have any more.

        `had_segment` says of a market whether a segment of it was stored before the latest events.
        If none is stored any more, the recording was deleted, and stays so. Raises PyMongo's
        errors; repeating is harmless.
        """
        by_stream: dict[Stream, dict[int, Insert]] = {}
        for _, event in self._latest:
            by_stream.setdefault(event.stream, {})[event.final_id] = event
        for stream, events in by_stream.items():
            market = stream.market
            lost = await self._lost_of(market, events)
            if not lost:
                continue
            if had_segment(market) and not await has_segment(self._database, market):
                self.forget(stream)
                continue
            outcome = await self._writer.write([events[final_id] for final_id in sorted(lost)])
            for refusal in outcome.refused.values():
                _log.error("%s", refusal)
            _log.warning(
                "%s: the database had lost %d events that it had acknowledged; "
                "%d of them are written again",
                market,
                len(lost),
                len(lost) - len(outcome.refused),
            )

    async def _lost_of(self, market: str, ids: Collection[int]) -> set[int]:
        """Return which of the final ids `ids` are neither stored nor archived."""
        lost = set(ids) - await RawEvents(self._database, market).stored(ids)
        if not lost:
            return lost
        try:
            lost -= await ChunkStore(self._database).archived_ids(market, lost)
            runs = await BooklessRuns(self._database).of(market)
        except KnownError as error:
            # Recording has to go on; `verify` names both the damage and the loss.
            _log.error("%s: what the database has lost can't be written again: %s", market, error)
            return set()
        return lost.difference(*(run.ids for run in runs if run.is_archived))

    def forget(self, stream: Stream) -> None:
        """Don't write again what was written of `stream`: its recording was deleted."""
        self._latest = deque(kept for kept in self._latest if kept[1].stream != stream)
        self._latest_bytes = sum(len(event.payload) for _, event in self._latest)

    async def insert(self, events: Sequence[Insert]) -> Outcome:
        """Write `events`, and return when all but the refused ones are acknowledged.

        Raises PyMongo's errors; then any part of the events may be written, and repeating is
        harmless. Raises `UnstorableAmong`; then try again with fewer events at a time.
        """
        if not events:
            return Outcome()
        outcome = await self._writer.write(events)
        at = self._now()
        for event in events:
            if event not in outcome.refused:
                self._latest.append((at, event))
                self._latest_bytes += len(event.payload)
        self._let_old_go()
        return outcome

    def _let_old_go(self) -> None:
        since = self._now() - _KEPT_S
        while self._latest and (self._latest[0][0] < since or self._latest_bytes > _KEPT_BYTES):
            _, event = self._latest.popleft()
            self._latest_bytes -= len(event.payload)
