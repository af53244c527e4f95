"""One side of a book, parted by its horizon: the levels known whole, and single levels beyond.

Window and page follow the same rules. A sum is made of the known levels only. Where it reaches
beyond the edge it is a lower bound, and says so: "at least 160.5 BTC; known to 61,631.55". A level
beyond the edge is shown by itself: a sum would count the unknown prices around it as empty.
`known_depth.js` does the same where a page follows the changes of a book.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import EMPTY, Levels

AT_LEAST: Final = "≥ "
"""The sign of a lower bound where there is no room for words."""

_NO_LEVELS: Final = Levels(EMPTY, EMPTY)


class KnownSide(Struct, frozen=True):
    """One side of a book, best price first.

    `whole` are the levels through `edge`, the last price that is known; `beyond` are the others.
    Without an edge all levels are in `whole`. If `is_proven`, the side then has no end. Otherwise
    it is not known how deep it is known, and every sum is a lower bound. `horizon` is the book's.
    """

    whole: Levels
    beyond: Levels
    edge: int | None
    horizon: Horizon | None

    @property
    def is_proven(self) -> bool:
        """Whether it is known how deep the book is known."""
        return self.horizon is not None

    def is_lower_bound(self, end: int | None, *, is_ask: bool) -> bool:
        """Return whether the sum from the best price through `end` is only a lower bound.

        `end` is None for the sum of the whole side.
        """
        return self.horizon is None or self.horizon.is_lower_bound(end, is_ask=is_ask)


def part_side(levels: Levels, horizon: Horizon | None, *, is_ask: bool) -> KnownSide:
    """Return `levels` parted by `horizon`, which has their scale."""
    edge = None if horizon is None else horizon.known_to if is_ask else horizon.known_from
    if edge is None:
        return KnownSide(levels, _NO_LEVELS, None, horizon)
    prices, quantities = levels
    if is_ask:
        count = int(prices.searchsorted(edge, side="right"))
    else:
        count = len(prices) - int(prices[::-1].searchsorted(edge))
    whole = Levels(prices[:count], quantities[:count])
    return KnownSide(whole, Levels(prices[count:], quantities[count:]), edge, horizon)


def depth_text(edge: str | None) -> str:
    """Return how deep a side is known, in words; `edge` is the text of its last known price."""
    return "not known how deep" if edge is None else f"known to {edge}"


def at_least_text(amount: str, edge: str | None) -> str:
    """Return a lower bound in words: `at least 160.5 BTC; known to 61,631.55`."""
    return f"at least {amount}; {depth_text(edge)}"


def sides_text(bids: KnownSide, asks: KnownSide, text: Callable[[int], str]) -> str:
    """Return how deep both sides are known: `bids known to 61,631.55, all asks known`.

    `text` writes a price.
    """
    if not bids.is_proven:
        return "not known how deep the book is known"
    return ", ".join(
        f"all {name} known" if side.edge is None else f"{name} {depth_text(text(side.edge))}"
        for name, side in (("bids", bids), ("asks", asks))
    )
