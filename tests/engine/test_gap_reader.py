"""The gaps of recordings, read in the background for those who look at them."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect

from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.recording_status import RecordingCounts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.engine.gap_reader import GapReader, pause_after
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from tests.storage.made_trades import sent
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf, resealed
from tests.storage.trade_shelf import claim

_CAUSES = [GapCause.USER, GapCause.CRASH, GapCause.DISCONNECT, GapCause.TOO_WIDE]


class Scene:
    """A reader with the counts and the clock of the test; it counts the reads."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        self.counts = RecordingCounts()
        self.reads: list[str] = []
        self.reader = GapReader(database, lambda _market: self.counts, lambda: self.now_s)
        segments = Recording.segments

        async def noted(recording: Recording) -> object:
            self.reads.append(recording.market)
            return await segments(recording)

        monkeypatch.setattr(Recording, "segments", noted)

    async def after(self, seconds: float, *wanted: str) -> None:
        """Let time pass in which `wanted` markets are looked at."""
        for _ in range(round(seconds * 4)):
            self.now_s += 0.25
            for market in wanted:
                self.reader.gaps_of(market)
            await self.reader.look()

    def known(self, market: str = "BTCUSDT") -> RecordedGaps:
        found = self.reader.gaps_of(market)
        assert found is not None
        return found


@pytest.fixture
def scene(database: Database, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(database, monkeypatch)


async def _recorded(database: Database, tape: Tape, causes: list[GapCause]) -> None:
    """Store a segment that ends for each cause, and a last one; events are missing in between."""
    shelf = Shelf(database)
    for cause in [*causes, None]:
        await shelf.put(tape, 5, cause)
        tape.diffs(3)


async def test_gaps_of_all_causes_are_read_for_those_who_look(
    database: Database, scene: Scene
) -> None:
    await _recorded(database, Tape(), _CAUSES)
    assert scene.reader.gaps_of("BTCUSDT") is None
    await scene.after(0.25)
    assert [gap.cause for gap in scene.known().gaps] == _CAUSES[::-1]
    assert all(gap.from_ms < gap.to_ms for gap in scene.known().gaps)
    assert scene.known().in_session == 0


async def test_the_session_begins_with_its_first_book(database: Database, scene: Scene) -> None:
    tape = Tape()
    await _recorded(database, tape, _CAUSES)
    segments = await Recording(database, "BTCUSDT").segments()
    scene.counts = RecordingCounts(first_id=segments[2].segment.snapshot_id)
    await scene.after(1, "BTCUSDT")
    assert scene.known().in_session == 2


async def test_a_market_that_is_not_looked_at_is_not_read(database: Database, scene: Scene) -> None:
    await database.prepare()
    await scene.after(30)
    assert scene.reads == []
    await scene.after(30, "BTCUSDT")
    assert 2 <= len(scene.reads) <= 30
    seen = len(scene.reads)
    await scene.after(60)
    assert len(scene.reads) <= seen + 2


async def test_news_are_read_soon_and_for_as_long_as_they_are_being_stored(
    database: Database, scene: Scene
) -> None:
    tape = Tape()
    await _recorded(database, tape, [GapCause.USER])
    await scene.after(60, "BTCUSDT")
    before, seen = scene.known(), len(scene.reads)
    # Nothing has changed: it is the same object, so that no window compares thousands of gaps.
    await scene.after(60, "BTCUSDT")
    assert scene.known() is before
    assert len(scene.reads) <= seen + 7
    scene.counts = RecordingCounts(books=1)
    await scene.after(6, "BTCUSDT")
    await _recorded(database, tape, [GapCause.SILENCE])
    await scene.after(2, "BTCUSDT")
    assert scene.known().gaps[0].cause is GapCause.SILENCE
    assert len(scene.known().gaps) == 3


def test_a_long_recording_is_read_seldom_but_one_slow_look_delays_nothing() -> None:
    assert pause_after(2.0, 3.0) == pause_after(3.0, 2.0) == 40
    assert pause_after(0.01, 3.0) == pause_after(3.0, 0.01) == pause_after(0.0, 0.0) < 1


async def test_of_several_markets_the_one_that_waits_longest_is_next(
    database: Database, scene: Scene
) -> None:
    await database.prepare()
    await scene.after(1, "A", "B", "C")
    assert sorted(scene.reads[:3]) == ["A", "B", "C"]


@pytest.mark.expects_log(r"WARNING .*gap_reader: BTCUSDT: the gaps can't be read")
async def test_a_damaged_recording_keeps_what_was_read_and_is_told_once(
    database: Database, scene: Scene
) -> None:
    await _recorded(database, Tape(), _CAUSES)
    await scene.after(1, "BTCUSDT")
    before = scene.known()
    segments = database.collection("segments")
    await segments.update_one({"end_cause": "crash"}, {"$set": {"last_id": "x"}})
    await scene.after(60, "BTCUSDT")
    assert scene.known() is before


async def test_an_outage_of_the_database_keeps_what_was_read(
    database: Database, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _recorded(database, Tape(), _CAUSES)
    await scene.after(1, "BTCUSDT")
    before = scene.known()

    async def fail(_recording: Recording) -> None:
        raise AutoReconnect("away")

    with monkeypatch.context() as patched:
        patched.setattr(Recording, "timeline", fail)
        await scene.after(30, "BTCUSDT")
        assert scene.known() is before
    await database.collection("segments").delete_many({})
    await scene.after(12, "BTCUSDT")
    assert scene.known().gaps == ()


async def test_thousands_of_gaps(database: Database, scene: Scene) -> None:
    await _recorded(database, Tape(), [GapCause.CRASH])
    segments = database.collection("segments")
    first = await segments.find_one({"end_cause": "crash"})
    assert first is not None
    made = [
        resealed(
            {
                **first,
                "_id": f"{number:08}",
                "snapshot_id": 10**9 + number * 10,
                "first_id": 10**9 + number * 10 + 1,
                "last_id": 10**9 + number * 10 + 5,
                "first_time": first["last_time"] + number * 1_000,
                "last_time": first["last_time"] + number * 1_000 + 500,
            }
        )
        for number in range(1, 3_001)
    ]
    for start in range(0, len(made), 500):
        await segments.insert_many(made[start : start + 500])
    await scene.after(1, "BTCUSDT")
    assert len(scene.known().gaps) == 3_001


async def test_gaps_of_trades_are_read_beside_those_of_the_book(
    scene: Scene, database: Database
) -> None:
    await _recorded(database, Tape(), [GapCause.USER])
    for first_id in (10, 20):
        trades = sent(range(first_id, first_id + 5))
        await claim(database, trades, GapCause.DISCONNECT)
    await scene.after(1, "BTCUSDT")
    known = scene.known()
    assert len(known.gaps) == 1
    assert [(gap.after_id, gap.before_id, gap.cause) for gap in known.trades] == [
        (14, 20, GapCause.DISCONNECT)
    ]
    # The session begins with the second book, which is before the trades.
    _, second = await Recording(database, "BTCUSDT").segments()
    scene.counts.first_id = second.segment.snapshot_id
    await scene.after(15, "BTCUSDT")
    assert scene.known().session_ms == second.segment.first_event_ms
