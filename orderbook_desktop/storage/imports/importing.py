"""Importing: everything is read, checked and encoded first, and only then written."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import InexactValue, KnownError
from orderbook_desktop.core.received import Broken, Received
from orderbook_desktop.core.segments import Segment
from orderbook_desktop.core.timeline import Gap, Timeline, timeline_of
from orderbook_desktop.storage.imports.place import MarketPlace
from orderbook_desktop.storage.imports.remainder import NewLoose, Remainder
from orderbook_desktop.storage.imports.runs import Counts, MarketRuns, Spooler
from orderbook_desktop.storage.imports.spool import Place, Spool, SpooledRun
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import ImportBusy, ImportJournal, settle_imports
from orderbook_desktop.storage.store.owner import owner_document
from orderbook_desktop.storage.store.schema import (
    IMPORT,
    Document,
    segment_document,
    unarchived_document,
)

_log = logging.getLogger(__name__)

_TOLD_EVERY: Final = 1_000
# For as long as it takes that another program takes a database over which was closed.
_ATTEMPTS: Final = 12
_UNDO_WITHIN_S: Final = 0.3
# A thread that reads what holds no line doesn't see that it should stop.
_STOPS_WITHIN_S: Final = 0.4
_MARKETS_AT_MOST: Final = 5_000

_T = TypeVar("_T")


class Step(Enum):
    """What an import is doing; the values are what a person reads."""

    READING = "Reading"
    COMPARING = "Comparing"
    WRITING = "Writing"


@dataclass(frozen=True, slots=True)
class ImportedMarket:
    """What was imported of one market: its new segments, and what became of the rest.

    `known` events were there already. `runs` are all that the files have, be they new or
    not. Of the events without a book, `loose` are new.
    """

    market: str
    segments: tuple[Segment, ...]
    known: int
    counts: Counts
    runs: tuple[Segment, ...] = ()
    loose: int = 0

    @property
    def events(self) -> int:
        """How many events are in the new segments."""
        return sum(one.event_count for one in self.segments)

    @property
    def timeline(self) -> Timeline:
        """What the new segments cover."""
        return _timeline(self.segments)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps in the files."""
        return _timeline(self.runs).gaps


def _timeline(segments: Iterable[Segment]) -> Timeline:
    return timeline_of((str(at), one) for at, one in enumerate(segments))


Progress = Callable[[Step, int, int], None]


async def import_messages(
    database: Database, messages: Iterable[Received | Broken], folder: Path, progress: Progress
) -> list[ImportedMarket]:
    """Import `messages`, which are in the order of time; return what came of it, by market.

    What waits for the end of the files does so in `folder`. `progress` is called, in any
    thread, with what has been done so far of how much (0: unknown): messages, then chunks.
    Raises what reading the messages raises, `NoCommonScale`, `ConflictingEvents`,
    `NothingToImport`, `ImportConflict`, `ImportBusy`, a `DatabaseError` for `folder`, and PyMongo's
    errors; then, and where it is cancelled, nothing is imported.
    """
    with Spool(folder) as spool:
        reader = _Reader(messages, spool, progress)
        await reader.run()
        return await _through_a_move(_Writer(database, spool, reader.counts, progress).run)


async def _through_a_move(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Return what `attempt` does, again where the server was lost, or another import is going on.

    Another server may take its place; the other import may be one of a few seconds.
    """
    from pymongo.errors import ConnectionFailure, InvalidOperation  # noqa: PLC0415 (see Database)

    for delay in islice(backoff_delays(first=0.2, cap=2.0), _ATTEMPTS - 1):
        try:
            return await attempt()
        except (ConnectionFailure, InvalidOperation, ImportBusy) as error:
            _log.info("an import begins again: %r", error)
            await asyncio.sleep(delay)
    return await attempt()


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` to its end, also where this is cancelled meanwhile: that came too late."""
    working = asyncio.ensure_future(work)
    while not working.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({working})
    working.result()


class NoCommonScale(KnownError):
    """Values of one book are too different; `value` is the one that didn't fit any more."""

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__(value)

    def __str__(self) -> str:
        return (
            f"Nothing was imported: no scale holds both {self.value[:40]} and the other values of "
            "its book exactly in 64 bits."
        )


class NothingToImport(KnownError):
    """The files hold no event of a book's changes."""

    def __str__(self) -> str:
        return (
            "Nothing was imported: the files hold no change of a book (depthUpdate, or a row that "
            "is not of a snapshot)."
        )


class TooManyMarkets(KnownError):
    """The files name more than `limit` markets; no exchange has as many."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(limit)

    def __str__(self) -> str:
        return (
            f"Nothing was imported: the files name more than {self.limit:,} symbols, as no "
            "exchange has; import fewer at once."
        )


class _Reader:
    """Reads and encodes, in a thread."""

    def __init__(
        self, messages: Iterable[Received | Broken], spool: Spool, progress: Progress
    ) -> None:
        self._messages = messages
        self._spooler = Spooler(spool.put, spool.put_run, spool.put_loose)
        self._progress = progress
        self._stop = threading.Event()
        self.counts: dict[str, Counts] = {}

    async def run(self) -> None:
        reading = asyncio.ensure_future(asyncio.to_thread(self._read))
        try:
            await asyncio.shield(reading)
        except InexactValue as error:
            raise NoCommonScale(error.text) from error
        except asyncio.CancelledError:
            # The thread uses the spool: that may be closed only after it.
            self._stop.set()
            await asyncio.wait({reading}, timeout=_STOPS_WITHIN_S)
            raise

    def _read(self) -> None:
        markets: dict[str, MarketRuns] = {}
        for count, received in enumerate(self._messages, start=1):
            if isinstance(received, Broken):
                for market in received.markets & markets.keys():
                    markets[market].broken(received.detail)
                continue
            market = received.message.market
            if market not in markets:
                if len(markets) >= _MARKETS_AT_MOST:
                    raise TooManyMarkets(_MARKETS_AT_MOST)
                markets[market] = MarketRuns(market, self._spooler)
            markets[market].take(received)
            if count % _TOLD_EVERY == 0:
                self._progress(Step.READING, count, 0)
            if self._stop.is_set():
                return
        for runs in markets.values():
            runs.finish()
        self.counts = {market: runs.counts for market, runs in markets.items()}


@dataclass(frozen=True, slots=True)
class _New:
    """What of the spool isn't there yet: runs, loose chunks by key, loose events by market."""

    runs: list[SpooledRun]
    chunks: dict[str, Place]
    loose: Counter[str]


class _Writer:
    """Writes what was spooled, unless it is there already or has no place."""

    def __init__(
        self, database: Database, spool: Spool, counts: dict[str, Counts], progress: Progress
    ) -> None:
        self._database = database
        self._spool = spool
        self._counts = counts
        self._progress = progress
        self._store = ChunkStore(database)
        self._journal = ImportJournal(database)
        self._wanted: _New | None = None
        self._done = 0

    async def run(self) -> list[ImportedMarket]:
        """Write it, or nothing; may be called again, where the server was lost meanwhile."""
        if not self._spool.chunk_count:
            raise NothingToImport
        if not self._database.prepared:
            await self._database.prepare()
        await self._journal.finish()
        await settle_imports(self._database)
        try:
            await self._journal.begin(self._counts)
            wanted = await self._write_new()
        except asyncio.CancelledError:
            # What is left then, the next import undoes.
            with suppress(TimeoutError):
                async with asyncio.timeout(_UNDO_WITHIN_S):
                    await self._journal.finish()
            raise
        except BaseException:
            await self._journal.finish()
            raise
        # A request to end comes too late now: all of it is there.
        await _to_its_end(self._journal.finish())
        return [self._result(market, wanted) for market in self._counts]

    async def _write_new(self) -> _New:
        """Write what isn't there yet; return what wasn't there at first."""
        self._done = 0
        runs: list[SpooledRun] = []
        for market in self._counts:
            runs += await self._new_runs(market)
        chunks = await NewLoose(self._database, self._spool).find()
        loose = Counter[str]()
        for place in chunks.values():
            header = self._spool.chunk_at(place).header
            loose[header.market] += header.event_count
        if self._wanted is None:
            self._wanted = _New(runs, chunks, loose)
        if runs or chunks:
            await self._write(runs, chunks)
        return self._wanted

    async def _new_runs(self, market: str) -> list[SpooledRun]:
        """Return what of the market's runs isn't there yet; raises `ImportConflict`."""
        place = await MarketPlace.of(self._database, market)
        new: list[SpooledRun] = []
        found: list[Segment] = []
        known: set[str] = set()
        for run in self._spool.runs:
            if run.market != market:
                continue
            if place.has(run.found):
                # It need not be earlier than what comes after it in the files.
                known.add(run.found.id)
                continue
            parts, pieces = place.parts(run.found), [run]
            if parts:
                told = partial(self._tell, Step.COMPARING, self._spool.chunk_count)
                pieces = await Remainder(self._database, self._spool, run, parts, told).runs()
                known.update(one.id for one in parts)
            if pieces:
                new += pieces
                found.append(run.found.segment)
        place.check(found, known)
        place.check_ids(one.found for one in new)
        return new

    async def _write(self, new: list[SpooledRun], loose: dict[str, Place]) -> None:
        self._done = 0
        total = sum(len(run.places) for run in new) + len(loose)
        await self._journal.plan([run.found.id for run in new], list(loose))
        documents = [await self._write_run(run, total) for run in new]
        for chunk in self._spool.packed(loose.values()):
            await self._store.put_loose(chunk)
            self._tell(Step.WRITING, total)
        await _to_its_end(self._journal.commit(documents))

    async def _write_run(self, run: SpooledRun, total: int) -> Document:
        """Write the chunks of a run; return its document, which makes them known."""
        size = 0
        for chunk in self._spool.packed(run.places):
            size += await self._store.put(run.found.id, chunk)
            self._tell(Step.WRITING, total)
        segment = run.found.segment
        return {
            "_id": run.found.id,
            **segment_document(segment),
            **unarchived_document(segment.snapshot_id, IMPORT),
            "archived_id": segment.last_id,
            "archived_events": segment.event_count,
            "archived_bytes": size,
            "to_archive": False,
            "back_ms": run.found.back_ms,
            **owner_document(),
        }

    def _tell(self, step: Step, total: int) -> None:
        self._done += 1
        self._progress(step, self._done, total)

    def _result(self, market: str, new: _New) -> ImportedMarket:
        runs = tuple(run.found.segment for run in self._spool.runs if run.market == market)
        segments = tuple(run.found.segment for run in new.runs if run.market == market)
        known = sum(one.event_count for one in runs) - sum(one.event_count for one in segments)
        counts = self._counts[market]
        return ImportedMarket(market, segments, known, counts, runs, new.loose[market])
