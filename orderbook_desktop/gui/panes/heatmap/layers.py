"""What is drawn over the cells of the heatmap, each by a layer of its own."""

from __future__ import annotations

from datetime import tzinfo

from PySide6.QtCore import QPointF, QRect
from PySide6.QtGui import QPainter

from orderbook_desktop.core.heatmap.pages import HeatmapPages
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.theme import Theme


class Layer:
    """Draws over the plot of the heatmap; the pane calls its layers in painting order.

    A subclass overrides what it needs. It asks for a repaint by a callable that its constructor
    receives.
    """

    def paint(self, painter: QPainter, plot: QRect, view: View, theme: Theme) -> None:
        """Draw over `plot`, which shows `view`; the painter is clipped to it."""

    def set_view(self, view: View, plot: QRect) -> None:
        """A pan or zoom has ended at `view`: ask the pages for what it needs."""

    def set_pages(self, pages: HeatmapPages | None) -> None:
        """Read from `pages`, or (None) from nowhere; forget what was read from others."""

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""

    def set_limit(self, to_ms: int, recorded_ms: int) -> None:
        """Draw nothing of after `to_ms`: there is the newest moment, or the replay's clock.

        What is recorded of the market reaches `recorded_ms`; 0: nothing is.
        """

    def follow(self, frame: BookFrame) -> None:
        """Take what `frame` brings."""

    def point(self, at: QPointF | None) -> None:
        """The person points at this place of the pane, or (None) at none."""

    def reset(self) -> None:
        """Another market begins."""
