"""Trades of repairs and imports: stored once, in runs, and contradictions are named."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from orderbook_desktop.core.errors import BugError, InexactValue
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin, TradeRun, covered, gaps_between
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.trade_batches import TradeConflict
from orderbook_desktop.storage.store.trade_documents import batch_document, batches_of
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import StoredRun, TradeRuns
from orderbook_desktop.storage.store.trade_writer import TradesStored, TradeWriter
from tests.storage.made_trades import FIRST_MS, asked, received, sent

REPAIR, IMPORT = TradeOrigin.REPAIR, TradeOrigin.IMPORT
BOTH = pytest.mark.parametrize("origin", [REPAIR, IMPORT])


async def _recorded(database: Database, first_id: int, last_id: int, cause: GapCause) -> None:
    """Store what a recorder would have."""
    trades = sent(range(first_id, last_id + 1))
    documents = [batch_document(batch) for batch in batches_of(trades)]
    await database.collection("trade_events").insert_many(documents)
    times = trades[0].event_ms, trades[-1].event_ms
    run = TradeRun(f"r{first_id}", "BTCUSDT", first_id, last_id, *times, end_cause=cause)
    await TradeRuns(database).put([run], new=True)


async def _stored(database: Database) -> list[Trade]:
    found = DatabaseTrades(database).trades("BTCUSDT", 0, 2**63 - 1)
    async with aclosing(found):
        return [trade async for piece in found for trade in piece.trades()]


async def _runs(database: Database) -> list[TradeRun]:
    return await DatabaseTrades(database).runs("BTCUSDT")


@BOTH
async def test_trades_are_stored_once(database: Database, origin: TradeOrigin) -> None:
    trades = [asked(trade_id) for trade_id in range(5, 1_500)]
    writer = TradeWriter(database)
    assert await writer.store(list(reversed(trades)), origin) == TradesStored(1_495, 0)
    assert await writer.store([*trades, *trades], origin) == TradesStored(0, 1_495)
    assert await _stored(database) == trades
    (run,) = await _runs(database)
    assert (run.first_id, run.last_id, run.origin) == (5, 1_499, origin)
    assert (run.from_ms, run.to_ms) == (FIRST_MS + 5, FIRST_MS + 1_499)
    batches = await database.collection("trade_events").count_documents({})
    chunks = await database.collection("trade_chunks").count_documents({})
    assert (batches, chunks) == ((3, 0) if origin is REPAIR else (0, 1))
    assert await DatabaseTrades(database).markets() == ["BTCUSDT"]


@BOTH
async def test_what_is_recorded_stays_as_it_is(database: Database, origin: TradeOrigin) -> None:
    await _recorded(database, 1, 4, GapCause.DISCONNECT)
    await _recorded(database, 8, 9, GapCause.USER)
    everything = [asked(trade_id) for trade_id in range(3, 9)]
    assert await TradeWriter(database).store(everything, origin) == TradesStored(3, 3)
    stored = await _stored(database)
    assert [trade.trade_id for trade in stored] == [*range(1, 10)]
    assert [trade.trade_id for trade in stored if trade.is_repaired] == [5, 6, 7]
    assert gaps_between(await _runs(database)) == []


async def test_a_hole_is_filled_page_by_page(database: Database) -> None:
    await _recorded(database, 1, 4, GapCause.DISCONNECT)
    await _recorded(database, 20, 21, GapCause.USER)
    writer = TradeWriter(database)
    for begin in (5, 8, 11):
        await writer.store([asked(trade_id) for trade_id in range(begin, begin + 3)], REPAIR)
    (gap,) = gaps_between(await _runs(database))
    assert (gap.after_id, gap.before_id, gap.cause) == (13, 20, GapCause.DISCONNECT)
    assert len(await _runs(database)) == 3
    assert await writer.end("BTCUSDT", 13, GapCause.NOT_SERVED, "gone")
    assert not await writer.end("BTCUSDT", 12, GapCause.NOT_SERVED)
    (gap,) = gaps_between(await _runs(database))
    assert (gap.cause, gap.detail) == (GapCause.NOT_SERVED, "gone")


async def test_runs_that_come_to_touch_are_one(database: Database) -> None:
    writer = TradeWriter(database)
    for ids in ([5, 6], [1, 2], [9], [7, 8], [3, 4], [20]):
        await writer.store([asked(trade_id) for trade_id in ids], REPAIR)
        await writer.store([asked(30 + ids[0])], IMPORT)
    runs = await _runs(database)
    repaired = [(run.first_id, run.last_id) for run in runs if run.origin is REPAIR]
    assert repaired == [(1, 9), (20, 20)]
    assert [(one.first_id, one.last_id) for one in covered(runs)][:2] == [(1, 9), (20, 20)]
    first = next(run for run in runs if run.first_id == 1)
    assert (first.from_ms, first.to_ms) == (FIRST_MS + 1, FIRST_MS + 9)


@BOTH
async def test_a_contradiction_is_named(database: Database, origin: TradeOrigin) -> None:
    writer = TradeWriter(database)
    await writer.store(sent(range(1, 9)), IMPORT)
    with pytest.raises(TradeConflict, match="trade 7 of BTCUSDT"):
        await writer.store([asked(6), asked(7, q="0.5"), asked(9)], origin)
    with pytest.raises(TradeConflict, match="trade 10 of BTCUSDT"):
        await writer.store([asked(10), asked(10, f=9)], origin)
    assert [trade.trade_id for trade in await _stored(database)] == [*range(1, 9)]
    with pytest.raises(BugError):
        await writer.store([asked(1), asked(1, "ETHUSDT")], origin)


@BOTH
async def test_a_trade_that_no_scale_holds_is_refused(
    database: Database, origin: TradeOrigin
) -> None:
    with pytest.raises(InexactValue):
        await TradeWriter(database).store([asked(1), asked(2, p="9" * 30)], origin)
    assert await _stored(database) == []


@BOTH
async def test_several_programs_store_the_same_trades(
    database: Database, origin: TradeOrigin
) -> None:
    trades = [asked(trade_id) for trade_id in range(1, 1_200)]
    parts = [trades[:700], trades[300:], trades[500:900], trades]
    await asyncio.gather(*(TradeWriter(database).store(part, origin) for part in parts))
    assert await _stored(database) == trades
    assert [(one.first_id, one.last_id) for one in covered(await _runs(database))] == [(1, 1_199)]


async def test_a_run_that_another_program_extends_meanwhile_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ids in ([1, 2], [5, 6]):
        await TradeWriter(database).store([asked(trade_id) for trade_id in ids], REPAIR)
    extend = TradeRuns.extend

    async def extend_after_another(runs: TradeRuns, stored: StoredRun, after: TradeRun) -> bool:
        monkeypatch.undo()
        await TradeWriter(database).store([asked(7)], REPAIR)
        return await extend(runs, stored, after)

    monkeypatch.setattr(TradeRuns, "extend", extend_after_another)
    await TradeWriter(database).store([asked(3), asked(4)], REPAIR)
    assert [(one.first_id, one.last_id) for one in covered(await _runs(database))] == [(1, 7)]


async def test_a_kill_before_the_run_was_stored_is_made_good(database: Database) -> None:
    trades = [asked(trade_id) for trade_id in range(1, 700)]
    documents = [batch_document(batch) for batch in batches_of(trades)]
    await database.collection("trade_events").insert_many(documents)
    assert await TradeWriter(database).store(trades, REPAIR) == TradesStored(0, 699)
    assert await _stored(database) == trades


async def test_a_damaged_run_is_named(database: Database) -> None:
    await TradeWriter(database).store([received(1)], IMPORT)
    runs = database.collection("trade_runs")
    (sound,) = await runs.find().to_list(None)
    for name, value in {"last_id": 2, "origin": "x", "archived_id": 9, "extra": 1}.items():
        await runs.replace_one({}, sound | {name: value})
        with pytest.raises(DamagedDocument, match=sound["_id"]):
            await _runs(database)
