"""A real exchange's events come back from the archive, where a capture of them lies at hand."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.archive import (
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
