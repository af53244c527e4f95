"""The help dialogs. The caller calls `show()`; a dialog deletes itself when it is closed."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.version import __version__
from orderbook_desktop.gui.actions import Action
from orderbook_desktop.gui.parts import Dialog, size_on_screen


class _HelpDialog(Dialog):
    """Shows `content` above a Close button, which Return presses, too."""

    def __init__(self, title: str, content: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        buttons = QDialogButtonBox()
        close = buttons.addButton("Close", QDialogButtonBox.ButtonRole.RejectRole)
        close.setDefault(True)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 16, 18, 14)
        column.setSpacing(14)
        column.addWidget(content)
        column.addWidget(buttons)


class KeyList(_HelpDialog):
    """Lists `actions` and their keys.

    Each action's help is its tool tip. The list scrolls where the screen is too low for it.
    """

    def __init__(self, actions: Sequence[Action], parent: QWidget) -> None:
        listed = QWidget()
        grid = QGridLayout(listed)
        grid.setContentsMargins(2, 2, 2, 2)
        grid.setHorizontalSpacing(28)
        grid.setVerticalSpacing(6)
        for row, action in enumerate(actions):
            title, keys = QLabel(action.title), QLabel(action.keys_text)
            bold = keys.font()
            bold.setWeight(QFont.Weight.DemiBold)
            keys.setFont(bold)
            for column_at, label in enumerate((title, keys)):
                label.setToolTip(action.help)
                grid.addWidget(label, row, column_at)
        area = QScrollArea()
        area.setObjectName("keyList")
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(listed)
        area.setAccessibleName("Keyboard shortcuts")
        bar = area.verticalScrollBar().sizeHint().width()
        frame = 2 * area.frameWidth()
        area.setMinimumWidth(listed.sizeHint().width() + bar + frame)
        super().__init__("Keyboard shortcuts", area, parent)
        rest = self.sizeHint() - area.sizeHint()
        wanted = QSize(self.sizeHint().width(), listed.sizeHint().height() + rest.height())
        self.resize(size_on_screen(self, wanted))


class About(_HelpDialog):
    """Shows the program's name, version and licence."""

    def __init__(self, parent: QWidget) -> None:
        text = QLabel(
            f"<h3>Orderbook Desktop {__version__}</h3>"
            "<p>See the exchange's order book live, and own an honest recording of it.</p>"
            "<p>MIT licence. Made with Qt (LGPL) by way of PySide6.</p>"
        )
        text.setTextFormat(Qt.TextFormat.RichText)
        text.setWordWrap(True)
        text.setMinimumWidth(340)
        super().__init__("About Orderbook Desktop", text, parent)
