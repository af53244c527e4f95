"""A running recording as a source of events and books.

The events come from the database's change stream, which is one for all markets. The newest book is
the latest checkpoint, with the later events applied.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any, Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.checkpoint import roll_forward
from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import (
    StreamBroken,
    StreamConnected,
    StreamDeepened,
    StreamItem,
)
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.widening import roll_with_answers
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.failures import Activity, driver_reason
from orderbook_desktop.storage.reading.joined_answers import JoinedAnswers
from orderbook_desktop.storage.store.checkpoints import newest_running
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.new_events import NewEvents, watch_events
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.raw_events import RawEvents
from orderbook_desktop.system.bounded_queue import BoundedQueue
from orderbook_desktop.system.tasks import end_tasks

_log = logging.getLogger(__name__)

# The server answers within this time, even without a change. So the stream can be closed by then.
_AWAIT_MS: Final = 500
_CLOSE_WITHIN_S: Final = 0.5
_WAITING_AT_MOST: Final = 10_000
# MongoDB's codes for a token that it can't resume from, for example one that is too old:
# FailedToParse, CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError,
# ChangeStreamHistoryLost, and codes for a token from before the recording was deleted.
_TOKEN_LOST: Final = frozenset({9, 136, 260, 280, 286, 40585, 40615, 50811})
# A refusal may pass: a server that is just starting refuses, too.
_REFUSALS_TAKEN: Final = 5


class RecordedStreams:
    """Serves the events of all streams as they are recorded. It is an `EventStream`.

    There is only one change stream, because each holds a thread of motor's. It is opened with the
    first subscription. After a failure it resumes where it was, so that no event is missed. If the
    server can't resume it, the subscribers get a `StreamBroken`. Call `close()` when done.

    If more than `waiting_at_most` items wait for a subscriber, they are dropped. The subscriber
    gets a `StreamBroken` (`GapCause.OVERFLOW`) and starts over.
    """

    def __init__(self, database: Database, waiting_at_most: int = _WAITING_AT_MOST) -> None:
        self._database = database
        self._waiting_at_most = waiting_at_most
        self._queues: dict[Stream, set[BoundedQueue[StreamItem]]] = {}
        self._tail: asyncio.Task[None] | None = None
        self._open = False
        self._token: Mapping[str, Any] | None = None
        self._refusals = 0

    async def items(self, stream: Stream) -> AsyncGenerator[StreamItem, None]:
        """Iterate over the recorded events of `stream` from now on."""
        queue = BoundedQueue[StreamItem](self._waiting_at_most, self._overflowed)
        self._queues.setdefault(stream, set()).add(queue)
        if self._tail is None:
            self._tail = asyncio.create_task(self._follow(), name="change-stream")
        if self._open:
            queue.put(StreamConnected())
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues[stream].discard(queue)
            if not self._queues[stream]:
                del self._queues[stream]

    async def close(self) -> None:
        """Close the change stream and end its task."""
        tail, self._tail = self._tail, None
        self._open = False
        self._token = None
        if tail is None:
            return
        try:
            tail.cancel()
            # It closes its cursor on the server, which may not answer.
            await asyncio.wait({tail}, timeout=_CLOSE_WITHIN_S)
        finally:
            await end_tasks(tail)

    async def _follow(self) -> None:
        """Read the change stream until cancelled, and resume it after each failure."""
        # By then a thread has imported the driver, so the import doesn't block the event loop.
        await self._database.until_connected()
        from pymongo.errors import PyMongoError  # noqa: PLC0415 (see storage.store.database)

        delays = backoff_delays(first=0.1, cap=1.0)
        while True:
            await self._database.until_connected()
            token = self._token
            try:
                await self._read()
            except PyMongoError as error:
                self._database.failed(Activity.FOLLOW, error)
                self._resume_or_not(error)
            except Exception as error:  # noqa: BLE001 - any fault is reported and logged
                _log.exception("following the recording failed unexpectedly")
                self._database.failed(Activity.FOLLOW, error)
                self._lose_continuity()
            if self._token is not token:
                # The stream had worked in between.
                delays = backoff_delays(first=0.1, cap=1.0)
            await asyncio.sleep(next(delays))

    async def _read(self) -> None:
        """Open the stream, at the token if there is one, and pass on its events."""
        async with watch_events(self._database, self._token, _AWAIT_MS) as stream:
            # Its position is fixed now: a book that is read from here on overlaps with the stream.
            self._opened(stream.resume_token)
            while stream.alive:
                change = await stream.try_next()
                self._token = stream.resume_token or self._token
                if change is not None:
                    self._hand_out(NewEvents.of(change))
        # The server ended the stream, since the recording was deleted. It can't be resumed.
        self._lose_continuity()

    def _opened(self, token: Mapping[str, Any] | None) -> None:
        self._database.worked(Activity.FOLLOW)
        self._token = token or self._token
        self._refusals = 0
        if not self._open:
            self._open = True
            self._send_to_all(StreamConnected())

    def _resume_or_not(self, error: Exception) -> None:
        """Drop the token if, after `error`, the stream can't be resumed from it."""
        from pymongo.errors import OperationFailure  # noqa: PLC0415 (see storage.store.database)

        if isinstance(error, OperationFailure):
            self._refusals += 1
            if error.code in _TOKEN_LOST or self._refusals >= _REFUSALS_TAKEN:
                self._lose_continuity()
        if self._token is None and self._open:
            self._lose_continuity()

    def _lose_continuity(self) -> None:
        self._token = None
        self._refusals = 0
        if not self._open:
            return
        _log.warning("the change stream can't be resumed; loading the books again")
        self._open = False
        detail = "The database can't resume its change stream."
        self._send_to_all(StreamBroken(GapCause.DATABASE, detail))

    def _send_to_all(self, item: StreamItem) -> None:
        for queues in self._queues.values():
            for queue in queues:
                queue.put(item)

    def _overflowed(self, count: int) -> Iterator[StreamItem]:
        """Iterate over the items that replace `count` dropped items for a subscriber."""
        _log.error("dropped %d recorded items that waited", count)
        detail = "Recorded events came faster than they could be processed."
        yield StreamBroken(GapCause.OVERFLOW, detail)
        # The subscriber loads the book again only when it gets to this item.
        if self._open:
            yield StreamConnected()

    def _hand_out(self, new: NewEvents) -> None:
        queues = self._queues.get(new.stream)
        if not queues:
            return
        items: list[StreamItem]
        try:
            items = [StreamDeepened()] if new.unpack is None else [*new.unpack()]
        except (DamagedDocument, MalformedMessage) as error:
            _log.warning("a recorded event can't be read: %s", error.reason)
            items = [StreamBroken(GapCause.MALFORMED, str(error)), StreamConnected()]
        for queue in queues:
            for item in items:
                queue.put(item)


class NotRecorded(DatabaseError):
    """No process records `market` now."""

    market: str

    def __str__(self) -> str:
        return f"Nothing records {self.market} now; start recording, or show the direct source."


class RecordingUnreadable(DatabaseError):
    """The database failed while a book was read; `reason` says why in few words."""

    reason: str

    def __str__(self) -> str:
        return (
            f"The recorded book can't be read from the database ({self.reason}); "
            "wait for the database, or show the direct source."
        )


class RecordedSnapshots:
    """Serves the books of running recordings. It is a `SnapshotSource`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def snapshot(self, market: str) -> DepthSnapshot:
        """Return the newest recorded book.

        Raises `NotRecorded`, `RecordingUnreadable`, `NewerSchema`, and `UnknownSchema`,
        `DamagedDocument`, `DamagedChunk` or `MalformedMessage` if a document is damaged.
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
            answers = await JoinedAnswers(DatabaseStore(self._database), market).after(
                newest.update_id
            )
        except PyMongoError as error:
            raise RecordingUnreadable(driver_reason(error)) from error
        return await asyncio.to_thread(lambda: _rolled(newest.unpack(), events, answers))


def _rolled(
    snapshot: DepthSnapshot,
    events: Iterator[DepthDiff],
    answers: Mapping[int, Sequence[DepthSnapshot]],
) -> DepthSnapshot:
    if answers:
        return roll_with_answers(snapshot, events, answers)
    return roll_forward(snapshot, events)
