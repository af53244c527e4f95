"""Whether an import has a place in what is recorded: there already, new, or in conflict."""

from __future__ import annotations

from collections.abc import Sequence
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
        mingled = [(one, False) for one in stored] + [(one, True) for one in new]
        mingled.sort(key=lambda item: (item[0].snapshot_id, item[0].last_id))
        # How far those that are there reach, and the new ones: last ids, and last times.
        reached = {False: (0, 0), True: (0, 0)}
        is_behind_running = False
        for one, is_new in mingled:
            last_id, last_ms = reached[not is_new]
            overlaps, goes_back = one.snapshot_id < last_id, one.first_event_ms < last_ms
            if overlaps or goes_back or (is_new and is_behind_running):
                raise ImportConflict(self.market)
            # One may lie inside another: then this is not the last that it reaches.
            own_id, own_ms = reached[is_new]
            reached[is_new] = max(own_id, one.last_id), max(own_ms, one.last_event_ms)
            is_behind_running |= one.end_cause is None
