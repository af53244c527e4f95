"""Runs of events to archive: canonical ones, and unusual ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.units import INT64_MAX, format_units
from tests.core.reference_book import ReferenceBook, snapshot_payload

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Run:
    """A start book and the events that follow it, with the book after each, in Decimals."""

    start: BookImage
    events: list[DepthDiff]
    snapshot: bytes

    def reference_after(self, index: int) -> ReferenceBook:
        book = ReferenceBook().take(self.snapshot)
        for event in self.events[: index + 1]:
            book.take(event.payload)
        return book


def run_of(snapshot: bytes, events: Sequence[DepthDiff], market: str = "BTCUSDT") -> Run:
    book = Book()
    book.load(decode_snapshot(snapshot, market, 1_700_000_000_000))
    return Run(image_of(book, market), list(events), snapshot)


def spelt(
    first_id: int, final_id: int, event_ms: int, bids: Pairs, asks: Pairs, market: str = "BTCUSDT"
) -> bytes:
    """An event as the exchange spells it."""
    event = {"e": "depthUpdate", "E": event_ms, "s": market, "U": first_id, "u": final_id}
    return json.dumps(
        {**event, "b": bids, "a": asks}, separators=(",", ":"), ensure_ascii=False
    ).encode()


def _eight_places(units: int) -> str:
    return format_units(units, 8, 8)


few_prices = st.integers(0, 12).map(lambda tick: _eight_places(tick * 1_000_000))
any_units = st.one_of(
    st.just(0), st.integers(1, 5), st.integers(0, INT64_MAX), st.just(INT64_MAX)
).map(_eight_places)
lots = st.one_of(st.just(0), st.integers(1, 4), st.integers(1, 10**6)).map(
    lambda lot: _eight_places(lot * 1000)
)
odd_decimals = st.sampled_from(["1", "0", "1.5", "0.10000000", "1.50", "0.000000001", "7.0"])


def _in_order(pairs: Pairs, *, falling: bool) -> Pairs:
    return sorted(dict(pairs).items(), key=lambda pair: float(pair[0]), reverse=falling)


@st.composite
def runs(draw: st.DrawFn, kind: str = "any") -> Run:
    """Unbroken runs of `kind` "real" (as the exchange sends them), "any" or "odd"."""
    real = kind == "real"
    prices, sizes = few_prices, lots
    if not real:
        prices = st.one_of(few_prices, any_units)
        sizes = st.one_of(lots, any_units)
    if kind == "odd":
        prices, sizes = (st.one_of(few_prices, odd_decimals) for _ in range(2))
    levels = st.lists(st.tuples(prices, sizes), max_size=6)
    bids, asks = (
        [(price, size) for price, size in dict(side).items() if size.strip("0.")]
        for side in (draw(st.lists(st.tuples(few_prices, lots), max_size=12)) for _ in range(2))
    )
    last = draw(st.integers(0, 10**12))
    snapshot = snapshot_payload(bids, asks, last)
    market = draw(st.sampled_from(["BTCUSDT", "1INCHUSDT", "币安USDT", "A.B"]))
    events, event_ms = [], draw(st.integers(10**12, 2**42))
    for _ in range(draw(st.integers(1, 8))):
        overlap, span = draw(st.integers(0, 3)), draw(st.integers(1, 100))
        first, last = max(last + 1 - overlap, 0), last + span
        event_ms = (
            event_ms + draw(st.integers(99, 101)) if real else draw(st.integers(0, INT64_MAX))
        )
        received = event_ms * 10**6 + draw(st.integers(-(10**7), 10**10))
        if not real:
            received = draw(st.integers(0, INT64_MAX))
        bids, asks = draw(levels), draw(levels)
        if real:
            bids, asks = _in_order(bids, falling=True), _in_order(asks, falling=False)
        payload = spelt(first, last, event_ms, bids, asks, market)
        respelt = draw(st.sampled_from(_RESPELLINGS)) if kind == "odd" else _as_it_is
        events.append(decode_diff(respelt(payload), received))
    return run_of(snapshot, events, market)


def _as_it_is(payload: bytes) -> bytes:
    return payload


def _spaced(payload: bytes) -> bytes:
    return payload.replace(b'"b":', b'"b": ', 1)


def _reordered(payload: bytes) -> bytes:
    fields = json.loads(payload)
    return json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode()


def _with_more(payload: bytes) -> bytes:
    return payload[:-1] + b',"x":{"U":"1"}}'


_RESPELLINGS: list[Callable[[bytes], bytes]] = [_as_it_is, _spaced, _reordered, _with_more]
