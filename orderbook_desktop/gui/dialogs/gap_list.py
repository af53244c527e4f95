"""The list of the gaps of a recording: of the book, of the trades, and healed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QObject, QSize, Qt, Signal
from PySide6.QtWidgets import (
    QWidget,
)

from orderbook_desktop.core.desk import Desk
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.recorded_gaps import HealedGap, RecordedGaps
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.time_text import duration_text, time_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.gui.parts import (
    NO_PARENT,
    ColumnModel,
    ColumnTable,
    ListDialog,
    ModelIndex,
    push_button,
)

_SESSIONS: Final = {True: "this one", False: "earlier"}


class _Column(Struct, frozen=True):
    """One column: its heading, its text and its width.

    The text is of a gap, whether that is of this session, and the zone of times (None: local).
    The width is that of the text `widest`; the last column takes the rest, if that is more.
    """

    heading: str
    text: Callable[[Gap | TradeGap, bool, tzinfo | None], str]
    widest: str
    is_number: bool = False


def _cause(gap: Gap) -> str:
    return gap.sentence[0].upper() + gap.sentence[1:]


def _cause_and_healer(gap: Gap | TradeGap) -> str:
    if isinstance(gap, TradeGap):
        return f"Trades: {gap.sentence}"
    return f"{_cause(gap)}; healed by {gap.by}" if isinstance(gap, HealedGap) else _cause(gap)


def _account(gap: Gap | TradeGap) -> str:
    if isinstance(gap, TradeGap):
        return f"Trades: {gap.account}."
    if isinstance(gap, HealedGap):
        return f"{_cause(gap)}. {gap.by[0].upper()}{gap.by[1:]} has what was missing."
    return f"{_cause(gap)[0]}{gap.account[1:]}."


_COLUMNS: Final = (
    _Column("From", lambda gap, _, zone: time_text(gap.from_ms, zone), time_text(0)),
    _Column("To", lambda gap, _, zone: time_text(gap.to_ms, zone), time_text(0)),
    _Column(
        "Length",
        lambda gap, _is_ours, _zone: duration_text(gap.to_ms - gap.from_ms),
        "999 days 23:59:59.999",
        True,
    ),
    _Column("Session", lambda _, is_ours, _zone: _SESSIONS[is_ours], _SESSIONS[True]),
    _Column(
        "Cause",
        lambda gap, _is_ours, _zone: _cause_and_healer(gap),
        max((cause.sentence for cause in GapCause), key=len),
    ),
)


_WIDEST: Final = tuple(max(column.widest, column.heading, key=len) for column in _COLUMNS)


class GapModel(ColumnModel):
    """One row for each gap, the newest first. Texts are made when they are asked for."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__([(column.heading, column.is_number) for column in _COLUMNS], parent)
        self._shown = RecordedGaps()
        self._rows: tuple[Gap | TradeGap, ...] = ()
        self._zone: tzinfo | None = None

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        if self._rows:
            last = self.index(len(self._rows) - 1, len(_COLUMNS) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def show_gaps(self, gaps: RecordedGaps) -> None:
        """Show `gaps`; rows that were there before keep their selection."""
        if gaps is self._shown:
            return
        before, now = self._rows, gaps.rows
        newer = len(now) - len(before)
        if newer > 0 and now[newer:] == before:
            self.beginInsertRows(NO_PARENT, 0, newer - 1)
            self._shown, self._rows = gaps, now
            self.endInsertRows()
        else:
            # Another recording, or retention has removed some, or a gap was closed by an import.
            self.beginResetModel()
            self._shown, self._rows = gaps, now
            self.endResetModel()

    def gap(self, row: int) -> Gap | TradeGap:
        """Return the gap of a row."""
        return self._rows[row]

    def rowCount(self, parent: ModelIndex = NO_PARENT) -> int:  # noqa: N802 (Qt's name)
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: ModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return a cell's text, tool tip or alignment."""
        gap, column = self._rows[index.row()], _COLUMNS[index.column()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return column.text(gap, self._shown.is_of_session(gap), self._zone)
            case Qt.ItemDataRole.ToolTipRole:
                return _account(gap)
            case Qt.ItemDataRole.TextAlignmentRole:
                return self.alignment(index.column())
            case Qt.ItemDataRole.AccessibleTextRole:
                text = column.text(gap, self._shown.is_of_session(gap), self._zone)
                return f"{column.heading}: {text}"
        return None


class GapTable(ColumnTable):
    """The table of the gaps."""

    def __init__(self, model: GapModel, parent: QWidget) -> None:
        super().__init__(model, _WIDEST, "Gaps", parent)


class GapList(ListDialog):
    """Shows the gaps of a recording of `desk`, and keeps them up to date while it is visible.

    Call `show_symbol()` or `show_fixed()` before `show()`. Escape closes it. Return closes it, too,
    or goes to the selected gap while a recording is played.

    Signals:
        gap_wanted(str, object, object): the person wants to see the book at the edge of a gap, in
            the recording of a symbol in the packed file of this path (None: in the database).
    """

    gap_wanted = Signal(str, object, object)

    def __init__(self, desk: Desk, parent: QWidget, zone: tzinfo | None = None) -> None:
        super().__init__("gapList", parent)
        self._desk = desk
        self._zone = zone
        self._symbol = ""
        self._fixed: RecordedGaps | None = None
        self._file: Path | None = None
        self.model = GapModel(self)
        self.model.set_zone(zone)
        self.table = GapTable(self.model, self)
        self.go_button = push_button(self, "&Go there", self._go)
        self.go_button.setToolTip("Play the recording from the edge of this gap (double click)")
        self.table.doubleClicked.connect(lambda _index: self._go())
        self.lay_out(self.table, (self.go_button,), QSize(1_160, 440))

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        self.model.set_zone(zone)
        self.look()

    def show_symbol(self, symbol: str) -> None:
        """Show the gaps of the recording of `symbol`."""
        self._symbol, self._fixed, self._file = symbol, None, None
        self._begin(symbol)

    def show_fixed(self, symbol: str, file: Path, gaps: RecordedGaps) -> None:
        """Show the `gaps` of the recording of `symbol` in a packed file."""
        self._symbol, self._fixed, self._file = symbol, gaps, file
        self._begin(self._name)

    def look(self) -> None:
        """Show the gaps as they are known now."""
        gaps = self._fixed
        if gaps is None:
            gaps = self._desk.recorded_gaps(self._symbol)
        self.headline.setText(_headline(self._name, gaps, self._zone))
        self.go_button.setEnabled(gaps is not None and bool(gaps.rows))
        self.note.setText("" if gaps is None else "Every second of the recording is covered.")
        was_empty = not self.model.rowCount()
        self.model.show_gaps(gaps or RecordedGaps())
        self.show_rows(has_rows=bool(self.model.rowCount()), is_new=was_empty)

    @property
    def _name(self) -> str:
        """What the gaps are of."""
        if self._file is None:
            return self._symbol
        return f"{self._symbol} in {plain_text(self._file.name)}"

    def _begin(self, name: str) -> None:
        self.setWindowTitle(f"Gaps · {name}")
        is_played = self._desk.replay is not None
        self.go_button.setDefault(is_played)
        self.close_button.setDefault(not is_played)
        self.look()

    def _go(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        if rows:
            self.gap_wanted.emit(self._symbol, self._file, self.model.gap(rows[0].row()))


def _headline(symbol: str, gaps: RecordedGaps | None, zone: tzinfo | None) -> str:
    """Return how many gaps there are, how long they are in all, and what the times are."""
    if gaps is None:
        return f"The gaps in the recording of {symbol} are not known yet."
    others = f" Besides: {gaps.others_text}." if gaps.others_text else ""
    if not gaps.gaps:
        return f"{gaps.sentence} in the recording of {symbol}.{others}"
    length = _total_text(gaps.gaps)
    written = "local time" if zone is None else "UTC"
    return (
        f"{symbol}: {gaps.sentence}, {length} in all.{others} Times are the exchange's, in "
        f"{written}."
    )


def _total_text(gaps: Sequence[Gap]) -> str:
    return duration_text(sum(gap.to_ms - gap.from_ms for gap in gaps))
