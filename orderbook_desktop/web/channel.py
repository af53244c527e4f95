"""One symbol's broadcast: the book looked at ten times a second, once for all viewers.

Nothing is queued for anybody. A viewer remembers the number of the moment it has seen and
asks for what leads from there to the present one; whoever is slow skips moments.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import (
    BookChanges,
    BookImage,
    changes_between,
    image_of,
    merge_changes,
)
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.levels import EMPTY, Levels
from orderbook_desktop.core.library import LentBook
from orderbook_desktop.core.status import Badge, FeedState, SourceKind, badge_for
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import Scale
from orderbook_desktop.web.frames import Frame

# What the window paints must not wait until everybody has been served.
_AT_ONCE: Final = 8

# Whoever is further behind, ten seconds at full rate, gets the whole book.
_REMEMBERED: Final = 100
_NO_LEVELS: Final = Levels(EMPTY, EMPTY)
_NO_CHANGES: Final[BookChanges | None] = BookChanges(_NO_LEVELS, _NO_LEVELS)


class WaitingRoom:
    """Lets many wait for the same thing.

    Whoever looks whether there is something to do and then waits, without awaiting anything
    else in between, misses no call.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next call."""
        called = asyncio.get_running_loop().create_future()
        self._waiting.append(called)
        await called

    async def call(self) -> None:
        """Let all go who wait now; between a few and the next few the loop has its turn."""
        waiting, self._waiting = self._waiting, []
        try:
            for start in range(0, len(waiting), _AT_ONCE):
                _let_go(waiting[start : start + _AT_ONCE])
                await asyncio.sleep(0)
        finally:
            # Whoever calls may be cancelled on the way, and nobody else knows of these.
            _let_go(waiting)

    def close(self) -> None:
        """Let all go at once."""
        waiting, self._waiting = self._waiting, []
        _let_go(waiting)


def _let_go(waiting: list[asyncio.Future[None]]) -> None:
    for called in waiting:
        if not called.done():  # Else whoever waited has been cancelled.
            called.set_result(None)


@dataclass(frozen=True, slots=True)
class Moment:
    """What is shown from one change to the next: the book and how far it can be trusted.

    `demo` is whether it is a made-up one.
    """

    seq: int
    image: BookImage
    badge: Badge
    demo: bool


class Channel:
    """Broadcasts one symbol's book. Call `close()` when done.

    `run` and the moments' numbers together identify a moment for ever. Viewers wait in
    `waiting`: call them after a new moment or a heartbeat; the end lets them go by itself.
    """

    def __init__(
        self,
        info: SymbolInfo,
        book: LentBook,
        now_ns: Callable[[], int],
        is_demo: Callable[[], bool] = lambda: False,
    ) -> None:
        self.info = info
        self.run = secrets.token_hex(4)
        self.waiting = WaitingRoom()
        self.beats = 0
        self._book = book
        self._now_ns = now_ns
        self._is_demo = is_demo
        # How far the book can be trusted, as it was when the book was looked at.
        self._status = book.look().status
        self._seen: tuple[Book, int] | None = None
        self._unreadable = ""
        # What led to the present moment, step by step; None where only the whole book tells.
        self._steps: deque[BookChanges | None] = deque(maxlen=_REMEMBERED)
        self._frames: dict[Hashable, Frame] = {}
        image = BookImage(info.market, 0, 0, Scale(), _NO_LEVELS, _NO_LEVELS)
        self._moment = Moment(1, image, self.badge(), is_demo())
        self.look()

    @property
    def moment(self) -> Moment:
        """The present one."""
        return self._moment

    @property
    def known(self) -> bool:
        """Whether there is a book to show."""
        return self.moment.image.last_update_id > 0

    @property
    def source(self) -> SourceKind:
        """Where the book of the last look comes from."""
        return self._status.source

    def badge(self) -> Badge:
        """Return how far the book of the last look can be trusted, with its age as of now."""
        badge = badge_for(self._status, self._now_ns())
        if not self._unreadable:
            return badge
        state = FeedState.SYNCING
        return replace(badge, state=state, text=state.value, detail=self._unreadable)

    def look(self) -> bool:
        """Begin a new moment if anything moved; return whether it did."""
        look = self._book.look()
        book, self._status = look.book, look.status
        seen = (book, book.revision)
        has_moved, self._seen = seen != self._seen, seen
        before = self.moment
        image, changes = before.image, _NO_CHANGES
        if has_moved:
            image = self._read(book)
            changes = _changes(before.image, image)
        badge, demo = self.badge(), self._is_demo()
        if not has_moved and demo == before.demo and _same_words(badge, before.badge):
            return False
        self._moment = Moment(before.seq + 1, image, badge, demo)
        self._steps.append(changes)
        self._frames = {}
        return True

    def beat(self) -> None:
        """Have the viewers told that all is well though nothing moved."""
        self.beats += 1
        self._frames = {}

    def close(self) -> None:
        """Give the book back and let go whoever waits."""
        self._book.give_back()
        self.waiting.close()

    def changes_since(self, seq: int) -> BookChanges | None:
        """Return what leads from moment `seq` to the present one; None: the whole book does."""
        missed = self.moment.seq - seq
        if not 0 < missed <= len(self._steps):
            return None
        parts = []
        for changes in islice(self._steps, len(self._steps) - missed, None):
            if changes is None:
                return None
            parts.append(changes)
        return parts[0] if len(parts) == 1 else merge_changes(parts)

    def shared(self, key: Hashable, make: Callable[[], Frame]) -> Frame:
        """Return the frame `key` of the present moment, made the first time it is asked for."""
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = make()
        return frame

    def _read(self, book: Book) -> BookImage:
        self._unreadable = ""
        try:
            return image_of(book, self.info.market)
        except InexactValue as error:
            self._unreadable = str(error)
            return BookImage(self.info.market, 0, 0, Scale(), _NO_LEVELS, _NO_LEVELS)


def _changes(old: BookImage, new: BookImage) -> BookChanges | None:
    """Return what leads from one image to the next, where changes can tell that."""
    if old.scale != new.scale or not (old.last_update_id and new.last_update_id):
        return None
    return changes_between(old, new)


def _same_words(badge: Badge, other: Badge) -> bool:
    return (badge.state, badge.detail) == (other.state, other.detail)
