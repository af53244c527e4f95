"""The depth chart as SVG paths, for pages and fragments; `depth_chart.js` draws the same live."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.depth_curve import (
    Canvas,
    DepthCurve,
    build_curve,
    middle_of,
    natural_half_span,
    outline,
    size_in_view,
)
from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.market_format import MarketFormat
from orderbook_desktop.core.number_text import exact_text
from orderbook_desktop.core.units import rounded_units

WIDTH: Final = 1000
HEIGHT: Final = 240
_COLUMNS: Final = 200
_COLUMN: Final = WIDTH // _COLUMNS


@dataclass(frozen=True, slots=True)
class DepthPaths:
    """The chart's filled outlines in a box of `WIDTH` by `HEIGHT`, and the labels of its axes.

    Prices run from `low` to `high` with the mid in the centre; `most` is the height's quantity.
    A side without levels has no outline.
    """

    bids: str
    asks: str
    low: str
    high: str
    most: str


EMPTY_CHART: Final = DepthPaths("", "", "", "", "")


def depth_paths(image: BookImage, market: MarketFormat) -> DepthPaths:
    """Return the chart of a book in the range that the window begins with; none without levels."""
    if not (len(image.bids.prices) or len(image.asks.prices)):
        return EMPTY_CHART
    bids, asks = build_curve(image.bids, Side.BID), build_curve(image.asks, Side.ASK)
    mid = middle_of(image.bids, image.asks)
    half_span = natural_half_span(bids, asks, mid, market.tick)
    low, high = mid - half_span, mid + half_span
    top = max(size_in_view(curve, low, high) for curve in (bids, asks))
    canvas = Canvas(low, high, max(top, 1.0), _COLUMNS, HEIGHT)
    most = max(bids.at(math.ceil(low)).size, asks.at(math.floor(high)).size)
    return DepthPaths(
        bids=_path(bids, canvas),
        asks=_path(asks, canvas),
        low=_label(low, market),
        high=_label(high, market),
        most=_rounded(most, market),
    )


def _path(curve: DepthCurve, canvas: Canvas) -> str:
    """Return the closed outline of a curve, from left to right."""
    found = outline(curve, canvas)
    if found is None:
        return ""
    edges = [edge * _COLUMN for edge in found.edges.tolist()]
    steps = (f"V{top}H{end}" for top, end in zip(found.tops.tolist(), edges[1:], strict=True))
    return f"M{edges[0]} {HEIGHT}{''.join(steps)}V{HEIGHT}Z"


def _label(price: float, market: MarketFormat) -> str:
    """Return the tick next to a price; there is none below zero."""
    return market.price(max(0, round(price / market.tick)) * market.tick)


def _rounded(quantity: int, market: MarketFormat) -> str:
    """Return a quantity for a label: no more places than lots have, two where it is one or more."""
    exponent = market.scale.quantity
    places = min(market.quantity_places, exponent)
    if quantity >= 10**exponent:
        places = min(places, 2)
    return exact_text(rounded_units(quantity, exponent - places), places)
