"""The depth chart's widget: it paints the curves of `core.depth_curve`, with a crosshair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import QEvent, QPointF, QRect, QSize, Qt, QTimer
from PySide6.QtGui import QFont, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QWidget

from orderbook_desktop.core.depth_curve import (
    DepthCurve,
    Reading,
    automatic_range,
    build_curve,
    middle_of,
    read_curves,
    size_in_view,
)
from orderbook_desktop.core.ladder import Side
from orderbook_desktop.gui.actions import Action, Command, FocusKeys, Switch
from orderbook_desktop.gui.number_font import NumberMetrics, number_font
from orderbook_desktop.gui.panes.axes import PlotArea, PriceView, scale_top
from orderbook_desktop.gui.panes.book_frame import BookFrame, message_of
from orderbook_desktop.gui.panes.depth_chart.painter import (
    DepthPainter,
    DepthScene,
    axis_text_of,
    reading_lines,
)
from orderbook_desktop.gui.panes.pane import Pane, paint_message
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme

_RESET: Final = Action("Reset the &chart", "bring the chart back to its own range", ("Ctrl+0",))
_ZOOM_KEYS: Final = Action("Chart: zoom", "in the chart: zoom", ("+", "=", "-"), ("wheel",))
_RESET_HERE: Final = Action(
    "Chart: reset", "in the chart: back to its own range", ("0", "Home"), ("double click",)
)
_CROSSHAIR: Final = Action(
    "Chart: move the crosshair",
    "in the chart: move the crosshair; Shift: faster",
    ("Left", "Right", "Shift+Left", "Shift+Right"),
)
_NO_CROSSHAIR: Final = Action(
    "Chart: no crosshair", "in the chart: take the crosshair away", ("Esc",)
)

_ZOOM: Final = 1.25
# Zooming out ends at the farthest level, but not before the first of these numbers of automatic
# ranges and not after the second: then the curves would be thin lines.
_WIDE: Final = 4
_WIDEST: Final = 20
_MARGIN: Final = 8
_KEY_STEPS: Final = 200
# The chart paints a moment after the ladder, so that other work waits for one of them at most.
_LATER_MS: Final = 1


class DepthChart(Pane):
    """Both cumulative curves of one book.

    Zooming keeps the mid in place; dragging pans. The crosshair follows the mouse or the keys.
    `preferences` remember the zoom: half the price range, as a share of the mid. The curves are of
    quantities, or of what these cost in the quote asset.
    """

    stretch = 5

    def __init__(
        self, theme: Theme, preferences: Preferences, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, "Depth chart", parent)
        self._preferences = preferences
        self._in_quote = preferences.shows_quote
        self._frame: BookFrame | None = None
        self._curves: tuple[DepthCurve, DepthCurve] | None = None
        self._mid = 0.0
        self._view = PriceView(chosen_share=preferences.chart_share)
        self._top = 0.0
        self._crosshair: int | None = None
        self._mouse_x: float | None = None
        self._drag_from: QPointF | None = None
        self._later = QTimer(self, interval=_LATER_MS, singleShot=True)
        self._later.setTimerType(Qt.TimerType.PreciseTimer)
        self._later.timeout.connect(self.update)
        self.setMinimumSize(240, 160)
        step = self._step_crosshair
        self.focus_keys = FocusKeys(
            {
                _ZOOM_KEYS: (self._zoom_in, self._zoom_in, lambda: self.zoom(_ZOOM)),
                _RESET_HERE: (self.reset_view,),
                _CROSSHAIR: (
                    *(lambda: step(-1), lambda: step(1)),
                    *(lambda: step(-10), lambda: step(10)),
                ),
                _NO_CROSSHAIR: (lambda: self._point_at(None),),
            }
        )
        self._take_fonts()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a comfortable size."""
        return QSize(400, 700)

    @property
    def view(self) -> PriceView:
        """The range of prices in view."""
        return self._view

    def commands(self) -> Sequence[Command | Switch]:
        """Return the chart's entries for the window's view menu."""
        return (Command(_RESET, self.reset_view),)

    def set_frame(self, frame: BookFrame) -> None:
        """Show `frame`. If its market is another than before, go to its mid, and keep the zoom."""
        if self._frame is None or frame.symbol.market != self._frame.symbol.market:
            self._view.reset(keep_zoom=True)
            self._top = 0.0
            self._crosshair = None
        is_same = frame.has_book_of(self._frame)
        self._frame = frame
        if not is_same:
            self._build(frame)

    def _build(self, frame: BookFrame) -> None:
        """Build the curves of `frame`, and bring them into view."""
        self._curves = None
        if message_of(frame) is None:
            bids, asks = (
                build_curve(levels, side, frame.horizon, in_quote=self._in_quote)
                for levels, side in ((frame.bids, Side.BID), (frame.asks, Side.ASK))
            )
            self._curves = bids, asks
            self._mid = middle_of(frame.bids, frame.asks)
            self._view.follow(self._mid, self._automatic(bids, asks))
            self._keep_curves_in_view()
            self._follow_mouse()
        self._rescale()

    def set_quote_units(self, wanted: bool) -> None:
        """Show what the quantities cost, in the quote asset, or the quantities."""
        self._in_quote = wanted
        # The scale of the other asset says nothing.
        self._top = 0.0
        if self._frame is not None:
            self._build(self._frame)

    def begin_anew(self) -> None:
        """Treat the next frame as that of another market."""
        self._frame = self._curves = None
        self.update()

    def reset_view(self) -> None:
        """Follow the mid again, at the automatic range."""
        self._view.reset()
        if self._frame is not None:
            self._build(self._frame)
        self._preferences.chart_share = None

    def zoom(self, factor: float, at: float | None = None) -> None:
        """Show `factor` times the range, around the price `at`, in units (None: the mid).

        A part of a curve stays in view.
        """
        if self._frame is None or self._curves is None:
            return
        low, high = self._automatic(*self._curves)
        half = (high - low) / 2
        narrowest = max(1.0, 5.0 * self._frame.format.tick)
        farthest = _farthest(self._curves, self._mid)
        limits = narrowest, half * min(max(farthest / half, _WIDE), _WIDEST)
        self._view.zoom(factor, self._mid if at is None else at, self._mid, limits)
        self._keep_curves_in_view()
        self._rescale()
        self._follow_mouse()
        self._preferences.chart_share = self._view.chosen_share

    @property
    def crosshair_reading(self) -> Reading | None:
        """The values at the crosshair; None without a crosshair."""
        if self._crosshair is None or self._curves is None:
            return None
        reach = self._view.half_span / max(1, self._plot().width())
        return read_curves(*self._curves, self._crosshair, self._mid, reach)

    def mark_price(self, price: int | None) -> None:
        """Put the crosshair at the price that is pointed at in another pane."""
        if self._mouse_x is None:
            self.put_crosshair(price)

    def _point_at(self, price: int | None) -> None:
        """Put the crosshair at `price`, where the person points, and tell the other panes."""
        self.put_crosshair(price)
        self.price_pointed.emit(price)

    def put_crosshair(self, price: int | None) -> None:
        """Put the crosshair at `price`, in units, or take it away."""
        self._crosshair = price
        self._paint_soon()

    @property
    def scene(self) -> DepthScene | None:
        """The scene on screen; None while a message is shown."""
        if self._frame is None or self._curves is None:
            return None
        bids, asks = self._curves
        text = self._frame.format
        area = self._area()
        two_sided = len(bids.prices) > 0 and len(asks.prices) > 0
        mid_text = (
            f"mid {text.half_price(int(bids.prices[0]) + int(asks.prices[0]))}"
            if two_sided
            else "no mid"
        )
        return DepthScene(
            self._frame.symbol, text, bids, asks, area, self._mid, mid_text,
            self.crosshair_reading,
        )  # fmt: skip

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802, ARG002 (Qt's name)
        """Draw everything."""
        with QPainter(self) as painter:  # The painter ends also after an exception.
            painter.fillRect(self.rect(), self._theme.panel)
            scene = self.scene
            message = message_of(self._frame) if self._frame else None
            if scene is not None:
                self._painter.paint(painter, scene, self.devicePixelRatioF())
            elif message is not None:
                paint_message(painter, self.rect(), message, self.font(), self._theme)
            self._paint_focus(painter)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Zoom around the pointer, also smoothly by a touchpad."""
        x = min(max(event.position().x(), self._plot().left()), self._plot().right())
        self.zoom(_ZOOM ** (-event.angleDelta().y() / 120), self._area().price_at(x))
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Begin to drag."""
        if event.button() == Qt.MouseButton.LeftButton and self._curves is not None:
            self._drag_from = event.position()
            self.setCursor(Qt.CursorShape.ClosedHandCursor)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Move the crosshair, and the range while dragging."""
        if self._drag_from is not None:
            moved = event.position().x() - self._drag_from.x()
            if moved:
                self._view.pan(-moved / max(1, self._plot().width()))
                self._drag_from = event.position()
                self._keep_curves_in_view()
                self._rescale()
        self._mouse_x = event.position().x()
        self._follow_mouse()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """End dragging."""
        super().mouseReleaseEvent(event)
        self._drag_from = None
        self.unsetCursor()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802, ARG002
        """Reset range and zoom."""
        self._drag_from = None
        self.reset_view()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Take the crosshair away."""
        super().leaveEvent(event)
        self._mouse_x = None
        self._point_at(None)

    def summary(self) -> str:
        """Return the crosshair's values, or the message, for assistive technology."""
        if self._frame is None:
            return ""
        message = message_of(self._frame)
        if message is not None:
            return f"{message.title}. {message.detail}"
        scene = self.scene
        if scene is None or scene.reading is None:
            return ""
        (_, price), _, *sums = reading_lines(scene, scene.reading)
        said = ", ".join(f"{name[0].lower()}{name[1:]} {value}" for name, value in sums)
        return f"At {price}: {said}"

    def _automatic(self, bids: DepthCurve, asks: DepthCurve) -> tuple[float, float]:
        tick = self._frame.format.tick if self._frame is not None else 1
        return automatic_range(bids, asks, self._mid, tick)

    def _keep_curves_in_view(self) -> None:
        if self._curves is not None:
            self._view.keep_in_view(
                [span for curve in self._curves for span in curve.spans], self._mid
            )

    def _paint_soon(self) -> None:
        # To start a running timer again would put the paint off while frames follow closely.
        if not self._later.isActive():
            self._later.start()

    def _plot(self) -> QRect:
        labels = ["0"]
        if self._frame is not None and self._top > 0:
            top, symbol = round(self._top), self._frame.symbol
            labels = [
                axis_text_of(self._frame.format, top, in_quote=self._in_quote),
                *(symbol.base, symbol.quote),
            ]
        right = self._painter.axes.size_axis_width(labels)
        below = self._painter.axes.price_axis_height
        return QRect(
            _MARGIN,
            _MARGIN,
            max(1, self.width() - _MARGIN - right),
            max(1, self.height() - _MARGIN - below),
        )

    def _area(self) -> PlotArea:
        return PlotArea(self._plot(), self._view.low, self._view.high, self._top)

    def _rescale(self) -> None:
        """Fit the size axis to what is in view."""
        if self._curves is not None:
            low, high = self._view.low, self._view.high
            largest = max(size_in_view(curve, low, high) for curve in self._curves)
            self._top = scale_top(largest, self._top)
        self._paint_soon()

    def _follow_mouse(self) -> None:
        """Put the crosshair at the tick nearest to the mouse."""
        if self._curves is None or self._mouse_x is None:
            return
        area = self._area()
        is_inside = area.rect.left() <= self._mouse_x <= area.rect.right()
        self._point_at(self._on_tick(area.price_at(self._mouse_x)) if is_inside else None)

    def _zoom_in(self) -> None:
        self.zoom(1 / _ZOOM)

    def _step_crosshair(self, steps: int) -> None:
        if self._frame is None or self._curves is None:
            return
        tick = max(1, self._frame.format.tick)
        step = max(1, round(2 * self._view.half_span / _KEY_STEPS / tick)) * tick
        start = self._on_tick(self._mid) if self._crosshair is None else self._crosshair
        price = start + steps * step
        if self._view.low <= price <= self._view.high:
            self._mouse_x = None
            self._point_at(price)
            self.setAccessibleDescription(self.summary())

    def _on_tick(self, price: float) -> int:
        tick = max(1, self._frame.format.tick) if self._frame is not None else 1
        return max(0, round(price / tick)) * tick

    def _take_fonts(self) -> None:
        font = QFont(self.font())
        self._numbers = NumberMetrics(number_font(font))
        self._painter = DepthPainter(self._theme, font, self._numbers)


def _farthest(curves: tuple[DepthCurve, DepthCurve], mid: float) -> float:
    """Return how far the farthest level is from the mid."""
    ends = [curve.farthest for curve in curves]
    return max((abs(price - mid) for price in ends if price is not None), default=0.0)
