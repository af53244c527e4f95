"""Finds the unbroken runs in imported messages, by the rules of the live recorder; encodes them."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Struct

from orderbook_desktop.core.archive import (
    ArchiveChunk,
    closed_span,
    encode_loose,
    encode_minutes,
    minute_of,
)
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, encode_image, image_of
from orderbook_desktop.core.depth_sync import (
    Applied,
    Crossed,
    DepthSync,
    DiffOutcome,
    Implausible,
    MissingIds,
    Overflow,
    Readable,
    SnapshotCrossed,
    SnapshotImplausible,
    SnapshotOutcome,
    SnapshotTooOld,
    Stale,
    Synced,
    TooWide,
    Withheld,
)
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import EventClock, OddTimes, is_far_off
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, timed
from orderbook_desktop.core.received import Broken, Received
from orderbook_desktop.core.segments import GapCause, Segment, TimesSeen

# The longest chunk (`core.archive.closed_span`).
_MINUTES_TOGETHER: Final = 10
_EVENTS_LOOKED_AT: Final = 10_000
_LOOSE_TOGETHER: Final = 2_000
# A repeated event is recognised among this many latest events.
_REMEMBERED: Final = 50_000
# This many events wait for an event that the collector wrote too late; then it counts as missing.
_AHEAD_AT_MOST: Final = 100
# The most bytes that waiting events take, and the most that spare books take.
_BYTES_AT_MOST: Final = 24 << 20
_ID_BYTES: Final = 12
_LOOKED_AHEAD: Final = 3
_NS_A_MS: Final = 1_000_000
_ANEW: Final = "A snapshot begins the book anew."
_NOT_JOINED_AFTER: Final = (GapCause.MALFORMED, GapCause.CROSSED, GapCause.TOO_WIDE)


class ConflictingEvents(KnownError):
    """Two events of `market` claim the update id `final_id`, with different contents."""

    market: str
    final_id: int

    def __str__(self) -> str:
        return (
            f"Nothing was imported: the files hold two different events of {self.market} with the "
            f"update id {self.final_id}; import only files of one exchange together."
        )


class FoundRun(Struct):
    """An unbroken run that has ended.

    `id` is a digest of the contents: of the book that the run begins with, of its events and of
    its end cause. `back_ms` is how far its times went back (`StoredSegment`).
    """

    id: str
    segment: Segment
    back_ms: int


class Counts(Struct):
    """Counts of a market's messages that are in no run.

    `repeated` events came again and are left out. `loose` events belong to no known book; of these
    `unjoinable` come after a message that can't be read, or a book that is crossed or too wide.
    `implausible` events have update ids that can't follow the others. `snapshots` are those that
    were not used. `behind_ms` is the most by which a receive time lies before its event time.
    `times` counts the odd event times, of all events.
    """

    repeated: int = 0
    loose: int = 0
    unjoinable: int = 0
    snapshots: int = 0
    behind_ms: int = 0
    implausible: int = 0
    times: OddTimes = msgspec.field(default_factory=OddTimes)


class Spooler(Struct):
    """Where the results go: `chunk` takes chunks of the unfinished run, `run` the finished run."""

    chunk: Callable[[ArchiveChunk], None]
    run: Callable[[FoundRun], None]
    loose: Callable[[ArchiveChunk], None]


class MarketRuns:
    """Finds the runs of one market. Call `finish()` at the end.

    The rules are those of the live feed, with one difference: an event that comes too early waits
    for a while, because some collectors write events out of order.

    Raises `ConflictingEvents`.
    """

    def __init__(self, market: str, spooler: Spooler) -> None:
        self.counts = Counts()
        self._market = market
        self._spooler = spooler
        self._sync = DepthSync()
        self._run: RunEncoder | None = None
        # Events that wait for a book, by identity: an equal event may come twice.
        self._waiting: dict[int, DepthDiff] = {}
        self._waiting_bytes = 0
        # Events that wait for an earlier event; the book is known.
        self._ahead: list[DepthDiff] = []
        # Books that were not needed when they came. After a gap one of them may be.
        self._spare = deque[DepthSnapshot](maxlen=_AHEAD_AT_MOST)
        self._loose: list[DepthDiff] = []
        self._loose_bytes = 0
        # How the file is broken after the latest event.
        self._broken: Broken | None = None
        # Why the book is not known any more.
        self._lost_by: GapCause | None = None
        self._lately: dict[int, bytes] = {}
        self._clock = EventClock()
        # The first messages, if the first time is doubtful: the next ones show whether it is right.
        self._doubtful: list[Received] = []
        # When the latest message was received.
        self._now_ms = 0

    def take(self, received: Received) -> None:
        """Take the next message."""
        event_ms = received.message.event_ms
        if self._doubtful:
            self._doubtful.append(received)
            if len(self._doubtful) > _LOOKED_AHEAD:
                self._take_doubtful()
        elif event_ms and not self._clock.latest_ms and is_far_off(event_ms, received.received_ns):
            self._doubtful.append(received)
        else:
            self._take(received)

    def _take_doubtful(self) -> None:
        doubtful, self._doubtful = self._doubtful, []
        self._clock.look_ahead(
            (one.message.event_ms, one.received_ns) for one in doubtful[1:] if one.message.event_ms
        )
        for received in doubtful:
            self._take(received)

    def _take(self, received: Received) -> None:
        self._now_ms = received.received_ns // _NS_A_MS
        match received.message:
            case DepthDiff() as diff:
                self._take_diff(diff)
            case DepthSnapshot() as snapshot if self._is_known and not received.restarts:
                self.counts.snapshots += 1
                if not self._ahead:
                    self._spare.clear()
                self._spare.append(snapshot)
                while len(self._spare) > 1 and _size(self._spare) > _BYTES_AT_MOST:
                    self._spare.popleft()
            case DepthSnapshot() as snapshot:
                self._feed_ahead()
                if received.restarts:
                    # Its update id need not follow those before it.
                    self._sync = DepthSync()
                    self._stop_waiting()
                self._spare.clear()
                self._feed_snapshot(self._timed(snapshot, received.received_ns))

    def _timed(self, snapshot: DepthSnapshot, received_ns: int) -> DepthSnapshot:
        """Return `snapshot` with the time that counts, where its source says one."""
        sent_ms = snapshot.event_ms
        if not sent_ms:
            return snapshot
        event_ms = self._clock.time_of(sent_ms, received_ns)
        self.counts.times.take(b"", sent_ms, event_ms)
        return msgspec.structs.replace(snapshot, event_ms=event_ms)

    def broken(self, place: Broken) -> None:
        """Assume that events are missing here, unless the next event follows without a gap."""
        self._take_doubtful()
        self._feed_ahead()
        self._broken = place

    def finish(self) -> None:
        """End the run: no more messages come."""
        self._take_doubtful()
        self._feed_ahead()
        self._end(GapCause.USER, "The imported file ends here.")
        self._stop_waiting()
        self._flush_loose()

    def _stop_waiting(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        for diff in waiting.values():
            self._set_aside(diff)

    def _take_diff(self, diff: DepthDiff) -> None:
        event_ms = self._clock.time_of(diff.event_ms, diff.received_ns)
        self.counts.times.take(diff.payload, diff.event_ms, event_ms)
        diff = timed(diff, event_ms)
        behind_ms = diff.event_ms - diff.received_ns // _NS_A_MS
        self.counts.behind_ms = max(self.counts.behind_ms, behind_ms)
        known = self._lately.get(diff.final_id)
        digest = hashlib.blake2b(diff.payload, digest_size=_ID_BYTES).digest()
        if known is not None:
            if known != digest:
                raise ConflictingEvents(self._market, diff.final_id)
            self.counts.repeated += 1
            return
        self._lately[diff.final_id] = digest
        if len(self._lately) > _REMEMBERED:
            del self._lately[next(iter(self._lately))]
        if self._is_next(diff):
            self._feed(diff)
            while self._ahead and self._is_next(self._ahead[0]):
                self._feed(self._ahead.pop(0))
            return
        insort(self._ahead, diff, key=_order)
        if len(self._ahead) > _AHEAD_AT_MOST or _size(self._ahead) > _BYTES_AT_MOST:
            self._feed_ahead()

    @property
    def _is_known(self) -> bool:
        """Whether the book is known, even if it is too wide just now."""
        return not self._sync.wants_snapshot

    def _is_next(self, diff: DepthDiff) -> bool:
        """Whether no event is missing before `diff`, or no book is known and so none can be."""
        return not self._is_known or diff.first_id <= self._sync.book.last_update_id + 1

    def _feed_ahead(self) -> None:
        """Stop waiting for the missing event; take the events after it."""
        ahead, self._ahead = self._ahead, []
        for diff in ahead:
            self._feed(diff)

    def _feed(self, diff: DepthDiff) -> None:
        self._waiting[id(diff)] = diff
        self._waiting_bytes += len(diff.payload)
        for outcome in self._sync.receive_diff(diff):
            self._act(outcome)
        if self._waiting_bytes > _BYTES_AT_MOST:
            self._sync.stream_broken()
            self._stop_waiting()
        while self._spare and not self._is_known:
            snapshot = self._spare.popleft()
            # If there are more spare books, this book may lie before the gap: then try the next.
            if not self._spare or snapshot.last_update_id >= diff.first_id - 1:
                self.counts.snapshots -= 1
                self._feed_snapshot(snapshot)

    def _feed_snapshot(self, snapshot: DepthSnapshot) -> None:
        for outcome in self._sync.receive_snapshot(snapshot, self._now_ms):
            self._act(outcome)

    def _act(self, outcome: DiffOutcome | SnapshotOutcome) -> None:
        match outcome:
            case Applied(diff):
                self._extend(diff)
            case Stale(diff):
                self._remove_waiting(diff)
                if self._run is not None and diff.final_id > self._run.base_id:
                    self.counts.repeated += 1
                else:
                    self._set_aside(diff)
            case Overflow(diff) | Withheld(diff):
                self._remove_waiting(diff)
                self._set_aside(diff)
            case TooWide(message):
                self._end_before(message, str(outcome))
            case Readable(diff, image):
                self._remove_waiting(diff)
                self._set_aside(diff)
                self._run = RunEncoder(image, self._spooler.chunk)
            case MissingIds(first, last):
                self._end(GapCause.FEED_GAP, f"Update ids {first} to {last} are missing.")
            case Crossed():
                self._end(GapCause.CROSSED, str(outcome))
            case Synced(snapshot):
                self._end(GapCause.DISCONNECT, _ANEW)
                self._run = _encoder(snapshot, self._spooler.chunk)
            case Implausible(diff):
                self._leave_out(diff, str(outcome))
            case SnapshotTooOld() | SnapshotCrossed() | SnapshotImplausible():
                self._skip(outcome)

    def _extend(self, diff: DepthDiff) -> None:
        self._remove_waiting(diff)
        self._broken = None
        if self._run is not None:
            self._run.add(diff)

    def _end_before(self, message: DepthDiff | DepthSnapshot, detail: str) -> None:
        """End the run before a message that makes the book too wide."""
        self._end(GapCause.TOO_WIDE, detail)
        if isinstance(message, DepthDiff):
            self._remove_waiting(message)
            self._set_aside(message)

    def _skip(self, snapshot: SnapshotTooOld | SnapshotCrossed | SnapshotImplausible) -> None:
        """Leave out an unusable snapshot, and end the run that it would have ended."""
        self.counts.snapshots += 1
        match snapshot:
            case SnapshotTooOld():
                self._end(GapCause.DISCONNECT, _ANEW)
            case SnapshotCrossed():
                self._end(GapCause.CROSSED, str(snapshot))
            case SnapshotImplausible():
                self._end(GapCause.MALFORMED, str(snapshot))

    def _leave_out(self, diff: DepthDiff, detail: str) -> None:
        """Leave out an event with impossible ids; the synchroniser has started over at it."""
        self._end(GapCause.MALFORMED, detail)
        self.counts.implausible += 1
        self._remove_waiting(diff)
        self._stop_waiting()

    def _remove_waiting(self, diff: DepthDiff) -> None:
        del self._waiting[id(diff)]
        self._waiting_bytes -= len(diff.payload)

    def _end(self, cause: GapCause, detail: str) -> None:
        if self._broken and cause in (GapCause.FEED_GAP, GapCause.DISCONNECT, GapCause.USER):
            cause, detail, self._broken = self._broken.cause, self._broken.detail, None
        run, self._run = self._run, None
        if run is not None or cause in _NOT_JOINED_AFTER:
            self._lost_by = cause
        found = None if run is None else run.end(cause, detail)
        if found is not None:
            self._spooler.run(found)

    def _set_aside(self, diff: DepthDiff) -> None:
        self.counts.loose += 1
        lost_by = self._lost_by if self._broken is None else self._broken.cause
        self.counts.unjoinable += lost_by in _NOT_JOINED_AFTER
        self._loose.append(diff)
        self._loose_bytes += len(diff.payload)
        if len(self._loose) >= _LOOSE_TOGETHER or self._loose_bytes > _BYTES_AT_MOST:
            self._flush_loose()

    def _flush_loose(self) -> None:
        if self._loose:
            self._spooler.loose(encode_loose(self._loose))
        self._loose, self._loose_bytes = [], 0


class RunEncoder:
    """Encodes the run that follows the book `start`. Events wait until they fill a chunk."""

    def __init__(self, start: BookImage, spool: Callable[[ArchiveChunk], None]) -> None:
        self._start = start
        self._spool = spool
        self._book = start
        self._times = TimesSeen(start.event_ms)
        self._pending: list[DepthDiff] = []
        self._pending_bytes = 0
        self._minute = 0
        self._first: DepthDiff | None = None
        self._count = 0
        self._digest = hashlib.blake2b(encode_image(start), digest_size=_ID_BYTES)

    @property
    def base_id(self) -> int:
        """The update id of the book that the run begins with."""
        return self._start.last_update_id

    def add(self, diff: DepthDiff) -> None:
        """Take the next event; raises `InexactValue`."""
        minute = minute_of(diff.event_ms)
        is_later = minute > self._minute
        self._minute = max(self._minute, minute)
        self._first = self._first or diff
        self._times = self._times.and_then(diff.event_ms)
        self._pending.append(diff)
        self._pending_bytes += len(diff.payload)
        self._count += 1
        self._digest.update(diff.payload)
        self._digest.update(diff.received_ns.to_bytes(8, "little"))
        if is_later or len(self._pending) > _EVENTS_LOOKED_AT:
            self._flush(is_all=False)
        while self._pending_bytes > _BYTES_AT_MOST:
            self._flush(is_all=True)

    def end(self, cause: GapCause, detail: str) -> FoundRun | None:
        """Return the run, or None if it has no event."""
        while self._pending:
            self._flush(is_all=True)
        if self._first is None:
            return None
        self._digest.update(cause.value.encode())
        segment = Segment(
            market=self._book.market,
            snapshot_id=self.base_id,
            first_id=self._first.first_id,
            last_id=self._book.last_update_id,
            first_event_ms=self._start.event_ms or self._first.event_ms,
            last_event_ms=self._times.latest_ms,
            event_count=self._count,
            scale=self._book.scale,
            end_cause=cause,
            end_detail=detail,
        )
        return FoundRun(self._digest.hexdigest(), segment, self._times.back_ms)

    def _flush(self, *, is_all: bool) -> None:
        """Encode the next chunk, if it is known which events belong to it."""
        levels = len(self._book.bids.prices) + len(self._book.asks.prices)
        count = closed_span(self._pending, levels, is_all=is_all)
        for chunk, book in encode_minutes(self._book, self._pending[:count], _MINUTES_TOGETHER):
            self._spool(chunk)
            self._book = book
        self._pending_bytes -= _size(self._pending[:count])
        del self._pending[:count]


def _encoder(snapshot: DepthSnapshot, spool: Callable[[ArchiveChunk], None]) -> RunEncoder:
    book = Book()
    book.load(snapshot)
    return RunEncoder(image_of(book, snapshot.market), spool)


def _size(messages: Iterable[DepthDiff | DepthSnapshot]) -> int:
    return sum(len(message.payload) for message in messages)


def _order(diff: DepthDiff) -> tuple[int, int]:
    return diff.first_id, diff.final_id
