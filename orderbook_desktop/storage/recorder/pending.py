"""What waits to be written, in order, within a bound on memory."""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.segments import GapCause, Segment, TimesSeen
from orderbook_desktop.core.units import INT64_MAX, Scale

# What an operation takes in memory, besides payloads and books.
_OPERATION_BYTES: Final = 500
_BYTES_A_LEVEL: Final = 16
_LONGEST_DETAIL: Final = 500
_BYTES_AN_ID: Final = 40


class OpenSegment:
    """A segment that is being recorded, as far as the database has acknowledged its events.

    `base_id` is the update id of the book it begins with, `back_ms` how far its times ever
    went back. `stored` is true once the database knows it, `begun` once it knows the first
    event too, `changed` while it doesn't know all.
    """

    def __init__(self, market: str, base_id: int, base_event_ms: int, scale: Scale) -> None:
        self.id = secrets.token_hex(12)
        self.base_id = base_id
        self.back_ms = 0
        self.state = Segment(
            market=market,
            snapshot_id=base_id,
            first_id=min(base_id + 1, INT64_MAX),
            last_id=base_id,
            first_event_ms=base_event_ms,
            last_event_ms=base_event_ms,
            event_count=0,
            scale=scale,
        )
        self.checkpoints: list[str] = []
        self.stored = False
        self.begun = False
        self.changed = False

    def extend(self, step: Extend) -> None:
        """Take an event into the segment."""
        known = self.state
        first_id, first_event_ms = known.first_id, known.first_event_ms
        if not known.event_count:
            first_id, first_event_ms = step.first_id, first_event_ms or step.event_ms
        times = TimesSeen(known.last_event_ms, self.back_ms).and_then(step.event_ms)
        self.back_ms = times.back_ms
        self.state = replace(
            known,
            first_id=first_id,
            first_event_ms=first_event_ms,
            last_id=step.final_id,
            last_event_ms=times.latest_ms,
            event_count=known.event_count + 1,
            scale=step.scale,
        )
        self.changed = True

    def end(self, cause: GapCause, detail: str) -> None:
        """Note why the segment ended."""
        self.state = replace(self.state, end_cause=cause, end_detail=detail)
        self.changed = True


@dataclass(frozen=True, slots=True, eq=False)
class Insert:
    """Write the event."""

    market: str
    first_id: int
    final_id: int
    event_ms: int
    received_ns: int
    payload: bytes

    @classmethod
    def of(cls, diff: DepthDiff) -> Insert:
        """Keep what is written of `diff`, and none of what was decoded from it."""
        return cls(
            diff.market,
            diff.first_id,
            diff.final_id,
            diff.event_ms,
            diff.received_ns,
            diff.payload,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A whole book to be stored: an image, or the payload of a snapshot."""

    update_id: int
    event_ms: int
    book: BookImage | bytes

    @classmethod
    def of(cls, book: DepthSnapshot | BookImage) -> Base:
        """Keep what is written of `book`, and none of what was decoded from it."""
        kept = book if isinstance(book, BookImage) else book.payload
        return cls(book.last_update_id, book.event_ms, kept)

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        if isinstance(self.book, bytes):
            return len(self.book)
        return _BYTES_A_LEVEL * (len(self.book.bids.prices) + len(self.book.asks.prices))


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """Begin the segment with the book `base`."""

    segment: OpenSegment
    base: Base


@dataclass(frozen=True, slots=True, eq=False)
class Extend:
    """The event, written before, belongs to the segment."""

    segment: OpenSegment
    first_id: int
    final_id: int
    event_ms: int
    scale: Scale


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Store the segment's book as it is at this event."""

    segment: OpenSegment
    base: Base


@dataclass(frozen=True, slots=True, eq=False)
class Close:
    """The segment has ended."""

    segment: OpenSegment
    cause: GapCause
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Loose:
    """The events whose final ids are `ids`, written before, belong to no segment."""

    market: str
    ids: tuple[int, ...]
    id: str = field(default_factory=lambda: secrets.token_hex(12))


SegmentEntry = Open | Extend | Checkpoint | Close
LedgerEntry = SegmentEntry | Loose
Operation = Insert | LedgerEntry


def storable(detail: str) -> str:
    """Return what a database and a log take as text: `detail` may quote what an exchange sent."""
    return detail[:_LONGEST_DETAIL].encode("utf-8", "replace").decode()


def market_of(operation: Operation) -> str:
    """Return the market that `operation` is about."""
    if isinstance(operation, Insert | Loose):
        return operation.market
    return operation.segment.state.market


@dataclass(slots=True)
class PendingWrites:
    """A queue of operations, and the memory they take until they are done.

    Whoever takes an operation out says so by `forget` when it is written or given up.
    """

    limit_bytes: int
    wake: Callable[[], None]
    used_bytes: int = 0
    events: int = 0
    _queue: deque[Operation] = field(default_factory=deque)
    _events_by_market: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether no further event fits."""
        return self.used_bytes >= self.limit_bytes

    @property
    def relaxed(self) -> bool:
        """Whether there is room again, with some to spare."""
        return self.used_bytes <= self.limit_bytes // 2

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest event in the queue was received, in ns since the epoch; None: none."""
        waiting = (one.received_ns for one in self._queue if isinstance(one, Insert))
        return next(waiting, None)

    def events_of(self, market: str) -> int:
        """Return how many of `events` are those of `market`."""
        return self._events_by_market[market]

    def add(self, operation: Operation) -> None:
        """Append an operation. What must not grow without bound looks at `full` before."""
        self._queue.append(operation)
        self.count(operation)
        self.wake()

    def count(self, operation: Operation) -> None:
        """Count the memory of an operation, until `forget`."""
        self.used_bytes += _weight(operation)
        self._count_event(operation, 1)

    def first(self, count: int) -> list[Operation]:
        """Return up to `count` operations from the front, leaving them there."""
        return list(islice(self._queue, count))

    def take_first(self) -> Operation:
        """Remove the operation at the front; its memory counts until `forget`."""
        return self._queue.popleft()

    def forget(self, operation: Operation) -> None:
        """Count the memory of a taken operation no more."""
        self.used_bytes -= _weight(operation)
        self._count_event(operation, -1)

    def _count_event(self, operation: Operation, by: int) -> None:
        if isinstance(operation, Insert):
            self.events += by
            self._events_by_market[operation.market] += by


def _weight(operation: Operation) -> int:
    if isinstance(operation, Insert):
        return _OPERATION_BYTES + len(operation.payload)
    if isinstance(operation, Open | Checkpoint):
        return _OPERATION_BYTES + operation.base.weight
    if isinstance(operation, Loose):
        return _OPERATION_BYTES + _BYTES_AN_ID * len(operation.ids)
    return _OPERATION_BYTES // 2
