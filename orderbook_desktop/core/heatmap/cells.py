"""The cells of a heatmap: columns of time by rows of price, and what is known of each.

Known and unknown. A column knows the book in the time that is covered; the rest of it is a gap. Of
a book the prices within its horizon are known (`core.horizon`). Beyond, a price is unknown until a
diff names it, and then only that price is known. So a cell that reaches beyond the horizon is
*unknown* if no price in it was named, and otherwise a *lower bound*. With a step of one tick a
lower bound is the true quantity.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.exact import (
    ExactArray,
    compact,
    halves,
    sums_of_groups,
    total,
)
from orderbook_desktop.core.heatmap.spans import BoolArray
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import INT64_MAX, Scale

NO_ID: Final = -1
"""The update id of a column without a book."""
NO_PRICE: Final = -1
"""The best price of a side without levels."""

_NO_DEPTH: Final = (INT64_MAX, -1)


def known_range(horizon: Horizon | None, exponent: int) -> tuple[int, int]:
    """Return the first known price and the last, in units of 10^-`exponent`.

    0 and `INT64_MAX` stand for sides without an end. If it is not known how deep a book is known,
    the first one is above the last one.
    """
    if horizon is None:
        return _NO_DEPTH
    ends = horizon.at(exponent)
    return (
        0 if ends.known_from is None else ends.known_from,
        INT64_MAX if ends.known_to is None else min(ends.known_to, INT64_MAX),
    )


class Columns(Struct, frozen=True, eq=False):
    """What is known of each column: int64 arrays of one length.

    - `starts_ms`: when the column begins; ms since the epoch, by the exchange's clock.
    - `covered_ms`: for how many of its ms the book is known.
    - `first_ids`, `last_ids`: the update ids of the first and the last book in it; `NO_ID` without.
    - `best_bids`, `best_asks`: the best prices of the last book; `NO_PRICE` for an empty side.
    - `known_from`, `known_to`: the prices within which every book in it is known (`known_range`).

    Prices are units of the heatmap's scale. A column may have a book although it has no covered
    time: where a run ends with an event at the column's very beginning.
    """

    starts_ms: Int64Array
    covered_ms: Int64Array
    first_ids: Int64Array
    last_ids: Int64Array
    best_bids: Int64Array
    best_asks: Int64Array
    known_from: Int64Array
    known_to: Int64Array

    def __len__(self) -> int:
        return len(self.starts_ms)

    def at(self, chosen: slice | Int64Array) -> Columns:
        """Return some of the columns."""
        return Columns(*(getattr(self, name)[chosen] for name in self.__struct_fields__))

    @property
    def has_book(self) -> BoolArray:
        """Whether there is a book in the column at any time."""
        has_book: BoolArray = self.last_ids != NO_ID
        return has_book

    def last_with_book(self, begins: Int64Array) -> Int64Array:
        """Return for each group of neighbours its last column with a book, or any one without."""
        numbers = np.where(self.has_book, np.arange(len(self)), -1)
        last = np.maximum.reduceat(numbers, begins)
        return np.where(last < 0, begins, last)

    def grouped(self, begins: Int64Array) -> Columns:
        """Return groups of neighbours as columns; group i begins at `begins[i]`."""
        count = len(self)
        numbers = np.where(self.has_book, np.arange(count), count)
        first, last = np.minimum.reduceat(numbers, begins), self.last_with_book(begins)
        first = np.where(first == count, begins, first)
        return Columns(
            self.starts_ms[begins],
            np.add.reduceat(self.covered_ms, begins),
            self.first_ids[first],
            self.last_ids[last],
            self.best_bids[last],
            self.best_asks[last],
            np.maximum.reduceat(self.known_from, begins),
            np.minimum.reduceat(self.known_to, begins),
        )


class Heatmap(Struct, frozen=True, eq=False):
    """The quantities of `market` by time and price: `values[column, row]`, exact whole numbers.

    - `values`: units of 10^-`scale.quantity`, for `Statistic.INTEGRAL` times ms. The array is of
      int64; where its numbers do not fit there, of Python's integers (dtype object). numpy's sum of
      int64 may wrap: `total()` does not, and sums of `high` and `low` do not where values are of
      int64.
    - `prices`: the lowest price of each row, ascending, in units of 10^-`scale.price`. A row is
      `step` high, and begins at a multiple of it.
    - `columns`: what is known of each column; a column is `bin_ms` wide, the last one at most.
    - `named`: of each cell, whether one of its prices had a level, or a change, by then.

    Without a range of prices, rows are those steps in which there was anything at any time.
    """

    market: str
    statistic: Statistic
    scale: Scale
    step: int
    tick: int
    bin_ms: int
    to_ms: int
    prices: Int64Array
    columns: Columns
    values: ExactArray
    named: BoolArray

    @property
    def times_ms(self) -> Int64Array:
        """When each column begins; ms since the epoch."""
        return self.columns.starts_ms

    @property
    def covered_ms(self) -> Int64Array:
        """For how many ms of each column the book is known."""
        return self.columns.covered_ms

    @property
    def gap(self) -> BoolArray:
        """Of each column, whether the book is not known for a millisecond of it."""
        has_no_time: BoolArray = self.columns.covered_ms == 0
        return has_no_time

    @property
    def beyond(self) -> BoolArray:
        """Of each cell, whether it reaches beyond the prices within which the book is known."""
        ends = self.prices + (self.step - self.tick)
        known = self.prices >= self.columns.known_from[:, None]
        return ~(known & (ends <= self.columns.known_to[:, None]))

    @property
    def unknown(self) -> BoolArray:
        """Of each cell, whether nothing is known of it, though its column is covered; else 0 is 0.

        Cells of a gap are not among them.
        """
        return self.beyond & ~self.named & ~self.gap[:, None]

    @property
    def lower_bound(self) -> BoolArray:
        """Of each cell, whether only some of its prices are known, those that were named."""
        return self.beyond & self.named & ~self.gap[:, None]

    @property
    def high(self) -> Int64Array:
        """The values divided by 2^32: `high * 2**32 + low` is the value."""
        return halves(self.values)[0]

    @property
    def low(self) -> Int64Array:
        """What is left of each value, below 2^32; billions of these can be summed in int64."""
        return halves(self.values)[1]

    def total(self) -> int:
        """Return the exact sum of all values."""
        return total(self.values)

    def at(self, chosen: slice | Int64Array, to_ms: int) -> Heatmap:
        """Return some of the columns; the last one ends at `to_ms`."""
        return replace(
            self,
            columns=self.columns.at(chosen),
            values=self.values[chosen],
            named=self.named[chosen],
            to_ms=to_ms,
        )

    def in_time(self, count: int) -> Heatmap:
        """Return the heatmap with columns of `count` times the width, bit for bit."""
        if count < 1:
            raise ValueError("a column is made of at least one")
        return self.in_groups(np.arange(0, len(self.columns), count), self.bin_ms * count)

    def in_groups(self, begins: Int64Array, bin_ms: int) -> Heatmap:
        """Return groups of neighbours as columns of `bin_ms`; group i begins at `begins[i]`."""
        columns = self.columns.grouped(begins)
        if self.statistic is Statistic.INTEGRAL:
            values = sums_of_groups(self.values, begins, axis=0)
        elif self.statistic is Statistic.MAX:
            values = np.maximum.reduceat(self.values, begins, axis=0)
        else:
            values = self.values[self.columns.last_with_book(begins)]
        named = np.logical_or.reduceat(self.named, begins, axis=0)
        return replace(self, bin_ms=bin_ms, columns=columns, values=compact(values), named=named)

    def in_price(self, count: int) -> Heatmap:
        """Return the heatmap with rows of `count` times the height, bit for bit.

        Raises `ValueError` for `Statistic.MAX`: levels of neighbouring rows have their largest
        quantities at different times, so the sum of these is too large.
        """
        if count < 1:
            raise ValueError("a row is made of at least one")
        if self.statistic is Statistic.MAX:
            raise ValueError("maxima of narrow steps do not make the maximum of a wide one")
        step = self.step * count
        prices, begins = np.unique(self.prices // step, return_index=True)
        if not len(begins):
            return replace(self, step=step)
        return replace(
            self,
            step=step,
            prices=prices * step,
            values=compact(sums_of_groups(self.values, begins, axis=1)),
            named=np.logical_or.reduceat(self.named, begins, axis=1),
        )
