"""What was traded, by bin and price step: exact sums that a view draws as bubbles and profile."""

from __future__ import annotations

from typing import Final, Self

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps, row_numbers
from orderbook_desktop.core.heatmap.exact import (
    ROOM,
    ExactArray,
    as_integers,
    compact,
    largest,
    product,
)
from orderbook_desktop.core.heatmap.spans import BoolArray
from orderbook_desktop.core.levels import EMPTY, Int64Array
from orderbook_desktop.core.units import Scale


class TradedCells(Struct, frozen=True, eq=False):
    """What was traded in cells of `bin_ms` by `step`: arrays of one length, by time, then price.

    `times_ms` and `prices` are where a cell begins; `prices` and `step` are units of
    10^-`scale.price`. `bought` and `sold` are what takers bought and sold there, exact sums in
    units of 10^-`scale.quantity`, and `counts` how many aggregated trades these are.
    """

    scale: Scale
    bin_ms: int
    step: int
    times_ms: Int64Array
    prices: Int64Array
    bought: ExactArray
    sold: ExactArray
    counts: Int64Array

    def __len__(self) -> int:
        return len(self.times_ms)

    def within(self, from_ms: int, to_ms: int, low: int, high: int) -> TradedCells:
        """Return the cells that begin from `from_ms` to `to_ms`, and from `low` to `high`."""
        inside = (self.times_ms >= from_ms) & (self.times_ms < to_ms)
        inside &= (self.prices >= low) & (self.prices < high)
        return replace(self, **{name: getattr(self, name)[inside] for name in _ARRAYS})

    def joined(self, other: TradedCells) -> TradedCells:
        """Return these and the `other` cells, of the same grid; no trade is in both."""
        finest = max(self.scale.quantity, other.scale.quantity)
        parts = [one.at_exponent(finest) for one in (self, other)]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
        return replace(parts[0], **arrays)

    def at_exponent(self, exponent: int) -> TradedCells:
        """Return the cells with quantities in units of 10^-`exponent`, which is not coarser."""
        factor = 10 ** (exponent - self.scale.quantity)
        return replace(
            self,
            scale=Scale(self.scale.price, exponent),
            bought=product(self.bought, factor),
            sold=product(self.sold, factor),
        )

    def grouped(self, wide_ms: int, high: int) -> TradedCells:
        """Return the exact sums of groups, which begin at multiples of `wide_ms` and of `high`."""
        times, prices = self.times_ms // wide_ms, self.prices // high
        first = int(prices.min(initial=0))
        rows = int(prices.max(initial=0)) - first + 1
        sums = Sums.of(times * rows + (prices - first), self.bought, self.sold, self.counts)
        columns, places = np.divmod(sums.keys, rows)
        return replace(
            self,
            bin_ms=wide_ms,
            step=high,
            times_ms=columns * wide_ms,
            prices=(places + first) * high,
            bought=sums.bought,
            sold=sums.sold,
            counts=sums.counts,
        )

    def by_price(self, high: int) -> TradedCells:
        """Return the exact sums of rows of prices, of all times together."""
        return replace(self, times_ms=np.zeros_like(self.times_ms)).grouped(1, high)


_ARRAYS: Final = ("times_ms", "prices", "bought", "sold", "counts")


class Sums(Struct, frozen=True, eq=False):
    """Sums by key, with ascending keys."""

    keys: Int64Array
    bought: ExactArray
    sold: ExactArray
    counts: Int64Array

    @classmethod
    def of(cls, keys: Int64Array, bought: ExactArray, sold: ExactArray, counts: Int64Array) -> Self:
        """Return the sums of equal keys."""
        if not len(keys):
            return cls(keys, bought, sold, counts)
        order = keys.argsort(kind="stable")
        keys = keys[order]
        is_head = np.ones(len(keys), dtype=np.bool_)
        is_head[1:] = keys[1:] != keys[:-1]
        heads = is_head.nonzero()[0]
        return cls(
            keys[heads],
            _added(bought[order], heads),
            _added(sold[order], heads),
            np.add.reduceat(counts[order], heads),
        )


def _added(values: ExactArray, heads: Int64Array) -> ExactArray:
    if values.dtype != object and largest(values) * len(values) >= ROOM:
        values = as_integers(values)
    return compact(np.add.reduceat(values, heads))


class TradedBuilder:
    """Sums up trades within `bins` and the rows of `steps`, each trade once.

    Trades come in any order.
    """

    def __init__(self, bins: TimeBins, steps: PriceSteps) -> None:
        if steps.rows is None:
            raise ValueError("what was traded is summed up within a range of prices")
        self._bins, self._steps = bins, steps
        self._first_row, self._rows = steps.rows
        self._exponent = 0
        self._parts: list[Sums] = []

    def take(
        self,
        times_ms: Int64Array,
        prices: Int64Array,
        quantities: Int64Array,
        sold: BoolArray,
        scale: Scale,
    ) -> None:
        """Add trades, whose prices and quantities are in units of `scale`. Raises `WidePrices`."""
        bins = self._bins
        rows = row_numbers(prices, scale.price, self._steps) - self._first_row
        inside = (times_ms >= bins.from_ms) & (times_ms < bins.to_ms)
        inside &= (rows >= 0) & (rows < self._rows)
        if not inside.any():
            return
        keys = (times_ms[inside] - bins.from_ms) // bins.bin_ms * self._rows + rows[inside]
        sizes, of_sold = self._counted(quantities[inside], scale.quantity), sold[inside]
        bought = np.where(of_sold, 0, sizes)
        counts = np.ones(len(keys), dtype=np.int64)
        self._parts.append(Sums.of(keys, bought, sizes - bought, counts))

    def _counted(self, quantities: Int64Array, exponent: int) -> ExactArray:
        """Return quantities in the finest unit that any had; the others go over to it."""
        if exponent > self._exponent:
            factor = 10 ** (exponent - self._exponent)
            self._parts = [
                Sums(
                    part.keys,
                    product(part.bought, factor),
                    product(part.sold, factor),
                    part.counts,
                )
                for part in self._parts
            ]
            self._exponent = exponent
        return product(quantities, 10 ** (self._exponent - exponent))

    def cells(self) -> TradedCells:
        """Return what has been summed up until now."""
        parts = self._parts
        whole = Sums.of(
            *(
                np.concatenate([EMPTY, *(getattr(part, name) for part in parts)])
                for name in Sums.__struct_fields__
            )
        )
        self._parts = [whole]
        columns, rows = np.divmod(whole.keys, self._rows)
        return TradedCells(
            Scale(self._steps.exponent, self._exponent),
            self._bins.bin_ms,
            self._steps.step,
            self._bins.from_ms + columns * self._bins.bin_ms,
            (rows + self._first_row) * self._steps.step,
            whole.bought,
            whole.sold,
            whole.counts,
        )
