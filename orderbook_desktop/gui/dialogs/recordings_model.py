"""The model of the table of recordings: the content of each cell, and how rows are sorted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QObject, QSortFilterProxyModel, Qt
from PySide6.QtGui import QColor

from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.number_format import counted
from orderbook_desktop.core.recorded_gaps import NOT_READ
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.time_text import recent_text
from orderbook_desktop.gui.parts import NO_PARENT, ColumnModel, ModelIndex
from orderbook_desktop.gui.theme import Theme

_SortKey = tuple[float, str]

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


class _Column(Struct, frozen=True):
    """One column: its heading, and what makes a cell's text, sort key and tool tip."""

    heading: str
    text: Callable[[RecordingStatus], str]
    key: Callable[[RecordingStatus], float]
    tip: Callable[[RecordingStatus], str]
    is_number: bool = True


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


def _lag_text(recording: RecordingStatus) -> str:
    lag_ms = recording.lag_ms
    if lag_ms is None or recording.state is RecordingState.STOPPED:
        return _NEVER
    return f"{lag_ms} ms" if lag_ms < 1_000 else f"{lag_ms / 1000:,.1f} s"


def _rate_text(recording: RecordingStatus) -> str:
    return f"{recording.rate:,.1f}" if recording.wanted else _NEVER


def _time_text(ms: int, now_s: Callable[[], float] = time.time) -> str:
    """Return a time of our own clock (ms since the epoch), with the date unless it is today."""
    if not ms:
        return _NEVER
    return recent_text(ms, round(now_s() * 1_000))


def _gaps_tip(recording: RecordingStatus) -> str:
    if recording.gaps is None:
        return "The gaps are not read yet."
    healed = f" Besides: {recording.gaps.healed_text}." if recording.gaps.healed else ""
    if not recording.gaps.gaps:
        return f"No gaps.{healed}"
    latest = recording.gaps.gaps[0]
    return (
        f"{recording.gaps.sentence}. The last one began at {_time_text(latest.from_ms)}: "
        f"{latest.sentence}.{healed}"
    )


def _symbol_tip(recording: RecordingStatus) -> str:
    tip = "Recorded only while it is on screen. Keep it recording to look at another symbol."
    if recording.kept:
        tip = "Recorded also while another symbol is on screen."
    if recording.here_too:
        tip += " Recorded here also while another program records it."
    return tip


def _size_tip(recording: RecordingStatus) -> str:
    counts = recording.counts
    return (
        f"{counted(counts.events, 'event')}, {counted(counts.payload_bytes, 'byte')} as the "
        f"exchange sent them. Waiting for the database: {counted(recording.waiting, 'event')}."
    )


def _archive_tip(recording: RecordingStatus) -> str:
    return (
        f"{counted(recording.counts.archived_events, 'event')} archived in this session, in "
        f"{counted(recording.counts.archived_bytes, 'byte')}."
    )


COLUMNS: Final = (
    _Column(
        "Symbol",
        lambda market: market.symbol if market.kept else f"{market.symbol} · on screen",
        lambda _market: 0.0,
        _symbol_tip,
        is_number=False,
    ),
    _Column(
        "State",
        lambda market: f"{_SIGNS[market.state]} {_state_words(market)}",
        lambda market: market.state.rank,
        _state_tip,
        is_number=False,
    ),
    _Column(
        "Events/s", _rate_text, lambda market: market.rate,
        lambda _market: "Stored in the last seconds.",
    ),
    _Column(
        "Lag",
        _lag_text,
        lambda market: -1 if market.lag_ms is None else market.lag_ms,
        lambda _market: "From an event's arrival until it is stored.",
    ),
    _Column(
        "Gaps",
        lambda market: NOT_READ if market.gaps is None else f"{len(market.gaps.gaps):,}",
        lambda market: -1 if market.gaps is None else len(market.gaps.gaps),
        _gaps_tip,
    ),
    _Column(
        "Recorded",
        lambda market: bytes_text(market.counts.payload_bytes),
        lambda market: market.counts.payload_bytes,
        _size_tip,
    ),
    _Column(
        "Archived",
        lambda market: bytes_text(market.counts.archived_bytes),
        lambda market: market.counts.archived_bytes,
        _archive_tip,
    ),
    _Column(
        "Since",
        lambda market: _time_text(market.since_ms),
        lambda market: market.since_ms,
        lambda market: (
            f"Recording since {_time_text(market.since_ms)}." if market.since_ms else "Stopped."
        ),
    ),
)  # fmt: skip
STATE_COLUMN: Final = 1


class RecordingsModel(ColumnModel):
    """One row for each recording; `show_recordings` changes only the rows that differ."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__([(column.heading, column.is_number) for column in COLUMNS], parent)
        self._recordings: list[RecordingStatus] = []
        self._theme = theme

    @property
    def recordings(self) -> Sequence[RecordingStatus]:
        """The recordings, by row."""
        return self._recordings

    def show_recordings(self, recordings: Sequence[RecordingStatus]) -> None:
        """Bring the rows up to date; those that stay keep their place and selection."""
        new = {recording.symbol: recording for recording in recordings}
        for row in reversed(range(len(self._recordings))):
            if self._recordings[row].symbol not in new:
                self.beginRemoveRows(NO_PARENT, row, row)
                del self._recordings[row]
                self.endRemoveRows()
        last = len(COLUMNS) - 1
        for row, known in enumerate(self._recordings):
            changed = new.pop(known.symbol)
            if changed != known:
                self._recordings[row] = changed
                self.dataChanged.emit(self.index(row, 0), self.index(row, last))
        if new:
            first = len(self._recordings)
            self.beginInsertRows(NO_PARENT, first, first + len(new) - 1)
            self._recordings.extend(new.values())
            self.endInsertRows()

    def set_theme(self, theme: Theme) -> None:
        """Use the colours of `theme` from now on."""
        self._theme = theme
        if self._recordings:
            last = self.index(len(self._recordings) - 1, len(COLUMNS) - 1)
            self.dataChanged.emit(self.index(0, 0), last, [Qt.ItemDataRole.ForegroundRole])

    def rowCount(self, parent: ModelIndex = NO_PARENT) -> int:  # noqa: N802 (Qt's name)
        """Return the number of recordings."""
        return 0 if parent.isValid() else len(self._recordings)

    def data(self, index: ModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return a cell's text, tool tip, alignment or colour."""
        recording, column = self._recordings[index.row()], COLUMNS[index.column()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return column.text(recording)
            case Qt.ItemDataRole.ToolTipRole:
                return column.tip(recording)
            case Qt.ItemDataRole.TextAlignmentRole:
                return self.alignment(index.column())
            case Qt.ItemDataRole.ForegroundRole:
                return self._colour(recording, index.column())
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{column.heading}: {column.text(recording)}"
        return None

    def sort_key(self, row: int, column: int) -> _SortKey:
        """Return the sort key of a row for `column`; equal values are sorted by symbol."""
        recording = self._recordings[row]
        return COLUMNS[column].key(recording), recording.symbol

    def _colour(self, recording: RecordingStatus, column: int) -> QColor:
        theme = self._theme
        if recording.state is RecordingState.STOPPED:
            return theme.muted
        if column != STATE_COLUMN:
            return theme.text
        return {
            RecordingState.FAILED: theme.trouble,
            RecordingState.RECORDING: theme.good,
            RecordingState.ELSEWHERE: theme.text,
        }.get(recording.state, theme.caution)


class SortedRecordings(QSortFilterProxyModel):
    """The rows of a `RecordingsModel`, sorted by the chosen column."""

    def __init__(self, model: RecordingsModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.setSourceModel(model)

    def recording(self, row: int) -> RecordingStatus:
        """Return the recording in `row` of the sorted table."""
        return self._model.recordings[self.mapToSource(self.index(row, 0)).row()]

    def lessThan(self, left: ModelIndex, right: ModelIndex) -> bool:  # noqa: N802 (Qt's name)
        """Compare two rows by the sort key of their column."""
        return self._model.sort_key(left.row(), left.column()) < self._model.sort_key(
            right.row(), right.column()
        )
