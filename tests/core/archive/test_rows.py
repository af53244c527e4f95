"""Rows of slices: every level in order, and books where runs begin."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from msgspec.structs import fields, replace

from orderbook_desktop.core.archive import ChunkSlice, chunk_of
from orderbook_desktop.core.archive.rows import LevelRows, RowStream, Survey
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.events import decode_diff, decode_spot_snapshot
from orderbook_desktop.core.units import Scale
from tests.core.reference_book import (
    Pairs,
    ReferenceBook,
    diff_payload,
    pairs_of,
    snapshot_payload,
)
from tests.formats.taped import Taped, two_runs


def rows_of(*parts: ChunkSlice) -> list[LevelRows]:
    stream = RowStream()
    rows = [rows for part in parts for rows in stream.take(part)]
    return [*rows, *stream.finish()]


def rebuilt(batches: list[LevelRows]) -> dict[int, tuple[Pairs, Pairs]]:
    """The book after each event, and each book."""
    book, books = ReferenceBook(), {}
    for rows in batches:
        if rows.is_snapshot:
            book = ReferenceBook()
        levels = pairs_of((rows.prices, rows.quantities), *_exponents(rows))  # type: ignore[arg-type]
        for update_id, ask, level in zip(
            rows.final_ids.tolist(), rows.asks.tolist(), levels, strict=True
        ):
            book.change(book.asks if ask else book.bids, *level)
            books[update_id] = book.levels
    return books


def _exponents(rows: LevelRows) -> tuple[int, int]:
    return rows.scale.price, rows.scale.quantity


def test_every_book_can_be_rebuilt() -> None:
    taped = two_runs()
    assert rebuilt(rows_of(*taped.parts)) == taped.books


def test_a_book_has_the_id_and_time_that_it_is_as_of() -> None:
    taped = two_runs()
    part = replace(taped.parts[0], begin=7, opens=True)
    book, rows = rows_of(part)[:2]
    numbers = part.chunk.numbers
    assert book.is_snapshot
    assert not rows.is_snapshot
    assert set(book.final_ids.tolist()) == {numbers.final_ids[6]}
    assert set(book.event_ms.tolist()) == {numbers.event_ms[6]}
    assert set(book.received_ns.tolist()) == {numbers.received_ns[6]}
    assert rows.first_ids[0] == numbers.first_ids[7]
    # The arrival of the very first one is not known.
    book = rows_of(taped.parts[0])[0]
    assert set(book.received_ns.tolist()) == {numbers.received_ns[0] - 1_000}
    assert set(book.event_ms.tolist()) == {numbers.event_ms[0]}


def test_a_book_that_another_one_follows_at_once_is_left_out() -> None:
    taped = Taped().run(3).gap().run(3)
    first, second = taped.parts
    empty = ChunkSlice(first.chunk, 3, 3, opens=True)
    assert [rows.is_snapshot for rows in rows_of(empty, second)] == [True, False]
    assert rebuilt(rows_of(empty, second)).keys() <= rebuilt(rows_of(second)).keys()
    assert [rows.is_snapshot for rows in rows_of(second, empty)] == [True, False, True]


def test_an_empty_book_voids_the_one_before() -> None:
    taped = Taped().run(3).emptied().run(4)
    batches = rows_of(*taped.parts)
    assert [rows.is_snapshot for rows in batches] == [True, False, True, False]
    void, after = batches[2:]
    assert (len(void), void.quantities.tolist()) == (1, [0])
    assert void.final_ids[0] == after.first_ids[0] - 1
    assert void.received_ns[0] == after.received_ns[0] - 1_000
    assert rebuilt(batches) == taped.books


def test_the_head_of_rows_is_rows() -> None:
    rows = rows_of(*two_runs().parts)[1]
    head = rows.head(5)
    assert len(head) == 5
    for name in ("first_ids", "final_ids", "event_ms", "received_ns", "asks", "quantities"):
        assert getattr(head, name).tolist() == getattr(rows, name)[:5].tolist()


def test_a_survey_tells_what_there_is() -> None:
    taped = two_runs()
    batches = rows_of(*taped.parts)
    survey = Survey()
    for rows in (*batches, _none_of(batches[0])):
        survey.take(rows)
    assert survey.rows == sum(map(len, batches))
    assert survey.books == sum(rows.is_snapshot for rows in batches) == 2
    assert survey.first_id == batches[0].final_ids[0]
    assert survey.last_id == batches[-1].final_ids[-1]
    assert survey.scale == Scale(
        max(rows.scale.price for rows in batches), max(rows.scale.quantity for rows in batches)
    )
    delays = [
        rows.received_ns - rows.event_ms * 1_000_000 for rows in batches if not rows.is_snapshot
    ]
    assert survey.least_delay_ns == min(0, *(int(one.min()) for one in delays))


def _none_of(rows: LevelRows) -> LevelRows:
    arrays: dict[str, Any] = {
        field.name: value[:0]
        for field in fields(rows)
        if isinstance(value := getattr(rows, field.name), np.ndarray)
    }
    return replace(rows, **arrays)


def slice_of(bids: list[tuple[str, str]], depth: int, update_id: int = 10) -> ChunkSlice:
    """A slice of one event, after an answer of the exchange with at most `depth` levels a side."""
    asks = [("9.6", "1"), ("9.7", "2"), ("9.8", "3")]
    payload, book = snapshot_payload(bids[:depth], asks[:depth], update_id), Book()
    book.load(decode_spot_snapshot(payload, "BTCUSDT", depth))
    event = decode_diff(diff_payload([("9.5", "7")], [], update_id + 1, update_id + 1))
    return ChunkSlice(chunk_of(image_of(book, "BTCUSDT"), [event]), 0, 1, opens=False)


@pytest.mark.parametrize("far", ["9.2", "9.000000000001"])
def test_levels_that_a_slice_knows_besides_come_before_its_events(far: str) -> None:
    """An answer was joined between the two: the rows lead to the deeper book."""
    first = replace(slice_of([("9.5", "1"), ("9.4", "2")], 2), opens=True)
    part = slice_of([("9.5", "7"), ("9.4", "2"), ("9.3", "3"), (far, "4")], 4, 11)
    book, event, joined, last = rows_of(first, part)
    assert (book.is_snapshot, event.is_snapshot, joined.is_snapshot) == (True, False, False)
    assert joined.final_ids.tolist() == joined.first_ids.tolist() == [11, 11, 11]
    assert joined.asks.tolist() == [False, False, True]
    places = joined.scale.price
    assert joined.prices.tolist() == [
        int(Decimal(price) * 10**places) for price in ("9.3", far, "9.8")
    ]
    assert joined.received_ns.tolist() == [part.start_book().received_ns] * 3
    assert last.final_ids.tolist() == [12]
    # A book that knows no more, one of another update id, and one that contradicts.
    assert len(rows_of(first, replace(part, chunk=slice_of([("9.5", "7")], 1, 11).chunk))) == 3
    assert len(rows_of(first, slice_of([("9.5", "7"), ("9.4", "2"), ("9.3", "3")], 3, 13))) == 3
    assert len(rows_of(first, slice_of([("9.5", "7"), ("9.4", "9"), ("9.3", "3")], 3, 11))) == 3
