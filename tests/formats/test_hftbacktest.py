"""The `.npz` for hftbacktest, loaded by hftbacktest."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orderbook_desktop.core.archive.rows import LevelRows
from orderbook_desktop.core.archive.trade_rows import TradeRows
from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.units import Scale
from orderbook_desktop.formats.hftbacktest import EVENT_DTYPE, HftbacktestSurvey, HftbacktestWriter
from tests.formats.taped import Taped, two_runs

_TICK, _LOT = Decimal("0.01"), Decimal("0.00000001")
_MS = 1_000_000


@pytest.fixture
def hftbacktest() -> Any:
    """The package itself; of Macs with an Intel processor it is not installed on."""
    if sys.platform == "darwin":
        pytest.importorskip("hftbacktest")
    import hftbacktest.data  # noqa: PLC0415

    return hftbacktest


def exported(taped: Taped, path: Path) -> tuple[Any, int]:
    done = taped.write(ExportFormat.HFTBACKTEST, path)
    return np.load(path)["data"], done.moved_ns


def test_the_array_is_what_its_readers_expect(tmp_path: Path, hftbacktest: Any) -> None:
    data, _ = exported(two_runs(), tmp_path / "book.npz")
    assert data.dtype == hftbacktest.types.event_dtype == EVENT_DTYPE
    assert data.dtype.itemsize == hftbacktest.types.event_dtype.itemsize
    hftbacktest.data.validate_event_order(data)
    both = hftbacktest.EXCH_EVENT | hftbacktest.LOCAL_EVENT
    is_trade = data["ev"] & 0xFF == hftbacktest.TRADE_EVENT
    assert is_trade.any()
    data = data[~is_trade]
    assert (data["ev"] & both == both).all()
    kinds = data["ev"] & 0xFF
    assert (kinds == hftbacktest.DEPTH_CLEAR_EVENT).sum() == 2
    of_levels = kinds != hftbacktest.DEPTH_CLEAR_EVENT
    sides = (hftbacktest.BUY_EVENT, hftbacktest.SELL_EVENT)
    assert np.isin(data["ev"][of_levels] & (sides[0] | sides[1]), sides).all()
    snapshots = (kinds == hftbacktest.DEPTH_SNAPSHOT_EVENT).sum()
    assert (kinds == hftbacktest.DEPTH_EVENT).sum() == len(data) - 2 - snapshots
    assert snapshots > 0


def test_a_backtest_sees_the_true_books(tmp_path: Path, hftbacktest: Any) -> None:
    taped = two_runs()
    _, moved_ns = exported(taped, tmp_path / "book.npz")
    asset = (
        hftbacktest.BacktestAsset()
        .data([str(tmp_path / "book.npz")])
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0, 0)
        .tick_size(float(_TICK))
        .lot_size(float(_LOT))
    )
    backtest = hftbacktest.HashMapMarketDepthBacktest([asset])
    # Only then it has a time of its own.
    backtest.elapse(0)
    seen = 0
    for index in (*range(0, 300, 40), 299, *range(300, 420, 40), 419):
        part, at = _event(taped, index)
        until_ns = int(part.chunk.numbers.received_ns[at]) + moved_ns
        backtest.elapse(until_ns - backtest.current_timestamp)
        bids, asks = taped.books[int(part.chunk.numbers.final_ids[at])]
        depth = backtest.depth(0)
        for quantity_at, levels in ((depth.bid_qty_at_tick, bids), (depth.ask_qty_at_tick, asks)):
            assert {price: quantity_at(int(price / _TICK)) for price, _ in levels} == {
                price: pytest.approx(float(quantity)) for price, quantity in levels
            }
        assert depth.best_bid_tick == bids[0][0] / _TICK
        assert depth.best_ask_tick == asks[0][0] / _TICK
        # Nothing is left of the book before the gap.
        wanted = {price for price, _ in bids}
        for tick in range(int(bids[-1][0] / _TICK) - 500, depth.best_bid_tick):
            assert (tick * _TICK in wanted) == (depth.bid_qty_at_tick(tick) > 0)
        seen += 1
    backtest.close()
    assert seen == 13


def test_trades_are_where_their_own_converter_has_them(tmp_path: Path, hftbacktest: Any) -> None:
    """Each side sees the trades in its order; a repaired one is marked."""
    taped = two_runs()
    data, moved_ns = exported(taped, tmp_path / "book.npz")
    trades = data[data["ev"] & 0xFF == hftbacktest.TRADE_EVENT]
    rows = TradeRows.joined("BTCUSDT", asyncio.run(_all(taped.trades())))
    for side in (hftbacktest.EXCH_EVENT, hftbacktest.LOCAL_EVENT):
        seen = trades[trades["ev"] & side != 0]
        assert seen["px"].tolist() == [float(price) for price in rows.prices / 10**8]
        assert seen["qty"].tolist() == [
            float(Decimal(int(one)).scaleb(-8)) for one in rows.quantities
        ]
        assert ((seen["ev"] & hftbacktest.SELL_EVENT != 0) == rows.sold).all()
        assert (seen["ival"] == rows.repaired).all()
        assert (seen["exch_ts"] == rows.event_us * 1_000).all()
        received = ~rows.repaired
        assert (seen["local_ts"][received] == rows.received_ns[received] + moved_ns).all()
    assert (trades["local_ts"] >= trades["exch_ts"]).all()
    # The event that came with a trade is behind it for the exchange: it is of the same time.
    exchange = data[data["ev"] & hftbacktest.EXCH_EVENT != 0]
    is_trade = exchange["ev"] & 0xFF == hftbacktest.TRADE_EVENT
    for at in is_trade.nonzero()[0].tolist():
        levels = exchange[:at][~is_trade[:at]]
        assert not len(levels) or levels["exch_ts"][-1] < exchange["exch_ts"][at]


async def _all(found: AsyncGenerator[TradeRows]) -> list[TradeRows]:
    return [rows async for rows in found]


def test_an_empty_book_clears_the_one_before(tmp_path: Path, hftbacktest: Any) -> None:
    data, _ = exported(Taped().run(30).emptied().run(40), tmp_path / "book.npz")
    assert (data["ev"] & 0xFF == hftbacktest.DEPTH_CLEAR_EVENT).sum() == 2


def test_values_are_the_nearest_doubles(tmp_path: Path) -> None:
    units: list[int] = [9_007_199_254_740_993, 2**63 - 1, 4_611_686_018_427_387_905, 1]
    ones = np.ones(len(units), dtype=np.int64)
    values = np.array(units, dtype=np.int64)
    asks = np.zeros(len(units), dtype=np.bool_)
    rows = LevelRows("PEPEUSDT", Scale(8, 3), False, ones, ones, ones, ones, asks, values, values)
    survey = HftbacktestSurvey()
    survey.take(rows)
    survey.end()
    with (tmp_path / "book.npz").open("wb") as file:
        writer = HftbacktestWriter(file, survey)
        writer.write(rows)
        writer.close()
    data = np.load(tmp_path / "book.npz")["data"]
    assert data["px"].tolist() == [float(Decimal(one).scaleb(-8)) for one in units]
    assert data["qty"].tolist() == [float(Decimal(one).scaleb(-3)) for one in units]


def test_no_event_arrives_before_it_happened(tmp_path: Path) -> None:
    taped = two_runs()
    for part in taped.parts:
        part.chunk.numbers.received_ns[:] -= 5 * _MS
    data, moved_ns = exported(taped, tmp_path / "book.npz")
    # The tape's events take a nanosecond.
    assert moved_ns == 5 * _MS - 1
    delays = data["local_ts"] - data["exch_ts"]
    assert delays.min() == 0


def test_a_book_that_came_before_the_event_beside_it_moves_no_time(tmp_path: Path) -> None:
    """It has the time of that event: an answer of the exchange has none of its own."""
    ones = np.ones(1, dtype=np.int64)
    asks = np.zeros(1, dtype=np.bool_)
    sent_ms, received_ns = ones * 1_000, ones * 1_000 * _MS
    batches = [
        LevelRows("BTCUSDT", Scale(), is_book, ones, ones, sent_ms, received, asks, ones, ones)
        for is_book, received in ((True, received_ns - 36 * _MS), (False, received_ns + 1 * _MS))
    ]
    survey = HftbacktestSurvey()
    for rows in batches:
        survey.take(rows)
    survey.end()
    with (tmp_path / "book.npz").open("wb") as file:
        writer = HftbacktestWriter(file, survey)
        for rows in batches:
            writer.write(rows)
        writer.close()
    assert writer.moved_ns == 0
    data = np.load(tmp_path / "book.npz")["data"]
    assert data["exch_ts"].tolist() == [964 * _MS, 964 * _MS, 1_000 * _MS]
    assert data["local_ts"].tolist() == [964 * _MS, 964 * _MS, 1_001 * _MS]


def test_times_never_go_back(tmp_path: Path, hftbacktest: Any) -> None:
    taped = two_runs()
    numbers = taped.parts[1].chunk.numbers
    numbers.event_ms[3:9] -= 10_000
    numbers.received_ns[20:30] -= 10_000 * _MS
    data, _ = exported(taped, tmp_path / "book.npz")
    hftbacktest.data.validate_event_order(data)
    for side, time in ((hftbacktest.EXCH_EVENT, "exch_ts"), (hftbacktest.LOCAL_EVENT, "local_ts")):
        assert (np.diff(data[time][data["ev"] & side != 0]) >= 0).all()


def _event(taped: Taped, index: int) -> tuple[Any, int]:
    for part in taped.parts:
        if index < part.end:
            return part, index
        index -= part.end
    raise AssertionError(index)
