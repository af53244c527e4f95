"""The grouping box: the ladder's price step, remembered for each market."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QWidget

from orderbook_desktop.core.market_format import book_steps, step_text
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.preferences import Preferences


def steps_for(frame: BookFrame) -> list[int]:
    """Return the grouping steps of the book in `frame`, in its own price units.

    Without levels there is no price to choose steps by, so the list is empty.
    """
    return book_steps(frame.format, frame.bids, frame.asks) if frame.has_levels else []


class GroupingBox(QComboBox):
    """Offers the grouping steps of the market on screen, and remembers the choice.

    Call `set_frame` with every new frame. The box chooses steps for the first frame of a market
    with a book, and again when the book's scale or the tick size changes.

    Signals:
        step_changed(object): the step in use, an int in price units of the book's scale.
    """

    step_changed = Signal(object)  # A step may exceed the 32 bits of Qt's int.

    def __init__(self, preferences: Preferences, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._preferences = preferences
        self._steps: list[int] = []
        self._market = ""
        self._scale: tuple[int, int] | None = None
        self.setAccessibleName("Grouping of price levels")
        self.setToolTip("Group the ladder's levels by this price step ([ finer, ] coarser)")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.setMinimumContentsLength(6)
        self.setEnabled(False)
        self.activated.connect(self._chosen)

    @property
    def step(self) -> int:
        """The step in use, in price units; 1 (no grouping) until a book is known."""
        return self._steps[self.currentIndex()] if self._steps else 1

    def set_frame(self, frame: BookFrame) -> None:
        """Offer the steps of the market in `frame`."""
        is_new = frame.symbol.market != self._market
        scale = frame.format.scale.price, frame.format.tick
        # Without levels, a tick size that is not listed is unknown; the choice must survive that.
        if not is_new and self._steps and (scale == self._scale or not frame.has_levels):
            return
        self._market, self._scale = frame.symbol.market, scale
        steps = steps_for(frame)
        if is_new or steps != self._steps:
            self._offer(steps, frame.format.scale.price)
        self.step_changed.emit(self.step)

    def finer(self) -> None:
        """Use the next smaller step."""
        self._choose(self.currentIndex() - 1)

    def coarser(self) -> None:
        """Use the next larger step."""
        self._choose(self.currentIndex() + 1)

    def _offer(self, steps: list[int], exponent: int) -> None:
        self._steps = steps
        texts = [step_text(step, exponent) for step in steps]
        self.clear()
        self.addItems(texts)
        self.setEnabled(bool(steps))
        remembered = self._preferences.grouping(self._market)
        if remembered in texts:
            self.setCurrentIndex(texts.index(remembered))

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._steps):
            self.setCurrentIndex(index)
            self._chosen()

    def _chosen(self) -> None:
        self._preferences.set_grouping(self._market, self.currentText())
        self.step_changed.emit(self.step)
