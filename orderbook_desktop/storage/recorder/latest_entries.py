"""The latest entries of a ledger, to be written again if the database has lost them.

A database may lose what it acknowledged (see `event_log`). Two kinds of entries need no second
writing. A segment's progress is written each second, as a whole. The books inside a segment only
make it quicker to read, and are replaced each minute.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.storage.recorder.pending import (
    Answered,
    Close,
    LedgerEntry,
    Loose,
    Open,
    OpenSegment,
)
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.checkpoints import Checkpoints
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.segments import read_segment
from orderbook_desktop.storage.store.witnesses import Witnesses

_log = logging.getLogger(__name__)

# As for events, the age counts back from the last write that was acknowledged.
_KEPT_S: Final = 30.0
_KEPT_BYTES: Final = 32 * 2**20


class LatestEntries:
    """Keeps the entries that the database acknowledged in the last 30 s.

    Call `keep` after each entry, `let_old_go` after other writes, and `restore` after the database
    was interrupted. `begin` writes a segment and the book that it begins with, `end` the end of a
    segment that is stored.
    """

    def __init__(
        self,
        database: Database,
        begin: Callable[[Open], Awaitable[object]],
        end: Callable[[OpenSegment], Awaitable[object]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._begin = begin
        self._end = end
        self._now = now
        self._books = Checkpoints(database)
        self._bookless = BooklessRuns(database)
        self._witnesses = Witnesses(database)
        self._entries: deque[tuple[float, Open | Answered | Close | Loose]] = deque()
        self._bytes = 0
        self._begun_markets: set[str] = set()
        self._restored_at = 0

    @property
    def is_whole(self) -> bool:
        """Whether the database has all entries that it acknowledged, as far as is known."""
        return self._restored_at == self._database.interruptions or not self._entries

    def had_segment(self, market: str) -> bool:
        """Whether a segment of `market` was stored too long ago to be among these entries.

        If no segment of the market is stored now, its recording was deleted.
        """
        is_new = any(
            isinstance(entry, Open) and entry.segment.state.market == market
            for _, entry in self._entries
        )
        return market in self._begun_markets and not is_new

    def keep(self, entry: LedgerEntry, interruptions: int) -> None:
        """Keep an entry that was written after so many interruptions."""
        if isinstance(entry, Open):
            self._begun_markets.add(entry.segment.state.market)
        if isinstance(entry, Open | Answered | Close | Loose):
            if not self._entries:
                self._restored_at = interruptions
            self._entries.append((self._now(), entry))
            self._bytes += _bytes_of(entry)
            self.let_old_go()

    def let_old_go(self) -> None:
        """Drop what is too old, now that the database has acknowledged a write."""
        since = self._now() - _KEPT_S
        while self._entries and (self._entries[0][0] < since or self._bytes > _KEPT_BYTES):
            self._bytes -= _bytes_of(self._entries.popleft()[1])

    async def restore(self) -> None:
        """Write again what the database has lost; events must be restored before.

        Raises PyMongo's errors; repeating is harmless.
        """
        interruptions = self._database.interruptions
        entries = [entry for _, entry in self._entries]
        begun = {entry.segment.id: entry for entry in entries if isinstance(entry, Open)}
        for opening in begun.values():
            await self._restore_begin(opening)
        for entry in entries:
            if isinstance(entry, Close):
                await self._restore_end(entry.segment)
            elif isinstance(entry, Answered) and await self._is_stored(entry.segment):
                await self._witnesses.put(entry.witness)
        await self._restore_bookless([entry for entry in entries if isinstance(entry, Loose)])
        self._restored_at = interruptions

    async def _restore_begin(self, entry: Open) -> None:
        segment = entry.segment
        try:
            stored = await read_segment(self._database, segment.id)
        except KnownError as error:
            _log.error("%s: a segment can't be written again: %s", segment.state.market, error)
            return
        is_cut = stored is not None and stored.cut_events > 0
        if is_cut or (stored is not None and await self._books.is_settled(segment.id, entry.base)):
            return
        _log_loss(segment)
        await self._begin(entry)

    async def _is_stored(self, segment: OpenSegment) -> bool:
        """Whether a segment is stored; a damaged one is."""
        try:
            return await read_segment(self._database, segment.id) is not None
        except KnownError:
            return True

    async def _restore_end(self, segment: OpenSegment) -> None:
        try:
            stored = await read_segment(self._database, segment.id)
        except KnownError:
            return
        # A segment that is missing, and began earlier, was removed by retention or a user.
        if stored is not None and stored.running:
            _log_loss(segment)
            await self._end(segment)

    async def _restore_bookless(self, runs: Sequence[Loose]) -> None:
        stored = await self._bookless.stored([entry.id for entry in runs]) if runs else set()
        for entry in runs:
            if entry.id in stored:
                continue
            # Retention may have removed a run with its events.
            market, ids = entry.stream.market, {event.final_id for event in entry.events}
            left = await RawEvents(self._database, market).stored(ids)
            events = [event for event in entry.events if event.final_id in left]
            if events:
                await self._bookless.put(market, events, entry.id)


def _log_loss(segment: OpenSegment) -> None:
    _log.warning(
        "%s: the database had lost segment %s, or a part of it, that it had acknowledged; "
        "it is written again",
        *(segment.state.market, segment.id),
    )


def _bytes_of(entry: Open | Answered | Close | Loose) -> int:
    if isinstance(entry, Answered):
        return len(entry.witness.snapshot.payload)
    return entry.base.weight if isinstance(entry, Open) else 0
