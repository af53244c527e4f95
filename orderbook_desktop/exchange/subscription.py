"""One market's part of a stream: waiting items, silence, and the change of connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

from orderbook_desktop.core.depth_sync import may_follow
from orderbook_desktop.core.errors import BugError, KnownError
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamConnected, StreamItem
from orderbook_desktop.exchange.silence import LEAST_SILENCE_S, SilenceWatch
from orderbook_desktop.system.bounded_queue import BoundedQueue

_log = logging.getLogger(__name__)

_WAITING_AT_MOST: Final = 10_000
_NS_A_MS: Final = 1_000_000


class Subscription:
    """Queues the items of one market for one consumer.

    While a second connection takes over from the first, both deliver. An event that one has
    delivered is not taken from the other. Events of the second one that are ahead of the first are
    kept back until they continue it. So the two join without a gap and in order.

    A consumer that lets more than `waiting_at_most` items wait loses them. It gets a
    `GapCause.OVERFLOW` and begins anew.
    """

    def __init__(
        self,
        market: str,
        silence_s: float = LEAST_SILENCE_S,
        waiting_at_most: int = _WAITING_AT_MOST,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.market = market
        self.silence = SilenceWatch(silence_s)
        self.is_open = False
        self.has_joined = False
        self._now = now
        self._queue = BoundedQueue[StreamItem | BaseException](waiting_at_most, self._overflowed)
        # The last id delivered since the stream opened; 0 while there was no event.
        self._last_id = 0
        self._last_ms = 0
        self._overlapping = False
        self._ahead: list[DepthDiff] = []
        self._seam: StreamBroken | None = None
        # The suspension for which events may be missing, until the waiting events have been read.
        self._suspension: StreamBroken | None = None

    async def next_item(self) -> StreamItem:
        """Wait for the next item; raises `BugError` where there will be no more items."""
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise BugError(f"the stream of {self.market} has failed") from item
        return item

    def connected(self) -> None:
        """The market's stream is open: the exchange sends every later event."""
        if not self.is_open:
            self.is_open = True
            self.silence.opened(self._now())
            self._queue.put(StreamConnected())

    def broken(self, cause: GapCause, detail: str, problem: KnownError | None = None) -> None:
        """The market's stream is closed, or lost events; `problem` is the reason, where known."""
        self.is_open = False
        self.silence.closed()
        self._last_id = 0
        self._seam = None
        self._queue.put(StreamBroken(cause, detail, problem))

    def interrupted(self, cause: GapCause, detail: str) -> None:
        """The market's stream lost events and goes on."""
        if self.is_open:
            self.broken(cause, detail)
            self.connected()

    def failed(self, error: BaseException) -> None:
        """A bug has ended the stream: there will be no further items."""
        self._queue.put(error)

    def diff(self, diff: DepthDiff) -> None:
        """An event arrived on the connection in use.

        Before the stream is open, an event is of an earlier subscription to this market. It is
        dropped: else the events between it and the first one of this subscription would seem to be
        missing.
        """
        if not self.is_open:
            return
        self.silence.received(self._now())
        received_ms = diff.received_ns // _NS_A_MS
        known = self._last_id, self._last_ms
        if self._last_id and not may_follow(diff.final_id, received_ms, *known):
            # Otherwise all later events would seem to be old.
            reason = f"Update id {diff.final_id} can't follow update id {self._last_id}."
            self.interrupted(GapCause.MALFORMED, reason)
            return
        suspension = self._suspension
        if suspension is not None and self._last_id and diff.first_id > self._last_id + 1:
            self.interrupted(suspension.cause, suspension.detail)
        seam, self._seam = self._seam, None
        if seam is not None and self._last_id:
            if diff.final_id <= self._last_id:
                self._seam = seam
                return
            if diff.first_id > self._last_id + 1:
                self.interrupted(seam.cause, seam.detail)
        if self._overlapping and diff.final_id <= self._last_id:
            return
        self._last_id, self._last_ms = diff.final_id, received_ms
        self._queue.put(diff)
        self._join()

    def diff_of_successor(self, diff: DepthDiff) -> None:
        """An event arrived on the connection that takes over."""
        self._ahead.append(diff)
        self._join()

    def suspended(self, broken: StreamBroken) -> None:
        """This program was suspended; events that are missing from now on are missing for that."""
        self._suspension = broken
        self.silence.resumed(self._now())

    def caught_up(self) -> None:
        """The events that waited during the suspension have been read."""
        self._suspension = None

    def begin_overlap(self) -> None:
        """A second connection is open."""
        self._overlapping = True
        self.has_joined = False

    def end_overlap(self, promoted: StreamBroken | None) -> None:
        """One of the connections has ended.

        With `promoted` it is the first one, and the consumer gets `promoted` if events are missing
        between the two. Otherwise it is the second one.
        """
        ahead, self._ahead = self._ahead, []
        self._overlapping = False
        if promoted is None:
            return
        if not self.has_joined:
            self._seam = promoted
        for diff in ahead:
            self.diff(diff)

    def _join(self) -> None:
        """Deliver the events of the second connection that continue those of the first one."""
        while self._ahead and self._last_id and self._continues(self._ahead[0]):
            diff = self._ahead.pop(0)
            self.has_joined = True
            if diff.final_id > self._last_id:
                self.silence.received(self._now())
                self._last_id = diff.final_id
                self._queue.put(diff)

    def _continues(self, diff: DepthDiff) -> bool:
        return diff.first_id <= self._last_id + 1

    def _overflowed(self, count: int) -> Iterator[StreamItem]:
        """Iterate over the items that replace `count` dropped ones."""
        _log.error("%s: dropped %d items that waited", self.market, count)
        yield StreamBroken(GapCause.OVERFLOW, "Events came faster than they could be worked off.")
        if self.is_open:
            yield StreamConnected()
