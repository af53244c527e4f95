"""Retention: removes the oldest part of a recording by age and by size, in small steps.

By age it removes recorded events that are older, by the exchange's clock, than so many days before
the newest recorded event. Imported events stay, however old they are. By size it removes the
oldest events of all markets first, recorded or imported. It never removes events that are not
archived yet, nor the newest chunk. Trades are removed as events are, with those of the same time.

The limit is for the size of the database's files. But these files never shrink, so their size
can't show how much to remove. Retention therefore adds up the recording and the space that the
database needs to work (`core.disk.FolderSize.working_bytes`). Removed documents leave free space
inside the files. New documents use it, so the files don't grow beyond the limit.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from orderbook_desktop.core.disk import RecordingSize, Retention, bytes_text
from orderbook_desktop.storage.store.cuts import (
    ChainLink,
    CutSegment,
    Removed,
    SegmentCutter,
    Wanted,
    cuttable_segments,
)
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_cuts import cuttable_trades
from orderbook_desktop.storage.store.witnesses import Witnesses

_log = logging.getLogger(__name__)

_CHUNKS_A_STEP: Final = 20
# When the recording is cut by size, the beginnings of the markets differ by no more than this.
_SLACK_MS: Final = 600_000
# A recording may be this much above its limit, as a factor, before a notice says so.
_TOLERANCE: Final = 1.05

Measure = Callable[[], Awaitable[RecordingSize]]


class Cuttable(Protocol):
    """A part of a recording whose oldest chunks can be cut."""

    @property
    def market(self) -> str:
        """Its market."""
        ...

    @property
    def from_ms(self) -> int:
        """The time of its beginning (ms since the epoch)."""
        ...

    @property
    def ages(self) -> bool:
        """Whether it is cut by age."""
        ...

    async def cut(self, wanted: Wanted) -> Removed:
        """Cut the wanted chunks, at most one step of them."""
        ...


class CuttableSegment:
    """A segment that can be cut. If it `is_newest`, its last chunk stays."""

    def __init__(self, cutter: SegmentCutter, segment: CutSegment, *, is_newest: bool) -> None:
        self._cutter = cutter
        self._segment = segment
        self._is_newest = is_newest

    @property
    def market(self) -> str:
        """The market of the segment."""
        return self._segment.stored.segment.market

    @property
    def from_ms(self) -> int:
        """The time of its first event (ms since the epoch); without events, of its last write."""
        return self._segment.stored.segment.first_event_ms or self._segment.alive_ms

    @property
    def ages(self) -> bool:
        """Whether it is cut by age; imported segments are not."""
        return not self._segment.stored.is_imported

    async def cut(self, wanted: Wanted) -> Removed:
        """Cut the wanted chunks, at most one step of them."""
        return await self._cutter.cut(
            self._segment, wanted, _CHUNKS_A_STEP, whole=not self._is_newest
        )


class Pruner:
    """Removes events from `database` according to a `Retention`.

    `problem` is a sentence for the user if the recording stays above its limit, else empty.
    Between two steps it pauses for `pause_s`, since new events come first. Several processes may
    prune one database: each can continue after any step of another.
    """

    def __init__(self, database: Database, pause_s: float = 0.05) -> None:
        self.problem = ""
        self._database = database
        self._pause_s = pause_s
        self._cutter = SegmentCutter(database)
        self._swept = False

    async def prune(
        self, retention: Retention, now_ms: int, measure: Measure, working_bytes: int = 0
    ) -> int:
        """Remove all that `retention` doesn't keep at `now_ms`; return how many events these were.

        `measure` returns the recording's size. `working_bytes` is the space that the database needs
        to work. Raises PyMongo's errors; then call it again.
        """
        segments = await cuttable_segments(self._database)
        for segment in segments:
            await self._cutter.finish(segment)
        trades = await cuttable_trades(self._database)
        ends = [segment.stored.segment.last_event_ms for segment in segments]
        ends += [part.to_ms for part in trades]
        if not ends:
            return 0
        removed = _Total()
        newest_ms = max(ends)
        # The earlier of both: a wrong clock must not make everything old, nor may a future event.
        horizon_ms = retention.horizon_ms(min(now_ms, newest_ms))
        if horizon_ms is not None:
            cuttable: list[Cuttable] = [*self._cuttable(segments), *trades]
            await self._prune_by_age(cuttable, horizon_ms, removed)
        self.problem = await self._prune_by_size(retention, measure, working_bytes, removed)
        await self._sweep_witnesses(removed.markets)
        if removed.events:
            _log.info(
                "removed the oldest %d events and trades of %d markets, %d bytes; retention: %s",
                *(removed.events, len(removed.markets), removed.bytes, retention.text()),
            )
        return removed.events

    async def _prune_by_age(
        self, cuttable: Iterable[Cuttable], horizon_ms: int, removed: _Total
    ) -> None:
        for part in cuttable:
            while part.ages and part.from_ms < horizon_ms:
                cut = await part.cut(lambda link: link.to_ms < horizon_ms)
                removed.add(part.market, cut)
                await asyncio.sleep(self._pause_s)
                if cut.is_last:
                    break

    async def _prune_by_size(
        self, retention: Retention, measure: Measure, working_bytes: int, removed: _Total
    ) -> str:
        """Cut the oldest chunks down to the limit; return why that is impossible, or empty."""
        limit, room = retention.limit_bytes, retention.room_bytes(working_bytes)
        if limit is None or room is None:
            return ""
        lasting = (await measure()).lasting_bytes
        before = removed.bytes
        if lasting > room:
            segments = await cuttable_segments(self._database)
            trades = await cuttable_trades(self._database)
            cuttable: list[Cuttable] = [*self._cuttable(segments), *trades]
            await self._cut_oldest(cuttable, lasting - room, removed)
        left = lasting - (removed.bytes - before)
        return _excess(left, working_bytes, limit, room)

    async def _cut_oldest(self, cuttable: Iterable[Cuttable], excess: int, removed: _Total) -> None:
        queue = [(part.from_ms, number, part) for number, part in enumerate(cuttable)]
        heapq.heapify(queue)
        goal = removed.bytes + excess
        while queue and removed.bytes < goal:
            from_ms, number, part = heapq.heappop(queue)
            until_ms = (queue[0][0] if queue else from_ms) + _SLACK_MS
            cut = await part.cut(_Allowance(goal - removed.bytes, until_ms))
            removed.add(part.market, cut)
            if not cut.is_last and part.from_ms > from_ms:
                heapq.heappush(queue, (part.from_ms, number, part))
            await asyncio.sleep(self._pause_s)

    def _cuttable(self, segments: list[CutSegment]) -> list[CuttableSegment]:
        def ends(segment: CutSegment) -> tuple[int, int]:
            return segment.stored.segment.last_event_ms, segment.stored.segment.last_id

        with_book = [segment for segment in segments if segment.stored.has_book]
        newest = max(with_book, key=ends, default=None)
        # A segment whose front has moved there needs the book at the end of this one.
        needed = {
            (one.stored.segment.market, one.stored.archived_id)
            for one in with_book
            if one.stored.archived_id == one.stored.segment.snapshot_id
        }
        return [
            CuttableSegment(
                self._cutter,
                segment,
                is_newest=segment is newest
                or (segment.stored.segment.market, segment.stored.segment.last_id) in needed,
            )
            for segment in segments
        ]

    async def _sweep_witnesses(self, markets: set[str]) -> None:
        """Remove the witnesses older than the recording: of `markets`, or the first time of all."""
        witnesses = Witnesses(self._database)
        first: dict[str, int] = {}
        for segment in await cuttable_segments(self._database):
            if not segment.stored.has_book:
                continue
            market, front = segment.stored.segment.market, segment.stored.segment.snapshot_id
            first[market] = min(front, first.get(market, front))
        for market, front in first.items():
            if market in markets or not self._swept:
                await witnesses.drop(market, before_id=front)
        for market in markets - first.keys():
            await witnesses.drop(market)
        self._swept = True


def _excess(left: int, working_bytes: int, limit: int, room: int) -> str:
    """Return a sentence if the recording or the database is above its limit, or empty."""
    takes = f"{bytes_text(left + working_bytes)}, more than the {bytes_text(limit)} that"
    if left > room * _TOLERANCE:
        return (
            f"The recording takes {takes} are to be kept: what is left is being recorded or not "
            "archived yet."
        )
    if left + working_bytes > limit * _TOLERANCE:
        return (
            f"The database takes {takes} are to be kept: {bytes_text(working_bytes)} of it is the "
            "room that it needs to work, so at least half of the limit is left to recordings."
        )
    return ""


class _Total:
    """What was removed: how many events, the bytes of their chunks, and their markets."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0
        self.markets: set[str] = set()

    def add(self, market: str, removed: Removed) -> None:
        """Add what a cut has removed of `market`."""
        self.events += removed.events
        self.bytes += removed.bytes
        if removed.events:
            self.markets.add(market)


class _Allowance:
    """Accepts chunks that begin by `until_ms`, until they add up to `goal` bytes."""

    def __init__(self, goal: int, until_ms: int) -> None:
        self._left = goal
        self._until_ms = until_ms

    def __call__(self, link: ChainLink) -> bool:
        if self._left <= 0 or link.from_ms > self._until_ms:
            return False
        self._left -= link.bytes
        return True
