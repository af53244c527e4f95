"""Pixels: bytes rise with quantity, gaps and unknown cells keep their place and their look."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.cells import Heatmap
from orderbook_desktop.core.heatmap.choices import ColourMap, Statistic
from orderbook_desktop.core.heatmap.colours import (
    EMPTY_BYTE,
    FIRST_SIZE,
    GAP_BYTE,
    LAST_SIZE,
    UNKNOWN_BYTE,
    colour_table,
)
from orderbook_desktop.core.heatmap.picture import (
    Frame,
    Quantiser,
    cell_bytes,
    partly_known,
    usual_cut_offs,
)
from orderbook_desktop.core.horizon import Horizon
from tests.core.heatmap.test_cells import made_of, span_with


def _lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of 0xFFRRGGBB."""
    channels = np.stack([(colours >> shift & 0xFF) / 255 for shift in (16, 8, 0)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = np.array([0.2126, 0.7152, 0.0722]) @ linear
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("colours", list(ColourMap))
def test_every_map_rises_in_lightness(colours: ColourMap, asks: bool) -> None:
    table = colour_table(colours, FIRST_SIZE, LAST_SIZE, asks=asks)
    lightness = _lightness(table[FIRST_SIZE:])
    # No step is dark again, and a step of eight bytes, a doubling, can be seen.
    assert (np.diff(lightness) >= -0.1).all()
    assert (lightness[8:] - lightness[:-8] > 1.2).all()
    assert lightness[-1] > 85
    assert _lightness(table[[EMPTY_BYTE]])[0] < lightness[0] < 20
    # What is not known looks the same in each map, and like no quantity.
    assert table[[UNKNOWN_BYTE, GAP_BYTE]].tolist() == [0xFF343A42, 0xFF463622]
    assert not np.isin(table[[UNKNOWN_BYTE, GAP_BYTE]], table[FIRST_SIZE:]).any()


def test_cut_offs_change_colours_of_quantities_only() -> None:
    table = colour_table(ColourMap.FIRE, 100, 120)
    assert len(set(table[FIRST_SIZE:101].tolist())) == 1
    assert len(set(table[120:].tolist())) == 1
    assert len(set(table[100:121].tolist())) == 21
    other = colour_table(ColourMap.FIRE, 9, 9)
    assert table[:FIRST_SIZE].tolist() == other[:FIRST_SIZE].tolist()


def test_eight_bytes_more_are_the_double() -> None:
    values = np.array([0, 1, 2, 4, 1024, 2**31], dtype=np.int64)
    quantiser = Quantiser.of(values)
    assert quantiser.base == 1
    assert quantiser.bytes_of(values).tolist() == [EMPTY_BYTE, 3, 11, 19, 83, 251]
    assert quantiser.size_of(83) == 1024
    # However large they are, all fit; and a small one is not empty.
    wide = np.array([0, 1, 2**60, 2**90], dtype=object)
    found = Quantiser.of(wide).bytes_of(wide).tolist()
    assert found[:2] == [EMPTY_BYTE, FIRST_SIZE]
    assert FIRST_SIZE < found[2] < found[3] <= LAST_SIZE


@pytest.mark.parametrize("base", [1.0, 0.375, 1e9])
def test_the_size_of_a_byte_is_the_smallest_one_that_has_it(base: float) -> None:
    quantiser = Quantiser(base)
    for byte in range(FIRST_SIZE + 1, LAST_SIZE + 1):
        size = quantiser.size_of(byte)
        assert quantiser.bytes_of(np.array([size, size * 0.999_999])).tolist() == [byte, byte - 1]
        # Eight bytes double it, about evenly.
        assert abs(np.log2(size / base) * 8 - (byte - FIRST_SIZE)) < 0.05
    assert quantiser.bytes_of(np.array([base / 1e6, 0.0])).tolist() == [FIRST_SIZE, EMPTY_BYTE]


def test_the_usual_cut_offs_are_percentiles_of_what_is_there() -> None:
    sizes = np.repeat(np.arange(50, 150), 10).astype(np.uint8)
    cells = np.concatenate(
        (np.zeros(9_000, np.uint8), np.full(5_000, UNKNOWN_BYTE, np.uint8), sizes)
    )
    assert usual_cut_offs(cells) == (74, 148)
    assert usual_cut_offs(np.full(3, 77, np.uint8)) == (77, 78)
    assert usual_cut_offs(np.zeros(3, np.uint8)) == (FIRST_SIZE, LAST_SIZE)


def _heatmap() -> Heatmap:
    """Levels at 100 (bid) and 102 (ask), known from 99 to 103; a gap from 130 to 477."""
    levels = [(100, 7, False), (102, 9, True)]
    named = [(105, 5, True)]
    known = Horizon(99, 103)
    before = span_with(levels, [(50, named), (90, [(105, 0, True)])], until_ms=130, horizon=known)
    after = span_with(levels, [(477, [])], from_ms=477, until_ms=600, horizon=known, first_id=50)
    return made_of(
        [before, after], TimeBins(0, 600, 100), 1, Statistic.LAST, rows=(97, 10), opens=(True, True)
    )


def test_cells_say_what_is_known_of_them() -> None:
    heatmap = _heatmap()
    cells = cell_bytes(heatmap, Quantiser.of(heatmap.values))
    by_price = dict(zip(heatmap.prices.tolist(), cells.T.tolist(), strict=True))
    gap = [GAP_BYTE] * 2
    assert by_price[97] == [UNKNOWN_BYTE] * 2 + gap + [UNKNOWN_BYTE] * 2
    assert by_price[99] == [EMPTY_BYTE] * 2 + gap + [EMPTY_BYTE] * 2
    assert by_price[100] == [25] * 2 + gap + [25] * 2
    # It was named and removed, so it is known to be empty, until the run ends.
    assert by_price[105] == [EMPTY_BYTE] * 2 + gap + [UNKNOWN_BYTE] * 2
    # Of a cell of two prices the other one is not known.
    wide = heatmap.in_price(2)
    cells = cell_bytes(wide, Quantiser.of(wide.values))
    by_price = dict(zip(wide.prices.tolist(), cells.T.tolist(), strict=True))
    assert by_price[104] == [UNKNOWN_BYTE] * 2 + gap + [UNKNOWN_BYTE] * 2


def test_cells_of_which_some_prices_are_known_are_told() -> None:
    heatmap = _heatmap().in_price(2)
    # 104 and 105: the latter was named. 98 and 99: nothing beyond the horizon was.
    rows = [row for row, price in enumerate(heatmap.prices) if partly_known(heatmap)[0, row]]
    assert [heatmap.prices[row] for row in rows] == [104]
    assert not partly_known(heatmap)[heatmap.gap].any()
    assert not partly_known(_heatmap()).any()
    frame = Frame(0, 600, 97, 107, 6, 10)
    assert (frame.x(150), frame.y(104.5)) == (1.5, 2.5)


def test_a_heatmap_without_rows_has_no_bytes() -> None:
    heatmap = _heatmap()
    empty = replace(
        heatmap,
        prices=heatmap.prices[:0],
        values=heatmap.values[:, :0],
        named=heatmap.named[:, :0],
    )
    assert cell_bytes(empty, Quantiser(1.0)).shape == (6, 0)
