"""What has to be known of all rows before the first can be written, in some formats."""

from __future__ import annotations

from dataclasses import dataclass

from orderbook_desktop.core.archive.rows import LevelRows
from orderbook_desktop.core.units import DEFAULT_EXPONENT, Scale

_NS_A_MS = 1_000_000


@dataclass(slots=True)
class Survey:
    """What rows there are: how many, of how many books, and the finest exponents in use.

    `first_id` and `last_id` are the final update ids of the first row and of the last.
    `least_delay_ns` is the least time from an event to its receipt; below 0 where our clock
    was behind the exchange's.
    """

    rows: int = 0
    books: int = 0
    first_id: int = 0
    last_id: int = 0
    least_delay_ns: int = 0
    price_exponent: int = DEFAULT_EXPONENT
    quantity_exponent: int = DEFAULT_EXPONENT

    @property
    def scale(self) -> Scale:
        """A scale at which every value is whole."""
        return Scale(self.price_exponent, self.quantity_exponent)

    def take(self, rows: LevelRows) -> None:
        """Learn from `rows`."""
        if not len(rows):
            return
        if not self.rows:
            self.first_id = int(rows.final_ids[0])
        self.last_id = int(rows.final_ids[-1])
        self.rows += len(rows)
        self.books += rows.is_snapshot
        self.price_exponent = max(self.price_exponent, rows.scale.price)
        self.quantity_exponent = max(self.quantity_exponent, rows.scale.quantity)
        delays = rows.received_ns - rows.event_ms * _NS_A_MS
        self.least_delay_ns = min(self.least_delay_ns, int(delays.min()))
