"""The depth chart's curves: how much rests between the spread and a price, and what it costs.

Window and page draw the same `outline` of the same range (`natural_half_span`); `depth_chart.js`
does the same by itself where a page follows the changes of a book.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.ladder import Side, Sums, cumulate
from orderbook_desktop.core.levels import Int64Array, Levels


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What rests between the spread and `price`, inclusive, and what taking it would cost.

    `size` is in quantity units, `cost` in price units times quantity units, both exact.
    """

    price: int
    size: int
    cost: int


@dataclass(frozen=True, slots=True)
class DepthCurve:
    """One side's cumulative curve: n steps, best price first.

    `prices` in price units; `quantities` and `cumulative` in quantity units.
    """

    side: Side
    prices: Int64Array
    quantities: Int64Array
    cumulative: Sums

    def at(self, price: int) -> CurvePoint:
        """Return size and cost between the spread and `price`."""
        if self.side is Side.BID:
            count = int(np.searchsorted(-self.prices, -price, side="right"))
        else:
            count = int(np.searchsorted(self.prices, price, side="right"))
        size = int(self.cumulative[count - 1]) if count else 0
        return CurvePoint(price, size, Levels(self.prices, self.quantities).notional(count))


def build_curve(levels: Levels, side: Side) -> DepthCurve:
    """Return the cumulative curve of one side's `levels`."""
    return DepthCurve(side, levels.prices, levels.quantities, cumulate(levels.quantities))


@dataclass(frozen=True, slots=True)
class Canvas:
    """`width` x `height` device pixels that show prices `low` to `high`, sizes 0 to `top`."""

    low: float
    high: float
    top: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Outline:
    """Steps of a curve in device pixels, left to right.

    Step i reaches from x `edges[i]` to `edges[i + 1]` at y `tops[i]`: n + 1 edges, n tops.
    """

    edges: Int64Array
    tops: Int64Array


def outline(curve: DepthCurve, canvas: Canvas) -> Outline | None:
    """Return the outline of `curve` on `canvas`.

    A column of pixels shows what rests between the spread and the column's middle. The curve ends
    with its last level, as no level beyond is known. None where no step is in view.
    """
    if not len(curve.prices) or canvas.width < 1 or canvas.height < 1:
        return None
    column = (canvas.high - canvas.low) / canvas.width
    columns = canvas.low + (np.arange(canvas.width) + 0.5) * column
    best, last = float(curve.prices[0]), float(curve.prices[-1])
    nearest, farthest = min(best, last) - column / 2, max(best, last) + column / 2
    first = int(columns.searchsorted(nearest))
    stop = int(columns.searchsorted(farthest, side="right"))
    if first >= stop:
        return None
    heights = _sizes_at(curve, columns[first:stop])
    tops = np.rint((1 - heights / canvas.top) * canvas.height).astype(np.int64)
    tops = tops.clip(-2, canvas.height)
    starts = np.append(0, np.flatnonzero(np.diff(tops)) + 1)
    return Outline(np.append(starts + first, stop), tops[starts])


def size_in_view(curve: DepthCurve, low: float, high: float) -> float:
    """Return the largest cumulative size of `curve` between the prices `low` and `high`."""
    if not len(curve.prices):
        return 0.0
    edge = low if curve.side is Side.BID else high
    return float(_sizes_at(curve, np.array([edge], dtype=np.float64))[0])


def _sizes_at(curve: DepthCurve, prices: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return the cumulative sizes between the spread and each of `prices`, for drawing."""
    if curve.side is Side.BID:
        counts = np.searchsorted(-curve.prices, -prices, side="right")
    else:
        counts = np.searchsorted(curve.prices, prices, side="right")
    sums = np.concatenate(([0.0], curve.cumulative.astype(np.float64)))
    sizes: npt.NDArray[np.float64] = sums[counts]
    return sizes


def middle_of(bids: Levels, asks: Levels) -> float:
    """Return the mid in price units, or the best price of the only side; one of them has levels."""
    best = [int(levels.prices[0]) for levels in (bids, asks) if len(levels.prices)]
    return sum(best) / len(best)


def natural_half_span(bids: DepthCurve, asks: DepthCurve, mid: float, tick: int) -> float:
    """Return a half range, in price units, that shows the dense part of the book.

    It reaches to nine tenths of the levels of the deeper side, but not beyond 2 % of the
    mid (the far levels of a book are many and say little about the present), unless the
    spread alone takes half of that, and at least ten ticks.
    """
    sides = [curve.prices for curve in (bids, asks) if len(curve.prices)]
    reach = max(
        (abs(float(prices[-((len(prices) - 1) * -9 // 10)]) - mid) for prices in sides), default=0.0
    )
    nearest = max((abs(float(prices[0]) - mid) for prices in sides), default=0.0)
    return max(min(reach * 1.05, max(0.02 * mid, 2 * nearest)), 10.0 * tick, 1.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the crosshair says: which side it is on (None: inside the spread) and the sums."""

    side: Side | None
    point: CurvePoint


def read_curves(bids: DepthCurve, asks: DepthCurve, price: int, mid: float) -> Reading:
    """Return the exact sums between the spread and `price`.

    In a crossed book both sides reach `price`; then the mid decides whose it is.
    """
    on_bids = len(bids.prices) > 0 and price <= int(bids.prices[0])
    on_asks = len(asks.prices) > 0 and price >= int(asks.prices[0])
    if on_bids and on_asks:
        on_bids = price < mid
        on_asks = not on_bids
    if on_bids:
        return Reading(Side.BID, bids.at(price))
    if on_asks:
        return Reading(Side.ASK, asks.at(price))
    return Reading(None, CurvePoint(price, 0, 0))
