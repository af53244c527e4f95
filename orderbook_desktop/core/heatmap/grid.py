"""The grids of bins and price steps: which ones there are, and which fits a view.

Bins and steps lie on an absolute grid, so that moving a view never bins anything again. Tiles are
kept for bins of 4 s times a power of 4, and for three price steps of a market: `base`, 5 and 20
times `base`. Other bins and steps are made of these, or read from the archive.
"""

from __future__ import annotations

from itertools import count
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.units import DEFAULT_EXPONENT, INT64_MAX, MAX_EXPONENT

FINE_BINS_MS: Final = (100, 200, 500, 1_000, 2_000)
"""Bins that are read from the archive: what they show is short."""
TILED_FROM_MS: Final = 4_000
LONGEST_BIN_MS: Final = TILED_FROM_MS * 4**7
"""The longest bin of a tile: about 18 hours."""
BASE_FACTORS: Final = (1, 5, 20)
"""Tiles of maxima have these multiples of the base step."""
_ONE_BASIS_POINT: Final = 10_000
_ROUND: Final = (1, 2, 5)


class PriceGrid(Struct, frozen=True):
    """The price steps of a market: `tick` and `base`, in units of 10^-`exponent`.

    `base` is fixed when the market's first day is known: the smallest 1, 2 or 5 times a power of
    ten that is not under the tick, nor under one basis point of that day's mid.
    """

    tick: int
    base: int
    exponent: int = DEFAULT_EXPONENT

    @classmethod
    def of(cls, tick: int, mid: int, exponent: int = DEFAULT_EXPONENT) -> PriceGrid:
        """Return the grid of a market with that tick and mid."""
        least = max(tick, -(-mid // _ONE_BASIS_POINT), 1)
        return cls(max(tick, 1), round_step_from(least), exponent)

    def at(self, exponent: int) -> PriceGrid:
        """Return the grid in units of 10^-`exponent`, which are not coarser."""
        factor: int = 10 ** (exponent - self.exponent)
        return PriceGrid(self.tick * factor, self.base * factor, exponent)

    @property
    def is_possible(self) -> bool:
        """Whether there can be such a grid: a stored one may be damaged."""
        can_be = 0 < self.tick <= self.base <= self.tiled[-1] <= INT64_MAX
        return can_be and DEFAULT_EXPONENT <= self.exponent <= MAX_EXPONENT

    @property
    def tiled(self) -> tuple[int, ...]:
        """The price steps of tiles, the finest first."""
        return tuple(self.base * factor for factor in BASE_FACTORS)


def round_step_from(least: int) -> int:
    """Return the smallest 1, 2 or 5 times a power of ten that is not under `least` (over 0)."""
    power = int(10 ** (len(str(least)) - 1))
    return next(power * one for one in (*_ROUND, 10) if power * one >= least)


def fitting_bin(ms_a_pixel: float) -> int:
    """Return the shortest bin that is a pixel wide at least, up to `LONGEST_BIN_MS`."""
    for bin_ms in FINE_BINS_MS:
        if bin_ms >= ms_a_pixel:
            return bin_ms
    tiled = (TILED_FROM_MS << power for power in count())
    return next(one for one in tiled if one >= min(ms_a_pixel, LONGEST_BIN_MS))


def tile_bin_of(bin_ms: int) -> int:
    """Return the longest bin of tiles of which bins of `bin_ms` can be made; 0: there is none."""
    found, bin_of_tile = 0, TILED_FROM_MS
    while bin_of_tile <= min(bin_ms, LONGEST_BIN_MS):
        if bin_ms % bin_of_tile == 0:
            found = bin_of_tile
        bin_of_tile *= 4
    return found


def fitting_step(grid: PriceGrid, units_a_pixel: float, *, is_tiled: bool) -> int:
    """Return the smallest price step that is a pixel high at least.

    Where cells come from tiles it is one of those of the grid, the widest one if all are lower than
    a pixel.
    """
    if is_tiled:
        return next((step for step in grid.tiled if step >= units_a_pixel), grid.tiled[-1])
    factor = round_step_from(max(1, -(-int(units_a_pixel) // grid.tick)))
    return grid.tick * factor
