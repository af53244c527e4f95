"""One symbol's broadcast: the hub looks at the book ten times a second, once for all viewers.

No viewer has a queue. A viewer remembers the number of the moment that it was last sent, and
asks for the changes from there to the present moment. A slow viewer skips moments.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import (
    BookChanges,
    BookImage,
    changes_between,
    image_of,
    merge_changes,
)
from orderbook_desktop.core.errors import InexactValue
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.ladder_memory import LadderMemory
from orderbook_desktop.core.levels import EMPTY, Levels
from orderbook_desktop.core.library import LentBook
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.replay_status import ReplayStatus
from orderbook_desktop.core.status import Badge, FeedState, SourceKind, badge_for
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.tape import Tape, TapeTrade
from orderbook_desktop.core.units import Scale
from orderbook_desktop.web.frames import Frame

# The event loop also paints the window, so only this many viewers are served in one turn.
_AT_ONCE: Final = 8

# Each viewer asks whether the present moment is true, so the answer holds for this long.
_TRUE_FOR_NS: Final = 20_000_000

# Ten seconds of moments at full rate. A viewer that is further behind gets the whole book.
_REMEMBERED: Final = 100
_NO_LEVELS: Final = Levels(EMPTY, EMPTY)
_NO_CHANGES: Final[BookChanges | None] = BookChanges(_NO_LEVELS, _NO_LEVELS)


class WaitingRoom:
    """Lets many coroutines wait for the same call.

    A coroutine misses no call if it looks for work and then waits, without an `await` between
    the two.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next call."""
        called = asyncio.get_running_loop().create_future()
        self._waiting.append(called)
        await called

    async def call(self) -> None:
        """Wake all coroutines that wait now, a few in each turn of the loop."""
        waiting, self._waiting = self._waiting, []
        try:
            for start in range(0, len(waiting), _AT_ONCE):
                _wake(waiting[start : start + _AT_ONCE])
                await asyncio.sleep(0)
        finally:
            # If this call is cancelled, the rest must still be woken.
            _wake(waiting)

    def close(self) -> None:
        """Wake all waiting coroutines at once."""
        waiting, self._waiting = self._waiting, []
        _wake(waiting)


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for called in waiting:
        if not called.done():  # A cancelled coroutine's future is done.
            called.set_result(None)


class Moment(Struct, frozen=True):
    """The book and how far it can be trusted, from one change to the next.

    `seq` is the moment's number in its channel. `demo` is whether the market is made up. `image` is
    the book, empty while it is not known; then `shown` is the last book that was, for people.
    `gaps` are those of the symbol's recording, None while they are not known. `tape` has its newest
    trades, also those that came later; None: trades are not followed. `replay` is the replay
    whose moment it is; None: the book is live.
    """

    seq: int
    image: BookImage
    shown: BookImage
    badge: Badge
    demo: bool
    gaps: RecordedGaps | None = None
    tape: Tape | None = None
    replay: ReplayStatus | None = None


class Channel:
    """Broadcasts one symbol's book. Call `close()` when done.

    `run` together with a moment's `seq` identifies the moment for ever. Viewers wait in
    `waiting`. The hub calls them after a new moment or a heartbeat, and `close()` wakes them.
    The present horizon is that of all moments from number `horizon_since` on.
    """

    def __init__(
        self,
        info: SymbolInfo,
        book: LentBook,
        now_ns: Callable[[], int],
        is_demo: Callable[[], bool] = lambda: False,
        gaps: Callable[[], RecordedGaps | None] = lambda: None,
    ) -> None:
        self.info = info
        self.run = secrets.token_hex(4)
        self.waiting = WaitingRoom()
        self.beats = 0
        self._book = book
        self._now_ns = now_ns
        self._is_demo = is_demo
        self._gaps = gaps
        # How far the book can be trusted, as of the last look.
        self._status = book.look().status
        self._last_revision: tuple[Book, int] | None = None
        self._unreadable = ""
        # The changes that led to the present moment; None for a step that needs the whole book.
        self._steps: deque[BookChanges | None] = deque(maxlen=_REMEMBERED)
        # The tape's revision at the moment before each step; None for another tape.
        self._tape_steps: deque[int | None] = deque(maxlen=_REMEMBERED)
        self._tape_revision = 0
        self._frames: dict[Hashable, Frame] = {}
        self._memories: dict[tuple[int, bool], LadderMemory] = {}
        image = BookImage(info.market, 0, 0, Scale(), _NO_LEVELS, _NO_LEVELS)
        self._moment = Moment(1, image, image, self.badge(), is_demo())
        self._true_at_ns = now_ns()
        # The number of the first moment with the present horizon.
        self.horizon_since = 1
        self.look()

    @property
    def moment(self) -> Moment:
        """The present moment."""
        return self._moment

    @property
    def known(self) -> bool:
        """Whether there is a book to show, or a replay says that none is known at its moment."""
        return self.moment.image.last_update_id > 0 or self.moment.replay is not None

    @property
    def source(self) -> SourceKind:
        """The source of the book of the last look."""
        return self._status.source

    @property
    def depth(self) -> DepthTail | None:
        """The newest minutes of the live book's events; None in a replay."""
        return self._book.look().depth

    def badge(self) -> Badge:
        """Return how far the book of the last look can be trusted, with its age as of now."""
        badge = badge_for(self._status, self._now_ns())
        if not self._unreadable:
            return badge
        state = FeedState.SYNCING
        return replace(badge, state=state, text=state.value, detail=self._unreadable)

    def look(self) -> bool:
        """Begin a new moment if the book or its status changed; return whether it did."""
        look = self._book.look()
        book, self._status = look.book, look.status
        revision = (book, book.revision)
        has_moved, self._last_revision = revision != self._last_revision, revision
        before = self.moment
        image, changes = before.image, _NO_CHANGES
        if has_moved:
            image = self._read(book)
            changes = _changes(before.image, image)
        badge, demo, gaps = self.badge(), self._is_demo(), self._gaps()
        is_same = demo == before.demo and gaps is before.gaps and self._has_tape(look.tape)
        is_same = is_same and look.replay == before.replay
        if not has_moved and is_same and _same_words(badge, before.badge):
            return False
        shown = image if look.last is None else look.last
        self._moment = Moment(
            *(before.seq + 1, image, shown, badge, demo, gaps, look.tape, look.replay)
        )
        if image.horizon != before.image.horizon:
            self.horizon_since = self._moment.seq
        self._steps.append(changes)
        self._tape_steps.append(self._tape_revision if look.tape is before.tape else None)
        self._tape_revision = 0 if look.tape is None else look.tape.revision
        self._frames = {}
        return True

    def _has_tape(self, tape: Tape | None) -> bool:
        """Whether the present moment has this tape, and all that came to it."""
        return tape is self._moment.tape and (tape is None or tape.revision == self._tape_revision)

    def look_if_untrue(self) -> None:
        """Begin a new moment if the state of the present one is not true any more.

        A moment that began before a suspension may be sent after it.
        """
        now_ns = self._now_ns()
        if not 0 <= now_ns - self._true_at_ns < _TRUE_FOR_NS:
            self._true_at_ns = now_ns
            if not _same_words(self.badge(), self._moment.badge):
                self.look()

    def beat(self) -> None:
        """Count a heartbeat, which viewers are sent while nothing changes."""
        self.beats += 1
        self._frames = {}

    def close(self) -> None:
        """Give the book back and wake all waiting viewers."""
        self._book.close()
        self.waiting.close()

    def changes_since(self, seq: int) -> BookChanges | None:
        """Return the changes from moment `seq` to the present; None: the whole book is needed."""
        missed = self.moment.seq - seq
        if not 0 < missed <= len(self._steps):
            return None
        missed_steps = []
        for changes in islice(self._steps, len(self._steps) - missed, None):
            if changes is None:
                return None
            missed_steps.append(changes)
        return missed_steps[0] if missed == 1 else merge_changes(missed_steps)

    def trades_since(self, seq: int | None) -> list[TapeTrade] | None:
        """Return the trades that came after moment `seq`, as they came.

        None: it is not known which these are, as of a first moment (None) or one of another tape.
        """
        missed = 0 if seq is None else self.moment.seq - seq
        tape = self._moment.tape
        if tape is None or not 0 < missed <= len(self._tape_steps):
            return None
        revision = self._tape_steps[-missed]
        if revision is None or self.is_other_tape(seq):
            return None
        return tape.arrivals(revision)

    def is_other_tape(self, seq: int | None) -> bool:
        """Whether a viewer of moment `seq` may have trades of another tape."""
        missed = -1 if seq is None else self.moment.seq - seq
        if not 0 <= missed <= len(self._tape_steps):
            # It is not known what such a viewer has. A recording without trades has no tape.
            return self._moment.tape is not None or self._moment.replay is not None
        return None in islice(self._tape_steps, len(self._tape_steps) - missed, None)

    def shared(self, key: Hashable, make: Callable[[], Frame]) -> Frame:
        """Return the frame `key` of the present moment; `make` makes it at the first call."""
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = make()
        return frame

    def ladder_memory(self, step: int, *, in_quote: bool = False) -> LadderMemory:
        """Return what the ladder grouped by `step` remembers in this asset; viewers share it."""
        return self._memories.setdefault((step, in_quote), LadderMemory())

    def _read(self, book: Book) -> BookImage:
        self._unreadable = ""
        try:
            return image_of(book, self.info.market)
        except InexactValue as error:
            self._unreadable = str(error)
            return BookImage(self.info.market, 0, 0, Scale(), _NO_LEVELS, _NO_LEVELS)


def _changes(old: BookImage, new: BookImage) -> BookChanges | None:
    """Return the changes from one image to the next; None if the whole book is needed."""
    if old.scale != new.scale or not (old.last_update_id and new.last_update_id):
        return None
    if new.horizon is None and old.horizon is not None:
        # Changes can't say that it is no longer known how deep the book is known.
        return None
    return changes_between(old, new)


def _same_words(badge: Badge, other: Badge) -> bool:
    words = (badge.state, badge.detail, badge.is_current)
    return words == (other.state, other.detail, other.is_current)
