"""A recording is read back: raw, archived, and while it is being archived and cut."""

from __future__ import annotations

import random
from contextlib import aclosing
from pathlib import Path

import pytest

from orderbook_desktop.core.archive import DamagedChunk, DecodedChunk, same_book
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff, decode_diff
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.reading.recording import (
    NotCovered,
    Recording,
    books_at,
    recorded_markets,
)
from orderbook_desktop.storage.reading.segment_reader import MissingEvents, SegmentReader
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.recorder.event_log import EventLog
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.chunks import ChunkStore
from orderbook_desktop.storage.store.cuts import SegmentCutter, cuttable_segments
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert
from orderbook_desktop.storage.verification.verification import verify
from tests.core.reference_book import diff_payload
from tests.storage.archive_fixtures import archiver_of
from tests.storage.imports.made import Collected, imported
from tests.storage.recording_fixtures import (
    HandFeed,
    Tape,
    all_of,
    running,
    started,
    until_stored,
    until_written,
)
from tests.storage.shelf import Shelf, Shelved

_MARKET = "BTCUSDT"
# So few events a minute that several minutes are quickly made.
_CALM_MS = 1_000

GAP = pytest.mark.expects_log("WARNING .*gap in the recording")


async def all_chunks(recording: Recording) -> list[DecodedChunk]:
    (segment,) = await recording.segments()
    async with aclosing(recording.chunks(segment)) as chunks:
        return [chunk async for chunk in chunks]


def events_of(chunks: list[DecodedChunk]) -> list[DepthDiff]:
    return [event for chunk in chunks for event in chunk.diffs()]


async def read(
    recording: Recording, from_ms: int | None = None, to_ms: int | None = None
) -> list[tuple[BookImage | None, list[DepthDiff]]]:
    """The runs of the recording: the first book of each, and its events."""
    runs: list[tuple[BookImage | None, list[DepthDiff]]] = []
    async with aclosing(recording.slices(from_ms, to_ms)) as slices:
        async for one in slices:
            if one.opens:
                runs.append((one.start_book(), []))
            runs[-1][1].extend(list(one.chunk.diffs())[one.begin : one.end])
    return runs


def is_chain(shelved: Shelved, chunks: list[DecodedChunk]) -> None:
    """Each chunk starts with the book that the one before it ends with."""
    assert events_of(chunks) == shelved.events
    book = shelved.base
    for chunk in chunks:
        assert same_book(chunk.start_book(), book)
        book = chunk.final_book()


@pytest.mark.parametrize("archived", [0, 700, 1_300, 1_400])
async def test_a_segment_is_read_across_archive_and_raw_events(
    database: Database, archived: int
) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(), 1_400)
    if archived:
        await shelf.archive(shelved, archived)
    (segment,) = await recording.segments()
    assert (segment.archived_events, segment.running) == (archived, False)
    is_chain(shelved, await all_chunks(recording))


async def test_nothing_and_segments_without_events(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    assert await recording.segments() == []
    assert await read(recording) == []
    assert await recorded_markets(database) == []
    await shelf.put(Tape(), 0, cause=None)
    assert await all_chunks(recording) == []
    assert (await recording.timeline()).covers == ()
    assert await read(recording) == []
    assert await recorded_markets(database) == [_MARKET]
    (segment,) = await recording.segments()
    assert segment.running


async def test_markets_are_apart(database: Database) -> None:
    shelf = Shelf(database)
    other = await shelf.put(Tape("ETHUSDT", seed=2), 5)
    one = await shelf.put(Tape(), 700)
    await shelf.archive(one)
    assert await recorded_markets(database) == [_MARKET, "ETHUSDT"]
    is_chain(one, await all_chunks(Recording(database, _MARKET)))
    is_chain(other, await all_chunks(Recording(database, "ETHUSDT")))


@pytest.mark.parametrize("seed", range(4))
async def test_chunks_are_archived_while_they_are_read(database: Database, seed: int) -> None:
    """Events that were read raw are not read again, and none is missed."""
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(step_ms=_CALM_MS), 500)
    await shelf.archive(shelved, 130)
    chosen = random.Random(seed)
    chunks: list[DecodedChunk] = []
    steps = iter(await shelf.prepare_archive(shelved))
    (segment,) = await recording.segments()
    async with aclosing(recording.chunks(segment)) as reading:
        async for chunk in reading:
            chunks.append(chunk)
            if chosen.random() < 0.7 and (step := next(steps, None)) is not None:
                await shelf.commit(shelved, step)
                await shelf.sweep(shelved, step)
    assert events_of(chunks) == shelved.events
    is_chain(shelved, chunks)


async def test_the_first_chunk_comes_while_its_raw_events_are_deleted(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(), 700)
    (segment,) = await recording.segments()
    await shelf.archive(shelved)
    async with aclosing(recording.chunks(segment)) as chunks:
        is_chain(shelved, [chunk async for chunk in chunks])


async def test_what_came_after_the_segment_was_looked_up_is_left_out(database: Database) -> None:
    """Also if it is in the same minute, and is archived by then."""
    shelf, tape = Shelf(database), Tape()
    recording = Recording(database, _MARKET)
    shelved = await shelf.put(tape, 300, cause=None)
    (early,) = await recording.segments()
    later = tape.diffs(100)
    await shelf.write(later)
    shelved.events += later
    await shelf.change("segments", shelved.id, last_id=shelved.last_id, event_count=400)
    await shelf.archive(shelved)
    async with aclosing(recording.chunks(early)) as chunks:
        assert events_of([chunk async for chunk in chunks]) == shelved.events[:300]


async def test_the_front_is_cut_while_it_is_read(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(step_ms=_CALM_MS), 420)
    await shelf.archive(shelved)
    read_so_far: list[DecodedChunk] = []
    opened = 0
    async with aclosing(recording.slices()) as slices:
        async for one in slices:
            opened += one.opens
            read_so_far.append(one.chunk)
            if len(read_so_far) == 1:
                await cut(shelf, shelved, 2)
    assert opened == 2
    left = sum(shelved.chunks[-2][0] < one.final_id for one in shelved.events)
    events = events_of(read_so_far)
    assert 0 < len(events) < len(shelved.events)
    assert events == [*shelved.events[: len(events) - left], *shelved.events[-left:]]


async def cut(shelf: Shelf, shelved: Shelved, left: int) -> None:
    """Cut all but the last `left` chunks, as retention does."""
    removed = [start for start, _ in shelved.chunks[: len(shelved.chunks) - left]]
    begin = shelved.chunks[len(removed)][0]
    gone = [one for one in shelved.events if one.final_id <= begin]
    fields = {"first_time": gone[-1].event_ms, "cut_events": len(gone)}
    await shelf.change("segments", shelved.id, snapshot_id=begin, **fields)
    await ChunkStore(shelf.database).drop(shelved.id, removed)


async def test_a_missing_event_is_reported(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(), 20)
    gone = shelved.events[7]
    await database.collection("depth_events").delete_one({"u": gone.final_id})
    with pytest.raises(MissingEvents, match=f"{_MARKET}: after update id {gone.first_id - 1}, "):
        await all_chunks(recording)


async def test_a_missing_or_damaged_chunk_is_reported(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(step_ms=_CALM_MS), 140)
    await shelf.archive(shelved)
    start_id = shelved.chunks[1][0]
    await shelf.change("depth_chunks", f"{shelved.id}:{start_id}", event_count=1)
    with pytest.raises(DamagedChunk, match="event_count"):
        await all_chunks(recording)
    await ChunkStore(database).drop(shelved.id, [start_id])
    with pytest.raises(MissingEvents, match=f"{start_id}, an archived minute is missing"):
        await all_chunks(recording)


async def test_the_book_that_a_segment_begins_with_is_gone(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    await shelf.put(Tape(), 5)
    await database.collection("checkpoints").delete_many({})
    with pytest.raises(MissingEvents, match="the book it begins with is missing"):
        await all_chunks(recording)


async def test_a_deleted_recording_is_reported(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    await shelf.put(Tape(), 5)
    (segment,) = await recording.segments()
    for name in ("depth_events", "segments"):
        await database.collection(name).delete_many({})
    with pytest.raises(MissingEvents, match="the rest of the recording is missing"):
        async with aclosing(recording.chunks(segment)) as chunks:
            await anext(chunks)


async def two_segments(shelf: Shelf) -> tuple[Shelved, Shelved]:
    """Two segments with a gap of events and of time between them."""
    tape = Tape(step_ms=_CALM_MS)
    one = await shelf.put(tape, 100, GapCause.DISCONNECT, "reset")
    await shelf.archive(one)
    tape.diffs(5)
    other = await shelf.put(tape, 150)
    await shelf.archive(other, 100)
    return one, other


async def test_slices_of_a_recording_with_a_gap(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    one, other = await two_segments(shelf)
    first, second = await read(recording)
    assert first[1] == one.events
    assert second[1] == other.events
    assert first[0] is not None
    assert second[0] is not None
    assert same_book(first[0], one.base)
    assert same_book(second[0], other.base)
    (gap,) = (await recording.timeline()).gaps
    assert (gap.cause, gap.detail) == (GapCause.DISCONNECT, "reset")
    assert gap.first_missing == one.last_id + 1
    assert gap.last_missing == other.base.last_update_id


@pytest.mark.parametrize("seed", range(3))
async def test_slices_of_any_time(database: Database, seed: int) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    one, other = await two_segments(shelf)
    chosen = random.Random(seed)
    every = [*one.events, *other.events]
    for _ in range(12):
        from_ms, to_ms = sorted(
            chosen.choice(every).event_ms + chosen.choice([-30, 0, 30]) for _ in range(2)
        )
        runs = await read(recording, from_ms, to_ms)
        wanted = [event for event in every if from_ms <= event.event_ms < to_ms]
        assert [event for _, events in runs for event in events] == wanted
        for (book, events), shelved in zip(runs[-1:], [other], strict=False):
            if events and events[0] in shelved.events:
                assert book is not None
                assert same_book(book, shelved.book_after(shelved.events.index(events[0]) - 1))


async def test_a_time_between_two_events_has_a_book_and_no_event(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(), 10)
    from_ms = shelved.events[4].event_ms + 10
    ((book, events),) = await read(recording, from_ms, from_ms + 10)
    assert events == []
    assert book is not None
    assert same_book(book, shelved.book_after(4))


async def test_two_recorders_of_one_market(database: Database) -> None:
    """The events of both are read once, and the second segment continues without a gap."""
    shelf, tape = Shelf(database), Tape()
    recording = Recording(database, _MARKET)
    twin = Tape()
    one = await shelf.put(tape, 900, GapCause.CRASH)
    twin.diffs(500)
    overlapping = one.events[500:]
    base = twin.snapshot()
    further = tape.diffs(800)
    await database.collection("depth_events").delete_many(
        {"u": {"$gt": overlapping[0].first_id - 1}}
    )
    other = await shelf.put(twin, [*overlapping, *further])
    assert other.base.last_update_id == base.last_update_id
    await shelf.archive(other, 700)
    await shelf.write(overlapping)
    timeline = await recording.timeline()
    assert not timeline.gaps
    assert [cover.continues for cover in timeline.covers] == [False, True]
    ((book, events),) = await read(recording)
    assert events == one.events + further
    assert book is not None
    assert same_book(book, one.base)
    # From a time that only the second segment covers, the run opens with its book.
    ((book, events),) = await read(recording, further[3].event_ms)
    assert events == further[3:]
    assert book is not None
    assert same_book(book, other.book_after(len(overlapping) + 2))


async def test_loose_events_wherever_they_are(database: Database) -> None:
    shelf, tape = Shelf(database), Tape()
    recording = Recording(database, _MARKET)
    loose = tape.diffs(9)
    key = await shelf.put_loose(loose[:4])
    await shelf.put_loose(loose[4:])
    await shelf.write(loose)

    async def found() -> list[DepthDiff]:
        async with aclosing(recording.loose()) as chunks:
            return events_of([chunk async for chunk in chunks])

    assert await found() == loose
    # While an event is archived it is stored twice.
    await database.collection("segments").delete_one({"_id": key})
    await shelf.put_loose(loose[:4], key, archived=True)
    assert await found() == loose
    await database.collection("depth_events").delete_many({"u": {"$lte": loose[3].final_id}})
    assert await found() == loose


async def test_books_at_any_time(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    one, other = await two_segments(shelf)
    chosen = random.Random(1)
    for shelved in (one, other):
        first, last = shelved.events[0].event_ms, shelved.events[-1].event_ms
        for event_ms in [first, last, *(chosen.randint(first, last) for _ in range(15))]:
            book = await recording.book_at(event_ms)
            assert same_book(book, shelved.book_at(event_ms)), event_ms
            assert book.event_ms <= event_ms


async def test_books_that_are_not_known(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    one, other = await two_segments(shelf)
    with pytest.raises(NotCovered, match=r"connection to the exchange was lost \(reset\)") as lost:
        await recording.book_at(one.events[-1].event_ms + 1)
    assert lost.value.gap is not None
    for event_ms in (0, 2**62, other.events[-1].event_ms + 1):
        with pytest.raises(NotCovered, match="doesn't reach there"):
            await recording.book_at(event_ms)


async def test_books_of_a_calm_market(database: Database) -> None:
    """Between events, and so between chunks, are hours."""
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(step_ms=2_000_000), 40)
    await shelf.archive(shelved, 30, minutes=10)
    for index in (0, 10, 29, 30, 38):
        book = await recording.book_at(shelved.events[index].event_ms + 1_999_999)
        assert same_book(book, shelved.book_after(index))


async def test_books_while_they_are_archived_and_cut(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(step_ms=_CALM_MS), 300)
    start_near = SegmentReader.start_near

    async def late(self: SegmentReader, event_ms: int) -> int | None:
        found = await start_near(self, event_ms)
        if not shelved.chunks:
            await shelf.archive(shelved)
        elif len(shelved.chunks) > 3:
            await cut(shelf, shelved, 3)
            del shelved.chunks[:-3]
        return found

    monkeypatch.setattr(SegmentReader, "start_near", late)
    for _ in range(3):
        event = shelved.events[-70]
        book = await recording.book_at(event.event_ms)
        assert same_book(book, shelved.book_at(event.event_ms))
    with pytest.raises(NotCovered):
        await recording.book_at(shelved.events[10].event_ms - 200)


async def test_nothing_is_lost_where_the_clock_went_back_between_segments(
    database: Database,
) -> None:
    """A later event with an earlier time counts as late as the latest event before it."""
    shelf, recording, tape = Shelf(database), Recording(database, _MARKET), Tape()
    one = await shelf.put(tape, 100, GapCause.DISCONNECT)
    tape.diffs(2)
    tape.now_ms -= 3_600_000
    other = await shelf.put(tape, 1_500)
    await shelf.archive(other)
    assert len(other.chunks) > 2

    async def events(from_ms: int | None = None, to_ms: int | None = None) -> list[list[DepthDiff]]:
        return [run for _, run in await read(recording, from_ms, to_ms)]

    assert await events() == [one.events, other.events]
    end_ms = one.events[-1].event_ms
    assert await events(one.events[50].event_ms) == [one.events[50:], other.events]
    assert await events(end_ms) == [one.events[-1:], other.events]
    assert await events(to_ms=end_ms) == [one.events[:-1]]
    assert await events(end_ms + 1) == []
    assert same_book(await recording.book_at(end_ms), other.book_after(len(other.events) - 1))


async def test_times_that_a_clock_ran_through_twice_are_those_of_the_first_time(
    database: Database,
) -> None:
    """By its earliest event the chunk in which the clock went back is as old as the first chunk."""
    shelf, recording, tape = Shelf(database), Recording(database, _MARKET), Tape()
    first_time = tape.diffs(1_800)
    tape.now_ms -= 170_000
    shelved = await shelf.put(Tape(), [*first_time, *tape.diffs(100)])
    await shelf.archive(shelved)
    (*_, last) = shelved.chunks
    for index in (120, 150, 199):
        event = shelved.events[index]
        book = await recording.book_at(event.event_ms)
        assert same_book(book, shelved.book_after(index))
        assert event.final_id < last[0]
        ((book_before, events),) = await read(recording, event.event_ms, event.event_ms + 10_000)
        assert events == shelved.events[index : index + 100]
        assert book_before is not None
        assert same_book(book_before, shelved.book_after(index - 1))


@pytest.mark.parametrize("field", ["start_id", "last_id", "from_time", "to_time"])
async def test_beside_a_damaged_chunk_others_can_be_read(database: Database, field: str) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(step_ms=_CALM_MS), 190)
    await shelf.archive(shelved)
    (start_id, last_id) = shelved.chunks[1]
    await database.collection("depth_chunks").update_one(
        {"_id": f"{shelved.id}:{start_id}"}, {"$unset": {field: ""}}
    )
    inside = next(one for one in shelved.events if one.first_id > start_id)
    with pytest.raises(DamagedChunk):
        await recording.book_at(inside.event_ms)
    behind = next(one for one in shelved.events if one.first_id > last_id)
    assert same_book(await recording.book_at(behind.event_ms), shelved.book_at(behind.event_ms))


@pytest.mark.parametrize("inside", [1, 3])
@pytest.mark.parametrize("archived", [False, True])
async def test_events_that_end_within_another_s_ids_do_not_hide_it(
    database: Database, inside: int, archived: bool
) -> None:
    """An event came far ahead; the events after it, with lower ids, belong to no book."""

    def event(first: int, final: int) -> DepthDiff:
        received_ns = (1_700_000_000_000 + final) * 1_000_000
        return decode_diff(diff_payload([("0.5", "1")], [], first, final), received_ns)

    tape, shelf = Tape(), Shelf(database)
    before = tape.snapshot().last_update_id
    ahead = event(before + 1, before + 9_000_000)
    shelved = await shelf.put(tape, [ahead, event(ahead.final_id + 1, ahead.final_id + 1)])
    later = [event(before + 2 * at, before + 2 * at + 1) for at in range(1, inside + 1)]
    await EventLog(database).insert([Insert.of(one) for one in later])
    await shelf.put_loose(later)
    if archived:
        await Archiver(database, pace=0).catch_up()
    recording = Recording(database, _MARKET)
    assert events_of(await all_chunks(recording)) == shelved.events
    (segment,) = await recording.segments()
    assert (segment.archived_events > 0) is archived
    assert (await verify(database, _MARKET)).fault is None


def _made() -> Collected:
    made = Collected(Tape(step_ms=700)).snapshot().events(200).gap().events(9).snapshot()
    return made.events(150)


async def test_every_time_that_is_covered(database: Database, tmp_path: Path) -> None:
    made = _made()
    await imported(database, made.messages, tmp_path)
    recording = Recording(database, "BTCUSDT")
    times: list[int] = []
    for cover in (await recording.timeline()).covers:
        times.extend((cover.from_ms, cover.from_ms, *range(cover.from_ms, cover.to_ms, 333)))
        times.extend((cover.to_ms - 1, cover.to_ms))
    times.sort()
    books = [book async for book in books_at(recording, times)]
    assert len(books) == len(times) > 600
    for time, book in list(zip(times, books, strict=True))[::23]:
        assert same_book(book, await recording.book_at(time)), time
    for cover in (await recording.timeline()).covers:
        for time in (cover.from_ms, cover.to_ms):
            found = books[times.index(time)]
            assert same_book(found, await recording.book_at(time)), time


async def test_nothing_is_read_where_one_is_not_known(database: Database, tmp_path: Path) -> None:
    await imported(database, _made().messages, tmp_path)
    recording = Recording(database, "BTCUSDT")
    timeline = await recording.timeline()
    (gap,) = timeline.gaps
    with pytest.raises(NotCovered) as caught:
        await anext(books_at(recording, [timeline.from_ms, gap.from_ms + 1, gap.to_ms]))
    assert caught.value.event_ms == gap.from_ms + 1
    with pytest.raises(ValueError, match="ascend"):
        await anext(books_at(recording, [timeline.to_ms, timeline.from_ms]))
    assert [book async for book in books_at(recording, [])] == []


async def timeline_of(database: Database, market: str) -> Timeline:
    """The timeline, which all readers return alike."""
    found = await Recording(database, market).timeline()
    proven = await verify(database, market)
    assert proven.fault is None
    assert proven.timeline == found
    (summary,) = await summaries(database)
    assert summary.timeline == found
    assert found.covered_ms + found.gap_ms == found.to_ms - found.from_ms
    return found


async def ended(database: Database, cause: GapCause) -> tuple[Tape, list[DepthDiff]]:
    """Record a segment, and events after its end; return these."""
    tape = Tape()
    async with running(Recorder(database)) as recorder:
        feed = HandFeed(recorder.sink(tape.market))
        feed.diffs(*tape.diffs(3))
        feed.snapshot(tape.snapshot())
        feed.diffs(*tape.diffs(5))
        if cause is not GapCause.FEED_GAP:
            feed.broken(cause, "so")
        tape.diffs(2)
        late = tape.diffs(9)
        feed.diffs(*late)
        feed.broken(GapCause.USER)
        assert recorder.sink(tape.market).counts.gaps == 1
    return tape, late


@GAP
@pytest.mark.parametrize("cause", [GapCause.DISCONNECT, GapCause.FEED_GAP])
async def test_events_that_no_book_follows_are_a_gap(database: Database, cause: GapCause) -> None:
    tape, late = await ended(database, cause)
    (segment,) = await all_of(database, "segments", book=True)
    before_ms = late[0].event_ms - 300
    gap = Gap(
        *(before_ms, late[-1].event_ms, segment["last_id"] + 1, late[-1].final_id),
        *(cause, segment["end_detail"]),
    )
    for _ in range(2):
        found = await timeline_of(database, tape.market)
        assert (found.gaps, found.to_ms) == ((gap,), late[-1].event_ms)
        for time in (before_ms + 1, found.to_ms):
            with pytest.raises(NotCovered, match=cause.sentence):
                await Recording(database, tape.market).book_at(time)
        with pytest.raises(NotCovered, match="doesn't reach"):
            await Recording(database, tape.market).book_at(found.to_ms + 1)
        await archiver_of(database).catch_up()
    assert not await all_of(database, "depth_events")


@GAP
async def test_what_is_recorded_later_ends_that_gap(database: Database) -> None:
    tape, late = await ended(database, GapCause.SILENCE)
    tape.now_ms += 60_000
    async with running(Recorder(database)) as recorder:
        feed = started(recorder, tape)
        feed.diffs(*tape.diffs(4))
    found = await timeline_of(database, tape.market)
    (gap,) = found.gaps
    assert gap.cause is GapCause.SILENCE
    assert gap.to_ms == found.covers[1].from_ms > late[-1].event_ms
    assert isinstance(found.at(late[-1].event_ms), Gap)


async def test_those_before_a_book_are_none(database: Database) -> None:
    """Nor events of which it is not known yet whether they belong to the segment."""
    tape = Tape()
    async with running(Recorder(database)) as recorder:
        feed = HandFeed(recorder.sink(tape.market))
        feed.diffs(*tape.diffs(3))
        feed.snapshot(tape.snapshot())
        feed.diffs(*tape.diffs(5))
        await until_written(recorder)
        await until_stored(database, 1, event_count=5)
        found = await timeline_of(database, tape.market)
        assert (found.gaps, len(found.covers)) == ((), 1)
    found = await timeline_of(database, tape.market)
    assert (found.gaps, found.to_ms) == ((), tape.now_ms)
    assert isinstance(found.at(found.from_ms), Cover)


@GAP
async def test_a_damaged_run_without_a_book_tells_no_time(database: Database) -> None:
    """`verify` reports it; the summary has all the rest."""
    tape, _ = await ended(database, GapCause.DISCONNECT)
    await archiver_of(database).catch_up()
    await database.collection("segments").update_many(
        {"book": False}, {"$set": {"last_time": "late"}}
    )
    assert (await Recording(database, tape.market).timeline()).gaps == ()
    assert not (await verify(database, tape.market)).holds


def _last_levels(book: BookImage) -> Horizon:
    return Horizon(int(book.bids.prices[-1]), int(book.asks.prices[-1]), book.scale.price)


@pytest.mark.parametrize("archived", [0, 700, 1_400])
async def test_a_book_is_known_to_the_last_levels_of_the_snapshot_that_its_segment_began_with(
    database: Database, archived: int
) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(), 1_400)
    if archived:
        await shelf.archive(shelved, archived)
    known = _last_levels(shelved.base)
    times = [event.event_ms for event in shelved.events[::200]]
    assert [(await recording.book_at(time)).horizon for time in times] == [known] * len(times)
    assert {book.horizon async for book in books_at(recording, times)} == {known}
    async with aclosing(recording.slices()) as slices:
        assert {part.start_book().horizon async for part in slices} == {known}


async def test_it_is_not_known_how_deep_where_that_of_the_first_book_is_not_known(
    database: Database,
) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(), 40)
    (base,) = await all_of(database, "checkpoints", base=True)
    await shelf.change("checkpoints", base["_id"], horizon=None)
    assert (await recording.book_at(shelved.events[-1].event_ms)).horizon is None


async def test_a_book_is_known_as_deep_after_its_first_books_were_cut(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, _MARKET)
    shelved = await shelf.put(Tape(), 1_400)
    await shelf.archive(shelved, 1_400)
    segments = [one for one in await cuttable_segments(database) if one.stored.id == shelved.id]
    await SegmentCutter(database).cut(segments[0], lambda _: True, 1, whole=False)
    (segment,) = await recording.segments()
    assert segment.cut_events
    book = await recording.book_at(shelved.events[-1].event_ms)
    assert book.horizon == _last_levels(shelved.base)


async def test_a_damaged_first_book_leaves_later_books_readable(database: Database) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(), 1_400)
    await shelf.archive(shelved, 1_400)
    (base,) = await all_of(database, "checkpoints", base=True)
    await shelf.change("checkpoints", base["_id"], payload=b"x")
    book = await Recording(database, _MARKET).book_at(shelved.events[-1].event_ms)
    assert book.horizon == _last_levels(shelved.base)
    assert same_book(book, shelved.book_after(len(shelved.events) - 1))
