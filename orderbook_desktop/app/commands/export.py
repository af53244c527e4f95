"""The command `export`: writes a recording to a file for other tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import typer

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.commands.long_work import WorkProgress, run_interruptibly
from orderbook_desktop.app.commands.packed import market_in, open_packed
from orderbook_desktop.app.commands.times import check_span
from orderbook_desktop.app.settings import Settings, symbol_and_market
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.number_format import counted
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap
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


def run_export(
    settings: Settings,
    typed: str | None,
    form: ExportFormat,
    path: Path,
    *,
    from_ms: int | None,
    to_ms: int | None,
    force: bool,
    file: Path | None = None,
) -> int:
    """Export the symbol `typed`; return the exit code. Raises `KnownError`.

    It is in the packed `file`, if that is given; there it need not be named if there is one only.
    """
    names = None if typed is None else symbol_and_market(typed)
    check_span(from_ms, to_ms)

    async def work() -> _Done:
        done: _Done | None = None
        try:
            async with _place(settings, file, names) as (place, symbol, market):
                job = _Job(symbol, market, form, path, from_ms, to_ms, force)
                done = await _export(place, job)
        except asyncio.CancelledError:
            # If the file is complete, the request came too late: only the database had to close.
            if done is None:
                raise
        return done

    def report(done: _Done) -> int:
        _report(path, form, done)
        return 0

    return run_interruptibly(work(), "nothing was exported", report, done=f"{path} was written")


class _Job(NamedTuple):
    """What to export, and where to."""

    symbol: str
    market: str
    form: ExportFormat
    path: Path
    from_ms: int | None
    to_ms: int | None
    force: bool


class _Done(NamedTuple):
    """What was exported, and its gaps: of the book, and of the trades."""

    exported: Exported
    gaps: Sequence[Gap]
    trade_gaps: Sequence[TradeGap]


@asynccontextmanager
async def _place(
    settings: Settings, file: Path | None, names: tuple[str, str] | None
) -> AsyncIterator[tuple[Database | RecordingStore, str, str]]:
    """Give the place of a recording, its symbol and its market."""
    if file is not None:
        async with open_packed(file) as store:
            yield store, *market_in(store, names)
    elif names is not None:
        async with open_database(settings) as database:
            yield database, *names


async def _export(place: Database | RecordingStore, job: _Job) -> _Done:
    span = job.from_ms, job.to_ms
    recording, trades = Recording(place, job.market), RecordedTrades(place, job.market)
    times: tuple[int, int] | None
    if job.form.has_levels:
        timeline = (await recording.timeline()).between(*span)
        if not timeline.covers:
            raise NothingRecorded(_span_text(job.symbol, *span))
        times, gaps = (timeline.from_ms, timeline.to_ms), timeline.gaps
    else:
        times, gaps = await trades.span(*span), ()
        if times is None:
            raise NothingRecorded(trades_of(_span_text(job.symbol, *span)))
    trade_gaps = await trades.gaps(*span) if job.form.has_trades else []
    slices, rows = partial(recording.slices, *span), partial(trades.rows, *span)
    export_job = ExportJob(job.market, slices, job.form, job.path, job.force, rows)
    with WorkProgress(f"Exporting {job.symbol}") as progress:
        passes = _Passes(job.form.passes, times, progress)
        return _Done(await export(export_job, passes.reached), gaps, trade_gaps)


class _Passes:
    """Turns the times that the export's passes reach into a fraction of the whole work."""

    def __init__(self, passes: int, times: tuple[int, int], progress: WorkProgress) -> None:
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
        self._progress.show((self._done + fraction) / self._passes)


def _report(path: Path, form: ExportFormat, done: _Done) -> None:
    exported = done.exported
    parts = []
    if form.has_levels:
        rows, runs = counted(exported.rows, "row"), counted(exported.books, "unbroken run")
        parts.append(f"{rows} of {runs}")
    if form.has_trades:
        parts.append(counted(exported.trades, "trade"))
    parts.append(counted(path.stat().st_size, "byte"))
    typer.echo(f"{path}: {', '.join(parts)}.")
    if exported.moved_ns:
        _remark(
            "the recording computer's clock was behind the exchange's; local times were moved "
            f"forward by {exported.moved_ns / 1e9:.6f} s, so that no event arrives before it "
            "happened."
        )
    if exported.repaired:
        many = counted(exported.repaired, "trade was", "trades were")
        _remark(f"{many} repaired and never received: {_REPAIRED[form]}.")
    for gap in done.gaps:
        _remark(f"gap from {time_text(gap.from_ms)} to {time_text(gap.to_ms)}: {gap.account}")
    for trade_gap in done.trade_gaps:
        span = f"{time_text(trade_gap.from_ms)} to {time_text(trade_gap.to_ms)}"
        _remark(f"gap of trades from {span}: {trade_gap.account}")


def _remark(text: str) -> None:
    typer.echo(f"orderbook-desktop: {text}", err=True)


def _span_text(symbol: str, from_ms: int | None, to_ms: int | None) -> str:
    since = "" if from_ms is None else f" from {time_text(from_ms)}"
    until = "" if to_ms is None else f" to {time_text(to_ms)}"
    return f"{symbol}{since}{until}"
