"""Bytes per viewer and second over a capture, by each way of showing the book.

The old version sent every known level as HTML, ten times a second. Against it: what
`/stream` sends (one whole book, then changes), and what `/events` sends (the visible rows
as HTML), each also as the gzip stream that browsers get. The book moves with the capture's
own clock; the server's own frames are counted, at ten moments a second.

    python -m tests.bench.web_bytes          (CAPTURE=FILE, SECONDS=60 to measure less)
"""

from __future__ import annotations

import asyncio
import gzip
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.core.library import unlisted
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.web.book_view import steps_for, view_of
from orderbook_desktop.web.changes_stream import ChangesForm, text_levels
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.frames import Frame, event_frame
from orderbook_desktop.web.hub import HubTimes
from orderbook_desktop.web.pages import FragmentsForm
from orderbook_desktop.web.templates import Templates
from tests.bench.capture_data import capture_path

_AT_MOST = 0.1


@dataclass
class Way:
    """One way of showing the book, and what it has sent; the first frame apart."""

    name: str
    first: int = 0
    first_packed: int = 0
    later: int = 0
    later_packed: int = 0

    def send(self, frame: Frame) -> None:
        if not self.first:
            self.first, self.first_packed = len(frame.plain), len(frame.packed)
        else:
            self.later += len(frame.plain)
            self.later_packed += len(frame.packed)


class CaptureBook:
    """A `LentBook` that moves with a capture."""

    def __init__(self, market: str) -> None:
        self.market = market
        self.book = Book()
        self.now_ns = 0

    def look(self) -> BookLook:
        return BookLook(self.book, FeedStatus(FeedState.SYNCED, SourceKind.DIRECT, self.now_ns))

    def close(self) -> None:
        """Nothing was borrowed."""


def _messages(path: Path) -> Iterator[tuple[int, bytes]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for line in lines:
            stamp, _, text = line.rstrip(b"\n").partition(b" ")
            if b"@depth" in text[:60] or text.startswith(b'{"lastUpdateId"'):
                yield int(stamp), text


def _ticks(path: Path, book: CaptureBook, seconds: float) -> Iterator[float]:
    """Let the capture pass; yield at each tick since the snapshot the time in seconds."""
    tick_ns = int(HubTimes().tick_s * 1e9)
    waiting: list[DepthDiff] = []
    began_ns = next_ns = 0
    for stamp, text in _messages(path):
        while began_ns and stamp >= next_ns:
            book.now_ns = next_ns
            yield (next_ns - began_ns) / 1e9
            next_ns += tick_ns
        if began_ns and stamp - began_ns > seconds * 1e9:
            return
        if text.startswith(b'{"lastUpdateId"'):
            if not began_ns:
                book.book.load(decode_snapshot(text, book.market))
                began_ns, next_ns = stamp, stamp + tick_ns
                for diff in waiting:
                    _apply(book.book, diff)
            continue
        event = decode_frame(text, stamp)
        assert isinstance(event, DepthDiff)
        if began_ns:
            _apply(book.book, event)
        else:
            waiting.append(event)


def _apply(book: Book, diff: DepthDiff) -> None:
    if diff.final_id > book.last_update_id:
        book.apply(diff)


def _whole_html(channel: Channel) -> Frame:
    """Return every level in a table, with nothing that a page could do without."""
    image = channel.moment.image
    rows = [
        f"<tr><td>{price}</td><td>{size}</td></tr>"
        for levels in (image.asks, image.bids)
        for price, size in text_levels(levels, image.scale, 0)
    ]
    return event_frame(f"<table>{''.join(rows)}</table>")


async def _measure(path: Path, seconds: float) -> tuple[list[Way], float, str]:
    market = next(text for _, text in _messages(path) if b"@depth" in text[:60])
    diff = decode_frame(market)
    assert isinstance(diff, DepthDiff)
    info: SymbolInfo = unlisted(diff.market)
    book = CaptureBook(diff.market)
    ways = [Way("every level as HTML, 10/s (old)"), Way("/stream"), Way("/events")]
    channel: Channel | None = None
    elapsed, levels = 0.0, 0
    fragments = FragmentsForm(Templates(), 10**16)
    for elapsed in _ticks(path, book, seconds):  # noqa: B007
        if channel is None:
            channel = Channel(info, book, lambda: book.now_ns)
            fragments = FragmentsForm(Templates(), steps_for(info, channel.moment.image)[0])
            seen = None
        else:
            seen = channel.moment.seq
            # Whether or not anything moved.
            moved = channel.look()
            ways[0].send(_whole_html(channel))
            if not moved:
                continue
        if seen is None:
            ways[0].send(_whole_html(channel))
        ways[1].send(ChangesForm().frame(channel, seen))
        ways[2].send(fragments.frame(channel, seen))
        levels = len(channel.moment.image.bids.prices) + len(channel.moment.image.asks.prices)
    assert channel is not None
    view = view_of(info, channel.moment, channel.badge(), steps_for(info, channel.moment.image)[0])
    return ways, elapsed, f"{levels} levels, {len(view.asks) + len(view.bids)} rows visible"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = capture_path(Path(folder))
        seconds = float(os.environ.get("SECONDS", "1e9"))
        ways, elapsed, what = asyncio.run(_measure(path, seconds))
    print(f"{path.name}: {elapsed:.0f} s, at the end {what}; bytes per viewer")
    print(f"{'':34}{'first':>10}{'per second':>12}{'gzip first':>12}{'gzip/s':>10}{'of old':>9}")
    old = ways[0].later / elapsed
    for way in ways:
        rate, packed = way.later / elapsed, way.later_packed / elapsed
        print(
            f"{way.name:34}{way.first:>10,}{rate:>12,.0f}{way.first_packed:>12,}{packed:>10,.0f}"
            f"{rate / old:>9.4f}"
        )
    return 0 if ways[1].later / elapsed <= old * _AT_MOST else 1


if __name__ == "__main__":
    raise SystemExit(main())
