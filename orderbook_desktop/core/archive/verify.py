"""Proof of a chunk: its header, its ids, and its book at every event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive.decoded import DecodedChunk
from orderbook_desktop.core.archive.keys import prices_of
from orderbook_desktop.core.archive.numbers import coverage_of
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.event_times import EARLIEST_MS, all_in_ms
from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Int64Array, least_standing
from orderbook_desktop.core.units import MAX_EXPONENT


class ChunkFault(Struct, frozen=True):
    """Something that does not hold; `update_id` says where, `reason` what."""

    update_id: int
    reason: str

    def __str__(self) -> str:
        return f"At update id {self.update_id}: {self.reason}."


def verify_chunk(chunk: DecodedChunk, start: BookImage | None = None) -> Iterator[ChunkFault]:
    """Iterate over what is wrong with `chunk`, the first of each kind; nothing if it holds.

    These have to hold: the header fits the events. The ids go from the start book through the last
    event without a hole. No time is impossible. The book is not crossed or locked at the end of
    any event. The start book is `start` where given, the book that the chunk before ended with. In
    a loose chunk only the header can be checked.
    """
    yield from chunk_faults(chunk, start)
    if chunk.has_book:
        yield from _time_faults(chunk)
        yield from _crossing_faults(chunk)


def chunk_faults(chunk: DecodedChunk, start: BookImage | None = None) -> Iterator[ChunkFault]:
    """Iterate over the faults of `verify_chunk` that are the chunk's, not the exchange's.

    The exchange may have sent a book that crosses.
    """
    yield from _header_faults(chunk)
    if chunk.header.start_id is None:
        return
    yield from _id_faults(chunk, chunk.header.start_id)
    if start is not None and not same_book(chunk.start_book(), start):
        yield ChunkFault(chunk.header.start_id, "the book differs from the one before it")


def reproduces(chunk: DecodedChunk, events: Sequence[DepthDiff]) -> bool:
    """Return whether `chunk` gives back exactly `events`, so that they may be removed."""
    return (
        chunk.numbers.received_ns.tolist() == [event.received_ns for event in events]
        and chunk.stored_ms.tolist() == [event.event_ms for event in events]
        and chunk.payloads() == [event.payload for event in events]
        and all(event.market == chunk.header.market for event in events)
    )


def same_book(book: BookImage, other: BookImage) -> bool:
    """Return whether two books are the same, also at different scales."""
    if (book.market, book.last_update_id) != (other.market, other.last_update_id):
        return False
    if book.scale == other.scale:
        return all(
            np.array_equal(mine, theirs)
            for side, others in ((book.bids, other.bids), (book.asks, other.asks))
            for mine, theirs in zip(side, others, strict=True)
        )
    return _whole_values(book) == _whole_values(other)


def agree(book: BookImage, other: BookImage) -> bool:
    """Return whether two books are the same wherever both are known.

    Books that began with different answers of the exchange may differ beyond the nearer horizon:
    there each has only the levels that its own answer had, or that an event has set since.
    """
    if book.horizon == other.horizon:
        return same_book(book, other)
    if (book.market, book.last_update_id) != (other.market, other.last_update_id):
        return False
    sides = zip(_by_price(book), _by_price(other), strict=True)
    return all(
        _are_in(mine, theirs, other.horizon, is_ask=is_ask)
        and _are_in(theirs, mine, book.horizon, is_ask=is_ask)
        for is_ask, (mine, theirs) in enumerate(sides)
    )


def best_offers(chunk: DecodedChunk) -> tuple[Int64Array, Int64Array]:
    """Return the best bid and the best ask after each event, -1 where there is none."""
    lanes, count = chunk.lanes, chunk.header.event_count
    # A level stands from its event until the next event of its lane, or to the end.
    until = np.append(lanes.events[1:], count)
    until[lanes.starts + lanes.lengths - 1] = count
    begins = np.maximum(lanes.events, 0)
    standing = lanes.there & (until > begins)
    numbers = np.repeat(np.arange(len(lanes.keys)), lanes.lengths)
    is_ask = np.repeat(lanes.keys >= 0, lanes.lengths)
    prices = np.append(prices_of(lanes.keys, chunk.header.price_step), -1)
    # Lanes lie best first on either side.
    bids, asks = (
        prices[least_standing(numbers[side], begins[side], until[side], count, len(lanes.keys))]
        for side in (standing & ~is_ask, standing & is_ask)
    )
    return bids, asks


def first_crossing(chunk: DecodedChunk) -> int | None:
    """Return the index of the first event after which the best bid reaches the best ask."""
    bids, asks = best_offers(chunk)
    crossed = (bids >= asks) & (bids >= 0) & (asks >= 0)
    return int(crossed.argmax()) if crossed.any() else None


def _header_faults(chunk: DecodedChunk) -> Iterator[ChunkFault]:
    numbers = chunk.numbers._replace(event_ms=chunk.stored_ms)
    stated, found = chunk.header.coverage, coverage_of(numbers)
    for name in stated.__struct_fields__:
        if getattr(stated, name) != getattr(found, name):
            yield ChunkFault(stated.first_id, f"the chunk's {name} is not that of its events")


def _id_faults(chunk: DecodedChunk, start_id: int) -> Iterator[ChunkFault]:
    first_ids, final_ids = chunk.numbers[:2]
    before = np.concatenate(([start_id], final_ids[:-1]))
    hole = first_ids > before + 1
    if hole.any():
        index = int(hole.argmax())
        yield ChunkFault(int(before[index]) + 1, "update ids are missing")
    too_wide = final_ids - first_ids > WIDEST_EVENT
    if too_wide.any():
        index = int(too_wide.argmax())
        reason = f"an event spans the update ids {first_ids[index]} to {final_ids[index]}"
        yield ChunkFault(int(first_ids[index]), reason)
    stale = final_ids <= before
    if stale.any():
        yield ChunkFault(int(final_ids[stale.argmax()]), "an event repeats what was before it")


def _time_faults(chunk: DecodedChunk) -> Iterator[ChunkFault]:
    """Iterate over impossible times."""
    sent_ms, final_ids = all_in_ms(chunk.stored_ms), chunk.numbers.final_ids
    differs = sent_ms != chunk.numbers.event_ms
    if differs.any():
        index = int(differs.argmax())
        time = chunk.stored_ms[index]
        yield ChunkFault(
            int(final_ids[index]),
            f"the event time {time} contradicts the one before it and its receipt",
        )
    too_early = sent_ms < EARLIEST_MS
    if too_early.any():
        index = int(too_early.argmax())
        yield ChunkFault(
            int(final_ids[index]), f"the event time {chunk.stored_ms[index]} is impossible"
        )


def _crossing_faults(chunk: DecodedChunk) -> Iterator[ChunkFault]:
    index = first_crossing(chunk)
    if index is not None:
        yield ChunkFault(int(chunk.numbers.final_ids[index]), "the best bid reaches the best ask")


def _by_price(book: BookImage) -> list[dict[int, int]]:
    """Return each side's quantities by price, at the finest scale."""
    bid_prices, bid_quantities, ask_prices, ask_quantities = _whole_values(book)
    return [
        dict(zip(bid_prices, bid_quantities, strict=True)),
        dict(zip(ask_prices, ask_quantities, strict=True)),
    ]


def _are_in(
    levels: dict[int, int], other: dict[int, int], known: Horizon | None, *, is_ask: int
) -> bool:
    """Return whether `other` has these levels, but for those beyond its horizon that it lacks."""
    within = None if known is None else known.at(MAX_EXPONENT)
    return all(
        other[price] == quantity
        if price in other
        else within is None or not within.knows(price, is_ask=bool(is_ask))
        for price, quantity in levels.items()
    )


def _whole_values(book: BookImage) -> list[list[int]]:
    """Return prices and quantities of both sides at the finest scale, in Python's integers."""
    by = (MAX_EXPONENT - book.scale.price, MAX_EXPONENT - book.scale.quantity)
    return [
        [value * 10**exponent for value in values.tolist()]
        for side in (book.bids, book.asks)
        for values, exponent in zip(side, by, strict=True)
    ]
