"""What was traded is read by bin and price step, the newest trades first, each of them once."""

from __future__ import annotations

from contextlib import aclosing
from decimal import Decimal

import pytest

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.pages import HeatmapWish, TradedPart
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.reading import traded_cells
from orderbook_desktop.storage.reading.traded_cells import read_traded
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from tests.storage.made_trades import FIRST_MS, received
from tests.storage.trade_shelf import recorded

_BIN_MS = 20


def _wish(from_ms: int, to_ms: int) -> HeatmapWish:
    bins = TimeBins(from_ms, to_ms, _BIN_MS)
    return HeatmapWish("BTCUSDT", bins, PriceSteps.of("1", "0", "200000"), Statistic.MAX)


async def _parts(database: Database, wish: HeatmapWish) -> list[TradedPart]:
    async with aclosing(read_traded(DatabaseStore(database), wish)) as parts:
        return [part async for part in parts]


def _sums(trades: list[Trade], from_ms: int, to_ms: int) -> dict[tuple[int, int], list[Decimal]]:
    sums: dict[tuple[int, int], list[Decimal]] = {}
    for trade in trades:
        if from_ms <= trade.event_ms < to_ms:
            time = from_ms + (trade.event_ms - from_ms) // _BIN_MS * _BIN_MS
            cell = sums.setdefault((time, int(Decimal(trade.price))), [Decimal(), Decimal()])
            cell[trade.is_sold] += Decimal(trade.quantity)
    return sums


def _found(part: TradedPart) -> dict[tuple[int, int], list[Decimal]]:
    cells = part.cells
    assert cells is not None
    prices = (cells.prices // 10**cells.scale.price).tolist()
    return {
        key: [Decimal(int(size)).scaleb(-cells.scale.quantity) for size in (bought, sold)]
        for *key_parts, bought, sold in zip(
            cells.times_ms.tolist(), prices, cells.bought, cells.sold, strict=True
        )
        for key in [tuple(key_parts)]
    }


async def test_each_trade_counts_once_and_the_newest_come_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traded_cells, "_FIRST_TRADES", 10)
    await database.prepare()
    trades = [
        received(number, p=f"{61_000 + number % 7}.5", q=f"0.{number:03}", m=number % 3 == 0)
        for number in range(1, 101)
    ]
    await recorded(database, trades)
    whole = _wish(FIRST_MS // _BIN_MS * _BIN_MS, (FIRST_MS // _BIN_MS + 10) * _BIN_MS)
    parts = await _parts(database, whole)
    assert len(parts) > 1
    assert _found(parts[-1]) == _sums(trades, whole.bins.from_ms, whole.bins.to_ms)
    assert parts[-1].pending == ()
    for part in parts[:-1]:
        ((from_ms, reached_ms),) = part.pending
        assert from_ms == whole.bins.from_ms
        expected = _sums(trades, from_ms, whole.bins.to_ms)
        newer = {key: sizes for key, sizes in _found(part).items() if key[0] >= reached_ms}
        assert newer == {key: sizes for key, sizes in expected.items() if key[0] >= reached_ms}
    part_of = _wish(whole.bins.from_ms + 40, whole.bins.from_ms + 80)
    expected = _sums(trades, part_of.bins.from_ms, part_of.bins.to_ms)
    assert _found((await _parts(database, part_of))[-1]) == expected


async def test_without_trades_nothing_was_traded(database: Database) -> None:
    await database.prepare()
    (part,) = await _parts(database, _wish(FIRST_MS, FIRST_MS + 100))
    assert part.cells is not None
    assert len(part.cells) == 0
