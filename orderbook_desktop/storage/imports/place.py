"""Whether an import has a place in what is recorded: there already, new, or in conflict."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.storage.database import Database
from orderbook_desktop.storage.imports.runs import FoundRun
from orderbook_desktop.storage.reading.stored_segments import StoredSegment, read_segments


class ImportConflict(KnownError):
    """What should be imported of `market` contradicts what is recorded, or mingles with it."""

    def __init__(self, market: str) -> None:
        self.market = market
        super().__init__(market)

    def __str__(self) -> str:
        return (
            f"Nothing was imported: it overlaps with what is recorded of {self.market}, or mingles "
            "with it out of order; import it into a database of its own, with another DB_NAME."
        )


class MarketPlace:
    """What is recorded of one market, as far as imports have to heed it."""

    def __init__(self, market: str, stored: Sequence[StoredSegment]) -> None:
        self.market = market
        self._stored = stored
        self._ids = {one.id for one in stored}

    @classmethod
    async def of(cls, database: Database, market: str) -> Self:
        """Return that of `market` in `database`. Raises as `read_segments`."""
        return cls(market, await read_segments(database, market))

    def wants(self, run: FoundRun) -> bool:
        """Whether `run` is not there yet. Its id stands for its contents."""
        return run.id not in self._ids

    def check(self, new: Sequence[Segment]) -> None:
        """Raise `ImportConflict` unless `new` segments fit between those that are there.

        Ids and times must tell the same order, and nothing may overlap. Where a recording
        is running nothing may come after it.
        """
        stored = [one.segment for one in self._stored if one.segment.event_count]
        if not new or not stored:
            return
        ordered = sorted((*stored, *new), key=lambda one: (one.snapshot_id, one.last_id))
        for before, after in pairwise(ordered):
            is_behind_running = before.end_cause is None and after in new
            overlaps = after.snapshot_id < before.last_id
            goes_back = after.first_event_ms < before.last_event_ms
            if (before in new or after in new) and (overlaps or goes_back or is_behind_running):
                raise ImportConflict(self.market)
