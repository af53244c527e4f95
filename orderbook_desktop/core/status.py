"""The state of a book's feed, and the badge that shows it."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.time_text import age_text

# A book is stale if it is older: no event came, or the events that came are late. In an active
# market, events come more often than once a second, and silence is noticed earlier.
STALE_AFTER_MS: Final = 5_000
ACTIVE_STALE_AFTER_MS: Final = 3_000
# What every view says of itself while it shows a recording.
REPLAY: Final = "REPLAY"
_UNTIMED: Final = "Comparing the times of the first events, to know how old the book is."


class SourceKind(Enum):
    """Where a view's book comes from. The values are those of the `--source` option."""

    MONGO = "mongo"
    DIRECT = "direct"


class FeedState(Enum):
    """What a feed is doing; the values are what the badge says."""

    SYNCING = "syncing"
    SYNCED = "synced"
    STALE = "stale"
    RECONNECTING = "reconnecting"
    DATABASE_AWAY = "database away"
    DATABASE_LATE = "direct: database late"
    REPLAY = "replay"
    NOT_TRADED = "not traded"


class FeedStatus(Struct, frozen=True):
    """A feed's state as its driver knows it.

    `source` is where the book on screen comes from now. `stands_in` is whether that is the
    exchange's own book in place of the recorded one, though `state` is not SYNCED. `is_active` is
    whether events come more often than once a second.

    `last_received_ns` is when the last event was received, by the clock of the program
    that received it. For a recorded event that may be another computer's clock (ns since the
    epoch, 0: none yet). `detail` is one sentence, or empty. `as_of_ns` is the time up to which the
    book is known (0: never). This is when its last event arrived here, or earlier where that event
    was late (`core.lateness`), or when the whole book was asked for. It is measured by `steady_ns`,
    a clock that steps of the time of day do not move. While the book is not `is_timed`, it is not
    known whether its events are late: `as_of_ns` is when the book was asked for, and the book may
    be older.
    """

    state: FeedState
    source: SourceKind
    last_received_ns: int = 0
    detail: str = ""
    as_of_ns: int = 0
    is_active: bool = False
    stands_in: bool = False
    is_timed: bool = True


class Badge(Struct, frozen=True):
    """What the badge shows: `state` (STALE only where nothing is worse), age, detail.

    `age_ms` is the age of the book: the time since its last event was due here, or since the book
    was asked for if that was later. It is None while there was neither. A book that is not
    `is_current` may be wrong by now: it is shown dimmed, with the text across it.
    """

    state: FeedState
    age_ms: int | None
    text: str
    detail: str
    is_current: bool = True


def badge_for(status: FeedStatus, now_ns: int) -> Badge:
    """Return the badge for `status` at the time `now_ns` (by the clock of `as_of_ns`)."""
    if status.state is FeedState.REPLAY:
        # Its clock tells how far in the past it is; what it shows of that is true.
        return Badge(status.state, None, REPLAY, status.detail)
    age_ms = None
    if news_ns := status.as_of_ns or status.last_received_ns:
        age_ms = max(0, (now_ns - news_ns) // 1_000_000)
    state = status.state
    longest_ms = ACTIVE_STALE_AFTER_MS if status.is_active else STALE_AFTER_MS
    is_old = age_ms is not None and age_ms > longest_ms
    is_current = not is_old and (state is FeedState.SYNCED or status.stands_in)
    detail = status.detail
    if state is FeedState.SYNCED and is_old:
        state = FeedState.STALE
    elif state is FeedState.SYNCED and not status.is_timed:
        state, detail, is_current = FeedState.SYNCING, _UNTIMED, False
    text = state.value if age_ms is None else f"{state.value} · {age_text(age_ms)}"
    return Badge(state, age_ms, text, detail, is_current)
