"""A recording as a heatmap: it equals a brute force over its export, and its gaps are exact."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import aclosing
from decimal import Decimal
from functools import partial
from pathlib import Path

from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import HeatmapBuilder, PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import PriceGrid
from orderbook_desktop.core.heatmap.pages import HeatmapPart, HeatmapWish
from orderbook_desktop.storage.exports.exporting import ExportJob, export
from orderbook_desktop.storage.reading.heatmaps import (
    level_spans,
    price_grid,
    read_bins,
)
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.tiles.reading import read_cells
from tests.storage.packed_fixtures import MARKET, record_all_kinds
from tests.storage.reading.csv_heatmap import decimal_cells, heatmap_of_csv
from tests.storage.reading.test_joined_answers import recorded
from tests.storage.reading.test_recording import cut
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf


async def heatmaps(recording: Recording, bins: TimeBins, step: str) -> dict[Statistic, Heatmap]:
    builder = HeatmapBuilder(bins, PriceSteps.of(step), list(Statistic))
    await read_bins(recording, bins, builder)
    return {statistic: builder.heatmap(MARKET, statistic) for statistic in Statistic}


async def exported(recording: Recording, path: Path, from_ms: int, to_ms: int) -> None:
    place = recording._store
    slices = partial(recording.slices, from_ms, to_ms)
    rows = partial(RecordedTrades(place, recording.market).rows, from_ms, to_ms)
    job = ExportJob(recording.market, slices, ExportFormat.TARDIS, path, replace=True, trades=rows)
    await export(job, lambda _: None)


async def test_a_heatmap_equals_a_brute_force_over_the_export(
    database: Database, tmp_path: Path
) -> None:
    await record_all_kinds(database)
    recording, path = Recording(database, MARKET), tmp_path / "rows.csv"
    timeline = await recording.timeline()
    assert len(timeline.gaps) == 3
    covers = [(cover.from_ms, cover.to_ms) for cover in timeline.covers]
    length = timeline.to_ms - timeline.from_ms
    chosen = random.Random(3)
    spans = [(timeline.from_ms - 5_000, timeline.to_ms + 1)]
    spans += [
        (timeline.from_ms + length // 7, timeline.from_ms + length * chosen.randint(3, 6) // 7)
    ]
    for span, step, bin_ms in zip(spans, ("10", "0.05"), (60_000, 7_001), strict=True):
        await exported(recording, path, *span)
        expected = heatmap_of_csv(path, covers, span, Decimal(step), bin_ms)
        found = await heatmaps(recording, TimeBins(*span, bin_ms), step)
        for statistic in Statistic:
            assert decimal_cells(found[statistic]) == expected[statistic], statistic
        covered = found[Statistic.LAST].covered_ms
        assert {(n, 0): ms for n, ms in enumerate(covered.tolist()) if ms} == expected["covered"]
        assert covered.sum() == timeline.between(*span).covered_ms


async def test_the_last_column_is_the_book_at_its_id(database: Database) -> None:
    shelved = await Shelf(database).put(Tape(), 80)
    recording = Recording(database, MARKET)
    bins = TimeBins(shelved.events[10].event_ms, shelved.events[60].event_ms, 700)
    found = (await heatmaps(recording, bins, "0.01"))[Statistic.LAST]
    by_id = {event.final_id: index for index, event in enumerate(shelved.events)}
    for number, update_id in enumerate(found.columns.last_ids.tolist()):
        book = shelved.book_after(by_id[update_id])
        levels = [
            (price, size)
            for side in (book.bids, book.asks)
            for price, size in zip(side.prices.tolist(), side.quantities.tolist(), strict=True)
        ]
        shown = zip(found.prices.tolist(), found.values[number].tolist(), strict=True)
        unit = 10 ** (8 - found.scale.quantity)
        assert sorted(levels) == [(price, size * unit) for price, size in shown if size]
        assert found.columns.best_bids[number] == book.bids.prices[0]
        assert found.columns.best_asks[number] == book.asks.prices[0]
        assert found.columns.known_to[number] >= book.asks.prices[-1]


async def test_what_retention_cuts_amid_a_reading_is_not_covered(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, MARKET)
    shelved = await shelf.put(Tape(step_ms=1_000), 420)
    await shelf.archive(shelved)
    first, last = shelved.events[0].event_ms, shelved.events[-1].event_ms
    covered, opened = 0, 0
    async with aclosing(level_spans(recording, first, last)) as spans:
        async for span, opens in spans:
            if not opened:
                await cut(shelf, shelved, 2)
            opened += opens
            covered += span.until_ms - span.from_ms
    assert opened == 2
    assert 0 < covered < last - first


async def test_a_deeper_answer_moves_the_known_range(database: Database, tmp_path: Path) -> None:
    feed = await recorded(database, number=120)
    recording, path = Recording(database, MARKET), tmp_path / "rows.csv"
    first, last = feed.events[0].event_ms, feed.events[-1].event_ms
    found = (await heatmaps(recording, TimeBins(first, last, 700), "0.01"))[Statistic.MAX]
    known_from, known_to = found.columns.known_from.tolist(), found.columns.known_to.tolist()
    assert known_from == sorted(known_from, reverse=True)
    assert known_to == sorted(known_to)
    assert len(set(known_to)) > 2
    # The levels that an answer brought count from then on.
    await exported(recording, path, first, last)
    expected = heatmap_of_csv(path, [(first, last)], (first, last), Decimal("0.01"), 700)
    assert decimal_cells(found) == expected["max"]


async def parts_of(recording: Recording, wish: HeatmapWish) -> list[HeatmapPart]:
    async with aclosing(read_cells(recording, wish)) as parts:
        return [part async for part in parts]


async def wish_for(
    recording: Recording, bin_ms: int, statistic: Statistic = Statistic.MAX
) -> HeatmapWish:
    timeline = await recording.timeline()
    first, last = timeline.from_ms // bin_ms, timeline.to_ms // bin_ms + 1
    bins = TimeBins(first * bin_ms, last * bin_ms, bin_ms)
    prices = Decimal((await recording.book_at(timeline.covers[0].from_ms)).asks.prices[0].item())
    mid = prices.scaleb(-8)
    steps = PriceSteps.of("0.05", mid * Decimal("0.99"), mid * Decimal("1.01"))
    return HeatmapWish(MARKET, bins, steps, statistic)


def assert_equal(found: Heatmap, expected: Heatmap) -> None:
    unit = 10 ** (found.scale.quantity - expected.scale.quantity)
    assert (found.values == expected.values * unit).all()
    assert (found.prices == expected.prices).all()
    assert (found.unknown == expected.unknown).all()
    assert (found.named == expected.named).all()
    for name in expected.columns.__struct_fields__:
        assert (getattr(found.columns, name) == getattr(expected.columns, name)).all(), name


async def test_the_newest_cells_come_first_and_all_of_them_in_the_end(database: Database) -> None:
    await record_all_kinds(database)
    recording = Recording(database, MARKET)
    for bin_ms, statistic in zip((500, 4_000, 600_000), Statistic, strict=True):
        wish = await wish_for(recording, bin_ms, statistic)
        parts = await parts_of(recording, wish)
        builder = HeatmapBuilder(wish.bins, wish.steps, [statistic])
        await read_bins(recording, wish.bins, builder)
        whole = builder.heatmap(MARKET, statistic)
        assert [part.is_complete for part in parts] == [False] * (len(parts) - 1) + [True]
        last = parts[-1].heatmap
        assert last is not None
        assert_equal(last, whole)
        for part in parts[:-1]:
            assert_known_outside(part, whole)


def assert_known_outside(part: HeatmapPart, whole: Heatmap) -> None:
    """Check the columns of which nothing is pending."""
    assert part.heatmap is not None
    assert part.pending
    assert list(part.pending) == sorted(part.pending)
    after = part.heatmap.times_ms >= _column_after(part.pending, whole)
    assert (part.heatmap.values[after] == whole.values[after]).all()
    assert (part.heatmap.covered_ms[after] == whole.covered_ms[after]).all()


def _column_after(pending: Sequence[tuple[int, int]], whole: Heatmap) -> int:
    return -(-pending[-1][1] // whole.bin_ms) * whole.bin_ms


async def test_runs_that_meet_in_a_millisecond_are_told_apart(database: Database) -> None:
    shelf, recording = Shelf(database), Recording(database, MARKET)
    tape = Tape()
    for number, step_ms in ((30, 100), (5, 0), (30, 0), (30, 100)):
        tape.step_ms = step_ms
        # These are missing.
        tape.diffs(3)
        await shelf.put(tape, number)
    timeline = await recording.timeline()
    assert [gap.from_ms == gap.to_ms for gap in timeline.gaps] == [True, True, False]
    for bin_ms, statistic in zip((100, 700, 60_000), Statistic, strict=True):
        wish = await wish_for(recording, bin_ms, statistic)
        builder = HeatmapBuilder(wish.bins, wish.steps, [statistic])
        await read_bins(recording, wish.bins, builder)
        found = (await parts_of(recording, wish))[-1].heatmap
        assert found is not None
        assert_equal(found, builder.heatmap(MARKET, statistic))


async def test_where_nothing_is_recorded_all_is_a_gap(database: Database) -> None:
    await Shelf(database).put(Tape(), 5)
    recording = Recording(database, MARKET)
    wish = HeatmapWish(
        MARKET, TimeBins(4_000, 40_000, 4_000), PriceSteps.of("1", 1, 9), Statistic.MAX
    )
    (part,) = await parts_of(recording, wish)
    assert part.is_complete
    assert part.heatmap is not None
    assert part.heatmap.gap.all()


async def test_the_grid_is_that_of_the_first_book(database: Database) -> None:
    recording = Recording(database, MARKET)
    assert await price_grid(recording, await recording.timeline()) is None
    await Shelf(database).put(Tape(), 5)
    grid = await price_grid(recording, await recording.timeline())
    assert isinstance(grid, PriceGrid)
    assert grid.base >= grid.tick
