"""The flows of a real market, where a capture of it lies beside the repository."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import image_of
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_spot_snapshot
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.flows import FlowTrades, flows_of
from orderbook_desktop.core.heatmap.spans import live_span
from orderbook_desktop.core.units import Scale, parse_units
from tests.core.test_real_capture import CAPTURE, capture_lines

pytestmark = pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here")


def test_at_random_spans_what_stood_and_what_flowed_make_what_stands() -> None:
    book, events, told = Book(), [], []
    for line in capture_lines():
        if line.startswith(b'{"lastUpdateId"'):
            book.load(decode_spot_snapshot(line, "BTCUSDT"))
        elif b"@depth" in line[:40]:
            events.append(decode_diff(line.split(b'"data":', 1)[1][:-1]))
        elif b"@trade" in line[:40]:
            told.append(msgspec.json.decode(line)["data"])
    events = [event for event in events if event.final_id > book.last_update_id]
    span = live_span(image_of(book, "BTCUSDT"), events, events[0].event_ms, 0)
    trades = FlowTrades(
        Scale(),
        np.array([trade["T"] for trade in told]),
        np.array([parse_units(trade["p"]) for trade in told]),
        np.array([parse_units(trade["q"]) for trade in told]),
        np.array([trade["m"] for trade in told]),
        ((0, told[0]["T"]), (told[-1]["T"], 1 << 50)),
    )
    chosen = random.Random(16)
    first = int(np.searchsorted(span.event_ms, told[0]["T"])) + 2
    last = int(np.searchsorted(span.event_ms, told[-1]["T"])) - 1
    computed = 0
    for _ in range(6):
        begin, end = sorted(chosen.sample(range(first, last), 2))
        from_ms, to_ms = int(span.event_ms[begin]), int(span.event_ms[end])
        found = flows_of([(span, True)], trades, from_ms, to_ms, PriceSteps(10**6))
        assert found.is_covered
        before, after = (levels_at(book, events, count) for count in (begin, end))
        for one in found.prices:
            stood, stands = before.get(one.price, 0), after.get(one.price, 0)
            flow = one.flow
            assert 0 <= flow.added_low <= flow.added_high
            assert 0 <= flow.pulled_low <= flow.pulled_high
            assert flow.traded_low <= flow.traded_high
            assert flow.added_low - flow.pulled_high - flow.traded_high <= one.change
            assert one.change <= flow.added_high - flow.pulled_low - flow.traded_low
            if one.is_whole:
                assert one.change == stands - stood
                computed += 1
    assert computed > 1_000


def levels_at(start: Book, events: list[DepthDiff], count: int) -> dict[int, int]:
    """The quantities by price after so many events, both sides together."""
    book = Book()
    book.widen(start.bids(), start.asks(), start.scale, start.horizon)
    for event in events[:count]:
        book.apply(event)
    bids, asks = book.bids(), book.asks()
    found = dict(zip(bids.prices.tolist(), bids.quantities.tolist(), strict=True))
    for price, quantity in zip(asks.prices.tolist(), asks.quantities.tolist(), strict=True):
        found[price] = found.get(price, 0) + quantity
    return found
