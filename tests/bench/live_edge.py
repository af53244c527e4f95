"""What the heatmap's live edge adds to a frame, at 100 events a second and 60 frames a second."""

from __future__ import annotations

import sys
import time
from statistics import median, quantiles

from msgspec.structs import replace

from orderbook_desktop.core.events import DepthDiff, decode_diff, decode_snapshot
from orderbook_desktop.core.heatmap.bins import TimeBins
from orderbook_desktop.core.heatmap.builder import PriceSteps
from orderbook_desktop.core.heatmap.choices import Statistic
from orderbook_desktop.core.heatmap.edge import EdgeColumns
from orderbook_desktop.core.heatmap.tail import DepthTail
from tests.bench.capture_data import load_capture

_EVENT_MS = 10
_FRAME_MS = 16
_ROWS = 600
_BINS_MS = (100, 1_000, 16_000)


def events_of(frames: list[bytes]) -> list[DepthDiff]:
    """Return the events of a capture, 100 a second."""
    found = [decode_diff(frame.split(b'"data":', 1)[1][:-1]) for frame in frames]
    begin = found[0].event_ms
    return [replace(one, event_ms=begin + _EVENT_MS * number) for number, one in enumerate(found)]


def main() -> int:
    capture = load_capture()
    events = events_of(capture.frames)
    mid = decode_snapshot(capture.snapshot, capture.market).bids[0][0]
    slowest = 0.0
    for statistic in Statistic:
        for bin_ms in _BINS_MS:
            slowest = max(slowest, _measure(capture.snapshot, events, mid, statistic, bin_ms))
    print(f"slowest p99: {slowest:.2f} ms a frame (target: 1 ms)")
    return int(slowest > 1.0)


def _measure(
    snapshot: bytes, events: list[DepthDiff], mid: float, statistic: Statistic, bin_ms: int
) -> float:
    tail = DepthTail(events[0].market)
    tail.opened(decode_snapshot(snapshot, events[0].market))
    begin = events[0].event_ms
    bins = TimeBins(begin, events[-1].event_ms + 1000, bin_ms)
    steps = PriceSteps(1, 0, (round(mid) - _ROWS // 2, _ROWS))
    edge = EdgeColumns(tail.market, bins, steps, statistic)
    took: list[float] = []
    fed: list[float] = []
    at = 0
    while at < len(events):
        until = events[at].event_ms + _FRAME_MS
        began = time.perf_counter()
        while at < len(events) and events[at].event_ms < until:
            tail.applied(events[at])
            at += 1
        fed.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        first = edge.follow(tail)
        if first is not None:
            edge.heatmap(first)
        took.append((time.perf_counter() - began) * 1000)
    p99 = quantiles(took[1:], n=100)[98]
    changes = sum(len(one.bids) + len(one.asks) for one in events) / len(events)
    print(
        f"{statistic} {bin_ms / 1000:g} s x {_ROWS} rows, {changes:.0f} changes an event: "
        f"median {median(took[1:]):.3f} ms, p99 {p99:.3f}, longest {max(took[1:]):.2f} a frame; "
        f"tail median {median(fed):.3f}, longest {max(fed):.2f}; {tail.bytes / 1e6:.1f} MB"
    )
    return p99


if __name__ == "__main__":
    sys.exit(main())
