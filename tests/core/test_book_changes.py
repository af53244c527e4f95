"""Changes between images of a book, and merging them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.book_changes import BookChanges, changes_between, merge_changes
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import Scale

Side = dict[int, int]
_SIDES = st.dictionaries(st.integers(1, 30), st.integers(1, 5), max_size=15)
_BOOKS = st.tuples(_SIDES, _SIDES)


def _levels(side: Side, *, reverse: bool) -> Levels:
    prices = sorted(side, reverse=reverse)
    return Levels(
        np.array(prices, dtype=np.int64), np.array([side[p] for p in prices], dtype=np.int64)
    )


def _image(book: tuple[Side, Side], scale: Scale | None = None) -> BookImage:
    bids, asks = _levels(book[0], reverse=True), _levels(book[1], reverse=False)
    return BookImage("BTCUSDT", 1, 0, scale or Scale(), bids, asks)


def _applied(book: tuple[Side, Side], changes: BookChanges) -> tuple[Side, Side]:
    sides = []
    for side, levels in zip(book, (changes.bids, changes.asks), strict=True):
        changed = dict(side)
        changed.update(zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True))
        sides.append({price: size for price, size in changed.items() if size})
    return sides[0], sides[1]


@given(_BOOKS, _BOOKS)
def test_changes_turn_one_book_into_the_other(
    old: tuple[Side, Side], new: tuple[Side, Side]
) -> None:
    assert _applied(old, changes_between(_image(old), _image(new))) == new


@given(_BOOKS, _BOOKS)
def test_only_what_changed_is_told_and_best_first(
    old: tuple[Side, Side], new: tuple[Side, Side]
) -> None:
    changes = changes_between(_image(old), _image(new))
    expected = [
        {p for p in before | after if before.get(p) != after.get(p)}
        for before, after in zip(old, new, strict=True)
    ]
    assert changes.bids.prices.tolist() == sorted(expected[0], reverse=True)
    assert changes.asks.prices.tolist() == sorted(expected[1])
    assert len(changes) == len(expected[0]) + len(expected[1])


@given(st.lists(_BOOKS, min_size=2, max_size=5))
def test_merged_changes_do_what_they_do_one_after_the_other(
    books: list[tuple[Side, Side]],
) -> None:
    images = [_image(book) for book in books]
    steps = [changes_between(one, two) for one, two in pairwise(images)]
    assert _applied(books[0], merge_changes(steps)) == books[-1]


def test_images_of_different_scales_have_no_changes_between_them() -> None:
    with pytest.raises(ValueError, match="scales"):
        changes_between(_image(({}, {})), _image(({}, {}), Scale(2, 2)))
