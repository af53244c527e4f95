"""The synchroniser: turns snapshots and diffs into a book, or says where it cannot.

Follows Binance's "How to manage a local order book correctly". It does no I/O: feed it what
arrives (`receive_diff`, `receive_snapshot`, `stream_broken`) and act on the outcomes; fetch
a snapshot whenever `wants_snapshot` is true. Whoever serves the two, exchange, database or
recording, the rules are these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orderbook_desktop.core.book import Book, Crossing
from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff, DepthSnapshot

# While a snapshot is on its way events wait; a snapshot can't be hours late.
_BUFFERED_AT_MOST: Final = 20_000
# The busiest market uses some 500 update ids a second, and its widest event spans 1,500.
_IDS_AT_ONCE: Final = WIDEST_EVENT
_IDS_A_MS: Final = 1_000
# So often a snapshot older than what was seen before is taken for a stale one.
_REFUSED_AT_MOST: Final = 3
# So many events in a row that are later and have lower update ids than the book are no duplicates.
_CONTRADICTED_BY: Final = 10


@dataclass(frozen=True, slots=True)
class Applied:
    """The diff was the next one and is in the book."""

    diff: DepthDiff


@dataclass(frozen=True, slots=True)
class Stale:
    """Everything in the diff is already in the book: a duplicate, or older than the snapshot."""

    diff: DepthDiff


@dataclass(frozen=True, slots=True)
class Buffered:
    """The diff waits for a snapshot."""

    diff: DepthDiff


@dataclass(frozen=True, slots=True)
class Gap:
    """Update ids `first_missing`..`last_missing`, inclusive, never came: the book is unknown."""

    first_missing: int
    last_missing: int


@dataclass(frozen=True, slots=True)
class Crossed:
    """At the end of the event `update_id` the best bid reaches the best ask.

    No exchange has such a book, so it is unknown; the event waits for the next snapshot.
    """

    update_id: int
    crossing: Crossing

    def __str__(self) -> str:
        return f"At update id {self.update_id} {self.crossing}."


@dataclass(frozen=True, slots=True)
class SnapshotCrossed:
    """The snapshot as of `update_id` is crossed itself, and is not used: fetch another one."""

    update_id: int
    crossing: Crossing

    def __str__(self) -> str:
        return f"In the book as of update id {self.update_id} {self.crossing}."


@dataclass(frozen=True, slots=True)
class Implausible:
    """The update ids of the diff can't follow those known before it: it is not used.

    They are too far away, or the last ones of many that are lower though their events are later.
    What came before is let go with it: one of the two is wrong, and nothing tells which.
    """

    diff: DepthDiff
    known_id: int

    def __str__(self) -> str:
        return f"Update id {self.diff.final_id} can't follow update id {self.known_id}."


@dataclass(frozen=True, slots=True)
class SnapshotImplausible:
    """The snapshot is as of an update id that can't have come yet; it is not used."""

    update_id: int
    known_id: int

    def __str__(self) -> str:
        return f"A book as of update id {self.update_id} can't follow update id {self.known_id}."


@dataclass(frozen=True, slots=True)
class Overflow:
    """More events waited for a snapshot than fit; the oldest, `diff`, was let go."""

    diff: DepthDiff


@dataclass(frozen=True, slots=True)
class Synced:
    """The snapshot is the book's new base."""

    snapshot: DepthSnapshot


@dataclass(frozen=True, slots=True)
class SnapshotTooOld:
    """The snapshot ends before update id `seen_id`, which came already: fetch a newer one."""

    last_update_id: int
    seen_id: int


DiffOutcome = Applied | Stale | Buffered | Gap | Crossed | Overflow | Implausible
SnapshotOutcome = (
    Synced
    | SnapshotTooOld
    | SnapshotCrossed
    | SnapshotImplausible
    | Applied
    | Stale
    | Gap
    | Crossed
)


class DepthSync:
    """Keeps `book` equal to the source's book while `synced` is true.

    While it is false the book is empty: a book that may be wrong is never shown.
    """

    def __init__(self) -> None:
        self.book = Book()
        self.synced = False
        self._buffer: list[DepthDiff] = []
        self._newest_seen = 0
        self._refused = 0
        # The furthest update id that is believed, and its time (ms; 0: unknown).
        self._known: tuple[int, int] | None = None
        # When the last event in the book was (ms; 0: the snapshot is of another clock).
        self._applied_ms = 0
        self._contradictions = 0

    @property
    def wants_snapshot(self) -> bool:
        """Whether a snapshot has to be fetched."""
        return not self.synced

    def receive_diff(self, diff: DepthDiff) -> list[DiffOutcome]:
        """Take in one event; return what became of it."""
        if self._known is not None and not may_follow(diff.final_id, diff.event_ms, *self._known):
            return [self._not_believed(diff, self._known[0])]
        if self.synced and self._is_contradicted_by(diff):
            return [self._not_believed(diff, self.book.last_update_id)]
        return self._take(diff)

    def _is_contradicted_by(self, diff: DepthDiff) -> bool:
        """Whether events go on below the book's id: it came too far, or ids have begun anew.

        An event that comes twice, or late, has a time that the book has come to.
        """
        if diff.final_id > self.book.last_update_id:
            self._contradictions = 0
        elif self._applied_ms and diff.event_ms > self._applied_ms:
            self._contradictions += 1
        return self._contradictions >= _CONTRADICTED_BY

    def _not_believed(self, diff: DepthDiff, known_id: int) -> Implausible:
        self._lose_sync()
        self._known, self._newest_seen = None, 0
        return Implausible(diff, known_id)

    def _take(self, diff: DepthDiff) -> list[DiffOutcome]:
        self._know(diff.final_id, diff.event_ms)
        self._newest_seen = max(self._newest_seen, diff.final_id)
        if not self.synced:
            return self._wait(diff)
        if diff.final_id <= self.book.last_update_id:
            return [Stale(diff)]
        expected = self.book.last_update_id + 1
        if diff.first_id > expected:
            self._lose_sync()
            return [Gap(expected, diff.first_id - 1), *self._wait(diff)]
        self.book.apply(diff)
        if (crossing := self.book.crossing()) is not None:
            self._lose_sync()
            return [Crossed(diff.final_id, crossing), *self._wait(diff)]
        self._applied_ms = max(self._applied_ms, diff.event_ms)
        return [Applied(diff)]

    def receive_snapshot(self, snapshot: DepthSnapshot, taken_ms: int = 0) -> list[SnapshotOutcome]:
        """Take in a snapshot, then what waited for it; return the outcomes in order.

        `taken_ms` is when it was taken, where that is known.

        Where ids are missing among the events that waited, or one of them crosses the book,
        the last outcome is a `Gap` or `Crossed`, and a further snapshot is wanted.
        """
        waiting = sorted(self._buffer, key=lambda diff: (diff.first_id, diff.final_id))
        seen_id = self._seen_beyond(snapshot, waiting)
        if seen_id is not None:
            self._refused += 1
            return [SnapshotTooOld(snapshot.last_update_id, seen_id)]
        self._refused = 0
        as_of_ms = snapshot.event_ms or taken_ms
        if self._known is not None and snapshot.last_update_id > _reach(*self._known, as_of_ms):
            return [SnapshotImplausible(snapshot.last_update_id, self._known[0])]
        self._newest_seen = snapshot.last_update_id
        known_ms = 0 if self._known is None else self._known[1]
        self._known = snapshot.last_update_id, max(as_of_ms, known_ms)
        self.book.load(snapshot)
        if (crossing := self.book.crossing()) is not None:
            self._forget_book()
            return [SnapshotCrossed(snapshot.last_update_id, crossing)]
        self._buffer = []
        self.synced = True
        self._applied_ms, self._contradictions = snapshot.event_ms, 0
        outcomes: list[SnapshotOutcome] = [Synced(snapshot)]
        for diff in waiting:
            # After a gap the remaining events go back to waiting: no outcome of their own.
            outcomes.extend(
                outcome
                for outcome in self._take(diff)
                if not isinstance(outcome, Buffered | Overflow | Implausible)
            )
        return outcomes

    def stream_broken(self) -> None:
        """The stream lost its continuity (disconnect, unreadable event): start over."""
        self._lose_sync()

    def _know(self, update_id: int, event_ms: int) -> None:
        """Note an update id that is believed."""
        if self._known is None or update_id > self._known[0]:
            latest_ms = 0 if self._known is None else self._known[1]
            self._known = update_id, max(latest_ms, event_ms)

    def _seen_beyond(self, snapshot: DepthSnapshot, waiting: list[DepthDiff]) -> int | None:
        """Return an update id that has come already and that `snapshot` doesn't reach."""
        if waiting:
            first_id = waiting[0].first_id
            return first_id if snapshot.last_update_id < first_id - 1 else None
        # Nothing waits that would prove it: it is older than events from before the stream
        # broke. Time and again the same means that the source's ids have begun anew.
        if snapshot.last_update_id < self._newest_seen and self._refused < _REFUSED_AT_MOST:
            return self._newest_seen
        return None

    def _wait(self, diff: DepthDiff) -> list[DiffOutcome]:
        self._buffer.append(diff)
        if len(self._buffer) > _BUFFERED_AT_MOST:
            return [Buffered(diff), Overflow(self._buffer.pop(0))]
        return [Buffered(diff)]

    def _lose_sync(self) -> None:
        self._buffer = []
        self._forget_book()

    def _forget_book(self) -> None:
        self.synced = False
        self.book.clear()


def may_follow(update_id: int, now_ms: int, known_id: int, known_ms: int) -> bool:
    """Return whether an event that ends with `update_id` at `now_ms` may come after a known one.

    Times are in ms, 0 where unknown.
    """
    if update_id <= known_id + _IDS_AT_ONCE:
        return update_id >= known_id - _IDS_AT_ONCE
    return update_id <= _reach(known_id, known_ms, now_ms)


def _reach(known_id: int, known_ms: int, now_ms: int) -> int:
    """Return the furthest update id that can come at `now_ms` after the known one."""
    passed_ms = max(0, now_ms - known_ms) if known_ms and now_ms else 0
    return known_id + _IDS_AT_ONCE + passed_ms * _IDS_A_MS
