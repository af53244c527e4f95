"""A selection of cells, and what was added, traded and pulled in it."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QPointF, QRect, QRectF
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import QWidget

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import round_step_from
from orderbook_desktop.core.heatmap.pages import (
    FlowPart,
    HeatmapPages,
    HeatmapRequest,
    HeatmapWish,
)
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.heatmap.flow_card import FlowCard, FlowTexts
from orderbook_desktop.gui.panes.heatmap.layers import Layer
from orderbook_desktop.gui.panes.heatmap.painter import price_at, time_at, x_of, y_of
from orderbook_desktop.gui.theme import Theme

# The card has so many price steps at most.
_MOST_ROWS: Final = 200
_MARGIN: Final = 8
_READING: Final = FlowTexts("Reading what was added, traded and pulled …", "")
_NO_PAGES: Final = FlowTexts(
    "What was added, traded and pulled is not known here", "Nothing can be read now."
)


class Box(Struct, frozen=True):
    """Times from `from_ms` to `to_ms`, prices from `low` to `high` in units of the view."""

    from_ms: int
    to_ms: int
    low: int
    high: int

    @classmethod
    def between(cls, view: View, plot: QRect, one: QPointF, other: QPointF) -> Box:
        """Return what lies between two places of the plot."""
        times = sorted(time_at(view, plot, at.x()) for at in (one, other))
        prices = sorted(price_at(view, plot, at.y()) for at in (one, other))
        return cls(times[0], max(times[1], times[0] + 1), max(0, prices[0]), prices[1])

    def grown(self, across: float, up: float) -> Box:
        """Return it with so much more time and prices, by parts of its own, around its middle."""
        wide, high = self.to_ms - self.from_ms, self.high - self.low
        by_ms, by = round(wide * across / 2), round(high * up / 2)
        if wide + 2 * by_ms < 1 or high + 2 * by < 1:
            return self
        return Box(
            max(0, self.from_ms - by_ms), self.to_ms + by_ms, max(0, self.low - by), self.high + by
        )


class SelectionLayer(Layer):
    """Draws the selection of the heatmap `pane`, and shows the card of what flowed in it."""

    def __init__(self, pane: QWidget) -> None:
        self.box: Box | None = None
        self._pane = pane
        self._card: FlowCard | None = None
        self._pages: HeatmapPages | None = None
        self._zone: tzinfo | None = None
        self._frame: BookFrame | None = None
        self._limit_ms: int | None = None
        self._request: HeatmapRequest | None = None
        self._begun: QPointF | None = None
        self._view: View | None = None

    @property
    def is_dragged(self) -> bool:
        """Whether the person is choosing."""
        return self._begun is not None

    @property
    def card(self) -> FlowCard:
        """The card, made when it is needed."""
        if self._card is None:
            self._card = FlowCard(self._pane)
            self._card.closed.connect(self.clear)
        return self._card

    def begin(self, at: QPointF) -> None:
        """Begin to choose at a place of the plot."""
        self._begun = at

    def drag(self, view: View, plot: QRect, at: QPointF) -> None:
        """Choose what lies between the beginning and this place."""
        if self._begun is not None:
            self._view, self.box = view, Box.between(view, plot, self._begun, at)
            self._pane.update()

    def end(self) -> None:
        """Show what flowed in what was chosen."""
        self._begun = None
        self._ask()

    def choose(self, view: View, part: float) -> None:
        """Choose this part of a view, around its middle; 1: all that is visible."""
        whole = Box(view.from_ms, view.to_ms, view.low, view.high)
        self._view, self.box = view, whole.grown(part - 1, part - 1)
        self._ask()

    def grow(self, across: float, up: float) -> None:
        """Choose more, or less, around the middle of what is chosen."""
        if self.box is not None:
            self.box = self.box.grown(across, up)
            self._ask()

    def copy(self) -> None:
        """Copy what the card shows."""
        if self._card is not None and self._card.isVisible():
            self._card.copy()

    def clear(self) -> None:
        """Choose nothing, and close the card."""
        self._cancel()
        self.box = self._begun = None
        if self._card is not None:
            self._card.hide()
        self._pane.setFocus()
        self._pane.update()

    def paint(self, painter: QPainter, plot: QRect, view: View, theme: Theme) -> None:
        """Draw a frame around what is chosen."""
        box = self.box
        if box is not None:
            corners = (
                QPointF(x_of(view, plot, box.from_ms), y_of(view, plot, box.high)),
                QPointF(x_of(view, plot, box.to_ms), y_of(view, plot, box.low)),
            )
            painter.setPen(QPen(theme.focus, 2))
            painter.drawRect(QRectF(*corners))

    def set_pages(self, pages: HeatmapPages | None) -> None:
        """Read from `pages`; what was chosen of others is let go."""
        self._pages = pages
        self.reset()

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone

    def set_limit(self, to_ms: int, recorded_ms: int) -> None:
        """Show nothing of after this time."""
        del recorded_ms
        self._limit_ms = to_ms

    def follow(self, frame: BookFrame) -> None:
        """Take how the market writes numbers."""
        self._frame = frame

    def reset(self) -> None:
        """Choose nothing."""
        self._cancel()
        self.box = self._begun = None
        if self._card is not None:
            self._card.hide()

    def _show(self, texts: FlowTexts) -> None:
        """Show texts beside what is chosen."""
        box, view, card = self.box, self._view, self.card
        if box is not None and view is not None:
            is_left = box.from_ms + box.to_ms < view.from_ms + view.to_ms
            card.move(max(_MARGIN, self._pane.width() // 2) if is_left else _MARGIN, _MARGIN)
        card.show_texts(texts)

    def _cancel(self) -> None:
        if self._request is not None:
            self._request.cancel()
            self._request = None

    def _ask(self) -> None:
        self._cancel()
        self._pane.update()
        frame, pages, box, view = self._frame, self._pages, self.box, self._view
        if frame is None or box is None or view is None:
            return
        until_ms = box.to_ms if self._limit_ms is None else min(box.to_ms, self._limit_ms)
        if pages is None or until_ms <= box.from_ms:
            self._show(_NO_PAGES)
            return
        # The view's unit is never coarser than the market's.
        tick = frame.format.tick * 10 ** max(0, view.exponent - frame.format.scale.price)
        rows = -(-(box.high - box.low) // tick)
        step = tick * round_step_from(max(1, -(-rows // _MOST_ROWS)))
        first, last = box.low // step, box.high // step
        wish = HeatmapWish(
            frame.symbol.market,
            TimeBins.between(box.from_ms, until_ms, until_ms - box.from_ms),
            PriceSteps(step, view.exponent, (first, last - first + 1)),
            Statistic.MAX,
        )
        self._show(_READING)
        self._request = pages.flows(wish, self._take)

    def _take(self, part: FlowPart) -> None:
        self._request = None
        frame = self._frame
        if part.flows is None or frame is None:
            self._show(FlowTexts(_NO_PAGES.title, part.problem))
            return
        self._show(FlowTexts.of(part.flows, frame.format, self._zone))
