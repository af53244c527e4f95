"""Decoding: from the columns of a chunk back to books and events, the inverse of `encode`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive.chunk import (
    MILLISECONDS,
    READABLE_VERSIONS,
    ArchiveChunk,
    ChunkHeader,
    OddColumns,
)
from orderbook_desktop.core.archive.encode import laid_out
from orderbook_desktop.core.archive.keys import prices_of, read_new_keys, read_start_keys
from orderbook_desktop.core.archive.lanes import BEFORE_ALL, Lanes, fitting, read_lanes
from orderbook_desktop.core.archive.numbers import EventNumbers, Origin, read_numbers
from orderbook_desktop.core.archive.quantities import read_quantities
from orderbook_desktop.core.archive.tokens import read_unsigned
from orderbook_desktop.core.archive.wire import Changes, spell
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.errors import BugError, DamagedChunk
from orderbook_desktop.core.event_times import all_in_ms, in_ms, stored_times
from orderbook_desktop.core.events import DepthDiff, decode_diff, timed
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Int64Array, Levels
from orderbook_desktop.core.units import Scale


class DecodedChunk(Struct, frozen=True, eq=False, dict=True):
    """What a chunk holds. Its arrays must not be written to.

    `numbers` has ids and times by event. `lanes` are the levels price by price, with `quantities`
    at each of their places (`archive.lanes`). `unsorted` has the events whose levels were not sent
    in the order of their keys, and the place of each of these levels in its event, by key.
    `odd_payloads` has the texts of events that are not spelt canonically, by their index.
    `stored_ms` are the stored times of the events. They equal those of `numbers`, except where an
    earlier version of the program stored a time that does not count (`core.event_times`). `horizon`
    is that of the chunk's books; None where it is not known how deep they are known.
    """

    header: ChunkHeader
    numbers: EventNumbers
    lanes: Lanes
    quantities: Int64Array
    unsorted: tuple[Int64Array, Int64Array]
    odd_payloads: dict[int, bytes]
    stored_ms: Int64Array
    horizon: Horizon | None = None

    @property
    def scale(self) -> Scale:
        """What unit prices and quantities are in."""
        return Scale(self.header.price_exponent, self.header.quantity_exponent)

    @property
    def has_book(self) -> bool:
        """Whether the events belong to a known book; those of a loose chunk don't."""
        return self.header.start_id is not None

    @property
    def start_event_ms(self) -> int:
        """The time of the book before the first event; 0 if unknown."""
        return in_ms(self.header.start_event_ms)

    @cached_property
    def changes(self) -> Changes:
        """The levels that events change, in the order in which they were sent.

        `changes.events` are indexes into `numbers`. Raises `DamagedChunk`.
        """
        header, lanes = self.header, self.lanes
        numbers = lanes.entries - (header.bid_count + header.ask_count)
        places = np.empty(header.change_count, dtype=np.int64)
        of_events = (numbers >= 0).nonzero()[0]
        places[numbers[of_events]] = of_events
        events = lanes.events[places]
        sent = self._as_sent(events)
        keys = np.repeat(lanes.keys, lanes.lengths)[places[sent]]
        prices = prices_of(keys, header.price_step)
        return Changes(events, keys >= 0, prices, self.quantities[places[sent]])

    def changed_at(self, prices: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return where an event changes a level, of either side, at one of `prices`.

        That is the index of the price, and the index of the event. `prices` are in units of
        `scale`; a negative one is that of no level.
        """
        step, lanes = self.header.price_step, self.lanes
        numbers = ((prices >= 0) & (prices % step == 0)).nonzero()[0]
        steps = prices[numbers] // step
        keys, numbers = np.concatenate((~steps, steps)), np.concatenate((numbers, numbers))
        at = lanes.keys.searchsorted(keys)
        known = (np.append(lanes.keys, 0)[at] == keys) & (at < len(lanes.keys))
        at, numbers = at[known], numbers[known]
        lengths = lanes.lengths[at]
        # The places of these lanes, one lane behind the other.
        places = np.arange(lengths.sum())
        places += np.repeat(lanes.starts[at] - (lengths.cumsum() - lengths), lengths)
        events = lanes.events[places]
        of_events = events != BEFORE_ALL
        return np.repeat(numbers, lengths)[of_events], events[of_events]

    def start_book(self) -> BookImage:
        """Return the book before the first event; as `book_after`."""
        return self.book_after(BEFORE_ALL)

    def final_book(self) -> BookImage:
        """Return the book after the last event; as `book_after`."""
        return self.book_after(self.header.event_count - 1)

    def book_after(self, index: int) -> BookImage:
        """Return the book after the event at `index`, and before all of them for -1.

        The caller makes sure that the chunk has a book.
        """
        header, lanes = self.header, self.lanes
        if header.start_id is None or not BEFORE_ALL <= index < header.event_count:
            raise BugError(f"no book after event {index}")
        standing = self._quantities_after(index)
        kept = standing.nonzero()[0]
        keys, quantities = lanes.keys[kept], standing[kept]
        prices = prices_of(keys, header.price_step)
        bid_count = int(keys.searchsorted(0))
        for array in (prices, quantities):
            array.setflags(write=False)
        return BookImage(
            header.market,
            header.start_id if index == BEFORE_ALL else int(self.numbers.final_ids[index]),
            self.start_event_ms if index == BEFORE_ALL else int(self.numbers.event_ms[index]),
            self.scale,
            Levels(prices[:bid_count], quantities[:bid_count]),
            Levels(prices[bid_count:], quantities[bid_count:]),
            None if self.horizon is None else self.horizon.at(header.price_exponent),
            header.start_received_ns
            if index == BEFORE_ALL
            else int(self.numbers.received_ns[index]),
        )

    def _quantities_after(self, index: int) -> Int64Array:
        """Return the quantity in each lane after the event at `index`; 0 is no level."""
        starts, lengths = self.lanes.starts, self.lanes.lengths
        if index == self.header.event_count - 1:
            return self.quantities.take(starts + lengths - 1)
        # In a lane the events ascend, so those up to `index` come first.
        counts = np.append(0, (self.lanes.events <= index).cumsum())
        seen = counts.take(starts + lengths) - counts.take(starts)
        return np.where(seen > 0, self.quantities.take(starts + seen - 1), 0)

    def last_until(self, event_ms: int) -> int:
        """Return the index of the last event not later than `event_ms`, or -1.

        Where times go back, an event gets the latest earlier time.
        """
        latest = np.maximum.accumulate(self.numbers.event_ms)
        return int(latest.searchsorted(event_ms, side="right")) - 1

    def _as_sent(self, events: Int64Array) -> Int64Array:
        """Return for each place the number, in the order of keys, of the change sent there."""
        order = np.arange(len(events))
        unsorted, sent_at = self.unsorted
        if len(unsorted):
            concerned = np.isin(events, unsorted)
            order[concerned] = events.searchsorted(events[concerned]) + fitting(
                sent_at, int(np.count_nonzero(concerned))
            )
        as_sent = np.full(len(events), -1)
        as_sent[order] = np.arange(len(events))
        if (as_sent < 0).any():
            raise DamagedChunk("the order of its levels is lost")
        return as_sent

    def payloads(self) -> list[bytes]:
        """Return the JSON text of each event exactly as it was sent."""
        numbers = self.numbers._replace(event_ms=self.stored_ms)
        texts = spell(numbers, self.changes, self.scale, self.header.market)
        for index, text in self.odd_payloads.items():
            texts[index] = text
        return texts

    def diffs(self) -> Iterator[DepthDiff]:
        """Iterate over the events as they were received, equal in every field."""
        _, _, event_ms, received_ns = self.numbers
        times = zip(event_ms.tolist(), received_ns.tolist(), strict=True)
        for payload, (event, received) in zip(self.payloads(), times, strict=True):
            yield timed(decode_diff(payload, received), event)


def decode_chunk(chunk: ArchiveChunk) -> DecodedChunk:
    """Return what `chunk` holds. Raises `DamagedChunk` where it contradicts itself.

    The caller has checked the checksum, which proves that the chunk is the one that was stored
    (`storage.store.packing`).
    """
    header, columns = chunk.header, chunk.columns
    if header.schema_version not in READABLE_VERSIONS or header.unit != MILLISECONDS:
        raise DamagedChunk(f"its format is {header.schema_version} with times in {header.unit}")
    try:
        start_count = header.bid_count + header.ask_count
        start_keys = fitting(read_start_keys(columns.keys), start_count)
        if start_keys.searchsorted(0) != header.bid_count:
            raise DamagedChunk("its bids are not as many as they should be")
        new_keys, new_events = read_new_keys(columns.keys, start_keys, header.event_count)
        lanes = read_lanes(
            columns.lanes,
            start_keys,
            new_keys,
            new_events,
            header.event_count,
            header.change_count,
        )
        quantities = read_quantities(columns.quantities, lanes, start_count, header.quantity_step)
        return _assembled(chunk, lanes, quantities)
    except (IndexError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise DamagedChunk(f"its columns do not fit together: {error}") from error


def chunk_of(start: BookImage, events: Sequence[DepthDiff]) -> DecodedChunk:
    """Return what decoding the chunk of `start` and `events` gives, without writing its columns.

    Takes and raises what `encode_chunk` does.
    """
    layout = laid_out(start, events)
    header, numbers = layout.header, layout.numbers
    times = stored_times(numbers.event_ms, numbers.received_ns, header.start_event_ms)
    return DecodedChunk(
        header,
        numbers._replace(event_ms=times),
        layout.lanes,
        layout.quantities.take(layout.lanes.entries),
        layout.unsorted,
        {index: events[index].payload for index in layout.odd},
        numbers.event_ms,
        _horizon_of(header),
    )


def _assembled(chunk: ArchiveChunk, lanes: Lanes, quantities: Int64Array) -> DecodedChunk:
    header, columns = chunk.header, chunk.columns
    by_place = quantities.take(lanes.entries)
    if not np.array_equal(lanes.there, by_place > 0):
        raise DamagedChunk("a level has a wrong quantity")
    origin = Origin(header.start_id or 0, header.usual_step_ms, header.least_delay_ns)
    stored = read_numbers(columns.events, origin, header.event_count)
    if header.start_id is None:
        # Loose events may be in any order, so no earlier time can contradict theirs.
        event_ms = all_in_ms(stored.event_ms)
    else:
        event_ms = stored_times(stored.event_ms, stored.received_ns, header.start_event_ms)
    return DecodedChunk(
        header,
        stored._replace(event_ms=event_ms),
        lanes,
        by_place,
        (read_unsigned(columns.odd.unsorted).cumsum(), read_unsigned(columns.odd.places)),
        _odd_payloads(columns.odd, header.event_count),
        stored.event_ms,
        _horizon_of(header),
    )


def _horizon_of(header: ChunkHeader) -> Horizon | None:
    return None if header.known is None else Horizon(*header.known, header.price_exponent)


def _odd_payloads(columns: OddColumns, event_count: int) -> dict[int, bytes]:
    """Return the texts that are stored as they were sent, by the index of their event."""
    odd = read_unsigned(columns.odd).cumsum().tolist()
    ends = fitting(read_unsigned(columns.lengths), len(odd)).cumsum().tolist()
    texts = columns.texts.tokens
    if odd and not (ends[-1] == len(texts) and odd[0] >= 0 and odd[-1] < event_count):
        raise DamagedChunk("texts that were kept do not fit their events")
    begins = [0, *ends][: len(ends)]
    return {index: texts[begin:end] for index, begin, end in zip(odd, begins, ends, strict=True)}


class ChunkSlice(Struct, frozen=True):
    """The events `begin`..`end - 1` of `chunk`.

    Slices follow each other without a hole until one `opens`. There a new unbroken run begins, and
    its book is that of `start_book()`. An empty slice only opens a run.
    """

    chunk: DecodedChunk
    begin: int
    end: int
    opens: bool

    def start_book(self) -> BookImage:
        """Return the book before the first event; see `DecodedChunk.book_after`."""
        return self.chunk.book_after(self.begin - 1)

    def final_book(self) -> BookImage:
        """Return the book after the last event, or before it if there is none."""
        return self.chunk.book_after(self.end - 1)
