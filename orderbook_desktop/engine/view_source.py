"""Chooses the book of a market that views show: the recorded book, or the live book instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind

# The recorded book may be this much older than the live book before it counts as late.
LATE_AFTER_NS: Final = 3_000_000_000


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
    def status(self) -> FeedStatus:
        """The state of the feed: how far the book can be trusted."""
        ...


class ViewSource:
    """Serves the book of a market, from the source that a view has chosen.

    A view of the recorded book gets the live book while the database is away or late, and the
    status says so. A recorded book from before a gap is never shown as the present book.

    `look` changes nothing, so that any number of views may call it at any time. Call `feeds_moved`
    after each change of a feed, `recording_changed` when the recording of this process starts or
    stops, and `recorded_feed_starts` when the recorded feed starts. `now_ns` is a clock that never
    goes back; a look reads it once.
    """

    def __init__(
        self,
        live: Feed,
        recorded: Feed,
        *,
        database_problem: Callable[[], str],
        is_recording: Callable[[], bool],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._live = live
        self._recorded = recorded
        self._database_problem = database_problem
        self._is_recording = is_recording
        self._now_ns = now_ns
        self._changed_at_id = 0
        self._goal_id = 0
        self._goal_set_ns = 0

    def look(self, kind: SourceKind) -> BookLook:
        """Return the book to show now for a view of `kind`, with its status and its source."""
        return BookLook(*self._choose(kind))

    def feeds_moved(self) -> None:
        """Note that the live or the recorded book changed."""
        if self._recorded.book.last_update_id >= self._goal_id:
            self._set_goal()

    def recorded_feed_starts(self) -> None:
        """Note that the recorded feed starts here, and can't be late yet."""
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
        late = self._is_late()
        if kind is SourceKind.DIRECT:
            return self._live.book, live
        problem = self._database_problem()
        if problem:
            return self._live.book, _away(live, problem)
        if not self._is_recording():
            return self._of_others(live, recorded, late=late)
        if live.state is not FeedState.SYNCED:
            return self._live.book, live
        return self._of_our_recording(live, recorded, late=late)

    def _of_our_recording(
        self, live: FeedStatus, recorded: FeedStatus, *, late: bool
    ) -> tuple[Book, FeedStatus]:
        lead_ms = self._recorded.book.event_ms - self._live.book.event_ms
        is_synced = recorded.state is FeedState.SYNCED
        if is_synced and lead_ms > LATE_AFTER_NS // 1_000_000:
            detail = "These events are recorded already; this is the exchange's own book."
            return self._live.book, replace(live, detail=detail)
        begins_at = max(self._live.base_id, self._changed_at_id)
        if not is_synced or self._recorded.book.last_update_id < begins_at:
            if late:
                return self._live.book, _away(live, "The recorded book can't be loaded.")
            detail = "Loading the recorded book; this is the exchange's own meanwhile."
            return self._live.book, replace(live, state=FeedState.SYNCING, detail=detail)
        if late:
            return self._live.book, _away(live, "The database is behind the exchange.")
        return self._recorded.book, recorded

    def _of_others(
        self, live: FeedStatus, recorded: FeedStatus, *, late: bool
    ) -> tuple[Book, FeedStatus]:
        """Choose while this process does not record: another process may record the market."""
        is_running = self._recorded.book.last_update_id > self._changed_at_id
        is_current = live.state is not FeedState.SYNCED or not late
        if recorded.state is FeedState.SYNCED and is_running and is_current:
            return self._recorded.book, recorded
        return self._live.book, live

    def _is_late(self) -> bool:
        """Whether the recorded book has taken too long to reach the live book.

        The measure is a goal: an earlier update id of the live book, which the recorded book has
        to reach in time. The times of the last events are no measure: each event after a quiet
        time would make the recorded book late for an instant.
        """
        return self._goal_id > 0 and self._now_ns() - self._goal_set_ns > LATE_AFTER_NS

    def _set_goal(self) -> None:
        """Make the live book's present update id the goal, unless the recorded book is there."""
        live_id = self._live.book.last_update_id
        self._goal_id = live_id if live_id > self._recorded.book.last_update_id else 0
        self._goal_set_ns = self._now_ns()


def _away(live: FeedStatus, problem: str) -> FeedStatus:
    """Return the status of the live book where it is shown in place of the recorded book."""
    if live.state is not FeedState.SYNCED:
        return live
    detail = f"{problem} This is the exchange's own book meanwhile."
    return replace(live, state=FeedState.DATABASE_AWAY, detail=detail)
