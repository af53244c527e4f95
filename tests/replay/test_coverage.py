"""A recording's coverage is what its events say: covers, gaps, and a minute without an event."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.replay import Quiet
from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.units import Scale
from orderbook_desktop.replay.coverage import CoverageReader, read_coverage
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from tests.storage.made_trades import sent
from tests.storage.packed_fixtures import opened, packed
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf, Shelved
from tests.storage.trade_shelf import claim

MARKET = "BTCUSDT"
_SEGMENT = Segment(MARKET, 0, 1, 5, 1_700_000_000_000, 1_700_000_001_000, 5, Scale(), GapCause.USER)


class _PausingTape(Tape):
    """A market with pauses of all lengths between its events, up to `longest_ms`."""

    def __init__(self, seed: int) -> None:
        super().__init__(MARKET, seed)
        self.longest_ms = 400_000
        self._chance = random.Random(seed)

    def diff(self, changes: int = 2) -> DepthDiff:
        chosen = self._chance.choice((100, 1_000, 59_999, 60_000, None))
        self.step_ms = chosen or self._chance.randint(1, self.longest_ms)
        return super().diff(changes)


def _true_quiet(events: Iterable[DepthDiff]) -> list[Quiet]:
    times = [event.event_ms for event in events]
    return [Quiet(begin, end) for begin, end in pairwise(times) if end - begin >= 60_000]


def _archived(shelved: Shelved) -> list[DepthDiff]:
    return shelved.events[: shelved.archived]


async def test_quiet_is_a_minute_without_an_event(database: Database, tmp_path: Path) -> None:
    tape, shelf = _PausingTape(3), Shelf(database)
    whole = await shelf.put(tape, 60, GapCause.DISCONNECT)
    await shelf.archive(whole)
    tape.diffs(3)
    tape.longest_ms = 20_000_000
    calm = await shelf.put(tape, 60, GapCause.SILENCE)
    await shelf.archive(calm, minutes=10)
    tape.diffs(3)
    partly = await shelf.put(tape, 60, GapCause.CRASH)
    await shelf.archive(partly, 25, minutes=10)
    raw = await shelf.put(tape, 9)
    store = DatabaseStore(database)

    coverage = await read_coverage(store, MARKET)
    assert coverage.timeline == await Recording(store, MARKET).timeline()
    assert len(coverage.timeline.gaps) == 2
    assert not coverage.is_growing
    # Of events that are not archived yet it is not known.
    known = [_true_quiet(_archived(one)) for one in (whole, calm, partly)]
    assert list(coverage.quiet) == [quiet for some in known for quiet in some]
    assert all(known)

    await packed(database, tmp_path / "all.obd")
    with opened(tmp_path / "all.obd") as file:
        coverage = await read_coverage(file, MARKET)
    known = [_true_quiet(one.events) for one in (whole, calm, partly, raw)]
    # The last segment continues the one before it.
    between = _true_quiet([partly.events[-1], raw.events[0]])
    assert list(coverage.quiet) == [*known[0], *known[1], *known[2], *between, *known[3]]


async def test_what_is_read_again_is_as_what_is_read_at_once(database: Database) -> None:
    tape, shelf = _PausingTape(8), Shelf(database)
    growing = await shelf.put(tape, 90, None)
    store = DatabaseStore(database)
    reader = CoverageReader(store, MARKET)
    assert (await reader.read()).quiet == ()
    for minutes in (1, 10, 1):
        await shelf.archive(growing, 30, minutes=minutes)
        before = (await reader.read_covers()).quiet
        now = await reader.read()
        assert now == await read_coverage(store, MARKET)
        assert list(now.quiet) == _true_quiet(_archived(growing))
        assert now.quiet[: len(before)] == before != now.quiet
        assert now.is_growing


async def test_a_segment_that_came_since_is_read(database: Database) -> None:
    tape, shelf = _PausingTape(5), Shelf(database)
    parts = [await shelf.put(tape, 20) for _ in range(3)]
    for part in parts:
        await shelf.archive(part, minutes=10)
    segments, key = database.collection("segments"), {"_id": parts[1].id}
    removed = await segments.find_one(key)
    assert removed is not None
    await segments.delete_one(key)
    reader = CoverageReader(DatabaseStore(database), MARKET)
    outer = [*_true_quiet(parts[0].events), *_true_quiet(parts[2].events)]
    assert list((await reader.read()).quiet) == outer
    await segments.insert_one(removed)
    everything = [event for part in parts for event in part.events]
    assert list((await reader.read()).quiet) == _true_quiet(everything)


async def test_nothing_of_a_damaged_chunk_is_quiet(database: Database) -> None:
    tape, shelf = Tape(MARKET, step_ms=70_000), Shelf(database)
    stored = await shelf.put(tape, 20)
    await shelf.archive(stored, minutes=10)
    chunks = database.collection("depth_chunks")
    begin_id, end_id = stored.chunks[1]
    await chunks.update_one({"_id": f"{stored.id}:{begin_id}"}, {"$set": {"data": b"damaged"}})
    coverage = await read_coverage(DatabaseStore(database), MARKET)
    inside = [event for event in stored.events if begin_id < event.final_id <= end_id]
    expected = set(_true_quiet(stored.events)) - set(_true_quiet(inside))
    assert list(coverage.quiet) == sorted(expected, key=lambda quiet: quiet.from_ms)


async def test_gaps_of_trades_and_a_recorder_that_has_ended(database: Database) -> None:
    tape, shelf = Tape(MARKET), Shelf(database)
    running = await shelf.put(tape, 5, None)
    trades = sent(range(100, 120))
    await claim(database, trades[:5], GapCause.DISCONNECT)
    await claim(database, trades[9:])
    reader = CoverageReader(DatabaseStore(database), MARKET)
    coverage = await reader.read()
    assert [(gap.after_id, gap.before_id) for gap in coverage.trade_gaps] == [(104, 109)]
    assert coverage.is_growing
    owner = (await database.collection("segments").find_one({"_id": running.id}) or {})["owner"]
    # No process has this id.
    ended = owner | {"token": "another", "pid": 2**31 - 1}
    await shelf.change("segments", running.id, owner=ended)
    assert not (await reader.read()).is_growing
    elsewhere = ended | {"host": "another machine"}
    await shelf.change("segments", running.id, owner=elsewhere)
    assert (await reader.read()).is_growing


async def test_nothing_is_covered_where_nothing_is_recorded(database: Database) -> None:
    await database.prepare()
    coverage = await read_coverage(DatabaseStore(database), MARKET)
    assert (coverage.timeline.covers, coverage.quiet, coverage.trade_gaps) == ((), (), ())
    assert not coverage.is_growing


class _Watched(list[StoredSegment]):
    """Segments that know which threads have looked through them."""

    def __init__(self, segments: Iterable[StoredSegment]) -> None:
        super().__init__(segments)
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[StoredSegment]:
        self.threads.add(threading.get_ident())
        return super().__iter__()


async def test_thousands_of_segments_are_looked_through_in_threads(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.prepare()
    store = DatabaseStore(database)
    segments = _Watched(
        StoredSegment(
            f"{start_id}",
            replace(_SEGMENT, snapshot_id=start_id, last_id=start_id + 5),
            archived_id=start_id + 5,
            archived_events=5,
            archived_bytes=1,
            origin="recorder",
        )
        for start_id in range(0, 30_000, 10)
    )

    async def stored(market: str) -> list[StoredSegment]:
        return segments

    monkeypatch.setattr(store, "segments", stored)
    coverage = await read_coverage(store, MARKET)
    assert len(coverage.timeline.gaps) == 2_999
    assert segments.threads
    assert threading.get_ident() not in segments.threads
