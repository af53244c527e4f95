"""A question that a person has to answer before a command is carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialogButtonBox, QPushButton, QVBoxLayout, QWidget

from orderbook_desktop.gui.parts import Dialog, text_label

_WIDTH: Final = 440


class Answer(Struct, frozen=True):
    """A button of a question, and what it does."""

    text: str
    run: Callable[[], None]


class Question(Dialog):
    """Asks whether, or how, a command is to be carried out; `open()` it.

    Return takes the first of `answers`, Escape and Cancel take none of them. The sentence has the
    focus at first, so that the space bar, which may have brought the question up, answers nothing.
    The question blocks its parent window, and deletes itself when it is closed.
    """

    def __init__(self, title: str, text: str, answers: Sequence[Answer], parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("question")
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.text = text_label(self)
        self.text.setText(text)
        self.text.setMinimumWidth(_WIDTH)
        self.text.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.text.setAccessibleName(text)
        box = QDialogButtonBox(self)
        role = QDialogButtonBox.ButtonRole
        self.buttons: dict[str, QPushButton] = {}
        for place, answer in enumerate(answers):
            kind = role.DestructiveRole if place else role.AcceptRole
            button = self.buttons[answer.text] = box.addButton(answer.text, kind)
            button.clicked.connect(self._taker(answer))
        self.cancel_button = box.addButton("Cancel", role.RejectRole)
        self.cancel_button.clicked.connect(self.reject)
        next(iter(self.buttons.values())).setDefault(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 16, 18, 14)
        column.setSpacing(14)
        column.addWidget(self.text)
        column.addWidget(box)
        self.text.setFocus()

    def _taker(self, answer: Answer) -> Callable[[], None]:
        def take() -> None:
            # Closed first: the answer may close the window, or move the focus.
            self.accept()
            answer.run()

        return take
