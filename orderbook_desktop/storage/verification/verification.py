"""The proof of a market's recording: every segment, every loose event, and what lies about."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from orderbook_desktop.core.archive import DamagedChunk, decode_chunk, minute_of, verify_chunk
from orderbook_desktop.core.errors import BugError, KnownError
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.storage.reading.recording import read_timeline
from orderbook_desktop.storage.store.chunks import loose_key
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.owner import RecorderState
from orderbook_desktop.storage.store.recording_store import ProvableStore, Stray, store_of
from orderbook_desktop.storage.store.segments import (
    StoredSegment,
)
from orderbook_desktop.storage.verification.segment_proof import Cut, RecordingFault, SegmentProof

_log = logging.getLogger(__name__)

# Retention may cut a segment again and again while it is being proven.
_ATTEMPTS: Final = 10
# What comes of documents that nobody wrote so, where no check of ours met them first.
_NOT_UNDERSTOOD: Final = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, BugError),
)
# An exchange sets its clock back at times, and what comes then counts as late as what was before.
_OVERLAP_AT_MOST_MS: Final = 86_400_000
# A recorder tells every few seconds what its events belong to.
_TOLD_WITHIN_NS: Final = 60 * 10**9
_EXAMINED_AT_ONCE: Final = 1_000

# A server may read whole chunks to tell whose they are: half a day of them at a time.
_CHUNKS_AT_ONCE: Final = 720
# Of a chunk: so small that there is one in each minute of any time.
_SHARES: Final = 1 << 50
_LAST_MINUTE: Final = 1 << 48


@dataclass(frozen=True, slots=True)
class Verified:
    """What has been proven of `market`: everything, or what came before `fault`.

    `timeline` is of the time that was asked for. `events` are in segments, `stored_bytes` is
    what they take, `loose_events` belong to no segment; `unlisted_events` are as they were stored,
    but neither a segment nor a list of loose events names them yet. `witnesses` is how many
    snapshots of the exchange the books were held against. `recorder` is for the one who asks to
    fill in.
    """

    market: str
    timeline: Timeline
    segments: int
    events: int
    archived_events: int
    stored_bytes: int
    loose_events: int
    unlisted_events: int
    witnesses: int
    fault: RecordingFault | None
    recorder: RecorderState = RecorderState.NONE

    @property
    def holds(self) -> bool:
        """Whether everything was proven."""
        return self.fault is None


async def verify(
    place: Database | ProvableStore,
    market: str,
    from_ms: int | None = None,
    to_ms: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Verified:
    """Prove the recording of `market`, or of it what lies between two times.

    Stops at the first fault. Of a part, all chunks that reach into it are proven, but not what
    is said of a segment as a whole, nor what belongs to none. `progress` is told how many
    events of how many have been proven. Recording, archiving and retention may go on. Raises
    what the place raises, which proves nothing.
    """
    return await _Verification(store_of(place), market, from_ms, to_ms, progress, now_ns).run()


class _Verification:
    """One run of `verify`."""

    def __init__(
        self,
        store: ProvableStore,
        market: str,
        from_ms: int | None,
        to_ms: int | None,
        progress: Callable[[int, int], None] | None,
        now_ns: Callable[[], int],
    ) -> None:
        self._now_ns = now_ns
        self._store = store
        self._market = market
        self._from_ms = from_ms
        self._to_ms = to_ms
        self._progress = progress
        self._done = self._total = 0
        self._covers: dict[str, Cover] = {}
        self._loose: set[int] = set()
        self._unlisted = 0
        self._proofs: list[SegmentProof] = []

    async def run(self) -> Verified:
        """Prove everything, up to the first fault."""
        timeline, fault = Timeline((), ()), None
        try:
            segments = await self._store.segments(self._market)
            whole = await read_timeline(self._store, self._market, segments)
            self._covers = {cover.segment_id: cover for cover in whole.covers}
            timeline = whole.between(self._from_ms, self._to_ms)
            self._check_order(segments)
            await self._prove(segments)
        except RecordingFault as error:
            fault = error
        except KnownError as error:
            fault = RecordingFault(self._market, str(error))
        except _NOT_UNDERSTOOD as error:
            _log.exception("%s: what is stored can't be understood", self._market)
            reason = f"what is stored can't be understood ({type(error).__name__}: {error})"
            fault = RecordingFault(self._market, reason)
        return Verified(
            self._market,
            timeline,
            len(self._proofs),
            sum(one.events for one in self._proofs),
            sum(one.archived_events for one in self._proofs),
            sum(one.bytes for one in self._proofs),
            len(self._loose),
            self._unlisted,
            sum(one.held_against for one in self._proofs),
            fault,
        )

    async def _prove(self, segments: list[StoredSegment]) -> None:
        wanted = [one for one in segments if self._is_wanted(one)]
        self._total = sum(one.segment.event_count for one in wanted)
        witnesses = await self._store.witness_keys(self._market)
        for one in wanted:
            await self._prove_segment(one, witnesses)
        if self._from_ms is None and self._to_ms is None:
            await self._prove_loose()
            await self._prove_unlisted()
            await look_for_strays(self._store, self._market, segments)

    def _check_order(self, segments: Sequence[StoredSegment]) -> None:
        """Check that of two segments whose ids are apart the later one begins after the other.

        Else the gap between them would seem to be none.
        """
        known = [one for one in segments if one.segment.event_count]
        before: StoredSegment | None = None
        for one in sorted(known, key=lambda one: one.segment.snapshot_id):
            segment = one.segment
            if before is not None and segment.snapshot_id > before.segment.last_id:
                early_ms = before.segment.last_event_ms - segment.first_event_ms
                if early_ms > _OVERLAP_AT_MOST_MS:
                    reason = (
                        f"it begins {early_ms:,} ms before segment {before.id} ends, though update "
                        "ids between the two are missing"
                    )
                    raise RecordingFault(self._market, reason, segment_id=one.id)
            if before is None or segment.last_id > before.segment.last_id:
                before = one

    def _is_wanted(self, stored: StoredSegment) -> bool:
        begin_ms, end_ms = self._span_of(stored)
        begins = self._to_ms is None or begin_ms < self._to_ms
        return begins and (self._from_ms is None or end_ms >= self._from_ms)

    def _from_ms_in(self, stored: StoredSegment) -> int | None:
        """Return from when a segment is wanted; None: from its beginning."""
        begin_ms, _ = self._span_of(stored)
        is_all = self._from_ms is None or self._from_ms <= begin_ms
        return None if is_all else self._from_ms

    def _span_of(self, stored: StoredSegment) -> tuple[int, int]:
        """Return from when to when a segment counts.

        What comes before it may be later, as clocks go back: then it counts as late as that.
        """
        segment, cover = stored.segment, self._covers.get(stored.id)
        if cover is None:
            return segment.first_event_ms, segment.last_event_ms
        return segment.first_event_ms if cover.continues else cover.from_ms, cover.to_ms

    async def _prove_segment(self, stored: StoredSegment, witnesses: list[tuple[int, str]]) -> None:
        before = self._done
        for _ in range(_ATTEMPTS):
            proof = SegmentProof(self._store, stored, witnesses, self._count, self._now_ns)
            self._proofs.append(proof)
            try:
                return await proof.prove(self._from_ms_in(stored), self._to_ms)
            except Cut:
                self._proofs.pop()
                self._done = before
            now = await self._store.segment(stored.id)
            if now is None:
                return None
            stored = now
        reason = "it is being cut faster than it can be read; verify it again"
        raise RecordingFault(self._market, reason, segment_id=stored.id)

    def _count(self, events: int) -> None:
        self._done += events
        if self._progress is not None:
            self._progress(self._done, self._total)

    async def _prove_loose(self) -> None:
        """Prove the events that belong to no segment, and that none of them is missing."""
        for key in await self._store.loose_keys(self._market):
            try:
                chunk = await self._store.loose_chunk(key)
                if chunk is None:
                    continue
                decoded = await asyncio.to_thread(decode_chunk, chunk)
            except DamagedChunk as error:
                raise RecordingFault(self._market, f"the loose events {key}: {error}") from error
            if not f"{key}:".startswith(f"{loose_key(chunk.header)}:"):
                raise RecordingFault(
                    self._market, f"the loose events {key} are not where they were"
                )
            for fault in verify_chunk(decoded):
                raise RecordingFault(self._market, fault.reason, update_id=fault.update_id)
            self._loose.update(decoded.numbers.final_ids.tolist())
        for waiting in await self._store.loose_lists(self._market, waiting=True):
            events = await self._store.events(self._market, waiting.ids)
            self._loose.update(event.final_id for event in events)
        for update_id in await self._store.missing_loose(self._market, self._loose):
            raise RecordingFault(self._market, "a loose event is missing", update_id=update_id)

    async def _prove_unlisted(self) -> None:
        """Prove the events that neither a segment nor a list names, such as a killed recorder's.

        An archiver lists them when it comes to it.
        """
        listed = set(self._loose)
        for one in await self._store.loose_lists(self._market):
            listed.update(one.ids)
        # Read anew: those that are being recorded have come further.
        segments = await self._store.segments(self._market)
        named = [(one.segment.snapshot_id, one.segment.last_id) for one in segments]
        before_ns = self._now_ns() - _TOLD_WITHIN_NS
        found = (await self._store.received_outside(self._market, named)).items()
        ids = sorted(u for u, ns in found if u not in listed and ns < before_ns)
        for start in range(0, len(ids), _EXAMINED_AT_ONCE):
            self._unlisted += len(
                await self._store.events(self._market, ids[start : start + _EXAMINED_AT_ONCE])
            )


async def look_for_strays(
    store: ProvableStore, market: str, segments: Sequence[StoredSegment]
) -> None:
    """Raise `RecordingFault` for the first chunk or book of one that is not among `segments`.

    What came since, or that is being imported, is no fault. Raises what the store raises.
    """
    known = [one.id for one in segments]
    for first, end in _windows(segments):
        stray = await store.stray_chunk(market, known, first, end)
        if stray is not None:
            reason = "an archived minute belongs to a segment that is not there"
            await _judge(store, stray, reason)
    for stray in await store.stray_books(market, known):
        await _judge(store, stray, "a book belongs to a segment that is not there")


async def _judge(store: ProvableStore, stray: Stray, reason: str) -> None:
    key = stray.segment_id
    # In this order: what an import no longer names, it has made known.
    if key in await store.being_imported():
        return
    segment = await store.segment(key) if isinstance(key, str) else None
    if segment is not None and segment.segment.market == stray.market:
        return
    # Unless retention, or the end of an import, has removed it meanwhile.
    if await store.is_there(stray):
        raise RecordingFault(stray.market, reason, segment_id=str(key), update_id=stray.update_id)


def _windows(segments: Sequence[StoredSegment]) -> Iterator[tuple[int, int]]:
    """Cut all minutes into windows, none of which has very many chunks of known segments.

    There are not many more of them than that takes, be there thousands of segments, or a
    clock that jumped over centuries.
    """
    changes: Counter[int] = Counter()
    for one in segments:
        first, end, share = _span(one)
        changes[first] += share
        changes[end] -= share
    begin = at = rate = 0
    room = _CHUNKS_AT_ONCE * _SHARES
    for minute, change in sorted(changes.items()):
        while (minute - at) * rate > room:
            at += max(1, room // rate)
            yield begin, at
            begin, room = at, _CHUNKS_AT_ONCE * _SHARES
        room -= (minute - at) * rate
        at, rate = minute, rate + change
    yield begin, _LAST_MINUTE


def _span(stored: StoredSegment) -> tuple[int, int, int]:
    """Return the minutes of a segment, from first to before end, and its chunks in a minute.

    These, at most, are counted in `_SHARES`.
    """
    segment = stored.segment
    first, end = minute_of(segment.first_event_ms), minute_of(segment.last_event_ms) + 1
    if not segment.event_count or end <= first:
        return first, first, 0
    # Each chunk has a minute, and an event.
    return first, end, min(_SHARES, -(-segment.event_count * _SHARES // (end - first)))
