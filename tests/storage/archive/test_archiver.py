from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import defaultdict
from typing import Any

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.archive import ArchiveChunk, DecodedChunk, decode_chunk
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.recording_status import AllCounts, RecordingCounts
from orderbook_desktop.core.sources import StreamBroken
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.archive.times import ArchiveTimes
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.store import packing, raw_events
from orderbook_desktop.storage.store.bookless import BooklessRuns
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.leases import ArchiveLease
from orderbook_desktop.storage.store.packing import DamagedDocument, PackedChunk, pack_chunk
from orderbook_desktop.storage.store.segment_documents import unheld_lease
from orderbook_desktop.system.tasks import ending
from tests.core.reference_book import diff_payload, snapshot_payload
from tests.examples import some_of
from tests.storage.archive_fixtures import (
    AT_ONCE,
    HASTY,
    FragileDatabase,
    Killed,
    archive_of,
    archiver_of,
    copy_of,
    fill,
    held_in,
    lost_loose,
    raw_of,
    record,
)
from tests.storage.recording_fixtures import (
    PATIENT,
    ServerThread,
    Tape,
    all_of,
    following,
    running,
    segments_of,
    started,
    until_stored,
    until_written,
)
from tests.storage.shelf import Shelf, resealed

CLOSED = pytest.mark.expects_log("WARNING .*BTCUSDT: the recording up to .* ended without")

EVENTS_A_SEGMENT = 9
LOOSE = 3
ENOUGH_CALLS = 200
# At each call where there is one segment, and at some where another one follows.
KILLS = pytest.mark.parametrize(
    ("segments", "calls"),
    [(1, some_of(range(ENOUGH_CALLS), 3)), (2, some_of(range(2, ENOUGH_CALLS, 5), 3))],
)
NEVER = -1


def cut(events: list[DepthDiff], count: int) -> tuple[list[DepthDiff], list[DepthDiff]]:
    return events[:count], events[count:]


async def calm_recording(
    database: Database, segments: int = 2
) -> tuple[dict[str, Any], list[DepthDiff]]:
    """A recording of so many segments, ten minutes each, and all of its events."""
    tape = Tape(step_ms=50_000)
    diffs: list[DepthDiff] = []
    for _ in range(segments):
        diffs += await record(database, tape, EVENTS_A_SEGMENT)
        tape.diff()
    return await copy_of(database), diffs


async def assert_archived(database: Database, diffs: list[DepthDiff], segments: int = 2) -> None:
    """All events are archived, unchanged."""
    held = await held_in(database)
    assert not held.raw
    assert sorted(held.archived + held.loose, key=lambda one: one.final_id) == diffs
    assert len(held.loose) == segments * LOOSE
    for segment in await segments_of(database):
        assert segment["archived_events"] == segment["event_count"] == EVENTS_A_SEGMENT
        chunks = await all_of(database, "depth_chunks", segment=segment["_id"])
        assert segment["archived_bytes"] == sum(len(one["data"]) for one in chunks)
        assert len(chunks) == 2
    assert await lost_loose(database) == []
    # Else retention would never remove them.
    assert all(run.is_archived for run in await BooklessRuns(database).of("BTCUSDT"))


async def test_a_segment_that_ended_is_archived_byte_for_byte(database: Database) -> None:
    early, diffs = cut(await record(database, Tape(), 2_000), 3)
    counts: AllCounts = defaultdict(RecordingCounts)
    archiver = Archiver(database, counts=counts, pace=0.0, times=AT_ONCE)
    await archiver.catch_up()
    (segment,) = await segments_of(database)
    assert await archive_of(database, segment["_id"]) == diffs
    assert await raw_of(database) == []
    assert (await held_in(database)).loose == early
    chunks = await all_of(database, "depth_chunks", segment=segment["_id"])
    assert len({one["minute"] for one in chunks}) == len(chunks) > 1
    assert segment["archived_id"] == segment["last_id"] == diffs[-1].final_id
    assert segment["archived_events"] == segment["event_count"] == 2_000
    assert segment["archived_bytes"] == sum(len(one["data"]) for one in chunks)
    assert not segment["to_archive"]
    counted = counts[Stream("BTCUSDT", DEPTH)]
    assert (counted.archived_events, counted.archive_problem) == (2_003, "")
    assert counted.archived_bytes > segment["archived_bytes"]
    # Nothing is left to be archived.
    before = await copy_of(database)
    await archiver.catch_up()
    assert await copy_of(database) == before


async def test_a_running_segment_is_archived_behind_its_checkpoints(
    recorder: Recorder, database: Database
) -> None:
    tape = Tape()
    feed = started(recorder, tape)
    diffs = tape.diffs(3_000)
    feed.diffs(*diffs)
    await until_written(recorder)
    await until_checkpoint(database, diffs[-650].final_id)
    await until_stored(database, 1, event_count=3_000)
    await archiver_of(database).catch_up()
    (segment,) = await segments_of(database)
    checkpoints = await all_of(database, "checkpoints", base=False)
    second = min(one["update_id"] for one in checkpoints)
    archived = await archive_of(database, segment["_id"])
    assert 1_000 < len(archived) < 2_500
    assert segment["archived_id"] <= second
    held = await held_in(database)
    assert held.archived + held.raw == diffs
    assert segment["to_archive"]
    assert archived[-1].event_ms // 60_000 < held.raw[0].event_ms // 60_000


async def test_a_segment_without_events_is_done_with(database: Database) -> None:
    await record(database, Tape(), 0)
    await archiver_of(database).catch_up()
    (segment,) = await segments_of(database)
    assert not segment["to_archive"]


async def until_checkpoint(database: Database, update_id: int) -> None:
    """Wait until a checkpoint is stored that is at least so new."""
    async with asyncio.timeout(60):
        while not await all_of(database, "checkpoints", update_id={"$gte": update_id}):
            await asyncio.sleep(0.02)


async def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def ended_pid() -> int:
    """The id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


async def take_for_dead(database: Database, pid: int) -> None:
    """Let the holder of each lease be a process that has ended."""
    for lease in await all_of(database, "leases"):
        owner = lease["owner"] | {"pid": pid, "token": "another"}
        await Shelf(database).change("leases", lease["_id"], owner=owner)


@pytest.mark.sweep
@KILLS
async def test_it_may_be_killed_between_any_two_calls(
    server: ServerThread, database: Database, ended_pid: int, segments: int, calls: range
) -> None:
    documents, diffs = await calm_recording(database, segments)
    ids = [one.final_id for one in diffs]
    fragile = FragileDatabase(f"{database.name}_copy", kill)
    fragile.connect(server.dsn)
    for at in calls:
        await fill(fragile, documents)
        fragile.calls_left = at
        finished = False
        try:
            await archiver_of(fragile).catch_up()
            fragile.calls_left = NEVER
            finished = True
        except Killed:
            pass
        held = await held_in(fragile)
        assert sorted(set(held.ids)) == ids, f"killed before call {at}"
        assert await lost_loose(fragile) == []
        await take_for_dead(fragile, ended_pid)
        await archiver_of(fragile).catch_up()
        await assert_archived(fragile, diffs, segments)
        if finished:
            break
    await fragile.motor.client.drop_database(fragile.name)
    fragile.close()
    assert finished
    assert at > 20 * segments


@pytest.mark.sweep
@KILLS
async def test_an_archiver_that_comes_back_after_a_takeover_does_no_harm(
    server: ServerThread,
    database: Database,
    ended_pid: int,
    monkeypatch: pytest.MonkeyPatch,
    segments: int,
    calls: range,
) -> None:
    # Two events are read at a time, so that some are found while the other archiver removes them.
    monkeypatch.setattr(raw_events, "_LISTED_AT_ONCE", 2)
    documents, diffs = await calm_recording(database, segments)
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def sleep() -> None:
        asleep.set()
        await wake.wait()

    late = FragileDatabase(f"{database.name}_copy", sleep)
    other = Database(late.name, PATIENT)
    late.connect(server.dsn)
    other.connect(server.dsn)
    finished = False
    for at in calls:
        asleep.clear()
        wake.clear()
        await fill(late, documents)
        late.calls_left = at
        archiving = asyncio.create_task(archiver_of(late).catch_up())
        slept = asyncio.create_task(asleep.wait())
        await asyncio.wait({archiving, slept}, return_when=asyncio.FIRST_COMPLETED)
        finished = archiving.done()
        slept.cancel()
        await take_for_dead(other, ended_pid)
        await archiver_of(other).catch_up()
        late.calls_left = NEVER
        wake.set()
        await archiving
        await archiver_of(other).catch_up()
        await assert_archived(other, diffs, segments)
        if finished:
            break
    await other.motor.client.drop_database(other.name)
    late.close()
    other.close()
    assert finished


async def test_two_at_once_share_the_work(server: ServerThread, database: Database) -> None:
    _, diffs = await calm_recording(database)
    second = Database(database.name)
    second.connect(server.dsn)
    archivers = [archiver_of(one) for one in (database, second)]
    await asyncio.gather(*(one.catch_up() for one in archivers))
    await asyncio.gather(*(one.catch_up() for one in archivers))
    second.close()
    await assert_archived(database, diffs)


@pytest.mark.expects_log("ERROR .*can't be archived from update id .* its events stay")
async def test_what_does_not_come_back_as_it_was_stays_raw(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    diffs = await record(database, Tape(), 1_300)
    before = await raw_of(database)
    decode = decode_chunk
    faulty: list[DecodedChunk] = []

    def forgetful(chunk: Any) -> DecodedChunk:
        decoded = decode(chunk)
        if decoded.has_book and decoded.header.coverage.first_id > diffs[700].final_id:
            decoded.numbers.received_ns[5] += 1
            faulty.append(decoded)
        return decoded

    monkeypatch.setattr(packing, "decode_chunk", forgetful)
    archiver = archiver_of(database)
    await archiver.catch_up()
    await archiver.catch_up()
    # It is tried, and reported, once.
    assert len(faulty) == 1
    assert "its events stay as they are" in archiver.problem
    held = await held_in(database)
    assert sorted([*held.loose, *held.archived, *held.raw], key=lambda one: one.final_id) == before
    assert held.raw
    (segment,) = await segments_of(database)
    assert segment["to_archive"]
    assert len(await all_of(database, "depth_chunks", segment=segment["_id"])) > 0
    monkeypatch.undo()
    await archiver_of(database).catch_up()
    assert await raw_of(database) == []


@pytest.mark.parametrize("jump_ms", [10**10, -(10**10), 10**12])
async def test_a_clock_that_jumps_neither_stalls_it_nor_lets_it_spin(
    database: Database, jump_ms: int
) -> None:
    tape = Tape(step_ms=4_000)
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        diffs = tape.diffs(60)
        tape.now_ms += jump_ms
        diffs += tape.diffs(60)
        tape.now_ms -= jump_ms
        diffs += tape.diffs(60)
        feed.diffs(*diffs)
        await until_written(recorder)
        await until_checkpoint(database, diffs[-20].final_id)
        await until_stored(database, 1, event_count=180)
        archiver = archiver_of(database)
        async with asyncio.timeout(60):
            await archiver.catch_up()
        held = await held_in(database)
        assert held.archived + held.raw == diffs
        assert held.archived
    async with asyncio.timeout(60):
        await archiver.catch_up()
    assert (await held_in(database)).archived == diffs


async def test_the_running_minute_of_an_ended_segment_waits(database: Database) -> None:
    diffs = await record(database, Tape(), 50)
    now_ms = diffs[-1].event_ms
    archiver = archiver_of(database, now_ns=lambda: now_ms * 1_000_000)
    await archiver.catch_up()
    (segment,) = await segments_of(database)
    assert segment["archived_id"] == segment["snapshot_id"]
    now_ms += 60_000
    await archiver.catch_up()
    (segment,) = await segments_of(database)
    assert not segment["to_archive"]


async def test_the_raw_events_of_two_recorders_are_archived_once(
    server: ServerThread, database: Database
) -> None:
    second = Database(database.name)
    second.connect(server.dsn)
    tape = Tape(step_ms=5_000)
    archivers = [archiver_of(one) for one in (database, second)]
    async with running(Recorder(database)) as one, running(Recorder(second)) as two:
        feeds = [started(one, tape), started(two, tape)]
        diffs = tape.diffs(60)
        for feed in feeds:
            feed.diffs(*diffs)
        await until_written(one)
        await until_written(two)
        await until_checkpoint(database, diffs[-15].final_id)
        await until_stored(database, 2, event_count=60)
        await archivers[0].catch_up()
        (leader, follower) = sorted(await segments_of(database), key=lambda one: str(one["_id"]))
        archived = await archive_of(database, leader["_id"])
        assert archived
        assert await archive_of(database, follower["_id"]) == []
        # The other one begins there now.
        assert follower["snapshot_id"] == archived[-1].final_id
        assert await raw_of(database) == diffs[len(archived) :]
    for archiver in archivers:
        await archiver.catch_up()
    second.close()
    (left,) = await segments_of(database)
    assert await archive_of(database, left["_id"]) == diffs
    assert await raw_of(database) == []


@pytest.mark.expects_log("ERROR .*can't be archived: .* an event is missing")
async def test_a_segment_that_lacks_an_event_is_archived_up_to_it(database: Database) -> None:
    _, diffs = cut(await record(database, Tape(step_ms=10_000), 60), 3)
    lost = {"market": "BTCUSDT", "u": diffs[30].final_id}
    await database.collection("depth_events").delete_one(lost)
    archiver = archiver_of(database)
    await archiver.catch_up()
    await archiver.catch_up()
    held = await held_in(database)
    assert held.archived == diffs[:30]
    assert held.raw == diffs[31:]
    assert "missing" in archiver.problem


@CLOSED
async def test_a_crash_is_measured_behind_what_was_archived(database: Database) -> None:
    tape = Tape(step_ms=2_000)
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        diffs = tape.diffs(150)
        feed.diffs(*diffs)
        await until_written(recorder)
        await until_checkpoint(database, diffs[-40].final_id)
        await archiver_of(database).catch_up()
        (segment,) = await segments_of(database)
        assert segment["archived_id"] > segment["snapshot_id"]
        feed.diffs(*(late := tape.diffs(20)))
        await until_written(recorder)
        cut_front = {"first_id": 7, "snapshot_id": segment["snapshot_id"], "cut_events": 4}
    crashed = segment | {"owner": segment["owner"] | {"token": "gone"}} | cut_front
    crashed["owner"]["pid"] = 2**22 - 1
    await database.collection("segments").replace_one({"_id": segment["_id"]}, resealed(crashed))
    assert await CrashWatch(database).close_crashed() == 1
    (segment,) = await segments_of(database)
    assert segment["last_id"] == late[-1].final_id
    assert (segment["event_count"], segment["cut_events"]) == (170, 4)
    assert (segment["first_id"], segment["archived_id"]) == (7, crashed["archived_id"])


async def test_followers_do_not_notice(database: Database) -> None:
    tape = Tape(step_ms=2_000)
    archiver = archiver_of(database, times=ArchiveTimes(loose_after_s=1e9))
    async with running(Recorder(database)) as recorder, following(database) as followed:
        feed = started(recorder, tape)
        for _ in range(10):
            feed.diffs(*tape.diffs(30))
            await until_written(recorder)
            await until_stored(database, 1, last_id=tape.last_id)
            await archiver.catch_up()
            await followed.until_equals(tape)
        assert (await segments_of(database))[0]["archived_events"] > 100
        # A reader that comes now finds the newest book, too.
        async with following(database) as another:
            await another.until_equals(tape)
        assert not [one for one in followed.streams.seen if isinstance(one, StreamBroken)]


async def test_it_archives_by_itself_beside_a_recorder(database: Database) -> None:
    tape = Tape(step_ms=1_000)
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        diffs: list[DepthDiff] = []
        counts: AllCounts = defaultdict(RecordingCounts)
        archiver = Archiver(
            database,
            counts=counts,
            is_busy=lambda: recorder.is_busy,
            prepare=recorder.prepare,
            times=HASTY,
        )
        async with ending(asyncio.create_task(archiver.run())), asyncio.timeout(60):
            while counts[Stream(tape.market, DEPTH)].archived_events < 500:
                diffs += tape.diffs(30)
                feed.diffs(*diffs[-30:])
                # Else a busy machine would archive nothing while more and more is to be written.
                await until_written(recorder)
    held = await held_in(database)
    assert held.archived + held.raw == diffs


@pytest.mark.expects_log("WARNING .*archived as it was sent: .* best bid reaches the best ask")
async def test_a_book_that_crosses_is_archived_as_it_was_sent(database: Database) -> None:
    base = snapshot_payload([("1.00000000", "1.00000000")], [("2.00000000", "1.00000000")], 10)
    crossing = decode_diff(diff_payload([("3.00000000", "1.00000000")], [], 11, 11), 5)
    async with running(Recorder(database)) as recorder:
        # A version of the program that did not look for crossed books did this.
        sink, book = recorder.sink("BTCUSDT"), Book()
        snapshot = decode_snapshot(base, "BTCUSDT")
        book.load(snapshot)
        sink.opened(snapshot)
        sink.received(crossing)
        book.apply(crossing)
        sink.applied(crossing, book)
    await archiver_of(database).catch_up()
    assert (await held_in(database)).archived == [crossing]


async def test_nothing_is_done_where_nothing_was_recorded(database: Database) -> None:
    await archiver_of(database).catch_up()
    assert await database.motor.list_collection_names() == []


async def test_it_stops_pausing_when_it_is_behind(database: Database) -> None:
    """With such pauses it would never come to an end."""
    _, diffs = await calm_recording(database)
    await archiver_of(database, pace=1e6, times=replace(AT_ONCE, behind_after_s=0.0)).catch_up()
    await assert_archived(database, diffs)


@pytest.mark.parametrize("field", ["archived_id", "end_cause", "last_id", "market"])
@pytest.mark.expects_log("ERROR .*a part can't be archived")
async def test_a_damaged_segment_keeps_up_no_other(database: Database, field: str) -> None:
    tape, other = Tape(), Tape("ETHUSDT")
    await record(database, tape, 5)
    await record(database, other, 5)
    await database.collection("segments").update_one(
        {"market": "BTCUSDT", "book": True}, {"$unset": {field: ""}}
    )
    archiver = archiver_of(database)
    await archiver.catch_up()
    (segment,) = await all_of(database, "segments", book=True, market="ETHUSDT")
    assert not segment["to_archive"]
    assert archiver.problem


@pytest.mark.parametrize(
    "damage",
    [
        {"archived_bytes": "x"},
        {"epoch": "1"},
        {"epoch": None},
    ],
)
@pytest.mark.expects_log("ERROR .*a part can't be archived")
async def test_damage_that_the_archive_would_meet_is_named(
    database: Database, damage: dict[str, object]
) -> None:
    await record(database, Tape(), 5)
    (before,) = await segments_of(database)
    await database.collection("segments").update_one({"_id": before["_id"]}, {"$set": damage})
    archiver = archiver_of(database)
    await archiver.catch_up()
    assert f"damaged (segment {before['_id']}: " in archiver.problem


@pytest.mark.parametrize("damage", [{"epoch": "1"}, {"epoch": 7}, {"name": 5}, {"more": 1}])
@pytest.mark.expects_log("ERROR .*a part can't be archived")
async def test_a_damaged_lease_is_named(database: Database, damage: dict[str, object]) -> None:
    await record(database, Tape(), 5)
    lease = unheld_lease("BTCUSDT", 3)
    await database.collection("leases").insert_one(lease | damage)
    archiver = archiver_of(database)
    await archiver.catch_up()
    assert "damaged (lease BTCUSDT:depth: its checksum" in archiver.problem


@pytest.mark.parametrize(
    "damage", [{"origin": 5}, {"back": "x"}, {"end_detail": None}, {"price_exponent": -1}]
)
async def test_damage_that_does_not_concern_the_archive_keeps_nothing_from_it(
    database: Database, damage: dict[str, object]
) -> None:
    await record(database, Tape(), 5)
    await database.collection("segments").update_one({"book": True}, {"$set": damage})
    archiver = archiver_of(database)
    await archiver.catch_up()
    (segment,) = await segments_of(database)
    assert not segment["to_archive"]
    assert archiver.problem == ""


@pytest.mark.parametrize("damage", [{"archived_id": "x"}, {"last_id": None}])
@pytest.mark.expects_log("ERROR .*a part can't be archived")
async def test_beside_a_damaged_segment_of_the_market_another_is_archived(
    database: Database, damage: dict[str, object]
) -> None:
    """The damaged one may need any raw event, so these stay."""
    await record(database, Tape(), 5)
    segments = database.collection("segments")
    (sound,) = await segments_of(database)
    await segments.insert_one({**sound, "_id": "damaged", **damage})
    events = await all_of(database, "depth_events", u={"$gt": sound["snapshot_id"]})
    await archiver_of(database).catch_up()
    after = {one["_id"]: one for one in await all_of(database, "segments")}
    assert not after[sound["_id"]]["to_archive"]
    assert after["damaged"]["to_archive"]
    assert await all_of(database, "depth_events", u={"$gt": sound["snapshot_id"]}) == events


@pytest.mark.parametrize("is_held", [False, True])
async def test_a_damaged_segment_is_left_to_other_archivers(
    database: Database, is_held: bool
) -> None:
    await record(database, Tape(), 5)
    segments = database.collection("segments")
    (before,) = await segments_of(database)
    first, second = ArchiveLease(database), ArchiveLease(database)
    if is_held:
        assert await first.take(before["_id"]) is not None
    await segments.update_one({"_id": before["_id"]}, {"$set": {"last_id": "x"}})
    with pytest.raises(DamagedDocument, match="last_id is no whole number"):
        await first.take(before["_id"])
    await segments.update_one({"_id": before["_id"]}, {"$set": {"last_id": before["last_id"]}})
    await first.release_all()
    assert await second.take(before["_id"]) is not None


async def test_the_bytes_that_were_proven_are_the_ones_that_are_stored(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk is packed once: the proven bytes are stored, not packed again."""
    packed: list[bytes] = []

    def noted(chunk: ArchiveChunk) -> PackedChunk:
        made = pack_chunk(chunk)
        packed.append(made.data)
        return made

    monkeypatch.setattr(packing, "pack_chunk", noted)
    await record(database, Tape(), 1_000)
    await archiver_of(database).catch_up()
    stored = [one["data"] for one in await all_of(database, "depth_chunks")]
    assert len(packed) > 1
    assert sorted(stored) == sorted(packed)
