"""What the recording's database looks like: collections, indexes and the schema's version.

`depth_events`   one document per diff: `market`, `U`, `u`, `event_ms`, `received_ns`, and
                 `payload`, the event's JSON text exactly as the exchange sent it, and `sum`
                 (`event_sum`). Unique on (`market`, `u`). Shard key of a cluster: the same two.
                 They are kept until they are archived.
`depth_chunks`   the archive: `storage.store.packing`, with the `segment` that a chunk
                 belongs to, the `epoch` of the lease under which it was written
                 (`storage.archive.lease`), and `sum`, a checksum of these. `_id` is
                 `SEGMENT:START_ID`; each chunk starts where the one before it ends. Of loose
                 events `segment` is None, and `_id` `MARKET:loose:FIRST_ID:LAST_ID`, or with
                 a further number.
`segments`       one document per unbroken run of update ids (`core.segments.Segment`), with
                 its `owner` and when that was last alive. `cut_events` is how many events
                 retention has cut from its front; they are in `event_count` still.
                 `archived_id` says how far it is archived: its chunks hold everything after
                 `snapshot_id` through this id, `archived_events` in `archived_bytes`. Chunks
                 from there on, and raw events up to there, are leftovers. `to_archive` is
                 true until nothing is left to be done, `archive_lease` says who does it.
                 `origin` is who made it: "recorder" or "import". `last_event_ms` is the
                 latest time, and `back_ms` how far times ever went back; without it, as an
                 earlier version wrote it, that of the last event. `sum` is `segment_sum`.
`checkpoints`    books inside a segment: `segment` (its _id), `market`, `update_id`,
                 `event_ms` and `payload`, the JSON text of a snapshot, compressed by zstd.
                 The one with `base: true` begins the segment, and has `new` until that is
                 stored; of the others, which only shorten the way to the newest book, a few
                 are kept.
`loose_events`   which stored events belong to no segment (`storage.store.loose_events`).
`witnesses`      snapshots of the exchange taken during the recording, to hold it against:
                 `_id` is `MARKET:UPDATE_ID`, then `market`, `update_id`, `taken_ms`,
                 `payload` as that of checkpoints, and `depth`, the levels asked for.
`meta`           the schema's version.

What is recorded accounts for itself, so that the loss of any one event is found:
- Of a segment, the ids go on without a hole from `snapshot_id` to `last_id`, and its events
  are as many as `event_count` says, less those that were cut.
- Every other event that was stored is listed in `loose_events`, once it is known that no
  segment will take it. It is there as raw event, in a loose chunk, or else, where two
  recorders were at work, in a segment of the other.
Both are written a second, at most, after the events themselves were; what a crash kept from
being written is made up for at the next start.
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
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.errors import DatabaseError

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


class NewerSchema(DatabaseError):
    """The database was written by a later version of this program."""

    def __init__(self, found: int) -> None:
        self.found = found
        super().__init__(found)

    def __str__(self) -> str:
        return (
            f"The recording was written by a newer version of this program (schema {self.found}, "
            f"this one knows {SCHEMA_VERSION}); update the program or choose another DB_NAME."
        )


async def create_indexes(database: Any) -> None:
    """Create the indexes that are missing in `database` (motor's), all at once."""
    from pymongo import IndexModel  # noqa: PLC0415 (see storage.store.database)

    def models(name: str) -> list[IndexModel]:
        unique = name == DEPTH_EVENTS
        keys = ([(field, 1) for field in fields] for fields in _INDEXES[name])
        return [IndexModel(key, unique=True) if unique else IndexModel(key) for key in keys]

    # One after the other they would take a moment too long at the very start.
    await asyncio.gather(*(database[name].create_indexes(models(name)) for name in _INDEXES))


async def has_schema(database: Any) -> bool:
    """Whether anything was recorded in `database` (motor's); raises `NewerSchema`."""
    return await stored_version(database) is not None


async def stored_version(database: Any) -> int | None:
    """Return the schema's version of `database` (motor's), if any; raises `NewerSchema`."""
    known = await database[META].find_one({"_id": "schema"})
    if known is None:
        return None
    version = int(known["version"])
    if version > SCHEMA_VERSION:
        raise NewerSchema(version)
    return version


def event_of(document: Document) -> DepthDiff:
    """Return the event that `document` stores; raises `MalformedMessage` if it is none."""
    try:
        payload = document["payload"].encode()
        received_ns = int(document["received_ns"])
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise MalformedMessage("recorded event", f"{type(error).__name__}: {error}") from error
    # An earlier version of the program stored none.
    if document.get("sum", _UNKNOWN) not in (_UNKNOWN, event_sum(payload, received_ns)):
        raise MalformedMessage("recorded event", "its checksum does not match", payload)
    return _timed(decode_diff(payload, received_ns), document.get("event_ms"))


def _timed(event: DepthDiff, stored_ms: object) -> DepthDiff:
    """Return `event` with the time that was stored, if that may count as its time.

    The one in its text may be impossible; an earlier version stored it nevertheless.
    """
    if not isinstance(stored_ms, int) or isinstance(stored_ms, bool):
        return event
    stored_ms = in_ms(stored_ms)
    if stored_ms != event.event_ms and may_count(stored_ms, event.event_ms, event.received_ns):
        return timed(event, stored_ms)
    return event


def event_sum(payload: bytes, received_ns: int) -> int:
    """Return the checksum of what an event's own text can't prove: CRC-32, as a signed number."""
    told = received_ns.to_bytes(16, "little", signed=True)
    return zlib.crc32(told, zlib.crc32(payload)) - (1 << 31)


def segment_document(segment: Segment) -> Document:
    """Return the stored form of `segment`, without owner and times of our own clock.

    For one that is not stored yet. Of a stored one the front may have been cut, and parts be
    archived: see `progress_document`.
    """
    return {**front_document(segment), **progress_document(segment)}


def front_document(segment: Segment) -> Document:
    """Return the fields that say where `segment` begins; only retention changes them later."""
    return {
        "market": segment.market,
        "snapshot_id": segment.snapshot_id,
        "first_id": segment.first_id,
        "first_event_ms": segment.first_event_ms,
    }


def progress_document(segment: Segment) -> Document:
    """Return the fields that change while `segment` goes on, and when it ends."""
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
    """Return the checksum of what the events of `segment` can't prove; as `event_sum`."""
    cause = segment.end_cause and segment.end_cause.value
    told = (segment.market, segment.scale.price, segment.scale.quantity, cause, segment.end_detail)
    return zlib.crc32(repr(told).encode("utf-8", "backslashreplace")) - (1 << 31)


def unarchived_document(snapshot_id: int, origin: str = RECORDER) -> Document:
    """Return the fields of a segment of which nothing is archived yet."""
    return {
        "cut_events": 0,
        "archived_id": snapshot_id,
        "archived_events": 0,
        "archived_bytes": 0,
        "to_archive": True,
        "origin": origin,
    }


def segment_of(document: Document) -> Segment:
    """Return the segment that `document` stores, without what was cut from its front."""
    cause = document["end_cause"]
    return Segment(
        market=document["market"],
        snapshot_id=document["snapshot_id"],
        first_id=document["first_id"],
        last_id=document["last_id"],
        # An earlier version stored what was sent, in whatever unit.
        first_event_ms=in_ms(document["first_event_ms"]),
        last_event_ms=in_ms(document["last_event_ms"]),
        event_count=document["event_count"] - document.get("cut_events", 0),
        scale=Scale(document["price_exponent"], document["quantity_exponent"]),
        end_cause=None if cause is None else GapCause(cause),
        end_detail=document["end_detail"],
    )


async def prepare_schema(database: Any) -> None:
    """Create what is missing in `database` (motor's), and migrate what is older, step by step.

    Each step may be interrupted anywhere and be run by several processes at once: it changes
    only what is not as it should be, and the version is raised when it is done. Raises
    `NewerSchema` and PyMongo's errors.
    """
    version = await stored_version(database)
    await create_indexes(database)
    if version is None:
        # Not if another process has just done it; that may be one of an older version.
        as_new = {"$setOnInsert": {"version": SCHEMA_VERSION}}
        await database[META].update_one({"_id": "schema"}, as_new, upsert=True)
        version = await stored_version(database) or SCHEMA_VERSION
    for before in range(version, SCHEMA_VERSION):
        await _STEPS[before](database)
        raised = {"$set": {"version": before + 1}}
        await database[META].update_one({"_id": "schema", "version": before}, raised)
        _log.info("the recording is of schema %d now", before + 1)
    if version == SCHEMA_VERSION:
        # A recorder of version 1 may have gone on meanwhile: it knows nothing of the archive.
        await _archive_segments(database)


async def _archive_segments(database: Any) -> None:
    """From 1 to 2: segments say how far they are archived."""
    unknown = {"archived_id": None}
    for one in await database[SEGMENTS].find(unknown, {"snapshot_id": 1}).to_list(None):
        fields = unarchived_document(one["snapshot_id"])
        await database[SEGMENTS].update_one({"_id": one["_id"], **unknown}, {"$set": fields})


_STEPS: Final[Mapping[int, Callable[[Any], Awaitable[None]]]] = MappingProxyType(
    {1: _archive_segments}
)
