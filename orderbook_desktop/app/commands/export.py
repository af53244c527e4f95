"""The command `export`: writes a recording to a file for other tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import typer

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.commands.long_work import WorkProgress, run_interruptibly
from orderbook_desktop.app.commands.packed import market_in, open_packed
from orderbook_desktop.app.commands.times import check_span
from orderbook_desktop.app.settings import Settings, symbol_and_market
from orderbook_desktop.core.number_format import counted
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.formats.names import ExportFormat
from orderbook_desktop.storage.exports.exporting import Exported, ExportJob, NothingRecorded, export
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.recording_store import RecordingStore


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

    async def work() -> tuple[Exported, Timeline]:
        done: tuple[Exported, Timeline] | None = None
        try:
            async with _place(settings, file, names) as (place, symbol, market):
                job = _Job(symbol, market, form, path, from_ms, to_ms, force)
                done = await _export(place, job)
        except asyncio.CancelledError:
            # If the file is complete, the request came too late: only the database had to close.
            if done is None:
                raise
        return done

    def report(done: tuple[Exported, Timeline]) -> int:
        _report(path, *done)
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


async def _export(place: Database | RecordingStore, job: _Job) -> tuple[Exported, Timeline]:
    span = job.from_ms, job.to_ms
    recording = Recording(place, job.market)
    timeline = (await recording.timeline()).between(*span)
    if not timeline.covers:
        raise NothingRecorded(_span_text(job.symbol, *span))
    slices = partial(recording.slices, *span)
    export_job = ExportJob(job.market, slices, job.form, job.path, job.force)
    with WorkProgress(f"Exporting {job.symbol}") as progress:
        passes = _Passes(job.form.passes, timeline, progress)
        return await export(export_job, passes.reached), timeline


class _Passes:
    """Turns the times that the export's passes reach into a fraction of the whole work."""

    def __init__(self, passes: int, timeline: Timeline, progress: WorkProgress) -> None:
        self._passes = passes
        self._timeline = timeline
        self._progress = progress
        self._done = 0
        self._latest = 0.0

    def reached(self, event_ms: int) -> None:
        span = max(1, self._timeline.to_ms - self._timeline.from_ms)
        fraction = min(1.0, max(0.0, (event_ms - self._timeline.from_ms) / span))
        if fraction < self._latest:
            self._done += 1
        self._latest = fraction
        self._progress.show((self._done + fraction) / self._passes)


def _report(path: Path, done: Exported, timeline: Timeline) -> None:
    size = path.stat().st_size
    rows, runs = counted(done.rows, "row"), counted(done.books, "unbroken run")
    typer.echo(f"{path}: {rows} of {runs}, {counted(size, 'byte')}.")
    if done.moved_ns:
        typer.echo(
            "orderbook-desktop: the recording computer's clock was behind the exchange's; local "
            f"times were moved forward by {done.moved_ns / 1e9:.6f} s, so that no event arrives "
            "before it happened.",
            err=True,
        )
    for gap in timeline.gaps:
        typer.echo(
            f"orderbook-desktop: gap from {time_text(gap.from_ms)} to {time_text(gap.to_ms)}: "
            f"{gap.account}",
            err=True,
        )


def _span_text(symbol: str, from_ms: int | None, to_ms: int | None) -> str:
    since = "" if from_ms is None else f" from {time_text(from_ms)}"
    until = "" if to_ms is None else f" to {time_text(to_ms)}"
    return f"{symbol}{since}{until}"
