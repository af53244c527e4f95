"""Ids and times of events, as arrays and as columns: what chunks of all kinds have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from orderbook_desktop.core.archive.lanes import fitting
from orderbook_desktop.core.archive.tokens import (
    Column,
    read_signed,
    read_unsigned,
    write_signed,
    write_unsigned,
)
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.streams import MarketEvent

_NS_A_MS: Final = 1_000_000


class EventNumbers(NamedTuple):
    """Four int64 arrays, one number per event; see `core.streams.MarketEvent`."""

    first_ids: Int64Array
    final_ids: Int64Array
    event_ms: Int64Array
    received_ns: Int64Array


def numbers_of(events: Sequence[MarketEvent]) -> EventNumbers:
    """Return ids and times of `events`."""
    return EventNumbers(
        np.array([event.first_id for event in events], dtype=np.int64),
        np.array([event.final_id for event in events], dtype=np.int64),
        np.array([event.event_ms for event in events], dtype=np.int64),
        np.array([event.received_ns for event in events], dtype=np.int64),
    )


class Coverage(msgspec.Struct, frozen=True, array_like=True):
    """What the events of a chunk cover.

    `first_id` and `last_id` are the least and the greatest id, `from_event_ms` and
    `to_event_ms` the earliest and latest event time, `from_received_ns` and
    `to_received_ns` the earliest and latest time of receipt.
    """

    event_count: int
    first_id: int
    last_id: int
    from_event_ms: int
    to_event_ms: int
    from_received_ns: int
    to_received_ns: int


def coverage_of(numbers: EventNumbers) -> Coverage:
    """Return what the events of `numbers` cover."""
    first_ids, final_ids, event_ms, received_ns = numbers
    return Coverage(
        len(first_ids),
        int(first_ids.min()),
        int(final_ids.max()),
        int(event_ms.min()),
        int(event_ms.max()),
        int(received_ns.min()),
        int(received_ns.max()),
    )


class Origin(NamedTuple):
    """What the columns of ids and times count from; a chunk's header has it.

    `start_id` is the id before the first event, `usual_step_ms` the usual time from event to event,
    and `least_delay_ns` the least time from an event to its receipt.
    """

    start_id: int
    usual_step_ms: int
    least_delay_ns: int


def origin_of(numbers: EventNumbers, start_id: int | None) -> Origin:
    """Return the origin of the columns of `numbers`; `start_id` is None if it is not known."""
    steps = np.sort(np.diff(numbers.event_ms))
    usual_step_ms = int(steps[len(steps) // 2]) if len(steps) else 0
    return Origin(start_id or 0, usual_step_ms, int(_delays(numbers).min()))


class EventColumns(msgspec.Struct, frozen=True, array_like=True):
    """The stored form of ids and times, one number per event in each column.

    `id_steps` is the first id less the expected one, which follows the last id of the event
    before. `id_spans` is how many more ids the event covers. `event_ms` is the time since the
    event before, less the header's `usual_step_ms`. `received_ns` is the time from event to
    receipt, less the header's `least_delay_ns`.
    """

    id_steps: Column
    id_spans: Column
    event_ms: Column
    received_ns: Column


def write_numbers(numbers: EventNumbers, origin: Origin) -> EventColumns:
    """Return the columns of `numbers`."""
    first_ids, final_ids, event_ms, _ = numbers
    expected = np.concatenate(([origin.start_id], final_ids[:-1])) + 1
    return EventColumns(
        write_signed(first_ids - expected),
        write_unsigned(final_ids - first_ids),
        write_signed(np.diff(event_ms, prepend=0) - origin.usual_step_ms),
        write_unsigned(_delays(numbers) - origin.least_delay_ns),
    )


def read_numbers(columns: EventColumns, origin: Origin, count: int) -> EventNumbers:
    """Return the numbers of `count` events. Raises `DamagedChunk`."""
    steps = fitting(read_signed(columns.id_steps), count)
    spans = fitting(read_unsigned(columns.id_spans), count)
    final_ids = (steps + spans + 1).cumsum() + origin.start_id
    event_ms = (fitting(read_signed(columns.event_ms), count) + origin.usual_step_ms).cumsum()
    delays = fitting(read_unsigned(columns.received_ns), count) + origin.least_delay_ns
    return EventNumbers(final_ids - spans, final_ids, event_ms, event_ms * _NS_A_MS + delays)


def _delays(numbers: EventNumbers) -> Int64Array:
    """Return the time from each event to its receipt, in ns.

    Times beyond the year 2262 wrap around in 64 bits, on the way back too.
    """
    return numbers.received_ns - numbers.event_ms * _NS_A_MS
