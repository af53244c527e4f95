"""How the recording of one market is doing: its counts and its state."""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from typing import Final

from msgspec import Struct, field

from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.wording import counted


class RecordingState(Enum):
    """What happens to a market's events; the values are the words on screen.

    The worst state comes first: a paused recording loses events, one that waits for the database
    does not. A recording that a person has stopped is as it should be.
    """

    FAILED = "not recorded"
    PAUSED = "paused, the disk is full"
    TOO_WIDE = "a value is too wide"
    DELAYED = "waiting for the database"
    RECONNECTING = "reconnecting"
    WAITING = "waiting for its first book"
    ELSEWHERE = "recorded by another program"
    RECORDING = "recording"
    STOPPED = "stopped"

    @property
    def is_held_up(self) -> bool:
        """Whether events that a person wants recorded are not being stored at present."""
        return self in _HELD_UP

    @property
    def rank(self) -> int:
        """The place in the order of badness, 0 for the worst."""
        return _RANKS[self]


_HELD_UP: Final = (
    RecordingState.FAILED,
    RecordingState.PAUSED,
    RecordingState.TOO_WIDE,
    RecordingState.DELAYED,
)
_RANKS: Final = {state: rank for rank, state in enumerate(RecordingState)}


class RecordingCounts(Struct):
    """The events of one market that were recorded and archived in this session.

    `events` and `payload_bytes` count the events that the database acknowledged, `repeated` those
    of them that were stored already, and `dropped` those that did not fit into memory. `books`
    counts the books that segments began with, and `first_id` is the update id of the first of them.
    `gaps` counts the ends of segments that no person asked for, and the losses between segments.
    `last_gap` is the cause of the last one, at `last_gap_ms` (ms since the epoch). An end without a
    loss is no gap: either the next book has no newer ids, or the recording ends there for the
    reason `ended_by` and no event was stored after it. `lag_ms` is how long after its arrival the
    last event was acknowledged, by our clock; None before the first.

    `archived_events` were archived, in chunks of `archived_bytes`, also from earlier sessions.
    `archive_problem` is a sentence that says why some events can't be archived, or empty.
    """

    events: int = 0
    books: int = 0
    first_id: int = 0
    payload_bytes: int = 0
    repeated: int = 0
    dropped: int = 0
    gaps: int = 0
    last_gap: str = ""
    last_gap_ms: int = 0
    ended_by: str = ""
    last_id: int = 0
    lag_ms: int | None = None
    archived_events: int = 0
    archived_bytes: int = 0
    archive_problem: str = ""

    def count_gap(self, cause: str, at_ms: int) -> None:
        """Count a gap that `cause` made at a time (ms since the epoch)."""
        self.gaps += 1
        self.last_gap, self.last_gap_ms = cause, at_ms


# By stream; recorder and archiver count in the same struct.
AllCounts = defaultdict[Stream, RecordingCounts]


class RepairProgress(Struct, frozen=True):
    """How far missing trades are repaired: of `missing` ones, `repaired` have been stored."""

    missing: int
    repaired: int

    @property
    def percent(self) -> int:
        """How much is done, rounded down."""
        return 100 * self.repaired // self.missing if self.missing else 100

    def text(self, symbol: str) -> str:
        """Return the progress in words, such as "repairing 20,000 trades of BTC/USDT, 35 %"."""
        return f"repairing {counted(self.missing, 'trade')} of {symbol}, {self.percent} %"


class RecordingStatus(Struct, frozen=True):
    """How the recording of one symbol is doing.

    `symbol` is the market's name where only that is known. `kept` recordings were started by hand
    and do not depend on the screen; the other one is that of the symbol on screen. `wanted` is the
    switch, which keeps its position when the program ends. `counts` are a copy. `waiting` events
    are not acknowledged by the database yet. `rate` is in events a second. `lag_ms` is how long an
    event took from its arrival until it was stored, or how long the oldest one waits already; None
    before the first. `since_ms` is when it was started (ms since the epoch; 0: it is not).
    `problem` is a sentence, or empty while all is well. `gaps` are those of the whole recording,
    also of earlier sessions; None while they are not known, or were not asked for. `recorded_by` is
    the other program whose recording this program follows, such as `another program (process 5)`;
    empty while it follows none. `here_too` is the switch *Record here, too*. `trades` are stored
    ones, None where trades are not recorded. `repair` is how far missing trades are repaired; None
    while none is to be repaired.
    """

    symbol: str
    state: RecordingState
    kept: bool
    wanted: bool = True
    counts: RecordingCounts = field(default_factory=RecordingCounts)
    waiting: int = 0
    rate: float = 0.0
    lag_ms: int | None = None
    since_ms: int = 0
    problem: str = ""
    gaps: RecordedGaps | None = None
    recorded_by: str = ""
    here_too: bool = False
    trades: int | None = None
    repair: RepairProgress | None = None

    @property
    def stored_text(self) -> str:
        """The numbers of stored events and trades, such as `1,200 events, 3,400 trades`."""
        trades = "" if self.trades is None else f", {counted(self.trades, 'trade')}"
        return f"{counted(self.counts.events, 'event')}{trades}"

    def __hash__(self) -> int:
        # The counts are not part of it: they can change.
        return hash((self.symbol, self.state, self.kept, self.since_ms))
