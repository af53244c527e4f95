"""Tardis' CSV of trades, out and in."""

from __future__ import annotations

import csv
import gzip
from io import BytesIO
from pathlib import Path

import pytest

from orderbook_desktop.core.archive.trade_rows import TradeRows
from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.received import FileNotes, UnusableFile
from orderbook_desktop.core.trades import UNKNOWN_PART, Trade, is_same_trade
from orderbook_desktop.formats.tardis_fields import TRADE_HEADER
from orderbook_desktop.formats.tardis_reader import is_tardis
from orderbook_desktop.formats.tardis_trades import is_tardis_trades, tardis_trades
from orderbook_desktop.formats.tardis_writer import TardisTradeWriter
from tests.storage.made_trades import FIRST_MS, asked, received

_US = FIRST_MS * 1_000
_ROW = f"binance,BTCUSDT,{_US},{_US + 5},7,buy,10.5,2"


def _written(*trades: Trade, zipped: bool = False) -> bytes:
    file = BytesIO()
    writer = TardisTradeWriter(file, zipped=zipped)
    writer.write(TradeRows.of(DecodedTrades.of(trades)))
    writer.close()
    return file.getvalue()


def _read(path: Path, *lines: str | bytes) -> list[Trade]:
    path.write_bytes(b"\n".join(one.encode() if isinstance(one, str) else one for one in lines))
    return [one.message for one in tardis_trades([path]) if isinstance(one.message, Trade)]


def test_rows_are_as_tardis_has_them() -> None:
    text = _written(
        received(5, (_US + 7_500) * 1_000 + 999, p="61837.63000000", q="0.02000000"),
        asked(6, m=True, p="61000.00000000", q="1.00000000"),
        received(7, T=_US + 7_001, p="0.000000000001", q="10"),
    ).decode()
    header, *rows = text.splitlines()
    assert header == TRADE_HEADER
    assert header == "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
    assert rows[0] == f"binance,BTCUSDT,{_US + 5_000},{_US + 7_500},5,buy,61837.63,0.02"
    # It was never received.
    assert rows[1] == f"binance,BTCUSDT,{_US + 6_000},{_US + 6_000},6,sell,61000,1"
    assert rows[2].split(",")[2] == str(_US + 7_001)
    assert rows[2].endswith(",7,buy,0.000000000001,10")


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    trades = [received(5), asked(6, m=True), received(7, T=_US + 7_123, E=_US + 8_000)]
    path = tmp_path / "trades.csv.gz"
    path.write_bytes(_written(*trades, zipped=True))
    assert gzip.decompress(path.read_bytes()) == _written(*trades)
    assert _written(*trades, zipped=True) == path.read_bytes()
    again = [one.message for one in tardis_trades([path]) if isinstance(one.message, Trade)]
    assert all(map(is_same_trade, trades, again))
    assert [trade.is_repaired for trade in again] == [False, True, False]
    assert [trade.received_ns // 1_000 for trade in again] == [
        trade.received_ns // 1_000 for trade in trades
    ]
    assert [trade.event_us for trade in again] == [trade.event_us for trade in trades]
    assert {trade.first_part for trade in again} == {UNKNOWN_PART}


def test_a_file_is_known_by_its_first_line() -> None:
    assert is_tardis_trades(TRADE_HEADER.encode())
    assert is_tardis_trades(_ROW.encode())
    assert is_tardis_trades(b'"binance","BTCUSDT",1,2,"x","unknown","1","2"')
    assert not is_tardis_trades(b"binance,BTCUSDT,1,2,true,bid,1,2")
    assert not is_tardis(TRADE_HEADER.encode())
    assert not is_tardis(_ROW.encode())


def test_columns_may_be_in_any_order_and_times_in_any_unit(tmp_path: Path) -> None:
    header = "side,amount,price,id,other,local_timestamp,timestamp,symbol,exchange"
    row = f'"sell",1e-7,61837.630,7,x,{FIRST_MS + 3},{FIRST_MS},btc_usdt,binance'
    path = tmp_path / "trades.csv"
    notes = FileNotes()
    path.write_text(f"{header}\n{row}\n{header}\n")
    (trade,) = (one.message for one in tardis_trades([path], notes))
    assert isinstance(trade, Trade)
    assert (trade.market, trade.trade_id, trade.is_sold) == ("BTCUSDT", 7, True)
    assert (trade.price, trade.quantity) == ("61837.63000000", "0.00000010")
    assert (trade.event_ms, trade.received_ns) == (FIRST_MS, (FIRST_MS + 3) * 10**6)
    assert notes.units == {path: "milliseconds"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"exchange": "deribit"}, "is of the exchange 'deribit'"),
        ({"symbol": "BTC/USDT/X"}, "for a symbol"),
        ({"timestamp": "soon"}, "for a time"),
        ({"timestamp": "5"}, "for a time"),
        ({"local_timestamp": "0"}, "for a time"),
        ({"id": "b3f1-77"}, "for the id of a trade"),
        ({"id": "-1"}, "for the id of a trade"),
        ({"id": "9" * 19}, "Expected `int`"),
        ({"side": "unknown"}, "for a side"),
        ({"price": "NaN"}, "for a price or an amount"),
        ({"amount": "0"}, "a quantity of 0"),
        ({"amount": "1,5"}, "has not the fields"),
    ],
)
def test_a_row_that_is_no_trade_is_named(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    row = dict(zip(TRADE_HEADER.split(","), _ROW.split(","), strict=True)) | change
    with pytest.raises(UnusableFile, match=reason) as raised:
        _read(tmp_path / "trades.csv", TRADE_HEADER, _ROW, ",".join(row.values()), "")
    assert raised.value.line == 3


def test_a_broken_file_gives_its_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(f"{TRADE_HEADER}\n{_ROW}\n{_ROW[:30]}")
    notes = FileNotes()
    assert len(list(tardis_trades([path], notes))) == 1
    assert list(notes.breaks) == [path]


def test_every_field_is_plain_for_any_reader() -> None:
    rows = list(csv.DictReader(_written(received(5)).decode().splitlines()))
    assert [(row["exchange"], row["symbol"], row["id"]) for row in rows] == [
        ("binance", "BTCUSDT", "5")
    ]
