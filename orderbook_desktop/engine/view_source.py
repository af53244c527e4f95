"""Chooses the book of a market that views show: the recorded book, or the live book instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.tape import Tape

# Newer events of the live book may wait this long for the recorded book before that is late. It is
# shown again once it has not been late for the second time, so that the view does not flap.
LATE_AFTER_NS: Final = 300_000_000
LATE_FOR_NS: Final = 2_000_000_000
# Loading a recorded book, and following another program's recording, may take longer.
AWAY_AFTER_NS: Final = 3_000_000_000
_MEANWHILE: Final = "This is the exchange's own book meanwhile."


class Feed(Protocol):
    """The members of a `BookFeed` that a view source needs."""

    @property
    def book(self) -> Book:
        """The book; empty while it is not known."""
        ...

    @property
    def base_id(self) -> int:
        """The update id of the snapshot under the book; 0 while the book is not known."""
        ...

    @property
    def last(self) -> BookImage | None:
        """The last book that was known, while the book is lost; else None."""
        ...

    @property
    def status(self) -> FeedStatus:
        """The state of the feed: how far the book can be trusted."""
        ...


class ViewSource:
    """Serves the book of a market, from the source that a view has chosen.

    A view of the recorded book gets the live book while the database is away or late, and the
    status says so. A recorded book from before a gap is never shown as the present book. While
    neither is known, the look has the last book that was.

    `look` changes nothing, so that any number of views may call it at any time. Call `feeds_moved`
    after each change of a feed, `recording_changed` when the recording of this process starts or
    stops, and `recorded_feed_starts` when the recorded feed starts. `other_records` is whether
    another process is known to record the market. `tape` has the trades, which are the same from
    every source; None: they are not followed. `depth`, which may be set at any time, has the newest
    events of the live book. `now_ns` is a clock that never goes back; a look reads it once.
    """

    def __init__(
        self,
        live: Feed,
        recorded: Feed,
        *,
        database_problem: Callable[[], str],
        is_recording: Callable[[], bool],
        other_records: Callable[[], bool] = lambda: False,
        tape: Tape | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._live = live
        self._recorded = recorded
        self._database_problem = database_problem
        self._is_recording = is_recording
        self._other_records = other_records
        self._tape = tape
        self.depth: DepthTail | None = None
        self._now_ns = now_ns
        self._changed_at_id = 0
        self._goal_id = 0
        self._goal_set_ns = 0
        # Until when the recorded book counts as late after it was.
        self._late_until_ns = 0

    def look(self, kind: SourceKind) -> BookLook:
        """Return the book to show now for a view of `kind`, with its status and its source."""
        book, status = self._choose(kind)
        if book.last_update_id:
            return BookLook(book, status, tape=self._tape, depth=self.depth)
        feeds = [self._live] if kind is SourceKind.DIRECT else [self._live, self._recorded]
        lost = [(feed.last.last_update_id, feed) for feed in feeds if feed.last is not None]
        if not lost:
            return BookLook(book, status, tape=self._tape, depth=self.depth)
        feed = max(lost, key=lambda pair: pair[0])[1]
        status = replace(status, as_of_ns=feed.status.as_of_ns)
        return BookLook(book, status, feed.last, self._tape, depth=self.depth)

    def feeds_moved(self) -> None:
        """Note that the live or the recorded book changed."""
        if self._recorded.book.last_update_id >= self._goal_id:
            if self._is_overdue(LATE_AFTER_NS):
                self._late_until_ns = self._now_ns() + LATE_FOR_NS
            self._set_goal()

    def recorded_feed_starts(self) -> None:
        """Note that the recorded feed starts here, and can't be late yet."""
        self._late_until_ns = 0
        self._set_goal()

    def recording_changed(self) -> None:
        """Note that the recording of this process starts or stops here.

        A recorded book from before a start is from before a gap. Only recorded events from after a
        stop prove that another process records.
        """
        self._changed_at_id = self._live.book.last_update_id if self._live.base_id else 0
        self._set_goal()

    def _choose(self, kind: SourceKind) -> tuple[Book, FeedStatus]:
        live, recorded = self._live.status, self._recorded.status
        now_ns = self._now_ns()
        away = self._is_overdue(AWAY_AFTER_NS, now_ns)
        late = self._is_overdue(LATE_AFTER_NS, now_ns) or now_ns < self._late_until_ns
        if kind is SourceKind.DIRECT:
            return self._live.book, live
        problem = self._database_problem()
        if problem:
            return self._live.book, _away(live, problem)
        if not self._is_recording():
            return self._of_others(live, recorded, away=away)
        if live.state is not FeedState.SYNCED:
            return self._live.book, live
        return self._of_our_recording(live, recorded, late=late, away=away)

    def _of_our_recording(
        self, live: FeedStatus, recorded: FeedStatus, *, late: bool, away: bool
    ) -> tuple[Book, FeedStatus]:
        lead_ms = self._recorded.book.event_ms - self._live.book.event_ms
        is_synced = recorded.state is FeedState.SYNCED
        if is_synced and lead_ms > AWAY_AFTER_NS // 1_000_000:
            detail = "These events are recorded already; this is the exchange's own book."
            return self._live.book, replace(live, detail=detail)
        begins_at = max(self._live.base_id, self._changed_at_id)
        if not is_synced or self._recorded.book.last_update_id < begins_at:
            if away:
                return self._live.book, _away(live, "The recorded book can't be loaded.")
            detail = "Loading the recorded book; this is the exchange's own meanwhile."
            return self._live.book, _standing_in(live, FeedState.SYNCING, detail)
        if late:
            detail = f"The database is behind the exchange. {_MEANWHILE}"
            return self._live.book, _standing_in(live, FeedState.DATABASE_LATE, detail)
        if not recorded.is_timed:
            # It is not late against the live book, so it is as old as that one.
            recorded = replace(recorded, as_of_ns=live.as_of_ns, is_timed=True)
        return self._recorded.book, recorded

    def _of_others(
        self, live: FeedStatus, recorded: FeedStatus, *, away: bool
    ) -> tuple[Book, FeedStatus]:
        """Choose while this process does not record: another process may record the market."""
        is_running = self._recorded.book.last_update_id > self._changed_at_id
        is_current = live.state is not FeedState.SYNCED or not away
        is_known = recorded.state is FeedState.SYNCED and is_running and is_current
        if is_known and (recorded.is_timed or live.state is not FeedState.SYNCED):
            return self._recorded.book, recorded
        if live.state is not FeedState.SYNCED:
            return self._live.book, live
        if self._other_records():
            what = "is behind the exchange" if away else "is being loaded"
            state = FeedState.DATABASE_LATE if away else FeedState.SYNCING
            detail = f"What another program records {what}. {_MEANWHILE}"
            return self._live.book, _standing_in(live, state, detail)
        detail = "Nothing records this symbol now; this is the exchange's own book."
        if is_known:
            detail = f"It is not known yet how old the recorded book is. {_MEANWHILE}"
        return self._live.book, replace(live, detail=live.detail or detail)

    def _is_overdue(self, after_ns: int, now_ns: int | None = None) -> bool:
        """Whether the recorded book takes longer than `after_ns` to reach the live book.

        The measure is a goal: an earlier update id of the live book, which the recorded book has
        to reach in time. The times of the last events are no measure: each event after a quiet
        time would make the recorded book late for an instant.
        """
        now_ns = self._now_ns() if now_ns is None else now_ns
        return self._goal_id > 0 and now_ns - self._goal_set_ns > after_ns

    def _set_goal(self) -> None:
        """Make the live book's present update id the goal, unless the recorded book is there."""
        live_id = self._live.book.last_update_id
        self._goal_id = live_id if live_id > self._recorded.book.last_update_id else 0
        self._goal_set_ns = self._now_ns()


def _away(live: FeedStatus, problem: str) -> FeedStatus:
    """Return the status of the live book where it is shown in place of the recorded book."""
    if live.state is not FeedState.SYNCED:
        return live
    return _standing_in(live, FeedState.DATABASE_AWAY, f"{problem} {_MEANWHILE}")


def _standing_in(live: FeedStatus, state: FeedState, detail: str) -> FeedStatus:
    """Return the status of the live book, which is known and stands in for the recorded book."""
    return replace(live, state=state, detail=detail, stands_in=True)
