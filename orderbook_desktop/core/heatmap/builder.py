"""Builds a heatmap from spans, one after the other, of archived minutes or of live events."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.arrays import (
    CellArray,
    ColumnArrays,
    RowSlots,
    WidePrices,
    finer_prices,
    grown,
)
from orderbook_desktop.core.heatmap.bins import (
    TimeBins,
    columns_of,
    entries_of,
    first_columns,
    integrals,
    last_sums,
    maxima,
)
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.exact import ExactArray, compact, kind_for, product
from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.core.heatmap.spans import BoolArray, LevelSpan
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import DEFAULT_EXPONENT, INT64_MAX, MAX_EXPONENT, Scale

__all__ = [
    "MOST_CELLS",
    "HeatmapBuilder",
    "Price",
    "PriceSteps",
    "TooManyCells",
    "WidePrices",
    "finer_prices",
    "row_numbers",
]

MOST_CELLS: Final = 50_000_000
"""More cells than these take too much memory: 400 MB for each statistic."""

Price = str | int | Decimal
"""An exact price as readers write it."""


class TooManyCells(KnownError):
    """A heatmap of `columns` columns would have more than `MOST_CELLS` cells."""

    columns: int

    def __str__(self) -> str:
        return (
            f"A heatmap of {self.columns:,} columns of time has more than {MOST_CELLS:,} cells "
            "here; ask for a shorter time, a longer bin, a wider price step or fewer prices."
        )


class PriceSteps(Struct, frozen=True):
    """Rows of `step`, in units of 10^-`exponent`, from 0 on.

    `rows` are the first row and how many there are; None: as many as there are levels in.
    """

    step: int
    exponent: int = DEFAULT_EXPONENT
    rows: tuple[int, int] | None = None

    @classmethod
    def of(
        cls, step: Price, price_from: Price | None = None, price_to: Price | None = None
    ) -> PriceSteps:
        """Return the rows of a decimal `step`; with both prices, those from one to the other.

        Raises `TypeError` for a double, which is hardly ever the decimal that was meant, and
        `ValueError` for what is no price step or no range.
        """
        width = _decimal(step, "step")
        exponent = max(0, -int(width.as_tuple().exponent))
        if not 0 < width <= INT64_MAX // 10**exponent or exponent > MAX_EXPONENT:
            raise ValueError(f"a price step is a positive decimal such as '0.5', not {step!r}")
        if price_from is None and price_to is None:
            return cls(int(width.scaleb(exponent)), exponent)
        if price_from is None or price_to is None:
            raise ValueError("price_from and price_to are given together, or neither of them")
        low, high = _decimal(price_from, "price_from"), _decimal(price_to, "price_to")
        if not 0 <= low < high:
            raise ValueError("price_to has to be above price_from, and none of them below 0")
        first, end = Fraction(low) // Fraction(width), -(-Fraction(high) // Fraction(width))
        return cls(int(width.scaleb(exponent)), exponent, (first, end - first))


def _decimal(price: Price, name: str) -> Decimal:
    if not isinstance(price, str | int | Decimal):
        raise TypeError(f"{name} is text, a Decimal or a whole number, not {price!r}")
    try:
        exact = Decimal(price)
    except InvalidOperation:
        raise ValueError(f"{name} is a decimal such as '0.5', not {price!r}") from None
    if not exact.is_finite():
        raise ValueError(f"{name} is a decimal such as '0.5', not {price!r}")
    return exact.normalize()


class HeatmapBuilder:
    """Builds heatmaps of `statistics`, with columns of `bins` and rows of `steps`.

    Spans come in the order of time. They may reach beyond the bins.
    """

    def __init__(
        self,
        bins: TimeBins,
        steps: PriceSteps,
        statistics: Collection[Statistic],
        side: Side = Side.BOTH,
    ) -> None:
        self._bins = bins
        self._steps = steps
        self._side = side
        rows = 1 if steps.rows is None else steps.rows[1]
        if rows * len(bins) > MOST_CELLS:
            raise TooManyCells(len(bins))
        self._rows = RowSlots(steps.rows)
        self._cells = {statistic: CellArray(len(bins), self._rows) for statistic in statistics}
        self._named: BoolArray = np.zeros((len(self._rows), len(bins)), dtype=np.bool_)
        self._named_in_run: BoolArray = np.zeros(len(self._rows), dtype=np.bool_)
        # The columns of the run that goes on from before the bins, until another run begins.
        self._carried, self._breaks = 0, False
        self._columns = ColumnArrays(bins)
        self._tick = 0
        self._price_exponent = max(DEFAULT_EXPONENT, steps.exponent)
        # Quantities are whole in the coarsest decimal unit that all of them allow.
        self._quantity_exponent = 0

    def take(self, span: LevelSpan, *, opens: bool) -> None:
        """Add a span. If it `opens` a run, what was named before is unknown again.

        Raises `TooManyCells` and `WidePrices`.
        """
        if opens:
            self._begin_run()
        bins = self._bins
        if span.until_ms < bins.from_ms or span.from_ms >= bins.to_ms:
            return
        self._at_exponents(span)
        span = span.within(bins.from_ms, bins.to_ms)
        columns = columns_of(span, bins)
        if columns is None:
            return
        self._columns.take(span, columns, self._price_exponent)
        quantities, bound = self._counted(span)
        kind = kind_for(bound * max(1, span.until_ms - span.from_ms))
        rows, of_lanes = self._rows_of(span)
        entries = entries_of(
            span, columns, of_lanes, quantities.astype(kind, copy=False), len(rows)
        )
        slots = self._slots_for(rows)
        last = last_sums(entries, columns)
        part = slice(columns.first, columns.first + len(columns))
        self._carry(part.stop)
        for statistic, cells in self._cells.items():
            if statistic is Statistic.LAST:
                cells.set(part, slots, last)
            elif statistic is Statistic.MAX:
                cells.raise_to(part, slots, maxima(entries, columns, last, span.event_ms))
            else:
                cells.add(part, slots, integrals(entries, columns, last))
        self._named[:, part] |= self._named_in_run[:, None]
        named = np.arange(len(columns)) >= first_columns(entries, columns)[:, None]
        self._named[slots, part] |= named
        self._named_in_run[slots] = True

    def join(self, section: Section) -> None:
        """Add the next section in place of the spans that it was built of.

        It has one of our statistics, our side and step; what it lacks of our range of prices was
        not named. Its bin is ours; its first column may begin later than ours does, where the
        section begins. Raises as `take`.
        """
        part = section.heatmap
        shift = (int(part.times_ms[0]) - self._bins.from_ms) // self._bins.bin_ms
        begin, end = max(0, -shift), min(len(part.columns), len(self._bins) - shift)
        if begin >= end:
            if section.breaks:
                self._begin_run()
            return
        ours = slice(shift + begin, shift + end)
        self._refine(part.scale, part.tick)
        self._columns.merge(part.columns, slice(begin, end), ours, self._finer(part.scale))
        numbers = part.prices // part.step
        kept = np.ones(len(numbers), dtype=np.bool_)
        if self._steps.rows is not None:
            first, count = self._steps.rows
            kept = (numbers >= first) & (numbers < first + count)
        slots = self._slots_for(numbers[kept])
        factor = 10 ** (self._quantity_exponent - part.scale.quantity)
        values = product(part.values[begin:end, kept].T, factor)
        cells = self._cells[part.statistic]
        if part.statistic is Statistic.LAST:
            has_book = part.columns.has_book[begin:end].nonzero()[0]
            cells.set(ours.start + has_book, slots, values[:, has_book])
        elif part.statistic is Statistic.MAX:
            cells.raise_to(ours, slots, values)
        else:
            cells.add(ours, slots, values)
        carried = max(ours.start, min(ours.stop, shift + section.carried))
        if carried > ours.start:
            self._named[:, ours.start : carried] |= self._named_in_run[:, None]
            self._carry(carried)
        if section.breaks:
            self._begin_run()
        self._named[slots, ours] |= part.named[begin:end, kept].T
        self._named_in_run[slots] |= section.named_after[kept]

    def _begin_run(self) -> None:
        """Forget what was named before."""
        self._named_in_run[:] = False
        self._breaks = True

    def _carry(self, end: int) -> None:
        """Note that the run reaches the columns before `end`."""
        if not self._breaks:
            self._carried = end

    def section(self, market: str, statistic: Statistic) -> Section:
        """Return what has been built up to now, to be joined with its neighbours."""
        heatmap = self.heatmap(market, statistic)
        return Section(heatmap, self._carried, self._breaks, self.named_in_run)

    def heatmap(self, market: str, statistic: Statistic) -> Heatmap:
        """Return what has been built of `statistic` up to now."""
        order, numbers = self._rows.in_order()
        unit = 10 ** (self._price_exponent - self._steps.exponent)
        step = self._steps.step * unit
        if len(numbers) and int(numbers[-1]) * step > INT64_MAX:
            raise WidePrices
        values = self._cells[statistic].array[order].T
        return Heatmap(
            market,
            statistic,
            Scale(self._price_exponent, self._quantity_exponent),
            step,
            int(np.gcd(self._tick, step)),
            self._bins.bin_ms,
            self._bins.to_ms,
            numbers * step,
            self._columns.made(),
            np.ascontiguousarray(compact(values)),
            np.ascontiguousarray(self._named[order].T),
        )

    @property
    def named_in_run(self) -> BoolArray:
        """Of each row, in order, whether it was named since the last run began."""
        named: BoolArray = self._named_in_run[self._rows.in_order()[0]]
        return named

    def _at_exponents(self, span: LevelSpan) -> None:
        """Go over to finer units of price and quantity where `span` needs them."""
        exponent = min(self._quantity_exponent, span.scale.quantity)
        while (span.quantities % 10 ** (span.scale.quantity - exponent)).any():
            exponent += 1
        self._refine(Scale(span.scale.price, exponent), span.tick)

    def _refine(self, scale: Scale, tick: int) -> None:
        """Go over to units as fine as `scale`; `tick` is a number of its units of price."""
        by = scale.price - self._price_exponent
        if by > 0:
            self._tick *= 10**by
            self._columns.rescale(10**by)
            self._price_exponent = scale.price
        tick *= self._finer(scale)
        self._tick = int(np.gcd(self._tick, tick)) if tick <= INT64_MAX else self._tick
        finer = scale.quantity - self._quantity_exponent
        if finer > 0:
            for cells in self._cells.values():
                cells.multiply(10**finer)
            self._quantity_exponent = scale.quantity

    def _finer(self, scale: Scale) -> int:
        """Return how many of our units of price one of `scale` is."""
        return int(10 ** (self._price_exponent - scale.price))

    def _counted(self, span: LevelSpan) -> tuple[ExactArray, float]:
        """Return the quantities of `span` in our unit, and a bound of any sum of its levels."""
        by = self._quantity_exponent - span.scale.quantity
        quantities: ExactArray = span.quantities
        quantities = product(quantities, 10**by) if by > 0 else quantities // 10**-by
        if not len(quantities):
            return quantities, 0.0
        heads = np.flatnonzero(np.diff(span.lanes, prepend=-1))
        largest_in_lanes = np.maximum.reduceat(quantities, heads)
        return quantities, float(largest_in_lanes.astype(np.float64).sum())

    def _rows_of(self, span: LevelSpan) -> tuple[Int64Array, Int64Array]:
        """Return the numbers of the rows of `span`, ascending, and of each lane which it is in.

        That is the index of its row, -1 for a lane that does not count.
        """
        numbers = row_numbers(span.prices, span.scale.price, self._steps)
        counts = np.ones(len(numbers), dtype=np.bool_)
        if self._side is not Side.BOTH:
            counts &= span.asks == (self._side is Side.ASKS)
        if self._steps.rows is not None:
            first, count = self._steps.rows
            counts &= (numbers >= first) & (numbers < first + count)
        # A lane may be left without an entry.
        has_entry = np.zeros(len(numbers), dtype=np.bool_)
        has_entry[span.lanes] = True
        counts &= has_entry
        rows, inverse = np.unique(numbers[counts], return_inverse=True)
        of_lanes = np.full(len(numbers), -1)
        of_lanes[counts] = inverse
        return rows, of_lanes

    def _slots_for(self, rows: Int64Array) -> Int64Array:
        """Return the slots of rows, and make room for new ones."""
        slots = self._rows.slots(rows)
        if len(self._rows) * len(self._bins) > MOST_CELLS:
            raise TooManyCells(len(self._bins))
        if len(self._rows) > len(self._named):
            count = max(len(self._rows), len(self._named) * 3 // 2)
            self._named = grown(self._named, count)
            self._named_in_run = grown(self._named_in_run, count)
            for cells in self._cells.values():
                cells.array = grown(cells.array, count)
        return slots


def row_numbers(prices: Int64Array, exponent: int, steps: PriceSteps) -> Int64Array:
    """Return the row of each of `prices`, units of 10^-`exponent`. Raises `WidePrices`."""
    by = exponent - steps.exponent
    if by >= 0:
        step = steps.step * 10**by
        return prices // step if step <= INT64_MAX else np.zeros_like(prices)
    return finer_prices(prices, 10**-by) // steps.step
