"""Disturbances of a play: faults of the exchange, one after the other, and the database's death.

A fault begins when both books are whole, and the next fault waits until it is over. So each gap of
the recording belongs to a known fault, place and time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.exchange.local import Fault, FaultKind, LocalExchange, Shape
from orderbook_desktop.storage.server.server import ServerState

_LOOK_EVERY_S = 0.01
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Blow:
    """Faults that happen together, and the cause of the gap that they make; None: no gap.

    They happen when `after` events of an undisturbed market have been recorded.
    """

    faults: tuple[Fault, ...]
    cause: GapCause | None
    after: int = 1

    @property
    def name(self) -> str:
        return " and ".join(fault.kind.value for fault in self.faults)


@dataclass(frozen=True, slots=True)
class Struck:
    """The result of a blow: the last update id before it, and that of the next whole book."""

    blow: Blow
    before_id: int
    next_base_id: int


@dataclass
class Play:
    """A running play: its exchange, and the feeds that follow and record it."""

    engine: Engine
    exchange: LocalExchange
    session: MarketSession

    @property
    def is_whole(self) -> bool:
        """Whether both books are known, and recording goes on."""
        live, recorded = self.session.live, self.session.recorded
        return (
            live.status.state is recorded.status.state is FeedState.SYNCED
            and self.session.sink.segment_id is not None
            and recorded.book.last_update_id >= live.base_id > 0
        )

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until `condition` holds; raises `AssertionError` if that takes too long."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not condition():
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise AssertionError(f"waited in vain: {what}") from None


Disturb = Callable[[Play], Awaitable[list[Struck]]]


def stream_faults(silence_s: float) -> list[Blow]:
    """Return all faults of the stream; the feed notices a silence of `silence_s`.

    After four new books in a row the feed pauses, longer each time. A silence resets these pauses
    and the delays between its connections.
    """
    lost, unreadable = GapCause.DISCONNECT, GapCause.MALFORMED
    disconnect = Fault(kind=FaultKind.DISCONNECT)
    refuse = Fault(kind=FaultKind.REFUSE, seconds=1.0)
    truncated = Fault(kind=FaultKind.MALFORMED, shape=Shape.TRUNCATED, instead=True)
    mistyped = Fault(kind=FaultKind.MALFORMED, shape=Shape.TYPES, instead=True)
    return [
        Blow((refuse, disconnect), lost),
        Blow((Fault(kind=FaultKind.DROP, count=2),), GapCause.FEED_GAP),
        Blow((Fault(kind=FaultKind.SWAP),), GapCause.FEED_GAP),
        # The feed notices a silence soon only in a market that it knows to be active.
        Blow((Fault(kind=FaultKind.SILENCE, seconds=silence_s),), GapCause.SILENCE, after=60),
        Blow((disconnect,), lost),
        Blow((Fault(kind=FaultKind.MALFORMED, shape=Shape.GARBAGE),), unreadable),
        Blow((truncated,), unreadable),
        Blow((Fault(kind=FaultKind.DUPLICATE, count=5),), None),
        # The next connection takes over from the one that is about to end.
        Blow((Fault(kind=FaultKind.SHUTDOWN, seconds=2.0),), None),
        Blow((Fault(kind=FaultKind.CLOSE),), lost),
        Blow((mistyped,), unreadable),
    ]


def snapshot_faults() -> list[Blow]:
    """Return all faults of a request for a book, each with a fault that causes a request."""
    drop = Fault(kind=FaultKind.DROP)
    faults = [
        Fault(kind=FaultKind.HTTP, status=429, retry_after=1),
        Fault(kind=FaultKind.HTTP, status=418, retry_after=1),
        Fault(kind=FaultKind.HTTP, status=451),
        Fault(kind=FaultKind.HTTP, status=503),
        Fault(kind=FaultKind.STALE),
        Fault(kind=FaultKind.DELAY, seconds=0.5),
    ]
    return [Blow((fault, drop), GapCause.FEED_GAP) for fault in faults]


def striking(blows: list[Blow]) -> Disturb:
    """Return a function that strikes these blows, one after the other."""

    async def disturb(play: Play) -> list[Struck]:
        return [await _strike(blow, play) for blow in blows]

    return disturb


async def _strike(blow: Blow, play: Play) -> Struck:
    """Strike a blow, and wait until it has happened and both books are whole again."""
    await play.until(lambda: play.is_whole, f"whole before {blow.name}")
    counts, happened = play.session.sink.counts, play.exchange.fault_board.counts
    recorded = counts.events + blow.after
    await play.until(lambda: counts.events >= recorded, f"events before {blow.name}")
    gaps, before_id = counts.gaps, play.session.live.book.last_update_id
    wanted = {fault.kind: happened[fault.kind] + fault.count for fault in blow.faults}
    begun_ms = time.time_ns() // 1_000_000
    for fault in blow.faults:
        play.exchange.inject(fault)
    await play.until(
        lambda: all(happened[kind] >= count for kind, count in wanted.items()), blow.name
    )
    if blow.cause is None:
        await asyncio.sleep(max(fault.seconds for fault in blow.faults))
        seen_id = play.session.live.book.last_update_id
        await play.until(lambda: play.session.live.book.last_update_id > seen_id, blow.name)
        assert counts.gaps == gaps, f"{blow.name} made a gap: {counts.last_gap}"
    else:
        await play.until(lambda: counts.gaps > gaps, f"a gap because of {blow.name}")
        assert counts.last_gap == blow.cause.sentence, f"{blow.name}: {counts.last_gap}"
        assert counts.last_gap_ms >= begun_ms
        await play.until(lambda: play.is_whole, f"whole after {blow.name}")
        # A blow makes a single gap. At the end the number of gaps is compared with the recording.
        assert counts.gaps <= gaps + 1, f"{blow.name} made {counts.gaps - gaps} gaps"
    return Struck(blow, before_id, play.session.live.base_id)


def kill_database(times: int, pause_s: float) -> Disturb:
    """Return a function that kills the running database's process, `times` times."""

    async def disturb(play: Play) -> list[Struck]:
        server = play.engine.server
        for _ in range(times):
            await play.until(lambda: server.state is ServerState.READY, "the database")
            await asyncio.sleep(pause_s)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            await play.until(lambda: server.state is ServerState.AWAY, "the database's end")
        return []

    return disturb
