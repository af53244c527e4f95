"""The columns of the library's table: the content of each cell, and how rows are sorted by it.

A row is a market: what is stored of it, and how it is recorded now. A recording in a packed file
that was opened is a row of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.library_jobs import EntryKey, LibraryEntry
from orderbook_desktop.core.recorded_gaps import NOT_READ, RecordedGaps
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.time_text import duration_text, recent_text, time_text
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.core.wording import counted

# No state is shown by colour alone: each has a sign and a word.
_SIGNS: Final = {
    RecordingState.FAILED: "✕",
    RecordingState.DELAYED: "▲",
    RecordingState.PAUSED: "▲",
    RecordingState.TOO_WIDE: "▲",
    RecordingState.RECONNECTING: "↻",
    RecordingState.WAITING: "◌",
    RecordingState.ELSEWHERE: "◇",
    RecordingState.RECORDING: "●",
    RecordingState.STOPPED: "○",
}
_NEVER: Final = "—"


# What is not recorded now, and what is in a file, come after all that is recorded.
_STORED: Final = "· stored"
_STORED_ELSEWHERE: Final = "◇ recorded by another program"
_IN_FILE: Final = "▤ packed file"
_STORED_RANK: Final = len(RecordingState)
_FILE_RANK: Final = _STORED_RANK + 1


class LibraryRow(Struct, frozen=True):
    """One row: `entry` is what is stored, `recording` how it is recorded now; one may be None.

    `gaps` are those of the recording, None while they are not read. Its times are written in `zone`
    (None: local).
    """

    key: EntryKey
    symbol: str
    entry: LibraryEntry | None = None
    recording: RecordingStatus | None = None
    gaps: RecordedGaps | None = None
    zone: tzinfo | None = None

    @property
    def name(self) -> str:
        """The symbol, and the file that it is in."""
        if self.key.file:
            return f"{self.symbol} · {plain_text(Path(self.key.file).name)}"
        if self.recording is not None and not self.recording.kept:
            return f"{self.symbol} · on screen"
        return self.symbol

    @property
    def timeline(self) -> Timeline | None:
        """What is covered; None without a book."""
        if self.entry is None or not self.entry.timeline.covers:
            return None
        return self.entry.timeline


def rows_of(
    recordings: Sequence[RecordingStatus],
    entries: Sequence[LibraryEntry],
    zone: tzinfo | None = None,
) -> list[LibraryRow]:
    """Return a row for each market that is recorded or stored, and for each one in a file."""
    stored = {entry.key: entry for entry in entries}
    rows = []
    for recording in recordings:
        key = EntryKey(recording.symbol.replace("/", ""))
        entry = stored.pop(key, None)
        gaps = recording.gaps
        if gaps is None and entry is not None:
            gaps = entry.gaps
        rows.append(LibraryRow(key, recording.symbol, entry, recording, gaps, zone))
    rows += [LibraryRow(key, one.symbol, one, None, one.gaps, zone) for key, one in stored.items()]
    return rows


class Column(Struct, frozen=True):
    """One column: its heading, and what makes a cell's text, sort key and tool tip.

    `is_live` columns tell how it is recorded now.
    """

    heading: str
    text: Callable[[LibraryRow], str]
    key: Callable[[LibraryRow], float]
    tip: Callable[[LibraryRow], str]
    is_number: bool = True
    is_live: bool = False


def state_text(state: RecordingState) -> str:
    """Return the text of a cell for `state`: its sign and its words."""
    return f"{_SIGNS[state]} {state.value}"


def _state_words(recording: RecordingStatus) -> str:
    """Return the state in words; before the first event, "connecting" for "reconnecting"."""
    is_new = not recording.counts.events and not recording.counts.gaps and not recording.waiting
    if recording.state is RecordingState.RECONNECTING and is_new:
        return "connecting"
    if recording.repair is not None and recording.state is RecordingState.RECORDING:
        return f"{recording.state.value}, repairing {recording.repair.percent} %"
    return recording.state.value


def _state_tip(recording: RecordingStatus) -> str:
    if recording.recorded_by:
        return f"Recorded by {recording.recorded_by}; it is followed until that recording ends."
    if recording.repair is not None and not recording.problem:
        return f"Recording, and {recording.repair.text(recording.symbol)}."
    return recording.problem or _state_words(recording).capitalize() + "."


def _row_state_text(row: LibraryRow) -> str:
    if row.recording is not None:
        return f"{_SIGNS[row.recording.state]} {_state_words(row.recording)}"
    if row.key.file:
        return _IN_FILE
    return _STORED_ELSEWHERE if row.entry is not None and row.entry.is_recorded else _STORED


def _row_rank(row: LibraryRow) -> float:
    if row.recording is not None:
        return row.recording.state.rank
    if row.key.file:
        return _FILE_RANK
    is_recorded = row.entry is not None and row.entry.is_recorded
    return RecordingState.ELSEWHERE.rank if is_recorded else _STORED_RANK


def _row_state_tip(row: LibraryRow) -> str:
    recording = row.recording
    if recording is None:
        if row.key.file:
            return f"In the file {plain_text(row.key.file)}; it is not in the database."
        if row.entry is not None and row.entry.is_recorded:
            return "Another program records it now."
        return "It was recorded before, and is not recorded now."
    tip = _state_tip(recording)
    return f"{tip} Since {_time_text(recording.since_ms, row.zone)}." if recording.since_ms else tip


def _lag_text(row: LibraryRow) -> str:
    recording = row.recording
    lag_ms = None if recording is None else recording.lag_ms
    if recording is None or lag_ms is None or recording.state is RecordingState.STOPPED:
        return _NEVER
    return f"{lag_ms} ms" if lag_ms < 1_000 else f"{lag_ms / 1000:,.1f} s"


def _lag_key(row: LibraryRow) -> float:
    recording = row.recording
    return -1 if recording is None or recording.lag_ms is None else recording.lag_ms


def _rate_text(row: LibraryRow) -> str:
    recording = row.recording
    return _NEVER if recording is None or not recording.wanted else f"{recording.rate:,.1f}"


def _time_text(ms: int, zone: tzinfo | None, now_s: Callable[[], float] = time.time) -> str:
    """Return a time of our own clock (ms since the epoch), with the date unless it is today."""
    if not ms:
        return _NEVER
    return recent_text(ms, round(now_s() * 1_000), zone)


def _gaps_text(row: LibraryRow) -> str:
    if row.gaps is None:
        return NOT_READ
    of_trades = f" · {len(row.gaps.trades):,} of trades" if row.gaps.trades else ""
    return f"{len(row.gaps.gaps):,}{of_trades}"


def _gaps_key(row: LibraryRow) -> float:
    return -1 if row.gaps is None else len(row.gaps.gaps) + len(row.gaps.trades)


def _gaps_tip(row: LibraryRow) -> str:
    gaps = row.gaps
    if gaps is None:
        return "The gaps are not read yet."
    others = f" Besides: {gaps.others_text}." if gaps.others_text else ""
    if not gaps.gaps:
        return f"No gaps.{others}"
    latest = gaps.gaps[0]
    how_many = counted(len(gaps.gaps), "gap") if row.recording is None else gaps.sentence
    began = _time_text(latest.from_ms, row.zone)
    return f"{how_many}. The last one began at {began}: {latest.sentence}.{others}"


def _symbol_tip(row: LibraryRow) -> str:
    recording = row.recording
    if recording is None:
        return "Recorded before." if not row.key.file else "In a packed file."
    tip = "Recorded only while it is on screen. Keep it recording to look at another symbol."
    if recording.kept:
        tip = "Recorded also while another symbol is on screen."
    if recording.here_too:
        tip += " Recorded here also while another program records it."
    return tip


def _end(row: LibraryRow, place: int) -> int:
    span_ms = None if row.entry is None else row.entry.span_ms
    return 0 if span_ms is None else span_ms[place]


def _end_text(row: LibraryRow, place: int) -> str:
    ms = _end(row, place)
    # To the second: the tool tip has the rest.
    return time_text(ms, row.zone)[:19] if ms else _NEVER


def _end_tip(row: LibraryRow, place: int) -> str:
    ms = _end(row, place)
    if not ms:
        return "Nothing is stored yet."
    written = "local time" if row.zone is None else "UTC"
    return f"{time_text(ms, row.zone)}, by the exchange's clock, in {written}."


def _covered_key(row: LibraryRow) -> float:
    share = None if row.entry is None else row.entry.covered_share
    return -1 if share is None else share


def _covered_text(row: LibraryRow) -> str:
    return (row.entry.covered_text if row.entry is not None else "") or _NEVER


def _covered_tip(row: LibraryRow) -> str:
    timeline = row.timeline
    if timeline is None:
        return "No book is stored."
    whole = duration_text(timeline.covered_ms + timeline.gap_ms)
    gaps = counted(len(timeline.gaps), "gap")
    return f"The book is known for {duration_text(timeline.covered_ms)} of {whole}, with {gaps}."


def _events_tip(row: LibraryRow) -> str:
    stored = counted(row.entry.segments, "unbroken run") if row.entry is not None else "nothing"
    tip = f"Stored in {stored}."
    if row.recording is not None:
        counts = row.recording.counts
        tip += (
            f" In this session: {counted(counts.events, 'event')}, "
            f"{counted(counts.payload_bytes, 'byte')} as the exchange sent them. Waiting for the "
            f"database: {counted(row.recording.waiting, 'event')}."
        )
    return tip


def _trades_tip(row: LibraryRow) -> str:
    if row.entry is None or not row.entry.trades:
        return "No trades are stored."
    repaired = row.entry.repaired
    if not repaired:
        return "All of them were received."
    return f"{counted(repaired, 'trade was', 'trades were')} asked for later."


def _size_tip(row: LibraryRow) -> str:
    tip = "What events and trades take in the database or file, partly estimated."
    if row.recording is not None:
        counts = row.recording.counts
        tip += (
            f" {counted(counts.archived_events, 'event')} archived in this session, in "
            f"{counted(counts.archived_bytes, 'byte')}."
        )
    return tip


def _number(row: LibraryRow, number: Callable[[LibraryEntry], int]) -> str:
    return _NEVER if row.entry is None else f"{number(row.entry):,}"


COLUMNS: Final = (
    Column("Symbol", lambda row: row.name, lambda _row: 0.0, _symbol_tip, is_number=False),
    Column("State", _row_state_text, _row_rank, _row_state_tip, is_number=False, is_live=True),
    Column(
        "Events/s",
        _rate_text,
        lambda row: 0.0 if row.recording is None else row.recording.rate,
        lambda _row: "Stored in the last seconds.",
        is_live=True,
    ),
    Column(
        "Lag",
        _lag_text,
        _lag_key,
        lambda _row: "From an event's arrival until it is stored.",
        is_live=True,
    ),
    Column("Gaps", _gaps_text, _gaps_key, _gaps_tip),
    Column("Covered", _covered_text, _covered_key, _covered_tip),
    Column(
        "From",
        lambda row: _end_text(row, 0),
        lambda row: _end(row, 0),
        lambda row: _end_tip(row, 0),
        is_number=False,
    ),
    Column(
        "To",
        lambda row: _end_text(row, 1),
        lambda row: _end(row, 1),
        lambda row: _end_tip(row, 1),
        is_number=False,
    ),
    Column(
        "Events",
        lambda row: _number(row, lambda entry: entry.events),
        lambda row: -1 if row.entry is None else row.entry.events,
        _events_tip,
    ),
    Column(
        "Trades",
        lambda row: _number(row, lambda entry: entry.trades),
        lambda row: -1 if row.entry is None else row.entry.trades,
        _trades_tip,
    ),
    Column(
        "Size",
        lambda row: _NEVER if row.entry is None else bytes_text(row.entry.stored_bytes),
        lambda row: -1 if row.entry is None else row.entry.stored_bytes,
        _size_tip,
    ),
)
STATE_COLUMN: Final = 1
COVERED_COLUMN: Final = 5
