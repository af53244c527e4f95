"""What each pixel shows: gaps and horizons have their exact place and width at every zoom."""

from __future__ import annotations

import numpy as np
import pytest

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.colours import (
    EMPTY_BYTE,
    FIRST_SIZE,
    UNKNOWN_BYTE,
    colour_table,
)
from orderbook_desktop.core.heatmap.grid import fitting_bin
from orderbook_desktop.core.heatmap.pages import HeatmapWish
from orderbook_desktop.core.heatmap.picture import Quantiser
from orderbook_desktop.core.heatmap.pixel_grid import PixelGrid, Region
from orderbook_desktop.core.heatmap.plot import Code, Kind, Known, Plot, Tables, swatch
from orderbook_desktop.core.heatmap.sources import Source, fitting_quantiser
from orderbook_desktop.core.heatmap.view import View
from tests.core.heatmap.made_cells import cells_for, recorded

BEGIN = 1_723_000_000_000
END = BEGIN + 3_600_000
GAP = (BEGIN + 1_800_123, BEGIN + 1_860_456)
SHORT = (BEGIN + 2_400_010, BEGIN + 2_400_011)
COVERAGE = recorded("BTCUSDT", BEGIN, END, GAP, SHORT)
MID = 10_000
KNOWN = Known(BEGIN, END, END, (GAP, SHORT))
TABLES = Tables(colour_table(ColourMap.FIRE, FIRST_SIZE, 255))
GROUND = 0xFF123456
LINES = 0xFF00FF00, 0xFFFF0000, 0xFF010101


def wish(view: View, step: int, bin_ms: int) -> HeatmapWish:
    begin = view.from_ms // bin_ms * bin_ms
    bins = TimeBins(begin, -(-view.to_ms // bin_ms) * bin_ms, bin_ms)
    # Half a pixel more may be in sight.
    first = max(0, view.low // step - 5)
    rows = first, -(-view.high // step) + 5 - first
    return HeatmapWish("BTCUSDT", bins, PriceSteps(step, 8, rows), Statistic.MAX)


def plot_of(*heatmaps: Heatmap, known: Known = KNOWN, has_hues: bool = False) -> Plot:
    sources = [Source(heatmap, exponent=8) for heatmap in heatmaps]
    return Plot(sources, known, fitting_quantiser(sources, None), has_hues=has_hues)


def painted(plot: Plot, view: View, width: int, height: int) -> np.ndarray:
    grid = PixelGrid.of(view, width, height)
    out = np.zeros((height, width), np.uint16)
    plot.paint(out, grid, Region.of(view, grid, width, height))
    return TABLES.palette(GROUND, *LINES)[out]


@pytest.mark.parametrize("length_ms", [3_000, 60_000, 61_234, 600_000, 3_600_000, 86_400_000])
@pytest.mark.parametrize("width", [317, 1_200])
def test_a_gap_has_its_place_and_width_at_every_zoom(length_ms: int, width: int) -> None:
    for gap in (GAP, SHORT):
        middle = sum(gap) // 2
        view = View(middle - length_ms // 3, middle - length_ms // 3 + length_ms, 9_000, 11_000)
        cells = cells_for(wish(view, 10, fitting_bin(length_ms / width)), COVERAGE, MID)
        grid = PixelGrid.of(view, width, 100)
        region = Region.of(view, grid, width, 100)
        kinds, _ = plot_of(cells).kinds(grid, region.left, region.right)
        scale = width / length_ms
        left, right = ((edge - view.from_ms) * scale for edge in gap)
        if right - left > 1:
            inside = np.arange(max(0, round(left) + 1), min(width, round(right) - 1))
            assert (kinds[inside] == Kind.GAP).all()
        at_gap = np.flatnonzero(kinds == Kind.GAP)
        of_this = at_gap[(at_gap >= left - 1.5) & (at_gap <= right + 1.5)]
        in_view = min(width, right) - max(0, left)
        assert abs(len(of_this) - max(1, in_view)) <= 1
        # It does not reach a bin's edge that lies further away.
        assert of_this.min() >= left - 1
        assert of_this.max() <= right + 1


def test_a_gap_moves_with_the_view_and_keeps_its_width() -> None:
    widths = set()
    for shift in range(0, 50_000, 3_331):
        view = View(BEGIN + 1_500_000 + shift, BEGIN + 2_100_000 + shift, 9_000, 11_000)
        grid = PixelGrid.of(view, 700, 100)
        region = Region.of(view, grid, 700, 100)
        cells = cells_for(wish(view, 10, 1_000), COVERAGE, MID)
        kinds, _ = plot_of(cells).kinds(grid, region.left, region.right)
        columns = np.flatnonzero(kinds == Kind.GAP)
        widths.add(len(columns))
        assert int(columns[0]) + region.left == grid.column(GAP[0])
        # The other gap is out of sight.
        assert len(KNOWN.gap_columns(grid, region.left, region.right)) == 1
    assert widths == {round(GAP[1] / grid.ms) - round(GAP[0] / grid.ms)}


@pytest.mark.parametrize("height", [50, 333, 1_000])
def test_unknown_depth_has_its_place_and_height_at_every_zoom(height: int) -> None:
    view = View(BEGIN, BEGIN + 60_000, 9_000, 11_000)
    cells = cells_for(wish(view, 10, 1_000), COVERAGE, MID, (9_500, 10_700))
    grid = PixelGrid.of(view, 60, height)
    region = Region.of(view, grid, 60, height)
    plot = plot_of(cells)
    counts = plot.counts(grid, region)
    pixels = painted(plot, view, 60, height)
    y = np.arange(height)
    prices = 11_000 - (y + 0.5) * 2_000 / height
    # Where there are several rows in a pixel, one that has something shows it.
    margin = 2_000 / height + 10
    beyond = (prices > 10_700 + margin) | (prices < 9_500 - margin)
    plain = pixels[:, 3] == TABLES.cells[UNKNOWN_BYTE]
    dotted = pixels[:, 3] == 0xFF808A96
    assert (plain | dotted)[beyond].all()
    assert not (plain | dotted)[(prices < 10_700 - margin) & (prices > 9_500 + margin)].any()
    assert counts[UNKNOWN_BYTE] > 0
    assert (pixels == 0xFF808A96).any()


def test_empty_unknown_gap_pending_and_outside_all_differ() -> None:
    view = View(BEGIN - 60_000, END + 60_000, 9_000, 11_000)
    asked = wish(View(BEGIN, END - 600_000, 9_400, 11_000), 10, 4_000)
    cells = cells_for(asked, COVERAGE, MID, (9_600, 11_000))
    pixels = painted(plot_of(cells), view, 900, 200)
    grid = PixelGrid.of(view, 900, 200)
    region = Region.of(view, grid, 900, 200)

    def colours(from_ms: int, to_ms: int, low: int, high: int) -> set[int]:
        x = slice(grid.column(from_ms) - region.left + 1, grid.column(to_ms) - region.left - 1)
        y = slice(region.top - grid.row(high) + 1, region.top - grid.row(low) - 1)
        return set(pixels[y, x].ravel().tolist())

    outside = colours(BEGIN - 60_000, BEGIN, 9_000, 11_000)
    gap = colours(*GAP, 9_000, 11_000)
    pending = colours(END - 590_000, END, 9_000, 11_000)
    below = colours(BEGIN, GAP[0], 9_000, 9_340)
    unknown = colours(BEGIN, GAP[0], 9_400, 9_580)
    sizes = colours(BEGIN, GAP[0], 9_620, 11_000)
    assert outside == {GROUND} == colours(END, END + 60_000, 9_000, 11_000)
    assert pending == below
    assert len(gap) == len(pending) == len(unknown) == 2
    found = [outside, gap, pending, unknown, sizes]
    assert sum(map(len, found)) == len(set().union(*found))
    assert int(TABLES.cells[EMPTY_BYTE]) in sizes
    # Only cells have a size that counts.
    assert plot_of(cells).counts(grid, region)[FIRST_SIZE:].any()


def test_rows_lower_than_a_pixel_show_their_largest_cell() -> None:
    view = View(BEGIN, BEGIN + 10_000, 9_000, 11_000)
    cells = cells_for(wish(view, 1, 1_000), COVERAGE, MID)
    cells.values[:] = 0
    cells.values[:, 782] = 5
    cells.values[:, 783] = 900
    pixels = painted(plot_of(cells), view, 10, 100)
    quantiser = fitting_quantiser([Source(cells)], None)
    byte = Quantiser(quantiser.base * 10**5).bytes_of(np.array([900]))[0]
    y = 99 - 777 // 20
    assert set(pixels[y].tolist()) == {int(TABLES.cells[byte])}
    others = np.delete(pixels, y, axis=0)
    assert set(others.ravel().tolist()) == {int(TABLES.cells[EMPTY_BYTE])}


def test_the_newer_source_lies_over_the_older_one_where_it_has_been_read() -> None:
    view = View(BEGIN, BEGIN + 100_000, 9_000, 11_000)
    coarse = cells_for(wish(view, 100, 10_000), COVERAGE, MID)
    fine = cells_for(wish(view, 10, 1_000), COVERAGE, MID)
    pending = ((BEGIN, BEGIN + 50_000),)
    sources = [Source(coarse), Source(fine, pending)]
    plot = Plot(sources, KNOWN, fitting_quantiser(sources, None))
    grid = PixelGrid.of(view, 100, 100)
    region = Region.of(view, grid, 100, 100)
    _, of = plot.kinds(grid, region.left, region.right)
    # Bins of 10 s begin before the view.
    assert of[2:49].tolist() == [0] * 47
    assert of[51:].tolist() == [1] * 49


def test_a_replay_sees_no_column_that_is_not_over() -> None:
    view = View(BEGIN, BEGIN + 100_000, 9_000, 11_000)
    cells = cells_for(wish(view, 100, 10_000), COVERAGE, MID)
    at = BEGIN + 55_000
    known = Known(BEGIN, at, END, (), None, is_clock=True)
    grid = PixelGrid.of(view, 100, 100)
    region = Region.of(view, grid, 100, 100)
    kinds, _ = plot_of(cells, known=known).kinds(grid, region.left, region.right)
    shown = np.flatnonzero(kinds == Kind.CELLS)
    last_end = max(end for end in (cells.times_ms + 10_000).tolist() if end <= at)
    assert shown.max() + region.left == grid.column(last_end) - 1
    assert (kinds[shown.max() + 1 :] == Kind.OUTSIDE).all()


def test_asks_have_their_own_colours_above_the_middle() -> None:
    view = View(BEGIN, BEGIN + 10_000, 9_000, 11_000)
    cells = cells_for(wish(view, 10, 1_000), COVERAGE, MID)
    grid = PixelGrid.of(view, 10, 200)
    out = np.zeros((200, 10), np.uint16)
    tables = Tables(np.full(256, 1, np.uint32), np.full(256, 2, np.uint32))
    plot_of(cells, has_hues=True).paint(out, grid, Region.of(view, grid, 10, 200))
    pixels = tables.palette(GROUND, *LINES)[out]
    assert (pixels[:100] == 2).all()
    assert (pixels[100:] == 1).all()
    plot_of(cells).paint(out, grid, Region.of(view, grid, 10, 200))
    assert (tables.palette(GROUND, *LINES)[out] == 1).all()


@pytest.mark.parametrize("width", [1, 3])
def test_the_best_prices_are_lines_that_join_and_that_gaps_interrupt(width: int) -> None:
    view = View(GAP[0] - 30_000, GAP[1] + 30_000, 9_000, 11_000)
    cells = cells_for(wish(view, 10, 1_000), COVERAGE, MID, tick=100)
    bids = cells.columns.best_bids
    bids[bids >= 0] -= 200 * (np.arange(len(bids))[bids >= 0] % 2)
    grid = PixelGrid.of(view, 600, 200)
    region = Region.of(view, grid, 600, 200)
    out = np.zeros((200, 600), np.uint16)
    plot = plot_of(cells)
    plot.paint_best(out, grid, region, width)
    kinds, _ = plot.kinds(grid, region.left, region.right)
    away = np.convolve(kinds == Kind.CELLS, np.ones(7), "same") == 0
    assert not out[:, away].any()
    inside = np.convolve(kinds == Kind.CELLS, np.ones(7), "same") == 7
    inside[:4] = inside[-4:] = False
    asks = out[:, inside] == Code.ASK
    assert (asks.sum(axis=0) == width).all()
    assert (asks.argmax(axis=0) == 90 - width).all()
    # A bid is 10 or 30 rows below the middle, and each change is a line between.
    bid = out[:, inside] == Code.BID
    tops, ends = bid.argmax(axis=0), 200 - bid[::-1].argmax(axis=0)
    assert set(tops.tolist()) == {110 + width, 130 + width}
    assert (tops[1:] <= ends[:-1]).all()
    assert (tops[:-1] <= ends[1:]).all()
    # The rim is beside each pixel of a line.
    y, x = np.nonzero((out == Code.BID) & (np.arange(600) > 5) & (np.arange(600) < 100))
    for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        assert (out[y + dy, x + dx] >= Code.BID).all()
    # Painted in parts it is the same.
    parts = np.zeros_like(out)
    for left in range(0, 600, 150):
        part = Region(region.left + left, region.left + left + 150, region.bottom, region.top)
        plot.paint_best(parts[:, left : left + 150], grid, part, width)
    assert (parts == out).all()


def test_nothing_was_recorded_between_the_recording_and_the_live_edge() -> None:
    view = View(END - 50_000, END + 50_000, 9_000, 11_000)
    cells = cells_for(wish(view, 10, 1_000), COVERAGE, MID)
    known = Known(BEGIN, END + 50_000, END, (), (END, END + 40_000))
    grid = PixelGrid.of(view, 100, 100)
    region = Region.of(view, grid, 100, 100)
    kinds, _ = plot_of(cells, known=known).kinds(grid, region.left, region.right)
    assert (kinds[:48] == Kind.CELLS).all()
    assert (kinds[51:89] == Kind.OUTSIDE).all()
    # What came since has not been read yet.
    assert (kinds[91:] == Kind.PENDING).all()


def test_means_of_integrals_have_the_same_colours_in_all_bins() -> None:
    view = View(BEGIN, BEGIN + 100_000, 9_000, 11_000)
    asked = wish(view, 10, 1_000)
    found = []
    for bin_ms in (1_000, 10_000):
        made = cells_for(wish(view, 10, bin_ms), COVERAGE, MID)
        integral = Heatmap(
            made.market, Statistic.INTEGRAL, made.scale, made.step, made.tick, made.bin_ms,
            made.to_ms, made.prices, made.columns, made.values * made.covered_ms[:, None],
            made.named,
        )  # fmt: skip
        source = Source(integral)
        quantiser = Quantiser(1e-5)
        cells, _ = source.cells(np.array([5]), 0, 100, quantiser)
        found.append(cells[:, 0].tolist())
        assert source.largest == pytest.approx(made.values.max() * 1e-5)
    assert found[0] == found[1]
    assert asked.bins.bin_ms == 1_000


def test_the_quantiser_stays_while_it_is_wide_enough() -> None:
    view = View(BEGIN, BEGIN + 10_000, 9_000, 11_000)
    source = Source(cells_for(wish(view, 10, 1_000), COVERAGE, MID))
    first = fitting_quantiser([source], None)
    assert fitting_quantiser([source], first) is first
    assert fitting_quantiser([], None).base == 1
    huge = cells_for(wish(view, 10, 1_000), COVERAGE, MID)
    huge.values[:] = 2**60
    wider = fitting_quantiser([Source(huge)], first)
    assert wider.base > first.base
    assert wider.size_of(255) >= 2**60 * 1e-5


def test_prices_outside_of_what_was_read_are_pending() -> None:
    view = View(BEGIN, BEGIN + 10_000, 20_000, 21_000)
    cells = cells_for(wish(View(BEGIN, BEGIN + 10_000, 9_000, 11_000), 10, 1_000), COVERAGE, MID)
    plot = plot_of(cells)
    pixels = painted(plot, view, 64, 64)
    assert len(set(pixels.ravel().tolist())) == 2
    grid = PixelGrid.of(view, 64, 64)
    assert not plot.counts(grid, Region.of(view, grid, 64, 64)).any()


def test_regions() -> None:
    region = Region(10, 20, 30, 50)
    assert (region.width, region.height) == (10, 20)
    assert region.holds(Region(12, 18, 31, 49))
    assert not region.holds(Region(12, 21, 31, 49))
    assert region.common(Region(15, 25, 20, 40)) == Region(15, 20, 30, 40)
    assert region.common(Region(20, 25, 20, 40)) is None
    assert region.widened(2, 3) == Region(8, 22, 27, 53)


def test_swatches_show_the_textures() -> None:
    assert set(np.unique(swatch(Kind.GAP, 12, 24)).tolist()) == {Code.GAP, Code.GAP_LINE}
    unknown = swatch(Kind.CELLS, 12, 24)
    assert unknown.shape == (12, 24)
    assert set(np.unique(unknown).tolist()) == {UNKNOWN_BYTE, Code.DOT}
