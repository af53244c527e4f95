"""Exported trades, as independent readers see them: in order, exact, and the ladder's volumes."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import arro3.io
import pytest

from orderbook_desktop.core.archive.trade_rows import TradeRows, TradeSurvey
from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.tape import tape_of
from orderbook_desktop.core.traded_volume import TradedVolume
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.units import Scale
from orderbook_desktop.formats import parquet
from orderbook_desktop.formats.parquet import ParquetTradeWriter
from orderbook_desktop.formats.tardis_writer import TardisTradeWriter
from tests.core.trades_made import random_trades
from tests.storage.made_trades import FIRST_MS, asked, received

_COLUMNS = {
    "trade_id": "Int64",
    "first_part_id": "Int64",
    "last_part_id": "Int64",
    "event_time": 'Timestamp(µs, "UTC")',
    "received_ns": "Int64",
    "side": "Utf8",
    "price": "Decimal128(38, 8)",
    "quantity": "Decimal128(38, 8)",
    "repaired": "Boolean",
}

Volumes = dict[tuple[Decimal, str], Decimal]


def _parquet(path: Path, *parts: list[Trade]) -> Any:
    rows = [TradeRows.of(DecodedTrades.of(part)) for part in parts]
    survey = TradeSurvey()
    for part in rows:
        survey.take(part)
    with path.open("wb") as file:
        writer = ParquetTradeWriter(file, "BTCUSDT", "tests", survey)
        for part in rows:
            writer.write(part)
        writer.close()
    return arro3.io.read_parquet(path).read_all()


def _tardis(path: Path, trades: list[Trade]) -> Path:
    with path.open("wb") as file:
        writer = TardisTradeWriter(file, zipped=path.suffix == ".gz")
        writer.write(TradeRows.of(DecodedTrades.of(trades)))
        writer.close()
    return path


def test_the_columns_are_as_documented(tmp_path: Path) -> None:
    table = _parquet(tmp_path / "trades.parquet", [received(5), asked(6)])
    assert {
        field.name: str(field.type).removeprefix("arro3.core.DataType<").rstrip(">\n")
        for field in table.schema
    } == _COLUMNS
    assert not any(field.nullable for field in table.schema)
    assert all(f"`{name}`" in str(parquet.__doc__) for name in _COLUMNS)
    about = {bytes(key).decode(): bytes(one).decode() for key, one in table.schema.metadata.items()}
    assert (about["exchange"], about["symbol"]) == ("binance", "BTCUSDT")


def test_the_rows_are_exact_and_repaired_ones_marked(tmp_path: Path) -> None:
    trades = [
        received(5, 77, f=50, l=52, m=True, p="61837.63000000"),
        asked(6, f=-1, l=-1, T=FIRST_MS * 1_000 + 6_001),
    ]
    fine = [received(7, p="0.000000000001", q="92233720368.5")]
    table = _parquet(tmp_path / "trades.parquet", trades, fine)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    assert columns["trade_id"] == [5, 6, 7]
    assert (columns["first_part_id"], columns["last_part_id"]) == ([50, -1, 7], [52, -1, 7])
    assert columns["received_ns"] == [77, 0, fine[0].received_ns]
    assert columns["side"] == ["sell", "buy", "buy"]
    assert columns["repaired"] == [False, True, False]
    assert columns["price"] == [Decimal(one.price) for one in (*trades, *fine)]
    assert columns["quantity"] == [Decimal(one.quantity) for one in (*trades, *fine)]
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    since = [(time - begin) // timedelta(microseconds=1) for time in columns["event_time"]]
    assert since == [trade.event_us for trade in (*trades, *fine)]


def _summed(rows: Iterable[tuple[Decimal, str, Decimal]]) -> Volumes:
    sums: Volumes = defaultdict(Decimal)
    for price, side, quantity in rows:
        sums[price, side] += quantity
    return dict(sums)


def _volumes_of_csv(path: Path) -> Volumes:
    """What was bought and sold at each price, by a reader that knows the layout only."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [int(row["id"]) for row in rows]
    assert ids == sorted(ids)
    return _summed((Decimal(row["price"]), row["side"], Decimal(row["amount"])) for row in rows)


def _volumes_of_parquet(table: Any) -> Volumes:
    columns = (table[name].to_pylist() for name in ("price", "side", "quantity"))
    return _summed(zip(*columns, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_volumes_of_an_export_are_those_of_the_ladder(tmp_path: Path, seed: int) -> None:
    trades = random_trades(800, seed)
    volume = TradedVolume(Scale(), slides=False)
    volume.follow(tape_of("BTCUSDT", trades), 0)
    found = _volumes_of_csv(_tardis(tmp_path / "trades.csv.gz", trades))
    assert _volumes_of_parquet(_parquet(tmp_path / "trades.parquet", trades)) == found
    prices = {price for price, _ in found}
    assert len(prices) > 20
    for price in prices:
        traded = volume.at_price(int(price.scaleb(volume.scale.price)))
        bought, sold = (found.get((price, side), Decimal()) for side in ("buy", "sell"))
        units = [int(one.scaleb(volume.scale.quantity)) for one in (bought, sold)]
        assert units == [traded.bought, traded.sold]
