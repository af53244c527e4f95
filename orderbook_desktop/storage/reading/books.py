"""Books at many times of a recording, at the cost of reading it once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from itertools import pairwise

from orderbook_desktop.core.archive.slices import ChunkSlice
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.timeline import Cover
from orderbook_desktop.storage.reading.recording import NotCovered, Recording


async def books_at(recording: Recording, times_ms: Iterable[int]) -> AsyncGenerator[BookImage]:
    """Iterate over the books at `times_ms`, which ascend: each after the last event until then.

    Raises `ValueError` where they don't ascend, `NotCovered` for the first at which the book
    isn't known, before anything is read, and what reading the recording raises.
    """
    times = list(times_ms)
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("the times of books have to ascend")
    timeline = await recording.timeline()
    for time in times:
        piece = timeline.at(time)
        if not isinstance(piece, Cover):
            raise NotCovered(recording.market, time, piece)
    if not times:
        return
    seeker = _Seeker(times)
    async with aclosing(recording.slices(times[0], times[-1] + 1)) as slices:
        async for part in slices:
            for book in await asyncio.to_thread(list, seeker.within(part)):
                yield book
    for book in await asyncio.to_thread(list, seeker.rest()):
        yield book


class _Seeker:
    """Finds the books, slice by slice; a time is settled once an event after it has come."""

    def __init__(self, times: list[int]) -> None:
        self._times = deque(times)
        self._before: ChunkSlice | None = None

    def within(self, part: ChunkSlice) -> Iterator[BookImage]:
        while self._times:
            index = min(part.chunk.last_until(self._times[0]), part.end - 1)
            if index == part.end - 1 and index >= part.begin:
                break
            self._times.popleft()
            if index >= part.begin:
                yield part.chunk.book_after(index)
            elif part.opens and self._before is not None:
                yield _final_book(self._before)
            else:
                yield part.start_book()
        self._before = part

    def rest(self) -> Iterator[BookImage]:
        """Iterate over the books at times that no later event has settled."""
        if self._before is not None:
            for _ in self._times:
                yield _final_book(self._before)


def _final_book(part: ChunkSlice) -> BookImage:
    return part.chunk.book_after(part.end - 1)
