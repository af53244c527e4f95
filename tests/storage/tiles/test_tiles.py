"""Tiles: what they give equals what is read without them, also of damaged or lost files."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Side, Statistic
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.pages import HeatmapPart, HeatmapWish
from orderbook_desktop.storage.reading.heatmaps import read_bins
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.tiles.building import (
    BuildProgress,
    TileBuilder,
    TilesNotWritten,
    forget_stale,
)
from orderbook_desktop.storage.tiles.cache import COARSE_MS, TileCache
from orderbook_desktop.storage.tiles.levels import LONGEST_BLOCK_MS
from orderbook_desktop.storage.tiles.proof import CheckedTiles, check_tiles
from orderbook_desktop.storage.tiles.reading import market_grid, read_cells
from tests.core.heatmap.test_builder import same
from tests.storage.archive_fixtures import archiver_of
from tests.storage.packed_fixtures import MARKET, record_all_kinds
from tests.storage.reading.test_joined_answers import recorded
from tests.storage.reading.test_recording import cut
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf

_ROOM = 1 << 30


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*.tile"))}


async def build_all(place: Database | RecordingStore, cache: TileCache) -> BuildProgress:
    builder = TileBuilder(store_of(place), cache)
    while await builder.step():
        pass
    await builder.close()
    return builder.progress


async def parts_of(
    database: Database, wish: HeatmapWish, cache: TileCache | None = None
) -> list[HeatmapPart]:
    async with aclosing(read_cells(Recording(database, MARKET), wish, cache)) as parts:
        return [part async for part in parts]


async def by_tiles(database: Database, wish: HeatmapWish, cache: TileCache | None) -> Heatmap:
    parts = await parts_of(database, wish, cache)
    assert [part.is_complete for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].heatmap is not None
    return parts[-1].heatmap


async def without(database: Database, wish: HeatmapWish) -> Heatmap:
    builder = HeatmapBuilder(wish.bins, wish.steps, [wish.statistic], wish.side)
    await read_bins(Recording(database, MARKET), wish.bins, builder)
    return builder.heatmap(MARKET, wish.statistic)


async def wish_for(
    database: Database,
    bin_ms: int,
    factor: int = 1,
    statistic: Statistic = Statistic.MAX,
    part: tuple[float, float] = (0, 1),
    share: float | None = None,
) -> HeatmapWish:
    """Return a wish for a part of the time, and for a share of the prices around the mid."""
    recording = Recording(database, MARKET)
    timeline = await recording.timeline()
    grid = await market_grid(recording, timeline, TileCache(Path("nowhere"), "", 0))
    assert grid is not None
    length = timeline.to_ms - timeline.from_ms
    begin, end = (timeline.from_ms + int(length * at) for at in part)
    bins = TimeBins(begin // bin_ms * bin_ms, end // bin_ms * bin_ms + bin_ms, bin_ms)
    step, rows = grid.base * factor, None
    if share is not None:
        mid = int((await recording.book_at(timeline.covers[0].from_ms)).asks.prices[0])
        rows = (int(mid * (1 - share)) // step, max(1, int(mid * share * 2) // step))
    return HeatmapWish(MARKET, bins, PriceSteps(step, grid.exponent, rows), statistic)


def assert_same(found: Heatmap, expected: Heatmap) -> None:
    assert same(found, expected)
    assert (found.to_ms, found.step) == (expected.to_ms, expected.step)


async def long_recording(shelf: Shelf, lengths: Sequence[int]) -> None:
    """Put segments of so many events, one a minute, with gaps between them."""
    tape = Tape(step_ms=60_000)
    for length in lengths:
        tape.diffs(7)
        await shelf.archive(await shelf.put(tape, length))


async def test_tiles_give_what_the_recording_gives(database: Database, tmp_path: Path) -> None:
    await long_recording(Shelf(database), (50, 20, 150))
    cache = TileCache(tmp_path, "here", _ROOM)
    progress = await build_all(database, cache)
    assert progress.done == progress.wanted > 10
    wishes = [
        await wish_for(database, 4_000),
        await wish_for(database, 8_000, 5),
        await wish_for(database, 16_000, 20, share=0.01),
        await wish_for(database, 60_000, 1, Statistic.INTEGRAL),
        await wish_for(database, 64_000, 3, Statistic.INTEGRAL, share=0.002),
        await wish_for(database, 256_000, 1, part=(0.2, 0.7)),
        await wish_for(database, 1_024_000, 5, part=(0.4, 1)),
        await wish_for(database, 2 * LONGEST_BLOCK_MS, 20),
    ]
    for wish in wishes:
        expected = await without(database, wish)
        found = await by_tiles(database, wish, cache)
        assert_same(found, expected)
        is_known = found.prices[:, None] == expected.prices
        assert (is_known.any(axis=0)).all()
        if wish.bins.from_ms <= (await Recording(database, MARKET).timeline()).from_ms:
            assert found.named.tolist() == expected.named.tolist()
            assert found.unknown.tolist() == expected.unknown.tolist()


async def test_cells_without_tiles_are_read_newest_first(database: Database) -> None:
    await record_all_kinds(database)
    for bin_ms, statistic in ((500, Statistic.LAST), (4_000, Statistic.MAX)):
        wish = await wish_for(database, bin_ms, 1, statistic)
        assert_same(await by_tiles(database, wish, None), await without(database, wish))


async def test_what_has_no_tiles_is_read_from_the_archive(
    database: Database, tmp_path: Path
) -> None:
    await long_recording(Shelf(database), (70, 15))
    cache = TileCache(tmp_path, "here", _ROOM)
    await build_all(database, cache)
    plain = await wish_for(database, 16_000)
    bins, steps = plain.bins, plain.steps
    odd = TimeBins(bins.from_ms + 3_000, bins.to_ms - 5_000, 16_000)
    ragged = TimeBins(bins.from_ms, bins.to_ms - 17_000, 16_000)
    wishes = [
        HeatmapWish(MARKET, bins, steps, Statistic.MAX, Side.BIDS),
        HeatmapWish(MARKET, bins, steps, Statistic.LAST),
        HeatmapWish(MARKET, odd, steps, Statistic.MAX),
        HeatmapWish(MARKET, ragged, steps, Statistic.MAX),
        HeatmapWish(MARKET, bins, PriceSteps(steps.step // 2, steps.exponent), Statistic.INTEGRAL),
        HeatmapWish(MARKET, bins, PriceSteps(steps.step * 2, steps.exponent), Statistic.MAX),
        await wish_for(database, 2_000),
        await wish_for(database, 4_000, 1, Statistic.INTEGRAL),
    ]
    for wish in wishes:
        assert_same(await by_tiles(database, wish, cache), await without(database, wish))
    nothing = TimeBins(bins.from_ms - 320_000_000, bins.from_ms - 160_000_000, 16_000)
    found = await by_tiles(database, HeatmapWish(MARKET, nothing, steps, Statistic.MAX), cache)
    assert not found.covered_ms.any()


async def test_what_is_missing_is_made_of_finer_tiles_or_read(
    database: Database, tmp_path: Path
) -> None:
    await long_recording(Shelf(database), (160, 90))
    cache = TileCache(tmp_path, "here", _ROOM)
    await build_all(database, cache)
    stored, dice = files_in(tmp_path), random.Random(5)
    wish = await wish_for(database, 64_000, share=0.02)
    expected = await without(database, wish)
    for share in (0.3, 0.8, 1):
        for path in stored:
            if dice.random() < share:
                path.unlink(missing_ok=True)
        assert_same(await by_tiles(database, wish, cache), expected)
    await build_all(database, cache)
    # What was lost or damaged is built again, as it was.
    assert files_in(tmp_path) == stored
    coarse = [path for path in stored if path.parent.name.startswith("64000-")]
    for path in coarse:
        path.write_bytes(stored[path][: dice.randrange(len(stored[path]))])
    assert_same(await by_tiles(database, wish, cache), expected)
    assert len(files_in(tmp_path)) < len(stored)


async def test_a_joined_answer_is_in_the_tiles_after_it(database: Database, tmp_path: Path) -> None:
    await recorded(database, number=120)
    cache = TileCache(tmp_path, "here", _ROOM)
    # What is not archived has no tiles.
    assert (await build_all(database, cache)).wanted == 0
    for _ in range(3):
        await archiver_of(database, now_ns=lambda: 1 << 62).catch_up()
    assert (await build_all(database, cache)).wanted > 0
    wish = await wish_for(database, 4_000)
    found = await by_tiles(database, wish, cache)
    assert_same(found, await without(database, wish))
    assert len(set(found.columns.known_to.tolist())) > 2


async def test_tiles_of_what_is_not_recorded_any_more_go(
    database: Database, tmp_path: Path
) -> None:
    shelf = Shelf(database)
    shelved = await shelf.put(Tape(step_ms=10_000), 420)
    await shelf.archive(shelved)
    cache, store = TileCache(tmp_path, "here", _ROOM), store_of(database)
    await build_all(database, cache)
    before = files_in(tmp_path)
    (next(iter(before)).parent / "0027-1-abc.tile").write_bytes(b"of an older version")
    assert await forget_stale(store, MARKET, cache) == 1
    assert files_in(tmp_path) == before
    await cut(shelf, shelved, 50)
    assert await forget_stale(store, MARKET, cache) > 0
    kept = files_in(tmp_path)
    assert 0 < len(kept) < len(before)
    wish = await wish_for(database, 16_000)
    assert_same(await by_tiles(database, wish, cache), await without(database, wish))
    await build_all(database, cache)
    assert files_in(tmp_path).keys() >= kept.keys()
    builder = TileBuilder(store, cache)
    assert not await builder.step()
    await database.collection("segments").delete_many({})
    assert not await builder.step()
    assert not files_in(tmp_path)
    assert await forget_stale(store, MARKET, cache) == 0


async def test_a_sample_of_tiles_is_compared_with_the_recording(
    database: Database, tmp_path: Path
) -> None:
    await long_recording(Shelf(database), (40, 30))
    cache, store = TileCache(tmp_path, "here", _ROOM), store_of(database)
    assert await check_tiles(store, MARKET, cache) == CheckedTiles()
    await build_all(database, cache)
    files = list(files_in(tmp_path))
    assert await check_tiles(store, MARKET, cache, 999) == CheckedTiles(len(files), len(files))
    assert (await check_tiles(store, MARKET, cache, 3)).compared == 3
    first, second, third = [path for path in files if path.parent.name.startswith("4000-")][:3]
    # One that another time would have is intact, and wrong all the same.
    first.write_bytes(second.read_bytes())
    third.write_bytes(b"")
    found = await check_tiles(store, MARKET, cache, 999)
    assert (found.kept, found.wrong) == (len(files), 2)
    assert not first.exists()
    assert not third.exists()


async def test_a_grid_stays_as_it_was_fixed(database: Database, tmp_path: Path) -> None:
    shelf, tape = Shelf(database), Tape(step_ms=1_000)
    await shelf.put(tape, 30)
    recording, cache = Recording(database, MARKET), TileCache(tmp_path, "here", _ROOM)
    grid = await market_grid(recording, await recording.timeline(), cache)
    assert grid is not None
    await database.collection("segments").delete_many({})
    timeline = await recording.timeline()
    assert await market_grid(recording, timeline, cache) == grid
    assert await market_grid(recording, timeline, TileCache(tmp_path, "there", _ROOM)) is None
    # Another program that has fixed one meanwhile is right.
    assert cache.fix_grid(MARKET, PriceGrid(1, 2)) == grid


async def test_a_building_that_is_given_up_leaves_what_is_ready(
    database: Database, tmp_path: Path
) -> None:
    await long_recording(Shelf(database), (120,))
    cache, store = TileCache(tmp_path, "here", _ROOM), store_of(database)
    builder = TileBuilder(store, cache)
    for _ in range(20):
        assert await builder.step()
    await builder.close()
    some = files_in(tmp_path)
    whole = await build_all(database, cache)
    assert whole.done == whole.wanted
    assert some.items() <= files_in(tmp_path).items()
    assert not await TileBuilder(store, TileCache(tmp_path, "here", 0)).step()


async def test_of_a_full_cache_only_coarse_and_newest_tiles_are_built(
    database: Database, tmp_path: Path
) -> None:
    await long_recording(Shelf(database), (80,))
    whole = TileCache(tmp_path / "whole", "here", _ROOM)
    await build_all(database, whole)
    everything = whole.kept(MARKET)
    coarse = {key for key in everything if key.level.bin_ms >= COARSE_MS}
    sizes = [sum(map(whole.size, keys)) for keys in (everything, coarse)]
    limit = sum(sizes) * 10 // 18
    cache = TileCache(tmp_path / "some", "here", limit)
    progress = await build_all(database, cache)
    assert progress.done == progress.wanted
    kept = cache.kept(MARKET)
    assert coarse < kept < everything
    assert sum(map(cache.size, kept)) <= limit
    wish = await wish_for(database, 4_000)
    assert_same(await by_tiles(database, wish, cache), await without(database, wish))


async def test_what_can_not_be_written_is_told_and_what_has_no_room_is_built_once(
    database: Database, tmp_path: Path
) -> None:
    shelf = Shelf(database)
    await long_recording(shelf, (40,))
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(TilesNotWritten, match=r"can't be written: .*Not a directory"):
        await build_all(database, TileCache(in_the_way, "here", _ROOM))
    builder = TileBuilder(store_of(database), TileCache(tmp_path, "here", 5))
    taken = [0, 0]
    for number in range(2):
        while await builder.step():
            taken[number] += 1
        # Another market: all is planned anew.
        await shelf.put(Tape("ETHUSDT", step_ms=1_000), 3)
    assert taken[0] > 0
    assert taken[1] == 0
    assert files_in(tmp_path) == {}
