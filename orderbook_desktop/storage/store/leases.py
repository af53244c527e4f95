"""The lease by which only one process at a time archives a market.

A document of `leases`, with the `_id` MARKET:depth, has the `name` of the archiver (None: no
archiver), its process (`owner`), a `beat` that changes while it works, and an `epoch` that grows
with each holder. A segment's archive has the `epoch` of the holder that took it last. An archiver
that has lost the lease without noticing does no harm. It can't move `archived_id`, since that needs
its epoch in the segment. It can't replace a newer chunk, since that has a higher epoch
(`storage.store.chunks`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import is_gone, owner_document
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.schema import LEASES, SEGMENTS, Document
from orderbook_desktop.storage.store.sealing import SEAL, is_sealed, sealed
from orderbook_desktop.storage.store.segment_documents import (
    StoredSegment,
    check_kinds,
    damaged_segment,
    lease_key,
    packed_ids,
    progress_fields,
)
from orderbook_desktop.storage.store.segments import change_segment

# A step takes a second or two. After an outage it needs a moment longer.
_SILENT_FOR_S: Final = 45.0
_BEAT_EVERY_S: Final = 10.0
_FIELDS: Final = (
    *("_id", "market", "snapshot_id", "last_id", "last_time"),
    *("archived_id", "archived_events", "archived_bytes", "epoch"),
)
_LEASE_FIELDS: Final = frozenset({"_id", "name", "epoch", "beat", "owner", SEAL})
_DAMAGED: Final = object()


class WaitingSegment(Struct, frozen=True):
    """A segment that is not archived completely.

    `is_running` is whether no end of it is stored, `has_book` whether it is no run without a book.
    """

    id: str
    market: str
    is_running: bool
    has_book: bool


async def waiting_segments(database: Database) -> list[WaitingSegment]:
    """Return the segments that are not archived completely. Raises PyMongo's errors."""
    fields = {"market": 1, "end_cause": 1, "book": 1}
    found = await database.collection(SEGMENTS).find({"to_archive": True}, fields).to_list(None)
    return [
        WaitingSegment(
            document["_id"],
            str(document.get("market")),
            document.get("end_cause", _DAMAGED) is None,
            document.get("book") is not False,
        )
        for document in found
    ]


class HeldSegment(Struct, frozen=True):
    """What the archive needs of a segment, as it was stored when its lease was ours.

    `epoch` is that of the market's lease, `end_cause` is None while no end is stored. Other fields
    of the segment may be damaged; `verify` reports these.
    """

    id: str
    market: str
    snapshot_id: int
    last_id: int
    last_event_ms: int
    archived_id: int
    end_cause: str | None
    epoch: int
    has_book: bool

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
    seal: int


class ArchiveLease:
    """The leases of one archiver. Its methods raise PyMongo's errors."""

    def __init__(self, database: Database, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now = now
        self._name = secrets.token_hex(8)
        # By market: what another holder wrote last, and when that was first read.
        self._beats: dict[str, tuple[object, float]] = {}
        # By market: when our own lease was written last.
        self._beaten: dict[str, float] = {}

    async def hold(self, market: str) -> int | None:
        """Hold the lease of `market`; return its epoch. None if another archiver holds it.

        Raises `DamagedDocument` if the lease is damaged.
        """
        leases, key = self._database.collection(LEASES), lease_key(market)
        document = await leases.find_one({"_id": key})
        before = None if document is None else _lease_of(document)
        if before is not None and before.name == self._name:
            if self._now() - self._beaten.get(market, float("-inf")) >= _BEAT_EVERY_S:
                await self._write(market, before, before.epoch)
            return before.epoch
        if before is not None and not self._is_free(market, before):
            return None
        await self._write(market, before, 1 if before is None else before.epoch + 1)
        document = await leases.find_one({"_id": key})
        now = None if document is None else _lease_of(document)
        if now is None or now.name != self._name:
            return None
        self._beats.pop(market, None)
        return now.epoch

    async def look(self, segment_id: str) -> HeldSegment | None:
        """Return a segment that is to be archived, without a lease. Raises `DamagedDocument`."""
        known = {"_id": segment_id, "to_archive": True}
        document = await self._database.collection(SEGMENTS).find_one(known)
        return None if document is None else _held_segment(document)

    async def take(self, segment_id: str) -> HeldSegment | None:
        """Take the lease of a segment's market; return the segment, to be archived by us.

        None if there is no such segment, or another archiver holds the lease. Raises
        `DamagedDocument`, also if the lease itself is damaged.
        """
        held = await self.look(segment_id)  # A damaged segment stays as it is.
        if held is None:
            return None
        epoch = await self.hold(held.market)
        if epoch is None or held.epoch > epoch:
            return None
        if held.epoch < epoch:
            known = {"_id": segment_id, "epoch": held.epoch}
            if not await change_segment(self._database, known, lambda _: {"epoch": epoch}):
                return None
        return replace(held, epoch=epoch)

    async def _write(self, market: str, before: _Lease | None, epoch: int) -> None:
        """Write our lease, unless another archiver has written its own after `before`."""
        owner = owner_document()
        fields = sealed(
            {
                "_id": lease_key(market),
                "name": self._name,
                "epoch": epoch,
                "owner": owner["owner"],
                "beat": owner["alive_ms"],
            }
        )
        await self._replace(fields, before)
        self._beaten[market] = self._now()

    async def _replace(self, fields: Document, before: _Lease | None) -> None:
        key = fields["_id"]
        rest = {name: value for name, value in fields.items() if name != "_id"}
        leases = self._database.collection(LEASES)
        if before is None:
            await leases.update_one({"_id": key}, {"$setOnInsert": rest}, upsert=True)
        else:
            await leases.update_one({"_id": key, SEAL: before.seal}, {"$set": rest})

    async def move(
        self,
        held: HeldSegment,
        archived_id: int,
        events: int,
        size: int,
        ids: Collection[int] | None = None,
    ) -> bool:
        """Store that the segment is archived to `archived_id`, with `events` and `size` bytes more.

        `ids` are those that are left in a run without a book. Return false if we have lost the
        lease, or had stored it before.
        """
        query = self._query(held.id, held.epoch) | {"archived_id": held.archived_id}
        left: Document = {}
        if ids is not None:
            left = {"ids": packed_ids(ids), "event_count": len(ids), "last_id": archived_id}
        return await change_segment(
            self._database,
            query,
            lambda document: {
                **left,
                "archived_id": archived_id,
                "archived_events": document["archived_events"] + events,
                "archived_bytes": document["archived_bytes"] + size,
            },
        )

    async def shorten(self, held: HeldSegment, shorter: StoredSegment) -> None:
        """Store that an ended segment ends earlier, with its last archived event, as `shorter`."""
        segment = shorter.segment
        changes = progress_fields(segment, shorter.back_ms, shorter.cut_events)
        if not changes["event_count"]:
            begin_id, begin_ms = min(segment.last_id + 1, INT64_MAX), segment.last_event_ms
            changes |= {"first_id": begin_id, "first_time": begin_ms}
        await change_segment(self._database, self._ended_query(held), lambda _: changes)

    async def is_held(self, held: HeldSegment) -> bool:
        """Whether we still hold the lease, and `held` is up to date."""
        query = self._query(held.id, held.epoch) | {"archived_id": held.archived_id}
        return await self._database.collection(SEGMENTS).find_one(query, {"_id": 1}) is not None

    async def release(self, market: str) -> None:
        """Give up the lease of `market`, so that another archiver can take it."""
        document = await self._database.collection(LEASES).find_one({"_id": lease_key(market)})
        lease = None if document is None else _lease_of(document)
        if document is not None and lease is not None and lease.name == self._name:
            await self._replace(sealed(document | {"name": None}), lease)

    async def release_all(self) -> None:
        """Give up all leases that are ours."""
        for market in list(self._beaten):
            await self.release(market)
            del self._beaten[market]

    async def finish(self, held: HeldSegment) -> None:
        """Store that an ended segment is archived completely."""
        changes = {"to_archive": False}
        await change_segment(self._database, self._ended_query(held), lambda _: changes)

    def _ended_query(self, held: HeldSegment) -> Document:
        """Return the query of a held segment that has not been continued meanwhile."""
        return self._query(held.id, held.epoch) | {
            "archived_id": held.archived_id,
            "last_id": held.last_id,
            "end_cause": held.end_cause,
        }

    def _query(self, segment_id: str, epoch: int) -> Document:
        return {"_id": segment_id, "epoch": epoch}

    def _is_free(self, market: str, lease: _Lease) -> bool:
        """Whether no process holds the lease, or its holder has ended or stopped its beat."""
        if lease.name is None:
            return True
        beat, now = (lease.epoch, lease.beat), self._now()
        heard, since = self._beats.get(market, (None, now))
        self._beats[market] = (beat, since if heard == beat else now)
        return lease.is_gone or (heard == beat and now - since >= _SILENT_FOR_S)


def _held_segment(document: Document) -> HeldSegment:
    """Return the segment that `document` stores. Raises `DamagedDocument`."""
    try:
        check_kinds(document, _FIELDS)
        end_cause = document["end_cause"]
        return HeldSegment(
            document["_id"],
            document["market"],
            document["snapshot_id"],
            document["last_id"],
            # An earlier version stored the times that were sent, in the unit that was sent.
            in_ms(document["last_time"]),
            document["archived_id"],
            None if end_cause is None else GapCause(end_cause).value,
            document["epoch"],
            document["book"] is not False,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_segment(document, error) from error


def _lease_of(document: Document) -> _Lease:
    """Return the lease that `document` stores. Raises `DamagedDocument`."""
    try:
        if not is_sealed(document) or document.keys() - _LEASE_FIELDS:
            raise DamagedDocument(f"lease {document['_id']}: its checksum does not match")
        return _Lease(
            document["name"],
            document["epoch"],
            document["beat"],
            is_gone=is_gone(document),
            seal=document[SEAL],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedDocument(f"lease {document['_id']}: {error}") from error
