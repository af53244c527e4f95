"""Which blocks of tiles there are: their levels, the stretches of time they cover, their names.

A level is a statistic, a bin and a price step. Its blocks are fixed stretches of absolute time. A
block's name has a digest of what is recorded in its time, so that it never has to be compared with
the recording: where that changes, another block is asked for.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.grid import LONGEST_BIN_MS, TILED_FROM_MS, PriceGrid
from orderbook_desktop.core.timeline import Cover

BLOCK_COLUMNS: Final = 256
LONGEST_BLOCK_MS: Final = 65_536_000
COARSER: Final = 4
"""The bin of a level is so many times that of the next finer one."""
FINEST_INTEGRAL_MS: Final = TILED_FROM_MS * COARSER
BINS_MS: Final = tuple(
    TILED_FROM_MS * COARSER**power
    for power in range(16)
    if TILED_FROM_MS * COARSER**power <= LONGEST_BIN_MS
)
_DIGEST_BYTES: Final = 12


class Level(Struct, frozen=True, order=True):
    """One level of tiles; `step` is in units of 10^-`exponent`."""

    bin_ms: int
    step: int
    exponent: int
    statistic: Statistic

    @property
    def block_ms(self) -> int:
        """How long a block is."""
        return min(self.bin_ms * BLOCK_COLUMNS, LONGEST_BLOCK_MS)

    @property
    def finer(self) -> Level | None:
        """The level of whose blocks this one's are made; None: they are built from the archive."""
        finest = FINEST_INTEGRAL_MS if self.statistic is Statistic.INTEGRAL else TILED_FROM_MS
        if self.bin_ms <= finest:
            return None
        return Level(self.bin_ms // COARSER, self.step, self.exponent, self.statistic)


def levels_of(grid: PriceGrid, bin_ms: int) -> list[Level]:
    """Return the levels of one bin that are kept for a market."""
    levels = [Level(bin_ms, step, grid.exponent, Statistic.MAX) for step in grid.tiled]
    if bin_ms >= FINEST_INTEGRAL_MS:
        levels.append(Level(bin_ms, grid.base, grid.exponent, Statistic.INTEGRAL))
    return levels


class BlockKey(Struct, frozen=True, order=True):
    """A block of `market` from `from_ms` on; `digest` says what is recorded in its time."""

    market: str
    level: Level
    from_ms: int
    digest: str

    @property
    def to_ms(self) -> int:
        """Where its time ends."""
        return self.from_ms + self.level.block_ms


class Covers:
    """The covers of a market, to be looked up by time."""

    def __init__(self, market: str, covers: Sequence[Cover]) -> None:
        self.market = market
        self.all = covers
        # Neither times of beginning nor of ending ever go back.
        self._ends = [cover.to_ms for cover in covers]
        self._begins = [cover.from_ms for cover in covers]

    def within(self, from_ms: int, to_ms: int) -> Sequence[Cover]:
        """Return the covers that know a moment from `from_ms` to before `to_ms`."""
        return self.all[bisect_left(self._ends, from_ms) : bisect_left(self._begins, to_ms)]

    def covered_ms(self, from_ms: int, to_ms: int) -> int:
        """Return how long the book is known in that time."""
        found = self.within(from_ms, to_ms)
        return sum(min(cover.to_ms, to_ms) - max(cover.from_ms, from_ms) for cover in found)

    def goes_on_at(self, at_ms: int) -> bool:
        """Whether a run from before `at_ms` reaches it."""
        found = self.within(at_ms, at_ms + 1)
        return bool(found) and found[0].from_ms < at_ms

    def key(self, level: Level, from_ms: int) -> BlockKey | None:
        """Return the key of the block from `from_ms` on; None: nothing is recorded in its time."""
        digest = self._digest(from_ms, from_ms + level.block_ms)
        return None if digest is None else BlockKey(self.market, level, from_ms, digest)

    def _digest(self, from_ms: int, to_ms: int) -> str | None:
        """Return a digest of what a block is made of, if anything.

        Recorded events never change. So these are the ids and times of covers, as far as they lie
        in the block.
        """
        found = self.within(from_ms, to_ms)
        if not found:
            return None
        hashed = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for cover in found:
            begin = (
                (cover.after_id, cover.from_ms, cover.continues) if cover.from_ms >= from_ms else ()
            )
            end = (cover.last_id, cover.to_ms) if cover.to_ms < to_ms else ()
            hashed.update(repr((cover.segment_id, begin, end)).encode())
        return hashed.hexdigest()
