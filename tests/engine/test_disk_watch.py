"""Recording pauses before the disk is full, and goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.disk import DiskLevel
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.engine.disk_watch import DiskWatch
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketLease, MarketSession
from tests.unhurried import ENGINE_TIMES

_GB = 10**9


class Disk:
    """A disk whose free space the test sets."""

    def __init__(self, free_bytes: int | None = 50 * _GB) -> None:
        self.free_bytes = free_bytes

    def free(self) -> int | None:
        return self.free_bytes


@pytest.mark.expects_log(r"WARNING .*disk_watch: the disk's state is low, 1.9 GB are free")
@pytest.mark.expects_log(r"WARNING .*disk_watch: the disk's state is full, 499.0 MB are free")
@pytest.mark.allows_log(r"WARNING .*disk_watch")
def test_says_what_to_do_without_numbers_that_change() -> None:
    calls: list[str] = []
    watch = DiskWatch(2 * _GB, lambda: None, calls.append, lambda: calls.append("on"))
    assert (watch.level, watch.problem) == (DiskLevel.GOOD, "")
    watch.look(1_900_000_000)
    low = watch.problem
    assert low.startswith("Less than 2.0 GB is free on the disk of the recordings; below 500.0 MB")
    watch.look(1_800_000_000)
    assert (watch.problem, calls) == (low, [])
    watch.look(499_000_000)
    assert watch.problem.startswith("Recording is paused, because less than 500.0 MB is free")
    assert "goes on by itself when 1.0 GB is" in watch.problem
    watch.look(999_000_000)
    assert (calls, watch.pauses) == (["499.0 MB were free."], 1)
    watch.look(1_000_000_000)
    watch.look(3_000_000_000)
    assert calls == ["499.0 MB were free.", "on"]
    assert watch.problem == ""


@asynccontextmanager
async def recording(
    settings: Settings, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Engine, MarketLease]]:
    monkeypatch.setattr("orderbook_desktop.engine.engine.free_bytes", lambda _folder: disk.free())
    times = replace(ENGINE_TIMES, disk_look_s=0.02)
    engine = Engine(settings, times=times)
    await engine.start()
    try:
        with engine.open_market("BTC/USDT", viewed=True) as lease:
            lease.session.set_recording(wanted=True)
            lease.session.start()
            yield engine, lease
    finally:
        await engine.close(10)


async def until_recorded(session: MarketSession, number: int) -> None:
    wanted = session.sink.counts.events + number
    async with asyncio.timeout(60):
        while session.sink.counts.events < wanted:
            await asyncio.sleep(0.01)


async def until_level(engine: Engine, level: DiskLevel) -> None:
    async with asyncio.timeout(60):
        while engine.disk.level is not level:
            await asyncio.sleep(0.01)


@pytest.mark.expects_log(r"WARNING .*disk_watch: the disk's state is full")
@pytest.mark.expects_log(r"WARNING .*market_sink: BTCUSDT: gap in the recording: the disk was")
# The view may follow the recording before the new segment is stored, and find the pause.
@pytest.mark.allows_log(r"WARNING .*(disk_watch|book_feed: .* are missing)")
async def test_recording_pauses_with_its_cause_and_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    async with recording(settings, disk, monkeypatch) as (engine, lease):
        session = lease.session
        await until_recorded(session, 5)
        disk.free_bytes = 100_000_000
        await until_level(engine, DiskLevel.FULL)
        assert session.recording
        assert session.recording_status.wanted
        assert session.recording_status.problem.startswith("Recording is paused")
        # The view goes on from the exchange.
        async with asyncio.timeout(60):
            while lease.look().status.source is not SourceKind.DIRECT:
                await asyncio.sleep(0.01)
        before = lease.look().book.last_update_id
        async with asyncio.timeout(60):
            while lease.look().book.last_update_id == before:
                await asyncio.sleep(0.01)
        assert lease.look().status.state is FeedState.SYNCED
        disk.free_bytes = 50 * _GB
        await until_level(engine, DiskLevel.GOOD)
        assert session.recording_status.problem == ""
        await until_recorded(session, 5)
        segments = engine.database.collection("segments")
        async with asyncio.timeout(60):
            while await segments.count_documents({}) < 2:
                await asyncio.sleep(0.02)
        ended = await segments.find({"end_cause": GapCause.DISK.value}).to_list(None)
        assert [one["end_detail"] for one in ended] == ["100.0 MB were free."]
        assert session.sink.counts.last_gap == GapCause.DISK.sentence
        assert engine.disk_watch.pauses == 1


@pytest.mark.allows_log(r"WARNING .*(disk_watch|market_sink)")
async def test_what_begins_on_a_full_disk_waits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(free_bytes=1)
    async with recording(settings, disk, monkeypatch) as (engine, lease):
        session = lease.session
        await until_level(engine, DiskLevel.FULL)
        behind = engine.open_market("ETH/USDT", viewed=False)
        other = behind.session
        other.set_recording(wanted=True)
        other.start()
        async with asyncio.timeout(60):
            while other.live.status.state is not FeedState.SYNCED:
                await asyncio.sleep(0.01)
        assert other.sink.counts.events == 0
        # A switch that changes during the pause counts after it.
        session.set_recording(wanted=False)
        disk.free_bytes = 50 * _GB
        await until_level(engine, DiskLevel.GOOD)
        await until_recorded(other, 3)
        assert not session.recording
        assert session.sink.counts.events == 0
        behind.close()


async def test_a_remote_database_s_disk_is_not_ours(settings: Settings) -> None:
    engine = Engine(
        settings.model_copy(update={"mongo_dsn": "mongodb://127.0.0.1:1/"}), times=ENGINE_TIMES
    )
    engine.disk_watch.look(engine.disk_watch._free())
    assert (engine.disk.free_bytes, engine.disk.level) == (None, DiskLevel.GOOD)
    await engine.close()
