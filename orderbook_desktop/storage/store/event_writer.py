"""Writes events to `depth_events`, and compares those that are stored already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import level_texts
from orderbook_desktop.core.streams import DEPTH, MarketEvent, Stream, StreamKind
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import DEPTH_EVENTS, Document, event_of, event_sum

if TYPE_CHECKING:
    from pymongo.errors import BulkWriteError

_DUPLICATE_KEY: Final = 11000


class Insert(Struct, frozen=True, eq=False):
    """Write the event of `stream`."""

    stream: Stream
    first_id: int
    final_id: int
    event_ms: int
    received_ns: int
    payload: bytes

    @classmethod
    def of(cls, event: MarketEvent, kind: StreamKind[Any] = DEPTH) -> Insert:
        """Take from `event` what is written, without what was decoded from it."""
        return cls(
            Stream(event.market, kind),
            event.first_id,
            event.final_id,
            event.event_ms,
            event.received_ns,
            event.payload,
        )

    @property
    def market(self) -> str:
        """The market of the stream."""
        return self.stream.market


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
        repeated: dict[Insert, int] = {}
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
                    repeated[event] = _stored_ms(document, event)
        return Outcome(repeated, refused)

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


def _stored_ms(document: Document, event: Insert) -> int:
    """Return the time of the stored event; that of `event` if the stored one is damaged."""
    try:
        return event_of(document).event_ms
    except MalformedMessage:
        return event.event_ms


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
