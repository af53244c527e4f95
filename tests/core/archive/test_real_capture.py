"""A real exchange's events come back from the archive, where a capture of them lies at hand."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from orderbook_desktop.core.archive import (
    DecodedChunk,
    best_offers,
    decode_chunk,
    encode_loose,
    encode_minutes,
    verify_chunk,
)
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.depth_sync import Applied, DepthSync
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.core.trade_witness import DepthBlock, TradeBlock, TradesHeld, TradeWitness
from orderbook_desktop.core.trades import Trade, decode_trade
from orderbook_desktop.core.units import parse_units
from orderbook_desktop.formats.single_trades import TradeAggregator
from tests.core.reference_book import ReferenceBook, pairs_of
from tests.core.test_real_capture import CAPTURE, capture_lines

pytestmark = pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here")


def capture() -> tuple[bytes, BookImage, list[DepthDiff], list[DepthDiff]]:
    """Return the snapshot, as text and as image, the run that follows it, and other events."""
    sync, diffs, snapshot = DepthSync(), [], b""
    for line in capture_lines():
        if line.startswith(b'{"lastUpdateId"'):
            snapshot = line
        elif isinstance(message := decode_frame(line), DepthDiff):
            diffs.append(message)
    sync.receive_snapshot(decode_snapshot(snapshot, "BTCUSDT"))
    start = image_of(sync.book, "BTCUSDT")
    run = [diff for diff in diffs if isinstance(sync.receive_diff(diff)[0], Applied)]
    return snapshot, start, run, [diff for diff in diffs if diff not in run]


def test_the_capture_comes_back_and_its_books_are_true() -> None:
    snapshot, start, run, others = capture()
    reference = ReferenceBook().take(snapshot)
    book, events = start, []
    for chunk, after in encode_minutes(start, run):
        decoded = decode_chunk(chunk)
        assert not list(verify_chunk(decoded, book))
        assert not decoded.odd_payloads
        minute = list(decoded.diffs())
        bids, asks = best_offers(decoded)
        for index, event in enumerate(minute):
            reference.take(event.payload)
            if index % 50:
                continue
            shown = decoded.book_after(index)
            assert (pairs_of(shown.bids), pairs_of(shown.asks)) == reference.levels
            assert (bids[index], asks[index]) == (shown.bids.prices[0], shown.asks.prices[0])
        assert (pairs_of(after.bids), pairs_of(after.asks)) == reference.levels
        book = after
        events.extend(minute)
    assert events == run
    assert list(decode_chunk(encode_loose(others)).diffs()) == others
    assert len(run) + len(others) > 3000


def aggregated() -> list[Trade]:
    """The capture's trades, those of one taker order at one price as one."""
    aggregator = TradeAggregator("BTCUSDT")
    lines = (json.loads(line) for line in capture_lines() if b"@trade" in line)
    sent = [aggregator.take(json.dumps(line["data"]).encode()) for line in lines]
    return [decode_trade(event) for event in (*sent, aggregator.end()) if event]


def trade_block(trades: list[Trade]) -> TradeBlock:
    def numbers(values: list[int]) -> npt.NDArray[np.int64]:
        return np.array(values, dtype=np.int64)

    return TradeBlock(
        numbers([trade.trade_id for trade in trades]),
        numbers([trade.event_ms for trade in trades]),
        numbers([parse_units(trade.price) for trade in trades]),
        8,
    )


def held(trades: list[Trade], minutes: list[DecodedChunk]) -> TradesHeld:
    witness = TradeWitness()
    for chunk in minutes:
        first_ids, final_ids, event_ms, _ = chunk.numbers
        exponent = chunk.header.price_exponent
        witness.take_depth(DepthBlock(first_ids, final_ids, event_ms, exponent, chunk.changed_at))
        if chunk is minutes[0]:
            witness.take_trades(trade_block(trades))
    return witness.finish()


def test_each_trade_of_the_capture_changed_the_book() -> None:
    _, start, run, _ = capture()
    minutes = [decode_chunk(chunk) for chunk, _ in encode_minutes(start, run)]
    trades = aggregated()
    found = held(trades, minutes)
    assert (found.held + found.not_judged, found.not_held) == (len(trades), 0)
    assert found.held > 5000
    # The rule is no truism: most trades would not be held a second later.
    late = [replace(trade, event_ms=trade.event_ms + 1000) for trade in trades]
    assert held(late, minutes).contradict
