"""The rows that a person has scrolled back to: they stand still, and grow at both ends by pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orderbook_desktop.core.tape import TapeTrade
from orderbook_desktop.core.tape_rows import Causes, Missing, SizeFilter, TapeRow, rows_of
from orderbook_desktop.core.units import INT64_MAX, Scale

# Of a page: as many trades fill some screens, and are read in a few milliseconds.
PAGE_TRADES: Final = 1_000
_ROWS_HELD: Final = 6_000


class Reading:
    """Rows of `market` in order, the latest last, of which those from `end` on are newer than seen.

    It begins with `rows`; `newest` is the row of their newest trade, whether or not it is among
    them. At most `limit` rows are held: those that are farther from the reader are forgotten, and
    read again where they are wanted.
    """

    def __init__(
        self,
        market: str,
        rows: Sequence[TapeRow],
        newest: TapeRow | None,
        shown: SizeFilter,
        limit: int = _ROWS_HELD,
    ) -> None:
        self.market = market
        self.rows = list(rows)
        self.end = len(self.rows)
        # All trades from this id on have been read, as far as they are held.
        self.oldest_id = self.rows[0].first_id if self.rows else INT64_MAX
        self.is_at_start = False
        self._filter = shown
        self._newest = newest
        self._limit = limit

    @property
    def newest_id(self) -> int:
        """The id of the newest trade that was read."""
        return -1 if self._newest is None else self._newest.last_id

    def put_older(self, trades: Sequence[TapeTrade], scale: Scale, causes: Causes) -> None:
        """Put the last trades before `oldest_id` before the rows; none: there are no older ones."""
        rows = rows_of(trades, scale, causes)
        if not rows:
            self.is_at_start = True
            return
        if len(rows) > 1 and len(trades) >= PAGE_TRADES:
            # The page may begin amid an order, whose row the next page has whole.
            del rows[0]
        last, first_ms = rows[-1], self.rows[0].event_ms if self.rows else rows[-1].last_ms
        if last.last_id + 1 < self.oldest_id < INT64_MAX:
            why = causes.break_after(last.last_id, self.oldest_id)
            rows.append(Missing(last.last_id + 1, self.oldest_id - 1, last.last_ms, first_ms, why))
        self.oldest_id = rows[0].first_id
        if self._newest is None:
            self._newest = rows[-1]
        fitting = [row for row in rows if self._filter.admits(row)]
        self.rows[:0] = fitting
        self.end += len(fitting)
        if len(self.rows) > self._limit:
            # The reader is at the other end.
            del self.rows[max(self._limit, self.end) :]
            self._newest = self.rows[-1]

    def put_newer(self, trades: Sequence[TapeTrade], scale: Scale, causes: Causes) -> None:
        """Put the first trades after `newest_id` behind the rows."""
        rows = rows_of(trades, scale, causes, self._newest)
        if not rows:
            return
        if self.rows and self.rows[-1].first_id == rows[0].first_id:
            # The order of the last row goes on.
            del self.rows[-1]
        self._newest = rows[-1]
        self.rows += [row for row in rows if self._filter.admits(row)]
        self.end = min(self.end, len(self.rows))
        surplus = len(self.rows) - self._limit
        if surplus > 0:
            surplus = min(surplus, self.end)
            del self.rows[:surplus]
            self.end -= surplus
            self.oldest_id, self.is_at_start = self.rows[0].first_id, False

    def replace(self, place: int, rows: Sequence[TapeRow]) -> None:
        """Show `rows` in place of the one at `place`, which summed them up."""
        fitting = [row for row in rows if self._filter.admits(row)]
        self.rows[place : place + 1] = fitting
        if place < self.end:
            self.end += len(fitting) - 1
