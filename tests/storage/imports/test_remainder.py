"""Imports of files that are partly stored: the new part is taken, if the rest is equal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.received import Received
from orderbook_desktop.formats.tardis_reader import tardis_messages
from orderbook_desktop.formats.tardis_writer import HEADER
from orderbook_desktop.storage.imports.importing import Step, import_messages
from orderbook_desktop.storage.imports.recorded_market import ImportConflict
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.cuts import CutSegment, SegmentCutter
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.core.archive.test_rows import rebuilt
from tests.storage.imports.made import Collected, contents, imported, recorded_rows
from tests.storage.recording_fixtures import Tape, all_of, started, until_stored, until_written


async def _books(database: Database) -> dict[int, object]:
    """The recorded books, by update id; the recording has to be one proven run."""
    assert (await verify(database, "BTCUSDT")).fault is None
    assert not (await Recording(database, "BTCUSDT").timeline()).gaps
    batches = [rows async for rows in recorded_rows(database)]
    assert [rows.is_snapshot for rows in batches].count(True) == 1
    return dict(rebuilt(batches))


@pytest.mark.parametrize("cuts", [(1,), (150,), (199,), (40, 41, 150)])
async def test_a_file_that_grows(database: Database, tmp_path: Path, cuts: tuple[int, ...]) -> None:
    made = Collected().snapshot().events(200)
    before = 0
    for end in (*cuts, 200):
        (done,) = await imported(database, made.messages[: end + 1], tmp_path)
        assert (done.events, done.known) == (end - before, before)
        before = end
    assert await _books(database) == made.books
    whole = await contents(database)
    for end in (200, *cuts):
        (done,) = await imported(database, made.messages[: end + 1], tmp_path)
        assert (done.segments, done.known) == ((), end)
    assert await contents(database) == whole


def _later(made: Collected, begin: int, end: int | None = None) -> list[Received]:
    """The messages of a collector that began, with its own book, after `begin` events."""
    tape = Tape(step_ms=700)
    tape.diffs(begin)
    later = made.messages[begin + 1 : None if end is None else end + 1]
    return [Received(made.messages[begin].received_ns, tape.snapshot()), *later]


@pytest.mark.parametrize(
    "parts", [[(100, None)], [(40, 90)], [(0, 50), (120, 130), (170, None)], [(0, 30), (30, 60)]]
)
async def test_what_is_missing_is_filled_in(
    database: Database, tmp_path: Path, parts: list[tuple[int, int | None]]
) -> None:
    made = Collected().snapshot().events(200)
    known = 0
    for begin, end in parts:
        (done,) = await imported(database, _later(made, begin, end), tmp_path)
        known += done.events
    steps: list[Step] = []
    work = import_messages(database, made.messages, tmp_path, lambda *step: steps.append(step[0]))
    (done,) = await work
    assert (done.events, done.known) == (200 - known, known)
    assert done.gaps == ()
    assert {Step.COMPARING, Step.WRITING} <= set(steps)
    assert await _books(database) == made.books


async def test_cancelled_while_comparing_nothing_is_changed(
    database: Database, tmp_path: Path
) -> None:
    made = Collected().snapshot().events(300)
    await imported(database, made.messages[:250], tmp_path)
    before = await contents(database)
    reached = asyncio.Event()

    def progress(step: Step, *_: int) -> None:
        if step is Step.COMPARING:
            reached.set()

    work = import_messages(database, made.messages, tmp_path, progress)
    running = asyncio.create_task(work)
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await contents(database) == before


async def test_a_gap_before_the_new_part_is_reported_as_one_of_the_files(
    database: Database, tmp_path: Path
) -> None:
    made = Collected().snapshot().events(50)
    await imported(database, made.messages, tmp_path)
    made.gap().snapshot().events(30)
    (done,) = await imported(database, made.messages, tmp_path)
    assert (done.events, done.known, len(done.gaps)) == (30, 50, 1)
    assert (await verify(database, "BTCUSDT")).fault is None


def _tardis(path: Path, *days: int) -> Path:
    rows = [HEADER]
    for day in days:
        us = 1_700_000_000_000_000 + day * 86_400_000_000
        book = f"binance,BTCUSDT,{us},{us},true"
        rows += [f"{book},bid,{100 + day},1", f"{book},ask,{110 + day},1"]
        for number in range(1, 40):
            at = us + number * 1_000_000
            rows.append(f"binance,BTCUSDT,{at},{at + 7},false,bid,{90 + day},{number}")
    path.write_text("\n".join(rows) + "\n")
    return path


async def test_a_day_and_then_more_of_them(database: Database, tmp_path: Path) -> None:
    one, both = _tardis(tmp_path / "one", 1), _tardis(tmp_path / "both", 1, 2)
    two, three = _tardis(tmp_path / "two", 2), _tardis(tmp_path / "three", 3)
    await imported(database, tardis_messages([one]), tmp_path)
    (done,) = await imported(database, tardis_messages([both]), tmp_path)
    assert (done.events, done.known) == (39, 39)
    (done,) = await imported(database, tardis_messages([one, two, three]), tmp_path)
    assert (done.events, done.known) == (39, 78)
    whole = await contents(database)
    (done,) = await imported(database, tardis_messages([one, two, three]), tmp_path)
    assert (done.segments, done.known) == ((), 117)
    assert await contents(database) == whole
    assert (await verify(database, "BTCUSDT")).fault is None


def _with_another(messages: list[Received], at: int, what: str) -> list[Received]:
    changed = list(messages)
    one = changed[at].message
    if what == "time":
        diff = decode_diff(one.payload, changed[at].received_ns + 1)
        changed[at] = replace(changed[at], received_ns=diff.received_ns, message=diff)
    elif what == "text":
        payload = one.payload.replace(b'"b":[', b'"b": [')
        changed[at] = replace(changed[at], message=decode_diff(payload, changed[at].received_ns))
    elif what == "book":
        payload = one.payload.replace(b'"bids":[', b'"bids":[["1.00000000","1.00000000"],')
        changed[at] = replace(changed[at], message=decode_snapshot(payload, "BTCUSDT"))
    else:
        del changed[at]
    return changed


@pytest.mark.parametrize(
    ("at", "what"), [(70, "time"), (1, "text"), (99, "text"), (100, "time"), (0, "book")]
)
async def test_what_differs_is_refused(
    database: Database, tmp_path: Path, at: int, what: str
) -> None:
    made = Collected().snapshot().events(200)
    await imported(database, made.messages[:101], tmp_path)
    before = await contents(database)
    final_id = made.diffs[max(0, at - 1)].final_id
    refusal = rf"at update id {final_id} the files differ .* of BTCUSDT; .* another DB_NAME"
    with pytest.raises(ImportConflict, match=refusal):
        await imported(database, _with_another(made.messages, at, what), tmp_path)
    assert await contents(database) == before


async def test_what_lacks_something_of_it_is_refused(database: Database, tmp_path: Path) -> None:
    made = Collected().snapshot().events(200)
    await imported(database, made.messages[:101], tmp_path)
    before = await contents(database)
    # The book is one event further, and then all events follow.
    with pytest.raises(ImportConflict, match="another DB_NAME"):
        await imported(database, _later(made, 1), tmp_path)
    assert await contents(database) == before


async def test_what_was_recorded_live_is_no_part_of_a_file(
    database: Database, recorder: Recorder, tmp_path: Path
) -> None:
    made = Collected().snapshot().events(100)
    feed = started(recorder, tape := Tape(step_ms=700))
    feed.diffs(*tape.diffs(20))
    await until_written(recorder)
    await until_stored(database, 1)
    with pytest.raises(ImportConflict, match="overlap with what is recorded"):
        await imported(database, made.messages, tmp_path)


@pytest.mark.parametrize("grown_by", [0, 60])
async def test_what_retention_cut_comes_back(
    database: Database, tmp_path: Path, grown_by: int
) -> None:
    made = Collected().snapshot().events(600)
    await imported(database, made.messages, tmp_path)
    (document,) = await all_of(database, "segments")
    cut = await SegmentCutter(database).cut(CutSegment.of(document), lambda _: True, 3, whole=False)
    assert cut.events
    made.events(grown_by)
    (done,) = await imported(database, made.messages, tmp_path)
    assert (done.events, done.known) == (cut.events + grown_by, 600 - cut.events)
    assert done.gaps == ()
    assert await _books(database) == made.books


async def test_nothing_takes_the_place_of_what_is_being_removed(
    database: Database, tmp_path: Path
) -> None:
    made = Collected().snapshot().events(100)
    await imported(database, made.messages, tmp_path)
    (document,) = await all_of(database, "segments")
    # The whole segment is cut, and the process was killed before it removed it.
    left = {"snapshot_id": document["last_id"], "cut_events": 100, "archived_events": 0}
    segments = database.collection("segments")
    await segments.update_one(
        {"_id": document["_id"]}, {"$set": {**left, "cut_from": document["snapshot_id"]}}
    )
    before = await contents(database)
    with pytest.raises(ImportConflict):
        await imported(database, made.messages, tmp_path)
    assert await contents(database) == before


async def test_loose_events_are_taken_once(database: Database, tmp_path: Path) -> None:
    made = Collected().events(30)
    (done,) = await imported(database, made.messages, tmp_path)
    assert done.loose == 30
    made.events(20)
    (done,) = await imported(database, made.messages, tmp_path)
    assert (done.loose, done.counts.loose) == (20, 50)
    whole = await contents(database)
    for messages in (made.messages, made.messages[10:40]):
        (done,) = await imported(database, messages, tmp_path)
        assert done.loose == 0
        assert await contents(database) == whole
    loose = [chunk async for chunk in Recording(database, "BTCUSDT").loose()]
    assert [one for chunk in loose for one in chunk.diffs()] == made.diffs
    with pytest.raises(ImportConflict, match=f"update id {made.diffs[20].final_id} "):
        await imported(database, _with_another(made.messages[10:40], 10, "text"), tmp_path)
    assert await contents(database) == whole
    # Another collector received it at another time.
    for expected in (1, 0):
        messages = _with_another(made.messages[10:40], 10, "time")
        (done,) = await imported(database, messages, tmp_path)
        assert done.loose == expected
    assert (await verify(database, "BTCUSDT")).fault is None


@pytest.mark.parametrize("known", [31, 45, 50])
async def test_the_clock_of_the_files_may_go_back_over_a_gap(
    database: Database, tmp_path: Path, known: int
) -> None:
    made = Collected().snapshot().events(30)
    made.gap().tape.now_ms -= 20_000
    made.snapshot().events(40)
    await imported(database, made.messages[:known], tmp_path)
    (done,) = await imported(database, made.messages, tmp_path)
    assert (done.events + done.known, len(done.gaps)) == (70, 1)
    assert (await verify(database, "BTCUSDT")).fault is None
    assert rebuilt([rows async for rows in recorded_rows(database)]) == made.books


async def test_what_is_in_a_segment_is_not_kept_again_without_its_book(
    database: Database, tmp_path: Path
) -> None:
    made = Collected().events(5).snapshot().events(200)
    await imported(database, made.messages[5:], tmp_path)
    whole = await contents(database)
    for _ in range(2):
        (done,) = await imported(database, made.messages[106:], tmp_path)
        assert (done.segments, done.counts.loose, done.loose) == ((), 100, 0)
        assert await contents(database) == whole
    made.events(20)
    without_book = made.messages[:5] + made.messages[6:]
    # The events that follow the segment are joined to it.
    for expected in ((20, 5), (0, 0)):
        (done,) = await imported(database, without_book, tmp_path)
        assert (done.events, done.loose) == expected
    loose = [chunk async for chunk in Recording(database, "BTCUSDT").loose()]
    assert [one for chunk in loose for one in chunk.diffs()] == made.diffs[:5]
    assert (await verify(database, "BTCUSDT")).fault is None
    # Another collector received it at another time, and another text is another event.
    for at, what in ((3, "time"), (5, "text")):
        (done,) = await imported(database, _with_another(made.messages[50:60], at, what), tmp_path)
        assert done.loose == 1
    assert (await verify(database, "BTCUSDT")).fault is None
