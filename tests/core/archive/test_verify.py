"""Faults of a chunk are found, and the best offers at every event are the book's."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from msgspec.structs import replace

from orderbook_desktop.core.archive import (
    DecodedChunk,
    agree,
    best_offers,
    decode_chunk,
    encode_chunk,
    reproduces,
    same_book,
    verify_chunk,
)
from orderbook_desktop.core.archive.numbers import EventNumbers
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import decode_diff
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.units import Scale
from tests.core.archive.runs import Run, run_of, runs, spelt
from tests.core.reference_book import snapshot_payload

SNAPSHOT = snapshot_payload([("1.00000000", "1.00000000")], [("3.00000000", "2.00000000")], 1)


def a_run(*levels: tuple[str, str]) -> Run:
    """Events 2, 3, … that each set one bid."""
    begin_ms = 1_700_000_000_000
    payloads = [
        spelt(n, n, begin_ms + 100 * n, [level], []) for n, level in enumerate(levels, start=2)
    ]
    return run_of(SNAPSHOT, [decode_diff(payload, 7) for payload in payloads])


def a_chunk() -> DecodedChunk:
    run = a_run(*[("1.50000000", f"{n}.00000000") for n in range(1, 6)])
    return decode_chunk(encode_chunk(run.start, run.events))


def reasons(chunk: DecodedChunk, start: BookImage | None = None) -> list[str]:
    return [fault.reason for fault in verify_chunk(chunk, start)]


def with_numbers(chunk: DecodedChunk, **columns: list[int]) -> DecodedChunk:
    arrays = {name: np.array(values) for name, values in columns.items()}
    numbers = EventNumbers(**{**chunk.numbers._asdict(), **arrays})
    return replace(chunk, numbers=numbers, stored_ms=numbers.event_ms)


@given(runs("any"))
def test_best_offers_are_those_of_the_book(run: Run) -> None:
    chunk = decode_chunk(encode_chunk(run.start, run.events))
    bids, asks = best_offers(chunk)
    for index in range(len(run.events)):
        book = chunk.book_after(index)
        assert bids[index] == (book.bids.prices[0] if len(book.bids.prices) else -1)
        assert asks[index] == (book.asks.prices[0] if len(book.asks.prices) else -1)


def test_a_sound_chunk_has_no_faults() -> None:
    chunk = a_chunk()
    assert not reasons(chunk, chunk.start_book())


def test_a_missing_event_is_found() -> None:
    chunk = a_chunk()
    faults = list(verify_chunk(with_numbers(chunk, first_ids=[2, 3, 5, 5, 6])))
    assert [str(fault) for fault in faults] == ["At update id 4: update ids are missing."]


def test_an_event_that_came_twice_is_found() -> None:
    chunk = with_numbers(a_chunk(), first_ids=[2, 3, 3, 4, 5], final_ids=[2, 3, 3, 4, 6])
    assert reasons(chunk) == ["an event repeats what was before it"]


def test_a_crossed_book_is_found_where_it_begins() -> None:
    run = a_run(("2.99000000", "1.00000000"), ("3.00000000", "1.00000000"))
    chunk = decode_chunk(encode_chunk(run.start, run.events))
    assert [fault.update_id for fault in verify_chunk(chunk)] == [3]


def test_a_book_that_does_not_follow_is_found() -> None:
    chunk = a_chunk()
    start = chunk.start_book()
    other = replace(start, asks=Levels(start.asks.prices, start.asks.quantities + 1))
    assert reasons(chunk, other) == ["the book differs from the one before it"]
    assert reasons(chunk, replace(start, last_update_id=2))


@pytest.mark.parametrize("name", ["first_id", "last_id", "to_event_ms", "from_received_ns"])
def test_a_header_that_tells_something_else_is_found(name: str) -> None:
    chunk = a_chunk()
    coverage = chunk.header.coverage
    other = msgspec.structs.replace(coverage, **{name: getattr(coverage, name) + 1})
    header = msgspec.structs.replace(chunk.header, coverage=other)
    assert reasons(replace(chunk, header=header)) == [
        f"the chunk's {name} is not that of its events"
    ]


def test_books_at_different_scales_are_compared_by_value() -> None:
    book = a_chunk().start_book()
    finer = replace(
        book,
        scale=Scale(9, 8),
        bids=Levels(book.bids.prices * 10, book.bids.quantities),
        asks=Levels(book.asks.prices * 10, book.asks.quantities),
    )
    assert same_book(book, finer)
    assert not same_book(book, replace(finer, scale=Scale(10, 8)))


def test_books_that_began_differently_agree_where_both_are_known() -> None:
    deep = image_with([(100, 5), (90, 4), (80, 3)], Horizon(80))
    assert agree(deep, image_with([(100, 5), (90, 4)], Horizon(90)))
    assert agree(deep, image_with([(100, 5), (90, 4), (70, 1)], Horizon(90)))
    assert agree(deep, image_with([(100, 5)], None))
    # A level is missing, or too many, or another, where both are known.
    for prices in ([(100, 5)], [(100, 5), (90, 4), (95, 1)], [(100, 5), (90, 4), (80, 2)]):
        assert not agree(deep, image_with(prices, Horizon(90)))
        assert not agree(image_with(prices, Horizon(90)), deep)
    assert not agree(deep, image_with([(100, 5), (90, 4)], Horizon(80)))
    later = replace(image_with([(100, 5), (90, 4)], Horizon(90)), last_update_id=10**9)
    assert not agree(deep, later)


def image_with(bids: list[tuple[int, int]], horizon: Horizon | None) -> BookImage:
    prices, quantities = np.array(bids, dtype=np.int64).T
    none = np.array([], dtype=np.int64)
    return BookImage(
        "BTCUSDT", 1, 1, Scale(), Levels(prices, quantities), Levels(none, none), horizon
    )


def test_a_chunk_reproduces_its_events_and_no_others() -> None:
    run = a_run(("1.50000000", "1.00000000"), ("1.60000000", "1.00000000"))
    chunk = decode_chunk(encode_chunk(run.start, run.events))
    assert reproduces(chunk, run.events)
    assert not reproduces(chunk, run.events[:1])
    late = decode_diff(run.events[1].payload, 8)
    assert not reproduces(chunk, [run.events[0], late])
    other = a_run(("1.50000000", "1.00000000"), ("1.60000000", "1.00000001"))
    assert not reproduces(chunk, other.events)


def test_an_event_that_spans_too_many_ids_is_found() -> None:
    ids = [2, 3, 4, 5, 20_000_000]
    chunk = with_numbers(a_chunk(), final_ids=ids)
    assert "an event spans the update ids 6 to 20000000" in reasons(chunk)


def test_impossible_times_are_found() -> None:
    chunk = a_chunk()
    told = chunk.stored_ms.copy()
    told[2] = 5
    assert "the event time 5 is impossible" in reasons(replace(chunk, stored_ms=told))
    assert any(
        "contradicts the one before it" in one for one in reasons(replace(chunk, stored_ms=told))
    )
