from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import msgspec
import pytest
from pymongo.errors import OperationFailure

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.recorder.event_log import EventLog
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert, event_document
from orderbook_desktop.storage.store.event_writer import (
    Outcome,
    RecordingConflict,
    UnstorableEvent,
)
from orderbook_desktop.storage.store.packing import unpack
from orderbook_desktop.storage.verification.verification import verify
from tests.core.reference_book import ReferenceBook, diff_payload, shown, snapshot_payload
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import (
    ENDLESS,
    BreakableDatabase,
    HandFeed,
    ServerThread,
    SilentServer,
    Tape,
    all_of,
    events_of,
    kill_and_wait,
    running,
    segments_of,
    started,
    until_more,
    until_stored,
    until_written,
)

GAP = pytest.mark.allows_log("gap in the recording")


async def test_events_are_stored_byte_for_byte(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    update_id = tape.last_id + 1
    odd = b' {"e":"depthUpdate","E":5,"s":"BTCUSDT","U":%d,"u":%d,"x":"\\u00e9\xc3\xa9",'
    odd = odd % (update_id, update_id) + b'"b":[["1.5","2.0000000001"]],"a":[]}'
    feed.diffs(decode_diff(odd, 7))
    await until_written(recorder)
    (stored,) = await events_of(database)
    assert stored["payload"].encode() == odd
    assert (stored["U"], stored["u"]) == (update_id, update_id)
    assert (stored["time"], stored["received_ns"]) == (5, 7)


async def test_a_recording_is_whole(database: Database) -> None:
    tape, other = Tape(), Tape("ETHUSDT", seed=2)
    async with running(Recorder(database)) as recorder:
        base_id = tape.last_id
        feed, other_feed = started(recorder, tape), started(recorder, other)
        diffs = tape.diffs(2_500)
        feed.diffs(*diffs)
        other_feed.diffs(*other.diffs(3))
        assert recorder.waiting == 2_503
        assert recorder.waiting_of("BTCUSDT") == 2_500
        assert recorder.waiting_of("ETHUSDT") == 3
    assert [one["payload"].encode() for one in await events_of(database)] == [
        diff.payload for diff in diffs
    ]
    assert len(await events_of(database, "ETHUSDT")) == 3
    (segment,) = await all_of(database, "segments", market="BTCUSDT", book=True)
    assert segment["snapshot_id"] == base_id
    assert segment["first_id"] == diffs[0].first_id
    assert segment["last_id"] == diffs[-1].final_id
    assert segment["first_time"] == diffs[0].event_ms
    assert segment["last_time"] == diffs[-1].event_ms
    assert segment["event_count"] == 2_500
    assert (segment["price_exponent"], segment["quantity_exponent"]) == (8, 8)
    assert segment["end_cause"] == "user"
    counts = recorder.sink("BTCUSDT").counts
    assert (counts.events, counts.repeated, counts.dropped, counts.gaps) == (2_500, 0, 0, 0)
    assert counts.payload_bytes == sum(len(diff.payload) for diff in diffs)
    assert counts.last_id == tape.last_id
    assert recorder.problem_of("BTCUSDT") == ""


@GAP
async def test_each_end_has_its_cause(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    feed = HandFeed(recorder.sink(tape.market))
    causes = [cause for cause in GapCause if cause is not GapCause.USER]
    for cause in causes:
        feed.snapshot(tape.snapshot())
        feed.diffs(tape.diff())
        feed.broken(cause, f"because of {cause.value} \ud800")
        tape.diff()
    await until_stored(database, len(causes), end_cause={"$ne": None})
    segments = await segments_of(database)
    assert [one["end_cause"] for one in segments] == [cause.value for cause in causes]
    assert segments[0]["end_detail"].startswith(f"because of {causes[0].value}")
    assert all(one["event_count"] == 1 for one in segments)
    assert recorder.sink(tape.market).counts.gaps == len(causes)


@GAP
async def test_a_gap_in_the_feed_ends_a_segment_before_it(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    before = tape.diffs(3)
    feed.diffs(*before)
    tape.diff()
    feed.diffs(tape.diff())
    feed.snapshot(tape.snapshot())
    feed.diffs(tape.diff())
    await until_stored(database, 1, end_cause="feed gap")
    await until_written(recorder)
    await until_stored(database, 1, end_cause=None)
    first, second = await segments_of(database)
    assert first["last_id"] == before[-1].final_id
    assert second["snapshot_id"] > first["last_id"]
    assert len(await events_of(database)) == 5


async def test_the_end_of_a_running_segment_is_stored_soon(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    await until_stored(database, 1, event_count=0)
    feed.diffs(*tape.diffs(4))
    await until_stored(database, 1, event_count=4, last_id=tape.last_id)


async def test_other_exponents_are_stored(recorder: Recorder, database: Database) -> None:
    base = snapshot_payload([("0.000000000012", "1")], [("2", "99999999999")], 10)
    feed = HandFeed(recorder.sink("BTCUSDT"))
    feed.snapshot(decode_snapshot(base, "BTCUSDT"))
    feed.diffs(decode_diff(diff_payload([("1.5", "1")], [], 11, 11)))
    await until_stored(database, 1, event_count=1, price_exponent=12, quantity_exponent=7)


async def test_an_exponent_that_changes_on_the_way_is_stored(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    ids = (tape.last_id + 1, tape.last_id + 1)
    feed.diffs(decode_diff(diff_payload([("0.0000000001", "1")], [], *ids)))
    await until_stored(database, 1, event_count=1, price_exponent=10)


async def test_books_are_kept_at_the_start_and_twice_near_the_end(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape(step_ms=20_000)
    start = tape.snapshot()
    feed = started(recorder, tape)
    truths = {}
    for _ in range(13):
        diff = tape.diff()
        feed.diffs(diff)
        copy = ReferenceBook(dict(tape.book.bids), dict(tape.book.asks))
        truths[diff.final_id] = (diff.event_ms, copy)
    async with asyncio.timeout(60):
        while len(kept := await all_of(database, "checkpoints")) != 3 or recorder.waiting:
            await asyncio.sleep(0.01)
    await recorder.close()
    kept = sorted(await all_of(database, "checkpoints"), key=lambda one: int(one["update_id"]))
    assert [one["base"] for one in kept] == [True, False, False]
    assert unpack(kept[0]["payload"]) == start.payload
    for one in kept[1:]:
        book = Book()
        book.load(decode_snapshot(unpack(one["payload"]), tape.market))
        event_ms, truth = truths[one["update_id"]]
        assert shown(book) == truth.levels
        assert one["time"] == event_ms
    assert kept[2]["time"] - kept[1]["time"] == 60_000


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_repeated_events_are_stored_once(
    recorder: Recorder, database: Database, elsewhere: bool
) -> None:
    tape = Tape()
    diffs = tape.diffs(5)
    sink = recorder.sink(tape.market)
    for diff in diffs:
        sink.received(diff)
    await until_written(recorder)
    for diff in diffs[2:]:
        payload = diff.payload
        if elsewhere:
            # Another connection to the exchange dates the same event a little differently.
            payload = payload.replace(b'"E":17', b'"E":18')
            assert payload != diff.payload
        sink.received(msgspec.structs.replace(diff, received_ns=99, payload=payload))
    await until_written(recorder)
    assert [one["payload"].encode() for one in await events_of(database)] == [
        diff.payload for diff in diffs
    ]
    assert (sink.counts.events, sink.counts.repeated) == (8, 3)
    assert recorder.problem_of("BTCUSDT") == ""


@GAP
@pytest.mark.expects_log("ERROR .*BTCUSDT is not recorded any more")
async def test_another_content_of_a_known_event_is_refused(
    recorder: Recorder, database: Database
) -> None:
    tape, other = Tape(), Tape("ETHUSDT")
    feed, other_feed = started(recorder, tape), started(recorder, other)
    first = tape.diffs(3)
    feed.diffs(*first)
    await until_written(recorder)
    forged = tape.diff()
    true_id = forged.final_id
    payload = forged.payload.replace(b"0.0", b"0.1", 1)
    stored = Insert(
        Stream(tape.market, DEPTH), forged.first_id, true_id, forged.event_ms, 0, payload
    )
    await database.collection("depth_events").insert_one(event_document(stored))
    later = tape.diff()
    feed.diffs(forged, later)
    other_feed.diffs(other.diff())
    await until_stored(database, 1, market="BTCUSDT", end_cause="database")
    error = recorder.sink("BTCUSDT").refused
    assert isinstance(error, RecordingConflict)
    assert error.update_id == true_id
    assert recorder.problem_of("BTCUSDT") == str(error)
    assert recorder.problem_of("ETHUSDT") == ""
    (segment,) = await all_of(database, "segments", market="BTCUSDT", book=True)
    assert segment["last_id"] == first[-1].final_id
    assert segment["end_detail"] == str(error)
    assert recorder.sink("BTCUSDT").counts.events == 3
    feed.diffs(tape.diff())
    # The other markets continue.
    other_feed.diffs(other.diff())
    await until_written(recorder)
    assert len(await events_of(database, "ETHUSDT")) == 2
    assert recorder.sink("BTCUSDT").counts.gaps == 1


async def test_a_hostile_market_cannot_stop_the_others(
    recorder: Recorder, database: Database
) -> None:
    feed = HandFeed(recorder.sink("BTCUSDT"))
    edge = INT64_MAX
    feed.snapshot(decode_snapshot(snapshot_payload([], [], edge - 2), "BTCUSDT", edge))
    payload = b'{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":[],"a":[]}'
    feed.diffs(decode_diff(payload % (edge, edge - 1, edge), edge))
    feed.broken(GapCause.USER)
    feed.snapshot(decode_snapshot(snapshot_payload([], [], edge), "BTCUSDT", 0))
    tape = Tape("ETHUSDT")
    started(recorder, tape).diffs(*tape.diffs(2))
    await until_stored(database, 1, market="BTCUSDT", last_id=edge, event_count=1)
    await until_stored(database, 2, market="BTCUSDT")
    await until_written(recorder)
    assert len(await events_of(database, "ETHUSDT")) == 2


@GAP
@pytest.mark.expects_log("ERROR .*can't be stored")
async def test_an_event_that_no_database_holds_ends_its_market_only(
    recorder: Recorder, database: Database
) -> None:
    tape, other = Tape(), Tape("ETHUSDT")
    feed, other_feed = started(recorder, tape), started(recorder, other)
    first = tape.diffs(3)
    feed.diffs(*first)
    feed.diffs(msgspec.structs.replace(tape.diff(), received_ns=2**64))
    other_feed.diffs(*other.diffs(20))
    await until_written(recorder)
    assert isinstance(recorder.sink("BTCUSDT").refused, UnstorableEvent)
    await until_stored(database, 1, market="BTCUSDT", end_cause="database")
    (segment,) = await all_of(database, "segments", market="BTCUSDT", book=True)
    assert segment["last_id"] == first[-1].final_id
    assert len(await events_of(database)) == 3
    assert len(await events_of(database, "ETHUSDT")) == 20


@pytest.mark.expects_log("ERROR .*failed unexpectedly")
@pytest.mark.expects_log("WARNING .*fault of this program .*ZeroDivisionError")
async def test_a_fault_of_the_program_is_reported_and_survived(
    breakable: BreakableDatabase,
) -> None:
    async with running(Recorder(breakable)) as recorder:
        tape = Tape()
        feed = started(recorder, tape)
        breakable.error = ZeroDivisionError()
        feed.diffs(tape.diff())
        await eventually(lambda: "ZeroDivisionError" in recorder.problem_of("BTCUSDT"))
        assert recorder.waiting == 1
        breakable.error = None
        await until_written(recorder)
        await eventually(lambda: recorder.problem_of("BTCUSDT") == "")
    breakable.close()


@pytest.mark.allows_log("the database.* refuse")
@pytest.mark.expects_log("WARNING .*disk is full")
async def test_a_full_disk_is_reported_and_waited_for(breakable: BreakableDatabase) -> None:
    async with running(Recorder(breakable)) as recorder:
        tape = Tape()
        feed = started(recorder, tape)
        breakable.error = OperationFailure("no", 14031)
        feed.diffs(tape.diff())
        await eventually(lambda: "disk is full" in recorder.problem_of("BTCUSDT"))
        breakable.error = None
        await until_written(recorder)
    breakable.close()


@GAP
@pytest.mark.expects_log("WARNING .*fault of this program")
@pytest.mark.expects_log("ERROR .*failed unexpectedly")
@pytest.mark.expects_log("WARNING .*room to record again")
async def test_an_overflow_leaves_a_gap_and_a_new_beginning(
    breakable: BreakableDatabase,
) -> None:
    async with running(Recorder(breakable, limit_bytes=30_000)) as recorder:
        tape = Tape()
        feed = started(recorder, tape)
        sink = recorder.sink(tape.market)
        diffs = tape.diffs(5)
        feed.diffs(*diffs)
        await until_written(recorder)
        breakable.error = ZeroDivisionError()
        diffs.append(tape.diff())
        feed.diffs(diffs[-1])
        await eventually(lambda: recorder.problem_of("BTCUSDT"))
        while not sink.overflowing:
            assert recorder._pending.used_bytes < 32_000
            diffs.append(tape.diff())
            feed.diffs(diffs[-1])
        diffs.pop()
        feed.diffs(*tape.diffs(500))
        assert recorder._pending.used_bytes < 32_000
        assert sink.counts.dropped == 501
        assert sink.counts.gaps == 1
        assert sink.counts.last_gap == GapCause.OVERFLOW.sentence
        breakable.error = None
        await until_written(recorder)
        again = tape.diffs(3)
        feed.diffs(*again)
        assert not sink.overflowing
        await until_stored(breakable, 1, event_count=2, end_cause=None)
        first, second = await segments_of(breakable)
        assert first["end_cause"] == "overflow"
        assert first["last_id"] == diffs[-1].final_id
        assert second["snapshot_id"] == again[0].final_id
        stored = [one["payload"].encode() for one in await events_of(breakable)]
        assert stored == [diff.payload for diff in [*diffs, *again]]
        (base,) = await all_of(breakable, "checkpoints", segment=second["_id"])
        assert base["base"]
        book = Book()
        book.load(decode_snapshot(unpack(base["payload"]), tape.market))
        for diff in again[1:]:
            book.apply(diff)
        assert shown(book) == tape.book.levels
    breakable.close()


@pytest.mark.parametrize("kills", [3])
@pytest.mark.allows_log("the database server ended by itself|MongoClient background task")
@pytest.mark.allows_log("until it is back")
async def test_nothing_is_lost_when_the_database_is_killed(
    mortal: DatabaseServer, kills: int
) -> None:
    database = Database("killed")
    database.connect(mortal.dsn)
    tape = Tape()
    sent: list[DepthDiff] = []
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        sink = recorder.sink(tape.market)

        async def send() -> None:
            while True:
                sent.extend(tape.diffs(3))
                feed.diffs(*sent[-3:])
                await asyncio.sleep(0.003)

        sending = asyncio.create_task(send())
        for _ in range(kills):
            await until_more(recorder, tape.market, 50)
            await kill_and_wait(mortal)
        await until_more(recorder, tape.market, 1)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await until_written(recorder)
        assert recorder.problem_of("BTCUSDT") == ""
    stored = await events_of(database)
    assert [one["payload"].encode() for one in stored] == [diff.payload for diff in sent]
    (segment,) = await segments_of(database)
    assert segment["last_id"] == tape.last_id
    assert segment["event_count"] == len(sent)
    assert segment["end_cause"] == "user"
    counts = sink.counts
    assert (counts.events, counts.repeated, counts.gaps) == (len(sent), 0, 0)
    database.close()


@pytest.mark.expects_log("ERROR .*5 events could not be written")
async def test_close_keeps_its_time_without_a_database() -> None:
    nowhere = Database("nowhere")
    recorder = Recorder(nowhere)
    await recorder.start()
    tape = Tape()
    started(recorder, tape).diffs(*tape.diffs(5))
    async with asyncio.timeout(60):
        await recorder.close(0.1)
    assert recorder.waiting == 5


async def test_close_waits_for_no_database_if_there_is_nothing_to_write() -> None:
    recorder = Recorder(Database("nowhere"))
    await recorder.start()
    tape = Tape()
    # Also a market that was opened and has no events.
    recorder.sink(tape.market)
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await recorder.close(600)


@pytest.mark.expects_log("ERROR .*5 events could not be written")
@pytest.mark.allows_log("can't be reached")
async def test_close_keeps_its_time_when_no_server_answers(silent_server: SilentServer) -> None:
    database = Database("silent", ENDLESS)
    database.connect(silent_server.dsn)
    recorder = Recorder(database)
    await recorder.start()
    tape = Tape()
    started(recorder, tape).diffs(*tape.diffs(5))
    await silent_server.until_somebody_came()
    async with asyncio.timeout(60):
        await recorder.close(0.1)
    database.close()


@pytest.mark.expects_log(r"ERROR .*\d+ events could not be written")
async def test_what_was_written_in_time_belongs_to_its_segment(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is slower than the feeds, and there is no time for what waits."""
    module = "orderbook_desktop.storage.recorder.recorder"
    monkeypatch.setattr(f"{module}._OPERATIONS_A_BATCH", 50)
    # Little time for most batches, and much for their ledger entries.
    monkeypatch.setattr(f"{module}._EVENTS_SHARE", 0.01)
    monkeypatch.setattr(f"{module}._LAST_BATCH_SHARE", 0.5)
    recorder = Recorder(database)
    written, batches = EventLog.insert, count(1)

    async def slow(self: EventLog, events: Sequence[Insert]) -> Outcome:
        if next(batches) == 60:
            # This batch is acknowledged when there is no time for another.
            await eventually(lambda: recorder._out_of_time)
        return await written(self, events)

    monkeypatch.setattr(EventLog, "insert", slow)
    await recorder.start()
    tapes = [Tape(f"{name}USDT", seed) for seed, name in enumerate(("BTC", "ETH", "SOL"))]
    feeds = [started(recorder, tape) for tape in tapes[:2]]
    for tape, feed in zip(tapes, feeds, strict=False):
        feed.diffs(*tape.diffs(2_000))
    # Before that the indexes are made, which takes any time.
    await eventually(lambda: recorder.sink("BTCUSDT").counts.events > 0)
    # The last batch comes when time is up: none of it is written.
    started(recorder, tapes[2]).diffs(*tapes[2].diffs(3))
    await recorder.close(60.0)
    assert 0 < recorder.waiting < 4_003
    stored = 0
    for tape in tapes:
        market, counts = tape.market, recorder.sink(tape.market).counts
        assert len(await events_of(database, market)) == counts.events
        verified = await verify(database, market)
        assert verified.holds, verified.fault
        assert verified.events == counts.events
        stored += counts.events
        for segment in await all_of(database, "segments", market=market):
            lost = recorder.waiting_of(market)
            assert segment["end_cause"] == ("database" if lost else "user")
            assert not lost or segment["end_detail"].startswith(f"{lost:,} events could not")
    assert stored + recorder.waiting == 4_003
    assert recorder.sink("BTCUSDT").counts.events > 0


@GAP
@pytest.mark.expects_log("ERROR .*deleted while it went on")
async def test_a_deleted_recording_begins_again(recorder: Recorder, database: Database) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    feed.diffs(*tape.diffs(3))
    await until_stored(database, 1, event_count=3)
    await database.motor.client.drop_database(database.name)
    feed.diffs(*tape.diffs(2))
    await eventually(lambda: recorder.sink(tape.market).counts.gaps)
    again = tape.diffs(3)
    feed.diffs(*again)
    await until_stored(database, 1, event_count=2)
    (segment,) = await segments_of(database)
    assert segment["snapshot_id"] == again[0].final_id
    indexes = await database.collection("depth_events").index_information()
    assert len(indexes) == 2


async def test_two_recorders_of_one_market_agree(server: ServerThread, database: Database) -> None:
    second = Database(database.name)
    second.connect(server.dsn)
    tape = Tape()
    async with running(Recorder(database)) as one, running(Recorder(second)) as two:
        feeds = [started(one, tape), started(two, tape)]
        for _ in range(40):
            for diff in tape.diffs(5):
                feeds[0].diffs(diff)
                feeds[1].diffs(msgspec.structs.replace(diff, received_ns=diff.received_ns + 5))
            await asyncio.sleep(0)
        await until_written(one)
        await until_written(two)
        sinks = [one.sink(tape.market), two.sink(tape.market)]
    second.close()
    assert [sink.refused for sink in sinks] == [None, None]
    assert sum(sink.counts.repeated for sink in sinks) == 200
    assert len(await events_of(database)) == 200
    segments = await segments_of(database)
    assert [one["last_id"] for one in segments] == [tape.last_id, tape.last_id]
    assert [one["event_count"] for one in segments] == [200, 200]


async def test_a_segment_takes_its_times_from_the_stored_events(
    server: ServerThread, database: Database
) -> None:
    """Two connections may date an event a millisecond apart, and only one of both is stored."""
    second = Database(database.name)
    second.connect(server.dsn)
    tape = Tape(step_ms=900)
    async with running(Recorder(database)) as one, running(Recorder(second)) as two:
        first, other = started(one, tape), started(two, tape)
        for number in range(150):
            diff = tape.diff()
            payload = diff.payload.replace(b'"E":%d' % diff.event_ms, b'"E":%d' % (tape.now_ms + 2))
            later = decode_diff(payload, diff.received_ns + 5)
            if number % 2:
                first.diffs(diff)
                await until_written(one)
                other.diffs(later)
            else:
                other.diffs(later)
                await until_written(two)
                first.diffs(diff)
        await until_written(one)
        await until_written(two)
        sinks = [one.sink(tape.market), two.sink(tape.market)]
    second.close()
    assert [sink.counts.repeated for sink in sinks] == [75, 75]
    stored = [one["time"] for one in await events_of(database)]
    for segment in await segments_of(database):
        assert (segment["first_time"], segment["last_time"]) == (stored[0], max(stored))
    assert (await verify(database, tape.market)).fault is None


async def test_a_recorder_that_never_started_closes(database: Database) -> None:
    recorder = Recorder(database)
    recorder.sink("BTCUSDT")
    before = asyncio.all_tasks()
    await recorder.close()
    assert asyncio.all_tasks() == before
    assert recorder.waiting == 0
    assert await database.motor.list_collection_names() == []


@pytest.mark.expects_log("CRITICAL .*the recorder ended")
async def test_the_end_of_the_writer_is_never_silent(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_count: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("orderbook_desktop.storage.recorder.recorder.until_it_works", fail)
    tape = Tape()
    started(recorder, tape)
    await eventually(lambda: "restart it" in recorder.problem_of("BTCUSDT"))


async def test_the_book_of_a_stored_segment_is_not_new(
    recorder: Recorder, database: Database
) -> None:
    started(recorder, Tape())
    await until_stored(database, 1)
    async with asyncio.timeout(60):
        while (await all_of(database, "checkpoints", base=True))[0]["new"]:
            await asyncio.sleep(0.01)
