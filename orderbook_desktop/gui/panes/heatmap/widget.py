"""The heatmap pane: it leads through all that is recorded, by mouse, touchpad and keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from PySide6.QtCore import QEvent, QPointF, QRect, Qt, QTimer
from PySide6.QtGui import QHelpEvent, QMouseEvent, QNativeGestureEvent, QPainter, QWheelEvent
from PySide6.QtWidgets import QPushButton, QToolTip, QWidget

from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.core.time_text import moment_text
from orderbook_desktop.gui.actions import Action, Command, FocusKeys, Switch
from orderbook_desktop.gui.panes.heatmap.canvas import ZOOM, HeatmapCanvas, rescaled
from orderbook_desktop.gui.panes.heatmap.crosshair import CrosshairLayer
from orderbook_desktop.gui.panes.heatmap.legend import TypedField
from orderbook_desktop.gui.panes.heatmap.painter import gap_texts, price_at, time_at
from orderbook_desktop.gui.panes.heatmap.saving import COPY, SAVE, HeatmapSaver, Snapshot
from orderbook_desktop.gui.panes.heatmap.selection import SelectionLayer
from orderbook_desktop.gui.panes.heatmap.trades import TradesLayer
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK, Theme

_SHOW: Final = Action("&Heatmap", "show the heatmap of this market, or hide it", ("Ctrl+Shift+H",))
_PAN: Final = Action(
    "Heatmap: move",
    "in the heatmap: to earlier or later times, higher or lower prices",
    ("Left", "Right", "Up", "Down"),
    ("drag", "Shift+wheel"),
)
_PAGE: Final = Action(
    "Heatmap: a page", "in the heatmap: a whole view earlier, or later", ("PgUp", "PgDown")
)
_ZOOM_TIME: Final = Action(
    "Heatmap: zoom time", "in the heatmap: zoom the time", ("+", "=", "-"), ("wheel",)
)
_ZOOM_PRICE: Final = Action(
    "Heatmap: zoom prices",
    "in the heatmap: zoom the prices",
    ("Shift+Up", "Shift+Down"),
    ("Ctrl+wheel", "drag on an axis"),
)
_EDGE: Final = Action(
    "Heatmap: newest", "in the heatmap: back to live, or to the clock of the replay", ("End",)
)
_CENTRE: Final = Action("Heatmap: centre", "in the heatmap: the mid in the middle", ("C",))
_WHOLE: Final = Action("Heatmap: all", "in the heatmap: all that is recorded", ("Home",))
_RESET: Final = Action(
    "Heatmap: usual zoom",
    "in the heatmap: back to the newest moment, at the usual zoom",
    ("0",),
    ("double click on an axis",),
)
_BACK: Final = Action(
    "Heatmap: view before", "in the heatmap: the view before", ("Ctrl+Left",), ("mouse: back",)
)
_FORTH: Final = Action(
    "Heatmap: next view", "in the heatmap: the next view", ("Ctrl+Right",), ("mouse: forward",)
)
_PLAY: Final = Action(
    "Heatmap: replay from here",
    "in the heatmap: play the recording from the column that is pointed at",
    ("Return", "Enter"),
    ("click",),
)
_VISIBLE: Final = Action(
    "Heatmap: flows",
    "in the heatmap: what was added, traded and pulled in all that is visible",
    ("F",),
)
_SELECT: Final = Action(
    "Heatmap: select",
    "in the heatmap: select cells, and list what was added, traded and pulled in them",
    ("S",),
    ("Shift+drag",),
)
_GROW: Final = Action(
    "Heatmap: selection",
    "in the heatmap: a selection of less or more time, more or fewer prices",
    ("Ctrl+Shift+Left", "Ctrl+Shift+Right", "Ctrl+Shift+Up", "Ctrl+Shift+Down"),
)
_COPY: Final = Action("Heatmap: copy", "in the heatmap: copy what is listed", ("Ctrl+C",))
_CLEAR: Final = Action("Heatmap: no selection", "in the heatmap: select nothing", ("Esc",))
_CURSOR: Final = Action(
    "Heatmap: crosshair",
    "in the heatmap: the crosshair to the next column or row, whose exact sizes are read out",
    ("Alt+Shift+Left", "Alt+Shift+Right", "Alt+Shift+Up", "Alt+Shift+Down"),
    ("point",),
)

_TRADES: Final = Action(
    "Heatmap: &trades as bubbles",
    "in the heatmap: show trades as bubbles whose area is their size, or hide them",
    ("Ctrl+Shift+U",),
)
_PROFILE: Final = Action(
    "Heatmap: traded &volume by price",
    "in the heatmap: show what was traded at each price in sight, or hide it",
    ("Ctrl+Shift+V",),
)
_LEAST: Final = Action(
    "Heatmap: s&mallest bubble…", "in the heatmap: leave out bubbles of less than a typed size"
)

_NOTCH: Final = 120
_KEY_MOVE: Final = 0.1
_DOUBLE: Final = 2.0
_HALF: Final = 0.5
_KEY_GROW: Final = 0.2
# A press that moves less is a click.
_CLICK: Final = 4
# Two wheel turns within this time are one step of the history.
_GESTURE_MS: Final = 700


class HeatmapPane(HeatmapCanvas):
    """The heatmap with its controls. To move it moves nothing else.

    A click on a column plays the recording from there.
    """

    shown_by = _SHOW

    def __init__(
        self, theme: Theme, preferences: Preferences, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, preferences, parent)
        self.selection = SelectionLayer(self)
        self.crosshair = CrosshairLayer(self, self._read_out)
        self.trades = TradesLayer(self.update)
        self.trades.choose(bubbles=preferences.heatmap_trades, profile=preferences.heatmap_profile)
        self.layers += [self.trades, self.selection, self.crosshair]
        self._pointer: QPointF | None = None
        self._pressed: tuple[QPointF, QRect] | None = None
        self._dragged_from: QPointF | None = None
        self._gesture = QTimer(self, interval=_GESTURE_MS, singleShot=True)
        self.live_button = self._button(f"Live ({_EDGE.key_names[0]})", self.to_edge)
        self.centre_button = self._button(f"Centre ({_CENTRE.key_names[0]})", self.centre)
        self._saver = HeatmapSaver(self, self.snapshot)
        self._bind_keys()

    def commands(self) -> Sequence[Command | Switch]:
        """Return the pane's entries for the view menu."""
        saver = self._saver
        return [
            *super().commands(),
            Switch(_TRADES, self._show_trades, self.trades.shows_bubbles),
            Switch(_PROFILE, self._show_profile, self.trades.shows_profile),
            Command(_LEAST, self._ask_least),
            Command(SAVE, saver.ask),
            Command(COPY, saver.copy),
        ]

    def _show_trades(self, shown: bool) -> None:
        self._preferences.heatmap_trades = shown
        self.trades.choose(bubbles=shown)
        self._changed()

    def _show_profile(self, shown: bool) -> None:
        self._preferences.heatmap_profile = shown
        self.trades.choose(profile=shown)
        self._changed()

    def _ask_least(self) -> None:
        """Open a field for the smallest size of a bubble."""
        field = TypedField(f"{self.trades.least:g}", "0.5", self)
        field.setAccessibleName(_LEAST.title)
        field.entered.connect(self._take_least)
        plot = self.places.plot
        field.adjustSize()
        field.move(plot.left() + 8, plot.top() + 8)
        field.show()
        field.setFocus()

    def _take_least(self, text: str) -> None:
        try:
            size = float(text.replace(",", ""))
        except ValueError:
            return
        if 0 <= size < math.inf:
            self.trades.set_least(size)

    def snapshot(self) -> Snapshot | None:
        """Return what is shown, to be saved; None: nothing is."""
        from orderbook_desktop.gui.panes.heatmap.image import Shown  # noqa: PLC0415

        view, frame, scene = self.view, self._frame, self._scene
        if view is None or frame is None or scene is None or scene.quantiser is None:
            return None
        sources, shades = tuple(scene.sources), self.legend.bar.shades
        shown = Shown(sources, scene.known, self._gaps(), scene.quantiser, shades, view)

        def overlay(painter: QPainter, plot: QRect) -> None:
            for layer in self.layers:
                layer.paint(painter, plot, view, DARK)

        return Snapshot(shown, frame.symbol, self.places.plot.size(), self._zone, overlay)

    def set_replay(self, status: ReplayStatus | None) -> None:
        """Follow the clock of a replay; None: the window is live."""
        super().set_replay(status)
        word = "Live" if status is None else "Clock"
        self.live_button.setText(f"{word} ({_EDGE.key_names[0]})")
        self._place_buttons()

    def _changed(self) -> None:
        super()._changed()
        self._place_buttons()

    def to_edge(self) -> None:
        """Return to the newest moment, or to the clock of the replay."""
        self._leave()
        self.navigator.to_edge()
        self._changed()

    def centre(self) -> None:
        """Have the mid in the middle, and follow it."""
        self._leave()
        self.navigator.centre()
        self._changed()

    def zoom_time(self, factor: float, x: float | None = None) -> None:
        """Show `factor` times as much time around an x; None: around the end."""
        view = self.view
        if view is not None:
            self._leave()
            at = None if x is None else time_at(view, self.places.plot, x)
            self.navigator.zoom_time(factor, at)
            self._changed()

    def zoom_price(self, factor: float, y: float | None = None) -> None:
        """Show `factor` times as many prices around a y; None: around the middle."""
        view = self.view
        if view is not None:
            self._leave()
            at = None if y is None else price_at(view, self.places.plot, y)
            self.navigator.zoom_price(factor, at)
            self._changed()

    def move_by(self, across: float, up: float) -> None:
        """Move by parts of the view, to later times and higher prices."""
        view = self.view
        if view is not None:
            self._leave()
            self.navigator.move(round(across * view.length_ms), round(up * view.height))
            self._changed()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Zoom around the pointer: the time, or with Ctrl the prices; Shift or sideways: move."""
        at, places = event.position(), self.places
        angle, smooth = event.angleDelta(), event.pixelDelta()
        modifiers = event.modifiers()
        across = angle.x() / _NOTCH
        up = angle.y() / _NOTCH
        if modifiers & Qt.KeyboardModifier.ShiftModifier:
            across, up = across or up, 0.0
        if across and abs(across) >= abs(up):
            by = smooth.x() / places.plot.width() if smooth.x() else across * _KEY_MOVE
            self.move_by(-by, 0)
        elif modifiers & Qt.KeyboardModifier.ControlModifier or places.prices.contains(
            at.toPoint()
        ):
            self.zoom_price(ZOOM**-up, at.y())
        elif up:
            self.zoom_time(ZOOM**-up, min(at.x(), places.plot.right() + 1))
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Begin to drag the plot, or an axis."""
        button = event.button()
        if button == Qt.MouseButton.BackButton:
            self._run_history(back=True)
        elif button == Qt.MouseButton.ForwardButton:
            self._run_history(back=False)
        elif button == Qt.MouseButton.LeftButton and self.view is not None:
            at, places = event.position(), self.places
            is_in_plot = places.plot.contains(at.toPoint())
            if is_in_plot and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self.selection.begin(at)
                return
            found = [
                part
                for part in (places.plot, places.times, places.prices)
                if part.contains(at.toPoint())
            ]
            if found:
                self._pressed = at, found[0]

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Point there, and move while dragging."""
        at = event.position()
        self._point(at)
        if self.selection.is_dragged and self.view is not None:
            self.selection.drag(self.view, self.places.plot, at)
        if self._pressed is None or self.view is None:
            return
        start, part = self._pressed
        if self._dragged_from is None:
            if (at - start).manhattanLength() < _CLICK:
                return
            self._leave()
            self._dragged_from = start
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        moved, self._dragged_from = at - self._dragged_from, at
        self._drag(moved, part)

    def _drag(self, moved: QPointF, part: QRect) -> None:
        view, places = self.view, self.places
        if view is None:
            return
        plot = places.plot
        if part == places.times:
            # To the left: more time, with the end in its place.
            self.navigator.zoom_time(_DOUBLE ** (-moved.x() * 4 / plot.width()))
        elif part == places.prices:
            self.navigator.zoom_price(_DOUBLE ** (moved.y() * 4 / plot.height()))
        else:
            self.navigator.move(
                round(-moved.x() / plot.width() * view.length_ms),
                round(moved.y() / plot.height() * view.height),
            )
        self._changed()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """End dragging; without a drag it was a click."""
        super().mouseReleaseEvent(event)
        if self.selection.is_dragged:
            self.selection.end()
        pressed, dragged = self._pressed, self._dragged_from
        self._pressed = self._dragged_from = None
        self.unsetCursor()
        if pressed is not None and dragged is None and pressed[1] == self.places.plot:
            self._play_at(event.position().x())

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Fit the axis."""
        at, places = event.position().toPoint(), self.places
        self._pressed = None
        if places.times.contains(at):
            self._leave()
            self.navigator.show_all()
            self._changed()
        elif places.prices.contains(at):
            self.centre()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Point at nothing."""
        super().leaveEvent(event)
        self._point(None)

    def event(self, event: QEvent) -> bool:
        """Say what a gap is as its tool tip, and zoom by a pinch."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self._tip(QPointF(event.pos())), self)
            return True
        if isinstance(event, QNativeGestureEvent):
            if event.gestureType() == Qt.NativeGestureType.ZoomNativeGesture:
                self.zoom_time(1 / max(0.1, 1 + event.value()), event.position().x())
            return True
        return super().event(event)

    def _button(self, text: str, command: Callable[[], None]) -> QPushButton:
        button = QPushButton(text, self)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        # The lambda drops the signal's argument, whether the button is checked.
        button.clicked.connect(lambda: command())  # noqa: PLW0108
        button.hide()
        return button

    def _bind_keys(self) -> None:
        move, zoom_time, zoom_price = self.move_by, self.zoom_time, self.zoom_price
        grow = self.selection.grow
        self.focus_keys = FocusKeys(
            {
                _PAN: (
                    *(lambda: move(-_KEY_MOVE, 0), lambda: move(_KEY_MOVE, 0)),
                    *(lambda: move(0, _KEY_MOVE), lambda: move(0, -_KEY_MOVE)),
                ),
                _PAGE: (lambda: move(-1, 0), lambda: move(1, 0)),
                _ZOOM_TIME: (
                    *(lambda: zoom_time(1 / ZOOM), lambda: zoom_time(1 / ZOOM)),
                    lambda: zoom_time(ZOOM),
                ),
                _ZOOM_PRICE: (lambda: zoom_price(1 / ZOOM), lambda: zoom_price(ZOOM)),
                _EDGE: (self.to_edge,),
                _CENTRE: (self.centre,),
                _WHOLE: (lambda: self._run(self.navigator.show_all),),
                _RESET: (lambda: self._run(self.navigator.reset),),
                _BACK: (lambda: self._run_history(back=True),),
                _FORTH: (lambda: self._run_history(back=False),),
                _CURSOR: (
                    *(lambda: self._step(-1, 0), lambda: self._step(1, 0)),
                    *(lambda: self._step(0, 1), lambda: self._step(0, -1)),
                ),
                _PLAY: (self._play_pointed,),
                _VISIBLE: (lambda: self._select(1.0),),
                _SELECT: (lambda: self._select(_HALF),),
                _GROW: (
                    *(lambda: grow(-_KEY_GROW, 0), lambda: grow(_KEY_GROW, 0)),
                    *(lambda: grow(0, _KEY_GROW), lambda: grow(0, -_KEY_GROW)),
                ),
                _COPY: (self.selection.copy,),
                _CLEAR: (self.selection.clear,),
            }
        )

    def _select(self, part: float) -> None:
        if self.view is not None:
            self.selection.choose(self.view, part)

    def _run(self, command: Callable[[], None]) -> None:
        self._leave()
        command()
        self._changed()

    def _run_history(self, *, back: bool) -> None:
        self._gesture.stop()
        (self.navigator.back if back else self.navigator.forth)()
        self._changed()

    def _leave(self) -> None:
        """Remember the view, once for several turns of the wheel that follow closely."""
        self._coloured.stop()
        if not self._gesture.isActive():
            self.navigator.leave()
        self._gesture.start()

    def _point(self, at: QPointF | None) -> None:
        self._pointer = at
        inside = at if at is not None and self.places.plot.contains(at.toPoint()) else None
        for layer in self.layers:
            layer.point(inside)

    def _step(self, columns: int, rows: int) -> None:
        self._pointer = self.crosshair.step(columns, rows)

    def mark_price(self, price: int | None) -> None:
        """Mark the row of a price that is pointed at in another pane."""
        frame, view = self._frame, self.view
        if price is not None and frame is not None and view is not None:
            price = rescaled(price, frame.format.scale.price, view.exponent)
        self.crosshair.mark_price(price)

    def mark_time(self, time_ms: int | None) -> None:
        """Mark a time that is pointed at in another pane."""
        self.crosshair.mark_time(time_ms)

    def _play_pointed(self) -> None:
        plot = self.places.plot
        self._play_at(plot.center().x() if self._pointer is None else self._pointer.x())

    def _play_at(self, x: float) -> None:
        """Ask for a replay from the time at an x."""
        view = self.view
        if view is not None:
            at_ms = time_at(view, self.places.plot, x)
            if self.navigator.from_ms <= at_ms < self.navigator.newest_ms:
                self.moment_wanted.emit(at_ms * NS_A_MS)

    def _tip(self, at: QPointF) -> str:
        view, plot = self.view, self.places.plot
        if view is None or not plot.contains(at.toPoint()):
            return ""
        if self._problem:
            return self._problem
        first, after = (time_at(view, plot, at.x() + off) for off in (-1.5, 1.5))
        met = (gap for gap in self._gaps() if gap.from_ms < after and gap.to_ms > first)
        gap = next(met, None)
        if gap is None:
            return self.trades.tip(at, plot, view)
        begin, end = (moment_text(ms, self._zone) for ms in (gap.from_ms, gap.to_ms))
        text = gap_texts(gap, self._known_to())[0]
        return f"{text[:1].upper()}{text[1:]}.\nFrom {begin}\nto {end}."

    def _place_buttons(self) -> None:
        """Offer the ways back where the view has left the newest moment, or the mid."""
        plot, navigator = self.places.plot, self.navigator
        has_view = navigator.view is not None
        self.live_button.setVisible(has_view and not navigator.is_at_edge)
        is_off = has_view and navigator.is_at_edge and not navigator.follows_price
        self.centre_button.setVisible(is_off)
        for button in (self.live_button, self.centre_button):
            button.adjustSize()
            button.move(plot.right() - button.width() - 8, plot.bottom() - button.height() - 8)
