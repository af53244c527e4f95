"""The newest book of a recording: its latest checkpoint brought up to the latest event."""

from __future__ import annotations

import asyncio
from typing import Final

from orderbook_desktop.core.checkpoint import roll_forward
from orderbook_desktop.core.events import DepthSnapshot, decode_snapshot
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone
from orderbook_desktop.storage.store.packing import DamagedDocument, unpack
from orderbook_desktop.storage.store.schema import (
    CHECKPOINTS,
    DEPTH_EVENTS,
    SEGMENTS,
    Document,
    event_of,
    has_schema,
)

# The server walks a range bounded on both sides fast; no segment is ahead of its last
# checkpoint by more update ids than this.
_IDS_AHEAD: Final = 50_000_000


class NotRecorded(DatabaseError):
    """Nobody records `market` just now."""

    def __init__(self, market: str) -> None:
        self.market = market
        super().__init__(market)

    def __str__(self) -> str:
        return f"Nothing records {self.market} now; start recording, or show the direct source."


class RecordingUnreadable(DatabaseError):
    """The database failed while the book was read; `reason` is the driver's error."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return (
            f"The recorded book can't be read from the database ({self.reason}); "
            "wait for the database, or show the direct source."
        )


class RecordedSnapshots:
    """Serves the books of running recordings; is a `SnapshotSource`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def snapshot(self, market: str) -> DepthSnapshot:
        """Return the newest recorded book.

        Raises `NotRecorded`, `RecordingUnreadable`, `NewerSchema`, or where what is stored
        can't be understood, `DamagedDocument` or `MalformedMessage`.
        """
        from pymongo.errors import PyMongoError  # noqa: PLC0415 (see storage.store.database)

        await self._database.until_connected()
        try:
            checkpoint = await self._newest_checkpoint(market)
            events = await self._events_after(market, int(checkpoint["update_id"]))
        except PyMongoError as error:
            raise RecordingUnreadable(type(error).__name__) from error
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedDocument(f"{type(error).__name__}: {error}") from error
        return await asyncio.to_thread(_rolled, market, checkpoint, events)

    async def _newest_checkpoint(self, market: str) -> Document:
        if not await has_schema(self._database.motor):
            raise NotRecorded(market)
        found = self._database.collection(SEGMENTS).find({"end_cause": None, "market": market})
        running = [one for one in await found.to_list(None) if not is_gone(one)]
        checkpoints = self._database.collection(CHECKPOINTS)
        # A recorder that was left open on another machine may know higher ids, not later times.
        for segment in sorted(running, key=_lateness, reverse=True):
            fields = {"update_id": 1}
            known = await checkpoints.find({"segment": segment["_id"]}, fields).to_list(None)
            for key in sorted(known, key=lambda one: int(one["update_id"]), reverse=True):
                if int(key["update_id"]) < segment.get("archived_id", 0):
                    # The recorder was taken for dead: the events after it are raw no more.
                    break
                newest = await checkpoints.find_one({"_id": key["_id"]})
                # It may just have been replaced by a newer one.
                if newest is not None:
                    return newest
        raise NotRecorded(market)

    async def _events_after(self, market: str, update_id: int) -> list[Document]:
        span = {"$gt": update_id, "$lte": min(update_id + _IDS_AHEAD, INT64_MAX)}
        found = self._database.collection(DEPTH_EVENTS).find({"market": market, "u": span})
        return await found.sort("u", 1).to_list(None)


def _lateness(segment: Document) -> tuple[int, int]:
    return int(segment["last_event_ms"]), int(segment["last_id"])


def _rolled(market: str, checkpoint: Document, events: list[Document]) -> DepthSnapshot:
    payload = unpack(checkpoint["payload"])
    base = decode_snapshot(payload, market, int(checkpoint["event_ms"]))
    return roll_forward(base, map(event_of, events))
