"""A book as the templates show it: formatted text, and widths of bars."""

from __future__ import annotations

import math
import re
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.depth_curve import (
    Canvas,
    DepthCurve,
    automatic_range,
    build_curve,
    middle_of,
    outline,
    size_in_view,
    spikes,
    unknown_from,
)
from orderbook_desktop.core.known_depth import AT_LEAST, sides_text
from orderbook_desktop.core.ladder import (
    TYPICAL_ROWS,
    Ladder,
    LadderSide,
    Side,
    build_ladder,
    cost_side,
    default_step,
)
from orderbook_desktop.core.ladder_memory import ColumnFormats, LadderMemory
from orderbook_desktop.core.number_format import (
    MarketFormat,
    book_steps,
    exact_text,
    market_format,
    percent_text,
    step_text,
)
from orderbook_desktop.core.recorded_gaps import gaps_text
from orderbook_desktop.core.status import Badge, FeedState
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.time_text import moment_text
from orderbook_desktop.core.units import MAX_EXPONENT, Scale, rounded_units, split_decimal
from orderbook_desktop.web.channel import Moment
from orderbook_desktop.web.trades import LastView, TradeRow, last_view, trade_rows

ROWS: Final = 25
# A size is marked from this many times the usual one on, as in the window by default.
_LARGE_TIMES: Final = 10
# The style sheet has a class for each width of a bar, since no inline style is allowed.
_BAR_STEPS: Final = 50

_CHART_WIDTH: Final = 1000
_CHART_HEIGHT: Final = 240
_COLUMNS: Final = 200
# The places of a cost below 1.
_COST_PLACES: Final = 8
_COLUMN: Final = _CHART_WIDTH // _COLUMNS
_GRID: Final = "M0 60H1000M0 120H1000M0 180H1000"


class RowView(Struct, frozen=True):
    """One row of the ladder. Empty texts: no level.

    `bar` is the width of its bar, 0 to 50. `exact_…` are the numbers with all their digits.
    `classes` are the style classes of its marks, each after a space: `skip` where price steps
    without a level lie between the row and the next row towards the spread, `large` for a size far
    above the usual one, `beyond` where the row is beyond what is known.
    """

    price: str = ""
    size: str = ""
    total: str = ""
    bar: int = 0
    exact_size: str = ""
    exact_total: str = ""
    classes: str = ""


class BookView(Struct, frozen=True):
    """A book as the fragment `book.html` shows it.

    `asks` and `bids` begin with the highest price, in reading order. `imbalance` is the bids'
    share of the quantity in the rows, 0 to 50; None if the rows are empty, or not known whole.
    `step` is the grouping step as decimal text. `asset` is the asset that sizes and totals are in,
    base or quote. `gaps` says how many gaps its recording has. `last` is the last price, and
    `trades` the newest trades, None where they are not followed. `replay` is the moment of a
    replay in local time, as that of the trades; empty while the book is live. `page.js` uses
    `step`, `tick` and the `…_places`.
    """

    symbol: str
    base: str
    quote: str
    step: str
    tick: str
    price_places: int
    size_places: int
    asset: str
    size_heading: str
    total_heading: str
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
    gaps: str
    last: LastView
    trades: list[TradeRow] | None
    replay: str = ""

    @property
    def state_class(self) -> str:
        """The state as the name of a style class."""
        return state_class(self.badge.state)


def state_class(state: FeedState) -> str:
    """Return a state as the name of a style class."""
    return re.sub("[^a-z]+", "-", state.value)


def view_of(
    info: SymbolInfo,
    moment: Moment,
    badge: Badge,
    step: int,
    memory: LadderMemory | None = None,
    *,
    in_quote: bool = False,
) -> BookView:
    """Return the view of `moment`, grouped by `step` (in the units of `steps_for`).

    `memory` is that of the earlier views of the same book, step and asset.
    """
    image, market = moment.shown, format_of(info, moment.shown)
    rows = _rows_of(image, market, step, memory or LadderMemory(), in_quote=in_quote)
    ladder, asset = rows.ladder, info.quote if in_quote else info.base
    imbalance, imbalance_text = _imbalance(ladder)
    return BookView(
        *(info.symbol, info.base, info.quote),
        *(step_text(step, MAX_EXPONENT), step_text(market.tick, image.scale.price)),
        *(market.price_places, market.quantity_places),
        asset=asset,
        size_heading=rows.formats.size.heading("Size", asset),
        total_heading=rows.formats.total.heading("Total", asset),
        asks=rows.of(Side.ASK)[::-1],
        bids=rows.of(Side.BID),
        spread="" if ladder.spread is None else market.price(ladder.spread),
        spread_percent=_percent(ladder),
        mid="" if ladder.twice_mid is None else market.half_price(ladder.twice_mid),
        imbalance=imbalance,
        imbalance_text=imbalance_text,
        badge=badge,
        demo=moment.demo,
        last_update_id=image.last_update_id,
        chart=depth_paths(image, market, in_quote=in_quote),
        gaps=gaps_text(moment.gaps),
        last=last_view(moment.tape, market),
        trades=trade_rows(moment.tape, info, market, in_quote=in_quote),
        replay="" if moment.replay is None else moment_text(moment.replay.at_ms),
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


def default_step_for(info: SymbolInfo, image: BookImage) -> int:
    """Return the grouping step of a page that names none, in the units of `steps_for`."""
    finer: int = 10 ** (MAX_EXPONENT - image.scale.price)
    steps = book_steps(format_of(info, image), image.bids, image.asks)
    return finer * default_step(steps, image.bids, image.asks)


def step_of(typed: str) -> int:
    """Return decimal text as a step, in the units of `steps_for`."""
    whole, fraction = split_decimal(typed)
    return int(whole + fraction.ljust(MAX_EXPONENT, "0"))


def _at_scale(step: int, scale: Scale) -> int:
    """Return a step in the price units of `scale`, at least one unit."""
    units: int = step // 10 ** (MAX_EXPONENT - scale.price)
    return max(1, units)


class _Rows(Struct, frozen=True):
    """Formats the rows of `ladder`, of the book `image` grouped by `step` price units.

    The numbers are written as `formats` say; bars and marks depend on `memory`.
    """

    image: BookImage
    market: MarketFormat
    step: int
    ladder: Ladder
    memory: LadderMemory
    formats: ColumnFormats
    in_quote: bool

    def of(self, side: Side) -> list[RowView]:
        """Return a side's rows from the spread outward, followed by empty ones up to `ROWS`."""
        image, sized = self.image, self.ladder.side(side)
        levels = image.bids if side is Side.BID else image.asks
        shown = sized
        if self.in_quote:
            shown = cost_side(levels, self.step, side, image.horizon, ROWS)
        prices = sized.prices[:ROWS].tolist()
        before = [*prices[:1], *prices]
        rows = [
            self._row(sized, shown, index, skips=abs(price - before[index]) > self.step)
            for index, price in enumerate(prices)
        ]
        return rows + [RowView()] * (ROWS - len(rows))

    def _row(self, side: LadderSide, shown: LadderSide, index: int, *, skips: bool) -> RowView:
        price, size = int(side.prices[index]), int(side.quantities[index])
        written, total = int(shown.quantities[index]), int(shown.cumulative[index])
        exact = self.market.cost if self.in_quote else self.market.quantity
        large = self.memory.large_from(_LARGE_TIMES)
        marks = {
            " skip": skips,
            " large": large is not None and size >= large,
            " beyond": side.is_least_total(index),
        }
        at_least = AT_LEAST if side.is_least_size(index) else ""
        total_at_least = AT_LEAST if side.is_least_total(index) else ""
        return RowView(
            self.market.price(price, side.price_step(index, self.step)),
            at_least + self.formats.size.text(written),
            total_at_least + self.formats.total.text(total),
            min(_BAR_STEPS, size * _BAR_STEPS // max(1, self.memory.scale)),
            at_least + exact(written),
            total_at_least + exact(total),
            "".join(mark for mark, is_on in marks.items() if is_on),
        )


def _rows_of(
    image: BookImage, market: MarketFormat, step: int, memory: LadderMemory, *, in_quote: bool
) -> _Rows:
    """Return the rows of a book, grouped by `step`; `memory` takes them in."""
    units = _at_scale(step, image.scale)
    ladder = build_ladder(image.bids, image.asks, image.scale, units, image.horizon, TYPICAL_ROWS)
    memory.take(ladder, image.event_ms)
    formats = memory.formats(ladder, market, in_quote=in_quote)
    return _Rows(image, market, units, ladder, memory, formats, in_quote)


def _last_total(side: LadderSide) -> int:
    """Return the total of the last row on the page."""
    totals = side.cumulative[:ROWS]
    return int(totals[-1]) if len(totals) else 0


def _percent(ladder: Ladder) -> str:
    percent = ladder.spread_percent
    return "" if percent is None else percent_text(percent).removeprefix("+")


def _imbalance(ladder: Ladder) -> tuple[int | None, str]:
    bids, asks = _last_total(ladder.bids), _last_total(ladder.asks)
    is_least = any(
        side.is_least_total(min(ROWS, len(side.prices)) - 1) for side in (ladder.bids, ladder.asks)
    )
    if is_least or not bids + asks:
        return None, ""
    percent = 100 * bids // (bids + asks)
    return _BAR_STEPS * bids // (bids + asks), f"{percent} % bids"


class DepthPaths(Struct, frozen=True):
    """The filled outlines of the depth chart, and the labels of its axes.

    The outlines are SVG paths in a box of `_CHART_WIDTH` by `_CHART_HEIGHT`; `depth_chart.js` draws
    the same paths. Prices run from `low` to `high`, and `middle` is between them. `most` is the
    quantity, or cost, at the top. A side without levels has no outline. `spikes` are the single
    levels beyond what is known, `unknown` is the area beyond it, `edges` are its edges, and `grid`
    are the lines behind all. `known` says how deep the sides are known.
    """

    bids: str = ""
    asks: str = ""
    bid_spikes: str = ""
    ask_spikes: str = ""
    unknown: str = ""
    edges: str = ""
    grid: str = _GRID
    low: str = ""
    middle: str = ""
    high: str = ""
    most: str = ""
    known: str = ""


_EMPTY_CHART: Final = DepthPaths()


def depth_paths(image: BookImage, market: MarketFormat, *, in_quote: bool = False) -> DepthPaths:
    """Return the chart of a book in the window's own range; it is empty without levels."""
    if not (len(image.bids.prices) or len(image.asks.prices)):
        return _EMPTY_CHART
    bids = build_curve(image.bids, Side.BID, image.horizon, in_quote=in_quote)
    asks = build_curve(image.asks, Side.ASK, image.horizon, in_quote=in_quote)
    mid = middle_of(image.bids, image.asks)
    low, high = automatic_range(bids, asks, mid, market.tick)
    top = max(size_in_view(curve, low, high) for curve in (bids, asks))
    canvas = Canvas(low, high, max(top, 1.0), _COLUMNS, _CHART_HEIGHT)
    edges = [curve.depth.edge for curve in (bids, asks)]
    at_edges = [_x(edge, canvas) for edge in edges if edge is not None and low <= edge <= high]
    return DepthPaths(
        bids=_path(bids, canvas),
        asks=_path(asks, canvas),
        bid_spikes=_spikes(bids, canvas),
        ask_spikes=_spikes(asks, canvas),
        unknown=_unknown(bids, asks, canvas) + _unknown(asks, bids, canvas),
        edges="".join(f"M{x} 0V{_CHART_HEIGHT}" for x in at_edges),
        grid=f"{_GRID}M{_x(mid, canvas)} 0V{_CHART_HEIGHT}",
        low=_label(low, market),
        middle=_label((low + high) / 2, market),
        high=_label(high, market),
        most=_most(bids, asks, canvas, market),
        known=_known(bids, asks, market),
    )


def _x(price: float, canvas: Canvas) -> int:
    """Return the x of a price in the box of the chart."""
    return round((price - canvas.low) / (canvas.high - canvas.low) * _CHART_WIDTH)


def _spikes(curve: DepthCurve, canvas: Canvas) -> str:
    """Return a line for each single level beyond the edge that is in view."""
    return "".join(
        f"M{x * _COLUMN + _COLUMN // 2} {_CHART_HEIGHT}V{top}" for x, top in spikes(curve, canvas)
    )


def _unknown(curve: DepthCurve, other: DepthCurve, canvas: Canvas) -> str:
    """Return the area beyond what is known of a side; empty where none is in view."""
    price = unknown_from(curve, other)
    if price is None:
        return ""
    x = min(max(_x(price, canvas), 0), _CHART_WIDTH)
    ends = (0, x) if curve.side is Side.BID else (x, _CHART_WIDTH)
    return "" if ends[0] == ends[1] else f"M{ends[0]} 0H{ends[1]}V{_CHART_HEIGHT}H{ends[0]}Z"


def _most(bids: DepthCurve, asks: DepthCurve, canvas: Canvas, market: MarketFormat) -> str:
    """Return the amount at the top of the chart: the larger sum through the ends of the range."""
    sums = bids.at(math.ceil(canvas.low)), asks.at(math.floor(canvas.high))
    largest = max(sums, key=bids.amount)
    amount = bids.amount(largest)
    if bids.in_quote:
        text = _rounded(amount, market.scale.notional, _COST_PLACES)
    else:
        text = _rounded(amount, market.scale.quantity, market.quantity_places)
    return (AT_LEAST if largest.is_least else "") + text


def _known(bids: DepthCurve, asks: DepthCurve, market: MarketFormat) -> str:
    """Return how deep both sides are known, in words."""
    return sides_text(bids.depth, asks.depth, market.price).capitalize()


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


def _rounded(amount: int, exponent: int, places: int) -> str:
    """Return an amount for a label, with `places` places at most; from 1 on with two at most."""
    places = min(places, exponent, 2 if amount >= 10**exponent else places)
    return exact_text(rounded_units(amount, exponent - places), places)
