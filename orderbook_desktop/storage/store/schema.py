"""The recording's database: its collections, indexes and schema version.

`depth_events`   one document per diff: `market`, `U`, `u`, `event_ms`, `received_ns`,
                 `payload`, the event's JSON text exactly as the exchange sent it, and `sum`
                 (`event_sum`). Unique on (`market`, `u`), the shard key of a cluster. Events
                 stay here until they are archived.
`depth_chunks`   the archive (`storage.store.packing`). Beside the fields of a chunk:
                 `segment` that it belongs to, `epoch` of the lease under which it was written
                 (`storage.store.leases`), and `sum`, a checksum of these. `_id` is
                 `SEGMENT:START_ID`. Each chunk starts where the one before it ends. Loose
                 chunks have None as `segment`, and `_id` is `MARKET:loose:FIRST_ID:LAST_ID`,
                 with a number appended if that is taken.
`segments`       one document per unbroken run of update ids (`core.segments.Segment`), with
                 its `owner` and when that process last wrote. `cut_events` counts the events
                 that retention has cut from the front; `event_count` still includes them.
                 `archived_id` is how far the segment is archived: its chunks hold all events
                 after `snapshot_id` through this id, `archived_events` in `archived_bytes`.
                 Chunks beyond it, and raw events up to it, are leftovers. `to_archive` is true
                 until the archive is complete. `archive_lease` names the archiver. `origin` is
                 "recorder" or "import". `last_event_ms` is the latest time, and `back_ms` the
                 most that times went back; an earlier version wrote no `back_ms`, and the last
                 event's time as `last_event_ms`. `sum` is `segment_sum`.
`checkpoints`    books inside a segment: `segment` (its _id), `market`, `update_id`,
                 `event_ms` and `payload`, the JSON text of a snapshot, compressed by zstd.
                 The segment begins with the book that has `base: true`; this one has `new`
                 until the segment is stored. Of the others, which make the newest book
                 quicker to read, only the last few are kept.
`loose_events`   lists of stored events that belong to no segment
                 (`storage.store.loose_events`).
`witnesses`      snapshots of the exchange, taken during the recording for comparison
                 (`storage.store.witnesses`).
`meta`           the schema's version, and the journal of imports.

By two rules the loss of any event is found:
- The ids of a segment go from `snapshot_id` to `last_id` without a hole, and the segment has
  `event_count` events, less those that were cut.
- All other stored events are listed in `loose_events`, once it is known that no segment will
  take them. Such an event is raw or in a loose chunk; if two recorders were running, it may
  also be in a segment of the other recorder.
Segments and lists are written at most a second after the events. After a crash the next start
writes what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.event_times import in_ms, may_count
from orderbook_desktop.core.events import DepthDiff, decode_diff, timed
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.errors import NewerSchema, UnknownSchema

_log = logging.getLogger(__name__)

Document = dict[str, Any]

DEPTH_EVENTS: Final = "depth_events"
SEGMENTS: Final = "segments"
CHECKPOINTS: Final = "checkpoints"
DEPTH_CHUNKS: Final = "depth_chunks"
LOOSE_EVENTS: Final = "loose_events"
WITNESSES: Final = "witnesses"
META: Final = "meta"

SCHEMA_VERSION: Final = 2

RECORDER: Final = "recorder"
IMPORT: Final = "import"

_UNKNOWN: Final = object()
# By collection, the fields of each index. The only one of `depth_events` is unique.
_INDEXES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        DEPTH_EVENTS: (("market", "u"),),
        SEGMENTS: (("end_cause", "market"), ("market", "snapshot_id"), ("to_archive", "market")),
        CHECKPOINTS: (("segment",), ("market",)),
        DEPTH_CHUNKS: (("market", "minute"), ("segment", "last_id")),
        LOOSE_EVENTS: (("market",), ("archived", "market")),
        WITNESSES: (("market", "update_id"),),
    }
)


async def create_indexes(database: Any) -> None:
    """Create the indexes that are missing in `database` (motor's), all at once."""
    from pymongo import IndexModel  # noqa: PLC0415 (see storage.store.database)

    def models(name: str) -> list[IndexModel]:
        unique = name == DEPTH_EVENTS
        keys = ([(field, 1) for field in fields] for fields in _INDEXES[name])
        return [IndexModel(key, unique=True) if unique else IndexModel(key) for key in keys]

    # One after the other they would delay the start.
    await asyncio.gather(*(database[name].create_indexes(models(name)) for name in _INDEXES))


async def has_schema(database: Any) -> bool:
    """Whether anything was recorded in `database` (motor's).

    Raises `NewerSchema` and `UnknownSchema`.
    """
    return await stored_version(database) is not None


async def stored_version(database: Any) -> int | None:
    """Return the schema version of `database` (motor's), if any.

    Raises `NewerSchema` and `UnknownSchema`.
    """
    known = await database[META].find_one({"_id": "schema"})
    if known is None:
        return None
    version = known.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UnknownSchema("" if version is None else plain_text(repr(version), 60))
    if version > SCHEMA_VERSION:
        raise NewerSchema(version, SCHEMA_VERSION)
    return version


def event_of(document: Document) -> DepthDiff:
    """Return the event that `document` stores. Raises `MalformedMessage` if it is damaged."""
    try:
        payload = document["payload"].encode()
        received_ns = int(document["received_ns"])
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise MalformedMessage("recorded event", f"{type(error).__name__}: {error}") from error
    # An earlier version of the program stored no checksum.
    if document.get("sum", _UNKNOWN) not in (_UNKNOWN, event_sum(payload, received_ns)):
        raise MalformedMessage("recorded event", "its checksum does not match", payload)
    return _timed(decode_diff(payload, received_ns), document.get("event_ms"))


def _timed(event: DepthDiff, stored_ms: object) -> DepthDiff:
    """Return `event` with the stored time, if that may count as its time (`may_count`).

    The time in its text may be impossible. An earlier version stored that time nevertheless.
    """
    if not isinstance(stored_ms, int) or isinstance(stored_ms, bool):
        return event
    stored_ms = in_ms(stored_ms)
    if stored_ms != event.event_ms and may_count(stored_ms, event.event_ms, event.received_ns):
        return timed(event, stored_ms)
    return event


def event_sum(payload: bytes, received_ns: int) -> int:
    """Return the checksum (CRC-32, as a signed number) of an event's text and receive time."""
    received = received_ns.to_bytes(16, "little", signed=True)
    return zlib.crc32(received, zlib.crc32(payload)) - (1 << 31)


def segment_document(segment: Segment) -> Document:
    """Return the stored form of a new `segment`, without the owner and the times of our clock.

    A stored segment may have been cut or archived; update it with `progress_document`.
    """
    return {**front_document(segment), **progress_document(segment)}


def front_document(segment: Segment) -> Document:
    """Return the fields with the beginning of `segment`. Only retention changes them later."""
    return {
        "market": segment.market,
        "snapshot_id": segment.snapshot_id,
        "first_id": segment.first_id,
        "first_event_ms": segment.first_event_ms,
    }


def progress_document(segment: Segment) -> Document:
    """Return the fields that change while `segment` is recorded, and when it ends."""
    return {
        "last_id": segment.last_id,
        "last_event_ms": segment.last_event_ms,
        "event_count": segment.event_count,
        "price_exponent": segment.scale.price,
        "quantity_exponent": segment.scale.quantity,
        "end_cause": None if segment.end_cause is None else segment.end_cause.value,
        "end_detail": segment.end_detail,
        "sum": segment_sum(segment),
    }


def segment_sum(segment: Segment) -> int:
    """Return the checksum of the fields of `segment` that its events don't prove."""
    cause, scale = segment.end_cause and segment.end_cause.value, segment.scale
    fields = (segment.market, scale.price, scale.quantity, cause, segment.end_detail)
    return zlib.crc32(repr(fields).encode("utf-8", "backslashreplace")) - (1 << 31)


def unarchived_document(snapshot_id: int, origin: str = RECORDER) -> Document:
    """Return the archive's fields of a segment that is not archived at all."""
    return {
        "cut_events": 0,
        "archived_id": snapshot_id,
        "archived_events": 0,
        "archived_bytes": 0,
        "to_archive": True,
        "origin": origin,
    }


def segment_of(document: Document) -> Segment:
    """Return the segment that `document` stores, without the events that retention cut."""
    cause = document["end_cause"]
    return Segment(
        market=document["market"],
        snapshot_id=document["snapshot_id"],
        first_id=document["first_id"],
        last_id=document["last_id"],
        # An earlier version stored the times that were sent, in the unit that was sent.
        first_event_ms=in_ms(document["first_event_ms"]),
        last_event_ms=in_ms(document["last_event_ms"]),
        event_count=document["event_count"] - document.get("cut_events", 0),
        scale=Scale(document["price_exponent"], document["quantity_exponent"]),
        end_cause=None if cause is None else GapCause(cause),
        end_detail=document["end_detail"],
    )


async def prepare_schema(database: Any) -> None:
    """Create the missing indexes in `database` (motor's), and migrate an older schema.

    A migration goes step by step. A step may be interrupted at any point, and several processes
    may run it at once: it changes only documents that are not migrated yet, and raises the version
    when it is done. Raises `NewerSchema`, `UnknownSchema` and PyMongo's errors.
    """
    version = await stored_version(database)
    await create_indexes(database)
    if version is None:
        # Another process may have just written the version, perhaps an older one.
        as_new = {"$setOnInsert": {"version": SCHEMA_VERSION}}
        await database[META].update_one({"_id": "schema"}, as_new, upsert=True)
        version = await stored_version(database) or SCHEMA_VERSION
    for before in range(version, SCHEMA_VERSION):
        await _STEPS[before](database)
        raised = {"$set": {"version": before + 1}}
        await database[META].update_one({"_id": "schema", "version": before}, raised)
        _log.info("the recording is of schema %d now", before + 1)
    if version == SCHEMA_VERSION:
        # A recorder of version 1, which has no archive, may have written segments meanwhile.
        await _archive_segments(database)


async def _archive_segments(database: Any) -> None:
    """From 1 to 2: segments get the archive's fields."""
    unknown = {"archived_id": None}
    for document in await database[SEGMENTS].find(unknown, {"snapshot_id": 1}).to_list(None):
        # A damaged old recording must not prevent a new one; `verify` reports it.
        if isinstance(snapshot_id := document.get("snapshot_id"), int):
            fields = unarchived_document(snapshot_id)
            await database[SEGMENTS].update_one(
                {"_id": document["_id"], **unknown}, {"$set": fields}
            )


_STEPS: Final[Mapping[int, Callable[[Any], Awaitable[None]]]] = MappingProxyType(
    {1: _archive_segments}
)
