"""The recording's database: its collections, indexes and schema version.

Every document has a seal, or one for the fields of each of its writers (`storage.store.sealing`).
Times of events are in the unit that their run names; receive times are nanoseconds since the epoch.

`depth_events`   one document per event, `_id` MARKET:depth:FINAL_ID: `market`, `U`, `u`, `time`,
                 `received_ns`, `payload` (the event's JSON text exactly as the exchange sent it)
                 and its `encoding` (`storage.store.event_documents`). Events stay here until they
                 are archived.
`depth_chunks`   the archive (`storage.store.packing`). Beside the fields of a chunk:
                 `segment` that it belongs to, and `epoch` of the lease under which it was written
                 (`storage.store.leases`). `_id` is `SEGMENT:START_ID`. Each chunk starts where the
                 one before it ends. It may be known deeper, if an answer was joined there.
`segments`       one document per unbroken run of update ids (`core.segments.Segment`), in three
                 parts with a seal each (`storage.store.segments`); and one per run of events that
                 no book reaches (`storage.store.bookless`).
`checkpoints`    books inside a segment: `segment` (its _id), `market`, `update_id`, `time`,
                 `received_ns`, `horizon` and `payload`, the JSON text of a snapshot, compressed by
                 zstd. The segment begins with the book that has `base: true`; this one is `new`
                 until the segment is stored. Of the others, which make the newest book
                 quicker to read, only the last few are kept.
`trade_events`   batches of trades (`storage.store.trade_documents`), kept until they are archived.
`trade_chunks`   the archive of trades (`storage.store.trade_chunks`).
`trade_runs`     one document per unbroken run of ids of trades that are stored
                 (`storage.store.trade_runs`).
`witnesses`      snapshots of the exchange, taken during the recording for comparison
                 (`storage.store.witnesses`).
`bookmarks`      moments that a person marked (`storage.store.bookmarks`).
`leases`         who archives a market (`storage.store.leases`).
`meta`           the schema's version, and the journal of imports.

By two rules the loss of any event is found:
- The ids of a segment go from `snapshot_id` to `last_id` without a hole, and the segment has
  `event_count` events, less those that were cut.
- All other stored events are in runs without a book, once it is known that no segment will
  take them. If two recorders were running, an event may also be in a segment of the other one.
Segments are written at most a second after the events; those of a recorder of more than twenty in
turn, within ten seconds. After a crash the next start writes what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.storage.errors import NewerSchema, UnknownSchema

Document = dict[str, Any]

DEPTH_EVENTS: Final = "depth_events"
SEGMENTS: Final = "segments"
CHECKPOINTS: Final = "checkpoints"
DEPTH_CHUNKS: Final = "depth_chunks"
TRADE_EVENTS: Final = "trade_events"
TRADE_CHUNKS: Final = "trade_chunks"
TRADE_RUNS: Final = "trade_runs"
WITNESSES: Final = "witnesses"
BOOKMARKS: Final = "bookmarks"
LEASES: Final = "leases"
META: Final = "meta"

SCHEMA_VERSION: Final = 3

RECORDER: Final = "recorder"
IMPORT: Final = "import"

# By collection, the fields of each index. None is unique: `_id`s are.
_INDEXES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        DEPTH_EVENTS: (("market", "u"),),
        SEGMENTS: (("end_cause", "market"), ("market", "snapshot_id"), ("to_archive", "market")),
        CHECKPOINTS: (("segment",), ("market",)),
        DEPTH_CHUNKS: (("market", "minute"), ("segment", "last_id"), ("market", "last_id")),
        TRADE_EVENTS: (("market", "first_id"),),
        TRADE_CHUNKS: (("market", "first_id"),),
        TRADE_RUNS: (("market", "first_id"), ("end_cause", "market"), ("to_archive", "market")),
        WITNESSES: (("market", "update_id"), ("market", "joined_id")),
    }
)


async def create_indexes(database: Any) -> None:
    """Create the indexes that are missing in `database` (motor's), all at once."""
    from pymongo import IndexModel  # noqa: PLC0415 (see storage.store.database)

    def models(name: str) -> list[IndexModel]:
        return [IndexModel([(field, 1) for field in fields]) for fields in _INDEXES[name]]

    # One after the other they would delay the start.
    await asyncio.gather(*(database[name].create_indexes(models(name)) for name in _INDEXES))


async def has_schema(database: Any) -> bool:
    """Whether anything was recorded in `database` (motor's).

    Raises `NewerSchema` and `UnknownSchema`.
    """
    return await stored_version(database) is not None


async def is_current(database: Any) -> bool:
    """Whether `database` (motor's), which has a schema, is of this program's, wholly migrated."""
    known = await database[META].find_one({"_id": "schema"})
    return known is not None and known["version"] == SCHEMA_VERSION and "migrating" not in known


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
