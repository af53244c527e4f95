"""The bar of notices: what the person should know now, and what can be done about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QKeyEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from orderbook_desktop.core.desk import NextAttempt, Notice, NoticeAction, NoticeLevel

_COUNT_DOWN_MS: Final = 250
_SIGNS = {NoticeLevel.INFORMATION: "Note", NoticeLevel.WARNING: "Warning"}


class NoticeRow(QFrame):
    """One notice: its level as a word, its sentence, its action, and a button to dismiss it.

    Where the program tries again by itself, the row counts down to it, and offers to do so at once.

    Signals:
        retried(str): the person wants the next attempt for the notice of this key at once.
        acted(NoticeAction): the person wants this action of the notice.
        dismissed(str): the person has read the notice of this key.
    """

    acted = Signal(NoticeAction)
    dismissed = Signal(str)
    retried = Signal(str)

    def __init__(self, notice: Notice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.notice = notice
        self.setObjectName("notice")
        self.setProperty("level", notice.level.value)
        sign = _SIGNS[notice.level]
        text = QLabel(f"<b>{sign}</b>&nbsp; {_escaped(notice.text)}")
        text.setTextFormat(Qt.TextFormat.RichText)
        text.setWordWrap(True)
        text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setAccessibleName(f"{sign}: {notice.text}")
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 5, 8, 5)
        row.addWidget(text, 1)
        self.countdown = QLabel(self)
        self.countdown.setObjectName("countdown")
        self.countdown.hide()
        row.addWidget(self.countdown)
        self.retry_button = QPushButton("Retry now")
        self.retry_button.clicked.connect(lambda: self.retried.emit(notice.key))
        self.retry_button.hide()
        row.addWidget(self.retry_button)
        if notice.action is not NoticeAction.NONE:
            action = QPushButton(notice.action_text)
            action.clicked.connect(lambda: self.acted.emit(notice.action))
            row.addWidget(action)
        dismiss = QPushButton("Dismiss")
        dismiss.setAccessibleName(f"Dismiss: {notice.text}")
        dismiss.clicked.connect(self._dismiss)
        row.addWidget(dismiss)

    def show_attempt(self, attempt: NextAttempt | None) -> None:
        """Count down to `attempt`; None while none is planned, as during an attempt."""
        if attempt is not None:
            self.countdown.setText(f"Next attempt {_in_text(attempt.in_s)}")
            self.countdown.setVisible(True)
            # It stays during the attempts: a button that comes and goes would lose the focus.
            self.retry_button.setVisible(not attempt.fixed)
        elif not self.countdown.isHidden():
            self.countdown.setText("Trying again…")

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Dismiss by Escape while one of the buttons has the focus."""
        if event.key() == Qt.Key.Key_Escape:
            self._dismiss()
        else:
            super().keyPressEvent(event)

    def _dismiss(self) -> None:
        self.dismissed.emit(self.notice.key)


class NoticeBar(QWidget):
    """Stacks the notices, the most important on top; it takes no room while there are none.

    `next_attempt` returns when what the notice of a key tells is tried again, or None.

    Signals:
        retried(str): the person wants the next attempt for the notice of this key at once.
        acted(NoticeAction): the person wants this action of a notice.
        dismissed(str): the person has read the notice of this key.
        left(): the notice with the focus is removed; the focus should go elsewhere.
    """

    acted = Signal(NoticeAction)
    dismissed = Signal(str)
    left = Signal()
    retried = Signal(str)

    def __init__(
        self,
        parent: QWidget | None = None,
        next_attempt: Callable[[str], NextAttempt | None] = lambda _key: None,
    ) -> None:
        super().__init__(parent)
        self._next_attempt = next_attempt
        self._timer = QTimer(self, interval=_COUNT_DOWN_MS)
        self._timer.timeout.connect(self.count_down)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._rows: dict[Notice, NoticeRow] = {}
        self.hide()

    def set_notices(self, notices: Sequence[Notice]) -> None:
        """Show exactly `notices`; rows that stay keep their keyboard focus."""
        for gone in [notice for notice in self._rows if notice not in notices]:
            row = self._rows.pop(gone)
            # This comes before hiding the row, when Qt would give the focus to the next widget.
            if row.isAncestorOf(self.window().focusWidget() or self):
                self.left.emit()
            self._column.removeWidget(row)
            row.hide()
            row.deleteLater()
        for place, notice in enumerate(notices):
            if notice not in self._rows:
                row = NoticeRow(notice, self)
                row.acted.connect(self.acted)
                row.dismissed.connect(self.dismissed)
                row.retried.connect(self._retry)
                self._rows[notice] = row
            self._column.insertWidget(place, self._rows[notice])
        self.setVisible(bool(self._rows))
        self.count_down()

    def count_down(self) -> None:
        """Show when each notice's cause is tried again."""
        for notice, row in self._rows.items():
            row.show_attempt(self._next_attempt(notice.key))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Count down from now on."""
        super().showEvent(event)
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop counting down."""
        super().hideEvent(event)
        self._timer.stop()

    def _retry(self, key: str) -> None:
        self.retried.emit(key)
        self.count_down()

    @property
    def rows(self) -> list[NoticeRow]:
        """The rows on screen, in no particular order."""
        return list(self._rows.values())


def _in_text(seconds: float) -> str:
    """Return a time ahead, rounded up: `in 12 s`, `in 3 min`."""
    whole = math.ceil(seconds)
    return f"in {whole} s" if whole < 120 else f"in {math.ceil(whole / 60)} min"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
