"""What a display frame costs: 4 events from JSON bytes, then top 50, curve and grouping.

Each contender plays the whole capture, in turn, three times; the medians of the second and
third are compared. The reads are the same for all: the best 50 levels of both sides, the
cumulative curve of all levels, and all levels grouped by 10 quote units.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Protocol

import msgspec
import orjson
from ccxt.async_support.base.ws.order_book import OrderBook as CcxtOrderBook
from order_book import OrderBook as ExtensionOrderBook

from orderbook_desktop.core.depth_curve import build_curve
from orderbook_desktop.core.depth_sync import DepthSync
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.core.ladder import Side, group_levels
from tests.bench.capture_data import Capture, load_capture, padded
from tests.bench.targets import Targets

_EVENTS_A_FRAME = 4
_TOP = 50
_GROUP = 10
_ROUNDS = 3
# How many times what ours costs the others should at least cost.
_TARGETS = {"ccxt": 3.0, "order-book": 5.0}
_TARGETS_PADDED = {"ccxt": 8.0, "order-book": 15.0}

Book = list[tuple[Decimal, Decimal]]


class Contender(Protocol):
    """One way to keep and read a book."""

    def frame(self, messages: list[bytes]) -> None:
        """Apply the events and read the book once."""
        ...

    def final(self) -> tuple[Book, Book]:
        """Return the book, to prove that all of them did the work."""
        ...


class Ours:
    """orderbook_desktop.core."""

    def __init__(self, snapshot: bytes, market: str) -> None:
        self._sync = DepthSync()
        self._sync.receive_snapshot(decode_snapshot(snapshot, market))

    def frame(self, messages: list[bytes]) -> None:
        for message in messages:
            diff = decode_frame(message)
            assert isinstance(diff, DepthDiff)
            self._sync.receive_diff(diff)
        bids, asks = self._sync.book.bids(), self._sync.book.asks()
        for side, levels in ((Side.BID, bids), (Side.ASK, asks)):
            levels.prices[:_TOP].tolist()
            levels.quantities[:_TOP].tolist()
            build_curve(levels, side, self._sync.book.horizon)
            group_levels(levels, _GROUP * 10**8, side)

    def final(self) -> tuple[Book, Book]:
        def decimals(levels: Any) -> Book:
            pairs = zip(levels.prices.tolist(), levels.quantities.tolist(), strict=True)
            return [(Decimal(price).scaleb(-8), Decimal(size).scaleb(-8)) for price, size in pairs]

        return decimals(self._sync.book.bids()), decimals(self._sync.book.asks())


class Ccxt:
    """ccxt's own order book, in floats, with the JSON library that ccxt uses."""

    def __init__(self, snapshot: bytes, market: str) -> None:
        del market
        sides = orjson.loads(snapshot)
        self._book: Any = CcxtOrderBook(
            {
                side: [[float(price), float(size)] for price, size in sides[side]]
                for side in ("bids", "asks")
            }
        )

    def frame(self, messages: list[bytes]) -> None:
        bids, asks = self._book["bids"], self._book["asks"]
        for message in messages:
            data = orjson.loads(message)["data"]
            for price, size in data["b"]:
                bids.store(float(price), float(size))
            for price, size in data["a"]:
                asks.store(float(price), float(size))
        self._book.limit()
        for side in (bids, asks):
            side[:_TOP]
            _curve_and_groups((price, size) for price, size in side)

    def final(self) -> tuple[Book, Book]:
        def decimals(side: Any) -> Book:
            return [(Decimal(f"{price:.8f}"), Decimal(f"{size:.8f}")) for price, size in side]

        return decimals(self._book["bids"]), decimals(self._book["asks"])


class OrderBookExtension:
    """The `order-book` C extension, in decimals, as its documentation uses it."""

    def __init__(self, snapshot: bytes, market: str) -> None:
        del market
        sides = orjson.loads(snapshot)
        self._book: Any = ExtensionOrderBook()
        for side in ("bids", "asks"):
            setattr(
                self._book,
                side,
                {Decimal(price): Decimal(size) for price, size in sides[side]},
            )

    def frame(self, messages: list[bytes]) -> None:
        bids, asks = self._book.bids, self._book.asks
        for message in messages:
            data = orjson.loads(message)["data"]
            for side, changes in ((bids, data["b"]), (asks, data["a"])):
                for price_text, size_text in changes:
                    price, size = Decimal(price_text), Decimal(size_text)
                    if size:
                        side[price] = size
                    elif price in side:
                        del side[price]
        for side in (bids, asks):
            levels = side.to_dict()
            [side.index(number) for number in range(min(_TOP, len(side)))]
            _curve_and_groups(iter(levels.items()))

    def final(self) -> tuple[Book, Book]:
        return list(self._book.bids.to_dict().items()), list(self._book.asks.to_dict().items())


def _curve_and_groups(levels: Iterator[tuple[Any, Any]]) -> tuple[list[Any], dict[Any, Any]]:
    total: Any = 0
    curve: list[Any] = []
    groups: dict[Any, Any] = {}
    for price, size in levels:
        total += size
        curve.append(total)
        key = price // _GROUP
        groups[key] = groups.get(key, 0) + size
    return curve, groups


CONTENDERS: dict[str, Callable[[bytes, str], Contender]] = {
    "ours": Ours,
    "ccxt": Ccxt,
    "order-book": OrderBookExtension,
}


def measure(capture: Capture, snapshot: bytes) -> dict[str, float]:
    """Return each contender's median cost of a frame, in microseconds."""
    costs: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    finals = {}
    batches = [
        capture.frames[start : start + _EVENTS_A_FRAME]
        for start in range(0, len(capture.frames) - _EVENTS_A_FRAME + 1, _EVENTS_A_FRAME)
    ]
    for round_number in range(_ROUNDS):
        for name, make in CONTENDERS.items():
            contender = make(snapshot, capture.market)
            for batch in batches:
                began = time.perf_counter_ns()
                contender.frame(batch)
                took = time.perf_counter_ns() - began
                if round_number:
                    costs[name].append(took / 1000)
            finals[name] = contender.final()
    assert finals["ours"] == finals["order-book"] == finals["ccxt"], "the books differ"
    return {name: statistics.median(values) for name, values in costs.items()}


def main() -> int:
    targets = Targets()
    capture = load_capture()
    print(f"{capture.name}: {len(capture.frames)} events after the snapshot, {capture.market}")
    levels = len(msgspec.json.decode(capture.snapshot)["bids"])
    for label, snapshot, wanted in (
        (f"snapshot of {levels} levels a side", capture.snapshot, _TARGETS),
        ("padded to 5,000 levels a side", padded(capture, 5_000), _TARGETS_PADDED),
    ):
        costs = measure(capture, snapshot)
        print(f"{label}: median µs for {_EVENTS_A_FRAME} events and one frame of reads")
        for name, cost in costs.items():
            ratio = cost / costs["ours"]
            verdict = targets.at_least(ratio, wanted[name]) if name in wanted else ""
            print(f"  {name:12} {cost:8.1f}   {ratio:5.2f} x ours   {verdict}".rstrip())
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
