"""Trades are recorded through every outage: nothing is lost, doubled or hidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.trade_coverage import TradeOrigin, TradeRun, covered, gaps_between
from orderbook_desktop.core.trades import TRADE, Trade
from orderbook_desktop.storage.recorder.ledger import LedgerTimes
from orderbook_desktop.storage.recorder.recorder import Recorder, RecorderTimes
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.recorder.trade_log import TradeLog, TradeTimes
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_batches import NewBatch, TradeBatches, TradeConflict
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import TradeRuns
from orderbook_desktop.storage.store.trade_writer import TradeWriter
from tests.storage.made_trades import asked, received, sent
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import (
    ENDLESS,
    BreakableDatabase,
    ServerThread,
    SilentServer,
    Tape,
    all_of,
    kill_and_wait,
    running,
    started,
    until_written,
)

# Runs are stored, and the database is looked after, as soon as can be.
_AT_ONCE = LedgerTimes(persist_every_s=0.02)
QUICK = RecorderTimes(
    look_every_s=0.02, ledger=_AT_ONCE, trades=TradeTimes(0.01, look_every_s=0.02, ledger=_AT_ONCE)
)
GAP = pytest.mark.allows_log("gap in the recording")
STREAM = Stream("BTCUSDT", TRADE)


@pytest.fixture
async def recorder(database: Database) -> AsyncIterator[Recorder]:
    """A running recorder that loses no time."""
    async with running(Recorder(database, times=QUICK)) as recorder:
        yield recorder


async def trades_of(database: Database, market: str = "BTCUSDT") -> list[Trade]:
    """The trades that readers read."""
    found = DatabaseTrades(database).trades(market, 0, 2**63 - 1)
    async with aclosing(found):
        return [trade async for piece in found for trade in piece.trades()]


async def runs_of(database: Database, market: str = "BTCUSDT") -> list[TradeRun]:
    return await DatabaseTrades(database).runs(market)


def take(recorder: Recorder, *trades: Trade) -> None:
    for trade in trades:
        recorder.trade_sink(trade.market).received(trade)


async def until_runs(database: Database, number: int, **query: object) -> None:
    """Wait until `number` runs are stored that match."""
    async with asyncio.timeout(60):
        while len(await all_of(database, "trade_runs", **query)) != number:
            await asyncio.sleep(0.02)


async def until_more(recorder: Recorder, number: int) -> None:
    """Wait until so many further trades are acknowledged."""
    counts = recorder.trade_sink("BTCUSDT").counts
    wanted = counts.events + number
    await eventually(lambda: counts.events >= wanted)


async def test_trades_are_stored_byte_for_byte(database: Database) -> None:
    trades = [received(5, 77), received(6, p="61837.630000000001", x="é\n"), received(7, M=False)]
    others = sent(range(50, 53), market="ETHUSDT")
    async with running(Recorder(database)) as recorder:
        take(recorder, *trades, *others)
        assert recorder.waiting == 6
        assert recorder.waiting_of("BTCUSDT") == 0
    assert await trades_of(database) == trades
    assert await trades_of(database, "ETHUSDT") == others
    (run,) = await runs_of(database)
    assert (run.first_id, run.last_id, run.origin) == (5, 7, TradeOrigin.RECORDER)
    assert (run.from_ms, run.to_ms) == (trades[0].event_ms, trades[-1].event_ms)
    assert run.end_cause is GapCause.USER
    counts = recorder.trade_sink("BTCUSDT").counts
    assert (counts.events, counts.repeated, counts.dropped, counts.gaps) == (3, 0, 0, 0)
    assert (counts.first_id, counts.last_id) == (5, 7)
    assert counts.payload_bytes == sum(len(trade.payload) for trade in trades)
    assert recorder.recorded == (counts.payload_bytes + sum(len(o.payload) for o in others), 6)
    assert recorder._pending.used_bytes == 0


async def test_a_burst_is_written_whole_and_in_few_batches(database: Database) -> None:
    trades = sent(range(1, 4_001))
    async with running(Recorder(database)) as recorder:
        take(recorder, *trades)
        await until_written(recorder)
        assert await trades_of(database) == trades
    assert len(await all_of(database, "trade_events")) == 8


async def test_a_run_is_stored_before_its_trades_and_soon_after_them(
    recorder: Recorder, database: Database
) -> None:
    take(recorder, *sent(range(1, 4)))
    await until_written(recorder)
    (run,) = await runs_of(database)
    assert run.first_id == 1
    assert run.end_cause is None
    await until_runs(database, 1, last_id=3, end_cause=None)
    take(recorder, *sent([4]))
    await until_runs(database, 1, last_id=4, end_cause=None)


async def test_each_break_has_its_cause(recorder: Recorder, database: Database) -> None:
    take(recorder, *sent([1, 2]))
    recorder.trade_sink("BTCUSDT").broken(GapCause.DISCONNECT, "the line fell")
    take(recorder, *sent([3, 4, 8]))
    recorder.trade_sink("BTCUSDT").broken(GapCause.SILENCE, "")
    take(recorder, *sent([20]))
    await until_runs(database, 1, last_id=20)
    await until_runs(database, 3, end_cause={"$ne": None})
    (first, second) = gaps_between(await runs_of(database))
    assert (first.after_id, first.before_id, first.cause) == (4, 8, GapCause.FEED_GAP)
    assert (second.after_id, second.before_id, second.cause) == (8, 20, GapCause.SILENCE)


async def test_depth_and_trades_share_recorder_and_memory(database: Database) -> None:
    tape = Tape()
    async with running(Recorder(database)) as recorder:
        started(recorder, tape).diffs(*tape.diffs(20))
        take(recorder, *sent(range(1, 21)))
        used = recorder._pending.used_bytes
        assert used > sum(len(trade.payload) for trade in sent(range(1, 21)))
        await until_written(recorder)
    assert len(await all_of(database, "depth_events")) == 20
    assert len(await trades_of(database)) == 20


async def test_two_recorders_of_a_market_are_read_once(database: Database) -> None:
    trades = sent(range(1, 40))
    async with running(Recorder(database)) as one, running(Recorder(database)) as other:
        take(one, *trades[:25])
        take(other, *[received(trade_id, 99) for trade_id in range(10, 20)])
        await until_written(one)
        take(other, *[received(trade_id, 98) for trade_id in range(20, 40)])
    stored = await trades_of(database)
    assert [trade.payload for trade in stored] == [trade.payload for trade in trades]
    assert [(c.first_id, c.last_id) for c in covered(await runs_of(database))] == [(1, 39)]
    assert len(await runs_of(database)) == 2


async def test_the_same_batch_of_another_recorder_is_stored_once(database: Database) -> None:
    await database.prepare()
    await TradeBatches(database).insert([NewBatch.of(sent(range(1, 6)))])
    async with running(Recorder(database)) as recorder:
        take(recorder, *[received(trade_id, 77) for trade_id in range(1, 6)])
    assert await trades_of(database) == sent(range(1, 6))
    counts = recorder.trade_sink("BTCUSDT").counts
    assert (counts.events, counts.repeated) == (5, 5)


@GAP
@pytest.mark.expects_log("ERROR .*trade 3 of BTCUSDT is stored already with different content")
@pytest.mark.parametrize("is_archived", [False, True])
async def test_another_content_of_a_known_trade_is_refused(
    recorder: Recorder, database: Database, is_archived: bool
) -> None:
    await database.prepare()
    origin = TradeOrigin.IMPORT if is_archived else TradeOrigin.REPAIR
    await TradeWriter(database).store([asked(3, q="9.00000000")], origin)
    take(recorder, *sent(range(1, 6)), *sent([1], market="ETHUSDT"))
    await until_written(recorder)
    error = recorder.trade_sink("BTCUSDT").refused
    assert isinstance(error, TradeConflict)
    assert error.trade_id == 3
    take(recorder, *sent(range(6, 9)), *sent([2], market="ETHUSDT"))
    await until_written(recorder)
    assert [trade.trade_id for trade in await trades_of(database)] == [3]
    assert len(await trades_of(database, "ETHUSDT")) == 2
    assert recorder._pending.used_bytes < 5_000


@GAP
@pytest.mark.expects_log("ERROR .*trade 1 of BTCUSDT is stored already")
async def test_a_damaged_batch_with_the_same_ids_is_another_content(
    recorder: Recorder, database: Database
) -> None:
    await database.prepare()
    await TradeBatches(database).insert([NewBatch.of(sent(range(1, 6)))])
    await database.collection("trade_events").update_one({}, {"$set": {"to_time": 5}})
    with pytest.MonkeyPatch.context() as patched:
        # As if it had come after the run began.
        async def nothing(*_: object) -> None:
            pass

        patched.setattr(TradeLog, "_compare_with_stored", nothing)
        take(recorder, *sent(range(1, 6)))
        await until_written(recorder)
    assert isinstance(recorder.trade_sink("BTCUSDT").refused, TradeConflict)


@pytest.mark.expects_log("ERROR .*is damaged")
async def test_damage_in_an_old_recording_does_not_stop_a_new_one(database: Database) -> None:
    await database.prepare()
    await TradeBatches(database).insert([NewBatch.of(sent(range(1, 6)))])
    await database.collection("trade_events").update_one({}, {"$set": {"to_time": 5}})
    async with running(Recorder(database)) as recorder:
        take(recorder, *sent(range(3, 9)))
        await until_written(recorder)
    assert recorder.trade_sink("BTCUSDT").refused is None
    assert [(run.first_id, run.last_id) for run in await runs_of(database)] == [(3, 8)]


@pytest.mark.expects_log("ERROR .*failed unexpectedly")
@pytest.mark.expects_log("WARNING .*fault of this program .*ZeroDivisionError")
async def test_a_repetition_doubles_nothing(
    breakable: BreakableDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write succeeds, its acknowledgement is lost, and meanwhile more trades come."""
    insert = TradeBatches.insert
    trades = sent(range(1, 9))
    repeating = Recorder(breakable)

    async def lost_once(self: TradeBatches, batches: Any) -> Any:
        await insert(self, batches)
        monkeypatch.setattr(TradeBatches, "insert", insert)
        take(repeating, *trades[4:])
        raise ZeroDivisionError

    monkeypatch.setattr(TradeBatches, "insert", lost_once)
    async with running(repeating):
        take(repeating, *trades[:4])
        await until_written(repeating)
    documents = await all_of(breakable, "trade_events")
    assert sorted(one["_id"] for one in documents) == ["BTCUSDT:trade:1:4", "BTCUSDT:trade:5:8"]
    counts = repeating.trade_sink("BTCUSDT").counts
    assert (counts.events, counts.repeated) == (8, 0)
    breakable.close()


@pytest.mark.expects_log("WARNING .*disk is full")
async def test_how_far_a_run_has_come_is_stored_after_an_outage(
    breakable: BreakableDatabase,
) -> None:
    async with running(Recorder(breakable, times=QUICK)) as recorder:
        take(recorder, *sent([1, 2]))
        await until_runs(breakable, 1, last_id=2)
        breakable.error = OperationFailure("no", 14031)
        take(recorder, *sent([3]))
        await eventually(lambda: "disk is full" in recorder.problem_of("BTCUSDT"))
        problems = set()
        for _ in range(10):
            problems.add(recorder.problem_of("BTCUSDT"))
            await asyncio.sleep(0.02)
        # Having nothing to store is no sign of life.
        assert "" not in problems
        breakable.error = None
        await until_runs(breakable, 1, last_id=3)
        await eventually(lambda: recorder.problem_of("BTCUSDT") == "")
    breakable.close()


@GAP
@pytest.mark.allows_log("the database.* refuse")
@pytest.mark.expects_log("WARNING .*disk is full")
@pytest.mark.expects_log("room to record trades again")
async def test_an_overflow_is_a_gap_and_all_else_is_stored(breakable: BreakableDatabase) -> None:
    async with running(Recorder(breakable, limit_bytes=20_000)) as recorder:
        take(recorder, *sent([1]))
        await until_written(recorder)
        breakable.error = OperationFailure("no", 14031)
        take(recorder, *sent(range(2, 500)))
        sink = recorder.trade_sink("BTCUSDT")
        assert sink.overflowing
        assert recorder._pending.used_bytes < 21_000
        await eventually(lambda: "disk is full" in recorder.problem_of("BTCUSDT"))
        breakable.error = None
        await until_written(recorder)
        take(recorder, *sent(range(500, 503)))
        await until_written(recorder)
    stored = [trade.trade_id for trade in await trades_of(breakable)]
    dropped = sink.counts.dropped
    assert stored == [*range(1, 500 - dropped), 500, 501, 502]
    (gap,) = gaps_between(await runs_of(breakable))
    assert (gap.cause, gap.missing) == (GapCause.OVERFLOW, dropped)
    breakable.close()


@pytest.mark.allows_log("the database server ended by itself|MongoClient background task")
@pytest.mark.allows_log("until it is back|the database had lost")
async def test_nothing_is_lost_when_the_database_is_killed(mortal: DatabaseServer) -> None:
    database = Database("killed")
    database.connect(mortal.dsn)
    given: list[Trade] = []
    async with running(Recorder(database)) as recorder:
        counts = recorder.trade_sink("BTCUSDT").counts

        async def send() -> None:
            while True:
                more = sent(range(len(given), len(given) + 7))
                given.extend(more)
                take(recorder, *more)
                await asyncio.sleep(0.005)

        sending = asyncio.create_task(send())
        for _ in range(2):
            await until_more(recorder, 50)
            await kill_and_wait(mortal)
        await until_more(recorder, 1)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await until_written(recorder)
        assert (counts.events, counts.dropped, counts.gaps) == (len(given), 0, 0)
        assert await trades_of(database) == given
    (run,) = await runs_of(database)
    assert (run.first_id, run.last_id) == (0, len(given) - 1)
    database.close()


@pytest.mark.expects_log("BTCUSDT: the database had lost 6 trades .* written again")
async def test_what_an_interrupted_database_has_lost_is_written_again(
    recorder: Recorder, server: ServerThread, database: Database
) -> None:
    for ids in (range(1, 5), range(5, 8), range(8, 11)):
        take(recorder, *sent(ids))
        await until_written(recorder)
    for first_id in (5, 8):
        await database.collection("trade_events").delete_one({"first_id": first_id})
    await database.collection("trade_runs").delete_many({})
    # It comes back, as after a restart.
    database.connect(server.dsn)
    assert not recorder.is_whole
    await eventually(lambda: recorder.is_whole)
    assert await trades_of(database) == sent(range(1, 11))
    take(recorder, *sent([11]))
    await until_runs(database, 1, first_id=1, last_id=11)


@pytest.mark.expects_log("ERROR .*BTCUSDT: the recording of trades was deleted")
async def test_a_deleted_recording_begins_again(recorder: Recorder, database: Database) -> None:
    take(recorder, *sent(range(1, 5)))
    await until_runs(database, 1, last_id=4)
    for name in ("trade_runs", "trade_events"):
        await database.collection(name).delete_many({})
    take(recorder, *sent([5]))
    await eventually(lambda: recorder.trade_sink("BTCUSDT")._run is None)
    take(recorder, *sent([6, 7]))
    await until_runs(database, 1, first_id=6, last_id=7)


async def test_what_was_archived_is_not_written_again(
    recorder: Recorder, server: ServerThread, database: Database
) -> None:
    trades = sent(range(1, 9))
    take(recorder, *trades)
    await until_written(recorder)
    await TradeWriter(database)._chunks.put(trades)
    await database.collection("trade_events").delete_many({})
    database.connect(server.dsn)
    await eventually(lambda: recorder.is_whole)
    assert await all_of(database, "trade_events") == []
    assert await trades_of(database) == trades


CLOSED = pytest.mark.expects_log("recording of trades up to id .* ended without being closed")


async def crashed(database: Database, last_id: int, stored_id: int) -> None:
    """Leave what a recorder leaves that was killed after it had stored trades 1 to `last_id`."""
    await database.prepare()
    trades = sent(range(1, last_id + 1))
    run = TradeRun("dead", "BTCUSDT", 1, 0, trades[0].event_ms, trades[0].event_ms)
    await TradeRuns(database).put([run], new=True)
    if stored_id:
        times = (trades[0].event_ms, trades[stored_id - 1].event_ms)
        run = TradeRun("dead", "BTCUSDT", 1, stored_id, *times)
        await TradeRuns(database).put([run], new=False)
    batches = [NewBatch.of(trades[at : at + 3]) for at in range(0, last_id, 3)]
    await TradeBatches(database).insert(batches)
    await _disown(database)


async def _disown(database: Database) -> None:
    """Let the runs be those of a process that has ended."""
    with pytest.MonkeyPatch.context() as patched:
        gone = {"owner": {"host": "x", "pid": 1, "token": "y"}, "alive_ms": 1}
        patched.setattr("orderbook_desktop.storage.store.trade_runs.owner_document", lambda: gone)
        for run in await runs_of(database):
            await TradeRuns(database).put([run], new=False)


async def _closed(database: Database) -> int:
    """How many are closed at the second look: the process is on another machine."""
    times = iter([0.0, 0.0, 60.0, 60.0])
    watch = CrashWatch(database, lambda: next(times))
    assert await watch.close_crashed() == 0
    return await watch.close_crashed()


@CLOSED
@pytest.mark.parametrize("stored_id", [0, 3, 4, 12])
async def test_a_run_of_a_crashed_recorder_has_all_its_trades(
    database: Database, stored_id: int
) -> None:
    await crashed(database, 12, stored_id)
    assert await _closed(database) == 1
    (run,) = await runs_of(database)
    assert (run.first_id, run.last_id, run.end_cause) == (1, 12, GapCause.CRASH)
    assert run.to_ms == sent([12])[0].event_ms
    assert await trades_of(database) == sent(range(1, 13))


async def test_a_run_without_a_trade_leaves_nothing(database: Database) -> None:
    await crashed(database, 3, 0)
    await database.collection("trade_events").delete_many({})
    assert await _closed(database) == 1
    assert await runs_of(database) == []


@CLOSED
async def test_trades_of_another_recorder_are_not_taken_into_a_crashed_run(
    database: Database,
) -> None:
    await crashed(database, 12, 3)
    other = TradeRun("other", "BTCUSDT", 2, 12, 0, 0, end_cause=GapCause.USER)
    await TradeRuns(database).put([other], new=True)
    assert await _closed(database) == 1
    assert {run.id: run.last_id for run in await runs_of(database)} == {"dead": 3, "other": 12}


@pytest.mark.expects_log("ERROR .*the run of trades dead can't be closed")
async def test_a_damaged_run_is_left_as_it_is(database: Database) -> None:
    await crashed(database, 3, 3)
    await database.collection("trade_runs").update_one({}, {"$set": {"last_id": 2}})
    assert await _closed(database) == 0
    assert len(await all_of(database, "trade_runs", end_cause=None)) == 1


async def test_the_runs_of_this_process_are_left_alone(
    recorder: Recorder, database: Database
) -> None:
    take(recorder, *sent([1]))
    await until_written(recorder)
    assert await _closed(database) == 0


@pytest.mark.expects_log("ERROR .*3 events could not be written before the end")
@pytest.mark.allows_log("database")
async def test_a_silent_database_does_not_hold_up_the_end(silent_server: SilentServer) -> None:
    database = Database("silent", ENDLESS)
    database.connect(silent_server.dsn)
    recorder = Recorder(database)
    await recorder.start()
    take(recorder, *sent([1, 2, 3]))
    await silent_server.until_somebody_came()
    async with asyncio.timeout(30):
        await recorder.close(0.2)
    assert recorder.waiting == 3
    database.close()


async def test_what_is_withdrawn_before_the_first_write_is_not_written(
    database: Database,
) -> None:
    recorder = Recorder(database)

    async def look() -> None:
        recorder.withdraw("BTCUSDT")

    recorder.before_first_write = look
    take(recorder, *sent([1, 2]), *sent([5], market="ETHUSDT"))
    async with running(recorder):
        await until_written(recorder)
    assert await DatabaseTrades(database).markets() == ["ETHUSDT"]
    assert recorder._pending.used_bytes == 0
    assert recorder.trade_sink("BTCUSDT").counts.events == 0
