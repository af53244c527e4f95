"""Made-up markets that are followed live: what their tail is told, and the spans of it by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.heatmap.spans import LevelSpan, live_span
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.levels import Levels
from orderbook_desktop.core.segments import GapCause
from tests.core.archive.runs import Pairs, spelt
from tests.core.reference_book import snapshot_payload

MARKET = "BTCUSDT"
T0 = 1_700_000_000_000
TICK = 1_000_000

_DEEPER_ASK = 30
_OF_A_STEP = st.sampled_from(["event", "event", "event", "event", "event", "gap", "deeper"])


def text(units: int) -> str:
    return f"{units // 10**8}.{units % 10**8:08d}"


def snapshot_image(bids: Pairs, asks: Pairs, update_id: int, event_ms: int) -> BookImage:
    book = Book()
    book.load(decode_snapshot(snapshot_payload(bids, asks, update_id), MARKET, event_ms))
    return replace(image_of(book, MARKET), horizon=Horizon(2 * TICK, 20 * TICK))


@dataclass
class LiveMarket:
    """Feeds a tail, and notes each stretch: its book, events and beginning."""

    tail: DepthTail
    book: Book = field(default_factory=Book)
    update_id: int = 10
    time_ms: int = T0
    spans: list[tuple[BookImage, list[DepthDiff], int | None, bool]] = field(default_factory=list)

    def open(self, bids: Pairs, asks: Pairs, *, is_timed: bool) -> None:
        image = snapshot_image(bids, asks, self.update_id, self.time_ms if is_timed else 0)
        self.book = Book()
        self.book.load(decode_snapshot(snapshot_payload(bids, asks, self.update_id), MARKET))
        self.book.widen(image.bids, image.asks, image.scale, image.horizon)
        self.tail.opened(image)
        self.spans.append((image, [], self.time_ms if is_timed else None, True))

    def send(self, bids: Pairs, asks: Pairs, after_ms: int) -> None:
        self.update_id += 1
        self.time_ms += after_ms
        payload = spelt(self.update_id, self.update_id, self.time_ms, bids, asks)
        diff = decode_diff(payload)
        self.book.apply(diff)
        self.tail.applied(diff)
        image, events, from_ms, opens = self.spans[-1]
        self.spans[-1] = (
            image,
            [*events, diff],
            self.time_ms if from_ms is None else from_ms,
            opens,
        )

    def lose(self) -> None:
        self.tail.broken(GapCause.DISCONNECT, "It broke.")

    def deepen(self, quantity: int) -> None:
        """A level further away becomes known."""
        image = image_of(self.book, MARKET)
        price = _DEEPER_ASK * TICK * 10 ** (image.scale.price - 8)
        asks = Levels(
            np.append(image.asks.prices, price), np.append(image.asks.quantities, quantity)
        )
        if price in image.asks.prices:
            asks = image.asks
        horizon = Horizon(1, (_DEEPER_ASK + 1) * TICK)
        image = replace(image, asks=asks, horizon=horizon.at(image.scale.price))
        self.book.widen(image.bids, image.asks, image.scale, image.horizon)
        self.tail.deepened(image)
        from_ms = None if self.spans[-1][2] is None else self.time_ms
        self.spans.append((image, [], from_ms, from_ms is None))

    def spans_by_hand(self) -> list[tuple[LevelSpan, bool]]:
        return [
            (live_span(image, events, from_ms, from_ms), opens)
            for image, events, from_ms, opens in self.spans
            if from_ms is not None
        ]


@st.composite
def steps_of_markets(draw: st.DrawFn) -> list[tuple[str, int, Pairs, Pairs, bool]]:
    """What happens to a market, one after the other: kind, time after, bids, asks and a flag."""
    sizes = st.one_of(
        st.integers(0, 4).map(lambda lots: text(lots * 10**5)),
        st.sampled_from(["0.00000001", "0", "3.000000001", "9000000000"]),
    )
    bids = st.dictionaries(st.integers(1, 9), sizes, max_size=4)
    asks = st.dictionaries(st.integers(10, 18), sizes, max_size=4)

    def pairs(levels: dict[int, str], *, falling: bool, whole: bool) -> Pairs:
        ordered = sorted(levels.items(), reverse=falling)
        return [(text(tick * TICK), size) for tick, size in ordered if not whole or float(size)]

    steps = []
    for number in range(draw(st.integers(1, 12))):
        kind = draw(_OF_A_STEP) if number else "gap"
        whole = kind == "gap"
        steps.append(
            (
                kind,
                draw(st.sampled_from([0, 1, 50, 99, 100, 350, 1000])),
                pairs(draw(bids), falling=True, whole=whole),
                pairs(draw(asks), falling=False, whole=whole),
                draw(st.booleans()),
            )
        )
    return steps


def play(market: LiveMarket, step: tuple[str, int, Pairs, Pairs, bool]) -> None:
    kind, after_ms, bids, asks, flag = step
    if kind == "event":
        market.send(bids, asks, after_ms)
    elif kind == "deeper":
        market.deepen(7 * 10 ** (market.book.scale.quantity - 6 + 3 * flag))
    else:
        if market.spans:
            market.lose()
        market.time_ms += after_ms
        market.open(bids, asks, is_timed=flag)
