"""Single trades of the exchange, and the aggregated trades that are made of them.

Source: Binance Spot API, "Trade Streams", "Aggregate Trade Streams" and "Compressed/Aggregate
trades list".
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.trades import Trade, TradeFields, decode_trade, made_trade

TRADE: Final = "trade"
AGGREGATED: Final = "aggTrade"

# So many trades may come before one that has a lower id.
_LATE_BY_AT_MOST: Final = 1_000


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


_trade_event: Final = msgspec.json.Decoder(_TradeEvent)


class TradeAggregator:
    """Makes aggregated trades of the trades of one market.

    A `trade` event does not name its taker order. Trades that follow one another with the same
    time, price and taker's side count as one order's. Aggregated trades have ids in a row, the
    first one that of its first part. With `leaves_ids_out` an id is left out for each trade that is
    missing, since it may have been an order's.
    """

    def __init__(self, market: str, *, leaves_ids_out: bool = False) -> None:
        self._market = market
        self._leaves_ids_out = leaves_ids_out
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
        if known is not None and self._leaves_ids_out:
            self._next_id += max(0, trade.t - known.last_id - 1)
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


class SingleTrades:
    """Makes aggregated trades of the single ones that collectors received of one market.

    Trades that came twice, or late, are put into their places. `count` is how many there were.
    """

    def __init__(self, market: str) -> None:
        self.count = 0
        self._market = market
        self._aggregator = TradeAggregator(market, leaves_ids_out=True)
        self._waiting: list[tuple[int, int, bytes]] = []
        self._latest_id = -1
        self._received_ns = 0

    def take(self, payload: bytes, received_ns: int) -> Iterator[Trade]:
        """Take a `trade` event; iterate over the aggregated trades that have ended.

        Raises `MalformedMessage` or `msgspec.DecodeError`.
        """
        trade = _trade_event.decode(payload)
        fields = TradeFields(trade.t, trade.p, trade.q, trade.t, trade.t, trade.T, trade.m)
        # It raises here what it would raise as an aggregated trade of one part.
        made_trade(self._market, fields, received_ns)
        heapq.heappush(self._waiting, (trade.t, received_ns, payload))
        if len(self._waiting) > _LATE_BY_AT_MOST:
            yield from self._next()

    def end(self) -> Iterator[Trade]:
        """Iterate over the last aggregated trades."""
        while self._waiting:
            yield from self._next()
        yield from self._ended(self._aggregator.end())

    def _next(self) -> Iterator[Trade]:
        trade_id, received_ns, payload = heapq.heappop(self._waiting)
        if trade_id <= self._latest_id:
            return
        self.count += 1
        yield from self._ended(self._aggregator.take(payload))
        self._latest_id, self._received_ns = trade_id, received_ns

    def _ended(self, payload: bytes | None) -> Iterator[Trade]:
        # It was whole when its last part was received.
        if payload is not None:
            yield decode_trade(payload, self._received_ns)
