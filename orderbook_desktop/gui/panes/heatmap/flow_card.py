"""The card that lists what was added, traded and pulled at each price of a selection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Final, NamedTuple, Self

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.heatmap.flows import Flows, PriceFlow
from orderbook_desktop.core.number_format import MarketFormat, exact_text
from orderbook_desktop.core.time_text import clock_text, moment_text

_HEADINGS: Final = ("Price", "Added, at least", "Traded", "Pulled, at least", "Change")
_WHY: Final = (
    "An event of the book shows the net change only: what was added and pulled again before it is "
    "not in it, so there may have been more. A trade belongs to the first or to the second event "
    "after it; the numbers hold for each way to assign the trades."
)
_SIZE: Final = (440, 320)
_ANY: Final = QModelIndex()
_Index = QModelIndex | QPersistentModelIndex


class FlowTexts(NamedTuple):
    """What the card says: its title, a sentence on what is computed, and rows of five texts.

    The first row has the sums, if there is anything.
    """

    title: str
    covered: str
    rows: Sequence[tuple[str, ...]] = ()

    @classmethod
    def of(cls, flows: Flows, market: MarketFormat, zone: tzinfo | None) -> Self:
        """Return the texts of `flows`, exact, with the places of `market`."""
        title = f"{moment_text(flows.from_ms, zone)} to {clock_text(flows.to_ms, zone)}"
        exponent = flows.scale.price

        def row(name: str, one: PriceFlow) -> tuple[str, ...]:
            flow, scale = one.flow, flows.scale.quantity
            low, high = (
                exact_text(units, scale, market.quantity_places)
                for units in (flow.traded_low, flow.traded_high)
            )
            sign = "+" if one.change > 0 else ""
            return (
                name,
                exact_text(flow.added_low, scale, market.quantity_places),
                low if low == high else f"{low} to {high}",
                exact_text(flow.pulled_low, scale, market.quantity_places),
                sign + exact_text(one.change, scale, market.quantity_places),
            )

        names = [
            exact_text(one.price, exponent, market.price_places)
            + ("" if one.is_whole else " (in part)")
            for one in flows.prices
        ]
        rows = [row(*pair) for pair in reversed(list(zip(names, flows.prices, strict=True)))]
        sums = [row("All prices", flows.total)] if rows else []
        return cls(title, _covered_text(flows), (*sums, *rows))

    @property
    def text(self) -> str:
        """All of it, with tabs between columns, to be copied."""
        lines = [self.title, self.covered, "\t".join(_HEADINGS), *map("\t".join, self.rows), _WHY]
        return "\n".join(line for line in lines if line) + "\n"


def _covered_text(flows: Flows) -> str:
    if flows.is_covered:
        return ""
    length = flows.to_ms - flows.from_ms
    if not flows.covered_ms:
        return "Nothing is computed: the book or the trades of this time are not known."
    percent = flows.covered_ms * 1000 // length / 10
    return (
        f"Computed for {percent:g} % of the time; in the rest the book or the trades are not known."
    )


class FlowCard(QFrame):
    """Shows the flows of a selection; it lies over the heatmap.

    Signals:
        closed(): the person closed it.
    """

    closed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        self.setAccessibleName("Added, traded and pulled")
        self.texts = FlowTexts("", "")
        self._title, self._covered, self._why = QLabel(), QLabel(), QLabel(_WHY)
        for label in (self._covered, self._why):
            label.setWordWrap(True)
        self._model = _FlowModel(self)
        self.table = QTableView()
        self.table.setModel(self._model)
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        copied, closed = QPushButton("Copy"), QPushButton("Close")
        copied.clicked.connect(self.copy)
        closed.clicked.connect(self.closed)
        top, layout = QHBoxLayout(), QVBoxLayout(self)
        top.addWidget(self._title, 1)
        top.addWidget(copied)
        top.addWidget(closed)
        layout.addLayout(top)
        for widget in (self._covered, self.table, self._why):
            layout.addWidget(widget)
        self.resize(*_SIZE)

    def show_texts(self, texts: FlowTexts) -> None:
        """Show `texts`."""
        self.texts = texts
        self._title.setText(texts.title)
        self._covered.setText(texts.covered)
        self._covered.setVisible(bool(texts.covered))
        self._why.setVisible(bool(texts.rows))
        self.table.setVisible(bool(texts.rows))
        self._model.set_rows(texts.rows)
        self.setAccessibleDescription(f"{texts.title}. {texts.covered}")
        self.show()
        self.raise_()

    def copy(self) -> None:
        """Put all of it on the clipboard, with tabs between columns."""
        QGuiApplication.clipboard().setText(self.texts.text)


class _FlowModel(QAbstractTableModel):
    """The rows of the card."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._rows: Sequence[tuple[str, ...]] = ()

    def set_rows(self, rows: Sequence[tuple[str, ...]]) -> None:
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def rowCount(self, parent: _Index = _ANY) -> int:  # noqa: N802 (Qt's name)
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: _Index = _ANY) -> int:  # noqa: N802 (Qt's name)
        return 0 if parent.isValid() else len(_HEADINGS)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role == Qt.ItemDataRole.DisplayRole:
            return self._rows[index.row()][index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(  # noqa: N802 (Qt's name)
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _HEADINGS[section]
        return None
