"""The book of a capture: the id rules, line by line."""

from __future__ import annotations

import pytest

from orderbook_desktop.exchange.http import NO_END, NOWHERE
from orderbook_desktop.exchange.local.capture_book import CaptureBook
from orderbook_desktop.formats.capture_messages import Diff, Snapshot


def _diff(first_id: int, final_id: int, price: str = "9.0", quantity: str = "1.0") -> Diff:
    return Diff(first_id, final_id, 0, [(price, quantity)], [])


def _snapshot(last_update_id: int, *prices: str) -> Snapshot:
    return Snapshot(last_update_id, [(price, "5.0") for price in prices], [("10.0", "5.0")])


def _prices(book: CaptureBook) -> list[str]:
    return [price for price, _ in book.view().bids]


def test_diffs_played_before_the_snapshot_count_if_they_are_newer() -> None:
    book = CaptureBook("M")
    for first_id, price in ((1, "1.0"), (11, "2.0"), (21, "3.0")):
        book.apply(_diff(first_id, first_id + 9, price))
    assert not book.known
    book.load(_snapshot(15, "4.0"))
    assert book.known
    assert (book.last_update_id, _prices(book)) == (30, ["4.0", "3.0", "2.0"])


def test_levels_are_the_same_however_they_are_spelt_and_zero_removes_them() -> None:
    book = CaptureBook("M")
    book.load(_snapshot(1, "9.00", "8"))
    book.apply(_diff(2, 2, "9.0", "7.0"))
    book.apply(_diff(3, 3, "8.000", "0.0"))
    assert book.view().bids == [("9.0", "7.0")]


def test_the_book_is_known_to_the_last_levels_of_its_snapshot_also_later() -> None:
    book = CaptureBook("M")
    book.load(Snapshot(1, [("9", "5"), ("7.00", "5"), ("8", "5")], [("10", "5"), ("12", "5")]))
    book.apply(Diff(2, 2, 0, [("3", "1"), ("7", "0"), ("8.5", "1")], [("11", "1"), ("40", "1")]))
    view = book.view()
    assert (view.known, view.known_texts) == (("7.00", "12"), ("7.00", "12"))
    # Levels beyond that have changed are known, one by one.
    assert [price for price, _ in view.bids] == ["9", "8.5", "8", "3"]
    assert [price for price, _ in view.asks] == ["10", "11", "12", "40"]
    older = book.older_view()
    assert older is not None
    assert older.known == view.known


def test_a_side_of_the_snapshot_without_levels_has_no_end() -> None:
    book = CaptureBook("M")
    book.load(Snapshot(1, [], [("10", "5")]))
    assert book.view().known_texts == (NO_END, "10")


def test_of_a_book_without_a_snapshot_nothing_is_known_as_whole() -> None:
    book = CaptureBook("M", without_snapshot=True)
    book.apply(_diff(1, 1, "9.0"))
    book.apply(_diff(2, 2, "1.0"))
    assert book.view().known_texts == (NOWHERE, NOWHERE)
    assert _prices(book) == ["9.0", "1.0"]


def test_old_diffs_change_nothing() -> None:
    book = CaptureBook("M")
    book.load(_snapshot(50, "4.0"))
    book.apply(_diff(40, 50))
    assert (book.last_update_id, _prices(book)) == (50, ["4.0"])


def test_a_later_snapshot_is_needed_only_after_a_gap() -> None:
    book = CaptureBook("M")
    book.load(_snapshot(5, "4.0"))
    book.apply(_diff(6, 6))
    book.load(_snapshot(6, "1.0"))
    assert _prices(book) == ["9.0", "4.0"]


@pytest.mark.expects_log(r"capture_book: the capture lacks update ids 7 to 8 of M")
def test_a_gap_of_the_capture_is_told_and_mended_by_its_next_snapshot() -> None:
    book = CaptureBook("M")
    book.load(_snapshot(5, "4.0"))
    book.apply(_diff(6, 6))
    book.apply(_diff(9, 9))
    assert (book.gaps, book.last_update_id) == (1, 9)
    book.load(_snapshot(9, "1.0"))
    assert _prices(book) == ["1.0"]


@pytest.mark.expects_log(r"snapshot 3 of M is older than the events around it")
def test_a_snapshot_that_does_not_reach_the_events_is_passed_over() -> None:
    book = CaptureBook("M")
    book.apply(_diff(8, 9))
    book.load(_snapshot(3, "4.0"))
    assert not book.known


def test_without_any_snapshot_the_end_makes_the_diffs_the_book() -> None:
    book = CaptureBook("M")
    book.apply(_diff(8, 9))
    book.end()
    assert book.known
    assert (book.last_update_id, _prices(book)) == (9, ["9.0"])


def test_the_older_book_is_fifty_to_a_hundred_diffs_behind() -> None:
    book = CaptureBook("M")
    assert book.older_view() is None
    book.load(_snapshot(0, "4.0"))
    for update_id in range(1, 121):
        book.apply(_diff(update_id, update_id))
    older = book.older_view()
    assert older is not None
    assert older.last_update_id == 50


@pytest.mark.parametrize(("first_id", "final_id"), [(2**62, 2**62), (52, 2**63 - 1), (60, 52)])
@pytest.mark.expects_log("can't follow update id 51")
def test_an_absurd_id_is_passed_over(first_id: int, final_id: int) -> None:
    book = CaptureBook("M")
    book.load(_snapshot(50, "4.0"))
    book.apply(_diff(51, 51, "5.0"))
    book.apply(_diff(first_id, final_id, "6.0"))
    book.apply(_diff(52, 52, "7.0"))
    assert (book.last_update_id, _prices(book)) == (52, ["7.0", "5.0", "4.0"])
