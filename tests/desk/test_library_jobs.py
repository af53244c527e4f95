"""The library of a program on a real database: its entries, and its jobs from start to end."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.library_jobs import (
    ALL,
    EntryKey,
    Job,
    JobState,
    LibraryEntry,
    RemovalPreview,
    Span,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.desk.library_jobs import ProgramLibrary
from orderbook_desktop.desk.library_reader import LibraryReader
from orderbook_desktop.desk.library_work import JobResult, Show, _proof_remarks
from orderbook_desktop.storage.store.database import Database, DatabaseTimes
from orderbook_desktop.storage.store.patient_database import PatientDatabase
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.verification.trade_proof import ProvenTrades
from orderbook_desktop.storage.verification.verification import Verified
from tests.storage.imports.made import Collected
from tests.storage.made_trades import asked, sent
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import ServerThread, Tape
from tests.storage.shelf import Shelf
from tests.storage.tiles.test_cache import a_section, key_at
from tests.storage.trade_shelf import archive, claim

BTC, ETH = EntryKey("BTCUSDT"), EntryKey("ETHUSDT")


@pytest.fixture
async def stored(database: Database) -> Database:
    """A database with two archived segments, with a gap between them, and trades."""
    await database.prepare()
    tape, shelf = Tape(step_ms=10_000), Shelf(database)
    for number, cause in ((70, GapCause.DISCONNECT), (30, GapCause.USER)):
        segment = await shelf.put(tape, number, cause)
        await shelf.archive(segment)
        await shelf.change("segments", segment.id, to_archive=False)
        tape.diffs(2)
    for trades, origin in (
        (sent(range(1, 21)), TradeOrigin.RECORDER),
        ([asked(number) for number in range(30, 35)], TradeOrigin.REPAIR),
    ):
        run = await claim(database, trades, GapCause.DISCONNECT, origin)
        await archive(database, trades, run)
    return database


@pytest.fixture
async def library(
    stored: Database, server: ServerThread, tmp_path: Path
) -> AsyncIterator[ProgramLibrary]:
    bugs: list[BaseException] = []
    library = ProgramLibrary(bugs.append, _ignore)
    library.begin(stored.name, tmp_path)
    library.connect(server.dsn)
    yield library
    await library.end()
    assert bugs == []


async def entries_of(library: ProgramLibrary) -> list[LibraryEntry]:
    await eventually(lambda: library.entries is not None)
    return list(library.entries or ())


async def ended(library: ProgramLibrary) -> Job:
    """Wait until the last job has ended; return it."""
    await eventually(lambda: library.jobs[-1].state.is_over)
    return library.jobs[-1]


async def done(library: ProgramLibrary) -> Job:
    job = await ended(library)
    assert job.state is JobState.DONE, job.sentence
    return job


async def test_the_entries_are_all_that_was_ever_recorded(library: ProgramLibrary) -> None:
    (entry,) = await entries_of(library)
    assert (entry.key, entry.symbol) == (BTC, "BTC/USDT")
    assert (entry.events, entry.segments, entry.trades, entry.repaired) == (100, 2, 25, 5)
    assert (len(entry.gaps.gaps), len(entry.gaps.trades)) == (1, 1)
    assert entry.covered_share in range(9_000, 9_999)
    assert not entry.is_recorded
    assert library.entries is library.entries


async def test_what_is_added_by_another_program_is_seen(
    library: ProgramLibrary, stored: Database
) -> None:
    await entries_of(library)
    await Shelf(stored).put(Tape("ETHUSDT"), 5)
    await eventually(lambda: len(library.entries or ()) == 2)
    assert [entry.key for entry in library.entries or ()] == [BTC, ETH]


async def test_old_numbers_are_read_again_one_market_at_a_time(
    stored: Database, server: ServerThread
) -> None:
    now = [100.0]
    await Shelf(stored).put(Tape("ETHUSDT"), 5)
    database = PatientDatabase(stored.name)
    database.connect(server.dsn)
    reader = LibraryReader(database, now=lambda: now[0])

    def events() -> list[int]:
        return [entry.events for entry in reader.entries or ()]

    try:
        await reader.look()
        assert events() == [100, 5]
        await stored.collection("segments").delete_many({"market": "BTCUSDT"})
        before = reader.entries
        await reader.look()
        assert reader.entries is before
        now[0] += 61
        await reader.look()
        # Its trades are still there.
        assert events() == [0, 5]
        # Nothing is left of the other one.
        await stored.collection("segments").delete_many({})
        await reader.look()
        assert events() == [0]
        reader.refresh()
        await claim(stored, sent(range(50, 60)))
        await reader.look()
        assert [entry.trades for entry in reader.entries or ()] == [35]
    finally:
        database.close()


@pytest.mark.expects_log("the recordings can't be listed")
@pytest.mark.allows_log("the database failed")
async def test_why_nothing_can_be_read_is_told() -> None:
    away = DatabaseTimes(find_s=0.05, connect_s=0.05, answer_s=0.05)
    database = PatientDatabase("none", away, patience_s=0)
    database.connect("mongodb://127.0.0.1:1/?directConnection=true")
    reader = LibraryReader(database)
    await reader.look()
    database.close()
    assert reader.entries is None
    assert reader.problem.startswith("The database failed (it does not answer)")


def test_what_a_proof_found_once_is_told_of_one() -> None:
    found = Verified(
        *("BTCUSDT", Timeline((), ()), 0, 0, 0, 0),
        loose_events=1,
        unlisted_events=1,
        witnesses=0,
        fault=None,
        trades=ProvenTrades(repaired=1),
    )
    assert list(_proof_remarks(found)) == [
        "1 trade was asked for later, without a time of receipt.",
        "1 event belongs to no known book.",
        "1 event is in no segment yet.",
    ]


async def test_a_recording_is_proven(library: ProgramLibrary) -> None:
    library.verify(BTC)
    job = await done(library)
    assert job.title == "Verifying BTC/USDT"
    assert job.sentence == (
        "The recording of BTC/USDT holds: 100 events in 2 segments and 25 trades, with 2 gaps."
    )
    assert "5 trades were asked for later, without a time of receipt." in job.remarks
    library.dismiss(job.number)
    assert library.jobs == ()


async def test_a_proof_compares_some_tiles_and_calls_them_a_cache(
    library: ProgramLibrary, stored: Database, tmp_path: Path
) -> None:
    cache = TileCache(tmp_path / "tiles", "here", 1 << 30)
    cache.put(replace(key_at(7), market=BTC.market), a_section())
    library.begin(stored.name, tmp_path, lambda file: None if file else cache)
    library.verify(BTC)
    job = await done(library)
    # It is of a time that is not recorded.
    assert "Of the heatmap's tiles, a cache, 0 of 1 were compared." in job.remarks


async def test_a_recording_that_does_not_hold_is_said_to_fail(
    library: ProgramLibrary, stored: Database
) -> None:
    chunks = stored.collection("depth_chunks")
    await chunks.update_one({}, {"$set": {"data": b"?"}})
    library.verify(BTC)
    job = await ended(library)
    assert job.state is JobState.FAILED
    assert job.sentence.startswith("BTC/USDT does not hold: BTCUSDT, segment ")


async def test_a_recording_is_exported_and_no_file_is_replaced_unasked(
    library: ProgramLibrary, tmp_path: Path
) -> None:
    path = tmp_path / "btc.csv"
    library.export(BTC, ExportFormat.TARDIS, path, ALL, replace=False)
    job = await done(library)
    assert job.sentence.startswith(f"BTC/USDT was exported to {path}: ")
    assert job.remarks[-1].startswith("Gap from ")
    size = path.stat().st_size
    library.export(BTC, ExportFormat.TARDIS_TRADES, path, ALL, replace=False)
    job = await ended(library)
    assert (job.state, path.stat().st_size) == (JobState.FAILED, size)
    assert job.sentence == (f"{path} is there already; choose another file, or let it be replaced.")
    library.export(BTC, ExportFormat.TARDIS_TRADES, path, ALL, replace=True)
    await done(library)
    assert len(path.read_text().splitlines()) == 26
    library.export(BTC, ExportFormat.PARQUET, path, Span(5, 6), replace=True)
    assert (await ended(library)).sentence.startswith("Nothing is recorded of BTC/USDT from ")


async def test_a_packed_file_is_a_row_like_others(
    library: ProgramLibrary, server: ServerThread, tmp_path: Path
) -> None:
    path = tmp_path / "week.obd"
    library.pack(["BTCUSDT"], path, ALL, replace=False)
    job = await done(library)
    assert job.sentence.startswith(f"BTC/USDT was packed into {path}: 100 events in ")
    library.open_file(path)
    assert (await done(library)).sentence == "week.obd has 1 recording."
    in_file = EntryKey("BTCUSDT", str(path))
    await eventually(lambda: len(library.entries or ()) == 2)
    assert [entry.key for entry in library.entries or ()] == [BTC, in_file]
    library.verify(in_file)
    assert (await done(library)).sentence.startswith("The recording of BTC/USDT holds: 100 ")
    library.export(in_file, ExportFormat.PARQUET, tmp_path / "a.parquet", ALL, replace=False)
    assert (await done(library)).title == "Exporting BTC/USDT in week.obd"
    library.unpack(path)
    assert (await done(library)).sentence == (
        "BTC/USDT: all of it is there already; nothing was unpacked."
    )
    library.close_file(str(path))
    assert [entry.key for entry in library.entries or ()] == [BTC]


async def test_a_file_that_is_none_is_said_to_be_so(
    library: ProgramLibrary, tmp_path: Path
) -> None:
    path = tmp_path / "no.obd"
    path.write_text("no")
    library.open_file(path)
    job = await ended(library)
    assert (job.state, str(path) in job.sentence) == (JobState.FAILED, True)
    library.import_files([path], None)
    assert (await ended(library)).sentence.startswith("Nothing was imported: ")


async def test_files_of_a_collector_are_imported(library: ProgramLibrary, tmp_path: Path) -> None:
    collected = Collected(Tape("ETHUSDT")).snapshot().events(30).gap().snapshot().events(9)
    path = tmp_path / "eth.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(collected.lines())))
    library.import_files([path], None)
    job = await done(library)
    assert job.sentence.startswith("ETH/USDT: 39 events in 2 unbroken runs, ")
    assert any(text.startswith("ETH/USDT: gap from ") for text in job.remarks)
    assert any("ap from " in text for text in job.remarks)
    await eventually(lambda: ETH in [entry.key for entry in library.entries or ()])


async def test_a_removal_says_what_goes_before_it_goes(library: ProgramLibrary) -> None:
    (entry,) = await entries_of(library)
    answers: list[RemovalPreview] = []
    until = Span(to_ms=entry.timeline.covers[1].from_ms)
    library.preview_removal("BTCUSDT", until, answers.append)
    await eventually(lambda: answers)
    (preview,) = answers
    assert preview.problem == ""
    assert preview.what.startswith("70 events of BTC/USDT, from ")
    assert "about" in preview.what
    library.remove("BTCUSDT", until)
    assert (await done(library)).sentence.startswith("Removed 70 events of BTC/USDT, from ")
    await eventually(lambda: (library.entries or [entry])[0].events == 30)
    library.remove("BTCUSDT", ALL)
    await done(library)
    await eventually(lambda: library.entries == ())
    library.preview_removal("BTCUSDT", ALL, answers.append)
    await eventually(lambda: len(answers) == 2)
    assert answers[1].problem == "Nothing of BTC/USDT is recorded."


async def test_what_is_being_recorded_is_not_removed(
    library: ProgramLibrary, stored: Database
) -> None:
    await Shelf(stored).put(Tape("ETHUSDT"), 5, None)
    answers: list[RemovalPreview] = []
    library.preview_removal("ETHUSDT", ALL, answers.append)
    await eventually(lambda: answers)
    assert "stop its recording" in answers[0].problem
    library.remove("ETHUSDT", ALL)
    job = await ended(library)
    assert (job.state, job.sentence) == (JobState.FAILED, answers[0].problem)


class _Slow:
    """A job's work that lasts until it is stopped."""

    def __init__(self) -> None:
        self.begun = self.cleaned = False

    async def work(self, show: Show) -> JobResult:
        show(0.25, "half")
        self.begun = True
        try:
            await asyncio.Event().wait()
        finally:
            self.cleaned = True
        return JobResult("never")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> _Slow:
    """Every proof lasts until it is stopped."""
    slow = _Slow()

    def verify_entry(*given: object) -> Awaitable[JobResult]:
        *_, show = given
        assert callable(show)
        return slow.work(show)

    monkeypatch.setattr("orderbook_desktop.desk.library_jobs.verify_entry", verify_entry)
    return slow


async def test_jobs_run_one_after_another_and_can_be_stopped(
    slow: _Slow, library: ProgramLibrary, tmp_path: Path
) -> None:
    library.verify(BTC)
    library.verify(ETH)
    library.pack(["BTCUSDT"], tmp_path / "a.obd", ALL, replace=False)
    await eventually(lambda: slow.begun)
    first, second, third = library.jobs
    assert (first.state, first.progress, first.text) == (
        *(JobState.RUNNING, 0.25, "Verifying BTC/USDT: half"),
    )
    assert second.text == "Verifying ETH/USDT: waiting"
    library.dismiss(first.number)
    library.stop(second.number)
    await eventually(lambda: library.jobs[1].state is JobState.STOPPED)
    assert library.jobs[1].sentence == "Verifying ETH/USDT was stopped: nothing was proven."
    assert third.state is JobState.WAITING
    library.stop(first.number)
    await eventually(lambda: library.jobs[0].state is JobState.STOPPED)
    assert slow.cleaned
    assert (await done(library)).number == third.number


async def test_jobs_end_with_the_program(slow: _Slow, library: ProgramLibrary) -> None:
    library.verify(BTC)
    library.verify(ETH)
    await eventually(lambda: slow.begun)
    await library.end()
    assert slow.cleaned
    assert [job.state for job in library.jobs] == [JobState.STOPPED] * 2


async def test_thousands_of_remarks_are_not_read_out(
    library: ProgramLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def many(*_: object) -> JobResult:
        return JobResult("It is done.", tuple(f"Gap {number}." for number in range(2_000)))

    monkeypatch.setattr("orderbook_desktop.desk.library_jobs.verify_entry", many)
    library.verify(BTC)
    job = await done(library)
    assert (len(job.remarks), job.remarks[-1]) == (11, "And 1,990 more remarks.")


async def test_before_there_is_a_database_jobs_wait(
    stored: Database, server: ServerThread, tmp_path: Path
) -> None:
    library = ProgramLibrary(_ignore, _ignore)
    try:
        assert library.entries is None
        assert library.problem == ""
        library.verify(BTC)
        library.verify(ETH)
        library.stop(library.jobs[1].number)
        assert [job.state for job in library.jobs] == [JobState.WAITING, JobState.STOPPED]
        library.begin(stored.name, tmp_path)
        # The job begins before the server has an address.
        await eventually(lambda: library.jobs[0].state is not JobState.WAITING)
        await asyncio.sleep(0.1)
        library.connect(server.dsn)
        await eventually(lambda: library.jobs[0].state is JobState.DONE)
    finally:
        await library.end()


async def test_a_job_that_ends_unseen_is_told(
    stored: Database, server: ServerThread, tmp_path: Path
) -> None:
    told: list[Job] = []
    now = [0.0]
    library = ProgramLibrary(_ignore, told.append, now=lambda: now[0])
    library.begin(stored.name, tmp_path)
    library.connect(server.dsn)
    try:
        library.unpack(tmp_path / "none.obd")
        now[0] += 10
        await eventually(lambda: told)
        (job,) = told
        assert (job.number, job.state) == (1, JobState.FAILED)
    finally:
        await library.end()


@pytest.mark.expects_log("failed unexpectedly")
async def test_a_bug_ends_its_job_alone(
    stored: Database, server: ServerThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs: list[BaseException] = []
    library = ProgramLibrary(bugs.append, _ignore)

    async def broken(*_: object) -> JobResult:
        raise RuntimeError("a bug")

    monkeypatch.setattr("orderbook_desktop.desk.library_jobs.unpack_file", broken)
    library.begin(stored.name, tmp_path)
    library.connect(server.dsn)
    try:
        library.unpack(Path("a.obd"))
        job = await ended(library)
        assert (job.state, job.sentence) == (
            JobState.FAILED,
            "Unpacking a.obd failed unexpectedly (RuntimeError); the details are in the log.",
        )
        library.verify(BTC)
        await done(library)
        assert [str(bug) for bug in bugs] == ["a bug"]
    finally:
        await library.end()


def _ignore(_event: object) -> None:
    pass
