"""The content of a capture: events, the book at every update id, and the exchange's best prices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from orderbook_desktop.core.horizon import Horizon
from tests.exchange.local.true_book import TrueBook, capture_messages

Best = tuple[Decimal, Decimal, Decimal, Decimal]


@dataclass
class Truth:
    """The content of a capture: diffs by final id, and best bid and offer by update id."""

    path: Path
    market: str
    snapshot: dict[str, Any]
    diffs: dict[int, bytes]
    tickers: dict[int, Best]

    @property
    def last_id(self) -> int:
        return max(self.diffs)

    @property
    def horizon(self) -> Horizon:
        """How deep the capture is known: to the last levels of its snapshot."""
        return Horizon.of_texts(self.snapshot["bids"][-1][0], self.snapshot["asks"][-1][0])

    def books(self) -> TruthWalk:
        return TruthWalk(TrueBook(self.snapshot), list(self.diffs.values()))

    def best_at(self) -> dict[int, Best]:
        """Return the last ticker at or before each diff's final id."""
        found: dict[int, Best] = {}
        ids = sorted(self.tickers)
        at = 0
        for final_id in sorted(self.diffs):
            while at < len(ids) and ids[at] <= final_id:
                at += 1
            if at:
                found[final_id] = self.tickers[ids[at - 1]]
        return found


class TruthWalk:
    """The true book, moved forward from id to id."""

    def __init__(self, book: TrueBook, diffs: list[bytes]) -> None:
        self.book = book
        self._diffs = iter(diffs)

    def until(self, update_id: int) -> TrueBook:
        while self.book.last_update_id < update_id:
            self.book.apply(json.loads(next(self._diffs)))
        return self.book


def read_truth(path: Path) -> Truth:
    snapshot: dict[str, Any] | None = None
    diffs: dict[int, bytes] = {}
    tickers: dict[int, Best] = {}
    market = ""
    for _, text in capture_messages(path):
        message = json.loads(text)
        stream = message.get("stream", "")
        if "lastUpdateId" in message:
            snapshot = snapshot or message
        elif "@depth" in stream:
            data = message["data"]
            market = data["s"]
            start = text.index(b'"data":') + len(b'"data":')
            diffs[data["u"]] = text[start:].rstrip()[:-1]
        elif "@bookTicker" in stream:
            data = message["data"]
            bid, bid_size, ask, ask_size = (Decimal(data[key]) for key in "bBaA")
            tickers[data["u"]] = (bid, bid_size, ask, ask_size)
    assert snapshot is not None
    return Truth(path, market, snapshot, diffs, tickers)
