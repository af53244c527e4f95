"""Encoding: from a start book and the events that follow it to the columns of a chunk.

A chunk can be read without any other data. It holds, one after the other: ids and times of the
events; the prices of the start book and those that events add (`archive.keys`); when the level at
each price changes (`archive.lanes`) and what its quantity then is (`archive.quantities`); and what
is unusual, such as the text of an event that is not spelt as the exchange spells it
(`archive.wire`). Every column is a row of whole numbers (`archive.tokens`). Nothing is lost:
decoding gives back ids, times, levels and their order, and each event's payload byte for byte.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from orderbook_desktop.core.archive.chunk import (
    SCHEMA_VERSION,
    ArchiveChunk,
    ChunkColumns,
    ChunkHeader,
    OddColumns,
)
from orderbook_desktop.core.archive.keys import keys_of, write_keys
from orderbook_desktop.core.archive.lanes import Lanes, lanes_of, write_lanes
from orderbook_desktop.core.archive.numbers import (
    EventNumbers,
    Origin,
    coverage_of,
    numbers_of,
    origin_of,
    write_numbers,
)
from orderbook_desktop.core.archive.quantities import quantity_step, write_quantities
from orderbook_desktop.core.archive.tokens import BoolArray, Column, write_unsigned
from orderbook_desktop.core.archive.wire import Changes, read_changes
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import BugError, InexactValue
from orderbook_desktop.core.events import DepthDiff, level_texts
from orderbook_desktop.core.levels import EMPTY, Int64Array, Levels, fitting_exponent, rescaled
from orderbook_desktop.core.units import Scale


def encode_chunk(start: BookImage, events: Sequence[DepthDiff]) -> ArchiveChunk:
    """Return the chunk of `start` and the unbroken run of `events` that brings it forward.

    The run is what `core.depth_sync` applies: each event reaches beyond the one before it, the
    first one beyond `start`, and no id is left out. There is at least one event. Values are kept
    at the scale of `start`, or at another one where that does not hold them all.

    Raises `InexactValue` where no scale holds all values; such events can't be archived.
    """
    return _written(laid_out(start, events), events)


class Layout(NamedTuple):
    """The numbers of a chunk, before they are written as columns.

    `keys` are those of the changes and `quantities` those of all entries, in the order of entries
    (`archive.lanes`); `events` has the event of each change. `unsorted` has the events whose levels
    were not sent in the order of their keys, and the places of these levels. `odd` are the indexes
    of the events that are not spelt canonically.
    """

    header: ChunkHeader
    numbers: EventNumbers
    origin: Origin
    lanes: Lanes
    start_keys: Int64Array
    keys: Int64Array
    events: Int64Array
    quantities: Int64Array
    unsorted: tuple[Int64Array, Int64Array]
    odd: list[int]


def laid_out(start: BookImage, events: Sequence[DepthDiff]) -> Layout:
    """Return the numbers of the chunk of `start` and `events`; see `encode_chunk`."""
    ends = chain((start.last_update_id,), (event.final_id for event in events))
    for (before, after), event in zip(pairwise(ends), events, strict=True):
        if event.market != start.market or not event.first_id <= before + 1 <= after:
            raise BugError(f"event {event.first_id}..{event.final_id} does not follow {before}")
    return _laid_out(start, start.last_update_id, events)


def fitting_count(start: BookImage, events: Sequence[DepthDiff]) -> int:
    """Return how many of `events`, from the first on, fit into one chunk after `start`.

    A chunk has one scale, and the book may need one at its beginning and another at its end. 0 if
    no scale holds the first event beside the book before it.
    """
    if start.scale == Scale() and all(event.plain for event in events):
        return len(events)

    def is_too_long(count: int) -> bool:
        try:
            _fitting_scale(start, events[:count])
        except InexactValue:
            return True
        return False

    if not is_too_long(len(events)):
        return len(events)
    return bisect_left(range(len(events)), x=True, key=lambda index: is_too_long(index + 1))


def encode_loose(events: Sequence[DepthDiff]) -> ArchiveChunk:
    """Return the chunk of `events` of one market that belong to no known book.

    Such events arrived before the first snapshot, repeatedly, or within a gap. They are kept in
    the order in which they arrived. There is at least one event. Of an event whose values do not
    fit beside those of the others, only the text is kept.
    """
    markets = {event.market for event in events}
    if len(markets) != 1:
        raise BugError(f"a chunk is of one market, not of {len(markets)}")
    nothing = Levels(EMPTY, EMPTY)
    start = BookImage(markets.pop(), 0, 0, Scale(), nothing, nothing)
    return _written(_laid_out(start, None, events), events)


def _laid_out(start: BookImage, start_id: int | None, events: Sequence[DepthDiff]) -> Layout:
    if not events:
        raise BugError("a chunk without events")
    start, (changes, odd) = _read_at_fitting_scale(start, events, is_loose=start_id is None)
    numbers = numbers_of(events)
    origin = origin_of(numbers, start_id)
    book = _book_of(start)
    price_step = int(np.gcd.reduce(np.concatenate((book.prices, changes.prices)))) or 1
    start_keys = keys_of(book.prices, book.asks, price_step)
    keys = keys_of(changes.prices, changes.asks, price_step)
    order, unsorted = _order_by_key(changes.events, keys)
    keys = keys[order]
    quantities = np.concatenate((book.quantities, changes.quantities[order]))
    header = ChunkHeader(
        schema_version=SCHEMA_VERSION,
        market=start.market,
        coverage=coverage_of(numbers),
        start_id=start_id,
        start_event_ms=start.event_ms,
        bid_count=len(start.bids.prices),
        ask_count=len(start.asks.prices),
        change_count=len(keys),
        price_exponent=start.scale.price,
        quantity_exponent=start.scale.quantity,
        price_step=price_step,
        quantity_step=quantity_step(quantities),
        usual_step_ms=origin.usual_step_ms,
        least_delay_ns=origin.least_delay_ns,
        start_received_ns=start.received_ns,
        known=_ends_of(start),
    )
    lanes = lanes_of(start_keys, keys, changes.events, quantities != 0)
    return Layout(
        *(header, numbers, origin, lanes, start_keys, keys, changes.events, quantities),
        (unsorted, _places_of(changes.events, order, unsorted)),
        odd,
    )


def _written(layout: Layout, events: Sequence[DepthDiff]) -> ArchiveChunk:
    """Return the chunk of `layout`, which is that of `events`."""
    header, start_count = layout.header, len(layout.start_keys)
    new = layout.lanes.new_entries() - start_count
    columns = ChunkColumns(
        write_numbers(layout.numbers, layout.origin),
        write_keys(layout.start_keys, layout.keys[new], layout.events[new], len(events)),
        write_lanes(layout.lanes),
        write_quantities(layout.lanes, layout.quantities, start_count, header.quantity_step),
        _odd_columns(layout, events),
    )
    return ArchiveChunk(header, columns)


def _ends_of(start: BookImage) -> tuple[int | None, int | None] | None:
    """Return the ends of the start book's horizon in units of its prices."""
    if start.horizon is None:
        return None
    horizon = start.horizon.at(start.scale.price)
    return horizon.known_from, horizon.known_to


class _Book(NamedTuple):
    """The start book, bids before asks, each from the best one outward."""

    prices: Int64Array
    quantities: Int64Array
    asks: BoolArray


def _book_of(start: BookImage) -> _Book:
    prices = np.concatenate((start.bids.prices, start.asks.prices))
    quantities = np.concatenate((start.bids.quantities, start.asks.quantities))
    asks = np.repeat((False, True), (len(start.bids.prices), len(start.asks.prices)))
    keys = keys_of(prices, asks, 1)
    if (keys[1:] <= keys[:-1]).any() or (quantities <= 0).any():
        raise BugError("a start book is not sorted, or has empty levels")
    return _Book(prices, quantities, asks)


def _read_at_fitting_scale(
    start: BookImage, events: Sequence[DepthDiff], *, is_loose: bool
) -> tuple[BookImage, tuple[Changes, list[int]]]:
    """Return `start`, rescaled where needed, and the result of `read_changes` at its scale."""
    try:
        return start, read_changes(events, start.scale)
    except InexactValue:
        pass
    try:
        start = _rescaled_to_fit(start, events)
    except InexactValue:
        if not is_loose:
            raise
        return start, read_changes(events, start.scale, only_fitting=True)
    return start, read_changes(events, start.scale)


def _fitting_scale(start: BookImage, events: Sequence[DepthDiff]) -> Scale:
    """Return a scale that holds `start` and all values of `events`. Raises `InexactValue`."""
    levels = [pair for event in events for side in level_texts(event.payload) for pair in side]
    book = _book_of(start)
    prices, quantities = [price for price, _ in levels], [quantity for _, quantity in levels]
    return Scale(
        fitting_exponent(prices, book.prices, start.scale.price),
        fitting_exponent(quantities, book.quantities, start.scale.quantity),
    )


def _rescaled_to_fit(start: BookImage, events: Sequence[DepthDiff]) -> BookImage:
    scale = _fitting_scale(start, events)

    def moved(side: Levels) -> Levels:
        return Levels(
            rescaled(side.prices, scale.price - start.scale.price),
            rescaled(side.quantities, scale.quantity - start.scale.quantity),
        )

    return replace(start, scale=scale, bids=moved(start.bids), asks=moved(start.asks))


def _order_by_key(events: Int64Array, keys: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the order of changes by event and key, and the events that were not sent in it."""
    count = len(keys)
    disordered = (events[1:] == events[:-1]) & (keys[1:] <= keys[:-1])
    if not disordered.any():
        return np.arange(count), EMPTY
    # Changes of the same price keep their order.
    return np.lexsort((np.arange(count), keys, events)), np.unique(events[1:][disordered])


def _places_of(change_events: Int64Array, order: Int64Array, unsorted: Int64Array) -> Int64Array:
    """Return of each level of the events `unsorted`, by key, its place in the event."""
    if not len(unsorted):
        return EMPTY
    first_changes = change_events.searchsorted(unsorted)
    counts = change_events.searchsorted(unsorted, side="right") - first_changes
    places: Int64Array = order[np.isin(change_events, unsorted)]
    return places - np.repeat(first_changes, counts)


def _odd_columns(layout: Layout, events: Sequence[DepthDiff]) -> OddColumns:
    unsorted, places = layout.unsorted
    texts = [events[index].payload for index in layout.odd]
    odd_events: Int64Array = np.array(layout.odd, dtype=np.int64)
    return OddColumns(
        write_unsigned(np.diff(unsorted, prepend=0)),
        write_unsigned(places),
        write_unsigned(np.diff(odd_events, prepend=0)),
        write_unsigned(np.array([len(text) for text in texts], dtype=np.int64)),
        Column(b"".join(texts)),
    )
