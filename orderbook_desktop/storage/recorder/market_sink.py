"""Turns what the feed of one stream receives into operations, which are written in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.recording_status import RecordingCounts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import MarketEvent, Stream
from orderbook_desktop.core.units import Scale
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.recorder.pending import (
    Answered,
    Checkpoint,
    Close,
    Extend,
    Loose,
    Open,
    OpenSegment,
    Operation,
    PendingWrites,
    storable,
)
from orderbook_desktop.storage.store.checkpoints import NewBook
from orderbook_desktop.storage.store.event_documents import Insert
from orderbook_desktop.storage.store.segment_documents import StoredIds

_log = logging.getLogger(__name__)

# A checkpoint is stored after a minute of the exchange's time, or after this many events if the
# exchange's clock stands still.
_CHECKPOINT_EVERY_MS: Final = 60_000
_CHECKPOINT_EVERY_EVENTS: Final = 10_000
# In a feed at most this many events wait for a snapshot; it drops older ones.
_WAITING_AT_MOST: Final = 20_000
_UNDECIDED_AT_MOST: Final = 2 * _WAITING_AT_MOST
_LISTED_AT_ONCE: Final = 5_000
_DEFAULT_SCALE: Final = Scale()


class _Doubt(Struct):
    """An end of a segment that counts as a gap until the next book shows whether it is one.

    All events through `last_id` are recorded. `before` is the last gap before it: sentence and time
    (ms). `is_followed` is true once a newer event is stored, for which no book is known yet.
    `is_withdrawn` is true once it no longer counts as a gap.
    """

    last_id: int
    before: tuple[str, int]
    is_followed: bool
    is_withdrawn: bool = False


class MarketSink:
    """Takes the events of `stream`, and the books, that a feed receives. It is a `RecordingSink`.

    If the queue is full it drops events, but never silently: the segment ends with the cause
    OVERFLOW, and a new segment, with its own book, begins when there is room. A segment has only
    events that were queued here. Queued events that no segment takes make runs without a book.
    """

    def __init__(
        self,
        stream: Stream,
        pending: PendingWrites,
        counts: RecordingCounts | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.stream = stream
        self.counts = counts or RecordingCounts()
        self.refused: KnownError | None = None
        self.overflowing = False
        self._pending = pending
        self._now_ns = now_ns
        self._segment: OpenSegment | None = None
        # Events that the feed has not applied yet, by final id; None for those not queued here.
        self._undecided: dict[int, StoredIds | None] = {}
        # Queued events that no segment will take.
        self._loose: list[StoredIds] = []
        # The last update id of the segment, or of the last one that ended.
        self._last_id = 0
        self._doubt: _Doubt | None = None
        self._latest: MarketEvent | None = None
        self._checkpoint_ms = 0
        self._checkpoint_count = 0
        self._scale = _DEFAULT_SCALE

    @property
    def segment_id(self) -> str | None:
        """The id of the segment that is being recorded, if there is one."""
        return None if self._segment is None else self._segment.id

    def received(self, event: MarketEvent) -> None:
        """Queue an event (see `RecordingSink`)."""
        self._latest = event
        if self.refused is not None:
            return
        if self.overflowing and self._pending.relaxed:
            self.overflowing = False
            _log.warning("%s: room to record again", self.stream.market)
        if self._pending.full and not self.overflowing:
            self.overflowing = True
            self._end(GapCause.OVERFLOW, "")
        if self.overflowing:
            self.counts.dropped += 1
        else:
            self._pending.add(Insert.of(event, self.stream.kind))
        if len(self._undecided) >= _UNDECIDED_AT_MOST:
            self._set_aside(islice(self._undecided, len(self._undecided) - _WAITING_AT_MOST))
            self._list_loose()
        self._undecided[event.final_id] = None if self.overflowing else StoredIds.of(event)
        if self._doubt is not None and not self.overflowing:
            self._doubt.is_followed |= event.final_id > self._doubt.last_id

    def opened(self, base: DepthSnapshot | BookImage) -> None:
        """Begin a segment (see `RecordingSink`)."""
        self._scale = _scale_of(base)
        if self.overflowing or self.refused is not None:
            return
        segment = OpenSegment(self.stream, base.last_update_id, base.event_ms, self._scale)
        self._segment = segment
        self._decide(is_gap=self._doubt is not None and segment.base_id > self._doubt.last_id)
        self._last_id = segment.base_id
        self._checkpoint_ms = base.event_ms
        self._checkpoint_count = 0
        self._pending.add(Open(segment, NewBook.of(base)))
        self.counts.books += 1
        self.counts.first_id = self.counts.first_id or base.last_update_id

    def applied(self, diff: DepthDiff, book: Book) -> None:
        """Extend the segment, and store a checkpoint if one is due (see `RecordingSink`)."""
        is_latest = diff is self._latest
        is_known = diff.final_id in self._undecided
        event = self._undecided.pop(diff.final_id, None)
        queued = event is not None if is_known else None
        if is_latest:
            # Waiting events are applied in the order of their ids, not in that of their arrival:
            # those below this one have been applied, or never will be.
            self._set_aside(final_id for final_id in self._undecided if final_id < diff.final_id)
        if not self._extends(diff, queued, book):
            if event is not None:
                self._loose.append(event)
        elif self._segment is not None:
            self._extend(self._segment, diff, book)
        if is_latest:
            self._list_loose()

    def _extends(self, diff: DepthDiff, queued: bool | None, book: Book) -> bool:
        """Return whether `diff` extends the segment; begin or end a segment if necessary."""
        if self._segment is not None and diff.final_id <= self._segment.base_id:
            return False
        if not queued and self._segment is not None:
            # It waited for the snapshot, and was dropped here, or received before recording began.
            cause = GapCause.USER if queued is None else GapCause.OVERFLOW
            detail = f"The event {diff.final_id} was not recorded."
            self._add(Close(self._segment, cause, detail))
            self._segment = None
        if not queued or self.overflowing or self.refused is not None:
            return False
        if self._segment is None:
            self.opened(image_of(book, self.stream.market))
            return False
        return True

    def _extend(self, segment: OpenSegment, diff: DepthDiff, book: Book) -> None:
        self._scale = self._scale_with(diff, book)
        first_id, final_id, event_ms = diff.first_id, diff.final_id, diff.event_ms
        self._last_id = final_id
        self._add(Extend(segment, first_id, final_id, event_ms, self._scale))
        self._checkpoint(segment, diff, book)

    def answered(
        self, answer: DepthSnapshot, joined_id: int | None, known: Horizon | None, book: Book
    ) -> None:
        """Store an answer (see `RecordingSink`)."""
        segment = self._segment
        if segment is None or answer.last_update_id <= segment.base_id:
            return
        taken_ms = self._now_ns() // 1_000_000
        witness = Witness.of_answer(answer, taken_ms, segment.id, known, joined_id)
        self._add(Answered(segment, witness))
        self._scale = book.scale

    def broken(self, cause: GapCause, detail: str) -> None:
        """End the segment (see `RecordingSink`)."""
        if self._segment is not None:
            self._end(cause, storable(detail))
        elif cause is GapCause.USER and self._doubt is not None:
            self._judge(self._doubt, is_gap=self._doubt.is_followed)
        if not cause.stream_goes_on:
            # The feed has dropped all waiting events.
            self._set_aside(self._undecided)
            self._list_loose()

    def refuse(self, error: KnownError) -> None:
        """Stop recording because of `error`. The ledger ends the segment."""
        self.refused = error
        self._segment = None
        self._undecided.clear()
        self._loose.clear()
        self._count_gap(GapCause.DATABASE, str(error))

    def _end(self, cause: GapCause, detail: str) -> None:
        """End the segment. Count a gap, even without a segment, unless the user stopped it."""
        segment, self._segment = self._segment, None
        if segment is not None:
            self._add(Close(segment, cause, detail))
        if cause is not GapCause.USER:
            before = self.counts.last_gap, self.counts.last_gap_ms
            self._count_gap(cause, detail)
            if segment is not None and cause is not GapCause.OVERFLOW:
                self._doubt = _Doubt(self._last_id, before, self._has_newer())

    def _has_newer(self) -> bool:
        """Whether events newer than the segment were queued here."""
        undecided = self._undecided.items()
        return any(event and final_id > self._last_id for final_id, event in undecided)

    def _decide(self, *, is_gap: bool) -> None:
        """Settle the doubt about the last end, now that the next book shows if it `is_gap`."""
        doubt, self._doubt = self._doubt, None
        if doubt is not None:
            self._judge(doubt, is_gap=is_gap)
        self.counts.ended_by = ""

    def _judge(self, doubt: _Doubt, *, is_gap: bool) -> None:
        """Withdraw the gap if no event is known to be missing; count it again if one is."""
        counts = self.counts
        if is_gap and doubt.is_withdrawn:
            counts.gaps += 1
            counts.last_gap, counts.ended_by = counts.ended_by, ""
        elif not is_gap and not doubt.is_withdrawn:
            counts.gaps -= 1
            counts.ended_by = counts.last_gap
            counts.last_gap, counts.last_gap_ms = doubt.before
        doubt.is_withdrawn = not is_gap

    def _count_gap(self, cause: GapCause, detail: str) -> None:
        self.counts.count_gap(cause.sentence, self._now_ns() // 1_000_000)
        _log.warning("%s: gap in the recording: %s. %s", self.stream.market, cause.sentence, detail)

    def _set_aside(self, final_ids: Iterable[int]) -> None:
        """Treat these undecided events as loose, if they were queued."""
        for final_id in list(final_ids):
            event = self._undecided.pop(final_id)
            if event is not None:
                self._loose.append(event)

    def _list_loose(self) -> None:
        loose, self._loose = self._loose, []
        for start in range(0, len(loose), _LISTED_AT_ONCE):
            self._add(Loose(self.stream, tuple(loose[start : start + _LISTED_AT_ONCE])))

    def _scale_with(self, diff: DepthDiff, book: Book) -> Scale:
        """Return the book's scale; merge the book only if the scale may have changed."""
        if self._scale == _DEFAULT_SCALE and diff.plain:
            return self._scale
        return book.scale

    def _checkpoint(self, segment: OpenSegment, diff: DepthDiff, book: Book) -> None:
        self._checkpoint_ms = self._checkpoint_ms or diff.event_ms
        self._checkpoint_count += 1
        passed_ms = abs(diff.event_ms - self._checkpoint_ms)
        if passed_ms < _CHECKPOINT_EVERY_MS and self._checkpoint_count < _CHECKPOINT_EVERY_EVENTS:
            return
        self._checkpoint_ms = diff.event_ms
        self._checkpoint_count = 0
        self._add(Checkpoint(segment, NewBook.of(image_of(book, self.stream.market))))

    def _add(self, operation: Operation) -> None:
        if self.refused is None:
            self._pending.add(operation)


def _scale_of(base: DepthSnapshot | BookImage) -> Scale:
    if isinstance(base, BookImage):
        return base.scale
    if base.plain:
        return _DEFAULT_SCALE
    book = Book()
    book.load(base)
    return book.scale
