"""The book-keeping of a recording: its segments and checkpoints, behind the events."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from orderbook_desktop.core.checkpoint import BookImage, encode_image
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.database import Activity, Database
from orderbook_desktop.storage.owner import owner_document
from orderbook_desktop.storage.packing import pack
from orderbook_desktop.storage.pending import (
    Base,
    Checkpoint,
    Close,
    Extend,
    LedgerEntry,
    Open,
    OpenSegment,
)
from orderbook_desktop.storage.recovery import CrashWatch
from orderbook_desktop.storage.retrying import until_it_works
from orderbook_desktop.storage.schema import CHECKPOINTS, SEGMENTS, Document, segment_document

_log = logging.getLogger(__name__)

_PERSIST_EVERY_S: Final = 1.0
_HEARTBEAT_EVERY_S: Final = 10.0
_LOOK_EVERY_S: Final = 60.0
# Few enough that an event which comes meanwhile is not kept waiting.
_SEGMENTS_A_WRITE: Final = 10
_CHECKPOINTS_KEPT: Final = 2
_LONGEST_DETAIL: Final = 500


class Ledger:
    """Writes segments and checkpoints, each after the events that it speaks of.

    `take()` what the sinks said, once the events before it are acknowledged; `run()` writes,
    in a task of its own, so that no event waits for it. `written` is called with each entry
    that is done, `vanished` with the market of a segment that somebody deleted.
    """

    def __init__(
        self,
        database: Database,
        written: Callable[[LedgerEntry], None],
        vanished: Callable[[str], None],
    ) -> None:
        self._database = database
        self._written = written
        self._vanished = vanished
        self._queue: deque[LedgerEntry] = deque()
        self._open: dict[str, OpenSegment] = {}
        self._wake = asyncio.Event()
        self._finishing = False
        self._watch = CrashWatch(database)
        # Long ago: the first time is due at once.
        self._kept_up_at = self._beaten_at = self._looked_at = -math.inf

    def take(self, entry: LedgerEntry) -> None:
        """Take an entry whose events are acknowledged."""
        segment = entry.segment
        match entry:
            case Open():
                self._open[segment.id] = segment
            case Extend():
                segment.extend(entry)
                self._written(entry)
                return
            case Close(_, cause, detail):
                segment.end(cause, _storable(detail))
        self._queue.append(entry)
        self._wake.set()

    def refuse(self, market: str, detail: str) -> list[Close]:
        """End the open segments of `market` where they are; return the entries for that."""
        ends = [
            Close(segment, GapCause.DATABASE, detail)
            for segment in self._open.values()
            if segment.state.market == market and segment.state.end_cause is None
        ]
        for end in ends:
            self.take(end)
        return ends

    def finish(self) -> None:
        """Let `run()` return when everything that was taken is written."""
        self._finishing = True
        self._wake.set()

    async def recover(self) -> None:
        """Close what earlier recorders left open. Raises PyMongo's errors."""
        await self._watch.close_crashed()
        self._looked_at = time.monotonic()

    async def run(self) -> None:
        """Write until finished."""
        while True:
            while self._queue:
                entry = self._queue[0]
                await self._until_it_works(partial(self._settle, entry))
                self._queue.popleft()
                self._written(entry)
            if self._finishing:
                return
            await self._pause(self._kept_up_at + _PERSIST_EVERY_S - time.monotonic())
            if time.monotonic() - self._kept_up_at >= _PERSIST_EVERY_S:
                await self._until_it_works(self._keep_up)
                self._kept_up_at = time.monotonic()

    async def _until_it_works(self, attempt: Callable[[], Awaitable[object]]) -> None:
        await until_it_works(self._database, Activity.KEEP_LEDGER, attempt)

    async def _pause(self, seconds: float) -> None:
        """Wait for work, or for the time to store how far the segments have come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _settle(self, entry: LedgerEntry) -> None:
        segment = entry.segment
        match entry:
            case Open(_, base):
                await self._store_checkpoint(segment, base, is_base=True)
                await self._store(segment)
                segment.stored = True
            case Checkpoint(_, base):
                await self._store_checkpoint(segment, base, is_base=False)
            case Close() if segment.id in self._open:
                await self._store(segment)
                del self._open[segment.id]

    async def _store(self, segment: OpenSegment) -> None:
        segment.changed = False
        try:
            await self._database.collection(SEGMENTS).replace_one(
                {"_id": segment.id}, _segment_document(segment), upsert=True
            )
        except BaseException:
            segment.changed = True
            raise

    async def _keep_up(self) -> None:
        """Store how far the segments have come, and at times that their recorder lives."""
        if not self._open:
            return
        now = time.monotonic()
        beat = now - self._beaten_at >= _HEARTBEAT_EVERY_S
        due = [one for one in self._open.values() if one.stored and (one.changed or beat)]
        for start in range(0, len(due), _SEGMENTS_A_WRITE):
            await self._persist(due[start : start + _SEGMENTS_A_WRITE])
        if beat:
            self._beaten_at = now
        if now - self._looked_at >= _LOOK_EVERY_S:
            await self.recover()

    async def _persist(self, segments: list[OpenSegment]) -> None:
        from pymongo import ReplaceOne  # noqa: PLC0415 (see storage.database)

        collection = self._database.collection(SEGMENTS)
        for segment in segments:
            segment.changed = False
        writes = [ReplaceOne({"_id": one.id}, _segment_document(one)) for one in segments]
        try:
            done = await collection.bulk_write(writes, ordered=False)
            if done.matched_count == len(segments):
                return
            query = {"_id": {"$in": [segment.id for segment in segments]}}
            there = {one["_id"] async for one in collection.find(query, {"_id": 1})}
        except BaseException:
            for segment in segments:
                segment.changed = True
            raise
        for segment in segments:
            if segment.id not in there:
                self._give_up(segment)

    def _give_up(self, segment: OpenSegment) -> None:
        """Somebody deleted the segment, and who knows what else."""
        _log.error("%s: the recording was deleted while it went on", segment.state.market)
        self._open.pop(segment.id, None)
        self._database.prepared = False
        self._vanished(segment.state.market)

    async def _store_checkpoint(self, segment: OpenSegment, base: Base, *, is_base: bool) -> None:
        if segment.id not in self._open:
            return
        checkpoints = self._database.collection(CHECKPOINTS)
        key = f"{segment.id}:{base.update_id}"
        document = {
            "segment": segment.id,
            "market": segment.state.market,
            "update_id": base.update_id,
            "event_ms": base.event_ms,
            "base": is_base,
            "payload": await asyncio.to_thread(_packed, base.book),
        }
        await checkpoints.replace_one({"_id": key}, document, upsert=True)
        if is_base:
            return
        if key not in segment.checkpoints:
            segment.checkpoints.append(key)
        while len(segment.checkpoints) > _CHECKPOINTS_KEPT:
            await checkpoints.delete_one({"_id": segment.checkpoints[0]})
            segment.checkpoints.pop(0)


def _segment_document(segment: OpenSegment) -> Document:
    return {**segment_document(segment.state), **owner_document()}


def _packed(book: BookImage | bytes) -> bytes:
    return pack(encode_image(book) if isinstance(book, BookImage) else book)


def _storable(detail: str) -> str:
    """Return what the database takes as text: it may quote what an exchange sent."""
    return detail[:_LONGEST_DETAIL].encode("utf-8", "replace").decode()
