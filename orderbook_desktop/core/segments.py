"""Segments: unbroken runs of update ids in a recording, and why each came to its end."""

from __future__ import annotations

from enum import Enum
from typing import Self

from msgspec import Struct

from orderbook_desktop.core.units import Scale


class GapCause(Enum):
    """Why a recording, or a live book, lost its continuity. The values are stored."""

    USER = "user"
    FEED_GAP = "feed gap"
    DISCONNECT = "disconnect"
    SILENCE = "silence"
    SERVER_SHUTDOWN = "server shutdown"
    MALFORMED = "malformed message"
    CROSSED = "crossed book"
    TOO_WIDE = "value too wide"
    SUSPENDED = "suspended"
    DATABASE = "database"
    OVERFLOW = "overflow"
    CRASH = "crash"
    DISK = "disk"
    NOT_SERVED = "not served"

    @property
    def sentence(self) -> str:
        """The cause as a sentence."""
        return _SENTENCES[self]

    @property
    def stream_goes_on(self) -> bool:
        """Whether the stream continues without a loss, and only a book is needed."""
        return self in (GapCause.FEED_GAP, GapCause.CROSSED, GapCause.TOO_WIDE)


_SENTENCES = {
    GapCause.USER: "recording was stopped",
    GapCause.FEED_GAP: "the exchange's stream left out update ids",
    GapCause.DISCONNECT: "the connection to the exchange was lost",
    GapCause.SILENCE: "the exchange sent nothing on an open connection",
    GapCause.SERVER_SHUTDOWN: "the exchange announced the end of the connection",
    GapCause.MALFORMED: "a message of the exchange could not be read",
    GapCause.CROSSED: "the exchange's book was crossed, a bid at or above an ask",
    GapCause.TOO_WIDE: "a value was too wide to be held exactly with the other values of the book",
    GapCause.SUSPENDED: "the computer slept, or the program was suspended",
    GapCause.DATABASE: "the database refused or lost a write",
    GapCause.OVERFLOW: "more events waited for the database than fit into memory",
    GapCause.CRASH: "the recorder ended without closing the recording",
    GapCause.DISK: "the disk was nearly full",
    GapCause.NOT_SERVED: "the exchange no longer serves these trades",
}


class Segment(Struct, frozen=True):
    """One unbroken run of update ids of one market.

    The book is known from `snapshot_id` on, through `last_id`. `first_id` is the first update id
    that the run's events cover. Times are the exchange's: `first_event_ms` is that of the first
    book, or else of the first event, and `last_event_ms` the latest of all times, as the
    exchange's clock may go back. `end_cause` is None while the run goes on.
    """

    market: str
    snapshot_id: int
    first_id: int
    last_id: int
    first_event_ms: int
    last_event_ms: int
    event_count: int
    scale: Scale
    end_cause: GapCause | None = None
    end_detail: str = ""


class TimesSeen(Struct, frozen=True):
    """The latest time of a segment so far, and the largest step back from it.

    Where `back_ms` is 0 the times never went back.
    """

    latest_ms: int
    back_ms: int = 0

    def and_then(self, event_ms: int) -> Self:
        """Return the same with one further event."""
        behind_ms = max(self.back_ms, self.latest_ms - event_ms)
        return type(self)(max(self.latest_ms, event_ms), behind_ms)
