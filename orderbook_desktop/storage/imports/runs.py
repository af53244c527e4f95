"""Unbroken runs among received messages: found as the live recorder finds them, and encoded."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass, field
from typing import Final

from orderbook_desktop.core.archive import (
    ArchiveChunk,
    closed_span,
    encode_loose,
    encode_minutes,
    minute_of,
)
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.depth_sync import (
    Applied,
    Buffered,
    Crossed,
    DepthSync,
    DiffOutcome,
    Gap,
    Implausible,
    Overflow,
    SnapshotCrossed,
    SnapshotImplausible,
    SnapshotOutcome,
    SnapshotTooOld,
    Stale,
    Synced,
)
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import EventClock, OddTimes
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, timed
from orderbook_desktop.core.received import Received
from orderbook_desktop.core.segments import GapCause, Segment, TimesSeen

# No chunk is longer (`core.archive.closed_span`).
_MINUTES_TOGETHER: Final = 10
_EVENTS_LOOKED_AT: Final = 10_000
_LOOSE_TOGETHER: Final = 2_000
# Events that come again are held against those which came lately.
_REMEMBERED: Final = 50_000
# So many events wait for one that a collector wrote down too late, before it is missing.
_AHEAD_AT_MOST: Final = 100
# And no more than so many bytes of events wait for anything, or of books.
_BYTES_AT_MOST: Final = 24 << 20
_ID_BYTES: Final = 12
_NS_A_MS: Final = 1_000_000
_ANEW: Final = "A snapshot begins the book anew."


class ConflictingEvents(KnownError):
    """Two events of `market` claim the update id `final_id`, with different contents."""

    def __init__(self, market: str, final_id: int) -> None:
        self.market = market
        self.final_id = final_id
        super().__init__(market, final_id)

    def __str__(self) -> str:
        return (
            f"Nothing was imported: the files hold two different events of {self.market} with the "
            f"update id {self.final_id}; import what belongs together, the rest elsewhere."
        )


@dataclass(slots=True)
class FoundRun:
    """An unbroken run that has ended.

    `id` is made of its contents alone: of the book that it begins with, of its events and of
    why it ended. `back_ms` is how far its times ever went back (`StoredSegment`).
    """

    id: str
    segment: Segment
    back_ms: int


@dataclass(slots=True)
class Counts:
    """What became of a market's messages besides those in runs.

    `repeated` events came again and are left out, `loose` ones belong to no known book,
    `snapshots` were of no use. `behind_ms` is by how much at most an event was received
    before it happened, as the clocks tell it. `implausible` ones have update ids that can't
    follow the others; `times` are those of all events that were odd.
    """

    repeated: int = 0
    loose: int = 0
    snapshots: int = 0
    behind_ms: int = 0
    implausible: int = 0
    times: OddTimes = field(default_factory=OddTimes)


@dataclass(slots=True)
class Spooler:
    """Where chunks go: `chunk` takes those of the run that goes on, `run` its end."""

    chunk: Callable[[ArchiveChunk], None]
    run: Callable[[FoundRun], None]
    loose: Callable[[ArchiveChunk], None]


class MarketRuns:
    """Finds the runs of one market. Call `finish()` in the end.

    The rules are those of the live feed. Unlike there, what came too early waits for a
    while: files hold events of which a collector changed the order.

    Raises `InexactValue` and `ConflictingEvents`.
    """

    def __init__(self, market: str, spooler: Spooler) -> None:
        self.counts = Counts()
        self._market = market
        self._spooler = spooler
        self._sync = DepthSync()
        self._run: RunEncoder | None = None
        # Events that wait for a book, by identity: the same one may come twice.
        self._waiting: dict[int, DepthDiff] = {}
        self._waiting_bytes = 0
        # Events that wait for one before them; the book is known.
        self._ahead: list[DepthDiff] = []
        # Books that were not needed when they came, and are after gaps that they lie behind.
        self._spare = deque[DepthSnapshot](maxlen=_AHEAD_AT_MOST)
        self._loose: list[DepthDiff] = []
        self._loose_bytes = 0
        # How the file is broken behind the latest event, if it is.
        self._broken = ""
        self._lately: dict[int, bytes] = {}
        self._clock = EventClock()
        # When the latest message was received.
        self._now_ms = 0

    def take(self, received: Received) -> None:
        """Take the next message."""
        self._now_ms = received.received_ns // _NS_A_MS
        match received.message:
            case DepthDiff() as diff:
                self._take_diff(diff)
            case DepthSnapshot() as snapshot if self._sync.synced and not received.restarts:
                self.counts.snapshots += 1
                if not self._ahead:
                    self._spare.clear()
                self._spare.append(snapshot)
                while len(self._spare) > 1 and _size(self._spare) > _BYTES_AT_MOST:
                    self._spare.popleft()
            case DepthSnapshot() as snapshot:
                self._feed_ahead()
                if self._sync.synced:
                    self._sync.stream_broken()
                self._spare.clear()
                self._feed_snapshot(snapshot)

    def broken(self, detail: str) -> None:
        """Take note that something is missing here, unless the next event says otherwise."""
        self._feed_ahead()
        self._broken = detail

    def finish(self) -> None:
        """End everything: nothing more comes."""
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

    def _is_next(self, diff: DepthDiff) -> bool:
        """Whether nothing is missing before `diff`, or it doesn't matter as no book is known."""
        return not self._sync.synced or diff.first_id <= self._sync.book.last_update_id + 1

    def _feed_ahead(self) -> None:
        """Wait no longer for what is missing."""
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
        while self._spare and not self._sync.synced:
            snapshot = self._spare.popleft()
            # Where there are more, it may lie before this gap.
            if not self._spare or snapshot.last_update_id >= diff.first_id - 1:
                self.counts.snapshots -= 1
                self._feed_snapshot(snapshot)

    def _feed_snapshot(self, snapshot: DepthSnapshot) -> None:
        for outcome in self._sync.receive_snapshot(snapshot, self._now_ms):
            self._act(outcome)

    def _act(self, outcome: DiffOutcome | SnapshotOutcome) -> None:
        match outcome:
            case Applied(diff):
                self._waits_no_more(diff)
                self._broken = ""
                if self._run is not None:
                    self._run.add(diff)
            case Stale(diff):
                self._waits_no_more(diff)
                if self._run is not None and diff.final_id > self._run.base_id:
                    self.counts.repeated += 1
                else:
                    self._set_aside(diff)
            case Overflow(diff):
                self._waits_no_more(diff)
                self._set_aside(diff)
            case Gap(first, last):
                self._end(GapCause.FEED_GAP, f"Update ids {first} to {last} are missing.")
            case Crossed():
                self._end(GapCause.CROSSED, str(outcome))
            case Synced(snapshot):
                self._end(GapCause.DISCONNECT, _ANEW)
                self._run = _encoder(snapshot, self._spooler.chunk)
            case Implausible(diff):
                self._let_go(diff, str(outcome))
            case SnapshotTooOld() | SnapshotCrossed() | SnapshotImplausible():
                self._pass_over(outcome)
            case Buffered():
                pass

    def _pass_over(self, snapshot: SnapshotTooOld | SnapshotCrossed | SnapshotImplausible) -> None:
        """A snapshot is of no use; if it was to begin a run, the one before it has ended."""
        self.counts.snapshots += 1
        match snapshot:
            case SnapshotTooOld():
                self._end(GapCause.DISCONNECT, _ANEW)
            case SnapshotCrossed():
                self._end(GapCause.CROSSED, str(snapshot))
            case SnapshotImplausible():
                self._end(GapCause.MALFORMED, str(snapshot))

    def _let_go(self, diff: DepthDiff, detail: str) -> None:
        """Leave out an event with impossible ids, with which the synchroniser begins anew."""
        self._end(GapCause.MALFORMED, detail)
        self.counts.implausible += 1
        self._waits_no_more(diff)
        self._stop_waiting()

    def _waits_no_more(self, diff: DepthDiff) -> None:
        del self._waiting[id(diff)]
        self._waiting_bytes -= len(diff.payload)

    def _end(self, cause: GapCause, detail: str) -> None:
        if self._broken and cause in (GapCause.FEED_GAP, GapCause.DISCONNECT, GapCause.USER):
            cause, detail, self._broken = GapCause.CRASH, self._broken, ""
        run, self._run = self._run, None
        found = None if run is None else run.end(cause, detail)
        if found is not None:
            self._spooler.run(found)

    def _set_aside(self, diff: DepthDiff) -> None:
        self.counts.loose += 1
        self._loose.append(diff)
        self._loose_bytes += len(diff.payload)
        if len(self._loose) >= _LOOSE_TOGETHER or self._loose_bytes > _BYTES_AT_MOST:
            self._flush_loose()

    def _flush_loose(self) -> None:
        if self._loose:
            self._spooler.loose(encode_loose(self._loose))
        self._loose, self._loose_bytes = [], 0


@dataclass(slots=True)
class RunEncoder:
    """Encodes a run that goes on from the book `start`: events wait until they make a chunk.

    `begun`, the text of that book, is what the run's id stands for besides its events.
    """

    start: BookImage
    begun: InitVar[bytes]
    spool: Callable[[ArchiveChunk], None]
    _book: BookImage = field(init=False)
    _times: TimesSeen = field(init=False)
    _pending: list[DepthDiff] = field(default_factory=list)
    _pending_bytes: int = 0
    _minute: int = 0
    _first: DepthDiff | None = None
    _count: int = 0
    _digest: hashlib.blake2b = field(init=False)

    def __post_init__(self, begun: bytes) -> None:
        self._book = self.start
        self._times = TimesSeen(self.start.event_ms)
        self._digest = hashlib.blake2b(begun, digest_size=_ID_BYTES)

    @property
    def base_id(self) -> int:
        """The update id that the run begins after."""
        return self.start.last_update_id

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
        """Return the run, or None where no event came after its book."""
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
            first_event_ms=self.start.event_ms or self._first.event_ms,
            last_event_ms=self._times.latest_ms,
            event_count=self._count,
            scale=self._book.scale,
            end_cause=cause,
            end_detail=detail,
        )
        return FoundRun(self._digest.hexdigest(), segment, self._times.back_ms)

    def _flush(self, *, is_all: bool) -> None:
        """Encode the events that make up the next chunk, if that can be said."""
        levels = len(self._book.bids.prices) + len(self._book.asks.prices)
        count = closed_span(self._pending, levels, is_all=is_all)
        for chunk, book in encode_minutes(self._book, self._pending[:count], _MINUTES_TOGETHER):
            self.spool(chunk)
            self._book = book
        self._pending_bytes -= _size(self._pending[:count])
        del self._pending[:count]


def _encoder(snapshot: DepthSnapshot, spool: Callable[[ArchiveChunk], None]) -> RunEncoder:
    book = Book()
    book.load(snapshot)
    return RunEncoder(image_of(book, snapshot.market), snapshot.payload, spool)


def _size(messages: Iterable[DepthDiff | DepthSnapshot]) -> int:
    return sum(len(one.payload) for one in messages)


def _order(diff: DepthDiff) -> tuple[int, int]:
    return diff.first_id, diff.final_id
