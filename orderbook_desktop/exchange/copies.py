"""One stream that comes by several connections: no single one of them can lose an event.

Each connection is a copy of the others. An event is taken from the copy that brings it first, and
dropped from the others. Where a copy leaves out ids, its later events wait until another copy has
brought the missing ones. Only what all copies lost is missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import (
    StreamBroken,
    StreamConnected,
    StreamDeepened,
    StreamItem,
)
from orderbook_desktop.core.streams import Continuity, MarketEvent, Stream
from orderbook_desktop.system.bounded_queue import BoundedQueue

_log = logging.getLogger(__name__)

_WAITING_AT_MOST: Final = 10_000
# The loss of a connection concerns many streams, and is logged once for all of them.
_TOGETHER_S: Final = 1.0
_NAMED_AT_MOST: Final = 3
_MISFITS_AT_MOST: Final = 3
# For each event; to read a member of an enumeration is slow (Python 3.11).
_NEXT: Final = Continuity.NEXT

Item = StreamItem | BaseException
Deliver = Callable[[Item], None]


class SaveLog:
    """Logs which connection saved what."""

    def __init__(self) -> None:
        self._lost: dict[tuple[int, str, tuple[int, ...]], list[str]] = defaultdict(list)
        self._timer: asyncio.TimerHandle | None = None

    def lost(self, stream: Stream, copy: int, broken: StreamBroken, others: list[int]) -> None:
        """Connection `copy` was lost, or lost events; `others` go on."""
        self._lost[copy, broken.detail, tuple(others)].append(stream.market)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TOGETHER_S, self.flush)

    def filled(self, stream: Stream, copies: list[int], missed_by: int, ids: range) -> None:
        """The connections `copies` brought `ids`, which `missed_by` had left out."""
        _log.info(
            "%s: %s brought %s %d to %d, which connection %d left out",
            *(stream.market, _connections(copies), stream.kind.id_name, ids.start, ids.stop - 1),
            missed_by + 1,
        )

    def flush(self) -> None:
        """Log the losses of the last second."""
        self.close()
        lost, self._lost = self._lost, defaultdict(list)
        for (copy, detail, others), markets in lost.items():
            named = ", ".join(markets[:_NAMED_AT_MOST])
            more = len(markets) - _NAMED_AT_MOST
            which = f"{named} and {more} more" if more > 0 else named
            _log.info(
                "connection %d: %s The streams of %s go on by %s, without a gap.",
                *(copy + 1, detail, which, _connections(list(others))),
            )

    def close(self) -> None:
        """Log no more by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _connections(copies: list[int]) -> str:
    if len(copies) == 1:
        return f"connection {copies[0] + 1}"
    numbers = [str(copy + 1) for copy in copies]
    return f"connections {', '.join(numbers[:-1])} and {numbers[-1]}"


class _Copy:
    """What connection `number` has delivered of a stream.

    `ahead` are its events after ids that it left out, which another copy may still bring. `missed`
    are these ids. `trouble` is why it may have left out ids.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_open = False
        self.ahead: deque[MarketEvent] = deque()
        self.missed = range(0)
        self.trouble: StreamBroken | None = None


class CopiedStream:
    """Joins what the copies of `stream` deliver, for one consumer.

    Events after missing ids wait `hold_s` (s) at most, and only while a copy may bring these ids.
    A consumer that lets more than `waiting_at_most` items wait loses them. It gets a
    `GapCause.OVERFLOW` and begins anew. Call `close()` when done.
    """

    def __init__(
        self,
        stream: Stream,
        save_log: SaveLog,
        hold_s: float,
        waiting_at_most: int = _WAITING_AT_MOST,
    ) -> None:
        self.stream = stream
        self._save_log = save_log
        self._hold_s = hold_s
        self._waiting_at_most = waiting_at_most
        self._queue = BoundedQueue[Item](waiting_at_most, self._overflowed)
        self._copies: dict[int, _Copy] = {}
        # The last event delivered since the stream opened.
        self._last: MarketEvent | None = None
        self._is_open = False
        # How many events in a row could not be of the same stream as the last one.
        self._misfits = 0
        self._holding: asyncio.TimerHandle | None = None

    def add_copy(self, number: int) -> Deliver:
        """Return the function that takes the items of copy `number`, which is new."""
        self._copies[number] = _Copy(number)
        return partial(self._take, number)

    def remove_copy(self, number: int) -> None:
        """Wait for no more items of copy `number`; another copy stays."""
        copy = self._copies.pop(number)
        if copy.is_open and self._is_open and not self._open_copies():
            # Its successors are not connected yet.
            self._close_with(StreamBroken(GapCause.DISCONNECT, "The connection is closed."))
        self._settle()

    async def next_item(self) -> StreamItem:
        """Wait for the next item; raises `BugError` where there will be no more items."""
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise BugError(f"the stream {self.stream.name} has failed") from item
        return item

    def close(self) -> None:
        """End the wait for missing events."""
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None

    def _take(self, number: int, item: Item) -> None:
        copy = self._copies.get(number)
        if copy is None:
            return
        match item:
            case StreamConnected():
                copy.is_open = True
                self._open()
            case StreamBroken():
                self._lost(copy, item)
            case StreamDeepened() | BaseException():
                self._queue.put(item)
            case _ if len(self._copies) == 1:
                # The consumer itself sees what is missing, or old.
                self._deliver(item)
            case _:
                self._take_event(copy, item)

    def _open_copies(self) -> list[int]:
        return [number for number, copy in self._copies.items() if copy.is_open]

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._queue.put(StreamConnected())

    def _lost(self, copy: _Copy, broken: StreamBroken) -> None:
        was_open, copy.is_open, copy.trouble = copy.is_open, False, broken
        others = self._open_copies()
        if not others:
            self._close_with(broken)
        elif was_open:
            self._save_log.lost(self.stream, copy.number, broken, others)
            # After an unreadable message the copy is open again at once.
            asyncio.get_running_loop().call_soon(self._settle)

    def _close_with(self, broken: StreamBroken) -> None:
        """Tell the consumer that no copy is open any more, after all that was received."""
        self._settle()
        self._is_open = False
        self._last = None
        for copy in self._copies.values():
            copy.trouble = None
        self._queue.put(broken)

    def _deliver(self, event: MarketEvent) -> None:
        self._misfits = 0
        self._last = event
        self._queue.put(event)

    def _take_event(self, copy: _Copy, event: MarketEvent) -> None:
        if copy.ahead:
            copy.ahead.append(event)
            if len(copy.ahead) > self._waiting_at_most // 2:
                self._give_up()
            return
        last = self._last
        step = _NEXT if last is None else self.stream.kind.continuity(last, event)
        if last is None or step is _NEXT:
            copy.trouble = None
            self._deliver(event)
            self._join()
        elif step is Continuity.OLD:
            copy.trouble = None
        elif step is Continuity.HOLE:
            copy.ahead.append(event)
            copy.missed = range(last.final_id + 1, event.first_id)
            self._settle()
        else:
            self._misfit(last, event)

    def _misfit(self, last: MarketEvent, event: MarketEvent) -> None:
        """Leave out `event`, which can't be of the same stream as the last one.

        After several such events it is the last one that was wrong.
        """
        reason = self.stream.kind.misfit_of(last, event)
        _log.warning("%s: left out on one of several connections: %s", self.stream.market, reason)
        self._misfits += 1
        if self._misfits == _MISFITS_AT_MOST:
            for copy in self._copies.values():
                copy.ahead.clear()
            self._queue.put(StreamBroken(GapCause.MALFORMED, reason))
            self._queue.put(StreamConnected())
            self._deliver(event)

    def _join(self) -> None:
        """Deliver the waiting events that continue what was delivered."""
        copies = [copy for copy in self._copies.values() if copy.ahead]
        while any(self._advance(copy) for copy in copies):
            pass
        if copies and not any(copy.ahead for copy in copies):
            self.close()

    def _advance(self, copy: _Copy) -> bool:
        """Deliver the waiting events of `copy` that continue; return whether there were some."""
        has_advanced = False
        while copy.ahead and self._last is not None:
            step = self.stream.kind.continuity(self._last, copy.ahead[0])
            if step is Continuity.HOLE:
                break
            event = copy.ahead.popleft()
            if step is _NEXT:
                has_advanced = True
                self._deliver(event)
        if copy.missed and not copy.ahead:
            self._was_filled(copy)
        return has_advanced

    def _was_filled(self, copy: _Copy) -> None:
        missed, copy.missed, copy.trouble = copy.missed, range(0), None
        others = [number for number in self._copies if number != copy.number]
        self._save_log.filled(self.stream, others, copy.number, missed)

    def _settle(self) -> None:
        """Give up missing ids that no copy can bring any more; else wait for them, not for ever."""
        while waiting := [copy for copy in self._copies.values() if copy.ahead]:
            if any(copy.is_open and not copy.ahead for copy in self._copies.values()):
                if self._holding is None:
                    loop = asyncio.get_running_loop()
                    self._holding = loop.call_later(self._hold_s, self._give_up)
                return
            self._pass_over(waiting)

    def _give_up(self) -> None:
        """Wait no longer for the ids that are missing next."""
        self.close()
        if waiting := [copy for copy in self._copies.values() if copy.ahead]:
            self._pass_over(waiting)
            self._settle()

    def _pass_over(self, waiting: list[_Copy]) -> None:
        """Deliver the next of the waiting events, though ids before it are missing."""
        self.close()
        nearest = min(waiting, key=lambda copy: copy.ahead[0].first_id)
        if nearest.trouble is not None:
            # Without a trouble the exchange itself left the ids out: the consumer sees that.
            self._queue.put(nearest.trouble)
            self._queue.put(StreamConnected())
        nearest.trouble = None
        for copy in waiting:
            copy.missed = range(0)
        self._deliver(nearest.ahead.popleft())
        self._join()

    def _overflowed(self, count: int) -> Iterator[Item]:
        """Iterate over the items that replace `count` dropped ones."""
        _log.error("%s: dropped %d items that waited", self.stream.name, count)
        yield StreamBroken(GapCause.OVERFLOW, "Events came faster than they could be worked off.")
        if self._is_open:
            yield StreamConnected()
