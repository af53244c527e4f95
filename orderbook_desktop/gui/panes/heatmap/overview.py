"""The bar below the heatmap: all that is recorded, its gaps, and the part that is in sight."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QHelpEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPixmap,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from orderbook_desktop.core.coverage_bar import CoverageMap, Span
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.replay import Coverage
from orderbook_desktop.core.time_text import moment_text
from orderbook_desktop.gui.panes.coverage_painter import MARGIN, CoveragePainter, Still
from orderbook_desktop.gui.theme import Theme

_LEAST_HANDLE: Final = 6.0
_NEAR: Final = 2


class OverviewBar(QWidget):
    """Shows a whole recording; a press or a drag moves the view there.

    Signals:
        moved(object): the person wants this time, an int in ms, in the middle of the view.
        turned(float): the person turns the wheel: so many notches.
    """

    moved = Signal(object)
    turned = Signal(float)

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self._zone: tzinfo | None = None
        self._coverage = Coverage()
        self._map = CoverageMap(self._coverage)
        self._view: View | None = None
        self._limit_ms: int | None = None
        self._picture: tuple[Still, CoverageMap, QPixmap] | None = None
        # How far the press was from the middle of the handle, in ms.
        self._grip_ms: int | None = None
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("All that is recorded, and the part in the heatmap")
        self._take_fonts()

    @property
    def has_something(self) -> bool:
        """Whether anything is recorded."""
        return self._map.whole is not None

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a height with room for all rows."""
        return QSize(200, self._painter.rows.end)

    def show_coverage(self, coverage: Coverage) -> None:
        """Show what is recorded."""
        if coverage is not self._coverage and coverage != self._coverage:
            self._coverage, self._map = coverage, CoverageMap(coverage)
            self.update()

    def show_view(self, view: View | None, limit_ms: int | None) -> None:
        """Show which part is in sight; a replay's clock is at `limit_ms` (None: live)."""
        if (view, limit_ms) != (self._view, self._limit_ms):
            self._view, self._limit_ms = view, limit_ms
            self.update()

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme`."""
        self._theme = theme
        self._take_fonts()

    def x_of(self, at_ms: int) -> float | None:
        """Return the x of a time, clipped to the bar; None: nothing is recorded."""
        whole = self._map.whole
        if whole is None:
            return None
        return MARGIN + max(0.0, min(whole.share_of(at_ms * NS_A_MS), 1.0)) * self._room

    def time_at(self, x: float) -> int | None:
        """Return the time at an x, in ms."""
        whole = self._map.whole
        if whole is None:
            return None
        return whole.at(max(0.0, min((x - MARGIN) / self._room, 1.0))) // NS_A_MS

    def handle(self) -> QRectF | None:
        """Return the place of the part in sight; None: there is none."""
        view, rows = self._view, self._painter.rows
        if view is None:
            return None
        left, right = self.x_of(view.from_ms), self.x_of(view.to_ms)
        if left is None or right is None:
            return None
        missing = max(0.0, _LEAST_HANDLE - (right - left)) / 2
        return QRectF(
            left - missing, rows.band - 2, right - left + 2 * missing, rows.axis - rows.band + 1
        )

    def tip_at(self, x: float) -> str:
        """Return what is known of the time at an x."""
        whole, first, after = self._map.whole, self.time_at(x - 0.5), self.time_at(x + 0.5)
        if whole is None or first is None or after is None:
            return ""
        column = Span(first * NS_A_MS, max(after, first + 1) * NS_A_MS)
        near = whole.length_ns * _NEAR // self._room
        lines = self._map.found(column, near).lines(self._zone)
        return "\n".join([moment_text((first + after) // 2, self._zone), *lines])

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw what is recorded from its picture, and over it the part in sight."""
        theme, whole = self._theme, self._map.whole
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.fillRect(self.rect(), theme.window)
            if whole is None:
                return
            ratio = self.devicePixelRatioF()
            still = Still(whole, whole, self.width(), ratio, (None, None), self._zone)
            painter.drawPixmap(0, 0, self._picture_of(still))
            if self._limit_ms is not None:
                self._painter.draw_clock(painter, self.x_of(self._limit_ms), None)
            handle = self.handle()
            if handle is not None:
                self._draw_handle(painter, handle)

    def _draw_handle(self, painter: QPainter, handle: QRectF) -> None:
        # What is not in sight is dimmed, so that the handle is seen on each colour.
        shade = QColor(self._theme.window)
        shade.setAlphaF(0.35)
        top, height = handle.top(), handle.height()
        right = handle.right()
        painter.fillRect(QRectF(MARGIN, top, handle.left() - MARGIN, height), shade)
        painter.fillRect(QRectF(right, top, self.width() - MARGIN - right, height), shade)
        painter.setPen(self._theme.text)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(handle.adjusted(0.5, 0.5, -0.5, -0.5))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Take the handle, or move it to where the press is."""
        view, at = self._view, event.position()
        at_ms, handle = self.time_at(at.x()), self.handle()
        if event.button() != Qt.MouseButton.LeftButton or view is None or at_ms is None:
            return
        is_held = handle is not None and handle.left() <= at.x() <= handle.right()
        self._grip_ms = at_ms - (view.from_ms + view.to_ms) // 2 if is_held else 0
        self._move(at.x())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Move the view while the button is down."""
        if self._grip_ms is not None:
            self._move(event.position().x())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """End a drag."""
        self._grip_ms = None

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Tell how far the wheel was turned."""
        self.turned.emit(event.angleDelta().y() / 120)
        event.accept()

    def event(self, event: QEvent) -> bool:
        """Show what is known of the time under the mouse as its tool tip."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self.tip_at(event.pos().x()), self)
            return True
        return super().event(event)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Use a changed font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._take_fonts()

    @property
    def _room(self) -> int:
        return max(1, self.width() - 2 * MARGIN)

    def _move(self, x: float) -> None:
        at_ms = self.time_at(x)
        if at_ms is not None and self._grip_ms is not None:
            self.moved.emit(at_ms - self._grip_ms)

    def _take_fonts(self) -> None:
        self._painter = CoveragePainter(self._theme, self.font())
        self._picture = None
        self.updateGeometry()
        self.update()

    def _picture_of(self, still: Still) -> QPixmap:
        held = self._picture
        if held is None or held[0] != still or held[1] is not self._map:
            held = self._picture = still, self._map, self._painter.picture(still, self._map)
        return held[2]
