"""Retention: removes the oldest of a recording by age and by size, in small steps.

By age goes what is older, by the exchange's clock, than so many days before the newest event
that is recorded; what was imported is as old as it is, and stays. By size the oldest goes
first over all markets, whoever brought it. What is being recorded, what is not archived yet,
and the newest of all never go.

The limit is for what the files of the database take. These never shrink, so they are no measure
of what is to be removed: they would ask for more without end. Counted is what is recorded, and
the room that the database needs besides (`core.disk.FolderSize.working_bytes`). What is removed
leaves room inside the files, which what comes in uses: so they don't grow beyond the limit.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from orderbook_desktop.core.disk import RecordingSize, Retention, bytes_text
from orderbook_desktop.storage.retention.cuts import (
    ChainLink,
    Cut,
    LoosePiece,
    SegmentCutter,
    Wanted,
    loose_pieces,
)
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import IMPORT, SEGMENTS, WITNESSES, Document
from orderbook_desktop.storage.store.segments import stored_segment

_log = logging.getLogger(__name__)

_CHUNKS_A_STEP: Final = 20
# By size, markets are cut to within so much of each other.
_SLACK_MS: Final = 600_000
# A recording of which little can be removed now may stay so much above its limit.
_TOLERANCE: Final = 1.05

Measure = Callable[[], Awaitable[RecordingSize]]


class SegmentPiece:
    """A segment as something to be cut. With `is_newest` its last chunk stays."""

    def __init__(self, cutter: SegmentCutter, segment: Document, *, is_newest: bool) -> None:
        self._cutter = cutter
        self._segment = segment
        self._is_newest = is_newest

    @property
    def market(self) -> str:
        """Whose it is."""
        return str(self._segment["market"])

    @property
    def from_ms(self) -> int:
        """When it begins; of one that began without an event, when somebody last wrote it."""
        return int(self._segment["first_event_ms"] or self._segment["alive_ms"])

    @property
    def ages(self) -> bool:
        """Whether it goes by age."""
        return bool(self._segment["origin"] != IMPORT)

    async def cut(self, wanted: Wanted) -> Cut:
        """Cut what is wanted, at most a step of it."""
        return await self._cutter.cut(
            self._segment, wanted, _CHUNKS_A_STEP, whole=not self._is_newest
        )


Piece = SegmentPiece | LoosePiece


class Pruner:
    """Removes from `database` what a `Retention` does not keep.

    `problem` is a sentence where more is kept than should be, else empty. Between two
    steps it pauses for `pause_s`, since the database is there for what comes in, first of all.
    Several processes may be at it at once; each step leaves what the next one understands.
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
        """Remove what `retention` doesn't keep at `now_ms`; return how many events went.

        `measure` tells the recording's size, `working_bytes` is what the database needs besides.
        Raises PyMongo's errors; repeat it then.
        """
        segments = await self._segments()
        for one in segments:
            await self._cutter.finish(one)
        if not segments:
            return 0
        removed = _Removed()
        newest_ms = max(one["last_event_ms"] for one in segments)
        # A clock that is ahead must not make everything old, nor an event from the future.
        horizon_ms = retention.horizon_ms(min(now_ms, newest_ms))
        if horizon_ms is not None:
            await self._prune_by_age(await self._pieces(segments), horizon_ms, removed)
        self.problem = await self._prune_by_size(retention, measure, working_bytes, removed)
        await self._sweep_witnesses(removed.markets)
        if removed.events:
            _log.info(
                "removed the oldest %d events of %d markets, %d bytes; kept is %s",
                *(removed.events, len(removed.markets), removed.bytes, retention.text()),
            )
        return removed.events

    async def _prune_by_age(
        self, pieces: Iterable[Piece], horizon_ms: int, removed: _Removed
    ) -> None:
        for piece in pieces:
            while piece.ages and piece.from_ms < horizon_ms:
                cut = await piece.cut(lambda link: link.to_ms < horizon_ms)
                removed.add(piece.market, cut)
                await asyncio.sleep(self._pause_s)
                if cut.is_last:
                    break

    async def _prune_by_size(
        self, retention: Retention, measure: Measure, working_bytes: int, removed: _Removed
    ) -> str:
        """Cut the oldest until the limit is kept; return why it can't be, or empty."""
        limit, room = retention.limit_bytes, retention.room_bytes(working_bytes)
        if limit is None or room is None:
            return ""
        lasting = (await measure()).lasting_bytes
        before = removed.bytes
        if lasting > room:
            pieces = await self._pieces(await self._segments())
            await self._cut_oldest(pieces, lasting - room, removed)
        left = lasting - (removed.bytes - before)
        return _excess(left, working_bytes, limit, room)

    async def _cut_oldest(self, pieces: Iterable[Piece], excess: int, removed: _Removed) -> None:
        queue = [(piece.from_ms, number, piece) for number, piece in enumerate(pieces)]
        heapq.heapify(queue)
        goal = removed.bytes + excess
        while queue and removed.bytes < goal:
            from_ms, number, piece = heapq.heappop(queue)
            until_ms = (queue[0][0] if queue else from_ms) + _SLACK_MS
            cut = await piece.cut(_Allowance(goal - removed.bytes, until_ms))
            removed.add(piece.market, cut)
            if not cut.is_last and piece.from_ms > from_ms:
                heapq.heappush(queue, (piece.from_ms, number, piece))
            await asyncio.sleep(self._pause_s)

    async def _segments(self) -> list[Document]:
        # Of an earlier version's recorder there may be some that nobody has migrated yet.
        found = self._database.collection(SEGMENTS).find({"archived_id": {"$gte": 0}})
        known = filter(_is_understood, await found.to_list(None))
        return sorted(known, key=lambda one: one["first_event_ms"])

    async def _pieces(self, segments: list[Document]) -> list[Piece]:
        newest = max(segments, key=lambda one: (one["last_event_ms"], one["last_id"]))
        pieces: list[Piece] = [
            SegmentPiece(self._cutter, one, is_newest=one is newest) for one in segments
        ]
        return [*pieces, *await loose_pieces(self._database)]

    async def _sweep_witnesses(self, markets: set[str]) -> None:
        """Remove the witnesses of what is gone; the first time, those of all markets."""
        witnesses = self._database.collection(WITNESSES)
        first: dict[str, int] = {}
        for one in await self._segments():
            market, front = one["market"], one["snapshot_id"]
            first[market] = min(front, first.get(market, front))
        for market, front in first.items():
            if market in markets or not self._swept:
                before = {"market": market, "update_id": {"$gte": 0, "$lt": front}}
                await witnesses.delete_many(before)
        for market in markets - first.keys():
            await witnesses.delete_many({"market": market})
        self._swept = True


def _excess(left: int, working_bytes: int, limit: int, room: int) -> str:
    """Return why more is there than the limit allows, or empty."""
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


def _is_understood(document: Document) -> bool:
    """Whether a segment is whole; of a damaged one nothing is removed, and `verify` tells."""
    try:
        stored_segment(document)
    except DamagedDocument as error:
        _log.warning("retention leaves a segment alone: %s", error)
        return False
    return True


class _Removed:
    """What went: how many events, the bytes of their chunks, and of which markets."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0
        self.markets: set[str] = set()

    def add(self, market: str, cut: Cut) -> None:
        """Count what was cut of `market`."""
        self.events += cut.events
        self.bytes += cut.bytes
        if cut.events:
            self.markets.add(market)


class _Allowance:
    """Wants chunks that begin until `until_ms`, until there are `goal` bytes of them."""

    def __init__(self, goal: int, until_ms: int) -> None:
        self._left = goal
        self._until_ms = until_ms

    def __call__(self, link: ChainLink) -> bool:
        if self._left <= 0 or link.from_ms > self._until_ms:
            return False
        self._left -= link.bytes
        return True
