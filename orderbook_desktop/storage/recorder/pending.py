"""The operations that wait to be written, in order, with a limit on memory."""

from __future__ import annotations

import math
import secrets
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause, Segment, TimesSeen
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.units import INT64_MAX, Scale
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.store.checkpoints import NewBook
from orderbook_desktop.storage.store.event_documents import Insert
from orderbook_desktop.storage.store.running_segments import RecordedSegment
from orderbook_desktop.storage.store.segment_documents import StoredIds

# The memory of an operation, besides payloads and books.
OPERATION_BYTES: Final = 500
_LONGEST_DETAIL: Final = 500
_BYTES_AN_ID: Final = 160


class OpenSegment:
    """A segment that is being recorded, with the events that the database has acknowledged.

    `base_id` is the update id of the book it begins with, `back_ms` the most that its times went
    back. `stored` is true once the segment's document is stored, `begun` once the document has the
    first event, and `changed` while the document is behind. `kept_at` is when the ledger last
    stored how far it has come, by the ledger's clock.
    """

    def __init__(self, stream: Stream, base_id: int, base_event_ms: int, scale: Scale) -> None:
        self.id = secrets.token_hex(12)
        self.stream = stream
        self.base_id = base_id
        self.back_ms = 0
        self.state = Segment(
            market=stream.market,
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
        self.kept_at = -math.inf

    @property
    def recorded(self) -> RecordedSegment:
        """The segment, to be stored as it is now."""
        return RecordedSegment(self.id, self.state, self.base_id, self.back_ms, self.begun)

    def extend(self, step: Extend) -> None:
        """Add an event to the segment."""
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
        """Set the cause of the segment's end."""
        self.state = replace(self.state, end_cause=cause, end_detail=detail)
        self.changed = True


class Open(Struct, frozen=True, eq=False):
    """Begin the segment with the book `base`."""

    segment: OpenSegment
    base: NewBook


class Extend(Struct, frozen=True, eq=False):
    """Add an event, which was written before, to the segment."""

    segment: OpenSegment
    first_id: int
    final_id: int
    event_ms: int
    scale: Scale


class Checkpoint(Struct, frozen=True, eq=False):
    """Store the segment's current book."""

    segment: OpenSegment
    base: NewBook


class Answered(Struct, frozen=True, eq=False):
    """Store an answer of the exchange that came while the segment was recorded."""

    segment: OpenSegment
    witness: Witness


class Close(Struct, frozen=True, eq=False):
    """End the segment."""

    segment: OpenSegment
    cause: GapCause
    detail: str


class Loose(Struct, frozen=True, eq=False):
    """Store a run without a book of `stream`: of `events`, which were written before."""

    stream: Stream
    events: tuple[StoredIds, ...]
    id: str = field(default_factory=lambda: secrets.token_hex(12))


SegmentEntry = Open | Extend | Checkpoint | Answered | Close
LedgerEntry = SegmentEntry | Loose
Operation = Insert | LedgerEntry


class StoredTimes:
    """The stored times of events that another recorder stored before, and dated differently.

    A segment takes its times from the stored events, as its readers do.
    """

    def __init__(self) -> None:
        self._times: dict[str, dict[int, int]] = {}

    def note(self, event: Insert, stored_ms: int) -> None:
        """Take note of the stored time of an event."""
        if stored_ms != event.event_ms:
            self._times.setdefault(event.market, {})[event.final_id] = stored_ms

    def dated(self, entry: LedgerEntry) -> LedgerEntry:
        """Return `entry` with the stored time of its event. Call it in the order of the entries."""
        if not self._times:
            return entry
        match entry:
            case Extend(segment, _, final_id):
                stored_ms = self._stored(segment, final_id)
                return entry if stored_ms is None else replace(entry, event_ms=stored_ms)
            case Checkpoint(segment, book):
                stored_ms = self._stored(segment, book.update_id)
                if stored_ms is not None:
                    return replace(entry, base=replace(book, event_ms=stored_ms))
        return entry

    def _stored(self, segment: OpenSegment, final_id: int) -> int | None:
        times = self._times.get(segment.state.market, {})
        for passed in [known for known in times if known < final_id]:
            del times[passed]
        return times.get(final_id)


def storable(detail: str) -> str:
    """Return `detail` as text for a database and a log: it may quote bytes of an exchange."""
    return detail[:_LONGEST_DETAIL].encode("utf-8", "replace").decode()


def stream_of(operation: Operation) -> Stream:
    """Return the stream that `operation` is about."""
    if isinstance(operation, Insert | Loose):
        return operation.stream
    return operation.segment.stream


class PendingWrites(Struct):
    """A queue of operations, and the memory that they take until they are done.

    After `take_first`, call `forget` when the operation is written or given up.
    """

    limit_bytes: int
    wake: Callable[[], None]
    used_bytes: int = 0
    events: int = 0
    _queue: deque[Operation] = field(default_factory=deque)
    _events_by_stream: Counter[Stream] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._queue)

    def hold(self, size: int) -> None:
        """Count memory of what waits elsewhere; `size` is negative for what no longer does."""
        self.used_bytes += size

    @property
    def full(self) -> bool:
        """Whether no further event fits."""
        return self.used_bytes >= self.limit_bytes

    @property
    def relaxed(self) -> bool:
        """Whether at most half of the memory is in use."""
        return self.used_bytes <= self.limit_bytes // 2

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest event in the queue was received (ns since the epoch), if there is one."""
        waiting = (entry.received_ns for entry in self._queue if isinstance(entry, Insert))
        return next(waiting, None)

    def events_of(self, stream: Stream) -> int:
        """Return how many events of `stream` wait."""
        return self._events_by_stream[stream]

    def add(self, operation: Operation) -> None:
        """Append an operation. Before adding an event, check `full`."""
        self._queue.append(operation)
        self.count(operation)
        self.wake()

    def count(self, operation: Operation) -> None:
        """Count the memory of an operation, until `forget`."""
        self.used_bytes += _weight(operation)
        self._count_event(operation, 1)

    def first(self, count: int) -> list[Operation]:
        """Return up to `count` operations from the front, without removing them."""
        return list(islice(self._queue, count))

    def take_first(self) -> Operation:
        """Remove the operation at the front; its memory counts until `forget`."""
        return self._queue.popleft()

    def withdraw(self, stream: Stream) -> None:
        """Remove all operations of `stream`, and forget them."""
        withdrawn = [operation for operation in self._queue if stream_of(operation) == stream]
        self._queue = deque(entry for entry in self._queue if stream_of(entry) != stream)
        for operation in withdrawn:
            self.forget(operation)

    def forget(self, operation: Operation) -> None:
        """Stop counting the memory of an operation."""
        self.used_bytes -= _weight(operation)
        self._count_event(operation, -1)

    def _count_event(self, operation: Operation, by: int) -> None:
        if isinstance(operation, Insert):
            self.events += by
            self._events_by_stream[operation.stream] += by


def _weight(operation: Operation) -> int:
    if isinstance(operation, Insert):
        return OPERATION_BYTES + len(operation.payload)
    if isinstance(operation, Open | Checkpoint):
        return OPERATION_BYTES + operation.base.weight
    if isinstance(operation, Answered):
        return OPERATION_BYTES + len(operation.witness.snapshot.payload)
    if isinstance(operation, Loose):
        return OPERATION_BYTES + _BYTES_AN_ID * len(operation.events)
    return OPERATION_BYTES // 2
