"""The bar of notices: what the person should know now, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from orderbook_desktop.core.desk import Notice, NoticeAction, NoticeLevel

_SIGNS = {NoticeLevel.INFORMATION: "Note", NoticeLevel.WARNING: "Warning"}


class NoticeRow(QFrame):
    """One notice: its level as a word, its sentence, its action, and a button to dismiss it.

    Signals:
        acted(NoticeAction): the person wants this action of the notice.
        dismissed(str): the person has read the notice of this key.
    """

    acted = Signal(NoticeAction)
    dismissed = Signal(str)

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
        if notice.action is not NoticeAction.NONE:
            action = QPushButton(notice.action_text)
            action.clicked.connect(lambda: self.acted.emit(notice.action))
            row.addWidget(action)
        dismiss = QPushButton("Dismiss")
        dismiss.setAccessibleName(f"Dismiss: {notice.text}")
        dismiss.clicked.connect(self._dismiss)
        row.addWidget(dismiss)

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

    Signals:
        acted(NoticeAction): the person wants this action of a notice.
        dismissed(str): the person has read the notice of this key.
        left(): the notice with the focus is removed; the focus should go elsewhere.
    """

    acted = Signal(NoticeAction)
    dismissed = Signal(str)
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
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
                self._rows[notice] = row
            self._column.insertWidget(place, self._rows[notice])
        self.setVisible(bool(self._rows))

    @property
    def rows(self) -> list[NoticeRow]:
        """The rows on screen, in no particular order."""
        return list(self._rows.values())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
