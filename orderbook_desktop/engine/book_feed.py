"""Drives the synchroniser of one market: it takes stream and snapshots, and keeps a book."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from itertools import chain, repeat
from typing import Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.depth_sync import (
    Applied,
    Buffered,
    Crossed,
    DepthSync,
    DiffOutcome,
    Implausible,
    MissingIds,
    Overflow,
    Readable,
    SnapshotCrossed,
    SnapshotImplausible,
    SnapshotOutcome,
    SnapshotTooOld,
    Synced,
    TooWide,
)
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.horizon import is_deeper
from orderbook_desktop.core.lateness import UsualDelay
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import (
    EventStream,
    RecordingSink,
    SnapshotSource,
    StreamBroken,
    StreamConnected,
    StreamDeepened,
    StreamItem,
)
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.widening import Contradicted, Joined, JoinOutcome, join
from orderbook_desktop.engine.book_times import BookTimes
from orderbook_desktop.engine.widening import Widening
from orderbook_desktop.exchange.errors import NoBook, Paced, RateLimited, UnknownSymbol
from orderbook_desktop.system.attempts import Repeats, RetryWait
from orderbook_desktop.system.steady_clock import steady_ns

_log = logging.getLogger(__name__)

# A stream that breaks again and again fetches its first few snapshots without a pause. The next
# snapshots wait for growing pauses, until no snapshot was needed for a while.
_SETTLED_AFTER_S: Final = 5.0
_FETCHED_AT_ONCE: Final = 4
_LONGEST_PAUSE_S: Final = 5.0
_COUNT_DOWN_S: Final = 1.0
# An answer may be as of an earlier update id than that of the last event.
_KEPT_BEFORE_S: Final = 1.0
# A book that has not come as far as the answer by then does not wait for its events any longer.
_REACHED_WITHIN_S: Final = 10.0
# A symbol may stay untraded for days, and each request for its book costs the other symbols.
_WITHOUT_BOOK_FIRST_S: Final = 5.0
_WITHOUT_BOOK_LONGEST_S: Final = 120.0


class BookFeed:
    """Keeps the book of `market` in step with a source.

    `await run()` until it is cancelled. `problem` is the last failure to get a snapshot or a
    connection, None while all is well. A `RecordingSink` can be attached and detached while the
    feed runs, and so can a tail (`keep`). After a snapshot has failed, the feed asks again after
    `first_delay` seconds; the delay grows up to `longest_delay`. `retry` is this wait. `now` is a
    clock for waits, `now_ns` the time of day, and `age_clock_ns` a clock for the ages of events.
    Feeds of the same market, whose events come from the same exchange, share a `usual_delay`.
    """

    def __init__(
        self,
        market: str,
        snapshots: SnapshotSource,
        stream: EventStream,
        kind: SourceKind,
        first_delay: float = 0.5,
        longest_delay: float = 15.0,
        usual_delay: UsualDelay | None = None,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        age_clock_ns: Callable[[], int] = steady_ns,
    ) -> None:
        self.problem: KnownError | None = None
        self._market = market
        self._snapshots, self._stream = snapshots, stream
        self._kind = kind
        self._first_delay, self._longest_delay = first_delay, longest_delay
        self._now = now
        self._times = BookTimes(kind, usual_delay, now_ns, age_clock_ns)
        self._sync = DepthSync()
        self._sink: RecordingSink | None = None
        self._tail: DepthTail | None = None
        # Whether events wait for a snapshot. A sink that is attached then has missed them.
        self._events_wait = self._sink_missed_some = False
        self._state, self._detail = FeedState.SYNCING, "Connecting."
        # Why the stream lost its continuity, until the book is known again.
        self._broken_by = ""
        self._base_id = 0
        self._fetching: asyncio.Task[None] | None = None
        self._fetched_at = float("-inf")
        self._pauses = self._new_pauses()
        self.retry = RetryWait(age_clock_ns)
        # An event shows that the symbol is traded after all.
        self._waits_for_event = False
        self._widening: Widening | None = None
        self._changed: Callable[[], None] = lambda: None

    @property
    def market(self) -> str:
        """The exchange's symbol."""
        return self._market

    @property
    def book(self) -> Book:
        """The book; empty while it is not known."""
        return self._sync.book

    @property
    def last(self) -> BookImage | None:
        """The last book that was known, while the book is lost; else None."""
        return self._sync.last

    @property
    def status(self) -> FeedStatus:
        """The state of the feed: how far the book can be trusted now."""
        return self._times.status(self._state, self._detail)

    @property
    def base_id(self) -> int:
        """The update id of the snapshot under the book; 0 while the book is not known."""
        return self._base_id if self._sync.synced else 0

    @property
    def too_wide(self) -> str:
        """Why the book, though it is known, is not shown or recorded, as a sentence, or empty."""
        return self._detail if self._sync.withheld else ""

    def call_on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each change of the book."""
        self._changed = changed

    def attach(self, sink: RecordingSink) -> None:
        """Record to `sink` from now on; if the book is known, a segment begins here."""
        self._end_widening()
        self._sink = sink
        self._sink_missed_some = self._sync.wants_snapshot and self._events_wait
        if self._sync.synced:
            self._open_segment_here()

    def detach(self) -> None:
        """Stop recording. The caller tells the sink, if its segment has to end."""
        self._sink = None

    def keep(self, tail: DepthTail | None) -> None:
        """Keep the newest events in `tail` from now on; None: in none any more."""
        self._tail = tail
        if tail is not None and self._sync.synced:
            tail.opened(image_of(self.book, self._market))

    async def run(self) -> None:
        """Follow the source until cancelled; an exception from here is a bug."""
        async with (
            asyncio.TaskGroup() as tasks,
            aclosing(self._stream.items(Stream(self._market, DEPTH))) as items,
        ):
            async for item in items:
                self._take(item, tasks)
                self._changed()

    def forget(self) -> None:
        """Empty the book, so that the next `run()` starts afresh; cancel the present one first."""
        self._end_widening()
        self._sync.stream_broken()
        self._sync.last = None
        self._fetching = None
        self.problem = None
        self._set(FeedState.SYNCING, "Connecting.")
        self._changed()

    async def widen(
        self,
        fetch: Callable[[], Awaitable[DepthSnapshot]],
        kept_before_s: float = _KEPT_BEFORE_S,
        reached_within_s: float = _REACHED_WITHIN_S,
    ) -> JoinOutcome | None:
        """Join the answer that `fetch` returns to the running book, which goes on (see `join`).

        Events are kept from `kept_before_s` before the request on. The book has `reached_within_s`
        to come as far as the answer. None if the book is not known, or is lost meanwhile. Raises
        what `fetch` raises.
        """
        if not self._sync.synced or self._widening is not None:
            return None
        widening = self._widening = Widening()
        try:
            await asyncio.sleep(kept_before_s)
            if widening.is_lost:
                return None
            answer = await fetch()
            answer_id = answer.last_update_id
            await widening.until(lambda: self.book.last_update_id >= answer_id, reached_within_s)
            return None if widening.is_lost else self._join(answer, widening.events)
        finally:
            if self._widening is widening:
                self._widening = None

    def _join(self, answer: DepthSnapshot, events: list[DepthDiff]) -> JoinOutcome:
        before = image_of(self.book, self._market)
        outcome, joined_id = join(before, events, answer), None
        if isinstance(outcome, Joined):
            image = outcome.image
            if is_deeper(image.horizon, before.horizon):
                joined_id = outcome.joined_id
                self.book.widen(image.bids, image.asks, image.scale, image.horizon)
                if self._tail is not None:
                    self._tail.deepened(image)
                self._changed()
        elif isinstance(outcome, Contradicted):
            _log.warning("%s: %s", self._market, outcome)
        else:
            _log.info("%s: the book is not known any deeper: %s", self._market, outcome)
        if self._sink is not None:
            self._sink.answered(answer, joined_id, before.horizon, self.book)
        return outcome

    async def _read_deeper(self) -> None:
        """Join the source's newest book, since that is known deeper now."""
        try:
            await self.widen(lambda: self._snapshots.snapshot(self._market))
        except KnownError as error:
            _log.info("%s: the book is not known any deeper: %s", self._market, error)

    def _end_widening(self) -> None:
        """Let an answer that is on its way go: the book, or the recording, begins anew."""
        if self._widening is not None:
            self._widening.lost()
            self._widening = None

    def _take(self, item: StreamItem, tasks: asyncio.TaskGroup) -> None:
        match item:
            case DepthDiff(market=market) if market != self._market:
                # The update ids of another market might happen to fit this book.
                detail = f"An event of {market} came in the stream of {self._market}."
                self._break(GapCause.MALFORMED, detail)
                self._set(FeedState.SYNCING, f"{detail} Loading the book anew.")
                self._fetch(tasks)
            case DepthDiff():
                self._take_diff(item, tasks)
            case StreamConnected() if self._sync.wants_snapshot:
                why = f"{self._broken_by} Loading the book anew." if self._broken_by else ""
                self._set(FeedState.SYNCING, why or "Loading the book.")
                self._fetch(tasks)
            case StreamDeepened():
                tasks.create_task(self._read_deeper())
            case StreamBroken(cause, detail, problem):
                self.problem = problem or self.problem
                self._break(cause, detail)
                self._broken_by = detail
                self._set(FeedState.RECONNECTING, detail)

    def _take_diff(self, diff: DepthDiff, tasks: asyncio.TaskGroup) -> None:
        if self._waits_for_event:
            self.retry.cut()
        diff = self._timed(diff)
        outcomes = self._sync.receive_diff(diff)
        arrived_ns = self._times.arrival_of(diff)
        if isinstance(outcomes[0], Applied):
            if self._widening is not None:
                self._widening.applied(diff)
            self._times.applied(diff, arrived_ns)
        if not self._sync.wants_snapshot:
            # Events that wait make a lost book no younger.
            self._times.reached(diff, arrived_ns)
        if self._sink is not None and not isinstance(outcomes[0], Implausible):
            self._sink.received(diff)
        for outcome in outcomes:
            self._act_on(outcome)
        if self._sync.wants_snapshot and self._state is not FeedState.RECONNECTING:
            self._fetch(tasks)

    def _timed(self, diff: DepthDiff) -> DepthDiff:
        """Return `diff` with the time that counts; log odd times, once for each kind."""
        diff, news = self._times.timed(diff)
        if news is not None:
            _log.warning("%s: %s", self._market, news)
            if self._state is FeedState.SYNCED:
                self._detail = self._times.odd_times
        return diff

    def _act_on(self, outcome: DiffOutcome | SnapshotOutcome) -> None:
        self._note_in_tail(outcome)
        match outcome:
            case Applied(diff):
                if self._sink is not None and not self._sink_missed_some:
                    self._sink.applied(diff, self.book)
            case Buffered():
                self._events_wait = True
            case Synced(snapshot):
                self.problem = None
                self._broken_by = ""
                self._rest_on(snapshot)
                self._set(FeedState.SYNCED, self._times.odd_times)
                if self._sink is not None and not self._sink_missed_some:
                    self._sink.opened(snapshot)
            case MissingIds(first, last):
                self._begin_anew(GapCause.FEED_GAP, f"Update ids {first} to {last} are missing.")
            case Crossed() | Implausible():
                is_crossed = isinstance(outcome, Crossed)
                cause = GapCause.CROSSED if is_crossed else GapCause.MALFORMED
                self._begin_anew(cause, str(outcome))
            case TooWide():
                self._leave_aside(outcome)
            case Readable(_, image):
                self._go_on(image)
            case SnapshotCrossed() | SnapshotImplausible():
                detail = str(outcome)
                if detail not in self._detail:
                    _log.warning("%s: %s", self._market, detail)
                self._set(FeedState.SYNCING, f"{detail} Loading the book anew.")
            case Overflow(diff):
                _log.warning(
                    "%s: event %d dropped while waiting for a snapshot",
                    *(self._market, diff.final_id),
                )

    def _note_in_tail(self, outcome: DiffOutcome | SnapshotOutcome) -> None:
        match outcome:
            case _ if self._tail is None:
                pass
            case Applied(diff):
                self._tail.applied(diff)
            case Synced(snapshot):
                self._tail.opened(snapshot)
            case Readable(_, image):
                self._tail.opened(image)

    def _begin_anew(self, cause: GapCause, detail: str) -> None:
        """Note that the book is unknown while the stream goes on; its last event may wait."""
        _log.warning("%s: %s", self._market, detail)
        self._events_wait = cause.stream_goes_on
        self._tell_broken(cause, detail)
        self._set(FeedState.SYNCING, f"{detail} Loading the book anew.")

    def _leave_aside(self, outcome: TooWide) -> None:
        """Note that the book is known, but too wide to be shown or recorded."""
        _log.warning("%s: %s", self._market, outcome)
        self.problem = None
        self._broken_by = ""
        if isinstance(outcome.message, DepthSnapshot):
            self._rest_on(outcome.message)
        self._tell_broken(GapCause.TOO_WIDE, str(outcome))
        detail = f"{outcome} The book is shown and recorded again as soon as all values fit."
        self._set(FeedState.SYNCING, detail)

    def _go_on(self, image: BookImage) -> None:
        """Show and record the book again, which was too wide before."""
        _log.info("%s: the book can be read again", self._market)
        self._set(FeedState.SYNCED, self._times.odd_times)
        self._sink_missed_some = False
        if self._sink is not None:
            self._sink.opened(image)

    def _rest_on(self, snapshot: DepthSnapshot) -> None:
        """Note that `snapshot` is under the book, and no event waits for one."""
        self._events_wait = False
        self._base_id = snapshot.last_update_id

    def _break(self, cause: GapCause, detail: str) -> None:
        """Note that the stream lost its continuity."""
        # The connection's end, which is of all its markets, is a warning of its own.
        _log.debug("%s: %s (%s)", self._market, detail, cause.value)
        self._sync.stream_broken()
        self._events_wait = False
        self._sink_missed_some = False
        self._tell_broken(cause, detail)
        # A snapshot that is on its way belongs to the broken stream.
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None

    def _tell_broken(self, cause: GapCause, detail: str) -> None:
        self._end_widening()
        if self._tail is not None:
            self._tail.broken(cause, detail)
        if self._sink is not None:
            self._sink.broken(cause, detail)

    def _open_segment_here(self) -> None:
        if self._sink is not None:
            self._sink.opened(image_of(self.book, self._market))

    def _set(self, state: FeedState, detail: str) -> None:
        self._state = state
        self._detail = detail

    def _set_problem(self, error: KnownError) -> None:
        self.problem = error
        if isinstance(error, UnknownSymbol):
            # The view adds the symbol: the exchange's own name isn't the name that was typed.
            detail = "The exchange doesn't trade this symbol, or not any more."
            self._set(FeedState.NOT_TRADED, detail)
        else:
            self._set(FeedState.SYNCING, str(error))

    def _fetch(self, tasks: asyncio.TaskGroup) -> None:
        if self._fetching is not None and not self._fetching.done():
            return
        now = self._now()
        if now - self._fetched_at >= _SETTLED_AFTER_S:
            self._pauses = self._new_pauses()
        pause = next(self._pauses)
        self._fetched_at = now + pause
        self._fetching = tasks.create_task(self._fetch_until_synced(pause))

    def _new_pauses(self) -> Iterator[float]:
        growing = backoff_delays(first=self._first_delay, cap=_LONGEST_PAUSE_S)
        return chain(repeat(0.0, _FETCHED_AT_ONCE), growing)

    async def _fetch_until_synced(self, pause: float) -> None:
        await asyncio.sleep(pause)
        delays = backoff_delays(first=self._first_delay, cap=self._longest_delay)
        without_book = backoff_delays(_WITHOUT_BOOK_FIRST_S, cap=_WITHOUT_BOOK_LONGEST_S)
        repeats = Repeats()
        while self._sync.wants_snapshot:
            asked_ns = self._times.clock_ns()
            try:
                snapshot = await self._snapshots.snapshot(self._market)
            except KnownError as error:
                # The database's own messages say when it is away or has nothing recorded yet. To
                # keep to the exchange's limit is no trouble.
                is_trouble = self._kind is SourceKind.DIRECT and not isinstance(error, Paced)
                if is_trouble:
                    _log.warning("%s: no snapshot: %s", self._market, error)
                elif repeats.is_new(Paced if isinstance(error, Paced) else error):
                    # A line for each of many attempts, or for each second that a wait still
                    # takes, would push all else out of the log.
                    _log.info("%s: no snapshot: %s", self._market, error)
                self._set_problem(error)
                pause = _pause_after(error, next(delays))
                fixed = isinstance(error, Paced | RateLimited)
                if isinstance(error, NoBook):
                    await self._until_event(next(without_book))
            else:
                if self._take_snapshot(snapshot, asked_ns):
                    return
                pause, fixed = next(delays), False
            await self.retry.wait(pause, fixed=fixed)

    async def _until_event(self, longest_s: float) -> None:
        self._waits_for_event = True
        try:
            await self.retry.wait(longest_s)
        finally:
            self._waits_for_event = False

    def _take_snapshot(self, snapshot: DepthSnapshot, asked_ns: int) -> bool:
        """Give the snapshot to the synchroniser; return whether the book is known now.

        The snapshot was asked for at `asked_ns`, by the clock for ages.
        """
        for outcome in self._sync.receive_snapshot(snapshot, self._times.now_ms()):
            self._times.began(outcome, asked_ns)
            self._act_on(outcome)
            if isinstance(outcome, SnapshotTooOld):
                _log.info(
                    "%s: the snapshot ends at %d, before update id %d, which has come already",
                    self._market,
                    outcome.last_update_id,
                    outcome.seen_id,
                )
        if self._sync.synced and self._sink_missed_some:
            self._sink_missed_some = False
            self._open_segment_here()
        self._changed()
        return not self._sync.wants_snapshot


def _pause_after(error: KnownError, pause: float) -> float:
    """Return the seconds to wait after `error`: `pause`, or less if `error` names less."""
    match error:
        case Paced():
            # The person sees the remaining seconds count down.
            return min(error.retry_after_s, _COUNT_DOWN_S)
        case RateLimited(retry_after_s=left) if left:
            return min(left, pause)
        case _:
            return pause
