"""The symbol box: type to search all traded symbols, or pick a recent symbol."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QMoveEvent
from PySide6.QtWidgets import QLineEdit, QWidget

from orderbook_desktop.core.symbols import SymbolInfo, search_symbols, split_symbol
from orderbook_desktop.gui.symbol_popup import PAGE_ROWS, SymbolPopup


class SymbolBox(QLineEdit):
    """Shows the symbol on screen, and finds other symbols while the person types.

    The list opens with the keyboard focus or a click, recent symbols first. Up, Down and the
    page keys move the mark in the list, Enter takes the marked symbol, Escape brings back the
    symbol on screen. A box without a symbol on screen keeps the typed text until a symbol is
    taken: there Escape first closes the list, and then empties the box. While the exchange's
    symbols are unknown, the person may type a whole symbol.

    Signals:
        chosen(str): the person wants this symbol, such as `BTC/USDT`.
        left(): the person leaves without choosing; the focus should go elsewhere.
    """

    chosen = Signal(str)
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._symbols: Sequence[SymbolInfo] = ()
        self._recents: Sequence[str] = ()
        self._current = ""
        self._popup: SymbolPopup | None = None
        self.setAccessibleName("Symbol")
        self.setPlaceholderText("Symbol, such as BTC/USDT")
        self.textEdited.connect(self._search)

    def set_symbols(self, symbols: Sequence[SymbolInfo], recents: Sequence[str]) -> None:
        """Search `symbols` from now on, and offer `recents` first; update an open list."""
        if symbols is self._symbols and tuple(recents) == self._recents:
            return
        self._symbols, self._recents = symbols, tuple(recents)
        if self.popup is not None:
            self._search(self._typed)

    def set_current(self, symbol: str) -> None:
        """Show `symbol` as the symbol on screen."""
        self._current = symbol
        self._restore()

    @property
    def popup(self) -> SymbolPopup | None:
        """The list on screen; None while it is closed."""
        return self._popup if self._popup is not None and not self._popup.isHidden() else None

    def search_now(self) -> None:
        """Take the focus and open the list."""
        self.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self._open()

    def event(self, event: QEvent) -> bool:
        """Keep Escape for an open list where it is a key of the window, too."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            is_escape = event.key() == Qt.Key.Key_Escape
            if is_escape and self.popup is not None:
                event.accept()
                return True
        return super().event(event)

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802 (Qt's name)
        """Mark the text, so that typing replaces it; the Tab key opens the list."""
        super().focusInEvent(event)
        self.selectAll()
        tabs = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)
        # A dialog that opens sends this event to its first field with the Tab key as the reason,
        # although the person pressed no key; the field does not have the focus yet.
        if event.reason() in tabs and self.hasFocus():
            self._open()

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 (Qt's name)
        """Close the list, and bring back the symbol on screen if there is one."""
        super().focusOutEvent(event)
        if self._current:
            self._restore()
        else:
            self._close()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Open the list."""
        super().mousePressEvent(event)
        if self.popup is None:
            self._open()

    def moveEvent(self, event: QMoveEvent) -> None:  # noqa: N802 (Qt's name)
        """Close the list, which does not move along."""
        super().moveEvent(event)
        self._close()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Move in the list, take a symbol, or leave."""
        popup = self.popup
        steps = {
            Qt.Key.Key_Down: 1,
            Qt.Key.Key_Up: -1,
            Qt.Key.Key_PageDown: PAGE_ROWS,
            Qt.Key.Key_PageUp: -PAGE_ROWS,
        }
        match event.key():
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self._take()
            case Qt.Key.Key_Escape:
                self._escape(event)
            case key if key in steps and popup is None:
                self._open()
            case key if key in steps and popup is not None:
                popup.move_mark(steps[Qt.Key(key)])
            case _:
                super().keyPressEvent(event)

    @property
    def _typed(self) -> str:
        return "" if self.text() == self._current else self.text().strip()

    def _escape(self, event: QKeyEvent) -> None:
        # With nothing to take back here, the window around the box handles Escape, too.
        event.setAccepted(self.popup is not None or bool(self._typed))
        if self.popup is not None and self._typed and not self._current:
            self._close()
            return
        self._restore()
        self.left.emit()

    def _open(self) -> None:
        self.selectAll()
        self._search(self._typed)

    def _search(self, typed: str) -> None:
        found = search_symbols(self._symbols, typed, self._recents)
        if found:
            self._shown_popup().open_list(self, found, self._recents)
        elif self._symbols:
            self._say(f"No traded symbol matches “{typed.strip()}”.")
        else:
            self._say("The exchange's symbols are not known yet. Type one, such as BTC/USDT.")

    def _take(self) -> None:
        """Take the marked symbol, or the typed symbol while no symbols are known."""
        popup = self.popup
        if popup is None and not self._typed:
            self.left.emit()
        elif popup is not None and popup.marked:
            self._choose(popup.marked)
        elif self._symbols:
            self._search(self._typed)
        else:
            symbol = _whole_symbol(self.text())
            if symbol:
                self._choose(symbol)
            else:
                self._say(f"“{self.text().strip()}” is not a symbol such as BTC/USDT.")

    def _choose(self, symbol: str) -> None:
        self.set_current(symbol)
        self.chosen.emit(symbol)

    def _say(self, sentence: str) -> None:
        self._shown_popup().open_sentence(self, sentence)

    def _shown_popup(self) -> SymbolPopup:
        if self._popup is None:
            self._popup = SymbolPopup(self.window())
            self._popup.clicked.connect(self._take)
        return self._popup

    def _restore(self) -> None:
        self._close()
        self.setText(self._current)
        # The beginning of a symbol that is too long for the box says the most.
        self.setCursorPosition(0)

    def _close(self) -> None:
        if self._popup is not None:
            self._popup.hide()


def _whole_symbol(typed: str) -> str:
    """Return the typed symbol if it names both assets, such as `BTC/USDT`; else empty."""
    try:
        symbol, _ = split_symbol(typed)
    except ValueError:
        return ""
    return symbol if "/" in symbol else ""
