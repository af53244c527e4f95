"""Two connections for each stream, against the local exchange with all faults of its streams.

`python -m tests.exchange.test_copies_play 100` strikes 100 faults of one connection (5 minutes).
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.local import Fault, FaultKind, LocalExchange, Shape, SyntheticSource
from orderbook_desktop.exchange.local.source import Publish, StreamEvent
from orderbook_desktop.exchange.stream import BinanceStreams
from tests.exchange.listener import Listener, listening, until

pytestmark = [pytest.mark.allows_log(".*"), pytest.mark.timeout(300, method="thread")]

BTC = "BTCUSDT"
STREAM = Stream(BTC, DEPTH)
TIMES = StreamTimes(silence_s=3.0, handover_s=5.0)
LOST, UNREADABLE = GapCause.DISCONNECT, GapCause.MALFORMED
# The faults of a stream, and the cause of the gap that each makes on all connections at once.
FAULTS: list[tuple[Fault, GapCause | None]] = [
    (Fault(kind=FaultKind.DISCONNECT), LOST),
    (Fault(kind=FaultKind.CLOSE), LOST),
    (Fault(kind=FaultKind.SHUTDOWN, seconds=0.5), None),
    (Fault(kind=FaultKind.DROP, count=2), None),
    (Fault(kind=FaultKind.SWAP), None),
    (Fault(kind=FaultKind.DUPLICATE, count=3), None),
    # No event is lost: the unreadable message comes beside it.
    (Fault(kind=FaultKind.MALFORMED), None),
    (Fault(kind=FaultKind.MALFORMED, shape=Shape.TRUNCATED, instead=True), UNREADABLE),
    (Fault(kind=FaultKind.MALFORMED, shape=Shape.TYPES, instead=True), UNREADABLE),
    (Fault(kind=FaultKind.SILENCE, seconds=7.0), GapCause.SILENCE),
]


class NotingSource(SyntheticSource):
    """A made-up market that notes the depth events of BTCUSDT that it publishes."""

    def __init__(self) -> None:
        super().__init__(seed=5)
        self.published: list[bytes] = []

    async def run(self, publish: Publish) -> None:
        def note(event: StreamEvent) -> None:
            if event.stream == STREAM.name:
                self.published.append(event.payload)
            publish(event)

        await super().run(note)

    def heard_by(self, listener: Listener) -> list[bytes]:
        """Return what was published from the listener's first event to its last."""
        first, last = listener.diffs[0].payload, listener.diffs[-1].payload
        begin = self.published.index(first)
        return self.published[begin : self.published.index(last, begin) + 1]


Play = Callable[[LocalExchange, NotingSource, Listener], Awaitable[None]]


async def play(strike: Play) -> tuple[NotingSource, Listener]:
    """Listen by two connections while `strike` goes on, and for some events after it."""
    source = NotingSource()
    async with LocalExchange(source, faults=True) as exchange:
        streams = BinanceStreams(exchange.ws_url, TIMES, copies=2)
        try:
            async with listening(streams, BTC) as listener:
                await both_are_open(exchange)
                await listener.until_it_has(5)
                await strike(exchange, source, listener)
                await listener.until_it_has(len(listener.diffs) + 5)
        finally:
            await streams.close()
    return source, listener


async def both_are_open(exchange: LocalExchange) -> None:
    await until(lambda: exchange._hub.open_connections == 2)


async def test_no_fault_of_one_connection_loses_an_event() -> None:
    await strike_one(len(FAULTS))


async def strike_one(count: int) -> None:
    """Strike `count` faults, each of one connection, and check that no event is missing."""
    chosen = random.Random(3)
    faults = [fault for fault, _ in FAULTS]
    order = [*faults, *chosen.choices(faults, k=count)][:count]

    async def strike(exchange: LocalExchange, source: NotingSource, listener: Listener) -> None:
        happened = exchange.fault_board.counts
        for fault in order:
            await both_are_open(exchange)
            heard, due = len(listener.diffs), happened[fault.kind] + fault.count
            exchange.inject(replace(fault, connection=chosen.randrange(2)))
            await until(lambda: happened[fault.kind] >= due)  # noqa: B023 (awaited at once)
            await asyncio.sleep(fault.seconds)
            await listener.until_it_has(heard + 3)

    source, listener = await play(strike)
    assert not listener.broken
    assert listener.holes() == []
    assert [diff.payload for diff in listener.diffs] == source.heard_by(listener)


@pytest.mark.parametrize(("fault", "cause"), FAULTS)
async def test_a_fault_of_both_connections_is_a_gap_with_its_cause(
    fault: Fault, cause: GapCause | None, tmp_path: Path
) -> None:
    async def strike(exchange: LocalExchange, source: NotingSource, listener: Listener) -> None:
        heard, happened = len(listener.diffs), exchange.fault_board.counts
        # A silence shows in a market that is known to be active.
        await listener.until_it_has(heard + (60 if cause is GapCause.SILENCE else 0))
        exchange.inject(fault)
        await until(lambda: happened[fault.kind] >= fault.count)
        if cause is not None:
            await until(lambda: listener.broken)
        await until(lambda: exchange._hub.open_connections == 2)

    _, listener = await play(strike)
    causes = {broken.cause for broken in listener.broken}
    assert causes == (set() if cause is None else {cause})
    if fault.kind in {FaultKind.DROP, FaultKind.SWAP}:
        # What the exchange left out on both shows in the ids, as by one connection.
        assert len(listener.holes()) == 1
    elif cause is None:
        assert listener.holes() == []


if __name__ == "__main__":
    asyncio.run(strike_one(int(sys.argv[1])))
    print(f"{sys.argv[1]} faults: no event is missing")
