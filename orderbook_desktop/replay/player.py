"""The player: a recording at the time of a clock, to views a source like any other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import NS_A_MS
from orderbook_desktop.core.replay import (
    Bookmark,
    Coverage,
    LargeTrades,
    ReplayOrder,
    ReplayStatus,
    Step,
    Target,
)
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.time_text import duration_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.replay.jumps import Jumps
from orderbook_desktop.replay.marks import Bookmarks, Survey
from orderbook_desktop.replay.motion import Halt, Motion
from orderbook_desktop.replay.pieces import Piece, Spot
from orderbook_desktop.replay.reading import READING_FAILS, Reading
from orderbook_desktop.replay.reel import Reel
from orderbook_desktop.replay.steps import Steps
from orderbook_desktop.replay.trade_reel import TradeReel
from orderbook_desktop.storage.errors import DatabaseError
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.storage.reading.recording import CrossedRecording
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.system.alarm import Alarm
from orderbook_desktop.system.tasks import end_tasks, set_within

_log = logging.getLogger(__name__)

# Views are woken no more often.
_LEAST_WAKE_NS: Final = 4_000_000

# A clock that goes on by so much at once has gone elsewhere.
_JUMP_NS: Final = 1_000_000_000

_Command = Callable[[], Awaitable[None]]


class NothingRecorded(DatabaseError):
    """There is no recording of `market` whose book is known."""

    market: str

    def __str__(self) -> str:
        return f"No book of {self.market} is recorded here; record it, or open another file."


class Player:
    """Plays the recording of `market` in `store`. It is a `core.replay.Replay`.

    `symbol` is what people call the market, `file` the name of the packed file that is played
    (empty: a database). `now_ns` is a clock that never goes back, and `waited_s` one by which the
    player waits between two looks at a recording that grows. `alarm` wakes views when the next
    event is due; None: only their own frames look. Await `start` first and `close` at the end.
    """

    def __init__(
        self,
        store: RecordingStore,
        market: str,
        symbol: str,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
        waited_s: Callable[[], float] = time.monotonic,
        alarm: Alarm | None = None,
        file: str = "",
    ) -> None:
        self.market = market
        self._symbol, self._file = symbol, file
        self._now_ns, self._waited_s, self._alarm = now_ns, waited_s, alarm
        self._reel, self._trades = Reel(store, market), TradeReel(store, market)
        self._motion = Motion(self._reel, self._trades)
        self._steps = Steps(self._reel, self._trades)
        self._bookmarks = Bookmarks(store, market)
        self._jumps = Jumps(
            *(market, self._reel, self._trades, self._steps, self._bookmarks, store.trades)
        )
        self._survey = Survey(store, market, self._notify)
        self._reading = Reading(self._reel, self._trades, self._survey, symbol, now_ns)
        # What a command could not do, or why the book at the clock is lost.
        self._problem = ""
        self._is_lost = False
        self._seeking_ns: int | None = None
        self._commands: deque[_Command] = deque()
        self._is_seek_last = self._is_busy = False
        self._wanted, self._idle = asyncio.Event(), asyncio.Event()
        self._changed: Callable[[], None] | None = None
        self._book = Book()
        self._tape: Tape | None = None
        # What the book is of: piece and place.
        self._shown: tuple[Piece, int] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, at: int | None = None, *, least_left_ns: int = 0) -> None:
        """Open the recording at a time (None: its first moment).

        It begins `least_left_ns` before the newest moment at the latest, so that there is
        something to play; a shorter recording begins with its first moment.

        Raises `NothingRecorded` and what reading raises.
        """
        with driver_failures_raised():
            await self._reading.refresh()
            await self._reading.refresh_trades()
            timeline = self._reel.timeline
            if not timeline.covers:
                raise NothingRecorded(self.market)
            first_ns = timeline.from_ms * NS_A_MS
            wanted_ns = first_ns if at is None else at
            if least_left_ns:
                latest_ns = timeline.to_ms * NS_A_MS - least_left_ns
                wanted_ns = max(first_ns, min(wanted_ns, latest_ns))
            await self._go_to_time(wanted_ns)
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

    @property
    def _known(self) -> Spot | None:
        """The spot, if the book is known there."""
        spot = self._motion.spot
        is_lost = spot is None or spot.in_gap or self._is_lost or self._crossing() is not None
        return None if is_lost else spot

    def _show(self) -> None:
        """Have the book hold what is at the spot."""
        spot = self._known
        if spot is None:
            if self._shown is not None or self._book.last_update_id:
                self._shown = None
                self._book.clear()
        elif self._shown != (spot.piece, spot.place):
            self._shown = spot.piece, spot.place
            self._book.hold(spot.piece.book_at(spot.place))

    def _take_tape(self) -> None:
        """Have the tape of the spot."""
        if self._motion.spot is not None:
            self._tape = self._trades.tape_at(self._motion.spot, self._motion.order)

    def _crossing(self) -> CrossedRecording | None:
        """Return where bids and asks crossed, if that was at the spot or before it."""
        spot = self._motion.spot
        if spot is None or spot.in_gap or spot.piece.crossed_at is None:
            return None
        piece, crossed_at = spot.piece, spot.piece.crossed_at
        if spot.place < crossed_at:
            return None
        return CrossedRecording(self.market, piece.id_at(crossed_at), piece.event_ms_at(crossed_at))

    def _status_at(self, now_ns: int) -> ReplayStatus:
        motion, known = self._motion, self._known
        spot, clock = motion.spot, motion.clock
        problem = self._problem or str(self._crossing() or self._reading.trades_problem)
        return ReplayStatus(
            symbol=self._symbol,
            market=self.market,
            at_ns=motion.at_ns,
            event_ms=0 if known is None else known.piece.event_ms_at(known.place),
            update_id=0 if known is None else known.piece.id_at(known.place),
            order=motion.order,
            is_playing=clock.is_playing,
            speed=clock.speed,
            reached=None if motion.is_at_end else clock.reached(now_ns),
            loop=motion.loop,
            skips_quiet=motion.skips_quiet,
            skips_gaps=motion.skips_gaps,
            gap=None if spot is None else self._steps.gap_stop(spot),
            skipped=motion.skipped,
            is_at_end=motion.is_at_end,
            seeking_ns=self._seeking_ns,
            problem=problem,
            file=self._file,
        )

    # Commands.

    def play(self) -> None:
        """See `Replay`."""
        if self._motion.in_gap:
            self._command(self._go_on)
        self._problem = ""
        self._motion.clock.play(self._now_ns())
        self._wake()

    def pause(self) -> None:
        """See `Replay`."""
        now_ns = self._now_ns()
        self._advance(now_ns)
        self._motion.clock.pause(now_ns)
        self._wake()

    def set_speed(self, speed: int) -> None:
        """See `Replay`."""
        now_ns = self._now_ns()
        self._advance(now_ns)
        self._motion.clock.set_speed(speed, now_ns)
        self._wake()

    def set_order(self, order: ReplayOrder) -> None:
        """See `Replay`."""
        self._command(partial(self._change_order, order))

    def set_loop(self, begin_ns: int | None, end_ns: int | None) -> None:
        """See `Replay`."""
        self._motion.loop = begin_ns, end_ns
        self._motion.move_limit(self._now_ns())
        self._wake()

    def set_skips(self, *, quiet: bool | None = None, gaps: bool | None = None) -> None:
        """See `Replay`."""
        motion = self._motion
        motion.skips_quiet = motion.skips_quiet if quiet is None else quiet
        motion.skips_gaps = motion.skips_gaps if gaps is None else gaps
        self._wake()

    def seek(self, at_ns: int) -> None:
        """See `Replay`."""
        spot, order = self._motion.spot, self._motion.order
        if self._is_free and spot is not None and not spot.in_gap:
            found = self._reel.known_at(spot.piece, at_ns, order)
            if found is not None and self._trades.is_around(found, order):
                self._settle(found)
                self._wake()
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
        spot = self._motion.spot
        if self._is_free and spot is not None:
            # What is in memory is there at once, also while other parts are read.
            found = self._steps.known(spot, step, self._motion.order, back=back)
            if found is not None:
                self._settle(found)
                self._wake()
                return
        self._command(partial(self._take_step, step, back=back))

    def jump(self, target: Target, *, back: bool = False) -> None:
        """See `Replay`."""
        self._command(partial(self._jump_to, target, back=back))

    def set_large(self, large: LargeTrades) -> None:
        """See `Replay`."""
        self._jumps.set_large(large)

    def add_bookmark(self, note: str = "") -> None:
        """See `Replay`."""
        spot = self._known
        if spot is not None and not self._bookmarks.problem:
            # A book from before the first event may have no time of its own.
            event_ms = spot.piece.event_ms_at(spot.place) or spot.at_ns // NS_A_MS
            update_id = spot.piece.id_at(spot.place)
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
        self._jumps.give_up()
        if is_seek and self._is_seek_last and self._commands:
            # Of seeks that follow each other only the latest counts.
            self._commands.pop()
        self._commands.append(command)
        self._is_seek_last = is_seek
        self._wake()

    def _wake(self) -> None:
        """Have the task look what there is to do, and views what there is to see."""
        self._want()
        self._notify()

    def _want(self) -> None:
        self._wanted.set()
        self._idle.clear()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed()

    # The clock.

    def _advance(self, now_ns: int) -> None:
        """Bring the spot up to the clock, which goes on only while no command waits."""
        motion = self._motion
        if not self._is_free:
            motion.hold(now_ns)
            return
        before_ns = motion.at_ns
        halt = motion.advance(now_ns)
        if motion.at_ns != before_ns:
            # What is wanted soon goes on with the clock.
            self._want()
        if halt is Halt.LOOP:
            self._enqueue(partial(self._go_to_time, motion.loop_begins_ns), is_seek=True)
        elif halt is Halt.SKIPPED:
            self._enqueue(self._go_on)
        elif halt is Halt.REMOVED:
            self._problem, self._is_lost = "This part of the recording was removed.", True
        elif halt is Halt.STARVED and motion.spot is not None:
            problem = self._reading.problem_behind(motion.spot.piece)
            if problem:
                self._problem, self._is_lost = problem, True
                motion.clock.pause(now_ns)

    def _set_alarm(self, now_ns: int) -> None:
        """Have views woken when the next event is due."""
        if self._alarm is None:
            return
        wait_ns = self._motion.wait_ns(now_ns)
        if wait_ns is None:
            # Where the clock waits for what is being read, views are woken when that is there.
            self._alarm.clear()
        else:
            self._alarm.set(max(wait_ns, _LEAST_WAKE_NS), self._notify)

    # What the player's task does.

    async def _work(self) -> None:
        now_s = self._waited_s
        looked_s = now_s()
        while True:
            self._wanted.clear()
            patience_s = self._reading.patience_s(self._motion.spot)
            left_s = None if patience_s is None else looked_s + patience_s - now_s()
            if self._commands:
                await self._do_next()
            elif left_s is not None and left_s <= 0:
                if await self._reading.look_again():
                    self._motion.move_limit(self._now_ns())
                    self._wake()
                if await self._bookmarks.look_again():
                    self._notify()
                looked_s = now_s()
            elif not await self._read_on():
                await self._wait(left_s)

    async def _do_next(self) -> None:
        # Where the command goes, other trades are read: meanwhile the clock stands at these.
        self._take_tape()
        self._is_busy = True
        command = self._commands.popleft()
        before = self._motion.spot
        try:
            with driver_failures_raised():
                await self._do(command)
        except READING_FAILS as error:
            self._problem = self._reading.sentence(error)
            _log.info("replay of %s: %s", self.market, self._problem)
        finally:
            self._is_busy = False
        if not self._commands:
            self._seeking_ns = None
        if self._motion.spot is before:
            self._motion.stand(self._now_ns())
        self._wake()

    async def _do(self, command: _Command) -> None:
        """Do a command; once more if the recording has been cut or archived meanwhile."""
        try:
            await command()
        except KnownError:
            if not await self._reading.refresh():
                raise
            await command()

    async def _read_on(self) -> bool:
        """Read what is wanted soon; return whether there may be more to read."""
        spot, motion = self._motion.spot, self._motion
        if spot is None or spot.in_gap:
            return False
        before = self._reading.reached(spot, motion.order)
        may_go_on = await self._reading.read_on(spot, motion.order, motion.clock.speed)
        if self._reading.reached(spot, motion.order) != before:
            motion.move_limit(self._now_ns())
            self._notify()
        return may_go_on

    async def _wait(self, seconds: float | None) -> None:
        """Wait until there is something to do, so long at most."""
        if not self._wanted.is_set():
            self._idle.set()
        await set_within(self._wanted, seconds)

    # What commands do.

    async def _arrive(self, spot: Spot) -> None:
        """Be at a spot, with the trades before it."""
        if spot is not self._motion.spot:
            await self._reading.have_trades(spot, self._motion.order)
            self._settle(spot)

    def _settle(self, spot: Spot) -> None:
        self._problem, self._is_lost = "", False
        self._reading.forget_problem()
        before = self._motion.spot
        if before is None or spot.at_ns - before.at_ns >= _JUMP_NS:
            # So many trades at once would be told by their number only.
            self._trades.begin_tape()
        self._motion.settle(spot, self._now_ns())

    async def _go_to_time(self, at_ns: int) -> None:
        spot = await self._reel.locate(at_ns, self._motion.order)
        if spot is None:
            raise NothingRecorded(self.market)
        await self._arrive(spot)

    async def _go_to_id(self, update_id: int) -> None:
        await self._arrive(await self._jumps.at_id(update_id, self._motion.order))

    async def _go_to_end(self) -> None:
        await self._reel.refresh()
        if not self._reel.runs:
            raise NothingRecorded(self.market)
        piece = await self._reel.last_of(self._reel.runs[-1])
        await self._arrive(Spot(piece, piece.last, piece.last_due(self._motion.order)))
        await self._arrive(Spot(piece, piece.last, self._motion.end_of(piece)))

    async def _go_on(self) -> None:
        """Go to the book behind the gap."""
        motion = self._motion
        if motion.spot is not None and motion.in_gap:
            is_playing = motion.clock.is_playing
            await self._arrive(await self._steps.out_of_gap(motion.spot, motion.order, back=False))
            if is_playing and not motion.in_gap:
                motion.clock.play(self._now_ns())

    async def _change_order(self, order: ReplayOrder) -> None:
        self._motion.order = order
        spot = self._motion.spot
        if spot is None:
            return
        if spot.in_gap:
            found = await self._reel.locate(spot.at_ns, order)
            await self._arrive(spot if found is None else found)
        else:
            await self._arrive(Spot(spot.piece, spot.place, spot.piece.due_at(spot.place, order)))

    async def _take_step(self, step: Step, *, back: bool) -> None:
        spot, steps = self._motion.spot, self._steps
        if spot is not None:
            take = {Step.EVENT: steps.event, Step.TRADE: steps.trade, Step.SECOND: steps.second}
            await self._arrive(await take[step](spot, self._motion.order, back=back))

    async def _jump_to(self, target: Target, *, back: bool) -> None:
        spot, order = self._motion.spot, self._motion.order
        if spot is not None:
            self._problem = ""
            await self._arrive(await self._jumps.spot_of(target, spot, order, back=back))


def _gap_text(gap: Gap) -> str:
    """Return the cause of a gap, its length, and its ids."""
    return f"Nothing is known for {duration_text(gap.to_ms - gap.from_ms)}: {gap.account}."
