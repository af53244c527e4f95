"""What is in a packed file, as people look at it."""

from __future__ import annotations

from msgspec import Struct

from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.core.trade_coverage import TradeGap


class PackedRecording(Struct, frozen=True):
    """A recording in a packed file, in numbers; `stored_bytes` is the size of its events.

    `trade_gaps` are the gaps of its trades.
    """

    symbol: str
    timeline: Timeline
    segments: int
    events: int
    stored_bytes: int
    trade_gaps: tuple[TradeGap, ...] = ()

    @property
    def gaps(self) -> RecordedGaps:
        """Its gaps, none of which is of this session."""
        return RecordedGaps.of(self.timeline.gaps, session_id=0, trades=self.trade_gaps)


class PackedContents(Struct, frozen=True):
    """The recordings in the packed file `name`, which is at `path` and has `size` bytes."""

    name: str
    path: str
    size: int
    recordings: tuple[PackedRecording, ...]
