"""Imports: the same events, in segments with their gaps; complete, or not at all."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymongo.errors import AutoReconnect

from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.received import Broken, Received
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.imports.importing import (
    ImportTimes,
    NothingToImport,
    Step,
    import_messages,
)
from orderbook_desktop.storage.imports.recorded_market import ImportConflict
from orderbook_desktop.storage.imports.runs import ConflictingEvents
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.import_journal import (
    ImportBusy,
    ImportEntry,
    ImportJournal,
    settle_imports,
)
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.verification.verification import verify
from tests.core.archive.test_rows import rebuilt
from tests.examples import some_of
from tests.storage.imports.made import Collected, contents, imported, recorded_rows
from tests.storage.processes import ROOT
from tests.storage.recording_fixtures import (
    PATIENT,
    ServerThread,
    Tape,
    all_of,
    started,
    until_stored,
    until_written,
)


def two_runs() -> Collected:
    return Collected().snapshot().events(300).gap().events(20).snapshot().events(120)


async def test_every_book_is_the_true_one(database: Database, tmp_path: Path) -> None:
    made = two_runs()
    (done,) = await imported(database, made.messages, tmp_path)
    books = rebuilt([rows async for rows in recorded_rows(database)])
    lost = {one.final_id for one in made.diffs[300:320]}
    after_snapshot = made.diffs[319].final_id
    assert books == {key: made.books[key] for key in made.books if key not in lost} | {
        after_snapshot: made.books[after_snapshot]
    }
    assert (done.market, done.events, done.known, done.counts.loose) == ("BTCUSDT", 420, 0, 20)


async def test_segments_and_gaps_are_reported(database: Database, tmp_path: Path) -> None:
    made = two_runs()
    await imported(database, made.messages, tmp_path)
    recording = Recording(database, "BTCUSDT")
    first, second = await recording.segments()
    diffs = made.diffs
    assert first.segment.event_count == first.archived_events == 300
    assert (first.segment.last_id, first.archived_id) == (diffs[299].final_id,) * 2
    assert (first.segment.first_id, first.segment.first_event_ms) == (
        diffs[0].first_id,
        diffs[0].event_ms,
    )
    assert (first.origin, first.archived_bytes > 0) == ("import", True)
    assert first.segment.end_cause is GapCause.FEED_GAP
    assert first.segment.end_detail == (
        f"Update ids {diffs[299].final_id + 1} to {diffs[300].first_id - 1} are missing."
    )
    assert second.segment.snapshot_id == diffs[319].final_id
    assert second.segment.end_cause is GapCause.USER
    timeline = await recording.timeline()
    assert [gap.cause for gap in timeline.gaps] == [GapCause.FEED_GAP]
    assert (await verify(database, "BTCUSDT")).fault is None
    # Loose events are imported all the same.
    loose = [chunk async for chunk in recording.loose()]
    assert [one.payload for chunk in loose for one in chunk.diffs()] == [
        one.payload for one in diffs[300:320]
    ]


def crossing(made: Collected) -> Received:
    """The tape's next event, with a bid above every ask, which its book doesn't know."""
    tape = made.tape
    tape.last_id += 1
    event = {"e": "depthUpdate", "E": tape.now_ms, "s": tape.market, "U": tape.last_id}
    sides = {"u": tape.last_id, "b": [["1000.00000000", "1.00000000"]], "a": []}
    diff = decode_diff(msgspec.json.encode({**event, **sides}), tape.now_ms * 1_000_000)
    return Received(diff.received_ns, diff)


async def test_a_crossed_book_is_a_gap_with_its_cause(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(30)
    last_good = made.diffs[-1].final_id
    made.messages.append(crossing(made))
    made.events(10).snapshot().events(20)
    (done,) = await imported(database, made.messages, tmp_path)
    first, second = await Recording(database, "BTCUSDT").segments()
    assert (first.segment.last_id, first.segment.end_cause) == (last_good, GapCause.CROSSED)
    assert "the best bid 1000 reaches the best ask" in first.segment.end_detail
    assert second.segment.event_count == 20
    assert (done.events, done.counts.loose) == (50, 11)
    (gap,) = done.gaps
    assert gap.cause is GapCause.CROSSED
    assert (await verify(database, "BTCUSDT")).fault is None


async def test_a_crossed_snapshot_that_restarts_is_a_gap_with_its_cause(
    database: Database, tmp_path: Path
) -> None:
    made = Collected().snapshot().events(30)
    last_id, now_ns = made.tape.last_id, made.tape.now_ms * 1_000_000
    book = {"lastUpdateId": last_id, "bids": [["1000", "1"]], "asks": [["999", "1"]]}
    crossed = decode_snapshot(msgspec.json.encode(book), "BTCUSDT")
    made.messages.append(Received(now_ns, crossed, restarts=True))
    made.events(10).snapshot().events(20)
    await imported(database, made.messages, tmp_path)
    first, second = await Recording(database, "BTCUSDT").segments()
    assert (first.segment.event_count, first.segment.end_cause) == (30, GapCause.CROSSED)
    assert second.segment.event_count == 20
    assert (await verify(database, "BTCUSDT")).fault is None


async def test_events_come_back_as_they_were(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(200)
    await imported(database, made.messages, tmp_path)
    recording = Recording(database, "BTCUSDT")
    (segment,) = await recording.segments()
    found = [diff async for chunk in recording.chunks(segment) for diff in chunk.diffs()]
    assert found == made.diffs


async def test_the_same_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    made = two_runs()
    await imported(database, made.messages, tmp_path)
    before = await contents(database)
    (again,) = await imported(database, made.messages, tmp_path)
    assert (again.segments, again.known) == ((), 420)
    assert await contents(database) == before


async def test_what_is_new_comes_beside_what_is_there(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(50).gap()
    await imported(database, made.messages, tmp_path)
    made.snapshot().events(70)
    # The same beginning and end: the other run begins with a snapshot that the
    # first file does not need.
    later = [one for one in made.messages if one not in made.messages[:51]]
    (done,) = await imported(database, later, tmp_path)
    assert (done.events, done.known) == (70, 0)
    assert len(await Recording(database, "BTCUSDT").segments()) == 2


async def test_ids_and_times_have_to_agree(database: Database, tmp_path: Path) -> None:
    later, earlier = Tape(), Tape()
    later.now_ms += 3_600_000
    earlier.last_id += 1_000_000
    for tape in (later, earlier):
        messages = [Received(1, tape.snapshot()), *(Received(1, one) for one in tape.diffs(20))]
        if tape is later:
            await imported(database, messages, tmp_path)
            continue
        with pytest.raises(ImportConflict, match="contradict its order"):
            await imported(database, messages, tmp_path)


async def test_nothing_comes_after_a_running_recording(
    database: Database, recorder: Recorder, tmp_path: Path
) -> None:
    feed = started(recorder, tape := Tape())
    feed.diffs(*tape.diffs(20))
    await until_written(recorder)
    await until_stored(database, 1)
    made = Collected(tape).gap().snapshot().events(20)
    with pytest.raises(ImportConflict):
        await imported(database, made.messages, tmp_path)


async def test_markets_are_kept_apart(database: Database, tmp_path: Path) -> None:
    tapes = [Collected(Tape(market, seed)) for seed, market in enumerate(("BTCUSDT", "ETHUSDT"))]
    for one in tapes:
        one.snapshot().events(60)
    together = sorted(
        (message for one in tapes for message in one.messages), key=lambda one: one.received_ns
    )
    done = await imported(database, together, tmp_path)
    assert {one.market: one.events for one in done} == {"BTCUSDT": 60, "ETHUSDT": 60}
    for one in tapes:
        rows = [rows async for rows in recorded_rows(database, one.tape.market)]
        assert rebuilt(rows) == one.books


async def test_events_that_come_twice_are_taken_once(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(80)
    twice = [*made.messages[:60], *made.messages[40:]]
    (done,) = await imported(database, twice, tmp_path)
    assert (done.events, done.counts.repeated) == (80, 20)


async def test_two_events_with_one_id_are_refused(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(80)
    diff = made.diffs[30]
    other = replace_payload(made, 30)
    with pytest.raises(ConflictingEvents, match=f"different events .* update id {diff.final_id}"):
        await imported(database, [*made.messages, other], tmp_path)
    assert not any((await contents(database)).values())


def replace_payload(made: Collected, index: int) -> Received:
    from orderbook_desktop.core.events import decode_diff  # noqa: PLC0415

    diff = made.diffs[index]
    return Received(diff.received_ns, decode_diff(diff.payload.replace(b'"b":[', b'"b": [')))


async def test_only_events_without_a_book(database: Database, tmp_path: Path) -> None:
    made = Collected().events(30)
    (done,) = await imported(database, made.messages, tmp_path)
    assert (done.events, done.counts.loose) == (0, 30)
    loose = [chunk async for chunk in Recording(database, "BTCUSDT").loose()]
    assert [one for chunk in loose for one in chunk.diffs()] == made.diffs


async def test_nothing_to_import(database: Database, tmp_path: Path) -> None:
    with pytest.raises(NothingToImport):
        await imported(database, Collected().snapshot().messages, tmp_path)


async def test_what_fails_while_reading_writes_nothing(database: Database, tmp_path: Path) -> None:
    def broken() -> Iterator[Received]:
        yield from two_runs().messages
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await imported(database, broken(), tmp_path)
    assert not any((await contents(database)).values())


def _fail_the_third_put(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    put, calls = ChunkStore.put, 0

    async def failing(self: ChunkStore, *arguments: object, **named: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return await put(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ChunkStore, "put", failing)


async def test_what_fails_while_writing_is_undone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_the_third_put(monkeypatch, OSError("no"))
    with pytest.raises(OSError, match="no"):
        await imported(database, two_runs().messages, tmp_path)
    left = await contents(database)
    assert [one["_id"] for one in left.pop("meta")] == ["schema"]  # type: ignore[index]
    assert not any(left.values())


# A busy machine may not undo it as soon as it has to.
_PATIENT = ImportTimes(undo_s=60.0)


async def test_cancelled_while_writing_it_is_undone(database: Database, tmp_path: Path) -> None:
    reached = asyncio.Event()

    def progress(step: Step, done: int, _: int) -> None:
        if step is Step.WRITING and done == 2:
            reached.set()

    work = import_messages(database, two_runs().messages, tmp_path, progress, _PATIENT)
    running = asyncio.create_task(work)
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    left = await contents(database)
    assert [one["_id"] for one in left.pop("meta")] == ["schema"]  # type: ignore[index]
    assert not any(left.values())


async def test_a_write_that_the_server_does_after_the_cancellation_is_undone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, under_way, late = ChunkStore.put, asyncio.Event(), []

    async def put_late(self: ChunkStore, *arguments: Any) -> int:
        await asyncio.sleep(0.2)
        return await put(self, *arguments)

    async def as_a_server_does(self: ChunkStore, *arguments: Any) -> int:
        late.append(asyncio.ensure_future(put_late(self, *arguments)))
        under_way.set()
        return await asyncio.shield(late[-1])

    monkeypatch.setattr(ChunkStore, "put", as_a_server_does)
    running = asyncio.create_task(imported(database, two_runs().messages, tmp_path, _PATIENT))
    await under_way.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.gather(*late)
    left = await contents(database)
    assert [one["_id"] for one in left.pop("meta")] == ["schema"]  # type: ignore[index]
    assert not any(left.values())


async def test_cancelled_when_all_is_written_it_is_there(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = ImportJournal.settle

    async def cancelled(self: ImportJournal, entry: ImportEntry) -> None:
        if entry.state == "committing":
            running.cancel()
        await settle(self, entry)

    monkeypatch.setattr(ImportJournal, "settle", cancelled)
    running = asyncio.create_task(imported(database, two_runs().messages, tmp_path))
    (done,) = await running
    assert done.events == 420
    assert len(await Recording(database, "BTCUSDT").segments()) == 2
    assert [one["_id"] for one in await all_of(database, "meta")] == ["schema"]


async def test_cancelled_while_reading_it_ends(database: Database, tmp_path: Path) -> None:
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless() -> Iterator[Received]:
        made = Collected().snapshot()
        while True:
            made.messages.clear()
            yield from made.events(100).messages

    def progress(*_: object) -> None:
        loop.call_soon_threadsafe(reached.set)

    work = import_messages(database, endless(), tmp_path, progress)
    running = asyncio.create_task(work)
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# Forks a process for each line of its input, so that only the first one loads the program.
DYING = """
import asyncio, os, signal, sys, traceback
from pathlib import Path
from pymongo import monitoring
from orderbook_desktop.storage.store.database import Database
from tests.storage.imports.made import imported
from tests.storage.imports.test_importing import two_runs
from tests.storage.recording_fixtures import PATIENT

class Death(monitoring.CommandListener):
    def __init__(self, writes):
        self.left = writes
    def started(self, event):
        if event.command_name in ("insert", "update", "delete", "findAndModify"):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
    def succeeded(self, event): pass
    def failed(self, event): pass

async def main(name, writes):
    database = Database(name, PATIENT)
    database.connect(sys.argv[1])
    await database.prepare()
    monitoring.register(Death(writes))
    database.connect(sys.argv[1])
    await imported(database, two_runs().messages, Path(sys.argv[2]))
    database.close()

for line in sys.stdin:
    name, writes = line.split()
    child = os.fork()
    if not child:
        try:
            asyncio.run(main(name, int(writes)))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def dying(server: ServerThread, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose children import something, and die of it."""
    command = [sys.executable, "-c", DYING, server.dsn, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def _told(process: subprocess.Popen[str], line: str) -> str:
    """Return what the process answers to a line."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.sweep
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.allows_log("an import was interrupted")
async def test_killed_anywhere_it_is_there_as_a_whole_or_not_at_all(
    database: Database, server: ServerThread, tmp_path: Path, dying: subprocess.Popen[str]
) -> None:
    await imported(database, two_runs().messages, tmp_path)
    whole = await contents(database)
    outcomes = set()
    for writes in some_of(range(1, 60), 3):
        victim = Database(f"{database.name}_{writes}", PATIENT)
        code = await asyncio.to_thread(_told, dying, f"{victim.name} {writes}")
        assert code in ("0", str(-signal.SIGKILL))
        victim.connect(server.dsn)
        await settle_imports(victim, set())
        found = await contents(victim)
        nothing = {name: found["meta"] if name == "meta" else [] for name in found}
        assert found in (whole, nothing), f"killed at write {writes}"
        assert [one["_id"] for one in found["meta"]] == ["schema"]  # type: ignore[index]
        outcomes.add(found == whole)
        await imported(victim, two_runs().messages, tmp_path)
        assert await contents(victim) == whole
        victim.close()
        if code == "0":
            break
    else:
        pytest.fail("it never came to its end")
    assert outcomes == {True, False}


async def test_an_import_that_goes_on_is_left_alone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, settled = ChunkStore.put, []

    async def nosy(self: ChunkStore, *arguments: object, **named: object) -> int:
        settled.append(await settle_imports(database, set()))
        return await put(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ChunkStore, "put", nosy)
    (done,) = await imported(database, two_runs().messages, tmp_path)
    assert done.events == 420
    assert set(settled) == {0}


async def test_a_book_that_came_before_its_gap_was_seen_is_used(
    database: Database, tmp_path: Path
) -> None:
    # As collectors write that ask for a book as soon as they are connected again.
    made = Collected().snapshot().events(30).gap().snapshot().events(120)
    (done,) = await imported(database, made.messages, tmp_path)
    assert [one.event_count for one in done.segments] == [30, 120]
    assert (done.counts.loose, done.counts.snapshots) == (0, 0)
    assert rebuilt([rows async for rows in recorded_rows(database)]) == made.books


@pytest.mark.parametrize("between", [20, 150])
async def test_each_gap_has_the_book_that_lies_behind_it(
    database: Database, tmp_path: Path, between: int
) -> None:
    made = Collected().snapshot().events(30)
    for count in (between, between, 10):
        made.gap().snapshot().events(count)
    (done,) = await imported(database, made.messages, tmp_path)
    assert [one.event_count for one in done.segments] == [30, between, between, 10]
    assert (done.counts.loose, done.counts.snapshots) == (0, 0)
    assert rebuilt([rows async for rows in recorded_rows(database)]) == made.books


async def test_a_book_from_before_the_gap_is_of_no_use(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(30).snapshot().events(5).gap().events(120)
    (done,) = await imported(database, made.messages, tmp_path)
    assert [one.event_count for one in done.segments] == [35]
    assert (done.counts.loose, done.counts.snapshots) == (120, 1)


@pytest.mark.parametrize("late_by", [1, 50, 100])
async def test_events_in_another_order_are_no_gap(
    database: Database, tmp_path: Path, late_by: int
) -> None:
    made = Collected().snapshot().events(200)
    messages = list(made.messages)
    messages.insert(20 + late_by, messages.pop(20))
    (done,) = await imported(database, messages, tmp_path)
    assert [one.event_count for one in done.segments] == [200]
    assert rebuilt([rows async for rows in recorded_rows(database)]) == made.books


async def test_an_event_that_comes_too_late_is_joined(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(200)
    messages = list(made.messages)
    messages.insert(20 + 101, messages.pop(20))
    (done,) = await imported(database, messages, tmp_path)
    assert [one.event_count for one in done.segments] == [200]
    assert (done.gaps, done.loose) == ((), 0)
    assert rebuilt([rows async for rows in recorded_rows(database)]) == made.books


def setting(made: Collected, *bids: tuple[str, str]) -> Received:
    """The tape's next event, which sets far bids that its book doesn't know."""
    tape = made.tape
    first, tape.last_id = tape.last_id + 1, tape.last_id + 1
    event = {"e": "depthUpdate", "E": tape.now_ms, "s": tape.market, "U": first, "u": first}
    payload = msgspec.json.encode({**event, "b": bids, "a": []})
    return Received(tape.now_ms * 1_000_000 + 3, decode_diff(payload, tape.now_ms * 1_000_000 + 3))


@pytest.mark.parametrize(
    ("wide", "beside"),
    [(("1.00", "93000000000.00000000"), " beside 0."), (("0.123456789012345678", "1" * 23), "")],
)
async def test_a_value_too_wide_ends_the_run_and_the_rest_is_taken(
    database: Database, tmp_path: Path, wide: tuple[str, str], beside: str
) -> None:
    made = Collected().snapshot().events(30)
    made.messages.append(setting(made, ("2.00", "0.00000001")))
    last_good = made.diffs[-1].final_id
    made.messages.append(setting(made, wide))
    made.events(10)
    # A book that comes meanwhile is not needed.
    made.snapshot()
    made.messages.append(setting(made, (wide[0], "0")))
    again_from = made.diffs[-1].final_id
    made.events(20)
    (done,) = await imported(database, made.messages, tmp_path)
    first, second = await Recording(database, "BTCUSDT").segments()
    assert (first.segment.last_id, first.segment.end_cause) == (last_good, GapCause.TOO_WIDE)
    assert first.segment.end_detail.startswith(f"At update id {last_good + 1} the value ")
    assert f" does not fit exactly into 64 bits{beside}" in first.segment.end_detail
    assert (second.segment.snapshot_id, second.segment.event_count) == (again_from, 20)
    assert (done.events, done.counts.loose) == (51, 12)
    (gap,) = done.gaps
    assert (gap.cause, gap.first_missing) == (GapCause.TOO_WIDE, last_good + 1)
    verified = await verify(database, "BTCUSDT")
    assert (verified.fault, verified.loose_events) == (None, 12)
    # The texts are kept, in their order.
    loose = [one async for chunk in Recording(database, "BTCUSDT").loose() for one in chunk.diffs()]
    assert loose == made.diffs[31:43]
    # The same files again change nothing.
    (again,) = await imported(database, made.messages, tmp_path)
    assert (again.events, again.loose, again.known) == (0, 0, 51)


async def test_a_minute_that_no_scale_holds_is_imported_whole(
    database: Database, tmp_path: Path
) -> None:
    made = Collected(Tape(step_ms=10))
    made.messages.append(
        Received(
            1, decode_snapshot(b'{"lastUpdateId":1,"bids":[],"asks":[["9000","1"]]}', "BTCUSDT")
        )
    )
    made.tape.last_id = 1
    for quantity in ("93000000000.00", "7", "0.00000001", "7", "93000000000.00"):
        made.messages.append(setting(made, ("1.00", quantity)))
    (done,) = await imported(database, made.messages, tmp_path)
    (segment,) = await Recording(database, "BTCUSDT").segments()
    assert (done.events, segment.archived_events, done.counts.loose) == (5, 5, 0)
    assert (await verify(database, "BTCUSDT")).fault is None
    rows = [one async for one in recorded_rows(database)]
    quantities = [
        Decimal(int(units)).scaleb(-one.scale.quantity)
        for one in rows
        for units in one.quantities
        if not one.is_snapshot
    ]
    assert quantities == [Decimal(93000000000), 7, Decimal("0.00000001"), 7, 93000000000]


@pytest.mark.expects_log("WARNING .*the import starts again .AutoReconnect: gone")
async def test_a_server_that_is_lost_may_come_back(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_the_third_put(monkeypatch, AutoReconnect("gone"))
    (done,) = await imported(database, two_runs().messages, tmp_path)
    assert (done.events, done.known) == (420, 0)
    assert (await verify(database, "BTCUSDT")).fault is None


@pytest.mark.parametrize(
    "damage",
    [
        {"state": "x"},
        {"segments": "abc"},
        {"known": 5},
        {"markets": None},
        {"state": "committing", "known": ["x"]},
    ],
)
@pytest.mark.expects_log("ERROR .*the import import:damaged can't be settled: .*journal")
async def test_a_damaged_journal_keeps_no_import_and_no_recorder(
    database: Database, tmp_path: Path, damage: dict[str, object]
) -> None:
    await ImportJournal(database, "import:damaged").begin(["ETHUSDT"])
    (journal,) = await all_of(database, "meta", _id="import:damaged")
    await database.collection("meta").replace_one({"_id": journal["_id"]}, sealed(journal | damage))
    (done,) = await imported(database, two_runs().messages, tmp_path)
    assert done.events == 420
    assert (await verify(database, "BTCUSDT")).fault is None
    database.prepared = False
    await Recorder(database).prepare()
    assert database.prepared
    reported: set[str] = set()
    for _ in range(2):
        assert await settle_imports(database, reported) == 0
    assert reported == {"import:damaged"}


async def test_imports_of_one_market_wait_for_each_other(
    database: Database, tmp_path: Path
) -> None:
    other = ImportJournal(database)
    await other.begin(["ETHUSDT", "BTCUSDT"])
    with pytest.raises(ImportBusy, match="another import of BTCUSDT is running; try again"):
        await ImportJournal(database, "import:third").begin(["BTCUSDT"])
    await ImportJournal(database, "import:third").finish()
    importing = asyncio.create_task(imported(database, two_runs().messages, tmp_path))
    async with asyncio.timeout(60):
        while len(await all_of(database, "meta")) < 3:
            assert not importing.done()
    await other.finish()
    (done,) = await importing
    assert done.events == 420


async def test_the_same_twice_at_once_is_there_once(database: Database, tmp_path: Path) -> None:
    both = (imported(database, two_runs().messages, tmp_path) for _ in range(2))
    results = [done for (done,) in await asyncio.gather(*both)]
    assert sorted(one.known for one in results) == [0, 420]
    assert (await verify(database, "BTCUSDT")).fault is None


async def test_a_place_where_a_file_is_broken_ends_a_run(
    database: Database, tmp_path: Path
) -> None:
    messages = Collected().snapshot().events(5).gap().events(4).snapshot().events(5).messages
    at = messages[5].received_ns
    broken = Broken(at, frozenset({"BTCUSDT", "ETHUSDT"}), "f is broken in line 7: it is cut off.")
    (market,) = await imported(database, [*messages[:6], broken, *messages[6:]], tmp_path)
    first, second = market.segments
    assert (first.end_cause, first.end_detail) == (GapCause.CRASH, broken.detail)
    assert second.end_cause is GapCause.USER
    (gap,) = market.gaps
    assert gap.cause is GapCause.CRASH


async def test_an_event_that_can_t_be_read_is_a_gap_with_that_cause(
    database: Database, tmp_path: Path
) -> None:
    messages = Collected().snapshot().events(5).gap().events(4).snapshot().events(5).messages
    detail = "Line 7 of f is an event of BTCUSDT that can't be read (Expected `int`, got `null`)."
    broken = Broken(messages[5].received_ns, frozenset({"BTCUSDT"}), detail, GapCause.MALFORMED)
    (market,) = await imported(database, [*messages[:6], broken, *messages[6:]], tmp_path)
    assert market.events == 10
    (gap,) = market.gaps
    assert (gap.cause, gap.detail) == (GapCause.MALFORMED, detail)
    assert (await verify(database, "BTCUSDT")).fault is None


@pytest.mark.parametrize("with_book", [False, True])
@pytest.mark.parametrize("readable", [False, True])
async def test_events_behind_one_that_can_t_be_read_are_counted_apart(
    database: Database, tmp_path: Path, with_book: bool, readable: bool
) -> None:
    """No file with what comes before them lets them join."""
    made = Collected().snapshot().events(5).gap().events(4)
    messages = made.snapshot().events(2).messages if with_book else made.messages
    cause = GapCause.CRASH if readable else GapCause.MALFORMED
    broken = Broken(messages[5].received_ns, frozenset({"BTCUSDT"}), "the line is odd", cause)
    (market,) = await imported(database, [*messages[:6], broken, *messages[6:]], tmp_path)
    assert (market.loose, market.counts.unjoinable) == (4, 0 if readable else 4)


@pytest.mark.parametrize("years", [-21, -2, 3])
@pytest.mark.parametrize("count", [1, 2, 9])
async def test_a_first_event_that_is_dated_years_away_does_not_begin_the_recording(
    database: Database, tmp_path: Path, years: int, count: int
) -> None:
    """With a book before it, or events only; the next events show that it is wrong."""
    snapshot, *messages = Collected().snapshot().events(count).messages
    first = messages[0]
    event_ms = first.message.event_ms
    sent = b'"E":%d' % (event_ms + years * 365 * 86_400_000)
    payload = first.message.payload.replace(b'"E":%d' % event_ms, sent)
    odd = Received(first.received_ns, decode_diff(payload, first.received_ns))
    (market,) = await imported(database, [snapshot, odd, *messages[1:]], tmp_path)
    assert market.events == count
    assert market.counts.times.held == (count > 1 or years > 0)
    if market.counts.times.held:
        assert abs(market.timeline.from_ms - first.received_ns // 1_000_000) < 1_000
    assert (await verify(database, "BTCUSDT")).fault is None


async def test_nothing_that_is_missing_ends_no_run(database: Database, tmp_path: Path) -> None:
    messages = Collected().snapshot().events(9).messages
    broken = Broken(messages[5].received_ns, frozenset({"BTCUSDT"}), "f is broken.")
    (market,) = await imported(database, [*messages[:6], broken, *messages[6:]], tmp_path)
    (segment,) = market.segments
    assert (segment.event_count, segment.end_cause) == (9, GapCause.USER)


async def test_a_broken_end_is_that_of_the_run(database: Database, tmp_path: Path) -> None:
    messages = Collected().snapshot().events(9).messages
    broken = Broken(messages[-1].received_ns, frozenset({"BTCUSDT"}), "f is broken.")
    (market,) = await imported(database, [*messages, broken], tmp_path)
    (segment,) = market.segments
    assert (segment.end_cause, segment.end_detail) == (GapCause.CRASH, "f is broken.")
    (again,) = await imported(database, [*messages, broken], tmp_path)
    assert not again.segments
