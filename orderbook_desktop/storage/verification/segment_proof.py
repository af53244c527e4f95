"""The proof of one segment, from the stored bytes: every chunk, every event, every book."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace

from orderbook_desktop.core.archive import DecodedChunk, agree, verify_chunk
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import BugError, KnownError
from orderbook_desktop.core.event_times import EARLIEST_MS, in_ms
from orderbook_desktop.core.events import DepthSnapshot
from orderbook_desktop.core.horizon import is_deeper
from orderbook_desktop.core.witness import contradictions
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.reading.ahead import Upcoming, WaitingLoose, levels_in
from orderbook_desktop.storage.reading.joined_answers import joined_after
from orderbook_desktop.storage.reading.segment_reader import (
    MissingEvents,
    SegmentReader,
    WideEvents,
)
from orderbook_desktop.storage.store.checkpoints import StoredBook, book_key
from orderbook_desktop.storage.store.recording_store import ProvableSegments
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.witnesses import StoredWitness
from orderbook_desktop.system.tasks import in_thread_if_long

_DAY_MS: Final = 86_400_000
# Our clock and the exchange's may differ by this much.
_AHEAD_AT_MOST_MS: Final = _DAY_MS
# Errors that absurd documents may cause, beyond the checks for damage.
NOT_UNDERSTOOD: Final = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, BugError),
)


class RecordingFault(DatabaseError):
    """The recording of `market` has a fault; `reason` says which.

    `update_id` is the nearest known update id, `segment_id` the segment, and `trade_id` that of the
    trade; None if there is none.
    """

    market: str
    reason: str
    segment_id: str | None = None
    update_id: int | None = None
    trade_id: int | None = None

    def __str__(self) -> str:
        where = self.market
        if self.segment_id is not None:
            where += f", segment {self.segment_id}"
        if self.update_id is not None:
            where += f", update id {self.update_id}"
        if self.trade_id is not None:
            where += f", trade {self.trade_id}"
        return f"{where}: {self.reason.rstrip('.')}."


class CutMeanwhile(Exception):
    """The segment was cut, or archived, during its proof. That is no fault: begin it again."""


class Proven(NamedTuple):
    """How much of a segment was proven; `bytes` are packed chunks, and texts of raw events."""

    events: int
    archived_events: int
    bytes: int
    witnesses: int


class SegmentProof:
    """Proves the segment `stored`, to the end that it had when `stored` was read.

    `witnesses` are update id and key of the market's witnesses, in order of update id. `take` is
    called with each proven chunk. Proofs of one market share `waiting`.
    """

    def __init__(
        self,
        store: ProvableSegments,
        stored: StoredSegment,
        witnesses: Sequence[tuple[int, str]],
        take: Callable[[DecodedChunk], Awaitable[None]],
        now_ns: Callable[[], int] = time.time_ns,
        waiting: WaitingLoose | None = None,
    ) -> None:
        self._now_ns = now_ns
        self._events = 0
        self._archived_events = 0
        self._compared_witnesses = 0
        self._store = store
        self._stored = stored
        self._pass_on = take
        self._reader = SegmentReader(store, stored, waiting)
        begin, end = stored.segment.snapshot_id, stored.segment.last_id
        first, behind = (
            bisect_left(witnesses, begin, key=itemgetter(0)),
            bisect_right(witnesses, end, key=itemgetter(0)),
        )
        self._witnesses = Upcoming(witnesses[first:behind], store.witnesses)
        self._checkpoints = Upcoming((), store.books)
        self._proven_id = begin
        self._first: DecodedChunk | None = None
        self._latest: DecodedChunk | None = None
        # The latest time so far, and how far times have gone back.
        self._latest_ms = self._back_ms = 0
        self._archive_end = begin
        # The answers that were joined to the book after the latest chunk.
        self._joined: list[DepthSnapshot] = []

    @property
    def proven(self) -> Proven:
        """What has been proven so far. Keep it instead of the proof, which holds whole books."""
        size = self._reader.archived_bytes + self._reader.raw_bytes
        return Proven(self._events, self._archived_events, size, self._compared_witnesses)

    async def prove(self, from_ms: int | None = None, to_ms: int | None = None) -> None:
        """Prove the segment, or the part from `from_ms` to `to_ms`. Raises `RecordingFault`.

        For a part it proves whole chunks, but not the fields about the whole segment. Also raises
        PyMongo's errors, and `CutMeanwhile`.
        """
        try:
            await self._prove(from_ms, to_ms)
        except KnownError as error:
            segment = self._stored.segment
            now = await self._store.segment(self._stored.id)
            if now is None or now.segment.snapshot_id != segment.snapshot_id:
                raise CutMeanwhile from error
            if isinstance(error, RecordingFault):
                raise
            reason = error.reason if isinstance(error, MissingEvents | WideEvents) else str(error)
            raise self._fault(reason, self._proven_id) from error

    async def _prove(self, from_ms: int | None, to_ms: int | None) -> None:
        self._check_document()
        base = await self._reader.base_book() if self._stored.has_base else None
        base_ms = 0 if base is None else base.event_ms
        self._checkpoints = Upcoming(await self._checkpoint_keys(), self._store.books)
        start_id = None
        if from_ms is not None and from_ms > self._stored.segment.first_event_ms:
            start_id, base = await self._reader.start_near(from_ms - 1), None
            self._skip_to(start_id)
        async with aclosing(self._reader.chunks(start_id)) as chunks:
            async for chunk in chunks:
                if chunk.header.start_id != self._proven_id:
                    raise CutMeanwhile
                await in_thread_if_long(len(chunk.quantities), self._examine, chunk, base)
                await self._compare_checkpoints(chunk)
                await self._compare_witnesses(chunk)
                self._take(chunk)
                await self._pass_on(chunk)
                if to_ms is not None and chunk.header.coverage.from_event_ms >= to_ms:
                    return
        if start_id is None:
            self._check_whole(base_ms)

    def _check_document(self) -> None:
        """Check that the fields of the segment's document don't contradict each other."""
        stored, segment = self._stored, self._stored.segment
        if not stored.intact:
            raise self._fault("the checksum of the segment does not match", None)
        in_order = segment.snapshot_id <= stored.archived_id <= segment.last_id
        if not in_order or not (stored.is_recorded or stored.is_imported):
            raise self._fault("the segment contradicts itself", None)
        if segment.event_count > segment.last_id - segment.snapshot_id:
            raise self._fault("it has more events than update ids", None)
        if segment.event_count:
            self._check_times(segment.first_event_ms, segment.last_event_ms)

    def _check_times(self, first_ms: int, last_ms: int) -> None:
        """Check that a segment's times are plausible, and not in the future."""
        for event_ms in (first_ms, last_ms):
            if event_ms < EARLIEST_MS:
                raise self._fault(f"the time {event_ms} ms is impossible", None)
            if event_ms > self._now_ns() // 1_000_000 + _AHEAD_AT_MOST_MS:
                raise self._fault(f"the time {event_ms} ms is in the future", None)
        if self._stored.back_ms is not None and last_ms < first_ms:
            raise self._fault("it ends before it begins", None)

    def _skip_to(self, start_id: int | None) -> None:
        if start_id is None:
            return
        self._proven_id = self._archive_end = start_id
        self._witnesses.skip_to(start_id)
        self._checkpoints.skip_to(start_id)

    def _examine(self, chunk: DecodedChunk, base: BookImage | None) -> None:
        """Raise `RecordingFault` if `chunk` has a fault; `base` is the book before the first."""
        expected = base if self._latest is None else self._expected_after(self._latest, chunk)
        for fault in verify_chunk(chunk, expected):
            raise self._fault(fault.reason, fault.update_id)
        if expected is not None and chunk.start_event_ms != expected.event_ms:
            reason = "the time of the book differs from the one before it"
            raise self._fault(reason, self._proven_id)

    def _expected_after(self, latest: DecodedChunk, chunk: DecodedChunk) -> BookImage:
        """Return the book after `latest`, known as deep as that of `chunk`, which follows.

        Only an answer of the exchange that was joined there lets it be known deeper.
        """
        if not is_deeper(chunk.horizon, latest.horizon):
            return latest.final_book()
        expected = joined_after(latest, self._joined)
        if is_deeper(chunk.horizon, expected.horizon):
            if self._reader.stored is not self._stored:
                # An answer was joined, and its chunk archived, after the events had been read raw.
                raise CutMeanwhile
            reason = "the book is known deeper than before, and no answer of the exchange says so"
            raise self._fault(reason, self._proven_id)
        return expected

    def _take(self, chunk: DecodedChunk) -> None:
        count = chunk.header.event_count
        self._proven_id = chunk.header.coverage.last_id
        self._take_times(chunk)
        self._first = self._first or chunk
        self._latest = chunk
        self._events += count
        if self._proven_id <= self._stored.archived_id:
            self._archived_events += count
            self._archive_end = self._proven_id

    def _take_times(self, chunk: DecodedChunk) -> None:
        if self._first is None:
            self._latest_ms = chunk.start_event_ms
        event_ms = chunk.numbers.event_ms
        latest_ms = np.maximum(np.maximum.accumulate(event_ms), self._latest_ms)
        self._back_ms = max(self._back_ms, int((latest_ms - event_ms).max()))
        if self._latest_ms and self._back_ms > _DAY_MS:
            last_id = chunk.header.coverage.last_id
            raise self._fault("its times go back by more than a day", last_id)
        self._latest_ms = int(latest_ms[-1])

    async def _checkpoint_keys(self) -> list[tuple[int, str]]:
        begin, end = self._stored.segment.snapshot_id, self._stored.segment.last_id
        keys: list[tuple[int, str]] = []
        for update_id, key in await self._store.book_keys(self._stored.id):
            if not isinstance(update_id, int) or not isinstance(key, str):
                raise self._fault(f"the checkpoint {key} is damaged", None)
            if key != book_key(self._stored.id, update_id):
                raise self._fault(f"the checkpoint {key} is damaged", None)
            # The recorder may have stored a checkpoint beyond the end that is proven.
            if begin <= update_id <= end:
                keys.append((update_id, key))
        return sorted(keys)

    async def _compare_checkpoints(self, chunk: DecodedChunk) -> None:
        # The recorder removes checkpoints that it has replaced.
        while due := await self._checkpoints.through(chunk.header.coverage.last_id):
            for update_id, _, book in due:
                levels = len(chunk.quantities) + levels_in(book)
                await in_thread_if_long(levels, self._compare_checkpoint, chunk, update_id, book)

    def _compare_checkpoint(self, chunk: DecodedChunk, update_id: int, book: StoredBook) -> None:
        is_base = self._stored.has_base and update_id == self._stored.segment.snapshot_id
        if not book.is_as_written or book.is_base is not is_base:
            raise self._fault("a checkpoint is damaged", update_id)
        stored, index = book.unpack(), _index_of(chunk, update_id)
        if index is None:
            raise self._fault("a checkpoint lies inside an event", update_id)
        known = chunk.book_after(index)
        if not agree(known, stored) or known.event_ms != stored.event_ms:
            raise self._fault("a checkpoint differs from the book", update_id)

    async def _compare_witnesses(self, chunk: DecodedChunk) -> None:
        self._joined = []
        while due := await self._witnesses.through(chunk.header.coverage.last_id):
            for update_id, key, witness in due:
                levels = len(chunk.quantities) + levels_in(witness)
                await in_thread_if_long(
                    levels, self._compare_witness, chunk, update_id, key, witness
                )
                self._compared_witnesses += 1

    def _compare_witness(
        self, chunk: DecodedChunk, update_id: int, key: str, stored: StoredWitness
    ) -> None:
        witness = stored.unpack()
        expected_key = f"{witness.snapshot.market}:{witness.snapshot.last_update_id}"
        if key != expected_key or witness.snapshot.market != chunk.header.market:
            raise self._fault("a snapshot of the exchange is damaged", update_id)
        if chunk.horizon is not None:
            witness = replace(witness, horizon=chunk.horizon)
        elif witness.segment_id != self._stored.id:
            # It is another recorder's, whose book may have begun with another snapshot.
            witness = replace(witness, horizon=None)
        if witness.joined_id == chunk.header.coverage.last_id:
            self._joined.append(witness.snapshot)
        index = _index_of(chunk, update_id)
        touched: tuple[list[int], list[int]] = ([], [])
        if index is None:
            # It lies inside an event: the prices of the event may have changed before or after.
            inside = int(chunk.numbers.final_ids.searchsorted(update_id))
            index, touched = inside - 1, _touched(chunk, inside)
        for difference in contradictions(witness, chunk.book_after(index), *touched):
            reason = f"the book differs from the exchange's snapshot: {difference}"
            raise self._fault(reason, update_id)

    def _check_whole(self, base_ms: int) -> None:
        """Check the fields of the segment's document about its events, all of which were read."""
        stored, segment = self._stored, self._stored.segment
        if self._proven_id != segment.last_id:
            raise self._fault("the events end elsewhere than the segment says", self._proven_id)
        if self._events != segment.event_count:
            reason = (
                f"the segment has {counted(self._events, 'event')} and says {segment.event_count:,}"
            )
            raise self._fault(reason, None)
        if self._first is not None and self._latest is not None:
            self._check_ends(self._first, self._latest, base_ms)
        elif stored.has_base and (segment.first_event_ms, segment.last_event_ms) != (base_ms,) * 2:
            raise self._fault("a segment without events contradicts itself", None)
        if self._reader.stored is not stored:
            # It was archived further meanwhile, so the counts of what was read fit neither state.
            return
        archive = (stored.archived_id, stored.archived_events, stored.archived_bytes)
        if archive != (self._archive_end, self._archived_events, self._reader.archived_bytes):
            raise self._fault("the archive is not as long as the segment says", self._archive_end)

    def _check_ends(self, first: DecodedChunk, latest: DecodedChunk, base_ms: int) -> None:
        segment, coverage = self._stored.segment, first.header.coverage
        first_ids = {int(first.numbers.first_ids[0])}
        begins = {base_ms or int(first.numbers.event_ms[0])}
        if not self._stored.has_base:
            # It was cut or imported, so it begins with the first chunk, whose header has the time.
            first_ids.add(coverage.first_id)
            begins = {first.start_event_ms, in_ms(coverage.from_event_ms), *begins}
        is_begin_right = segment.first_id in first_ids and segment.first_event_ms in begins
        if not is_begin_right or not self._are_times_right(int(latest.numbers.event_ms[-1])):
            raise self._fault("its first or last event is not as the segment says", None)

    def _are_times_right(self, last_ms: int) -> bool:
        """Whether the segment's latest time and `back_ms` are those of its events."""
        stored, stored_ms = self._stored, self._stored.segment.last_event_ms
        if stored.back_ms is None:
            # An earlier version stored the last event's time.
            return stored_ms == last_ms
        if stored.cut_events and stored.back_ms:
            # The events that were cut may have been later than all others.
            return stored_ms >= self._latest_ms and stored.back_ms >= self._back_ms
        return (stored_ms, stored.back_ms) == (self._latest_ms, self._back_ms)

    def _fault(self, reason: str, update_id: int | None) -> RecordingFault:
        market = self._stored.segment.market
        return RecordingFault(market, reason, segment_id=self._stored.id, update_id=update_id)


def _index_of(chunk: DecodedChunk, update_id: int) -> int | None:
    """Return the index of the event with the final id `update_id`; None if there is none."""
    if update_id == chunk.header.start_id:
        return -1
    index = int(chunk.numbers.final_ids.searchsorted(update_id))
    return index if chunk.numbers.final_ids[index] == update_id else None


def _touched(chunk: DecodedChunk, index: int) -> tuple[list[int], list[int]]:
    """Return the prices of bids, and of asks, that the event at `index` changes."""
    changes = chunk.changes
    of_event = changes.events == index
    prices, asks = changes.prices[of_event], changes.asks[of_event]
    return prices[~asks].tolist(), prices[asks].tolist()
