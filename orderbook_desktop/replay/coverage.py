"""What a recording covers, as a replay shows it: covers, gaps of the book and of trades, quiet.

Quiet is read from the archive. It has a chunk for some minutes of events, so a chunk of less than a
minute tells by its span alone that nothing in it is quiet; the few that are longer are unpacked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.archive import decode_chunk
from orderbook_desktop.core.archive.minutes import MINUTE_MS
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.replay import Coverage, Quiet
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.core.trade_coverage import TradeRun, gaps_between
from orderbook_desktop.storage.reading.recording import read_timeline
from orderbook_desktop.storage.store.recording_store import ChunkSpan, RecordingStore, StoredChunk
from orderbook_desktop.storage.store.segment_documents import StoredSegment

_log = logging.getLogger(__name__)

_QUIET_MS: Final = 60_000
# So many minutes of the archive are asked for at once: a database reads their chunks whole.
_MINUTES_AT_ONCE: Final = 60
_WINDOW_MS: Final = _MINUTES_AT_ONCE * MINUTE_MS
# Of more hours than these, about a hundred years, no quiet is told: their times can't be true.
_WINDOWS_AT_MOST: Final = 1_000_000


async def read_coverage(store: RecordingStore, market: str) -> Coverage:
    """Return what the recording of `market` covers. Raises what the store raises."""
    return await CoverageReader(store, market).read()


class _Window(Struct, frozen=True, eq=False):
    """When the market was busy, as the chunks of a stretch of minutes say.

    `segment_ids` are the segments with events in it. `begins` and `ends` are those of the busy
    intervals, in order. `archived_ms` are the times of each segment's last event in these chunks.
    """

    segment_ids: frozenset[str]
    begins: Int64Array
    ends: Int64Array
    archived_ms: dict[str, int]


class CoverageReader:
    """Reads what the recording of `market` covers, again and again while it grows.

    What was read of the archive is read again only where it can have changed. All methods raise
    what the store raises.
    """

    def __init__(self, store: RecordingStore, market: str) -> None:
        self._store = store
        self._market = market
        self._segments: list[StoredSegment] = []
        self._coverage = Coverage()
        self._windows: dict[int, _Window] = {}

    async def read_covers(self) -> Coverage:
        """Return covers and gaps as they are now, with the quiet stretches that were read last."""
        self._segments = await self._store.segments(self._market)
        timeline = await read_timeline(self._store, self._market, self._segments)
        runs = await self._store.trades.runs(self._market)
        # Thousands of segments would keep the event loop, which also paints the window.
        self._coverage = await asyncio.to_thread(
            _covered, timeline, runs, self._segments, self._coverage.quiet
        )
        return self._coverage

    async def read(self) -> Coverage:
        """Return all as it is now. For a long recording it takes some seconds at first."""
        timeline = (await self.read_covers()).timeline
        segments = self._segments
        wanted = await asyncio.to_thread(_windows_of, timeline.covers)
        windows: dict[int, _Window] = {}
        for number, segment_ids in wanted.items():
            known = self._windows.get(number)
            if known is None or known.segment_ids != segment_ids:
                known = await self._read_window(number, segment_ids)
            windows[number] = known
        quiet = await asyncio.to_thread(_quiet_of, timeline, windows.values(), segments)
        self._windows = await asyncio.to_thread(_finished, windows, segments)
        self._coverage = replace(self._coverage, quiet=quiet)
        return self._coverage

    async def _read_window(self, number: int, segment_ids: frozenset[str]) -> _Window:
        first = number * _MINUTES_AT_ONCE
        spans = await self._store.chunk_spans(self._market, first, first + _MINUTES_AT_ONCE - 1)
        # A packed file answers without a pause.
        await asyncio.sleep(0)
        archived_ms: dict[str, int] = {}
        for span in spans:
            key = str(span.segment_id)
            archived_ms[key] = max(archived_ms.get(key, 0), span.to_event_ms)
        short = [span for span in spans if span.to_event_ms - span.from_event_ms < _QUIET_MS]
        begins = [np.array([span.from_event_ms for span in short], dtype=np.int64)]
        ends = [np.array([span.to_event_ms for span in short], dtype=np.int64)]
        for span in spans:
            if span.to_event_ms - span.from_event_ms >= _QUIET_MS:
                busy = await self._busy_in(span)
                begins.append(busy[0])
                ends.append(busy[1])
        joined = _joined(np.concatenate(begins), np.concatenate(ends))
        return _Window(segment_ids, *joined, archived_ms)

    async def _busy_in(self, span: ChunkSpan) -> tuple[Int64Array, Int64Array]:
        """Return the busy intervals of a chunk that may have quiet stretches in it."""
        whole = np.array([span.from_event_ms]), np.array([span.to_event_ms])
        try:
            stored = await self._store.chunk(str(span.segment_id), span.start_id)
            if stored is None:
                # It was removed just now.
                return whole
            times_ms = await asyncio.to_thread(_times_in, stored)
        except KnownError as error:
            # The replay tells of the damage when it comes there; nothing of it is called quiet.
            _log.info("%s: quiet is not known: %s", self._market, error)
            return whole
        return times_ms, times_ms


def _covered(
    timeline: Timeline,
    runs: Iterable[TradeRun],
    segments: Iterable[StoredSegment],
    quiet: tuple[Quiet, ...],
) -> Coverage:
    is_growing = any(stored.is_growing for stored in segments)
    return Coverage(timeline, tuple(gaps_between(runs)), quiet, is_growing)


def _finished(
    windows: Mapping[int, _Window], segments: Iterable[StoredSegment]
) -> dict[int, _Window]:
    """Return the windows without those in which a segment may still get chunks.

    These are the windows from its last chunk on.
    """
    archived_ms = _archived_ms(windows.values())
    growing = {
        stored.id: archived_ms.get(stored.id, 0) // _WINDOW_MS
        for stored in segments
        if stored.running or stored.archived_id < stored.segment.last_id
    }
    return {
        number: window
        for number, window in windows.items()
        if all(number < growing.get(key, number + 1) for key in window.segment_ids)
    }


def _times_in(stored: StoredChunk) -> Int64Array:
    return decode_chunk(stored.unpack()).numbers.event_ms


def _archived_ms(windows: Iterable[_Window]) -> dict[str, int]:
    """Return by segment up to which time it is archived."""
    found: dict[str, int] = {}
    for window in windows:
        for key, at_ms in window.archived_ms.items():
            found[key] = max(found.get(key, at_ms), at_ms)
    return found


def _windows_of(covers: Iterable[Cover]) -> dict[int, frozenset[str]]:
    """Return the windows that `covers` meet by their numbers, in order: the segments in each."""
    spans = [
        (cover.segment_id, cover.from_ms // _WINDOW_MS, cover.to_ms // _WINDOW_MS + 1)
        for cover in covers
    ]
    if sum(end - begin for _, begin, end in spans) > _WINDOWS_AT_MOST:
        return {}
    found: dict[int, set[str]] = {}
    for segment_id, begin, end in spans:
        for number in range(begin, end):
            found.setdefault(number, set()).add(segment_id)
    return {number: frozenset(found[number]) for number in sorted(found)}


def _quiet_of(
    timeline: Timeline, windows: Collection[_Window], segments: Iterable[StoredSegment]
) -> tuple[Quiet, ...]:
    """Return the quiet stretches: the time that is covered, without that in which it was busy.

    What is not archived yet counts as busy.
    """
    if not windows:
        return ()
    archived_ms = _archived_ms(windows)
    growing = {
        stored.id: archived_ms.get(stored.id, 0)
        for stored in segments
        if stored.archived_id < stored.segment.last_id
    }
    busy = [(gap.from_ms, gap.to_ms) for gap in timeline.gaps]
    for cover in timeline.covers:
        # An event is at each of its ends.
        known_ms = max(cover.from_ms, growing.get(cover.segment_id, cover.to_ms))
        busy += [(cover.from_ms, cover.from_ms), (min(known_ms, cover.to_ms), cover.to_ms)]
    edges = np.array(busy, dtype=np.int64).reshape(-1, 2)
    begins, ends = _joined(
        np.concatenate((edges[:, 0], *(window.begins for window in windows))),
        np.concatenate((edges[:, 1], *(window.ends for window in windows))),
    )
    # Chunks may have come since the covers were read.
    quiet = zip(ends[:-1].tolist(), begins[1:].tolist(), strict=True)
    return tuple(
        Quiet(begin, end)
        for begin, end in quiet
        if timeline.from_ms <= begin and end <= timeline.to_ms
    )


def _joined(begins: Int64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return busy intervals in order, as one where no quiet stretch is between them."""
    order = begins.argsort()
    begins, ends = begins[order], np.maximum.accumulate(ends[order])
    apart = begins[1:] - ends[:-1] >= _QUIET_MS
    return begins[np.append(True, apart)[: len(begins)]], ends[np.append(apart, True)[: len(ends)]]
