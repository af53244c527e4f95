"""The crosshair of the heatmap, and the card with what is exactly known of the cell below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import Final, NamedTuple

from msgspec.structs import replace
from PySide6.QtCore import QObject, QPointF, QRect, QRectF, QTimer
from PySide6.QtGui import QFontMetricsF, QPainter

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.pages import (
    FactsPart,
    HeatmapPages,
    HeatmapRequest,
    HeatmapWish,
)
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.number_format import MarketFormat, exact_text
from orderbook_desktop.core.time_text import duration_text, moment_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.heatmap.canvas import HeatmapCanvas
from orderbook_desktop.gui.panes.heatmap.layers import Layer
from orderbook_desktop.gui.panes.heatmap.painter import price_at, time_at, x_of, y_of
from orderbook_desktop.gui.theme import DARK, Theme

# The exact facts are asked for when the pointer has rested so long.
_REST_MS: Final = 100
_PADDING: Final = 8
_OFF: Final = 14
# Since when something has stood is looked up so far back in the live edge.
_TAIL_BACK_MS: Final = 10_000


class Cell(NamedTuple):
    """A column's begin and width in ms, and the number of a row."""

    from_ms: int
    bin_ms: int
    row: int


def lines_of(
    part: FactsPart | None, gap: Gap | None, market: MarketFormat, zone: tzinfo | None
) -> Iterator[str]:
    """Yield what the card says of a cell below its time and price; None: it is being read."""
    facts = None if part is None else part.facts
    if part is None or facts is None:
        if gap is not None:
            yield f"Gap of {duration_text(gap.to_ms - gap.from_ms)}: {gap.sentence}"
        else:
            yield "reading\N{HORIZONTAL ELLIPSIS}" if part is None else part.problem
        return
    if facts.knowledge == "gap":
        cause = "" if gap is None else f": {gap.sentence}"
        yield f"The book is not known then{cause}"
        return
    if facts.knowledge == "unknown":
        yield "Size unknown: beyond the known depth"
    else:
        bound = "at least " if facts.knowledge == "lower bound" else ""
        last, largest, mean = (
            bound + exact_text(units, facts.scale.quantity, market.quantity_places)
            for units in (facts.last, facts.largest, facts.mean)
        )
        yield f"Size at its end: {last}"
        yield f"Largest: {largest}"
        yield f"Mean: {'' if facts.mean_is_exact else 'about '}{mean}"
        if bound:
            yield "Only some of these prices are within the known depth"
        if facts.rest is not None:
            least = "at least " if facts.rest.is_bound else ""
            more = "" if part.is_over else " (reading on)"
            yield f"Stands since {least}{moment_text(facts.rest.since_ms, zone)}{more}"
    length = facts.to_ms - facts.from_ms
    if facts.covered_ms < length:
        yield f"Book known for {facts.covered_ms:,} of {length:,} ms"
        if gap is not None:
            yield f"Gap: {gap.sentence}"
    yield f"Update ids {facts.first_id} to {facts.last_id}"


class CrosshairLayer(QObject, Layer):
    """Follows the pointer, or the keys, over the heatmap `pane`; the card beside it has the facts.

    `read_out` receives the text of a card whose cell was chosen by a key.
    """

    def __init__(self, pane: HeatmapCanvas, read_out: Callable[[str], None]) -> None:
        super().__init__(pane)
        self._pane, self._read_out = pane, read_out
        self._pages: HeatmapPages | None = None
        self._frame: BookFrame | None = None
        self._zone: tzinfo | None = None
        self._at: QPointF | None = None
        self._by_key = False
        self._cell: Cell | None = None
        self._part: FactsPart | None = None
        self._request: HeatmapRequest | None = None
        self._marked: tuple[int | None, int | None] = None, None
        self._resting = QTimer(self, interval=_REST_MS, singleShot=True)
        self._resting.timeout.connect(self._ask)

    def set_pages(self, pages: HeatmapPages | None) -> None:
        """Read from `pages`, or (None) from nowhere."""
        self._pages = pages
        self._take_cell(None)

    def set_zone(self, zone: tzinfo | None) -> None:
        """Write times in `zone`; None: local."""
        self._zone = zone

    def reset(self) -> None:
        """Another market begins."""
        self._at = self._frame = None
        self._take_cell(None)

    def follow(self, frame: BookFrame) -> None:
        """Have the cell that has come below the pointer."""
        self._frame = frame
        if self._at is not None:
            self._take_cell(self._below())

    def set_view(self, view: View, plot: QRect) -> None:
        """Have the cell that is below the pointer now."""
        del view, plot
        if self._at is not None:
            self._take_cell(self._below())

    def point(self, at: QPointF | None) -> None:
        """Follow the pointer, and tell the other panes."""
        self._at, self._by_key = at, False
        self._take_cell(self._below())
        self._tell()
        self._pane.update()

    def step(self, columns: int, rows: int) -> QPointF | None:
        """Move by columns and rows, from the middle of the plot at first; return the place."""
        view, wish, plot = self._pane.view, self._pane.reader.wish, self._pane.places.plot
        if view is None or wish is None:
            return None
        at = QPointF(plot.center()) if self._at is None else self._at
        across = max(1.0, wish.bins.bin_ms / view.length_ms * plot.width())
        up = max(1.0, wish.steps.step / view.height * plot.height())
        x = min(max(at.x() + columns * across, plot.left()), float(plot.right()))
        y = min(max(at.y() - rows * up, plot.top()), float(plot.bottom()))
        self.point(QPointF(x, y))
        self._by_key = True
        return self._at

    def mark_price(self, price: int | None) -> None:
        """Mark a price of the view that is pointed at in another pane."""
        self._marked = price, self._marked[1]
        self._pane.update()

    def mark_time(self, time_ms: int | None) -> None:
        """Mark a time that is pointed at in another pane."""
        self._marked = self._marked[0], time_ms
        self._pane.update()

    @property
    def lines(self) -> list[str]:
        """What the card says; nothing without a cell."""
        cell, wish, frame = self._cell, self._pane.reader.wish, self._frame
        if cell is None or wish is None or frame is None:
            return []
        step, exponent = wish.steps.step, wish.steps.exponent
        ends = (cell.row * step, (cell.row + 1) * step)
        low, high = (exact_text(end, exponent, frame.format.price_places) for end in ends)
        gap = self._pane.gap_at(self._pointed_ms())
        return [
            f"{moment_text(cell.from_ms, self._zone)}, column of {duration_text(cell.bin_ms)}",
            f"{low} to below {high}",
            *lines_of(self._part, gap, frame.format, self._zone),
        ]

    def paint(self, painter: QPainter, plot: QRect, view: View, theme: Theme) -> None:
        """Draw the lines, and the card beside where they cross."""
        del theme
        price, time_ms = self._marked
        x = None if time_ms is None else x_of(view, plot, time_ms)
        y = None if price is None else y_of(view, plot, price)
        if self._at is not None:
            x, y = self._at.x(), self._at.y()
        # A dark rim keeps the lines in sight on bright cells.
        for colour, off, width in ((DARK.panel, -1, 3), (DARK.text, 0, 1)):
            if x is not None:
                painter.fillRect(round(x) + off, plot.top(), width, plot.height(), colour)
            if y is not None:
                painter.fillRect(plot.left(), round(y) + off, plot.width(), width, colour)
        lines = self.lines
        if self._at is not None and lines:
            self._paint_card(painter, plot, self._at, lines)

    def _paint_card(self, painter: QPainter, plot: QRect, at: QPointF, lines: list[str]) -> None:
        font = self._pane.font()
        metrics = QFontMetricsF(font)
        width = max(metrics.horizontalAdvance(line) for line in lines) + 2 * _PADDING
        height = metrics.height() * len(lines) + 2 * _PADDING
        left = at.x() + _OFF if at.x() < plot.center().x() else at.x() - _OFF - width
        top = at.y() + _OFF if at.y() < plot.center().y() else at.y() - _OFF - height
        left = max(float(plot.left()), min(left, plot.right() - width))
        top = max(float(plot.top()), min(top, plot.bottom() - height))
        box = QRectF(left, top, width, height)
        painter.fillRect(box, DARK.panel)
        painter.setPen(DARK.muted)
        painter.drawRect(box)
        painter.setFont(font)
        painter.setPen(DARK.text)
        for number, line in enumerate(lines):
            baseline = top + _PADDING + metrics.ascent() + number * metrics.height()
            painter.drawText(QPointF(left + _PADDING, baseline), line)

    def _pointed_ms(self) -> int:
        view = self._pane.view
        if view is None or self._at is None:
            return 0
        return time_at(view, self._pane.places.plot, self._at.x())

    def _below(self) -> Cell | None:
        """Return the cell below the pointer; None: nothing is known of that time, or ever is."""
        view, wish, navigator = self._pane.view, self._pane.reader.wish, self._pane.navigator
        if view is None or wish is None or self._at is None:
            return None
        at_ms, bin_ms = self._pointed_ms(), wish.bins.bin_ms
        if not navigator.from_ms <= at_ms < navigator.newest_ms:
            return None
        price = price_at(view, self._pane.places.plot, self._at.y())
        return Cell(at_ms // bin_ms * bin_ms, bin_ms, max(0, price) // wish.steps.step)

    def _take_cell(self, cell: Cell | None) -> None:
        if cell == self._cell and cell is not None:
            return
        self._cell, self._part = cell, None
        if self._request is not None:
            self._request.cancel()
            self._request = None
        if cell is None:
            self._resting.stop()
        else:
            self._resting.start()

    def _tell(self) -> None:
        """Tell the other panes at which price and time the person points."""
        view, frame, at = self._pane.view, self._frame, self._at
        if view is None or frame is None or at is None:
            self._pane.price_pointed.emit(None)
            self._pane.time_pointed.emit(None)
            return
        price = price_at(view, self._pane.places.plot, at.y())
        tick = max(1, self._pane.navigator.tick)
        self._pane.price_pointed.emit(self._pane.book_price(price // tick * tick))
        self._pane.time_pointed.emit(self._pointed_ms())

    def _ask(self) -> None:
        cell, wish = self._cell, self._pane.reader.wish
        if cell is None or wish is None:
            return
        end = cell.from_ms + cell.bin_ms
        if self._pane.is_replay and end > self._pane.navigator.newest_ms:
            self._take(FactsPart(problem="This column is not over at the clock of the replay."))
            return
        one = replace(
            wish,
            bins=TimeBins(cell.from_ms, end, cell.bin_ms),
            steps=replace(wish.steps, rows=(cell.row, 1)),
        )
        part = self._live_facts(one)
        if part is not None:
            self._take(part)
        elif self._pages is not None:
            self._request = self._pages.facts(one, self._take)

    def _live_facts(self, wish: HeatmapWish) -> FactsPart | None:
        """Return the facts of a cell that the live edge has wholly; None: it has not."""
        # The first picture of the window does without it.
        from orderbook_desktop.core.heatmap.facts import FactsBuilder  # noqa: PLC0415

        tail = None if self._frame is None else self._frame.depth
        from_ms, to_ms = wish.bins.from_ms, wish.bins.to_ms
        is_needed = self._pages is not None and self._pane.reader.recorded is not None
        if tail is None or not tail.from_ms or (is_needed and tail.from_ms > from_ms):
            return None
        builder = FactsBuilder(wish.bins, wish.steps, wish.side)
        try:
            for span, opens in tail.spans(max(tail.from_ms, from_ms - _TAIL_BACK_MS), to_ms):
                builder.take(span, opens=opens)
            return FactsPart(builder.facts())
        except KnownError as error:
            return FactsPart(problem=str(error))

    def _take(self, part: FactsPart) -> None:
        self._part = part
        if self._by_key and part.is_over:
            self._read_out(". ".join(self.lines))
        self._pane.update()
