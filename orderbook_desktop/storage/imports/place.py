"""Whether an import has a place in what is recorded: known, known in part, new, or in conflict."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Self

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.storage.imports.runs import FoundRun
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.segments import StoredSegment, read_segments


class ImportConflict(KnownError):
    """What should be imported of `market` contradicts what is recorded, or mingles with it.

    `final_id` is that of the event where it does, None: it has no place as a whole.
    """

    def __init__(self, market: str, final_id: int | None = None) -> None:
        self.market = market
        self.final_id = final_id
        super().__init__(market, final_id)

    def __str__(self) -> str:
        why = f"it overlaps with what is recorded of {self.market}, or mingles with it out of order"
        if self.final_id is not None:
            why = (
                f"up to update id {self.final_id} it tells something else than what is recorded "
                f"of {self.market}"
            )
        return (
            f"Nothing was imported: {why}; import it into a database of its own, with another "
            "DB_NAME."
        )


class MarketPlace:
    """What is recorded of one market, as far as imports have to heed it."""

    def __init__(self, market: str, stored: Sequence[StoredSegment]) -> None:
        self.market = market
        self._stored = sorted(stored, key=_begin)
        self._ids = {one.id for one in stored}
        self._whole = {one.id for one in stored if not one.cut_events}
        # How far all up to each of them reach: one may lie inside another.
        self._reached = list(accumulate((one.segment.last_id for one in self._stored), max))

    @classmethod
    async def of(cls, database: Database, market: str) -> Self:
        """Return that of `market` in `database`. Raises as `read_segments`."""
        return cls(market, await read_segments(database, market))

    def has(self, run: FoundRun) -> bool:
        """Whether `run` is there as a whole. Its id stands for its contents."""
        return run.id in self._whole

    def check_ids(self, new: Iterable[FoundRun]) -> None:
        """Raise `ImportConflict` where a segment that retention just removes has the id of one."""
        if any(run.id in self._ids for run in new):
            raise ImportConflict(self.market)

    def parts(self, run: FoundRun) -> list[StoredSegment]:
        """Return the segments that `run` overlaps with, in order.

        Raises `ImportConflict` where they overlap with each other, or one is running.
        """
        after_id = run.segment.snapshot_id
        first = bisect_right(self._reached, after_id)
        behind = bisect_left(self._stored, run.segment.last_id, key=_begin)
        parts = [
            one
            for one in self._stored[first:behind]
            if one.segment.event_count and one.segment.last_id > after_id
        ]
        reached = 0
        for one in parts:
            if one.running or one.segment.snapshot_id < reached:
                raise ImportConflict(self.market)
            reached = one.segment.last_id
        return parts

    def check(self, new: Sequence[Segment], parts: Collection[str] = ()) -> None:
        """Raise `ImportConflict` unless `new` segments fit between those that are there.

        Ids and times must tell the same order, and nothing may overlap, but for the `parts`
        (ids) that are known to be the same. Where a recording is running nothing may come
        after it.
        """
        stored = [
            one.segment
            for one in self._stored
            if (one.segment.event_count or one.running) and one.id not in parts
        ]
        if not new or not stored:
            return
        mingled = [(one, False) for one in stored] + [(one, True) for one in new]
        mingled.sort(key=lambda item: (item[0].snapshot_id, item[0].last_id))
        # How far those that are there reach, and the new ones: last ids, and last times.
        reached = {False: (0, 0), True: (0, 0)}
        is_behind_running = False
        for one, is_new in mingled:
            last_id, last_ms = reached[not is_new]
            overlaps = one.snapshot_id < last_id
            # A recording that only just began knows no time yet.
            goes_back = one.event_count > 0 and one.first_event_ms < last_ms
            if overlaps or goes_back or (is_new and is_behind_running):
                raise ImportConflict(self.market)
            # One may lie inside another: then this is not the last that it reaches.
            own_id, own_ms = reached[is_new]
            reached[is_new] = max(own_id, one.last_id), max(own_ms, one.last_event_ms)
            is_behind_running |= one.end_cause is None


def _begin(one: StoredSegment) -> int:
    return one.segment.snapshot_id
