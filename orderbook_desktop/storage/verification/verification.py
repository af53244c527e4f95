"""The proof of a market's recording: every segment, every loose event, and what lies about."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.archive import (
    DamagedChunk,
    DecodedChunk,
    decode_chunk,
    minute_of,
    verify_chunk,
)
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.storage.reading.ahead import Portions, WaitingLoose
from orderbook_desktop.storage.reading.recording import count_repeated, read_timeline
from orderbook_desktop.storage.store.bookless import BooklessRun
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.raw_events import RawEvent
from orderbook_desktop.storage.store.recorder_states import RecorderState
from orderbook_desktop.storage.store.recording_store import (
    ProvableSegments,
    ProvableStore,
    StoredChunk,
    Stray,
)
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.unclaimed_events import Claim
from orderbook_desktop.storage.verification.read_ahead import ReadAhead
from orderbook_desktop.storage.verification.segment_proof import (
    NOT_UNDERSTOOD,
    CutMeanwhile,
    Proven,
    RecordingFault,
    SegmentProof,
)
from orderbook_desktop.storage.verification.trade_proof import ProvenTrades, TradeProof
from orderbook_desktop.system.tasks import one_ahead

_log = logging.getLogger(__name__)

# Retention may cut a segment again and again while it is being proven.
_ATTEMPTS: Final = 10
# An exchange may set its clock back. Later events then get the latest earlier time.
_OVERLAP_AT_MOST_MS: Final = 86_400_000
# A recorder stores within this time to which segment or list its events belong.
_NAMED_WITHIN_NS: Final = 60 * 10**9
_EXAMINED_AT_ONCE: Final = 1_000

# A query for stray chunks covers this many known chunks (half a day), since a server may have to
# read them whole.
_CHUNKS_AT_ONCE: Final = 720
# The fractions of a chunk, for counting chunks per minute: fine enough for any span of time.
_SHARES: Final = 1 << 50
_LAST_MINUTE: Final = 1 << 48


class Verified(Struct, frozen=True):
    """What has been proven of `market`: all of it, or the part before `fault`.

    `timeline` covers the time that was asked for. `events` are in segments, and `stored_bytes` is
    their size. `loose_events` belong to no segment. `unlisted_events` are undamaged, but neither a
    segment nor a list names them yet. `witnesses` is how many snapshots of the exchange were
    compared with the books. `trades` are those of the market, without any runs if there are none.
    `bookmarks` is how many bookmarks lie in the time. The caller fills in `recorder`.
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
    trades: ProvenTrades = ProvenTrades()
    bookmarks: int = 0

    @property
    def holds(self) -> bool:
        """Whether all of it was proven."""
        return self.fault is None


async def verify(
    place: Database | ProvableStore,
    market: str,
    from_ms: int | None = None,
    to_ms: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Verified:
    """Prove the recording of `market`, or its part from `from_ms` to `to_ms`.

    Stops at the first fault. For a part it proves all chunks that overlap with it, but neither the
    fields about whole segments nor loose events; of the trades it proves those of that time.
    `progress` is called with the number of proven events, and their total. Recording, archiving and
    retention may continue meanwhile. Raises what the store raises; such an error is no fault of the
    recording.
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
        self._proven: list[Proven] = []
        self._waiting = WaitingLoose(store, market)
        self._trades = TradeProof(store.trades, market, from_ms, to_ms)

    async def run(self) -> Verified:
        """Prove the recording, up to the first fault."""
        try:
            return await self._run()
        finally:
            await self._trades.close()

    async def _run(self) -> Verified:
        timeline, fault, repeated, bookmarks = Timeline((), ()), None, 0, 0
        try:
            await self._trades.begin()
            segments = await self._store.segments(self._market)
            whole = await read_timeline(self._store, self._market, segments)
            self._covers = {cover.segment_id: cover for cover in whole.covers}
            timeline = whole.between(self._from_ms, self._to_ms)
            self._check_order(segments)
            await self._prove(segments)
            if self._from_ms is None and self._to_ms is None:
                repeated = await count_repeated(self._store, segments)
            await self._trades.finish()
            bookmarks = await self._count_bookmarks()
        except RecordingFault as error:
            fault = error
        except KnownError as error:
            fault = RecordingFault(self._market, str(error))
        except NOT_UNDERSTOOD as error:
            _log.exception("%s: a stored document can't be understood", self._market)
            reason = f"a stored document can't be understood ({type(error).__name__}: {error})"
            fault = RecordingFault(self._market, reason)
        return Verified(
            self._market,
            timeline,
            len(self._proven),
            sum(proven.events for proven in self._proven) - repeated,
            sum(proven.archived_events for proven in self._proven),
            sum(proven.bytes for proven in self._proven),
            len(self._loose),
            self._unlisted,
            sum(proven.witnesses for proven in self._proven),
            fault,
            trades=self._trades.proven,
            bookmarks=bookmarks,
        )

    async def _count_bookmarks(self) -> int:
        """Return how many bookmarks lie in the time. Raises `DamagedDocument` if any is damaged."""
        return sum(
            (self._from_ms is None or mark.event_ms >= self._from_ms)
            and (self._to_ms is None or mark.event_ms < self._to_ms)
            for mark in await self._store.bookmarks.sound(self._market)
        )

    async def _prove(self, segments: list[StoredSegment]) -> None:
        wanted = [stored for stored in segments if self._is_wanted(stored)]
        self._total = sum(stored.segment.event_count for stored in wanted)
        witnesses = await self._store.witness_keys(self._market)
        async with aclosing(one_ahead(self._loaded_groups(wanted))) as groups:
            async for group, store in groups:
                for stored in group:
                    await self._prove_segment(stored, witnesses, store)
                    # The proof of a short segment may wait for nothing.
                    await asyncio.sleep(0)
        if self._from_ms is None and self._to_ms is None:
            named_ns = self._now_ns() - _NAMED_WITHIN_NS
            # Read the segments again, since running ones have more events by now.
            now, runs = await self._store.all_segments(self._market)
            await self._prove_loose(now, runs, named_ns)
            bookless = [run.stored for run in runs]
            for key in await self._store.misplaced_segments(self._market):
                reason = "the segment names another market, which its checksum does not match"
                raise RecordingFault(self._market, reason, segment_id=key)
            await look_for_strays(self._store, self._market, [*segments, *bookless])

    def _check_order(self, segments: Sequence[StoredSegment]) -> None:
        """Check that a segment begins after the one before it ends, if ids between are missing.

        Else the timeline would not show the gap between them.
        """
        known = [stored for stored in segments if stored.segment.event_count]
        before: StoredSegment | None = None
        for stored in sorted(known, key=lambda stored: stored.segment.snapshot_id):
            segment = stored.segment
            if before is not None and segment.snapshot_id > before.segment.last_id:
                early_ms = before.segment.last_event_ms - segment.first_event_ms
                if early_ms > _OVERLAP_AT_MOST_MS:
                    reason = (
                        f"it begins {early_ms:,} ms before segment {before.id} ends, though update "
                        "ids between the two are missing"
                    )
                    raise RecordingFault(self._market, reason, segment_id=stored.id)
            if before is None or segment.last_id > before.segment.last_id:
                before = stored

    def _is_wanted(self, stored: StoredSegment) -> bool:
        begin_ms, end_ms = self._span_of(stored)
        begins = self._to_ms is None or begin_ms < self._to_ms
        return begins and (self._from_ms is None or end_ms >= self._from_ms)

    def _from_ms_in(self, stored: StoredSegment) -> int | None:
        """Return the time from which a segment is wanted; None: from its beginning."""
        begin_ms, _ = self._span_of(stored)
        is_all = self._from_ms is None or self._from_ms <= begin_ms
        return None if is_all else self._from_ms

    def _span_of(self, stored: StoredSegment) -> tuple[int, int]:
        """Return the first and the last time of a segment, as they count in the timeline.

        If clocks go back, an earlier segment may reach later times; this one counts from there on.
        """
        segment, cover = stored.segment, self._covers.get(stored.id)
        if cover is None:
            return segment.first_event_ms, segment.last_event_ms
        return segment.first_event_ms if cover.continues else cover.from_ms, cover.to_ms

    async def _loaded_groups(
        self, segments: Sequence[StoredSegment]
    ) -> AsyncGenerator[tuple[Sequence[StoredSegment], ProvableSegments]]:
        """Iterate over groups of `segments`, and the store from which each is read at first."""
        ahead = ReadAhead(self._store, self._market)
        while group := ahead.group(segments):
            yield group, await self._loaded(ahead, group)
            segments = segments[len(group) :]

    async def _loaded(self, ahead: ReadAhead, group: Sequence[StoredSegment]) -> ProvableSegments:
        """Return the store from which the segments `group` are read at first."""
        if len(group) == 1:
            return self._store
        try:
            return await ahead.load(group)
        except (KnownError, *NOT_UNDERSTOOD) as error:
            # The proof of the damaged segment says which it is.
            _log.debug("%s: segments are read one by one: %s", self._market, error)
            return self._store

    async def _prove_segment(
        self,
        stored: StoredSegment,
        witnesses: Sequence[tuple[int, str]],
        store: ProvableSegments,
    ) -> None:
        """Prove a segment as it is read from `store`; if it has a fault there, from the database.

        What was read ahead may have been changed since.
        """
        for _ in range(_ATTEMPTS):
            before = self._done
            proof = SegmentProof(store, stored, witnesses, self._take, self._now_ns, self._waiting)
            try:
                await proof.prove(self._from_ms_in(stored), self._to_ms)
                self._proven.append(proof.proven)
            except (KnownError, *NOT_UNDERSTOOD):
                if store is self._store and not await self._waiting.has_changed():
                    self._proven.append(proof.proven)
                    raise
            except CutMeanwhile:
                now = await self._store.segment(stored.id)
                if now is None:
                    self._done = before
                    return
                stored = now
            else:
                return
            self._done = before
            store = self._store
        reason = "it is being cut faster than it can be read; verify it again"
        raise RecordingFault(self._market, reason, segment_id=stored.id)

    async def _take(self, chunk: DecodedChunk) -> None:
        await self._trades.hold(chunk)
        self._done += chunk.header.event_count
        if self._progress is not None:
            self._progress(self._done, self._total)

    async def _prove_loose(
        self, segments: Sequence[StoredSegment], runs: Sequence[BooklessRun], named_ns: int
    ) -> None:
        """Prove the runs without a book, and what lies outside `segments`.

        Also prove that no event of the runs is missing. `named_ns`: see `_prove_unclaimed`.
        """
        for run in runs:
            if not run.stored.intact:
                raise self._bookless_fault(run, "the checksum of the run does not match")
        await self._prove_archived([run for run in runs if run.is_archived])
        waiting = {update_id for run in runs if not run.is_archived for update_id in run.ids}
        await self._prove_unclaimed(segments, waiting, named_ns)
        # Some may lie inside the ids of a segment.
        inside = sorted(waiting - self._loose)
        for start in range(0, len(inside), _EXAMINED_AT_ONCE):
            some = inside[start : start + _EXAMINED_AT_ONCE]
            events = await self._store.events(self._market, some)
            self._loose.update(event.final_id for event in events)
        left = set[int]().union(*(run.ids for run in runs)) - self._loose
        if left:
            # They may have been archived meanwhile.
            runs = await self._store.bookless(self._market)
            await self._prove_archived(
                [run for run in runs if run.is_archived and not left.isdisjoint(run.ids)]
            )
            lost = await self._store.lost_events(self._market, left - self._loose)
            for update_id in sorted(lost):
                raise RecordingFault(self._market, "a loose event is missing", update_id=update_id)

    async def _prove_unclaimed(
        self, segments: Sequence[StoredSegment], waiting: set[int], named_ns: int
    ) -> None:
        """Prove the raw events outside `segments`: the `waiting` ones, and those without a name.

        No segment and no list names the latter, though they were received before `named_ns`. A
        killed recorder leaves such events, and the archiver lists them later.
        """
        claims = [_claim_of(stored) for stored in segments]
        unclaimed = self._store.unclaimed_events(self._market, claims, sorted(waiting))
        async with aclosing(one_ahead(unclaimed)) as parts:
            async for part in parts:
                loose = [event for event in part if event.final_id in waiting]
                unlisted = [
                    event
                    for event in part
                    if event.received_ns < named_ns
                    and event.final_id not in waiting
                    and event.final_id not in self._loose
                ]
                await asyncio.to_thread(_unpack_all, [*loose, *unlisted])
                self._loose.update(event.final_id for event in loose)
                self._unlisted += len(unlisted)

    async def _prove_archived(self, runs: Sequence[BooklessRun]) -> None:
        """Prove the chunks of runs without a book."""
        portions = Portions()
        while runs:
            asked, runs = runs[: portions.count], runs[portions.count :]
            chunks = await self._store.first_chunks([run.stored for run in asked])
            portions.took(chunks.values())
            for run in asked:
                if run.id in chunks:
                    ids = await asyncio.to_thread(self._proven_loose, run, chunks[run.id])
                    self._loose.update(ids)

    def _bookless_fault(self, run: BooklessRun, reason: str) -> RecordingFault:
        reason = f"the loose events {run.id}: {reason}"
        return RecordingFault(self._market, reason, segment_id=run.id)

    def _proven_loose(self, run: BooklessRun, stored: StoredChunk) -> list[int]:
        """Return the final ids of the events of a run's chunk. Raises `RecordingFault`."""
        try:
            decoded = decode_chunk(stored.unpack())
        except DamagedChunk as error:
            raise self._bookless_fault(run, str(error)) from error
        for fault in verify_chunk(decoded):
            raise RecordingFault(self._market, fault.reason, update_id=fault.update_id)
        final_ids: list[int] = decoded.numbers.final_ids.tolist()
        archive = run.stored.archived_id, run.stored.archived_events, run.stored.archived_bytes
        expected = run.stored.segment.last_id, len(final_ids), stored.size
        if archive != expected or decoded.has_book:
            raise self._bookless_fault(run, "its archive is not as the run says")
        return final_ids


def _unpack_all(events: Iterable[RawEvent]) -> None:
    for event in events:
        event.unpack()


def _claim_of(stored: StoredSegment) -> Claim:
    segment = stored.segment
    raw = segment.event_count - stored.archived_events
    return Claim(segment.snapshot_id, segment.last_id, raw)


async def look_for_strays(
    store: ProvableStore, market: str, segments: Sequence[StoredSegment]
) -> None:
    """Raise `RecordingFault` for the first chunk or book whose segment is not in `segments`.

    A segment that was stored meanwhile, or is being imported, is no fault. Raises what the store
    raises.
    """
    known = {stored.id for stored in segments}
    for first, end in _windows(segments):
        strays = await store.stray_chunks(market, known, first, end)
        reason = "an archived minute belongs to a segment that is not stored"
        await _judge(store, strays, reason)
    strays = await store.stray_books(market, known)
    await _judge(store, strays, "a book belongs to a segment that is not stored")


async def _judge(store: ProvableStore, strays: Sequence[Stray], reason: str) -> None:
    if not strays:
        return
    # In this order: an import stores its segments before its journal's document is removed.
    imported = await store.being_imported()
    stored_meanwhile = set[object]()
    for stray in strays:
        key = stray.segment_id
        if isinstance(key, str):
            if key in imported or key in stored_meanwhile:
                continue
            segment = await store.segment(key)
            if segment is not None and segment.segment.market == stray.market:
                stored_meanwhile.add(key)
                continue
        # Retention, or an import that was undone, may have removed it meanwhile.
        if await store.is_there(stray):
            raise RecordingFault(
                stray.market, reason, segment_id=str(key), update_id=stray.update_id
            )


def _windows(segments: Sequence[StoredSegment]) -> Iterator[tuple[int, int]]:
    """Divide all minutes into windows (first, end), each with a limited number of known chunks.

    It makes no more windows than that needs, even for thousands of segments, or for a clock that
    jumped over centuries.
    """
    changes: Counter[int] = Counter()
    for stored in segments:
        first, end, share = _span(stored)
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
    """Return a segment's first minute, the one after its last, and its most chunks per minute.

    The chunks are counted in fractions (`_SHARES`).
    """
    segment = stored.segment
    first, end = minute_of(segment.first_event_ms), minute_of(segment.last_event_ms) + 1
    if not segment.event_count or end <= first:
        return first, first, 0
    # A minute has at most one chunk, and a chunk has at least one event.
    return first, end, min(_SHARES, -(-segment.event_count * _SHARES // (end - first)))
