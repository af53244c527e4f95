"""The recorder: writes what the feeds receive, in order, through every outage."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import AllCounts, RecordingCounts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.trades import TRADE
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.failures import Activity, until_it_works
from orderbook_desktop.storage.recorder.event_log import EventLog
from orderbook_desktop.storage.recorder.ledger import LEDGER_TIMES, Ledger, LedgerTimes
from orderbook_desktop.storage.recorder.market_sink import MarketSink
from orderbook_desktop.storage.recorder.pending import (
    Operation,
    PendingWrites,
    StoredTimes,
    stream_of,
)
from orderbook_desktop.storage.recorder.trade_log import TRADE_TIMES, TradeLog, TradeTimes
from orderbook_desktop.storage.recorder.trade_sink import TradeStreamSink
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert
from orderbook_desktop.storage.store.event_writer import Outcome, UnstorableAmong
from orderbook_desktop.system.tasks import end_tasks, set_within

_log = logging.getLogger(__name__)

_OPERATIONS_A_BATCH: Final = 1_000
_LIMIT_BYTES: Final = 128 * 2**20
# If more events wait than this, or more trades, archiving and retention pause for them.
_FEW_EVENTS: Final = 500
_FEW_TRADES: Final = 2_000
# Shares of the time for closing: for writing events, and for the last batch's acknowledgement. The
# rest is for storing how far each segment has come.
_EVENTS_SHARE: Final = 0.7
_LAST_BATCH_SHARE: Final = 0.1


class RecorderTimes(Struct, frozen=True):
    """When a recorder writes, in seconds.

    Batches begin at least `batch_every_s` after each other: an event in a batch costs a third of
    what it costs alone. After a pause the first event is written at once. `ledger` are the times
    of the ledger, `trades` those of the trades. Each `look_every_s` the recorder looks whether the
    database was interrupted.
    """

    batch_every_s: float = 0.025
    look_every_s: float = 1.0
    ledger: LedgerTimes = LEDGER_TIMES
    trades: TradeTimes = TRADE_TIMES


RECORDER_TIMES: Final = RecorderTimes()


class Recorder:
    """Writes the events of any number of markets to one database.

    `await start()`, take a `sink(market)` for each feed of depth and a `trade_sink(market)` for
    each feed of trades, and `await close()` at the end. An event
    after a pause is written at once; events in quick succession are written together (see
    `RecorderTimes`). The recorder, not the driver, repeats failed writes until they are
    acknowledged. That is harmless, since an event's `_id` is made of market and id. `counts` holds
    what it counts, by stream. `before_first_write` is awaited once, when the database is there and
    nothing is written yet; it may `withdraw` markets, and must not raise an error.
    """

    def __init__(
        self,
        database: Database,
        limit_bytes: int = _LIMIT_BYTES,
        times: RecorderTimes = RECORDER_TIMES,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        counts: AllCounts | None = None,
    ) -> None:
        self._database = database
        self._counts = defaultdict(RecordingCounts) if counts is None else counts
        self._times = times
        self._now = now
        self._now_ns = now_ns
        self._wake = asyncio.Event()
        self._pending = PendingWrites(limit_bytes, self._wake.set)
        self._events = EventLog(database, now)
        self._restored_at = 0
        self._ledger = Ledger(
            database,
            self._pending.forget,
            self._vanished,
            lambda: self._are_events_whole,
            times.ledger,
            now,
        )
        self._trades = TradeLog(
            database, self._pending, self._counts, self._until_ready, times.trades, now, now_ns
        )
        self._preparing = asyncio.Lock()
        self._sinks: dict[Stream, MarketSink] = {}
        self._stored_times = StoredTimes()
        self._jobs: list[asyncio.Task[None]] = []
        self._batch_size = _OPERATIONS_A_BATCH
        self._batch_at = float("-inf")
        self.before_first_write: Callable[[], Awaitable[None]] | None = None
        self._closing = False
        self._out_of_time = False
        self._fault = ""

    @property
    def waiting(self) -> int:
        """How many events and trades the database has not acknowledged yet."""
        return self._pending.events + self._trades.waiting

    @property
    def is_whole(self) -> bool:
        """Whether the database has all that it acknowledged, as far as is known."""
        return self._are_events_whole and self._trades.is_whole

    @property
    def _are_events_whole(self) -> bool:
        is_known = self._restored_at == self._database.interruptions
        return is_known or not self._events.has_latest

    @property
    def is_busy(self) -> bool:
        """Whether so many events wait that other work on the database should pause."""
        return self._pending.events > _FEW_EVENTS or self._trades.waiting > _FEW_TRADES

    @property
    def recorded(self) -> tuple[int, int]:
        """How many bytes of payload, and how many events, the database has acknowledged."""
        counts = [sink.counts for sink in self._all_sinks]
        return sum(count.payload_bytes for count in counts), sum(count.events for count in counts)

    @property
    def recorded_trades(self) -> int:
        """How many trades the database has acknowledged."""
        return sum(sink.counts.events for sink in self._trades.sinks)

    def waiting_of(self, market: str) -> int:
        """Return how many events of `market` the database has not acknowledged yet."""
        return self._pending.events_of(Stream(market, DEPTH))

    def lag_ms_of(self, market: str) -> int | None:
        """Return how late the events of `market` are stored, in ms; None before the first event.

        While its events wait, it is at least how long the oldest event of all markets has waited.
        """
        lag_ms = self.sink(market).counts.lag_ms
        if not self.waiting_of(market):
            return lag_ms
        now_ns = self._now_ns()
        waited_ms = (now_ns - (self._pending.oldest_ns or now_ns)) // 1_000_000
        return max(waited_ms, lag_ms or 0)

    def problem_of(self, market: str) -> str:
        """Return a sentence that says why `market` is not recorded; empty if it is.

        An event that was refused affects only its own market.
        """
        sink = self.sink(market)
        if self._fault:
            return self._fault
        if sink.refused is not None:
            return str(sink.refused)
        # The sink notices free space only with its next event, which may never come.
        if self._database.problem or not sink.overflowing or self._pending.relaxed:
            return self._database.problem
        return "The database is too slow for what comes in; events are being lost."

    def sink(self, market: str) -> MarketSink:
        """Return the sink of the depth stream of `market`, the same object each time."""
        return self._sink_of(Stream(market, DEPTH))

    def trade_sink(self, market: str) -> TradeStreamSink:
        """Return the sink of the trades of `market`, the same object each time."""
        return self._trades.sink(market)

    def _sink_of(self, stream: Stream) -> MarketSink:
        if stream not in self._sinks:
            counts = self._counts[stream]
            self._sinks[stream] = MarketSink(stream, self._pending, counts, self._now_ns)
        return self._sinks[stream]

    @property
    def _all_sinks(self) -> list[MarketSink | TradeStreamSink]:
        return [*self._sinks.values(), *self._trades.sinks]

    async def start(self) -> None:
        """Begin to write. The database need not be reachable yet."""
        self._jobs = [
            asyncio.create_task(self._write(), name="recorder-events"),
            asyncio.create_task(self._ledger.run(), name="recorder-ledger"),
            asyncio.create_task(self._trades.run(), name="recorder-trades"),
        ]
        for job in self._jobs:
            job.add_done_callback(self._job_ended)

    async def close(self, timeout_s: float = 2.0) -> None:
        """End all segments and write the waiting events, for at most `timeout_s`.

        If that is too short, each segment ends with its last acknowledged event. `waiting` is then
        how many events were not written.
        """
        for sink in self._all_sinks:
            sink.broken(GapCause.USER, "")
        self._closing = True
        self._wake.set()
        self._trades.finish()
        jobs, self._jobs = self._jobs, []
        try:
            if jobs:
                await self._finish(jobs, timeout_s)
        finally:
            await end_tasks(*jobs)
        if self.waiting:
            _log.error("%d events could not be written before the end", self.waiting)

    async def _finish(self, jobs: list[asyncio.Task[None]], timeout_s: float) -> None:
        """Let the writers finish, then the ledger."""
        writing, keeping, trading = jobs
        ends_at = self._now() + timeout_s
        await asyncio.wait({writing, trading}, timeout=timeout_s * _EVENTS_SHARE)
        self._out_of_time = self._trades.is_out_of_time = True
        await asyncio.wait({writing, trading}, timeout=timeout_s * _LAST_BATCH_SHARE)
        writing.cancel()
        trading.cancel()
        await asyncio.wait({writing, trading})
        self._account_for_written()
        self._ledger.finish()
        rest = [asyncio.create_task(self._trades.end_runs(), name="recorder-trades-end")]
        is_whole = self._ledger.is_whole or not self._database.is_connected
        if not self._ledger.is_settled or not is_whole:
            # A settled ledger has nothing to write for us, and may wait for a database for ever.
            rest.append(keeping)
        await asyncio.wait(rest, timeout=max(0.0, ends_at - self._now()))
        await end_tasks(rest[0])

    async def _write(self) -> None:
        """Write events until the recorder is closed and all are written, or time is up."""
        while len(self._pending) or not self._closing:
            await self._until_woken()
            if not self._closing and not self._are_events_whole:
                await until_it_works(self._database, Activity.WRITE, self._restore)
            while len(self._pending):
                await self._until_due()
                if self._out_of_time:
                    return
                self._batch_at = self._now()
                await until_it_works(self._database, Activity.WRITE, self._write_batch)
        if self._database.is_connected and not self._are_events_whole:
            from pymongo.errors import PyMongoError  # noqa: PLC0415 (see storage.store.database)

            # One attempt: the ledger needs what is left of the time.
            try:
                await self._restore()
            except PyMongoError as error:
                self._database.failed(Activity.WRITE, error)

    async def _until_woken(self) -> None:
        """Wait for events, or until it is time to look whether the database was interrupted."""
        await set_within(self._wake, self._times.look_every_s)
        self._wake.clear()

    async def _until_due(self) -> None:
        """Wait until the next batch is due; not if a batch is full, or the recorder is closing."""
        if self._closing or len(self._pending) >= self._batch_size:
            return
        due_in_s = self._batch_at + self._times.batch_every_s - self._now()
        if due_in_s > 0:
            await asyncio.sleep(due_in_s)

    @property
    def markets(self) -> list[str]:
        """The markets that have a sink."""
        return [stream.market for stream in self._sinks]

    def withdraw(self, market: str) -> None:
        """Forget what waits of `market`, as if nothing of it had been received.

        Call it only before the first write, and while no feed has a sink of `market`.
        """
        self._trades.withdraw(market)
        self._counts[Stream(market, TRADE)] = RecordingCounts()
        stream = Stream(market, DEPTH)
        self._pending.withdraw(stream)
        self._sinks.pop(stream, None)
        self._counts[stream] = RecordingCounts()

    async def _until_ready(self) -> None:
        """Prepare the database, and let others look at it before the first write."""
        async with self._preparing:
            await self.prepare()
            if self.before_first_write is not None:
                await self.before_first_write()
                self.before_first_write = None

    async def _write_batch(self) -> None:
        await self._until_ready()
        await self._restore()
        batch = self._pending.first(self._batch_size)
        events = [item for item in batch if isinstance(item, Insert) and self._accepts(item.stream)]
        try:
            outcome = await self._events.insert(events)
        except UnstorableAmong:
            # Halve the batch to find the event at fault, so that the others are stored.
            self._batch_size = max(1, len(batch) // 2)
            return
        self._batch_size = min(_OPERATIONS_A_BATCH, self._batch_size * 2)
        now_ns = self._now_ns()
        for operation in batch:
            self._acknowledge(operation, outcome, now_ns)

    async def _restore(self) -> None:
        """Write again what an interrupted database has lost of the latest events."""
        interruptions = self._database.interruptions
        if not self._are_events_whole:
            await self._events.restore(self._ledger.had_segment)
        self._restored_at = interruptions

    async def prepare(self) -> None:
        """Wait for the database, prepare it, and close the segments that a crash left open."""
        await self._database.until_connected()
        if not self._database.prepared:
            await self._database.prepare()
            await self._ledger.recover()

    def _acknowledge(self, operation: Operation, outcome: Outcome, now_ns: int) -> None:
        """Process `operation`, now that the events up to it are written."""
        self._pending.take_first()
        stream = stream_of(operation)
        if isinstance(operation, Insert) and operation in outcome.refused:
            self._refuse(stream, outcome.refused[operation])
        if isinstance(operation, Insert) or not self._accepts(stream):
            self._pending.forget(operation)
        else:
            self._ledger.take(self._stored_times.dated(operation))
        if isinstance(operation, Insert) and operation in outcome.repeated:
            self._stored_times.note(operation, outcome.repeated[operation])
        if isinstance(operation, Insert) and self._accepts(stream):
            self._count(operation, now_ns, is_repeated=operation in outcome.repeated)

    def _count(self, event: Insert, now_ns: int, *, is_repeated: bool) -> None:
        counts = self._sink_of(event.stream).counts
        counts.events += 1
        counts.payload_bytes += len(event.payload)
        counts.repeated += is_repeated
        counts.last_id = max(counts.last_id, event.final_id)
        counts.lag_ms = max(0, now_ns - event.received_ns) // 1_000_000

    def _refuse(self, stream: Stream, error: KnownError) -> None:
        """Stop recording a stream; its segments end before the event at fault."""
        if not self._accepts(stream):
            return
        _log.error("%s", error)
        self._sink_of(stream).refuse(error)
        self._end_where_it_is(stream, str(error))

    def _account_for_written(self) -> None:
        """Pass entries about written events to the ledger; end the segments of unwritten ones."""
        behind: set[Stream] = set()
        while len(self._pending):
            operation = self._pending.take_first()
            stream = stream_of(operation)
            if isinstance(operation, Insert) and self._accepts(stream):
                # It stays counted in `waiting`.
                behind.add(stream)
            elif isinstance(operation, Insert) or stream in behind or not self._accepts(stream):
                self._pending.forget(operation)
            else:
                self._ledger.take(self._stored_times.dated(operation))
        for stream in behind:
            lost = counted(self._pending.events_of(stream), "event")
            self._end_where_it_is(stream, f"{lost} could not be written before the end.")

    def _end_where_it_is(self, stream: Stream, detail: str) -> None:
        for entry in self._ledger.end(stream, detail):
            self._pending.count(entry)

    def _accepts(self, stream: Stream) -> bool:
        return self._sink_of(stream).refused is None

    def _vanished(self, stream: Stream) -> None:
        self._events.forget(stream)
        detail = "The recording was deleted while it went on."
        self._sink_of(stream).broken(GapCause.DATABASE, detail)

    def _job_ended(self, job: asyncio.Task[None]) -> None:
        if job.cancelled() or (error := job.exception()) is None:
            return
        _log.critical("the recorder ended because of a fault in it", exc_info=error)
        self._fault = (
            f"The recorder ended because of a fault of this program ({type(error).__name__}); "
            "restart it to go on recording."
        )
