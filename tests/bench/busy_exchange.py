"""A local exchange with many busy symbols, cheap enough to share a computer with what it feeds.

Its books move in a round of events made beforehand, so that an event costs little more than
sending it. It begins when all symbols are subscribed to, and stops after a while: what was
sent is then exactly what has to be recorded.

    python -m tests.bench.busy_exchange SYMBOLS EVENTS_A_SECOND SECONDS [TRADES_A_SECOND]

Each trade is at a price that the next event of its book changes, as on the exchange.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Collection, Mapping

from orderbook_desktop.exchange.local import LocalExchange
from orderbook_desktop.exchange.local.source import Listing, LocalBook, Publish, StreamEvent

LEVELS = 1_000
LEVELS_AN_EVENT = 10
_ROUND = 64
_IDS_AN_EVENT = 25
_TICK_S = 0.02
_FIRST_ID = 10_000_000_000

Side = dict[str, str]


class BusySource:
    """`symbols` markets with `rate` events a second each, for `seconds`; is a `MarketSource`.

    `trades` is how many trades a second each market has besides.
    """

    def __init__(
        self, symbols: int, rate: float, seconds: float, trades: float = 0.0, seed: int = 1
    ) -> None:
        self.markets = [f"A{number:04}USDT" for number in range(symbols)]
        self._rate = rate
        self._seconds = seconds
        self._trade_rate = trades
        self._traded = 0
        self._listings = {
            market: Listing(market, market[:-4], "USDT", "0.01000000", "0.00001000")
            for market in self.markets
        }
        made = random.Random(seed)
        self._bids = _side(made, 6_000_000, -1)
        self._asks = _side(made, 6_000_001, 1)
        self._round = [(_changes(made, self._bids), _changes(made, self._asks))]
        while len(self._round) < _ROUND:
            self._round.append((_changes(made, self._bids), _changes(made, self._asks)))
        self._tails = [
            b'"b":[%s],"a":[%s]}' % (_json(bids), _json(asks)) for bids, asks in self._round
        ]
        # The price of the first bid that each event of the round changes.
        self._trade_prices = [next(iter(bids)) for bids, _ in self._round]
        self._sent = dict.fromkeys(self.markets, 0)
        self._all_wanted = asyncio.Event()
        self.late_s = 0.0

    @property
    def listings(self) -> Mapping[str, Listing]:
        return self._listings

    @property
    def played(self) -> int:
        return sum(self._sent.values())

    async def open(self) -> None:
        """Nothing to get ready."""

    async def run(self, publish: Publish) -> None:
        await self._all_wanted.wait()
        began = time.monotonic()
        count = len(self.markets)
        total = int(count * self._rate * self._seconds)
        trades = int(count * self._trade_rate * self._seconds)
        done = 0
        while done < total or self._traded < trades:
            passed = time.monotonic() - began
            for number in range(self._traded, min(trades, int(passed * count * self._trade_rate))):
                publish(self._trade(self.markets[number % count]))
            due = min(total, int(passed * count * self._rate))
            for number in range(done, due):
                publish(self._event(self.markets[number % count]))
            done = due
            await asyncio.sleep(max(0.0, _TICK_S - (time.monotonic() - began - passed)))
        self.late_s = time.monotonic() - began - self._seconds

    def want(self, streams: Collection[str]) -> None:
        kinds = 2 if self._trade_rate else 1
        if len(streams) >= kinds * len(self.markets):
            self._all_wanted.set()

    async def book(self, market: str) -> LocalBook:
        sent = self._sent[market]
        bids, asks = dict(self._bids), dict(self._asks)
        for index in range(max(0, sent - _ROUND), sent):
            for side, changed in zip((bids, asks), self._round[index % _ROUND], strict=True):
                side.update(changed)
        return LocalBook(_FIRST_ID + sent * _IDS_AN_EVENT, _there(bids, -1), _there(asks, 1))

    def older_book(self, market: str) -> LocalBook | None:  # noqa: ARG002 (its name is given)
        return None

    def update_id(self, market: str) -> int:
        return _FIRST_ID + self._sent[market] * _IDS_AN_EVENT

    async def close(self) -> None:
        """Nothing to release."""

    def _event(self, market: str) -> StreamEvent:
        sent = self._sent[market]
        self._sent[market] = sent + 1
        first = _FIRST_ID + sent * _IDS_AN_EVENT + 1
        final = first + _IDS_AN_EVENT - 1
        payload = b'{"e":"depthUpdate","E":%d,"s":"%s","U":%d,"u":%d,%s' % (
            time.time_ns() // 1_000_000,
            market.encode(),
            first,
            final,
            self._tails[sent % _ROUND],
        )
        stream = f"{market.lower()}@depth@100ms"
        return StreamEvent(stream, market, payload, is_diff=True, final_id=final)

    def _trade(self, market: str) -> StreamEvent:
        number = self._traded // len(self.markets) + 1
        self._traded += 1
        now_ms = time.time_ns() // 1_000_000
        payload = (
            b'{"e":"aggTrade","E":%d,"s":"%s","a":%d,"p":"%s","q":"0.%05d000","f":%d,"l":%d,'
            b'"T":%d,"m":%s,"M":true}'
        ) % (
            *(now_ms, market.encode(), number),
            self._trade_prices[self._sent[market] % _ROUND].encode(),
            *(1 + number * 37 % 90_000, number, number, now_ms),
            b"true" if number % 3 else b"false",
        )
        stream = f"{market.lower()}@aggTrade"
        return StreamEvent(stream, market, payload, final_id=number)


def _side(made: random.Random, start: int, sign: int) -> Side:
    ticks = [start + sign * sum(divmod(rank * rank, 50)) for rank in range(LEVELS)]
    return {_decimal(tick, 2): _quantity(made) for tick in dict.fromkeys(ticks)}


def _changes(made: random.Random, side: Side) -> Side:
    """Change levels, most of them near the spread; a tenth goes, and comes back in time."""
    prices = list(side)
    ranks = {min(int(made.expovariate(0.02)), len(prices) - 1) for _ in range(LEVELS_AN_EVENT)}
    return {
        # The first level stays, so that the book is never crossed and never empty.
        prices[rank]: "0.00000000" if rank and made.random() < 0.1 else _quantity(made)
        for rank in sorted(ranks)
    }


def _quantity(made: random.Random) -> str:
    return _decimal(1 + int(made.lognormvariate(9, 1.5)), 5)


def _decimal(units: int, places: int) -> str:
    whole, rest = divmod(units, 10**places)
    return f"{whole}.{rest:0{places}d}".ljust(len(str(whole)) + 9, "0")


def _json(side: Side) -> bytes:
    return ",".join(f'["{price}","{quantity}"]' for price, quantity in side.items()).encode()


def _there(side: Side, sign: int) -> list[tuple[str, str]]:
    there = [(price, quantity) for price, quantity in side.items() if float(quantity)]
    return sorted(there, key=lambda level: sign * float(level[0]))


async def _serve(symbols: int, rate: float, seconds: float, trades: float) -> None:
    source = BusySource(symbols, rate, seconds, trades)
    async with LocalExchange(source) as exchange:
        print(f"{exchange.rest_url} {exchange.ws_url}", flush=True)
        await exchange.finished()
        print(f"late by {source.late_s:.3f} s", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    numbers = [*map(float, sys.argv[2:]), 0.0]
    asyncio.run(_serve(int(sys.argv[1]), *numbers[:3]))
