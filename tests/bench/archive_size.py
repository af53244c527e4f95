"""Bytes and speed of archiving: a capture's depth events as chunks of a minute.

The yardstick is what `gzip -9` makes of the same events' JSON, one per line, without times
of receipt; ours include those, the start book of every chunk, and checksums.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from orderbook_desktop.core.archive import (
    ArchiveChunk,
    decode_chunk,
    encode_chunk,
    encode_loose,
    encode_minutes,
)
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.depth_sync import Applied, DepthSync
from orderbook_desktop.core.events import DepthDiff, decode_snapshot
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.storage.store.packing import pack_chunk
from tests.bench.capture_data import capture_path

_ROUNDS = 5
_LONGER_MINUTES = 5
_ACCEPTED_RATIO = 0.60
_ACCEPTED_SPEED = 30_000


@dataclass(frozen=True)
class Recording:
    """A capture's start book, the run of events that follows it, and the other events."""

    name: str
    start: BookImage
    run: list[DepthDiff]
    others: list[DepthDiff]

    @property
    def payloads(self) -> list[bytes]:
        """The JSON of all events."""
        return [event.payload for event in self.others + self.run]

    def spans(self, minutes: int = 1) -> list[tuple[BookImage, list[DepthDiff]]]:
        """The start book and events of each chunk of `minutes`."""
        begin, start, spans = 0, self.start, []
        for chunk, after in encode_minutes(self.start, self.run, minutes):
            end = begin + chunk.header.event_count
            spans.append((start, self.run[begin:end]))
            begin, start = end, after
        return spans


def load_recording() -> Recording:
    """Return the capture's first market."""
    with tempfile.TemporaryDirectory() as folder:
        path = capture_path(Path(folder))
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            lines = [line.strip().split(b" ", 1) for line in file]
    messages = [
        decode_frame(text, int(received)) for received, text in lines if b"@depth" in text[:60]
    ]
    diffs = [message for message in messages if isinstance(message, DepthDiff)]
    market = diffs[0].market
    diffs = [diff for diff in diffs if diff.market == market]
    snapshot = next(text for _, text in lines if text.startswith(b'{"lastUpdateId"'))
    sync = DepthSync()
    sync.receive_snapshot(decode_snapshot(snapshot, market))
    start = image_of(sync.book, market)
    applied = [isinstance(sync.receive_diff(diff)[0], Applied) for diff in diffs]
    assert sync.synced, "the capture has a gap"
    run = [diff for diff, was_applied in zip(diffs, applied, strict=True) if was_applied]
    others = [diff for diff, was_applied in zip(diffs, applied, strict=True) if not was_applied]
    return Recording(path.name, start, run, others)


def archived(recording: Recording, minutes: int = 1) -> list[bytes]:
    """Return the packed chunks of all events, each of `minutes`."""
    chunks: list[ArchiveChunk] = [encode_loose(recording.others)] if recording.others else []
    chunks.extend(encode_chunk(start, events) for start, events in recording.spans(minutes))
    return [pack_chunk(chunk).data for chunk in chunks]


def _best_speed(recording: Recording) -> float:
    """Return events/s of encoding and packing, the best of some rounds."""
    spans, best = recording.spans(), float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for start, events in spans:
            pack_chunk(encode_chunk(start, events))
        best = min(best, time.perf_counter() - began)
    return len(recording.run) / best


def main() -> None:
    recording = load_recording()
    payloads = recording.payloads
    lines = b"".join(payload + b"\n" for payload in payloads)
    zipped, chunks = len(gzip.compress(lines, 9)), archived(recording)
    ours, count = sum(map(len, chunks)), len(payloads)
    for start, events in recording.spans():
        decoded = decode_chunk(encode_chunk(start, events))
        assert list(decoded.diffs()) == events, "events were lost"
    print(f"{recording.name}: {count} events, {len(chunks)} chunks, load {os.getloadavg()[0]:.1f}")
    print(f"  gzip -9   {zipped:9,} bytes  {zipped / count:6.1f} a event")
    print(f"  archive   {ours:9,} bytes  {ours / count:6.1f} a event")
    print(f"  ratio     {ours / zipped:9.3f}        (accepted: {_ACCEPTED_RATIO})")
    longer = sum(map(len, archived(recording, _LONGER_MINUTES)))
    print(f"  in chunks of {_LONGER_MINUTES} minutes the ratio were {longer / zipped:.3f}")
    speed = _best_speed(recording)
    print(f"  encoding, packing included {speed:10,.0f} events/s  (accepted: {_ACCEPTED_SPEED:,})")


if __name__ == "__main__":
    main()
