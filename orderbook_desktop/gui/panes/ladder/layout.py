"""The places of the ladder's rows and columns, in logical pixels; computed without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from orderbook_desktop.core.ladder import Ladder, LadderSide, Side


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the side, and the index from the spread outward."""

    side: Side
    index: int


class Span(NamedTuple):
    """A range of pixels: `length` pixels from `start` on, `start` included."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The first pixel after the range."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class LadderColumns:
    """The five columns, left to right, mirrored about the price."""

    bid_total: Span
    bid_size: Span
    price: Span
    ask_size: Span
    ask_total: Span


@dataclass(frozen=True, slots=True)
class LadderLayout:
    """The rows of a ladder `height` pixels high, scrolled by `offset` rows.

    With `offset` 0 the spread row is in the middle. A positive `offset` moves it down, so that
    asks farther from the spread come into view; a negative `offset` moves it up. `row_height` is
    a fraction, so that whole rows fill the space exactly.
    """

    height: int
    header: int
    spread: int
    row_height: float
    rows_per_side: int
    offset: int
    ask_count: int
    bid_count: int

    @property
    def spread_top(self) -> int:
        """The y of the spread row."""
        return self.header + round((self.rows_per_side + self.offset) * self.row_height)

    def row_span(self, row: Row) -> Span:
        """Return top and height of `row`, whether or not it is in view."""
        if row.side is Side.ASK:
            end = self.rows_per_side + self.offset - row.index
            top = self.header + round((end - 1) * self.row_height)
            return Span(top, self.header + round(end * self.row_height) - top)
        start = self.rows_per_side + self.offset + row.index
        top = self.header + self.spread + round(start * self.row_height)
        bottom = self.header + self.spread + round((start + 1) * self.row_height)
        return Span(top, bottom - top)

    def visible(self, side: Side) -> range:
        """Return the indices of the rows of `side` that are wholly in view."""
        rows, offset = self.rows_per_side, self.offset
        if side is Side.ASK:
            # After scrolling up, asks also fill the room of the spread row and the bids.
            first, last = max(0, offset - rows - self._rows_in_spread), rows + offset
            return range(min(first, self.ask_count), max(0, min(last, self.ask_count)))
        first, last = max(0, -offset - rows - self._rows_in_spread), rows - offset
        return range(min(first, self.bid_count), max(0, min(last, self.bid_count)))

    def row_at(self, y: int) -> Row | None:
        """Return the row at `y`, or None."""
        for side in Side:
            for index in self.visible(side):
                span = self.row_span(Row(side, index))
                if span.start <= y < span.end:
                    return Row(side, index)
        return None

    def offset_showing(self, row: Row) -> int:
        """Return the offset nearest to the present offset that brings `row` into view."""
        rows, reach = self.rows_per_side, self._rows_in_spread
        if row.side is Side.ASK:
            return min(max(self.offset, row.index + 1 - rows), row.index + rows + reach)
        return max(min(self.offset, rows - row.index - 1), -row.index - rows - reach)

    @property
    def _rows_in_spread(self) -> int:
        return int(self.spread // self.row_height) if self.row_height else 0


def lay_out(
    height: int, row_height: int, offset: int, ask_count: int, bid_count: int
) -> LadderLayout:
    """Return the layout of a ladder; `row_height` is the smallest height of a row.

    `offset` is limited so that rows always stay in view.
    """
    header = row_height + 4
    spread = row_height * 2
    room = max(0, height - header - spread)
    rows = room // (2 * row_height)
    exact = room / (2 * rows) if rows else float(row_height)
    lowest, highest = min(0, rows - bid_count), max(0, ask_count - rows)
    return LadderLayout(
        height,
        header,
        spread,
        exact,
        rows,
        max(lowest, min(highest, offset)),
        ask_count,
        bid_count,
    )


def lay_out_columns(width: int, price_width: int = 0) -> LadderColumns:
    """Return the columns of a ladder `width` pixels wide, with the price exactly in the middle.

    The price column takes a fifth, or `price_width` where prices are long.
    """
    price = min(max(round(width * 0.2), price_width), width // 2)
    price += (width - price) % 2
    wing = (width - price) // 2
    size = wing // 2
    total = wing - size
    return LadderColumns(
        Span(0, total),
        Span(total, size),
        Span(wing, price),
        Span(wing + price, size),
        Span(wing + price + size, total),
    )


def side_of(ladder: Ladder, side: Side) -> LadderSide:
    """Return one side of `ladder`."""
    return ladder.bids if side is Side.BID else ladder.asks
