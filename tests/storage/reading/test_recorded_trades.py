"""Recorded trades by time: as rows, with their gaps."""

from __future__ import annotations

from contextlib import aclosing

from orderbook_desktop.core.archive.trade_rows import TradeRows
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_writer import TradeWriter
from tests.storage.made_trades import FIRST_MS, asked, received

_US = FIRST_MS * 1_000


async def _rows(trades: RecordedTrades, *span: int | None) -> TradeRows:
    async with aclosing(trades.rows(*span)) as found:
        return TradeRows.joined("BTCUSDT", [rows async for rows in found])


async def test_a_time_of_the_trades(database: Database) -> None:
    trades = RecordedTrades(database, "BTCUSDT")
    assert await trades.span() is None
    assert await trades.gaps() == []
    assert len(await _rows(trades, None, None)) == 0
    assert len(await _rows(trades, FIRST_MS, None)) == 0
    writer = TradeWriter(database)
    stored = [received(5), asked(6), received(7, T=_US + 7_123, E=_US + 9_000)]
    # The exchange's clock steps back once.
    later = [received(100_010), received(100_011, T=FIRST_MS + 100_005), received(100_012)]
    for part in (stored, later):
        await writer.store(part, TradeOrigin.IMPORT)
    rows = await _rows(trades)
    assert rows.ids.tolist() == [5, 6, 7, 100_010, 100_011, 100_012]
    assert rows.event_us.tolist()[2] == _US + 7_123
    assert rows.repaired.tolist() == [False, True, False, False, False, False]
    assert (await _rows(trades, FIRST_MS + 6, FIRST_MS + 8)).ids.tolist() == [6, 7]
    assert (await _rows(trades, FIRST_MS + 6, FIRST_MS + 7)).ids.tolist() == [6]
    assert (await _rows(trades, None, FIRST_MS + 100_008)).ids.tolist() == [5, 6, 7, 100_011]
    assert (await _rows(trades, FIRST_MS + 100_011)).ids.tolist() == [100_012]
    assert await trades.span() == (FIRST_MS + 5, FIRST_MS + 100_012)
    assert await trades.span(FIRST_MS + 6, FIRST_MS + 8) == (FIRST_MS + 6, FIRST_MS + 7)
    assert await trades.span(FIRST_MS + 8, FIRST_MS + 9) is None
    (gap,) = await trades.gaps()
    assert (gap.after_id, gap.before_id) == (7, 100_010)
    assert await trades.gaps(None, FIRST_MS + 7) == []
    assert await trades.gaps(FIRST_MS + 100_010) == []
