"""The command `recordings`: the list of recordings, as a table or as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

from orderbook_desktop.app.commands.database_session import NoRecordings, open_database, place_of
from orderbook_desktop.app.commands.long_work import run_interruptibly
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.recorded_gaps import HealedGap
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.storage.reading.summaries import RecordingSummary, TradeSummary, summaries
from orderbook_desktop.storage.store.disk_usage import file_bytes
from orderbook_desktop.storage.store.packed_store import open_packed
from orderbook_desktop.storage.store.recorder_states import RecorderState

_WIDE: Final = 160
_HEALED_NAMED: Final = 5


def run_recordings(settings: Settings, *, as_json: bool) -> int:
    """Print the list of recordings; return the exit code. Raises `KnownError`."""

    def report(found: list[RecordingSummary]) -> int:
        # The database of MONGO_DSN may be on another machine, whose disk is unknown.
        folder = None if settings.mongo_dsn else file_bytes(settings.database_dir)
        if as_json:
            fields = [{**as_fields(summary), "folder_bytes": folder} for summary in found]
            typer.echo(json.dumps(fields, indent=2))
            return 0
        console = _print_table(found)
        if folder is not None:
            console.print(disk_sentence(found, folder))
        return 0

    return run_interruptibly(_recordings(settings), "nothing was listed", report)


def run_recordings_of(path: Path, *, as_json: bool) -> int:
    """Print the list of the recordings in a packed file; return the exit code."""

    def report(found: list[RecordingSummary]) -> int:
        size = path.stat().st_size
        if as_json:
            fields = [{**as_fields(one), "file": str(path), "file_bytes": size} for one in found]
            typer.echo(json.dumps(fields, indent=2))
            return 0
        where = f"These recordings are in the file {path}, which takes {bytes_text(size)}."
        _print_table(found).print(where, markup=False, soft_wrap=True)
        return 0

    return run_interruptibly(_recordings_in(path), "nothing was listed", report)


async def _recordings_in(path: Path) -> list[RecordingSummary]:
    async with open_packed(path) as store:
        return await summaries(store)


def _print_table(found: list[RecordingSummary]) -> Console:
    """Print the table and what is to be said of it; return where."""
    # A file or a pipe has no width, so no cell has to be cut.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    console.print(table_of(found))
    sentences = [
        *(*gap_sentences(found), *healed_sentences(found)),
        *(*repaired_sentences(found), *recorder_sentences(found)),
    ]
    for sentence in sentences:
        console.print(sentence)
    return console


def gap_sentences(found: list[RecordingSummary]) -> list[str]:
    """Return a sentence for each market with gaps, with their causes; the most frequent first."""
    sentences = []
    for summary in found:
        causes = [
            f"{cause} ({count:,})" for cause, count in _causes_of(summary.timeline.gaps).items()
        ]
        if causes:
            sentences.append(f"Gaps of {summary.market}: {', '.join(causes)}; `verify` lists them.")
        lost = [f"{cause} ({count:,})" for cause, count in _causes_of(summary.trades.gaps).items()]
        if lost:
            named = f"Gaps of the trades of {summary.market}: {', '.join(lost)}"
            sentences.append(f"{named}; `verify` lists them.")
    return sentences


def healed_sentences(found: list[RecordingSummary]) -> list[str]:
    """Return a sentence for each market with healed gaps: their causes, and by what."""
    sentences = []
    for summary in found:
        kinds = Counter(f"{gap.cause.value}, by {gap.by}" for gap in summary.healed)
        named = [f"{kind} ({count:,})" for kind, count in kinds.most_common(_HEALED_NAMED)]
        if more := len(kinds) - len(named):
            named.append(f"{more:,} more kinds")
        if named:
            sentences.append(f"Healed gaps of {summary.market}: {'; '.join(named)}.")
    return sentences


def repaired_sentences(found: list[RecordingSummary]) -> list[str]:
    """Return a sentence with how many trades of which market were asked for afterwards."""
    some = [
        f"{summary.market} ({summary.trades.repaired:,})"
        for summary in found
        if summary.trades.repaired
    ]
    return [f"Trades repaired, so without a time of receipt: {', '.join(some)}."] if some else []


def _causes_of(gaps: Sequence[Gap | TradeGap]) -> dict[str, int]:
    """Return how many of `gaps` each cause has, the most frequent first."""
    return dict(Counter(gap.cause.value for gap in gaps).most_common())


def recorder_sentences(found: list[RecordingSummary]) -> list[str]:
    """Return a sentence for each state of a recorder, with the markets in that state."""
    words = {
        RecorderState.RECORDING: "Recording now: {}.",
        RecorderState.INTERRUPTED: "Interrupted; the recorder goes on when it can: {}.",
        RecorderState.GONE: "Ended without being closed; the recorder is gone: {}.",
    }
    markets = {
        state: [summary.market for summary in found if summary.recorder is state]
        for state in RecorderState
    }
    return [
        sentence.format(", ".join(markets[state]))
        for state, sentence in words.items()
        if markets[state]
    ]


def disk_sentence(found: list[RecordingSummary], folder_bytes: int) -> str:
    """Return a sentence with the size of all recordings and of the database's folder."""
    recorded = bytes_text(sum(map(_bytes_of, found)))
    return (
        f"Recorded: {recorded}; the folder of the database takes {bytes_text(folder_bytes)} on the "
        "disk, with the room that it needs to work."
    )


async def _recordings(settings: Settings) -> list[RecordingSummary]:
    async with open_database(settings) as database:
        found = await summaries(database)
    if not found:
        raise NoRecordings(place_of(settings))
    return found


def as_fields(summary: RecordingSummary) -> dict[str, Any]:
    """Return the fields of `summary` for JSON; times are the exchange's."""
    timeline = summary.timeline
    is_empty = not timeline.covers
    return {
        "market": summary.market,
        "from": None if is_empty else time_text(timeline.from_ms),
        "to": None if is_empty else time_text(timeline.to_ms),
        "from_ms": None if is_empty else timeline.from_ms,
        "to_ms": None if is_empty else timeline.to_ms,
        "covered_ms": timeline.covered_ms,
        "events": summary.events,
        "segments": summary.segments,
        "gaps": len(timeline.gaps),
        "gap_causes": _causes_of(timeline.gaps),
        "healed": [_healed_fields(gap) for gap in summary.healed],
        "bytes": summary.stored_bytes,
        "imports": [
            {
                "id": stored.id,
                "from_ms": stored.segment.first_event_ms,
                "to_ms": stored.segment.last_event_ms,
                "events": stored.segment.event_count,
            }
            for stored in summary.imports
        ],
        "running": summary.running,
        "recorder": summary.recorder.value or None,
        "bookmarks": summary.bookmarks,
        **_trade_fields(summary.trades),
    }


def _healed_fields(gap: HealedGap) -> dict[str, Any]:
    return {
        "from_ms": gap.from_ms,
        "to_ms": gap.to_ms,
        "first_id": gap.first_missing,
        "last_id": gap.last_missing,
        "cause": gap.cause.value,
        "detail": gap.detail,
        "by": gap.by,
    }


def _trade_fields(trades: TradeSummary) -> dict[str, Any]:
    """Return the fields of a market's trades for JSON; `bytes` may be an estimate."""
    if trades.span_ms is None:
        return {}
    begin_ms, end_ms = trades.span_ms
    fields = {
        "from": time_text(begin_ms),
        "to": time_text(end_ms),
        "from_ms": begin_ms,
        "to_ms": end_ms,
        "trades": trades.size.trades,
        "repaired": trades.repaired,
        "runs": len(trades.runs),
        "gaps": len(trades.gaps),
        "gap_causes": _causes_of(trades.gaps),
        "missing": sum(gap.missing for gap in trades.gaps),
        "bytes": trades.size.stored_bytes,
        "imports": [
            {"id": run.id, "from_ms": run.from_ms, "to_ms": run.to_ms, "trades": run.count}
            for run in trades.imports
        ],
    }
    return {"trades": fields}


def _bytes_of(summary: RecordingSummary) -> int:
    return summary.stored_bytes + summary.trades.size.stored_bytes


def table_of(found: list[RecordingSummary]) -> Table:
    """Return the table of `found`; without any trades it has no columns of trades."""
    has_trades = any(summary.trades.runs for summary in found)
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = ["market", "from", "to", "events", "segments", "gaps"]
    for name in (*names, *(("trades", "trade gaps") if has_trades else ()), "size"):
        is_text = name in ("market", "from", "to")
        # In a narrow terminal a time may wrap onto a second line.
        is_time = name in ("from", "to")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_time)
    for summary in found:
        timeline, trades = summary.timeline, summary.trades
        numbers = [summary.events, summary.segments, len(timeline.gaps)]
        if has_trades:
            numbers += [trades.size.trades, len(trades.gaps)]
        counts = (f"{number:,}" for number in numbers)
        table.add_row(summary.market, *_ends(summary), *counts, bytes_text(_bytes_of(summary)))
    return table


def _ends(summary: RecordingSummary) -> tuple[str, str]:
    """Return from when to when there is a book, or else trades; empty texts without either."""
    timeline, span_ms = summary.timeline, summary.trades.span_ms
    if timeline.covers:
        span_ms = timeline.from_ms, timeline.to_ms
    return ("", "") if span_ms is None else (time_text(span_ms[0]), time_text(span_ms[1]))
