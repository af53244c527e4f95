"""The arrays of a heatmap that is being built: rows, cells and what is known of columns.

A builder meets rows in any order. Each gets a *slot*, its place in the arrays, when it is met.
"""

from __future__ import annotations

import numpy as np

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.bins import SpanColumns, TimeBins, best_prices
from orderbook_desktop.core.heatmap.cells import NO_ID, NO_PRICE, Columns, known_range
from orderbook_desktop.core.heatmap.exact import ROOM, ExactArray, as_integers, largest, product
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.levels import EMPTY, Int64Array
from orderbook_desktop.core.units import INT64_MAX


class WidePrices(KnownError):
    """Prices, or a price step, do not fit 64-bit numbers in one unit."""

    def __str__(self) -> str:
        return (
            "No 64-bit numbers hold these prices and this price step in one unit; choose a price "
            "step with fewer decimals."
        )


def finer_prices(prices: Int64Array, factor: int) -> Int64Array:
    """Return `prices` in a unit that is finer by `factor`. Raises `WidePrices`."""
    if int(prices.max(initial=0)) * factor > INT64_MAX:
        raise WidePrices
    return prices * np.int64(factor)


class RowSlots:
    """Which slot of the arrays each row has. Rows of a range have theirs from the beginning."""

    def __init__(self, fixed: tuple[int, int] | None) -> None:
        self._fixed = fixed
        self._numbers, self._slots = EMPTY, EMPTY
        if fixed is not None:
            self._numbers, self._slots = fixed[0] + np.arange(fixed[1]), np.arange(fixed[1])

    def __len__(self) -> int:
        return len(self._numbers)

    def slots(self, rows: Int64Array) -> Int64Array:
        """Return the slots of `rows`, ascending and unique; new ones get the next slots."""
        if self._fixed is not None:
            return rows - self._fixed[0]
        at = self._numbers.searchsorted(rows)
        known = np.append(self._numbers, -1)[at] == rows
        if not known.all():
            new = rows[~known]
            numbers = np.concatenate((self._numbers, new))
            slots = np.concatenate((self._slots, len(self._slots) + np.arange(len(new))))
            order = numbers.argsort(kind="stable")
            self._numbers, self._slots = numbers[order], slots[order]
            at = self._numbers.searchsorted(rows)
        return self._slots[at]

    def in_order(self) -> tuple[Int64Array, Int64Array]:
        """Return the slots in the order of rows, and the number of each row."""
        return self._slots, self._numbers


class CellArray:
    """The cells of one statistic, `array[slot, column]`."""

    def __init__(self, columns: int, rows: RowSlots) -> None:
        self.array: ExactArray = np.zeros((len(rows), columns), dtype=np.int64)

    def set(self, part: slice | Int64Array, slots: Int64Array, values: ExactArray) -> None:
        """Replace what the columns have."""
        self._make_room(values, 0.0)
        self.array[:, part] = 0
        self.array[slots if isinstance(part, slice) else slots[:, None], part] = values

    def raise_to(self, part: slice, slots: Int64Array, values: ExactArray) -> None:
        """Raise cells to `values` where these are larger."""
        self._make_room(values, 0.0)
        self.array[slots, part] = np.maximum(self.array[slots, part], values)

    def add(self, part: slice, slots: Int64Array, values: ExactArray) -> None:
        """Add `values` to cells."""
        self._make_room(values, largest(self.array[slots, part]) + largest(values))
        self.array[slots, part] += values

    def multiply(self, factor: int) -> None:
        """Multiply all cells."""
        self.array = product(self.array, factor)

    def _make_room(self, values: ExactArray, bound: float) -> None:
        if self.array.dtype != object and (values.dtype == object or bound >= ROOM):
            self.array = as_integers(self.array)


class ColumnArrays:
    """What is known of each column, while it is being built; prices are in the builder's unit."""

    def __init__(self, bins: TimeBins) -> None:
        count = len(bins)
        self._starts_ms = bins.starts
        self._covered_ms = np.zeros(count, dtype=np.int64)
        self._first_ids, self._last_ids = np.full(count, NO_ID), np.full(count, NO_ID)
        self._best = np.full(count, NO_PRICE), np.full(count, NO_PRICE)
        self._known_from, self._known_to = (
            np.zeros(count, dtype=np.int64),
            np.full(count, INT64_MAX),
        )

    def take(self, span: LevelSpan, columns: SpanColumns, exponent: int) -> None:
        """Add what `span` says of its columns; prices become units of 10^-`exponent`."""
        part = slice(columns.first, columns.first + len(columns))
        self._covered_ms[part] += columns.widths
        first_ids, last_ids = columns.ids(span)
        is_new = self._first_ids[part] == NO_ID
        self._first_ids[part][is_new] = first_ids[is_new]
        self._last_ids[part] = last_ids
        factor = 10 ** (exponent - span.scale.price)
        for known, best in zip(self._best, best_prices(span, columns), strict=True):
            known[part] = np.where(best == NO_PRICE, NO_PRICE, finer_prices(best, factor))
        known_from, known_to = known_range(span.horizon, exponent)
        self._known_from[part] = np.maximum(self._known_from[part], known_from)
        self._known_to[part] = np.minimum(self._known_to[part], known_to)

    def merge(self, made: Columns, theirs: slice, ours: slice, factor: int) -> None:
        """Add the columns `theirs` of `made` to `ours`; its prices times `factor` are ours."""
        self._covered_ms[ours] += made.covered_ms[theirs]
        has_book = made.has_book[theirs]
        is_new = has_book & (self._first_ids[ours] == NO_ID)
        self._first_ids[ours][is_new] = made.first_ids[theirs][is_new]
        self._last_ids[ours][has_book] = made.last_ids[theirs][has_book]
        for known, best in zip(self._best, (made.best_bids, made.best_asks), strict=True):
            prices = best[theirs]
            prices = np.where(prices == NO_PRICE, NO_PRICE, finer_prices(prices, factor))
            known[ours][has_book] = prices[has_book]
        lows, highs = made.known_from[theirs].copy(), made.known_to[theirs].copy()
        for ends in (lows, highs) if factor > 1 else ():
            is_price = (ends >= 0) & (ends < INT64_MAX)
            ends[is_price] = finer_prices(ends[is_price], factor)
        self._known_from[ours] = np.maximum(self._known_from[ours], lows)
        self._known_to[ours] = np.minimum(self._known_to[ours], highs)

    def rescale(self, factor: int) -> None:
        """Go over to a unit of price that is finer by `factor`."""
        for prices in (*self._best, self._known_from, self._known_to):
            is_price = (prices >= 0) & (prices < INT64_MAX)
            prices[is_price] = finer_prices(prices[is_price], factor)

    def made(self) -> Columns:
        """Return the columns as they are now."""
        return Columns(
            self._starts_ms,
            self._covered_ms.copy(),
            self._first_ids.copy(),
            self._last_ids.copy(),
            self._best[0].copy(),
            self._best[1].copy(),
            self._known_from.copy(),
            self._known_to.copy(),
        )


def grown(array: ExactArray, count: int) -> ExactArray:
    """Return `array` with `count` rows; the new ones are 0."""
    larger = np.zeros((count, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
