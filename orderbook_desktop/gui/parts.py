"""Small widgets that several panels use, and the base class of all dialogs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QDialog, QLabel, QPushButton, QWidget

# About the size of a window's frame.
_FRAME: Final = QSize(8, 40)


class Dialog(QDialog):
    """A window that belongs to another one, and takes over its actions: their keys work here, too.

    A dialog doesn't block its window, unless it is a question (see `Question`).
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.addActions(parent.window().actions())


def text_label(parent: QWidget, name: str = "") -> QLabel:
    """Return a label for plain, selectable sentences; the style sheet finds it by `name`."""
    label = QLabel(parent)
    label.setObjectName(name)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def push_button(parent: QWidget, text: str, command: Callable[[], None]) -> QPushButton:
    """Return a button that calls `command`."""
    button = QPushButton(text, parent)
    # The lambda drops the signal's argument, whether the button is checked.
    button.clicked.connect(lambda: command())  # noqa: PLW0108
    return button


def size_on_screen(window: QWidget, wanted: QSize) -> QSize:
    """Return `wanted`, limited to the room on the screen of `window`."""
    return wanted.boundedTo(window.screen().availableSize() - _FRAME)
