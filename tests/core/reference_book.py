"""An independent exchange: its book change by change, in dicts and Decimals only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.levels import Levels

Pairs = list[tuple[Decimal, Decimal]]


@dataclass
class ReferenceBook:
    """A book as two dicts of price to quantity."""

    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    asks: dict[Decimal, Decimal] = field(default_factory=dict)

    def take(self, payload: bytes) -> ReferenceBook:
        """Apply the JSON of a diff, or of a snapshot, to this book; return the book."""
        message: dict[str, Any] = json.loads(payload, strict=False)
        if "lastUpdateId" in message:
            self.bids.clear()
            self.asks.clear()
        for side, names in ((self.bids, ("b", "bids")), (self.asks, ("a", "asks"))):
            for price, quantity in message.get(names[0]) or message.get(names[1]) or []:
                self.change(side, Decimal(price), Decimal(quantity))
        return self

    @staticmethod
    def change(side: dict[Decimal, Decimal], price: Decimal, quantity: Decimal) -> None:
        if quantity:
            side[price] = quantity
        else:
            side.pop(price, None)

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid reaches the best ask."""
        return bool(self.bids and self.asks) and max(self.bids) >= min(self.asks)

    @property
    def levels(self) -> tuple[Pairs, Pairs]:
        """Bids and asks, best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


def shown(book: Book) -> tuple[Pairs, Pairs]:
    """What the book under test shows, as bids and asks in Decimals."""
    bids, asks, scale = book.bids(), book.asks(), book.scale
    return pairs_of(bids, scale.price, scale.quantity), pairs_of(asks, scale.price, scale.quantity)


def pairs_of(levels: Levels, price: int = 8, quantity: int = 8) -> Pairs:
    """Levels in Decimals, in their order."""
    return [
        (Decimal(int(p)).scaleb(-price), Decimal(int(q)).scaleb(-quantity))
        for p, q in zip(*levels, strict=True)
    ]


@dataclass(frozen=True)
class Change:
    """One update id's change: the quantity that now rests at a price."""

    bid: bool
    price: str
    quantity: str


class TruthHistory:
    """Every change of an exchange's book; update id n is `first_id` + n."""

    def __init__(self, first_id: int = 1) -> None:
        self.first_id = first_id
        self.changes: list[Change] = []

    @property
    def last_id(self) -> int:
        return self.first_id + len(self.changes) - 1

    def book_at(self, update_id: int) -> ReferenceBook:
        """The true book after the change `update_id`."""
        book = ReferenceBook()
        for change in self.changes[: update_id - self.first_id + 1]:
            side = book.bids if change.bid else book.asks
            book.change(side, Decimal(change.price), Decimal(change.quantity))
        return book

    def diff(self, first: int, last: int) -> bytes:
        """The `depthUpdate` of the update ids `first`..`last`."""
        span = self.changes[first - self.first_id : last - self.first_id + 1]
        bids = {change.price: change.quantity for change in span if change.bid}
        asks = {change.price: change.quantity for change in span if not change.bid}
        return diff_payload(list(bids.items()), list(asks.items()), first, last)

    def snapshot(self, update_id: int, limit: int = 5000) -> bytes:
        """The answer to `GET /api/v3/depth` when `update_id` was the last change."""
        bids, asks = self.book_at(update_id).levels
        return snapshot_payload(_texts(bids[:limit]), _texts(asks[:limit]), update_id)


def diff_payload(
    bids: list[tuple[str, str]],
    asks: list[tuple[str, str]],
    first: int = 1,
    last: int = 1,
    market: str = "BTCUSDT",
) -> bytes:
    """A `depthUpdate` as the exchange spells it."""
    event = {"e": "depthUpdate", "E": 1_700_000_000_000 + last, "s": market}
    return _spelt({**event, "U": first, "u": last, "b": bids, "a": asks})


def snapshot_payload(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]], update_id: int = 1
) -> bytes:
    """A REST snapshot as the exchange spells it."""
    return _spelt({"lastUpdateId": update_id, "bids": bids, "asks": asks})


def _texts(pairs: Pairs) -> list[tuple[str, str]]:
    return [(f"{price:.8f}", f"{quantity:.8f}") for price, quantity in pairs]


def _spelt(message: dict[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def changes() -> st.SearchStrategy[Change]:
    """Changes at few prices, so that levels come, change and go."""
    # Bids up to 10 and asks from 9: now and then the book is locked or crossed, as told.
    bid_prices = st.integers(1, 10).map(lambda tick: f"{tick}.50000000")
    ask_prices = st.integers(9, 18).map(lambda tick: f"{tick}.50000000")
    quantities = st.sampled_from(["0.00000000", "0.00000001", "1.00000000", "2.50000000"])
    return st.one_of(
        st.builds(Change, st.just(True), bid_prices, quantities),
        st.builds(Change, st.just(False), ask_prices, quantities),
    )
