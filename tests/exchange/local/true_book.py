"""The true book of a capture or a stream: plain dicts of decimals, nothing of the program."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

Levels = dict[Decimal, Decimal]


class TrueBook:
    """A snapshot plus diffs by Binance's id rules; raises `AssertionError` at a gap."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.last_update_id: int = snapshot["lastUpdateId"]
        self.bids: Levels = {Decimal(price): Decimal(size) for price, size in snapshot["bids"]}
        self.asks: Levels = {Decimal(price): Decimal(size) for price, size in snapshot["asks"]}

    def apply(self, event: dict[str, Any]) -> bool:
        """Take in a `depthUpdate` object; return whether it was news."""
        if event["u"] <= self.last_update_id:
            return False
        assert event["U"] <= self.last_update_id + 1, f"gap before {event['U']}"
        for side, levels in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, size in levels:
                side[Decimal(price)] = Decimal(size)
                if not Decimal(size):
                    del side[Decimal(price)]
        self.last_update_id = event["u"]
        return True

    @property
    def best(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """Best bid and its size, best ask and its size."""
        bid, ask = max(self.bids), min(self.asks)
        return bid, self.bids[bid], ask, self.asks[ask]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrueBook) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def capture_messages(path: Path) -> Iterator[tuple[int, bytes]]:
    """Iterate over (recv_ns, JSON as it stands in the file)."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for line in file:
            stamp, _, text = line.rstrip(b"\n").partition(b" ")
            yield int(stamp), text


def true_book_of(path: Path) -> TrueBook:
    """Return the final book of a capture of one market."""
    messages = [json.loads(text) for _, text in capture_messages(path)]
    book = TrueBook(next(message for message in messages if "lastUpdateId" in message))
    for message in messages:
        if "@depth" in message.get("stream", ""):
            book.apply(message["data"])
    return book
