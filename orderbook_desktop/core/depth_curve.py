"""The depth chart's curves: how much rests between the spread and a price, and what it costs.

Window and page draw the same `outline` of the same range (`automatic_range`); `depth_chart.js`
does the same by itself where a page follows the changes of a book. The curves hold what is known
(`core.known_depth`); levels beyond the edge are drawn as single `spikes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.known_depth import KnownSide, part_side
from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.levels import Int64Array, Levels


class CurvePoint(Struct, frozen=True):
    """What rests between the spread and `price`, inclusive, and what taking it would cost.

    `size` is in quantity units, `cost` in price units times quantity units, both exact. If
    `is_least`, both are lower bounds: the sums through the edge.
    """

    price: int
    size: int
    cost: int
    is_least: bool = False


class DepthCurve(Struct, frozen=True):
    """One side's cumulative curve: n steps, best price first.

    `prices` are those of the known levels, `depth.whole`, in price units. `sums` are what rests in
    the best 0 to n of them: n + 1 doubles, for drawing only. They are in quantity units; `in_quote`
    they are costs, in price units times quantity units.
    """

    side: Side
    prices: Int64Array
    sums: npt.NDArray[np.float64]
    depth: KnownSide
    in_quote: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the side has no level at all."""
        return not len(self.prices) and not len(self.depth.beyond.prices)

    @property
    def best(self) -> int | None:
        """The best price; None where the side is empty."""
        levels = self.depth.whole if len(self.prices) else self.depth.beyond
        return int(levels.prices[0]) if len(levels.prices) else None

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The prices between which the curve is drawn, the lower first; empty without a curve."""
        if not len(self.prices):
            return []
        first, last = sorted(_ends(self))
        return [(first, last)]

    @property
    def farthest(self) -> int | None:
        """The farthest price with a level; None where the side is empty."""
        beyond = self.depth.beyond.prices
        prices = beyond if len(beyond) else self.prices
        return int(prices[-1]) if len(prices) else None

    @property
    def total(self) -> int:
        """The exact sum of the known levels, in the units of `sums`."""
        return self.depth.whole.notional() if self.in_quote else self.depth.whole.total()

    def is_least(self, price: int | None) -> bool:
        """Return whether the sum through `price` (None: of the whole side) is a lower bound."""
        return self.depth.is_lower_bound(price, is_ask=self.side is Side.ASK)

    def at(self, price: int) -> CurvePoint:
        """Return size and cost between the spread and `price`."""
        count, whole = _count_to(self.prices, self.side, price), self.depth.whole
        return CurvePoint(price, whole.total(count), whole.notional(count), self.is_least(price))

    def amount(self, point: CurvePoint) -> int:
        """Return the size or the cost of `point`: the one that the curve shows."""
        return point.cost if self.in_quote else point.size


def build_curve(
    levels: Levels, side: Side, horizon: Horizon | None, *, in_quote: bool = False
) -> DepthCurve:
    """Return the cumulative curve of one side's `levels`, of a book with this `horizon`."""
    depth = part_side(levels, horizon, is_ask=side is Side.ASK)
    sums = np.zeros(len(depth.whole.prices) + 1)
    np.cumsum(_amounts(depth.whole, in_quote=in_quote), out=sums[1:])
    return DepthCurve(side, depth.whole.prices, sums, depth, in_quote)


def _amounts(levels: Levels, *, in_quote: bool) -> npt.NDArray[np.float64]:
    """Return the quantities, or the costs, for drawing."""
    amounts = levels.quantities.astype(np.float64)
    return amounts * levels.prices if in_quote else amounts


def unknown_from(curve: DepthCurve, other: DepthCurve) -> int | None:
    """Return the price beyond which sums of `curve` are lower bounds; None: there is none.

    `other` is the other side's curve: a side ends at the best price of the other.
    """
    if not curve.depth.is_proven:
        return curve.best
    edge, limit = curve.depth.edge, other.best
    if edge is None or limit is None:
        return edge
    return max(edge, limit) if curve.side is Side.ASK else min(edge, limit)


def _count_to(prices: Int64Array, side: Side, price: float) -> int:
    """Return the number of `prices`, best first, from the best one through `price`."""
    if side is Side.ASK:
        return int(prices.searchsorted(price, side="right"))
    return len(prices) - int(prices[::-1].searchsorted(price))


class Canvas(Struct, frozen=True):
    """`width` x `height` device pixels that show prices `low` to `high`, sizes 0 to `top`."""

    low: float
    high: float
    top: float
    width: int
    height: int


class Outline(Struct, frozen=True):
    """Steps of a curve in device pixels, left to right.

    Step i reaches from x `edges[i]` to `edges[i + 1]` at y `tops[i]`: n + 1 edges, n tops.
    """

    edges: Int64Array
    tops: Int64Array


def outline(curve: DepthCurve, canvas: Canvas) -> Outline | None:
    """Return the outline of `curve` on `canvas`.

    A column of pixels shows what rests between the spread and the column's middle. The curve ends
    at the edge of what is known; on a side without an edge it ends with its last level. None where
    no step is in view.
    """
    if not len(curve.prices) or canvas.width < 1 or canvas.height < 1:
        return None
    column = (canvas.high - canvas.low) / canvas.width
    columns = canvas.low + (np.arange(canvas.width) + 0.5) * column
    best, last = (float(price) for price in _ends(curve))
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


def spikes(curve: DepthCurve, canvas: Canvas) -> list[tuple[int, int]]:
    """Return x and y, in device pixels, of the single levels beyond the edge that are in view.

    A column of pixels with several levels shows the largest.
    """
    part = _beyond_in_view(curve, canvas.low, canvas.high)
    if not len(part.prices) or canvas.width < 1:
        return []
    scale = canvas.width / (canvas.high - canvas.low)
    columns = ((part.prices - canvas.low) * scale).astype(np.int64).clip(0, canvas.width - 1)
    amounts = _amounts(part, in_quote=curve.in_quote)
    tops = np.rint((1 - amounts / canvas.top) * canvas.height).astype(np.int64)
    highest: dict[int, int] = {}
    for x, y in zip(columns.tolist(), tops.clip(-2, canvas.height - 1).tolist(), strict=True):
        highest[x] = min(y, highest.get(x, y))
    return sorted(highest.items())


def _beyond_in_view(curve: DepthCurve, low: float, high: float) -> Levels:
    prices, quantities = curve.depth.beyond
    nearest, farthest = (low, high) if curve.side is Side.ASK else (high, low)
    first = _count_to(prices, curve.side, nearest)
    # The level at `nearest` itself is in view, too.
    first -= bool(first) and prices[first - 1] == nearest
    part = slice(first, _count_to(prices, curve.side, farthest))
    return Levels(prices[part], quantities[part])


def _ends(curve: DepthCurve) -> tuple[int, int]:
    """Return where a curve that has levels begins and ends."""
    edge = curve.depth.edge
    return int(curve.prices[0]), int(curve.prices[-1]) if edge is None else edge


def size_in_view(curve: DepthCurve, low: float, high: float) -> float:
    """Return the largest cumulative size or single level between the prices `low` and `high`."""
    outermost = low if curve.side is Side.BID else high
    size = float(curve.sums[_count_to(curve.prices, curve.side, outermost)])
    singles = _beyond_in_view(curve, low, high)
    if not len(singles.prices):
        return size
    return max(size, float(_amounts(singles, in_quote=curve.in_quote).max()))


def _sizes_at(curve: DepthCurve, prices: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return the cumulative sizes between the spread and each of `prices`, for drawing."""
    if curve.side is Side.BID:
        counts = len(curve.prices) - curve.prices[::-1].searchsorted(prices)
    else:
        counts = curve.prices.searchsorted(prices, side="right")
    sizes: npt.NDArray[np.float64] = curve.sums[counts]
    return sizes


def middle_of(bids: Levels, asks: Levels) -> float:
    """Return the mid in price units, or the best price of the only side; one of them has levels."""
    best = [int(levels.prices[0]) for levels in (bids, asks) if len(levels.prices)]
    return sum(best) / len(best)


def automatic_range(
    bids: DepthCurve, asks: DepthCurve, mid: float, tick: int
) -> tuple[float, float]:
    """Return the lowest and the highest price of the range that shows what is known of the book.

    It has the mid in its middle, and reaches to the farther edge. On a side without an edge it
    reaches to nine tenths of the levels, since the last ones may be few and far. It never reaches
    beyond an edge, nor beyond 2 % of the mid unless the spread alone takes half of that. It has at
    least ten ticks on each side of the mid.
    """
    sides = [curve for curve in (bids, asks) if not curve.is_empty]
    reach = max((_reach(curve, mid) for curve in sides), default=0.0)
    best = [curve.best for curve in sides]
    nearest = max((abs(price - mid) for price in best if price is not None), default=0.0)
    least = max(10.0 * tick, 1.0)
    half = max(min(reach, max(0.02 * mid, 2 * nearest)), least)
    low, high = mid - half, mid + half
    # Where the price has left what was known, the range still shows what is around it.
    if (edge := bids.depth.edge) is not None:
        low = max(low, min(edge, mid - max(least, 2 * nearest)))
    if (edge := asks.depth.edge) is not None:
        high = min(high, max(edge, mid + max(least, 2 * nearest)))
    return low, high


def _reach(curve: DepthCurve, mid: float) -> float:
    """Return how far from the mid the side is worth showing."""
    if curve.depth.edge is not None:
        return abs(curve.depth.edge - mid)
    count = len(curve.prices)
    return abs(float(curve.prices[-((count - 1) * -9 // 10)]) - mid) * 1.05


class Reading(Struct, frozen=True):
    """What the crosshair says: which side it is on (None: inside the spread) and the sums.

    `level` is a single level beyond the edge that the crosshair is on, as price and quantity.
    """

    side: Side | None
    point: CurvePoint
    level: tuple[int, int] | None = None


def read_curves(
    bids: DepthCurve, asks: DepthCurve, price: int, mid: float, reach: float = 0
) -> Reading:
    """Return the exact sums between the spread and `price`.

    In a crossed book both sides reach `price`; then the mid decides whose it is. `level` is the
    largest single level within `reach` of `price`.
    """
    on_bids = bids.best is not None and price <= bids.best
    on_asks = asks.best is not None and price >= asks.best
    if on_bids and on_asks:
        on_bids = price < mid
    if not (on_bids or on_asks):
        return Reading(None, CurvePoint(price, 0, 0))
    curve = bids if on_bids else asks
    singles = _beyond_in_view(curve, price - reach, price + reach)
    level = None
    if len(singles.prices):
        at = int(singles.quantities.argmax())
        level = int(singles.prices[at]), int(singles.quantities[at])
    return Reading(curve.side, curve.at(price), level)
