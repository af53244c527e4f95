"""The streams that share one websocket connection, which reconnects for ever.

Before the exchange ends the connection (24 hours, or an announced shutdown) the next one is opened
and takes over where their events overlap, so that none is missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Final

from orderbook_desktop.core.backoff import backoff_delays
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import StreamBroken
from orderbook_desktop.core.streams import MarketEvent, Stream
from orderbook_desktop.exchange.copies import Deliver
from orderbook_desktop.exchange.errors import ExchangeError, RateLimited
from orderbook_desktop.exchange.limits import SlidingWindow
from orderbook_desktop.exchange.link import LinkEnd, StreamLink, StreamTimes, open_socket
from orderbook_desktop.exchange.silence import Clocks, Suspension
from orderbook_desktop.exchange.subscription import Subscription
from orderbook_desktop.system.attempts import Attempts, RetryWait
from orderbook_desktop.system.tasks import ending

_log = logging.getLogger(__name__)

_STREAMS_IN_ADDRESS: Final = 100
# A connection that lasted so long was a good one: the next attempt does not wait.
_STEADY_AFTER_S: Final = 5.0
_SILENT: Final = "The exchange sent nothing, though the connection is open."


class StreamGroup:
    """Serves streams of `base_url` over one connection, with all groups under one `limit`.

    Subscribe and unsubscribe at any time. A connection without subscriptions is closed after a
    while, and opened again for the next one. At the end await the task that `end()` returns.
    """

    def __init__(
        self, base_url: str, times: StreamTimes, clocks: Clocks, limit: SlidingWindow
    ) -> None:
        self._base_url = base_url
        self._clocks = clocks
        self._times = times
        self._limit = limit
        self._subscriptions: dict[Stream, Subscription] = {}
        self._link: StreamLink | None = None
        self._successor: StreamLink | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._trouble: StreamBroken | None = None
        self.retry = RetryWait()
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        self._joined = asyncio.Event()

    @property
    def count(self) -> int:
        """How many streams are subscribed."""
        return len(self._subscriptions)

    def subscribe(self, stream: Stream, deliver: Deliver) -> None:
        """Pass all items of `stream`, which has no subscription yet, on to `deliver`."""
        silence_s, now = self._times.silence_s, self._clocks.now
        subscription = Subscription(stream, deliver, silence_s, now=now)
        self._subscriptions[stream] = subscription
        self._wanted.set()
        self._unwanted.clear()
        if self._trouble is not None:
            trouble = self._trouble
            subscription.broken(trouble.cause, trouble.detail, trouble.problem)
        if self._successor is not None:
            subscription.begin_overlap()
        for link in self._links():
            link.subscribe([stream])
        if self._link is not None and self._link.is_confirmed(stream):
            subscription.connected()
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise())
            self._supervisor.add_done_callback(self._supervisor_ended)

    def unsubscribe(self, stream: Stream) -> None:
        """End the subscription to `stream`."""
        del self._subscriptions[stream]
        if not self._subscriptions:
            self._wanted.clear()
            self._unwanted.set()
        for link in self._links():
            link.unsubscribe([stream])

    def renew(self, stream: Stream) -> None:
        """Ask the exchange anew for `stream`, which is subscribed."""
        for link in self._links():
            link.renew([stream])

    def end(self) -> asyncio.Task[None] | None:
        """Begin to close the connection; return the task that does so, if there is one."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
        return supervisor

    def link_event(self, link: StreamLink, stream: Stream, event: MarketEvent) -> None:
        """Deliver an event to its subscription (see `LinkOwner`)."""
        subscription = self._subscriptions.get(stream)
        if subscription is None:
            return
        if link is self._link:
            subscription.event(event)
        elif link is self._successor:
            subscription.event_of_successor(event)
        if self._successor is not None and all(
            subscription.has_joined for subscription in self._subscriptions.values()
        ):
            self._joined.set()

    def link_subscribed(self, link: StreamLink, streams: Iterable[Stream]) -> None:
        """Tell the subscriptions that all events are sent from now on (see `LinkOwner`)."""
        for subscription in self._subscriptions_on(link, streams):
            subscription.connected()

    def link_refused(self, link: StreamLink, streams: Iterable[Stream], reason: str) -> None:
        """Tell the subscriptions that they have no stream for now (see `LinkOwner`)."""
        detail = f"The exchange refused to stream this symbol ({reason}). Trying again."
        for subscription in self._subscriptions_on(link, streams):
            subscription.broken(GapCause.DISCONNECT, detail)

    def link_malformed(self, link: StreamLink, streams: Iterable[Stream], reason: str) -> None:
        """Break the continuity of each stream that the message may be of (see `LinkOwner`)."""
        detail = f"A message of the exchange could not be read ({reason})."
        for subscription in self._subscriptions_on(link, streams):
            subscription.interrupted(GapCause.MALFORMED, detail)

    def _subscriptions_on(
        self, link: StreamLink, streams: Iterable[Stream]
    ) -> Iterator[Subscription]:
        """Iterate over the subscriptions to `streams`; none if `link` is not in use.

        What happens on another link shows in the ids of the events that come by the one in use.
        """
        if link is self._link:
            for stream in streams:
                if stream in self._subscriptions:
                    yield self._subscriptions[stream]

    def link_suspended(self, link: StreamLink, suspension: Suspension) -> None:
        """Tell the subscriptions why events may be missing (see `LinkOwner`)."""
        if link is self._link:
            for subscription in self._subscriptions.values():
                subscription.suspended(StreamBroken(GapCause.SUSPENDED, suspension.sentence))

    def link_caught_up(self, link: StreamLink) -> None:
        """Tell the subscriptions that the waiting events have been read (see `LinkOwner`)."""
        if link is self._link:
            for subscription in self._subscriptions.values():
                subscription.caught_up()

    def link_silence(self, link: StreamLink, now: float) -> LinkEnd | None:
        """Judge the silence of the streams (see `LinkOwner`).

        Where all streams are silent the connection is given up. Where none of them is active it is
        replaced, and the ids show whether an event was missed. Otherwise the silent streams are
        subscribed anew. A stream that may be quiet is never silent. Where all may be quiet, the
        connection is replaced after a time without any event.
        """
        if link is not self._link or self._successor is not None:
            return None
        judged, others = self._judged()
        silent = [subscription for subscription in judged if subscription.silence.is_silent(now)]
        if not silent or (not others and judged[0].may_be_quiet and len(silent) < len(judged)):
            return None
        for subscription in silent:
            subscription.silence.gave_up(now)
        active = [
            subscription
            for subscription in silent
            if subscription.silence.is_active and not subscription.may_be_quiet
        ]
        _log.info("no events of %s", ", ".join(subscription.stream.name for subscription in silent))
        is_alive = any(subscription.silence.is_fresh(now) for subscription in others)
        if len(silent) == len(judged) and not is_alive:
            if active:
                return LinkEnd(GapCause.SILENCE, _SILENT)
            link.expiring.set()
            return None
        for subscription in active:
            subscription.broken(GapCause.SILENCE, _SILENT)
        link.renew(subscription.stream for subscription in silent)
        return None

    def _judged(self) -> tuple[list[Subscription], list[Subscription]]:
        """Return the subscriptions whose silence counts, and the others."""
        quiet: list[Subscription] = []
        steady: list[Subscription] = []
        for subscription in self._subscriptions.values():
            (quiet if subscription.may_be_quiet else steady).append(subscription)
        return (steady, quiet) if steady else (quiet, [])

    def _links(self) -> Iterable[StreamLink]:
        return [link for link in (self._link, self._successor) if link is not None]

    def _supervisor_ended(self, supervisor: asyncio.Task[None]) -> None:
        """Report a bug that ended the supervisor: it must not look like a quiet market."""
        error = None if supervisor.cancelled() else supervisor.exception()
        if error is not None:
            _log.error("the streams have failed", exc_info=error)
            self._supervisor = None
            for subscription in self._subscriptions.values():
                subscription.failed(error)

    async def _supervise(self) -> None:
        """Connect and serve until the connection ends, again and again, with growing delays."""
        delays = backoff_delays()
        while True:
            attempts = Attempts(ExchangeError, self._could_not_open, delays, self._pause)
            link = await attempts.until_it_works(self._open_wanted)
            began = self._clocks.now()
            end = await self._serve(link)
            if end is None:
                continue
            _log.warning("the exchange's streams: %s", end.detail)
            self._break_all(end)
            if self._clocks.now() - began > _STEADY_AFTER_S:
                delays = backoff_delays()
            await self.retry.wait(next(delays))

    async def _open_wanted(self) -> StreamLink:
        await self._wanted.wait()
        return await self._open()

    async def _pause(self, error: ExchangeError, delay_s: float) -> None:
        fixed = isinstance(error, RateLimited)
        await self.retry.wait(_pause_s(error, delay_s), fixed=fixed)

    def _could_not_open(self, error: ExchangeError, /, *, is_new: bool) -> None:
        _log.log(logging.WARNING if is_new else logging.DEBUG, "%s", error)
        self._break_all(LinkEnd(GapCause.DISCONNECT, str(error)), error)

    def _break_all(self, end: LinkEnd, problem: KnownError | None = None) -> None:
        self._trouble = StreamBroken(end.cause, end.detail, problem)
        for subscription in self._subscriptions.values():
            subscription.broken(end.cause, end.detail, problem)

    async def _serve(self, link: StreamLink) -> LinkEnd | None:
        """Serve a connection and its successors until the last one ends.

        Returns the reason of the end; None if there is no subscription any more.
        """
        self._use(link)
        try:
            while True:
                await _first_of(self._idle(), link.expiring.wait(), until=link.ended)
                if link.ended.done():
                    return link.ended.result()
                if not self._wanted.is_set():
                    return None
                link.expiring.clear()
                previous, link = link, await self._successor_of(link)
                if link is not previous:
                    self._promote(previous, link)
                    await previous.stop()
        finally:
            self._link = None
            await link.stop()

    def _use(self, link: StreamLink) -> None:
        self._link = link
        self._trouble = None
        self.link_caught_up(link)
        self.link_subscribed(link, link.confirmed)

    async def _idle(self) -> None:
        """Return once there has been no subscription for a while."""
        while True:
            await self._unwanted.wait()
            try:
                async with asyncio.timeout(self._times.linger_s):
                    await self._wanted.wait()
            except TimeoutError:
                return

    async def _successor_of(self, link: StreamLink) -> StreamLink:
        """Open the next connection beside `link`; return it when it has caught up.

        Returns `link` itself where it ended before there was a successor.
        """
        delays = backoff_delays()
        while not link.ended.done():
            try:
                successor = await self._open()
            except ExchangeError as error:
                _log.warning("no connection to take over yet: %s", error)
                await asyncio.wait([link.ended], timeout=_pause_s(error, next(delays)))
                continue
            self._successor = successor
            self._joined.clear()
            for subscription in self._subscriptions.values():
                subscription.begin_overlap()
            try:
                caught_up = self._caught_up(link)
                await _first_of(caught_up, until=successor.ended)
            except BaseException:
                await successor.stop()
                raise
            finally:
                self._successor = None
            if not successor.ended.done():
                return successor
            for subscription in self._subscriptions.values():
                subscription.end_overlap(None)
            await successor.stop()
            _log.warning("the next connection ended at once: %s", successor.ended.result().detail)
            await asyncio.wait([link.ended], timeout=next(delays))
        return link

    async def _caught_up(self, link: StreamLink) -> None:
        """Return once the next connection need not wait for `link` any longer."""
        try:
            async with asyncio.timeout(self._times.handover_s):
                await _first_of(self._joined.wait(), until=link.ended)
        except TimeoutError:
            _log.info("a quiet symbol: the next connection takes over without having joined")

    def _promote(self, previous: StreamLink, link: StreamLink) -> None:
        detail = "The next connection began after the last one had ended."
        if previous.ended.done():
            end = previous.ended.result()
            seam = StreamBroken(end.cause, f"{end.detail} {detail}")
        else:
            seam = StreamBroken(GapCause.SERVER_SHUTDOWN, detail)
        for subscription in self._subscriptions.values():
            subscription.end_overlap(seam)
        self._use(link)

    async def _open(self) -> StreamLink:
        """Open a connection and ask for every stream; raises `ExchangeError`."""
        while (delay := self._limit.delay(self._clocks.now())) > 0:
            _log.warning("too many connections; waiting %.0f s", delay)
            await asyncio.sleep(delay)
        self._limit.take(self._clocks.now())
        asked = list(self._subscriptions)[:_STREAMS_IN_ADDRESS]
        socket = await open_socket(self._base_url, asked, self._times, self._clocks.now_ns)
        link = StreamLink(socket, self, self._times, asked, self._clocks)
        link.unsubscribe(stream for stream in asked if stream not in self._subscriptions)
        link.subscribe(self._subscriptions)
        link.start()
        return link


def _pause_s(error: ExchangeError, delay_s: float) -> float:
    """Return the seconds until the next attempt, at least those that the exchange asked for."""
    return max(delay_s, error.retry_after_s) if isinstance(error, RateLimited) else delay_s


async def _first_of(*coroutines: Coroutine[Any, Any, object], until: asyncio.Task[Any]) -> None:
    """Wait until one of `coroutines` is done, or `until`.

    Then the coroutines are cancelled; `until` goes on.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    async with ending(*tasks):
        await asyncio.wait([*tasks, until], return_when=asyncio.FIRST_COMPLETED)
