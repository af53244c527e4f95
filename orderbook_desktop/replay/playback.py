"""A recording that is played for a program: an iterator of its events, at a pace if wanted."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Final, Self

import numpy as np
from msgspec import Struct

from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.event_times import US_A_MS
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.trades import Trade, decode_repaired, decode_trade
from orderbook_desktop.replay.events import UNKNOWN_BOOK, ReplayPart, gap_before
from orderbook_desktop.system.pace import Pace

_AT_ONCE_S: Final = 1.0


class PlayedEvent(Struct, frozen=True, eq=False, kw_only=True):
    """A depth event or a trade of a replay.

    - `due_ns` is when it is due (ns since the epoch), by the order of the replay.
    - `is_trade` tells trades from depth events.
    - `first_id` and `final_id` are the update ids that a depth event covers, or both the id of the
      aggregated trade.
    - `event_us` is when it happened, by the exchange's clock (microseconds since the epoch).
    - `received_ns` is when it was received, by the recorder's clock; 0 for a repaired trade.
    - `opens` tells the first depth event of an unbroken run: the book does not follow from the
      event before it. `gap` is the gap between the two, if there is one.
    """

    due_ns: int
    is_trade: bool
    first_id: int
    final_id: int
    event_us: int
    received_ns: int
    opens: bool
    gap: Gap | None
    _part: ReplayPart
    _number: int

    @property
    def payload(self) -> bytes:
        """The JSON text of the event exactly as it was received.

        A repaired trade was never received as an event: its text is a row of an answer.
        """
        at = int(self._part.at[self._number])
        piece = self._part.trades if self.is_trade else self._part.depth
        return b"" if piece is None else piece.payloads[at]

    @property
    def trade(self) -> Trade | None:
        """The trade; None for a depth event."""
        if not self.is_trade or self._part.trades is None:
            return None
        market = self._part.trades.trades.header.market
        if not self.received_ns:
            return decode_repaired(self.payload, market)
        return decode_trade(self.payload, self.received_ns)

    def book(self) -> BookImage | None:
        """Return the whole book at this event, exact; None where it is not known.

        That is the book after a depth event, and for a trade the book after the depth event before
        it. It is made when it is asked for, which takes about a millisecond.
        """
        after = int(self._part.books[self._number])
        if after == UNKNOWN_BOOK or self._part.depth is None:
            return None
        return self._part.depth.slice.chunk.book_after(after)


def events_of(
    part: ReplayPart, *, opens: bool = False, gap: Gap | None = None
) -> Iterator[PlayedEvent]:
    """Iterate over the events of `part`; its first depth event is the first one behind `gap`.

    `opens` is whether that event opens a run.
    """
    columns = part.due_ns.tolist(), part.is_trade.tolist(), *_numbers_of(part)
    first = int(part.is_trade.argmin()) if len(part) else 0
    for number, (due_ns, is_trade, *fields) in enumerate(zip(*columns, strict=True)):
        first_id, final_id, event_us, received_ns = fields
        is_first = number == first and not is_trade
        yield PlayedEvent(
            due_ns=due_ns,
            is_trade=is_trade,
            first_id=first_id,
            final_id=final_id,
            event_us=event_us,
            received_ns=received_ns,
            opens=opens and is_first,
            gap=gap if is_first else None,
            _part=part,
            _number=number,
        )


def _numbers_of(part: ReplayPart) -> list[list[int]]:
    """Return the ids and times of the events of `part`: both ids, `event_us` and `received_ns`."""
    columns = np.empty((4, len(part)), dtype=np.int64)
    if part.depth is not None:
        at = part.at[~part.is_trade]
        first_ids, final_ids, event_ms, received_ns = part.depth.slice.chunk.numbers
        columns[:, ~part.is_trade] = (
            *(first_ids[at], final_ids[at]),
            *(event_ms[at] * US_A_MS, received_ns[at]),
        )
    if part.trades is not None:
        at, arrays = part.at[part.is_trade], part.trades.trades.arrays
        columns[:, part.is_trade] = (
            *(arrays.ids[at], arrays.ids[at]),
            *(arrays.times_us[at], arrays.received_ns[at]),
        )
    return [column.tolist() for column in columns]


class Playback(Iterator[PlayedEvent]):
    """Plays a recording, event by event; see `PlayedEvent`.

    With a `pace` each event comes when it is due. An event that is late comes at once: no delay
    adds up. Reading goes ahead meanwhile. `close()`, or leaving it as a context manager, ends it,
    also while another thread waits for the next event.
    """

    def __init__(
        self, parts: Generator[ReplayPart], gaps: Sequence[Gap], pace: Pace | None
    ) -> None:
        self._events = _events_of_all(parts, gaps)
        self._pace = pace
        self._closed = threading.Event()
        self._reading = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __next__(self) -> PlayedEvent:
        with self._reading:
            event = next(self._events)
        if self._pace is not None:
            self._wait(self._pace, event.due_ns)
        if self._closed.is_set():
            raise StopIteration
        return event

    def _wait(self, pace: Pace, due_ns: int) -> None:
        # Systems limit how long a thread may wait at once, and Windows hears no Ctrl-C meanwhile.
        while pace.delay_s(due_ns) > _AT_ONCE_S and not self._closed.wait(_AT_ONCE_S):
            pass
        if (delay := pace.delay_s(due_ns)) > 0 and not self._closed.is_set():
            self._closed.wait(delay)

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()
        with self._reading:
            self._events.close()


def _events_of_all(parts: Generator[ReplayPart], gaps: Sequence[Gap]) -> Generator[PlayedEvent]:
    last_id, opens, gap = 0, False, None
    with closing(parts):
        for part in parts:
            if part.opens:
                opens, gap = True, gap_before(part, last_id, gaps) if last_id else None
            for event in events_of(part, opens=opens, gap=gap):
                if not event.is_trade:
                    last_id, opens, gap = event.final_id, False, None
                yield event
