"""The command `recordings`: what is recorded, as a table or as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

from orderbook_desktop.app.commands.database_session import NothingRecorded, open_database, place_of
from orderbook_desktop.app.commands.long_work import run_interruptibly
from orderbook_desktop.app.commands.times import time_text
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.storage.reading.summaries import RecordingSummary, summaries
from orderbook_desktop.storage.retention.disk_usage import file_bytes
from orderbook_desktop.storage.store.owner import RecorderState

_WIDE: Final = 160


def run_recordings(settings: Settings, *, as_json: bool) -> int:
    """Print what is recorded; return the exit code. Raises `KnownError`."""

    def tell(found: list[RecordingSummary]) -> int:
        # Of another machine's database nothing is known of its disk.
        folder = None if settings.mongo_dsn else file_bytes(settings.database_dir)
        if as_json:
            fields = [{**as_fields(one), "folder_bytes": folder} for one in found]
            typer.echo(json.dumps(fields, indent=2))
            return 0
        # A file or a pipe has no width that cells would have to be cut to.
        console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
        console.print(table_of(found))
        for sentence in recorder_sentences(found):
            console.print(sentence)
        if folder is not None:
            console.print(disk_sentence(found, folder))
        return 0

    return run_interruptibly(_recordings(settings), "nothing was listed", tell)


def recorder_sentences(found: list[RecordingSummary]) -> list[str]:
    """Return what the recorders do, each state with its markets."""
    words = {
        RecorderState.RECORDING: "Recording now: {}.",
        RecorderState.INTERRUPTED: "Interrupted, its recorder goes on when it can: {}.",
        RecorderState.GONE: "Ended without being closed, its recorder is gone: {}.",
    }
    markets = {
        state: [one.market for one in found if one.recorder is state] for state in RecorderState
    }
    return [
        told.format(", ".join(markets[state])) for state, told in words.items() if markets[state]
    ]


def disk_sentence(found: list[RecordingSummary], folder_bytes: int) -> str:
    """Return what all of it takes, and what the database's folder really takes on the disk."""
    recorded = bytes_text(sum(one.stored_bytes for one in found))
    return (
        f"Recorded: {recorded}; the folder of the database takes {bytes_text(folder_bytes)} on the "
        "disk, with the room that it needs to work."
    )


async def _recordings(settings: Settings) -> list[RecordingSummary]:
    async with open_database(settings) as database:
        found = await summaries(database)
    if not found:
        raise NothingRecorded(place_of(settings))
    return found


def as_fields(one: RecordingSummary) -> dict[str, Any]:
    """Return the summary as JSON's objects have it; times are those of the exchange."""
    timeline = one.timeline
    is_empty = not timeline.covers
    return {
        "market": one.market,
        "from": None if is_empty else time_text(timeline.from_ms),
        "to": None if is_empty else time_text(timeline.to_ms),
        "from_ms": None if is_empty else timeline.from_ms,
        "to_ms": None if is_empty else timeline.to_ms,
        "covered_ms": timeline.covered_ms,
        "events": one.events,
        "segments": one.segments,
        "gaps": len(timeline.gaps),
        "bytes": one.stored_bytes,
        "running": one.running,
        "recorder": one.recorder.value or None,
    }


def table_of(found: list[RecordingSummary]) -> Table:
    """Return the table of `found`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("market", "from", "to", "events", "segments", "gaps", "size"):
        is_text = name in ("market", "from", "to")
        # In a narrow terminal a time may take two lines.
        is_time = name in ("from", "to")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_time)
    for one in found:
        timeline = one.timeline
        ends = ("", "")
        if timeline.covers:
            ends = (time_text(timeline.from_ms), time_text(timeline.to_ms))
        numbers = (one.events, one.segments, len(timeline.gaps))
        counts = (f"{number:,}" for number in numbers)
        table.add_row(one.market, *ends, *counts, bytes_text(one.stored_bytes))
    return table
