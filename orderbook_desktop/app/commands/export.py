"""The command `export`: writes a recording to a file for other tools."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from orderbook_desktop.app.commands.long_work import WorkProgress, run_interruptibly
from orderbook_desktop.app.commands.packed import recording_place
from orderbook_desktop.app.commands.times import check_span
from orderbook_desktop.app.settings import Settings, symbol_and_market
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.storage.exports.recording_export import (
    ExportedRecording,
    RecordingExport,
    export_recording,
)


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

    async def work() -> ExportedRecording:
        done: ExportedRecording | None = None
        try:
            async with recording_place(settings, file, names) as (place, symbol, market):
                job = RecordingExport(symbol, market, form, path, from_ms, to_ms, force)
                with WorkProgress(f"Exporting {symbol}") as progress:
                    done = await export_recording(place, job, progress.show)
        except asyncio.CancelledError:
            # If the file is complete, the request came too late: only the database had to close.
            if done is None:
                raise
        return done

    def report(done: ExportedRecording) -> int:
        typer.echo(f"{path}: {done.text}.")
        for text in done.remarks():
            typer.echo(f"orderbook-desktop: {text}", err=True)
        return 0

    return run_interruptibly(work(), "nothing was exported", report, done=f"{path} was written")
