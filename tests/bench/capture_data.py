"""The capture that the benchmarks run on: the real one where it is, else a made-up one."""

from __future__ import annotations

import gzip
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from orderbook_desktop.exchange.local import write_capture

_REAL = Path(__file__).parents[3] / "shared" / "captures" / "btcusdt_spot_20240808.jsonl.gz"


@dataclass(frozen=True)
class Capture:
    """One market's snapshot and the depth frames that follow it, as JSON bytes."""

    name: str
    market: str
    snapshot: bytes
    frames: list[bytes]


def capture_path(folder: Path) -> Path:
    """Return the capture to use: CAPTURE, the real one, or one made in `folder`."""
    named = os.environ.get("CAPTURE")
    if named:
        return Path(named)
    if _REAL.exists():
        return _REAL
    made = folder / "synthetic.jsonl.gz"
    return write_capture(made, seed=1, seconds=120, symbols=["BTC/USDT"])


def load_capture() -> Capture:
    """Return the snapshot and frames of the capture."""
    with tempfile.TemporaryDirectory() as folder:
        path = capture_path(Path(folder))
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            messages = [line.split(b" ", 1)[1].strip() for line in lines]
    snapshot = next(one for one in messages if one.startswith(b'{"lastUpdateId"'))
    last_id = msgspec.json.decode(snapshot)["lastUpdateId"]
    frames = [one for one in messages if b"@depth" in one[:60]]
    frames = [one for one in frames if msgspec.json.decode(one)["data"]["u"] > last_id]
    market = msgspec.json.decode(frames[0])["data"]["s"]
    return Capture(path.name, market, snapshot, frames)


def padded(capture: Capture, levels: int) -> bytes:
    """Return the capture's snapshot with further levels beyond its own, up to `levels` a side.

    They lie beyond all prices of the capture: no price that comes to them would remove them.
    """
    book = msgspec.json.decode(capture.snapshot)
    events = [msgspec.json.decode(frame)["data"] for frame in capture.frames]
    for side, other, sign in (("bids", "a", -1), ("asks", "b", 1)):
        prices = [float(price) for event in events for price, _ in event[other]]
        prices.append(float(book[side][-1][0]))
        outermost = min(prices) if sign < 0 else max(prices)
        missing = levels - len(book[side])
        book[side] += [
            [f"{outermost + sign * 0.5 * number:.8f}", "0.01230000"]
            for number in range(1, missing + 1)
        ]
    return msgspec.json.encode(book)
