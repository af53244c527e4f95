"""The depth chart as SVG paths, for pages and fragments; `depth_chart.js` draws the same live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.decimal_text import with_thousands
from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import format_units, places_of, rounded_units

WIDTH: Final = 1000
HEIGHT: Final = 240
_COLUMNS: Final = 100
# A few far-off levels must not squeeze the rest into a line.
_SHOWN_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True)
class DepthPaths:
    """The chart's filled outlines in a box of `WIDTH` by `HEIGHT`, and the labels of its axes.

    Prices run from `low` to `high` with the mid in the centre; `most` is the height's quantity.
    """

    bids: str
    asks: str
    low: str
    high: str
    most: str


EMPTY_CHART: Final = DepthPaths("", "", "", "", "")


def depth_paths(image: BookImage, tick: int, lot_places: int) -> DepthPaths:
    """Return the chart of a book; empty while a side is. `tick` is in price units."""
    bids, asks = image.bids, image.asks
    if not (len(bids.prices) and len(asks.prices)):
        return EMPTY_CHART
    twice_mid = int(bids.prices[0]) + int(asks.prices[0])
    reach = min(_reach(bids, twice_mid), _reach(asks, twice_mid))
    # Drawn, so doubles will do.
    distances = np.linspace(0.0, reach, _COLUMNS + 1, dtype=np.float64)
    bid_sums = _sums_at(bids, twice_mid, distances)
    ask_sums = _sums_at(asks, twice_mid, distances)
    most = max(float(bid_sums[-1]), float(ask_sums[-1]), 1.0)
    scale, places = image.scale.price, places_of(tick, image.scale.price)

    def label(price: float) -> str:
        return with_thousands(format_units(round(price / tick) * tick, scale, places))

    return DepthPaths(
        bids=_outline(bid_sums / most, Side.BID),
        asks=_outline(ask_sums / most, Side.ASK),
        low=label(twice_mid / 2 - reach),
        high=label(twice_mid / 2 + reach),
        most=_rounded(
            max(_total_within(side, twice_mid, reach) for side in (bids, asks)),
            image.scale.quantity,
            lot_places,
        ),
    )


def _reach(levels: Levels, twice_mid: int) -> float:
    """Return how far from the mid this side's shown levels reach, in price units."""
    last = max(0, int(len(levels.prices) * _SHOWN_SHARE) - 1)
    return max(1.0, abs(int(levels.prices[last]) - twice_mid / 2))


def _sums_at(
    levels: Levels, twice_mid: int, distances: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the cumulative quantity within each of `distances` from the mid."""
    away = np.abs(levels.prices - twice_mid / 2)
    sums = np.concatenate(([0.0], np.cumsum(levels.quantities, dtype=np.float64)))
    found: npt.NDArray[np.float64] = sums[np.searchsorted(away, distances, side="right")]
    return found


def _outline(heights: npt.NDArray[np.float64], side: Side) -> str:
    """Return the closed step outline of heights (0 to 1) from the mid outward."""
    outward = -1 if side is Side.BID else 1
    centre = WIDTH / 2
    parts = [f"M{centre:.0f} {HEIGHT}"]
    for column, height in enumerate(heights.tolist()):
        x = centre + outward * centre * column / _COLUMNS
        parts.append(f"H{x:.0f}V{HEIGHT * (1 - height):.1f}")
    return "".join(parts) + f"V{HEIGHT}Z"


def _total_within(levels: Levels, twice_mid: int, reach: float) -> int:
    """Return the exact quantity within `reach` of the mid."""
    away = np.abs(levels.prices - twice_mid / 2)
    return levels.total(int(np.searchsorted(away, reach, side="right")))


def _rounded(quantity: int, exponent: int, places: int) -> str:
    """Return a quantity for a label, with no more places than lots have."""
    places = min(places, exponent, 2) if quantity >= 10**exponent else min(places, exponent)
    rounded = rounded_units(quantity, exponent - places)
    return with_thousands(format_units(rounded, places, 0))
