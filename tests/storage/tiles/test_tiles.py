"""Tiles: what they give equals what is read without them, also of damaged or lost files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.reading.heatmaps import read_bins
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.tiles.cache import TileCache, TileKey
from orderbook_desktop.storage.tiles.proof import CheckedTiles, check_tiles
from orderbook_desktop.storage.tiles.reading import TileWork, read_by_tiles
from orderbook_desktop.storage.tiles.tile_file import DamagedTile, decode_tile, encode_tile
from tests.core.heatmap.test_builder import same
from tests.core.heatmap.test_cells import made_of, span_with
from tests.storage.archive_fixtures import archiver_of
from tests.storage.packed_fixtures import MARKET, record_all_kinds
from tests.storage.reading.test_joined_answers import recorded
from tests.storage.reading.test_recording import cut
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf

_STEP = PriceSteps.of("0.5")


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def by_tiles(
    database: Database, cache: TileCache, bins: TimeBins, statistic: Statistic
) -> Heatmap:
    recording = Recording(database, MARKET)
    builder = HeatmapBuilder(bins, _STEP, [statistic])
    work = TileWork(recording, store_of(database), bins, _STEP, statistic, cache)
    await read_by_tiles(work, builder, lambda _: None)
    return builder.heatmap(MARKET, statistic)


async def without(database: Database, bins: TimeBins, statistic: Statistic) -> Heatmap:
    builder = HeatmapBuilder(bins, _STEP, [statistic])
    await read_bins(Recording(database, MARKET), bins, builder)
    return builder.heatmap(MARKET, statistic)


async def whole_bins(database: Database, bin_ms: int) -> TimeBins:
    timeline = await Recording(database, MARKET).timeline()
    return TimeBins(
        timeline.from_ms // bin_ms * bin_ms, timeline.to_ms // bin_ms * bin_ms + bin_ms, bin_ms
    )


async def test_tiles_give_what_the_recording_gives(database: Database, tmp_path: Path) -> None:
    await record_all_kinds(database)
    cache = TileCache(tmp_path, "here", 1 << 30)
    whole = await whole_bins(database, 16_000)
    length = len(whole) // 3 * 16_000
    part = TimeBins(whole.from_ms + length, whole.to_ms - length, 16_000)
    for statistic in Statistic:
        expected = await without(database, whole, statistic)
        found = await by_tiles(database, cache, whole, statistic)
        assert same(found, expected)
        assert found.named.tolist() == expected.named.tolist()
        built = files_in(tmp_path)
        # The second time none is built, also of a part of the time.
        found = await by_tiles(database, cache, whole, statistic)
        assert same(found, expected)
        assert found.named.tolist() == expected.named.tolist()
        expected = await without(database, part, statistic)
        assert same(await by_tiles(database, cache, part, statistic), expected)
        assert files_in(tmp_path) == built
    assert len(built) > 20


async def test_a_rebuilt_tile_is_the_stored_one(database: Database, tmp_path: Path) -> None:
    shelf = Shelf(database)
    await shelf.archive(await shelf.put(Tape(step_ms=1_000), 200))
    cache, bins = TileCache(tmp_path, "here", 1 << 30), await whole_bins(database, 4_000)
    expected = await by_tiles(database, cache, bins, Statistic.MAX)
    stored = {path: path.read_bytes() for path in files_in(tmp_path)}
    first, second, third = list(stored)[:3]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-7])
    third.write_bytes(b"")
    assert same(await by_tiles(database, cache, bins, Statistic.MAX), expected)
    assert {path: path.read_bytes() for path in files_in(tmp_path)} == stored
    # Another program that keeps the same tiles writes the same.
    other = TileCache(tmp_path / "other", "here", 1 << 30)
    await by_tiles(database, other, bins, Statistic.MAX)
    copies = [path.read_bytes() for path in files_in(tmp_path / "other")]
    assert copies == list(stored.values())


async def test_a_joined_answer_is_in_the_tiles_after_it(database: Database, tmp_path: Path) -> None:
    await recorded(database, number=120)
    for _ in range(3):
        await archiver_of(database, now_ns=lambda: 1 << 62).catch_up()
    cache, bins = TileCache(tmp_path, "here", 1 << 30), await whole_bins(database, 4_000)
    for _ in range(2):
        found = await by_tiles(database, cache, bins, Statistic.MAX)
        assert same(found, await without(database, bins, Statistic.MAX))
    assert files_in(tmp_path)
    assert len(set(found.columns.known_to.tolist())) > 2


async def test_tiles_of_what_retention_removed_go(database: Database, tmp_path: Path) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=1_000), 420)
    await shelf.archive(shelved)
    cache, bins = TileCache(tmp_path, "here", 1 << 30), await whole_bins(database, 4_000)
    await by_tiles(database, cache, bins, Statistic.MAX)
    before = files_in(tmp_path)
    await cut(shelf, shelved, 3)
    found = await by_tiles(database, cache, bins, Statistic.MAX)
    assert same(found, await without(database, bins, Statistic.MAX))
    assert 0 < len(files_in(tmp_path)) < len(before)


async def test_where_times_go_back_there_are_no_tiles(database: Database, tmp_path: Path) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=1_000), 200)
    await shelf.archive(shelved)
    await shelf.change("segments", shelved.id, back=5)
    cache, bins = TileCache(tmp_path, "here", 1 << 30), await whole_bins(database, 4_000)
    found = await by_tiles(database, cache, bins, Statistic.MAX)
    assert same(found, await without(database, bins, Statistic.MAX))
    assert files_in(tmp_path) == []


async def test_a_sample_of_tiles_is_compared_with_the_recording(
    database: Database, tmp_path: Path
) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=1_000), 420)
    await shelf.archive(shelved)
    cache, bins = TileCache(tmp_path, "here", 1 << 30), await whole_bins(database, 4_000)
    store = store_of(database)
    assert await check_tiles(store, MARKET, cache) == CheckedTiles()
    for statistic in (Statistic.MAX, Statistic.LAST):
        await by_tiles(database, cache, bins, statistic)
    files = files_in(tmp_path)
    assert await check_tiles(store, MARKET, cache) == CheckedTiles(len(files), len(files))
    assert (await check_tiles(store, MARKET, cache, 3)).compared == 3
    # One that another chunk would have is intact, and wrong all the same.
    files[0].write_bytes(files[1].read_bytes())
    files[2].write_bytes(b"")
    (files[3].parent / "something.tile").write_text("else")
    found = await check_tiles(store, MARKET, cache)
    assert found == CheckedTiles(len(files), len(files), 2)
    assert not files[0].exists()
    await cut(shelf, shelved, 3)
    found = await check_tiles(store, MARKET, cache)
    assert found.wrong == 0
    assert found.compared < found.kept


def _key(minute: int, bin_ms: int = 4_000, market: str = MARKET) -> TileKey:
    return TileKey(market, Statistic.MAX, bin_ms, 5, 0, minute, minute * 60_000, b"%16d" % minute)


def _tile() -> Heatmap:
    return made_of([span_with([(100, 7, True)])], TimeBins(0, 100, 10), 5)


def test_what_is_fine_and_old_goes_first(tmp_path: Path) -> None:
    size = len(encode_tile(_tile()))
    cache = TileCache(tmp_path, "here", 20 * size)
    days = [1_440 * day for day in range(5)]
    for minute in days:
        for bin_ms in (4_000, 256_000, 64_000):
            cache.put(_key(minute, bin_ms), _tile())
    assert cache.trim() == 0
    other = TileCache(tmp_path, "there", 20 * size)
    for minute in range(9):
        other.put(_key(days[-1] + minute), _tile())
    assert other.trim() == 6
    kept = {
        (days.index(minute), bin_ms)
        for minute in days
        for bin_ms in (4_000, 64_000, 256_000)
        if cache.get(_key(minute, bin_ms)) is not None
    }
    fine = {(day, bin_ms) for day in (3, 4) for bin_ms in (4_000, 64_000)}
    assert kept == {(day, 256_000) for day in range(5)} | fine


def test_a_tile_that_is_no_use_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, tile = _key(7, market="币安/USDT"), _tile()
    assert not TileCache(tmp_path, "here", 0).has_room
    TileCache(tmp_path, "here", 5).put(key, tile)
    assert files_in(tmp_path) == []
    # Where a file is in the way nothing can be written.
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = TileCache(blocked, "here", 1 << 30)
    cache.put(key, tile)
    assert cache.get(key) is None
    assert cache.trim() == cache.forget_before("币安/USDT", 9) == 0
    cache = TileCache(tmp_path, "here", 1 << 30)
    cache.put(key, tile)
    left = next(path for path in files_in(tmp_path) if path.suffix == ".tile")
    left.with_name(f"{left.name}.1.part").write_bytes(b"left by a crash")
    assert cache.get(key) is not None
    assert cache.forget_before("币安/USDT", 7) == 0
    assert cache.forget_before("币安/USDT", 8) == 2
    assert cache.get(key) is None


@pytest.mark.parametrize("statistic", list(Statistic))
def test_a_tile_is_read_as_it_was_written(statistic: Statistic) -> None:
    spans = [
        span_with([(100, 7, False), (102, 9, True)], [(30, [(104, 3, True)])], horizon=Horizon(99)),
        span_with([(100 + n, INT64_MAX, True) for n in range(9)]),
        span_with([], [(50, [])]),
    ]
    for span in spans:
        tile = made_of([span], TimeBins(0, 100, 20), 5, statistic)
        data = encode_tile(tile)
        found = decode_tile(data)
        assert same(found, tile)
        assert found.values.dtype == tile.values.dtype
        assert found.values.tolist() == tile.values.tolist()
        assert found.named.tolist() == tile.named.tolist()
        assert (found.scale, found.step, found.tick) == (tile.scale, tile.step, tile.tick)
        assert encode_tile(found) == data


def test_no_damage_of_a_tile_goes_unnoticed() -> None:
    data = encode_tile(_tile())
    dice = np.random.default_rng(1)
    for at in dice.integers(0, len(data), 60).tolist():
        broken = bytearray(data)
        broken[at] ^= 1 << int(dice.integers(8))
        with pytest.raises(DamagedTile, match="built again"):
            decode_tile(bytes(broken))
    for other in (b"", data[:10], data + b"x"):
        with pytest.raises(DamagedTile):
            decode_tile(other)
