"""The live edge of a heatmap: columns that grow with each event of a tail.

The past of the tail is read once, by a `HeatmapBuilder`. From then on an event costs as much as it
has changes, and a column as much as it has rows. The numbers are those of a builder that is given
all spans of the tail, bit for bit. All that is added up is a Python integer, which cannot wrap.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

import numpy as np

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps, WidePrices
from orderbook_desktop.core.heatmap.cells import NO_ID, NO_PRICE, Columns, Heatmap, known_range
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.exact import ROOM, as_integers, compact, product
from orderbook_desktop.core.heatmap.spans import keys_of
from orderbook_desktop.core.heatmap.tail import (
    DepthTail,
    TailBook,
    TailBreak,
    TailEvent,
    TailNews,
    TailPart,
    book_after,
)
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.units import INT64_MAX, Scale

# A level that comes and goes leaves an entry in the heap of its side each time.
_MOST_STALE_ENTRIES: Final = 1_000


class EdgeColumns:
    """The heatmap of the newest events of `market`, in columns of `bins` and rows of `steps`.

    `steps` have a range of rows. The bins may begin before the tail, and end in the future.
    `reached` is how many columns there are up to now; the last one of them is open: it grows until
    an event of a later one comes. The book is known until `reached_ms`.
    """

    def __init__(
        self,
        market: str,
        bins: TimeBins,
        steps: PriceSteps,
        statistic: Statistic,
        side: Side = Side.BOTH,
    ) -> None:
        if steps.rows is None:
            raise ValueError("the rows of a live edge have a range")
        self.market, self.bins, self.steps = market, bins, steps
        self.statistic, self.side = statistic, side
        self.reached_ms = 0
        self._first_row, self._row_count = steps.rows
        self._columns: _LiveColumns | None = None
        self._revision = -1

    @property
    def reached(self) -> int:
        """How many columns there are up to now."""
        return 0 if self._columns is None else self._columns.open + 1

    @property
    def is_over(self) -> bool:
        """Whether the tail has reached the end of the bins, so that nothing changes any more."""
        return self.reached_ms >= self.bins.to_ms

    def begin(self, part: TailPart) -> None:
        """Read the past of a tail, `part`, from the beginning of the bins on.

        Takes milliseconds a minute, and may run in a thread while nothing else is called. Raises as
        `HeatmapBuilder` does.
        """
        self._columns = None
        self._revision = part.revision
        self.reached_ms = min(part.reached_ms, self.bins.to_ms)
        spans = part.spans()
        if not spans or part.reached_ms < self.bins.from_ms:
            return
        builder = HeatmapBuilder(self.bins, self.steps, [self.statistic], self.side)
        for span, opens in spans:
            builder.take(span, opens=opens)
        past = builder.heatmap(self.market, self.statistic)
        begin, last = part.pieces[-1][0], spans[-1][0]
        self._columns = _LiveColumns(self.bins, past, self.side, self.reached_ms)
        self._columns.go_on(
            TailBook(book_after(begin.image, last), self.reached_ms, opens=False, is_new=True),
            builder.named_in_run.tolist(),
            is_counted=not begin.is_new or len(last.final_ids) > 0,
        )
        if part.is_broken:
            self._columns.end_run()

    def follow(self, tail: DepthTail) -> int | None:
        """Take what is new in the tail; return the first column that changed, None: none did.

        Reads the past, too, where that has not been done. Raises as `begin`.
        """
        if tail.revision == self._revision or (self._columns is not None and self.is_over):
            return None
        news = None if self._columns is None else tail.news(self._revision)
        if news is None or self._columns is None or not self._columns.fits(news):
            self.begin(tail.part(self.bins.from_ms, self.bins.to_ms))
            return None if self._columns is None else 0
        self._revision = tail.revision
        first = self._columns.take(news)
        self.reached_ms = self._columns.reached_ms
        return first

    def heatmap(self, first: int = 0) -> Heatmap | None:
        """Return the columns from `first` up to the open one; None if there is none."""
        return None if self._columns is None else self._columns.heatmap(first)


class _LiveColumns:
    """The columns of a heatmap while they grow; `past` is what they had at `reached_ms`."""

    def __init__(self, bins: TimeBins, past: Heatmap, side: Side, reached_ms: int) -> None:
        self.reached_ms = reached_ms
        self.open = bins.column_at(reached_ms)
        self._bins, self._past, self._side = bins, past, side
        self._statistic, self._columns = past.statistic, past.columns
        self._values, self._named = past.values, past.named
        self._scale, self._tick = past.scale, past.tick
        self._first_row = int(past.prices[0]) // past.step if len(past.prices) else 0
        self._rows = len(past.prices)
        self._cells: list[int] = self._values[self.open].tolist()
        self._since = [reached_ms] * self._rows
        self._standing = [0] * self._rows
        self._named_in_run = [False] * self._rows
        self._levels = _Levels(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        self._book_scale = past.scale
        self._known = (0, INT64_MAX)
        self._update_id = NO_ID
        self._stands = False
        # Whether the open column has the present book, or is to have it with the next event.
        self._is_counted = False
        self._is_rescaled = False

    def fits(self, news: list[TailNews]) -> bool:
        """Whether all books are at the scale of the present one."""
        scales = {item.image.scale for item in news if isinstance(item, TailBook)}
        return scales <= {self._book_scale}

    def take(self, news: list[TailNews]) -> int:
        """Take what is new; return the first column that changed."""
        first = self.open
        for item in news:
            if isinstance(item, TailEvent):
                self._take_event(item)
            elif isinstance(item, TailBreak):
                self.end_run()
            elif item.is_new:
                self._take_book(item)
        if self._is_rescaled:
            self._is_rescaled, first = False, 0
        return first

    def go_on(self, book: TailBook, named: list[bool], *, is_counted: bool) -> None:
        """Go on with a book in which prices of the rows `named` were named before.

        `is_counted` is whether the open column has it already.
        """
        self._book_scale = book.image.scale
        self._take_book(book)
        self._named_in_run = [any(pair) for pair in zip(self._named_in_run, named, strict=True)]
        self._is_counted = is_counted

    def end_run(self) -> None:
        """Note that the book is unknown from here on."""
        self._settle()
        self._stands = False

    def heatmap(self, first: int) -> Heatmap:
        """Return the columns from `first` up to the open one."""
        self._write()
        part, past = slice(first, self.open + 1), self._past
        columns = Columns(
            *(getattr(self._columns, name)[part].copy() for name in Columns.__struct_fields__)
        )
        return Heatmap(
            past.market,
            past.statistic,
            self._scale,
            past.step,
            self._tick,
            past.bin_ms,
            self._end_of(self.open),
            past.prices,
            columns,
            compact(self._values[part].copy()),
            self._named[part].copy(),
        )

    def _end_of(self, column: int) -> int:
        return min(self._bins.from_ms + (column + 1) * self._bins.bin_ms, self._bins.to_ms)

    def _take_book(self, book: TailBook) -> None:
        """Go on with another book, which is in a column as soon as it stands or an event comes."""
        if book.from_ms >= self._bins.to_ms:
            self._settle()
            self._stands, self.reached_ms = False, self._bins.to_ms
            return
        self._settle()
        if (column := self._bins.column_at(book.from_ms)) > self.open:
            self._begin_column(column, book.from_ms)
        image, keys = book.image, keys_of(book.image)
        quantities = np.concatenate((image.bids.quantities, image.asks.quantities))
        self._make_room(keys, quantities)
        self._levels = _Levels(keys, quantities)
        self._standing = [0] * self._rows
        if book.opens:
            self._named_in_run = [False] * self._rows
        for row, quantity in self._changed_rows(keys.tolist(), quantities.tolist()).items():
            self._standing[row] = quantity
        self._known = known_range(image.horizon, self._scale.price)
        self._update_id = image.last_update_id
        self.reached_ms = book.from_ms
        self._since = [self.reached_ms] * self._rows
        self._stands, self._is_counted = True, False

    def _take_event(self, event: TailEvent) -> None:
        """Apply an event, or let the book stand until the end of the bins if it comes later."""
        if not self._stands:
            return
        time_ms = min(event.event_ms, self._bins.to_ms)
        self._advance(time_ms)
        if time_ms == self._bins.to_ms:
            return
        self._make_room(event.keys, event.quantities)
        keys = event.keys.tolist()
        deltas = self._levels.set(keys, event.quantities.tolist())
        for row, delta in self._changed_rows(keys, deltas).items():
            before = self._standing[row]
            self._standing[row] = quantity = before + delta
            if self._statistic is Statistic.INTEGRAL:
                self._cells[row] += before * (time_ms - self._since[row])
                self._since[row] = time_ms
            elif self._is_counted and quantity > self._cells[row]:
                self._cells[row] = quantity
        self._update_id = event.final_id
        if not self._is_counted:
            self._count(event.final_id)
        self._columns.last_ids[self.open] = event.final_id

    def _changed_rows(self, keys: list[int], deltas: list[int]) -> dict[int, int]:
        """Return by how much each row changes, in our unit, and note which rows are named."""
        factor, step = 10 ** (self._scale.price - self._book_scale.price), self._past.step
        by = self._scale.quantity - self._book_scale.quantity
        more, less = 10 ** max(0, by), 10 ** max(0, -by)
        first, count = self._first_row, self._rows
        wants_bids, wants_asks = self._side is not Side.ASKS, self._side is not Side.BIDS
        changed: dict[int, int] = {}
        for key, delta in zip(keys, deltas, strict=True):
            if key < 0:
                row = ~key * factor // step - first
                counts = wants_bids
            else:
                row = key * factor // step - first
                counts = wants_asks
            if counts and 0 <= row < count:
                changed[row] = changed.get(row, 0) + delta * more // less
                self._named_in_run[row] = True
        return changed

    def _make_room(self, keys: Int64Array, quantities: Int64Array) -> None:
        """Go over to a finer unit of quantity, and of the tick, where these values need it."""
        factor = 10 ** (self._scale.price - self._book_scale.price)
        prices = np.where(keys < 0, ~keys, keys)
        if self._tick > factor and len(prices):
            self._tick = int(np.gcd(self._tick, int(np.gcd.reduce(prices)) * factor))
        exponent = self._scale.quantity
        finest = self._book_scale.quantity
        while exponent < finest and (quantities % 10 ** (finest - exponent)).any():
            exponent += 1
        by = 10 ** (exponent - self._scale.quantity)
        if by > 1:
            self._write()
            self._scale = Scale(self._scale.price, exponent)
            self._values = product(self._values, by)
            self._cells = [value * by for value in self._cells]
            self._standing = [value * by for value in self._standing]
            self._is_rescaled = True

    def _advance(self, time_ms: int) -> None:
        """Let the book stand until `time_ms`."""
        column = self._bins.column_at(time_ms)
        if column == self.open:
            self._stand_until(time_ms)
            return
        self._stand_until(self._end_of(self.open))
        self._settle()
        if column > self.open + 1:
            self._fill(self.open + 1, column)
        start_ms = self._end_of(column - 1)
        self._begin_column(column, start_ms)
        self.reached_ms = start_ms
        self._stand_until(time_ms)

    def _stand_until(self, time_ms: int) -> None:
        """Let the book stand until a time of the open column."""
        if time_ms == self.reached_ms:
            return
        if not self._is_counted:
            self._count(self._update_id)
        self._columns.covered_ms[self.open] += time_ms - self.reached_ms
        self._columns.last_ids[self.open] = self._update_id
        self.reached_ms = time_ms

    def _count(self, first_id: int) -> None:
        """Note that the open column has the present book."""
        self._is_counted = True
        if self._statistic is Statistic.MAX:
            self._cells = list(map(max, self._cells, self._standing))
        columns, at = self._columns, self.open
        if columns.first_ids[at] == NO_ID:
            columns.first_ids[at] = first_id
        columns.known_from[at] = max(int(columns.known_from[at]), self._known[0])
        columns.known_to[at] = min(int(columns.known_to[at]), self._known[1])

    def _fill(self, begin: int, end: int) -> None:
        """Let the book stand in whole columns."""
        part, columns, width = slice(begin, end), self._columns, self._bins.bin_ms
        factor = width if self._statistic is Statistic.INTEGRAL else 1
        self._set(part, [value * factor for value in self._standing])
        columns.covered_ms[part] = width
        columns.first_ids[part] = columns.last_ids[part] = self._update_id
        columns.known_from[part], columns.known_to[part] = self._known
        self._set_best(part)

    def _begin_column(self, column: int, start_ms: int) -> None:
        self.open = column
        self._cells = [0] * self._rows
        self._since = [start_ms] * self._rows
        self._is_counted = False

    def _settle(self) -> None:
        """Bring the open column up to the moment that is reached."""
        self._write()
        if self._stands and self._statistic is Statistic.INTEGRAL:
            self._cells = self._present_cells()
            self._since = [self.reached_ms] * self._rows

    def _write(self) -> None:
        """Put the open column into the arrays."""
        if self._stands and self._is_counted:
            self._set(slice(self.open, self.open + 1), self._present_cells())
            self._set_best(slice(self.open, self.open + 1))

    def _present_cells(self) -> list[int]:
        if self._statistic is Statistic.MAX:
            return self._cells
        if self._statistic is Statistic.LAST:
            return self._standing
        parts = zip(self._cells, self._standing, self._since, strict=True)
        return [cell + standing * (self.reached_ms - since) for cell, standing, since in parts]

    def _set(self, part: slice, cells: list[int]) -> None:
        if self._values.dtype != object and max(cells, default=0) >= ROOM:
            self._values = as_integers(self._values)
        self._values[part] = cells
        self._named[part] |= np.array(self._named_in_run, dtype=np.bool_)

    def _set_best(self, part: slice) -> None:
        factor = 10 ** (self._scale.price - self._book_scale.price)
        best_bid, best_ask = (
            NO_PRICE if price is None else price * factor for price in self._levels.best()
        )
        if max(best_bid, best_ask) > INT64_MAX:
            raise WidePrices
        self._columns.best_bids[part], self._columns.best_asks[part] = best_bid, best_ask


class _Levels:
    """The levels of a book by key: the price of an ask, or the complement of that of a bid."""

    def __init__(self, keys: Int64Array, quantities: Int64Array) -> None:
        """Hold these levels; keys ascend, so that the lists are heaps."""
        count = int(keys.searchsorted(0))
        self._quantities = dict(zip(keys.tolist(), quantities.tolist(), strict=True))
        self._bids, self._asks = keys[:count].tolist(), keys[count:].tolist()

    def set(self, keys: list[int], quantities: list[int]) -> list[int]:
        """Set levels; return by how much each one changed."""
        held, deltas = self._quantities, []
        for key, quantity in zip(keys, quantities, strict=True):
            before = held.get(key, 0)
            deltas.append(quantity - before)
            if quantity:
                held[key] = quantity
                if not before:
                    heappush(self._bids if key < 0 else self._asks, key)
            elif before:
                del held[key]
        if len(self._bids) + len(self._asks) > 2 * len(held) + _MOST_STALE_ENTRIES:
            self._bids = sorted(key for key in held if key < 0)
            self._asks = sorted(key for key in held if key >= 0)
        return deltas

    def best(self) -> tuple[int | None, int | None]:
        """Return the best bid and the best offer; None where there is none."""
        for heap in (self._bids, self._asks):
            while heap and heap[0] not in self._quantities:
                heappop(heap)
        return (
            ~self._bids[0] if self._bids else None,
            self._asks[0] if self._asks else None,
        )
