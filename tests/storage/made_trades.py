"""Trades made up for tests of the storage."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec

from orderbook_desktop.core.trades import Trade, decode_repaired, decode_trade

FIRST_MS = 1_723_161_255_000


def _fields(trade_id: int, **others: object) -> dict[str, object]:
    fields = {"a": trade_id, "p": "61837.63000000", "q": "0.02000000", "f": trade_id, "l": trade_id}
    return {**fields, "T": FIRST_MS + trade_id, "m": False, "M": True, **others}


def received(
    trade_id: int, received_ns: int | None = None, market: str = "BTCUSDT", **others: object
) -> Trade:
    """A trade of the stream; by default received 5 ms after it was sent."""
    fields = _fields(trade_id, **others)
    sent_ms = FIRST_MS + trade_id + 3
    payload = msgspec.json.encode({"e": "aggTrade", "E": sent_ms, "s": market, **fields})
    return decode_trade(payload, (sent_ms + 5) * 1_000_000 if received_ns is None else received_ns)


def asked(trade_id: int, market: str = "BTCUSDT", **others: object) -> Trade:
    """A trade of an answer of REST, the same as that of `received`."""
    return decode_repaired(msgspec.json.encode(_fields(trade_id, **others)), market)


def sent(
    ids: Iterable[int], rng: random.Random | None = None, market: str = "BTCUSDT"
) -> list[Trade]:
    """Trades of the stream, with prices and quantities by chance if there is an `rng`."""
    trades: list[Trade] = []
    for trade_id in ids:
        others: dict[str, object] = {}
        received_ns = None
        if rng is not None:
            price, quantity = 61_800 + rng.randrange(4_000) / 100, rng.randrange(1, 90_000) / 1e5
            others = {"p": f"{price:.8f}", "q": f"{quantity:.8f}", "m": rng.random() < 0.5}
            received_ns = (FIRST_MS + trade_id + 8) * 1_000_000 + rng.randrange(900_000)
        trades.append(received(trade_id, received_ns, market, **others))
    return trades
