"""Heatmaps of recordings are read in the background, for views that can't wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.pages import (
    FactsPart,
    FlowPart,
    HeatmapPart,
    HeatmapWish,
    RecordedMarket,
    TradedPart,
)
from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.desk.heatmap_pages import RecordedHeatmaps
from orderbook_desktop.desk.recorded_replays import NotRecordedThen
from orderbook_desktop.storage.reading.heatmaps import read_bins
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import DatabaseStore
from orderbook_desktop.storage.store.packed_store import open_packed
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.levels import BlockKey
from orderbook_desktop.system.tasks import Jobs
from tests.core.heatmap.test_builder import same
from tests.replay.recorded import Recorded, record
from tests.storage.packed_fixtures import packed
from tests.storage.processes import eventually
from tests.storage.shelf import Shelf
from tests.storage.tiles.test_tiles import build_all, long_recording, wish_for

_MARKET = "BTCUSDT"


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    running = Jobs()
    yield running
    await running.close()


def _pages(store: RecordingStore, jobs: Jobs) -> RecordedHeatmaps:
    async def stored() -> RecordingStore:
        return store

    return RecordedHeatmaps(stored, jobs.start)


def _wish(recorded: Recorded) -> HeatmapWish:
    first, last = recorded.runs[0].events[0], recorded.runs[-1].events[-1]
    bins = TimeBins(first.event_ms // 1_000 * 1_000, last.event_ms // 1_000 * 1_000 + 1_000, 1_000)
    return HeatmapWish(_MARKET, bins, PriceSteps.of("1", 1, 2_000), Statistic.MAX)


async def _answer(pages: RecordedHeatmaps, wish: HeatmapWish) -> HeatmapPart:
    parts: list[HeatmapPart] = []
    pages.cells(wish, parts.append)
    await eventually(lambda: parts and parts[-1].is_complete)
    return parts[-1]


async def _recorded(pages: RecordedHeatmaps) -> RecordedMarket:
    found: list[RecordedMarket] = []
    pages.recorded(_MARKET, found.append)
    await eventually(lambda: bool(found))
    return found[0]


async def test_the_cells_of_database_and_file_are_those_of_the_recording(
    database: Database, tmp_path: Path, jobs: Jobs
) -> None:
    wish = _wish(await record(database, [40, 30]))
    builder = HeatmapBuilder(wish.bins, wish.steps, [wish.statistic])
    await read_bins(Recording(database, _MARKET), wish.bins, builder)
    expected = builder.heatmap(_MARKET, wish.statistic)
    path = tmp_path / "day.obd"
    await packed(database, path)
    async with open_packed(path) as file:
        for store in (DatabaseStore(database), file):
            found = (await _answer(_pages(store, jobs), wish)).heatmap
            assert found is not None
            assert (found.values == expected.values).all()
            assert (found.covered_ms == expected.covered_ms).all()
            assert found.covered_ms.any()


async def test_what_is_recorded_grows(database: Database, jobs: Jobs) -> None:
    pages = _pages(DatabaseStore(database), jobs)
    assert (await _recorded(pages)).grid is None
    await record(database, [40])
    found = await _recorded(pages)
    assert found.grid is not None
    assert len(found.coverage.timeline.covers) == 1


async def test_what_was_traded_is_read(database: Database, jobs: Jobs) -> None:
    wish = _wish(await record(database, [40]))
    parts: list[TradedPart] = []
    _pages(DatabaseStore(database), jobs).traded(wish, parts.append)
    await eventually(lambda: bool(parts))
    assert parts[-1].cells is not None


async def test_what_was_cancelled_is_not_answered(database: Database, jobs: Jobs) -> None:
    wish = _wish(await record(database, [40]))
    pages = _pages(DatabaseStore(database), jobs)
    answers: list[object] = []
    for request in (pages.cells(wish, answers.append), pages.recorded(_MARKET, answers.append)):
        await asyncio.sleep(0)
        request.cancel()
    # The next answer comes all the same, and later.
    await _answer(pages, wish)
    assert answers == []


async def test_why_it_can_not_be_read_is_a_sentence(database: Database, jobs: Jobs) -> None:
    wish = replace(_wish(await record(database, [40])), steps=PriceSteps.of("0.01", 1, 10**7))
    pages = _pages(DatabaseStore(database), jobs)
    assert "ask for a shorter time" in (await _answer(pages, wish)).problem


async def test_a_store_that_is_not_there_is_a_sentence(jobs: Jobs) -> None:
    async def away() -> RecordingStore:
        raise NotRecordedThen("BTC/USDT", "noon", "its recording begins at one")

    pages = RecordedHeatmaps(away, jobs.start)
    assert (await _recorded(pages)).problem.startswith("Nothing of BTC/USDT")
    traded: list[TradedPart] = []
    wish = HeatmapWish(_MARKET, TimeBins(0, 9, 1), PriceSteps.of("1", 1, 2), Statistic.MAX)
    pages.traded(wish, traded.append)
    await eventually(lambda: bool(traded))
    assert traded[0].problem.startswith("Nothing of BTC/USDT")


async def test_what_flowed_is_read(database: Database, jobs: Jobs) -> None:
    wish = _wish(await record(database, [40]))
    found: list[FlowPart] = []
    _pages(DatabaseStore(database), jobs).flows(wish, found.append)
    await eventually(lambda: bool(found))
    (part,) = found
    assert part.flows is not None
    # No trades are recorded.
    assert part.flows.covered_ms == 0

    async def away() -> RecordingStore:
        raise NotRecordedThen("BTC/USDT", "noon", "its recording begins at one")

    RecordedHeatmaps(away, jobs.start).flows(wish, found.append)
    await eventually(lambda: len(found) == 2)
    assert found[1].problem.startswith("Nothing of BTC/USDT")


async def test_a_cell_is_read(database: Database, jobs: Jobs) -> None:
    wish = _wish(await record(database, [40]))
    begin = wish.bins.from_ms + 1_000
    one = replace(
        wish, bins=TimeBins(begin, begin + 1_000, 1_000), steps=PriceSteps(1, 0, (600, 1))
    )
    found: list[FactsPart] = []
    _pages(DatabaseStore(database), jobs).facts(one, found.append)
    await eventually(lambda: bool(found) and found[-1].is_over)
    facts = found[-1].facts
    assert facts is not None
    assert facts.covered_ms == 1_000

    async def away() -> RecordingStore:
        raise NotRecordedThen("BTC/USDT", "noon", "its recording begins at one")

    RecordedHeatmaps(away, jobs.start).facts(one, found.append)
    await eventually(lambda: bool(found[-1].problem))
    assert found[-1].problem.startswith("Nothing of BTC/USDT")


class CountedTiles(TileCache):
    """Tiles that know how many of them were read."""

    read = 0

    def get(self, key: BlockKey, rows: tuple[int, int] | None = None) -> Section | None:
        self.read += 1
        return super().get(key, rows)


async def test_cells_come_by_tiles_and_the_grid_is_kept_with_them(
    database: Database, tmp_path: Path, jobs: Jobs
) -> None:
    await long_recording(Shelf(database), (60, 20))
    cache, store = CountedTiles(tmp_path, "here", 1 << 30), DatabaseStore(database)
    await build_all(database, cache)
    wish = await wish_for(database, 64_000, share=0.01)

    async def stored() -> RecordingStore:
        return store

    by_tiles = RecordedHeatmaps(stored, jobs.start, lambda: cache)
    built = cache.read
    found, expected = await _answer(by_tiles, wish), await _answer(_pages(store, jobs), wish)
    assert cache.read > built
    assert found.heatmap is not None
    assert expected.heatmap is not None
    assert same(found.heatmap, expected.heatmap)
    # The grid is the one that was fixed, also where the recording begins elsewhere now.
    cache.keep_only(_MARKET, ())
    cache.fix_grid(_MARKET, PriceGrid(1, 2))
    assert (await _recorded(by_tiles)).grid == PriceGrid(1, 2)
