"""The lease by which only one process at a time archives a segment.

A segment's `archive_lease` has the `name` of the archiver (None: no archiver), its process
(`owner`), a `beat` that changes while it works, and an `epoch` that grows with each holder. An
archiver that has lost the lease without noticing does no harm. It can't move `archived_id`, since
that needs the lease. It can't replace a newer chunk, since that has a higher epoch
(`storage.store.chunks`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone, owner_document
from orderbook_desktop.storage.store.schema import SEGMENTS, Document

_LEASE: Final = "archive_lease"
# A step takes a second or two. After an outage it needs a moment longer.
_SILENT_FOR_S: Final = 45.0


class ArchiveLease:
    """The leases of one archiver. Its methods raise PyMongo's errors."""

    def __init__(self, database: Database, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now = now
        self._name = secrets.token_hex(8)
        self._beats: dict[str, tuple[object, float]] = {}

    async def take(self, segment: Document) -> Document | None:
        """Take the lease of a stored `segment`; return its current document.

        None if another archiver holds the lease.
        """
        lease = segment.get(_LEASE)
        if lease is not None and lease["name"] == self._name:
            return segment
        if lease is not None and not self._is_free(segment, lease):
            return None
        before = lease["epoch"] if lease is not None else 0
        known = {f"{_LEASE}.epoch": before} if lease is not None else {_LEASE: None}
        held = {"epoch": before + 1, "name": self._name, **self._beat()}
        segments = self._database.collection(SEGMENTS)
        await segments.update_one({"_id": segment["_id"], **known}, {"$set": {_LEASE: held}})
        now = await segments.find_one({"_id": segment["_id"]})
        if now is None or now[_LEASE] is None or now[_LEASE]["name"] != self._name:
            return None
        self._beats.pop(segment["_id"], None)
        return now

    async def move(self, segment: Document, archived_id: int, events: int, size: int) -> bool:
        """Store that the segment is archived to `archived_id`, with `events` and `size` bytes more.

        Return false if we have lost the lease, or had stored it before.
        """
        changes = {
            "$set": {"archived_id": archived_id, f"{_LEASE}.beat": self._beat()["beat"]},
            "$inc": {"archived_events": events, "archived_bytes": size},
        }
        query = self._held(segment) | {"archived_id": segment["archived_id"]}
        done = await self._database.collection(SEGMENTS).update_one(query, changes)
        return bool(done.modified_count)

    async def is_held(self, segment: Document) -> bool:
        """Whether we still hold the lease, and the document `segment` is up to date."""
        query = self._held(segment) | {"archived_id": segment["archived_id"]}
        return await self._database.collection(SEGMENTS).find_one(query, {"_id": 1}) is not None

    async def release(self, segment: Document) -> None:
        """Give up the lease, so that another archiver can take it."""
        changes = {"$set": {f"{_LEASE}.name": None}}
        await self._database.collection(SEGMENTS).update_one(self._held(segment), changes)

    async def finish(self, segment: Document) -> None:
        """Store that an ended segment is archived completely."""
        query = self._held(segment) | {
            name: segment[name] for name in ("archived_id", "last_id", "end_cause")
        }
        # The epoch stays, in case the segment is continued.
        changes = {"$set": {"to_archive": False, f"{_LEASE}.name": None}}
        await self._database.collection(SEGMENTS).update_one(query, changes)

    def _held(self, segment: Document) -> Document:
        lease = segment[_LEASE]
        return {
            "_id": segment["_id"],
            f"{_LEASE}.name": self._name,
            f"{_LEASE}.epoch": lease["epoch"],
        }

    def _is_free(self, segment: Document, lease: Document) -> bool:
        """Whether no process holds the lease, or its holder has ended or stopped its beat."""
        if lease["name"] is None:
            return True
        key, beat = segment["_id"], (lease["epoch"], lease["beat"])
        now = self._now()
        heard, since = self._beats.get(key, (None, now))
        self._beats[key] = (beat, since if heard == beat else now)
        return is_gone(lease) or (heard == beat and now - since >= _SILENT_FOR_S)

    def _beat(self) -> Document:
        owner = owner_document()
        return {"owner": owner["owner"], "beat": owner["alive_ms"]}
