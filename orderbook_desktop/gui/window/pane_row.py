"""The panes of the window side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Final

from msgspec.structs import replace
from PySide6.QtCore import QByteArray, Qt, Signal
from PySide6.QtWidgets import QSplitter, QWidget

from orderbook_desktop.core.desk import TradePages
from orderbook_desktop.core.heatmap.pages import HeatmapPages
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.gui.actions import Action, Switch
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.pane import Pane
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import Theme, text_scale
from orderbook_desktop.gui.window.replay_view import StripedPane

# The panes' usual widths may be so much narrower before one has to go.
_CROWDED: Final = 0.92


class PaneRow(QSplitter):
    """The panes from left to right, each with its strip; the first pane gets the focus.

    A pane that can be hidden is shown where the person wants that. Without such a choice it is
    shown where it has room beside those to its left. Each pane marks the price and the time that
    are pointed at in another.

    Signals:
        pane_shown(Action, bool): the pane that this action shows is shown now, or not.
        moment_wanted(object): the person wants to see the recording at this time (see `Pane`).
    """

    pane_shown = Signal(Action, bool)
    moment_wanted = Signal(object)

    def __init__(
        self, striped: Sequence[StripedPane], preferences: Preferences, parent: QWidget
    ) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.panes: Sequence[Pane] = [one.pane for one in striped]
        self._striped = striped
        self._preferences = preferences
        self._room = 0
        self.setChildrenCollapsible(False)
        self.setHandleWidth(5)
        for place, one in enumerate(striped):
            self.addWidget(one)
            self.setStretchFactor(place, one.pane.stretch)
        for pane in self.panes:
            pane.moment_wanted.connect(self.moment_wanted)
            for other in self.panes:
                if other is not pane:
                    pane.price_pointed.connect(other.mark_price)
                    pane.time_pointed.connect(other.mark_time)
        self._take_usual_widths()

    def switches(self) -> Iterator[Switch]:
        """Iterate over the actions that show panes."""
        for pane in self.panes:
            if pane.shown_by is not None:
                yield self._switch_of(pane, pane.shown_by)

    def fit(self, room: int) -> None:
        """Show the panes that the person wants, and of the others those that fit in `room` (px).

        Where not all of them fit, a pane further to the left comes first.
        """
        self._room = room
        shown = self._shown_in(room)
        for pane, striped in zip(self.panes, self._striped, strict=True):
            is_shown = pane in shown
            if pane.isHidden() is is_shown:
                pane.setVisible(is_shown)
                striped.setVisible(is_shown)
                if not is_shown:
                    self.focus_first()
            if pane.shown_by is not None:
                self.pane_shown.emit(pane.shown_by, is_shown)

    def _shown_in(self, room: int) -> list[Pane]:
        chosen = {pane: self._preferences.shows_pane(pane.accessibleName()) for pane in self.panes}
        shown = [pane for pane in self.panes if pane.shown_by is None or chosen[pane]]
        free = room / text_scale(self) / _CROWDED
        free -= sum(pane.sizeHint().width() for pane in shown)
        for pane in self.panes:
            width = pane.sizeHint().width()
            if pane not in shown and chosen[pane] is None and width <= free:
                shown.append(pane)
                free -= width
        return shown

    def focus_first(self) -> None:
        """Give the focus to the first pane."""
        for pane in self.panes[:1]:
            pane.setFocus()

    def restore(self, widths: QByteArray, room: int) -> None:
        """Take the widths that `saveState` returned when the window was closed."""
        self.restoreState(widths)
        self.fit(room)
        of_panes = zip(self.panes, self.sizes(), strict=True)
        if any(not width and not pane.isHidden() for pane, width in of_panes):
            # The remembered widths are of fewer panes, and leave nothing for the new panes.
            self._take_usual_widths()

    def set_frame(self, frame: BookFrame) -> None:
        """Show `frame`; of panes without a book only the first says why."""
        beside = frame if frame.has_levels else replace(frame, explains=False)
        for place, pane in enumerate(self.panes):
            pane.set_frame(beside if place else frame)

    def set_step(self, step: int) -> None:
        """Group by `step` (see `Pane`)."""
        for pane in self.panes:
            pane.set_step(step)

    def set_theme(self, theme: Theme) -> None:
        """Draw in `theme`."""
        for pane in self.panes:
            pane.set_theme(theme)

    def set_quote_units(self, wanted: bool) -> None:
        """Show sizes in the quote asset, or in the base asset."""
        for pane in self.panes:
            pane.set_quote_units(wanted)

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: in local time."""
        for pane in self.panes:
            pane.set_zone(zone)

    def set_pages(self, pages: TradePages | None) -> None:
        """Read recorded trades from `pages`."""
        for pane in self.panes:
            pane.set_pages(pages)

    def set_heatmaps(self, heatmaps: HeatmapPages | None) -> None:
        """Read recorded heatmaps from `heatmaps`."""
        for pane in self.panes:
            pane.set_heatmaps(heatmaps)

    def set_replay(self, status: ReplayStatus | None) -> None:
        """Follow the clock of a replay; None: the window is live."""
        for pane in self.panes:
            pane.set_replay(status)

    def begin_anew(self) -> None:
        """Treat the next frame as that of another market."""
        for pane in self.panes:
            pane.begin_anew()

    def describe(self, *before: str) -> None:
        """Give each pane its spoken description, behind the sentences `before`."""
        for pane in self.panes:
            pane.setAccessibleDescription(". ".join(filter(None, (*before, pane.summary()))))

    def _switch_of(self, pane: Pane, action: Action) -> Switch:
        # PySide gives the new state to a lambda, but not to a `partial`.
        return Switch(action, lambda shown: self._choose(pane, shown=shown))

    def _choose(self, pane: Pane, *, shown: bool) -> None:
        self._preferences.set_shows_pane(pane.accessibleName(), shown)
        self.fit(self._room)

    def _take_usual_widths(self) -> None:
        self.setSizes([pane.sizeHint().width() for pane in self.panes])
