"""Brings a recording's database to the schema of this version, step by step.

Each step may be interrupted anywhere and be run by several processes at once: it changes
only what is not as it should be, and the version is raised when it is done.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from orderbook_desktop.storage.store.schema import (
    META,
    SCHEMA_VERSION,
    SEGMENTS,
    create_indexes,
    stored_version,
    unarchived_document,
)

_log = logging.getLogger(__name__)


async def prepare(database: Any) -> None:
    """Create what is missing in `database` (motor's), and migrate what is older.

    Raises `NewerSchema` and PyMongo's errors; repeating is harmless.
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
