"""A recording that is played for a program: an iterator of its events, at a pace if wanted."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self

from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.replay.events import PlayedEvent, ReplayPart, events_of, gap_before
from orderbook_desktop.system.pace import Pace


class Playback(Iterator[PlayedEvent]):
    """Plays a recording, event by event; see `PlayedEvent` (in `replay.events`).

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
        if self._pace is not None and (delay := self._pace.delay_s(event.due_ns)) > 0:
            self._closed.wait(delay)
        if self._closed.is_set():
            raise StopIteration
        return event

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
