"""The trades that the local exchange serves.

Source: Binance Spot API, "Aggregate Trade Streams" and "Compressed/Aggregate trades list".
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from orderbook_desktop.core.errors import InexactValue, MalformedMessage
from orderbook_desktop.core.units import format_units, parse_units
from orderbook_desktop.exchange.local.source import StreamEvent
from orderbook_desktop.formats.single_trades import AGGREGATED, AggregatedTrade

KEPT_AT_MOST: Final = 50_000
"""So many trades of each market are served: an hour of a busy one."""


class _AggregatedEvent(Struct, frozen=True):
    """What counts of an `aggTrade` event."""

    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 (the exchange's name)
    T: int
    m: bool


_aggregated_event: Final = msgspec.json.Decoder(_AggregatedEvent)


class TradeTape:
    """The newest aggregated trades of one market, in the order of their ids.

    A trade takes some fifty bytes: a market may run for days. One whose price or quantity does not
    fit into 64 bits in units of 10^-8 is not kept.
    """

    def __init__(self, kept_at_most: int = KEPT_AT_MOST) -> None:
        self._kept_at_most = kept_at_most
        self._ids, self._times_ms = array("q"), array("q")
        # Five numbers of each trade: price, quantity, first id, last id, and whether it was sold.
        self._others = array("q")
        self._forgotten_id = 0

    def add(self, trade: AggregatedTrade) -> None:
        """Add a trade that follows the others; an earlier id is left out."""
        if self._ids and trade.id <= self._ids[-1]:
            return
        try:
            units = parse_units(trade.price), parse_units(trade.quantity)
        except (InexactValue, MalformedMessage):
            return
        self._ids.append(trade.id)
        self._times_ms.append(trade.time_ms)
        self._others.extend((*units, trade.first_id, trade.last_id, trade.is_sold))
        if len(self._ids) >= 2 * self._kept_at_most:
            self._drop(self._kept_at_most)

    def forget(self, before_ms: int) -> int:
        """Serve no trade from before `before_ms` any more; return how many these are."""
        gone = bisect_left(self._times_ms, before_ms)
        if gone:
            self._forgotten_id = self._ids[gone - 1]
        self._drop(gone)
        return gone

    def has_forgotten(self, trade_id: int) -> bool:
        """Whether the trade `trade_id`, or one before it, is not served any more."""
        return trade_id <= self._forgotten_id

    def since_id(self, from_id: int, limit: int) -> list[AggregatedTrade]:
        """Return the first trades from the id `from_id` on, `limit` at most."""
        first = bisect_left(self._ids, from_id)
        return self._between(first, first + limit)

    def between(self, from_ms: int | None, to_ms: int | None, limit: int) -> list[AggregatedTrade]:
        """Return the trades of a time, both ends included, `limit` at most.

        These are the first ones if the time has a beginning, else the last ones.
        """
        end = len(self._ids) if to_ms is None else bisect_right(self._times_ms, to_ms)
        if from_ms is None:
            return self._between(max(0, end - limit), end)
        first = bisect_left(self._times_ms, from_ms)
        return self._between(first, min(first + limit, end))

    def _between(self, begin: int, end: int) -> list[AggregatedTrade]:
        trades = []
        for at in range(begin, min(end, len(self._ids))):
            price, quantity, first_id, last_id, is_sold = self._others[5 * at : 5 * at + 5]
            texts = format_units(price), format_units(quantity)
            time_ms = self._times_ms[at]
            trades.append(
                AggregatedTrade(self._ids[at], *texts, first_id, last_id, time_ms, bool(is_sold))
            )
        return trades

    def _drop(self, count: int) -> None:
        del self._ids[:count], self._times_ms[:count], self._others[: 5 * count]


class TradeTapes:
    """The tape of each market, of the events that are published."""

    def __init__(self, kept_at_most: int = KEPT_AT_MOST) -> None:
        self._tapes: defaultdict[str, TradeTape] = defaultdict(partial(TradeTape, kept_at_most))

    def of(self, market: str) -> TradeTape:
        """Return the tape of `market`; empty if it has no aggregated trade yet."""
        return self._tapes.get(market) or TradeTape()

    def take(self, event: StreamEvent) -> None:
        """Take note of an event, if it is an aggregated trade; one that can't be read is none."""
        if event.kind != AGGREGATED:
            return
        try:
            trade = _aggregated_event.decode(event.payload)
        except msgspec.DecodeError:
            return
        self._tapes[event.market].add(AggregatedTrade(*msgspec.structs.astuple(trade)))

    def forget(self, before_ms: int, market: str = "") -> int:
        """Serve no trade of `market` (empty: of any) from before `before_ms`; return how many."""
        tapes = [tape for name, tape in self._tapes.items() if market in ("", name)]
        return sum(tape.forget(before_ms) for tape in tapes)
