"""A jump to a large trade leads to the next one in time, in all parts and scales."""

from __future__ import annotations

import random

import pytest

from orderbook_desktop.core.replay import LargeTrades
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.replay.large_trades import LargeTradeFinder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from tests.storage.made_trades import FIRST_MS, asked, received
from tests.storage.trade_shelf import archive, claim, put

MARKET = "BTCUSDT"
_NS_A_MS = 1_000_000


def _made(count: int = 120) -> list[Trade]:
    """A trade each second, some repaired, with quantities of many places."""
    chance, trades = random.Random(6), []
    for number in range(count):
        places = chance.choice((2, 8, 10))
        quantity = f"{0.01 + chance.expovariate(1):.{places}f}"
        at_ms = FIRST_MS + number * 1_000
        if number % 7 == 0:
            trades.append(asked(number + 1, T=at_ms, q=quantity))
        else:
            heard_ns = (at_ms + 20) * _NS_A_MS
            trades.append(received(number + 1, heard_ns, T=at_ms, q=quantity))
    return trades


async def _stored(database: Database, trades: list[Trade]) -> DatabaseTrades:
    await database.prepare()
    middle = len(trades) // 2
    run = await claim(database, trades)
    await archive(database, trades[:middle], run, size=10)
    await put(database, trades[middle:])
    return DatabaseTrades(database)


async def test_each_large_trade_is_found_from_both_sides(database: Database) -> None:
    trades = _made()
    store = await _stored(database, trades)
    finder = LargeTradeFinder(store, MARKET, LargeTrades("1.5"))
    wanted = [trade.trade_id for trade in trades if float(trade.quantity) >= 1.5]
    trade_id, found = -1, []
    while (trade := await finder.find(trade_id, FIRST_MS, back=False)) is not None:
        trade_id = trade.trade_id
        assert trade.event_ms == trades[trade_id - 1].event_ms
        found.append(trade_id)
    assert found == wanted
    back = [found.pop()]
    while (trade := await finder.find(trade_id, FIRST_MS, back=True)) is not None:
        trade_id = trade.trade_id
        back.append(trade_id)
    assert back == wanted[::-1]


@pytest.mark.parametrize(
    ("percentile", "rank"), [(0, 1), (50_000, 60), (99_000, 119), (100_000, 120), (10**6, 120)]
)
async def test_a_percentile_is_that_of_the_hour(
    database: Database, percentile: int, rank: int
) -> None:
    trades = _made()
    store = await _stored(database, trades)
    least = sorted(trades, key=lambda trade: float(trade.quantity))[rank - 1]
    wanted = next(one for one in trades if float(one.quantity) >= float(least.quantity))
    # From far away it is the nearest hour that has trades.
    for trade_id, at_ms, back in ((-1, 0, False), (10**9, FIRST_MS + 10**10, True)):
        finder = LargeTradeFinder(store, MARKET, LargeTrades(percentile=percentile))
        found = await finder.find(trade_id, at_ms, back=back)
        if back:
            wanted = next(
                one for one in reversed(trades) if float(one.quantity) >= float(least.quantity)
            )
        assert found is not None
        assert (found.trade_id, found.event_ms) == (wanted.trade_id, wanted.event_ms)


@pytest.mark.parametrize("quantity", ["93000000000000", "0.0000000000015"])
async def test_a_quantity_that_no_scale_of_the_trades_has(
    database: Database, quantity: str
) -> None:
    store = await _stored(database, _made(20))
    finder = LargeTradeFinder(store, MARKET, LargeTrades(quantity))
    found = await finder.find(0, 0, back=False)
    assert (found is None) is (float(quantity) > 1)


async def test_nothing_is_found_where_no_trades_are(database: Database) -> None:
    await database.prepare()
    for large in (LargeTrades("1"), LargeTrades()):
        finder = LargeTradeFinder(DatabaseTrades(database), MARKET, large)
        for back in (False, True):
            assert await finder.find(0, FIRST_MS, back=back) is None
