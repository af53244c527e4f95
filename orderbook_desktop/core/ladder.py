"""The depth ladder: levels grouped by a price step, with sums from the spread outward."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.known_depth import part_side
from orderbook_desktop.core.levels import Int64Array, Levels
from orderbook_desktop.core.units import INT64_MAX, Scale

# A sum whose double is below this is below 2^63 beyond doubt.
_SURELY_INT64: Final = float(INT64_MAX) / 2

Sums = Int64Array | npt.NDArray[Any]
"""Exact results: int64, or Python integers (dtype object) where int64 would overflow."""


class Side(Enum):
    """A side of the book."""

    BID = "bid"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class LadderSide:
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

    def is_least_size(self, index: int) -> bool:
        """Return whether the quantity of the row is only a lower bound."""
        return self.known <= index < self.single

    def is_least_total(self, index: int) -> bool:
        """Return whether the sum from the spread to the row is only a lower bound."""
        return index >= self.known


@dataclass(frozen=True, slots=True)
class Ladder:
    """Both sides, and the spread between them, which is None while a side is empty.

    `spread` is best ask minus best bid of the ungrouped book, in price units.
    `twice_mid` is their sum, so that the mid needs no rounding.
    """

    scale: Scale
    bids: LadderSide
    asks: LadderSide
    spread: int | None
    twice_mid: int | None

    @property
    def spread_percent(self) -> float | None:
        """The spread relative to the mid price, in percent, for display."""
        if self.spread is None or not self.twice_mid:
            return None
        return 200.0 * self.spread / self.twice_mid


def group_levels(levels: Levels, step: int, side: Side) -> tuple[Sums, Sums]:
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
    levels: Levels, step: int, side: Side, horizon: Horizon | None, rows: int | None = None
) -> LadderSide:
    """Group one side and cumulate it; `rows` limits the result to the best ones.

    The group that the edge of `horizon` is in also has the levels beyond the edge; its total ends
    at the edge.
    """
    if step == 1:
        levels = Levels(levels.prices[:rows], levels.quantities[:rows])
    is_ask = side is Side.ASK
    parted = part_side(levels, horizon, is_ask=is_ask)
    if parted.edge is None:
        prices, quantities = group_levels(levels, step, side)
        prices, quantities = prices[:rows], quantities[:rows]
        known = len(prices) if parted.is_proven else 0
        # A group of a side that may have more levels is a lower bound; a level is not.
        single = len(prices) if parted.is_proven or step > 1 else 0
        return LadderSide(prices, quantities, cumulate(quantities), known, single, None)
    edge = parted.edge
    last = -(-edge // step) * step if is_ask else edge // step * step
    inside = part_side(levels, _through(min(last, INT64_MAX), is_ask=is_ask), is_ask=is_ask)
    prices, quantities = group_levels(inside.whole, step, side)
    known = int(np.count_nonzero(prices <= edge if is_ask else prices >= edge))
    single, beyond = len(prices), inside.beyond
    known_sums = cumulate(quantities[:known])
    edge_sums = _repeated(parted.whole.quantities, single - known + len(beyond.prices))
    prices = np.concatenate((prices, beyond.prices))[:rows]
    return LadderSide(
        prices,
        np.concatenate((quantities, beyond.quantities))[:rows],
        np.concatenate((known_sums, edge_sums))[:rows],
        min(known, len(prices)),
        min(single, len(prices)),
        edge,
    )


def _through(price: int, *, is_ask: bool) -> Horizon:
    return Horizon(known_to=price) if is_ask else Horizon(known_from=price)


def _repeated(quantities: Sums, count: int) -> Sums:
    """Return the sum of `quantities`, `count` times."""
    if not count:
        return quantities[:0]
    return np.repeat(cumulate(np.append(0, quantities))[-1:], count)


def build_ladder(
    bids: Levels,
    asks: Levels,
    scale: Scale,
    step: int,
    horizon: Horizon | None,
    rows: int | None = None,
) -> Ladder:
    """Return the ladder of a book's sides, `step` in price units, at most `rows` a side.

    `horizon` has the book's scale; None: it is not known how deep the book is known.
    """
    spread = twice_mid = None
    if len(bids.prices) and len(asks.prices):
        best_bid, best_ask = int(bids.prices[0]), int(asks.prices[0])
        spread, twice_mid = best_ask - best_bid, best_ask + best_bid
    return Ladder(
        scale,
        build_side(bids, step, Side.BID, horizon, rows),
        build_side(asks, step, Side.ASK, horizon, rows),
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
