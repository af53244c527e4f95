"""Writes events to `depth_events`, and compares those that are stored already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import DepthDiff, level_texts
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import (
    Insert,
    event_document,
    event_key,
    event_of,
)
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS, Document

if TYPE_CHECKING:
    from pymongo.errors import BulkWriteError

_DUPLICATE_KEY: Final = 11000


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


class Outcome(Struct, frozen=True):
    """The result of an insert: all events are stored, except the `refused` ones.

    The `repeated` events had been stored before by another recorder; each has the time (ms) that is
    stored, since two connections may date an event differently.
    """

    repeated: Mapping[Insert, int] = field(default_factory=dict)
    refused: Mapping[Insert, RecordingConflict | UnstorableEvent] = field(default_factory=dict)


class EventWriter:
    """Writes events to `database`; each update id of a market at most once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, events: Sequence[Insert]) -> Outcome:
        """Write `events`, and return when all but the refused ones are acknowledged.

        Raises PyMongo's errors; then any part of the events may be written, and repeating is
        harmless. Raises `UnstorableAmong`; then try again with fewer events at a time.
        """
        from bson.errors import BSONError  # noqa: PLC0415 (see storage.store.database)
        from pymongo.errors import BulkWriteError  # noqa: PLC0415

        try:
            documents = [event_document(event) for event in events]
            # Unordered: an event that is stored already doesn't stop the ones after it.
            await self._database.collection(DEPTH_EVENTS).insert_many(documents, ordered=False)
        except BulkWriteError as error:
            return await self._compare([events[index] for index in known_indices(error)], error)
        except (BSONError, OverflowError, UnicodeError) as error:
            if len(events) > 1:
                raise UnstorableAmong from error
            (event,) = events
            refusal = UnstorableEvent(event.market, event.final_id, str(error))
            return Outcome(refused={event: refusal})
        return Outcome()

    async def _compare(self, events: Sequence[Insert], error: BulkWriteError) -> Outcome:
        repeated: dict[Insert, int] = {}
        refused: dict[Insert, RecordingConflict | UnstorableEvent] = {}
        for market in {event.market for event in events}:
            mine = [event for event in events if event.market == market]
            documents = await self._stored(market, [event.final_id for event in mine])
            for event in mine:
                document = documents.get(event.final_id)
                if document is None:
                    # It is not visible yet, or was deleted meanwhile, so it is not acknowledged.
                    raise error
                stored_event = _same(document, event)
                if stored_event is None:
                    refused[event] = RecordingConflict(market, event.final_id)
                elif stored_event.received_ns != event.received_ns:
                    # Else it is our own event, and only the acknowledgement was lost.
                    repeated[event] = stored_event.event_ms
        return Outcome(repeated, refused)

    async def _stored(self, market: str, ids: Sequence[int]) -> dict[int, Document]:
        keys = {event_key(market, final_id): final_id for final_id in ids}
        query = {"_id": {"$in": list(keys)}}
        found = await self._database.collection(DEPTH_EVENTS).find(query).to_list(None)
        return {keys[document["_id"]]: document for document in found}


def known_indices(error: BulkWriteError) -> list[int]:
    """Return which documents of an insert are stored already. Raises `error` for another cause."""
    faults: list[Any] = error.details.get("writeErrors", [])
    is_only_known = faults and all(fault["code"] == _DUPLICATE_KEY for fault in faults)
    if not is_only_known or error.details.get("writeConcernErrors"):
        raise error
    return [fault["index"] for fault in faults]


def _same(document: Document, event: Insert) -> DepthDiff | None:
    """Return the event that `document` stores, if it is `event`; else None.

    On another connection its text may differ. A damaged one is another event, too.
    """
    try:
        stored = event_of(document)
    except MalformedMessage:
        return None
    if stored.payload != event.payload and (
        stored.first_id != event.first_id
        or level_texts(stored.payload) != level_texts(event.payload)
    ):
        return None
    return stored
