"""One stream's part of a connection: its state, silence, and the change of connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken, StreamConnected
from orderbook_desktop.core.streams import Continuity, MarketEvent, Stream
from orderbook_desktop.exchange.copies import Deliver
from orderbook_desktop.exchange.silence import LEAST_SILENCE_S, SilenceWatch

_log = logging.getLogger(__name__)

# For each event; to read a member of an enumeration is slow (Python 3.11).
_NEXT: Final = Continuity.NEXT


class Subscription:
    """Passes the items of `stream` on to `deliver`.

    While a second connection takes over from the first, both deliver. An event that one has
    delivered is not taken from the other. Events of the second one that are ahead of the first are
    kept back until they continue it. So the two join without a gap and in order.
    """

    def __init__(
        self,
        stream: Stream,
        deliver: Deliver,
        silence_s: float = LEAST_SILENCE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self.may_be_quiet = stream.kind.may_be_quiet
        self.silence = SilenceWatch(silence_s)
        self.is_open = False
        self.has_joined = False
        self._now = now
        self._deliver = deliver
        # The last event delivered since the stream opened.
        self._last: MarketEvent | None = None
        self._overlapping = False
        self._ahead: list[MarketEvent] = []
        self._seam: StreamBroken | None = None
        # The suspension for which events may be missing, until the waiting events have been read.
        self._suspension: StreamBroken | None = None

    def connected(self) -> None:
        """The stream is open: the exchange sends every later event."""
        if not self.is_open:
            self.is_open = True
            self.silence.opened(self._now())
            self._deliver(StreamConnected())

    def broken(self, cause: GapCause, detail: str, problem: KnownError | None = None) -> None:
        """The stream is closed, or lost events; `problem` is the reason, where known."""
        self.is_open = False
        self.silence.closed()
        self._last = None
        self._seam = None
        self._deliver(StreamBroken(cause, detail, problem))

    def interrupted(self, cause: GapCause, detail: str) -> None:
        """The stream lost events and goes on."""
        if self.is_open:
            self.broken(cause, detail)
            self.connected()

    def failed(self, error: BaseException) -> None:
        """A bug has ended the stream: there will be no further items."""
        self._deliver(error)

    def event(self, event: MarketEvent) -> None:
        """An event arrived on the connection in use.

        Before the stream is open, an event is of an earlier subscription to this stream. It is
        dropped: else the events between it and the first one of this subscription would seem to be
        missing.
        """
        if not self.is_open:
            return
        self.silence.received(self._now())
        last = self._last
        if last is not None:
            step = self.stream.kind.continuity(last, event)
            if step is not _NEXT and not self._takes_despite(step, last, event):
                return
        self._seam = None
        self._last = event
        self._deliver(event)
        self._join()

    def _takes_despite(self, step: Continuity, last: MarketEvent, event: MarketEvent) -> bool:
        """Return whether to deliver `event`, which does not continue `last`."""
        if step is Continuity.IMPLAUSIBLE:
            # Otherwise all later events would seem to be old.
            reason = self.stream.kind.misfit_of(last, event)
            _log.warning("%s: left out: %s", self.stream.name, reason)
            self.interrupted(GapCause.MALFORMED, reason)
            return False
        if step is Continuity.OLD:
            return self._seam is None and not self._overlapping
        why = self._suspension or self._seam
        if why is not None:
            self.interrupted(why.cause, why.detail)
        return True

    def event_of_successor(self, event: MarketEvent) -> None:
        """An event arrived on the connection that takes over."""
        self._ahead.append(event)
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
        for event in ahead:
            self.event(event)

    def _join(self) -> None:
        """Deliver the events of the second connection that continue those of the first one."""
        while self._ahead and self._last is not None and _joins(self._last, self._ahead[0]):
            event = self._ahead.pop(0)
            self.has_joined = True
            if event.final_id > self._last.final_id:
                self.silence.received(self._now())
                self._last = event
                self._deliver(event)


def _joins(known: MarketEvent, event: MarketEvent) -> bool:
    """Whether no id lies between `known` and `event`."""
    return event.first_id <= known.final_id + 1
