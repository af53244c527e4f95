"""The recorded trades of before, read from a real database."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.engine.trade_history import RecordedTradeHistory, TradesUnreadable
from orderbook_desktop.storage.store.database import Database, DatabaseTimes
from orderbook_desktop.storage.store.trade_writer import TradeWriter
from tests.storage.made_trades import received, sent

BTC = "BTCUSDT"


async def record(database: Database, *stretches: range) -> None:
    """Store stretches of ids; each but the last one ends as the connection was lost."""
    await database.prepare()
    writer = TradeWriter(database)
    for ids in stretches:
        await writer.store(sent(ids), TradeOrigin.RECORDER)
        await writer.end(BTC, ids[-1], GapCause.DISCONNECT, "The cable was pulled.")


def ids_of(trades: list[Trade]) -> list[int]:
    return [trade.trade_id for trade in trades]


async def test_trades_are_read_back_and_forth(database: Database) -> None:
    await record(database, range(1, 1_201), range(1_301, 1_401))
    history = RecordedTradeHistory(database)
    assert ids_of(await history.before(BTC, 1_303, 4)) == [1_199, 1_200, 1_301, 1_302]
    assert ids_of(await history.after(BTC, 1_198, 4)) == [1_199, 1_200, 1_301, 1_302]
    assert ids_of(await history.after(BTC, 100, 900)) == list(range(101, 1_001))
    assert await history.before(BTC, 1, 4) == await history.after(BTC, 1_400, 4) == []
    (gap,) = await history.gaps(BTC)
    assert (gap.after_id, gap.before_id, gap.cause) == (1_200, 1_301, GapCause.DISCONNECT)


async def test_where_nothing_is_recorded_there_are_no_trades(database: Database) -> None:
    history = RecordedTradeHistory(database)
    assert await history.before(BTC, 99, 4) == await history.after(BTC, 0, 4) == []
    assert await history.gaps(BTC) == []
    tape = Tape(BTC)
    await history.fill(tape)
    assert len(tape) == 0


async def test_a_tape_begins_with_the_newest_recorded_trades(database: Database) -> None:
    await record(database, range(1, 1_001), range(1_101, 2_101), range(2_201, 3_301))
    tape = Tape(BTC)
    # Trades of the stream may be there before.
    tape.add(received(3_302))
    await RecordedTradeHistory(database).fill(tape)
    assert len(tape) == 2_001
    assert tape.oldest_id == 1_201
    assert tape.last is not None
    found = tape.break_after(2_100, 2_201)
    assert found is not None
    assert (found.cause, found.detail) == (GapCause.DISCONNECT, "The cable was pulled.")


@pytest.mark.parametrize(
    ("is_connected", "reason"), [(True, "it does not answer"), (False, "it is not connected")]
)
async def test_a_database_that_is_away_is_told_in_a_sentence(
    is_connected: bool, reason: str
) -> None:
    database = Database("book", DatabaseTimes(find_s=0.05))
    if is_connected:
        database.connect("mongodb://127.0.0.1:9/")
    history = RecordedTradeHistory(database)
    for reading in (history.before(BTC, 9, 9), history.after(BTC, 9, 9), history.gaps(BTC)):
        with pytest.raises(
            TradesUnreadable, match=rf"can't be read from the database \({reason}\)"
        ):
            await reading
    database.close()
