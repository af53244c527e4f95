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
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot

# While a snapshot is on its way events wait; a snapshot can't be hours late.
_BUFFERED_AT_MOST: Final = 20_000
# So often a snapshot older than what was seen before is taken for a stale one.
_REFUSED_AT_MOST: Final = 3


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


DiffOutcome = Applied | Stale | Buffered | Gap | Crossed | Overflow
SnapshotOutcome = Synced | SnapshotTooOld | SnapshotCrossed | Applied | Stale | Gap | Crossed


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

    @property
    def wants_snapshot(self) -> bool:
        """Whether a snapshot has to be fetched."""
        return not self.synced

    def receive_diff(self, diff: DepthDiff) -> list[DiffOutcome]:
        """Take in one event; return what became of it."""
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
        return [Applied(diff)]

    def receive_snapshot(self, snapshot: DepthSnapshot) -> list[SnapshotOutcome]:
        """Take in a snapshot, then what waited for it; return the outcomes in order.

        Where ids are missing among the events that waited, or one of them crosses the book,
        the last outcome is a `Gap` or `Crossed`, and a further snapshot is wanted.
        """
        waiting = sorted(self._buffer, key=lambda diff: (diff.first_id, diff.final_id))
        seen_id = self._seen_beyond(snapshot, waiting)
        if seen_id is not None:
            self._refused += 1
            return [SnapshotTooOld(snapshot.last_update_id, seen_id)]
        self._refused = 0
        self._newest_seen = snapshot.last_update_id
        self.book.load(snapshot)
        if (crossing := self.book.crossing()) is not None:
            self._forget_book()
            return [SnapshotCrossed(snapshot.last_update_id, crossing)]
        self._buffer = []
        self.synced = True
        outcomes: list[SnapshotOutcome] = [Synced(snapshot)]
        for diff in waiting:
            # After a gap the remaining events go back to waiting: no outcome of their own.
            outcomes.extend(
                outcome
                for outcome in self.receive_diff(diff)
                if not isinstance(outcome, Buffered | Overflow)
            )
        return outcomes

    def stream_broken(self) -> None:
        """The stream lost its continuity (disconnect, unreadable event): start over."""
        self._lose_sync()

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
