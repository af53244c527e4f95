"""Trades as rows: joined at one scale, cut by time, and surveyed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orderbook_desktop.core.archive.trade_rows import TradeRows, TradeSurvey, WideTrades
from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.trades import Trade, decode_repaired, decode_trade
from orderbook_desktop.core.units import Scale

_MS = 1_723_161_255_000
_US = _MS * 1_000


def _trade(trade_id: int, received_ns: int = 0, **others: Any) -> Trade:
    fields = {"a": trade_id, "p": "10.5", "q": "2", "f": trade_id, "l": trade_id + 1}
    fields = {**fields, "T": _MS, "m": False, **others}
    if not received_ns:
        return decode_repaired(json.dumps(fields).encode(), "BTCUSDT")
    event = {"e": "aggTrade", "E": _MS, "s": "BTCUSDT", **fields}
    return decode_trade(json.dumps(event).encode(), received_ns)


def _rows(*trades: Trade) -> TradeRows:
    return TradeRows.of(DecodedTrades.of(trades))


def test_rows_say_what_was_traded() -> None:
    rows = _rows(_trade(5, 900, T=_US + 7), _trade(6, m=True))
    assert (len(rows), rows.market, rows.scale) == (2, "BTCUSDT", Scale())
    assert (rows.ids.tolist(), rows.event_us.tolist()) == ([5, 6], [_US + 7, _US])
    assert (rows.first_parts.tolist(), rows.last_parts.tolist()) == ([5, 6], [6, 7])
    assert (rows.received_ns.tolist(), rows.repaired.tolist()) == ([900, 0], [False, True])
    assert (rows.prices.tolist(), rows.quantities.tolist()) == (
        [1_050_000_000] * 2,
        [2 * 10**8] * 2,
    )
    assert rows.sold.tolist() == [False, True]


def test_parts_are_joined_at_the_finest_scale() -> None:
    fine = _rows(_trade(6, p="0.000000000001", q="1"))
    rows = TradeRows.joined("BTCUSDT", [_rows(_trade(5)), fine])
    assert rows.scale == Scale(12, 8)
    assert rows.prices.tolist() == [10_500_000_000_000, 1]
    assert rows.ids.tolist() == [5, 6]
    nothing = TradeRows.joined("BTCUSDT", [])
    assert (len(nothing), nothing.scale) == (0, Scale())
    with pytest.raises(WideTrades, match="a shorter time"):
        TradeRows.joined("BTCUSDT", [_rows(_trade(5, p="90000000000")), fine])


def test_a_time_has_its_begin_and_not_its_end() -> None:
    rows = _rows(_trade(1, T=_US - 1), _trade(2), _trade(3, T=_US + 999), _trade(4, T=_MS + 1))
    assert rows.between(None, None) is rows
    assert rows.between(_MS, None).ids.tolist() == [2, 3, 4]
    assert rows.between(None, _MS).ids.tolist() == [1]
    assert rows.between(_MS, _MS + 1).ids.tolist() == [2, 3]


def test_what_trades_there_are() -> None:
    survey = TradeSurvey()
    survey.take(TradeRows.joined("BTCUSDT", []))
    assert survey == TradeSurvey()
    survey.take(_rows(_trade(5, _MS * 10**6 - 40), _trade(6)))
    survey.take(_rows(_trade(9, _MS * 10**6 + 40, p="0.000000000001")))
    assert (survey.rows, survey.repaired, survey.first_id, survey.last_id) == (3, 1, 5, 9)
    assert (survey.least_delay_ns, survey.scale) == (-40, Scale(12, 8))
