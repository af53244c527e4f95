"""Turns the trades that the feed of one market receives into runs, whose batches are written."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import RecordingCounts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.trade_coverage import TradeRun
from orderbook_desktop.core.trades import Trade, fits_64_bits
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.recorder.pending import OPERATION_BYTES, PendingWrites, storable
from orderbook_desktop.storage.store.trade_runs import new_run_id

_log = logging.getLogger(__name__)


class OpenRun:
    """A run of trades that is being recorded.

    `state` has the trades that the database has acknowledged, `waiting` are those after them, and
    `end` is why no more will come. `stored` is true once the run's document is stored, which
    `begun_at` says when, and `changed` while the document is behind. `kept_at` is when it was
    stored last.
    """

    def __init__(self, stream: Stream, first: Trade) -> None:
        first_id, event_ms = first.trade_id, first.event_ms
        key = new_run_id()
        self.stream = stream
        self.state = TradeRun(key, stream.market, first_id, first_id - 1, event_ms, event_ms)
        self.waiting: deque[Trade] = deque()
        self.end: tuple[GapCause, str] | None = None
        self.stored = False
        self.changed = False
        self.begun_at = self.kept_at = -math.inf

    @property
    def id(self) -> str:
        """The `_id` of its document."""
        return self.state.id

    def extend(self, count: int) -> None:
        """Take the first `count` trades that wait into the run."""
        trades = [self.waiting.popleft() for _ in range(count)]
        to_ms = max(self.state.to_ms, *(trade.event_ms for trade in trades))
        self.state = replace(self.state, last_id=trades[-1].trade_id, to_ms=to_ms)
        self.changed = True

    @property
    def is_done(self) -> bool:
        """Whether it has ended, and all its trades are acknowledged."""
        return self.end is not None and not self.waiting

    @property
    def ended(self) -> TradeRun:
        """The run as it is to be stored now."""
        if self.end is None or self.waiting:
            return self.state
        return replace(self.state, end_cause=self.end[0], end_detail=self.end[1])


class TradeStreamSink:
    """Takes the trades of `stream` that a feed receives. It is a `TradeSink`.

    A run goes on as long as each trade has the next id. If memory is full, trades are dropped, but
    never silently: the run ends with the cause OVERFLOW, and another one begins when there is room.
    `begin` is called with each new run, and `wake` for each trade that waits to be written.
    """

    def __init__(
        self,
        stream: Stream,
        pending: PendingWrites,
        begin: Callable[[OpenRun], None],
        wake: Callable[[], None],
        counts: RecordingCounts | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.stream = stream
        self.counts = counts or RecordingCounts()
        self.refused: KnownError | None = None
        self.overflowing = False
        self._pending = pending
        self._begin = begin
        self._wake = wake
        self._now_ns = now_ns
        self._run: OpenRun | None = None
        # The last trade of the run, or of the last one that ended.
        self._last_id = -1
        # Why that ended, if it is not known yet whether it left a gap.
        self._loss: GapCause | None = None

    def received(self, trade: Trade) -> None:
        """Queue a trade (see `core.sources.TradeSink`)."""
        if self.refused is not None or self._is_known(trade) or not self._has_room():
            return
        if not _is_storable(trade):
            detail = f"The trade {trade.trade_id} has a value that is too wide."
            self._lose(GapCause.TOO_WIDE, detail)
            self.counts.dropped += 1
            return
        if self._run is not None and trade.trade_id != self._last_id + 1:
            self.broken(GapCause.FEED_GAP, f"Trade {self._last_id + 1} did not come.")
        if self._run is None:
            self._run = self._begun(trade)
        self._run.waiting.append(trade)
        self._last_id = trade.trade_id
        self._pending.hold(weight_of(trade))
        self._wake()

    def broken(self, cause: GapCause, detail: str) -> None:
        """End the run (see `core.sources.TradeSink`)."""
        if self._run is not None:
            self._run.end = (cause, storable(detail))
            self._loss = cause
            self._run = None
            self._wake()

    def refuse(self, error: KnownError) -> None:
        """Stop recording because of `error`, after the last trade that was acknowledged."""
        self.refused = error
        self._lose(GapCause.DATABASE, str(error))

    def _is_known(self, trade: Trade) -> bool:
        run = self._run
        return run is not None and run.state.first_id <= trade.trade_id <= self._last_id

    def _has_room(self) -> bool:
        """Whether a trade fits into memory; count the one that does not."""
        if self.overflowing and self._pending.relaxed:
            self.overflowing = False
            _log.warning("%s: room to record trades again", self.stream.market)
        if self._pending.full and not self.overflowing:
            self.overflowing = True
            self._lose(GapCause.OVERFLOW, "")
        self.counts.dropped += self.overflowing
        return not self.overflowing

    def _begun(self, first: Trade) -> OpenRun:
        run = OpenRun(self.stream, first)
        loss, self._loss = self._loss, None
        if loss not in (None, GapCause.USER) and first.trade_id > self._last_id + 1:
            self._count_gap(loss)
        self.counts.first_id = self.counts.first_id or first.trade_id
        self._begin(run)
        return run

    def _lose(self, cause: GapCause, detail: str) -> None:
        """End the run before a trade that is known to be lost."""
        self.broken(cause, detail)
        self._loss = None
        self._count_gap(cause)
        market, sentence = self.stream.market, cause.sentence
        _log.warning("%s: gap in the recording of trades: %s. %s", market, sentence, detail)

    def _count_gap(self, cause: GapCause) -> None:
        self.counts.count_gap(cause.sentence, self._now_ns() // 1_000_000)


def weight_of(trade: Trade) -> int:
    """Return the memory that a trade takes while it waits, in bytes."""
    return OPERATION_BYTES + len(trade.payload)


def _is_storable(trade: Trade) -> bool:
    """Whether the trade's numbers fit into 64 bits, so that it can be read again."""
    return 0 < trade.received_ns <= INT64_MAX and fits_64_bits(trade)
