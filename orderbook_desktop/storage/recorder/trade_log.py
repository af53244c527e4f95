"""Writes the trades of all markets in batches, and their runs: through every outage.

A run is stored before its first trade, and how far it has come within a second after its trades.
So a program that finds the run of a crashed recorder finds all its trades, too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import AllCounts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.trade_coverage import TradeRun
from orderbook_desktop.core.trades import TRADE, Trade
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.failures import Activity, until_it_works
from orderbook_desktop.storage.recorder.ledger import LEDGER_TIMES, LedgerTimes, due_segments
from orderbook_desktop.storage.recorder.pending import PendingWrites
from orderbook_desktop.storage.recorder.trade_sink import OpenRun, TradeStreamSink, weight_of
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_batches import (
    NewBatch,
    TradeBatches,
    TradeConflict,
    contradiction,
)
from orderbook_desktop.storage.store.trade_documents import TRADES_A_BATCH
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import TradeRuns
from orderbook_desktop.system.tasks import set_within

_log = logging.getLogger(__name__)

# Few enough that the event loop, which makes the documents, isn't kept for long.
_TRADES_A_WRITE: Final = 2_000
_BATCHES_A_WRITE: Final = 200
# As for events, the age counts back from the last write that was acknowledged.
_KEPT_S: Final = 30.0
_KEPT_BYTES: Final = 32 * 2**20


class TradeTimes(Struct, frozen=True):
    """When trades are written, in seconds.

    Batches begin at least `batch_every_s` after each other: a trade in a batch costs a tenth of
    what it costs alone, and people don't see a tape move faster. After a pause a trade is written
    at once. Each `look_every_s` it is checked whether the database was interrupted. `ledger` are
    the times at which runs are stored.
    """

    batch_every_s: float = 0.25
    look_every_s: float = 1.0
    ledger: LedgerTimes = LEDGER_TIMES


TRADE_TIMES: Final = TradeTimes()


class _Batch(Struct, frozen=True, eq=False):
    """Some trades of a run, in a row."""

    run: OpenRun
    new: NewBatch


class TradeLog:
    """Writes trades to `database`, and those again that an interrupted database has lost.

    Take a `sink(market)` for each feed, and let `run()` write; after `finish()` it returns when all
    is written. `ready` prepares the database before the first write. `pending` limits the memory.
    """

    def __init__(
        self,
        database: Database,
        pending: PendingWrites,
        counts: AllCounts,
        ready: Callable[[], Awaitable[None]],
        times: TradeTimes = TRADE_TIMES,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._pending = pending
        self._counts = counts
        self._ready = ready
        self._times = times
        self._now = now
        self._now_ns = now_ns
        self._runs = TradeRuns(database)
        self._batches = TradeBatches(database)
        self._reader = DatabaseTrades(database)
        self._sinks: dict[Stream, TradeStreamSink] = {}
        self._open: list[OpenRun] = []
        # What is being written: a repetition writes the same documents.
        self._attempt: list[_Batch] = []
        # The latest acknowledged batches, and the latest ends of runs, with the time of that.
        self._latest: deque[tuple[float, _Batch]] = deque()
        self._latest_bytes = 0
        self._ended: deque[tuple[float, OpenRun]] = deque()
        self._restored_at = 0
        self._wake = asyncio.Event()
        self._batch_at = self._kept_up_at = float("-inf")
        self._finishing = False
        self.is_out_of_time = False

    @property
    def waiting(self) -> int:
        """How many trades the database has not acknowledged yet."""
        return sum(len(run.waiting) for run in self._open)

    @property
    def is_whole(self) -> bool:
        """Whether the database has all that it acknowledged, as far as is known."""
        is_known = self._restored_at == self._database.interruptions
        return is_known or not (self._latest or self._ended)

    def sink(self, market: str) -> TradeStreamSink:
        """Return the sink of the trades of `market`, the same object each time."""
        stream = Stream(market, TRADE)
        if stream not in self._sinks:
            self._sinks[stream] = TradeStreamSink(
                stream,
                self._pending,
                self._begin,
                self._wake.set,
                self._counts[stream],
                self._now_ns,
            )
        return self._sinks[stream]

    def _begin(self, run: OpenRun) -> None:
        self._open.append(run)

    @property
    def sinks(self) -> list[TradeStreamSink]:
        """The sinks of all markets."""
        return list(self._sinks.values())

    def withdraw(self, market: str) -> None:
        """Forget what waits of `market`; call it only before the first write."""
        stream = Stream(market, TRADE)
        for run in self._open:
            if run.stream == stream:
                self._give_up_waiting(run)
        self._open = [run for run in self._open if run.stream != stream]
        self._sinks.pop(stream, None)

    def finish(self) -> None:
        """Let `run()` return when all is written. No sink takes any trade from now on."""
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        """Write until `finish()` is called, and all is written or time is up."""
        while True:
            pause_s = self._times.look_every_s
            if self._open:
                pause_s = min(pause_s, self._times.ledger.persist_every_s)
            if not self._finishing:
                await set_within(self._wake, pause_s)
                self._wake.clear()
            if not self._finishing and not self.is_whole:
                await self._until_it_works(self._restore)
            while self.waiting:
                await self._until_due()
                if self.is_out_of_time:
                    return
                self._batch_at = self._now()
                await self._until_it_works(self._write)
            if any(run.is_done for run in self._open) or self._due():
                # Not without anything to write: that would count as a sign of the database's life.
                await self._until_it_works(self._keep_up)
            if self._finishing and not self._open:
                return

    async def end_runs(self) -> None:
        """Store the ends of all runs, each after its last acknowledged trade, in one attempt."""
        from pymongo.errors import PyMongoError  # noqa: PLC0415 (see storage.store.database)

        for run in self._open:
            if run.waiting:
                lost = counted(len(run.waiting), "trade")
                run.end = (GapCause.DATABASE, f"{lost} could not be written before the end.")
        runs = [run for run in self._open if run.stored and run.end is not None]
        if not runs or not self._database.is_connected:
            return
        try:
            await self._runs.put([_ended_early(run) for run in runs], new=False)
        except PyMongoError as error:
            self._database.failed(Activity.WRITE, error)

    async def _until_it_works(self, attempt: Callable[[], Awaitable[object]]) -> None:
        await until_it_works(self._database, Activity.WRITE, attempt)

    async def _until_due(self) -> None:
        """Wait until the next batch is due; not if it is full, or the recorder is closing."""
        while not self._finishing and self.waiting < TRADES_A_BATCH:
            due_in_s = self._batch_at + self._times.batch_every_s - self._now()
            if due_in_s <= 0:
                return
            await set_within(self._wake, due_in_s)
            self._wake.clear()

    async def _write(self) -> None:
        await self._ready()
        await self._restore()
        if not self._attempt:
            self._attempt = self._next_batches()
        batches = self._attempt
        new = list({batch.run.id: batch.run for batch in batches if not batch.run.stored}.values())
        for run in new:
            mine = [batch for batch in batches if batch.run is run]
            await self._compare_with_stored(run, mine)
        batches = [batch for batch in batches if self._accepts(batch.run)]
        new = [run for run in new if self._accepts(run)]
        if new:
            await self._runs.put([run.state for run in new], new=True)
            for run in new:
                run.stored, run.begun_at = True, self._now()
        repeated = await self._insert(batches)
        for batch in batches:
            if self._accepts(batch.run):
                self._acknowledge(batch, is_repeated=batch.new in repeated)
        self._attempt = []
        self._let_old_go()

    def _next_batches(self) -> list[_Batch]:
        """Return the first batches of the trades that wait, some of each run."""
        batches: list[_Batch] = []
        room = _TRADES_A_WRITE
        for run in self._open:
            if not run.waiting or room <= 0 or len(batches) >= _BATCHES_A_WRITE:
                continue
            trades = [run.waiting[at] for at in range(min(len(run.waiting), TRADES_A_BATCH))]
            batches.append(_Batch(run, NewBatch.of(trades)))
            room -= len(trades)
        # The others come first the next time.
        served = {batch.run.id for batch in batches}
        self._open.sort(key=lambda run: run.id in served and run.end is None)
        return batches

    async def _compare_with_stored(self, run: OpenRun, batches: Sequence[_Batch]) -> None:
        """Refuse a new run whose first trades contradict what is stored with these ids."""
        trades = {trade.trade_id: trade for batch in batches for trade in batch.new.trades}
        try:
            found = self._reader.stored(run.state.market, min(trades), max(trades))
            async with aclosing(found):
                async for piece in found:
                    known = await asyncio.to_thread(piece.trades)
                    self._refuse_if(run, contradiction(known, trades))
        except KnownError as error:
            # A damaged old recording must not prevent a new one.
            _log.error("%s: %s", run.state.market, error)

    async def _insert(self, batches: Sequence[_Batch]) -> set[NewBatch]:
        """Write batches; return those that another recorder has stored. Refuses contradictions."""
        repeated = await self._batches.insert([batch.new for batch in batches])
        for batch in batches:
            self._refuse_if(batch.run, repeated.get(batch.new))
        return set(repeated)

    def _acknowledge(self, batch: _Batch, *, is_repeated: bool) -> None:
        run, trades = batch.run, batch.new.trades
        count = len(trades)
        run.extend(count)
        self._release(trades)
        counts = self._counts[run.stream]
        counts.events += count
        counts.payload_bytes += sum(len(trade.payload) for trade in trades)
        counts.repeated += count if is_repeated else 0
        counts.last_id = max(counts.last_id, run.state.last_id)
        lag_ns = self._now_ns() - trades[0].received_ns
        counts.lag_ms = max(0, lag_ns) // 1_000_000
        self._latest.append((self._now(), batch))
        self._latest_bytes += batch.new.size

    def _let_old_go(self) -> None:
        since = self._now() - _KEPT_S
        while self._latest and (self._latest[0][0] < since or self._latest_bytes > _KEPT_BYTES):
            self._latest_bytes -= self._latest.popleft()[1].new.size
        while self._ended and self._ended[0][0] < since:
            self._ended.popleft()

    def _due(self) -> list[OpenRun]:
        """Return the runs that go on, and of which it is time to store how far they have come."""
        now, times = self._now(), self._times.ledger
        if now - self._kept_up_at < times.persist_every_s:
            return []
        return due_segments((run for run in self._open if not run.is_done), now, times)

    async def _keep_up(self) -> None:
        """Store how far the runs have come, and the ends of those that have ended."""
        now, due = self._now(), self._due()
        done = [run for run in self._open if run.is_done]
        kept = [run for run in [*done, *due] if run.stored]
        if kept and await self._runs.put([run.ended for run in kept], new=False) < len(kept):
            stored = await self._runs.stored([run.id for run in kept])
            for run in kept:
                if run.id not in stored:
                    self._vanished(run)
        for run in due:
            run.kept_at, run.changed = now, False
        if due:
            self._kept_up_at = now
        self._open = [run for run in self._open if not run.is_done]
        self._ended.extend((now, run) for run in done if run.stored)
        self._let_old_go()

    async def _restore(self) -> None:
        """Write again what an interrupted database has lost of the latest trades and runs."""
        interruptions = self._database.interruptions
        if self.is_whole:
            self._restored_at = interruptions
            return
        runs = {run.id: run for run in self._open if run.stored}
        runs |= {run.id: run for _, run in self._ended}
        runs |= {batch.run.id: batch.run for _, batch in self._latest}
        stored = await self._runs.stored(list(runs)) if runs else set()
        since = self._now() - _KEPT_S
        for run in runs.values():
            if run.id not in stored and run.begun_at < since:
                self._vanished(run)
        kept = [run for run in runs.values() if run.id in stored or run.begun_at >= since]
        if kept:
            await self._runs.put([run.ended for run in kept], new=True)
        await self._restore_batches()
        self._restored_at = interruptions

    async def _restore_batches(self) -> None:
        latest = {batch.new.key: batch for _, batch in self._latest}
        lost = [latest[key] for key in latest.keys() - await self._batches.stored(list(latest))]
        lost = [batch for batch in lost if not await self._is_archived(batch)]
        if not lost:
            return
        await self._insert(lost)
        for market in sorted({batch.run.state.market for batch in lost}):
            count = sum(len(one.new.trades) for one in lost if one.run.state.market == market)
            _log.warning(
                "%s: the database had lost %d trades that it had acknowledged; "
                "they are written again",
                *(market, count),
            )

    async def _is_archived(self, batch: _Batch) -> bool:
        first_id, last_id = batch.new.trades[0].trade_id, batch.new.trades[-1].trade_id
        try:
            chunks = await self._reader.chunks(batch.run.state.market, first_id, last_id)
        except KnownError as error:
            # `verify` names both the damage and the loss.
            _log.error("%s: %s", batch.run.state.market, error)
            return True
        next_id = first_id
        for chunk in chunks:
            if chunk.first_id <= next_id:
                next_id = max(next_id, chunk.last_id + 1)
        return next_id > last_id

    def _refuse_if(self, run: OpenRun, error: TradeConflict | None) -> None:
        """Stop recording a stream, if there is an error; its run ends before the trade at fault."""
        if error is None or not self._accepts(run):
            return
        _log.error("%s", error)
        self.sink(run.stream.market).refuse(error)
        for other in self._open:
            if other.stream == run.stream:
                self._give_up_waiting(other)
                other.end = other.end or (GapCause.DATABASE, str(error))

    def _accepts(self, run: OpenRun) -> bool:
        return self.sink(run.stream.market).refused is None

    def _vanished(self, run: OpenRun) -> None:
        """Give up a run that was deleted, and don't write its trades again."""
        market = run.state.market
        _log.error("%s: the recording of trades was deleted while it went on", market)
        self._latest = deque(kept for kept in self._latest if kept[1].run is not run)
        self._latest_bytes = sum(batch.new.size for _, batch in self._latest)
        self._ended = deque(kept for kept in self._ended if kept[1] is not run)
        self._attempt = [batch for batch in self._attempt if batch.run is not run]
        if run in self._open:
            self._open.remove(run)
            self._give_up_waiting(run)
        if run.end is None:
            self.sink(market).broken(GapCause.DATABASE, "The recording was deleted meanwhile.")
        # Indexes and schema may be gone, too.
        self._database.prepared = False

    def _give_up_waiting(self, run: OpenRun) -> None:
        self._release(run.waiting)
        run.waiting.clear()

    def _release(self, trades: Iterable[Trade]) -> None:
        self._pending.hold(-sum(map(weight_of, trades)))


def _ended_early(run: OpenRun) -> TradeRun:
    """Return a run that ends with its last acknowledged trade, though others wait."""
    cause, detail = run.end or (None, "")
    return replace(run.state, end_cause=cause, end_detail=detail)
