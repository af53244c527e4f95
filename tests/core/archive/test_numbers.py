"""Ids and times of events of any kind, to columns and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.archive.numbers import (
    coverage_of,
    numbers_of,
    origin_of,
    read_numbers,
    write_numbers,
)
from orderbook_desktop.core.errors import DamagedChunk
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.streams import MarketEvent
from tests.core.prints import Print

ids = st.integers(0, 2**62)
times_ms = st.integers(0, 2**42)
times_ns = st.integers(0, 2**62)


def event_of(kind: type, first_id: int, final_id: int, event_ms: int, at_ns: int) -> MarketEvent:
    if kind is Print:
        return Print("X", first_id, event_ms, at_ns, b"", "1")
    return DepthDiff("X", first_id, final_id, event_ms, at_ns, b"", [], [], plain=True)


@given(
    st.sampled_from([Print, DepthDiff]),
    st.lists(st.tuples(ids, ids, times_ms, times_ns), min_size=1, max_size=20),
    st.none() | ids,
)
def test_columns_give_back_ids_and_times(
    kind: type, found: list[tuple[int, int, int, int]], start_id: int | None
) -> None:
    events = [
        event_of(kind, min(one, other), max(one, other), event_ms, at_ns)
        for one, other, event_ms, at_ns in found
    ]
    numbers = numbers_of(events)
    origin = origin_of(numbers, start_id)
    read = read_numbers(write_numbers(numbers, origin), origin, len(events))
    assert [column.tolist() for column in read] == [column.tolist() for column in numbers]
    assert read.final_ids.tolist() == [event.final_id for event in events]
    coverage = coverage_of(read)
    assert coverage.first_id == min(event.first_id for event in events)
    assert coverage.to_received_ns == max(event.received_ns for event in events)


def test_the_regular_run_takes_a_byte_a_number() -> None:
    prints = [
        event_of(Print, 100 + n, 0, 1_000 * n, 1_000_000_000 * n + 5_000_000) for n in range(50)
    ]
    numbers = numbers_of(prints)
    columns = write_numbers(numbers, origin_of(numbers, 99))
    assert columns.id_steps.tokens == columns.id_spans.tokens == bytes(50)
    assert columns.received_ns.tokens == bytes(50)


def test_columns_of_another_number_of_events_are_damaged() -> None:
    numbers = numbers_of([event_of(Print, 1, 0, 1, 1)])
    origin = origin_of(numbers, 0)
    with pytest.raises(DamagedChunk):
        read_numbers(write_numbers(numbers, origin), origin, 2)
