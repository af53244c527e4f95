"""What the recording's database looks like: collections, indexes and the schema's version.

`depth_events`   one document per diff: `market`, `U`, `u`, `event_ms`, `received_ns`, and
                 `payload`, the event's JSON text exactly as the exchange sent it. Unique on
                 (`market`, `u`). Shard key of a cluster: the same two.
`segments`       one document per unbroken run of update ids (`core.segments.Segment`), with
                 its `owner` and when that was last alive.
`checkpoints`    books inside a segment: `segment` (its _id), `market`, `update_id`,
                 `event_ms` and `payload`, the JSON text of a snapshot, compressed by zstd.
                 The one with `base: true` begins the segment; of the others, which only
                 shorten the way to the newest book, a few are kept.
`meta`           the schema's version.
"""

from __future__ import annotations

from typing import Any, Final

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import DepthDiff, decode_diff
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.errors import DatabaseError

Document = dict[str, Any]

DEPTH_EVENTS: Final = "depth_events"
SEGMENTS: Final = "segments"
CHECKPOINTS: Final = "checkpoints"
META: Final = "meta"

SCHEMA_VERSION: Final = 1


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


async def prepare(database: Any) -> None:
    """Create what is missing in `database` (motor's); raises `NewerSchema`."""
    is_new = not await has_schema(database)
    await database[DEPTH_EVENTS].create_index([("market", 1), ("u", 1)], unique=True)
    await database[SEGMENTS].create_index([("end_cause", 1), ("market", 1)])
    await database[CHECKPOINTS].create_index([("segment", 1)])
    if is_new:
        version = {"$set": {"version": SCHEMA_VERSION}}
        await database[META].update_one({"_id": "schema"}, version, upsert=True)


async def has_schema(database: Any) -> bool:
    """Whether anything was recorded in `database` (motor's); raises `NewerSchema`."""
    known = await database[META].find_one({"_id": "schema"})
    if known is not None and known["version"] > SCHEMA_VERSION:
        raise NewerSchema(known["version"])
    return known is not None


def event_of(document: Document) -> DepthDiff:
    """Return the event that `document` stores; raises `MalformedMessage` if it is none."""
    try:
        payload = document["payload"].encode()
        received_ns = int(document["received_ns"])
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise MalformedMessage("recorded event", f"{type(error).__name__}: {error}") from error
    return decode_diff(payload, received_ns)


def segment_document(segment: Segment) -> Document:
    """Return the stored form of `segment`, without owner and times of our own clock."""
    return {
        "market": segment.market,
        "snapshot_id": segment.snapshot_id,
        "first_id": segment.first_id,
        "last_id": segment.last_id,
        "first_event_ms": segment.first_event_ms,
        "last_event_ms": segment.last_event_ms,
        "event_count": segment.event_count,
        "price_exponent": segment.scale.price,
        "quantity_exponent": segment.scale.quantity,
        "end_cause": None if segment.end_cause is None else segment.end_cause.value,
        "end_detail": segment.end_detail,
    }


def segment_of(document: Document) -> Segment:
    """Return the segment that `document` stores."""
    cause = document["end_cause"]
    return Segment(
        market=document["market"],
        snapshot_id=document["snapshot_id"],
        first_id=document["first_id"],
        last_id=document["last_id"],
        first_event_ms=document["first_event_ms"],
        last_event_ms=document["last_event_ms"],
        event_count=document["event_count"],
        scale=Scale(document["price_exponent"], document["quantity_exponent"]),
        end_cause=None if cause is None else GapCause(cause),
        end_detail=document["end_detail"],
    )
