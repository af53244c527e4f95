"""What readers have in hand before they need it, so that few queries do for many short parts."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any, Final, Generic, Protocol, TypeVar

from orderbook_desktop.core.archive import minute_of
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.store.recording_store import SegmentStore, StoredChunk
from orderbook_desktop.storage.store.segment_documents import StoredSegment
from orderbook_desktop.system.tasks import end_tasks

# SecantusDB takes a time that grows with the square of the number of keys in a query.
_KEYS_AT_MOST: Final = 50
_KEYS_AT_FIRST: Final = 8
_BYTES_AT_ONCE: Final = 4 << 20
# A packed level takes as many or more.
_BYTES_A_LEVEL: Final = 4
# A list is written within a second after its events.
_LISTS_STAY_S: Final = 1.0
# The share of the time that may be spent on reading lists again.
_READING_AT_MOST: Final = 0.1
# Chunks that are larger than this are read one by one: reading them takes longer than a query.
_SMALL_CHUNKS: Final = 32 << 10
_CHUNKS_AT_ONCE: Final = 50
# So many chunks are read at most if minutes without a chunk are followed by others.
_MINUTES_AT_ONCE: Final = 720


class Sized(Protocol):
    """Something that is stored in `size` bytes."""

    @property
    def size(self) -> int:
        """The number of bytes."""
        ...


def levels_in(part: Sized) -> int:
    """Return about how many levels of books and events a stored part has, or more."""
    return part.size // _BYTES_A_LEVEL


class Portions:
    """How many keys to ask for at once: the answers before show how large one of them is."""

    def __init__(self) -> None:
        self.count = _KEYS_AT_FIRST

    def took(self, parts: Iterable[Sized]) -> None:
        """Learn from an answer."""
        sizes = [part.size for part in parts]
        if sizes:
            fitting = _BYTES_AT_ONCE * len(sizes) // max(sum(sizes), 1)
            self.count = max(1, min(fitting, 2 * self.count, _KEYS_AT_MOST))


_Part = TypeVar("_Part", bound=Sized)


class Upcoming(Generic[_Part]):
    """The stored books or witnesses of a segment, in order of their update ids.

    `keys` are update id and key of each. `read` returns by key those that are still stored; it is
    called with some keys at a time, before they are needed.
    """

    def __init__(
        self,
        keys: Iterable[tuple[int, str]],
        read: Callable[[Sequence[str]], Awaitable[dict[str, _Part]]],
    ) -> None:
        self._keys = deque(keys)
        self._ready: deque[tuple[int, str, _Part]] = deque()
        self._read = read
        self._portions = Portions()

    def skip_to(self, update_id: int) -> None:
        """Leave out those before `update_id`."""
        while self._keys and self._keys[0][0] < update_id:
            self._keys.popleft()

    async def through(self, last_id: int) -> list[tuple[int, str, _Part]]:
        """Return the next ones through `last_id`, some at a time; empty: there are no more."""
        while not self._ready and self._keys and self._keys[0][0] <= last_id:
            some = [self._keys.popleft() for _ in range(min(self._portions.count, len(self._keys)))]
            found = await self._read([key for _, key in some])
            self._portions.took(found.values())
            self._ready.extend((at, key, found[key]) for at, key in some if key in found)
        due: list[tuple[int, str, _Part]] = []
        while self._ready and self._ready[0][0] <= last_id:
            due.append(self._ready.popleft())
        return due


class WaitingLoose:
    """The final ids of a market's loose events that are not archived yet.

    There may be thousands of lists, and a segment is read in thousands of parts. So the lists are
    read again only after a while, which is longer if reading them takes long.
    """

    def __init__(
        self, store: SegmentStore, market: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._market = market
        self._now = now
        self._ids: Collection[int] = frozenset()
        self._until = -1.0

    async def ids(self) -> Collection[int]:
        """Return the ids. Raises what the store raises, and `DamagedDocument`."""
        if self._now() > self._until:
            await self._read()
        return self._ids

    async def has_changed(self) -> bool:
        """Read the lists again, if `ids` has read them; return whether the ids differ now."""
        before = self._ids
        if self._until < 0:
            return False
        await self._read()
        return before != self._ids

    async def _read(self) -> None:
        began = self._now()
        runs = await self._store.bookless(self._market, waiting=True)
        self._ids = {update_id for run in runs for update_id in run.ids}
        read = self._now()
        self._until = read + max(_LISTS_STAY_S, (read - began) / _READING_AT_MOST)


class ChunksAhead:
    """The archived chunks of the segment `stored`, read before they are needed.

    They are read some at a time, `at_once` bytes at most, or one by one if they are larger. Call
    `close()` when done.
    """

    def __init__(
        self, store: SegmentStore, stored: StoredSegment, at_once: int = _SMALL_CHUNKS
    ) -> None:
        self._store = store
        self._at_once = at_once
        self._id, self._market = stored.id, stored.segment.market
        self._ready: dict[int, StoredChunk] = {}
        self._task: asyncio.Task[dict[int, StoredChunk]] | None = None
        self._minutes = 2

    async def take(self, start_id: int, end_id: int) -> StoredChunk | None:
        """Return the chunk that starts at `start_id`, if there is one.

        Begin to read the next ones, up to the end of the archive at `end_id`. Raises what the store
        raises.
        """
        if start_id not in self._ready and self._task is not None:
            task, self._task = self._task, None
            self._ready = await task
        chunk = self._ready.pop(start_id, None)
        if chunk is None:
            self._ready.clear()
            chunk = await self._store.chunk(self._id, start_id)
        if chunk is not None and not self._ready and self._task is None:
            last_id = chunk.last_id
            if last_id is not None and last_id < end_id:
                coming = self._next(last_id, end_id, chunk)
                self._task = asyncio.create_task(coming, name="chunks ahead")
        return chunk

    async def close(self) -> None:
        """Stop reading."""
        await _ended(self._task)

    async def _next(
        self, start_id: int, end_id: int, before: StoredChunk
    ) -> dict[int, StoredChunk]:
        """Return by start id the chunks that follow `before`, from the one at `start_id` on."""
        wanted = min(self._at_once // max(before.size, 1), _CHUNKS_AT_ONCE)
        if wanted > 1 and before.last_event_ms is not None:
            first = minute_of(before.last_event_ms)
            found = await self._store.chunks_in(
                self._market, self._id, first, first + self._minutes
            )
            fitting = self._minutes * wanted // max(len(found), 1)
            self._minutes = max(1, min(fitting, 4 * self._minutes, _MINUTES_AT_ONCE))
            if following := _chain(found, start_id, end_id):
                return following
        chunk = await self._store.chunk(self._id, start_id)
        return {} if chunk is None else {start_id: chunk}


def _chain(found: Mapping[int, StoredChunk], start_id: int, end_id: int) -> dict[int, StoredChunk]:
    """Return those of the chunks `found` that follow each other from `start_id` to `end_id`."""
    following: dict[int, StoredChunk] = {}
    at: int | None = start_id
    while at is not None and at < end_id and at in found and at not in following:
        following[at] = found[at]
        at = found[at].last_id
    return following


class RawAhead:
    """The raw events of `market` up to `last_id`, read before they are needed.

    The next ones are read while some are worked on, from the second time on: who looks for one
    moment needs no more. Call `close()` when done.
    """

    def __init__(self, store: SegmentStore, market: str, last_id: int) -> None:
        self._store = store
        self._market = market
        self._last_id = last_id
        self._expected_id: int | None = None
        self._task: asyncio.Task[list[DepthDiff]] | None = None

    async def after(self, after_id: int) -> list[DepthDiff]:
        """Return what `events_after` of the store returns. Raises what it raises."""
        is_next = after_id == self._expected_id
        task, self._task = self._task, None
        if task is not None and is_next:
            found = await task
        else:
            await _ended(task)
            found = await self._store.events_after(self._market, after_id, self._last_id)
        self._expected_id = end_id = found[-1].final_id if found else None
        if is_next and end_id is not None and end_id < self._last_id:
            coming = self._store.events_after(self._market, end_id, self._last_id)
            self._task = asyncio.create_task(coming, name="events ahead")
        return found

    async def close(self) -> None:
        """Stop reading."""
        task, self._task = self._task, None
        await _ended(task)


async def _ended(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        await end_tasks(task)
