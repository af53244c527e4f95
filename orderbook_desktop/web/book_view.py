"""What the templates show of a book: text that is ready, and shares for the bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.decimal_text import percent_text, with_thousands
from orderbook_desktop.core.ladder import Ladder, LadderSide, build_ladder
from orderbook_desktop.core.status import Badge
from orderbook_desktop.core.symbols import SymbolInfo, grouping_steps
from orderbook_desktop.core.units import DEFAULT_EXPONENT, Scale, format_units, places_of
from orderbook_desktop.web.channel import Moment
from orderbook_desktop.web.depth_path import DepthPaths, depth_paths

ROWS: Final = 25
# The style sheet has a class for each width of a bar: no inline style is allowed.
_BAR_STEPS: Final = 50


@dataclass(frozen=True, slots=True)
class RowView:
    """One row of the ladder; `bar` is its cumulative share, 0 to 50. Empty text: no level."""

    price: str = ""
    size: str = ""
    total: str = ""
    bar: int = 0


@dataclass(frozen=True, slots=True)
class BookView:
    """A book as the fragment `book.html` shows it.

    `asks` has the dearest row first, `bids` the dearest too: they are in reading order.
    `imbalance` is the bids' part of what rests in the rows, 0 to 50; None where nothing does.
    `step` is the grouping in the text of a decimal; the `…_places` are for `page.js`.
    """

    symbol: str
    base: str
    quote: str
    step: str
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
    """Return the view of a moment, grouped by `step` (in units of 10^-8); `badge` as of now."""
    image = moment.image
    scale = image.scale
    step_units = _at_scale(step, scale)
    tick = _at_scale(info.tick_size, scale) if info.tick_size else step_units
    ladder = build_ladder(image.bids, image.asks, scale, step_units, ROWS)
    price_places = places_of(min(step_units, tick), scale.price)
    size_places = places_of(info.step_size) if info.step_size else _places_in(image)
    most = max(_last_total(ladder.bids), _last_total(ladder.asks), 1)
    text = _Text(scale, price_places, size_places, most)
    imbalance, imbalance_text = _imbalance(ladder)
    return BookView(
        symbol=info.symbol,
        base=info.base,
        quote=info.quote,
        step=step_text(step),
        price_places=price_places,
        size_places=size_places,
        asks=text.rows(ladder.asks)[::-1],
        bids=text.rows(ladder.bids),
        spread="" if ladder.spread is None else text.price(ladder.spread),
        spread_percent=_percent(ladder),
        mid=_mid(ladder, price_places),
        imbalance=imbalance,
        imbalance_text=imbalance_text,
        badge=badge,
        demo=moment.demo,
        last_update_id=image.last_update_id,
        chart=depth_paths(image, tick, size_places),
    )


def steps_for(info: SymbolInfo, image: BookImage) -> list[int]:
    """Return the grouping steps on offer, in units of 10^-8, the finest first."""
    price = 0
    for levels in (image.bids, image.asks):
        if len(levels.prices):
            price = int(levels.prices[0]) * 10**DEFAULT_EXPONENT // 10**image.scale.price
    return grouping_steps(info.tick_size, price)


def step_text(step: int) -> str:
    """Return a grouping step (units of 10^-8) as a plain decimal."""
    return format_units(step, DEFAULT_EXPONENT, 0)


def _places_in(image: BookImage) -> int:
    """Return how many places the sizes of a symbol need whose lot is not known yet."""
    sizes = np.concatenate((image.bids.quantities, image.asks.quantities))
    return places_of(int(np.gcd.reduce(sizes)), image.scale.quantity)


def _at_scale(units: int, scale: Scale) -> int:
    """Return a price in units of 10^-8 in the book's own, at least one of them."""
    price: int = units * 10**scale.price // 10**DEFAULT_EXPONENT
    return max(1, price)


@dataclass(frozen=True, slots=True)
class _Text:
    """Writes rows: exponents, places, and the total that fills a whole bar."""

    scale: Scale
    price_places: int
    size_places: int
    most: int

    def rows(self, side: LadderSide) -> list[RowView]:
        """Return the rows from the spread outward, filled up with empty ones."""
        columns = (side.prices.tolist(), side.quantities.tolist(), side.cumulative.tolist())
        rows = [
            RowView(
                self.price(price),
                self._size(size),
                self._size(total),
                total * _BAR_STEPS // self.most,
            )
            for price, size, total in zip(*columns, strict=True)
        ]
        return rows + [RowView()] * (ROWS - len(rows))

    def price(self, units: int) -> str:
        """Return a price, exact."""
        return with_thousands(format_units(units, self.scale.price, self.price_places))

    def _size(self, units: int) -> str:
        return with_thousands(format_units(units, self.scale.quantity, self.size_places))


def _last_total(side: LadderSide) -> int:
    return int(side.cumulative[-1]) if len(side.cumulative) else 0


def _percent(ladder: Ladder) -> str:
    percent = ladder.spread_percent
    return "" if percent is None else percent_text(percent).removeprefix("+")


def _mid(ladder: Ladder, places: int) -> str:
    if ladder.twice_mid is None:
        return ""
    # Half a unit needs one more place.
    return with_thousands(format_units(ladder.twice_mid * 5, ladder.scale.price + 1, places))


def _imbalance(ladder: Ladder) -> tuple[int | None, str]:
    bids, asks = _last_total(ladder.bids), _last_total(ladder.asks)
    if not bids + asks:
        return None, ""
    percent = 100 * bids // (bids + asks)
    return _BAR_STEPS * bids // (bids + asks), f"{percent} % bids"
