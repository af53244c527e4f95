"""What is archived comes back: every event byte for byte, and the book at any of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.archive import (
    DecodedChunk,
    chunk_of,
    decode_chunk,
    encode_chunk,
    encode_loose,
    reproduces,
    same_book,
    verify_chunk,
)
from orderbook_desktop.core.archive.lanes import Lanes
from orderbook_desktop.core.archive.numbers import numbers_of
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.errors import BugError, InexactValue
from orderbook_desktop.core.event_times import stored_times
from orderbook_desktop.core.events import (
    DepthDiff,
    decode_diff,
    decode_snapshot,
    level_texts,
    timed,
)
from orderbook_desktop.core.levels import EMPTY, Levels
from orderbook_desktop.core.units import Scale, parse_units
from tests.core.archive.runs import Run, run_of, runs, spelt
from tests.core.reference_book import pairs_of, snapshot_payload


def decoded(run: Run) -> DecodedChunk:
    return decode_chunk(encode_chunk(run.start, run.events))


def as_counted(run: Run) -> list[DepthDiff]:
    """The events of `run`, none of them at a time that can't be."""
    numbers = numbers_of(run.events)
    times = stored_times(numbers.event_ms, numbers.received_ns, run.start.event_ms)
    return [timed(event, ms) for event, ms in zip(run.events, times.tolist(), strict=True)]


def check(run: Run) -> None:
    chunk = decoded(run)
    counted = as_counted(run)
    assert list(chunk.diffs()) == counted
    assert reproduces(chunk, run.events)
    assert same_book(chunk.start_book(), run.start)
    scale = chunk.scale
    for index in range(-1, len(run.events)):
        book = chunk.book_after(index)
        shown = tuple(
            pairs_of(side, scale.price, scale.quantity) for side in (book.bids, book.asks)
        )
        assert shown == run.reference_after(index).levels
        if index >= 0:
            assert book.last_update_id == run.events[index].final_id
            assert book.event_ms == counted[index].event_ms
    assert same_book(chunk.final_book(), chunk.book_after(len(run.events) - 1))
    check_changes(chunk, run)
    check_unwritten(chunk, chunk_of(run.start, run.events))


def check_unwritten(chunk: DecodedChunk, unwritten: DecodedChunk) -> None:
    """A chunk whose columns were never written is the one that is decoded, array for array."""
    assert unwritten.header == chunk.header
    assert unwritten.odd_payloads == chunk.odd_payloads
    for part, other in zip(arrays_of(unwritten), arrays_of(chunk), strict=True):
        assert part.dtype == other.dtype
        assert part.tolist() == other.tolist()


def arrays_of(chunk: DecodedChunk) -> list[npt.NDArray[Any]]:
    lanes = [getattr(chunk.lanes, field) for field in Lanes.__struct_fields__]
    return [*chunk.numbers, *lanes, chunk.quantities, *chunk.unsorted, chunk.stored_ms]


def check_changes(chunk: DecodedChunk, run: Run) -> None:
    """The arrays say what the texts say, level by level, in the order sent."""
    price, quantity = chunk.scale.price, chunk.scale.quantity
    told = [
        (index, is_ask, parse_units(level[0], price), parse_units(level[1], quantity))
        for index, event in enumerate(run.events)
        for is_ask, side in enumerate(level_texts(event.payload))
        for level in side
    ]
    assert list(zip(*(column.tolist() for column in chunk.changes), strict=True)) == told
    check_changed_at(chunk, [(event, units) for event, _, units, _ in told])


def check_changed_at(chunk: DecodedChunk, told: list[tuple[int, int]]) -> None:
    """The events that change a price are found by it; `told` are events and prices."""
    levels = (chunk.start_book().bids, chunk.start_book().asks)
    others = {price for side in levels for price in side.prices.tolist()}
    prices = sorted({-1, 0, 1, *others, *(price for _, price in told)})
    numbers, events = chunk.changed_at(np.array(prices))
    found = {
        (event, prices[number])
        for number, event in zip(numbers.tolist(), events.tolist(), strict=True)
    }
    assert found == set(told)


@given(runs("real"))
def test_events_as_the_exchange_sends_them_come_back(run: Run) -> None:
    check(run)
    assert not decoded(run).odd_payloads
    faults = [fault.reason for fault in verify_chunk(decoded(run), run.start)]
    assert set(faults) <= {"the best bid reaches the best ask"}


@given(runs("any"))
def test_any_order_any_value_and_any_time_come_back(run: Run) -> None:
    check(run)


@given(runs("odd"))
def test_events_that_are_spelt_otherwise_come_back_byte_for_byte(run: Run) -> None:
    check(run)


@given(st.data())
def test_loose_events_come_back_in_whatever_order(data: st.DataObject) -> None:
    events = data.draw(st.permutations(data.draw(runs("any")).events * 2))
    chunk = decode_chunk(encode_loose(events))
    assert list(chunk.diffs()) == events
    assert not list(verify_chunk(chunk))
    assert not chunk.has_book
    with pytest.raises(BugError):
        chunk.final_book()


def event(
    first_id: int,
    final_id: int,
    bids: list[tuple[str, str]],
    asks: list[tuple[str, str]] | None = None,
) -> bytes:
    return spelt(first_id, final_id, 1_700_000_000_000 + final_id, bids, asks or [])


def test_a_removal_of_a_level_nobody_knows_is_kept() -> None:
    payload = event(2, 3, [("1.00000000", "0.00000000")], [("2.00000000", "0.00000000")])
    check(run_of(snapshot_payload([], [], 1), [decode_diff(payload, 5)]))


def test_values_that_need_another_scale_get_it() -> None:
    # 10^11 coins do not fit 64 bits at 10^-8; the start book has to move.
    snapshot = snapshot_payload([("0.50000000", "1.25000000")], [("2.00000000", "3.00000000")], 1)
    payload = event(2, 2, [("0.25000000", "100000000000.50000000")])
    run = run_of(snapshot, [decode_diff(payload, 1), decode_diff(event(3, 3, []), 2)])
    check(run)
    chunk = decoded(run)
    assert chunk.scale.quantity < 8
    assert not chunk.odd_payloads
    assert not list(verify_chunk(chunk, run.start))


def test_a_book_at_another_scale_stays_there() -> None:
    market, scale = "BTCUSDT", Scale(10, 6)
    start = BookImage(
        market, 1, 2, scale, Levels(np.array([3, 2]), np.array([7, 9])), Levels(EMPTY, EMPTY)
    )
    payload = event(2, 2, [("0.0000000003", "0")])
    chunk = decode_chunk(encode_chunk(start, [decode_diff(payload, 3)]))
    assert chunk.scale == scale
    assert chunk.final_book().bids.prices.tolist() == [2]
    assert chunk.payloads() == [payload]


def test_what_no_scale_holds_is_refused() -> None:
    payload = event(2, 2, [("1", "100000000000.00000000000001")])
    run = run_of(snapshot_payload([], [], 1), [decode_diff(payload, 1)])
    with pytest.raises(InexactValue):
        encode_chunk(run.start, run.events)


def test_an_order_that_moves_within_an_event_and_back() -> None:
    here, there = "1.00000000", "1.10000000"
    size, none = "0.12345000", "0.00000000"
    events = [
        event(2, 2, [(there, size), (here, none)]),
        event(3, 3, [(there, none), (here, size)]),
        # Twice the same price in one event, so that a source could lead to itself.
        event(4, 4, [(there, size), (there, none), (here, none), (here, size)]),
        event(5, 5, [(there, size), (here, none)]),
    ]
    start = snapshot_payload([(here, size)], [("2.00000000", size)], 1)
    check(run_of(start, [decode_diff(payload, 9) for payload in events]))


@pytest.mark.parametrize(
    ("ids", "what"), [((3, 4), "hole"), ((1, 1), "stale"), ((0, 1), "stale"), ((4, 9), "hole")]
)
def test_only_an_unbroken_run_makes_a_chunk(ids: tuple[int, int], what: str) -> None:
    run = run_of(snapshot_payload([], [], 1), [decode_diff(event(*ids, []), 1)])
    with pytest.raises(BugError):
        encode_chunk(run.start, run.events)
    assert list(decode_chunk(encode_loose(run.events)).diffs()) == run.events, what


def test_nothing_and_strangers_make_no_chunk() -> None:
    run = run_of(snapshot_payload([], [], 1), [decode_diff(event(2, 2, []), 1)])
    stranger = decode_diff(spelt(3, 3, 1, [], [], "ETHUSDT"), 1)
    for events in ([], [*run.events, stranger]):
        with pytest.raises(BugError):
            encode_chunk(run.start, events)
        with pytest.raises(BugError):
            encode_loose(events)


def test_a_start_book_with_an_empty_level_is_our_fault() -> None:
    bad = Levels(np.array([1]), np.array([0]))
    start = BookImage("BTCUSDT", 1, 2, Scale(), bad, Levels(EMPTY, EMPTY))
    with pytest.raises(BugError):
        encode_chunk(start, [decode_diff(event(2, 2, []), 1)])


def test_the_last_event_until_a_time() -> None:
    payloads = [spelt(n, n, ms, [], []) for n, ms in enumerate((10, 30, 20, 40), start=2)]
    run = run_of(snapshot_payload([], [], 1), [decode_diff(payload, 1) for payload in payloads])
    chunk = decoded(run)
    assert [chunk.last_until(ms) for ms in (9, 10, 29, 30, 39, 40, 99)] == [-1, 0, 0, 2, 2, 3, 3]
    for index in (-2, 4):
        with pytest.raises(BugError):
            chunk.book_after(index)


def test_books_are_equal_to_the_book_that_took_the_events() -> None:
    snapshot = snapshot_payload([("1.00000000", "1.00000000")], [("3.00000000", "2.00000000")], 1)
    diff = decode_diff(event(2, 5, [("1.00000000", "4.00000000")]), 7)
    book = Book()
    book.load(decode_snapshot(snapshot, "BTCUSDT", 1))
    start = image_of(book, "BTCUSDT")
    book.apply(diff)
    final = decode_chunk(encode_chunk(start, [diff])).final_book()
    assert same_book(final, image_of(book, "BTCUSDT"))
    assert not final.bids.prices.flags.writeable


def test_loose_events_are_kept_whatever_their_values() -> None:
    levels = [
        ("1.00000000", "2.00000000"),
        ("1.00000000", "93000000000.00000000"),
        ("0.123456789012345678", "1" * 23),
        ("1.00000000", "0.00000001"),
    ]
    events = [
        decode_diff(event(n, n, [level], [("3.00000000", "1.00000000")]), n)
        for n, level in enumerate(levels, start=5)
    ]
    chunk = decode_chunk(encode_loose(events))
    assert list(chunk.diffs()) == events
    assert reproduces(chunk, events)
    assert not list(verify_chunk(chunk))
