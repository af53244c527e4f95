"""The depth chart's curves: how much rests between the spread and a price, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
