"""Writing a capture of the synthetic market, for tests that need a file to play or import."""

from __future__ import annotations

import gzip
import heapq
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.exchange.local.source import LocalBook
from orderbook_desktop.exchange.local.synthetic_listing import synthetic_specs
from orderbook_desktop.exchange.local.synthetic_market import STEP_MS, SyntheticMarket

CAPTURE_STREAMS: Final = ("depth@100ms", "bookTicker", "trade")
# The collector's clock differs from the exchange's: in the real capture it is 1.2 s behind.
_CLOCK_OFFSET_NS: Final = -1_200_000_000
_SNAPSHOT_LATE_MS: Final = 330


def write_capture(
    path: Path | str,
    *,
    seed: int,
    seconds: float,
    symbols: Iterable[str] = ("BTC/USDT",),
    start_ms: int = 1_723_161_250_000,
    snapshot_levels: int = 5000,
    activity: float = 1.0,
    streams: Iterable[str] = CAPTURE_STREAMS,
) -> Path:
    """Write `seconds` of the synthetic market of `seed` as a collector would have seen them.

    Lines are `<recv_ns> <json>`, gzipped if the name of `path` ends in `.gz`; the same
    arguments give the same lines. Of each symbol there is a REST snapshot of
    `snapshot_levels` a side, which arrives a few diffs late. Returns `path`.
    """
    path = Path(path)
    specs = synthetic_specs(activity)
    kinds = frozenset(streams)
    markets = [
        _lines(
            SyntheticMarket(specs[split_symbol(symbol)[1]], seed, start_ms),
            start_ms + int(seconds * 1000),
            snapshot_levels,
            kinds,
        )
        for symbol in symbols
    ]
    jitter = random.Random(seed)
    recv_ns = 0
    # A fixed time in the gzip header: the same arguments give the same file.
    with path.open("wb") as raw:
        file = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        for time_ms, text in heapq.merge(*markets, key=lambda line: line[0]):
            arrived_ns = time_ms * 1_000_000 + _CLOCK_OFFSET_NS + jitter.randrange(2_000_000)
            recv_ns = max(recv_ns + 1_000, arrived_ns)
            file.write(b"%d %s\n" % (recv_ns, text))
        if file is not raw:
            file.close()
    return path


def _lines(
    market: SyntheticMarket, end_ms: int, snapshot_levels: int, kinds: frozenset[str]
) -> Iterator[tuple[int, bytes]]:
    """Iterate over (time, JSON) of one market until `end_ms`."""
    start_ms, name = market.now_ms, market.spec.market.lower().encode()
    snapshot: LocalBook | None = None
    snapshot_ms = start_ms + _SNAPSHOT_LATE_MS
    for now_ms in range(start_ms + STEP_MS, end_ms + 1, STEP_MS):
        for event in market.advance(now_ms):
            if snapshot and event.time_ms > snapshot_ms:
                yield snapshot_ms, snapshot.as_json(snapshot_levels)
                snapshot, snapshot_ms = None, 0
            if event.kind in kinds:
                stream = name + b"@" + event.kind.encode()
                yield event.time_ms, b'{"stream":"%s","data":%s}' % (stream, event.payload)
        if snapshot_ms and now_ms - start_ms == 2 * STEP_MS:
            snapshot = market.book()
