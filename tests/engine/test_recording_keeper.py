"""The keeper measures, forecasts, and applies the retention, while recording goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from pymongo.errors import AutoReconnect

from orderbook_desktop.core.disk import GB, FolderSize, Retention
from orderbook_desktop.engine.recording_keeper import RecordingKeeper
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.disk_usage import RecordingSizes
from tests.storage.archived_fixtures import store_segment
from tests.storage.recording_fixtures import Tape, all_of


class KeeperScene:
    """A keeper with a recorder and a clock of the test."""

    def __init__(
        self,
        database: Database,
        retention: Retention | None = None,
        look_every_s: float = 5.0,
    ) -> None:
        self.now_s = 1_000.0
        self.recorded = (0, 0)
        self.recorded_trades = 0
        self.recording = True
        self.folder: FolderSize | None = FolderSize(12_345, 2_345)
        self.keeper = RecordingKeeper(
            database,
            retention or Retention(),
            recorded=lambda: self.recorded,
            recorded_trades=lambda: self.recorded_trades,
            is_recording=lambda: self.recording,
            files=lambda: self.folder,
            now=lambda: self.now_s,
            look_every_s=look_every_s,
        )

    async def after(self, seconds: float) -> None:
        self.now_s += seconds
        await self.keeper.look()


@pytest.fixture
async def keep(database: Database) -> Callable[..., KeeperScene]:
    await database.prepare()

    def make(retention: Retention | None = None) -> KeeperScene:
        return KeeperScene(database, retention)

    return make


Keep = Callable[..., KeeperScene]


async def test_the_forecast_is_of_what_lasts(keep: Keep) -> None:
    scene = keep()
    for _ in range(14):
        await scene.after(5)
        payload, events = scene.recorded
        scene.recorded = payload + 50_000, events + 40
    assert scene.keeper.folder == FolderSize(12_345, 2_345)
    assert scene.keeper.size is not None
    # 10 kB a second, of which 9 % stay.
    assert scene.keeper.bytes_per_day == 10_000 * 86_400 * 9 // 100
    scene.recording = False
    await scene.after(5)
    assert scene.keeper.bytes_per_day is None


async def test_the_forecast_has_the_trades(keep: Keep) -> None:
    scene = keep()
    for _ in range(14):
        await scene.after(5)
        payload, events = scene.recorded
        scene.recorded = payload + 50_000, events + 40
        scene.recorded_trades += 100
    # 20 trades a second take 9 bytes each, until it is known better.
    assert scene.keeper.bytes_per_day == (10_000 * 9 // 100 + 20 * 9) * 86_400


async def test_a_forecast_needs_a_minute(keep: Keep) -> None:
    scene = keep()
    # The first events come in a burst.
    for passed_s in range(0, 70, 5):
        scene.recorded = 500_000 + passed_s * 1_000, 400 + passed_s
        await scene.after(5)
        assert (scene.keeper.bytes_per_day is None) == (passed_s < 60)


async def test_the_forecast_follows_the_last_minutes(keep: Keep) -> None:
    scene = keep()
    for second in range(0, 1_000, 5):
        # The pace was ten times as high before.
        grown = 50_000 if second < 500 else 5_000
        scene.recorded = scene.recorded[0] + grown, scene.recorded[1] + 4
        await scene.after(5)
    assert scene.keeper.bytes_per_day == 1_000 * 86_400 * 9 // 100


async def test_what_is_not_kept_goes_while_it_is_recorded(keep: Keep, database: Database) -> None:
    tape = Tape()
    await store_segment(database, tape, "old", minutes=2)
    tape.now_ms += 86_400_000 * 9
    await store_segment(database, tape, "new", minutes=2, running=True)
    scene = keep(Retention(days=5))
    scene.recording = False
    await scene.after(60)
    assert len(await all_of(database, "segments")) == 2
    scene.recording = True
    await scene.after(60)
    assert [one["_id"] for one in await all_of(database, "segments")] == ["new"]


async def test_a_choice_takes_effect_after_a_moment_to_think(
    keep: Keep, database: Database
) -> None:
    tape = Tape()
    await store_segment(database, tape, "old", minutes=2)
    await store_segment(database, tape, "new", minutes=2, running=True)
    scene = keep()
    await scene.after(60)
    scene.keeper.retention = Retention(gigabytes=1 / GB)
    await scene.after(29)
    assert len(await all_of(database, "segments")) == 2
    await scene.after(1)
    assert [one["_id"] for one in await all_of(database, "segments")] == ["new"]
    assert "more than the" in scene.keeper.problem
    scene.keeper.retention = Retention()
    await scene.after(31)
    assert scene.keeper.problem == ""


@pytest.mark.expects_log(r"ERROR .*recording_keeper: the recordings can't be measured now")
@pytest.mark.expects_log(r"WARNING .*recording_keeper: .* measured now \(AutoReconnect\)")
async def test_it_waits_for_the_database_and_outlives_its_faults(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = KeeperScene(database, look_every_s=0.01)
    failed = 0
    look = scene.keeper.look

    async def fail() -> None:
        nonlocal failed
        failed += 1
        if failed < 3:
            raise AutoReconnect("away")
        if failed < 5:
            raise KeyError("snapshot_id")
        await look()

    monkeypatch.setattr(scene.keeper, "look", fail)
    running = asyncio.create_task(scene.keeper.run())
    async with asyncio.timeout(60):
        while scene.keeper.size is None:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_takes_long_to_count_is_counted_seldom(
    keep: Keep, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape()
    await store_segment(database, tape, "old", minutes=2)
    tape.now_ms += 86_400_000 * 9
    await store_segment(database, tape, "new", minutes=2, running=True)
    scene, counted = keep(Retention(days=5)), list[float]()

    async def count_rest(_: RecordingSizes) -> None:
        counted.append(scene.now_s)
        scene.now_s += 10

    monkeypatch.setattr(RecordingSizes, "count_rest", count_rest)
    # A removal makes the keeper count again, but within the limit of its time.
    for _ in range(110):
        await scene.after(10)
    assert len(await all_of(database, "segments")) == 1
    assert len(counted) == 2
    assert counted[1] - counted[0] >= 1_000


async def test_the_limit_counts_what_the_database_needs_to_work(
    keep: Keep, database: Database
) -> None:
    """The room to work counts for the limit, but never takes more than half of it."""
    tape = Tape()
    stored = await store_segment(database, tape, "one", minutes=20, running=True)
    scene = keep()
    await scene.after(60)
    assert scene.keeper.size is not None
    whole = scene.keeper.size.lasting_bytes
    # The recordings alone would fit; with the room to work, they don't.
    scene.folder = FolderSize(whole // 4 + 900, 900)
    scene.keeper.retention = Retention(gigabytes=whole / GB)
    await scene.after(60)
    await scene.after(1)
    left = len(await all_of(database, "depth_chunks"))
    assert 0 < left < len(stored.chunks)
    assert scene.keeper.size.lasting_bytes <= whole - whole // 4
    assert scene.keeper.problem == ""
    # A very large room to work, and many looks, don't remove all recordings.
    scene.folder = FolderSize(10 * whole, 0)
    for _ in range(3):
        await scene.after(60)
    await scene.after(1)
    few = len(await all_of(database, "depth_chunks"))
    assert 0 < few < left
    assert scene.keeper.size.lasting_bytes >= whole // 2 - 2 * max(stored.chunk_bytes)
    assert "is the room that it needs to work" in scene.keeper.problem


async def test_files_that_do_not_shrink_cost_nothing_more(keep: Keep, database: Database) -> None:
    """A removal leaves room in the archive's file, so nothing more has to be removed."""
    tape = Tape()
    await store_segment(database, tape, "one", minutes=20, running=True)
    scene = keep()
    await scene.after(60)
    assert scene.keeper.size is not None
    half = scene.keeper.size.lasting_bytes // 2
    scene.folder = FolderSize(2 * half + 1_000, 2 * half + 1_000)
    scene.keeper.retention = Retention(gigabytes=half / GB)
    await scene.after(60)
    left = len(await all_of(database, "depth_chunks"))
    for _ in range(4):
        await scene.after(60)
        assert len(await all_of(database, "depth_chunks")) == left > 0
    assert scene.folder.reusable_bytes(scene.keeper.size) > half // 2
