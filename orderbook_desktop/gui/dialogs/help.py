"""The help dialogs. The caller calls `open()`, which does not block as `exec()` does."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QGridLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.version import __version__
from orderbook_desktop.gui.actions import Action
from orderbook_desktop.gui.parts import size_on_screen


def shortcuts_dialog(actions: Sequence[Action], parent: QWidget) -> QDialog:
    """Return a dialog that lists `actions` and their keys; `open()` it.

    Each action's help is its tool tip. The list scrolls where the screen is too low for it.
    """
    dialog, column = _dialog("Keyboard shortcuts", parent)
    listed = QWidget()
    grid = QGridLayout(listed)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(28)
    grid.setVerticalSpacing(6)
    for row, action in enumerate(actions):
        title, keys = QLabel(action.title), QLabel(action.keys_text)
        keys.setStyleSheet("font-weight: 600")
        for column_at, label in enumerate((title, keys)):
            label.setToolTip(action.help)
            grid.addWidget(label, row, column_at)
    area = QScrollArea()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(listed)
    bar = area.verticalScrollBar().sizeHint().width()
    area.setMinimumWidth(listed.sizeHint().width() + bar)
    column.insertWidget(0, area)
    rest = dialog.sizeHint() - area.sizeHint()
    wanted = QSize(dialog.sizeHint().width(), listed.sizeHint().height() + rest.height())
    dialog.resize(size_on_screen(dialog, wanted))
    return dialog


def about_dialog(parent: QWidget) -> QDialog:
    """Return the dialog with the program's name, version and licence; `open()` it."""
    dialog, column = _dialog("About Orderbook Desktop", parent)
    text = QLabel(
        f"<h3>Orderbook Desktop {__version__}</h3>"
        "<p>See the exchange's order book live, and own an honest recording of it.</p>"
        "<p>MIT licence. Made with Qt (LGPL) by way of PySide6.</p>"
    )
    text.setTextFormat(Qt.TextFormat.RichText)
    text.setWordWrap(True)
    text.setMinimumWidth(340)
    column.insertWidget(0, text)
    return dialog


def _dialog(title: str, parent: QWidget) -> tuple[QDialog, QVBoxLayout]:
    dialog = QDialog(parent)
    dialog.setWindowTitle(title)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    buttons = QDialogButtonBox()
    buttons.addButton("Close", QDialogButtonBox.ButtonRole.RejectRole)
    buttons.rejected.connect(dialog.reject)
    column = QVBoxLayout(dialog)
    column.setContentsMargins(18, 16, 18, 14)
    column.setSpacing(14)
    column.addWidget(buttons)
    return dialog, column
