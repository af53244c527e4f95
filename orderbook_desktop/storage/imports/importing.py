"""Imports files: reads, checks and encodes all of them, and only then writes to the database."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.received import Broken, Received
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.timeline import Gap, Timeline, timeline_of
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.imports.joining import Joining, drop_repeated
from orderbook_desktop.storage.imports.recorded_market import RecordedMarket
from orderbook_desktop.storage.imports.remainder import NewLoose, Remainder, events_in
from orderbook_desktop.storage.imports.runs import Counts, MarketRuns, Spooler
from orderbook_desktop.storage.imports.spool import ByteRange, Spool, SpooledRun
from orderbook_desktop.storage.imports.trades import ImportedTrades, TradeImport, TradeSpool
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.cuts import drop_segments
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import (
    ImportBusy,
    ImportedSegment,
    ImportJournal,
    settle_imports,
)
from orderbook_desktop.storage.store.segment_documents import StoredIds, bookless_segment
from orderbook_desktop.system.attempts import Attempts
from orderbook_desktop.system.tasks import end_tasks, in_thread, to_its_end

_log = logging.getLogger(__name__)

# Progress is reported once per this many messages.
_MESSAGES_A_REPORT: Final = 1_000
# Enough attempts for another copy of the program to take over the database of one that closed.
_ATTEMPTS: Final = 12
_MARKETS_AT_MOST: Final = 5_000

_T = TypeVar("_T")


class ImportTimes(Struct, frozen=True):
    """How long a cancelled import waits for what, in seconds.

    The reading thread has `stop_s` to end: it sees the request only after its next message, which
    may take long. What was written has `undo_s` to be undone; the next import undoes the rest.
    """

    stop_s: float = 0.4
    undo_s: float = 0.3


IMPORT_TIMES: Final = ImportTimes()


class Step(Enum):
    """What an import is doing; the values are what a person reads."""

    READING = "Reading"
    COMPARING = "Comparing"
    WRITING = "Writing"


class ImportedMarket(Struct, frozen=True):
    """The result of an import for one market: its new `segments`, and counts of its events.

    `known` events were stored before. `repeated` events of the new segments are those of segments
    that these replace. `runs` are all runs in the files, new and known, and those
    into which events of the files were joined. `loose` is how many new events have no book.
    """

    market: str
    segments: tuple[Segment, ...]
    known: int
    counts: Counts
    runs: tuple[Segment, ...] = ()
    loose: int = 0
    repeated: int = 0
    trades: ImportedTrades | None = None

    @property
    def events(self) -> int:
        """How many events are in the new segments, without those that these repeat."""
        return sum(segment.event_count for segment in self.segments) - self.repeated

    @property
    def timeline(self) -> Timeline:
        """What the new segments cover."""
        return _timeline(self.segments)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps in the files."""
        return _timeline(self.runs).gaps


def _timeline(segments: Iterable[Segment]) -> Timeline:
    return timeline_of((str(at), segment) for at, segment in enumerate(segments))


Progress = Callable[[Step, int, int], None]


async def import_messages(
    database: Database,
    messages: Iterable[Received | Broken],
    folder: Path,
    progress: Progress,
    times: ImportTimes = IMPORT_TIMES,
) -> list[ImportedMarket]:
    """Import `messages`, which are in order of time; return a result for each market.

    Encoded chunks wait in a temporary file in `folder` until all messages are read. `progress` is
    called, in any thread, with the step, how much of it is done, and its total (0: unknown), first
    in messages, then in chunks, or trades.

    Raises what reading the messages raises, `ConflictingEvents`, `ConflictingTrades`,
    `TradeConflict`, `OtherTradeIds`, `UnplacedTrades`, `NothingToImport`, `ImportConflict`,
    `ImportBusy`, a `DatabaseError` for `folder`, and PyMongo's errors. If it raises or is
    cancelled, nothing is imported; but if that is while it writes the trades, after all else, what
    is written stays. If it is cancelled then, it raises `TradesInterrupted`.
    """
    with Spool(folder) as spool, TradeSpool(folder) as trade_spool:
        reader = _Reader(messages, spool, trade_spool, progress, times.stop_s)
        await reader.run()
        if not spool.chunk_count and not trade_spool.found:
            raise NothingToImport
        writer = _Writer(database, spool, reader.counts, progress, times.undo_s)
        trades = TradeImport(database, trade_spool)

        async def attempt() -> list[ImportedMarket]:
            if not database.prepared:
                await database.prepare()
            await trades.compare(partial(progress, Step.COMPARING))
            markets = await writer.run() if spool.chunk_count else []
            has_book = any(market.segments or market.loose for market in markets)
            traded = await trades.write(partial(progress, Step.WRITING), has_book=has_book)
            return _with_trades(markets, traded)

        return await _through_a_move(attempt)


def _with_trades(
    markets: list[ImportedMarket], traded: dict[str, ImportedTrades]
) -> list[ImportedMarket]:
    """Return the results of the books together with those of the trades."""
    only = [market for market in traded if market not in {one.market for one in markets}]
    markets = [*markets, *(ImportedMarket(market, (), 0, Counts()) for market in only)]
    return [replace(market, trades=traded.get(market.market)) for market in markets]


async def _through_a_move(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Return the result of `attempt`; repeat it if the server is lost or another import is running.

    Another server may take over, and the other import may be short.
    """
    from pymongo.errors import ConnectionFailure, InvalidOperation  # noqa: PLC0415 (see Database)

    def failed(error: Exception, /, *, is_new: bool) -> None:
        # To wait for another import is no fault.
        told = logging.INFO if isinstance(error, ImportBusy) else logging.WARNING
        level = told if is_new else logging.DEBUG
        _log.log(level, "the import starts again (%s: %s)", type(error).__name__, error)

    passing = (ConnectionFailure, InvalidOperation, ImportBusy)
    delays = islice(backoff_delays(first=0.2, cap=2.0), _ATTEMPTS - 1)
    return await Attempts(passing, failed, delays).until_it_works(attempt)


class NothingToImport(KnownError):
    """The files hold no change of a book, and no trade."""

    def __str__(self) -> str:
        return (
            "Nothing was imported: the files hold no trade, and no change of a book (a "
            "depthUpdate, or a row that is not part of a snapshot)."
        )


class TooManyMarkets(KnownError):
    """The files name more than `limit` markets, and no exchange has as many."""

    limit: int

    def __str__(self) -> str:
        return (
            f"Nothing was imported: the files name more than {self.limit:,} symbols, and no "
            "exchange has so many; import fewer files at once."
        )


class _Reader:
    """Reads and encodes the messages in a thread."""

    def __init__(
        self,
        messages: Iterable[Received | Broken],
        spool: Spool,
        trades: TradeSpool,
        progress: Progress,
        stop_s: float,
    ) -> None:
        self._messages = messages
        self._trades = trades
        self._stop_s = stop_s
        self._spooler = Spooler(spool.put, spool.put_run, spool.put_loose)
        self._progress = progress
        self._stop = threading.Event()
        self.counts: dict[str, Counts] = {}

    async def run(self) -> None:
        reading = asyncio.ensure_future(asyncio.to_thread(self._read))
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            # The thread uses the spool, which is closed after this.
            self._stop.set()
            await asyncio.wait({reading}, timeout=self._stop_s)
            raise

    def _read(self) -> None:
        markets: dict[str, MarketRuns] = {}
        for count, received in enumerate(self._messages, start=1):
            if isinstance(received, Broken):
                for market in received.markets & markets.keys():
                    markets[market].broken(received)
                continue
            market = received.message.market
            if isinstance(received.message, Trade):
                self._trades.put(received.message, is_made=received.is_made)
            else:
                if market not in markets:
                    markets[market] = MarketRuns(market, self._spooler)
                markets[market].take(received)
            if max(len(markets), len(self._trades.found)) > _MARKETS_AT_MOST:
                raise TooManyMarkets(_MARKETS_AT_MOST)
            if count % _MESSAGES_A_REPORT == 0:
                self._progress(Step.READING, count, 0)
            if self._stop.is_set():
                return
        for runs in markets.values():
            runs.finish()
        self._trades.finish()
        self.counts = {market: runs.counts for market, runs in markets.items()}


class _New(Struct, frozen=True):
    """The part of the spool that isn't stored yet.

    `runs`, the `chunks` of runs without a book by their ids, and by market how many `loose` events
    are in these, and how many events the runs have `repeated`.
    """

    runs: list[SpooledRun]
    chunks: dict[str, ByteRange]
    loose: Counter[str]
    repeated: Counter[str]


class _Writer:
    """Writes the part of the spool that isn't stored yet."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        counts: dict[str, Counts],
        progress: Progress,
        undo_s: float,
    ) -> None:
        self._database = database
        self._undo_s = undo_s
        self._spool = spool
        self._counts = counts
        self._progress = progress
        self._store = ChunkStore(database)
        self._journal = ImportJournal(database)
        # What the first attempt found to be new: a later one finds less.
        self._new: _New | None = None
        self._last_write: asyncio.Future[Any] | None = None
        self._done = 0

    async def run(self) -> list[ImportedMarket]:
        """Write all of it or nothing. May be called again if the server was lost meanwhile."""
        await self._journal.finish()
        await settle_imports(self._database, set())
        await self._drop_repeated()
        try:
            await self._journal.begin(self._counts)
            new = await self._write_new()
        except asyncio.CancelledError:
            # If this takes too long, the next import undoes the rest.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._undo_s):
                    await self._end_last_write()
                    await self._journal.finish()
            raise
        except BaseException:
            await self._journal.finish()
            raise
        # From here a cancellation comes too late: the whole import is stored.
        await to_its_end(self._journal.finish())
        await to_its_end(self._drop_repeated())
        return [self._result(market, new) for market in self._counts]

    async def _write_new(self) -> _New:
        """Write what isn't stored yet; return what wasn't stored before the first attempt."""
        self._done = 0
        runs: list[SpooledRun] = []
        for market in self._counts:
            runs += await self._new_runs(market)
        chunks = await NewLoose(self._database, self._spool).find()
        runs, chunks, dropped, repeated = await self._joined(runs, chunks)
        loose = Counter[str]()
        for chunk_range in chunks.values():
            header = self._spool.chunk_at(chunk_range).header
            loose[header.market] += header.event_count
        if self._new is None:
            self._new = _New(runs, chunks, loose, repeated)
        if runs or chunks:
            await self._write(runs, chunks)
            await to_its_end(drop_segments(self._database, set(dropped)))
        return self._new

    async def _joined(
        self, runs: list[SpooledRun], chunks: dict[str, ByteRange]
    ) -> tuple[list[SpooledRun], dict[str, ByteRange], list[str], Counter[str]]:
        """Return what is new after joining it, and the runs without a book that it replaces.

        The last value is how many events of stored runs are in the new runs, by market.
        """
        joined_runs: list[SpooledRun] = []
        dropped: list[str] = []
        repeated = Counter[str]()
        for market in self._counts:
            mine = [run for run in runs if run.market == market]
            joined = await Joining(self._database, self._spool, market, mine, chunks).run()
            joined_runs += joined.runs
            chunks = joined.loose
            dropped += joined.dropped
            repeated[market] = joined.repeated
        return joined_runs, chunks, dropped, repeated

    async def _drop_repeated(self) -> None:
        for market in self._counts:
            await drop_repeated(self._database, market)

    async def _new_runs(self, market: str) -> list[SpooledRun]:
        """Return the part of the market's runs that isn't stored yet. Raises `ImportConflict`."""
        recorded = await RecordedMarket.of(self._database, market)
        new: list[SpooledRun] = []
        found: list[Segment] = []
        known: set[str] = set()
        for run in self._spool.runs:
            if run.market != market:
                continue
            if recorded.has(run.found):
                # The new runs are not checked for their order with this stored one.
                known.add(run.found.id)
                continue
            parts, new_runs = recorded.parts(run.found), [run]
            if parts:
                done = partial(self._report, Step.COMPARING, self._spool.chunk_count)
                new_runs = await Remainder(self._database, self._spool, run, parts, done).runs()
                known.update(stored.id for stored in parts)
            if new_runs:
                new += new_runs
                found.append(run.found.segment)
        recorded.check(found, known)
        recorded.check_ids(run.found for run in new)
        return new

    async def _write(self, new: list[SpooledRun], loose: dict[str, ByteRange]) -> None:
        self._done = 0
        total = sum(len(run.ranges) for run in new) + len(loose)
        await self._journal.plan([*(run.found.id for run in new), *loose])
        segments = [await self._write_run(run, total) for run in new]
        segments += [await self._write_loose(key, loose[key], total) for key in loose]
        await to_its_end(self._journal.commit(segments))

    async def _write_run(self, run: SpooledRun, total: int) -> ImportedSegment:
        """Write the chunks of a run; return its segment, to be stored after them."""
        size = 0
        for chunk in self._spool.packed(run.ranges):
            size += await self._finish_if_cancelled(self._store.put(run.found.id, chunk))
            self._report(Step.WRITING, total)
        return ImportedSegment(run.found.id, run.found.segment, run.found.back_ms, size)

    async def _write_loose(self, key: str, chunk_range: ByteRange, total: int) -> ImportedSegment:
        """Write the chunk of a run without a book; return that, to be stored after it."""
        events = await in_thread(events_in, self._spool.chunk_at(chunk_range))
        loose = tuple(map(StoredIds.of, events))
        segment = bookless_segment(events[0].market, loose)
        (chunk,) = self._spool.packed([chunk_range])
        writing = self._store.put(key, chunk, after_id=segment.snapshot_id)
        size = await self._finish_if_cancelled(writing)
        self._report(Step.WRITING, total)
        return ImportedSegment(key, segment, 0, size, loose=loose)

    async def _finish_if_cancelled(self, write: Coroutine[Any, Any, _T]) -> _T:
        """Do one write; a cancellation leaves it to `_end_last_write`."""
        writing = asyncio.ensure_future(write)
        self._last_write = writing
        return await asyncio.shield(writing)

    async def _end_last_write(self) -> None:
        """Let the last write end: the server might do it after the import was undone."""
        if self._last_write is None:
            return
        try:
            await asyncio.wait({self._last_write})
        finally:
            await end_tasks(self._last_write)

    def _report(self, step: Step, total: int) -> None:
        self._done += 1
        self._progress(step, self._done, total)

    def _result(self, market: str, new: _New) -> ImportedMarket:
        in_files = [run.found.segment for run in self._spool.runs if run.market == market]
        segments = tuple(run.found.segment for run in new.runs if run.market == market)
        # New segments may have events of earlier imports, which were joined to those of this one.
        count = sum(segment.event_count for segment in in_files)
        repeated = new.repeated[market]
        written = sum(segment.event_count for segment in segments) - repeated
        runs = sorted({*in_files, *segments}, key=lambda segment: segment.last_id)
        return ImportedMarket(
            market,
            segments,
            known=max(0, count - written),
            counts=self._counts[market],
            runs=tuple(runs),
            loose=new.loose[market],
            repeated=repeated,
        )
