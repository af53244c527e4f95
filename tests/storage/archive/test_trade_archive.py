"""Trades are archived: no trade is lost or doubled by a kill or a fault on the way."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from orderbook_desktop.core.recording_status import AllCounts, RecordingCounts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.trade_coverage import TradeRun
from orderbook_desktop.core.trades import TRADE, Trade, decode_trade
from orderbook_desktop.formats.single_trades import TradeAggregator
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.archive.trade_archive import TradeArchive
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import ArchiveLease
from orderbook_desktop.storage.store.trade_batches import NewBatch, TradeBatches
from orderbook_desktop.storage.store.trade_documents import batches_of
from orderbook_desktop.storage.store.trade_reader import DatabaseTrades
from orderbook_desktop.storage.store.trade_runs import TradeRuns
from tests.core.test_real_capture import CAPTURE
from tests.storage.archive_fixtures import (
    AT_ONCE,
    FragileDatabase,
    Killed,
    archiver_of,
    copy_of,
)
from tests.storage.made_trades import FIRST_MS, asked, received, sent
from tests.storage.recording_fixtures import ServerThread, all_of

STREAM = Stream("BTCUSDT", TRADE)


async def recorded(
    database: Database,
    trades: Sequence[Trade],
    key: str = "run",
    cause: GapCause | None = GapCause.USER,
    a_batch: int = 300,
) -> None:
    """Store what a recorder would have, with an open run if there is no `cause`."""
    if not database.prepared:
        await database.prepare()
    batches = [
        NewBatch.of(batch[at : at + a_batch])
        for batch in batches_of(trades)
        for at in range(0, len(batch), a_batch)
    ]
    await TradeBatches(database).insert(batches)
    first, last = trades[0], trades[-1]
    times = (first.event_ms, max(trade.event_ms for trade in trades))
    run = TradeRun(key, first.market, first.trade_id, last.trade_id, *times, end_cause=cause)
    await TradeRuns(database).put([run], new=True)


async def read(database: Database) -> list[Trade]:
    found = DatabaseTrades(database).trades("BTCUSDT", 0, 2**63 - 1)
    async with aclosing(found):
        return [trade async for piece in found for trade in piece.trades()]


async def chunks_of(database: Database) -> list[tuple[int, int]]:
    found = await all_of(database, "trade_chunks")
    return sorted((one["first_id"], one["last_id"]) for one in found)


async def batches_left(database: Database) -> int:
    return len(await all_of(database, "trade_events"))


async def test_all_of_an_ended_run_is_archived_byte_for_byte(database: Database) -> None:
    trades = [
        *sent(range(1, 6_000), random.Random(1)),
        asked(6_000, q="00.5"),
        received(6_001, 5, x="é\n"),
        *[asked(trade_id) for trade_id in range(6_002, 6_010)],
        received(6_010, p="61837.630000000001"),
    ]
    await recorded(database, trades)
    counts: AllCounts = defaultdict(RecordingCounts)
    await Archiver(database, pace=0.0, times=AT_ONCE, counts=counts).catch_up()
    assert await read(database) == trades
    assert await chunks_of(database) == [(1, 5_000), (5_001, 6_010)]
    assert await batches_left(database) == 0
    (run,) = await all_of(database, "trade_runs")
    assert (run["archived_id"], run["to_archive"]) == (6_010, False)
    chunks = await all_of(database, "trade_chunks")
    assert counts[STREAM].archived_events == len(trades)
    assert counts[STREAM].archived_bytes == sum(len(one["data"]) for one in chunks)
    # The first chunk has nothing odd.
    size = next(len(one["data"]) for one in chunks if one["first_id"] == 1)
    assert size < 10 * 5_000


async def test_prices_that_no_scale_holds_together_are_several_chunks(database: Database) -> None:
    wide = [received(trade_id, p="900000000000000.1") for trade_id in (1, 2)]
    fine = [received(trade_id, p="0.00000000000000001") for trade_id in (3, 4)]
    await recorded(database, [*wide, *fine])
    await archiver_of(database).catch_up()
    assert await read(database) == [*wide, *fine]
    assert await batches_left(database) == 0


def _later(trade_id: int, seconds: float) -> Trade:
    return received(trade_id, T=FIRST_MS + round(seconds * 1_000))


@pytest.mark.parametrize(
    ("count", "seconds", "archived"),
    [(999, 590, 0), (1_000, 59, 0), (1_000, 61, 1_000), (30, 601, 30), (5_100, 1, 5_000)],
)
async def test_of_a_run_that_goes_on_only_a_full_chunk_is_archived(
    database: Database, count: int, seconds: float, archived: int
) -> None:
    trades = [_later(index, seconds * index / (count - 1)) for index in range(count)]
    await recorded(database, trades, cause=None)
    await archiver_of(database).catch_up()
    assert sum(last - first + 1 for first, last in await chunks_of(database)) == archived
    assert await read(database) == trades
    (run,) = await all_of(database, "trade_runs")
    assert (run["archived_id"], run["to_archive"]) == (archived - 1, True)


async def test_it_goes_on_where_it_stopped(database: Database) -> None:
    known = 0
    for count, cause in ((6_000, None), (6_010, None), (6_020, GapCause.USER)):
        await recorded(database, sent(range(known, count)), cause=cause)
        known = count
        await archiver_of(database).catch_up()
        assert await read(database) == sent(range(count))
    assert await batches_left(database) == 0
    assert await chunks_of(database) == [(0, 4_999), (5_000, 6_019)]


async def test_runs_that_overlap_are_archived_once(database: Database) -> None:
    trades = sent(range(1, 3_000))
    await recorded(database, trades[:2_000], "one")
    again = [received(trade.trade_id, 77) for trade in trades[1_500:]]
    await recorded(database, again, "two", a_batch=170)
    await archiver_of(database).catch_up()
    stored = await read(database)
    assert [trade.payload for trade in stored] == [trade.payload for trade in trades]
    spans = await chunks_of(database)
    assert sum(last - first + 1 for first, last in spans) == len(trades)
    assert await batches_left(database) == 0
    assert await all_of(database, "trade_runs", to_archive=True) == []


async def test_a_received_trade_is_kept_rather_than_the_same_one_repaired(
    database: Database,
) -> None:
    await recorded(database, [asked(trade_id) for trade_id in range(1, 9)], "repair", a_batch=8)
    await recorded(database, sent(range(3, 6)), "live")
    await archiver_of(database).catch_up()
    stored = await read(database)
    assert [trade.trade_id for trade in stored if not trade.is_repaired] == [3, 4, 5]


@pytest.mark.expects_log("ERROR .*a part can't be archived: The trade 7 of BTCUSDT is stored")
@pytest.mark.parametrize("is_later", [False, True])
async def test_a_contradiction_between_recorders_is_named_and_both_stay(
    database: Database, is_later: bool
) -> None:
    await recorded(database, sent(range(1, 10)), "one")
    if is_later:
        await archiver_of(database).catch_up()
    others = [*sent([6]), received(7, q="9.00000000"), *sent([8, 20])]
    await recorded(database, others[:3], "two")
    await recorded(database, others[3:], "three")
    counts: AllCounts = defaultdict(RecordingCounts)
    archiver = Archiver(database, pace=0.0, times=AT_ONCE, counts=counts)
    await archiver.catch_up()
    await archiver.catch_up()
    assert "trade 7 of BTCUSDT" in archiver.problem
    assert counts[STREAM].archive_problem == archiver.problem
    left = {one["_id"] for one in await all_of(database, "trade_events")}
    assert "BTCUSDT:trade:6:8" in left
    assert "BTCUSDT:trade:20:20" not in left
    assert [trade.trade_id for trade in await read(database)] == [*range(1, 10), 20]


@pytest.mark.expects_log("ERROR .*a part can't be archived")
async def test_a_damaged_batch_is_reported_and_stays(database: Database) -> None:
    await recorded(database, sent(range(1, 10)))
    await database.collection("trade_events").update_one({}, {"$set": {"to_time": 5}})
    archiver = archiver_of(database)
    await archiver.catch_up()
    assert "damaged" in archiver.problem
    assert await batches_left(database) == 1


@pytest.mark.expects_log("ERROR .*BTCUSDT: the trades 301 to 6300 were recorded and are missing")
async def test_it_goes_on_after_trades_that_are_certainly_missing(database: Database) -> None:
    trades = sent(range(1, 7_001))
    await recorded(database, trades)
    gone = {"first_id": {"$gt": 300, "$lte": 6_300}}
    await database.collection("trade_events").delete_many(gone)
    now = 0.0
    archive = TradeArchive(database, ArchiveLease(database), lambda: now)
    done = await archive.advance("run")
    assert done is not None
    assert done[0] == 300
    assert await archive.advance("run") is None
    now = 59.0
    assert await archive.advance("run") is None
    now = 60.0
    assert await archive.advance("run") == (0, 0)
    done = await archive.advance("run")
    assert done is not None
    assert done[0] == 700
    assert await chunks_of(database) == [(1, 300), (6_301, 7_000)]


async def _archive(database: Database) -> None:
    archive = TradeArchive(database, ArchiveLease(database), asyncio.get_running_loop().time)
    for key in ("one", "two"):
        while await archive.advance(key) is not None:
            pass


async def _killed_at(fragile: FragileDatabase, call: int, documents: dict[str, Any]) -> bool:
    """Kill the archiver before a call to the database; return whether it had ended before."""
    for name in ("trade_events", "trade_chunks", "trade_runs", "leases"):
        await fragile.motor[name].delete_many({})
        if documents.get(name):
            await fragile.motor[name].insert_many(documents[name])
    fragile.calls_left = call
    try:
        await _archive(fragile)
    except Killed:
        return False
    finally:
        fragile.calls_left = -1
    return True


async def test_a_kill_at_any_moment_loses_nothing(server: ServerThread, database: Database) -> None:
    trades = sent(range(1, 50))
    await recorded(database, trades[:30], "one", a_batch=9)
    await recorded(database, trades[20:], "two", a_batch=11)
    documents = await copy_of(database)

    async def kill() -> None:
        raise Killed

    fragile = FragileDatabase(f"{database.name}_copy", kill)
    fragile.connect(server.dsn)
    call, has_ended = 0, False
    while not has_ended:
        has_ended = await _killed_at(fragile, call, documents)
        assert await read(fragile) == trades
        # Its lease is left behind.
        await fragile.collection("leases").delete_many({})
        await _archive(fragile)
        assert await read(fragile) == trades
        assert await batches_left(fragile) == 0
        assert await chunks_of(fragile) == [(1, 30), (31, 49)]
        call += 1
    assert call > 12
    await fragile.motor.client.drop_database(fragile.name)
    fragile.close()


async def test_two_archivers_at_once_do_no_harm(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even without a lease, and when each sees other batches."""
    trades = sent(range(1, 8_000))
    await recorded(database, trades[:5_500], "one")
    await recorded(database, trades[5_000:], "two", a_batch=111)

    async def hold(*_: object) -> int:
        return 1

    monkeypatch.setattr(ArchiveLease, "hold", hold)

    async def archive(*keys: str) -> None:
        archive = TradeArchive(database, ArchiveLease(database), asyncio.get_running_loop().time)
        for key in keys * 6:
            await archive.advance(key)

    await asyncio.gather(archive("one", "two"), archive("two", "one"), archive("one"))
    await archiver_of(database).catch_up()
    assert await read(database) == trades
    assert await batches_left(database) == 0


async def test_another_archiver_with_the_lease_is_left_alone(database: Database) -> None:
    await recorded(database, sent(range(1, 9)))
    other = ArchiveLease(database)
    assert await other.hold("BTCUSDT") == 1
    await archiver_of(database).catch_up()
    assert await batches_left(database) == 1
    await other.release_all()
    await archiver_of(database).catch_up()
    assert await batches_left(database) == 0


async def test_what_is_repaired_into_an_archived_run_is_archived_too(database: Database) -> None:
    await recorded(database, sent(range(1, 9)), "one")
    await recorded(database, sent(range(20, 29)), "two")
    await archiver_of(database).catch_up()
    repaired = [asked(trade_id) for trade_id in range(9, 20)]
    await recorded(database, repaired, "repair")
    await archiver_of(database).catch_up()
    assert [trade.trade_id for trade in await read(database)] == [*range(1, 29)]
    assert await batches_left(database) == 0


def _captured() -> list[Trade]:
    """The trades of a real capture, made of single ones."""
    trades: list[Trade] = []
    aggregator, received_ns = TradeAggregator("BTCUSDT"), 0
    with gzip.open(CAPTURE) as lines:
        for line in lines:
            stamp, _, text = line.partition(b" ")
            if b"@trade" not in text:
                continue
            ended = aggregator.take(bytes(msgspec.json.decode(text, type=_Frame).data))
            if ended is not None:
                trades.append(decode_trade(ended, received_ns))
            received_ns = int(stamp)
    return trades


class _Frame(msgspec.Struct):
    data: msgspec.Raw


@pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here")
async def test_real_trades_take_less_than_nine_bytes_each(database: Database) -> None:
    trades = _captured()
    assert len(trades) > 5_000
    counts: AllCounts = defaultdict(RecordingCounts)
    archiver = Archiver(database, pace=0.0, times=AT_ONCE, counts=counts)
    for end in range(1_000, len(trades) + 1_000, 1_000):
        # About a minute at a time, as beside a recorder.
        cause = None if end < len(trades) else GapCause.USER
        await recorded(database, trades[end - 1_000 : end], cause=cause, a_batch=20)
        await archiver.catch_up()
    assert await read(database) == trades
    assert await batches_left(database) == 0
    assert len(await chunks_of(database)) > 3
    assert counts[STREAM].archived_bytes <= 9 * len(trades)
