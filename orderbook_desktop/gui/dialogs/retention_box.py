"""The box that chooses how much of the recordings is kept."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QWidget

from orderbook_desktop.core.disk import KEEP_EVERYTHING, Retention
from orderbook_desktop.gui.disk_text import retention_text

_OFTEN_WANTED: Final = (
    KEEP_EVERYTHING,
    Retention(days=7),
    Retention(days=30),
    Retention(days=90),
    Retention(gigabytes=10),
    Retention(gigabytes=50),
)


class RetentionBox(QComboBox):
    """A list of usual choices, and of the present choice if it is not a usual one.

    Signals:
        chosen(Retention): the person wants this retention.
    """

    chosen = Signal(Retention)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("What is kept of recordings")
        self.setToolTip("The oldest events are removed for good, a minute at a time")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._choices: list[Retention] = []
        self.set_retention(KEEP_EVERYTHING)
        self.activated.connect(self._choose)

    def set_retention(self, retention: Retention) -> None:
        """Show `retention` as the present choice."""
        choices = list(_OFTEN_WANTED)
        if retention not in choices:
            choices.append(retention)
        if choices != self._choices:
            self._choices = choices
            self.clear()
            self.addItems([retention_text(choice) for choice in choices])
        self.setCurrentIndex(choices.index(retention))

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Ignore the wheel: scrolling past the box must not remove recordings."""
        event.ignore()

    def _choose(self, index: int) -> None:
        self.chosen.emit(self._choices[index])
