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

from msgspec import Struct

from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone, is_ours, owner_document
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import SEGMENTS, Document, progress_document
from orderbook_desktop.storage.store.segments import StoredSegment, check_kinds, damaged_segment

_LEASE: Final = "archive_lease"
# A step takes a second or two. After an outage it needs a moment longer.
_SILENT_FOR_S: Final = 45.0
_TEXTS: Final = ("_id", "market")
_NUMBERS: Final = (
    *("snapshot_id", "last_id", "last_event_ms"),
    *("archived_id", "archived_events", "archived_bytes"),
)
_DAMAGED: Final = object()


class WaitingSegment(Struct, frozen=True):
    """A segment that is not archived completely.

    `is_running` is whether no end of it is stored, `is_ours` whether this process wrote it.
    """

    id: str
    market: str
    is_running: bool
    is_ours: bool


async def waiting_segments(database: Database) -> list[WaitingSegment]:
    """Return the segments that are not archived completely. Raises PyMongo's errors."""
    fields = {"market": 1, "owner": 1, "end_cause": 1}
    found = await database.collection(SEGMENTS).find({"to_archive": True}, fields).to_list(None)
    return [
        WaitingSegment(
            document["_id"],
            str(document.get("market")),
            document.get("end_cause", _DAMAGED) is None,
            is_ours(document),
        )
        for document in found
    ]


class HeldSegment(Struct, frozen=True):
    """What the archive needs of a segment, as it was stored when its lease was ours.

    `epoch` is that of the lease, `end_cause` is None while no end is stored. Other fields of the
    segment may be damaged; `verify` reports these.
    """

    id: str
    market: str
    snapshot_id: int
    last_id: int
    last_event_ms: int
    archived_id: int
    end_cause: str | None
    epoch: int

    @property
    def running(self) -> bool:
        """Whether no end of the segment is stored."""
        return self.end_cause is None


class _Lease(Struct, frozen=True):
    """A lease as it is stored. `is_gone` is whether its holder's process certainly ended."""

    name: str | None
    epoch: int
    beat: object
    is_gone: bool


class ArchiveLease:
    """The leases of one archiver. Its methods raise PyMongo's errors."""

    def __init__(self, database: Database, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now = now
        self._name = secrets.token_hex(8)
        self._beats: dict[str, tuple[object, float]] = {}

    async def take(self, segment_id: str) -> HeldSegment | None:
        """Take the lease of a segment that is to be archived; return the segment as it is stored.

        None if there is no such segment, or another archiver holds the lease. Raises
        `DamagedDocument`, and holds no lease of that segment then.
        """
        segments = self._database.collection(SEGMENTS)
        document = await segments.find_one({"_id": segment_id, "to_archive": True})
        if document is None:
            return None
        lease = _lease_of(document)
        if lease is not None and lease.name == self._name:
            return await self._held(document, lease)
        if lease is not None and not self._is_free(segment_id, lease):
            return None
        _held_segment(document, 0)  # A damaged segment stays as it is.
        before = lease.epoch if lease is not None else 0
        known = {f"{_LEASE}.epoch": before} if lease is not None else {_LEASE: None}
        taken = {"epoch": before + 1, "name": self._name, **self._beat()}
        await segments.update_one({"_id": segment_id, **known}, {"$set": {_LEASE: taken}})
        document = await segments.find_one({"_id": segment_id})
        lease = None if document is None else _lease_of(document)
        if document is None or lease is None or lease.name != self._name:
            return None
        self._beats.pop(segment_id, None)
        return await self._held(document, lease)

    async def move(self, held: HeldSegment, archived_id: int, events: int, size: int) -> bool:
        """Store that the segment is archived to `archived_id`, with `events` and `size` bytes more.

        Return false if we have lost the lease, or had stored it before.
        """
        changes = {
            "$set": {"archived_id": archived_id, f"{_LEASE}.beat": self._beat()["beat"]},
            "$inc": {"archived_events": events, "archived_bytes": size},
        }
        query = self._query(held.id, held.epoch) | {"archived_id": held.archived_id}
        done = await self._database.collection(SEGMENTS).update_one(query, changes)
        return bool(done.modified_count)

    async def shorten(self, held: HeldSegment, shorter: StoredSegment) -> None:
        """Store that an ended segment ends earlier, with its last archived event, as `shorter`."""
        segment = shorter.segment
        changes = {**progress_document(segment), "back_ms": shorter.back_ms}
        changes["event_count"] += shorter.cut_events
        if not changes["event_count"]:
            begin_id, begin_ms = min(segment.last_id + 1, INT64_MAX), segment.last_event_ms
            changes |= {"first_id": begin_id, "first_event_ms": begin_ms}
        query = self._ended_query(held)
        await self._database.collection(SEGMENTS).update_one(query, {"$set": changes})

    async def is_held(self, held: HeldSegment) -> bool:
        """Whether we still hold the lease, and `held` is up to date."""
        query = self._query(held.id, held.epoch) | {"archived_id": held.archived_id}
        return await self._database.collection(SEGMENTS).find_one(query, {"_id": 1}) is not None

    async def release(self, held: HeldSegment) -> None:
        """Give up the lease, so that another archiver can take it."""
        await self._give_up(held.id, held.epoch)

    async def finish(self, held: HeldSegment) -> None:
        """Store that an ended segment is archived completely."""
        query = self._ended_query(held)
        # The epoch stays, in case the segment is continued.
        changes = {"$set": {"to_archive": False, f"{_LEASE}.name": None}}
        await self._database.collection(SEGMENTS).update_one(query, changes)

    def _ended_query(self, held: HeldSegment) -> Document:
        """Return the query of a held segment that has not been continued meanwhile."""
        return self._query(held.id, held.epoch) | {
            "archived_id": held.archived_id,
            "last_id": held.last_id,
            "end_cause": held.end_cause,
        }

    async def _held(self, document: Document, lease: _Lease) -> HeldSegment:
        """Return the segment, whose `lease` is ours; if it is damaged, give up the lease."""
        try:
            return _held_segment(document, lease.epoch)
        except DamagedDocument:
            await self._give_up(document["_id"], lease.epoch)
            raise

    async def _give_up(self, segment_id: str, epoch: int) -> None:
        changes = {"$set": {f"{_LEASE}.name": None}}
        query = self._query(segment_id, epoch)
        await self._database.collection(SEGMENTS).update_one(query, changes)

    def _query(self, segment_id: str, epoch: int) -> Document:
        return {"_id": segment_id, f"{_LEASE}.name": self._name, f"{_LEASE}.epoch": epoch}

    def _is_free(self, segment_id: str, lease: _Lease) -> bool:
        """Whether no process holds the lease, or its holder has ended or stopped its beat."""
        if lease.name is None:
            return True
        beat, now = (lease.epoch, lease.beat), self._now()
        heard, since = self._beats.get(segment_id, (None, now))
        self._beats[segment_id] = (beat, since if heard == beat else now)
        return lease.is_gone or (heard == beat and now - since >= _SILENT_FOR_S)

    def _beat(self) -> Document:
        owner = owner_document()
        return {"owner": owner["owner"], "beat": owner["alive_ms"]}


def _held_segment(document: Document, epoch: int) -> HeldSegment:
    """Return the segment that `document` stores. Raises `DamagedDocument`."""
    try:
        check_kinds(document, _TEXTS, _NUMBERS)
        end_cause = document["end_cause"]
        return HeldSegment(
            document["_id"],
            document["market"],
            document["snapshot_id"],
            document["last_id"],
            # An earlier version stored the times that were sent, in the unit that was sent.
            in_ms(document["last_event_ms"]),
            document["archived_id"],
            None if end_cause is None else GapCause(end_cause).value,
            epoch,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_segment(document, error) from error


def _lease_of(document: Document) -> _Lease | None:
    """Return the lease of a stored segment; None: it has never been held.

    Raises `DamagedDocument`.
    """
    lease = document.get(_LEASE)
    if lease is None:
        return None
    try:
        check_kinds(lease, (), ("epoch",))
        return _Lease(lease["name"], lease["epoch"], lease["beat"], is_gone=is_gone(lease))
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged_segment(document, error) from error
