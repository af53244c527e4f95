"""The heatmap's legend: what a colour means, and the handles that move where colours begin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec.structs import replace
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QFocusEvent,
    QKeyEvent,
)
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QWidget,
)

from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.cut_offs import (
    HIGH_PERCENT,
    LOW_PERCENT,
    ColourChoice,
    CutOffScale,
    Glide,
    Shades,
)
from orderbook_desktop.gui.panes.heatmap.cut_off_bar import CutOffBar, size_text
from orderbook_desktop.gui.theme import Theme
from orderbook_desktop.system.steady_clock import steady_ns

STATISTICS: Final = {
    Statistic.MAX: "Largest size",
    Statistic.LAST: "Size at the end",
    Statistic.INTEGRAL: "Mean size",
}
"""What the legend calls a statistic of a cell."""
_HELP: Final = {
    Statistic.MAX: "the largest size that stood in a cell at any time of it",
    Statistic.LAST: "the size that stands in a cell at its end",
    Statistic.INTEGRAL: "the mean size in the covered time of a cell",
}
_MAPS: Final = {
    ColourMap.FIRE: "Fire",
    ColourMap.DUSK: "Dusk, alike for all eyes",
    ColourMap.GREY: "Grey, for print",
    ColourMap.TWO_HUES: "Bids and asks by hue",
}
_GLIDE_MS: Final = 1_000
_TICK_MS: Final = 16


class CutOffLegend(QWidget):
    """Names what is drawn, and lets the person choose it, and the colours.

    `now_ns` is a clock for the colours' way to new cut-offs.

    Signals:
        shades_changed(object): other `Shades` are to be drawn with.
        chosen(object): the person chose another `ColourChoice`, to be remembered.
        statistic_chosen(object): another `Statistic`.
    """

    shades_changed = Signal(object)
    chosen = Signal(object)
    statistic_chosen = Signal(object)

    def __init__(
        self, theme: Theme, parent: QWidget, now_ns: Callable[[], int] = steady_ns
    ) -> None:
        super().__init__(parent)
        self.setObjectName("heatmapLegend")
        self._now_ns = now_ns
        self._base_asset = ""
        self._glide: Glide | None = None
        self._has_shown = False
        self.choice = ColourChoice()
        self.what = QPushButton(self)
        self.what.setMenu(self._statistic_menu())
        self.bar = CutOffBar(theme, self)
        self.colours = QPushButton("Colours", self)
        self.colours.setMenu(self._colour_menu())
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 4, 6, 2)
        row.setSpacing(8)
        for part, stretch in ((self.what, 0), (self.bar, 1), (self.colours, 0)):
            row.addWidget(part, stretch)
        self.bar.moved.connect(self._move)
        self.bar.typing.connect(self._type)
        self._ticks = QTimer(self, interval=_TICK_MS)
        self._ticks.timeout.connect(self._tick)
        self._tell()

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme`."""
        self.bar.theme = theme
        self.bar.update()

    def begin(self, choice: ColourChoice, base_asset: str) -> None:
        """Show what the person chose for another market, whose sizes are of `base_asset`."""
        self.choice, self._base_asset = choice, base_asset
        self._glide, self._has_shown = None, False
        self._tell()

    def set_scale(self, scale: CutOffScale) -> None:
        """Show the sizes in sight; unless they are locked, colours go to their new cut-offs.

        Call it when a pan or zoom has ended.
        """
        shades = self.bar.shades
        if scale.is_empty:
            return
        now = self._moved_base((shades.low, shades.high), scale)
        self.bar.scale = scale
        follows = self.choice.in_percent and not self.choice.is_locked
        if not self._has_shown or not self.choice.in_percent:
            wanted = scale.places(self.choice)
        else:
            wanted = scale.places(self.choice) if follows else now
        if not self._has_shown or not follows:
            self._has_shown = True
            self._show(wanted)
        elif wanted != now and not self._is_dragged:
            self._glide = Glide(now, wanted, self._now_ms(), _GLIDE_MS)
            self._show(now)
            self._ticks.start()

    def _moved_base(self, places: tuple[float, float], scale: CutOffScale) -> tuple[float, float]:
        """Return where the same sizes are on another scale."""
        before = self.bar.scale
        if before.base == scale.base:
            return places
        low, high = (scale.place_of(before.size_at(place)) for place in places)
        return low, max(high, low + 1)

    def _now_ms(self) -> int:
        return self._now_ns() // NS_A_MS

    @property
    def _is_dragged(self) -> bool:
        return self.bar.low.isSliderDown() or self.bar.high.isSliderDown()

    def _tick(self) -> None:
        glide, now_ms = self._glide, self._now_ms()
        if glide is None or self._is_dragged:
            self._ticks.stop()
            return
        self._show(glide.at(now_ms))
        if glide.is_over(now_ms):
            self._glide = None
            self._ticks.stop()

    def _move(self) -> None:
        """Take the handles' places: at once, without any work on the data."""
        self._glide = None
        places = self.bar.places
        self._take(self.bar.scale.moved(self.choice, places))
        self._show(places)

    def _take(self, choice: ColourChoice) -> None:
        self.choice = choice
        self._tell()
        self.chosen.emit(choice)

    def _show(self, places: tuple[float, float]) -> None:
        shades = Shades(self.choice.colours, *places)
        self.bar.show_places(shades, self.bar.scale, self._text_of)
        self.shades_changed.emit(shades)

    def _text_of(self, place: float) -> str:
        """Return what a place is, in words."""
        scale = self.bar.scale
        size = f"{size_text(scale.size_at(place))} {self._base_asset}".strip()
        return f"{size}: {scale.percent_at(place):.1f} % of the cells in sight have less"

    def _tell(self) -> None:
        """Name statistic, unit and choices on the buttons and in the menus."""
        choice = self.choice
        name = STATISTICS[choice.statistic]
        self.what.setText(f"{name}, {self._base_asset}" if self._base_asset else name)
        self.what.setToolTip(f"Colours show {_HELP[choice.statistic]}.")
        self.what.setAccessibleName(f"Statistic of the heatmap: {self.what.text()}")
        self.bar.setToolTip("How many cells in sight have which size, and their colours")
        self._statistics[choice.statistic].setChecked(True)
        self._maps[choice.colours].setChecked(True)
        self._percent.setChecked(choice.in_percent)
        self._exact.setChecked(not choice.in_percent)
        self._lock.setChecked(choice.is_locked)
        self._lock.setEnabled(choice.in_percent)
        mark = " · locked" if choice.is_locked and choice.in_percent else ""
        self.colours.setText(f"Colours{mark}")

    def _statistic_menu(self) -> QMenu:
        menu, group = QMenu(self), QActionGroup(self)
        self._statistics: dict[Statistic, QAction] = {}
        for statistic, name in STATISTICS.items():
            action = _choice(menu, group, f"{name}: {_HELP[statistic]}")
            action.triggered.connect(partial(self._choose_statistic, statistic))
            self._statistics[statistic] = action
        return menu

    def _colour_menu(self) -> QMenu:
        menu, maps, kinds = QMenu(self), QActionGroup(self), QActionGroup(self)
        self._maps: dict[ColourMap, QAction] = {}
        for colours, name in _MAPS.items():
            action = _choice(menu, maps, name)
            action.triggered.connect(partial(self._choose_map, colours))
            self._maps[colours] = action
        menu.addSeparator()
        self._percent = _choice(menu, kinds, "Cut-offs in &percent of the cells in sight")
        self._exact = _choice(menu, kinds, "Cut-offs as e&xact sizes")
        for action in (self._percent, self._exact):
            action.triggered.connect(partial(self._choose_kind, in_percent=action is self._percent))
        self._lock = menu.addAction("&Lock the colours: they don't follow the view")
        self._lock.setCheckable(True)
        self._lock.toggled.connect(self._choose_lock)
        menu.addSeparator()
        for text, is_high in (
            ("Type the &lower cut-off…", False),
            ("Type the &upper cut-off…", True),
        ):
            menu.addAction(text).triggered.connect(partial(self._type, is_high))
        usual = f"&Usual cut-offs: {LOW_PERCENT} % and {HIGH_PERCENT} %"
        menu.addAction(usual).triggered.connect(self.take_usual)
        return menu

    def take_usual(self) -> None:
        """Follow the view, with the usual cut-offs."""
        usual = ColourChoice()
        self._take(
            replace(
                self.choice,
                in_percent=True,
                low=usual.low,
                high=usual.high,
                is_locked=False,
            )
        )
        self._show(self.bar.scale.places(self.choice))

    def _choose_statistic(self, statistic: Statistic) -> None:
        if statistic is self.choice.statistic:
            return
        choice = replace(self.choice, statistic=statistic)
        if not choice.in_percent:
            # Sizes of one statistic mean nothing in another.
            choice = replace(choice, in_percent=True, low=LOW_PERCENT, high=HIGH_PERCENT)
        self._has_shown = False
        self._take(choice)
        self.statistic_chosen.emit(statistic)

    def _choose_map(self, colours: ColourMap) -> None:
        self._take(replace(self.choice, colours=colours))
        self._show((self.bar.shades.low, self.bar.shades.high))

    def _choose_kind(self, *, in_percent: bool) -> None:
        if in_percent is not self.choice.in_percent:
            places = self.bar.shades.low, self.bar.shades.high
            self._take(self.bar.scale.in_other_kind(self.choice, places))

    def _choose_lock(self, is_locked: bool) -> None:
        if is_locked is not self.choice.is_locked:
            self._take(replace(self.choice, is_locked=is_locked))

    def _type(self, is_high: bool) -> None:
        """Open a field for a cut-off, over its handle."""
        handle = self.bar.high if is_high else self.bar.low
        text = self.choice.high if is_high else self.choice.low
        pane = self.parentWidget() or self
        field = TypedField(text + ("%" if self.choice.in_percent else ""), "30% or 1.5", pane)
        field.setAccessibleName(handle.accessibleName())
        field.entered.connect(partial(self._enter, is_high=is_high))
        field.adjustSize()
        field.move(handle.mapTo(pane, handle.rect().bottomLeft()))
        field.show()
        field.setFocus()

    def _enter(self, text: str, *, is_high: bool) -> None:
        shades = self.bar.shades
        places = shades.low, shades.high
        choice = self.bar.scale.typed(self.choice, text, places, is_high=is_high)
        if choice is not None:
            self._glide = None
            self._take(choice)
            self._show(self.bar.scale.places(choice))


class TypedField(QLineEdit):
    """A field over the heatmap; Return takes what was typed, Escape and another click don't.

    Signals:
        entered(str): a text was typed.
    """

    entered = Signal(str)

    def __init__(self, text: str, example: str, parent: QWidget) -> None:
        super().__init__(text, parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setPlaceholderText(example)
        self.selectAll()
        self.returnPressed.connect(self._leave)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Close with Escape."""
        if event.key() == Qt.Key.Key_Escape:
            self.close()
        else:
            super().keyPressEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 (Qt's name)
        """Close."""
        super().focusOutEvent(event)
        self.close()

    def _leave(self) -> None:
        text = self.text()
        self.close()
        self.entered.emit(text)


def _choice(menu: QMenu, group: QActionGroup, text: str) -> QAction:
    action = menu.addAction(text)
    action.setCheckable(True)
    group.addAction(action)
    return action
