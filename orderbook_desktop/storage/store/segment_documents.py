"""Segments as documents: their parts, what is proven of them, and what they hold.

A document of `segments` has three parts. Each part has one writer at a time and a seal of its own.

front     `market`, `kind`, `origin` ("recorder" or "import"), `unit` (of the times of events),
          `book` (whether it begins with a book; see `storage.store.bookless`), `snapshot_id`,
          `first_id`, `first_time`, `cut_events` and `cut_bytes` (what retention has removed from
          the front), `cut_from` (the beginning before a cut that is not finished yet, else None).
          The recorder writes it until the segment has an event, then retention.
progress  `last_id`, `last_time`, `back` (the most that times went back; None if an earlier version
          wrote it: then `last_time` is the last event's), `event_count` (with those that were cut),
          `price_exponent`, `quantity_exponent`, `end_cause`, `end_detail`, `to_archive` (true until
          the archive is complete), `ids` (None but for runs without a book), `owner` and `alive_ms`
          (the process that last wrote, and when; of an imported segment None and 0).
          Its recorder writes it, and who closes or archives it after its end.
archive   `archived_id`: the segment's chunks hold all events after `snapshot_id` through this id.
          In all `archived_events` were archived in `archived_bytes`, with those that were cut.
          Chunks beyond it, and raw events up to it, are leftovers. `epoch` is that of the lease of
          the archiver, which writes it (`storage.store.leases`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from types import MappingProxyType
from typing import Final, NamedTuple, Self, TypeGuard

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.archive.chunk import MILLISECONDS
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.segments import GapCause, Segment, TimesSeen
from orderbook_desktop.core.streams import DEPTH, MarketEvent
from orderbook_desktop.core.units import MAX_EXPONENT, Scale
from orderbook_desktop.storage.store.owner import Writer, owner_document, writer_of
from orderbook_desktop.storage.store.packing import DamagedDocument, pack
from orderbook_desktop.storage.store.schema import IMPORT, RECORDER, Document
from orderbook_desktop.storage.store.sealing import is_part_sealed, part_seal, sealed


class _Kind(Enum):
    """What a field holds. An exponent is a number up to `MAX_EXPONENT`; the rest isn't checked."""

    TEXT = "text"
    NUMBER = "number"
    NUMBER_OR_NONE = "number or none"
    EXPONENT = "exponent"
    FLAG = "flag"
    ANY = "any"


_FRONT: Final = {
    **dict.fromkeys(("_id", "market", "kind", "origin", "unit"), _Kind.TEXT),
    "book": _Kind.FLAG,
    **dict.fromkeys(("snapshot_id", "first_id", "first_time"), _Kind.NUMBER),
    **dict.fromkeys(("cut_events", "cut_bytes"), _Kind.NUMBER),
    "cut_from": _Kind.NUMBER_OR_NONE,
}
_PROGRESS: Final = {
    "_id": _Kind.TEXT,
    **dict.fromkeys(("last_id", "last_time", "event_count"), _Kind.NUMBER),
    "back": _Kind.NUMBER_OR_NONE,
    **dict.fromkeys(("price_exponent", "quantity_exponent"), _Kind.EXPONENT),
    "end_detail": _Kind.TEXT,
    **dict.fromkeys(("end_cause", "to_archive", "ids", "owner", "alive_ms"), _Kind.ANY),
}
_ARCHIVE: Final = {
    "_id": _Kind.TEXT,
    **dict.fromkeys(("archived_id", "archived_events", "archived_bytes", "epoch"), _Kind.NUMBER),
}
# By seal, the fields that it covers.
PARTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"front_sum": tuple(_FRONT), "sum": tuple(_PROGRESS), "archive_sum": tuple(_ARCHIVE)}
)
_KINDS: Final = {**_FRONT, **_PROGRESS, **_ARCHIVE}
# The owner of an imported segment: what is stored depends on nothing but what was imported.
UNOWNED: Final[Mapping[str, object]] = MappingProxyType({"owner": None, "alive_ms": 0})


class StoredIds(NamedTuple):
    """The update ids of a stored event, and its time (ms)."""

    first_id: int
    final_id: int
    event_ms: int

    @classmethod
    def of(cls, event: MarketEvent) -> Self:
        """Return those of `event`."""
        return cls(event.first_id, event.final_id, event.event_ms)


class StoredSegment(Struct, frozen=True):
    """A segment, and its archive.

    The segment's chunks hold all events after `segment.snapshot_id` through `archived_id`:
    `archived_events` in `archived_bytes`. Later events are raw. Retention has removed `cut_events`
    from the front. `origin` is "recorder" or "import". `intact` is false if the document has a
    checksum that does not match.

    `back_ms` is the most by which an event's time was behind the latest time before it, the first
    book's included. It is None if an earlier version wrote the segment: then `last_event_ms` is the
    last event's time, and it is not known whether times went back.

    `writer` names the process that recorded it; None for an import, and where it is not known.
    """

    id: str
    segment: Segment
    archived_id: int
    archived_events: int
    archived_bytes: int
    origin: str
    cut_events: int = 0
    intact: bool = True
    back_ms: int | None = None
    has_book: bool = True
    writer: Writer | None = None

    @property
    def running(self) -> bool:
        """Whether no end of the segment is stored."""
        return self.segment.end_cause is None

    @property
    def is_growing(self) -> bool:
        """Whether it has no end, and its recorder, as far as is known, goes on."""
        return self.running and not (self.writer is not None and self.writer.has_ended)

    @property
    def has_base(self) -> bool:
        """Whether the segment begins with a base checkpoint; imported and cut ones do not."""
        return self.has_book and self.is_recorded and not self.cut_events

    @property
    def is_recorded(self) -> bool:
        """Whether a recorder wrote it."""
        return self.origin == RECORDER

    @property
    def is_imported(self) -> bool:
        """Whether an import wrote it."""
        return self.origin == IMPORT

    def extended(self, events: Sequence[StoredIds]) -> tuple[Segment, int | None]:
        """Return the segment with `events`, which follow it, and its `back_ms` with these."""
        segment = self.segment
        if not events:
            return segment, self.back_ms
        # An earlier version stored only the last event's time.
        latest_ms, back_ms = events[-1].event_ms, None
        if self.back_ms is not None:
            times = TimesSeen(segment.last_event_ms, self.back_ms)
            for event in events:
                times = times.and_then(event.event_ms)
            latest_ms, back_ms = times.latest_ms, times.back_ms
        longer = replace(
            segment,
            first_id=segment.first_id if segment.event_count else events[0].first_id,
            first_event_ms=segment.first_event_ms or events[0].event_ms,
            last_id=events[-1].final_id,
            last_event_ms=latest_ms,
            event_count=segment.event_count + len(events),
        )
        return longer, back_ms


def front_document(
    key: str, segment: Segment, origin: str = RECORDER, *, has_book: bool = True
) -> Document:
    """Return the front of a new segment, of which nothing was cut. See the module."""
    front: Document = {
        "_id": key,
        "market": segment.market,
        "kind": DEPTH.name,
        "origin": origin,
        "unit": MILLISECONDS,
        "book": has_book,
        "snapshot_id": segment.snapshot_id,
        "first_id": segment.first_id,
        "first_time": segment.first_event_ms,
        "cut_events": 0,
        "cut_bytes": 0,
        "cut_from": None,
    }
    return sealed_parts(front)


def progress_document(
    key: str,
    segment: Segment,
    back_ms: int | None,
    owner: Mapping[str, object],
    *,
    to_archive: bool = True,
    ids: bytes | None = None,
) -> Document:
    """Return the progress of a segment of which nothing was cut. `owner`: see `owner_document`."""
    progress: Document = {
        "_id": key,
        **progress_fields(segment, back_ms),
        "to_archive": to_archive,
        "ids": ids,
        "owner": owner["owner"],
        "alive_ms": owner["alive_ms"],
    }
    return sealed_parts(progress)


def progress_fields(segment: Segment, back_ms: int | None, cut_events: int = 0) -> Document:
    """Return the fields of the progress that are about the events, without a seal.

    `segment` is without the `cut_events`.
    """
    return {
        "last_id": segment.last_id,
        "last_time": segment.last_event_ms,
        "back": back_ms,
        "event_count": segment.event_count + cut_events,
        "price_exponent": segment.scale.price,
        "quantity_exponent": segment.scale.quantity,
        "end_cause": None if segment.end_cause is None else segment.end_cause.value,
        "end_detail": segment.end_detail,
    }


def grown_fields(before: StoredSegment, after: Segment, back_ms: int | None) -> Document:
    """Return the fields that change, without a seal, as a segment gets more events, or its end.

    It is stored as `before`. Its front has the first event as soon as there is one; from then on
    only retention changes it.
    """
    changes = progress_fields(after, back_ms, before.cut_events)
    if not before.segment.event_count + before.cut_events:
        changes |= {"first_id": after.first_id, "first_time": after.first_event_ms}
    return changes


def archive_document(key: str, archived_id: int, events: int = 0, size: int = 0) -> Document:
    """Return the archive of a segment, which reaches to `archived_id`. See the module."""
    archive: Document = {
        "_id": key,
        "archived_id": archived_id,
        "archived_events": events,
        "archived_bytes": size,
        "epoch": 0,
    }
    return sealed_parts(archive)


def lease_key(market: str) -> str:
    """Return the `_id` of the lease of `market`."""
    return f"{market}:{DEPTH.name}"


def unheld_lease(market: str, epoch: int) -> Document:
    """Return the lease of `market`, which no archiver holds."""
    lease = {"_id": lease_key(market), "name": None, "epoch": epoch, "owner": None, "beat": 0}
    return sealed(lease)


def sealed_parts(document: Document) -> Document:
    """Return `document` with the seal of each part of which it has all fields."""
    seals = {
        seal: part_seal(document, names)
        for seal, names in PARTS.items()
        if all(name in document for name in names)
    }
    return {**document, **seals}


def bookless_segment(market: str, events: Collection[StoredIds]) -> Segment:
    """Return the run of `events`, at least one, which no book reaches."""
    first = min(events, key=lambda event: event.final_id)
    return Segment(
        market=market,
        snapshot_id=max(0, min(event.first_id for event in events) - 1),
        first_id=first.first_id,
        last_id=max(event.final_id for event in events),
        first_event_ms=min(event.event_ms for event in events),
        last_event_ms=max(event.event_ms for event in events),
        event_count=len({event.final_id for event in events}),
        scale=Scale(),
        end_cause=GapCause.USER,
    )


def bookless_document(
    key: str,
    market: str,
    events: Collection[StoredIds],
    origin: str = RECORDER,
    owner: Mapping[str, object] | None = None,
) -> Document:
    """Return the document of a run of `events`, of which nothing is archived.

    `owner` is by default this process.
    """
    segment, ids = bookless_segment(market, events), {event.final_id for event in events}
    owner = owner_document() if owner is None else owner
    return {
        **front_document(key, segment, origin, has_book=False),
        **progress_document(key, segment, 0, owner, ids=packed_ids(ids)),
        **archive_document(key, segment.snapshot_id),
    }


def packed_ids(ids: Collection[int]) -> bytes:
    """Return the stored form of `ids`, at least one."""
    # Plain integers: the database returns integers of its own type.
    ordered = sorted(map(int, ids))
    steps = [ordered[0], *(after - before for before, after in pairwise(ordered))]
    return pack(msgspec.msgpack.encode(steps))


def stored_segment(document: Document) -> StoredSegment:
    """Return the segment that `document` stores. Raises `DamagedDocument`."""
    try:
        check_kinds(document, _KINDS)
        _check_form(document)
        seals = (is_part_sealed(document, seal, names) for seal, names in PARTS.items())
        return StoredSegment(
            document["_id"],
            _segment_of(document),
            document["archived_id"],
            document["archived_events"] - document["cut_events"],
            document["archived_bytes"] - document["cut_bytes"],
            document["origin"],
            document["cut_events"],
            intact=all(seals) and not document.keys() - _KINDS.keys() - PARTS.keys(),
            back_ms=document["back"],
            has_book=document["book"],
            writer=writer_of(document),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_segment(document, error) from error


def _check_form(document: Document) -> None:
    """Raise `ValueError` for a segment that this program can't understand."""
    kind, unit = document["kind"], document["unit"]
    if unit != MILLISECONDS or kind != DEPTH.name:
        raise ValueError(f"{kind} with times in {unit} is not known")


def _segment_of(document: Document) -> Segment:
    """Return the segment that `document` stores, without the events that retention cut."""
    cause = document["end_cause"]
    return Segment(
        market=document["market"],
        snapshot_id=document["snapshot_id"],
        first_id=document["first_id"],
        last_id=document["last_id"],
        # An earlier version stored the times that were sent, in the unit that was sent.
        first_event_ms=in_ms(document["first_time"]),
        last_event_ms=in_ms(document["last_time"]),
        event_count=document["event_count"] - document["cut_events"],
        scale=Scale(document["price_exponent"], document["quantity_exponent"]),
        end_cause=None if cause is None else GapCause(cause),
        end_detail=document["end_detail"],
    )


def damaged_segment(document: Document, error: Exception) -> DamagedDocument:
    """Return what is wrong with a segment whose `document` can't be read because of `error`."""
    return DamagedDocument(f"segment {document.get('_id')}: {type(error).__name__} {error}")


def check_kinds(document: Document, names: Iterable[str]) -> None:
    """Raise `TypeError` or `ValueError` if one of these fields has the wrong type or range.

    A field may be missing.
    """
    for name in names:
        if name in document:
            _check_kind(name, document[name], _KINDS[name])


def _check_kind(name: str, value: object, kind: _Kind) -> None:
    if kind is _Kind.ANY or (kind is _Kind.NUMBER_OR_NONE and value is None):
        return
    if kind in (_Kind.TEXT, _Kind.FLAG):
        if not isinstance(value, str if kind is _Kind.TEXT else bool):
            raise TypeError(f"{name} is no {kind.value}")
        return
    if not is_whole(value):
        raise TypeError(f"{name} is no whole number")
    if value < 0 or (kind is _Kind.EXPONENT and value > MAX_EXPONENT):
        raise ValueError(f"{name} is {value}")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number, as a field of a document should be."""
    return isinstance(value, int) and not isinstance(value, bool)
