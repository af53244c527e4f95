"""The places of the ladder's rows and columns, in logical pixels; computed without Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple, Self

from msgspec import Struct
from msgspec.structs import replace

# The mid and the spread take two lines between the sides.
SPREAD_LINES: Final = 2


class Column(Enum):
    """A column of the ladder; the preferences store the values."""

    PRICE = "price"
    SIZE = "size"
    TOTAL = "total"
    BOUGHT = "bought"
    SOLD = "sold"
    ADDED = "added"
    PULLED = "pulled"

    # Enum's own hash runs in Python, which takes long in each frame.
    __hash__ = object.__hash__


# What was traded. A ladder usually has no room for these columns, so they are hidden at first.
VOLUME_COLUMNS: Final = frozenset({Column.BOUGHT, Column.SOLD})
# What was added and pulled in the last seconds.
FLOW_COLUMNS: Final = frozenset({Column.ADDED, Column.PULLED})
OPTIONAL_COLUMNS: Final = VOLUME_COLUMNS | FLOW_COLUMNS


class ColumnChoice(Struct, frozen=True):
    """The columns from left to right, and which of them are hidden. The price is always shown."""

    order: tuple[Column, ...] = tuple(Column)
    hidden: frozenset[Column] = OPTIONAL_COLUMNS

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return the choice that `text` describes; what it doesn't name comes last, as at first."""
        known = {column.value: column for column in Column}
        names = dict.fromkeys(text.split())
        named = {
            known[name.removeprefix("-")]: name for name in names if name.removeprefix("-") in known
        }
        order = (*named, *(column for column in Column if column not in named))
        hidden = {column for column, name in named.items() if name.startswith("-")}
        hidden |= OPTIONAL_COLUMNS - named.keys()
        return cls(order, frozenset(hidden - {Column.PRICE}))

    @property
    def text(self) -> str:
        """The choice as text: `price -size total` hides the sizes."""
        names = (
            f"-{column.value}" if column in self.hidden else column.value for column in self.order
        )
        return " ".join(names)

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns on screen, from left to right."""
        return tuple(column for column in self.order if column not in self.hidden)

    def with_shown(self, column: Column, *, shown: bool) -> ColumnChoice:
        """Return the choice with `column` shown or hidden; the price stays shown."""
        hidden = self.hidden - {column} if shown else self.hidden | {column}
        return replace(self, hidden=hidden - {Column.PRICE})

    def moved(self, column: Column, by: int) -> ColumnChoice:
        """Return the choice with `column` moved by `by` places among those shown (-1: left)."""
        shown = list(self.shown)
        if column not in shown:
            return self
        to = max(0, min(len(shown) - 1, shown.index(column) + by))
        shown.remove(column)
        shown.insert(to, column)
        return replace(self, order=(*shown, *(one for one in self.order if one in self.hidden)))

    def with_price_in_middle(self, *, wanted: bool) -> ColumnChoice:
        """Return the choice with the price between the other columns, or left of them."""
        others = [column for column in self.order if column is not Column.PRICE]
        shown = sum(column not in self.hidden for column in others)
        place = (shown + 1) // 2 if wanted else 0
        others.sort(key=lambda column: column in self.hidden)
        return replace(self, order=(*others[:place], Column.PRICE, *others[place:]))

    @property
    def has_price_in_middle(self) -> bool:
        """Whether the price has a column on either side."""
        return Column.PRICE not in (self.shown[0], self.shown[-1])


class Span(NamedTuple):
    """A range of pixels: `length` pixels from `start` on, `start` included."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The first pixel after the range."""
        return self.start + self.length


class Grid(Struct, frozen=True):
    """`lines` equal lines from the y `top` on, which fill the room below it exactly."""

    top: int
    line_height: float
    lines: int

    @property
    def bottom(self) -> int:
        """The first y below the lines."""
        return self.span(self.lines).start

    def without(self, height: int) -> Grid:
        """Return the lines that are left when those at the end make room for `height` pixels."""
        taken = 2 * math.ceil(height / self.line_height / 2)
        return replace(self, lines=max(0, self.lines - taken))

    def span(self, line: int, lines: int = 1) -> Span:
        """Return top and height of `lines` lines from `line` on, in view or not."""
        start = self.top + round(line * self.line_height)
        return Span(start, self.top + round((line + lines) * self.line_height) - start)


def lay_out_lines(top: int, bottom: int, line_height: int) -> Grid:
    """Return the lines between the y `top` and `bottom`; `line_height` is the smallest height.

    Their number is even, so that the two lines of the spread can be in the middle.
    """
    room = max(0, bottom - top)
    lines = room // line_height // 2 * 2
    return Grid(top, room / lines if lines else float(line_height), lines)


def lay_out_columns(choice: ColumnChoice, width: int, price_width: int) -> dict[Column, Span]:
    """Return the columns shown, in a ladder `width` pixels wide.

    The price gets `price_width`, and the other columns share the rest. A price between an equal
    number of columns is in the middle.
    """
    shown = choice.shown
    others = len(shown) - 1
    price = min(price_width, width // 2) if others else width
    place, left, spans = 0, 0, {}
    for column in shown:
        if column is Column.PRICE:
            length = price
        else:
            place += 1
            length = (width - price) * place // others - (width - price) * (place - 1) // others
        spans[column] = Span(left, length)
        left += length
    return spans


def grows_leftward(columns: Mapping[Column, Span], column: Column) -> bool:
    """Return whether the bars of `column` begin at its right edge: they begin beside the price."""
    return columns[column].start < columns[Column.PRICE].start
