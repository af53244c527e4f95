"""Which rows are in view, and how they stay there while the market moves.

Two arrangements do the same: `AroundSpread` has a row for each group with a quantity, and the mid
between the sides; `EveryStep` has a row for each price step, and its rows stand still. Either is
*at home* while it follows the market. A person who scrolls takes it away from there, and its rows
then stay at their prices until `centre` is called.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from orderbook_desktop.core.ladder import Ladder, LadderSide, Side, rows_between
from orderbook_desktop.gui.panes.ladder.layout import SPREAD_LINES


class Row(NamedTuple):
    """A row of the ladder: its price, and its side; None for a step without a level."""

    side: Side | None
    price: int


class SeenRow(NamedTuple):
    """A row in view: its line, and its rank on its side, 0 for the best price (-1: no level)."""

    line: int
    row: Row
    rank: int


class View(NamedTuple):
    """What is in view: the rows from top to bottom, and the first line of the spread, if any."""

    rows: tuple[SeenRow, ...]
    spread_line: int | None = None


class Position(Protocol):
    """An arrangement of the rows in `lines` lines, and the part of it that is in view."""

    @property
    def is_home(self) -> bool:
        """Whether the view follows the market."""

    def follow(self, ladder: Ladder, lines: int) -> None:
        """Take in a changed ladder or number of lines."""

    def view(self, ladder: Ladder, lines: int) -> View:
        """Return what is in view."""

    def scroll(self, ladder: Ladder, lines: int, rows: int) -> None:
        """Move by `rows` towards higher prices; negative: lower."""

    def show(self, ladder: Ladder, lines: int, price: int) -> None:
        """Bring the row of `price` into view."""

    def next_price(self, ladder: Ladder, price: int | None, down: int) -> int | None:
        """Return the price of the row `down` rows below `price`, or near it at the ends.

        Without `price` it is a best price. None where there is no row.
        """

    def centre(self) -> None:
        """Go home."""


def find_row(ladder: Ladder, price: int) -> SeenRow | None:
    """Return the row of the level at `price` (its line is 0), or None."""
    for side in Side:
        found = rows_between(ladder.side(side), side, price, price)
        if found:
            return SeenRow(0, Row(side, price), found.start)
    return None


class AroundSpread:
    """A row for each group with a quantity: asks above, bids below, the spread between them.

    All rows count from the spread: asks upward from -1, the spread is 0 and 1, bids go down from 2.
    """

    def __init__(self) -> None:
        # The price that stays on its line; None: the spread stays in the middle.
        self._anchor: tuple[int, int] | None = None
        # The topmost place at home. Away from home there are fewer lines, but none has moved.
        self._home = 0

    @property
    def is_home(self) -> bool:
        """Whether the spread is in the middle."""
        return self._anchor is None

    def follow(self, ladder: Ladder, lines: int) -> None:
        """Do nothing: `view` finds the anchor by its price."""

    def view(self, ladder: Ladder, lines: int) -> View:
        """Return what is in view."""
        first = self._first(ladder, lines)
        asks, bids = len(ladder.asks.prices), len(ladder.bids.prices)
        stop = first + lines
        upper = range(max(first, -asks), min(stop, 0))
        lower = range(max(first, SPREAD_LINES), min(stop, SPREAD_LINES + bids))
        rows = [
            *_rows_of(ladder.asks, Side.ASK, upper, first),
            *_rows_of(ladder.bids, Side.BID, lower, first),
        ]
        return View(tuple(rows), -first if -SPREAD_LINES < -first < lines else None)

    def scroll(self, ladder: Ladder, lines: int, rows: int) -> None:
        """Move by `rows` towards higher prices; negative: lower."""
        first = self._limited(ladder, lines, self._first(ladder, lines) - rows)
        self._hold(ladder, lines, first)

    def show(self, ladder: Ladder, lines: int, price: int) -> None:
        """Bring the row of `price` into view."""
        place, first = _place_of(ladder, price), self._first(ladder, lines)
        wanted = min(max(first, place - lines + 1), place)
        if wanted != first:
            self._hold(ladder, lines, wanted)

    def next_price(self, ladder: Ladder, price: int | None, down: int) -> int | None:
        """Return the price of the row `down` rows below `price`, or near it at the ends."""
        asks, bids = ladder.asks.prices, ladder.bids.prices
        if not len(asks) and not len(bids):
            return None
        # Without the two lines of the spread, rows count on from asks to bids.
        if price is None:
            place = 0 if down > 0 else -1
        else:
            at = _place_of(ladder, price)
            place = (at if at < 0 else at - SPREAD_LINES) + down
        place = max(-len(asks), min(len(bids) - 1, place))
        return int(asks[-1 - place] if place < 0 else bids[place])

    def centre(self) -> None:
        """Bring the spread back to the middle."""
        self._anchor = None

    def _first(self, ladder: Ladder, lines: int) -> int:
        """Return the place, counted from the spread, of the topmost line."""
        if self._anchor is None:
            return _home(lines)
        price, line = self._anchor
        return self._limited(ladder, lines, _place_of(ladder, price) - line)

    def _limited(self, ladder: Ladder, lines: int, first: int) -> int:
        lowest = min(_home(lines), -len(ladder.asks.prices))
        highest = max(_home(lines), SPREAD_LINES + len(ladder.bids.prices) - lines)
        return max(lowest, min(highest, first))

    def _hold(self, ladder: Ladder, lines: int, first: int) -> None:
        """Let `first` be the topmost place, and its middle row stay where it is."""
        if self._anchor is None:
            self._home = _home(lines)
        if first == self._home:
            self._anchor = None
            return
        asks, bids = ladder.asks.prices, ladder.bids.prices
        place = first + lines // 2
        if len(asks) and (place < SPREAD_LINES or not len(bids)):
            place = max(min(place, -1), -len(asks))
            self._anchor = int(asks[-1 - place]), place - first
        elif len(bids):
            place = min(max(place, SPREAD_LINES), SPREAD_LINES + len(bids) - 1)
            self._anchor = int(bids[place - SPREAD_LINES]), place - first


def _rows_of(levels: LadderSide, side: Side, places: range, first: int) -> list[SeenRow]:
    if not places:
        return []
    if side is Side.ASK:
        indices = range(-1 - places.start, -1 - places.stop, -1)
        prices = levels.prices[indices.stop + 1 : indices.start + 1].tolist()[::-1]
    else:
        indices = range(places.start - SPREAD_LINES, places.stop - SPREAD_LINES)
        prices = levels.prices[indices.start : indices.stop].tolist()
    return [
        SeenRow(place - first, Row(side, price), index)
        for place, price, index in zip(places, prices, indices, strict=True)
    ]


def _home(lines: int) -> int:
    return (SPREAD_LINES - lines) // 2


def _place_of(ladder: Ladder, price: int) -> int:
    """Return the place of the row of `price`, or of the next row outward, or of the spread."""
    asks, bids = ladder.asks, ladder.bids
    if len(asks.prices) and (price >= int(asks.prices[0]) or not len(bids.prices)):
        inner = len(rows_between(asks, Side.ASK, 0, price - 1))
        return -1 - min(inner, len(asks.prices) - 1)
    if len(bids.prices) and (price <= int(bids.prices[0]) or not len(asks.prices)):
        inner = len(rows_between(bids, Side.BID, price + 1, None))
        return SPREAD_LINES + min(inner, len(bids.prices) - 1)
    return 0


class EveryStep:
    """A row for each multiple of `step`, with or without a quantity. Rows stand still.

    The view moves only when a best price leaves the middle third of the lines: then the mid is in
    the middle again. Where the spread takes more than that third, the mid counts instead.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._middle: int | None = None
        self._held = False

    @property
    def is_home(self) -> bool:
        """Whether the view follows the market, in steps of a third of its height."""
        return not self._held

    def follow(self, ladder: Ladder, lines: int) -> None:
        """Centre again if a best price has left the middle third."""
        if self._held or not ladder.best:
            return
        market, reach = ladder.typical_price // self._step, lines // 6
        sides = (ladder.bids, ladder.asks)
        best = [int(side.prices[0]) // self._step for side in sides if len(side.prices)]
        watched = best if max(best) - min(best) <= 2 * reach else [market]
        middle = self._middle
        if middle is None or any(abs(index - middle) > reach for index in watched):
            self._middle = market

    def view(self, ladder: Ladder, lines: int) -> View:
        """Return what is in view: no row for a price below zero."""
        if self._middle is None:
            return View(())
        top = self._middle + lines // 2
        prices = range(top * self._step, (top - lines) * self._step, -self._step)
        prices = prices[: top + 1]
        if not prices:
            return View(())
        rows = {price: SeenRow(line, Row(None, price), -1) for line, price in enumerate(prices)}
        for side in Side:
            levels = ladder.side(side)
            found = rows_between(levels, side, prices[-1], prices[0])
            held = levels.prices[found.start : found.stop].tolist()
            for index, price in zip(found, held, strict=True):
                rows[price] = SeenRow(rows[price].line, Row(side, price), index)
        return View(tuple(rows.values()))

    def scroll(self, ladder: Ladder, lines: int, rows: int) -> None:  # noqa: ARG002 (Position's)
        """Move by `rows` towards higher prices; negative: lower."""
        if self._middle is not None and rows:
            self._middle = max(0, self._middle + rows)
            self._held = True

    def show(self, ladder: Ladder, lines: int, price: int) -> None:
        """Bring the row of `price` into view."""
        if self._middle is None:
            return
        index, top = price // self._step, self._middle + lines // 2
        beyond = max(0, index - top) or min(0, index - (top - lines + 1))
        self.scroll(ladder, lines, beyond)

    def next_price(self, ladder: Ladder, price: int | None, down: int) -> int | None:
        """Return the price `down` steps below `price`."""
        if price is not None:
            return max(0, price - down * self._step)
        sides = (ladder.bids, ladder.asks) if down > 0 else (ladder.asks, ladder.bids)
        return next((int(side.prices[0]) for side in sides if len(side.prices)), None)

    def centre(self) -> None:
        """Bring the mid back to the middle."""
        self._middle, self._held = None, False
