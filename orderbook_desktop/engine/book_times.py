"""What the times of a market's events say of the book that they make."""

from __future__ import annotations

import time
from collections.abc import Callable

from orderbook_desktop.core.depth_sync import Applied, Readable, SnapshotOutcome, Synced, TooWide
from orderbook_desktop.core.event_times import EventClock, OddTimes
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, timed
from orderbook_desktop.core.lateness import Activity, BookAge, Punctuality, UsualDelay
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.system.steady_clock import steady_ns

_NS_A_MS = 1_000_000


class BookTimes:
    """How old the book of a feed is, whether its market is active, and which times are odd.

    `kind` is the feed's source. `now_ns` is the time of day, and `clock_ns` a clock for ages that
    steps of the time of day do not move. Feeds of the same market, whose events come from the same
    exchange, share a `usual_delay`.
    """

    def __init__(
        self,
        kind: SourceKind,
        usual_delay: UsualDelay | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        clock_ns: Callable[[], int] = steady_ns,
    ) -> None:
        self._kind = kind
        self._now_ns = now_ns
        self.clock_ns = clock_ns
        self._last_received_ns = 0
        self._punctuality = Punctuality(
            usual_delay or UsualDelay(), may_begin_late=kind is SourceKind.MONGO
        )
        self._age = BookAge(self._punctuality)
        self._activity = Activity()
        self._clock = EventClock()
        self._odd_times = OddTimes()

    @property
    def odd_times(self) -> str:
        """Which times of events are odd, as a sentence, or empty."""
        return self._odd_times.sentence

    def status(self, state: FeedState, detail: str) -> FeedStatus:
        """Return the status of a feed that is in `state`."""
        return FeedStatus(
            state,
            self._kind,
            self._last_received_ns,
            detail,
            self._age.as_of_ns,
            self._activity.is_active,
            is_timed=self._punctuality.is_known,
        )

    def timed(self, diff: DepthDiff) -> tuple[DepthDiff, str | None]:
        """Return an event with the time that counts, and a sentence for each new kind of odd time.

        Call it for each event that is received.
        """
        self._last_received_ns = diff.received_ns or self._last_received_ns
        event_ms = self._clock.time_of(diff.event_ms, diff.received_ns)
        news = self._odd_times.take(diff.payload, diff.event_ms, event_ms)
        return timed(diff, event_ms), news

    def arrival_of(self, diff: DepthDiff) -> int:
        """Return when `diff` arrived, by the clock for ages."""
        # The receive time of a recorded event is in the past, and may be of another clock.
        is_by_our_clock = self._kind is SourceKind.DIRECT and diff.received_ns
        waited_ns = self._now_ns() - diff.received_ns if is_by_our_clock else 0
        return self.clock_ns() - max(0, waited_ns)

    def applied(self, diff: DepthDiff, arrived_ns: int) -> None:
        """Take note of an event that belongs to the known book."""
        self._punctuality.take(diff.event_ms, diff.received_ns, arrived_ns)
        self._activity.take(arrived_ns)

    def reached(self, diff: DepthDiff, arrived_ns: int) -> None:
        """Take note that the book reaches up to an event."""
        self._age.take(diff.event_ms, arrived_ns)

    def began(self, outcome: SnapshotOutcome, asked_ns: int) -> None:
        """Note the age of a book that begins with a snapshot, and of the events that waited.

        The snapshot was asked for at `asked_ns`, by the clock for ages.
        """
        match outcome:
            case Synced(snapshot) | TooWide(DepthSnapshot() as snapshot):
                self._age.load(snapshot.event_ms, asked_ns)
            case Applied(diff) | Readable(diff):
                self.reached(diff, self.clock_ns())

    def now_ms(self) -> int:
        """Return the time of day in ms since the epoch."""
        return self._now_ns() // _NS_A_MS
