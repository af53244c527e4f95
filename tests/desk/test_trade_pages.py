"""Pages of recorded trades are read in the background, with the causes of what is missing."""

from __future__ import annotations

import asyncio

from orderbook_desktop.core.desk import TradePage
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.desk.trade_pages import AskedTrades
from orderbook_desktop.engine.trade_history import TradesUnreadable
from orderbook_desktop.system.tasks import Jobs
from tests.core.trades_made import made_trade

_GAP = TradeGap(3, 6, 0, 0, GapCause.CRASH)


class History:
    def __init__(self, *ids: int) -> None:
        self.trades = [made_trade(number) for number in ids]
        self.gap_reads = 0
        self.is_away = False

    async def before(self, market: str, trade_id: int, count: int) -> list[Trade]:
        self._check(market)
        return [trade for trade in self.trades if trade.trade_id < trade_id][-count:]

    async def after(self, market: str, trade_id: int, count: int) -> list[Trade]:
        self._check(market)
        return [trade for trade in self.trades if trade.trade_id > trade_id][:count]

    async def gaps(self, market: str) -> list[TradeGap]:
        self._check(market)
        self.gap_reads += 1
        return [_GAP]

    def _check(self, market: str) -> None:
        assert market == "BTCUSDT"
        if self.is_away:
            raise TradesUnreadable("it is not connected")


async def _pages(history: History, *asked: tuple[str, int, int]) -> list[TradePage]:
    jobs, pages = Jobs(), list[TradePage]()
    trades = AskedTrades(lambda: history, jobs.start)
    for which, trade_id, count in asked:
        answered = asyncio.Event()

        def take(page: TradePage, done: asyncio.Event = answered) -> None:
            pages.append(page)
            done.set()

        getattr(trades, which)("BTCUSDT", trade_id, count, take)
        await answered.wait()
    await jobs.close()
    return pages


async def test_a_page_has_the_gaps_that_matter_to_it() -> None:
    history = History(1, 2, 3, 6, 7)
    whole, holed, before, after, beside = await _pages(
        history,
        ("before", 3, 2),
        ("before", 7, 4),
        ("before", 6, 1),
        ("after", 3, 9),
        ("after", 6, 1),
    )
    assert [trade.trade_id for trade in whole.trades] == [1, 2]
    assert [trade.trade_id for trade in holed.trades] == [1, 2, 3, 6]
    assert (whole.gaps, beside.gaps) == ([], [])
    assert holed.gaps == before.gaps == after.gaps == [_GAP]
    assert history.gap_reads == 3


async def test_a_failure_is_a_sentence() -> None:
    history = History(1)
    history.is_away = True
    (page,) = await _pages(history, ("after", 0, 5))
    assert page.trades == ()
    assert page.problem.startswith("The recorded trades can't be read from the database")
