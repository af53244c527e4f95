from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import (
    BookChanges,
    BookImage,
    changes_between,
    encode_image,
    image_of,
    is_crossed,
    merge_changes,
    roll_forward,
)
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import Scale
from tests.core.reference_book import (
    Change,
    ReferenceBook,
    TruthHistory,
    changes,
    diff_payload,
    shown,
    snapshot_payload,
)

Pairs = list[tuple[str, str]]

Side = dict[int, int]
_SIDES = st.dictionaries(st.integers(1, 30), st.integers(1, 5), max_size=15)
_BOOKS = st.tuples(_SIDES, _SIDES)


def pairs(places: int, whole: int) -> st.SearchStrategy[Pairs]:
    """Levels whose prices and quantities have up to so many places and whole digits."""
    number = st.integers(1, 10 ** (whole + places) - 1).map(
        lambda units: f"{units // 10**places}.{units % 10**places:0{places}d}"
    )
    return st.lists(st.tuples(number, number), max_size=8)


SIDES = st.sampled_from([(8, 6), (2, 15), (12, 5), (16, 2), (1, 17)]).flatmap(
    lambda scale: st.tuples(pairs(*scale), pairs(*scale))
)


def book_of(payload: bytes) -> Book:
    book = Book()
    book.load(decode_snapshot(payload, "BTCUSDT", 5))
    return book


@given(SIDES)
def test_an_image_encodes_to_the_same_book(sides: tuple[Pairs, Pairs]) -> None:
    payload = snapshot_payload(*sides, update_id=77)
    book = book_of(payload)
    image = image_of(book, "BTCUSDT")
    assert (image.market, image.last_update_id, image.event_ms) == ("BTCUSDT", 77, 5)
    encoded = encode_image(image)
    again = book_of(encoded)
    assert shown(again) == shown(book) == ReferenceBook().take(payload).levels
    assert again.last_update_id == 77


@pytest.mark.parametrize(
    ("price", "quantity", "scale"),
    [
        ("1.5", "2", Scale(8, 8)),
        ("0.000000000001", "2", Scale(12, 8)),
        ("1.5", "123456789012", Scale(8, 7)),
        ("9223372036854775807", "0.000000000000000001", Scale(0, 18)),
    ],
)
def test_other_scales_come_back(price: str, quantity: str, scale: Scale) -> None:
    book = book_of(snapshot_payload([(price, quantity)], []))
    image = image_of(book, "BTCUSDT")
    assert image.scale == scale
    again = book_of(encode_image(image))
    assert again.scale == scale
    assert shown(again) == shown(book)


def test_an_image_does_not_change_with_its_book() -> None:
    book = book_of(snapshot_payload([("1", "1")], [("2", "1")]))
    image = image_of(book, "BTCUSDT")
    before = encode_image(image)
    book.apply(decode_diff(diff_payload([("1", "0")], [("2", "5")])))
    book.bids()
    assert encode_image(image) == before


def test_an_unreadable_book_has_no_image() -> None:
    book = book_of(snapshot_payload([("1", "1" + "0" * 30)], []))
    with pytest.raises(InexactValue):
        image_of(book, "BTCUSDT")


@given(st.lists(st.lists(changes(), min_size=1, max_size=4), max_size=8), st.data())
def test_rolling_forward_ends_in_the_true_book(
    batches: list[list[Change]], data: st.DataObject
) -> None:
    history = TruthHistory(first_id=100)
    history.changes.append(Change(bid=True, price="1.50000000", quantity="1.00000000"))
    diffs = []
    for batch in batches:
        first = history.last_id + 1
        history.changes.extend(batch)
        diffs.append(decode_diff(history.diff(first, history.last_id)))
    base_id = data.draw(st.integers(100, history.last_id))
    missing = data.draw(st.none() | st.sampled_from(diffs) if diffs else st.none())
    usable = [diff for diff in diffs if diff is not missing]
    base = decode_snapshot(history.snapshot(base_id), "BTCUSDT", 7)
    rolled = roll_forward(base, usable)
    if missing is None or missing.final_id <= base_id:
        end = history.last_id
    else:
        end = max(base_id, missing.first_id - 1)
    assert rolled.last_update_id == end
    book = Book()
    book.load(rolled)
    assert shown(book) == history.book_at(end).levels
    assert rolled.event_ms == (7 if end == base_id else 1_700_000_000_000 + end)


def test_rolling_forward_takes_the_overlapping_event() -> None:
    base = decode_snapshot(snapshot_payload([("1", "1")], [], 10), "BTCUSDT")
    rolled = roll_forward(base, [decode_diff(diff_payload([("1", "2")], [], 9, 12))])
    assert rolled.last_update_id == 12
    assert roll_forward(base, []) is base
    assert roll_forward(base, [decode_diff(diff_payload([], [], 12, 12))]) is base


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


@pytest.mark.parametrize(
    ("bids", "asks", "crossed"),
    [
        ([("1.0", "1")], [("2.0", "1")], False),
        ([("2.0", "1")], [("2.0", "1")], True),
        ([("2.5", "1")], [("2.0", "1")], True),
        ([], [("2.0", "1")], False),
        ([("2.0", "1")], [], False),
    ],
)
def test_a_book_is_crossed_where_the_bid_reaches_the_ask(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]], crossed: bool
) -> None:
    book = Book()
    book.load(decode_snapshot(snapshot_payload(bids, asks, 1), "BTCUSDT"))
    assert is_crossed(image_of(book, "BTCUSDT")) is crossed
