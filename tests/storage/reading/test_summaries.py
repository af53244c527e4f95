"""A recording in numbers has its trades, too."""

from __future__ import annotations

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.storage.reading.summaries import TradeSummary, summaries
from orderbook_desktop.storage.store.database import Database
from tests.storage.made_trades import FIRST_MS, sent
from tests.storage.recording_fixtures import Tape, all_of
from tests.storage.shelf import Shelf
from tests.storage.trade_shelf import archive, claim


async def test_trades_are_in_the_summary_of_their_market(database: Database) -> None:
    await Shelf(database).put(Tape("ETHUSDT"), 5)
    for first_id, origin in ((1, TradeOrigin.RECORDER), (50, TradeOrigin.IMPORT)):
        trades = sent(range(first_id, first_id + 20))
        await archive(database, trades, await claim(database, trades, GapCause.DISCONNECT, origin))
    only_trades, without = await summaries(database)
    assert (only_trades.market, without.market) == ("BTCUSDT", "ETHUSDT")
    assert (only_trades.segments, only_trades.timeline.covers) == (0, ())
    trades_of = only_trades.trades
    size = sum(len(one["data"]) for one in await all_of(database, "trade_chunks"))
    assert (trades_of.size.trades, trades_of.size.stored_bytes) == (40, size)
    assert [(gap.after_id, gap.before_id) for gap in trades_of.gaps] == [(20, 50)]
    assert [run.first_id for run in trades_of.imports] == [50]
    assert trades_of.span_ms == (FIRST_MS + 1, FIRST_MS + 69)
    assert without.trades == TradeSummary()
    assert without.trades.span_ms is None


async def test_repaired_trades_are_those_that_were_only_asked_for(database: Database) -> None:
    spans = {(1, 20): TradeOrigin.RECORDER, (15, 40): TradeOrigin.REPAIR}
    for (first_id, last_id), origin in spans.items():
        await claim(database, sent(range(first_id, last_id + 1)), GapCause.USER, origin)
    (summary,) = await summaries(database)
    assert (summary.trades.size.trades, summary.trades.repaired) == (40, 20)
