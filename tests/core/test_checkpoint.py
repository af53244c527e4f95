from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import encode_image, image_of, roll_forward
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import decode_diff, decode_snapshot
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
