"""The coverage bar of a replay: what is recorded, what is missing, and where the clock is."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import tzinfo
from typing import Final

from PySide6.QtCore import QEvent, QPointF, QSize, Qt, Signal
from PySide6.QtGui import (
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPixmap,
    QWheelEvent,
)
from PySide6.QtWidgets import QAbstractSlider, QSizePolicy, QToolTip, QWidget

from orderbook_desktop.core.coverage_bar import CoverageMap, Span
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay import Bookmark, Coverage, ReplayStatus
from orderbook_desktop.core.time_text import clock_text, date_text, moment_text
from orderbook_desktop.gui.actions import Action, FocusKeys
from orderbook_desktop.gui.panes.coverage_painter import MARGIN, CoveragePainter, Still
from orderbook_desktop.gui.theme import Theme

_ZOOM: Final = Action("Time bar: zoom", "in the bar of a replay: zoom", ("+", "=", "-"), ("wheel",))
_WHOLE: Final = Action("Time bar: whole", "in the bar of a replay: the whole recording", ("0",))
_PAGE: Final = Action(
    "Time bar: scroll",
    "in the bar of a replay: to an earlier or a later part",
    ("PgUp", "PgDown"),
    ("Shift+wheel",),
)
BAR_ACTIONS: Final = (_ZOOM, _WHOLE, _PAGE)
_ZOOM_STEP: Final = 0.7
_NOTCH: Final = 120
# While it plays, the clock may run up to here before the bar shows the next part.
_FOLLOWED_TO: Final = 0.97
_FOLLOWED_FROM: Final = 0.05
_NEAR: Final = 5
_TIP_COLUMNS: Final = 80
_NS: Final = 1_000_000_000
_MOST_SECONDS: Final = 2**31 - 1


class CoverageBar(QAbstractSlider):
    """Shows a recording from its beginning to its end, or a part of it; a press or a drag seeks.

    Assistive technology finds a slider, whose value are the seconds since the first moment.

    Signals:
        sought(object): the person wants this time, an int in ns.
        bookmark_sought(object): the person wants this `Bookmark`.
    """

    sought = Signal(object)  # A time may exceed the 32 bits of Qt's int.
    bookmark_sought = Signal(object)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._zone: tzinfo | None = None
        self._map = CoverageMap(Coverage())
        self._status: ReplayStatus | None = None
        # None: the whole recording.
        self._part: Span | None = None
        self._message = ""
        self._hover_x: float | None = None
        self._dragged_ns: int | None = None
        self._pan_x: float | None = None
        self._picture: tuple[Still, CoverageMap, QPixmap] | None = None
        self.focus_keys = FocusKeys(
            {
                _ZOOM: (self._zoom_in, self._zoom_in, self._zoom_out),
                _WHOLE: (self.show_whole,),
                _PAGE: (lambda: self._turn_page(-1), lambda: self._turn_page(1)),
            }
        )
        self.setOrientation(Qt.Orientation.Horizontal)
        self.setAccessibleName("Position in the recording")
        self.setMouseTracking(True)
        # A press must not take the focus from the pane.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.valueChanged.connect(self._seek_value)
        self._take_fonts()

    @property
    def span(self) -> Span | None:
        """The time that is on screen; None: nothing is recorded."""
        whole = self._map.whole
        return whole if whole is None or self._part is None else self._part

    @property
    def message(self) -> str:
        """The sentence beside the times."""
        return self._message

    def show_replay(
        self, status: ReplayStatus, coverage: Coverage, bookmarks: Sequence[Bookmark]
    ) -> None:
        """Show where the clock is, and what is recorded."""
        before, self._status = self._status, status
        if before is None or (before.market, before.file) != (status.market, status.file):
            self._part = None
        is_same = coverage == self._map.coverage and bookmarks is self._map.bookmarks
        if not is_same:
            self._map = CoverageMap(coverage, bookmarks)
            self._fit_part()
        if before is None or before.at_ns != status.at_ns:
            self._follow(status.at_ns)
        if not is_same or status != before:
            self.update()

    def show_message(self, message: str) -> None:
        """Show a sentence beside the times; empty: none."""
        if message != self._message:
            self._message = message
            self.update()

    def set_zone(self, zone: tzinfo | None) -> None:
        """Show times in `zone`; None: local time."""
        self._zone = zone
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme` from now on."""
        self._theme = theme
        self._take_fonts()

    def describe(self) -> None:
        """Tell assistive technology where the clock is."""
        status, whole = self._status, self._map.whole
        if status is None or whole is None:
            return
        # A value that the person sets is sought; this one is not.
        self.blockSignals(True)
        self.setRange(0, min(whole.length_ns // _NS, _MOST_SECONDS))
        self.setPageStep(60)
        self.setSingleStep(5)
        self.setValue(min(_MOST_SECONDS, max(0, (status.at_ns - whole.from_ns) // _NS)))
        self.blockSignals(False)

    def show_whole(self) -> None:
        """Show the whole recording."""
        self._part = None
        self.update()

    def zoom(self, factor: float, around_ns: int) -> None:
        """Show `factor` times as much, with the time `around_ns` in its place."""
        span, whole = self.span, self._map.whole
        if span is not None and whole is not None:
            zoomed = span.zoomed(factor, around_ns, whole)
            self._part = None if zoomed == whole else zoomed
            self.update()

    def time_at(self, x: float) -> int | None:
        """Return the time at an x coordinate, in ns; None: nothing is recorded."""
        share = (x - MARGIN) / self._room
        return None if self.span is None else self.span.at(max(0.0, min(share, 1.0)))

    def x_of(self, at_ns: int) -> float | None:
        """Return the x coordinate of a time; None: it is not on screen."""
        still = self._still()
        return None if still is None else still.x_of(at_ns)

    def tip_at(self, x: float) -> str:
        """Return all that is known of the time at an x coordinate."""
        span, first, after = self.span, self.time_at(x - 0.5), self.time_at(x + 0.5)
        if span is None or first is None or after is None:
            return ""
        column = Span(first, max(after, first + 1))
        lines = self._map.found(column, self._near_ns(span)).lines(self._zone)
        if not lines:
            is_covered = bool(self._map.columns(column, 1).covered[0])
            lines = ["Recorded." if is_covered else "Nothing was recorded here."]
        moment = moment_text((first + after) // 2 // NS_A_MS, self._zone)
        return "\n".join([moment, *(textwrap.fill(line, _TIP_COLUMNS) for line in lines)])

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a height with room for all rows."""
        return QSize(600, self._painter.rows.end)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a small width, and that height."""
        return QSize(120, self._painter.rows.end)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Seek the time, or the bookmark, under the mouse; the middle button moves the bar."""
        at = event.position()
        if event.button() == Qt.MouseButton.MiddleButton:
            self._pan_x = at.x()
        elif event.button() == Qt.MouseButton.LeftButton:
            bookmark = self._bookmark_at(at)
            if bookmark is None:
                self._drag_to(at.x())
            else:
                self.bookmark_sought.emit(bookmark)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Seek while the left button is down, and show the time under the mouse."""
        x = event.position().x()
        self._hover_x = x
        if self._pan_x is not None:
            self._move(self._pan_x - x)
            self._pan_x = x
        elif self._dragged_ns is not None:
            self._drag_to(x)
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """End a drag."""
        self._dragged_ns = self._pan_x = None
        self.update()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Point at no time."""
        super().leaveEvent(event)
        self._hover_x = None
        self.update()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Zoom around the time under the mouse; sideways, or with Shift: move."""
        angle = event.angleDelta()
        around = self.time_at(event.position().x())
        if angle.x() or event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._move(-(angle.x() or angle.y()) / _NOTCH * self._room * 0.1)
        elif around is not None:
            self.zoom(_ZOOM_STEP ** (angle.y() / _NOTCH), around)
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Handle the bar's own keys; those of the replay are the window's."""
        if not self.focus_keys.handle(event):
            event.ignore()

    def event(self, event: QEvent) -> bool:
        """Show all that is known of the time under the mouse as its tool tip."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            at = event.pos()
            # The message may be too long for its room.
            is_message = bool(self._message) and at.y() >= self._painter.rows.axis
            text = self._message if is_message else self.tip_at(at.x())
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Use a changed font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._take_fonts()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw what stands still from its picture, and over it what moves."""
        still, status = self._still(), self._status
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.fillRect(self.rect(), self._theme.window)
            if still is not None and status is not None:
                painter.drawPixmap(0, 0, self._picture_of(still))
                sought_ns = status.seeking_ns if self._dragged_ns is None else self._dragged_ns
                target_x = None if sought_ns is None else still.x_of(sought_ns)
                # By the times of receipt the clock goes a little beyond the exchange's.
                clock_ns = max(still.whole.from_ns, min(status.at_ns, still.whole.to_ns))
                self._painter.draw_clock(painter, still.x_of(clock_ns), target_x)
            if self._message:
                # The time under the mouse must not hide it.
                at_left = self._hover_x is not None and self._hover_x > self.width() / 2
                self._painter.draw_message(painter, self._message, self.width(), at_left=at_left)
            at_ns = None if self._hover_x is None else self.time_at(self._hover_x)
            if at_ns is not None and still is not None:
                x = still.x_of(at_ns) or 0.0
                self._painter.draw_hover(painter, x, self._hover_text(at_ns), self.width())
            if self.hasFocus():
                painter.setPen(self._theme.focus)
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    @property
    def _room(self) -> int:
        return max(1, self.width() - 2 * MARGIN)

    def _near_ns(self, span: Span) -> int:
        """Return for how long a mark is as near as a pointer has to come to it."""
        return span.length_ns * _NEAR // self._room

    def _take_fonts(self) -> None:
        self._painter = CoveragePainter(self._theme, self.font())
        self._picture = None
        self.updateGeometry()
        self.update()

    def _fit_part(self) -> None:
        """Keep the part on screen within the recording, which may have become shorter."""
        part, whole = self._part, self._map.whole
        if part is not None and whole is not None:
            is_all = part.length_ns >= whole.length_ns
            self._part = None if is_all else part.moved(0, whole)

    def _follow(self, at_ns: int) -> None:
        """Show the part with the clock, if that has left the part on screen."""
        part, whole = self._part, self._map.whole
        if part is None or whole is None or self._dragged_ns is not None:
            return
        share = part.share_of(at_ns)
        if 0 <= share < _FOLLOWED_TO or not whole.holds(at_ns):
            return
        place = _FOLLOWED_FROM if _FOLLOWED_TO <= share < 2 else 0.5
        self._part = part.moved(at_ns - part.at(place), whole)

    def _zoom_in(self) -> None:
        self._zoom_at_clock(_ZOOM_STEP)

    def _zoom_out(self) -> None:
        self._zoom_at_clock(1 / _ZOOM_STEP)

    def _zoom_at_clock(self, factor: float) -> None:
        span, status = self.span, self._status
        if span is not None and status is not None:
            self.zoom(factor, max(span.from_ns, min(status.at_ns, span.to_ns)))

    def _turn_page(self, on: int) -> None:
        self._move(on * self._room * 0.8)

    def _move(self, pixels: float) -> None:
        part, whole = self._part, self._map.whole
        if part is not None and whole is not None:
            self._part = part.moved(round(part.length_ns * pixels / self._room), whole)
            self.update()

    def _seek_value(self, value: int) -> None:
        """Seek what assistive technology has set."""
        whole = self._map.whole
        if whole is not None:
            self.sought.emit(whole.from_ns + value * _NS)

    def _drag_to(self, x: float) -> None:
        at_ns = self.time_at(x)
        if at_ns is not None and at_ns != self._dragged_ns:
            self._dragged_ns = at_ns
            self.sought.emit(at_ns)
            self.update()

    def _bookmark_at(self, at: QPointF) -> Bookmark | None:
        """Return the bookmark whose flag is at a point."""
        span, at_ns = self.span, self.time_at(at.x())
        if span is None or at_ns is None or at.y() >= self._painter.rows.band:
            return None
        marked = self._map.found(Span(at_ns, at_ns + 1), self._near_ns(span)).bookmarks
        return min(marked, key=lambda one: abs(one.event_ms * NS_A_MS - at_ns), default=None)

    def _still(self) -> Still | None:
        span, whole = self.span, self._map.whole
        if span is None or whole is None:
            return None
        loop = (None, None) if self._status is None else self._status.loop
        ratio = self.devicePixelRatioF()
        return Still(span, whole, self.width(), ratio, loop, self._zone)

    def _picture_of(self, still: Still) -> QPixmap:
        made = self._picture
        if made is None or made[0] != still or made[1] is not self._map:
            picture = self._painter.picture(still, self._map)
            made = self._picture = still, self._map, picture
        return made[2]

    def _hover_text(self, at_ns: int) -> str:
        """Return date and time as exactly as a pixel tells them."""
        span, at_ms = self.span, at_ns // NS_A_MS
        clock = clock_text(at_ms, self._zone)
        if span is None or span.length_ns // self._room >= 100 * NS_A_MS:
            clock = clock[:8]
        return f"{date_text(at_ms, self._zone)} {clock}"
