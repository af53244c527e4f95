"""Events that were stored after the last segment are accounted for: as a gap, with its cause."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.storage.reading.recording import NotCovered, Recording
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.recorder.recorder import Recorder
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.storage.archive_fixtures import archiver_of
from tests.storage.recording_fixtures import (
    HandFeed,
    Tape,
    all_of,
    database,
    running,
    server,
    started,
    until_stored,
    until_written,
)

__all__ = ["database", "server"]

GAP = pytest.mark.expects_log("WARNING .*gap in the recording")


async def timeline_of(database: Database, market: str) -> Timeline:
    """The timeline, which is the same whoever tells it."""
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
    (segment,) = await all_of(database, "segments")
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
    """Nor those of which nobody knows yet whether the segment goes on with them."""
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
async def test_a_damaged_list_or_chunk_tells_no_time(database: Database) -> None:
    """It is for `verify` to say so; all else can be told."""
    tape, _ = await ended(database, GapCause.DISCONNECT)
    await archiver_of(database).catch_up()
    await database.collection("depth_chunks").update_many(
        {"segment": None}, {"$set": {"to_event_ms": "late"}}
    )
    assert (await Recording(database, tape.market).timeline()).gaps == ()
    assert not (await verify(database, tape.market)).holds
