"""Where the clock of a replay is in a recording, and how far it runs: without reading or tasks."""

from __future__ import annotations

from enum import Enum
from typing import Final

from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.replay.clock import ReplayClock
from orderbook_desktop.replay.pieces import Piece, Spot
from orderbook_desktop.replay.reel import Reel
from orderbook_desktop.replay.trade_reel import TradeReel

# A stretch without an event that is skipped is at least so long.
_QUIET_NS: Final = 60_000_000_000
# Of it so much is played behind the one event, and before the next.
_BESIDE_QUIET_NS: Final = 1_000_000_000

TAIL_NS: Final = 1_000_000_000
"""So long after the last event of a recording its trades are played, beside the last book."""


class Halt(Enum):
    """Why the clock can't run on for now."""

    STARVED = "what follows has not been read yet"
    LOOP = "the loop ends"
    GAP = "a gap begins, and the clock stops"
    SKIPPED = "a gap begins, which is to be skipped"
    END = "the recording ends, as far as is known"
    REMOVED = "this part of the recording was removed"


class Motion:
    """Moves a clock over what is in memory of the recording in `reel` and `trades`.

    `spot` is where the clock is; `loop` are the times between which it plays (None: no such end).
    `skipped` is the last gap that it skipped, and `is_at_end` whether it is at the end of all that
    is recorded.
    """

    def __init__(self, reel: Reel, trades: TradeReel) -> None:
        self._reel = reel
        self._trades = trades
        self.clock = ReplayClock(0)
        self.order = ReplayOrder.RECEIVED
        self.loop: tuple[int | None, int | None] = None, None
        self.skips_quiet = self.skips_gaps = False
        self.spot: Spot | None = None
        self.skipped: Gap | None = None
        self.is_at_end = False
        # Why the clock halts at its limit. Whether a gap follows is found out there.
        self._limit = Halt.STARVED

    @property
    def at_ns(self) -> int:
        """The time of the spot; 0 before there is one."""
        return 0 if self.spot is None else self.spot.at_ns

    @property
    def in_gap(self) -> bool:
        """Whether the clock stands in a gap."""
        return self.spot is not None and self.spot.in_gap

    @property
    def loop_begins_ns(self) -> int:
        """Where the loop begins, else the recording."""
        begin_ns = self.loop[0]
        return self._reel.timeline.from_ms * NS_A_MS if begin_ns is None else begin_ns

    def advance(self, now_ns: int) -> Halt | None:
        """Bring the spot up to the clock; return why that can't run on, if it can't."""
        spot, clock = self.spot, self.clock
        if spot is None or spot.in_gap or not clock.is_playing:
            return None
        at_ns, piece, place = clock.at(now_ns), spot.piece, spot.place
        following = self._reel.known_after(piece)
        while following is not None and at_ns >= following.first_due(self.order):
            piece, place = following, following.first
            following = self._reel.known_after(piece)
        place = max(place, piece.place_at(at_ns, self.order))
        self.spot = spot = Spot(piece, place, at_ns)
        if at_ns >= clock.limit_ns:
            return self._at_edge(spot, now_ns) if self._limit is Halt.END else self._limit
        if self.skips_quiet:
            self._skip_quiet(spot, now_ns)
        return None

    def hold(self, now_ns: int) -> None:
        """Let the clock stand at the spot; it goes on from there with the next `move_limit`."""
        if self.spot is not None and not self.spot.in_gap and self.clock.is_playing:
            self.clock.go_to(self.spot.at_ns, self.spot.at_ns, now_ns)

    def settle(self, spot: Spot, now_ns: int) -> None:
        """Be at another spot."""
        self.spot, self.is_at_end = spot, False
        self.stand(now_ns)

    def stand(self, now_ns: int) -> None:
        """Let the clock go on from the spot; in a gap it stops."""
        spot = self.spot
        if spot is None:
            return
        self.clock.go_to(spot.at_ns, spot.at_ns, now_ns)
        if spot.in_gap:
            self.clock.pause(now_ns)
        self.move_limit(now_ns)

    def move_limit(self, now_ns: int) -> None:
        """Let the clock run as far as is known."""
        spot = self.spot
        if spot is None or spot.in_gap:
            return
        piece = self._reel.last_known(spot.piece)
        self._limit = Halt.END if self._reel.ends_run(piece) else Halt.STARVED
        limit_ns = self.end_of(piece)
        trades_ns = self._trades.known_until(self.order)
        if trades_ns is not None and trades_ns < limit_ns:
            limit_ns, self._limit = max(trades_ns, spot.at_ns), Halt.STARVED
        end_ns = self.loop[1]
        if end_ns is not None and spot.at_ns < end_ns <= limit_ns:
            limit_ns, self._limit = end_ns, Halt.LOOP
        self.clock.set_limit(limit_ns, now_ns)
        self.is_at_end = self.is_at_end and spot.at_ns >= limit_ns

    def end_of(self, piece: Piece) -> int:
        """Return when the last that is to be played of a piece is due, as far as is known.

        That is its last event; at the end of the recording the last of the trades that come right
        behind it. Behind a gap's edge, and where more events may come, the book is not to stay.
        """
        end_ns, run = piece.last_due(self.order), self._reel.run_of(piece)
        is_end = run is not None and run.gap_after is None and self._reel.ends_run(piece)
        if not is_end or self._reel.is_growing:
            return end_ns
        return max(end_ns, self._trades.latest_due(end_ns + TAIL_NS, self.order) or 0)

    def wait_ns(self, now_ns: int) -> int | None:
        """Return in how many ns the next event is due; None: it is not known, or never."""
        spot = self.spot
        if spot is None or spot.in_gap or spot.at_ns >= self.clock.limit_ns:
            return None
        next_ns = self._next_due(spot.piece, spot.place)
        return self.clock.until(self.clock.limit_ns if next_ns is None else next_ns, now_ns)

    def _next_due(self, piece: Piece, place: int) -> int | None:
        """Return when the next event is due, as far as it is in memory."""
        if place < piece.last:
            return piece.due_at(place + 1, self.order)
        following = self._reel.known_after(piece)
        return None if following is None else following.first_due(self.order)

    def _skip_quiet(self, spot: Spot, now_ns: int) -> None:
        """Go on to shortly before the next event, if that is long after this one."""
        piece, place = spot.piece, spot.place
        due_ns, next_ns = piece.due_at(place, self.order), self._next_due(piece, place)
        if next_ns is None or next_ns - due_ns < _QUIET_NS:
            return
        shortly_ns = next_ns - _BESIDE_QUIET_NS
        if due_ns + _BESIDE_QUIET_NS <= spot.at_ns < shortly_ns:
            self.clock.go_to(shortly_ns, self.clock.limit_ns, now_ns)
            self.spot = Spot(piece, place, shortly_ns)

    def _at_edge(self, spot: Spot, now_ns: int) -> Halt:
        """Stop at the end of a run."""
        run = self._reel.run_of(spot.piece)
        if run is None:
            self.clock.pause(now_ns)
            return Halt.REMOVED
        if run.gap_after is None:
            self.is_at_end = True
            if not self._reel.is_growing:
                self.clock.pause(now_ns)
            return Halt.END
        self.spot = Spot(spot.piece, spot.piece.last, spot.at_ns, in_gap=True)
        if self.skips_gaps and self._reel.neighbour(run, back=False) is not None:
            self.skipped = run.gap_after
            return Halt.SKIPPED
        self.clock.pause(now_ns)
        return Halt.GAP
