"""Two connections for each stream, against the local exchange with all faults of its streams.

`python -m tests.exchange.test_copies_play 100` strikes 100 faults of one connection (5 minutes).
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.trades import TRADE
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.local import Fault, FaultKind, LocalExchange, Shape, SyntheticSource
from orderbook_desktop.exchange.local.source import Publish, StreamEvent
from orderbook_desktop.exchange.stream import BinanceStreams
from orderbook_desktop.formats.single_trades import AGGREGATED
from tests.exchange.listener import Listener, listening, until

pytestmark = [pytest.mark.allows_log(".*"), pytest.mark.timeout(300, method="thread")]

BTC = "BTCUSDT"
STREAM, TRADES = Stream(BTC, DEPTH), Stream(BTC, TRADE)
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


# What is done to single events can be done to those of either stream.
OF_EVENTS = {FaultKind.DROP, FaultKind.SWAP, FaultKind.DUPLICATE, FaultKind.MALFORMED}
ONE_SIDED = [
    *(fault for fault, _ in FAULTS),
    *(replace(fault, stream=AGGREGATED) for fault, _ in FAULTS if fault.kind in OF_EVENTS),
    Fault(kind=FaultKind.REPEAT, count=2, stream=AGGREGATED),
]


class NotingSource(SyntheticSource):
    """A made-up market that notes what it publishes of BTCUSDT, by stream."""

    def __init__(self) -> None:
        super().__init__(seed=5)
        self.published: defaultdict[str, list[bytes]] = defaultdict(list)

    async def run(self, publish: Publish) -> None:
        def note(event: StreamEvent) -> None:
            if event.stream in (STREAM.name, TRADES.name):
                self.published[event.stream].append(event.payload)
            publish(event)

        await super().run(note)

    def published_between(self, stream: Stream, payloads: Sequence[bytes]) -> list[bytes]:
        """Return what was published of `stream` from the first to the last of `payloads`."""
        published = self.published[stream.name]
        begin = published.index(payloads[0])
        return published[begin : published.index(payloads[-1], begin) + 1]


class Heard(Struct, frozen=True):
    """Who listens to the depth, and who to the trades, by the same connections."""

    depth: Listener
    trades: Listener

    async def until_more(self, count: int) -> None:
        """Wait for so many further events of each."""
        depth, trades = len(self.depth.diffs), len(self.trades.trades)
        await self.depth.until_it_has(depth + count)
        await self.trades.until_it_has(trades + count)


Play = Callable[[LocalExchange, NotingSource, Heard], Awaitable[None]]


async def play(strike: Play) -> tuple[NotingSource, Heard]:
    """Listen by two connections while `strike` goes on, and for some events after it."""
    source = NotingSource()
    async with LocalExchange(source, faults=True) as exchange:
        streams = BinanceStreams(exchange.ws_url, TIMES, copies=2)
        try:
            async with (
                listening(streams, BTC) as depth,
                listening(streams, BTC, TRADE) as trades,
            ):
                heard = Heard(depth, trades)
                await both_are_open(exchange)
                await heard.until_more(5)
                await strike(exchange, source, heard)
                await heard.until_more(5)
        finally:
            await streams.close()
    return source, heard


async def both_are_open(exchange: LocalExchange) -> None:
    await until(lambda: exchange._hub.open_connections == 2)


async def test_no_fault_of_one_connection_loses_an_event() -> None:
    await strike_one(len(ONE_SIDED))


async def strike_one(count: int) -> None:
    """Strike `count` faults, each of one connection, and check that no event is missing."""
    chosen = random.Random(3)
    order = [*ONE_SIDED, *chosen.choices(ONE_SIDED, k=count)][:count]

    async def strike(exchange: LocalExchange, source: NotingSource, heard: Heard) -> None:
        happened = exchange.fault_board.counts
        for fault in order:
            await both_are_open(exchange)
            due = happened[fault.kind] + fault.count
            exchange.inject(replace(fault, connection=chosen.randrange(2)))
            await until(lambda: happened[fault.kind] >= due)  # noqa: B023 (awaited at once)
            await asyncio.sleep(fault.seconds)
            await heard.until_more(2)

    source, heard = await play(strike)
    assert not heard.depth.broken
    assert not heard.trades.broken
    assert heard.depth.holes() == []
    payloads = [diff.payload for diff in heard.depth.diffs]
    assert payloads == source.published_between(STREAM, payloads)
    payloads = [trade.payload for trade in heard.trades.trades]
    assert payloads == source.published_between(TRADES, payloads)


@pytest.mark.parametrize(("fault", "cause"), FAULTS)
async def test_a_fault_of_both_connections_is_a_gap_with_its_cause(
    fault: Fault, cause: GapCause | None, tmp_path: Path
) -> None:
    async def strike(exchange: LocalExchange, source: NotingSource, heard: Heard) -> None:
        listener, happened = heard.depth, exchange.fault_board.counts
        # A silence shows in a market that is known to be active.
        events = len(listener.diffs) + (60 if cause is GapCause.SILENCE else 0)
        await listener.until_it_has(events)
        exchange.inject(fault)
        await until(lambda: happened[fault.kind] >= fault.count)
        if cause is not None:
            await until(lambda: listener.broken)
        await until(lambda: exchange._hub.open_connections == 2)

    _, heard = await play(strike)
    listener = heard.depth
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
