"""A span, or an import, is removed on request: what stays is proven, what went is a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.retention import removal
from orderbook_desktop.storage.retention.removal import (
    AmbiguousImport,
    NoSuchImport,
    Span,
    StillRecorded,
    find_removal,
    remove,
)
from orderbook_desktop.storage.retention.trade_removal import REMOVED
from orderbook_desktop.storage.store.cuts import CutSegment, cuttable_segments
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.schema import IMPORT
from orderbook_desktop.storage.verification.verification import verify
from tests.core.archive.test_rows import rebuilt
from tests.examples import some_of
from tests.storage.archive_fixtures import (
    FragileDatabase,
    Killed,
    archiver_of,
    copy_of,
    fill,
    record,
)
from tests.storage.imports.made import Collected, imported, recorded_rows
from tests.storage.recording_fixtures import (
    ServerThread,
    Tape,
    all_of,
    running,
    started,
    until_stored,
)
from tests.storage.shelf import Shelf


async def kill() -> None:
    raise Killed


async def an_import(database: Database, folder: Path) -> Collected:
    """One segment of an hour: a chunk every ten minutes."""
    made = Collected(Tape(step_ms=5_000)).snapshot().events(720)
    await imported(database, made.messages, folder)
    return made


def span_of(made: Collected, begin: int | None, end: int | None) -> Span:
    """From the event `begin` to before the event `end`."""
    from_ms, to_ms = (None if at is None else made.diffs[at].event_ms for at in (begin, end))
    return Span("BTCUSDT", from_ms, to_ms)


async def assert_rest(
    database: Database, made: Collected, begin: int | None, end: int | None, events: int
) -> None:
    """Only the span is gone, and what is left are the true books."""
    verified = await verify(database, "BTCUSDT")
    assert (verified.fault, verified.events) == (None, 720 - events)
    books = rebuilt([rows async for rows in recorded_rows(database)])
    assert books.items() <= made.books.items()
    gone = range(begin or 0, 720 if end is None else end)
    assert not books.keys() & {made.diffs[at].final_id for at in gone}
    for gap in verified.timeline.gaps:
        assert (gap.cause, gap.detail) == (GapCause.USER, REMOVED)
    is_middle = begin is not None and end is not None
    assert len(verified.timeline.gaps) == is_middle


@pytest.mark.parametrize(
    ("begin", "end"), [(None, 200), (200, 201), (250, 500), (500, None), (None, None)]
)
async def test_a_span_is_removed_and_the_rest_holds(
    database: Database, tmp_path: Path, begin: int | None, end: int | None
) -> None:
    made = await an_import(database, tmp_path)
    span = span_of(made, begin, end)
    found = await find_removal(database, span)
    assert 0 < found.events <= 720
    assert (await verify(database, "BTCUSDT")).events == 720
    assert (await remove(database, span)).events == found.events
    await assert_rest(database, made, begin, end, found.events)
    # Again there is nothing to remove.
    again = await remove(database, span)
    assert again.events == 0
    keys = {f"{one['segment']}:{one['start_id']}" for one in await all_of(database, "depth_chunks")}
    assert len(keys) == len(await all_of(database, "depth_chunks"))
    known = {one["_id"] for one in await all_of(database, "segments")}
    assert {one["segment"] for one in await all_of(database, "depth_chunks")} == known


async def test_many_segments_are_removed_without_reading_all_of_them_again_each_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, tape, stay = Shelf(database), Tape(), list[str]()
    for number in range(12):
        shelved = await shelf.put(tape, 5, GapCause.FEED_GAP)
        await shelf.archive(shelved)
        await shelf.change("segments", shelved.id, to_archive=False)
        if number < 2:
            stay.append(shelved.id)
            from_ms = tape.now_ms + 1
        tape.diff()
    read_all = 0

    async def cuttable(of: Database, key: str | None = None) -> list[CutSegment]:
        nonlocal read_all
        read_all += key is None
        return await cuttable_segments(of, key)

    monkeypatch.setattr(removal, "cuttable_segments", cuttable)
    done = await remove(database, Span("BTCUSDT", from_ms))
    assert (done.events, len(done.parts)) == (50, 10)
    assert read_all == 2
    segments = {one["_id"]: one for one in await all_of(database, "segments")}
    assert list(segments) == stay
    assert [segments[key]["end_detail"] for key in stay] == ["", REMOVED]
    assert (await verify(database, "BTCUSDT")).fault is None


async def test_one_import_is_removed_and_another_stays(database: Database, tmp_path: Path) -> None:
    made = Collected(Tape(step_ms=5_000)).snapshot().events(60)
    first = list(made.messages)
    made.gap().snapshot().events(60)
    for messages in (first, made.messages[len(first) :]):
        await imported(database, messages, tmp_path)
    one, two = sorted(await all_of(database, "segments"), key=lambda one: int(one["snapshot_id"]))
    done = await remove(database, Span("BTCUSDT", import_id=two["_id"][:8]))
    assert (done.events, len(done.parts)) == (60, 1)
    assert [segment["_id"] for segment in await all_of(database, "segments")] == [one["_id"]]
    with pytest.raises(NoSuchImport, match="BTCUSDT has no import whose id begins with nothing"):
        await remove(database, Span("BTCUSDT", import_id="nothing"))
    assert (await verify(database, "BTCUSDT")).fault is None


async def imports_named(database: Database, *keys: str) -> None:
    """Store an archived import of two events for each key, and another market's."""
    shelf, tape = Shelf(database), Tape()
    for key in keys:
        shelved = await shelf.put(tape, 2, key=key)
        await shelf.archive(shelved)
        await shelf.change("segments", key, origin=IMPORT, to_archive=False)
        tape.diff()
    other = await shelf.put(Tape("ETHUSDT"), 2, key="77aa-of-another")
    await shelf.archive(other)
    await shelf.change("segments", other.id, origin=IMPORT, to_archive=False)


async def test_a_beginning_of_several_imports_ids_removes_none(database: Database) -> None:
    await imports_named(database, "77aa01", "77aa02", "77aa", *(f"88{n:02}" for n in range(8)))
    with pytest.raises(AmbiguousImport) as refused:
        await remove(database, Span("BTCUSDT", import_id="77a"))
    sentence = str(refused.value)
    assert sentence.startswith(
        "Nothing was removed: 3 imports of BTCUSDT have ids that begin with 77a: 77aa01 (2 events, "
    )
    assert all(f"; {key} (2 events, " in sentence for key in ("77aa02", "77aa"))
    assert sentence.endswith(". Give more of the id.")
    with pytest.raises(AmbiguousImport, match=r"8 imports of BTCUSDT .*; 3 more\. Give more"):
        await remove(database, Span("BTCUSDT", import_id="88"))
    assert len(await all_of(database, "segments")) == 12


@pytest.mark.parametrize(
    ("given", "gone"), [("77aa02", "77aa02"), ("77aa", "77aa"), ("88", "8801")]
)
async def test_an_id_or_the_beginning_of_one_removes_its_import_alone(
    database: Database, given: str, gone: str
) -> None:
    keys = ("77aa01", "77aa02", "77aa", "8801")
    await imports_named(database, *keys)
    done = await remove(database, Span("BTCUSDT", import_id=given))
    assert done.events == 2
    left = {segment["_id"] for segment in await all_of(database, "segments")}
    assert left == {*keys, "77aa-of-another"} - {gone}


async def test_a_recorded_span_may_be_removed_beside_a_running_recorder(
    database: Database,
) -> None:
    tape = Tape(step_ms=5_000)
    await record(database, tape, 300)
    await archiver_of(database).catch_up()
    middle_ms = tape.now_ms - 600_000
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        feed.diffs(*tape.diffs(20))
        await until_stored(database, 1, event_count=20)
        with pytest.raises(StillRecorded, match=r"Nothing was removed: a part of BTCUSDT in that"):
            await remove(database, Span("BTCUSDT"))
        done = await remove(database, Span("BTCUSDT", middle_ms, middle_ms + 1))
        assert 0 < done.events < 300
        feed.diffs(*tape.diffs(10))
    verified = await verify(database, "BTCUSDT")
    assert verified.fault is None
    assert verified.events == 330 - done.events
    assert REMOVED in [gap.detail for gap in verified.timeline.gaps]


@pytest.mark.sweep
async def test_killed_anywhere_the_same_request_goes_on(
    server: ServerThread, database: Database, tmp_path: Path
) -> None:
    made = await an_import(database, tmp_path)
    span = span_of(made, 250, 300)
    documents = await copy_of(database)
    events = (await find_removal(database, span)).events
    fragile = FragileDatabase(f"{database.name}_copy", kill)
    fragile.connect(server.dsn)
    for at in some_of(range(0, 200, 6), 3):
        await fill(fragile, documents)
        fragile.calls_left = at
        finished = False
        try:
            await remove(fragile, span)
            fragile.calls_left = -1
            finished = True
        except Killed:
            pass
        assert (await verify(fragile, "BTCUSDT")).fault is None, f"killed before call {at}"
        await remove(fragile, span)
        await assert_rest(fragile, made, 250, 300, events)
        if finished:
            break
    await fragile.motor.client.drop_database(fragile.name)
    fragile.close()
    assert finished
    assert at > 20
