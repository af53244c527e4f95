"""The jobs of the library: how far each is, how it ended, and a button to stop it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAccessible, QAccessibleEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from orderbook_desktop.core.library_jobs import Job, JobState
from orderbook_desktop.gui.parts import push_button, text_label

_STEPS: Final = 1_000
_BAR_WIDTH: Final = 160
_ROWS_SHOWN: Final = 4
_SIGNS: Final = {JobState.DONE: "✓", JobState.FAILED: "✕", JobState.STOPPED: "○"}


class _JobRow(QWidget):
    """One job: its text, its progress, its remarks, and a button to stop or dismiss it.

    Signals:
        pressed(int): the button of the job with this number.
    """

    pressed = Signal(int)

    def __init__(self, job: Job, parent: QWidget) -> None:
        super().__init__(parent)
        self.job = job
        self.text = text_label(self, "jobText")
        self.bar = QProgressBar(self)
        self.bar.setTextVisible(False)
        self.bar.setFixedWidth(_BAR_WIDTH)
        self.bar.setAccessibleName(job.title)
        self.button = push_button(self, "", lambda: self.pressed.emit(self.job.number))
        self.button.setAutoDefault(False)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.text, 1)
        line.addWidget(self.bar)
        line.addWidget(self.button)
        self.show_job(job)

    def show_job(self, job: Job) -> None:
        """Show the job as it is now."""
        was_over, self.job = self.job.state.is_over, job
        is_over = job.state.is_over
        sign = f"{_SIGNS[job.state]} " if is_over else ""
        text = "\n".join([f"{sign}{job.text}", *job.remarks])
        if text != self.text.text():
            self.text.setText(text)
            self.text.setAccessibleName(text)
        if self.text.property("state") != job.state.value:
            self.text.setProperty("state", job.state.value)
            # A style sheet looks at a property only when the style is new.
            self.text.style().unpolish(self.text)
            self.text.style().polish(self.text)
        self.bar.setVisible(not is_over)
        if job.progress is None:
            # A bar without a range moves to and fro; one that waits stands still.
            self.bar.setRange(0, 0 if job.state is JobState.RUNNING else 1)
        else:
            self.bar.setRange(0, _STEPS)
            self.bar.setValue(int(job.progress * _STEPS))
        what = "Dismiss" if is_over else "Stop"
        self.button.setText(what)
        self.button.setAccessibleName(f"{what}: {job.title}")
        self.button.setEnabled(job.state is not JobState.STOPPING)
        if is_over and not was_over:
            # A screen reader says how it ended.
            event = QAccessibleEvent(self.text, QAccessible.Event.Alert)
            QAccessible.updateAccessibility(event)


class JobPanel(QScrollArea):
    """Shows the jobs, the newest first; it is hidden while there are none.

    Signals:
        stop_wanted(int): the person wants to stop the job with this number.
        dismissed(int): the person has read how the job with this number has ended.
    """

    stop_wanted = Signal(int)
    dismissed = Signal(int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("jobPanel")
        self.setAccessibleName("Jobs")
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._inside = QWidget(self)
        self._column = QVBoxLayout(self._inside)
        self._column.setContentsMargins(8, 6, 8, 6)
        self._column.setSpacing(4)
        self._column.addStretch(1)
        self.setWidget(self._inside)
        self._rows: dict[int, _JobRow] = {}
        self.setVisible(False)

    @property
    def texts(self) -> list[str]:
        """The texts of the jobs, from top to bottom."""
        return [row.text.text() for row in reversed(self._rows.values())]

    def button(self, number: int) -> QPushButton:
        """Return the button of a job."""
        return self._rows[number].button

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Bring the rows up to date."""
        now = {job.number: job for job in jobs}
        for number in self._rows.keys() - now.keys():
            self._drop(number)
        for number, job in now.items():
            row = self._rows.get(number)
            if row is None:
                row = self._rows[number] = _JobRow(job, self._inside)
                row.pressed.connect(self._pressed)
                self._column.insertWidget(0, row)
            elif row.job is not job:
                row.show_job(job)
        self.setVisible(bool(now))
        self._fit()

    def _drop(self, number: int) -> None:
        row = self._rows.pop(number)
        if row.button.hasFocus():
            self.focusNextChild()
        self._column.removeWidget(row)
        row.deleteLater()

    def _pressed(self, number: int) -> None:
        is_over = self._rows[number].job.state.is_over
        (self.dismissed if is_over else self.stop_wanted).emit(number)

    def _fit(self) -> None:
        """Be as high as the jobs need, up to some rows."""
        line = self.fontMetrics().height() + 16
        wanted = self._inside.sizeHint().height() + 4
        self.setFixedHeight(min(wanted, _ROWS_SHOWN * line + 12))
