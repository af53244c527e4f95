"""The synchroniser: turns snapshots and diffs into a book, or says where it cannot.

Follows Binance's "How to manage a local order book correctly". It does no I/O: feed it what
arrives (`receive_diff`, `receive_snapshot`, `stream_broken`) and act on the outcomes; fetch a
snapshot whenever `wants_snapshot` is true. The rules are the same for an exchange, a database and
a recording.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orderbook_desktop.core.book import Book, Crossing
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff, DepthSnapshot

# At most so many events wait for a snapshot: no snapshot is hours late.
_BUFFERED_AT_MOST: Final = 20_000
# The busiest market uses some 500 update ids a second, and its widest event spans 1,500.
_IDS_AT_ONCE: Final = WIDEST_EVENT
_IDS_A_MS: Final = 1_000
# At most so many snapshots in a row are refused as older than known events.
_REFUSED_AT_MOST: Final = 3
# After so many later events in a row with lower update ids, these are no duplicates.
_CONTRADICTED_BY: Final = 10
# A book that turns too wide again within so many events after it was readable is left aside for
# more and more events, so that a value that comes and goes leaves one gap, not a gap each time.
_SETTLED_AFTER: Final = 600
_FIRST_PAUSE: Final = 10


class Applied(Struct, frozen=True):
    """The diff was the next one and is in the book."""

    diff: DepthDiff


class Stale(Struct, frozen=True):
    """Everything in the diff is already in the book: a duplicate, or older than the snapshot."""

    diff: DepthDiff


class Buffered(Struct, frozen=True):
    """The diff waits for a snapshot."""

    diff: DepthDiff


class MissingIds(Struct, frozen=True):
    """Update ids `first_missing`..`last_missing`, inclusive, never came: the book is unknown."""

    first_missing: int
    last_missing: int


class Crossed(Struct, frozen=True):
    """At the end of the event `update_id` the best bid reaches the best ask.

    No exchange has such a book. So the book is unknown, and the event waits for the next snapshot.
    """

    update_id: int
    crossing: Crossing

    def __str__(self) -> str:
        return f"At update id {self.update_id} {self.crossing}."


class SnapshotCrossed(Struct, frozen=True):
    """The snapshot at `update_id` is crossed and is not used: fetch another one."""

    update_id: int
    crossing: Crossing

    def __str__(self) -> str:
        return f"In the book as of update id {self.update_id} {self.crossing}."


class Implausible(Struct, frozen=True):
    """The update ids of the diff can't follow those known before it: it is not used.

    Either they are too far away, or many later events in a row had lower ids. The book is dropped
    too: either the earlier ids or these are wrong, and it is not known which.
    """

    diff: DepthDiff
    known_id: int

    def __str__(self) -> str:
        return f"Update id {self.diff.final_id} can't follow update id {self.known_id}."


class SnapshotImplausible(Struct, frozen=True):
    """The snapshot has an update id that the exchange can't have reached yet; it is not used."""

    update_id: int
    known_id: int

    def __str__(self) -> str:
        return f"A book as of update id {self.update_id} can't follow update id {self.known_id}."


class TooWide(Struct, frozen=True):
    """After `message` no 64-bit scale holds all levels of the book.

    The book is known, but can't be shown or recorded. No snapshot helps, and none is wanted: the
    next events are `Withheld` until the book is `Readable`.
    """

    message: DepthDiff | DepthSnapshot
    value: InexactValue

    def __str__(self) -> str:
        at = self.message
        update_id = at.final_id if isinstance(at, DepthDiff) else at.last_update_id
        return f"At update id {update_id} {self.value.reason}."


class Withheld(Struct, frozen=True):
    """The diff is in a book that is still too wide."""

    diff: DepthDiff


class Readable(Struct, frozen=True):
    """After `diff` a scale holds all levels again: the book is `image`."""

    diff: DepthDiff
    image: BookImage


class Overflow(Struct, frozen=True):
    """More events waited for a snapshot than fit; `diff`, the oldest, was dropped."""

    diff: DepthDiff


class Synced(Struct, frozen=True):
    """The snapshot is the book's new base."""

    snapshot: DepthSnapshot


class SnapshotTooOld(Struct, frozen=True):
    """The snapshot ends before update id `seen_id`, which was received: fetch a newer one."""

    last_update_id: int
    seen_id: int


_OfKnownBook = Applied | Stale | MissingIds | Crossed | TooWide | Withheld | Readable
DiffOutcome = _OfKnownBook | Buffered | Overflow | Implausible
SnapshotOutcome = _OfKnownBook | Synced | SnapshotTooOld | SnapshotCrossed | SnapshotImplausible


class DepthSync:
    """Keeps `book` equal to the source's book while `synced` is true.

    While `synced` is false the book is empty, as a book that may be wrong is never shown as
    current, or it is `withheld`: it is known, but was too wide for any scale just now. `last` is
    the book as it was when it was lost last; None if none was known, or while it is known.
    """

    def __init__(self) -> None:
        self.book = Book()
        self.last: BookImage | None = None
        self._market = ""
        self.synced = False
        self.withheld = False
        # How many events a readable book has had, and how many it must have to be `synced` again.
        self._readable_for = 0
        self._pause: int | None = None
        self._buffer: list[DepthDiff] = []
        self._newest_seen = 0
        self._refused = 0
        # The furthest update id that is believed, and its time (ms; 0: unknown).
        self._known: tuple[int, int] | None = None
        # The time of the last event in the book (ms; 0: the snapshot's clock is another one).
        self._applied_ms = 0
        self._contradictions = 0

    @property
    def wants_snapshot(self) -> bool:
        """Whether a snapshot has to be fetched, because the book is not known."""
        return not self.synced and not self.withheld

    def receive_diff(self, diff: DepthDiff) -> list[DiffOutcome]:
        """Take one event; return the outcome."""
        if self._known is not None and not may_follow(diff.final_id, diff.event_ms, *self._known):
            return [self._not_believed(diff, self._known[0])]
        if not self.wants_snapshot and self._is_contradicted_by(diff):
            return [self._not_believed(diff, self.book.last_update_id)]
        return self._take(diff)

    def _is_contradicted_by(self, diff: DepthDiff) -> bool:
        """Whether events continue below the book's id: it is too far ahead, or ids began anew.

        A duplicate or late event has a time that the book has already reached.
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
        if self.wants_snapshot:
            return self._wait(diff)
        if diff.final_id <= self.book.last_update_id:
            return [Stale(diff)]
        expected = self.book.last_update_id + 1
        if diff.first_id > expected:
            self._lose_sync()
            return [MissingIds(expected, diff.first_id - 1), *self._wait(diff)]
        self.book.apply(diff)
        value = self.book.too_wide()
        if value is None and (crossing := self.book.crossing()) is not None:
            self._lose_sync()
            return [Crossed(diff.final_id, crossing), *self._wait(diff)]
        self._applied_ms = max(self._applied_ms, diff.event_ms)
        if value is not None:
            return [self._withhold(diff, value)]
        return [self._readable(diff)]

    def _withhold(self, diff: DepthDiff, value: InexactValue) -> TooWide | Withheld:
        if self.withheld:
            if self._readable_for:
                self._pause = self._next_pause()
            self._readable_for = 0
            return Withheld(diff)
        is_first = self._pause is None or self._readable_for >= _SETTLED_AFTER
        self._pause = 0 if is_first else self._next_pause()
        self.synced, self.withheld, self._readable_for = False, True, 0
        return TooWide(diff, value)

    def _next_pause(self) -> int:
        return min(max(_FIRST_PAUSE, 2 * (self._pause or 0)), _SETTLED_AFTER)

    def _readable(self, diff: DepthDiff) -> Applied | Withheld | Readable:
        self._readable_for += 1
        if not self.withheld:
            return Applied(diff)
        if self._readable_for <= (self._pause or 0):
            return Withheld(diff)
        self.synced, self.withheld, self._readable_for = True, False, 0
        return Readable(diff, image_of(self.book, diff.market))

    def receive_snapshot(self, snapshot: DepthSnapshot, taken_ms: int = 0) -> list[SnapshotOutcome]:
        """Take a snapshot, then the events that waited for it; return the outcomes in order.

        `taken_ms` is the time at which it was taken, where that is known.

        Where ids are missing among these events, or one of them crosses the book, the last outcome
        is a `MissingIds` or `Crossed`, and another snapshot is wanted.
        """
        waiting = sorted(self._buffer, key=lambda diff: (diff.first_id, diff.final_id))
        as_of_ms = snapshot.event_ms or taken_ms
        if (refusal := self._refusal_of(snapshot, as_of_ms, waiting)) is not None:
            return [refusal]
        self._newest_seen = snapshot.last_update_id
        known_ms = 0 if self._known is None else self._known[1]
        self._known = snapshot.last_update_id, max(as_of_ms, known_ms)
        self.book.load(snapshot)
        self._market = snapshot.market
        # A snapshot that is not used is no book that was lost.
        self.synced = False
        if (crossing := self.book.crossing()) is not None:
            self._forget_book()
            return [SnapshotCrossed(snapshot.last_update_id, crossing)]
        self._buffer = []
        self._applied_ms, self._contradictions = snapshot.event_ms, 0
        value = self.book.too_wide()
        self.synced, self.withheld = value is None, value is not None
        self.last = None
        self._readable_for, self._pause = 0, None if value is None else 0
        outcomes: list[SnapshotOutcome] = [
            Synced(snapshot) if value is None else TooWide(snapshot, value)
        ]
        for diff in waiting:
            # After a gap the remaining events wait again: they have no outcome of their own.
            outcomes.extend(
                outcome
                for outcome in self._take(diff)
                if not isinstance(outcome, Buffered | Overflow | Implausible)
            )
        return outcomes

    def _refusal_of(
        self, snapshot: DepthSnapshot, as_of_ms: int, waiting: list[DepthDiff]
    ) -> SnapshotTooOld | SnapshotImplausible | None:
        """Return why a snapshot can't be used before it is looked at, or None."""
        seen_id = self._seen_beyond(snapshot, waiting)
        if seen_id is not None:
            self._refused += 1
            return SnapshotTooOld(snapshot.last_update_id, seen_id)
        self._refused = 0
        if self._known is not None and snapshot.last_update_id > _reach(*self._known, as_of_ms):
            return SnapshotImplausible(snapshot.last_update_id, self._known[0])
        return None

    def stream_broken(self) -> None:
        """Start over: the stream lost its continuity (a disconnect, or an unreadable event)."""
        self._lose_sync()

    def _know(self, update_id: int, event_ms: int) -> None:
        """Note an update id that is believed."""
        if self._known is None or update_id > self._known[0]:
            latest_ms = 0 if self._known is None else self._known[1]
            self._known = update_id, max(latest_ms, event_ms)

    def _seen_beyond(self, snapshot: DepthSnapshot, waiting: list[DepthDiff]) -> int | None:
        """Return an update id that was received already and that `snapshot` does not reach."""
        if waiting:
            first_id = waiting[0].first_id
            return first_id if snapshot.last_update_id < first_id - 1 else None
        # No waiting event proves it: the snapshot is older than events from before the stream
        # broke. Where that repeats, the ids of the source have begun anew.
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
        if self.synced and self.book.too_wide() is None:
            self.last = image_of(self.book, self._market)
        self.synced = self.withheld = False
        self._readable_for, self._pause = 0, None
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
