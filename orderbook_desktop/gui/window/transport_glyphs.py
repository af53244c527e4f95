"""The buttons of the transport bar that show a shape: drawn, so alike with every font."""

from __future__ import annotations

from enum import Enum

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPolygonF
from PySide6.QtWidgets import QToolButton, QWidget


class Glyph(Enum):
    """The shape of a button."""

    PLAY = "play"
    PAUSE = "pause"
    STEP_ON = "step on"
    STEP_BACK = "step back"
    GAP_ON = "gap on"
    GAP_BACK = "gap back"
    BOOKMARK = "bookmark"


class GlyphButton(QToolButton):
    """A button that shows a shape in the colour of its text; its name says what it does."""

    def __init__(self, glyph: Glyph, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._glyph = glyph

    @property
    def glyph(self) -> Glyph:
        """The shape."""
        return self._glyph

    def show_glyph(self, glyph: Glyph) -> None:
        """Show another shape."""
        if glyph is not self._glyph:
            self._glyph = glyph
            self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a little more than a square of the text's height."""
        side = self.fontMetrics().height()
        return QSize(side + 18, side + 10)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the size hint: the shape is never squeezed."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the button, and the shape in its middle."""
        super().paintEvent(event)
        side = self.fontMetrics().height() * 0.72
        box = QRectF(0, 0, side, side)
        box.moveCenter(QRectF(self.rect()).center())
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self.palette().buttonText())
            if self._glyph in (Glyph.STEP_BACK, Glyph.GAP_BACK):
                painter.translate(box.center().x(), 0)
                painter.scale(-1, 1)
                painter.translate(-box.center().x(), 0)
            painter.drawPath(_path_of(self._glyph, box))


def _path_of(glyph: Glyph, box: QRectF) -> QPainterPath:
    """Return the shape within `box`; those that go back are the others in a mirror."""
    path, width = QPainterPath(), box.width()
    match glyph:
        case Glyph.PLAY:
            _add_triangle(path, box.adjusted(width * 0.1, 0, 0, 0))
        case Glyph.PAUSE:
            path.addRect(box.adjusted(width * 0.12, 0, -width * 0.6, 0))
            path.addRect(box.adjusted(width * 0.6, 0, -width * 0.12, 0))
        case Glyph.STEP_ON | Glyph.STEP_BACK:
            path.addRect(box.adjusted(0, width * 0.08, -width * 0.82, -width * 0.08))
            _add_triangle(path, box.adjusted(width * 0.34, width * 0.08, 0, -width * 0.08))
        case Glyph.GAP_ON | Glyph.GAP_BACK:
            half = width * 0.46
            upright = width * 0.08
            _add_triangle(path, box.adjusted(0, upright, -width + half, -upright))
            _add_triangle(path, box.adjusted(half, upright, -width + 2 * half, -upright))
            path.addRect(QRectF(box.right() - 1, box.top() + upright, 2, width - 2 * upright))
        case Glyph.BOOKMARK:
            left, right, middle = box.left() + width * 0.2, box.right() - width * 0.2, box.center()
            corners = (left, box.top()), (right, box.top()), (right, box.bottom())
            path.addPolygon(
                QPolygonF(
                    [
                        *(QPointF(x, y) for x, y in corners),
                        QPointF(middle.x(), box.bottom() - width * 0.28),
                        QPointF(left, box.bottom()),
                    ]
                )
            )
    return path


def _add_triangle(path: QPainterPath, box: QRectF) -> None:
    """Add a triangle that points to the right."""
    path.moveTo(box.topLeft())
    path.lineTo(box.right(), box.center().y())
    path.lineTo(box.bottomLeft())
    path.closeSubpath()
