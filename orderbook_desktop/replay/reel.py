"""Random access to a recorded market: reads pieces, and keeps those that were used last."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from orderbook_desktop.core.archive.decoded import DecodedChunk
from orderbook_desktop.core.archive.verify import first_crossing
from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.timeline import Cover, Timeline
from orderbook_desktop.replay.pieces import Piece, Run, Spot, runs_of
from orderbook_desktop.storage.reading.recording import Recording, read_timeline
from orderbook_desktop.storage.reading.segment_reader import (
    MissingEvents,
    ReadingPlace,
    SegmentReader,
)
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.store.segment_documents import StoredSegment

# Decoded chunks that are kept, in bytes of their arrays.
_KEPT_BYTES: Final = 128 << 20
# Events are due within a minute of their own times.
_NEAR_MS: Final = 120_000


class Reel:
    """The recording of `market` in `store`, piece by piece. Its methods are not for two tasks.

    All methods that read raise what reading a recording raises. Call `refresh` first, and `close`
    at the end.
    """

    def __init__(self, store: RecordingStore, market: str, kept_bytes: int = _KEPT_BYTES) -> None:
        self._store = store
        self._market = market
        self._recording = Recording(store, market)
        self._kept_bytes = kept_bytes
        self._segments: dict[str, StoredSegment] = {}
        self.timeline = Timeline((), ())
        self.runs: Sequence[Run] = ()
        # Pieces by the id before them, those that were used last at the end.
        self._pieces: OrderedDict[int, Piece] = OrderedDict()
        self._by_end: dict[int, int] = {}
        self._bytes = 0
        # What is being read on, and the last id that it gave.
        self._stream: AsyncGenerator[Piece] | None = None
        self._stream_at = 0
        self._looks_back = False

    @property
    def is_growing(self) -> bool:
        """Whether the last run goes on."""
        return any(stored.is_growing for stored in self._segments.values())

    async def refresh(self) -> bool:
        """Learn what is recorded now; return whether that changed."""
        segments = await self._recording.segments()
        timeline = await read_timeline(self._store, self._market, segments)
        changed = timeline != self.timeline
        self._segments = {stored.id: stored for stored in segments}
        if changed:
            self.timeline, self.runs = timeline, await asyncio.to_thread(runs_of, timeline)
            self._forget_cut()
        return changed

    async def close(self) -> None:
        """Stop reading."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    # What is in memory.

    def run_of(self, piece: Piece) -> Run | None:
        """Return the run of a piece; None if it was removed."""
        index = bisect_left(self.runs, piece.last_id, key=lambda run: run.last_id)
        if index == len(self.runs) or self.runs[index].first_id > piece.last_id:
            return None
        return self.runs[index]

    def neighbour(self, run: Run, *, back: bool) -> Run | None:
        """Return the run after, or before `run`."""
        index = bisect_right(self.runs, run.first_id, key=lambda one: one.first_id)
        index -= 2 if back else 0
        return self.runs[index] if 0 <= index < len(self.runs) else None

    def ends_run(self, piece: Piece) -> bool:
        """Return whether nothing is recorded of the run behind a piece, as far as is known."""
        run = self.run_of(piece)
        return run is None or piece.last_id >= run.last_id

    def known_after(self, piece: Piece) -> Piece | None:
        """Return the piece that goes on with the run, if it is in memory."""
        following = self._pieces.get(piece.last_id)
        return following if following is not None and not following.opens else None

    def last_known(self, piece: Piece) -> Piece:
        """Return the last piece of the run up to which all is in memory from `piece` on."""
        while (following := self.known_after(piece)) is not None:
            piece = following
        return piece

    def known_before(self, piece: Piece) -> Piece | None:
        """Return the piece before, if it is of the run and in memory."""
        key = None if piece.opens else self._by_end.get(piece.after_id)
        return None if key is None else self._pieces.get(key)

    def known_at(self, piece: Piece, at_ns: int, order: ReplayOrder) -> Spot | None:
        """Return where the clock is at a time in the run of `piece`, as far as it is in memory."""
        found: Piece | None = piece
        while found is not None and at_ns < found.first_due(order):
            found = self.known_before(found)
        while found is not None and at_ns >= found.last_due(order):
            following = self.known_after(found)
            if following is not None and at_ns < following.first_due(order):
                break
            found = following
        if found is None or at_ns < found.first_due(order):
            return None
        return Spot(found, found.place_at(at_ns, order), at_ns)

    # What has to be read.

    async def after(self, piece: Piece) -> Piece | None:
        """Return the piece that goes on with the run; None if nothing does, as far as is known."""
        following = self.known_after(piece)
        if following is not None:
            self._pieces.move_to_end(following.after_id)
            return following
        if self.ends_run(piece):
            return None
        following = None
        if self._stream is not None and self._stream_at == piece.last_id:
            # It ends where the run ended when it began, though the run has grown since.
            following = await anext(self._stream, None)
        if following is None:
            await self.close()
            self._stream = self._from(piece)
            following = await anext(self._stream, None)
        if following is None:
            await self.close()
        else:
            self._stream_at = following.last_id
        return following

    async def before(self, piece: Piece) -> Piece | None:
        """Return the piece before; None if `piece` opens its run."""
        known = self.known_before(piece)
        if known is not None or piece.opens:
            return known
        run = self.run_of(piece)
        if run is None:
            return None
        cover = next((one for one in run.covers if one.last_id >= piece.after_id), piece.cover)
        before = await self._ending_at(cover, piece.after_id, piece.event_ms_at(piece.begin - 1))
        if before.after_id >= piece.after_id:
            # It was cut just now.
            raise MissingEvents(self._market, before.after_id, "the beginning of the recording")
        return before

    async def first_of(self, run: Run) -> Piece:
        """Return the piece that opens a run."""
        known = self._pieces.get(run.first_id)
        if known is not None and known.opens:
            return known
        async with aclosing(self._beginning(run.covers[0])) as pieces:
            async for piece in pieces:
                return piece
        raise BugError(f"the run from update id {run.first_id} has no events")

    async def last_of(self, run: Run) -> Piece:
        """Return the last piece of a run."""
        cover = run.covers[-1]
        return await self._ending_at(cover, cover.last_id, cover.to_ms)

    async def near(self, at_ns: int) -> Piece:
        """Return a piece of about a time, by the exchange's times."""
        event_ms = at_ns // NS_A_MS
        covers = self.timeline.covers
        cover = covers[max(bisect_right(covers, event_ms, key=lambda one: one.from_ms) - 1, 0)]
        for piece in self._pieces.values():
            if piece.cover.segment_id == cover.segment_id and (
                piece.latest_ms[0] <= event_ms <= piece.latest_ms[-1]
            ):
                self._pieces.move_to_end(piece.after_id)
                return piece
        latest: Piece | None = None
        async with aclosing(self._near(cover, min(event_ms, cover.to_ms))) as pieces:
            async for piece in pieces:
                if latest is not None and piece.latest_ms[0] > event_ms:
                    break
                latest = piece
                if piece.latest_ms[-1] >= event_ms:
                    break
        if latest is None:
            raise BugError(f"segment {cover.segment_id} covers a time without events")
        return latest

    async def locate(self, at_ns: int, order: ReplayOrder) -> Spot | None:
        """Return where the clock is at a time, in an order; None if nothing is recorded.

        Before the first moment that is the first, and behind the last one the last.
        """
        if not self.timeline.covers:
            return None
        piece = await self.near(at_ns)
        while True:
            if at_ns < piece.first_due(order):
                found = await self._before(piece, at_ns, order)
            elif at_ns >= piece.last_due(order):
                # The next piece may begin at the same time.
                found = await self._behind(piece, at_ns, order)
            else:
                found = Spot(piece, piece.place_at(at_ns, order), at_ns)
            if isinstance(found, Spot):
                return found
            piece = found

    async def _before(self, piece: Piece, at_ns: int, order: ReplayOrder) -> Spot | Piece:
        """Return where the clock is at a time before a piece, or a piece that is nearer to it."""
        before = await self.before(piece)
        if before is None:
            before = await self._over_gap(piece, back=True)
            if before is None:
                return Spot(piece, piece.first, piece.first_due(order))
            if before.last_due(order) < at_ns:
                return Spot(before, before.last, at_ns, in_gap=True)
        if before.last_due(order) <= at_ns:
            return Spot(before, before.last, at_ns)
        return before

    async def _behind(self, piece: Piece, at_ns: int, order: ReplayOrder) -> Spot | Piece:
        """Return where the clock is at a time behind a piece, or a piece that is nearer to it."""
        following = await self.after(piece)
        if following is not None:
            is_between = at_ns < following.first_due(order)
            return Spot(piece, piece.last, at_ns) if is_between else following
        if at_ns == piece.last_due(order):
            return Spot(piece, piece.last, at_ns)
        following = await self._over_gap(piece, back=False)
        if following is None:
            return self._end(piece, at_ns, order)
        if at_ns < following.first_due(order):
            return Spot(piece, piece.last, at_ns, in_gap=True)
        return following

    async def with_id(self, update_id: int) -> tuple[Piece, int] | None:
        """Return the place of the event that has an update id; None if it is in no run."""
        index = bisect_right(self.runs, update_id, key=lambda run: run.first_id) - 1
        if index < 0 or update_id > self.runs[index].last_id:
            return None
        run = self.runs[index]
        if update_id == run.first_id:
            piece = await self.first_of(run)
            return piece, piece.first
        cover = next(one for one in run.covers if update_id <= one.last_id)
        piece = await self._around(cover, update_id)
        return piece, piece.place_of(update_id)

    async def _around(self, cover: Cover, update_id: int) -> Piece:
        """Return the piece of a cover that has the event with an update id, by halving its time."""
        low_ms, high_ms = cover.from_ms, cover.to_ms
        low_id, high_id = cover.after_id, cover.last_id
        piece: Piece | None = None
        while piece is None or not piece.after_id < update_id <= piece.last_id:
            share = (update_id - low_id) / max(high_id - low_id, 1)
            guess_ms = low_ms + int((high_ms - low_ms) * min(max(share, 0.0), 1.0))
            piece = await self.near(guess_ms * NS_A_MS)
            if piece.after_id < cover.after_id or piece.last_id > cover.last_id:
                break
            if update_id > piece.last_id:
                if piece.latest_ms[-1] <= low_ms:
                    break
                low_ms, low_id = int(piece.latest_ms[-1]), piece.last_id
            elif update_id <= piece.after_id:
                if piece.latest_ms[0] >= high_ms:
                    break
                high_ms, high_id = int(piece.latest_ms[0]), piece.after_id
        while update_id > piece.last_id:
            following = await self.after(piece)
            if following is None:
                break
            piece = following
        while update_id <= piece.after_id:
            before = await self.before(piece)
            if before is None:
                break
            piece = before
        return piece

    def _end(self, piece: Piece, at_ns: int, order: ReplayOrder) -> Spot:
        """Return where the clock is at a time behind all runs."""
        run = self.run_of(piece)
        gap = None if run is None else run.gap_after
        if gap is not None and at_ns <= gap.to_ms * NS_A_MS:
            return Spot(piece, piece.last, at_ns, in_gap=True)
        return Spot(piece, piece.last, piece.last_due(order))

    async def _over_gap(self, piece: Piece, *, back: bool) -> Piece | None:
        """Return the first piece of the next run, or the last of the one before."""
        run = self.run_of(piece)
        other = None if run is None else self.neighbour(run, back=back)
        if other is None:
            return None
        return await (self.last_of(other) if back else self.first_of(other))

    async def _near(self, cover: Cover, event_ms: int) -> AsyncGenerator[Piece]:
        """Iterate over the pieces of a cover from one that begins at a time, or before."""
        stored = self._segments[cover.segment_id]
        start_id = await SegmentReader(self._store, stored).start_near(event_ms)
        if start_id is None or start_id < cover.after_id:
            pieces = self._beginning(cover)
        else:
            pieces = self._read(cover, ReadingPlace(start_id))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _beginning(self, cover: Cover) -> AsyncGenerator[Piece]:
        """Iterate over the pieces of a cover."""
        stored = self._segments[cover.segment_id]
        start_id: int | None = stored.segment.snapshot_id
        if cover.after_id > stored.segment.snapshot_id:
            near = await SegmentReader(self._store, stored).start_near(cover.from_ms)
            # Where times go back, the chunk of this id may lie further back.
            start_id = near if near is not None and near <= cover.after_id else start_id
        async with aclosing(self._read(cover, ReadingPlace(start_id or 0))) as pieces:
            async for piece in pieces:
                yield piece

    async def _from(self, piece: Piece) -> AsyncGenerator[Piece]:
        """Iterate over the pieces behind `piece`, to the end of its run."""
        run = self.run_of(piece)
        covers = () if run is None else run.covers
        for cover in covers:
            if cover.last_id <= piece.last_id:
                continue
            if cover.segment_id == piece.cover.segment_id:
                place = ReadingPlace(piece.last_id, piece.link, piece.chunk)
                pieces = self._read(cover, place)
            else:
                pieces = self._beginning(cover)
            async with aclosing(pieces):
                async for following in pieces:
                    yield following
                    piece = following

    async def _ending_at(self, cover: Cover, last_id: int, event_ms: int) -> Piece:
        """Return the piece of a cover that ends at an id, or amid which that is."""
        key = self._by_end.get(last_id)
        if key is not None and key in self._pieces:
            return self._pieces[key]
        stored = self._segments[cover.segment_id]
        span = None
        if last_id <= stored.archived_id:
            span = await self._store.chunk_span_ending_at(stored.id, last_id)
        if span is not None and span.start_id >= cover.after_id:
            pieces = self._read(cover, ReadingPlace(span.start_id))
        else:
            pieces = self._near(cover, event_ms)
        latest: Piece | None = None
        async with aclosing(pieces):
            async for piece in pieces:
                latest = piece
                if piece.last_id >= last_id:
                    break
        if latest is None:
            raise BugError(f"segment {cover.segment_id} has no event up to {last_id}")
        return latest

    async def _read(self, cover: Cover, place: ReadingPlace) -> AsyncGenerator[Piece]:
        """Iterate over the pieces of a cover from a place on, and keep them in memory."""
        stored = self._segments[cover.segment_id]
        async with aclosing(self._recording.chunks(stored, place)) as chunks:
            async for chunk in chunks:
                begin, end = (
                    int(chunk.numbers.final_ids.searchsorted(update_id, side="right"))
                    for update_id in (cover.after_id, cover.last_id)
                )
                if begin < end:
                    yield await self._piece(cover, chunk, begin, end, place.link)
                if end < chunk.header.event_count:
                    return

    async def _piece(
        self, cover: Cover, chunk: DecodedChunk, begin: int, end: int, link: int
    ) -> Piece:
        start_id = chunk.header.start_id or 0
        after_id = start_id if begin == 0 else int(chunk.numbers.final_ids[begin - 1])
        known = self._pieces.get(after_id)
        if known is not None and known.last_id >= int(chunk.numbers.final_ids[end - 1]):
            self._pieces.move_to_end(after_id)
            return known
        is_first = after_id <= cover.after_id
        opens = is_first and not cover.continues
        before = self._pieces.get(self._by_end.get(after_id, -1))
        if is_first and (opens or before is None):
            before = await self._at_seam(cover)
        floor = 0, 0
        if before is not None:
            floor = before.last_due(ReplayOrder.RECEIVED), before.last_due(ReplayOrder.EXCHANGE)
        crossed_at = await asyncio.to_thread(first_crossing, chunk)
        piece = Piece(cover, chunk, begin, end, opens, floor, link, crossed_at)
        self._keep(piece)
        return piece

    async def _at_seam(self, cover: Cover) -> Piece | None:
        """Return the last piece before a cover, where another clock may have made its times.

        None: there is none, or it is so long before that no event of it is due later.
        """
        covers = self.timeline.covers
        index = bisect_right(covers, cover.after_id, key=lambda one: one.after_id) - 2
        if index < 0 or self._looks_back or cover.from_ms - covers[index].to_ms > _NEAR_MS:
            return None
        # What lies before the cover before has no bearing on this one.
        self._looks_back = True
        try:
            return await self._ending_at(covers[index], covers[index].last_id, covers[index].to_ms)
        finally:
            self._looks_back = False

    def _forget_cut(self) -> None:
        """Forget the pieces with which runs begin since what came before them was cut."""
        for run in self.runs:
            piece = self._pieces.get(run.first_id)
            if piece is not None and not piece.opens:
                self._forget(run.first_id)

    def _forget(self, after_id: int) -> None:
        piece = self._pieces.pop(after_id, None)
        if piece is not None:
            self._bytes -= piece.size
            if self._by_end.get(piece.last_id) == after_id:
                del self._by_end[piece.last_id]

    def _keep(self, piece: Piece) -> None:
        self._forget(piece.after_id)
        self._pieces[piece.after_id] = piece
        self._by_end[piece.last_id] = piece.after_id
        self._bytes += piece.size
        while self._bytes > self._kept_bytes and len(self._pieces) > 2:
            self._forget(next(iter(self._pieces)))
