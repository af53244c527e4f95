"""What the levels of a book did in a span of time: what bins of the heatmap are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff, level_texts
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Int64Array, fitting_exponent, units_from_doubles
from orderbook_desktop.core.units import Scale, parse_units
from orderbook_desktop.core.widening import rescaled_image

BoolArray = npt.NDArray[np.bool_]

AT_START: Final = -1
"""The event of an entry that the book had when the span began."""


class LevelSpan(Struct, frozen=True, eq=False):
    """The levels of a book from `from_ms` on, and their changes, lane by lane, until `until_ms`.

    - Of each event: `final_ids`, and `event_ms`, ascending from `from_ms` to `until_ms`. The book
      at the beginning has the update id `start_id`.
    - Of each lane, which is a side and a price: `prices` and `asks`. Bids come before asks, the
      best one first on either side.
    - Of each entry, in the order of lanes: `lanes` is the index of its lane, `events` that of its
      event, ascending within the lane, and `quantities` what stands at the level from then on. An
      entry of the book at the beginning has the event `AT_START`; a lane has at most one.

    Prices are units of `scale` and multiples of `tick`, which is 0 if there are none. `horizon` is
    that of the book.
    """

    scale: Scale
    tick: int
    horizon: Horizon | None
    from_ms: int
    until_ms: int
    start_id: int
    final_ids: Int64Array
    event_ms: Int64Array
    prices: Int64Array
    asks: BoolArray
    lanes: Int64Array
    events: Int64Array
    quantities: Int64Array

    def between(self, begin: int, end: int) -> Self:
        """Return the span with the events `begin`..`end - 1`; earlier ones are in its book.

        Its times stay as they are. Lanes without an entry stay, too.
        """
        if begin == 0 and end == len(self.final_ids):
            return self
        at_start = self.events < begin
        is_last = np.ones(len(at_start), dtype=np.bool_)
        is_last[:-1] = ~at_start[1:] | (self.lanes[1:] != self.lanes[:-1])
        stands = at_start & is_last & (self.quantities != 0)
        kept = (stands | (~at_start & (self.events < end))).nonzero()[0]
        return replace(
            self,
            start_id=int(self.final_ids[begin - 1]) if begin else self.start_id,
            final_ids=self.final_ids[begin:end],
            event_ms=self.event_ms[begin:end],
            lanes=self.lanes[kept],
            events=np.maximum(self.events[kept] - begin, AT_START),
            quantities=self.quantities[kept],
        )

    def within(self, from_ms: int, to_ms: int) -> Self:
        """Return the part from `from_ms` to `to_ms`; an event at `to_ms` is not in it."""
        begin, end = self.event_ms.searchsorted((from_ms, to_ms)).tolist()
        return replace(
            self.between(begin, end),
            from_ms=max(self.from_ms, from_ms),
            until_ms=min(self.until_ms, to_ms),
        )


def times_from(event_ms: Int64Array, from_ms: int) -> Int64Array:
    """Return the times of events that follow `from_ms`, each at least that of the one before."""
    return np.maximum.accumulate(np.maximum(event_ms, from_ms))


def live_span(
    book: BookImage, events: Sequence[DepthDiff], from_ms: int, until_ms: int
) -> LevelSpan:
    """Return the span of `events`, an unbroken run that follows `book`, of the same market.

    The book stands from `from_ms` on. The span ends at `until_ms`, or with a later last event.
    Raises `InexactValue` where no scale holds all values.
    """
    counts = [(len(event.bids), len(event.asks)) for event in events]
    book, prices, quantities = changes_of(book, events)
    asks = np.repeat(
        np.tile(np.array((False, True)), len(counts)), np.array(counts, dtype=np.int64).ravel()
    )
    of_events = np.repeat(np.arange(len(counts)), [sum(pair) for pair in counts])
    # As in the archive: a bid's key is the complement of its price.
    return span_of_changes(
        book,
        np.where(asks, prices, ~prices),
        quantities,
        of_events,
        np.array([event.final_id for event in events], dtype=np.int64),
        times_from(np.array([event.event_ms for event in events], dtype=np.int64), from_ms),
        from_ms,
        until_ms,
    )


def span_of_changes(
    book: BookImage,
    changed: Int64Array,
    quantities: Int64Array,
    of_events: Int64Array,
    final_ids: Int64Array,
    event_ms: Int64Array,
    from_ms: int,
    until_ms: int,
) -> LevelSpan:
    """Return the span of changes that follow `book`, at its scale.

    Of each change: `changed` is its price, for a bid the complement of it, `quantities` what stands
    there from then on, and `of_events` the index of its event, ascending. Times of events ascend
    from `from_ms`. The span ends at `until_ms`, or with a later last event.
    """
    book_keys = keys_of(book)
    all_keys = np.concatenate((book_keys, changed))
    all_events = np.concatenate((np.full(len(book_keys), AT_START), of_events))
    all_quantities = np.concatenate((book.bids.quantities, book.asks.quantities, quantities))
    order = all_keys.argsort(kind="stable")
    keys, entry_events = all_keys[order], all_events[order]
    heads = np.ones(len(keys), dtype=np.bool_)
    heads[1:] = keys[1:] != keys[:-1]
    lanes = keys[heads]
    prices = np.where(lanes < 0, ~lanes, lanes)
    return LevelSpan(
        book.scale,
        int(np.gcd.reduce(prices)),
        book.horizon,
        from_ms,
        max(until_ms, int(event_ms[-1])) if len(event_ms) else until_ms,
        book.last_update_id,
        final_ids,
        event_ms,
        prices,
        lanes >= 0,
        heads.cumsum() - 1,
        entry_events,
        all_quantities[order],
    )


def keys_of(book: BookImage) -> Int64Array:
    """Return the levels of `book` as keys, ascending: a bid's is the complement of its price."""
    return np.concatenate((~book.bids.prices, book.asks.prices))


def changes_of(
    book: BookImage, events: Sequence[DepthDiff]
) -> tuple[BookImage, Int64Array, Int64Array]:
    """Return prices and quantities that `events` set, and `book` at the scale that holds all."""
    pairs = list(chain.from_iterable((*event.bids, *event.asks) for event in events))
    if book.scale == Scale() and all(event.plain for event in events):
        units = units_from_doubles(chain.from_iterable(pairs))
        if units is not None:
            return book, units[::2], units[1::2]
    texts = list(
        chain.from_iterable(chain.from_iterable(level_texts(event.payload)) for event in events)
    )
    held = [np.concatenate([side[part] for side in (book.bids, book.asks)]) for part in (0, 1)]
    scale = Scale(
        fitting_exponent([price for price, _ in texts], held[0], book.scale.price),
        fitting_exponent([quantity for _, quantity in texts], held[1], book.scale.quantity),
    )
    return (
        rescaled_image(book, scale),
        np.array([parse_units(price, scale.price) for price, _ in texts], dtype=np.int64),
        np.array([parse_units(size, scale.quantity) for _, size in texts], dtype=np.int64),
    )
