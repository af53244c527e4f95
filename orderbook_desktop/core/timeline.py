"""The timeline of one market's recording: what is covered, what is a gap, and why.

Segments are ordered by update id. Where times go back from one segment to the next, a segment
begins at the latest earlier time. So covers and gaps follow each other without a hole from the
first event to the last. Stored events that come after the last segment, and belong to none, are in
a gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause, Segment

_NOT_CLOSED: Final = "It has not been closed yet."


class Cover(Struct, frozen=True):
    """A stretch of time in which the book is known, from one segment.

    The segment's events after `after_id` through `last_id` belong to this cover; other events of
    the segment belong to other covers. Times are the exchange's. If a cover `continues` the cover
    before it, nothing is missing between them.
    """

    segment_id: str
    after_id: int
    last_id: int
    from_ms: int
    to_ms: int
    continues: bool = False


class Gap(Struct, frozen=True):
    """A stretch of time in which the book is not known, from the last event before it.

    The update ids `first_missing`..`last_missing` were not recorded in any segment.
    `detail` is a note about the cause, or empty.
    """

    from_ms: int
    to_ms: int
    first_missing: int
    last_missing: int
    cause: GapCause
    detail: str

    @property
    def sentence(self) -> str:
        """The cause as a sentence, with the detail that was noted."""
        # The detail of a feed gap names the ids before the event that revealed it. More ids were
        # lost after that, until the next snapshot.
        if not self.detail or self.cause is GapCause.FEED_GAP:
            return self.cause.sentence
        return f"{self.cause.sentence} ({self.detail.removesuffix('.')})"

    @property
    def account(self) -> str:
        """The sentence, and the update ids at which the book is not known.

        Events with these ids may be stored nevertheless, if they came after a hole.
        """
        if self.first_missing == self.last_missing:
            return f"{self.sentence}; the book is not known at update id {self.first_missing}"
        ids = f"update ids {self.first_missing} to {self.last_missing}"
        return f"{self.sentence}; the book is not known at {ids}"


class LooseEnd(Struct, frozen=True):
    """Where the events end that belong to no segment: their last update id, and latest time."""

    last_id: int
    to_ms: int


_Stretch = TypeVar("_Stretch", Cover, Gap)


class Timeline(Struct, frozen=True):
    """Covers and gaps, each ascending; neither where nothing was recorded."""

    covers: tuple[Cover, ...]
    gaps: tuple[Gap, ...]

    @property
    def from_ms(self) -> int:
        """The time of the first event; 0 where there is none."""
        return min(
            (stretches[0].from_ms for stretches in (self.covers, self.gaps) if stretches), default=0
        )

    @property
    def to_ms(self) -> int:
        """The time of the last event; 0 where there is none."""
        return max(
            (stretches[-1].to_ms for stretches in (self.covers, self.gaps) if stretches), default=0
        )

    @property
    def covered_ms(self) -> int:
        """How long the book is known, in all."""
        return sum(cover.to_ms - cover.from_ms for cover in self.covers)

    @property
    def gap_ms(self) -> int:
        """How long the book is not known, in all."""
        return sum(gap.to_ms - gap.from_ms for gap in self.gaps)

    def at(self, event_ms: int) -> Cover | Gap | None:
        """Return what `event_ms` falls into; None before the first event or after the last.

        Where a gap touches a cover the instant is covered; of two covers it is the later.
        """
        index = bisect_right(self.covers, event_ms, key=lambda cover: cover.from_ms) - 1
        if index < 0 or event_ms > self.to_ms:
            return None
        cover = self.covers[index]
        if event_ms <= cover.to_ms:
            return cover
        within = (gap for gap in self.gaps if gap.from_ms <= event_ms < gap.to_ms)
        # A gap at the end of a recording has no successor, so its last instant is in it.
        return next(within, self.gaps[-1])

    def uncovered(self, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
        """Return the times from `from_ms` to `to_ms` in which the book is not known, ascending."""
        found, reached = [], from_ms
        for cover in self.covers:
            if cover.from_ms > reached:
                found.append((reached, cover.from_ms))
            reached = max(reached, cover.to_ms)
        # The last event stands for its millisecond.
        return [*found, (reached, to_ms)] if reached < to_ms - 1 else found

    def between(self, from_ms: int | None, to_ms: int | None) -> Timeline:
        """Return the part from `from_ms` to `to_ms`; None: from the first, to the last."""
        begin = self.from_ms if from_ms is None else from_ms
        end = self.to_ms if to_ms is None else to_ms
        return Timeline(
            # The event that ends a cover belongs to the cover; the instant that ends a gap does
            # not.
            tuple(
                _cut(cover, begin, end)
                for cover in self.covers
                if cover.to_ms == begin or _meets(cover, begin, end)
            ),
            tuple(_cut(gap, begin, end) for gap in self.gaps if _meets(gap, begin, end)),
        )


def timeline_of(
    segments: Iterable[tuple[str, Segment]], loose_end: LooseEnd | None = None
) -> Timeline:
    """Return the timeline of one market's segments, each with its id, in any order.

    A segment without events covers nothing. A segment inside another one is left out. One that
    begins inside another and reaches further continues it from its end on. A `loose_end` after all
    segments is the end of a gap, unless the last segment still goes on.
    """
    known = sorted(
        ((key, segment) for key, segment in segments if segment.event_count),
        key=lambda item: (item[1].snapshot_id, -item[1].last_id, item[0]),
    )
    covers: list[Cover] = []
    gaps: list[Gap] = []
    before: Segment | None = None
    for key, segment in known:
        after_id, from_ms, continues = segment.snapshot_id, segment.first_event_ms, False
        if before is not None:
            if segment.last_id <= before.last_id:
                continue
            reached = covers[-1].to_ms
            continues = after_id <= before.last_id
            from_ms = reached if continues else max(from_ms, reached)
            if not continues:
                gaps.append(_gap(before, reached, segment.snapshot_id, from_ms))
            after_id = max(after_id, before.last_id)
        to_ms = max(from_ms, segment.last_event_ms)
        covers.append(Cover(key, after_id, segment.last_id, from_ms, to_ms, continues))
        before = segment
    if before is not None and before.end_cause is not None:
        reached = covers[-1].to_ms
        if loose_end is not None and loose_end.last_id > before.last_id:
            to_ms = max(reached, loose_end.to_ms)
            gaps.append(_gap(before, reached, loose_end.last_id, to_ms))
    return Timeline(tuple(covers), tuple(gaps))


def _gap(before: Segment, from_ms: int, last_missing: int, to_ms: int) -> Gap:
    cause, detail = before.end_cause, before.end_detail
    if cause is None:
        # The recorder has crashed, or has not yet stored how far the segment reaches.
        cause, detail = GapCause.CRASH, _NOT_CLOSED
    return Gap(from_ms, to_ms, before.last_id + 1, last_missing, cause, detail)


def _meets(stretch: _Stretch, begin: int, end: int) -> bool:
    if stretch.from_ms == stretch.to_ms:
        return begin <= stretch.from_ms <= end
    return stretch.from_ms < end and stretch.to_ms > begin


def _cut(stretch: _Stretch, begin: int, end: int) -> _Stretch:
    return replace(stretch, from_ms=max(stretch.from_ms, begin), to_ms=min(stretch.to_ms, end))
