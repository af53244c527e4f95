"""Trades on the local exchange: the parts of a taker order at one price are one aggregated trade.

Source: Binance Spot API, "Aggregate Trade Streams" and "Compressed/Aggregate trades list".
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.errors import InexactValue, MalformedMessage
from orderbook_desktop.core.units import format_units, parse_units
from orderbook_desktop.exchange.local.source import StreamEvent

TRADE: Final = "trade"
AGGREGATED: Final = "aggTrade"

# Of each market: an hour of a busy one.
_KEPT_AT_MOST: Final = 50_000


class AggregatedTrade(Struct, frozen=True):
    """The trades `first_id` to `last_id`: parts of one taker order, at one price.

    Price and quantity are decimal text. `is_sold` is whether the taker sold.
    """

    id: int
    price: str
    quantity: str
    first_id: int
    last_id: int
    time_ms: int
    is_sold: bool

    def fields(self) -> dict[str, Any]:
        """Return the trade as `GET /api/v3/aggTrades` lists it."""
        return {
            "a": self.id,
            "p": self.price,
            "q": self.quantity,
            "f": self.first_id,
            "l": self.last_id,
            "T": self.time_ms,
            "m": self.is_sold,
            "M": True,
        }

    def event(self, market: str, event_ms: int) -> bytes:
        """Return the event that is sent of it at `event_ms`."""
        return msgspec.json.encode({"e": AGGREGATED, "E": event_ms, "s": market, **self.fields()})


class _TradeEvent(Struct, frozen=True):
    """What counts of a `trade` event."""

    E: int
    t: int
    p: str
    q: str
    T: int
    m: bool


class _AggregatedEvent(Struct, frozen=True):
    """What counts of an `aggTrade` event."""

    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 (the exchange's name)
    T: int
    m: bool


_trade_event: Final = msgspec.json.Decoder(_TradeEvent)
_aggregated_event: Final = msgspec.json.Decoder(_AggregatedEvent)


class TradeAggregator:
    """Makes aggregated trades of the trades of one market.

    A `trade` event does not name its taker order. Trades that follow one another with the same
    time, price and taker's side count as one order's.
    """

    def __init__(self, market: str) -> None:
        self._market = market
        self._open: AggregatedTrade | None = None
        self._event_ms = 0
        self._next_id = 0

    def take(self, payload: bytes) -> bytes | None:
        """Take a `trade` event; return the event of the aggregated trade that ended before it.

        Raises `msgspec.DecodeError`.
        """
        trade = _trade_event.decode(payload)
        known = self._open
        self._next_id = self._next_id or trade.t
        if known is not None and _continues(known, trade):
            quantity = format(Decimal(known.quantity) + Decimal(trade.q), "f")
            self._open = replace(known, quantity=quantity, last_id=trade.t)
            self._event_ms = trade.E
            return None
        ended = self.end()
        self._open = AggregatedTrade(
            self._next_id, trade.p, trade.q, trade.t, trade.t, trade.T, trade.m
        )
        self._event_ms = trade.E
        return ended

    def until(self, event_ms: int) -> bytes | None:
        """Return the event of the trade that has ended by `event_ms`, if there is one."""
        return self.end() if self._open and self._open.time_ms < event_ms else None

    def end(self) -> bytes | None:
        """Return the event of the trade that may still go on, if there is one."""
        ended, self._open = self._open, None
        if ended is None:
            return None
        self._next_id = ended.id + 1
        return ended.event(self._market, self._event_ms)


def _continues(known: AggregatedTrade, trade: _TradeEvent) -> bool:
    same = (known.last_id + 1, known.price, known.time_ms, known.is_sold)
    return same == (trade.t, trade.p, trade.T, trade.m)


class TradeTape:
    """The newest aggregated trades of one market, in the order of their ids.

    A trade takes some fifty bytes: a market may run for days. One whose price or quantity does not
    fit into 64 bits in units of 10^-8 is not kept.
    """

    def __init__(self, kept_at_most: int = _KEPT_AT_MOST) -> None:
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

    def __init__(self) -> None:
        self._tapes: defaultdict[str, TradeTape] = defaultdict(TradeTape)

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
