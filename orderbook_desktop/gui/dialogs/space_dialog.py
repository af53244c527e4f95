"""The dialog about the disk space of recordings, and how much of them is kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QCheckBox,
    QDialogButtonBox,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.disk import RecordingStorage, Retention
from orderbook_desktop.gui.disk_text import growth_sentence, size_sentence
from orderbook_desktop.gui.parts import Dialog, text_label

_REFRESH_MS: Final = 1_000
_LEAST_GB: Final = 0.1
_NUMBER_MARGINS: Final = 10
_WARNING_LINES: Final = 2


class SpaceDialog(Dialog):
    """Shows the disk space of `storage`, and the retention, which only OK and Apply change.

    Return is OK, and Escape is Cancel. The dialog deletes itself when it is closed.
    """

    def __init__(self, storage: RecordingStorage, parent: QWidget) -> None:
        super().__init__(parent)
        self._storage = storage
        self.setObjectName("spaceDialog")
        self.setWindowTitle("Disk space of recordings")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.where = text_label(self)
        self.size_label = text_label(self)
        self.growth = text_label(self)
        self.problem = text_label(self, "spaceProblem")
        self.by_age = QCheckBox("Remove events older than", self)
        self.days = QSpinBox(self, minimum=1, maximum=36_500, suffix=" days")
        self.by_size = QCheckBox("Remove the oldest events above", self)
        self.gigabytes = QDoubleSpinBox(
            self, minimum=_LEAST_GB, maximum=1_000_000, decimals=1, suffix=" GB"
        )
        # A screen reader doesn't read the words of the check box along with the number.
        self.days.setAccessibleName("Days of recordings to keep")
        self.gigabytes.setAccessibleName("Gigabytes of recordings to keep at most")
        self.warning = text_label(self)
        self.buttons = QDialogButtonBox(self)
        role = QDialogButtonBox.ButtonRole
        self.ok_button = self.buttons.addButton("OK", role.AcceptRole)
        self.cancel_button = self.buttons.addButton("Cancel", role.RejectRole)
        self.apply_button = self.buttons.addButton("Apply", role.ApplyRole)
        self.ok_button.setDefault(True)
        self._lay_out()
        self._fill(storage.retention)
        self._connect()
        self._refresh()

    @property
    def wanted(self) -> Retention:
        """The retention that the boxes show."""
        days = self.days.value() if self.by_age.isChecked() else 0
        return Retention(days, self.gigabytes.value() if self.by_size.isChecked() else 0.0)

    def _connect(self) -> None:
        for box, number in ((self.by_age, self.days), (self.by_size, self.gigabytes)):
            box.toggled.connect(number.setEnabled)
            box.toggled.connect(self._show_wanted)
            number.valueChanged.connect(self._show_wanted)
        self.apply_button.clicked.connect(self._apply)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        timer = QTimer(self, interval=_REFRESH_MS)
        timer.timeout.connect(self._refresh)
        timer.start()

    def _fill(self, retention: Retention) -> None:
        self.by_age.setChecked(bool(retention.days))
        self.days.setValue(retention.days or 30)
        self.days.setEnabled(bool(retention.days))
        self.by_size.setChecked(bool(retention.gigabytes))
        # A setting may be finer than the steps of the arrows; the box must show it exactly.
        self.gigabytes.setDecimals(max(1, _places(retention.gigabytes)))
        self.gigabytes.setMinimum(min(_LEAST_GB, retention.gigabytes or _LEAST_GB))
        self.gigabytes.setValue(retention.gigabytes or 50)
        self.gigabytes.setEnabled(bool(retention.gigabytes))

    def _refresh(self) -> None:
        storage, disk = self._storage, self._storage.disk
        self.where.setText(f"Recordings go to {storage.text}.")
        self.size_label.setText(size_sentence(disk))
        self.growth.setText(growth_sentence(disk, storage.retention))
        self.problem.setText(disk.problem)
        self.problem.setVisible(bool(disk.problem))
        self._show_wanted()

    def _show_wanted(self) -> None:
        wanted, present = self.wanted, self._storage.retention
        self.apply_button.setEnabled(wanted != present)
        if wanted == present:
            self.warning.setText(present.sentence)
        else:
            self.warning.setText(
                f"OK keeps {wanted.text()}. Removed events are gone for good; the removal "
                "begins half a minute later."
                if wanted != Retention()
                else "Everything will be kept from now on."
            )
        self._fit()

    def _fit(self) -> None:
        """Grow if a sentence needs another line."""
        needed = self._column.heightForWidth(self.width())
        if needed > self.height():
            self.resize(self.width(), needed)

    def accept(self) -> None:
        """Take over the wanted retention, and close."""
        if self.wanted != self._storage.retention:
            self._storage.set_retention(self.wanted)
        super().accept()

    def _apply(self) -> None:
        # The button is disabled then, and would pass the focus on to another button.
        self.ok_button.setFocus()
        self._storage.set_retention(self.wanted)
        self._refresh()

    def _lay_out(self) -> None:
        self._column = column = QVBoxLayout(self)
        column.setContentsMargins(18, 16, 18, 14)
        column.setSpacing(10)
        for label in (self.where, self.size_label, self.growth, self.problem):
            label.setMinimumWidth(480)
            column.addWidget(label)
        choices = QGridLayout()
        choices.setColumnStretch(2, 1)
        pairs = ((self.by_age, self.days), (self.by_size, self.gigabytes))
        for row, (box, number) in enumerate(pairs):
            # Without a minimum height, the style cuts off the lower end of letters such as y.
            number.setMinimumHeight(number.fontMetrics().height() + _NUMBER_MARGINS)
            choices.addWidget(box, row, 0)
            choices.addWidget(number, row, 1)
        column.addLayout(choices)
        note = QLabel("Events being recorded, and the newest minute, are never removed.", self)
        note.setObjectName("spaceNote")
        # With room for the longer sentences, no box moves when another one is ticked.
        self.warning.setMinimumHeight(_WARNING_LINES * self.warning.fontMetrics().lineSpacing())
        self.warning.setAlignment(Qt.AlignmentFlag.AlignTop)
        for widget in (note, self.warning):
            column.addWidget(widget)
        column.addStretch(1)
        column.addWidget(self.buttons)


def _places(number: float) -> int:
    """Return how many decimal places `number` needs, at most those of a byte in a gigabyte."""
    exponent = Decimal(repr(number)).normalize().as_tuple().exponent
    return min(9, max(0, -exponent)) if isinstance(exponent, int) else 0
