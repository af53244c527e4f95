"""What one market's feed tells the recorder, as operations to be written in order."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.units import Scale
from orderbook_desktop.storage.pending import (
    Base,
    Checkpoint,
    Close,
    Extend,
    Insert,
    Open,
    OpenSegment,
    Operation,
    PendingWrites,
)

_log = logging.getLogger(__name__)

# The newest book is then never more than a minute of events away from a checkpoint ...
_CHECKPOINT_EVERY_MS: Final = 60_000
# ... nor more than this, whatever the exchange's clock does.
_CHECKPOINT_EVERY_EVENTS: Final = 10_000
# A feed lets at most 20,000 events wait for a snapshot; what is older was let go.
_UNDECIDED_AT_MOST: Final = 40_000
# Plain values below this are whole units of 10^-8 in any book.
_FITS_DEFAULT_SCALE: Final = 2.0**52 / 1e8
_DEFAULT_SCALE: Final = Scale()


@dataclass(slots=True)
class MarketCounts:
    """What has been recorded of one market in this session.

    `events` and `payload_bytes` count what the database acknowledged, `repeated` those of
    them that were there already, `dropped` what didn't fit into memory, `gaps` the ends of
    segments that nobody asked for, and the losses between segments.
    """

    events: int = 0
    payload_bytes: int = 0
    repeated: int = 0
    dropped: int = 0
    gaps: int = 0
    last_gap: str = ""
    last_id: int = 0


class MarketSink:
    """Takes what a feed receives of `market`; is a `RecordingSink`.

    Where the queue is full it drops events, but never in silence: the segment ends with
    the cause OVERFLOW, and a new one begins, with a book of its own, when there is room.
    A segment claims only events that were queued here.
    """

    def __init__(self, market: str, pending: PendingWrites) -> None:
        self.market = market
        self.counts = MarketCounts()
        self.refused: KnownError | None = None
        self.overflowing = False
        self._pending = pending
        self._segment: OpenSegment | None = None
        # By final id: whether an event that the feed has not applied yet was queued here.
        self._undecided: dict[int, bool] = {}
        self._latest: DepthDiff | None = None
        self._checkpoint_ms = 0
        self._checkpoint_count = 0
        self._scale = _DEFAULT_SCALE
        self._told_unreadable = False

    def received(self, diff: DepthDiff) -> None:
        """Queue an event (see `RecordingSink`)."""
        self._latest = diff
        if self.refused is not None:
            return
        if self.overflowing and self._pending.relaxed:
            self.overflowing = False
            _log.warning("%s: room to record again", self.market)
        if self._pending.full and not self.overflowing:
            self.overflowing = True
            self._end(GapCause.OVERFLOW, "")
        if self.overflowing:
            self.counts.dropped += 1
        else:
            self._pending.add(Insert.of(diff))
        if len(self._undecided) >= _UNDECIDED_AT_MOST:
            self._undecided.clear()
        self._undecided[diff.final_id] = not self.overflowing

    def opened(self, base: DepthSnapshot | BookImage) -> None:
        """Begin a segment (see `RecordingSink`)."""
        self._scale = _scale_of(base)
        if self.overflowing or self.refused is not None:
            return
        segment = OpenSegment(self.market, base.last_update_id, base.event_ms, self._scale)
        self._segment = segment
        self._checkpoint_ms = base.event_ms
        self._checkpoint_count = 0
        self._pending.add(Open(segment, Base.of(base)))

    def applied(self, diff: DepthDiff, book: Book) -> None:
        """Extend the segment; store its book now and then (see `RecordingSink`)."""
        if self._segment is not None and diff.final_id <= self._segment.base_id:
            self._decide(diff)
            return
        queued = self._decide(diff)
        if not queued and self._segment is not None:
            # It waited for the snapshot: dropped here, or received before we were told.
            cause = GapCause.USER if queued is None else GapCause.OVERFLOW
            detail = f"The event {diff.final_id} was not recorded."
            self._add(Close(self._segment, cause, detail))
            self._segment = None
        if not queued or self.overflowing or self.refused is not None:
            return
        if self._segment is None:
            image = self._image(book)
            if image is not None:
                self.opened(image)
            return
        self._scale = self._scale_with(diff, book)
        first_id, final_id, event_ms = diff.first_id, diff.final_id, diff.event_ms
        self._add(Extend(self._segment, first_id, final_id, event_ms, self._scale))
        self._checkpoint(self._segment, diff, book)

    def broken(self, cause: GapCause, detail: str) -> None:
        """End the segment (see `RecordingSink`)."""
        if self._segment is not None:
            self._end(cause, detail)

    def refuse(self, error: KnownError) -> None:
        """Record nothing more: `error` is why. The ledger ends the segment."""
        self.refused = error
        self._segment = None
        self._undecided.clear()
        self._count_gap(GapCause.DATABASE, str(error))

    def _end(self, cause: GapCause, detail: str) -> None:
        """End the segment; even where there is none, something was lost if `cause` says so."""
        segment, self._segment = self._segment, None
        if segment is not None:
            self._add(Close(segment, cause, detail))
        if cause is not GapCause.USER:
            self._count_gap(cause, detail)

    def _count_gap(self, cause: GapCause, detail: str) -> None:
        self.counts.gaps += 1
        self.counts.last_gap = cause.sentence
        _log.warning("%s: gap in the recording: %s. %s", self.market, cause.sentence, detail)

    def _decide(self, diff: DepthDiff) -> bool | None:
        """Return whether `diff`, which is now applied, was queued; None if it never came here."""
        queued = self._undecided.get(diff.final_id)
        if diff is self._latest:
            # Whatever came before it has been applied, or never will be.
            self._undecided.clear()
        else:
            self._undecided.pop(diff.final_id, None)
        return queued

    def _scale_with(self, diff: DepthDiff, book: Book) -> Scale:
        """Return the book's scale, without merging the book where it can't have changed."""
        if self._scale == _DEFAULT_SCALE and diff.plain and _fits_default(diff):
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
        image = self._image(book)
        if image is not None:
            self._add(Checkpoint(segment, Base.of(image)))

    def _image(self, book: Book) -> BookImage | None:
        try:
            image = image_of(book, self.market)
        except KnownError as error:
            if not self._told_unreadable:
                _log.warning("%s: no checkpoint: %s", self.market, error)
            self._told_unreadable = True
            return None
        self._told_unreadable = False
        return image

    def _add(self, operation: Operation) -> None:
        if self.refused is None:
            self._pending.add(operation)


def _scale_of(base: DepthSnapshot | BookImage) -> Scale:
    if isinstance(base, BookImage):
        return base.scale
    if base.plain and _fits_default(base):
        return _DEFAULT_SCALE
    book = Book()
    book.load(base)
    return book.scale


def _fits_default(message: DepthDiff | DepthSnapshot) -> bool:
    return all(
        price < _FITS_DEFAULT_SCALE and quantity < _FITS_DEFAULT_SCALE
        for side in (message.bids, message.asks)
        for price, quantity in side
    )
