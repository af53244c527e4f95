"""Exports the recording of a market, or a part of it, and says what is in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.exports.exporting import (
    Exported,
    ExportJob,
    NothingRecorded,
    export,
    trades_of,
)
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.recording_store import RecordingStore

# How a file marks a trade that was never received.
_REPAIRED: Final = {
    ExportFormat.TARDIS_TRADES: "their local_timestamp is their timestamp",
    ExportFormat.PARQUET_TRADES: "repaired is true, and received_ns is 0",
    ExportFormat.HFTBACKTEST: "ival is 1, and they arrive where the exchange has them",
}


class RecordingExport(Struct, frozen=True):
    """What to export of `market`, called `symbol`: from `from_ms` to before `to_ms` (None: all).

    A file at `path` is replaced only if `replace` is true. `in_window`: see `ExportJob`.
    """

    symbol: str
    market: str
    form: ExportFormat
    path: Path
    from_ms: int | None = None
    to_ms: int | None = None
    replace: bool = False
    in_window: bool = False


class ExportedRecording(Struct, frozen=True):
    """What was exported by `job`, into a file of `size` bytes, and the gaps in it.

    `gaps` are those of the book, `trade_gaps` those of the trades.
    """

    job: RecordingExport
    exported: Exported
    size: int
    gaps: tuple[Gap, ...] = ()
    trade_gaps: tuple[TradeGap, ...] = ()

    @property
    def text(self) -> str:
        """What is in the file, in words; without a stop."""
        form, exported, parts = self.job.form, self.exported, []
        if form.has_levels:
            rows, runs = counted(exported.rows, "row"), counted(exported.books, "unbroken run")
            parts.append(f"{rows} of {runs}")
        if form.has_trades:
            parts.append(counted(exported.trades, "trade"))
        return ", ".join([*parts, counted(self.size, "byte")])

    def remarks(self) -> Iterator[str]:
        """Say what is remarkable about it, the gaps last."""
        exported = self.exported
        if exported.moved_ns:
            yield (
                "the recording computer's clock was behind the exchange's; local times were moved "
                f"forward by {exported.moved_ns / 1e9:.6f} s, so that no event arrives before it "
                "happened."
            )
        if exported.repaired:
            many = counted(exported.repaired, "trade was", "trades were")
            yield f"{many} repaired and never received: {_REPAIRED[self.job.form]}."
        for gap in self.gaps:
            yield f"gap from {time_text(gap.from_ms)} to {time_text(gap.to_ms)}: {gap.account}"
        for trade_gap in self.trade_gaps:
            span = f"{time_text(trade_gap.from_ms)} to {time_text(trade_gap.to_ms)}"
            yield f"gap of trades from {span}: {trade_gap.account}"


async def export_recording(
    place: Database | RecordingStore, job: RecordingExport, progress: Callable[[float], None]
) -> ExportedRecording:
    """Write the file; `progress` is called with the fraction that is done.

    Raises `NothingRecorded`, and as `export`.
    """
    span = job.from_ms, job.to_ms
    recording, trades = Recording(place, job.market), RecordedTrades(place, job.market)
    times: tuple[int, int] | None
    gaps: tuple[Gap, ...] = ()
    if job.form.has_levels:
        timeline = (await recording.timeline()).between(*span)
        if not timeline.covers:
            raise NothingRecorded(_span_text(job.symbol, *span))
        times, gaps = (timeline.from_ms, timeline.to_ms), timeline.gaps
    else:
        times = await trades.span(*span)
        if times is None:
            raise NothingRecorded(trades_of(_span_text(job.symbol, *span)))
    trade_gaps = tuple(await trades.gaps(*span)) if job.form.has_trades else ()
    slices, rows = partial(recording.slices, *span), partial(trades.rows, *span)
    export_job = ExportJob(
        *(job.market, slices, job.form, job.path, job.replace, rows), in_window=job.in_window
    )
    passes = _Passes(job.form.passes, times, progress)
    exported = await export(export_job, passes.reached)
    return ExportedRecording(job, exported, job.path.stat().st_size, gaps, trade_gaps)


class _Passes:
    """Turns the times that the export's passes reach into a fraction of the whole work."""

    def __init__(
        self, passes: int, times: tuple[int, int], progress: Callable[[float], None]
    ) -> None:
        self._passes = passes
        self._from_ms, self._to_ms = times
        self._progress = progress
        self._done = 0
        self._latest = 0.0

    def reached(self, event_ms: int) -> None:
        span = max(1, self._to_ms - self._from_ms)
        fraction = min(1.0, max(0.0, (event_ms - self._from_ms) / span))
        if fraction < self._latest:
            self._done += 1
        self._latest = fraction
        self._progress((self._done + fraction) / self._passes)


def _span_text(symbol: str, from_ms: int | None, to_ms: int | None) -> str:
    since = "" if from_ms is None else f" from {time_text(from_ms)}"
    until = "" if to_ms is None else f" to {time_text(to_ms)}"
    return f"{symbol}{since}{until}"
