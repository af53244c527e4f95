"""What a replay has of a recorded market in memory: pieces, with the times at which events are due.

A *run* is an unbroken stretch of events, from the book that it begins with; between two runs the
book is not known. A run may be of several covers (`core.timeline`), and a *piece* is what one chunk
holds of one cover.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.archive.decoded import DecodedChunk
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.timeline import Cover, Gap, Timeline
from orderbook_desktop.replay.due_times import due_times

_BYTES_A_LEVEL: Final = 40


class Run(Struct, frozen=True):
    """An unbroken run: its covers, and the gaps beside it (None: nothing was recorded there)."""

    covers: tuple[Cover, ...]
    gap_before: Gap | None = None
    gap_after: Gap | None = None

    @property
    def first_id(self) -> int:
        """The update id of the book that it begins with."""
        return self.covers[0].after_id

    @property
    def last_id(self) -> int:
        """The last update id."""
        return self.covers[-1].last_id


def runs_of(timeline: Timeline) -> list[Run]:
    """Return the runs of a timeline, in order."""
    groups: list[list[Cover]] = []
    for cover in timeline.covers:
        if cover.continues and groups:
            groups[-1].append(cover)
        else:
            groups.append([cover])
    # Each gap follows a run; only behind the last run there may be none.
    gaps: list[Gap | None] = [*timeline.gaps]
    gaps += [None] * (len(groups) - len(gaps))
    return [
        Run(tuple(covers), gaps[number - 1] if number else None, gaps[number])
        for number, covers in enumerate(groups)
    ]


class Piece(Struct, frozen=True, eq=False, dict=True):
    """The events of `chunk` that belong to `cover`: those at `begin` to before `end`.

    A *place* in it is the index of an event in the chunk. If the piece `opens` a run, the place
    before its first event is that of the run's first book. No event is due before `floor`, one time
    for each order. `link` is from where the archive can be read on (`ReadingPlace`).
    """

    cover: Cover
    chunk: DecodedChunk
    begin: int
    end: int
    opens: bool
    floor: tuple[int, int]
    link: int
    crossed_at: int | None

    @property
    def first(self) -> int:
        """The first place."""
        return self.begin - self.opens

    @property
    def last(self) -> int:
        """The last place."""
        return self.end - 1

    @property
    def after_id(self) -> int:
        """The update id before its first event."""
        return self.id_at(self.begin - 1)

    @property
    def last_id(self) -> int:
        """The update id of its last event."""
        return self.id_at(self.end - 1)

    @cached_property
    def received_ns(self) -> Int64Array:
        """When its places are due in the order of receipt."""
        return self._due(ReplayOrder.RECEIVED, self.floor[0])

    @cached_property
    def exchange_ns(self) -> Int64Array:
        """When its places are due in the order of the exchange's times."""
        return self._due(ReplayOrder.EXCHANGE, self.floor[1])

    @cached_property
    def latest_ms(self) -> Int64Array:
        """The exchange's time of each place; where times go back, the latest earlier time."""
        return self.exchange_ns // NS_A_MS

    def due(self, order: ReplayOrder) -> Int64Array:
        """Return when its places are due, ascending."""
        return self.received_ns if order is ReplayOrder.RECEIVED else self.exchange_ns

    def first_due(self, order: ReplayOrder) -> int:
        """Return when its first place is due."""
        return int(self.due(order)[0])

    def last_due(self, order: ReplayOrder) -> int:
        """Return when its last place is due."""
        return int(self.due(order)[-1])

    def due_at(self, place: int, order: ReplayOrder) -> int:
        """Return when a place is due."""
        return int(self.due(order)[place - self.first])

    def place_at(self, at_ns: int, order: ReplayOrder) -> int:
        """Return the last place that is due at a time, but the first at least."""
        index = int(self.due(order).searchsorted(at_ns, side="right")) - 1
        return max(index, 0) + self.first

    def place_of(self, update_id: int) -> int:
        """Return the place of the event that has an update id."""
        return int(self.chunk.numbers.final_ids.searchsorted(update_id))

    def id_at(self, place: int) -> int:
        """Return the update id of the book at a place."""
        if place < 0:
            return self.chunk.header.start_id or 0
        return int(self.chunk.numbers.final_ids[place])

    def event_ms_at(self, place: int) -> int:
        """Return the exchange's time of the book at a place, 0 where that is not known."""
        return self.chunk.start_event_ms if place < 0 else int(self.chunk.numbers.event_ms[place])

    def book_at(self, place: int) -> BookImage:
        """Return the book at a place."""
        return self.chunk.book_after(place)

    @property
    def size(self) -> int:
        """How many bytes it takes in memory, about."""
        return (len(self.chunk.quantities) + len(self.chunk.lanes.keys)) * _BYTES_A_LEVEL

    def _due(self, order: ReplayOrder, floor: int) -> Int64Array:
        """Return when the places are due: not before `floor`, nor the event before them."""
        numbers, header = self.chunk.numbers, self.chunk.header
        before = self.begin - 1
        chosen = slice(max(before, 0), self.end)
        event_ns = numbers.event_ms[chosen] * NS_A_MS
        received_ns = numbers.received_ns[chosen]
        if before < 0:
            start_ns, start_received = self.chunk.start_event_ms * NS_A_MS, header.start_received_ns
            if not start_ns:
                start_ns = start_received or int(event_ns[0])
            event_ns = np.append(start_ns, event_ns)
            received_ns = np.append(start_received, received_ns)
        due = due_times(event_ns[1:], received_ns[1:], order, floor)
        first = int(due_times(event_ns[:1], received_ns[:1], order)[0])
        if not self.opens:
            return np.maximum(due, first)
        # The exchange's answer may come after the events that follow its book.
        return np.append(max(min(first, int(due[0])), floor), due)


class Spot(Struct, frozen=True, eq=False):
    """A place in a piece, or the gap beside it: before its run or behind it.

    `at_ns` is the time of the clock there. `trade_id` is the last trade that is due, where that
    does not follow from the time, as the clock stands at a trade; else None.
    """

    piece: Piece
    place: int
    at_ns: int
    in_gap: bool = False
    is_before: bool = True
    trade_id: int | None = None
