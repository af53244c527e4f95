"""A real exchange's messages, where a capture of them lies beside the repository."""

from __future__ import annotations

import gzip
import json
from bisect import bisect_right
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from orderbook_desktop.core.depth_sync import Applied, Buffered, DepthSync, Stale
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.frames import Unrelated, decode_frame
from tests.core.reference_book import ReferenceBook, shown

CAPTURE = Path(__file__).parents[3] / "shared/captures/btcusdt_spot_20240808.jsonl.gz"

Offer = tuple[Decimal, Decimal, Decimal, Decimal]

pytestmark = pytest.mark.skipif(not CAPTURE.is_file(), reason="the real capture is not here")


def capture_lines() -> Iterator[bytes]:
    with gzip.open(CAPTURE) as lines:
        for line in lines:
            yield line.split(b" ", 1)[1].strip()


def play() -> tuple[DepthSync, ReferenceBook, dict[int, Offer], dict[int, Offer]]:
    """Return sync and reference at the end, and best offers by update id: ours, the witness's."""
    sync, reference = DepthSync(), ReferenceBook()
    ours: dict[int, Offer] = {}
    witness: dict[int, Offer] = {}
    for line in capture_lines():
        outcomes: list[object] = []
        if line.startswith(b'{"lastUpdateId"'):
            reference.take(line)
            outcomes.extend(sync.receive_snapshot(decode_snapshot(line, "BTCUSDT"))[1:])
        elif isinstance(message := decode_frame(line), DepthDiff):
            outcomes.extend(sync.receive_diff(message))
        elif b"@bookTicker" in line:
            told = json.loads(line)["data"]
            bid, bid_quantity, ask, ask_quantity = (Decimal(told[key]) for key in "bBaA")
            witness[told["u"]] = bid, bid_quantity, ask, ask_quantity
        else:
            assert message == Unrelated("trade")
        for outcome in outcomes:
            assert isinstance(outcome, Applied | Stale | Buffered)
            if isinstance(outcome, Applied):
                reference.take(outcome.diff.payload)
        if sync.synced:
            ours[sync.book.last_update_id] = best_offer(sync)
    return sync, reference, ours, witness


def best_offer(sync: DepthSync) -> Offer:
    bid, bid_quantity, ask, ask_quantity = (
        Decimal(units or 0).scaleb(-8) for units in sync.book.best()
    )
    return bid, bid_quantity, ask, ask_quantity


def test_the_capture_gives_the_true_book_and_its_best_offers() -> None:
    sync, reference, ours, witness = play()
    assert sync.synced
    assert shown(sync.book) == reference.levels
    assert len(ours) > 3000
    told_at = sorted(witness)
    at_the_very_id = 0
    for update_id, offer in ours.items():
        # A best offer stands until the next one is told.
        latest = told_at[bisect_right(told_at, update_id) - 1]
        assert offer == witness[latest], update_id
        at_the_very_id += latest == update_id
    assert at_the_very_id > 500
