"""If the exchange's clock goes back, update ids give the order, and each event is read once.

An event counts as late as the latest one before it, also if that is in another segment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import accumulate, count, pairwise

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orderbook_desktop.core.archive import same_book
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap
from orderbook_desktop.storage.reading.recording import NotCovered, Recording, books_at
from orderbook_desktop.storage.reading.segment_reader import SegmentReader
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store import raw_events
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.examples import examples
from tests.storage.archive_fixtures import archiver_of
from tests.storage.recording_fixtures import HandFeed, Tape, all_of, running, segments_of
from tests.storage.shelf import Shelf, Shelved

_numbers = count()
_steps_ms = st.sampled_from([100, 100, 5_000, 30_000, 70_000, 0, -1, -30_000, -70_000, -300_000])


@dataclass(frozen=True)
class Run:
    """A segment: how far the clock goes from event to event, and how many are archived."""

    steps_ms: list[int]
    archived: int
    minutes: int
    is_after_a_gap: bool


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Any run."""
    steps_ms = draw(st.lists(_steps_ms, min_size=1, max_size=30))
    archived = draw(st.integers(0, len(steps_ms)))
    return Run(steps_ms, archived, draw(st.sampled_from([1, 10])), draw(st.booleans()))


@dataclass
class Known:
    """A recording: its segments, all events in order, and the time at which each counts."""

    segments: list[Shelved]

    @property
    def events(self) -> list[DepthDiff]:
        return [event for one in self.segments for event in one.events]

    @property
    def times_ms(self) -> list[int]:
        return list(accumulate((event.event_ms for event in self.events), max))

    def between(self, from_ms: int | None, to_ms: int | None) -> list[DepthDiff]:
        """The events that count from `from_ms` to before `to_ms`."""
        return [
            event
            for event, time in zip(self.events, self.times_ms, strict=True)
            if (from_ms is None or time >= from_ms) and (to_ms is None or time < to_ms)
        ]

    def book_at(self, event_ms: int) -> BookImage:
        """The book after the last event that counts no later."""
        index = bisect_right(self.times_ms, event_ms) - 1
        for one in self.segments:
            if index < len(one.events):
                return one.book_after(index)
            index -= len(one.events)
        raise AssertionError(event_ms)

    def instants(self) -> Iterator[int]:
        """Times at which the book may change, ascending."""
        times = {time for event in self.events for time in (event.event_ms, event.event_ms + 1)}
        first, last = self.times_ms[0], self.times_ms[-1]
        return iter(sorted(time for time in times if first <= time <= last))


class SteppingTape(Tape):
    """A market whose clock goes by `steps_ms` from event to event, as long as there are some."""

    steps_ms: Sequence[int] = ()

    def diff(self, changes: int = 6) -> DepthDiff:
        self.step_ms, *self.steps_ms = self.steps_ms or [self.step_ms]
        return super().diff(changes)


async def put(database: Database, played: list[Run]) -> tuple[Recording, Known]:
    """Store the runs as the segments of a market of their own."""
    tape = SteppingTape(f"CLOCK{next(_numbers)}USDT")
    shelf, segments = Shelf(database), list[Shelved]()
    for run in played:
        if run.is_after_a_gap:
            tape.diff()
        tape.steps_ms = run.steps_ms
        shelved = await shelf.put(tape, len(run.steps_ms), GapCause.SILENCE)
        if run.archived:
            await shelf.archive(shelved, run.archived, run.minutes)
        segments.append(shelved)
    return Recording(database, tape.market), Known(segments)


async def read(
    recording: Recording, from_ms: int | None = None, to_ms: int | None = None
) -> list[DepthDiff]:
    """The events of a part, each run of them beginning with the book before it."""
    events: list[DepthDiff] = []
    async with aclosing(recording.slices(from_ms, to_ms)) as slices:
        async for one in slices:
            some = list(one.chunk.diffs())[one.begin : one.end]
            if some:
                assert one.start_book().last_update_id >= some[0].first_id - 1
                assert one.start_book().last_update_id < some[0].final_id
            events += some
    return events


async def check_time(recording: Recording, known: Known) -> None:
    """Covers and gaps go from the first event to the last, and each begins where one ends."""
    timeline, times = await recording.timeline(), known.times_ms
    assert (timeline.from_ms, timeline.to_ms) == (times[0], times[-1])
    stretches: list[Cover | Gap] = sorted(
        (*timeline.covers, *timeline.gaps),
        key=lambda one: one.last_id if isinstance(one, Cover) else one.last_missing,
    )
    assert all(one.to_ms == other.from_ms for one, other in pairwise(stretches))
    assert all(one.from_ms <= one.to_ms for one in stretches)
    begin = 0
    for cover, one in zip(timeline.covers, known.segments, strict=True):
        end = begin + len(one.events)
        assert cover.to_ms == times[end - 1]
        assert cover.continues or cover.from_ms == times[begin]
        begin = end


async def check_parts(recording: Recording, known: Known, cuts_ms: list[int]) -> None:
    """In every division into parts, each event is in one part, in order."""
    assert await read(recording) == known.events
    ends = [None, *sorted(cuts_ms), None]
    parts = [await read(recording, *span) for span in pairwise(ends)]
    assert parts == [known.between(*span) for span in pairwise(ends)]
    assert [event for part in parts for event in part] == known.events


async def check_books(recording: Recording, known: Known, every: int) -> None:
    """All readers return the same book for a time."""
    timeline = await recording.timeline()
    covered = []
    for time in list(known.instants())[::every]:
        if isinstance(timeline.at(time), Cover):
            covered.append(time)
            assert same_book(await recording.book_at(time), known.book_at(time)), time
        else:
            with pytest.raises(NotCovered):
                await recording.book_at(time)
    async with aclosing(books_at(recording, covered)) as found:
        books = [book async for book in found]
    for time, book in zip(covered, books, strict=True):
        assert same_book(book, known.book_at(time)), time


async def check_proof(database: Database, market: str, span: tuple[int, int]) -> None:
    """It is proven as a whole and in parts, and no longer after a loss or a change."""
    for part in ((None, None), span):
        found = await verify(database, market, *part)
        assert found.fault is None, found.fault
    raw = await all_of(database, "depth_events", market=market)
    if raw:
        await database.collection("depth_events").delete_one({"_id": raw[len(raw) // 2]["_id"]})
        assert not (await verify(database, market)).holds
        await database.collection("depth_events").insert_one(raw[len(raw) // 2])
    for chunk in (await all_of(database, "depth_chunks", market=market))[-1:]:
        at = len(chunk["data"]) // 2
        data = chunk["data"][:at] + bytes([chunk["data"][at] ^ 4]) + chunk["data"][at + 1 :]
        chunks = database.collection("depth_chunks")
        await chunks.update_one({"_id": chunk["_id"]}, {"$set": {"data": data}})
        assert not (await verify(database, market)).holds


@examples(
    30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(runs(), min_size=1, max_size=3), st.data())
async def test_all_that_a_clock_may_do(
    database: Database, played: list[Run], data: st.DataObject
) -> None:
    recording, known = await put(database, played)
    await check_time(recording, known)
    instants = list(known.instants())
    cuts_ms = data.draw(st.lists(st.sampled_from(instants), min_size=2, max_size=4))
    await check_parts(recording, known, cuts_ms)
    await check_books(recording, known, max(1, len(instants) // 12))
    await check_proof(database, recording.market, (min(cuts_ms), max(cuts_ms) + 1))


async def test_where_raw_events_are_read_in_several_goes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later read may begin at an earlier time than the one before it ended."""
    monkeypatch.setattr(raw_events, "_FIRST_SPAN", 30)
    recording, known = await put(database, [Run([1_000] * 4 + [-3_000] + [1_000] * 9, 0, 1, False)])
    for cut_ms in known.instants():
        await check_parts(recording, known, [cut_ms])
    await check_books(recording, known, 1)


async def test_an_hour_that_came_twice(database: Database) -> None:
    """The second pass counts as late as the end of the first; their chunks share minutes."""
    hour = [60_000] * 60
    recording, known = await put(database, [Run([*hour, -3_600_000, *hour, *hour], 170, 1, False)])
    end_ms = known.times_ms[60]
    assert [len(await read(recording, *span)) for span in ((None, end_ms), (end_ms, None))] == [
        59,
        122,
    ]
    await check_parts(recording, known, known.times_ms[::27])
    await check_books(recording, known, 27)


async def test_chunks_that_meet_at_the_same_instant(database: Database) -> None:
    tape = SteppingTape()
    tape.steps_ms = [100, 100, 0, 100]
    shelf = Shelf(database)
    shelved = await shelf.put(tape, 4)
    for _ in range(2):
        await shelf.archive(shelved, 2)
    recording, known = Recording(database, tape.market), Known([shelved])
    await check_parts(recording, known, [shelved.events[1].event_ms])
    await check_books(recording, known, 1)


async def test_a_part_is_proven_with_all_that_counts_as_late(database: Database) -> None:
    """Although its times are earlier, since the clock went back between two segments."""
    earlier = Run([100] * 5, 0, 1, False)
    later = Run([-3_600_000, *[60_000] * 70], 71, 1, True)
    recording, known = await put(database, [earlier, later])
    timeline = await recording.timeline()
    end_ms = timeline.covers[0].to_ms
    assert timeline.covers[1].from_ms == end_ms
    first_id = known.segments[1].chunks[0][0]
    await database.collection("depth_chunks").delete_one({"start_id": first_id})
    found = await verify(database, recording.market, end_ms)
    assert found.fault is not None
    assert f"after update id {first_id}, " in str(found.fault)
    assert (await verify(database, recording.market, None, end_ms)).holds
    assert (await verify(database, recording.market, end_ms + 120_000)).holds


async def test_a_seek_goes_back_no_further_than_the_clock_did(database: Database) -> None:
    recording, known = await put(
        database, [Run([*[30_000] * 40, -100, *[30_000] * 40], 80, 1, False)]
    )
    (stored,) = await recording.segments()
    assert stored.back_ms == 100
    late_ms = known.times_ms[-1]
    start_id = await SegmentReader(database, stored).start_near(late_ms)
    assert start_id is not None
    assert sum(event.final_id > start_id for event in known.events) < 6


async def test_the_recorder_tells_how_far_the_clock_went_back(database: Database) -> None:
    tape = SteppingTape()
    tape.steps_ms = [100, 40_000, 40_000, -90_000, 40_000, 40_000, -50_000, 10]
    async with running(Recorder(database)) as recorder:
        feed = HandFeed(recorder.sink(tape.market))
        feed.snapshot(tape.snapshot())
        diffs = tape.diffs(8)
        feed.diffs(*diffs)
    (segment,) = await segments_of(database)
    assert segment["last_time"] == max(one.event_ms for one in diffs)
    assert (segment["first_time"], segment["back"]) == (diffs[0].event_ms, 90_000)
    assert (await verify(database, tape.market)).holds
    await archiver_of(database).catch_up()
    found = await verify(database, tape.market)
    assert (found.fault, found.archived_events) == (None, 8)
    assert await read(Recording(database, tape.market), diffs[4].event_ms) == diffs[1:]


async def test_times_stored_by_an_earlier_version_still_hold(database: Database) -> None:
    """It stored the time of the last event, and not that the clock went back."""
    recording, known = await put(database, [Run([100, 70_000, 70_000, -30_000, 100], 3, 1, False)])
    (shelved,) = known.segments
    shelf, last_ms = Shelf(database), known.events[-1].event_ms
    await shelf.change("segments", shelved.id, last_time=last_ms, back=None)
    assert (await verify(database, recording.market)).holds
    assert await read(recording) == known.events
    await shelf.change("segments", shelved.id, last_time=last_ms + 1)
    assert not (await verify(database, recording.market)).holds


async def test_a_front_that_was_cut_may_have_been_the_latest(database: Database) -> None:
    recording, known = await put(
        database, [Run([100, 400_000, -300_000, 70_000, 70_000, 200_000, -50_000], 7, 1, False)]
    )
    (shelved,) = known.segments
    (start_id, last_id), *_ = shelved.chunks
    (chunk,) = await all_of(database, "depth_chunks", start_id=start_id)
    (segment,) = await all_of(database, "segments", _id=shelved.id)
    left = [one for one in shelved.events if one.final_id > last_id]
    assert left
    cut = {
        "snapshot_id": last_id,
        "first_id": left[0].first_id,
        "first_time": left[0].event_ms,
        "cut_events": chunk["event_count"],
        "cut_bytes": len(chunk["data"]),
    }
    await Shelf(database).change("segments", shelved.id, **cut)
    await database.collection("depth_chunks").delete_one({"_id": chunk["_id"]})
    found = await verify(database, recording.market)
    assert found.fault is None, found.fault
    assert await read(recording) == left
    for name, by in (("last_time", -10_000_000), ("back", -1_000_000)):
        await Shelf(database).change("segments", shelved.id, **{name: segment[name] + by})
        assert not (await verify(database, recording.market)).holds
        await Shelf(database).change("segments", shelved.id, **{name: segment[name]})
