"""Which bins and price steps fit a view."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.heatmap.grid import (
    LONGEST_BIN_MS,
    PriceGrid,
    fitting_bin,
    fitting_step,
    round_step_from,
    tile_bin_of,
)

BTC = PriceGrid.of(tick=1_000_000, mid=60_000 * 10**8)


def test_the_base_step_is_a_basis_point_or_a_tick() -> None:
    assert PriceGrid(1_000_000, 10 * 10**8) == BTC
    assert BTC.tiled == (10 * 10**8, 50 * 10**8, 200 * 10**8)
    assert BTC.at(10) == PriceGrid(100_000_000, 1_000 * 10**8, 10)
    assert PriceGrid.of(tick=700, mid=1_000).base == 1_000
    assert PriceGrid.of(tick=0, mid=0) == PriceGrid(1, 1)


def test_a_damaged_grid_is_not_possible() -> None:
    assert BTC.is_possible
    others = [(0, 5), (1, 0), (-1, 5), (5, 1), (1, 10**18), (1, 5, 7), (1, 5, 19)]
    assert not any(PriceGrid(*numbers).is_possible for numbers in others)


@pytest.mark.parametrize(
    ("least", "step"), [(1, 1), (2, 2), (3, 5), (6, 10), (99, 100), (100, 100), (101, 200)]
)
def test_round_steps(least: int, step: int) -> None:
    assert round_step_from(least) == step


@pytest.mark.parametrize(
    ("ms_a_pixel", "bin_ms"),
    [(0.1, 100), (100, 100), (101, 200), (1_999, 2_000), (2_001, 4_000), (5_000, 8_000)],
)
def test_a_bin_is_a_pixel_wide_at_least(ms_a_pixel: float, bin_ms: int) -> None:
    assert fitting_bin(ms_a_pixel) == bin_ms
    assert fitting_bin(10**12) == LONGEST_BIN_MS


@pytest.mark.parametrize(
    ("bin_ms", "of_tile"),
    [(2_000, 0), (4_000, 4_000), (8_000, 4_000), (16_000, 16_000), (24_000, 4_000)],
)
def test_bins_are_made_of_the_longest_tiles_that_fit(bin_ms: int, of_tile: int) -> None:
    assert tile_bin_of(bin_ms) == of_tile


def test_a_step_is_a_pixel_high_at_least() -> None:
    assert fitting_step(BTC, 1, is_tiled=False) == BTC.tick
    assert fitting_step(BTC, 3 * 10**6, is_tiled=False) == 5 * 10**6
    assert fitting_step(BTC, 1, is_tiled=True) == BTC.base
    assert fitting_step(BTC, 11 * 10**8, is_tiled=True) == 50 * 10**8
    assert fitting_step(BTC, 10**15, is_tiled=True) == 200 * 10**8
