"""The newest book of a recording: its latest checkpoint brought up to the latest event."""

from __future__ import annotations

import asyncio

from orderbook_desktop.core.checkpoint import roll_forward
from orderbook_desktop.core.events import DepthSnapshot
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.checkpoints import RunningBook, newest_running
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.storage.store.schema import Document, event_of


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
            newest = None
            if await self._database.has_recordings():
                newest = await newest_running(self._database, market)
            if newest is None:
                raise NotRecorded(market)
            events = await RawEvents(self._database, market).stored_after(newest.update_id)
        except PyMongoError as error:
            raise RecordingUnreadable(type(error).__name__) from error
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedDocument(f"{type(error).__name__}: {error}") from error
        return await asyncio.to_thread(_rolled, newest, events)


def _rolled(newest: RunningBook, events: list[Document]) -> DepthSnapshot:
    return roll_forward(newest.unpack(), map(event_of, events))
