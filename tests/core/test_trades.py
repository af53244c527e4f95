"""Aggregated trades: what is one, and how one continues another."""

from __future__ import annotations

import json

import msgspec
import pytest

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.streams import Continuity, Stream
from orderbook_desktop.core.trades import (
    TRADE,
    Trade,
    TradeFields,
    decode_repaired,
    decode_trade,
    event_of_repaired,
    fits_64_bits,
    is_same_trade,
    made_trade,
    parts_missing,
    with_id,
)

_ROW = {"a": 8, "p": "10.50", "q": "2.0", "f": 20, "l": 22, "T": 1_723_161_255_342, "m": True}
_EVENT = {"e": "aggTrade", "E": 1_723_161_255_343, "s": "BTCUSDT", **_ROW, "M": True}


def _trade(trade_id: int, first: int, last: int, received_ns: int = 0) -> Trade:
    fields = {**_EVENT, "a": trade_id, "f": first, "l": last}
    return decode_trade(msgspec.json.encode(fields), received_ns)


def test_a_trade_of_the_stream() -> None:
    payload = json.dumps(_EVENT).encode()
    trade = decode_trade(payload, 5)
    assert (trade.market, trade.trade_id, trade.first_id, trade.final_id) == ("BTCUSDT", 8, 8, 8)
    assert (trade.first_part, trade.last_part) == (20, 22)
    assert (trade.price, trade.quantity, trade.is_sold) == ("10.50", "2.0", True)
    assert (trade.event_ms, trade.sent_ms) == (1_723_161_255_342, 1_723_161_255_343)
    assert (trade.received_ns, trade.is_repaired, trade.payload) == (5, False, payload)


def test_a_trade_that_was_asked_for_has_no_times_but_its_own() -> None:
    trade = decode_repaired(json.dumps(_ROW).encode(), "ETHUSDT")
    assert (trade.market, trade.trade_id, trade.is_repaired) == ("ETHUSDT", 8, True)
    assert (trade.event_ms, trade.sent_ms, trade.received_ns) == (1_723_161_255_342, 0, 0)


def test_a_trade_of_which_only_the_fields_are_known_is_spelt_as_the_exchange_spells_it() -> None:
    fields = TradeFields(8, "10.50", "2.0", -1, -1, 1_723_161_255_342_001, False)
    trade, repaired = made_trade("BTCUSDT", fields, 5), made_trade("BTCUSDT", fields)
    row = {**_ROW, "f": -1, "l": -1, "T": 1_723_161_255_342_001, "m": False, "M": True}
    assert json.loads(repaired.payload) == row
    event = {"e": "aggTrade", "E": row["T"], "s": "BTCUSDT", **row}
    assert json.loads(trade.payload) == event
    assert (trade.received_ns, trade.event_us, trade.sent_ms) == (5, row["T"], trade.event_ms)
    assert repaired.is_repaired
    assert is_same_trade(trade, repaired)


def test_a_repaired_trade_is_sent_as_of_the_time_at_which_it_was_traded() -> None:
    event = event_of_repaired(msgspec.json.encode(_ROW), "BTCUSDT")
    sent = {"e": "aggTrade", "E": _ROW["T"], "s": "BTCUSDT", **_ROW, "M": True}
    assert event == msgspec.json.encode(sent)
    with pytest.raises(MalformedMessage):
        event_of_repaired(b"{}", "BTCUSDT")


def test_a_trade_with_another_id_is_otherwise_the_same() -> None:
    trade = decode_trade(msgspec.json.encode(_EVENT), 5)
    other = with_id(trade, 2**62)
    assert other.payload == trade.payload.replace(b'"a":8,', b'"a":%d,' % 2**62)
    assert (other.trade_id, other.received_ns, other.price) == (2**62, 5, trade.price)


def test_microseconds_are_told_by_their_digits() -> None:
    fields = {**_EVENT, "E": 1_723_161_255_343_500, "T": 1_723_161_255_342_001}
    trade = decode_trade(json.dumps(fields).encode())
    assert (trade.event_ms, trade.sent_ms) == (1_723_161_255_342, 1_723_161_255_343)
    assert (trade.event_micros, trade.sent_micros) == (1, 500)
    assert trade.event_us == 1_723_161_255_342_001


@pytest.mark.parametrize(
    "change",
    [
        {"e": "trade"},
        {"a": -1},
        {"a": 2**63},
        {"a": "8"},
        {"l": 19},
        {"f": -1},
        {"f": -2, "l": -2},
        {"p": "-1"},
        {"p": "1e3"},
        {"p": "NaN"},
        {"p": 10.5},
        {"p": "0.000"},
        {"q": "0"},
        {"q": ""},
        {"q": "9" * 100},
        {"m": "true"},
        {"T": None},
        {"s": None},
    ],
)
def test_what_is_no_trade_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        decode_trade(json.dumps({**_EVENT, **change}).encode())
    if change.keys() <= _ROW.keys():
        with pytest.raises(MalformedMessage):
            decode_repaired(json.dumps({**_ROW, **change}).encode(), "BTCUSDT")


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"e":"aggTrade"}', b"\xff", b"[" * 9999])
def test_bytes_that_are_no_trade_are_refused(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_trade(payload)


@pytest.mark.parametrize(
    ("trade", "step"),
    [
        (_trade(11, 33, 33), Continuity.NEXT),
        # Trades that the exchange itself leaves out.
        (_trade(11, 40, 41), Continuity.NEXT),
        (_trade(11, 32, 33), Continuity.IMPLAUSIBLE),
        (_trade(12, 34, 34), Continuity.HOLE),
        (_trade(10, 30, 32), Continuity.OLD),
        (_trade(9, 29, 29), Continuity.OLD),
        # The same id with other trades in it.
        (_trade(10, 30, 33), Continuity.IMPLAUSIBLE),
        (_trade(10**12, 33, 33), Continuity.IMPLAUSIBLE),
    ],
)
def test_how_a_trade_continues_the_stream(trade: Trade, step: Continuity) -> None:
    assert TRADE.continuity(_trade(10, 30, 32), trade) is step


def test_a_trade_of_unknown_parts_contradicts_none() -> None:
    known, unknown = _trade(10, 30, 32), _trade(11, -1, -1)
    assert TRADE.continuity(known, unknown) is Continuity.NEXT
    assert TRADE.continuity(unknown, _trade(12, 40, 40)) is Continuity.NEXT
    assert TRADE.continuity(known, _trade(10, -1, -1)) is Continuity.OLD
    assert parts_missing(known, unknown) == parts_missing(unknown, _trade(12, 40, 40)) == 0
    assert is_same_trade(known, _trade(10, -1, -1))


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"p": "010.5000", "q": "2"}, True),
        ({"T": 1_723_161_255_342_999}, True),
        ({"E": 0}, True),
        ({"p": "10.51"}, False),
        ({"q": "2.00000001"}, False),
        ({"T": 1_723_161_255_343}, False),
        ({"m": False}, False),
        ({"f": 21}, False),
        ({"l": 23}, False),
    ],
)
def test_what_contradicts_a_trade_of_the_same_id(change: dict[str, object], is_same: bool) -> None:
    payload = json.dumps({**_EVENT, **change}).encode()
    assert (
        is_same_trade(decode_trade(json.dumps(_EVENT).encode()), decode_trade(payload)) is is_same
    )


def test_trades_that_the_exchange_leaves_out_are_counted() -> None:
    assert parts_missing(_trade(10, 30, 32), _trade(11, 33, 33)) == 0
    assert parts_missing(_trade(10, 30, 32), _trade(11, 36, 36)) == 3


def test_the_name_of_the_stream() -> None:
    assert Stream("BTCUSDT", TRADE).name == "btcusdt@aggTrade"


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("900000000000000.1", True),
        ("0.000000000000000001", True),
        ("900000000000000000.1", True),
        ("92233720368547758.00000001", False),
        ("9" * 40, False),
    ],
)
def test_a_trade_fits_where_some_scale_holds_it(text: str, fits: bool) -> None:
    for name in "pq":
        trade = decode_trade(msgspec.json.encode({**_EVENT, name: text}))
        assert fits_64_bits(trade) is fits
