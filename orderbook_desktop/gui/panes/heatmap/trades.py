"""Trades over the heatmap: as bubbles where they were made, and as a profile by price."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Self

import numpy as np
from msgspec import Struct
from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QPainter, QPen, QPixmap

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import fitting_bin, round_step_from
from orderbook_desktop.core.heatmap.pages import (
    HeatmapPages,
    HeatmapRequest,
    HeatmapWish,
    TradedPart,
)
from orderbook_desktop.core.heatmap.traded import TradedBuilder, TradedCells
from orderbook_desktop.core.heatmap.view import View
from orderbook_desktop.core.number_format import exact_text
from orderbook_desktop.core.tape import Tape, TapeTrade
from orderbook_desktop.core.units import format_units
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.heatmap.layers import Layer
from orderbook_desktop.gui.panes.heatmap.painter import x_of, y_of
from orderbook_desktop.gui.theme import DARK, Theme
from orderbook_desktop.system.steady_clock import steady_ns

# Cells of trades are about so many pixels, and bubbles so far apart.
_CELL: Final = 6
_GROUP: Final = 22
_LARGEST: Final = 20.0
_SMALLEST: Final = 1.5
# What is asked for reaches beyond the view by this part of it on each side.
_MARGIN: Final = 0.4
_MOST_ROWS: Final = 2_000
# The tape has what is so new that the recording may not have it yet.
_SETTLED_MS: Final = 5_000
_ASK_AGAIN_MS: Final = 60_000
_DRAW_EVERY_NS: Final = 250_000_000
_RECENT: Final = 3_000
_BAR_SHARE, _LEAST_BAR, _MOST_BAR = 0.14, 40, 130
_PROFILE_ROW: Final = 5


_Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


class _Centres(Struct, frozen=True):
    """Where the bubbles are: times (ms) and prices, in the middle of the sizes of their trades."""

    times_ms: _Floats
    prices: _Floats

    @classmethod
    def of(cls, cells: TradedCells, groups: TradedCells) -> Self:
        """Return the middles of `groups`, which were made of `cells`."""
        if not len(cells):
            return cls(np.zeros(0), np.zeros(0))
        times, prices = cells.times_ms // groups.bin_ms, cells.prices // groups.step
        rows = int(prices.max()) - int(prices.min()) + 1
        _, of_cells = np.unique(times * rows + (prices - prices.min()), return_inverse=True)
        sizes = _sizes(cells)
        sums = np.maximum(np.bincount(of_cells, weights=sizes), 1e-300)
        first_ms, lowest = int(cells.times_ms[0]), int(cells.prices.min())
        # Counted from the first ones, so that doubles hold them.
        across = (cells.times_ms - first_ms + cells.bin_ms / 2) * sizes
        up = (cells.prices - lowest + cells.step / 2) * sizes
        return cls(
            first_ms + np.bincount(of_cells, weights=across) / sums,
            lowest + np.bincount(of_cells, weights=up) / sums,
        )


class _Drawn(Struct, frozen=True):
    """Bubbles as they were drawn for a view, in `picture`."""

    view: View
    plot: QRect
    groups: TradedCells
    centres: _Centres
    rows: TradedCells
    per_size: float
    picture: QPixmap
    at_ns: int


class TradesLayer(Layer):
    """Draws the trades of the heatmap; `changed` asks for a repaint.

    A bubble is what takers bought (above) and sold (below) about there, and its area is their
    size. Bubbles that would lie on one another are one, whose size is the exact sum; they come
    apart on zooming in. Those of less than `least` (in the base asset) are left out. `now_ns` is a
    clock by which they are drawn anew a few times a second at most.
    """

    def __init__(self, changed: Callable[[], None], now_ns: Callable[[], int] = steady_ns) -> None:
        self._changed, self._now_ns = changed, now_ns
        self.shows_bubbles = self.shows_profile = True
        self.least = 0.0
        self.problem = ""
        self._pages: HeatmapPages | None = None
        self._request: HeatmapRequest | None = None
        self._market = ""
        self._base = ""
        self._places = 8
        self._tape: Tape | None = None
        self._taken = 0
        self._wish: HeatmapWish | None = None
        # What was read, up to `_until_ms`, and what the tape has had since. While it is being
        # read, `_before` is what was shown until then.
        self._read: TradedCells | None = None
        self._before: TradedCells | None = None
        self._until_ms = 0
        self._live: TradedBuilder | None = None
        self._limit_ms = self._recorded_ms = 0
        # Whether what was asked for ends where the settled recording did.
        self._is_at_end = False
        self._drawn: _Drawn | None = None
        self._is_dirty = True

    def set_pages(self, pages: HeatmapPages | None) -> None:
        """Read from `pages`, or (None) from nowhere."""
        self._pages = pages
        self.reset()

    def reset(self) -> None:
        """Forget all trades."""
        if self._request is not None:
            self._request.cancel()
        self._request = self._wish = None
        self._forget()

    def _forget(self) -> None:
        self._read = self._before = self._live = self._tape = self._drawn = None
        self._is_dirty = True

    def set_limit(self, to_ms: int, recorded_ms: int) -> None:
        """Show no trade of after `to_ms`; what is recorded reaches `recorded_ms`."""
        if to_ms < self._limit_ms:
            # The clock of a replay went back: cells may have trades of after it.
            self._wish = None
            self._forget()
        self._limit_ms, self._recorded_ms = to_ms, recorded_ms

    def choose(self, *, bubbles: bool | None = None, profile: bool | None = None) -> None:
        """Show bubbles, and the profile, or not; None: as before."""
        self.shows_bubbles = self.shows_bubbles if bubbles is None else bubbles
        self.shows_profile = self.shows_profile if profile is None else profile
        self._drawn = None
        self._changed()

    def set_least(self, size: float) -> None:
        """Leave out bubbles of less than this size, in the base asset."""
        self.least, self._drawn = size, None
        self._changed()

    def follow(self, frame: BookFrame) -> None:
        """Take the new trades of the tape."""
        self._market, self._base = frame.symbol.market, frame.symbol.base
        self._places = frame.format.quantity_places
        tape, live = frame.tape, self._live
        if tape is None or live is None or self._wish is None:
            self._tape = None
            return
        if tape is not self._tape:
            # Another tape has trades of the one before again, as after a jump of a replay.
            live = self._begin_live(self._wish)
            fresh = tape.newest(_RECENT)
            if fresh and fresh[0].event_ms >= self._until_ms and len(tape) > len(fresh):
                fresh = tape.since(-1)
        else:
            fresh = tape.arrivals(self._taken)
        self._tape, self._taken = tape, tape.revision
        fresh = [trade for trade in fresh if trade.event_ms >= self._until_ms]
        if fresh:
            _take(live, fresh, tape)
            self._is_dirty = True

    def set_view(self, view: View, plot: QRect) -> None:
        """Ask for the trades of a view, unless they have been read."""
        if not (self.shows_bubbles or self.shows_profile) or not self._market:
            return
        settled_ms = min(self._limit_ms, self._recorded_ms) - _SETTLED_MS
        wish = _wish_for(self._market, view, plot, settled_ms)
        if wish is None or self._has(wish, view, settled_ms):
            return
        if self._request is not None:
            self._request.cancel()
        self._before, self._read = self.cells, None
        self._wish, self._until_ms = wish, wish.bins.to_ms
        self._is_at_end = wish.bins.to_ms >= settled_ms
        self._begin_live(wish)
        self._tape, self._is_dirty = None, True
        if self._pages is None:
            self._before = None
        else:
            self._request = self._pages.traded(wish, self._take)

    def _begin_live(self, wish: HeatmapWish) -> TradedBuilder:
        """Begin to sum up the tape, from the cell on in which the reading of `wish` ends."""
        bin_ms = wish.bins.bin_ms
        from_ms = self._until_ms // bin_ms * bin_ms
        ahead = TimeBins(from_ms, from_ms + (1 << 40), bin_ms)
        self._live = TradedBuilder(ahead, wish.steps)
        return self._live

    def _has(self, wish: HeatmapWish, view: View, settled_ms: int) -> bool:
        """Whether what was asked for last is enough for a view."""
        asked = self._wish
        if asked is None or asked.bins.bin_ms != wish.bins.bin_ms:
            return False
        if asked.steps.step != wish.steps.step or asked.steps.rows is None:
            return False
        first, count = asked.steps.rows
        step = asked.steps.step
        reaches = first * step <= max(view.low, 0) and view.high <= (first + count) * step
        # The tape goes on only from where the recording ended; further back it has nothing.
        is_new = self._is_at_end and asked.bins.to_ms > settled_ms - _ASK_AGAIN_MS
        is_new |= asked.bins.to_ms >= min(wish.bins.to_ms, view.to_ms)
        return reaches and is_new and asked.bins.from_ms <= max(view.from_ms, 0)

    def _take(self, part: TradedPart) -> None:
        self.problem = part.problem
        self._read, self._before, self._is_dirty = part.cells, None, True
        self._changed()

    @property
    def cells(self) -> TradedCells | None:
        """All trades, as far as they have been read, up to the limit; None: none have been."""
        live = None if self._live is None else self._live.cells()
        read = self._read
        if self._before is not None:
            return self._before.within(0, self._limit_ms + 1, 0, 1 << 62)
        both = live if read is None else read if live is None else read.joined(live)
        if both is None:
            return None
        return both.within(0, self._limit_ms + 1, 0, 1 << 62)

    def paint(self, painter: QPainter, plot: QRect, view: View, theme: Theme) -> None:
        """Draw the profile, and the bubbles over it."""
        if not (self.shows_bubbles or self.shows_profile):
            return
        drawn = self._fitting(view, plot, painter.device().devicePixelRatioF())
        if drawn is None:
            return
        if self.shows_profile:
            _draw_profile(painter, plot, view, drawn.rows)
        if self.shows_bubbles:
            across = x_of(view, plot, drawn.view.from_ms) - plot.left()
            up = y_of(view, plot, drawn.view.high) - plot.top()
            painter.drawPixmap(QPointF(plot.left() + across, plot.top() + up), drawn.picture)
            if self.least:
                text = f"trades from {self.least:g} {self._base}"
                painter.setPen(theme.muted)
                painter.drawText(QPointF(plot.left() + 8, plot.bottom() - 8), text)

    def tip(self, at: QPointF, plot: QRect, view: View) -> str:
        """Return what was traded at a place of the plot, exactly; empty: nothing."""
        drawn = self._drawn
        if drawn is None:
            return ""
        groups = drawn.groups
        if self.shows_bubbles and len(groups):
            sizes = _sizes(groups)
            x, y = _places(drawn.centres, view, plot)
            off = np.hypot(x - at.x(), y - at.y()) - _radii(sizes, drawn.per_size)
            off[sizes < self.least * 10**groups.scale.quantity] = np.inf
            nearest = int(off.argmin())
            if off[nearest] <= 2:
                return self._text_of(groups, nearest)
        rows, right = drawn.rows, plot.right() + 1 - _bar_room(plot)
        if self.shows_profile and len(rows) and at.x() >= right:
            price = view.high - (at.y() - plot.top()) / plot.height() * view.height
            place = int(np.searchsorted(rows.prices, price, side="right")) - 1
            if place >= 0 and price < rows.prices[place] + rows.step:
                return self._text_of(rows, place)
        return ""

    def _text_of(self, cells: TradedCells, place: int) -> str:
        low, exponent = int(cells.prices[place]), cells.scale.price
        prices = [format_units(price, exponent, 2) for price in (low, low + cells.step)]
        bought, sold = (
            exact_text(int(side[place]), cells.scale.quantity, self._places)
            for side in (cells.bought, cells.sold)
        )
        trades = counted(int(cells.counts[place]), "trade")
        return (
            f"{trades} from {prices[0]} to below {prices[1]}\n"
            f"bought {bought} {self._base}\nsold {sold} {self._base}"
        )

    def _fitting(self, view: View, plot: QRect, ratio: float) -> _Drawn | None:
        """Return bubbles that fit a view: those drawn before, as long as they do."""
        drawn, now_ns = self._drawn, self._now_ns()
        if drawn is not None:
            is_same = drawn.plot == plot and drawn.view.height == view.height
            is_same = is_same and drawn.view.length_ms == view.length_ms
            moved = abs(x_of(view, plot, drawn.view.from_ms) - plot.left())
            moved += abs(y_of(view, plot, drawn.view.high) - plot.top())
            is_fresh = not self._is_dirty or now_ns - drawn.at_ns < _DRAW_EVERY_NS
            if is_same and is_fresh and moved < _GROUP:
                return drawn
        cells = self.cells
        if cells is None:
            return None
        self._is_dirty = False
        self._drawn = self._draw(cells, view, plot, ratio, now_ns)
        return self._drawn

    def _draw(
        self, cells: TradedCells, view: View, plot: QRect, ratio: float, now_ns: int
    ) -> _Drawn:
        wide = max(1, math.ceil(_GROUP * view.length_ms / plot.width() / cells.bin_ms))
        high = max(1, math.ceil(_GROUP * view.height / plot.height() / cells.step))
        row = max(1, math.ceil(_PROFILE_ROW * view.height / plot.height() / cells.step))
        wide_ms, high = wide * cells.bin_ms, high * cells.step
        seen = cells.within(view.from_ms - wide_ms, view.to_ms, view.low - high, view.high)
        groups = seen.grouped(wide_ms, high)
        inside = cells.within(view.from_ms, view.to_ms, view.low, view.high)
        rows = inside.by_price(row * cells.step)
        sizes, centres = _sizes(groups), _Centres.of(seen, groups)
        per_size = _LARGEST**2 / max(1.0, float(sizes.max(initial=0)))
        picture = QPixmap(plot.size() * ratio)
        picture.setDevicePixelRatio(ratio)
        picture.fill(Qt.GlobalColor.transparent)
        if self.shows_bubbles:
            shown = sizes >= self.least * 10**groups.scale.quantity
            places = _places(centres, view, QRect(0, 0, plot.width(), plot.height()))
            _draw_bubbles(picture, groups, places, shown, per_size)
        return _Drawn(view, plot, groups, centres, rows, per_size, picture, now_ns)


def _wish_for(market: str, view: View, plot: QRect, settled_ms: int) -> HeatmapWish | None:
    """Return the wish for the trades of a view up to `settled_ms`; None: for no prices."""
    bin_ms = fitting_bin(_CELL * view.length_ms / plot.width())
    beyond = round(view.length_ms * _MARGIN)
    begin = max(0, view.from_ms - beyond) // bin_ms * bin_ms
    # It may end within a cell, whose later trades the tape has.
    end = max(begin + 1, min(view.to_ms + beyond, settled_ms))
    least = max(1, math.ceil(_CELL * view.height / plot.height()))
    step = round_step_from(least)
    reach = round(view.height * _MARGIN)
    first = max(0, view.low - reach) // step
    rows = min(_MOST_ROWS, -(-(view.high + reach) // step) - first)
    if rows < 1:
        return None
    bins = TimeBins(begin, end, bin_ms)
    return HeatmapWish(market, bins, PriceSteps(step, view.exponent, (first, rows)), Statistic.MAX)


def _take(builder: TradedBuilder, trades: list[TapeTrade], tape: Tape) -> None:
    builder.take(
        np.array([trade.event_ms for trade in trades], dtype=np.int64),
        np.array([trade.price for trade in trades], dtype=np.int64),
        np.array([trade.quantity for trade in trades], dtype=np.int64),
        np.array([trade.is_sold for trade in trades], dtype=np.bool_),
        tape.scale,
    )


def _places(centres: _Centres, view: View, plot: QRect) -> tuple[_Floats, _Floats]:
    """Return where the bubbles are, in pixels."""
    x = plot.left() + (centres.times_ms - view.from_ms) * (plot.width() / view.length_ms)
    y = plot.top() + (view.high - centres.prices) * (plot.height() / view.height)
    return x, y


def _sizes(cells: TradedCells) -> _Floats:
    return (cells.bought + cells.sold).astype(np.float64)


def _radii(sizes: _Floats, per_size: float) -> _Floats:
    """Return the radii, whose squares are as the sizes; the smallest dots can still be seen."""
    return np.maximum(np.sqrt(sizes * per_size), _SMALLEST)


def _draw_bubbles(
    picture: QPixmap,
    groups: TradedCells,
    places: tuple[_Floats, _Floats],
    shown: np.ndarray[tuple[int], np.dtype[np.bool_]],
    per_size: float,
) -> None:
    sizes = _sizes(groups)
    radii = _radii(sizes, per_size)
    shares = groups.bought.astype(np.float64) / np.maximum(sizes, 1)
    with QPainter(picture) as painter:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(DARK.panel, 1.2))
        # Large ones lie below small ones.
        for place in np.argsort(-sizes, kind="stable").tolist():
            if not shown[place]:
                continue
            x, y = float(places[0][place]), float(places[1][place])
            radius, share = float(radii[place]), float(shares[place])
            box = QRectF(x - radius, y - radius, 2 * radius, 2 * radius)
            if share in (0.0, 1.0) or radius < 3:
                painter.setBrush(DARK.bid if share >= 0.5 else DARK.ask)
                painter.drawEllipse(box)
            else:
                # Bought above, sold below: Qt counts in sixteenths of a degree.
                span = round(360 * 16 * share)
                painter.setBrush(DARK.bid)
                painter.drawPie(box, 90 * 16 - span // 2, span)
                painter.setBrush(DARK.ask)
                painter.drawPie(box, 90 * 16 + (span + 1) // 2, 360 * 16 - span)


def _bar_room(plot: QRect) -> float:
    return min(max(plot.width() * _BAR_SHARE, _LEAST_BAR), _MOST_BAR)


def _draw_profile(painter: QPainter, plot: QRect, view: View, rows: TradedCells) -> None:
    """Draw what was traded at each price as bars from the right: bought, then sold."""
    sizes = _sizes(rows)
    largest = float(sizes.max(initial=0))
    if not largest:
        return
    room, right = _bar_room(plot), plot.right() + 1.0
    bought, sold = DARK.bid, DARK.ask
    painter.save()
    painter.setOpacity(0.55)
    height = max(1.0, rows.step * plot.height() / view.height - 1)
    most = int(sizes.argmax())
    for place, (price, of_bought, size) in enumerate(
        zip(rows.prices.tolist(), rows.bought.tolist(), sizes.tolist(), strict=True)
    ):
        top = y_of(view, plot, price + rows.step)
        length, part = size / largest * room, float(of_bought) / largest * room
        painter.setOpacity(0.85 if place == most else 0.55)
        painter.fillRect(QRectF(right - part, top, part, height), bought)
        painter.fillRect(QRectF(right - length, top, length - part, height), sold)
    painter.restore()
