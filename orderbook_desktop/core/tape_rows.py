"""The rows of a tape: sweeps, what is summed because it came too fast, and missing trades.

A taker order that trades at several prices is several aggregated trades. Their ids follow one
another, with the same time and side. A reader wants to see the one order, a sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.number_format import (
    exact_text,
)
from orderbook_desktop.core.tape import Break, Tape, TapeTrade
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.units import MAX_EXPONENT, Scale, split_decimal

# A reader can't follow more new rows at a time.
NEW_ROWS_AT_MOST: Final = 25
NEW_ROWS_EVERY_MS: Final = 250

_ROWS_HELD: Final = 1_000
_FIRST_TRADES: Final = 2_000


class Sweep(Struct, frozen=True):
    """What one taker order traded: one aggregated trade, or several that follow one another.

    Prices and quantities are in units of `scale`; `cost` is the sum of price times quantity. The
    order traded from the price `first_price` to `last_price`, at `prices` prices.
    """

    first_id: int
    last_id: int
    event_ms: int
    first_price: int
    last_price: int
    prices: int
    quantity: int
    cost: int
    is_sold: bool
    is_repaired: bool
    scale: Scale

    @property
    def last_ms(self) -> int:
        """When its last trade was."""
        return self.event_ms

    def and_then(self, trade: TapeTrade) -> Sweep | None:
        """Return the sweep with one more trade; None if that is another order's."""
        told = self.last_id + 1, self.event_ms, self.is_sold
        if told != (trade.trade_id, trade.event_ms, trade.is_sold):
            return None
        return replace(
            self,
            last_id=trade.trade_id,
            last_price=trade.price,
            prices=self.prices + (trade.price != self.last_price),
            quantity=self.quantity + trade.quantity,
            cost=self.cost + trade.price * trade.quantity,
            is_repaired=self.is_repaired or trade.is_repaired,
        )


class Summed(Struct, frozen=True):
    """The `count` trades of rows that are not shown one by one, with what was bought and sold."""

    first_id: int
    last_id: int
    event_ms: int
    last_ms: int
    count: int
    bought: int
    sold: int
    cost: int
    scale: Scale

    @property
    def quantity(self) -> int:
        """What was traded."""
        return self.bought + self.sold


class Missing(Struct, frozen=True):
    """Trades that are missing between two rows; `why` is None where the cause is not known.

    `event_ms` and `last_ms` are the times of the trades beside the gap.
    """

    first_id: int
    last_id: int
    event_ms: int
    last_ms: int
    why: Break | None

    @property
    def count(self) -> int:
        """How many trades are missing."""
        return self.last_id - self.first_id + 1


TapeRow = Sweep | Summed | Missing


class Causes(Protocol):
    """Knows why trades are missing; a `Tape` does."""

    def break_after(self, trade_id: int, before_id: int) -> Break | None:
        """Return why trades are missing between two ids, where it is known."""
        ...


class RecordedCauses:
    """Why trades of a recording with `gaps` are missing among those of `tape`, read from it."""

    def __init__(self, tape: Tape, gaps: Sequence[TradeGap]) -> None:
        self._tape = tape
        self._gaps = gaps

    def break_after(self, trade_id: int, before_id: int) -> Break | None:
        """Return why trades are missing between two ids, where it is known."""
        for gap in self._gaps:
            if gap.after_id < before_id and gap.before_id > trade_id:
                return Break(gap.cause, gap.detail)
        return self._tape.break_after(trade_id, before_id)


def rows_of(
    trades: Iterable[TapeTrade], scale: Scale, causes: Causes, known: TapeRow | None = None
) -> list[TapeRow]:
    """Return the rows of `trades`, which are in order and come after the row `known`.

    Where the first trades belong to the order of `known`, the first row is that row, grown.
    """
    rows: list[TapeRow] = []
    last = known
    for trade in trades:
        grown = last.and_then(trade) if isinstance(last, Sweep) and last.scale == scale else None
        if grown is not None:
            if rows:
                rows[-1] = grown
            else:
                rows.append(grown)
            last = grown
            continue
        if last is not None and trade.trade_id > last.last_id + 1:
            why = causes.break_after(last.last_id, trade.trade_id)
            ids = last.last_id + 1, trade.trade_id - 1
            rows.append(Missing(*ids, last.last_ms, trade.event_ms, why))
        last = _sweep_of(trade, scale)
        rows.append(last)
    return rows


def _sweep_of(trade: TapeTrade, scale: Scale) -> Sweep:
    id_, event_ms, price, quantity, is_sold, is_repaired = trade
    cost = price * quantity
    return Sweep(
        *(id_, id_, event_ms, price, price, 1, quantity, cost, is_sold, is_repaired, scale)
    )


def summed(rows: Sequence[TapeRow]) -> list[TapeRow]:
    """Return one row in place of each stretch of sweeps; rows of missing trades stay."""
    return [one for is_gap, part in groupby(rows, _is_missing) for one in _sum_of(is_gap, part)]


def _is_missing(row: TapeRow) -> bool:
    return isinstance(row, Missing)


def _sum_of(is_gap: bool, part: Iterable[TapeRow]) -> Iterator[TapeRow]:
    if is_gap:
        yield from part
        return
    for scale, same in groupby((row for row in part if not isinstance(row, Missing)), _scale_of):
        rows = list(same)
        yield Summed(
            rows[0].first_id,
            rows[-1].last_id,
            rows[0].event_ms,
            rows[-1].last_ms,
            sum(row.last_id - row.first_id + 1 for row in rows),
            sum(_sides_of(row)[0] for row in rows),
            sum(_sides_of(row)[1] for row in rows),
            sum(row.cost for row in rows),
            scale,
        )


def _scale_of(row: Sweep | Summed) -> Scale:
    return row.scale


def _sides_of(row: Sweep | Summed) -> tuple[int, int]:
    """Return what was bought and what was sold."""
    if isinstance(row, Summed):
        return row.bought, row.sold
    return (0, row.quantity) if row.is_sold else (row.quantity, 0)


class SizeFilter(Struct, frozen=True):
    """Which sweeps are shown: those of at least the quantity `text`; empty: all.

    Raises `MalformedMessage` where `text` is not an unsigned decimal.
    """

    text: str = ""
    # In units of 10^-MAX_EXPONENT.
    least: int = 0

    @classmethod
    def of_text(cls, text: str) -> SizeFilter:
        """Return the filter that `text`, a decimal without a sign, describes."""
        wanted = text.strip().replace(",", "")
        if not wanted:
            return cls()
        whole, fraction = split_decimal(wanted)
        least = int(whole + fraction[:MAX_EXPONENT].ljust(MAX_EXPONENT, "0"))
        return cls(wanted if least else "", least)

    def admits(self, row: TapeRow) -> bool:
        """Return whether `row` is shown; missing trades always are."""
        if isinstance(row, Missing) or not self.least:
            return True
        return self.least <= row.quantity * int(10 ** (MAX_EXPONENT - row.scale.quantity))


def preset_sizes(tape: Tape) -> list[str]:
    """Return sizes to filter by, as decimal texts: 1, 2 and 5 from the usual size of a trade on."""
    trades = tape.newest(_ROWS_HELD)
    if not trades:
        return []
    sizes = sorted(trade.quantity for trade in trades)
    first = len(str(sizes[len(sizes) // 2])) - 1 - tape.scale.quantity
    return [
        exact_text(factor * 10 ** (MAX_EXPONENT + power), MAX_EXPONENT)
        for power in range(max(first, -MAX_EXPONENT), first + 4)
        for factor in (1, 2, 5)
    ]


class LiveRows:
    """The newest rows of a tape, the latest last; at most so many new ones at a time.

    Call `follow` every `NEW_ROWS_EVERY_MS`. `revision` grows with each change of the rows.
    """

    def __init__(self, shown: SizeFilter = SizeFilter()) -> None:  # noqa: B008 (immutable)
        self.rows: list[TapeRow] = []
        self.revision = 0
        self._filter = shown
        self._tape: Tape | None = None
        self._taken = 0
        self._last: TapeRow | None = None

    @property
    def newest_id(self) -> int:
        """The id of the newest trade that was taken in; -1 if there was none."""
        return -1 if self._last is None else self._last.last_id

    @property
    def newest(self) -> TapeRow | None:
        """The row of the newest trade, whether or not it is shown."""
        return self._last

    def show_sizes(self, shown: SizeFilter) -> None:
        """Show the sweeps that `shown` admits, also those of the past."""
        self._filter = shown
        self._begin(self._tape)

    def follow(self, tape: Tape | None) -> None:
        """Take in what has come to the tape. Another tape, or None, begins anew."""
        if tape is not self._tape:
            self._begin(tape)
            return
        if tape is None or tape.revision == self._taken:
            return
        arrived = tape.arrivals(self._taken)
        is_late = any(trade.trade_id < self.newest_id for trade in arrived)
        if is_late or tape.revision - self._taken > len(arrived):
            # Repaired trades are among the older ones, or some were not looked at in time.
            self._begin(tape)
            return
        self._taken = tape.revision
        self._append(rows_of(arrived, tape.scale, tape, self._last))

    def _begin(self, tape: Tape | None) -> None:
        self._tape, self._taken, self._last = tape, 0, None
        self.rows = []
        self.revision += 1
        if tape is None:
            return
        self._taken = tape.revision
        rows = rows_of(tape.newest(_FIRST_TRADES), tape.scale, tape)
        self._last = rows[-1] if rows else None
        self.rows = [row for row in rows if self._filter.admits(row)][-_ROWS_HELD:]

    def _append(self, fresh: list[TapeRow]) -> None:
        self._last = fresh[-1]
        # The row of an order that goes on takes the place of the row that it had.
        if self.rows and fresh[0].first_id == self.rows[-1].first_id:
            self.rows[-1] = fresh.pop(0)
        fresh = [row for row in fresh if self._filter.admits(row)]
        surplus = len(fresh) - NEW_ROWS_AT_MOST
        if surplus > 0:
            # One row is that of the sum.
            fresh = [*summed(fresh[: surplus + 1]), *fresh[surplus + 1 :]]
        self.rows = [*self.rows, *fresh][-_ROWS_HELD:]
        self.revision += 1
