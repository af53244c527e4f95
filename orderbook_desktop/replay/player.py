"""The player: a recording at the time of a clock, to views a source like any other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import KnownError, SystemLack, SystemRefusal
from orderbook_desktop.core.replay import (
    Bookmark,
    Coverage,
    LargeTrades,
    ReplayOrder,
    ReplayStatus,
    Step,
    Target,
)
from orderbook_desktop.core.replay_status import REAL_TIME, UNLIMITED
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.time_text import duration_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.replay.clock import ReplayClock
from orderbook_desktop.replay.large_trades import LargeTrade, LargeTradeFinder
from orderbook_desktop.replay.marks import Bookmarks, Survey
from orderbook_desktop.replay.reel import Piece, Reel, Spot
from orderbook_desktop.replay.steps import Steps
from orderbook_desktop.replay.trade_reel import TradeReel
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.reading.recording import CrossedRecording
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.system.alarm import Alarm
from orderbook_desktop.system.tasks import end_tasks, set_within

_log = logging.getLogger(__name__)

_NS_A_S: Final = 1_000_000_000
_NS_A_MS: Final = 1_000_000
_THOUSAND: Final = 1_000
# So much real time is read ahead, in so many pieces at most.
_AHEAD_NS: Final = 2 * _NS_A_S
_AHEAD_AT_MOST: Final = 24
_AHEAD_BYTES: Final = 64 << 20
# A stretch without an event that is skipped is at least so long.
_QUIET_NS: Final = 60 * _NS_A_S
# Of it so much is played behind the one event, and before the next.
_BESIDE_QUIET_NS: Final = _NS_A_S
# How often a recording that grows is looked at: near its end, and elsewhere.
_LOOK_NEAR_S: Final = 0.5
_LOOK_S: Final = 10.0
# What could not be read is tried again after a while.
_TRY_AGAIN_NS: Final = 5 * _NS_A_S
# Views are woken no more often.
_LEAST_WAKE_NS: Final = 4_000_000

# What fails where a recording can't be read, besides the driver.
_READING_FAILS: Final = (KnownError, OSError, MemoryError)

_Command = Callable[[], Awaitable[None]]


class NothingRecorded(DatabaseError):
    """There is no recording of `market` whose book is known."""

    market: str

    def __str__(self) -> str:
        return f"No book of {self.market} is recorded here; record it, or open another file."


class UnknownId(DatabaseError):
    """The event with `update_id` of `market` is not recorded in any unbroken run."""

    market: str
    update_id: int

    def __str__(self) -> str:
        return f"Update id {self.update_id} of {self.market} is not recorded."


class NothingThere(DatabaseError):
    """No `target` is recorded before or after the moment; `side` says which."""

    target: str
    side: str

    def __str__(self) -> str:
        return f"No {self.target} is known {self.side} this moment."


class _Limit(Enum):
    """Why the clock can't run on for now."""

    STARVED = "what follows has not been read yet"
    EDGE = "the run ends"
    LOOP = "the loop ends"


class _Unread(Struct, frozen=True):
    """The piece behind the id `after_id` could not be read, for `problem`."""

    after_id: int
    problem: str
    at_ns: int


class Player:
    """Plays the recording of `market` in `store`. It is a `core.replay.Replay`.

    `symbol` is what people call the market, `file` the name of the packed file that is played
    (empty: a database). `now_ns` is a clock that never goes back. `alarm` wakes views when the next
    event is due; None: only their own frames look. Await `start` first and `close` at the end.
    """

    def __init__(
        self,
        store: RecordingStore,
        market: str,
        symbol: str,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
        alarm: Alarm | None = None,
        file: str = "",
    ) -> None:
        self.market = market
        self._symbol, self._file = symbol, file
        self._now_ns, self._alarm = now_ns, alarm
        self._reel = Reel(store, market)
        self._trades = TradeReel(store, market)
        self._steps = Steps(self._reel, self._trades)
        self._clock = ReplayClock(0)
        self._order = ReplayOrder.RECEIVED
        self._speed = REAL_TIME
        self._loop: tuple[int | None, int | None] = None, None
        self._skips_quiet = self._skips_gaps = False
        self._spot: Spot | None = None
        self._limit = _Limit.STARVED
        self._skipped: Gap | None = None
        self._is_at_end = False
        # What a command could not do; and what could not be read behind the spot.
        self._problem = ""
        self._trades_problem = ""
        self._is_lost = False
        self._unread: _Unread | None = None
        self._seeking_ns: int | None = None
        self._commands: deque[_Command] = deque()
        self._is_seek_last = self._is_busy = False
        self._wanted, self._idle = asyncio.Event(), asyncio.Event()
        self._changed: Callable[[], None] | None = None
        self._book = Book()
        self._tape: Tape | None = None
        # What the book is of: piece and place.
        self._shown: tuple[Piece, int] | None = None
        self._bookmarks = Bookmarks(store, market)
        self._survey = Survey(store, market, self._told_due)
        self._large = LargeTrades()
        self._finder: LargeTradeFinder | None = None
        self._search: asyncio.Task[LargeTrade | None] | None = None
        self._store = store
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, at: int | None = None) -> None:
        """Open the recording at a time (None: its first moment).

        Raises `NothingRecorded` and what reading raises.
        """
        with driver_failures_raised():
            await self._reel.refresh()
            await self._refresh_trades()
            timeline = self._reel.timeline
            if not timeline.covers:
                raise NothingRecorded(self.market)
            self._survey.know(timeline, is_growing=self._reel.is_growing)
            await self._go_to_time(timeline.from_ms * _NS_A_MS if at is None else at)
        self._command(self._bookmarks.load)
        jobs = (self._work(), "replay"), (self._survey.run(), "coverage")
        self._tasks = [
            asyncio.create_task(job, name=f"{name} of {self.market}") for job, name in jobs
        ]

    async def idle(self) -> None:
        """Wait until all commands are done, and what is wanted soon is read."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop playing, and end all that reads."""
        self._changed = None
        if self._alarm is not None:
            self._alarm.close()
        await end_tasks(*self._tasks)
        await self._reel.close()
        await self._trades.close()

    # What views see.

    @property
    def status(self) -> ReplayStatus:
        """See `Replay`."""
        now_ns = self._now_ns()
        self._advance(now_ns)
        return self._status_at(now_ns)

    @property
    def coverage(self) -> Coverage:
        """See `Replay`."""
        return self._survey.coverage

    @property
    def bookmarks(self) -> Sequence[Bookmark]:
        """See `Replay`."""
        return self._bookmarks.all

    @property
    def bookmarks_problem(self) -> str:
        """See `Replay`."""
        return self._bookmarks.problem

    def look(self) -> BookLook:
        """See `BookSource`."""
        now_ns = self._now_ns()
        self._advance(now_ns)
        self._show()
        self._set_alarm(now_ns)
        status = self._status_at(now_ns)
        received_ns = self._book.received_ns
        detail = status.problem or (_gap_text(status.gap.gap) if status.gap is not None else "")
        feed = FeedStatus(
            FeedState.REPLAY, SourceKind.MONGO, last_received_ns=received_ns, detail=detail
        )
        if not self._is_busy:
            self._take_tape()
        return BookLook(self._book, feed, tape=self._tape, replay=status)

    def call_on_change(self, changed: Callable[[], None] | None) -> None:
        """See `Replay`."""
        self._changed = changed

    # Commands.

    def play(self) -> None:
        """See `Replay`."""
        spot = self._spot
        if spot is not None and spot.in_gap:
            self._command(self._go_on)
        self._problem = ""
        self._clock.play(self._now_ns())
        self._told()

    def pause(self) -> None:
        """See `Replay`."""
        now_ns = self._now_ns()
        self._advance(now_ns)
        self._clock.pause(now_ns)
        self._told()

    def set_speed(self, speed: int) -> None:
        """See `Replay`."""
        now_ns = self._now_ns()
        self._advance(now_ns)
        self._clock.set_speed(speed, now_ns)
        self._told()

    def set_order(self, order: ReplayOrder) -> None:
        """See `Replay`."""
        self._command(partial(self._change_order, order))

    def set_loop(self, begin_ns: int | None, end_ns: int | None) -> None:
        """See `Replay`."""
        self._loop = begin_ns, end_ns
        self._move_limit(self._now_ns())
        self._told()

    def set_skips(self, *, quiet: bool | None = None, gaps: bool | None = None) -> None:
        """See `Replay`."""
        self._skips_quiet = self._skips_quiet if quiet is None else quiet
        self._skips_gaps = self._skips_gaps if gaps is None else gaps
        self._told()

    def seek(self, at_ns: int) -> None:
        """See `Replay`."""
        spot = self._spot
        if self._is_free and spot is not None and not spot.in_gap:
            found = self._reel.known_at(spot.piece, at_ns, self._order)
            if found is not None and self._trades.is_around(found, self._order):
                self._settle(found)
                self._told()
                return
        self._seeking_ns = at_ns
        self._command(partial(self._go_to_time, at_ns), is_seek=True)

    def seek_id(self, update_id: int) -> None:
        """See `Replay`."""
        self._command(partial(self._go_to_id, update_id), is_seek=True)

    def seek_end(self) -> None:
        """See `Replay`."""
        self._command(self._go_to_end, is_seek=True)

    def step(self, step: Step, *, back: bool = False) -> None:
        """See `Replay`."""
        self.pause()
        if self._is_free and self._spot is not None:
            # What is in memory is there at once, whatever is read meanwhile.
            found = self._steps.known(self._spot, step, self._order, back=back)
            if found is not None:
                self._settle(found)
                self._told()
                return
        self._command(partial(self._take_step, step, back=back))

    def jump(self, target: Target, *, back: bool = False) -> None:
        """See `Replay`."""
        self._command(partial(self._jump_to, target, back=back))

    def set_large(self, large: LargeTrades) -> None:
        """See `Replay`."""
        if large != self._large:
            self._large, self._finder = large, None

    def add_bookmark(self, note: str = "") -> None:
        """See `Replay`."""
        spot = self._spot
        if not self._bookmarks.problem and spot is not None and not spot.in_gap:
            event_ms, update_id = spot.piece.event_ms_at(spot.place), spot.piece.id_at(spot.place)
            # A book from before the first event may have no time of its own.
            event_ms = event_ms or spot.at_ns // _NS_A_MS
            self._command(partial(self._bookmarks.add, event_ms, update_id, note))

    def change_bookmark(self, key: str, note: str) -> None:
        """See `Replay`."""
        self._command(partial(self._bookmarks.change, key, note))

    def remove_bookmark(self, key: str) -> None:
        """See `Replay`."""
        self._command(partial(self._bookmarks.remove, key))

    @property
    def _is_free(self) -> bool:
        """Whether no command is being done or waits."""
        return not self._commands and not self._is_busy

    def _command(self, command: _Command, *, is_seek: bool = False) -> None:
        """Have a command done after those before it; the clock waits for it."""
        self._advance(self._now_ns())
        self._enqueue(command, is_seek=is_seek)

    def _enqueue(self, command: _Command, *, is_seek: bool = False) -> None:
        if self._search is not None:
            self._search.cancel()
        if is_seek and self._is_seek_last and self._commands:
            # Of seeks that follow each other only the latest counts.
            self._commands.pop()
        self._commands.append(command)
        self._is_seek_last = is_seek
        self._told()

    def _told(self) -> None:
        self._want()
        self._told_due()

    def _want(self) -> None:
        self._wanted.set()
        self._idle.clear()

    # The clock.

    def _advance(self, now_ns: int) -> None:
        """Bring the spot up to the clock, which goes on only while no command waits."""
        spot, clock = self._spot, self._clock
        if spot is None or spot.in_gap or not clock.is_playing:
            return
        if not self._is_free:
            at_ns = spot.at_ns
            clock.go_to(at_ns, at_ns, now_ns)
            return
        at_ns, piece, place = clock.at(now_ns), spot.piece, spot.place
        following = self._reel.known_after(piece)
        while following is not None and at_ns >= following.first_due(self._order):
            piece, place = following, following.first
            following = self._reel.known_after(piece)
        if at_ns != spot.at_ns:
            # What is wanted soon goes on with the clock.
            self._want()
        place = max(place, piece.place_at(at_ns, self._order))
        self._spot = Spot(piece, place, at_ns)
        if at_ns >= clock.limit_ns:
            self._at_limit(now_ns)
        elif self._skips_quiet:
            self._skip_quiet(piece, place, now_ns)

    def _skip_quiet(self, piece: Piece, place: int, now_ns: int) -> None:
        """Go on to shortly before the next event, if that is long after this one."""
        at_ns, due_ns = self._clock.at(now_ns), piece.due_at(place, self._order)
        next_ns = self._next_due(piece, place)
        if next_ns is None or next_ns - due_ns < _QUIET_NS:
            return
        shortly_ns = next_ns - _BESIDE_QUIET_NS
        if due_ns + _BESIDE_QUIET_NS <= at_ns < shortly_ns:
            self._clock.go_to(shortly_ns, self._clock.limit_ns, now_ns)
            self._spot = Spot(piece, place, shortly_ns)

    def _next_due(self, piece: Piece, place: int) -> int | None:
        """Return when the next event is due, as far as it is in memory."""
        if place < piece.last:
            return piece.due_at(place + 1, self._order)
        following = self._reel.known_after(piece)
        return None if following is None else following.first_due(self._order)

    def _at_limit(self, now_ns: int) -> None:
        """Do what is to be done where the clock can't run on."""
        spot = self._spot
        if spot is None:
            return
        unread = self._unread
        if self._limit is _Limit.LOOP:
            begin_ns = self._loop[0]
            timeline = self._reel.timeline
            at_ns = timeline.from_ms * _NS_A_MS if begin_ns is None else begin_ns
            self._enqueue(partial(self._go_to_time, at_ns), is_seek=True)
        elif self._limit is _Limit.EDGE:
            self._at_edge(spot, now_ns)
        elif unread is not None and unread.after_id == spot.piece.last_id:
            self._problem, self._is_lost = unread.problem, True
            self._clock.pause(now_ns)

    def _at_edge(self, spot: Spot, now_ns: int) -> None:
        """Stop at the end of a run."""
        run = self._reel.run_of(spot.piece)
        if run is None:
            self._problem, self._is_lost = "This part of the recording was removed.", True
            self._clock.pause(now_ns)
        elif run.gap_after is not None:
            self._spot = Spot(spot.piece, spot.piece.last, spot.at_ns, in_gap=True)
            if self._skips_gaps and self._reel.neighbour(run, back=False) is not None:
                self._skipped = run.gap_after
                self._enqueue(self._go_on)
            else:
                self._clock.pause(now_ns)
        else:
            self._is_at_end = True
            if not self._reel.is_growing:
                self._clock.pause(now_ns)

    def _move_limit(self, now_ns: int) -> None:
        """Let the clock run as far as is known."""
        spot = self._spot
        if spot is None or spot.in_gap:
            return
        piece = spot.piece
        while (following := self._reel.known_after(piece)) is not None:
            piece = following
        limit_ns = piece.last_due(self._order)
        self._limit = _Limit.EDGE if self._reel.ends_run(piece) else _Limit.STARVED
        trades_ns = self._trades.known_until(self._order)
        if trades_ns is not None and trades_ns < limit_ns:
            limit_ns, self._limit = max(trades_ns, spot.at_ns), _Limit.STARVED
        end_ns = self._loop[1]
        if end_ns is not None and spot.at_ns < end_ns <= limit_ns:
            limit_ns, self._limit = end_ns, _Limit.LOOP
        self._clock.set_limit(limit_ns, now_ns)
        self._is_at_end = self._is_at_end and spot.at_ns >= limit_ns

    def _set_alarm(self, now_ns: int) -> None:
        """Have views woken when the next event is due."""
        spot = self._spot
        if self._alarm is None or spot is None or spot.in_gap:
            return
        next_ns = self._next_due(spot.piece, spot.place)
        limit_ns = self._clock.limit_ns
        wait_ns = self._clock.until(limit_ns if next_ns is None else next_ns, now_ns)
        if wait_ns is None or spot.at_ns >= limit_ns:
            # The clock waits for what is being read; views are woken when that is there.
            self._alarm.clear()
        else:
            self._alarm.set(max(wait_ns, _LEAST_WAKE_NS), self._told_due)

    def _told_due(self) -> None:
        if self._changed is not None:
            self._changed()

    def _show(self) -> None:
        """Have the book hold what is at the spot."""
        spot = self._spot
        if spot is None or spot.in_gap or self._is_lost or self._crossing() is not None:
            if self._shown is not None or self._book.last_update_id:
                self._shown = None
                self._book.clear()
            return
        if self._shown != (spot.piece, spot.place):
            self._shown = spot.piece, spot.place
            self._book.hold(spot.piece.book_at(spot.place))

    def _take_tape(self) -> None:
        """Have the tape of the spot."""
        if self._spot is not None:
            self._tape = self._trades.tape_at(self._spot, self._order)

    def _crossing(self) -> CrossedRecording | None:
        spot = self._spot
        if spot is None or spot.in_gap or spot.piece.crossed_at is None:
            return None
        crossed_at = spot.piece.crossed_at
        if spot.place < crossed_at:
            return None
        piece = spot.piece
        return CrossedRecording(self.market, piece.id_at(crossed_at), piece.event_ms_at(crossed_at))

    def _status_at(self, now_ns: int) -> ReplayStatus:
        spot, clock = self._spot, self._clock
        crossing = self._crossing()
        is_known = not (spot is None or spot.in_gap or self._is_lost or crossing is not None)
        reached = None if self._is_at_end else clock.reached(now_ns)
        return ReplayStatus(
            symbol=self._symbol,
            market=self.market,
            at_ns=0 if spot is None else spot.at_ns,
            event_ms=spot.piece.event_ms_at(spot.place) if spot is not None and is_known else 0,
            update_id=spot.piece.id_at(spot.place) if spot is not None and is_known else 0,
            order=self._order,
            is_playing=clock.is_playing,
            speed=clock.speed,
            reached=reached,
            loop=self._loop,
            skips_quiet=self._skips_quiet,
            skips_gaps=self._skips_gaps,
            gap=None if spot is None else self._steps.gap_stop(spot),
            skipped=self._skipped,
            is_at_end=self._is_at_end,
            seeking_ns=self._seeking_ns,
            problem=self._problem or str(crossing or self._trades_problem),
            file=self._file,
        )

    # What the player's task does.

    async def _work(self) -> None:
        looked_s = asyncio.get_running_loop().time()
        while True:
            self._wanted.clear()
            patience_s = self._patience_s()
            left_s = None
            if patience_s is not None:
                left_s = looked_s + patience_s - asyncio.get_running_loop().time()
            if self._commands:
                await self._do_next()
            elif left_s is not None and left_s <= 0:
                await self._look_again()
                looked_s = asyncio.get_running_loop().time()
            elif not await self._read_on():
                await self._wait(left_s)

    async def _do_next(self) -> None:
        # Where the command goes, other trades are read: meanwhile the clock stands at these.
        self._take_tape()
        self._is_busy = True
        command = self._commands.popleft()
        before = self._spot
        try:
            with driver_failures_raised():
                await self._do(command)
        except _READING_FAILS as error:
            self._failed(error)
        finally:
            self._is_busy = False
        if not self._commands:
            self._seeking_ns = None
        if self._spot is before:
            self._set_clock()
        self._told()

    async def _do(self, command: _Command) -> None:
        """Do a command; once more if the recording has been cut or archived meanwhile."""
        try:
            await command()
        except KnownError:
            if not await self._has_changed():
                raise
            await command()

    async def _has_changed(self) -> bool:
        """Learn what is recorded now; return whether covers or gaps are others."""
        changed = await self._reel.refresh()
        self._survey.know(self._reel.timeline, is_growing=self._reel.is_growing)
        return changed

    def _failed(self, error: Exception) -> None:
        self._problem = self._sentence(error)
        _log.info("replay of %s: %s", self.market, self._problem)

    def _sentence(self, error: Exception) -> str:
        known = SystemLack.of(error) or SystemRefusal.of(error) or error
        if isinstance(known, KnownError):
            return str(known)
        return f"The recording of {self._symbol} can't be read ({type(error).__name__})."

    async def _read_on(self) -> bool:
        """Read the next piece that is wanted soon, if one is; return whether one came."""
        spot = self._spot
        if spot is None or spot.in_gap:
            return False
        try:
            with driver_failures_raised():
                try:
                    return await self._read_ahead(spot)
                except KnownError:
                    if not await self._has_changed():
                        raise
                    self._move_limit(self._now_ns())
                    self._told()
                    return True
        except _READING_FAILS as error:
            last = self._last_known(spot.piece)
            self._unread = _Unread(last.last_id, self._sentence(error), self._now_ns())
            _log.info("replay of %s: %s", self.market, self._unread.problem)
            self._told_due()
            return False

    def _last_known(self, piece: Piece) -> Piece:
        while (following := self._reel.known_after(piece)) is not None:
            piece = following
        return piece

    async def _read_ahead(self, spot: Spot) -> bool:
        speed = self._clock.speed
        wanted_ns = None if speed == UNLIMITED else spot.at_ns + _AHEAD_NS * speed // _THOUSAND
        if await self._read_depth(spot, wanted_ns):
            return True
        last_ns = self._last_known(spot.piece).last_due(self._order)
        until_ns = last_ns if wanted_ns is None else min(wanted_ns, last_ns)
        known_ns = self._trades.known_until(self._order)
        has_more = await self._do_with_trades(self._trades.read_on(spot, self._order, until_ns))
        if self._trades.known_until(self._order) != known_ns:
            self._move_limit(self._now_ns())
            self._told_due()
        return has_more or await self._read_behind(spot)

    async def _read_depth(self, spot: Spot, wanted_ns: int | None) -> bool:
        """Read the next piece if it is due by `wanted_ns` (None: as soon as possible)."""
        piece, count, size = spot.piece, 0, 0
        while (following := self._reel.known_after(piece)) is not None:
            piece, count, size = following, count + 1, size + following.size
        is_enough = wanted_ns is not None and count and piece.last_due(self._order) >= wanted_ns
        if is_enough or count >= _AHEAD_AT_MOST or size >= _AHEAD_BYTES:
            return False
        unread = self._unread
        if unread is not None and unread.after_id == piece.last_id:
            if self._now_ns() - unread.at_ns < _TRY_AGAIN_NS:
                return False
            self._unread = None
        if await self._reel.after(piece) is None:
            return False
        self._move_limit(self._now_ns())
        self._told_due()
        return True

    async def _do_with_trades(self, work: Awaitable[bool | None]) -> bool:
        """Do something with trades; where they can't be read, the book is played nevertheless."""
        try:
            return bool(await work)
        except _READING_FAILS as error:
            self._trades.give_up()
            self._trades_problem = self._sentence(error)
            _log.info("replay of %s: trades: %s", self.market, self._trades_problem)
            return False

    async def _refresh_trades(self) -> None:
        self._trades_problem = ""
        await self._do_with_trades(self._trades.refresh())

    async def _read_behind(self, spot: Spot) -> bool:
        """Read the piece before the spot's, for a step back."""
        if spot.piece.opens or self._reel.known_before(spot.piece) is not None:
            return False
        return await self._reel.before(spot.piece) is not None

    def _patience_s(self) -> float | None:
        """Return how often to look whether the recording has grown; None: it does not grow."""
        spot = self._spot
        if not self._reel.is_growing and self._unread is None:
            return None
        is_near = spot is not None and self._reel.ends_run(self._last_known(spot.piece))
        return _LOOK_NEAR_S if is_near else _LOOK_S

    async def _wait(self, seconds: float | None) -> None:
        """Wait until there is something to do, so long at most."""
        if not self._wanted.is_set():
            self._idle.set()
        await set_within(self._wanted, seconds)

    async def _look_again(self) -> None:
        try:
            with driver_failures_raised():
                changed = await self._has_changed()
                await self._refresh_trades()
                await self._do_with_trades(self._trades.look_on())
        except _READING_FAILS as error:
            _log.info("replay of %s: %s", self.market, self._sentence(error))
            return
        if changed:
            self._move_limit(self._now_ns())
            self._told()

    # What commands do.

    async def _arrive(self, spot: Spot) -> None:
        """Be at a spot, with the trades before it."""
        if spot is self._spot:
            return
        await self._do_with_trades(self._trades.go_to(spot, self._order))
        self._settle(spot)

    def _settle(self, spot: Spot) -> None:
        self._spot = spot
        self._problem, self._is_lost, self._is_at_end = "", False, False
        self._unread = None
        self._set_clock()

    def _set_clock(self) -> None:
        spot = self._spot
        if spot is None:
            return
        now_ns = self._now_ns()
        self._clock.go_to(spot.at_ns, spot.at_ns, now_ns)
        if spot.in_gap:
            self._clock.pause(now_ns)
        self._move_limit(now_ns)

    async def _go_to_time(self, at_ns: int) -> None:
        spot = await self._reel.locate(at_ns, self._order)
        if spot is None:
            raise NothingRecorded(self.market)
        await self._arrive(spot)

    async def _go_to_id(self, update_id: int) -> None:
        await self._arrive(await self._at_id(update_id))

    async def _go_to_end(self) -> None:
        await self._reel.refresh()
        if not self._reel.runs:
            raise NothingRecorded(self.market)
        piece = await self._reel.last_of(self._reel.runs[-1])
        await self._arrive(Spot(piece, piece.last, piece.last_due(self._order)))

    async def _go_on(self) -> None:
        """Go to the book behind the gap."""
        spot = self._spot
        if spot is not None and spot.in_gap:
            is_playing = self._clock.is_playing
            await self._arrive(await self._steps.out_of_gap(spot, self._order, back=False))
            if is_playing and not self._spot_in_gap:
                self._clock.play(self._now_ns())

    @property
    def _spot_in_gap(self) -> bool:
        return self._spot is not None and self._spot.in_gap

    async def _change_order(self, order: ReplayOrder) -> None:
        self._order = order
        spot = self._spot
        if spot is None:
            return
        if spot.in_gap:
            found = await self._reel.locate(spot.at_ns, order)
            await self._arrive(spot if found is None else found)
        else:
            await self._arrive(Spot(spot.piece, spot.place, spot.piece.due_at(spot.place, order)))

    async def _take_step(self, step: Step, *, back: bool) -> None:
        spot = self._spot
        if spot is None:
            return
        steps = self._steps
        take = {Step.EVENT: steps.event, Step.TRADE: steps.trade, Step.SECOND: steps.second}[step]
        await self._arrive(await take(spot, self._order, back=back))

    async def _jump_to(self, target: Target, *, back: bool) -> None:
        spot = self._spot
        if spot is None:
            return
        self._problem = ""
        if target is Target.GAP:
            found: Spot | None = await self._steps.gap(spot, self._order, back=back)
        elif target is Target.BOOKMARK:
            found = await self._at_bookmark(spot, back=back)
        else:
            found = await self._at_large(spot, back=back)
        if found is None or found is spot:
            raise NothingThere(target.value, "before" if back else "after")
        await self._arrive(found)

    async def _at_bookmark(self, spot: Spot, *, back: bool) -> Spot | None:
        """Return where the next bookmark is."""
        event_ms, update_id = spot.at_ns // _NS_A_MS, spot.piece.last_id
        if not spot.in_gap:
            event_ms = spot.piece.event_ms_at(spot.place) or event_ms
            update_id = spot.piece.id_at(spot.place)
        bookmark = self._bookmarks.beside(event_ms, update_id, back=back)
        return None if bookmark is None else await self._at_id(bookmark.update_id)

    async def _at_large(self, spot: Spot, *, back: bool) -> Spot | None:
        """Return where the next large trade is; None also if another command came meanwhile."""
        finder = self._finder
        if finder is None:
            finder = LargeTradeFinder(self._store.trades, self.market, self._large)
            self._finder = finder
        latest = await self._trades.latest(spot, self._order, 0)
        trade_id = -1 if latest is None else latest.trade_id
        # Back from where the clock stands at a trade it is one before that.
        trade_id += back and spot.trade_id is None
        found = await self._find(finder, trade_id, spot.at_ns // _NS_A_MS, back=back)
        if found is None:
            return None
        place = await self._trades.place_of(found.trade_id, found.event_ms)
        return None if place is None else await self._steps.at_trade(place, self._order)

    async def _find(
        self, finder: LargeTradeFinder, trade_id: int, at_ms: int, *, back: bool
    ) -> LargeTrade | None:
        """Look for a large trade until the next command comes."""
        search = asyncio.ensure_future(finder.find(trade_id, at_ms, back=back))
        self._search = search
        try:
            await asyncio.wait({search})
            return None if search.cancelled() else search.result()
        finally:
            self._search = None
            await end_tasks(search)

    async def _at_id(self, update_id: int) -> Spot:
        found = await self._reel.with_id(update_id)
        if found is None:
            raise UnknownId(self.market, update_id)
        piece, place = found
        return Spot(piece, place, piece.due_at(place, self._order))


def _gap_text(gap: Gap) -> str:
    """Return the cause of a gap, its length, and its ids."""
    return f"Nothing is known for {duration_text(gap.to_ms - gap.from_ms)}: {gap.account}."
