"""Removes a span of a recording, or an import, on a person's request. A kill does no harm.

Whole archived minutes are removed: each that has an event in the span. Where a part of a segment
after the span stays, it is first written as a segment of its own, which begins as one does that
retention has cut; only then does the first segment end before the span. So a kill leaves the rest
twice at worst, and the same request goes on with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.disk import USUAL_BYTES_A_TRADE
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.trade_coverage import TradeOrigin, TradeRun
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.reading.segment_reader import times_of
from orderbook_desktop.storage.retention.trade_removal import (
    REMOVED,
    TradeRemoval,
    find_trades,
    remove_trades,
)
from orderbook_desktop.storage.store.bookmarks import DatabaseBookmarks
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.cuts import (
    ChainLink,
    CutSegment,
    SegmentCutter,
    cuttable_segments,
)
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import (
    ImportedSegment,
    ImportJournal,
    settle_imports,
)
from orderbook_desktop.storage.store.packing import pack_chunk
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.storage.store.segments import has_segment
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades

_CHUNKS_A_CUT: Final = 100
# So much of a given id, and so many imports, are named in a sentence.
_ID_LENGTH: Final = 40
_NAMED_AT_MOST: Final = 5


class StillRecorded(DatabaseError):
    """A part of `market` in the span is being recorded, or is not archived yet."""

    market: str

    def __str__(self) -> str:
        return (
            f"Nothing was removed: a part of {self.market} in that time is being recorded, or not "
            "archived yet; choose an earlier --to, or try again some minutes after the recording "
            "has ended, while `record` or the window is open."
        )


class NoSuchImport(DatabaseError):
    """`market` has no import whose id begins with `given`."""

    market: str
    given: str

    def __str__(self) -> str:
        return (
            f"Nothing was removed: {self.market} has no import whose id begins with "
            f"{plain_text(self.given, _ID_LENGTH)}; `orderbook-desktop recordings --json` lists "
            "the ids."
        )


class AmbiguousImport(DatabaseError):
    """The ids of several imports of `market` begin with `given`: those of `found`."""

    market: str
    given: str
    found: Sequence[StoredSegment | TradeRun]

    def __str__(self) -> str:
        named = [_named_import(stored) for stored in self.found[:_NAMED_AT_MOST]]
        more = len(self.found) - len(named)
        if more:
            named.append(f"{more:,} more")
        return (
            f"Nothing was removed: {counted(len(self.found), 'import')} of {self.market} have ids "
            f"that begin with {plain_text(self.given, _ID_LENGTH)}: {'; '.join(named)}. Give more "
            "of the id."
        )


def _named_import(stored: StoredSegment | TradeRun) -> str:
    from_ms, _ = _order_of(stored)
    if isinstance(stored, TradeRun):
        what, to_ms = counted(stored.count, "trade"), stored.to_ms
    else:
        what = counted(stored.segment.event_count, "event")
        to_ms = stored.segment.last_event_ms
    return f"{stored.id} ({what}, {time_text(from_ms)} to {time_text(to_ms)})"


def _order_of(stored: StoredSegment | TradeRun) -> tuple[int, str]:
    """Return from when on an import has something, and its id."""
    if isinstance(stored, TradeRun):
        return stored.from_ms, stored.id
    return stored.segment.first_event_ms, stored.id


class Span(Struct, frozen=True):
    """What is to be removed of `market`: events from `from_ms` to before `to_ms` (None: no limit).

    If `import_id` is not empty, only of the imported segment whose id begins with it.
    """

    market: str
    from_ms: int | None = None
    to_ms: int | None = None
    import_id: str = ""

    @property
    def is_all(self) -> bool:
        """Whether all of the market is meant."""
        return self.is_untimed and not self.import_id

    @property
    def is_untimed(self) -> bool:
        """Whether no times are given."""
        return self.from_ms is None and self.to_ms is None

    def meets(self, from_ms: int, to_ms: int) -> bool:
        """Return whether something from `from_ms` through `to_ms` is in the span."""
        ends = self.from_ms is None or to_ms >= self.from_ms
        return ends and (self.to_ms is None or from_ms < self.to_ms)


class Part(Struct, frozen=True):
    """The chunks `begin`..`end - 1` of a segment's `links`: these are to be removed."""

    segment: CutSegment
    links: Sequence[ChainLink]
    begin: int
    end: int

    @property
    def gone(self) -> Sequence[ChainLink]:
        """The chunks to be removed."""
        return self.links[self.begin : self.end]


class Removal(Struct, frozen=True):
    """What a request removes: parts of segments, whole runs without a book, and trades.

    With the last of a market's recording its `bookmarks` go, so many of them.
    """

    parts: Sequence[Part]
    trades: TradeRemoval = TradeRemoval()
    bookmarks: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing goes."""
        return not self.parts and not self.trades.runs

    @property
    def events(self) -> int:
        """How many events go, those without a book included."""
        return sum(link.events for part in self.parts for link in part.gone)

    @property
    def imports(self) -> list[str]:
        """The ids of the imports of which something goes, in order of their times."""
        stored = [part.segment.stored for part in self.parts if part.segment.stored.is_imported]
        runs = [one.run for one in self.trades.runs if one.run.origin is TradeOrigin.IMPORT]
        imports: list[StoredSegment | TradeRun] = [*stored, *runs]
        return [one.id for one in sorted(imports, key=_order_of)]

    @property
    def with_book(self) -> int:
        """How many of the parts are of segments with a book."""
        return sum(part.segment.stored.has_book for part in self.parts)

    @property
    def span_ms(self) -> tuple[int, int] | None:
        """The first and the last time of what goes; None if nothing does."""
        times = [(link.from_ms, link.to_ms) for part in self.parts for link in part.gone]
        if self.trades.span_ms is not None:
            times.append(self.trades.span_ms)
        if not times:
            return None
        return min(begin for begin, _ in times), max(end for _, end in times)

    @property
    def stored_bytes(self) -> int:
        """About how many bytes what goes takes."""
        events = sum(link.bytes for part in self.parts for link in part.gone)
        return events + round(self.trades.trades * USUAL_BYTES_A_TRADE)

    def text(self, symbol: str) -> str:
        """What goes, in words; without a stop."""
        what = counted(self.events, "event")
        if self.trades.runs:
            trades = counted(self.trades.trades, "trade")
            what = f"{what} and {trades}" if self.parts else trades
        marks = f", with {counted(self.bookmarks, 'bookmark')}" if self.bookmarks else ""
        if self.span_ms is None:
            return f"{what} of {symbol}{marks}"
        begin, end = self.span_ms
        return f"{what} of {symbol}, from {time_text(begin)} to {time_text(end)}{marks}"


async def find_removal(database: Database, span: Span) -> Removal:
    """Return what `span` removes.

    Raises `StillRecorded`, `NoSuchImport`, `AmbiguousImport`, and PyMongo's errors.
    """
    found = await cuttable_segments(database)
    mine = [segment for segment in found if segment.stored.segment.market == span.market]
    run_id: str | None = None
    if span.import_id:
        meant = await _meant(database, mine, span)
        mine = [segment for segment in mine if segment.stored is meant]
        run_id = meant.id
    trades = await find_trades(database, span.market, span.from_ms, span.to_ms, run_id)
    if not trades.is_settled:
        raise StillRecorded(span.market)
    removal = Removal(await _parts(database, mine, span), trades)
    return replace(removal, bookmarks=await _bookmarks(database, found, removal, span.market))


async def _bookmarks(
    database: Database, found: Iterable[CutSegment], removal: Removal, market: str
) -> int:
    """Return how many bookmarks go: all of `market` if nothing else of it is left, else none."""
    removed = {
        part.segment.stored.id
        for part in removal.parts
        if part.begin == 0 and part.end == len(part.links)
    }
    if any(one.stored.segment.market == market and one.stored.id not in removed for one in found):
        return 0
    first_id, last_id = removal.trades.first_id, removal.trades.last_id
    for run in await DatabaseTrades(database).runs(market):
        if run.count and not first_id <= run.first_id <= run.last_id <= last_id:
            return 0
    return await DatabaseBookmarks(database).count(market)


async def _parts(database: Database, segments: Iterable[CutSegment], span: Span) -> list[Part]:
    """Return what `span` removes of `segments`. Raises `StillRecorded`."""
    cutter, parts = SegmentCutter(database), list[Part]()
    for segment in segments:
        stored = segment.stored
        reaches_ms = stored.segment.last_event_ms
        is_met = span.meets(stored.segment.first_event_ms, reaches_ms)
        if not stored.has_book and not (segment.is_settled and _is_within(span, stored)):
            # It can only be removed as a whole.
            continue
        if not segment.is_settled:
            if is_met or (stored.running and span.to_ms is None):
                raise StillRecorded(span.market)
            continue
        links = await cutter.links(segment)
        met = [at for at, link in enumerate(links) if span.meets(link.from_ms, link.to_ms)]
        if met or (is_met and not links):
            parts.append(Part(segment, links, met[0] if met else 0, met[-1] + 1 if met else 0))
    return parts


async def _meant(
    database: Database, segments: Iterable[CutSegment], span: Span
) -> StoredSegment | TradeRun:
    """Return the import that `span` means. Raises `NoSuchImport` and `AmbiguousImport`."""
    runs = await DatabaseTrades(database).runs(span.market)
    imports: list[StoredSegment | TradeRun] = [
        *(segment.stored for segment in segments if segment.stored.is_imported),
        *(run for run in runs if run.origin is TradeOrigin.IMPORT and run.count),
    ]
    found = {one.id: one for one in imports if one.id.startswith(span.import_id)}
    if span.import_id in found:
        return found[span.import_id]
    if not found:
        raise NoSuchImport(span.market, span.import_id)
    if len(found) > 1:
        raise AmbiguousImport(span.market, span.import_id, sorted(found.values(), key=_order_of))
    return next(iter(found.values()))


def _is_within(span: Span, stored: StoredSegment) -> bool:
    """Whether a segment lies in the span entirely."""
    segment = stored.segment
    begins = span.from_ms is None or segment.first_event_ms >= span.from_ms
    return begins and (span.to_ms is None or segment.last_event_ms < span.to_ms)


def _ignore(_done: int, _total: int) -> None:
    pass


async def remove(
    database: Database, span: Span, progress: Callable[[int, int], None] = _ignore
) -> Removal:
    """Remove `span`; return what went. Raises as `find_removal`, and `ImportBusy`.

    `progress` is called with how many parts of the recording are removed, and how many there are.
    """
    await settle_imports(database, set())
    removal = await find_removal(database, span)
    if removal.trades.runs and not await remove_trades(database, span.market, removal.trades):
        raise StillRecorded(span.market)
    standing = await _Standing.of(database, span.market)
    for done, part in enumerate(removal.parts):
        progress(done, len(removal.parts))
        await _remove_part(database, part, standing)
    if not await _has_any(database, span.market):
        await DatabaseBookmarks(database).drop(span.market)
    return removal


async def _has_any(database: Database, market: str) -> bool:
    """Whether anything of `market` is still stored: else its bookmarks go, too."""
    if await has_segment(database, market):
        return True
    return bool(await DatabaseTrades(database).runs(market))


class _Standing:
    """The segments of a market, kept up to date while parts of them are removed.

    Reading all of them again for each part would take long for thousands of parts.
    """

    def __init__(self, database: Database, segments: Iterable[CutSegment]) -> None:
        self._database = database
        self._by_id = {segment.stored.id: segment for segment in segments}
        self._ends = sorted(map(_end_of, self._by_id.values()))

    @classmethod
    async def of(cls, database: Database, market: str) -> Self:
        """Read the segments of `market`. Raises PyMongo's errors."""
        found = await cuttable_segments(database)
        mine = (
            segment
            for segment in found
            if segment.stored.segment.market == market and segment.stored.has_book
        )
        return cls(database, mine)

    async def look_again(self, *keys: str) -> None:
        """Read these segments again: they were changed. Raises PyMongo's errors."""
        for key in keys:
            before = self._by_id.pop(key, None)
            if before is not None:
                self._ends.remove(_end_of(before))
            for now in await cuttable_segments(self._database, key):
                self._by_id[key] = now
                insort(self._ends, _end_of(now))

    def before(self, removed: StoredSegment) -> CutSegment | None:
        """Return the settled segment that ends last before `removed` begins."""
        begin = bisect_right(self._ends, removed.segment.snapshot_id, key=itemgetter(0))
        for _, key in reversed(self._ends[:begin]):
            if key != removed.id and self._by_id[key].is_settled:
                return self._by_id[key]
        return None


def _end_of(segment: CutSegment) -> tuple[int, str]:
    return segment.stored.segment.last_id, segment.stored.id


async def _remove_part(database: Database, part: Part, standing: _Standing) -> None:
    segment, cutter = part.segment, SegmentCutter(database)
    key = segment.stored.id
    if part.begin == 0 and segment.stored.has_book:
        await _name_cause(cutter, segment.stored, standing)
    if part.begin == 0 and part.end == len(part.links):
        for now in await cuttable_segments(database, key):
            await cutter.drop(now)
    elif part.begin == 0:
        until_id = part.links[part.end].start_id
        await cutter.finish(segment)
        while not (
            await cutter.cut(
                segment, lambda link: link.last_id <= until_id, _CHUNKS_A_CUT, whole=False
            )
        ).is_last:
            pass
    else:
        if part.end < len(part.links):
            await standing.look_again(await _write_rest(database, part))
        await cutter.shorten(segment, await _shorter(database, part))
    await standing.look_again(key)


async def _name_cause(cutter: SegmentCutter, removed: StoredSegment, standing: _Standing) -> None:
    """Say at the end of the segment before `removed` why a gap follows it."""
    last = standing.before(removed)
    if last is not None:
        await cutter.shorten(last, _ended(last.stored))
        await standing.look_again(last.stored.id)


def _ended(stored: StoredSegment) -> StoredSegment:
    segment = replace(stored.segment, end_cause=GapCause.USER, end_detail=REMOVED)
    return replace(stored, segment=segment)


async def _shorter(database: Database, part: Part) -> StoredSegment:
    """Return the segment as it is without all from the removed chunks on."""
    stored, kept = part.segment.stored, part.links[: part.begin]
    events, last_id = sum(link.events for link in kept), kept[-1].last_id
    segment = replace(stored.segment, last_id=last_id, event_count=events)
    shorter = replace(
        stored,
        segment=segment,
        archived_id=last_id,
        archived_events=events,
        archived_bytes=sum(link.bytes for link in kept),
    )
    times = await times_of(database, shorter)
    segment = replace(segment, last_event_ms=times.latest_ms)
    back_ms = None if stored.back_ms is None else times.back_ms
    return _ended(replace(shorter, segment=segment, back_ms=back_ms))


async def _write_rest(database: Database, part: Part) -> str:
    """Write what comes after the removed chunks as a segment of its own; return its id."""
    stored, rest = part.segment.stored, part.links[part.end :]
    key = hashlib.blake2b(f"{stored.id}:{rest[0].start_id}".encode(), digest_size=12).hexdigest()
    events = sum(link.events for link in rest)
    segment = replace(
        stored.segment,
        snapshot_id=rest[0].start_id,
        first_id=rest[0].first_id,
        first_event_ms=rest[0].from_ms,
        event_count=events,
    )
    cut_events = stored.cut_events + stored.segment.event_count - events
    store, journal = ChunkStore(database), ImportJournal(database)
    try:
        await journal.begin([segment.market])
        await journal.plan([key])
        size = 0
        for link in rest:
            chunk = await store.get(stored.id, link.start_id)
            if chunk is not None:
                size += await store.put(key, await asyncio.to_thread(pack_chunk, chunk))
        back_ms = stored.back_ms or 0
        written = ImportedSegment(key, segment, back_ms, size, stored.origin, cut_events)
        await journal.commit([written])
    finally:
        await journal.finish()
    return key
