"""Blocks as files: read as they were written, whole or some rows, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.sections import Section
from orderbook_desktop.core.heatmap.spans import LevelSpan
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.storage.tiles.block_file import DamagedTile, decode_block, encode_block
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.levels import BlockKey, Level
from tests.core.heatmap.test_builder import same
from tests.core.heatmap.test_cells import span_with

_MARKET = "币安/USDT"
_DAY_MS = 86_400_000


def section_of(
    spans: list[LevelSpan], bins: TimeBins, statistic: Statistic = Statistic.MAX
) -> Section:
    builder = HeatmapBuilder(bins, PriceSteps(5), [statistic])
    for number, span in enumerate(spans):
        builder.take(span, opens=number > 0)
    return builder.section(_MARKET, statistic)


def a_section() -> Section:
    return section_of([span_with([(100, 7, True)])], TimeBins(0, 100, 10))


def key_at(day: int, bin_ms: int = 4_000, seconds: int = 0) -> BlockKey:
    level = Level(bin_ms, 5, 8, Statistic.MAX)
    return BlockKey(_MARKET, level, day * _DAY_MS + seconds * 1000, f"{day:04x}")


@pytest.mark.parametrize("statistic", [Statistic.MAX, Statistic.INTEGRAL])
def test_a_block_is_read_as_it_was_written(statistic: Statistic) -> None:
    first = span_with([(100, 7, False), (102, 9, True)], [(30, [(104, 3, True)])], until_ms=60)
    runs = [
        [replace(first, horizon=Horizon(99)), span_with([(109, 4, True)], from_ms=70)],
        [span_with([(100 + n, INT64_MAX, True) for n in range(9)])],
        [span_with([(100 + n * 300, n + 1, True) for n in range(40)])],
        [span_with([], [(50, [])])],
        [],
    ]
    for spans in runs:
        section = section_of(spans, TimeBins(0, 100, 20), statistic)
        data = encode_block(section)
        found = decode_block(data)
        heatmap, expected = found.heatmap, section.heatmap
        assert same(heatmap, expected)
        assert heatmap.values.dtype == expected.values.dtype
        assert heatmap.values.tolist() == expected.values.tolist()
        assert heatmap.named.tolist() == expected.named.tolist()
        assert (heatmap.scale, heatmap.tick) == (expected.scale, expected.tick)
        assert (found.carried, found.breaks) == (section.carried, section.breaks)
        assert found.named_after.tolist() == section.named_after.tolist()
        assert encode_block(found) == data
        for first_row, count in ((0, 30), (21, 1), (200, 900), (5_000, 10)):
            some = decode_block(data, (first_row, count)).heatmap
            rows = expected.prices // expected.step
            wanted = (rows >= first_row) & (rows < first_row + count)
            assert some.prices.tolist() == expected.prices[wanted].tolist()
            assert some.values.tolist() == expected.values[:, wanted].tolist()


def test_no_damage_of_a_block_goes_unnoticed() -> None:
    data = encode_block(a_section())
    dice = np.random.default_rng(1)
    for at in dice.integers(0, len(data), 80).tolist():
        broken = bytearray(data)
        broken[at] ^= 1 << int(dice.integers(8))
        with pytest.raises(DamagedTile, match="built again"):
            decode_block(bytes(broken))
    for other in (b"", data[:10], data[:-1], data + b"x"):
        with pytest.raises(DamagedTile):
            decode_block(other)


def test_what_is_fine_and_old_goes_first(tmp_path: Path) -> None:
    size = len(encode_block(a_section()))
    cache = TileCache(tmp_path, "here", 20 * size)
    for day in range(1, 6):
        for bin_ms in (4_000, 256_000, 64_000):
            cache.put(key_at(day, bin_ms), a_section())
    assert cache.trim() == 0
    assert not cache.is_nearly_full
    other = TileCache(tmp_path, "there", 20 * size)
    for number in range(1, 10):
        other.put(key_at(5, seconds=number * 1024), a_section())
    assert other.is_nearly_full
    assert other.trim() == 6
    assert other.trim() == 0
    kept = {(key.from_ms // _DAY_MS, key.level.bin_ms) for key in cache.kept(_MARKET)}
    fine = {(day, bin_ms) for day in (4, 5) for bin_ms in (4_000, 64_000)}
    assert kept == {(day, 256_000) for day in range(1, 6)} | fine


def test_a_block_replaces_what_another_recording_had_there(tmp_path: Path) -> None:
    cache, key = TileCache(tmp_path, "here", 1 << 30), key_at(3)
    cache.put(key, a_section())
    before = replace(key, digest="beef")
    cache.put(before, a_section())
    assert cache.get(key) is None
    assert cache.kept_of(_MARKET, key.level) == cache.kept(_MARKET) == {before}
    assert cache.size(before) > 0
    cache.remove(before)
    assert not cache.has(before)
    assert cache.kept_of(_MARKET, key.level) == set()


def test_a_block_that_is_of_no_use_is_not_there(tmp_path: Path) -> None:
    key = key_at(7)
    nowhere = TileCache(tmp_path, "here", 0)
    assert not nowhere.has_room
    assert nowhere.fix_grid(_MARKET, PriceGrid(1, 5)) == PriceGrid(1, 5)
    assert not TileCache(tmp_path, "here", 5).put(key, a_section())
    assert list(tmp_path.iterdir()) == []
    # Where a file is in the way nothing can be written.
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = TileCache(blocked, "here", 1 << 30)
    assert cache.put(key, a_section())
    assert "Not a directory" in cache.problem
    assert cache.get(key) is None
    assert cache.kept_of(_MARKET, key.level) == cache.kept(_MARKET) == set()
    assert cache.trim() == cache.keep_only(_MARKET, ()) == 0


def test_a_block_that_was_copied_to_another_name_is_damaged(tmp_path: Path) -> None:
    cache = TileCache(tmp_path, "here", 1 << 30)
    bins = TimeBins(0, 1_024_000, 4_000)
    section = section_of([span_with([(100, 7, True)])], bins)
    own = BlockKey(_MARKET, Level(4_000, 5, 8, Statistic.MAX), 0, "abcd")
    assert cache.put(own, section)
    assert cache.get(own) is not None
    for other in (
        replace(own, market="other"),
        replace(own, from_ms=1_024_000),
        replace(own, level=replace(own.level, step=25)),
    ):
        cache.put(other, section)
        assert cache.get(other) is None
        assert not cache.has(other)
    (path,) = tmp_path.rglob("*.tile")
    os.truncate(path, 1 << 40)
    assert cache.get(own) is None
    os.mkfifo(path)
    assert cache.get(own) is None
    assert not cache.has(own)


def test_a_grid_that_can_not_be_is_fixed_again(tmp_path: Path) -> None:
    cache, grid = TileCache(tmp_path, "here", 1 << 30), PriceGrid(1, 5)
    cache.fix_grid(_MARKET, grid)
    (file,) = tmp_path.rglob("grid.json")
    for data in (b"", b"{}", b"\xff", b'{"tick":1,"base":0,"exponent":8}', b"[" * 99_999):
        file.write_bytes(data)
        assert cache.grid(_MARKET) is None
        assert cache.fix_grid(_MARKET, grid) == grid == cache.grid(_MARKET)


def test_the_tiles_of_a_file_and_of_databases_are_apart(tmp_path: Path) -> None:
    caches = [
        TileCache.of_database(tmp_path, "", "one", 1),
        TileCache.of_database(tmp_path, "", "two", 1),
        TileCache.of_database(tmp_path, "mongodb://there", "one", 1),
        TileCache.of_file(tmp_path, tmp_path / "a.obd", 1),
    ]
    key = key_at(2)
    for number, cache in enumerate(caches):
        assert not cache.has(key)
        cache.put(key, a_section())
        assert len(list(tmp_path.rglob("*.tile"))) == number + 1
