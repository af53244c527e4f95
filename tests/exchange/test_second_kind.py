"""A second kind of stream is one declaration: all between the exchange and a sink takes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.sources import EventStream, StreamBroken
from orderbook_desktop.core.streams import DEPTH, Continuity, MarketEvent, Stream
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from orderbook_desktop.exchange.local.faults import Fault, FaultKind
from orderbook_desktop.exchange.stream import BinanceStreams
from orderbook_desktop.storage.recorder.market_sink import MarketSink
from orderbook_desktop.storage.recorder.pending import Loose, PendingWrites, stream_of
from tests.core.prints import PRINTS, Print

from .listener import listening, streams_of, until
from .scripted_server import ScriptedServer, frame, scripted_server

# The loss of a connection is a fault, and is in the log.
pytestmark = pytest.mark.allows_log(r"WARNING .*stream_group: the exchange's streams: ")


@dataclass
class NotedSink:
    """Keeps the unbroken runs of a stream, and why each of them ended."""

    runs: list[list[MarketEvent]] = field(default_factory=lambda: [[]])
    causes: list[GapCause] = field(default_factory=list)

    def received(self, event: MarketEvent) -> None:
        self.runs[-1].append(event)

    def broken(self, cause: GapCause, _detail: str) -> None:
        self.causes.append(cause)
        self.runs.append([])

    @property
    def ids(self) -> list[list[int]]:
        return [[event.first_id for event in run] for run in self.runs]


async def deliver(source: EventStream, stream: Stream, sink: NotedSink | MarketSink) -> None:
    """Judge the continuity of `stream`, and pass its events on to `sink`."""
    last: Print | None = None
    async with aclosing(source.items(stream)) as items:
        async for item in items:
            if isinstance(item, StreamBroken):
                last = None
                sink.broken(item.cause, item.detail)
            elif isinstance(item, Print):
                step = stream.kind.continuity(last, item) if last else Continuity.NEXT
                if step is Continuity.HOLE:
                    sink.broken(GapCause.FEED_GAP, "")
                if step is not Continuity.OLD:
                    last = item
                    sink.received(item)


BTC, ETH = "BTCUSDT", "ETHUSDT"
QUICK = StreamTimes(watch_every_s=0.05)


@asynccontextmanager
async def recording(
    streams: BinanceStreams, market: str, sink: NotedSink | MarketSink
) -> AsyncIterator[None]:
    task = asyncio.create_task(deliver(streams, Stream(market, PRINTS), sink))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def test_prints_and_diffs_of_the_local_exchange_come_by_one_connection() -> None:
    sink = NotedSink()
    async with (
        LocalExchange(SyntheticSource(activity=20.0)) as exchange,
        streams_of(exchange.ws_url) as streams,
        listening(streams, BTC) as btc,
        recording(streams, BTC, sink),
    ):
        await until(lambda: btc.diffs and len(sink.runs[0]) > 5)
        exchange.inject(Fault(kind=FaultKind.DISCONNECT))
        await until(lambda: len(sink.runs) == 2 and len(sink.runs[1]) > 5)
        await until(lambda: btc.connected == 2)
    assert sink.causes == btc.causes == [GapCause.DISCONNECT]
    for ids in sink.ids:
        assert ids == list(range(ids[0], ids[-1] + 1))
    first = sink.runs[0][0]
    assert isinstance(first, Print)
    fields = json.loads(first.payload)
    assert (first.market, first.first_id, first.price) == (BTC, fields["t"], fields["p"])
    assert first.received_ns > 0


def print_frame(market: str, number: int) -> str:
    event = {"e": "trade", "E": 1, "s": market, "t": number, "p": "1.50", "q": "2.00", "T": 1}
    return json.dumps({"stream": f"{market.lower()}@trade", "data": event})


@asynccontextmanager
async def both_kinds() -> AsyncIterator[tuple[ScriptedServer, BinanceStreams, NotedSink]]:
    """Run a server and a client that has subscribed to the prints of BTCUSDT after others."""
    async with AsyncExitStack() as stack:
        script = await stack.enter_async_context(scripted_server())
        streams = await stack.enter_async_context(streams_of(script.ws_url, QUICK))
        eth = await stack.enter_async_context(listening(streams, ETH))
        await until(lambda: eth.connected)
        sink = NotedSink()
        await stack.enter_async_context(recording(streams, BTC, sink))
        await until(lambda: script.commands)
        yield script, streams, sink


async def test_prints_are_subscribed_by_their_name() -> None:
    async with both_kinds() as (script, _streams, sink):
        await script.last.send(print_frame(BTC, 7))
        await until(lambda: sink.runs[0])
    assert script.commands[0]["params"] == ["btcusdt@trade"]
    assert script.targets == ["/stream?streams=ethusdt@depth@100ms"]


async def test_a_hole_in_the_ids_ends_a_run_and_an_old_print_does_not() -> None:
    async with both_kinds() as (script, _streams, sink):
        for number in (7, 8, 8, 7, 11, 12):
            await script.last.send(print_frame(BTC, number))
        await until(lambda: sink.ids[-1:] == [[11, 12]])
    assert sink.ids == [[7, 8], [11, 12]]
    assert sink.causes == [GapCause.FEED_GAP]


@pytest.mark.expects_log("unreadable message")
async def test_a_message_that_cannot_be_read_breaks_the_stream_that_it_names() -> None:
    async with both_kinds() as (script, streams, sink), listening(streams, BTC) as btc:
        await until(lambda: btc.connected)
        await script.last.send(print_frame(BTC, 7).replace('"t": 7', '"t": "seven"'))
        await until(lambda: sink.causes)
        await script.last.send(frame(BTC, 1).replace('"u": 1', '"u": "one"'))
        await until(lambda: btc.broken)
        await script.last.send(print_frame(BTC, 8))
        await script.last.send(frame(BTC, 2))
        await until(lambda: sink.runs[-1] and btc.diffs)
        assert (sink.causes, btc.causes) == ([GapCause.MALFORMED], [GapCause.MALFORMED])
        # A message that names only the market may be of each of its streams.
        await script.last.send('{"e":"trade","s":"BTCUSDT","t":')
        await until(lambda: len(sink.causes) == len(btc.causes) == 2)


async def test_prints_go_from_one_connection_to_the_next_without_a_hole() -> None:
    async with both_kinds() as (script, _streams, sink):
        first = script.last
        await first.send(print_frame(BTC, 1))
        await until(lambda: sink.runs[0])
        await first.send('{"e":"serverShutdown","E":1}')
        number = 1
        while first in script.open:
            number += 1
            await script.send_to_all(print_frame(BTC, number))
            await script.send_to_all(frame(ETH, number))
            await asyncio.sleep(0.005)
        await script.send_to_all(print_frame(BTC, number + 1))
        await until(lambda: sink.ids[0][-1] == number + 1)
    assert sink.ids == [list(range(1, number + 2))]
    assert sink.causes == []


async def test_the_sink_of_the_recorder_queues_prints_as_such() -> None:
    prints, diffs = Stream(BTC, PRINTS), Stream(BTC, DEPTH)
    pending = PendingWrites(2**20, lambda: None)
    async with (
        scripted_server() as script,
        streams_of(script.ws_url) as streams,
        recording(streams, BTC, MarketSink(prints, pending)),
    ):
        await until(lambda: script.open)
        await script.last.send(print_frame(BTC, 7))
        await script.last.send(print_frame(BTC, 8))
        await until(lambda: pending.events == 2)
        script.last.transport.abort()
        # The run that ended so belongs to no book.
        await until(lambda: len(pending) == 3)
    assert (pending.events_of(prints), pending.events_of(diffs)) == (2, 0)
    *_, run = queued = pending.first(3)
    assert {stream_of(operation) for operation in queued} == {prints}
    assert isinstance(run, Loose)
    assert [event.final_id for event in run.events] == [7, 8]


async def test_the_two_streams_of_a_market_fill_two_connections() -> None:
    async with scripted_server() as script:
        streams = BinanceStreams(script.ws_url, QUICK, streams_a_connection=1)
        sink = NotedSink()
        async with listening(streams, BTC) as btc, recording(streams, BTC, sink):
            await until(lambda: btc.connected and len(script.open) == 2)
            await script.send_to_all(print_frame(BTC, 1))
            await script.send_to_all(frame(BTC, 1))
            await until(lambda: btc.diffs and sink.runs[0])
        await streams.close()
    assert sorted(script.targets) == [
        "/stream?streams=btcusdt@depth@100ms",
        "/stream?streams=btcusdt@trade",
    ]
