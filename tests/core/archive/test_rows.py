"""Rows of slices: every level in order, and books where runs begin."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import fields, replace

from orderbook_desktop.core.archive import ChunkSlice
from orderbook_desktop.core.archive.rows import LevelRows, RowStream, Survey
from orderbook_desktop.core.units import Scale
from tests.core.reference_book import Pairs, ReferenceBook, pairs_of
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
    delays = [rows.received_ns - rows.event_ms * 1_000_000 for rows in batches]
    assert survey.least_delay_ns == min(0, *(int(one.min()) for one in delays))


def _none_of(rows: LevelRows) -> LevelRows:
    arrays: dict[str, Any] = {
        field.name: value[:0]
        for field in fields(rows)
        if isinstance(value := getattr(rows, field.name), np.ndarray)
    }
    return replace(rows, **arrays)
