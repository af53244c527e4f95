"""Chunks of trades: every trade comes back byte for byte."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.archive.tokens import Column
from orderbook_desktop.core.archive.trades import (
    DecodedTrades,
    TradeChunk,
    TradeHeader,
    decode_trades,
    encode_trades,
    fitting_runs,
)
from orderbook_desktop.core.errors import BugError, DamagedChunk, InexactValue
from orderbook_desktop.core.trades import Trade, decode_repaired, decode_trade
from orderbook_desktop.core.units import parse_units

_FIRST_MS = 1_723_161_255_000


def _fields(trade_id: int, **others: object) -> dict[str, object]:
    fields = {"a": trade_id, "p": "61837.63000000", "q": "0.02000000", "f": trade_id, "l": trade_id}
    return {**fields, "T": _FIRST_MS + trade_id, "m": False, "M": True, **others}


def _sent(trade_id: int, received_ns: int = 7, **others: object) -> Trade:
    head = {"e": "aggTrade", "E": _FIRST_MS + trade_id + 3, "s": "BTCUSDT"}
    fields = {**head, **_fields(trade_id, **others)}
    return decode_trade(msgspec.json.encode(fields), received_ns)


def _asked(trade_id: int, **others: object) -> Trade:
    return decode_repaired(msgspec.json.encode(_fields(trade_id, **others)), "BTCUSDT")


def _again(trades: list[Trade]) -> list[Trade]:
    chunk = encode_trades(trades)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(chunk), type=TradeChunk)
    return decode_trades(stored).trades()


def test_arrays_say_what_was_traded() -> None:
    trades = [
        _sent(5, 900, q="1.00000000"),
        _asked(6, p="61837.64000000", f=6, l=9, m=True),
        _sent(7, 905, f=12, l=12),
    ]
    decoded = decode_trades(encode_trades(trades))
    arrays = decoded.arrays
    assert arrays.ids.tolist() == [5, 6, 7]
    assert (arrays.first_parts.tolist(), arrays.last_parts.tolist()) == ([5, 6, 12], [5, 9, 12])
    assert arrays.prices.tolist() == [parse_units(trade.price) for trade in trades]
    assert arrays.quantities.tolist() == [10**8, 2_000_000, 2_000_000]
    assert arrays.sold.tolist() == [False, True, False]
    assert arrays.repaired.tolist() == [False, True, False]
    assert arrays.received_ns.tolist() == [900, 0, 905]
    assert arrays.sent_ms.tolist() == [trade.sent_ms for trade in trades]
    assert decoded.header.count == 3
    assert (decoded.header.least_ms, decoded.header.greatest_ms) == (_FIRST_MS + 5, _FIRST_MS + 7)
    assert decoded.odd_payloads == {}
    assert decoded.trades() == trades


@pytest.mark.parametrize(
    "others",
    [
        {"p": "61837.63"},
        {"p": "61837.123456789012"},
        {"q": "00.5"},
        {"M": False},
        {"x": "é"},
        {"T": 1_723_161_255_342_123},
        {"q": "900000000000.1"},
    ],
)
def test_a_trade_that_is_spelt_otherwise_keeps_its_text(others: dict[str, Any]) -> None:
    trades = [_sent(1), _sent(2, **others), _asked(3, **others), _sent(4)]
    assert _again(trades) == trades


_quantity = st.integers(1, 10**14).map(lambda units: f"{units // 10**8}.{units % 10**8:08d}")
_trade = st.tuples(
    st.booleans(), st.integers(0, 5), st.integers(0, 3), _quantity, _quantity, st.booleans(),
    st.integers(-50, 2_000), st.integers(-5, 900), st.integers(-(10**6), 10**9), st.booleans(),
)  # fmt: skip


@given(st.lists(_trade, min_size=1, max_size=60), st.integers(0, 2**60))
def test_any_run_comes_back(rows: list[tuple[int, ...]], first_id: int) -> None:
    trades: list[Trade] = []
    part, time_ms, received_ns = 1, _FIRST_MS, _FIRST_MS * 10**6
    for at, (asked, skipped, span, price, quantity, sold, ms, late, ns, odd) in enumerate(rows):
        part, time_ms, received_ns = part + skipped, time_ms + ms, received_ns + ns
        fields = {
            "a": first_id + at,
            "p": price,
            "q": quantity,
            "f": part,
            "l": part + span,
            "T": time_ms,
            "m": sold,
        }
        fields |= {} if odd else {"M": True}
        part += span + 1
        if asked:
            trades.append(decode_repaired(msgspec.json.encode(fields), "BTCUSDT"))
        else:
            head = {"e": "aggTrade", "E": time_ms + late, "s": "BTCUSDT"}
            payload = msgspec.json.encode({**head, **fields})
            trades.append(decode_trade(payload, received_ns))
    assert _again(trades) == trades


def test_bursts_and_steady_receipt_take_the_shorter_of_two_columns() -> None:
    burst = [_sent(at, _FIRST_MS * 10**6 + at * 200) for at in range(1, 200)]
    steady = [_sent(at, (_FIRST_MS + at) * 10**6 + at % 7) for at in range(1, 200)]
    assert [encode_trades(run).header.by_delay for run in (burst, steady)] == [False, True]
    assert (_again(burst), _again(steady)) == (burst, steady)


def test_microseconds_are_kept_without_the_text() -> None:
    """Files of the exchange have them since 2025, and so has a stream by `timeUnit`."""
    first_us = _FIRST_MS * 1_000
    trades = [
        _sent(1, T=first_us + 999, E=first_us + 2_001),
        _asked(2, T=first_us + 1_000),
        _sent(3, first_us * 1_000 + 77, T=first_us + 1_002, E=first_us + 1_003),
    ]
    decoded = decode_trades(encode_trades(trades))
    assert (decoded.header.unit, decoded.odd_payloads) == ("us", {})
    arrays = decoded.arrays
    assert arrays.times_us.tolist() == [trade.event_us for trade in trades]
    assert arrays.times_us.tolist() == [first_us + 999, first_us + 1_000, first_us + 1_002]
    assert (arrays.times_ms - _FIRST_MS).tolist() == [0, 1, 1]
    assert arrays.sent_ms.tolist() == [_FIRST_MS + 2, 0, _FIRST_MS + 1]
    assert arrays.sent_micros.tolist() == [1, 0, 3]
    assert (decoded.header.from_ms, decoded.header.greatest_ms) == (_FIRST_MS, _FIRST_MS + 1)
    assert decoded.trades() == trades
    # Among them one that was asked for in milliseconds.
    mixed = [*trades, _asked(4)]
    assert _again(mixed) == mixed


def test_what_is_no_run_of_trades_is_refused() -> None:
    other = decode_repaired(msgspec.json.encode(_fields(2)), "ETHUSDT")
    for trades in ([], [_sent(1), _sent(3)], [_sent(1), _sent(1)], [_sent(1), other]):
        with pytest.raises(BugError):
            encode_trades(trades)
    dust = [_sent(1, q="0.000000000000000001"), _sent(2, q="93000000000")]
    with pytest.raises(InexactValue):
        encode_trades(dust)


def test_a_chunk_that_contradicts_itself_is_damaged() -> None:
    chunk = encode_trades([_sent(1), _asked(2, m=True), _sent(3, x=1), _sent(4, x=2)])

    def damaged(header: dict[str, object], **columns: Column) -> TradeChunk:
        return TradeChunk(
            msgspec.structs.replace(chunk.header, **header),
            msgspec.structs.replace(chunk.columns, **columns),
        )

    for broken in (
        damaged({"schema_version": 2}),
        damaged({"unit": "s"}),
        damaged({"count": 3}),
        damaged({}, sold=Column(b"\0\0")),
        damaged({}, repaired=Column(b"\xf0")),
        damaged({}, odd=Column(bytes([2, 9]))),
        damaged({}, texts=Column(b"{}")),
    ):
        with pytest.raises(DamagedChunk):
            decode_trades(broken)
    assert isinstance(decode_trades(chunk).header, TradeHeader)


def test_an_hour_of_trades_takes_few_bytes() -> None:
    """Of the made-up market; the real capture's are measured by a benchmark."""
    trades = [
        _sent(at, (_FIRST_MS + at + 3) * 10**6 + at * 7919 % 10**6, p=f"{60_000 + at % 5}.10000000")
        for at in range(1, 1_000)
    ]
    columns = msgspec.structs.astuple(encode_trades(trades).columns)
    tokens = sum(len(column.tokens) for column in columns)
    bits = sum(len(column.bits) for column in columns)
    assert tokens < 10 * len(trades)
    assert bits < 4 * len(trades)
    assert all(later.trade_id == earlier.trade_id + 1 for earlier, later in pairwise(trades))
    assert json.loads(trades[0].payload)["a"] == 1


def test_trades_have_arrays_without_a_chunk() -> None:
    trades = [_sent(5, 900, p="1.5"), _asked(6, q="00.5", f=6, l=9), _sent(7, 905, f=12, l=12)]
    direct, decoded = DecodedTrades.of(trades), decode_trades(encode_trades(trades))
    assert direct.trades() == decoded.trades() == trades
    assert direct.payloads() == decoded.payloads()
    assert len(direct) == len(decoded) == 3
    assert direct.scale == decoded.scale
    for one, other in zip(direct.arrays, decoded.arrays, strict=True):
        assert one.tolist() == other.tolist()
    with pytest.raises(BugError):
        DecodedTrades.of([])


@pytest.mark.parametrize("direct", [True, False])
def test_a_part_of_the_trades_is_cut_out(direct: bool) -> None:
    trades = [_sent(i, i, p="1.5" if i % 3 else "2.50000000") for i in range(5, 15)]
    decoded = DecodedTrades.of(trades) if direct else decode_trades(encode_trades(trades))
    part = decoded.between(7, 11)
    assert part is not None
    assert part.trades() == trades[2:7]
    assert (part.header.first_id, len(part)) == (7, 5)
    assert (part.header.least_ms, part.header.greatest_ms) == (_FIRST_MS + 7, _FIRST_MS + 11)
    assert decoded.between(0, 99) is decoded
    assert decoded.between(0, 4) is decoded.between(15, 20) is None
    again = part.between(9, 9)
    assert again is not None
    assert again.trades() == [trades[4]]


def test_trades_that_no_scale_holds_together_are_pieces() -> None:
    wide: dict[str, Any] = {"p": "900000000000000.1"}
    fine: dict[str, Any] = {"p": "0.00000000000000001"}
    trades = [_sent(1, **wide), _sent(2, **wide), _sent(3, **fine), _sent(4, **fine)]
    pieces = fitting_runs(trades)
    assert [trade for piece in pieces for trade in piece] == trades
    assert [len(piece) for piece in pieces] == [2, 2]
    assert fitting_runs(trades[:2]) == [trades[:2]]
    with pytest.raises(InexactValue):
        fitting_runs([_sent(5, p="9" * 40), *trades])
