"""What is recorded of a market, and whether imported runs fit in: known, in part, new, or not."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Self

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.storage.imports.runs import FoundRun
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.segments import read_segments


class ImportConflict(KnownError):
    """The files contradict what is recorded of `market`.

    `final_id` is the update id of the first event that contradicts; None if the files as a whole
    do not fit between the recorded segments.
    """

    market: str
    final_id: int | None = None

    def __str__(self) -> str:
        reason = (
            "the update ids or times in the files overlap with what is recorded of "
            f"{self.market}, or contradict its order"
        )
        if self.final_id is not None:
            reason = (
                f"at update id {self.final_id} the files differ from what is recorded of "
                f"{self.market}"
            )
        return (
            f"Nothing was imported: {reason}; import the files into a database of their own, with "
            "another DB_NAME."
        )


class RecordedMarket:
    """The stored segments of one market, against which an import is checked."""

    def __init__(self, market: str, stored: Sequence[StoredSegment]) -> None:
        self.market = market
        self._stored = sorted(stored, key=_begin)
        self._ids = {segment.id for segment in stored}
        self._whole = {segment.id for segment in stored if not segment.cut_events}
        # The highest last id among the segments up to each index: a segment may lie inside another.
        self._highest_ids = list(
            accumulate((stored.segment.last_id for stored in self._stored), max)
        )

    @classmethod
    async def of(cls, database: Database, market: str) -> Self:
        """Read the segments of `market` from `database`. Raises what `read_segments` raises."""
        return cls(market, await read_segments(database, market))

    def has(self, run: FoundRun) -> bool:
        """Whether the whole `run` is stored. The id of a run is a digest of its contents."""
        return run.id in self._whole

    def check_ids(self, new: Iterable[FoundRun]) -> None:
        """Raise `ImportConflict` if a `new` run has the id of a segment that retention cuts."""
        if any(run.id in self._ids for run in new):
            raise ImportConflict(self.market)

    def parts(self, run: FoundRun) -> list[StoredSegment]:
        """Return the stored segments that `run` overlaps with, in order of their ids.

        Raises `ImportConflict` if these segments overlap with each other, or one is running.
        """
        after_id = run.segment.snapshot_id
        first = bisect_right(self._highest_ids, after_id)
        behind = bisect_left(self._stored, run.segment.last_id, key=_begin)
        parts = [
            stored
            for stored in self._stored[first:behind]
            if stored.segment.event_count and stored.segment.last_id > after_id
        ]
        last_id = 0
        for part in parts:
            if part.running or part.segment.snapshot_id < last_id:
                raise ImportConflict(self.market)
            last_id = part.segment.last_id
        return parts

    def check(self, new: Sequence[Segment], parts: Collection[str] = ()) -> None:
        """Raise `ImportConflict` unless the `new` segments fit between the stored ones.

        Ids and times must give the same order, and segments must not overlap. Stored segments
        whose ids are in `parts` are exempt: the import was found equal to them. No new segment
        may follow a running one.
        """
        stored = [
            stored.segment
            for stored in self._stored
            if (stored.segment.event_count or stored.running) and stored.id not in parts
        ]
        if not new or not stored:
            return
        segments = [(segment, False) for segment in stored] + [(segment, True) for segment in new]
        segments.sort(key=lambda item: (item[0].snapshot_id, item[0].last_id))
        # The highest id and the latest time so far: of stored segments (False) and new ones (True).
        reached = {False: (0, 0), True: (0, 0)}
        is_behind_running = False
        for segment, is_new in segments:
            last_id, last_ms = reached[not is_new]
            overlaps = segment.snapshot_id < last_id
            # A recording that has just begun has no time yet.
            goes_back = segment.event_count > 0 and segment.first_event_ms < last_ms
            if overlaps or goes_back or (is_new and is_behind_running):
                raise ImportConflict(self.market)
            # A segment may lie inside another; so keep the maximum.
            own_id, own_ms = reached[is_new]
            reached[is_new] = max(own_id, segment.last_id), max(own_ms, segment.last_event_ms)
            is_behind_running |= segment.end_cause is None


def _begin(stored: StoredSegment) -> int:
    return stored.segment.snapshot_id
