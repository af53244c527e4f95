"""The command `import`: makes a recording of other collectors' files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.commands.long_work import WorkProgress, run_interruptibly
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.file_formats import ImportFormat
from orderbook_desktop.core.received import Broken, FileNotes, Received
from orderbook_desktop.formats.collected_files import messages_of
from orderbook_desktop.storage.imports.importing import ImportedMarket, Step, import_messages
from orderbook_desktop.storage.imports.report import file_remarks, remarks, results


def run_import(settings: Settings, paths: Sequence[Path], form: ImportFormat | None) -> int:
    """Import `paths` in the format `form` (None: detect it); return the exit code.

    Raises `KnownError`.
    """
    notes = FileNotes()
    messages = messages_of(paths, form, notes)

    def report(markets: list[ImportedMarket]) -> int:
        for market in markets:
            for text in results(market, settings.db_name):
                typer.echo(f"{market.market}: {text}")
            for text in remarks(market, notes):
                typer.echo(f"orderbook-desktop: {market.market}: {text}", err=True)
        for text in file_remarks(notes):
            typer.echo(f"orderbook-desktop: {text}", err=True)
        return 0

    work = _import(settings, messages)
    undone_text = "nothing was imported"
    # No deadline after a signal: an import that has begun to write finishes a moment later.
    return run_interruptibly(
        work, undone_text, report, done="everything was imported", within_s=None
    )


async def _import(
    settings: Settings, messages: Iterator[Received | Broken]
) -> list[ImportedMarket]:
    with WorkProgress("Reading") as progress:

        def show(step: Step, done: int, total: int) -> None:
            if total:
                progress.show(done / total, step.value)
            else:
                progress.show(None, f"{step.value} ({done:,} messages)")

        markets: list[ImportedMarket] | None = None
        try:
            async with open_database(settings, existing=False) as database:
                markets = await import_messages(database, messages, settings.data_dir, show)
        except asyncio.CancelledError:
            # If the import is complete, the request came too late: only the database had to close.
            if markets is None:
                raise
    return markets
