"""A feed over real sockets survives every fault of the exchange, on Qt's loop."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.units import format_units
from orderbook_desktop.engine.book_feed import BookFeed
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.local import (
    Fault,
    FaultKind,
    LocalExchange,
    Shape,
    write_capture,
)
from orderbook_desktop.exchange.rest import BinanceRest
from orderbook_desktop.exchange.stream import BinanceStreams
from tests.engine.noted_sink import NotedSink
from tests.exchange.listener import until
from tests.exchange.local.paced import PacedSource
from tests.exchange.local.true_book import TrueBook, true_book_of

BTC = "BTCUSDT"
TIMES = StreamTimes(silence_s=2.0, watch_every_s=0.05)

FAULTS = {
    "none": [],
    "drop": [Fault(kind=FaultKind.DROP, count=3)],
    "duplicate": [Fault(kind=FaultKind.DUPLICATE, count=3)],
    "swap": [Fault(kind=FaultKind.SWAP, count=2)],
    "garbage": [Fault(kind=FaultKind.MALFORMED, count=2)],
    "truncated": [Fault(kind=FaultKind.MALFORMED, shape=Shape.TRUNCATED, instead=True)],
    "types": [Fault(kind=FaultKind.MALFORMED, shape=Shape.TYPES, instead=True)],
    "disconnect": [Fault(kind=FaultKind.DISCONNECT)],
    "close": [Fault(kind=FaultKind.CLOSE)],
    "refuse": [
        Fault(kind=FaultKind.REFUSE, seconds=1.0),
        Fault(kind=FaultKind.DISCONNECT),
    ],
    "shutdown": [Fault(kind=FaultKind.SHUTDOWN, seconds=2.0)],
    "silence": [Fault(kind=FaultKind.SILENCE, seconds=30)],
    "503": [
        Fault(kind=FaultKind.HTTP, status=503, count=2),
        Fault(kind=FaultKind.DROP),
    ],
    "429": [
        Fault(kind=FaultKind.HTTP, status=429, retry_after=1),
        Fault(kind=FaultKind.DROP),
    ],
    "stale": [Fault(kind=FaultKind.STALE), Fault(kind=FaultKind.DROP)],
    "delay": [Fault(kind=FaultKind.DELAY, seconds=0.5), Fault(kind=FaultKind.DROP)],
}
CAUSES = {
    "drop": {GapCause.FEED_GAP},
    "swap": {GapCause.FEED_GAP},
    "garbage": {GapCause.MALFORMED},
    "truncated": {GapCause.MALFORMED},
    "types": {GapCause.MALFORMED},
    "disconnect": {GapCause.DISCONNECT},
    "close": {GapCause.DISCONNECT},
    "refuse": {GapCause.DISCONNECT},
    "silence": {GapCause.SILENCE},
    "503": {GapCause.FEED_GAP},
    "429": {GapCause.FEED_GAP},
    "stale": {GapCause.FEED_GAP},
    "delay": {GapCause.FEED_GAP},
}


@pytest.fixture(scope="module", autouse=True)
def application(qapp: QApplication) -> None:
    """Make the application before the first event loop."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of one market, a minute and a half long."""
    return write_capture(
        tmp_path_factory.mktemp("feed") / "btcusdt.jsonl",
        seed=11,
        seconds=90,
        snapshot_levels=1_000,
        streams=["depth@100ms"],
    )


def levels(side: Levels) -> dict[Decimal, Decimal]:
    pairs = zip(side.prices.tolist(), side.quantities.tolist(), strict=True)
    return {Decimal(format_units(price)): Decimal(format_units(size)) for price, size in pairs}


def assert_equal(book: Book, true_book: TrueBook) -> None:
    assert book.last_update_id == true_book.last_update_id
    assert levels(book.bids()) == true_book.bids
    assert levels(book.asks()) == true_book.asks


async def until_over(exchange: LocalExchange, faults: list[Fault]) -> None:
    """Wait until the faults have happened as often as the test ordered them."""
    counts = exchange.fault_board.counts
    await until(lambda: all(counts[fault.kind] >= fault.count for fault in faults))
    if any(fault.kind is FaultKind.SHUTDOWN for fault in faults):
        # Wait until the connection that got the announcement has ended.
        await until(lambda: exchange._state()["connections"] == {"open": 1, "opened": 2})


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.allows_log("Update ids|unreadable|no snapshot|HTTP|can't be reached|fewer")
@pytest.mark.allows_log(r"WARNING .*stream_group: the exchange's streams: ")
# The exchange's loop: what is late goes out at once, also on a connection that is just lost.
@pytest.mark.allows_log(r"WARNING asyncio: socket\.send\(\) raised exception")
async def test_after_each_fault_the_book_is_the_true_one(name: str, capture: Path) -> None:
    sink = NotedSink()
    # So slow that it goes on after what takes a while, on a busy machine too.
    source = PacedSource(capture, speed=4)
    async with LocalExchange(source) as exchange:
        rest = BinanceRest(exchange.rest_url)
        streams = BinanceStreams(exchange.ws_url, TIMES)
        feed = BookFeed(BTC, rest, streams, SourceKind.DIRECT, 0.1)
        feed.attach(sink)
        running = asyncio.create_task(feed.run())
        try:
            await until(lambda: feed.book.last_update_id and len(sink.calls) > 60)
            for fault in FAULTS[name]:
                exchange.inject(fault)
            await until_over(exchange, FAULTS[name])
            if name in CAUSES:
                await until(lambda: any(call == "broken" for call, _ in sink.calls))
            later = len(sink.calls) + 40
            synced = FeedState.SYNCED
            await until(lambda: len(sink.calls) > later and feed.status.state is synced)
            source.speed = 100
            await exchange.finished()
            true_book = true_book_of(capture)
            await until(lambda: feed.book.last_update_id == true_book.last_update_id)
            assert_equal(feed.book, true_book)
        finally:
            running.cancel()
            await asyncio.wait([running])
            await streams.close()
            await rest.close()
        for fault in FAULTS[name]:
            assert exchange.fault_board.counts[fault.kind], f"{fault.kind} did not happen"
    causes = {what for call, what in sink.calls if call == "broken"}
    assert causes == CAUSES.get(name, set())
