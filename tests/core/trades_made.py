"""Made-up aggregated trades."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable

from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.trades import Trade, decode_trade

FIRST_MS = 1_767_600_000_000


def made_trade(
    trade_id: int,
    price: str = "100.50",
    quantity: str = "2.5",
    *,
    sold: bool = False,
    at_ms: int | None = None,
    ns: int = 1,
    market: str = "BTCUSDT",
) -> Trade:
    """Return a trade; without `at_ms` each has a millisecond of its own."""
    when = FIRST_MS + trade_id if at_ms is None else at_ms
    fields = {"e": "aggTrade", "E": when, "s": market, "a": trade_id, "p": price, "q": quantity}
    fields |= {"f": trade_id, "l": trade_id, "T": when, "m": sold, "M": True}
    return decode_trade(json.dumps(fields).encode(), ns)


def made_tape(trades: Iterable[Trade], limit: int = 20_000) -> Tape:
    """Return a tape with `trades`."""
    tape = Tape("BTCUSDT", limit)
    for trade in trades:
        tape.add(trade)
    return tape


def random_trades(
    count: int, seed: int = 1, first_id: int = 1_000, first_ticks: int = 6_410_000
) -> list[Trade]:
    """Return `count` trades in a row: single trades and sweeps of either side.

    A tick is 0.01; they begin near `first_ticks` of them.
    """
    chance = random.Random(seed)
    trades: list[Trade] = []
    ticks, at_ms = first_ticks, FIRST_MS
    while len(trades) < count:
        sold = chance.random() < 0.5
        at_ms += chance.choice((1, 3, 20, 400))
        for _ in range(min(count - len(trades), chance.choice((1, 1, 1, 2, 5)))):
            ticks += -1 if sold else 1
            quantity = f"{chance.choice((1, 1, 1, 30, 900)) * chance.randint(1, 99) / 100_000:.5f}"
            price = f"{ticks / 100:.2f}"
            trade_id = first_id + len(trades)
            trades.append(made_trade(trade_id, price, quantity, sold=sold, at_ms=at_ms))
    return trades
