"""The moment of a replay: a field in which a person types it, and a calendar of its days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from datetime import date as Date  # noqa: N812 (a method has this name)
from typing import Final

from PySide6.QtCore import QDate, QPoint, Qt, Signal
from PySide6.QtGui import QFocusEvent, QFont, QKeyEvent, QPalette, QTextCharFormat
from PySide6.QtWidgets import QCalendarWidget, QFrame, QLineEdit, QToolButton, QVBoxLayout, QWidget

from orderbook_desktop.core.time_text import clock_text, date_text
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.window.replay_control import TYPE_TIME

_WIDEST: Final = "00:00:00.000"
_EXAMPLES: Final = "14:05:30.250, yesterday 9:00, 2026-11-29 09:00Z, -5m, or an update id"


class MomentField(QLineEdit):
    """Shows the clock's time of day; a person types another moment, and Return goes there.

    While it has the focus, its text stays.

    Signals:
        typed(str): the person wants this moment.
        left(): the focus should go back to the book.
    """

    typed = Signal(str)
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown = ""
        self.setAccessibleName("Time of the replay")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.returnPressed.connect(lambda: self.typed.emit(self.text()))
        self.show_problem("")
        self._take_font()

    def show_moment(self, ms: int, zone: tzinfo | None) -> None:
        """Show the time of day, unless the person types."""
        text = clock_text(ms, zone)
        if text != self._shown:
            self._shown = text
            if not self.hasFocus():
                self.setText(text)

    def show_problem(self, sentence: str) -> None:
        """Say why there is no such moment; empty: what can be typed."""
        usual = f"Type a time, and Return: {_EXAMPLES} ({TYPE_TIME.keys_text})"
        self.setToolTip(sentence or usual)
        self.setAccessibleDescription(sentence or usual)

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802 (Qt's name)
        """Have all of the text typed over."""
        super().focusInEvent(event)
        # A press that gives the focus puts the cursor somewhere afterwards.
        if event.reason() != Qt.FocusReason.MouseFocusReason:
            self.selectAll()

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 (Qt's name)
        """Show the clock's time again."""
        super().focusOutEvent(event)
        self.setText(self._shown)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Leave by Escape."""
        if event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)

    def _take_font(self) -> None:
        font = number_font(self.font())
        self.setFont(font)
        self.setFixedWidth(round(NumberMetrics(font).width(_WIDEST)) + 24)


class DayButton(QToolButton):
    """Shows the clock's day, and opens a calendar of the recording's days.

    Signals:
        chosen(object): the person wants the day that begins at this time, in ms.
    """

    chosen = Signal(object)  # A time may exceed the 32 bits of Qt's int.

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._zone: tzinfo | None = None
        self._at_ms = 0
        self._timeline = Timeline((), ())
        self.calendar: RecordedDays | None = None
        self.setToolTip("Choose a day of the recording")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.clicked.connect(self.open_calendar)

    def show_recording(self, at_ms: int, timeline: Timeline, zone: tzinfo | None) -> None:
        """Show the day of a time of a recording."""
        self._at_ms, self._timeline, self._zone = at_ms, timeline, zone
        text = date_text(at_ms, zone)
        if text != self.text():
            self.setText(text)
            self.setAccessibleName(f"Day of the replay: {text}")

    def open_calendar(self) -> None:
        """Open the calendar, with the clock's day selected."""
        self.calendar = RecordedDays(self._at_ms, self._timeline, self._zone, self)
        self.calendar.chosen.connect(self._choose)
        hint = self.calendar.sizeHint()
        top_left = self.mapToGlobal(QPoint(0, -hint.height()))
        self.calendar.move(top_left)
        self.calendar.show()

    def _choose(self, from_ms: int) -> None:
        self.chosen.emit(from_ms)


class RecordedDays(QFrame):
    """A calendar in which the days with a recorded book are bold, and others can't be chosen.

    Signals:
        chosen(object): the person wants the day whose first recorded moment this is, in ms.
    """

    chosen = Signal(object)

    def __init__(
        self, at_ms: int, timeline: Timeline, zone: tzinfo | None, parent: QWidget
    ) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setObjectName("recordedDays")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._timeline, self._zone = timeline, zone
        self.days = QCalendarWidget(self)
        self.days.setAccessibleName("Days of the recording")
        self.days.setVerticalHeaderFormat(QCalendarWidget.VerticalHeaderFormat.NoVerticalHeader)
        first, last = _day_of(timeline.from_ms, zone), _day_of(timeline.to_ms, zone)
        self.days.setDateRange(_qt_date(first), _qt_date(last))
        self.days.setSelectedDate(_qt_date(_day_of(at_ms, zone)))
        self._mark_days()
        self.days.clicked.connect(self._choose)
        self.days.activated.connect(self._choose)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.days)
        self.days.setFocus()

    def first_moment(self, day: Date) -> int | None:
        """Return the first recorded moment of `day`, in ms; None: nothing was recorded."""
        begin, end = _begin_of(day, self._zone), _begin_of(day + timedelta(days=1), self._zone)
        times = (
            max(cover.from_ms, begin)
            for cover in self._timeline.covers
            if cover.from_ms < end and cover.to_ms >= begin
        )
        return next(times, None)

    def _mark_days(self) -> None:
        colours = self.palette()
        other, recorded = QTextCharFormat(), QTextCharFormat()
        other.setForeground(colours.color(QPalette.ColorGroup.Disabled, QPalette.ColorRole.Text))
        for weekday in Qt.DayOfWeek:
            self.days.setWeekdayTextFormat(weekday, other)
        recorded.setForeground(colours.text())
        recorded.setFontWeight(QFont.Weight.Bold)
        for cover in self._timeline.covers:
            day, last = _day_of(cover.from_ms, self._zone), _day_of(cover.to_ms, self._zone)
            while day <= last:
                self.days.setDateTextFormat(_qt_date(day), recorded)
                day += timedelta(days=1)

    def _choose(self, chosen: QDate) -> None:
        moment = self.first_moment(Date(chosen.year(), chosen.month(), chosen.day()))
        if moment is not None:
            self.close()
            self.chosen.emit(moment)


def _day_of(ms: int, zone: tzinfo | None) -> Date:
    return datetime.fromtimestamp(ms // 1_000, UTC).astimezone(zone).date()


def _begin_of(day: Date, zone: tzinfo | None) -> int:
    """Return when `day` begins in `zone`, in ms."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(midnight.timestamp()) * 1_000


def _qt_date(day: Date) -> QDate:
    return QDate(day.year, day.month, day.day)
