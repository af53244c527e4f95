"""What a replay knows of its recording besides events: the bookmarks in it, and what it covers."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.replay import Bookmark, Coverage
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.replay.coverage import CoverageReader
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.store.recording_store import RecordingStore

_log = logging.getLogger(__name__)

# The book comes first; then a recording that grows is read again so often.
_FIRST_S: Final = 0.3
_AGAIN_S: Final = 10.0


class Bookmarks:
    """The bookmarks of `market`. Its methods raise what the store of the recording raises.

    Another window or program may change them at any time; `all` are those that were read last.
    """

    def __init__(self, store: RecordingStore, market: str) -> None:
        self._store = store.bookmarks
        self._market = market
        self.all: Sequence[Bookmark] = ()

    @property
    def problem(self) -> str:
        """Why no bookmark can be stored, as a sentence; empty: it can."""
        return self._store.problem

    async def load(self) -> None:
        """Read them."""
        found = tuple(await self._store.all(self._market))
        if found != self.all:
            # Views tell by identity whether they are the same.
            self.all = found

    async def look_again(self) -> bool:
        """Read them again, if that can be done; return whether they are others."""
        before = self.all
        try:
            with driver_failures_raised():
                await self.load()
        except (KnownError, OSError) as error:
            _log.info("replay of %s: its bookmarks: %s", self._market, error)
        return self.all is not before

    async def add(self, event_ms: int, update_id: int, note: str) -> None:
        """Mark a moment."""
        key = uuid.uuid4().hex
        await self._store.put(Bookmark(key, self._market, event_ms, update_id, note))
        await self.load()

    async def change(self, key: str, note: str) -> None:
        """Give a bookmark another note; one that was removed meanwhile stays away."""
        await self.load()
        for bookmark in self.all:
            if bookmark.key == key:
                await self._store.put(replace(bookmark, note=note))
        await self.load()

    async def remove(self, key: str) -> None:
        """Remove a bookmark."""
        for bookmark in self.all:
            if bookmark.key == key:
                await self._store.remove(bookmark)
        await self.load()

    def beside(self, event_ms: int, update_id: int, *, back: bool) -> Bookmark | None:
        """Return the next bookmark after a moment, or the last one before it."""
        here = event_ms, update_id
        places = [(one.event_ms, one.update_id) for one in self.all]
        if back:
            earlier = [one for one, place in zip(self.all, places, strict=True) if place < here]
            return earlier[-1] if earlier else None
        later = (one for one, place in zip(self.all, places, strict=True) if place > here)
        return next(later, None)


class Survey:
    """What the recording of `market` covers; `changed` is called when more of it is known.

    Run `run` in a task.
    """

    def __init__(self, store: RecordingStore, market: str, changed: Callable[[], None]) -> None:
        self._reader = CoverageReader(store, market)
        self._market = market
        self._changed = changed
        self.coverage = Coverage()

    def know(self, timeline: Timeline, *, is_growing: bool) -> None:
        """Learn of covers and gaps; trade gaps and quiet stretches are those of before."""
        self._take(replace(self.coverage, timeline=timeline, is_growing=is_growing))

    async def run(self) -> None:
        """Read it, and again while it grows."""
        await asyncio.sleep(_FIRST_S)
        while True:
            try:
                with driver_failures_raised():
                    self._take(await self._reader.read_covers())
                    self._take(await self._reader.read())
            except (KnownError, OSError) as error:
                _log.info("replay of %s: its coverage: %s", self._market, error)
            if not self.coverage.is_growing:
                return
            await asyncio.sleep(_AGAIN_S)

    def _take(self, coverage: Coverage) -> None:
        if coverage != self.coverage:
            self.coverage = coverage
            self._changed()
