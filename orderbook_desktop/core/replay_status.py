"""What a recording covers, and the state of its replay at one moment.

Replay time is in ns since the epoch. In the order of receipt an event is due when it was received,
else at the exchange's time (`ReplayOrder`).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.timeline import Gap, Timeline
from orderbook_desktop.core.trade_coverage import TradeGap

# Speeds are in thousandths, so that the clock never rounds: 1,000 is real time.
REAL_TIME: Final = 1_000
SLOWEST: Final = 100
FASTEST: Final = 1_000_000
# As fast as the program can read the recording.
UNLIMITED: Final = 0


class Quiet(Struct, frozen=True):
    """A stretch of time (ms) that is covered, and in which nothing happened."""

    from_ms: int
    to_ms: int


class Coverage(Struct, frozen=True):
    """What a recording covers: the book in `timeline`, the trades but for `trade_gaps`.

    `quiet` are the stretches of at least a minute without a change of the book. `is_growing` is
    whether the recording still grows. Times are the exchange's, in ms.
    """

    timeline: Timeline = Timeline((), ())
    trade_gaps: tuple[TradeGap, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    is_growing: bool = False

    @property
    def recorded_gaps(self) -> RecordedGaps:
        """The gaps of the book and of the trades; none of them is of this session."""
        return RecordedGaps.of(self.timeline.gaps, 0, trades=self.trade_gaps)


class ReplayOrder(Enum):
    """When an event is due.

    RECEIVED: when the recorder received it. An event that was never received, or so long after its
    own time that the recorder's clock must have been wrong, is due at its own time; a repaired
    trade is due right before the first depth event that is not earlier. EXCHANGE: at its own time,
    by the exchange's clock.
    """

    RECEIVED = "received"
    EXCHANGE = "exchange"


class GapStop(Struct, frozen=True):
    """The clock stands at an edge of `gap`, where the book is not known.

    `is_before` is whether that is its beginning, after the event `before_id`; else it is its end,
    before the book of `after_id`. `after_id` is None while the recording has not gone on.
    """

    gap: Gap
    is_before: bool
    before_id: int
    after_id: int | None


class ReplayStatus(Struct, frozen=True, kw_only=True):
    """A replay at one moment.

    `at_ns` is the clock's time; `event_ms` and `update_id` are those of the book on screen, 0 while
    it is not known. `speed` is in thousandths, UNLIMITED: as fast as it goes; `reached` is the
    speed that the machine reaches, None while it keeps `speed` or does not play. `loop` are the
    begin and the end of the A-B loop, None: not set. `gap` is where the clock stands at the edge of
    a gap, `skipped` the last gap that the clock skipped. `is_at_end` is whether the clock has
    reached the end of the recording, and waits there while that grows. `seeking_ns` is the time
    that is being sought, else None. `problem` is a sentence if the recording can't be read there.
    `file` is the name of the packed file that is played, empty: the database.
    """

    symbol: str
    market: str
    at_ns: int
    event_ms: int = 0
    update_id: int = 0
    order: ReplayOrder = ReplayOrder.RECEIVED
    is_playing: bool = False
    speed: int = REAL_TIME
    reached: int | None = None
    loop: tuple[int | None, int | None] = (None, None)
    skips_quiet: bool = False
    skips_gaps: bool = False
    gap: GapStop | None = None
    skipped: Gap | None = None
    is_at_end: bool = False
    seeking_ns: int | None = None
    problem: str = ""
    file: str = ""

    @property
    def at_ms(self) -> int:
        """The clock's time in ms."""
        return self.at_ns // 1_000_000
