"""The depth ladder: levels grouped by a price step, with sums from the spread outward."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.known_depth import part_side
from orderbook_desktop.core.levels import EMPTY, Int64Array, Levels
from orderbook_desktop.core.units import INT64_MAX, Scale

# The rows a side whose sizes are typical of a ladder, and the row whose total is.
TYPICAL_ROWS: Final = 100
_TOTAL_ROWS: Final = 25
# By default a row spans at most this part of the price.
_COARSEST_SHARE: Final = 5_000
# A sum whose double is below this is below 2^63 beyond doubt.
_SURELY_INT64: Final = float(INT64_MAX) / 2

Sums = Int64Array | npt.NDArray[Any]
"""Exact results: int64, or Python integers (dtype object) where int64 would overflow."""


class Side(Enum):
    """A side of the book."""

    BID = "bid"
    ASK = "ask"

    # Enum's own hash runs in Python, and each frame of a ladder hashes hundreds of sides.
    __hash__ = object.__hash__


class LadderSide(Struct, frozen=True):
    """One side of the ladder, best price first: n rows.

    `prices` are row prices, `quantities` what rests there, `cumulative` the sum from the
    spread to the row, all in units.

    The first `known` rows are known whole (`core.known_depth`). `edge` is the last known price;
    None: the side has no end, or it is not known how deep. The rows from number `single` on are
    single levels beyond the edge, with their own prices; no sum contains them.
    """

    prices: Sums
    quantities: Sums
    cumulative: Sums
    known: int
    single: int
    edge: int | None

    def price_step(self, index: int, step: int) -> int:
        """Return the step of the row's price: `step` for a group, 0 for a single level."""
        return step if index < self.single else 0

    def is_least_size(self, index: int) -> bool:
        """Return whether the quantity of the row is only a lower bound."""
        return self.known <= index < self.single

    def is_least_total(self, index: int) -> bool:
        """Return whether the sum from the spread to the row is only a lower bound."""
        return index >= self.known


class Ladder(Struct, frozen=True):
    """Both sides, and the spread between them, which is None while a side is empty.

    `spread` is best ask minus best bid of the ungrouped book, in price units.
    `twice_mid` is their sum, so that the mid needs no rounding.
    """

    scale: Scale
    bids: LadderSide
    asks: LadderSide
    spread: int | None
    twice_mid: int | None

    def side(self, side: Side) -> LadderSide:
        """Return the rows of one side."""
        return self.bids if side is Side.BID else self.asks

    @property
    def best(self) -> dict[Side, int]:
        """The best prices of the ungrouped book, where both sides have levels.

        Where only one has, it is the price of that side's first row.
        """
        if self.spread is not None and self.twice_mid is not None:
            return {
                Side.BID: (self.twice_mid - self.spread) // 2,
                Side.ASK: (self.twice_mid + self.spread) // 2,
            }
        sides = ((side, self.side(side).prices) for side in Side)
        return {side: int(prices[0]) for side, prices in sides if len(prices)}

    @property
    def spread_percent(self) -> float | None:
        """The spread relative to the mid price, in percent, for display."""
        if self.spread is None or not self.twice_mid:
            return None
        return 200.0 * self.spread / self.twice_mid

    def unknown_side(self, price: int) -> Side | None:
        """Return the side beyond whose known levels `price` is; None if it is known.

        What a price holds between the best prices is known.
        """
        asks, bids = self.asks, self.bids
        if len(asks.prices) and price >= int(asks.prices[0]):
            unknown = not asks.known if asks.edge is None else price > asks.edge
            return Side.ASK if unknown else None
        if len(bids.prices) and price <= int(bids.prices[0]):
            unknown = not bids.known if bids.edge is None else price < bids.edge
            return Side.BID if unknown else None
        return None

    @property
    def typical_price(self) -> int:
        """The mid, rounded down, or the best price of the only side."""
        best = [int(side.prices[0]) for side in (self.bids, self.asks) if len(side.prices)]
        return sum(best) // len(best) if best else 0

    @property
    def typical_size(self) -> int:
        """The median size of the rows near the spread; the lesser of two in the middle."""
        sizes = sorted(near_sizes(self, TYPICAL_ROWS))
        return sizes[(len(sizes) - 1) // 2] if sizes else 0

    @property
    def typical_total(self) -> int:
        """The total of the 25 best rows of the side where it is greater."""
        sides = (side.cumulative[:_TOTAL_ROWS] for side in (self.bids, self.asks))
        return max((int(totals[-1]) for totals in sides if len(totals)), default=0)


def near_sizes(ladder: Ladder, rows: int) -> list[int]:
    """Return the sizes of the best `rows` rows of each side."""
    bids, asks = ladder.bids.quantities[:rows], ladder.asks.quantities[:rows]
    sizes: list[int] = bids.tolist() + asks.tolist()
    return sizes


def rows_between(levels: LadderSide, side: Side, low: int, high: int | None) -> range:
    """Return the indices of the rows of a side with prices from `low` to `high` (None: any)."""
    prices, count = levels.prices, len(levels.prices)
    upward = prices if side is Side.ASK else prices[::-1]
    first = _count_below(upward, low)
    last = count if high is None else _count_below(upward, high + 1)
    last = max(first, last)
    return range(first, last) if side is Side.ASK else range(count - last, count - first)


def _count_below(ascending: Sums, price: int) -> int:
    if price > INT64_MAX and ascending.dtype != object:
        return len(ascending)
    return int(ascending.searchsorted(price))


def group_levels(levels: tuple[Int64Array, Sums], step: int, side: Side) -> tuple[Sums, Sums]:
    """Return prices and exact quantity sums of `levels` in groups of `step` price units.

    Groups are absolute: their prices are multiples of `step`. Bids are rounded down and
    asks up, so that a group never looks better than its levels. Best price first.
    """
    prices, quantities = levels
    if step < 1:
        raise ValueError(f"a grouping step is at least one unit, not {step}")
    if step == 1 or not len(prices):
        return prices, quantities
    groups: Sums = prices // step if side is Side.BID else -(-prices // step)
    first = np.empty(len(groups), dtype=np.bool_)
    first[0] = True
    np.not_equal(groups[1:], groups[:-1], out=first[1:])
    starts = first.nonzero()[0]
    groups = groups[starts]
    if int(groups[-1]) * step > INT64_MAX:
        # Rounded up, the dearest asks can leave int64.
        groups = groups.astype(object)
    return groups * step, np.add.reduceat(_summable(quantities), starts)


def cumulate(quantities: Sums) -> Sums:
    """Return exact running sums, from the first (best) row outward."""
    sums: Sums = np.cumsum(_summable(quantities))
    return sums


def build_side(
    levels: Levels,
    step: int,
    side: Side,
    horizon: Horizon | None,
    rows: int | None = None,
    *,
    singles: bool = True,
) -> LadderSide:
    """Group one side and cumulate it; `rows` limits the result to the best ones.

    The group that the edge of `horizon` is in also has the levels beyond the edge; its total ends
    at the edge. Without `singles` the levels beyond are in groups, too: each is a lower bound.
    """
    if step == 1:
        levels = Levels(levels.prices[:rows], levels.quantities[:rows])
    parted = part_side(levels, horizon, is_ask=side is Side.ASK)
    if parted.edge is not None:
        inside, beyond = levels, Levels(EMPTY, EMPTY)
        if singles:
            inside, beyond = _parted_by_group(levels, parted.edge, step, side)
        return _edged_side(inside, beyond, parted.whole, parted.edge, step, side, rows)
    prices, quantities = group_levels(levels, step, side)
    prices, quantities = prices[:rows], quantities[:rows]
    known = len(prices) if parted.is_proven else 0
    # A group of a side that may have more levels is a lower bound; a level is not.
    single = len(prices) if parted.is_proven or step > 1 else 0
    return LadderSide(prices, quantities, cumulate(quantities), known, single, None)


def _parted_by_group(levels: Levels, edge: int, step: int, side: Side) -> tuple[Levels, Levels]:
    """Return the levels through the group that `edge` is in, and those beyond it."""
    is_ask = side is Side.ASK
    last = min(-(-edge // step) * step, INT64_MAX) if is_ask else edge // step * step
    end = Horizon(known_to=last) if is_ask else Horizon(known_from=last)
    parted = part_side(levels, end, is_ask=is_ask)
    return parted.whole, parted.beyond


def _edged_side(
    inside: Levels,
    beyond: Levels,
    whole: Levels,
    edge: int,
    step: int,
    side: Side,
    rows: int | None,
) -> LadderSide:
    """Return groups of the levels `inside`, and single rows of those `beyond`.

    `whole` are the known levels, through `edge`; no total has others.
    """
    is_ask = side is Side.ASK
    prices, quantities = group_levels(inside, step, side)
    known = int(np.count_nonzero(prices <= edge if is_ask else prices >= edge))
    single = len(prices)
    known_sums = cumulate(quantities[:known])
    edge_sums = _repeated(whole.quantities, single - known + len(beyond.prices))
    prices = np.concatenate((prices, beyond.prices))[:rows]
    return LadderSide(
        prices,
        np.concatenate((quantities, beyond.quantities))[:rows],
        np.concatenate((known_sums, edge_sums))[:rows],
        min(known, len(prices)),
        min(single, len(prices)),
        edge,
    )


def _repeated(quantities: Sums, count: int) -> Sums:
    """Return the sum of `quantities`, `count` times."""
    if not count:
        return quantities[:0]
    return np.repeat(cumulate(np.append(0, quantities))[-1:], count)


def cost_side(
    levels: Levels,
    step: int,
    side: Side,
    horizon: Horizon | None,
    rows: int,
    *,
    singles: bool = True,
) -> LadderSide:
    """Return the best `rows` rows as `build_side` does, with costs in place of quantities.

    A cost is the price of each level times its quantity. Levels of other rows take no time.
    """
    sized = build_side(levels, step, side, horizon, rows, singles=singles)
    if not len(sized.prices):
        return sized
    last = int(sized.prices[-1])
    if side is Side.BID:
        count = len(levels.prices) - int(levels.prices[::-1].searchsorted(last))
    else:
        count = int(levels.prices.searchsorted(min(last, INT64_MAX), side="right"))
    needed = Levels(levels.prices[:count], levels.quantities[:count])
    costs = Levels(needed.prices, _costs_of(needed))
    return build_side(costs, step, side, horizon, rows, singles=singles)


def _costs_of(levels: Levels) -> Sums:
    """Return price times quantity of each level, exact; there is a level."""
    prices, quantities = levels
    largest = int(quantities.max()) * int(max(prices[0], prices[-1]))
    if largest > INT64_MAX:
        prices = prices.astype(object)
    costs: Sums = prices * quantities
    return costs


def build_ladder(
    bids: Levels,
    asks: Levels,
    scale: Scale,
    step: int,
    horizon: Horizon | None,
    rows: int | None = None,
    *,
    singles: bool = True,
) -> Ladder:
    """Return the ladder of a book's sides, `step` in price units, at most `rows` a side.

    Without `singles` the levels beyond the edge are in groups, too. `horizon` has the book's
    scale; None: it is not known how deep the book is known.
    """
    spread = twice_mid = None
    if len(bids.prices) and len(asks.prices):
        best_bid, best_ask = int(bids.prices[0]), int(asks.prices[0])
        spread, twice_mid = best_ask - best_bid, best_ask + best_bid
    return Ladder(
        scale,
        build_side(bids, step, Side.BID, horizon, rows, singles=singles),
        build_side(asks, step, Side.ASK, horizon, rows, singles=singles),
        spread,
        twice_mid,
    )


def _summable(quantities: Sums) -> Sums:
    """Return `quantities` in a type whose sum over all of them is exact."""
    if quantities.dtype == object or not len(quantities):
        return quantities
    if int(quantities.max()) * len(quantities) <= INT64_MAX:
        return quantities
    if float(quantities.sum(dtype=np.float64)) < _SURELY_INT64:
        return quantities
    return quantities.astype(object)


def default_step(steps: Sequence[int], bids: Levels, asks: Levels) -> int:
    """Return the step of `steps`, finest first, that shows the book and not its dust.

    Half of the quantity near the spread rests in levels of at least some size. The step is the
    finest at which the median row has half of that size, as far as a row stays within a
    five-thousandth of the price. Where rows are coarser at every step, or the book has so few
    levels that all are in view, it is the finest.
    """
    if max(len(side.prices) for side in (bids, asks)) <= _TOTAL_ROWS:
        return steps[0]
    best = [int(side.prices[0]) for side in (bids, asks) if len(side.prices)]
    wanted = _weighty_size(bids, asks) // 2
    coarsest = max(best) // _COARSEST_SHARE
    chosen = steps[0]
    for step in steps:
        if step > coarsest:
            break
        chosen = step
        rows = [
            size
            for levels, side in ((bids, Side.BID), (asks, Side.ASK))
            for size in group_levels(levels, step, side)[1][:_TOTAL_ROWS].tolist()
        ]
        if sorted(rows)[(len(rows) - 1) // 2] >= wanted:
            break
    return chosen


def _weighty_size(bids: Levels, asks: Levels) -> int:
    """Return the size of the level, near the spread, that half of the quantity is above or at."""
    sizes: list[int] = sorted(
        size for side in (bids, asks) for size in side.quantities[:TYPICAL_ROWS].tolist()
    )
    half = sum(sizes) // 2
    return next(
        size for size, passed in zip(sizes, accumulate(sizes), strict=True) if passed >= half
    )
