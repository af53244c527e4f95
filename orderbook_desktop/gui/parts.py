"""Small widgets that several panels are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QLabel, QPushButton, QWidget

# What a window's frame takes, about.
_FRAME: Final = QSize(8, 40)


def text_label(parent: QWidget, name: str = "") -> QLabel:
    """Return a label for plain sentences, which can be selected; `name` is for the style sheet."""
    label = QLabel(parent)
    label.setObjectName(name)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def push_button(parent: QWidget, text: str, command: Callable[[], None]) -> QPushButton:
    """Return a button that does `command`."""
    button = QPushButton(text, parent)
    # What a signal hands over, here whether it is checked, is nobody's business.
    button.clicked.connect(lambda: command())  # noqa: PLW0108
    return button


def size_on_screen(window: QWidget, wanted: QSize) -> QSize:
    """Return `wanted`, or as much of it as there is room for on the screen of `window`."""
    return wanted.boundedTo(window.screen().availableSize() - _FRAME)
