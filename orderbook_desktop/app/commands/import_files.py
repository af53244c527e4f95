"""The command `import`: makes a recording of other collectors' files."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import typer

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.commands.long_work import WorkProgress, run_interruptibly
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.event_times import OddTimes
from orderbook_desktop.core.file_formats import ImportFormat
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.number_format import counted
from orderbook_desktop.core.received import Broken, FileNotes, Received, UnusableFile
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.formats.aggtrades_files import aggtrades, is_aggtrades
from orderbook_desktop.formats.capture_reader import captured_messages, is_captured
from orderbook_desktop.formats.lines import check_file, first_line
from orderbook_desktop.formats.tardis_reader import is_tardis, tardis_messages
from orderbook_desktop.formats.tardis_trades import is_tardis_trades, tardis_trades
from orderbook_desktop.storage.imports.importing import ImportedMarket, Step, import_messages
from orderbook_desktop.storage.imports.runs import Counts
from orderbook_desktop.storage.imports.trades import ImportedTrades

_READERS: Final = {
    ImportFormat.RAW: captured_messages,
    ImportFormat.TARDIS: tardis_messages,
    ImportFormat.TARDIS_TRADES: tardis_trades,
    ImportFormat.AGGTRADES: aggtrades,
}
# Open files and sockets besides the imported files.
_OTHER_FILES: Final = 100
_WHY: Final = {
    GapCause.FEED_GAP: "update ids are missing",
    GapCause.CROSSED: "the book is crossed",
    GapCause.TOO_WIDE: "a value is too wide",
    GapCause.MALFORMED: "an event can't be read",
}
_DAY_MS: Final = 86_400_000
_LONGEST_NAME: Final = 80
_NAMES: Final = {
    ImportFormat.RAW: "collector lines",
    ImportFormat.TARDIS: "Tardis CSV",
    ImportFormat.TARDIS_TRADES: "Tardis CSV of trades",
    ImportFormat.AGGTRADES: "the exchange's zipped trades",
}


def run_import(settings: Settings, paths: Sequence[Path], form: ImportFormat | None) -> int:
    """Import `paths` in the format `form` (None: detect it); return the exit code.

    Raises `KnownError`.
    """
    for path in paths:
        check_file(path)
    form = form or detected(paths)
    _raise_file_limit(len(paths))
    notes = FileNotes()
    messages = _READERS[form](paths, notes)

    def report(markets: list[ImportedMarket]) -> int:
        for market in markets:
            _report(market, settings.db_name, notes)
        for text in _notes(notes):
            typer.echo(f"orderbook-desktop: {text}", err=True)
        return 0

    work = _import(settings, messages)
    undone_text = "nothing was imported"
    # No deadline after a signal: an import that has begun to write finishes a moment later.
    return run_interruptibly(
        work, undone_text, report, done="everything was imported", within_s=None
    )


def detected(paths: Sequence[Path]) -> ImportFormat:
    """Return the common format of `paths`, detected from their content; raises `UnusableFile`."""
    forms = [_detected(path) for path in paths]
    for path, form in zip(paths, forms, strict=True):
        if form is not forms[0]:
            reason = f"holds {_NAMES[form]}, {paths[0]} {_NAMES[forms[0]]}; import them separately"
            raise UnusableFile(path, reason)
    return forms[0]


def _raise_file_limit(count: int) -> None:
    """Let the process open `count` more files at once, as far as the system permits."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 (not on Windows)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _detected(path: Path) -> ImportFormat:
    if is_aggtrades(path):
        return ImportFormat.AGGTRADES
    line = first_line(path)
    if is_tardis(line):
        return ImportFormat.TARDIS
    if is_tardis_trades(line):
        return ImportFormat.TARDIS_TRADES
    if is_captured(line):
        return ImportFormat.RAW
    raise UnusableFile(
        path,
        "is neither collector lines (a receive time in ns, then JSON), nor Tardis' CSV "
        "(incremental_book_L2 or trades), nor the exchange's zip of aggregated trades",
        1,
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


def _report(imported: ImportedMarket, db_name: str, notes: FileNotes) -> None:
    """Print the result of one market on standard output, and remarks on standard error."""
    market, trades = imported.market, imported.trades
    if imported.segments:
        runs = counted(len(imported.segments), "unbroken run")
        span = f"{time_text(imported.timeline.from_ms)} to {time_text(imported.timeline.to_ms)}"
        events = counted(imported.events, "event")
        typer.echo(f"{market}: {events} in {runs}, {span}, into {db_name}.")
    elif imported.loose:
        typer.echo(f"{market}: {counted(imported.loose, 'event')}, kept apart.")
    elif imported.known or imported.counts.loose:
        typer.echo(f"{market}: all of it is there already; nothing was imported.")
    elif trades is None:
        typer.echo(f"{market}: no change of its book; nothing was imported.")
    if trades is not None:
        typer.echo(f"{market}: {_trades_text(trades, db_name)}")
    for text in _remarks(imported):
        typer.echo(f"orderbook-desktop: {market}: {text}", err=True)
    if trades is not None:
        for text in trade_remarks(trades, notes.single_trades.get(market, 0)):
            typer.echo(f"orderbook-desktop: {market}: {text}", err=True)


def _trades_text(trades: ImportedTrades, db_name: str) -> str:
    if not trades.stored:
        there = "all of its trades are there already" if trades.known else "no trade fits"
        return f"{there}; none was imported."
    span = f"{time_text(trades.from_ms)} to {time_text(trades.to_ms)}"
    return f"{counted(trades.stored, 'trade')}, {span}, into {db_name}."


def trade_remarks(trades: ImportedTrades, single: int) -> Iterator[str]:
    """Say what is remarkable about the trades of a market; they are made of `single` ones."""
    if single:
        many = counted(trades.stored + trades.known, "trade")
        yield (
            f"the files have no aggregated trades; {counted(single, 'single trade')} were taken as "
            f"{many}: those in a row with the same time, price and side are one."
        )
    if trades.known and trades.stored:
        known = counted(trades.known, "more trade was", "more trades were")
        yield f"{known} there already."
    if trades.repeated:
        yield f"{counted(trades.repeated, 'trade')} came twice, and counted once."
    if trades.too_wide:
        many = counted(trades.too_wide, "trade")
        yield f"left out {many} whose values are too wide for 64 bits."
    for gap in trades.gaps:
        span = f"{time_text(gap.from_ms)} to {time_text(gap.to_ms)}"
        yield f"gap of trades from {span}: {gap.account}"


def _remarks(imported: ImportedMarket) -> Iterator[str]:
    counts = imported.counts
    for gap in imported.gaps if imported.segments else ():
        yield f"gap from {time_text(gap.from_ms)} to {time_text(gap.to_ms)}: {gap.account}"
    if imported.known and (imported.segments or imported.loose):
        known = counted(imported.known, "more event was", "more events were")
        yield f"{known} there already."
    if counts.repeated:
        yield f"{counted(counts.repeated, 'event')} came twice, and counted once."
    if counts.implausible:
        many = counted(counts.implausible, "event")
        yield f"left out {many} whose update ids can't follow the others."
    yield from _odd_times(counts.times)
    if counts.behind_ms > _DAY_MS:
        yield (
            "by their times, events were received long before they happened; a clock of the "
            "collector was wrong."
        )
    last_run = imported.runs[-1] if imported.segments and imported.runs else None
    end = last_run.end_cause if last_run is not None else None
    if last_run is not None and end is not None and end in _WHY:
        yield f"{_WHY[end]} after {time_text(last_run.last_event_ms)}, and no whole book follows."
    yield from loose_remarks(imported.loose, counts)


def loose_remarks(loose: int, counts: Counts) -> Iterator[str]:
    """Say of `loose` events without a book what lets them join one; `counts` may be of more."""
    apart = min(counts.unjoinable, loose)
    if rest := loose - apart:
        yield (
            f"{counted(rest, 'event belongs', 'events belong')} to no known book, and will join "
            "one if a file is imported that has what is missing before them, alone or together "
            "with this one."
        )
    if apart:
        yield (
            f"{counted(apart, 'event belongs', 'events belong')} to no known book, as what comes "
            "before can't be used; another file may have it whole."
        )


def _odd_times(times: OddTimes) -> Iterator[str]:
    if times.converted:
        many = counted(times.converted, "event")
        yield f"the times of {many} were converted to milliseconds."
    if times.held:
        many = counted(times.held, "event")
        yield f"the times of {many} are impossible; each gets the time of the event before it."


def _notes(notes: FileNotes) -> Iterator[str]:
    for breaks in notes.breaks.values():
        for sentence in breaks:
            yield f"{sentence} Every whole line was read."
    for path, left_out in notes.left_out.items():
        lines = "was left out: it" if left_out.count == 1 else "were left out: the first"
        count = counted(left_out.count, "line")
        yield f"{path.name}: {count} {lines}, line {left_out.line}, {left_out.what}."
    for path, streams in notes.streams.items():
        for stream, of_stream in streams.items():
            many, name = counted(of_stream, "line"), plain_text(stream, _LONGEST_NAME)
            yield f"{path.name}: left out {many} of the stream {name}."
    for path, unit in notes.units.items():
        yield f"times in {path.name} were read as {unit}."
