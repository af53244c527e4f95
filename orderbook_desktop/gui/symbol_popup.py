"""The list below the symbol box: the found symbols, or a sentence in place of the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRect,
    Qt,
    Signal,
)
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QFrame,
    QLabel,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.gui.theme import text_scale

PAGE_ROWS: Final = 12
_WIDTH: Final = 280
# The pixels of the frame and of the layout's margins, both sides together.
_BORDERS: Final = 4
_MARGIN: Final = 4
_IS_RECENT: Final = Qt.ItemDataRole.UserRole
_NO_PARENT: Final = QModelIndex()
_Index = QModelIndex | QPersistentModelIndex


class _FoundModel(QAbstractListModel):
    """The found symbols, the best match first, and which of them are recent."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.symbols: Sequence[SymbolInfo] = ()
        self._recents: frozenset[str] = frozenset()

    def show_found(self, symbols: Sequence[SymbolInfo], recents: Sequence[str]) -> None:
        self.beginResetModel()
        self.symbols, self._recents = symbols, frozenset(recents)
        self.endResetModel()

    def rowCount(self, parent: _Index = _NO_PARENT) -> int:  # noqa: N802 (Qt's name)
        return 0 if parent.isValid() else len(self.symbols)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        symbol = self.symbols[index.row()].symbol
        if role == Qt.ItemDataRole.DisplayRole:
            return symbol
        return symbol in self._recents if role == _IS_RECENT else None


class _FoundDelegate(QStyledItemDelegate):
    """Draws a symbol, and "recent" behind a symbol that was on screen before."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        super().paint(painter, option, index)
        view = self.parent()
        if not (isinstance(view, QListView) and index.data(_IS_RECENT)):
            return
        # PySide's type stubs leave out the members of QStyleOption.
        rect: QRect = getattr(option, "rect")  # noqa: B009
        state: QStyle.StateFlag = getattr(option, "state")  # noqa: B009
        palette = view.palette()
        marked = bool(state & QStyle.StateFlag.State_Selected)
        painter.setPen((palette.highlightedText() if marked else palette.placeholderText()).color())
        painter.drawText(
            rect.adjusted(0, 0, -8, 0),
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
            "recent",
        )


class SymbolPopup(QFrame):
    """A list that never takes the focus: the symbol box moves its mark and reads the marked symbol.

    The list is a child widget of the window, not a window of its own: a window manager can't
    misplace it.

    Signals:
        clicked(): the person clicked the marked symbol.
    """

    clicked = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setObjectName("symbolPopup")
        self._model = _FoundModel(self)
        self._list = QListView(self)
        self._list.setModel(self._model)
        self._list.setItemDelegate(_FoundDelegate(self._list))
        self._list.setUniformItemSizes(True)
        self._list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setAccessibleName("Symbols found")
        self._list.clicked.connect(lambda _index: self.clicked.emit())
        self._sentence = QLabel(self)
        self._sentence.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.setSpacing(0)
        column.addWidget(self._list)
        column.addWidget(self._sentence)
        self.hide()

    @property
    def found(self) -> list[str]:
        """The symbols in the list; empty while a sentence is shown."""
        return [info.symbol for info in self._model.symbols]

    @property
    def sentence(self) -> str:
        """The sentence in place of the list; empty while the list is shown."""
        return self._sentence.text()

    @property
    def marked(self) -> str:
        """The marked symbol; empty if there is none."""
        row = self._list.currentIndex().row()
        return self._model.symbols[row].symbol if row >= 0 else ""

    def open_list(
        self, anchor: QWidget, symbols: Sequence[SymbolInfo], recents: Sequence[str]
    ) -> None:
        """Show `symbols` below `anchor`, with the first symbol marked."""
        self._model.show_found(symbols, recents)
        self._sentence.setText("")
        self.move_mark(0)
        row = max(1, self._list.sizeHintForRow(0))
        self._open(anchor, min(PAGE_ROWS, len(symbols)) * row + _BORDERS)

    def open_sentence(self, anchor: QWidget, sentence: str) -> None:
        """Show `sentence` in place of the list, below `anchor`."""
        self._model.show_found((), ())
        self._sentence.setText(sentence)
        # Without this, the first height would lack the style sheet's padding.
        self._sentence.ensurePolished()
        room = _width_below(anchor) - _BORDERS
        self._open(anchor, self._sentence.heightForWidth(room) + _BORDERS)

    def move_mark(self, rows: int) -> None:
        """Move the mark down by `rows` (negative: up), at most to the last or first row."""
        count = len(self._model.symbols)
        if count:
            row = min(max(self._list.currentIndex().row() + rows, 0), count - 1)
            self._list.setCurrentIndex(self._model.index(row))

    def _open(self, anchor: QWidget, height: int) -> None:
        self._sentence.setVisible(bool(self._sentence.text()))
        self._list.setVisible(not self._sentence.text())
        window = anchor.window()
        at = anchor.mapTo(window, QPoint(0, anchor.height() + 2))
        height = min(height, window.height() - at.y() - _MARGIN)
        self.setGeometry(at.x(), at.y(), _width_below(anchor), height)
        self.show()
        self.raise_()


def _width_below(anchor: QWidget) -> int:
    """Return the list's width: at least that of `anchor`, unless the window ends before."""
    window = anchor.window()
    left = anchor.mapTo(window, QPoint()).x()
    wanted = max(round(_WIDTH * text_scale(anchor)), anchor.width())
    return min(wanted, window.width() - left - _MARGIN)
