"""A feed over real sockets, through every fault of the exchange; on Qt's loop."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.book_feed import BookFeed
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.units import format_units
from orderbook_desktop.exchange.link import StreamTimes
from orderbook_desktop.exchange.local import (
    CaptureSource,
    Fault,
    FaultKind,
    LocalExchange,
    Shape,
    write_capture,
)
from orderbook_desktop.exchange.rest import BinanceRest
from orderbook_desktop.exchange.stream import BinanceStreams
from tests.app.noted_sink import NotedSink
from tests.exchange.listener import until
from tests.exchange.local.true_book import TrueBook, true_book_of

BTC = "BTCUSDT"
# Faults that take a while happen during a slower play, so that it goes on after them.
TAKE_A_WHILE = {"disconnect", "close", "refuse", "silence", "429"}
TIMES = StreamTimes(silence_s=1.0, watch_every_s=0.05, handover_s=1.0, answer_s=2.0)

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
    "shutdown": [Fault(kind=FaultKind.SHUTDOWN, seconds=0.5)],
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
    """Be there before the first event loop is made."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds of one market."""
    return write_capture(
        tmp_path_factory.mktemp("feed") / "btcusdt.jsonl",
        seed=11,
        seconds=20,
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


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.allows_log("Update ids|unreadable|no snapshot|HTTP|can't be reached|fewer")
async def test_after_each_fault_the_book_is_the_true_one(name: str, capture: Path) -> None:
    sink = NotedSink()
    speed = 10 if name in TAKE_A_WHILE else 20
    async with LocalExchange(CaptureSource(capture, speed)) as exchange:
        rest = BinanceRest(exchange.rest_url, timeout_s=2.0)
        streams = BinanceStreams(exchange.ws_url, TIMES)
        feed = BookFeed(BTC, rest, streams, SourceKind.DIRECT, 0.1)
        feed.attach(sink)
        running = asyncio.create_task(feed.run())
        try:
            await until(lambda: feed.book.last_update_id and len(sink.calls) > 60)
            for fault in FAULTS[name]:
                exchange.inject(fault)
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
