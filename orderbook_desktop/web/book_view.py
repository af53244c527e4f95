"""A book as the templates show it: formatted text, and widths of bars."""

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
from orderbook_desktop.core.ladder import Ladder, LadderSide, Side, build_ladder
from orderbook_desktop.core.number_format import (
    MarketFormat,
    book_steps,
    exact_text,
    market_format,
    percent_text,
    step_text,
)
from orderbook_desktop.core.status import Badge
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import MAX_EXPONENT, Scale, rounded_units, split_decimal
from orderbook_desktop.web.channel import Moment

ROWS: Final = 25
# The style sheet has a class for each width of a bar, since no inline style is allowed.
_BAR_STEPS: Final = 50

_CHART_WIDTH: Final = 1000
_CHART_HEIGHT: Final = 240
_COLUMNS: Final = 200
_COLUMN: Final = _CHART_WIDTH // _COLUMNS


@dataclass(frozen=True, slots=True)
class RowView:
    """One row of the ladder. `bar` is the width of its bar, 0 to 50. Empty text: no level."""

    price: str = ""
    size: str = ""
    total: str = ""
    bar: int = 0


@dataclass(frozen=True, slots=True)
class BookView:
    """A book as the fragment `book.html` shows it.

    `asks` and `bids` begin with the highest price, in reading order. `imbalance` is the bids'
    share of the quantity in the rows, 0 to 50; None if the rows are empty. `step` is the
    grouping step as decimal text. `page.js` uses `step`, `tick` and the `…_places`.
    """

    symbol: str
    base: str
    quote: str
    step: str
    tick: str
    price_places: int
    size_places: int
    asks: list[RowView]
    bids: list[RowView]
    spread: str
    spread_percent: str
    mid: str
    imbalance: int | None
    imbalance_text: str
    badge: Badge
    demo: bool
    last_update_id: int
    chart: DepthPaths

    @property
    def state_class(self) -> str:
        """The state as the name of a style class."""
        return self.badge.state.value.replace(" ", "-")


def view_of(info: SymbolInfo, moment: Moment, badge: Badge, step: int) -> BookView:
    """Return the view of `moment`, grouped by `step` (in the units of `steps_for`)."""
    image = moment.image
    market = format_of(info, image)
    step_units = _at_scale(step, image.scale)
    ladder = build_ladder(image.bids, image.asks, image.scale, step_units, ROWS)
    most = max(_last_total(ladder.bids), _last_total(ladder.asks), 1)
    rows = _Rows(market, step_units, most)
    imbalance, imbalance_text = _imbalance(ladder)
    return BookView(
        symbol=info.symbol,
        base=info.base,
        quote=info.quote,
        step=step_text(step, MAX_EXPONENT),
        tick=step_text(market.tick, image.scale.price),
        price_places=market.price_places,
        size_places=market.quantity_places,
        asks=rows.of(ladder.asks)[::-1],
        bids=rows.of(ladder.bids),
        spread="" if ladder.spread is None else market.price(ladder.spread),
        spread_percent=_percent(ladder),
        mid="" if ladder.twice_mid is None else market.half_price(ladder.twice_mid),
        imbalance=imbalance,
        imbalance_text=imbalance_text,
        badge=badge,
        demo=moment.demo,
        last_update_id=image.last_update_id,
        chart=depth_paths(image, market),
    )


def format_of(info: SymbolInfo, image: BookImage) -> MarketFormat:
    """Return the format of a book's numbers."""
    return market_format(info, image.scale, image.bids, image.asks)


def steps_for(info: SymbolInfo, image: BookImage) -> list[int]:
    """Return the grouping steps on offer, in units of 10^-`MAX_EXPONENT`, from the finest on.

    A book may change its scale during a stream of the page, so a step is in the finest unit.
    """
    finer = 10 ** (MAX_EXPONENT - image.scale.price)
    return [finer * step for step in book_steps(format_of(info, image), image.bids, image.asks)]


def step_of(typed: str) -> int:
    """Return decimal text as a step, in the units of `steps_for`."""
    whole, fraction = split_decimal(typed)
    return int(whole + fraction.ljust(MAX_EXPONENT, "0"))


def _at_scale(step: int, scale: Scale) -> int:
    """Return a step in the price units of `scale`, at least one unit."""
    units: int = step // 10 ** (MAX_EXPONENT - scale.price)
    return max(1, units)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Formats rows in the market's format. `most` is the total that fills a whole bar."""

    market: MarketFormat
    step: int
    most: int

    def of(self, side: LadderSide) -> list[RowView]:
        """Return the rows from the spread outward, followed by empty ones up to `ROWS`."""
        columns = (side.prices.tolist(), side.quantities.tolist(), side.cumulative.tolist())
        rows = [
            RowView(
                self.market.price(price, self.step),
                self.market.quantity(size),
                self.market.quantity(total),
                total * _BAR_STEPS // self.most,
            )
            for price, size, total in zip(*columns, strict=True)
        ]
        return rows + [RowView()] * (ROWS - len(rows))


def _last_total(side: LadderSide) -> int:
    return int(side.cumulative[-1]) if len(side.cumulative) else 0


def _percent(ladder: Ladder) -> str:
    percent = ladder.spread_percent
    return "" if percent is None else percent_text(percent).removeprefix("+")


def _imbalance(ladder: Ladder) -> tuple[int | None, str]:
    bids, asks = _last_total(ladder.bids), _last_total(ladder.asks)
    if not bids + asks:
        return None, ""
    percent = 100 * bids // (bids + asks)
    return _BAR_STEPS * bids // (bids + asks), f"{percent} % bids"


@dataclass(frozen=True, slots=True)
class DepthPaths:
    """The filled outlines of the depth chart, and the labels of its axes.

    The outlines are SVG paths in a box of `_CHART_WIDTH` by `_CHART_HEIGHT`; `depth_chart.js` draws
    the same paths. Prices run from `low` to `high`, with the mid in the centre. `most` is the
    quantity at the top. A side without levels has no outline.
    """

    bids: str
    asks: str
    low: str
    high: str
    most: str


_EMPTY_CHART: Final = DepthPaths("", "", "", "", "")


def depth_paths(image: BookImage, market: MarketFormat) -> DepthPaths:
    """Return the chart of a book in the window's first range; it is empty without levels."""
    if not (len(image.bids.prices) or len(image.asks.prices)):
        return _EMPTY_CHART
    bids, asks = build_curve(image.bids, Side.BID), build_curve(image.asks, Side.ASK)
    mid = middle_of(image.bids, image.asks)
    half_span = natural_half_span(bids, asks, mid, market.tick)
    low, high = mid - half_span, mid + half_span
    top = max(size_in_view(curve, low, high) for curve in (bids, asks))
    canvas = Canvas(low, high, max(top, 1.0), _COLUMNS, _CHART_HEIGHT)
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
    return f"M{edges[0]} {_CHART_HEIGHT}{''.join(steps)}V{_CHART_HEIGHT}Z"


def _label(price: float, market: MarketFormat) -> str:
    """Return the text of the tick next to a price, at least 0."""
    return market.price(max(0, round(price / market.tick)) * market.tick)


def _rounded(quantity: int, market: MarketFormat) -> str:
    """Return a quantity for a label, with the lot size's places; from 1 on with two at most."""
    exponent = market.scale.quantity
    places = min(market.quantity_places, exponent)
    if quantity >= 10**exponent:
        places = min(places, 2)
    return exact_text(rounded_units(quantity, exponent - places), places)
