"""The choice of the trades that count as large, to which a replay jumps."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.replay import LargeTrades
from orderbook_desktop.core.units import split_decimal
from orderbook_desktop.gui.parts import Dialog, text_label

# By the percentile (in thousandths) from which on a trade is large.
_SHARES: Final = {90_000: "10 %", 95_000: "5 %", 99_000: "1 %", 99_500: "0.5 %", 99_900: "0.1 %"}


class LargeTradesChoice(Dialog):
    """Asks which trades of `asset` count as large: the largest of an hour, or those from a size.

    Return takes the choice, Escape leaves everything.

    Signals:
        chosen(object): the person wants these `LargeTrades`.
    """

    chosen = Signal(object)

    def __init__(self, large: LargeTrades, asset: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("largeTrades")
        self.setWindowTitle("Large trades")
        self.by_share = QRadioButton("The &largest", self)
        self.share_box = QComboBox(self)
        for percentile, text in _SHARES.items():
            self.share_box.addItem(text, percentile)
        self.share_box.setCurrentIndex(max(0, self.share_box.findData(large.percentile)))
        self.share_box.setAccessibleName("Share of the trades that are large")
        self.by_size = QRadioButton("From a &size of", self)
        self.size_field = QLineEdit(large.quantity, self)
        self.size_field.setAccessibleName(f"Least size in {asset}")
        self.problem = text_label(self, "largeProblem")
        self.problem.hide()
        (self.by_size if large.quantity else self.by_share).setChecked(True)
        self.share_box.activated.connect(lambda: self.by_share.setChecked(True))
        self.size_field.textEdited.connect(lambda: self.by_size.setChecked(True))
        self._lay_out(asset)

    def accept(self) -> None:
        """Take the choice; a text that is no size is told, and the dialog stays."""
        if self.by_share.isChecked():
            large = LargeTrades(percentile=self.share_box.currentData())
        else:
            typed = self.size_field.text().strip()
            size = typed.replace(",", "")
            try:
                is_size = any(digit != "0" for digit in "".join(split_decimal(size)))
            except MalformedMessage:
                is_size = False
            if not is_size:
                self.problem.setText(
                    f"{typed!r} is no size such as 2.5." if typed else "Type a size."
                )
                self.problem.show()
                self.size_field.setFocus()
                return
            large = LargeTrades(size)
        super().accept()
        self.chosen.emit(large)

    def _lay_out(self, asset: str) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(8)
        grid.addWidget(self.by_share, 0, 0)
        grid.addWidget(self.share_box, 0, 1)
        grid.addWidget(QLabel("of the trades of an hour", self), 0, 2)
        grid.addWidget(self.by_size, 1, 0)
        grid.addWidget(self.size_field, 1, 1)
        grid.addWidget(QLabel(f"{asset}, and larger", self), 1, 2)
        grid.setColumnStretch(2, 1)
        role = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(role.Ok | role.Cancel, self)
        buttons.button(role.Ok).setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 16, 18, 14)
        column.setSpacing(12)
        column.addLayout(grid)
        column.addWidget(self.problem)
        column.addWidget(buttons)
