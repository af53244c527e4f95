"""What an import did, in sentences: for each market, and for the files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from orderbook_desktop.core.event_times import OddTimes
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.received import FileNotes
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.imports.importing import ImportedMarket
from orderbook_desktop.storage.imports.runs import Counts
from orderbook_desktop.storage.imports.trades import ImportedTrades

_WHY: Final = {
    GapCause.FEED_GAP: "update ids are missing",
    GapCause.CROSSED: "the book is crossed",
    GapCause.TOO_WIDE: "a value is too wide",
    GapCause.MALFORMED: "an event can't be read",
}
_DAY_MS: Final = 86_400_000
_LONGEST_NAME: Final = 80


def results(imported: ImportedMarket, db_name: str) -> Iterator[str]:
    """Say what was imported of a market into the database `db_name`, and whether anything was."""
    trades = imported.trades
    if imported.segments:
        runs = counted(len(imported.segments), "unbroken run")
        span = f"{time_text(imported.timeline.from_ms)} to {time_text(imported.timeline.to_ms)}"
        events = counted(imported.events, "event")
        yield f"{events} in {runs}, {span}, into {db_name}."
    elif imported.loose:
        yield f"{counted(imported.loose, 'event')}, kept apart."
    elif imported.known or imported.counts.loose:
        yield "all of it is there already; nothing was imported."
    elif trades is None:
        yield "no change of its book; nothing was imported."
    if trades is not None:
        yield _trades_text(trades, db_name)


def remarks(imported: ImportedMarket, notes: FileNotes) -> Iterator[str]:
    """Say what is remarkable about the import of a market."""
    yield from _remarks(imported)
    if imported.trades is not None:
        yield from trade_remarks(imported.trades, notes.single_trades.get(imported.market, 0))


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


def file_remarks(notes: FileNotes) -> Iterator[str]:
    """Say what is remarkable about the files of an import."""
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
