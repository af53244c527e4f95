from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core import book as book_module
from orderbook_desktop.core.book import BestOffer, Book, Crossing
from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.units import Scale
from tests.core.reference_book import (
    Change,
    ReferenceBook,
    changes,
    diff_payload,
    shown,
    snapshot_payload,
)

Sides = tuple[list[tuple[str, str]], list[tuple[str, str]]]

# From a token's trillions to dust, in the exchange's spelling and in others.
price_texts = st.sampled_from(
    ["0.00000712", "0.00000713", "7", "7.0", "7.10000000", "61837.63000000", "61837.6300000000"]
)
quantity_texts = st.one_of(
    st.sampled_from(["0", "0.00000000", "0.0000000000", "0.00000001", "1.5", "45035996.27370496"]),
    st.integers(0, 10**12).map(lambda whole: f"{whole}.00000000"),
)
# No int64 scale holds both of these.
colossal, minute = "1000000000000.00000000", "0.00000001"

sides = st.tuples(
    st.lists(st.tuples(price_texts, quantity_texts), max_size=4),
    st.lists(st.tuples(price_texts, quantity_texts), max_size=4),
)


def a_diff(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]] | None = None, update_id: int = 1
) -> DepthDiff:
    return decode_diff(diff_payload(bids, asks or [], update_id, update_id))


def loaded(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]] | None = None, update_id: int = 1
) -> Book:
    book = Book()
    book.load(decode_snapshot(snapshot_payload(bids, asks or [], update_id), "BTCUSDT", 77))
    return book


@given(sides, st.lists(st.tuples(sides, st.booleans()), max_size=6))
def test_reading_now_and_then_shows_the_true_book_or_refuses(
    first: Sides, later: list[tuple[Sides, bool]]
) -> None:
    snapshot = snapshot_payload(*first)
    book, reference = Book(), ReferenceBook().take(snapshot)
    eager = Book()
    for one in (book, eager):
        one.load(decode_snapshot(snapshot, "PEPEUSDT"))
    for update_id, (change, read) in enumerate(later, start=2):
        payload = diff_payload(*change, update_id, update_id)
        reference.take(payload)
        for one in (book, eager):
            one.apply(decode_diff(payload))
        readable = true_and_readable(eager, reference)
        if read:
            assert true_and_readable(book, reference) == readable
    assert true_and_readable(book, reference) == true_and_readable(eager, reference)


def true_and_readable(book: Book, reference: ReferenceBook) -> bool:
    """Whether the book can be read; if so, it is the true one."""
    try:
        bids, asks = shown(book)
    except InexactValue:
        with pytest.raises(InexactValue):
            book.best()
        return False
    assert (bids, asks) == reference.levels
    best = book.best()
    assert best.bid_price == (int(book.bids().prices[0]) if bids else None)
    assert best.ask_quantity == (int(book.asks().quantities[0]) if asks else None)
    return True


@given(st.lists(st.lists(changes(), max_size=5), max_size=12), st.data())
def test_merging_at_any_points_equals_one_by_one(
    batches: list[list[Change]], data: st.DataObject
) -> None:
    book, reference = Book(), ReferenceBook()
    handed_out = []
    for update_id, batch in enumerate(batches, start=1):
        bids = [(c.price, c.quantity) for c in batch if c.bid]
        asks = [(c.price, c.quantity) for c in batch if not c.bid]
        payload = diff_payload(bids, asks, update_id, update_id)
        book.apply(decode_diff(payload))
        reference.take(payload)
        if data.draw(st.booleans()):
            assert shown(book) == reference.levels
            levels = (*book.bids(), *book.asks())
            handed_out.append([(array, array.copy()) for array in levels])
    assert shown(book) == reference.levels
    for arrays in handed_out:
        assert all(np.array_equal(array, copy) for array, copy in arrays)


def test_arrays_handed_out_cannot_be_written_to() -> None:
    book = loaded([("1", "1")], [("2", "1")])
    for _ in range(2):
        for array in (*book.bids(), *book.asks()):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 5
        book.apply(a_diff([("1", "3")]))


def test_no_level_but_those_told() -> None:
    book = loaded([("2", "0.00000000"), ("1", "5")], [("3", "1"), ("4", "0.00000000")])
    book.apply(a_diff([("7", "0.00000000")], [("8", "0.00000000")]))
    assert shown(book) == ([(Decimal(1), Decimal(5))], [(Decimal(3), Decimal(1))])


def test_a_crossed_book_is_shown_as_told() -> None:
    book = loaded([("5", "1")], [("3", "2")])
    assert book.best() == BestOffer(5 * 10**8, 10**8, 3 * 10**8, 2 * 10**8)


def test_the_same_price_on_both_sides_is_two_levels() -> None:
    book = loaded([("0", "1"), ("5", "1")], [("0", "2"), ("5", "2")])
    book.apply(a_diff([("5", "0")], [("0", "0")]))
    assert shown(book) == ([(Decimal(0), Decimal(1))], [(Decimal(5), Decimal(2))])


def test_an_empty_book() -> None:
    book = Book()
    assert shown(book) == ([], [])
    assert book.best() == BestOffer(None, None, None, None)
    assert book.scale == Scale()
    assert (book.last_update_id, book.event_ms, book.revision) == (0, 0, 0)


def test_what_was_taken_in_last_is_known_without_merging() -> None:
    book = loaded([("1", "1")], update_id=5)
    assert (book.last_update_id, book.event_ms) == (5, 77)
    book.apply(a_diff([("1", "2")], update_id=6))
    assert (book.last_update_id, book.event_ms) == (6, 1_700_000_000_006)
    revisions = [book.revision]
    book.clear()
    assert (book.last_update_id, book.event_ms) == (0, 0)
    assert shown(book) == ([], [])
    revisions.append(book.revision)
    book.load(decode_snapshot(snapshot_payload([("3", "1")], []), "X"))
    assert shown(book) == ([(Decimal(3), Decimal(1))], [])
    assert revisions == sorted(set(revisions))
    assert book.revision > revisions[-1]


def test_changes_that_nobody_reads_are_merged_at_times() -> None:
    book, reference = Book(), ReferenceBook()
    for update_id in range(1, 700):
        diff = a_diff([(f"{update_id % 50}.5", str(update_id % 3))], update_id=update_id)
        book.apply(diff)
        reference.take(diff.payload)
        assert len(book._pending) < book_module._MERGE_AFTER
    assert shown(book) == reference.levels


@pytest.mark.parametrize("later_places", ["0.000000000001", "0.123456789"])
def test_a_later_value_moves_the_book_to_another_scale(later_places: str) -> None:
    book = loaded([("61837.00000000", "1.00000000")], [("61838.00000000", "0.00000001")])
    assert book.scale == Scale(8, 8)
    book.apply(a_diff([("61836.00000000", later_places)]))
    # Asked first, before anything was merged, it is that of the arrays to come.
    assert book.scale == Scale(8, len(later_places) - 2)
    assert shown(book) == (
        [(Decimal(61837), Decimal(1)), (Decimal(61836), Decimal(later_places))],
        [(Decimal(61838), Decimal("0.00000001"))],
    )


def test_digits_that_a_double_would_hide_are_kept() -> None:
    hidden = "0.10000000000000001"
    assert float(hidden) == 0.1
    book = loaded([("1.00000000", hidden)])
    assert shown(book) == ([(Decimal(1), Decimal(hidden))], [])


def test_quantities_of_trillions_lower_the_scale() -> None:
    book = loaded([("0.00000712", colossal)], [("0.00000713", "12345678901.50000000")])
    assert book.scale == Scale(8, 6)
    book.apply(a_diff([("0.00000711", "3.25")]))
    assert shown(book)[0] == [
        (Decimal("0.00000712"), Decimal(10**12)),
        (Decimal("0.00000711"), Decimal("3.25")),
    ]
    assert book.scale == Scale(8, 6)


def test_colossal_prices_keep_their_side() -> None:
    dearest = "9223372036854775807"
    book = loaded([("0", "1"), (dearest, "1")], [(dearest, "2")])
    assert book.scale.price == 0
    book.apply(a_diff([("7", "1")], [("8", "1")]))
    bids, asks = shown(book)
    assert [price for price, _ in bids] == [Decimal(dearest), Decimal(7), Decimal(0)]
    assert [price for price, _ in asks] == [Decimal(8), Decimal(dearest)]


def test_the_impossible_makes_the_book_unreadable_until_it_is_gone() -> None:
    book = loaded([("1", colossal)], [("3.00", "1.50")])
    assert book.too_wide() is None
    book.apply(a_diff([("2", minute)]))
    for read in (book.bids, book.asks, book.best):
        with pytest.raises(InexactValue, match=r"1000000000000 does not .* beside 0\.00000001"):
            read()
    assert book.scale == Scale()
    assert book.crossing() is None
    book.apply(a_diff([("1.0", "7")], [("4", "0.000")], update_id=9))
    assert (book.last_update_id, book.too_wide()) == (9, None)
    bids = [(Decimal(2), Decimal(minute)), (Decimal(1), Decimal(7))]
    assert shown(book) == (bids, [(Decimal(3), Decimal("1.5"))])
    book.apply(a_diff([("2", colossal)]))
    book.apply(a_diff([("1", minute)]))
    assert book.too_wide() is not None
    book.clear()
    assert shown(book) == ([], [])
    book.load(decode_snapshot(snapshot_payload([("1", minute)], []), "X"))
    assert shown(book) == ([(Decimal(1), Decimal(minute))], [])


@pytest.mark.parametrize(
    ("price", "quantity", "text"),
    [
        ("0.123456789012345678", "12345678901234567890123", "12345678901234567890123"),
        ("0.1234567890123456789", "0", "0.1234567890123456789"),
        ("9" * 300, "1", "9" * 300),
    ],
)
def test_a_value_that_no_scale_holds_alone(price: str, quantity: str, text: str) -> None:
    book = loaded([("1", "1")])
    book.apply(a_diff([(price, quantity)]))
    value = book.too_wide()
    assert value is not None
    assert (value.text, value.beside) == (text, "")
    book.apply(a_diff([(price, "0")]))
    assert book.too_wide() is None
    assert shown(book) == ([(Decimal(1), Decimal(1))], [])


def test_a_book_whose_only_level_was_too_wide_is_empty_and_readable() -> None:
    book = loaded([("1", "1" * 23)])
    assert book.too_wide() is not None
    book.apply(a_diff([("1", "0")]))
    assert (book.too_wide(), shown(book)) == (None, ([], []))


def test_a_level_at_fault_that_only_changes_leaves_the_book_too_wide() -> None:
    book = loaded([("1", colossal), ("3", colossal)])
    book.apply(a_diff([("2", minute)]))
    book.apply(a_diff([("1", "5"), ("4", "1")]))
    assert book.too_wide() is not None
    book.apply(a_diff([("3", "5")]))
    assert shown(book)[0] == [
        (Decimal(price), Decimal(quantity))
        for price, quantity in (("4", "1"), ("3", "5"), ("2", minute), ("1", "5"))
    ]


def test_taking_in_the_impossible_raises_nothing_and_stays_bounded() -> None:
    book = loaded([("1", colossal)])
    for update_id in range(2, 700):
        book.apply(a_diff([("2", minute)], update_id=update_id))
        assert len(book._pending) < book_module._MERGE_AFTER
    with pytest.raises(InexactValue):
        book.asks()


def test_impossible_and_taken_back_between_two_reads_is_possible() -> None:
    book = loaded([("1", colossal)])
    book.apply(a_diff([("2", minute)]))
    book.apply(a_diff([("2", "0")]))
    assert shown(book) == ([(Decimal(1), Decimal(colossal))], [])


def test_a_level_that_goes_makes_room_for_one_that_comes() -> None:
    for read_between in (True, False):
        book = loaded([("1", colossal)])
        book.apply(a_diff([("1", "0")]))
        if read_between:
            assert shown(book) == ([], [])
        book.apply(a_diff([("2", minute)]))
        assert shown(book) == ([(Decimal(2), Decimal(minute))], [])


def test_one_price_spelt_in_many_ways_is_one_level() -> None:
    book = loaded([("7", "1"), ("7.0", "2"), ("7.000000000000", "3")])
    book.apply(a_diff([("7.00000000", "4"), ("7", "5")]))
    assert shown(book) == ([(Decimal(7), Decimal(5))], [])


@given(st.lists(st.lists(changes(), max_size=6), max_size=30))
def test_a_crossing_is_told_exactly_when_there_is_one(made: list[list[Change]]) -> None:
    book, reference = loaded([("1.5", "1")], [("18.5", "1")]), ReferenceBook()
    reference.take(snapshot_payload([("1.5", "1")], [("18.5", "1")]))
    for update_id, event in enumerate(made, start=2):
        bids = [(change.price, change.quantity) for change in event if change.bid]
        asks = [(change.price, change.quantity) for change in event if not change.bid]
        payload = diff_payload(bids, asks, update_id, update_id)
        book.apply(decode_diff(payload))
        assert (book.crossing() is not None) is reference.take(payload).is_crossed


@pytest.mark.parametrize("is_merged", [False, True])
def test_most_crossings_are_ruled_out_without_a_merge(is_merged: bool) -> None:
    """Bids rise to where asks were: these go one by one, and a far one comes."""
    book = loaded([("99.0", "1.0")], [(f"{price}.0", "1.0") for price in range(100, 140)])
    if is_merged:
        book.best()
    waiting = len(book._pending)
    for price in range(100, 139):
        gone, far = (f"{price}.0", "0.0"), ("150.0", "2.0")
        book.apply(a_diff([(f"{price}.0", "1.0")], [gone, far]))
        assert book.crossing() is None
    assert len(book._pending) == waiting + 39
    book.apply(a_diff([("140.0", "1.0")], [("139.0", "0.0")]))
    assert book.crossing() is None
    book.apply(a_diff([("150.0", "1.0")]))
    assert book.crossing() == Crossing("150", "150")


def test_prices_that_doubles_cannot_tell_apart_cross_by_their_digits() -> None:
    below, above = ("135107988.82111489", "1.0"), ("135107988.82111490", "1.0")
    assert float(below[0]) == float(above[0])
    book = loaded([below], [above])
    assert book.crossing() is None
    book.apply(a_diff([above]))
    assert book.crossing() == Crossing("135107988.8211149", "135107988.8211149")
    book.apply(a_diff([(above[0], "0.0")], [below]))
    assert book.crossing() == Crossing(below[0], below[0])
    book.apply(a_diff([(below[0], "0.0"), ("1.0", "1.0")]))
    assert book.crossing() is None


def test_a_crossing_is_told_in_the_exchanges_decimals() -> None:
    book = loaded([("0.00000713", "5")], [("0.000007125", "6")])
    crossing = book.crossing()
    assert crossing is not None
    assert (crossing.bid, crossing.ask) == ("0.00000713", "0.000007125")
    assert str(crossing) == "the best bid 0.00000713 reaches the best ask 0.000007125"


def test_an_unreadable_book_and_one_without_a_side_cross_nothing() -> None:
    assert loaded([("2", colossal), ("1", minute)], [("1", "1")]).crossing() is None
    assert loaded([], [("1", "1")]).crossing() is None
    assert loaded([("1", "1")], []).crossing() is None
    assert Book().crossing() is None


@given(st.lists(sides, min_size=1, max_size=4), sides)
def test_a_held_image_is_the_book_that_it_was_made_of(made: list[Sides], later: Sides) -> None:
    """Also for the events that follow it, and beside any book of before."""
    book, held = Book(), Book()
    book.load(decode_snapshot(snapshot_payload(*made[0], 10), "BTCUSDT", 7, 9))
    for number, (bids, asks) in enumerate(made[1:]):
        book.apply(decode_diff(diff_payload(bids, asks, 11 + number, 11 + number), 5))
    held.load(decode_snapshot(snapshot_payload([("1", colossal), ("2", minute)], [], 1), "BTCUSDT"))
    before = held.revision
    try:
        image = image_of(book, "BTCUSDT")
    except InexactValue:
        return
    held.hold(image)
    assert held.revision == before + 1
    for _ in range(2):
        assert (held.last_update_id, held.event_ms) == (book.last_update_id, book.event_ms)
        assert (held.received_ns, held.horizon) == (book.received_ns, book.horizon)
        assert held.crossing() == book.crossing()
        try:
            told = shown(book)
        except InexactValue:
            assert held.too_wide() is not None
        else:
            assert (shown(held), held.scale) == (told, book.scale)
        for one in (book, held):
            one.apply(decode_diff(diff_payload(*later, 20, 20), 6))
