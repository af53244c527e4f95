"""Writes events to `depth_events`, and compares those that are stored already.

A database must not lose what it acknowledged. SecantusDB loses nothing if it is killed, but its
engine may lose some seconds if its disk is full and it has to start again. So the latest events are
kept, to be written again.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import level_texts
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.recorder.pending import Insert
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.loose_events import LooseEvents, archived_ids, stored_ids
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS, Document, event_sum

if TYPE_CHECKING:
    from pymongo.errors import BulkWriteError

_log = logging.getLogger(__name__)

_DUPLICATE_KEY: Final = 11000
# The age counts back from the last acknowledgement, so an outage may take any time. The longest
# loss that was seen covered 4 s; WiredTiger makes a checkpoint every 10 s (see `secantus_child`).
_KEPT_S: Final = 30.0
_KEPT_BYTES: Final = 32 * 2**20


class RecordingConflict(DatabaseError):
    """Update id `update_id` of `market` is recorded already, with different content."""

    market: str
    update_id: int

    def __str__(self) -> str:
        return (
            f"{self.market} is not recorded any more: update id {self.update_id} is stored already "
            "with different content, so this is another exchange, or one that was restarted; "
            "choose another DB_NAME for it."
        )


class UnstorableEvent(DatabaseError):
    """The event `update_id` of `market` can't be stored; `reason` comes from the driver."""

    market: str
    update_id: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.market} is not recorded any more: the event {self.update_id} can't be stored "
            f"({self.reason}); check what the exchange sends, and start the recording again."
        )


class UnstorableAmong(DatabaseError):
    """One of several events can't be stored, so none of them was."""

    def __str__(self) -> str:
        return "An event that the exchange sent can't be stored; searching for it."


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an insert: all events are stored, except the `refused` ones.

    The `repeated` events had been stored before by another recorder.
    """

    repeated: frozenset[Insert] = frozenset()
    refused: Mapping[Insert, RecordingConflict | UnstorableEvent] = field(default_factory=dict)


class EventLog:
    """Writes events to `depth_events`; each update id of a market at most once.

    Call `restore()` after the database was interrupted. `now` is a clock in seconds that never
    goes back.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now = now
        # The latest acknowledged events, each with the time of that.
        self._latest: deque[tuple[float, Insert]] = deque()
        self._latest_bytes = 0

    @property
    def has_latest(self) -> bool:
        """Whether there are events that may have to be written again."""
        return bool(self._latest)

    async def restore(self) -> None:
        """Write again the latest acknowledged events that the database doesn't have any more.

        Raises PyMongo's errors; repeating is harmless.
        """
        by_market: dict[str, dict[int, Insert]] = {}
        for _, event in self._latest:
            by_market.setdefault(event.market, {})[event.final_id] = event
        for market, events in by_market.items():
            lost = await self._lost_of(market, events)
            if not lost:
                continue
            outcome = await self._write([events[final_id] for final_id in sorted(lost)])
            for refusal in outcome.refused.values():
                _log.error("%s", refusal)
            _log.warning(
                "%s: the database had lost %d events that it had acknowledged; "
                "%d of them are written again",
                market,
                len(lost),
                len(lost) - len(outcome.refused),
            )

    async def _lost_of(self, market: str, ids: Collection[int]) -> set[int]:
        """Return which of the final ids `ids` are neither stored nor archived."""
        lost = set(ids) - await stored_ids(self._database, market, ids)
        if not lost:
            return lost
        try:
            lost -= await archived_ids(self._database, market, lost)
            lists = await LooseEvents(self._database).lists(market)
        except KnownError as error:
            # Recording has to go on; `verify` names both the damage and the loss.
            _log.error("%s: what the database has lost can't be written again: %s", market, error)
            return set()
        return lost.difference(*(loose.ids for loose in lists if loose.archived))

    def forget(self, market: str) -> None:
        """Don't write again what was written of `market`: its recording was deleted."""
        self._latest = deque(kept for kept in self._latest if kept[1].market != market)
        self._latest_bytes = sum(len(event.payload) for _, event in self._latest)

    async def insert(self, events: Sequence[Insert]) -> Outcome:
        """Write `events`, and return when all but the refused ones are acknowledged.

        Raises PyMongo's errors; then any part of the events may be written, and repeating is
        harmless. Raises `UnstorableAmong`; then try again with fewer events at a time.
        """
        if not events:
            return Outcome()
        outcome = await self._write(events)
        at = self._now()
        for event in events:
            if event not in outcome.refused:
                self._latest.append((at, event))
                self._latest_bytes += len(event.payload)
        self._let_old_go()
        return outcome

    def _let_old_go(self) -> None:
        since = self._now() - _KEPT_S
        while self._latest and (self._latest[0][0] < since or self._latest_bytes > _KEPT_BYTES):
            _, event = self._latest.popleft()
            self._latest_bytes -= len(event.payload)

    async def _write(self, events: Sequence[Insert]) -> Outcome:
        from bson.errors import BSONError  # noqa: PLC0415 (see storage.store.database)
        from pymongo.errors import BulkWriteError  # noqa: PLC0415

        try:
            documents = [_document(event) for event in events]
            # Unordered: an event that is stored already doesn't stop the ones after it.
            await self._database.collection(DEPTH_EVENTS).insert_many(documents, ordered=False)
        except BulkWriteError as error:
            return await self._compare([events[index] for index in _known(error)], error)
        except (BSONError, OverflowError, UnicodeError) as error:
            if len(events) > 1:
                raise UnstorableAmong from error
            (event,) = events
            refusal = UnstorableEvent(event.market, event.final_id, str(error))
            return Outcome(refused={event: refusal})
        return Outcome()

    async def _compare(self, events: Sequence[Insert], error: BulkWriteError) -> Outcome:
        repeated: set[Insert] = set()
        refused: dict[Insert, RecordingConflict | UnstorableEvent] = {}
        for market in {event.market for event in events}:
            mine = [event for event in events if event.market == market]
            stored = await self._stored(market, [event.final_id for event in mine])
            for event in mine:
                document = stored.get(event.final_id)
                if document is None:
                    # It is not visible yet, or was deleted meanwhile, so it is not acknowledged.
                    raise error
                if not _same(document, event):
                    refused[event] = RecordingConflict(market, event.final_id)
                elif document["received_ns"] != event.received_ns:
                    # Else it is our own event, and only the acknowledgement was lost.
                    repeated.add(event)
        return Outcome(frozenset(repeated), refused)

    async def _stored(self, market: str, ids: list[int]) -> dict[int, Document]:
        query = {"market": market, "u": {"$in": ids}}
        found = await self._database.collection(DEPTH_EVENTS).find(query).to_list(None)
        return {document["u"]: document for document in found}


def _known(error: BulkWriteError) -> list[int]:
    """Return the indices of the events stored already. Raises `error` if it has another cause."""
    faults: list[Any] = error.details.get("writeErrors", [])
    is_only_known = faults and all(fault["code"] == _DUPLICATE_KEY for fault in faults)
    if not is_only_known or error.details.get("writeConcernErrors"):
        raise error
    return [fault["index"] for fault in faults]


def _same(document: Document, event: Insert) -> bool:
    """Whether `document` stores the same event; on another connection its text may differ."""
    payload = document["payload"].encode()
    if payload == event.payload:
        return True
    return document["U"] == event.first_id and level_texts(payload) == level_texts(event.payload)


def _document(event: Insert) -> Document:
    return {
        "market": event.market,
        "U": event.first_id,
        "u": event.final_id,
        "event_ms": event.event_ms,
        "received_ns": event.received_ns,
        "payload": event.payload.decode(),
        "sum": event_sum(event.payload, event.received_ns),
    }
