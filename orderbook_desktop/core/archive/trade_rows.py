"""Recorded trades as rows, one per trade: what exports and readers of arrays are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive.rows import RowSurvey
from orderbook_desktop.core.archive.tokens import BoolArray
from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import US_A_MS
from orderbook_desktop.core.levels import EMPTY, Int64Array
from orderbook_desktop.core.units import DEFAULT_EXPONENT, INT64_MAX, Scale

_NS_A_US: Final = 1_000


class WideTrades(KnownError):
    """No scale holds the values of some trades beside each other."""

    def __str__(self) -> str:
        return (
            "No 64-bit numbers hold the prices and quantities of these trades in one unit; ask for "
            "the trades of a shorter time."
        )


class TradeRows(Struct, frozen=True, eq=False):
    """Aggregated trades of `market` in the order of their ids: arrays of one length.

    - `ids` are the ids of the aggregated trades. `first_parts` and `last_parts` are the ids of the
      exchange's own trades in each, -1 where the source did not say them.
    - `event_us` is when it was traded, by the exchange: microseconds since the epoch. The exchange
      mostly gives whole milliseconds.
    - `received_ns` is when it was received: nanoseconds since the epoch. It is 0 for a repaired
      trade, which was asked for afterwards or imported without such a time.
    - `prices` and `quantities` are whole numbers (int64) in units of 10^-`scale.price` and
      10^-`scale.quantity`.
    - `sold` is whether the taker sold, `repaired` whether the trade was repaired.
    """

    market: str
    scale: Scale
    ids: Int64Array
    first_parts: Int64Array
    last_parts: Int64Array
    event_us: Int64Array
    received_ns: Int64Array
    prices: Int64Array
    quantities: Int64Array
    sold: BoolArray
    repaired: BoolArray

    @classmethod
    def of(cls, trades: DecodedTrades) -> Self:
        """Return `trades` as rows."""
        arrays = trades.arrays
        return cls(
            trades.header.market,
            trades.scale,
            arrays.ids,
            arrays.first_parts,
            arrays.last_parts,
            arrays.times_us,
            arrays.received_ns,
            arrays.prices,
            arrays.quantities,
            arrays.sold,
            arrays.repaired,
        )

    @classmethod
    def joined(cls, market: str, parts: Iterable[TradeRows]) -> Self:
        """Return `parts`, in their order, as one.

        Their prices and quantities are in units of the finest of their scales. Raises `WideTrades`
        if int64 does not hold one of them then.
        """
        parts = list(parts)
        scale = Scale(
            max((part.scale.price for part in parts), default=DEFAULT_EXPONENT),
            max((part.scale.quantity for part in parts), default=DEFAULT_EXPONENT),
        )
        flags: BoolArray = np.zeros(0, dtype=np.bool_)
        columns: list[tuple[Int64Array | BoolArray, ...]] = [(*[EMPTY] * 7, flags, flags)]
        columns += [
            (
                *(part.ids, part.first_parts, part.last_parts, part.event_us, part.received_ns),
                _units_at(part.prices, scale.price - part.scale.price),
                _units_at(part.quantities, scale.quantity - part.scale.quantity),
                *(part.sold, part.repaired),
            )
            for part in parts
        ]
        return cls(market, scale, *map(np.concatenate, zip(*columns, strict=True)))

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, chosen: BoolArray) -> TradeRows:
        """Return the rows of which `chosen` is true."""
        if chosen.all():
            return self
        return TradeRows(
            self.market,
            self.scale,
            self.ids[chosen],
            self.first_parts[chosen],
            self.last_parts[chosen],
            self.event_us[chosen],
            self.received_ns[chosen],
            self.prices[chosen],
            self.quantities[chosen],
            self.sold[chosen],
            self.repaired[chosen],
        )

    def between(self, from_ms: int | None, to_ms: int | None) -> TradeRows:
        """Return the rows from `from_ms` to before `to_ms`, by when they were traded."""
        chosen: BoolArray = np.ones(len(self), dtype=np.bool_)
        if from_ms is not None:
            chosen &= self.event_us >= from_ms * US_A_MS
        if to_ms is not None:
            chosen &= self.event_us < to_ms * US_A_MS
        return self.where(chosen)


def _units_at(units: Int64Array, places: int) -> Int64Array:
    factor: int = 10**places
    if int(units.max(initial=0)) > INT64_MAX // factor:
        raise WideTrades
    return units * factor


class TradeSurvey(RowSurvey):
    """What trades there are, and how many of them are `repaired`: these have no delay."""

    repaired: int = 0

    def take(self, rows: TradeRows) -> None:
        """Learn from `rows`."""
        if len(rows):
            self.repaired += int(rows.repaired.sum())
            delays = (rows.received_ns - rows.event_us * _NS_A_US)[~rows.repaired]
            self.learn(rows.ids, rows.scale, delays)
