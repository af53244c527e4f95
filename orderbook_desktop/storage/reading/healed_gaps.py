"""Gaps of single recorders that another recorder or an import has filled.

They need no stored fields: where one segment continues another of a different writer, the first
one ended for a reason of its own, and the second has what came next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from orderbook_desktop.core.recorded_gaps import HealedGap
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.storage.store.segment_documents import StoredSegment


def healed_gaps(timeline: Timeline, segments: Iterable[StoredSegment]) -> list[HealedGap]:
    """Return the healed gaps of a market with this `timeline` of its `segments`, in order."""
    by_id = {stored.id: stored for stored in segments}
    recorded = [stored.segment for stored in by_id.values() if stored.is_recorded]
    recorded.sort(key=lambda segment: segment.snapshot_id)
    begins = [segment.snapshot_id for segment in recorded]
    healed = []
    for index, cover in enumerate(timeline.covers[:-1]):
        ended, following = by_id[cover.segment_id].segment, timeline.covers[index + 1]
        healer = by_id[following.segment_id]
        if ended.end_cause is None or not _heals(by_id[cover.segment_id], healer, following):
            continue
        reach = _reach(timeline.covers[index + 1 :], by_id)
        end_id, end_ms = reach.last_id, reach.to_ms
        resumed_at = bisect_right(begins, cover.last_id)
        if resumed_at < len(begins):
            # Without the healer the book would be known again from there.
            if begins[resumed_at] <= end_id:
                end_id, end_ms = begins[resumed_at], recorded[resumed_at].first_event_ms
        elif healer.is_imported:
            # It only goes on after the end of what was recorded.
            continue
        begin_id, begin_ms = following.after_id + 1, following.from_ms
        end_id, end_ms = max(begin_id, end_id), max(begin_ms, end_ms)
        cause, detail = ended.end_cause, ended.end_detail
        healed.append(
            HealedGap(begin_ms, end_ms, begin_id, end_id, cause, detail, by=_source(healer))
        )
    return healed


def _heals(ended: StoredSegment, healer: StoredSegment, following: Cover) -> bool:
    """Whether `healer` has what the recorder of `ended` has not."""
    if not ended.is_recorded:
        return False
    if healer.is_imported:
        return True
    return following.continues and _token(ended) != _token(healer)


def _token(stored: StoredSegment) -> str:
    return "" if stored.writer is None else stored.writer.token


def _reach(covers: Sequence[Cover], by_id: dict[str, StoredSegment]) -> Cover:
    """Return the last of the imported `covers` that continue the first one."""
    last = covers[0]
    for cover in covers[1:]:
        if not (cover.continues and by_id[cover.segment_id].is_imported):
            break
        last = cover
    return last


def _source(healer: StoredSegment) -> str:
    if healer.is_imported:
        return "an import"
    return "another recorder" + ("" if healer.writer is None else healer.writer.text)
