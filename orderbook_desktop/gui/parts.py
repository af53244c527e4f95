"""Small widgets that several panels use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QLabel, QPushButton, QWidget

# About the size of a window's frame.
_FRAME: Final = QSize(8, 40)


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
