from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import qasync
from pymongo.errors import OperationFailure
from PySide6.QtWidgets import QApplication

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import DepthDiff, answered, decode_diff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamConnected, StreamItem
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.core.trades import TRADE
from orderbook_desktop.storage.errors import NewerSchema
from orderbook_desktop.storage.reading.change_stream import (
    NotRecorded,
    RecordedSnapshots,
    RecordedStreams,
    RecordingUnreadable,
)
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.server.choice import ServerKind, ServerProgram
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.trade_documents import batch_document
from orderbook_desktop.storage.store.trade_writer import TradeWriter
from orderbook_desktop.system.bounded_queue import BoundedQueue
from tests.core.reference_book import shown
from tests.storage.made_trades import asked, sent
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import (
    ENDLESS,
    ServerThread,
    Tape,
    all_of,
    following,
    kill_and_wait,
    running,
    started,
    until_stored,
    until_written,
)

LOST = pytest.mark.allows_log("can't be resumed|stands still")
KILLED = pytest.mark.allows_log(
    "ended by itself|until it is back|the book can't be read|no snapshot"
    # From the driver, which could not close a cursor of the server that is away.
    "|MongoClient background task encountered an error"
)
# The beginning of a recording is stored after its first events.
pytestmark = pytest.mark.allows_log("no snapshot: Nothing records")


async def test_follows_a_recording_from_its_middle(recorder: Recorder, database: Database) -> None:
    tape = Tape(step_ms=30_000)
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(7))
    await until_written(recorder)
    async with following(database) as followed:
        await followed.until_equals(tape)
        later = tape.diffs(300)
        feed.diffs(*later)
        await followed.until_equals(tape)
        assert followed.streams.ids == [diff.final_id for diff in later]
        assert followed.feed.status.last_received_ns == later[-1].received_ns


async def test_waits_for_a_recording_to_begin(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    async with following(database) as followed:
        await eventually(lambda: "Nothing records BTCUSDT" in followed.feed.status.detail)
        feed = started(recorder, tape)
        feed.diffs(*tape.diffs(3))
        await followed.until_equals(tape)


@pytest.mark.allows_log("gap in the recording|Update ids .* are missing")
async def test_a_gap_in_the_recording_is_a_gap_in_the_book(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(3))
    await until_written(recorder)
    async with following(database) as followed:
        await followed.until_equals(tape)
        tape.diff()
        feed.diffs(tape.diff())
        await eventually(lambda: followed.feed.status.state is not FeedState.SYNCED)
        assert followed.feed.book.last_update_id == 0
        feed.snapshot(tape.snapshot())
        feed.diffs(tape.diff())
        await followed.until_equals(tape)


@pytest.mark.expects_log("the best bid 1000 reaches the best ask")
async def test_a_crossed_recording_is_not_followed_as_true(
    recorder: Recorder, database: Database
) -> None:
    """An older program recorded a crossed book, and its segment continues."""
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(3))
    await until_written(recorder)
    async with following(database) as followed:
        await followed.until_equals(tape)
        tape.last_id += 1
        event = {"e": "depthUpdate", "E": tape.now_ms, "s": tape.market, "U": tape.last_id}
        sides = {"u": tape.last_id, "b": [["1000.0", "1.0"]], "a": []}
        crossing = decode_diff(json.dumps({**event, **sides}).encode(), tape.now_ms * 1_000_000)
        feed.sink.received(crossing)
        await eventually(lambda: followed.feed.status.state is not FeedState.SYNCED)
        assert followed.feed.book.last_update_id == 0
        assert "the best bid 1000 reaches the best ask" in followed.feed.status.detail


async def test_one_stream_serves_all_markets_and_subscribers(
    recorder: Recorder, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tapes = [Tape(), Tape("ETHUSDT", seed=2)]
    feeds = [started(recorder, tape) for tape in tapes]
    streams = RecordedStreams(database)
    opened: list[RecordedStreams] = []
    original = RecordedStreams._read

    async def counted(self: RecordedStreams) -> None:
        opened.append(self)
        await original(self)

    monkeypatch.setattr(RecordedStreams, "_read", counted)
    seen: list[list[int]] = [[], [], []]

    async def follow(market: str, ids: list[int]) -> None:
        async with aclosing(streams.items(Stream(market, DEPTH))) as items:
            async for item in items:
                if isinstance(item, DepthDiff):
                    ids.append(item.final_id)
                else:
                    assert item == StreamConnected()
                    ids.append(0)

    markets = ["BTCUSDT", "ETHUSDT", "BTCUSDT"]
    jobs = [asyncio.create_task(follow(m, ids)) for m, ids in zip(markets, seen, strict=True)]
    await eventually(lambda: seen == [[0], [0], [0]])
    sent = [tape.diffs(4) for tape in tapes]
    for feed, diffs in zip(feeds, sent, strict=True):
        feed.diffs(*diffs)
    ids = [[0, *(diff.final_id for diff in diffs)] for diffs in sent]
    await eventually(lambda: seen == [ids[0], ids[1], ids[0]])
    late: list[int] = []
    jobs.append(asyncio.create_task(follow("BTCUSDT", late)))
    await eventually(lambda: late == [0])
    assert len(opened) == 1
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    assert streams._queues == {}
    await streams.close()


def _ends_with(queue: BoundedQueue[StreamItem], update_id: int) -> bool:
    last = queue._items._queue[-1] if len(queue) else None  # type: ignore[attr-defined]
    return isinstance(last, DepthDiff) and last.final_id == update_id


@pytest.mark.expects_log("ERROR .*dropped 3 recorded items that waited")
async def test_a_reader_too_slow_loses_what_waits_and_starts_over(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    streams = RecordedStreams(database, waiting_at_most=3)
    async with aclosing(streams.items(Stream(tape.market, DEPTH))) as items:
        assert await anext(items) == StreamConnected()
        sent = tape.diffs(4)
        feed.diffs(*sent)
        (queue,) = streams._queues[Stream(tape.market, DEPTH)]
        await eventually(lambda: _ends_with(queue, sent[-1].final_id))
        item = await anext(items)
        assert isinstance(item, StreamBroken)
        assert item.cause is GapCause.OVERFLOW
        assert await anext(items) == StreamConnected()
        last = await anext(items)
        assert isinstance(last, DepthDiff)
        assert last.final_id == sent[-1].final_id
    await streams.close()


async def test_two_processes_worth_of_readers(
    server: ServerThread, recorder: Recorder, database: Database
) -> None:
    elsewhere = Database(database.name)
    elsewhere.connect(server.dsn)
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(tape.diff())
    await until_written(recorder)
    async with following(database) as one, following(elsewhere) as two:
        await one.until_equals(tape)
        await two.until_equals(tape)
        feed.diffs(*tape.diffs(20))
        await one.until_equals(tape)
        await two.until_equals(tape)
    elsewhere.close()


@KILLED
@LOST
async def test_resumes_after_a_kill_without_missing_or_doubling(mortal: DatabaseServer) -> None:
    database = Database("killed")
    database.connect(mortal.dsn)
    tape = Tape()
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        feed.diffs(tape.diff())
        await until_written(recorder)
        async with following(database) as followed:
            await followed.until_equals(tape)
            sent: list[int] = []

            async def send() -> None:
                while True:
                    diff = tape.diff()
                    sent.append(diff.final_id)
                    feed.diffs(diff)
                    await asyncio.sleep(0.002)

            sending = asyncio.create_task(send())
            for _ in range(3):
                await followed.streams.until_more(50)
                await kill_and_wait(mortal)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await until_written(recorder)
            await followed.until_equals(tape)
            assert followed.streams.ids == sent
            assert not any(isinstance(item, StreamBroken) for item in followed.streams.seen)
            await eventually(lambda: database.problem == "")
    database.close()


def forgetful_program() -> ServerProgram:
    """The built-in server, keeping only a few changes to resume from."""
    code = (
        "import sys; from orderbook_desktop.storage.server.secantus_child import main;"
        "a = sys.argv[1:]; a[a.index('--oplog-max-entries') + 1] = '50'; sys.exit(main(a))"
    )
    return ServerProgram(ServerKind.SECANTUS, (sys.executable, "-P", "-c", code))


@LOST
@KILLED
async def test_rebuilds_where_the_server_has_forgotten_its_place(tmp_path: Path) -> None:
    async with DatabaseServer(tmp_path, program=forgetful_program()) as server:
        database, elsewhere = Database("pruned"), Database("pruned")
        database.connect(server.dsn)
        elsewhere.connect(server.dsn)
        tape = Tape()
        async with running(Recorder(elsewhere)) as recorder:
            feed = started(recorder, tape)
            feed.diffs(tape.diff())
            await until_written(recorder)
            async with following(database) as followed:
                await followed.until_equals(tape)
                # The reader is cut off while far more is written than the server remembers.
                database.connect("mongodb://127.0.0.1:9/?directConnection=true")
                await eventually(lambda: "can't be reached" in database.problem)
                for _ in range(4):
                    feed.diffs(*tape.diffs(700))
                    await until_written(recorder)
                # It forgets once a second.
                oplog = elsewhere.motor.client["local"]["oplog.rs"]
                async with asyncio.timeout(30):
                    while await oplog.count_documents({}) > 700:
                        await asyncio.sleep(0.1)
                database.connect(server.dsn)
                await followed.until_equals(tape)
                broken = [one for one in followed.streams.seen if isinstance(one, StreamBroken)]
                assert [one.cause for one in broken] == [GapCause.DATABASE]
                feed.diffs(*tape.diffs(5))
                await followed.until_equals(tape)
        database.close()
        elsewhere.close()


class RefusingDatabase(Database):
    """Refuses the next change streams with an error code."""

    codes: list[int]

    @property
    def motor(self) -> Any:
        motor = super().motor
        if not self.codes:
            return motor
        error = OperationFailure("refused", self.codes.pop(0))

        class Refusing:
            def watch(self, *_args: object, **_options: object) -> Any:
                raise error

        return Refusing()


@LOST
@pytest.mark.parametrize(
    ("codes", "is_lost"),
    [([286], True), ([260], True), ([9], True), ([91, 91], False), ([13] * 5, True)],
)
async def test_a_token_is_given_up_when_it_is_refused(
    server: ServerThread, recorder: Recorder, database: Database, codes: list[int], is_lost: bool
) -> None:
    refusing = RefusingDatabase(database.name)
    refusing.codes = []
    refusing.connect(server.dsn)
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(tape.diff())
    await until_written(recorder)
    streams = RecordedStreams(refusing)
    items = streams.items(Stream(tape.market, DEPTH))
    assert await anext(items) == StreamConnected()
    diff = tape.diff()
    feed.diffs(diff)
    assert await anext(items) == diff
    refusing.codes = list(codes)
    refusing.connect(server.dsn)
    await eventually(lambda: not refusing.codes)
    if is_lost:
        broken = await anext(items)
        assert isinstance(broken, StreamBroken)
        assert await anext(items) == StreamConnected()
    diff = tape.diff()
    feed.diffs(diff)
    assert await anext(items) == diff
    await items.aclose()
    await streams.close()
    refusing.close()


@LOST
@pytest.mark.allows_log("gap in the recording|deleted while it went on|Update ids .* are missing")
async def test_a_recording_is_followed_again_after_it_was_deleted(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(3))
    await until_written(recorder)
    async with following(database) as followed:
        await followed.until_equals(tape)
        await database.motor.client.drop_database(database.name)
        await eventually(lambda: followed.feed.status.state is not FeedState.SYNCED)
        await eventually(lambda: recorder.sink(tape.market).counts.gaps)
        feed.diffs(*tape.diffs(3))
        await followed.until_equals(tape)


async def test_deleted_events_leave_the_followed_book_alone(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(3))
    await until_written(recorder)
    async with following(database) as followed:
        await followed.until_equals(tape)
        await database.collection("depth_events").drop()
        feed.diffs(*tape.diffs(3))
        await followed.until_equals(tape)


@pytest.mark.expects_log("WARNING .*a recorded event can't be read")
@pytest.mark.allows_log("no snapshot: A (recorded|depth) event could not be read")
async def test_foreign_documents_break_nothing(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(tape.diff())
    await until_written(recorder)
    async with following(database) as followed:
        await followed.until_equals(tape)
        events = database.collection("depth_events")
        await events.insert_one({"u": 1})
        await events.insert_one({"u": 2, "market": ["BTCUSDT"]})
        foreign = await events.insert_one({"market": "BTCUSDT", "u": 3, "payload": 5})
        await eventually(
            lambda: any(isinstance(item, StreamBroken) for item in followed.streams.seen)
        )
        await events.delete_one({"_id": foreign.inserted_id})
        feed.diffs(*tape.diffs(3))
        await followed.until_equals(tape)


async def test_close_ends_everything_while_nothing_is_there() -> None:
    streams = RecordedStreams(Database("nowhere"))
    items = streams.items(Stream("BTCUSDT", DEPTH))
    waiting = asyncio.create_task(anext(items))
    await asyncio.sleep(0)
    await streams.close()
    assert asyncio.all_tasks() == {asyncio.current_task(), waiting}
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    with pytest.raises(StopAsyncIteration):
        await anext(items)


@pytest.mark.allows_log("until it is back|stands still")
async def test_close_is_quick_when_the_database_is_gone(server: ServerThread) -> None:
    database = Database("patient", ENDLESS)
    database.connect(server.dsn)
    streams = RecordedStreams(database)
    items = streams.items(Stream("BTCUSDT", DEPTH))
    assert await anext(items) == StreamConnected()
    database.connect("mongodb://127.0.0.1:9/?directConnection=true")
    async with asyncio.timeout(60):
        await streams.close()
    await items.aclose()
    database.close()


def test_works_on_the_loop_of_qt(server: ServerThread, qapp: QApplication) -> None:
    async def record_and_follow() -> None:
        database = Database("on_qt")
        database.connect(server.dsn)
        tape = Tape()
        async with running(Recorder(database)) as recorder:
            feed = started(recorder, tape)
            feed.diffs(*tape.diffs(3))
            await until_written(recorder)
            async with following(database) as followed:
                await followed.until_equals(tape)
                feed.diffs(*tape.diffs(3))
                await followed.until_equals(tape)
        database.close()

    loop = qasync.QEventLoop(qapp)
    with loop:
        loop.run_until_complete(record_and_follow())


async def recorded(recorder: Recorder, database: Database, tape: Tape, number: int = 9) -> None:
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(number))
    await until_stored(database, 1, market=tape.market, event_count=number)


async def assert_serves(database: Database, tape: Tape) -> None:
    snapshot = await RecordedSnapshots(database).snapshot(tape.market)
    assert snapshot.market == tape.market
    assert snapshot.last_update_id == tape.last_id
    assert snapshot.event_ms == tape.now_ms
    book = Book()
    book.load(snapshot)
    assert shown(book) == tape.book.levels


@pytest.mark.parametrize("step_ms", [100, 25_000])
async def test_serves_the_book_of_now(recorder: Recorder, database: Database, step_ms: int) -> None:
    tape, other = Tape(step_ms=step_ms), Tape("ETHUSDT", seed=2)
    await recorded(recorder, database, tape)
    await recorded(recorder, database, other)
    await assert_serves(database, tape)
    await assert_serves(database, other)


async def test_the_book_of_now_says_how_deep_the_first_one_was(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    known = answered(tape.snapshot()).horizon
    await recorded(recorder, database, tape)
    assert (await RecordedSnapshots(database).snapshot(tape.market)).horizon == known is not None


async def test_nothing_is_recorded_where_nothing_is(recorder: Recorder, database: Database) -> None:
    snapshots = RecordedSnapshots(database)
    with pytest.raises(NotRecorded, match="Nothing records BTCUSDT"):
        await snapshots.snapshot("BTCUSDT")
    await recorded(recorder, database, Tape("ETHUSDT"))
    with pytest.raises(NotRecorded):
        await snapshots.snapshot("BTCUSDT")


async def test_a_recording_that_has_ended_is_none(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    recorder.sink(tape.market).broken(GapCause.USER, "")
    await until_stored(database, 1, end_cause="user")
    with pytest.raises(NotRecorded):
        await RecordedSnapshots(database).snapshot(tape.market)


async def test_the_leftover_of_a_dead_recorder_is_no_book_of_now(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    (segment,) = await all_of(database, "segments")
    await database.collection("segments").insert_one(
        segment
        | {"_id": "dead", "last_id": 2**62, "last_time": 2**62}
        | {"owner": segment["owner"] | {"token": "another"}}
    )
    await assert_serves(database, tape)


async def test_the_leftover_of_another_machine_is_older(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    (segment,) = await all_of(database, "segments")
    (checkpoint,) = await all_of(database, "checkpoints")
    await database.collection("segments").insert_one(
        segment
        | {"_id": "far", "last_id": 2**62, "last_time": segment["last_time"] - 1}
        | {"owner": {"host": "far away", "pid": 1, "token": "another"}}
    )
    await database.collection("checkpoints").insert_one(
        checkpoint | {"_id": "far", "segment": "far", "update_id": 2**62}
    )
    await assert_serves(database, tape)


async def test_the_book_ends_at_a_gap(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    snapshots = RecordedSnapshots(database)
    before = await snapshots.snapshot(tape.market)
    tape.diff()
    recorder.sink(tape.market).received(tape.diff())
    await until_written(recorder)
    assert await snapshots.snapshot(tape.market) == before


async def test_damage_is_reported(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    snapshots = RecordedSnapshots(database)
    events, checkpoints = (database.collection(name) for name in ("depth_events", "checkpoints"))
    await events.update_one({"u": tape.last_id}, {"$set": {"payload": "{}"}})
    with pytest.raises(MalformedMessage):
        await snapshots.snapshot(tape.market)
    await checkpoints.update_many({}, {"$set": {"payload": b"nothing"}})
    with pytest.raises(DamagedDocument, match="damaged"):
        await snapshots.snapshot(tape.market)
    await checkpoints.update_many({}, {"$set": {"update_id": "x"}})
    with pytest.raises(DamagedDocument):
        await snapshots.snapshot(tape.market)


async def test_a_newer_schema_is_not_read(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    await recorded(recorder, database, tape)
    await database.collection("meta").update_one({}, {"$set": {"version": 99}})
    with pytest.raises(NewerSchema, match="newer version"):
        await RecordedSnapshots(database).snapshot(tape.market)


async def test_an_absent_database_is_reported() -> None:
    database = Database("absent")
    database.connect("mongodb://127.0.0.1:9/?directConnection=true")
    with pytest.raises(RecordingUnreadable, match="can't be read"):
        await RecordedSnapshots(database).snapshot("BTCUSDT")
    database.close()


async def test_new_trades_come_batch_by_batch_beside_the_events(
    recorder: Recorder, database: Database
) -> None:
    streams, tape = RecordedStreams(database), Tape()
    trades = sent(range(1, 1_201))
    stream = Stream("BTCUSDT", TRADE)
    async with aclosing(streams.items(stream)) as items:
        assert await anext(items) == StreamConnected()
        started(recorder, tape).diffs(tape.diff())
        await TradeWriter(database).store([asked(9_000)], TradeOrigin.REPAIR)
        await TradeWriter(database).store(sent([9_100]), TradeOrigin.IMPORT)
        for trade in [*trades, *sent([5], market="ETHUSDT")]:
            recorder.trade_sink(trade.market).received(trade)
        async with asyncio.timeout(60):
            assert await anext(items) == asked(9_000)
            # What is imported is archived at once, and none of it is new.
            assert [await anext(items) for _ in trades] == trades
    await streams.close()


@pytest.mark.expects_log("a recorded event can't be read")
async def test_a_damaged_batch_of_trades_is_a_break(database: Database) -> None:
    await database.prepare()
    streams = RecordedStreams(database)
    documents = [batch_document(sent([trade_id])) for trade_id in (1, 2)]
    async with aclosing(streams.items(Stream("BTCUSDT", TRADE))) as items:
        assert await anext(items) == StreamConnected()
        await database.collection("trade_events").insert_many(
            [documents[0] | {"to_time": 5}, documents[1]]
        )
        broken = await anext(items)
        assert isinstance(broken, StreamBroken)
        assert broken.cause is GapCause.MALFORMED
        assert await anext(items) == StreamConnected()
        assert await anext(items) == sent([2])[0]
    await streams.close()
