"""The size of trades is exact where there are few, and else estimated from some of them."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.archive.trades import DecodedTrades
from orderbook_desktop.core.trade_coverage import TradeRun
from orderbook_desktop.storage.store.trade_reader import TradeReader
from orderbook_desktop.storage.store.trade_sizes import TradeSize, trade_size
from orderbook_desktop.storage.store.trade_store import TradePart

_PART = 1_000


def _unread() -> list[DecodedTrades]:
    raise AssertionError


class Shelf(TradeReader):
    """Parts of a thousand trades; one takes so many bytes as `sizes` has, in turn."""

    def __init__(self, sizes: list[int], *runs: tuple[int, int]) -> None:
        self._sizes = sizes
        self.all_runs = [TradeRun("x", "BTCUSDT", first, last, 0, 0) for first, last in runs]
        self.asked = 0

    async def markets(self) -> list[str]:
        return ["BTCUSDT"]

    async def runs(self, market: str) -> list[TradeRun]:
        assert market == "BTCUSDT"
        return self.all_runs

    async def parts(self, market: str, first_id: int, last_id: int) -> list[TradePart]:
        assert market == "BTCUSDT"
        self.asked += 1
        return [
            TradePart(
                *(str(number), number % 2 == 0, number * _PART, (number + 1) * _PART - 1),
                *(0, 0, self._sizes[number % len(self._sizes)], _unread),
            )
            for number in range(first_id // _PART, last_id // _PART + 1)
        ]


async def size_of(shelf: Shelf) -> TradeSize:
    return await trade_size(shelf, "BTCUSDT", shelf.all_runs)


async def test_few_trades_are_counted_exactly() -> None:
    shelf = Shelf([7_000, 9_000], (0, 3_999), (2_000, 5_999), (8_000, 9_999))
    assert await size_of(shelf) == TradeSize(8_000, 4 * 16_000, 7.0)


async def test_many_trades_are_estimated_by_few_looks() -> None:
    shelf = Shelf([7_000, 9_000], (0, 999_999), (2_000_000, 2_999_999))
    size = await size_of(shelf)
    assert size.trades == 2_000_000
    assert size.stored_bytes == pytest.approx(16_000_000, rel=0.05)
    assert shelf.asked == 4


async def test_no_trades_take_nothing() -> None:
    assert await size_of(Shelf([1])) == TradeSize()
    assert await size_of(Shelf([1], (5, 4))) == TradeSize()
