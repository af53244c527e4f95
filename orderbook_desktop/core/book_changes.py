"""What changed between two images of a book, as the absolute quantities of changed levels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.levels import Int64Array, Levels


@dataclass(frozen=True, slots=True)
class BookChanges:
    """Changed levels of both sides, best price first; a quantity of 0 removes its level.

    Units are those of the images that were compared.
    """

    bids: Levels
    asks: Levels

    def __len__(self) -> int:
        return len(self.bids.prices) + len(self.asks.prices)


def changes_between(old: BookImage, new: BookImage) -> BookChanges:
    """Return what turns `old` into `new`, of the same market and scale (else `ValueError`)."""
    if old.scale != new.scale or old.market != new.market:
        raise ValueError("images of different markets or scales have no changes between them")
    return BookChanges(
        _mirrored(_side_changes(_mirrored(old.bids), _mirrored(new.bids))),
        _side_changes(old.asks, new.asks),
    )


def merge_changes(parts: Iterable[BookChanges]) -> BookChanges:
    """Return the changes that do what `parts`, of the same scale, do one after the other."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    for part in parts:
        for side, levels in ((bids, part.bids), (asks, part.asks)):
            side.update(zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True))
    return BookChanges(_levels(bids, best_is_highest=True), _levels(asks, best_is_highest=False))


def _mirrored(levels: Levels) -> Levels:
    """Return bids so that their prices ascend from the best one outward, as asks' do."""
    return Levels(-levels.prices, levels.quantities)


def _side_changes(old: Levels, new: Levels) -> Levels:
    if not len(old.prices):
        return new
    at = old.prices.searchsorted(new.prices)
    known = old.prices.take(at, mode="clip") == new.prices
    changed = ~known | (old.quantities.take(at, mode="clip") != new.quantities)
    gone = np.ones(len(old.prices), dtype=np.bool_)
    gone[at[known]] = False
    prices: Int64Array = np.concatenate((new.prices[changed], old.prices[gone]))
    quantities: Int64Array = np.zeros(len(prices), dtype=np.int64)
    quantities[: int(changed.sum())] = new.quantities[changed]
    order = prices.argsort()
    return Levels(prices[order], quantities[order])


def _levels(side: dict[int, int], *, best_is_highest: bool) -> Levels:
    prices = sorted(side, reverse=best_is_highest)
    return Levels(
        np.array(prices, dtype=np.int64),
        np.array([side[price] for price in prices], dtype=np.int64),
    )
