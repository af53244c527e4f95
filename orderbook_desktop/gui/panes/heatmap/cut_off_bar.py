"""The slider of the cut-offs: two handles on a histogram of the sizes in sight."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractSlider, QWidget

from orderbook_desktop.core.heatmap.choices import ColourMap
from orderbook_desktop.core.heatmap.colours import FIRST_SIZE, LAST_SIZE
from orderbook_desktop.core.heatmap.cut_offs import CutOffScale, Shades
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.theme import DARK, Theme

# A slider counts in whole numbers: so many are a place.
_FINE: Final = 10
_BAR_HEIGHT: Final = 14
_GRIP: Final = 9


class _Handle(QAbstractSlider):
    """A cut-off, moved by mouse and keys; its value is the place times `_FINE`.

    Signals:
        typing(): the person wants to type it.
    """

    typing = Signal()

    def __init__(self, name: str, bar: CutOffBar) -> None:
        super().__init__(bar)
        self._bar = bar
        self.setAccessibleName(name)
        self.setRange(FIRST_SIZE * _FINE, LAST_SIZE * _FINE)
        self.setSingleStep(_FINE // 2)
        # An octave of sizes.
        self.setPageStep(8 * _FINE)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.SizeHorCursor)

    @property
    def place(self) -> float:
        """Where it is, on the scale of bytes."""
        return self.value() / _FINE

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Type with Return; the other keys are those of a slider."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_F2):
            self.typing.emit()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Begin to drag."""
        self.setSliderDown(True)
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Follow the pointer."""
        if self.isSliderDown():
            at = self.mapToParent(event.position())
            self.setValue(round(self._bar.place_at(at.x()) * _FINE))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """End dragging."""
        self.setSliderDown(False)
        event.accept()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Type the cut-off."""
        self.setSliderDown(False)
        self.typing.emit()
        event.accept()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw a grip below a line."""
        theme = self._bar.theme
        middle, height = self.width() / 2, float(self.height())
        with QPainter(self) as painter:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.fillRect(QRectF(middle - 1, 0, 2, height), theme.text)
            painter.setBrush(theme.focus if self.hasFocus() else theme.text)
            painter.setPen(theme.panel)
            top = height - _GRIP
            grip = (
                QPointF(middle, top - 3),
                QPointF(middle + _GRIP / 2, top + 2),
                QPointF(middle + _GRIP / 2, height),
                QPointF(middle - _GRIP / 2, height),
                QPointF(middle - _GRIP / 2, top + 2),
            )
            painter.drawPolygon(QPolygonF(grip))
            if self.hasFocus():
                painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(QPen(theme.focus, 2))
                painter.drawRect(self.rect().adjusted(1, 1, -1, -1))


class CutOffBar(QWidget):
    """The colours over a histogram of the sizes in sight, between two handles.

    Signals:
        moved(): the person has moved a handle.
        typing(bool): the person wants to type a cut-off; whether it is the higher one.
    """

    moved = Signal()
    typing = Signal(bool)

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self.theme = theme
        self.scale = CutOffScale(np.zeros(LAST_SIZE + 1, np.int64))
        self.shades = Shades(ColourMap.FIRE, FIRST_SIZE, LAST_SIZE)
        self._domain = float(FIRST_SIZE), float(LAST_SIZE)
        self.low = self._handle("Lower cut-off of the colours", is_high=False)
        self.high = self._handle("Upper cut-off of the colours", is_high=True)
        self.setMinimumSize(90, self.sizeHint().height())

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a comfortable size: histogram, colours and grips, and the sizes below."""
        return QSize(240, _BAR_HEIGHT + 12 + round(NumberMetrics(number_font(self.font())).height))

    @property
    def places(self) -> tuple[float, float]:
        """The places of both handles."""
        return self.low.place, self.high.place

    def show_places(self, shades: Shades, scale: CutOffScale, text: Callable[[float], str]) -> None:
        """Show the handles at the cut-offs of `shades`, over the sizes of `scale`.

        `text` says what a place is.
        """
        self.shades, self.scale = shades, scale
        pairs = ((self.low, shades.low), (self.high, shades.high))
        for handle, place in pairs:
            handle.blockSignals(True)
            handle.setValue(round(place * _FINE))
            handle.blockSignals(False)
            handle.setAccessibleDescription(text(place))
            handle.setToolTip(text(place))
        if not (self.low.isSliderDown() or self.high.isSliderDown()):
            self._domain = _domain_of(scale, (shades.low, shades.high))
        self._place_handles()
        self.update()

    def place_at(self, x: float) -> float:
        """Return the place at an x."""
        first, last = self._domain
        share = (x - _GRIP) / max(1, self.width() - 2 * _GRIP)
        return min(max(first + share * (last - first), FIRST_SIZE), LAST_SIZE)

    def x_of(self, place: float) -> float:
        """Return the x of a place."""
        first, last = self._domain
        return _GRIP + (place - first) / (last - first) * (self.width() - 2 * _GRIP)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Move the handles along."""
        super().resizeEvent(event)
        self._place_handles()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw histogram and colours, and the sizes at the handles."""
        with QPainter(self) as painter:
            left, right = round(self.x_of(self._domain[0])), round(self.x_of(self._domain[1]))
            width = max(1, right - left)
            places = np.linspace(*self._domain, width).round().astype(np.int64)
            counts = self.scale.counts[places]
            tallest = max(1, int(self.scale.counts[FIRST_SIZE:].max(initial=0)))
            # By their roots, few sizes are seen beside many.
            heights = np.ceil(np.sqrt(counts / tallest) * _BAR_HEIGHT)
            rows = np.arange(_BAR_HEIGHT, 0, -1)[:, None]
            cells, asks = self.shades.tables
            picture = np.full((_BAR_HEIGHT + 6, width), DARK.panel.rgb(), np.uint32)
            picture[:_BAR_HEIGHT] = np.where(rows <= heights, DARK.muted.rgb(), DARK.panel.rgb())
            picture[_BAR_HEIGHT:] = cells[places]
            if asks is not None:
                picture[_BAR_HEIGHT + 3 :] = asks[places]
            data = np.ascontiguousarray(picture)
            image = QImage(data.data, width, len(data), 4 * width, QImage.Format.Format_RGB32)
            painter.drawImage(left, 0, image)
            self._draw_sizes(painter)

    def _draw_sizes(self, painter: QPainter) -> None:
        metrics = NumberMetrics(number_font(self.font()))
        painter.setFont(metrics.font)
        painter.setPen(self.theme.muted)
        texts = [size_text(self.scale.size_at(place)) for place in self.places]
        widths = [metrics.width(text) for text in texts]
        low, high = (
            min(max(0.0, self.x_of(place) - width / 2), self.width() - width)
            for place, width in zip(self.places, widths, strict=True)
        )
        # Where both have no room side by side, they stay at their sides.
        overlap = low + widths[0] + 8 - high
        if overlap > 0:
            low, high = low - overlap / 2, high + overlap / 2
            low = max(0.0, min(low, self.width() - sum(widths) - 8))
            high = max(high, low + widths[0] + 8)
        baseline = self.height() - metrics.height + metrics.ascent
        for x, text in zip((low, high), texts, strict=True):
            painter.drawText(QPointF(x, baseline), text)

    def _handle(self, name: str, *, is_high: bool) -> _Handle:
        handle = _Handle(name, self)
        handle.valueChanged.connect(self._keep_apart)
        handle.typing.connect(partial(self.typing.emit, is_high))
        return handle

    def _keep_apart(self) -> None:
        """Let the handle that was moved stop before the other one."""
        moved = self.sender()
        if self.low.place >= self.high.place:
            other, off = (self.high, -_FINE) if moved is self.low else (self.low, _FINE)
            handle = self.low if moved is self.low else self.high
            handle.blockSignals(True)
            handle.setValue(other.value() + off)
            handle.blockSignals(False)
        self.moved.emit()

    def _place_handles(self) -> None:
        for handle in (self.low, self.high):
            x = round(self.x_of(handle.place))
            handle.setGeometry(x - _GRIP, 0, 2 * _GRIP, _BAR_HEIGHT + 11)


def _domain_of(scale: CutOffScale, places: tuple[float, float]) -> tuple[float, float]:
    """Return the first and the last place to show: all sizes in sight, and the handles."""
    there = np.flatnonzero(scale.counts[FIRST_SIZE:]) + FIRST_SIZE
    first = min(places[0], int(there[0]) if len(there) else LAST_SIZE)
    last = max(places[1], int(there[-1]) if len(there) else FIRST_SIZE)
    return max(first - 2.0, FIRST_SIZE), min(max(last, first + 8) + 2.0, LAST_SIZE)


def size_text(size: float) -> str:
    """Return a size in three digits, with what is usual for large ones."""
    if size >= 1_000_000:
        return f"{size / 1_000_000:,.3g}M" if size < 1e9 else f"{size / 1e9:,.3g}B"
    if size >= 10_000:
        return f"{size / 1_000:,.3g}k"
    return f"{float(f'{size:.3g}'):,.10g}"
