"""The recorder: writes what the feeds receive, in order, through every outage."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.database import Activity, Database
from orderbook_desktop.storage.event_log import EventLog, Outcome, UnstorableAmong
from orderbook_desktop.storage.ledger import Ledger
from orderbook_desktop.storage.market_sink import MarketSink
from orderbook_desktop.storage.pending import Insert, Operation, PendingWrites, market_of
from orderbook_desktop.storage.retrying import until_it_works

_log = logging.getLogger(__name__)

_OPERATIONS_A_BATCH: Final = 1_000
_LIMIT_BYTES: Final = 128 * 2**20


class Recorder:
    """Writes the events of any number of markets to one database.

    `await start()`, take a `sink(market)` for each feed, `await close()` at the end. Writes
    begin as soon as an event is there and take along what came meanwhile, so that a batch
    waits no longer than the write before it takes. Failed writes are repeated until they
    are acknowledged; repeating is harmless, since (market, u) is unique.
    """

    def __init__(self, database: Database, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._database = database
        self._wake = asyncio.Event()
        self._pending = PendingWrites(limit_bytes, self._wake.set)
        self._events = EventLog(database)
        self._ledger = Ledger(database, self._pending.forget, self._vanished)
        self._sinks: dict[str, MarketSink] = {}
        self._jobs: list[asyncio.Task[None]] = []
        self._batch_size = _OPERATIONS_A_BATCH
        self._closing = False
        self._fault = ""

    @property
    def waiting(self) -> int:
        """How many events the database has not acknowledged yet."""
        return self._pending.events

    def waiting_of(self, market: str) -> int:
        """Return how many events of `market` the database has not acknowledged yet."""
        return self._pending.events_of(market)

    def problem_of(self, market: str) -> str:
        """Return what keeps `market` from being recorded, as a sentence; empty: nothing.

        What was refused of one market is no problem of the others.
        """
        sink = self.sink(market)
        if self._fault:
            return self._fault
        if sink.refused is not None:
            return str(sink.refused)
        # The sink notices room with its next event, which may never come.
        if self._database.problem or not sink.overflowing or self._pending.relaxed:
            return self._database.problem
        return "The database is too slow for what comes in; events are being lost."

    def sink(self, market: str) -> MarketSink:
        """Return the sink of `market`, the same one each time."""
        if market not in self._sinks:
            self._sinks[market] = MarketSink(market, self._pending)
        return self._sinks[market]

    async def start(self) -> None:
        """Begin to write. The database may still be on its way."""
        self._jobs = [
            asyncio.create_task(self._write(), name="recorder-events"),
            asyncio.create_task(self._ledger.run(), name="recorder-ledger"),
        ]
        for job in self._jobs:
            job.add_done_callback(self._job_ended)

    async def close(self, timeout_s: float = 2.0) -> None:
        """End all segments and write what waits, for at most `timeout_s`."""
        for sink in self._sinks.values():
            sink.broken(GapCause.USER, "")
        self._closing = True
        self._wake.set()
        if self._fault:
            # Nobody else tells it any more.
            self._ledger.finish()
        jobs, self._jobs = self._jobs, []
        try:
            if jobs:
                await asyncio.wait(jobs, timeout=timeout_s)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        if self.waiting:
            _log.error("%d events could not be written before the end", self.waiting)

    async def _write(self) -> None:
        """Write events until closed and everything is written."""
        while len(self._pending) or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while len(self._pending):
                await until_it_works(self._database, Activity.WRITE, self._write_batch)
        self._ledger.finish()

    async def _write_batch(self) -> None:
        await self._prepare()
        batch = self._pending.first(self._batch_size)
        events = [one for one in batch if isinstance(one, Insert) and self._accepts(one.market)]
        try:
            outcome = await self._events.insert(events)
        except UnstorableAmong:
            # One must not keep out the others: come closer to it.
            self._batch_size = max(1, len(batch) // 2)
            return
        self._batch_size = min(_OPERATIONS_A_BATCH, self._batch_size * 2)
        for operation in batch:
            self._acknowledge(operation, outcome)

    async def _prepare(self) -> None:
        await self._database.until_connected()
        if not self._database.prepared:
            await self._database.prepare()
            await self._ledger.recover()

    def _acknowledge(self, operation: Operation, outcome: Outcome) -> None:
        """Do what follows from `operation` now that the events up to it are written."""
        self._pending.take_first()
        market = market_of(operation)
        if isinstance(operation, Insert) and operation in outcome.refused:
            self._refuse(market, outcome.refused[operation])
        if isinstance(operation, Insert) or not self._accepts(market):
            self._pending.forget(operation)
        else:
            self._ledger.take(operation)
        if isinstance(operation, Insert) and self._accepts(market):
            self._count(operation, is_repeated=operation in outcome.repeated)

    def _count(self, event: Insert, *, is_repeated: bool) -> None:
        counts = self.sink(event.market).counts
        counts.events += 1
        counts.payload_bytes += len(event.payload)
        counts.repeated += is_repeated
        counts.last_id = max(counts.last_id, event.final_id)

    def _refuse(self, market: str, error: KnownError) -> None:
        """Record nothing more of a market: its segments end before the event at fault."""
        if not self._accepts(market):
            return
        _log.error("%s", error)
        self.sink(market).refuse(error)
        for entry in self._ledger.refuse(market, str(error)):
            self._pending.count(entry)

    def _accepts(self, market: str) -> bool:
        return self.sink(market).refused is None

    def _vanished(self, market: str) -> None:
        self.sink(market).broken(GapCause.DATABASE, "The recording was deleted while it went on.")

    def _job_ended(self, job: asyncio.Task[None]) -> None:
        if job.cancelled() or (error := job.exception()) is None:
            return
        _log.critical("the recorder ended because of a fault in it", exc_info=error)
        self._fault = (
            f"The recorder ended because of a fault of this program ({type(error).__name__}); "
            "restart it to go on recording."
        )
