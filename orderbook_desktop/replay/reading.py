"""Reads of a recording what its replay wants soon, and learns how the recording has changed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.errors import KnownError, SystemLack, SystemRefusal
from orderbook_desktop.core.replay_status import UNLIMITED, ReplayOrder
from orderbook_desktop.core.timeline import Timeline
from orderbook_desktop.replay.marks import Survey
from orderbook_desktop.replay.motion import TAIL_NS
from orderbook_desktop.replay.pieces import Piece, Spot
from orderbook_desktop.replay.reel import Reel
from orderbook_desktop.replay.trade_reel import TradeReel
from orderbook_desktop.storage.failures import driver_failures_raised

_log = logging.getLogger(__name__)

_THOUSAND: Final = 1_000
# So much real time is read ahead, in so many pieces at most.
_AHEAD_NS: Final = 2_000_000_000
_AHEAD_AT_MOST: Final = 24
_AHEAD_BYTES: Final = 64 << 20
# How often a recording that grows is looked at: near its end, and elsewhere.
_LOOK_NEAR_S: Final = 0.5
_LOOK_S: Final = 10.0
# What could not be read is tried again after a while.
_TRY_AGAIN_NS: Final = 5_000_000_000

READING_FAILS: Final = (KnownError, OSError, MemoryError)
"""The errors with which reading a recording fails, once those of the driver are translated."""


class _Unread(Struct, frozen=True):
    """The piece behind the id `after_id` could not be read, for `problem`."""

    after_id: int
    problem: str
    at_ns: int


class Reading:
    """Reads ahead of a clock in the recording of `symbol`: depth in `reel`, and `trades`.

    `survey` learns what is covered. `now_ns` is a clock that never goes back. `trades_problem` is
    why the trades can't be read, as a sentence, or empty: the book is played nevertheless.
    """

    def __init__(
        self,
        reel: Reel,
        trades: TradeReel,
        survey: Survey,
        symbol: str,
        now_ns: Callable[[], int],
    ) -> None:
        self._reel = reel
        self._trades = trades
        self._survey = survey
        self._symbol = symbol
        self._now_ns = now_ns
        self._unread: _Unread | None = None
        self.trades_problem = ""

    def sentence(self, error: Exception) -> str:
        """Return what a person is told of one of the `READING_FAILS`."""
        known = SystemLack.of(error) or SystemRefusal.of(error) or error
        if isinstance(known, KnownError):
            return str(known)
        return f"The recording of {self._symbol} can't be read ({type(error).__name__})."

    def problem_behind(self, piece: Piece) -> str:
        """Return why what follows a piece could not be read; empty: it was not tried, or it was."""
        unread = self._unread
        return unread.problem if unread is not None and unread.after_id == piece.last_id else ""

    def reached(self, spot: Spot, order: ReplayOrder) -> tuple[Timeline, Piece, int | None, str]:
        """Return what is covered, up to where all is in memory, and the problem behind that."""
        last = self._reel.last_known(spot.piece)
        known_ns = self._trades.known_until(order)
        return self._reel.timeline, last, known_ns, self.problem_behind(last)

    def forget_problem(self) -> None:
        """Try at once what could not be read."""
        self._unread = None

    def patience_s(self, spot: Spot | None) -> float | None:
        """Return how often to look whether the recording has grown; None: it does not grow."""
        if not self._reel.is_growing and self._unread is None:
            return None
        is_near = spot is not None and self._reel.ends_run(self._reel.last_known(spot.piece))
        return _LOOK_NEAR_S if is_near else _LOOK_S

    async def refresh(self) -> bool:
        """Learn what is recorded now; return whether covers or gaps are others. Raises."""
        changed = await self._reel.refresh()
        self._survey.know(self._reel.timeline, is_growing=self._reel.is_growing)
        return changed

    async def refresh_trades(self) -> None:
        """Learn which trades are recorded now."""
        self.trades_problem = ""
        await self._with_trades(self._trades.refresh())

    async def look_again(self) -> bool:
        """Learn what is recorded now, if that can be read; return whether it has changed."""
        try:
            with driver_failures_raised():
                changed = await self.refresh()
                await self.refresh_trades()
                await self._with_trades(self._trades.look_on())
        except READING_FAILS as error:
            _log.info("replay of %s: %s", self._symbol, self.sentence(error))
            return False
        return changed

    async def have_trades(self, spot: Spot, order: ReplayOrder) -> None:
        """Have the trades around a spot in memory."""
        await self._with_trades(self._trades.go_to(spot, order))

    async def read_on(self, spot: Spot, order: ReplayOrder, speed: int) -> bool:
        """Read the next part that is wanted soon; return whether there may be more to read.

        What can't be read is the `problem_behind` the last piece that is known.
        """
        try:
            with driver_failures_raised():
                try:
                    return await self._read_ahead(spot, order, speed)
                except KnownError:
                    # It may have been cut or archived meanwhile.
                    if not await self.refresh():
                        raise
                    return True
        except READING_FAILS as error:
            last, problem = self._reel.last_known(spot.piece), self.sentence(error)
            self._unread = _Unread(last.last_id, problem, self._now_ns())
            _log.info("replay of %s: %s", self._symbol, problem)
            return False

    async def _read_ahead(self, spot: Spot, order: ReplayOrder, speed: int) -> bool:
        wanted_ns = None if speed == UNLIMITED else spot.at_ns + _AHEAD_NS * speed // _THOUSAND
        if await self._read_depth(spot, order, wanted_ns):
            return True
        last_ns = self._reel.last_known(spot.piece).last_due(order) + TAIL_NS
        until_ns = last_ns if wanted_ns is None else min(wanted_ns, last_ns)
        has_more = await self._with_trades(self._trades.read_on(spot, order, until_ns))
        return has_more or await self._read_behind(spot)

    async def _read_depth(self, spot: Spot, order: ReplayOrder, wanted_ns: int | None) -> bool:
        """Read the next piece if it is due by `wanted_ns` (None: as soon as possible)."""
        piece, count, size = spot.piece, 0, 0
        while (following := self._reel.known_after(piece)) is not None:
            piece, count, size = following, count + 1, size + following.size
        is_enough = wanted_ns is not None and count and piece.last_due(order) >= wanted_ns
        if is_enough or count >= _AHEAD_AT_MOST or size >= _AHEAD_BYTES:
            return False
        unread = self._unread
        if unread is not None and unread.after_id == piece.last_id:
            if self._now_ns() - unread.at_ns < _TRY_AGAIN_NS:
                return False
            self._unread = None
        return await self._reel.after(piece) is not None

    async def _read_behind(self, spot: Spot) -> bool:
        """Read the piece before the spot's, for a step back."""
        if spot.piece.opens or self._reel.known_before(spot.piece) is not None:
            return False
        return await self._reel.before(spot.piece) is not None

    async def _with_trades(self, work: Awaitable[bool | None]) -> bool:
        """Do something with trades; where they can't be read, the book is played nevertheless."""
        try:
            return bool(await work)
        except READING_FAILS as error:
            self._trades.give_up()
            self.trades_problem = self.sentence(error)
            _log.info("replay of %s: trades: %s", self._symbol, self.trades_problem)
            return False
