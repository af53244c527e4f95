"""Finds large trades in a recording, forward and back: a replay plays trades by their ids."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.replay import LargeTrades
from orderbook_desktop.core.units import INT64_MAX, split_decimal
from orderbook_desktop.storage.store.trade_store import TradeStore

_HOUR_MS: Final = 3_600_000
_WHOLE: Final = 100_000


class LargeTrade(Struct, frozen=True):
    """A large trade: its id, and when it was traded."""

    trade_id: int
    event_ms: int


class _Least(Struct, frozen=True):
    """The least quantity of a large trade: so many units of 10^-`exponent`."""

    units: int
    exponent: int

    def at(self, exponent: int) -> int:
        """Return the least whole number of units of 10^-`exponent` that is not below it."""
        factor: int = 10 ** abs(exponent - self.exponent)
        return self.units * factor if exponent >= self.exponent else -(-self.units // factor)


class LargeTradeFinder:
    """Finds the trades of `market` in `trades` that are `large`.

    A percentile is that of an hour around the moment of the first search, and stays: so a jump
    back leads to where a jump forward came from. `find` may be cancelled. It needs the memory of
    that hour, and of a part of the recording, and raises what the store raises.
    """

    def __init__(self, trades: TradeStore, market: str, large: LargeTrades) -> None:
        self._trades = trades
        self._market = market
        self._large = large
        self._least: _Least | None = None

    async def find(self, trade_id: int, at_ms: int, *, back: bool) -> LargeTrade | None:
        """Return the first large trade after that of an id, or the last one before it.

        None: there is none, as far as trades are recorded. `at_ms` is the moment of the search.
        """
        self._least = self._least or await self._find_least(at_ms)
        if self._least is None:
            return None
        ids = (0, trade_id - 1) if back else (trade_id + 1, INT64_MAX)
        found = self._trades.trades(self._market, *ids, backwards=back)
        async with aclosing(found) as pieces:
            async for piece in pieces:
                trade = _large_in(piece, self._least, ids, back=back)
                if trade is not None:
                    return trade
        return None

    async def _find_least(self, at_ms: int) -> _Least | None:
        if self._large.quantity:
            whole, fraction = split_decimal(self._large.quantity)
            return _Least(int(whole + fraction), len(fraction))
        return await self._percentile(at_ms)

    async def _percentile(self, at_ms: int) -> _Least | None:
        """Return the percentile of the hour around a moment, or of the one nearest to it."""
        first_id = await self._trades.first_id_at(self._market, at_ms - _HOUR_MS // 2)
        if first_id is None:
            newest = await self._trades.newest(self._market, 1)
            if not newest:
                return None
            begin_ms = newest[0].event_ms - _HOUR_MS
            first_id = await self._trades.first_id_at(self._market, begin_ms)
        quantities: list[tuple[Int64Array, int]] = []
        end_ms: int | None = None
        found = self._trades.trades(self._market, first_id or 0, INT64_MAX)
        async with aclosing(found) as pieces:
            async for piece in pieces:
                times_ms = piece.arrays.times_ms
                if end_ms is None:
                    end_ms = int(times_ms[0]) + _HOUR_MS
                inside = times_ms <= end_ms
                quantities.append((piece.arrays.quantities[inside], piece.scale.quantity))
                if not inside.all():
                    break
        return await asyncio.to_thread(_ranked, quantities, self._large.percentile)


def _ranked(parts: list[tuple[Int64Array, int]], percentile: int) -> _Least | None:
    """Return the quantity at a percentile (in thousandths) by its rank; None of nothing."""
    if not sum(len(units) for units, _ in parts):
        return None
    exponent = max(exponent for _, exponent in parts)
    # Python's numbers, as no 64 bits may hold all of them at one exponent.
    values = sorted(
        value * 10 ** (exponent - own) for units, own in parts for value in units.tolist()
    )
    rank = -(-len(values) * min(max(percentile, 0), _WHOLE) // _WHOLE)
    return _Least(values[max(rank, 1) - 1], exponent)


def _large_in(
    piece: DecodedTrades, least: _Least, ids: tuple[int, int], *, back: bool
) -> LargeTrade | None:
    """Return the first large trade of `piece` with an id of these, or the last one."""
    units = least.at(piece.scale.quantity)
    if units > INT64_MAX:
        return None
    arrays = piece.arrays
    is_inside = (arrays.ids >= ids[0]) & (arrays.ids <= ids[1])
    places = np.flatnonzero((arrays.quantities >= units) & is_inside)
    if not len(places):
        return None
    at = int(places[-1 if back else 0])
    return LargeTrade(int(arrays.ids[at]), int(arrays.times_ms[at]))
