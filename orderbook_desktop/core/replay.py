"""What a view sees of a replay, and how a person commands it: the clock, and what is covered.

A replay shows a recorded market at the time of a clock of its own. *Replay time* is in ns since the
epoch (`core.replay_status`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from orderbook_desktop.core.replay_status import (
    FASTEST,
    REAL_TIME,
    SLOWEST,
    UNLIMITED,
    Coverage,
    GapStop,
    Quiet,
    ReplayOrder,
    ReplayStatus,
)
from orderbook_desktop.core.sources import BookSource

__all__ = [
    "FASTEST",
    "REAL_TIME",
    "SLOWEST",
    "UNLIMITED",
    "Bookmark",
    "Coverage",
    "GapStop",
    "LargeTrades",
    "Quiet",
    "Replay",
    "ReplayOrder",
    "ReplayStatus",
    "Step",
    "Target",
]


class Step(Enum):
    """The distance of one step of the clock."""

    EVENT = "event"
    TRADE = "trade"
    SECOND = "second"


class Target(Enum):
    """What the clock can jump to, forward and back."""

    GAP = "gap"
    LARGE_TRADE = "large trade"
    BOOKMARK = "bookmark"


class Bookmark(Struct, frozen=True):
    """A moment that a person marked in the recording of `market`, with a note.

    `update_id` is that of the book at that moment, `event_ms` its time; `key` tells bookmarks
    apart.
    """

    key: str
    market: str
    event_ms: int
    update_id: int
    note: str = ""


class LargeTrades(Struct, frozen=True):
    """Which trades count as large: `quantity` (decimal text) and more, or the largest ones.

    With `quantity` empty they are those from the `percentile` (in thousandths) of the quantities
    of an hour up.
    """

    quantity: str = ""
    percentile: int = 99_000


class Replay(BookSource, Protocol):
    """A recording that is played: the source of all views, and what the transport bar commands.

    Commands return at once; their effects show in `status` later. The clock keeps its time until
    what was sought is there, so that a view never shows the book of another time as that of the
    clock.
    """

    @property
    def status(self) -> ReplayStatus:
        """The replay now."""
        ...

    @property
    def coverage(self) -> Coverage:
        """What the recording covers, the same object until that changes."""
        ...

    @property
    def bookmarks(self) -> Sequence[Bookmark]:
        """The bookmarks in order of time, the same object until they change."""
        ...

    @property
    def bookmarks_problem(self) -> str:
        """Why no bookmark can be stored, as a sentence; empty: it can."""
        ...

    def call_on_change(self, changed: Callable[[], None] | None) -> None:
        """Call `changed` after each change; None: call nothing any more."""
        ...

    def play(self) -> None:
        """Let the clock run; at a gap, from the book behind it."""
        ...

    def pause(self) -> None:
        """Stop the clock."""
        ...

    def set_speed(self, speed: int) -> None:
        """Run at `speed` thousandths of real time, or UNLIMITED."""
        ...

    def set_order(self, order: ReplayOrder) -> None:
        """Play in another order; the book on screen stays."""
        ...

    def set_loop(self, begin_ns: int | None, end_ns: int | None) -> None:
        """Play from `begin_ns` to `end_ns` again and again; None: no such end."""
        ...

    def set_skips(self, *, quiet: bool | None = None, gaps: bool | None = None) -> None:
        """Skip quiet stretches, and gaps, or not; None: as before."""
        ...

    def seek(self, at_ns: int) -> None:
        """Go to a time; before the recording's first moment or behind its last, to that."""
        ...

    def seek_id(self, update_id: int) -> None:
        """Go to the event with an update id; where that is not recorded, `status` says so."""
        ...

    def seek_end(self) -> None:
        """Go to the newest moment of the recording."""
        ...

    def step(self, step: Step, *, back: bool = False) -> None:
        """Stop the clock, and go one step on, or back."""
        ...

    def jump(self, target: Target, *, back: bool = False) -> None:
        """Go to the next gap, large trade or bookmark, or to the one before."""
        ...

    def set_large(self, large: LargeTrades) -> None:
        """Jump to these trades from now on."""
        ...

    def add_bookmark(self, note: str = "") -> None:
        """Mark the book on screen."""
        ...

    def change_bookmark(self, key: str, note: str) -> None:
        """Give a bookmark another note."""
        ...

    def remove_bookmark(self, key: str) -> None:
        """Remove a bookmark."""
        ...
